//! The checks that give a trial its verdict.
//!
//! Place on the data path: after the trial, before the record. In: what was counted on both sides
//! and of the machine. Out: every check with what was found and where its limit lies, and for each
//! that did not pass a reason with a remedy. A number whose trial is `void` says nothing about the
//! server; one whose trial is `suspect` may have been skewed by what the reason names.
//!
//! One file a subject, each a table of checks. Whether two transports differ is not decided here.

use pushbench_protocol::schedule::Arrival;

use crate::load::FleetReport;
use crate::observe::network::NetworkCounters;
use crate::observe::run_queue::RunQueue;
use crate::record::{Quantiles, Trial};

mod clock;
mod findings;
mod harness;
mod ledger;
mod load;
mod machine;
mod publisher;

pub use harness::{MAX_HARNESS_CPU, MAX_HARNESS_SHARE, NEGLIGIBLE_WAIT_NS, VOID_HARNESS_CPU};
pub use machine::{
    MAX_OTHER_LOAD, MAX_RETRANSMITTED, MAX_RUN_QUEUE_SHARE, MAX_STEAL, MAX_THROTTLED,
    NEGLIGIBLE_RUN_QUEUE_SHARE, VOID_RUN_QUEUE_SHARE,
};
pub use publisher::{ARRIVAL_LEVEL, MAX_LAG_SHARE, MAX_RATE_ERROR};

/// Lateness of a thread that is never held against it, in ns: the scheduler of a machine, or of the
/// hypervisor under it, does up to 5 ms to any thread that sleeps.
pub const NEGLIGIBLE_LATENESS_NS: f64 = 5e6;

/// All checks, in the order of the record.
const CHECKS: [&[findings::Row]; 9] = [
    load::CONNECTED,
    ledger::CHECKS,
    publisher::CHECKS,
    harness::CHECKS,
    machine::CHECKS,
    clock::CLOCKS,
    clock::STATIONARY,
    load::RETURNED,
    clock::SAMPLES,
];

/// What the checks go by, in addition to the row itself.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// What the fleet counted.
    pub report: &'a FleetReport,
    /// Length of the stretch over which CPU was read, in ns.
    pub window_ns: u64,
    /// Cores that the fleet may use.
    pub fleet_cores: usize,
    /// Cores of the machine.
    pub cores: usize,
    /// The kernel's counters over the connect phase.
    pub connecting: Option<NetworkCounters>,
    /// The kernel's counters over that stretch.
    pub measuring: Option<NetworkCounters>,
    /// How long either side waited for a core over that stretch.
    pub waited: Waited,
    /// Channels that are published to.
    pub channels: u32,
    /// How arrivals were to be distributed.
    pub arrival: Arrival,
    /// Times between actual publishes, in ns.
    pub gaps_ns: &'a [u64],
    /// What the scenario does to the trial on purpose, in words; `None` where it leaves it alone.
    pub disturbed: Option<&'a str>,
    /// Whether the server that publishes is not the one that began.
    pub server_replaced: bool,
    /// Deliveries that the server said it would not make: to subscribers that fell off the ring, or
    /// that were to have the newest only.
    pub told_lost: u64,
}

/// How long the threads of either side waited for a core.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waited {
    /// The server's.
    pub server: Option<RunQueue>,
    /// The clients'.
    pub fleet: Option<RunQueue>,
}

/// Makes every check and enters it.
pub fn audit(trial: &mut Trial, evidence: &Evidence<'_>) {
    trial.validity.checks.clear();
    for row in CHECKS.into_iter().flatten() {
        row.check(trial, evidence);
    }
}

/// Whether a check voids a trial for its timing: no reason to doubt what was delivered.
pub fn is_timed(check: &str) -> bool {
    let mut rows = CHECKS.into_iter().flatten();
    rows.any(|row| row.timed && row.name == check)
}

/// The same quantile of a lag and of delivery latency, in ns: the highest that both have.
fn highest_known(lag: &Quantiles, latency: &Quantiles) -> Option<(f64, f64, &'static str)> {
    let pairs = [
        (lag.p99, latency.p99, "p99"),
        (lag.p90, latency.p90, "p90"),
        (lag.p50, latency.p50, "p50"),
    ];
    pairs
        .into_iter()
        .find_map(|(l, t, q)| Some((l? as f64, t? as f64, q)))
}

#[cfg(test)]
mod tests;
