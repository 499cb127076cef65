//! Whether the clients, and not the server, were what was measured.

use super::findings::{Found, Row, ms, percent, row, timed};
use super::{Evidence, NEGLIGIBLE_LATENESS_NS, highest_known};
use crate::record::{Trial, Verdict};

/// A wait in the kernel that is never held against the clients, in ns: below a millisecond, it is
/// the wake-up of an idle core.
pub const NEGLIGIBLE_WAIT_NS: f64 = 1e6;

/// Share of its cores that the fleet may use. Queues grow without bound towards 1; at 0.8 a
/// message waits on average four service times for its client (M/M/1).
pub const MAX_HARNESS_CPU: f64 = 0.8;

/// Share of its cores beyond which the fleet itself was the bottleneck.
pub const VOID_HARNESS_CPU: f64 = 0.95;

/// Share of delivery latency that may be spent between the kernel's receipt of a segment and the
/// client's read, on the probes: above half, the harness is what was measured.
pub const MAX_HARNESS_SHARE: f64 = 0.5;

/// Why nothing can be said of shares of a window that has no length.
pub(super) const NO_TIME: &str = "there was no time over which CPU was read";

/// Why nothing can be said of the kernel's time stamps.
pub(super) const NO_STAMPS: &str = "no kernel timestamps: no probe client, or not on this platform";

pub(super) const CHECKS: &[Row] = &[
    timed(
        "harness_cpu",
        |trial, evidence| {
            let available = evidence.window_ns as f64 * evidence.fleet_cores as f64;
            if available == 0.0 {
                return Found::not_tested(NO_TIME);
            }
            let Some(used) = trial.harness.cpu_ns else {
                return Found::not_tested("the fleet's CPU clock cannot be read");
            };
            let used = used as f64 / available;
            let message = format!("the clients used {} of their cores", percent(used));
            Found::above_two(used, MAX_HARNESS_CPU, VOID_HARNESS_CPU, message)
        },
        "the clients were the bottleneck: lower '--clients' or '--rate', or give them more cores",
    ),
    row(
        "scheduler_lag",
        scheduler_lag,
        "the clients did not get their cores in time: run on a quieter machine, or lower \
         '--clients' or '--rate'",
    ),
    timed(
        "harness_share",
        harness_share,
        "the clients were slow, not the server: lower '--clients' or '--rate', or give them more \
         cores",
    ),
];

fn scheduler_lag(trial: &Trial, _: &Evidence<'_>) -> Found {
    match highest_known(&trial.harness.scheduler_lag_ns, &trial.latency_ns) {
        None => Found::not_tested("too few ticks or deliveries for a quantile"),
        Some((lag, tail, q)) => Found::above(
            lag,
            (tail * MAX_HARNESS_SHARE).max(NEGLIGIBLE_LATENESS_NS),
            Verdict::Suspect,
            format!(
                "the clients' timers were {} late at {q}, where delivery took {}",
                ms(lag),
                ms(tail)
            ),
        ),
    }
}

fn harness_share(trial: &Trial, _: &Evidence<'_>) -> Found {
    let Some(probe) = trial.probe else {
        return Found::not_tested(NO_STAMPS);
    };
    // Of the same reads: where one brings several messages, the first of them waited longer.
    let (share, rest) = (probe.harness_ns, probe.server_and_network_ns);
    let of = |share: Option<u64>, rest: Option<u64>, negligible: f64| {
        let (share, rest) = (share? as f64, rest? as f64);
        Some((share, ((share + rest) * MAX_HARNESS_SHARE).max(negligible)))
    };
    let message = |ns: f64, q: &str| {
        let wait = ms(ns);
        format!("messages waited {wait} at {q} in the kernel for their client to read them")
    };
    let Some((middle, limit)) = of(share.p50, rest.p50, NEGLIGIBLE_WAIT_NS) else {
        return Found::not_tested("too few stamped reads for a quantile");
    };
    match of(share.p99, rest.p99, NEGLIGIBLE_LATENESS_NS) {
        Some((tail, limit_of_tail)) if middle <= limit => {
            let message = message(tail, "p99");
            Found::above(tail, limit_of_tail, Verdict::Suspect, message)
        }
        _ => Found::above(middle, limit, Verdict::Void, message(middle, "p50")),
    }
}
