//! Whole runs of tiny scenarios with conditions of real use, over every transport: what is counted
//! must be exact, whatever is done to servers, connections and clients.

use pushbench::record::{Recovery, Trial};
use pushbench::scenario::FaultKind;
use pushbench_protocol::transport::Transport;

use crate::support::{Runs, TINY, keeps_to_the_schema, text};

/// Runs `scenario` over every transport and returns the trials; each must have come to its end.
fn trials(scenario: &str) -> Vec<Trial> {
    let output = Runs::of(scenario).run("run --format json");
    let told = text(&output.stderr);
    let record = keeps_to_the_schema(text(&output.stdout));
    assert_eq!(record.trials.len(), Transport::ALL.len(), "{told}");
    for trial in &record.trials {
        assert_eq!(trial.error, None, "{}", trial.label());
        let d = trial.deliveries;
        let accounted = d.missing.map(|missing| d.received + missing);
        assert_eq!(d.expected, accounted, "{}", trial.label());
        assert_eq!((d.duplicate, d.out_of_order), (0, 0), "{}", trial.label());
    }
    record.trials
}

#[track_caller]
fn assert_complete(trial: &Trial, owed: u64) {
    let d = trial.deliveries;
    assert_eq!(
        (d.expected, d.missing),
        (Some(owed), Some(0)),
        "{}",
        trial.label()
    );
}

/// Whoever lost a connection has come back.
#[track_caller]
fn all_are_back(trial: &Trial) -> &Recovery {
    let found = trial.measures.recovery.as_ref().expect("a measure");
    let ends = (found.back, found.not_back, found.gave_up);
    assert_eq!(ends, (found.lost, 0, 0), "{}", trial.label());
    found
}

/// As tiny as the others, but with time for something to happen.
fn lasting(measure_s: &str, rest: &str) -> String {
    let text = TINY.replace("measure_s = 0.4", &format!("measure_s = {measure_s}"));
    text + rest
}

const BACK: &str = "[reconnect]\ndelay_ms = 50\nmax_delay_ms = 200\n";

#[test]
fn clients_of_a_server_that_is_killed_come_back_and_miss_nothing_that_the_ring_holds() {
    let kill = "[[faults]]\nkind = \"server_kill\"\nat_s = 0.3\ndown_ms = 200\n";
    for trial in trials(&lasting("1.2", &format!("{BACK}{kill}"))) {
        let label = trial.label();
        // 200 a second for 1.2 s over 4 channels, each with 10 clients.
        assert_complete(&trial, 2_400);
        let found = all_are_back(&trial);
        assert!((1..=40).contains(&found.lost), "{label}: {}", found.lost);
        assert_eq!(found.faults.len(), 1);
        assert_eq!(found.faults[0].kind, FaultKind::ServerKill);
        assert_eq!(found.lagged_messages, 0, "{label}");
        assert_eq!(trial.publish.achieved_per_s, None, "its publisher is gone");
    }
}

#[test]
fn what_fell_off_a_ring_that_is_too_small_is_missing_and_nothing_else_is() {
    let kill = "[[faults]]\nkind = \"server_kill\"\nat_s = 0.3\ndown_ms = 400\n";
    // Not so small that a client falls off it between two polls.
    let ring = "[server]\nring_messages = 16\n";
    for trial in trials(&lasting("1.2", &format!("{BACK}{kill}{ring}"))) {
        let recovery = trial.measures.recovery.as_ref();
        let told = recovery.expect("a measure").lagged_messages;
        let missing = trial.deliveries.missing.expect("it has a cursor");
        assert!(
            missing > 0,
            "{}: the gap has over 20 messages",
            trial.label()
        );
        assert!(missing <= told, "{}: {missing} of {told}", trial.label());
    }
}

#[test]
fn a_second_server_takes_over_from_one_that_drains_and_nothing_is_lost() {
    let drain = "[[faults]]\nkind = \"server_drain\"\nat_s = 0.2\nover_ms = 300\n";
    for trial in trials(&lasting("1.2", &format!("{BACK}{drain}"))) {
        assert_complete(&trial, 2_400);
        let found = all_are_back(&trial);
        assert_eq!(found.faults[0].kind, FaultKind::ServerDrain);
    }
}

