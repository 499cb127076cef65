//! Whether the record of a trial shows what was done to it.
//!
//! In: a trial's row and histograms, and what was really done to it
//! ([`Interfered`](crate::trial::interfere::Interfered)). Out: whether they agree, and both figures in a
//! line. Pure functions.

use pushbench_protocol::schedule::Timetable;

use super::Answer;
use crate::record::{Trial, Verdict};
use crate::trial::Histograms;

/// Latencies above this count as those of the stall: half of it.
const HALF_STALL_NS: u64 = 250_000_000;

/// How far the greatest latency may lie from the stall as it was measured, and from what follows
/// from the schedule.
const STALL_TOLERANCE: f64 = 0.02;

/// How far the number of late messages may lie from the expected one.
const COUNT_TOLERANCE: f64 = 0.05;

/// How far the median with a delay may lie from the direct one and the delay: the relay is two
/// more wake-ups and one more pair of sockets on the way, each some 50 to 100 µs.
pub(super) const DELAY_TOLERANCE_NS: u64 = 500_000;

/// How many times as long as undisturbed a starved fleet must let a message wait. Undisturbed it is
/// a wake-up, some 50 µs; starved, the time slices of others, milliseconds.
const STARVED_WAIT: u64 = 4;

/// Checks of the audit that say that the harness, not the server, was too slow.
const HARNESS_CHECKS: [&str; 3] = ["harness_cpu", "scheduler_lag", "harness_share"];

/// The check that must void the trial of a starved fleet wherever the kernel tells how long threads
/// wait for a core.
const RUN_QUEUE: &str = "harness_run_queue";

/// What a stall of the server must have done to each of `clients` subscribers of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StallExpected {
    /// From SIGSTOP to SIGCONT.
    stopped_ns: u64,
    /// The wait of the first message that was due while the server stood still.
    max_ns: u64,
    /// Deliveries whose message waited for more than half a stall.
    late: u64,
}

/// The server stood still: delivery latency shows all of it, service latency next to nothing,
/// because the publisher stood still with the server.
pub(super) fn stall(trial: &Trial, histograms: &Histograms) -> Answer {
    let Some(expected) = stall_expected(histograms, trial.clients.connected) else {
        return not_done("stall", trial);
    };
    let got_ns = trial.latency_ns.max.unwrap_or(0);
    let delivery = &histograms.delivery;
    let late = delivery.len() - delivery.count_between(0, HALF_STALL_NS);
    let service = trial.service_ns;
    let holds = near(got_ns, expected.max_ns, STALL_TOLERANCE)
        && near(got_ns, expected.stopped_ns, STALL_TOLERANCE)
        && near(late, expected.late, COUNT_TOLERANCE)
        // One delivery in a thousand is allowed for: a message may have been on its way at the stop.
        && service.p999.is_some_and(|p999| p999 < HALF_STALL_NS)
        && trial.deliveries.missing == Some(0);
    let text = format!(
        "{} stopped for {} at {:.0} msg/s: expected max {} (the first message due in it), got {} \
         ({:.1}%); {} above {} expected, got {late}; service latency max {}, p999 {} would have \
         hidden it",
        trial.variant.transport,
        ms(Some(expected.stopped_ns)),
        trial.publish.offered_per_s,
        ms(Some(expected.max_ns)),
        ms(Some(got_ns)),
        100.0 * (got_ns as f64 / expected.max_ns as f64 - 1.0).abs(),
        expected.late,
        ms(Some(HALF_STALL_NS)),
        ms(service.max),
        ms(service.p999),
    );
    Answer { text, holds }
}

fn stall_expected(histograms: &Histograms, clients: u64) -> Option<StallExpected> {
    let stall = histograms.interfered.stalls.first()?;
    let timetable = Timetable::new(histograms.interfered.timing.schedule);
    let first = timetable.messages_before(stall.stopped_ns);
    let late_until_ns = stall.continued_ns.saturating_sub(HALF_STALL_NS);
    Some(StallExpected {
        stopped_ns: stall.continued_ns - stall.stopped_ns,
        max_ns: stall.continued_ns - timetable.message(first).intended_ns,
        late: clients
            * timetable
                .messages_before(late_until_ns)
                .saturating_sub(first),
    })
}

