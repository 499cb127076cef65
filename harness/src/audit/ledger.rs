//! Whether every delivery is accounted for, and what was delivered is what was published.

use super::findings::{Found, Row, row};
use crate::record::Capability::Cursor;
use crate::record::Trial;

const BUG: &str = "report this as a bug";

pub(super) const CHECKS: &[Row] = &[
    row(
        "ledger_missing",
        |trial, evidence| {
            let (expected, missing, received) = owed(trial);
            // A loss that the server reported is what the scenario asks about, and no doubt about
            // the trial.
            let reported = match evidence.told_lost {
                0 => String::new(),
                lost => format!(", and the server reported {lost} as lost"),
            };
            let first = the_first(&evidence.report.first_missing);
            Found::count(
                missing.saturating_sub(evidence.told_lost),
                format!("expected {expected} deliveries, got {received}{reported}{first}"),
            )
        },
        "lower the rate with '--rate', or wait longer with 'phases.drain_s'",
    )
    .needs(Cursor),
    row(
        "ledger_duplicate",
        |trial, _| {
            let twice = trial.deliveries.duplicate;
            Found::count(twice, format!("{twice} messages came twice"))
        },
        BUG,
    ),
    row(
        "ledger_order",
        |trial, _| {
            let late = trial.deliveries.out_of_order;
            Found::count(late, format!("{late} messages came after a later one"))
        },
        BUG,
    ),
    row(
        "ledger_overflow",
        |_, evidence| {
            let message = "a client had more gaps than its ledger holds".to_owned();
            Found::count(u64::from(evidence.report.ledger_overflowed), message)
        },
        "lower the rate with '--rate' until less is lost",
    ),
    row("ledger_balance", balance, BUG).needs(Cursor),
    row(
        "payload",
        |_, evidence| {
            let corrupt = evidence.report.corrupt;
            let first = the_first(&evidence.report.first_corrupt);
            Found::count(
                corrupt,
                format!("{corrupt} messages are not what was published{first}"),
            )
        },
        BUG,
    ),
];

fn balance(trial: &Trial, _: &super::Evidence<'_>) -> Found {
    let (expected, missing, received) = owed(trial);
    let accounted = received + missing;
    Found::count(
        expected.abs_diff(accounted),
        format!("expected {expected} deliveries, but received and missing make {accounted}"),
    )
}

/// What was owed, is missing and came, where the target has a cursor.
fn owed(trial: &Trial) -> (u64, u64, u64) {
    let d = trial.deliveries;
    (d.expected.unwrap_or(0), d.missing.unwrap_or(0), d.received)
}

fn the_first(which: &Option<String>) -> String {
    let which = which.as_ref();
    which
        .map(|f| format!("; the first is {f}"))
        .unwrap_or_default()
}