#[test]
fn connections_that_are_cut_at_random_are_all_counted_and_cost_no_message() {
    let cuts = "[[faults]]\nkind = \"connection_cuts\"\nat_s = 0.0\nfor_ms = 600\nmean_s = 0.2\n";
    for trial in trials(&lasting("1.0", &format!("{BACK}{cuts}"))) {
        assert_complete(&trial, 2_000);
        let found = all_are_back(&trial);
        assert!(
            found.cut > 0 && found.lost >= found.cut,
            "{}: {found:?}",
            trial.label()
        );
    }
}

#[test]
fn readers_that_stall_are_an_account_of_their_own() {
    let slow = "[slow_readers]\nshare = 0.25\nreceive_buffer_bytes = 4096\n\
                [server]\nsend_buffer_bytes = 8192\nring_messages = 64\n";
    for trial in trials(&lasting("0.6", slow)) {
        let slow = trial.measures.slow_readers.as_ref().expect("a measure");
        let overflow = trial.measures.overflow.as_ref().expect("its counts");
        // Every fourth, give or take what an even spread makes of 40.
        assert!(
            (8..=12).contains(&slow.clients),
            "{}: {}",
            trial.label(),
            slow.clients
        );
        let healthy = 40 - slow.clients;
        // 200 a second for 0.6 s over 4 channels: 30 for each client.
        assert_complete(&trial, healthy * 30);
        assert_eq!(slow.expected, slow.clients * 30, "{}", trial.label());
        assert_eq!(slow.received, 0, "{}: they read nothing", trial.label());
        assert!(slow.kernel_bound_bytes.is_some() && slow.user_bound_bytes > 0);
        assert_eq!(overflow.conflated_messages, 0, "the policy is another");
    }
}

#[test]
fn rooms_hear_everyone_once_and_every_sender_hears_itself() {
    let (before, rest) = TINY.split_once("[channels]").expect("a table");
    let (_, after) = rest.split_once("[phases]").expect("a table");
    let rooms =
        "[channels]\nmembers = 8\n[upstream]\nrate_per_client_s = 20\npayload_bytes = 128\n";
    for trial in trials(&format!("{before}{rooms}[phases]{after}")) {
        let label = trial.label();
        let found = trial.measures.round_trip.as_ref().expect("a measure");
        assert_eq!(
            (found.sent, found.returned),
            (found.due, found.due),
            "{label}"
        );
        assert_eq!(
            (found.lost, found.doubled, found.refused),
            (0, 0, 0),
            "{label}"
        );
        // 40 clients, 20 a second for 0.4 s, each to a room of 8.
        assert_eq!(found.due, 320, "{label}");
        assert_complete(&trial, 8 * 320);
        let both_ways = matches!(
            trial.variant.transport,
            Transport::Tcp | Transport::WebSocket
        );
        let each = if both_ways { 1.0 } else { 2.0 };
        assert_eq!(found.connections_per_client, each, "{label}");
        assert_eq!(found.acknowledged.is_some(), !both_ways, "{label}");
        // 128 bytes less the 51 that the server puts in front, and a frame's head and mask; back, the
        // whole of it and a frame's head to each of 8. Warm-up and measure phase alike.
        if trial.variant.transport == Transport::WebSocket {
            assert_eq!(found.up_bytes_per_message, Some(77.0 + 6.0), "{label}");
            assert_eq!(found.down_bytes_per_message, Some(8.0 * 132.0), "{label}");
        }
    }
}

#[test]
fn clients_that_go_off_line_are_owed_what_they_missed() {
    let sessions =
        "[sessions]\nlength_ms = 200\ngap_ms = 100\nresume = true\nspread = \"exponential\"\n";
    for trial in trials(&lasting("0.8", sessions)) {
        let label = trial.label();
        assert_complete(&trial, 1_600);
        let found = trial.measures.arrivals.expect("a measure");
        assert!(found.arrivals > 0, "{label}");
        assert_eq!(found.failed, 0, "{label}");
    }
}

#[test]
fn a_new_subscriber_gets_the_latest_messages_first() {
    let text = TINY.replace("count = 40\n", "count = 40\nsnapshot_messages = 5\n");
    let sessions = "[sessions]\nlength_ms = 150\ngap_ms = 50\n";
    for trial in trials(&(text + sessions)) {
        let label = trial.label();
        assert_eq!(trial.deliveries.missing, Some(0), "{label}");
        let found = trial.measures.snapshot.expect("a measure");
        assert_eq!(found.messages, 5);
        assert!(found.complete_ns.count > 0, "{label}");
    }
}
