//! Every check has a test in which it fires, and none fires on a good trial.

use super::*;
use crate::record::{
    Cause, Check, Deliveries, Outcome, Probe, Quantiles, Slice, Validity, Verdict,
};
use pushbench_protocol::payload::SplitMix64;
use pushbench_protocol::transport::{Profile, Transport};

const SECOND: u64 = 1_000_000_000;

/// What a trial is made of.
struct Case {
    trial: Trial,
    report: FleetReport,
    window_ns: u64,
    connecting: NetworkCounters,
    measuring: NetworkCounters,
    waited: Waited,
    channels: u32,
    arrival: Arrival,
    gaps_ns: Vec<u64>,
    disturbed: Option<&'static str>,
    server_replaced: bool,
    told_lost: u64,
}

fn exponential_gaps() -> Vec<u64> {
    let mut random = SplitMix64::new(5);
    let mut gap = || {
        let uniform = ((random.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (-uniform.ln() * 1e7) as u64
    };
    (0..1_000).map(|_| gap()).collect()
}

/// A trial in which everything is as it should be.
fn good() -> Case {
    let mut trial = Trial::new(Transport::Sse, Profile::Tuned, 1);
    trial.clients.target = 10;
    trial.clients.connected = 10;
    trial.deliveries.expected = Some(10_000);
    trial.deliveries.received = 10_000;
    trial.publish.offered_per_s = 100.0;
    trial.publish.achieved_per_s = Some(100.5);
    let told = |p50: u64, p99: u64| Quantiles {
        count: 1_000,
        p50: Some(p50),
        p99: Some(p99),
        ..Quantiles::default()
    };
    trial.publish.lag_ns = told(50_000, 1_000_000);
    trial.latency_ns.count = 10_000;
    trial.latency_ns.p50 = Some(4_000_000);
    trial.latency_ns.p99 = Some(20_000_000);
    trial.harness.cpu_ns = Some(5 * SECOND);
    trial.harness.scheduler_lag_ns = told(1_000_000, 2_000_000);
    trial.probe = Some(Probe {
        reads: 1_000,
        harness_ns: told(100_000, 5_000_000),
        server_and_network_ns: told(3_900_000, 15_000_000),
    });
    trial.machine.steal_ns = Some(SECOND);
    trial.machine.unattributed_cpu_ns = Some(SECOND as i64);
    let mut random = SplitMix64::new(1);
    let mut noise = || Some(4e6 * (1.0 + random.below(100) as f64 / 1_000.0));
    let report = FleetReport {
        series: (0..100).map(|_| noise()).collect(),
        ..FleetReport::default()
    };
    Case {
        trial,
        report,
        window_ns: 10 * SECOND,
        connecting: NetworkCounters::default(),
        measuring: NetworkCounters {
            segments_out: 100_000,
            ..NetworkCounters::default()
        },
        waited: Waited {
            server: Some(GOOD_QUEUE),
            fleet: Some(GOOD_QUEUE),
        },
        channels: 100,
        arrival: Arrival::Poisson,
        gaps_ns: exponential_gaps(),
        disturbed: None,
        server_replaced: false,
        told_lost: 0,
    }
}

const GOOD_QUEUE: RunQueue = RunQueue {
    ran_ns: 5 * SECOND,
    waited_ns: 2 * SECOND,
    displaced_ns: SECOND,
    turns: 20_000,
};

fn judge(mut case: Case) -> Trial {
    let evidence = Evidence {
        report: &case.report,
        window_ns: case.window_ns,
        fleet_cores: 1,
        cores: 2,
        connecting: Some(case.connecting),
        measuring: Some(case.measuring),
        waited: case.waited,
        channels: case.channels,
        arrival: case.arrival,
        gaps_ns: &case.gaps_ns,
        disturbed: case.disturbed,
        server_replaced: case.server_replaced,
        told_lost: case.told_lost,
    };
    audit(&mut case.trial, &evidence);
    case.trial
}

/// Verdict and names of the checks that did not pass, after a change to a good trial.
fn fired(change: impl FnOnce(&mut Case)) -> (Verdict, Vec<String>) {
    let mut case = good();
    change(&mut case);
    let trial = judge(case);
    let names = trial
        .validity
        .reasons
        .into_iter()
        .map(|r| r.check)
        .collect();
    (trial.validity.verdict, names)
}

fn void(name: &str) -> (Verdict, Vec<String>) {
    (Verdict::Void, vec![name.to_owned()])
}

fn suspect(name: &str) -> (Verdict, Vec<String>) {
    (Verdict::Suspect, vec![name.to_owned()])
}

#[test]
fn a_good_trial_is_valid_and_every_check_was_made() {
    let trial = judge(good());
    assert_eq!(
        trial.validity.verdict,
        Verdict::Valid,
        "{:?}",
        trial.validity.reasons
    );
    let passed = |check: &Check| check.outcome == Outcome::Passed;
    assert!(
        trial.validity.checks.iter().all(passed),
        "{:?}",
        trial.validity.checks
    );
    assert_eq!(trial.validity.checks.len(), 29);
}

#[test]
fn clients_that_are_missing_or_leave_void_a_trial() {
    assert_eq!(
        fired(|c| c.trial.clients.connected = 9),
        void("clients_connected")
    );
    assert_eq!(
        fired(|c| c.trial.clients.refused = 1),
        void("clients_refused")
    );
    assert_eq!(
        fired(|c| c.trial.clients.disconnected = 1),
        void("clients_stayed")
    );
}

#[test]
fn limits_that_were_hit_are_named() {
    let met = |limit| fired(|c| c.report.limits_met.extend([(limit, 3)]));
    assert_eq!(met(Cause::ClientDescriptors), void("descriptors"));
    assert_eq!(met(Cause::SourcePorts), void("ports"));
    assert_eq!(
        fired(|c| c.connecting.listen_overflows = 1),
        suspect("backlog")
    );
}

#[test]
fn a_ledger_that_does_not_balance_voids_a_trial() {
    let missing = |c: &mut Case| {
        c.trial.deliveries.missing = Some(1);
        c.trial.deliveries.received -= 1;
    };
    assert_eq!(fired(missing), void("ledger_missing"));
    assert_eq!(
        fired(|c| c.trial.deliveries.duplicate = 1),
        void("ledger_duplicate")
    );
    assert_eq!(
        fired(|c| c.trial.deliveries.out_of_order = 1),
        void("ledger_order")
    );
    assert_eq!(
        fired(|c| c.report.ledger_overflowed = true),
        void("ledger_overflow")
    );
    assert_eq!(
        fired(|c| c.trial.deliveries.received += 1),
        void("ledger_balance")
    );
    assert_eq!(fired(|c| c.report.corrupt = 1), void("payload"));
}

#[test]
fn a_publisher_that_does_not_hold_its_schedule_is_found() {
    assert_eq!(
        fired(|c| c.trial.publish.achieved_per_s = Some(98.9)),
        void("achieved_rate")
    );
    assert_eq!(
        fired(|c| c.trial.publish.achieved_per_s = None),
        void("achieved_rate")
    );
    let late = |c: &mut Case| c.trial.publish.lag_ns.p99 = Some(10_000_001);
    assert_eq!(fired(late), suspect("publish_lag"));
    let regular = |c: &mut Case| c.gaps_ns = vec![10_000_000; 1_000];
    assert_eq!(fired(regular), suspect("arrivals"));
}

#[test]
fn a_harness_that_was_the_bottleneck_is_found() {
    assert_eq!(
        fired(|c| c.trial.harness.cpu_ns = Some(8_100_000_000)),
        suspect("harness_cpu")
    );
    assert_eq!(
        fired(|c| c.trial.harness.cpu_ns = Some(9_600_000_000)),
        void("harness_cpu")
    );
    let late = |c: &mut Case| c.trial.harness.scheduler_lag_ns.p99 = Some(10_000_001);
    assert_eq!(fired(late), suspect("scheduler_lag"));
    let share = |p50: u64, p99: u64| {
        fired(|c| {
            let probe = c.trial.probe.as_mut().expect("a probe");
            probe.harness_ns.p50 = Some(p50);
            probe.harness_ns.p99 = Some(p99);
        })
    };
    assert_eq!(share(3_900_001, 5_000_000), void("harness_share"));
    assert_eq!(share(100_000, 15_000_001), suspect("harness_share"));
}

#[test]
fn a_noisy_machine_makes_a_trial_suspect() {
    let lost = |c: &mut Case| c.measuring.segments_retransmitted = 101;
    assert_eq!(fired(lost), suspect("retransmissions"));
    assert_eq!(
        fired(|c| c.trial.machine.steal_ns = Some(2_100_000_000)),
        suspect("steal")
    );
    let other = |c: &mut Case| c.trial.machine.unattributed_cpu_ns = Some(2_100_000_000);
    assert_eq!(fired(other), suspect("other_load"));
}

#[test]
fn clocks_that_cannot_be_right_are_found() {
    assert_eq!(fired(|c| c.report.negative_latencies = 1), void("clock"));
    assert_eq!(
        fired(|c| c.report.impossible_stamps = 11),
        suspect("wall_clock")
    );
}

#[test]
fn deliveries_that_come_in_the_turn_of_another_make_a_trial_suspect() {
    let spilled = |spilled| {
        fired(move |c: &mut Case| {
            let slice = Slice {
                deliveries: 500,
                ..Slice::default()
            };
            c.trial.slices = vec![slice; 2];
            c.trial.spilled = Some(spilled);
        })
    };
    assert_eq!(spilled(10).0, Verdict::Valid);
    assert_eq!(spilled(11), suspect("turn"));
}

#[test]
fn a_latency_that_drifts_makes_a_trial_suspect() {
    let drifting = |c: &mut Case| {
        for (i, slice) in c.report.series.iter_mut().enumerate() {
            *slice = slice.map(|ns| ns * (1.0 + i as f64 / 50.0));
        }
    };
    assert_eq!(fired(drifting), suspect("stationary"));
}

#[test]
fn too_few_deliveries_for_a_median_make_a_trial_suspect() {
    assert_eq!(fired(|c| c.trial.latency_ns.p50 = None), suspect("samples"));
}

#[test]
fn what_cannot_be_tested_says_so_and_is_held_against_nobody() {
    let mut case = good();
    case.trial.publish.offered_per_s = 0.0;
    case.trial.deliveries.expected = Some(0);
    case.trial.deliveries.received = 0;
    case.trial.latency_ns = Quantiles::default();
    case.trial.probe = None;
    case.report.series = vec![None; 100];
    let trial = judge(case);
    assert_eq!(trial.validity.verdict, Verdict::Valid);
    let untested = |c: &&Check| c.outcome == Outcome::NotTested && c.not_tested.is_some();
    let names: Vec<&str> = trial
        .validity
        .checks
        .iter()
        .filter(untested)
        .map(|c| c.check.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "ledger_missing",
            "ledger_duplicate",
            "ledger_order",
            "ledger_balance",
            "payload",
            "achieved_rate",
            "publish_lag",
            "arrivals",
            "scheduler_lag",
            "harness_share",
            "clock",
            "wall_clock",
            "stationary",
            "samples"
        ]
    );
}

#[test]
fn of_a_trial_in_which_nothing_happened_only_counts_of_what_went_wrong_pass() {
    let mut case = good();
    case.trial = Trial::new(Transport::Sse, Profile::Tuned, 1);
    case.trial.harness.cpu_ns = Some(0);
    case.trial.machine.steal_ns = Some(0);
    case.trial.machine.unattributed_cpu_ns = Some(0);
    case.trial.machine.throttled_ns = Some(0);
    case.report = FleetReport::default();
    case.report.measures.recovery = Some(Default::default());
    case.window_ns = 0;
    case.measuring = NetworkCounters::default();
    case.waited.server = Some(RunQueue::default());
    case.waited.fleet = Some(RunQueue::default());
    let trial = judge(case);
    let checks = trial.validity.checks.iter();
    let passed = checks.filter(|check| check.outcome == Outcome::Passed);
    let passed: Vec<&str> = passed.map(|check| check.check.as_str()).collect();
    assert_eq!(
        passed,
        [
            "fleet_shards",
            "descriptors",
            "ports",
            "backlog",
            "ledger_overflow"
        ]
    );
}

#[test]
fn messages_that_nobody_was_to_get_make_a_trial_suspect_and_void_where_they_are_all() {
    let with = |alone, expected| {
        let mut case = good();
        case.trial.publish.channels_without_subscriber = alone;
        if expected == 0 {
            case.trial.deliveries = Deliveries::default().recorded(true);
        }
        judge(case).validity
    };
    assert_eq!(with(5, 10_000).verdict, Verdict::Valid);
    let suspect = with(80, 10_000);
    assert_eq!(suspect.verdict, Verdict::Suspect);
    assert_eq!(
        suspect.reasons[0].message,
        "80 of 100 channels had no subscriber"
    );
    let void = with(80, 0);
    assert_eq!(void.verdict, Verdict::Void);
    assert!(
        void.reasons
            .iter()
            .any(|reason| reason.check == "subscribers")
    );
    // One channel, and a phase too short for a message of it.
    let unlucky = with(0, 0);
    assert_eq!(unlucky.verdict, Verdict::Void);
}

#[test]
fn cores_that_others_took_make_a_trial_suspect_and_more_of_them_void() {
    let with = |displaced_ns| {
        let mut case = good();
        let queue = RunQueue {
            ran_ns: SECOND,
            waited_ns: 2 * displaced_ns,
            displaced_ns,
            turns: 1_000,
        };
        case.waited.fleet = Some(queue);
        judge(case)
    };
    assert_eq!(with(SECOND / 3).validity.verdict, Verdict::Valid);
    let trial = with(SECOND / 2);
    assert_eq!(trial.validity.verdict, Verdict::Suspect);
    let trial_of_the_starved = with(3 * SECOND);
    assert_eq!(trial_of_the_starved.validity.verdict, Verdict::Void);
    let reason = &trial_of_the_starved.validity.reasons[0];
    assert_eq!(reason.check, "harness_run_queue");
    assert_eq!((reason.measured, reason.limit), (Some(0.75), Some(0.5)));
    assert_eq!(
        reason.message,
        "the clients were starved of CPU: they waited for 75.0% of the time in which they could have \
         run, because other programs had the cores (3000.00 ms of waiting, 1000.00 ms of running)"
    );
    // The server is judged alike.
    let mut case = good();
    case.waited.server = Some(RunQueue {
        ran_ns: SECOND,
        waited_ns: 3 * SECOND,
        displaced_ns: 3 * SECOND,
        turns: 1_000,
    });
    assert_eq!(judge(case).validity.reasons[0].check, "server_run_queue");
}

#[test]
fn a_cpu_quota_is_named_and_other_programs_are_not_blamed_for_it() {
    let with = |throttled_ns| {
        let mut case = good();
        case.trial.machine.throttled_ns = throttled_ns;
        case.waited.fleet = Some(RunQueue {
            ran_ns: SECOND,
            waited_ns: 3 * SECOND,
            displaced_ns: 3 * SECOND,
            turns: 1_000,
        });
        judge(case).validity
    };
    // 1% of two cores over ten seconds.
    let throttled = with(Some(SECOND / 2));
    let checks: Vec<&str> = throttled.reasons.iter().map(|r| r.check.as_str()).collect();
    assert_eq!(
        (throttled.verdict, &checks[..]),
        (Verdict::Suspect, &["throttled"][..])
    );
    assert!(throttled.reasons[0].message.contains("500.00 ms"));
    let blamed = |validity: Validity| validity.reasons[0].check.clone();
    assert_eq!(blamed(with(Some(SECOND / 10))), "harness_run_queue");
    assert_eq!(blamed(with(None)), "harness_run_queue");
}

#[test]
fn an_idle_side_may_wait_for_longer_than_it_runs() {
    let mut case = good();
    // 0.5% of ten seconds.
    case.waited.fleet = Some(RunQueue {
        ran_ns: SECOND / 100,
        waited_ns: SECOND / 20,
        displaced_ns: SECOND / 20,
        turns: 1_000,
    });
    assert_eq!(judge(case).validity.verdict, Verdict::Valid);
    let mut case = good();
    case.waited = Waited::default();
    let trial = judge(case);
    let told = trial.validity.checks.iter();
    let untested = told.filter(|c| c.check.ends_with("run_queue"));
    assert!(untested.clone().all(|c| c.outcome == Outcome::NotTested));
    assert_eq!(untested.count(), 2);
}

#[test]
fn a_short_phase_is_not_void_for_a_last_message_that_is_a_little_late() {
    let achieved = |per_s, phase_ns| {
        let mut case = good();
        case.trial.publish.achieved_per_s = Some(per_s);
        case.trial.phase_ns.measure = Some(crate::record::Span {
            start: SECOND,
            end: SECOND + phase_ns,
        });
        judge(case).validity.verdict
    };
    // 4.9 ms and 5.3 ms late, after a quarter of a second.
    assert_eq!(achieved(98.1, SECOND / 4), Verdict::Valid);
    assert_eq!(achieved(97.9, SECOND / 4), Verdict::Void);
    assert_eq!(achieved(98.1, 10 * SECOND), Verdict::Void);
}

#[test]
fn a_loss_that_the_server_told_of_is_what_was_asked_and_any_other_voids() {
    let lost = |missing: u64, told: u64| {
        fired(|case| {
            case.trial.deliveries.missing = Some(missing);
            case.trial.deliveries.received -= missing;
            case.told_lost = told;
        })
    };
    assert_eq!(lost(5, 5), (Verdict::Valid, Vec::new()));
    assert_eq!(lost(6, 5), void("ledger_missing"));
}

#[test]
fn a_trial_that_is_disturbed_on_purpose_is_not_asked_to_stay_as_it_is() {
    let drifting = |case: &mut Case| {
        let drift = (0..100).map(|i| Some(1e6 * f64::from(i + 1)));
        case.report.series = drift.collect();
    };
    assert_eq!(fired(drifting).1, ["stationary"]);
    let (verdict, names) = fired(|case| {
        drifting(case);
        case.disturbed = Some("on purpose");
        // Its publisher ended with its server.
        case.server_replaced = true;
        case.trial.publish.achieved_per_s = None;
    });
    assert_eq!((verdict, names), (Verdict::Valid, Vec::new()));
}
