//! What the rest of the machine did: the network, the hypervisor, other programs.

use super::Evidence;
use super::findings::{Found, Row, ms, percent, row, timed};
use super::harness::NO_TIME;
use crate::observe::run_queue::RunQueue;
use crate::record::{Trial, Verdict};

/// Share of segments that may have been retransmitted.
pub const MAX_RETRANSMITTED: f64 = 0.001;

/// Share of the machine's time that a hypervisor may have given to others.
pub const MAX_STEAL: f64 = 0.1;

/// Share of the machine's time that may have gone to neither server nor fleet.
pub const MAX_OTHER_LOAD: f64 = 0.1;

/// Share of the time for which a side was ready to run that it may have waited for a core, because
/// other programs were on it. With 'quick' on two quiet cores it was 0.02 to 0.16; next to one busy
/// loop 0.47, two 0.56, four 0.67 to 0.72 (the clients').
pub const MAX_RUN_QUEUE_SHARE: f64 = 0.25;

/// The share beyond which a side lacked CPU: it waited longer than it ran.
pub const VOID_RUN_QUEUE_SHARE: f64 = 0.5;

/// Such a wait, as a share of the stretch over which it was read, that is never held against a
/// trial: if at most one in a hundred messages meets it, it moves no quantile up to p99.
pub const NEGLIGIBLE_RUN_QUEUE_SHARE: f64 = 0.01;

/// Share of the machine's time for which the CPU quota of a control group may have kept threads from
/// running: more moves p99.
pub const MAX_THROTTLED: f64 = 0.01;

const UNKNOWN: &str = "this machine does not report it";

const CLOSE: &str = "close other programs and run again";

pub(super) const CHECKS: &[Row] = &[
    row(
        "retransmissions",
        |_, evidence| {
            let Some(counted) = evidence.measuring else {
                return Found::not_tested("the kernel's counters cannot be read");
            };
            if counted.segments_out == 0 {
                return Found::not_tested("no segment was sent");
            }
            let share = counted.segments_retransmitted as f64 / counted.segments_out as f64;
            let message = format!("{} of all segments were retransmitted", percent(share));
            Found::above(share, MAX_RETRANSMITTED, Verdict::Suspect, message)
        },
        "something on the way loses segments: see 'nstat -az TcpRetransSegs'",
    ),
    row(
        "steal",
        |trial, evidence| {
            let Some(steal) = trial.machine.steal_ns else {
                return Found::not_tested(UNKNOWN);
            };
            let Some(available) = available(evidence) else {
                return Found::not_tested(NO_TIME);
            };
            let share = steal as f64 / available;
            let message = format!(
                "the hypervisor gave {} of the CPU to others",
                percent(share)
            );
            Found::above(share, MAX_STEAL, Verdict::Suspect, message)
        },
        "run on a machine of its own, or use more trials with '--trials'",
    ),
    row(
        "other_load",
        |trial, evidence| {
            let Some(other) = trial.machine.unattributed_cpu_ns else {
                return Found::not_tested(UNKNOWN);
            };
            let Some(available) = available(evidence) else {
                return Found::not_tested(NO_TIME);
            };
            let share = other as f64 / available;
            let message = format!("other programs used {} of the CPU", percent(share));
            Found::above(share, MAX_OTHER_LOAD, Verdict::Suspect, message)
        },
        "close them and run again",
    ),
    timed(
        "throttled",
        |trial, evidence| {
            let Some(throttled) = trial.machine.throttled_ns else {
                return Found::Absent;
            };
            let message = format!(
                "the control group of this run had used up its CPU quota: the kernel kept threads \
                 from running for {}",
                ms(throttled as f64)
            );
            let Some(available) = available(evidence) else {
                return Found::not_tested(NO_TIME);
            };
            let share = throttled as f64 / available;
            Found::above(share, MAX_THROTTLED, Verdict::Suspect, message)
        },
        "raise the quota ('cpu.max' or 'cpu.cfs_quota_us' of the group), or run outside the group",
    ),
    timed(
        "server_run_queue",
        |trial, evidence| {
            run_queue(
                trial,
                "the server was starved of CPU: it",
                evidence.waited.server,
                evidence,
            )
        },
        CLOSE,
    ),
    timed(
        "harness_run_queue",
        |trial, evidence| {
            run_queue(
                trial,
                "the clients were starved of CPU: they",
                evidence.waited.fleet,
                evidence,
            )
        },
        CLOSE,
    ),
];

/// CPU time of the whole machine over the window, in ns; `None` where it has no length.
fn available(evidence: &Evidence<'_>) -> Option<f64> {
    let available = evidence.window_ns as f64 * evidence.cores as f64;
    (available > 0.0).then_some(available)
}

/// Cores that other programs took: the CPU clocks of both sides cannot see them.
fn run_queue(trial: &Trial, who: &str, waited: Option<RunQueue>, evidence: &Evidence<'_>) -> Found {
    // A thread that is kept from running for its group's quota waits in the same queue.
    let throttled = trial.machine.throttled_ns.unwrap_or(0) as f64;
    let Some(available) = available(evidence) else {
        return Found::not_tested(NO_TIME);
    };
    if throttled > MAX_THROTTLED * available {
        return Found::not_tested("the wait is the CPU quota's: see 'throttled'");
    }
    let Some(waited) = waited else {
        return Found::not_tested(
            "the kernel does not report how long threads wait, or a relay shares their cores",
        );
    };
    if waited.ran_ns + waited.displaced_ns == 0 {
        return Found::not_tested("none of its threads was ready to run");
    }
    let share = waited.share();
    let displaced = waited.displaced_ns as f64;
    let message = format!(
        "{who} waited for {} of the time in which {} could have run, because other programs had the \
         cores ({} of waiting, {} of running)",
        percent(share),
        if who.ends_with("they") { "they" } else { "it" },
        ms(displaced),
        ms(waited.ran_ns as f64)
    );
    if displaced <= NEGLIGIBLE_RUN_QUEUE_SHARE * evidence.window_ns as f64 {
        return Found::Measured(share, MAX_RUN_QUEUE_SHARE, Verdict::Valid, message);
    }
    Found::above_two(share, MAX_RUN_QUEUE_SHARE, VOID_RUN_QUEUE_SHARE, message)
}
