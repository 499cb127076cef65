//! Trials of a fake target by a paused clock: phases, windows, faults, and every way to end early.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use pushbench_protocol::schedule::Slices;
use pushbench_protocol::transport::{Profile, Transport};

use super::fake::{FakeFleet, FakeTarget, MS, SERVER_SHARE, World};
use super::phases::Running;
use super::{Plan, Progress, Turn, row, run_on, turns};
use crate::environment::layout::Layout;
use crate::metrics::all;
use crate::record::{Capability, Cause, Outcome, Span, Trial, Verdict};
use crate::scenario::Scenario;

/// Ten messages a second to four clients, polled once a second.
const SCENARIO: &str = r#"
summary = "four clients"
purpose = "The phases of a trial."
cannot_show = "Anything about a server."

[clients]
count = 4
poll_interval_ms = 1000

[publish]
rate_per_s = 10
payload_bytes = 128

[phases]
settle_s = 0.5
warm_up_s = 0.5
measure_s = 10.0
drain_s = 20
"#;

/// What came of a trial, and what was done on the way.
struct Done {
    trial: Trial,
    is_whole: bool,
    was_interrupted: bool,
    phases: Vec<&'static str>,
    calls: Vec<&'static str>,
}

impl Done {
    fn check(&self, name: &str) -> Outcome {
        let checks = &self.trial.validity.checks;
        let check = checks.iter().find(|check| check.check == name);
        check.expect(name).outcome
    }
}

/// Runs a trial of `text` over `transport`, with target and fleet as `set` leaves them.
async fn trial(
    text: &str,
    transport: Transport,
    set: impl FnOnce(&mut FakeTarget, &mut FakeFleet),
    interrupted: impl Future<Output = ()>,
) -> Done {
    let scenario = Scenario::parse("fake.toml", text).expect("a scenario");
    let layout = Layout::anywhere();
    let plan = Plan::new(
        &scenario,
        (transport, Profile::Tuned),
        &layout,
        Path::new("none"),
    );
    let world = World::new();
    let (mut target, mut fleet) = (FakeTarget::new(&world), FakeFleet::new(&world));
    set(&mut target, &mut fleet);
    let phases = RefCell::new(Vec::new());
    let watch = |progress: Progress| phases.borrow_mut().push(progress.phase);
    let ended = run_on(&plan, (target, fleet, &world), &watch, interrupted).await;
    let (trial, histograms, was_interrupted) = ended;
    let mut phases = phases.into_inner();
    phases.dedup();
    Done {
        trial,
        is_whole: histograms.is_some(),
        was_interrupted,
        phases,
        calls: world.calls.take(),
    }
}

async fn whole(text: &str, transport: Transport) -> Done {
    trial(text, transport, |_, _| {}, std::future::pending()).await
}

fn length_ns(span: Option<Span>) -> u64 {
    span.map_or(0, |span| span.end - span.start)
}

#[tokio::test(start_paused = true)]
async fn phases_follow_each_other_and_last_as_long_as_the_scenario_says() {
    let done = whole(SCENARIO, Transport::Sse).await;
    assert_eq!(done.trial.error, None);
    let names = [
        "start",
        "connect",
        "settle",
        "warm-up",
        "measure",
        "drain",
        "disconnect",
    ];
    assert_eq!(done.phases, names);
    assert_eq!(
        done.calls,
        [
            "set up",
            "connect",
            "begin",
            "publish",
            "sample",
            "sample",
            "end publishing",
            "finish",
            "close",
            "stop"
        ]
    );
    let phases = done.trial.phase_ns;
    let within = |span, expected_ms: u64| {
        let found = length_ns(span);
        assert!(
            found.abs_diff(expected_ms * MS) <= 2 * MS,
            "{found} for {expected_ms} ms"
        );
    };
    within(phases.settle, 500);
    // The lead of a small fleet, and the warm-up.
    within(phases.warm_up, 550);
    within(phases.measure, 10_000);
    assert!(done.is_whole);
    assert_eq!(done.trial.clients.connected, 4);
    assert_eq!(done.trial.deliveries.expected, Some(400));
    assert_eq!(done.trial.publish.achieved_per_s, Some(10.0));
    assert_eq!(done.trial.latency_ns.count, 400);
}