/// Every byte of the server was held for `delay_ns`: the median moved by that much.
pub(super) fn delay(
    direct: &Trial,
    relayed: &Trial,
    histograms: &Histograms,
    delay_ns: u64,
) -> Answer {
    let (Some(direct_ns), Some(got_ns), Some(relay)) = (
        direct.latency_ns.p50,
        relayed.latency_ns.p50,
        histograms.interfered.layers.first(),
    ) else {
        return not_done("delay", relayed);
    };
    let expected_ns = direct_ns + delay_ns;
    let text = format!(
        "{} delayed by {}: expected p50 {} (direct {}), got {} (within {}; the relay held bytes \
         for {})",
        relayed.variant.transport,
        ms(Some(delay_ns)),
        ms(Some(expected_ns)),
        ms(Some(direct_ns)),
        ms(Some(got_ns)),
        ms(Some(DELAY_TOLERANCE_NS)),
        ms(Some(relay.held.value_at_quantile(0.5))),
    );
    let holds = got_ns.abs_diff(expected_ns) <= DELAY_TOLERANCE_NS
        && ledger(relayed) == [0; 3]
        && ledger(direct) == [0; 3];
    Answer { text, holds }
}

/// Messages were left out, sent twice or swapped: the ledger counts these and no other, and the
/// trial is void for that reason.
pub(super) fn faults(trial: &Trial, histograms: &Histograms) -> Answer {
    let Some(relay) = histograms.interfered.layers.first() else {
        return not_done("faults", trial);
    };
    let injected = relay.injected;
    let expected = [injected.dropped, injected.duplicated, injected.swapped];
    let got = ledger(trial);
    let checks = ["ledger_missing", "ledger_duplicate", "ledger_order"];
    let due: Vec<&str> = checks
        .into_iter()
        .zip(expected)
        .filter_map(|(check, count)| (count > 0).then_some(check))
        .collect();
    let fired: Vec<&str> = reasons(trial).filter(|r| r.starts_with("ledger")).collect();
    let text = format!(
        "{} with {} of {} deliveries dropped, {} doubled, {} swapped: got {} missing, {} duplicate, \
         {} out of order; {}",
        trial.variant.transport,
        expected[0],
        trial.deliveries.expected.unwrap_or(0),
        expected[1],
        expected[2],
        got[0],
        got[1],
        got[2],
        verdict(trial),
    );
    let holds = expected != [0; 3]
        && got == expected
        && trial.validity.verdict == Verdict::Void
        && due == fired;
    Answer { text, holds }
}

/// The publisher was asked for more than it can do: the trial is void for its rate, and the lag is
/// seen.
pub(super) fn late_publisher(trial: &Trial) -> Answer {
    let lag = trial.publish.lag_ns;
    let text = format!(
        "{:.0} msg/s offered on {}: got {:.0} msg/s, publish lag p50 {}, max {}; {}",
        trial.publish.offered_per_s,
        trial.variant.transport,
        trial.publish.achieved_per_s.unwrap_or(0.0),
        ms(lag.p50),
        ms(lag.max),
        verdict(trial),
    );
    let holds = trial.validity.verdict == Verdict::Void
        && reasons(trial).any(|reason| reason == "achieved_rate")
        && lag.p50.is_some_and(|p50| p50 > 0);
    Answer { text, holds }
}

/// The fleet did not get its cores: its own measures must say so, and the audit name the harness.
/// Medians are compared, because the tail of the undisturbed trial is the machine's.
pub(super) fn starved(direct: &Trial, starved: &Trial, histograms: &Histograms) -> Answer {
    let (before, after) = (fleet_wait_ns(direct), fleet_wait_ns(starved));
    let text = format!(
        "{} threads on the cores of the fleet on {}: expected messages to wait for the fleet more than {} \
         times the {} without them, got {} of a delivery latency p50 of {} (without: {}); scheduler \
         lag p99 {} (without: {}), wait for a core {} (without: {}); {}",
        histograms.interfered.hogs,
        starved.variant.transport,
        STARVED_WAIT,
        ms(before),
        ms(after),
        ms(starved.latency_ns.p50),
        ms(direct.latency_ns.p50),
        ms(starved.harness.scheduler_lag_ns.p99),
        ms(direct.harness.scheduler_lag_ns.p99),
        ms(starved.harness.run_queue_wait_ns),
        ms(direct.harness.run_queue_wait_ns),
        verdict(starved),
    );
    let longer = before
        .zip(after)
        .is_some_and(|(before, after)| before > 0 && after > STARVED_WAIT * before);
    let holds = histograms.interfered.hogs > 0 && longer && is_named_starved(starved);
    Answer { text, holds }
}

/// Whether the audit says that the clients of a trial lacked CPU.
pub(super) fn is_named_starved(trial: &Trial) -> bool {
    if trial.harness.run_queue_wait_ns.is_some() {
        trial.validity.verdict == Verdict::Void && reasons(trial).any(|r| r == RUN_QUEUE)
    } else {
        reasons(trial).any(|reason| HARNESS_CHECKS.contains(&reason))
    }
}

