//! Whether a gate holds. In: a gate and the rows of a comparison. Out: what failed, and why.
//!
//! A gate that cannot be judged has failed: a check that passes because nothing was measured is
//! worse than none. So it is with a row of which only a part can be judged: one that a record lacks, a
//! trial that is void, one without the metric, a count out of nothing.

use serde::Serialize;

use super::gate::{Bound, Gate};
use super::records::{CompareError, Line, Report, Row};
use crate::metrics::{Role, find};
use crate::record::Variant;

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The gate as it was written.
    pub gate: String,
    /// Why it failed, a line a row; empty where it holds.
    pub failures: Vec<String>,
}

/// Asks `gate` of every row that it means.
///
/// # Errors
/// [`CompareError::NoSuchGateRow`], [`CompareError::NoSuchMetric`]
pub(super) fn judge(
    gate: &Gate,
    report: &Report,
    left_out: &[(Variant, String)],
) -> Result<Judged, CompareError> {
    let meant = |row: &&Row| gate.only.is_none_or(|only| only.takes(row.pair.b));
    let rows: Vec<&Row> = report.rows.iter().filter(meant).collect();
    if rows.is_empty() {
        return Err(CompareError::NoSuchGateRow {
            gate: gate.text.clone(),
            asked: gate.only.map(|o| o.to_string()).unwrap_or_default(),
            rows: report.row_names(),
        });
    }
    let line = |row: &&Row| row.lines.iter().find(|l| l.metric == gate.metric).cloned();
    let lines: Vec<Option<Line>> = rows.iter().map(line).collect();
    let needs_a = !matches!(gate.bound, Bound::Value(_));
    for (needed, label, value) in [
        (true, &report.b.label, (|l| l.b) as fn(&Line) -> Option<f64>),
        (needs_a, &report.a.label, |l| l.a),
    ] {
        if needed && !lines.iter().flatten().any(|l| value(l).is_some()) {
            return Err(CompareError::NoSuchMetric {
                gate: gate.text.clone(),
                label: label.clone(),
                key: gate.metric.key,
                row: rows
                    .iter()
                    .map(|r| r.pair.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
                why: "it is null in every trial that is not void: too few samples or clients, or \
                      nothing to measure; choose another metric, or record more",
            });
        }
    }
    let failures = rows.iter().zip(&lines).filter_map(|(row, line)| {
        let why = match line {
            // What is beyond the bound already is said first.
            Some(line) => fails(gate, line).or_else(|| hollow(gate, row, line, report))?,
            // What neither of one record has told has not changed.
            None if report.identical && needs_a => return None,
            None => "cannot be judged: no trial tells it".to_owned(),
        };
        Some(format!("{}: {} {why}", row.pair, gate.metric.id))
    });
    let meant = |variant: &Variant| gate.only.is_none_or(|only| only.takes(variant.side));
    let absent = left_out.iter().filter(|(variant, _)| meant(variant));
    let absent = absent
        .map(|(variant, why)| format!("{variant}: {} cannot be judged: it {why}", gate.metric.id));
    Ok(Judged {
        gate: gate.text.clone(),
        failures: failures.chain(absent).collect(),
    })
}

/// Why a row whose numbers are within the bound cannot be judged: something of it was not measured, or
/// nothing was there to go wrong.
fn hollow(gate: &Gate, row: &Row, line: &Line, report: &Report) -> Option<String> {
    let needs_a = !matches!(gate.bound, Bound::Value(_));
    // What is compared with itself has not changed, whatever it is worth.
    if report.identical && needs_a {
        return None;
    }
    let why = |side: &str, at: usize| {
        let (trials, void, told) = (row.trials[at], row.void[at], line.told[at]);
        if trials == 0 {
            return Some(format!("no trial of {side} is usable"));
        }
        if void > 0 {
            return Some(format!(
                "{void} of {} trials of {side} are void",
                trials + void
            ));
        }
        if told < trials {
            return Some(format!("{told} of {trials} trials of {side} tell it"));
        }
        let of = find(gate.metric.out_of?)?.title;
        let nothing = line.out_of[at].is_some_and(|sum| sum <= 0.0);
        nothing.then(|| format!("it is counted out of {of}, of which {side} has none"))
    };
    let sides = [(true, "B", 1), (needs_a, "A", 0)].into_iter();
    let mut whys = sides.filter_map(|(needed, side, at)| why(side, at).filter(|_| needed));
    whys.next().map(|why| format!("cannot be judged: {why}"))
}

/// Why `line` fails the gate.
fn fails(gate: &Gate, line: &Line) -> Option<String> {
    let show = |value: f64| gate.metric.show(Some(value));
    let (Some(b), bound) = (line.b, gate.bound_text()) else {
        return Some("cannot be judged: no trial of B tells it".to_owned());
    };
    let beyond = if gate.above { "above" } else { "below" };
    if let Bound::Value(limit) = gate.bound {
        let failed = gate.beyond(b, limit);
        return failed.then(|| format!("is {}, {beyond} {bound}", show(b)));
    }
    let Some(a) = line.a else {
        return Some("cannot be judged: no trial of A tells it".to_owned());
    };
    // What is counted is exact; what is measured is believed as far as its interval goes.
    let near = match (
        gate.metric.role,
        if gate.above { line.low } else { line.high },
    ) {
        (_, Some(near)) => near,
        // No change at all where both records are one, and where both are 0 throughout.
        (_, None) if a == b && line.why.is_none() => 0.0,
        (Role::Count, None) => match (gate.bound, line.change) {
            (Bound::Relative(_), None) => f64::INFINITY,
            (_, change) => change.unwrap_or(0.0),
        },
        (_, None) => {
            let why = line.why.as_deref().unwrap_or("there is no interval");
            return Some(format!(
                "cannot be judged: {why}; record at least 5 trials of each"
            ));
        }
    };
    let (found, limit, failed) = match gate.bound {
        Bound::Relative(limit) => (percent(near), percent(limit), gate.beyond(near, limit)),
        Bound::Difference(limit) => {
            let found = match gate.metric.role {
                Role::Count => b - a,
                // The interval is one of ratios, so it is taken of A's value.
                _ => near * a,
            };
            (show(found), show(limit), gate.beyond(found, limit))
        }
        Bound::Value(_) => return None,
    };
    failed.then(|| match line.low.zip(line.high) {
        Some((low, high)) => format!(
            "went from {} to {} ({} to {}); the near end, {found}, is {beyond} {limit}",
            show(a),
            show(b),
            percent(low),
            percent(high)
        ),
        None => format!("went from {} to {}, {beyond} {bound}", show(a), show(b)),
    })
}

/// `+12.3%`.
pub fn percent(change: f64) -> String {
    if !change.is_finite() {
        return "+∞%".to_owned();
    }
    let places = match (change * 100.0).abs() {
        p if p >= 100.0 => 0,
        p if p >= 0.095 || p == 0.0 => 1,
        _ => 2,
    };
    let text = format!("{:+.places$}%", change * 100.0);
    // Rounding may leave a sign in front of nothing.
    if text.trim_matches(['+', '-', '%', '.', '0']).is_empty() {
        "0%".to_owned()
    } else {
        text
    }
}
