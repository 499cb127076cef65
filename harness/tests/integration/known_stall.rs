//! Known answer of schedule and recorder on a mock clock: a server that stands still for half a
//! second is seen in full in delivery latency, and hidden in service latency.

use hdrhistogram::Histogram;
use pushbench::load::recorder::{self, Delivery, INTERVAL_NS, Recorder, histogram};
use pushbench::load::{MeasurePhase, Timing};
use pushbench_protocol::schedule::Schedule;

const MS: u64 = 1_000_000;

/// From the publish to the receipt, when all is well.
const TRANSIT_NS: u64 = 150_000;

/// What the publisher needs for each message when it catches up.
const CATCHING_UP_NS: u64 = 2_000;

const START: u64 = 1_000_000 * MS;

/// The server stands still in this stretch: 8.1 s into the measure phase, for 500 ms. No message is
/// due at its ends, where one per 5 ms is.
const STOPPED: std::ops::Range<u64> = START + 9_101 * MS..START + 9_601 * MS;

/// 200 messages a second for 21 s, the first of them warm-up.
fn phase() -> MeasurePhase {
    let end_ns = START + 21_000 * MS;
    MeasurePhase::new(Timing {
        schedule: Schedule::uniform(START..end_ns, 200.0, 1),
        measure_from_ns: START + 1_000 * MS,
        measure_until_ns: end_ns,
        linger_ms: 0.0,
        faults_ns: Vec::new(),
    })
}

/// Intended, actual and receive time of every message of the phase, on a clock that stops the
/// server.
fn deliveries() -> Vec<Delivery> {
    let phase = phase();
    let first = phase.first_message();
    let mut free_ns = 0;
    (0..phase.messages())
        .map(|message| {
            let intended_ns = phase.timetable.message(first + message).intended_ns;
            let mut actual_ns = intended_ns.max(free_ns);
            if STOPPED.contains(&actual_ns) {
                actual_ns = STOPPED.end;
            }
            free_ns = actual_ns + CATCHING_UP_NS;
            Delivery {
                message,
                intended_ns,
                actual_ns,
                received_ns: actual_ns + TRANSIT_NS,
            }
        })
        .collect()
}

fn recorder() -> Recorder {
    let phase = phase();
    Recorder::new(recorder::Plan {
        start_ns: phase.timing.measure_from_ns,
        end_ns: phase.timing.measure_until_ns,
        turns: None,
        messages: phase.messages(),
        deliveries: phase.messages(),
        max_samples: phase.messages(),
        max_fanout_messages: phase.messages(),
    })
}

fn above(histogram: &Histogram<u64>, value: u64) -> u64 {
    histogram.len() - histogram.count_between(0, value)
}

#[test]
fn a_stall_is_seen_in_full_in_delivery_latency_and_hidden_in_service_latency() {
    let deliveries = deliveries();
    let mut recorder = recorder();
    deliveries.iter().for_each(|d| recorder.record(*d));
    let recorded = recorder.finish_all();
    assert_eq!((recorded.delivery.len(), recorded.negative), (4_000, 0));

    // What each message waited, by hand: 100 are due in the stall, the first 4 ms after its
    // beginning, one every 5 ms, and each waits for its end, for those before it, and its transit.
    let mut expected = histogram();
    expected.record_n(TRANSIT_NS, 3_900).expect("in range");
    let waits = (0..100).map(|late| 496 * MS - 5 * MS * late + CATCHING_UP_NS * late + TRANSIT_NS);
    waits.for_each(|ns| expected.record(ns).expect("in range"));
    assert_eq!(recorded.delivery, expected);

    let max = recorded.delivery.max();
    assert!(recorded.delivery.equivalent(max, 496 * MS + TRANSIT_NS));
    // 496, 491, … 251 ms and what comes on top.
    assert_eq!(above(&recorded.delivery, 250 * MS), 50);
    assert!(
        recorded
            .service
            .equivalent(recorded.service.max(), TRANSIT_NS)
    );
    assert_eq!(above(&recorded.service, 250 * MS), 0);
}

#[test]
fn a_stall_is_empty_seconds_or_late_ones_in_the_interval_log() {
    let mut recorder = recorder();
    deliveries().iter().for_each(|d| recorder.record(*d));
    let recorded = recorder.finish_all();
    let mut counts = [0u64; 21];
    for interval in &recorded.intervals {
        counts[interval.number as usize] = interval.count();
        let mut latencies = histogram();
        interval.add_to(&mut latencies);
        let late = above(&latencies, 250 * MS);
        assert_eq!(late, if interval.number == 8 { 50 } else { 0 });
    }
    // By the time of receipt: all that waited came in the second in which the stall ended.
    assert_eq!(counts[..20], [200; 20]);
    assert_eq!(INTERVAL_NS, 1_000 * MS);
    assert_eq!(
        recorded.last_ns,
        phase().timing.measure_until_ns - 5 * MS + TRANSIT_NS
    );
}
