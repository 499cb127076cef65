//! Whether every delivery is accounted for, and what was delivered is what was published.

use super::findings::{Found, Row, row};
use crate::record::Capability::Cursor;
use crate::record::Trial;

/// Why nothing can be said of a ledger that was never written in.
pub(super) const NOTHING_OWED: &str = "no delivery was expected";

/// Why nothing can be said of what came.
pub(super) const NOTHING_CAME: &str = "no delivery was received";

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
            Found::count_of(
                (missing.saturating_sub(evidence.told_lost), expected),
                NOTHING_OWED,
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
            let message = format!("{twice} messages came twice");
            Found::count_of((twice, trial.deliveries.received), NOTHING_CAME, message)
        },
        BUG,
    ),
    row(
        "ledger_order",
        |trial, _| {
            let late = trial.deliveries.out_of_order;
            let message = format!("{late} messages came after a later one");
            Found::count_of((late, trial.deliveries.received), NOTHING_CAME, message)
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
        |trial, evidence| {
            let corrupt = evidence.report.corrupt;
            let first = the_first(&evidence.report.first_corrupt);
            Found::count_of(
                (corrupt, trial.deliveries.received),
                NOTHING_CAME,
                format!("{corrupt} messages are not what was published{first}"),
            )
        },
        BUG,
    ),
];

fn balance(trial: &Trial, _: &super::Evidence<'_>) -> Found {
    let (expected, missing, received) = owed(trial);
    let accounted = received + missing;
    Found::count_of(
        (expected.abs_diff(accounted), expected),
        NOTHING_OWED,
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