/// The median wait for the fleet: in the kernel where it stamps segments, of a timer elsewhere.
fn fleet_wait_ns(trial: &Trial) -> Option<u64> {
    let stamped = trial.probe.and_then(|probe| probe.harness_ns.p50);
    stamped.or(trial.harness.scheduler_lag_ns.p50)
}

/// A trial that did not come to what was to be compared.
pub(super) fn not_done(what: &str, trial: &Trial) -> Answer {
    let why = trial.error.clone().unwrap_or_else(|| verdict(trial));
    let text = format!(
        "{what} on {}: the trial came to nothing: {why}",
        trial.variant.transport
    );
    Answer { text, holds: false }
}

fn ledger(trial: &Trial) -> [u64; 3] {
    let d = trial.deliveries;
    [d.missing.unwrap_or(0), d.duplicate, d.out_of_order]
}

fn reasons(trial: &Trial) -> impl Iterator<Item = &str> {
    trial.validity.reasons.iter().map(|r| r.check.as_str())
}

/// `void (ledger_missing)`.
fn verdict(trial: &Trial) -> String {
    let reasons: Vec<&str> = reasons(trial).collect();
    match reasons.as_slice() {
        [] => trial.validity.verdict.to_string(),
        reasons => format!("{} ({})", trial.validity.verdict, reasons.join(", ")),
    }
}

fn near(got: u64, expected: u64, tolerance: f64) -> bool {
    got.abs_diff(expected) as f64 <= expected as f64 * tolerance
}