#[tokio::test(start_paused = true)]
async fn the_window_of_a_stream_holds_everything_that_is_published_and_the_drain() {
    let done = whole(SCENARIO, Transport::Sse).await;
    let (trial, phases) = (&done.trial, done.trial.phase_ns);
    let window = trial.workload.expect("the trial is whole");
    let warm_up = phases.warm_up.expect("it came to it");
    assert_eq!(window.from_ns, warm_up.start, "in the lead");
    assert_eq!(window.until_ns, phases.drain.expect("it came to it").end);
    // Ten and a half seconds, ten messages a second, four clients.
    assert_eq!(window.deliveries, Some(420));
    assert_eq!(trial.wire.server_to_client_bytes_per_delivery, Some(129.0));
    let cpu_ns = window.length_ns() as f64 * SERVER_SHARE;
    let found = trial.server.cpu_ns.expect("it has a clock") as f64;
    assert!((found - cpu_ns).abs() <= 2.0, "{found} for {cpu_ns}");
    assert_eq!(trial.server.cpu_ns_per_delivery, Some(found / 420.0));
}

#[tokio::test(start_paused = true)]
async fn the_window_of_polls_holds_whole_intervals_while_messages_are_published() {
    let done = whole(SCENARIO, Transport::ShortPoll).await;
    let window = done.trial.workload.expect("the trial is whole");
    // From 1 s after the schedule's start, which is in the measure phase, to its end.
    assert!(
        window.length_ns().abs_diff(9_000 * MS) <= 4 * MS,
        "{window:?}"
    );
    assert_eq!(window.deliveries, Some(9 * 10 * 4));
    assert_eq!(done.trial.wire.requests, Some(9 * 4));
    let measure = done.trial.phase_ns.measure.expect("it came to it");
    assert!(window.from_ns > measure.start && window.until_ns <= measure.end);
}

