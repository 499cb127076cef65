//! Sessions of a shard without sockets: what they record, and when they end and begin.

use std::net::SocketAddr;
use std::sync::Arc;

use pushbench_protocol::schedule::Schedule;
use pushbench_protocol::transport::{Profile, Transport};

use super::*;
use crate::load::channels::Channels;
use crate::load::{Setup, Timing};
use crate::record::Trial;
use crate::scenario::{ChannelCount, Scenario, Sessions, Sizes, Spread, Streams};

/// A shard with the clients of a scenario, on channels of their own.
fn shard_of(scenario: Scenario, schedule: Schedule, measure_from_ns: u64) -> Shard {
    let server = SocketAddr::from(([127, 0, 0, 1], 0));
    let clients = scenario.clients.count;
    let setup = Setup::new(Transport::Tcp, server, scenario);
    let channels = Channels::new(Sizes::Even, clients, clients);
    let shard = Shard::new(0, Arc::new(setup), channels, Arc::default());
    (0..clients).for_each(|_| _ = shard.add_client());
    shard.begin(Arc::new(MeasurePhase::new(Timing {
        schedule,
        measure_from_ns,
        measure_until_ns: schedule.end_ns,
        linger_ms: 0.0,
        faults_ns: Vec::new(),
    })));
    shard
}

/// A shard of one client, whose measure phase is from 1,000 to 2,000 ns.
fn shard() -> Shard {
    let schedule = Schedule::uniform(0..2_000, 1e6, 1);
    shard_of(Scenario::of_clients(1), schedule, 1_000)
}

/// A session that begins at one time and gets two messages at later ones.
fn session(shard: &Shard, began_ns: u64, messages_ns: [u64; 2]) {
    shard.begin_session(0, began_ns);
    for (sequence, at_ns) in (1..).zip(messages_ns) {
        let arrived = Arrived {
            bytes: 0,
            at_ns,
            waited_ns: None,
        };
        let mut bytes = Vec::new();
        envelope::encode(sequence, 1_000, 1_000, b"", &mut bytes);
        shard.receive(0, arrived, |_, entry| {
            entry.subscribed(0.into());
            entry.envelope(&bytes).expect("a good envelope");
        });
    }
}

#[test]
fn the_first_message_of_a_session_of_the_measure_phase_is_timed_from_its_connect() {
    let shard = shard();
    session(&shard, 900, [1_100, 1_200]);
    let histograms = || shard.tally.histograms();
    assert_eq!(
        histograms().count(HistogramId::FirstMessage),
        0,
        "too early"
    );
    session(&shard, 1_000, [1_500, 1_900]);
    session(&shard, 1_999, [2_399, 2_400]);
    session(&shard, 2_000, [2_100, 2_200]);
    let mut trial = Trial::new(Transport::Tcp, Profile::Tuned, 1);
    histograms().enter(&mut trial);
    let first = trial.clients.first_message_ns;
    assert_eq!(
        (first.count, first.min, first.max),
        (2, Some(400), Some(500))
    );
}

#[test]
fn a_session_ends_with_its_stream_and_the_next_begins_when_it_is_due_however_late_the_last_was() {
    const MS: u64 = 1_000_000;
    let mut scenario = Scenario::of_clients(2);
    scenario.channels.count = ChannelCount::PerClient;
    scenario.publish = Scenario::load("token-stream").expect("built in").publish;
    scenario.sessions = Some(Sessions {
        length_ms: 60,
        gap_ms: 40,
        resume: false,
        spread: Spread::Fixed,
    });
    scenario.streams = Some(Streams { first_after_ms: 20 });
    let start_ns = 1_000 * MS;
    let schedule = Schedule {
        streams: scenario.schedule_streams(),
        ..Schedule::uniform(start_ns..start_ns + 1_000 * MS, 50.0, 2)
    };
    let shard = shard_of(scenario, schedule, start_ns);
    for (slot, began_ms, ends_ms, next_ms) in [
        // There before the schedule: one stream begins with it, one is in the middle.
        (0, 900, 1_060, 1_100),
        (1, 900, 1_010, 1_050),
        // In time, late, later still, and after the whole stream.
        (1, 1_050, 1_110, 1_150),
        (1, 1_160, 1_210, 1_250),
        (1, 1_395, 1_410, 1_450),
        (1, 1_520, 1_520, 1_550),
        // The last ends with the measure phase.
        (1, 1_950, 2_000, 2_050),
    ] {
        shard.begin_session(slot, began_ms * MS);
        let (_, ends_ns) = shard.departure_ns(slot).expect("the schedule is known");
        let ends_ns = ends_ns.max(began_ms * MS);
        assert_eq!(ends_ns, ends_ms * MS, "client {slot}, {began_ms}");
        assert_eq!(
            shard.back_ns(slot, ends_ns),
            next_ms * MS,
            "client {slot}, {began_ms}"
        );
    }
    assert_eq!(
        shard.back_ns(1, 3_000 * MS),
        3_000 * MS,
        "at once where it is late"
    );
}

#[test]
fn a_cursor_of_a_log_that_is_gone_ends_the_session_and_its_account() {
    let shard = shard();
    let of = |text: &str| Cursor::parse(text.as_bytes()).expect("a cursor");
    shard.begin_session(0, 500);
    let message = |sequence: u64| {
        let mut bytes = Vec::new();
        envelope::encode(sequence, 1_000, 1_000, b"", &mut bytes);
        bytes
    };
    shard.with_sink(0, |_, entry| {
        entry.subscribed(of("aaaa-1"));
        entry.envelope(&message(2)).expect("a good envelope");
        entry.envelope(&message(3)).expect("a good envelope");
    });
    assert_eq!(shard.attempt(0, 1_500), Some(of("aaaa-3")));
    shard.with_sink(0, |_, entry| {
        entry.subscribed(of("bbbb-1"));
        let error = entry.lagged(Lost::Unknown).expect_err("nobody knows");
        assert!(error.to_string().ends_with("what was lost is unknown"));
    });
    // The second message of the new log is not the one that it has.
    assert_eq!(shard.attempt(0, 1_600), Some(of("bbbb-1")));
    shard.with_sink(0, |_, entry| {
        entry.subscribed(of("bbbb-1"));
        entry.envelope(&message(2)).expect("a good envelope");
    });
    let counts = shard.report(u64::MAX).counts;
    assert_eq!((counts.expected, counts.received), (2, 2));
    assert_eq!((counts.missing, counts.duplicate), (0, 0));
}