fn ms(ns: Option<u64>) -> String {
    match ns {
        Some(ns) if ns.is_multiple_of(1_000_000) => format!("{} ms", ns / 1_000_000),
        Some(ns) => format!("{:.2} ms", ns as f64 / 1e6),
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::layer::Passed;
    use crate::environment::layer::relay::Injected;
    use crate::load::Timing;
    use crate::record::histogram;
    use crate::record::{Quantiles, Reason};
    use crate::trial::interfere::{Interfered, Stalled};
    use pushbench_protocol::schedule::Schedule;
    use pushbench_protocol::transport::{Profile, Transport};
    use std::time::SystemTime;

    const MS: u64 = 1_000_000;

    fn trial(transport: Transport) -> Trial {
        let mut trial = Trial::new(transport, Profile::Tuned, 1);
        trial.clients.connected = 1;
        trial
    }

    fn with_reason(mut trial: Trial, check: &str) -> Trial {
        let reason = Reason {
            check: check.to_owned(),
            measured: None,
            limit: None,
            remedy: String::new(),
            message: String::new(),
        };
        trial.validity.raise(Verdict::Void, reason);
        trial
    }

    fn nothing_done() -> Histograms {
        let schedule = Schedule::uniform(0..20_000 * MS, 200.0, 1);
        Histograms {
            delivery: histogram(),
            fanout: histogram(),
            intervals: Vec::new(),
            measure_started: SystemTime::UNIX_EPOCH,
            interfered: Interfered {
                timing: Timing {
                    schedule,
                    measure_from_ns: 0,
                    measure_until_ns: 20_000 * MS,
                    linger_ms: 0.0,
                    faults_ns: Vec::new(),
                },
                layers: Vec::new(),
                stalls: Vec::new(),
                hogs: 0,
            },
        }
    }

    /// The server stood still from 1001 to 1501 ms, and each message waited `extra_ns` beyond.
    fn stalled(extra_ns: u64, service_ns: u64) -> (Trial, Histograms) {
        let mut histograms = nothing_done();
        histograms.interfered.stalls.push(Stalled {
            stopped_ns: 1_001 * MS,
            continued_ns: 1_501 * MS,
        });
        let latencies = (0..100).map(|late| 496 * MS - 5 * MS * late + extra_ns);
        latencies.for_each(|ns| histograms.delivery.record(ns).expect("in range"));
        let mut service = histogram();
        service.record_n(service_ns, 10_000).expect("in range");
        let mut trial = trial(Transport::Sse);
        trial.latency_ns = Quantiles::from_histogram(&histograms.delivery);
        trial.service_ns = Quantiles::from_histogram(&service);
        trial.deliveries.missing = Some(0);
        (trial, histograms)
    }

    #[test]
    fn a_stall_is_expected_from_the_schedule_and_the_measured_times() {
        let (_, histograms) = stalled(0, MS);
        let expected = StallExpected {
            stopped_ns: 500 * MS,
            max_ns: 496 * MS,
            // 1005, 1010, … 1250 ms.
            late: 3 * 50,
        };
        assert_eq!(stall_expected(&histograms, 3), Some(expected));
    }

    #[test]
    fn a_stall_holds_only_where_delivery_shows_it_in_full_and_service_hides_it() {
        let holds = |extra_ns, service_ns| {
            let (trial, histograms) = stalled(extra_ns, service_ns);
            stall(&trial, &histograms).holds
        };
        assert!(holds(0, MS));
        assert!(holds(5 * MS, MS));
        assert!(
            !holds(15 * MS, MS),
            "the greatest is too great, and too many are late"
        );
        assert!(!holds(0, 400 * MS), "service latency shows it as well");
        let (trial, _) = stalled(0, MS);
        assert!(!stall(&trial, &nothing_done()).holds, "nothing was done");
    }

    #[test]
    fn a_delay_holds_within_its_tolerance() {
        let with_p50 = |p50| {
            let mut trial = trial(Transport::LongPoll);
            trial.latency_ns.p50 = Some(p50);
            trial
        };
        let mut histograms = nothing_done();
        histograms.interfered.layers = vec![Passed {
            injected: Injected::default(),
            held: histogram(),
        }];
        let holds = |p50| delay(&with_p50(MS), &with_p50(p50), &histograms, 10 * MS).holds;
        assert!(holds(11 * MS) && holds(11 * MS + DELAY_TOLERANCE_NS));
        assert!(!holds(11 * MS + DELAY_TOLERANCE_NS + 1));
        assert!(!holds(10 * MS));
        let mut lossy = with_p50(11 * MS);
        lossy.deliveries.missing = Some(1);
        assert!(!delay(&with_p50(MS), &lossy, &histograms, 10 * MS).holds);
    }

    #[test]
    fn faults_hold_only_where_the_ledger_is_exact_and_the_reason_is_theirs() {
        let mut histograms = nothing_done();
        let mut inject = |dropped, duplicated, swapped| {
            histograms.interfered.layers = vec![Passed {
                injected: Injected {
                    dropped,
                    duplicated,
                    swapped,
                },
                held: histogram(),
            }];
            histograms.clone()
        };
        let dropped = inject(5, 0, 0);
        let missing = |count, check| {
            let mut trial = with_reason(trial(Transport::Tcp), check);
            trial.deliveries.missing = Some(count);
            trial
        };
        assert!(faults(&missing(5, "ledger_missing"), &dropped).holds);
        assert!(!faults(&missing(4, "ledger_missing"), &dropped).holds);
        assert!(!faults(&missing(5, "ledger_order"), &dropped).holds);
        let invented = with_reason(missing(5, "ledger_missing"), "ledger_overflow");
        assert!(!faults(&invented, &dropped).holds);
        assert!(!faults(&trial(Transport::Tcp), &inject(0, 0, 0)).holds);
    }

    #[test]
    fn a_late_publisher_must_be_void_for_its_rate() {
        let mut late = with_reason(trial(Transport::Tcp), "achieved_rate");
        assert!(!late_publisher(&late).holds, "no lag was seen");
        late.publish.lag_ns.p50 = Some(1);
        assert!(late_publisher(&late).holds);
        late.validity.reasons.clear();
        assert!(!late_publisher(&late).holds);
    }

    #[test]
    fn a_starved_harness_must_see_its_own_wait_and_be_named() {
        let with_lag = |p50| {
            let mut trial = with_reason(trial(Transport::Sse), "harness_share");
            trial.harness.scheduler_lag_ns.p50 = p50;
            trial
        };
        let mut histograms = nothing_done();
        histograms.interfered.hogs = 8;
        let holds = |before, after| starved(&with_lag(before), &with_lag(after), &histograms).holds;
        assert!(holds(Some(MS), Some(STARVED_WAIT * MS + 1)));
        assert!(!holds(Some(MS), Some(STARVED_WAIT * MS)));
        assert!(!holds(None, Some(MS)));
        let (before, after) = (with_lag(Some(MS)), with_lag(Some(100 * MS)));
        assert!(
            !starved(&before, &after, &nothing_done()).holds,
            "nothing was done"
        );
        let mut unnamed = after.clone();
        unnamed.validity.reasons.clear();
        assert!(!starved(&before, &unnamed, &histograms).holds);
        let mut told = after.clone();
        told.harness.run_queue_wait_ns = Some(MS);
        assert!(!starved(&before, &told, &histograms).holds, "another check");
        let told = with_reason(told, RUN_QUEUE);
        assert!(starved(&before, &told, &histograms).holds);
    }
}