#[tokio::test(start_paused = true)]
async fn what_a_delivery_costs_over_polls_does_not_depend_on_the_length_of_the_phase() {
    let mut costs = Vec::new();
    for seconds in ["2.0", "7.5", "10.0", "24.0"] {
        let text = SCENARIO.replace("measure_s = 10.0", &format!("measure_s = {seconds}"));
        // Many messages: one more or less at an edge does not matter.
        let text = text.replace("rate_per_s = 10", "rate_per_s = 1000");
        let late = |_: &mut FakeTarget, fleet: &mut FakeFleet| fleet.last_after_ns = Some(900 * MS);
        let done = trial(&text, Transport::ShortPoll, late, std::future::pending()).await;
        costs.push(
            done.trial
                .server
                .cpu_ns_per_delivery
                .expect("it has a cost"),
        );
    }
    let (first, rest) = costs.split_first().expect("four");
    for cost in rest {
        assert!((cost / first - 1.0).abs() < 0.001, "{costs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_nothing_is_outstanding_and_at_the_latest_with_its_time() {
    for (last, lasting_ms, missing) in
        [(Some(0), 0, 0), (Some(333 * MS), 333, 0), (None, 20_000, 1)]
    {
        let set = |_: &mut FakeTarget, fleet: &mut FakeFleet| fleet.last_after_ns = last;
        let done = trial(SCENARIO, Transport::Sse, set, std::future::pending()).await;
        let lasted = length_ns(done.trial.phase_ns.drain);
        assert!(
            lasted.abs_diff(lasting_ms * MS) <= 7 * MS,
            "{lasted} for {lasting_ms} ms"
        );
        assert_eq!(done.trial.deliveries.missing, Some(missing));
        let failed = done.trial.validity.verdict == Verdict::Void;
        assert_eq!(failed, missing > 0, "{:?}", done.trial.validity.reasons);
    }
}

#[tokio::test(start_paused = true)]
async fn channels_that_nobody_subscribes_to_are_counted_and_held_against_the_trial() {
    let text = SCENARIO.replace("[publish]", "[channels]\ncount = 10\n\n[publish]");
    let done = whole(&text, Transport::Sse).await;
    assert_eq!(done.trial.publish.channels_without_subscriber, 6);
    assert_eq!(done.check("subscribers"), Outcome::Doubtful);
    let done = whole(SCENARIO, Transport::Sse).await;
    assert_eq!(done.trial.publish.channels_without_subscriber, 0);
    assert_eq!(done.check("subscribers"), Outcome::Passed);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_leaves_a_void_row_with_what_was_measured_before() {
    let dies = |target: &mut FakeTarget, _: &mut FakeFleet| {
        target.dies_after_ns = Some(5_000 * MS);
    };
    let done = trial(SCENARIO, Transport::Sse, dies, std::future::pending()).await;
    let error = done.trial.error.as_deref().expect("it died");
    assert!(
        error.starts_with("the server died in the middle of the trial"),
        "{error}"
    );
    assert_eq!(done.trial.validity.verdict, Verdict::Void);
    assert_eq!(done.trial.clients.connected, 4);
    let phases = done.trial.phase_ns;
    assert!(phases.settle.is_some() && phases.warm_up.is_some() && phases.measure.is_none());
    assert_eq!(done.trial.workload, None, "its window never closed");
    assert!(!done.is_whole && !done.was_interrupted && !done.trial.killed);
    assert_eq!(done.phases.last(), Some(&"measure"));
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_a_trial_in_whatever_phase_it_is() {
    for (after_ms, phase) in [(100, "settle"), (700, "warm-up"), (3_000, "measure")] {
        let interrupt = tokio::time::sleep(Duration::from_millis(after_ms));
        let done = trial(SCENARIO, Transport::Sse, |_, _| {}, interrupt).await;
        assert!(done.was_interrupted);
        let error = format!("interrupted in phase '{phase}'");
        assert_eq!(done.trial.error, Some(error));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_met_while_connecting_ends_the_trial_in_order() {
    let limited = |_: &mut FakeTarget, fleet: &mut FakeFleet| {
        fleet.limit = Some((3, Cause::ClientDescriptors));
    };
    let done = trial(SCENARIO, Transport::Sse, limited, std::future::pending()).await;
    let trial = &done.trial;
    assert_eq!(
        (trial.error.as_deref(), trial.validity.verdict),
        (None, Verdict::Void)
    );
    assert_eq!((trial.clients.connected, trial.clients.target), (3, 4));
    assert_eq!(trial.clients.stopped_by, Some(Cause::ClientDescriptors));
    assert_eq!(done.check("clients_connected"), Outcome::Failed);
    assert!(trial.phase_ns.settle.is_none() && trial.phase_ns.disconnect.is_some());
    assert_eq!(
        done.calls,
        ["set up", "connect", "connect", "close", "stop"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_killed_and_restarted_costs_what_both_processes_cost() {
    let killed = format!(
        "{SCENARIO}\n[reconnect]\ndelay_ms = 100\nmax_delay_ms = 100\n\n[[faults]]\n\
         kind = \"server_kill\"\nat_s = 2.0\ndown_ms = 500\n"
    );
    let done = whole(&killed, Transport::Sse).await;
    assert_eq!(done.trial.error, None);
    let order = ["kill", "restart", "sample", "end publishing"];
    let calls = done.calls.iter().filter(|call| order.contains(call));
    assert_eq!(
        calls.copied().collect::<Vec<_>>(),
        ["sample", "kill", "restart", "sample", "end publishing"]
    );
    assert_eq!(done.phases[3..7], ["warm-up", "measure", "down", "measure"]);
    // The clock of the fake counts from the start for both, and the first had run for 3.05 s.
    let window = done.trial.workload.expect("the trial is whole");
    let both = window.length_ns() as f64 * SERVER_SHARE + 3_050.0 * MS as f64 * SERVER_SHARE;
    let found = done.trial.server.cpu_ns.expect("it has a clock") as f64;
    assert!((found / both - 1.0).abs() < 0.01, "{found} for {both}");
    assert_eq!(
        done.trial.publish.achieved_per_s, None,
        "its report is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_target_cannot_do_is_null_and_not_tested_and_says_why() {
    for (lack, checks, why) in [
        (
            Capability::Cursor,
            &["ledger_missing", "ledger_balance"][..],
            "this target has no cursor",
        ),
        (
            Capability::PublishReport,
            &["achieved_rate", "publish_lag", "arrivals"],
            "this target does not report what it published",
        ),
    ] {
        let lacks = move |target: &mut FakeTarget, _: &mut FakeFleet| target.lacks = vec![lack];
        let done = trial(SCENARIO, Transport::Sse, lacks, std::future::pending()).await;
        let found = done.trial.validity.checks.iter();
        let untested = found.filter(|check| check.not_tested.as_deref() == Some(why));
        let untested: Vec<&str> = untested.map(|check| &*check.check).collect();
        assert_eq!(untested, checks);
        assert_eq!(done.check("ledger_duplicate"), Outcome::Passed);
        assert_eq!(done.trial.lacks, [lack]);
        let whole = whole(SCENARIO, Transport::Sse).await;
        for metric in all() {
            let found = (metric.read)(&done.trial).is_some();
            let known = (metric.read)(&whole.trial).is_some();
            assert_eq!(
                found,
                known && metric.capability != Some(lack),
                "{}",
                metric.id
            );
        }
    }
}

/// Trials of two transports that take turns, the first of whose servers dies after so long.
async fn in_turns(
    dies_after_ns: Option<u64>,
    interrupted: impl Future<Output = ()>,
) -> Option<(Vec<Trial>, bool)> {
    let scenario = Scenario::parse("fake.toml", SCENARIO).expect("a scenario");
    let layout = Layout::anywhere();
    let slices = Slices {
        of: 2,
        place: 0,
        blocks: 5,
        // A message every 100 ms: one in each head, four in each body.
        head_ns: 100 * MS - 1,
        pause_ns: 60 * MS,
        body_ns: 400 * MS,
        gap_ns: 60 * MS,
        seed: 1,
    };
    let turn = Turn {
        slices,
        warm_up_blocks: 1,
    };
    let plan = |place: u32, transport| Plan {
        turn: Some(turn.at(place, 9)),
        ..Plan::new(
            &scenario,
            (transport, Profile::Tuned),
            &layout,
            Path::new("none"),
        )
    };
    let plans = [plan(0, Transport::Sse), plan(1, Transport::WebSocket)];
    let world = World::new();
    let mut running = Vec::new();
    for (plan, dies_after_ns) in plans.iter().zip([dies_after_ns, None]) {
        let (mut target, fleet) = (FakeTarget::new(&world), FakeFleet::new(&world));
        target.dies_after_ns = dies_after_ns;
        let trial = row(plan, &target);
        running.push((trial, Running::new(plan, target, fleet, &world, &|_| {})));
    }
    let (ended, cut) = turns::through_all(running, &|_| {}, interrupted).await?;
    Some((ended.into_iter().map(|(trial, _)| trial).collect(), cut))
}

#[tokio::test(start_paused = true)]
async fn trials_that_take_turns_have_a_slice_each_in_every_block_and_none_at_a_time() {
    let ended = in_turns(None, std::future::pending()).await;
    let (trials, was_cut) = ended.expect("measured");
    assert!(!was_cut);
    let mut turns = Vec::new();
    for (place, trial) in trials.iter().enumerate() {
        assert_eq!((&trial.error, trial.spilled), (&None, Some(0)));
        assert_eq!(trial.slices.len(), 4);
        for slice in &trial.slices {
            // Four messages to four clients.
            assert_eq!(slice.deliveries, 16);
            // The fake server always uses the same share, also in the last 20 ms of the pause and the
            // first 40 ms of the gap, between which its clock is read.
            let used = slice.server_cpu_ns.expect("read") as f64 / SERVER_SHARE;
            assert!((455e6..=465e6).contains(&used), "{used}");
            turns.push((slice.start_ns, place));
        }
        // Whole slices are 620 ms, of which five have the load of ten messages or so.
        let window = trial.workload.expect("both edges");
        assert!((3_095..=3_105).contains(&(window.length_ns() / MS)));
        assert_eq!(window.deliveries, Some(5 * 5 * 4));
        assert_eq!(trial.publish.offered_per_s.round(), 10.0);
        assert_eq!(trial.publish.achieved_per_s.map(f64::round), Some(10.0));
    }
    turns.sort_unstable();
    for block in turns.chunks(2) {
        assert_ne!(block[0].1, block[1].1, "{turns:?}");
        assert!(block[1].0 - block[0].0 >= 600 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_whose_server_dies_in_its_turn_ends_and_the_other_goes_on() {
    let ended = in_turns(Some(4_000 * MS), std::future::pending()).await;
    let (trials, _) = ended.expect("measured");
    assert_eq!(trials[0].validity.verdict, Verdict::Void);
    assert!(
        trials[0]
            .error
            .as_ref()
            .is_some_and(|e| e.contains("server"))
    );
    assert_eq!((&trials[1].error, trials[1].slices.len()), (&None, 4));
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_keeps_the_blocks_that_are_whole_and_nobody_is_owed_what_was_due_since() {
    let after = |ms| tokio::time::sleep(Duration::from_millis(ms));
    // Blocks take 1.24 s: in the third after the warm-up, most of the time.
    let (trials, was_cut) = in_turns(None, after(5_500)).await.expect("kept");
    assert!(was_cut);
    let kept = trials[0].slices.len();
    assert!((2..=3).contains(&kept), "{kept}");
    for trial in &trials {
        assert_eq!((&trial.error, trial.slices.len()), (&None, kept));
        let owed = kept as u64 * 5 * 4;
        assert_eq!(trial.deliveries.expected, Some(owed));
        assert_eq!(trial.deliveries.missing, Some(0));
        assert_eq!(trial.publish.achieved_per_s.map(f64::round), Some(10.0));
    }
    assert!(
        in_turns(None, after(10)).await.is_none(),
        "nothing was measured"
    );
}
