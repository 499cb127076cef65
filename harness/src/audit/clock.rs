//! Whether the clocks can be trusted, and whether there is enough of a steady state to speak of.

use super::Evidence;
use super::findings::{Found, Row, percent, row, timed};
use super::harness::NO_STAMPS;
use super::ledger::{NOTHING_CAME, NOTHING_OWED};
use crate::analysis::stats::stationarity::STRICT;
use crate::analysis::stats::{Stationarity, stationarity};
use crate::record::{Trial, Verdict};

/// Share of the kernel's timestamps that may be impossible. A stamp may belong to a segment after
/// the message; a clock that was set spoils them all.
const MAX_IMPOSSIBLE_STAMPS: f64 = 0.01;

/// Share of the deliveries of a slice that may come when the turn is over: those are in no CPU time of
/// their own trial, and load the slice of another.
const MAX_SPILLED: f64 = 0.01;

/// Deliveries that a median needs.
const DELIVERIES_FOR_MEDIAN: f64 = 12.0;

pub(super) const CLOCKS: &[Row] = &[
    row(
        "clock",
        |trial, evidence| {
            let negative = evidence.report.negative_latencies;
            Found::count_of(
                (negative, trial.deliveries.received),
                NOTHING_CAME,
                format!("{negative} messages were received before they were published"),
            )
        },
        "server and clients must read one clock: run both on one host",
    ),
    row(
        "wall_clock",
        |trial, evidence| {
            let impossible = evidence.report.impossible_stamps;
            let reads = trial.probe.map_or(0, |probe| probe.reads);
            if impossible + reads == 0 {
                return Found::not_tested(NO_STAMPS);
            }
            let share = impossible as f64 / (impossible + reads) as f64;
            let message = format!(
                "{} of the kernel's timestamps are impossible",
                percent(share)
            );
            Found::above(share, MAX_IMPOSSIBLE_STAMPS, Verdict::Suspect, message)
        },
        "the wall clock was set during the trial: run it again",
    ),
    timed(
        "turn",
        |trial, _| {
            let Some(spilled) = trial.spilled else {
                return Found::Absent;
            };
            let measured: u64 = trial.slices.iter().map(|slice| slice.deliveries).sum();
            let share = spilled as f64 / measured.max(1) as f64;
            let message = format!(
                "{} of the deliveries came when the trial's turn was over",
                percent(share)
            );
            Found::above(share, MAX_SPILLED, Verdict::Suspect, message)
        },
        "lower '--clients' or '--rate', or let each trial run by itself with '--whole-trials'",
    ),
];

pub(super) const STATIONARY: &[Row] = &[row(
    "stationary",
    stationary,
    "the warm-up was too short or something builds up: lengthen 'phases.warm_up_s', or lower '--rate'",
)];

pub(super) const SAMPLES: &[Row] = &[row(
    "samples",
    |trial, _| {
        if trial.deliveries.expected == Some(0) {
            return Found::not_tested(NOTHING_OWED);
        }
        let latency = trial.latency_ns;
        let verdict = match latency.p50 {
            None => Verdict::Suspect,
            Some(_) => Verdict::Valid,
        };
        let (count, needed) = (latency.count, DELIVERIES_FOR_MEDIAN);
        let message = format!("a median needs {needed} deliveries; there were {count}");
        Found::Measured(count as f64, needed, verdict, message)
    },
    "measure longer with '--duration', or raise '--rate'",
)];

fn stationary(trial: &Trial, evidence: &Evidence<'_>) -> Found {
    if let Some(why) = evidence.disturbed {
        return Found::not_tested(why.to_owned());
    }
    if !trial.slices.is_empty() {
        return Found::not_tested("its slices lie apart, with the turns of others between them");
    }
    let series: Vec<f64> = evidence.report.series.iter().flatten().copied().collect();
    match stationarity(&series) {
        Stationarity::NotTested { values, needed } => Found::not_tested(format!(
            "{values} stretches of the phase hold a delivery, {needed} are needed"
        )),
        Stationarity::Stationary { statistic, .. } => {
            Found::Measured(statistic, STRICT, Verdict::Valid, String::new())
        }
        Stationarity::Drifting {
            statistic,
            critical,
            drift,
        } => {
            let message = format!(
                "latency changed by {} from the first third of the measure phase to the last (KPSS \
                 {statistic:.2})",
                percent(drift)
            );
            Found::Measured(statistic, critical, Verdict::Suspect, message)
        }
    }
}
