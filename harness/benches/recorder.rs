//! What the recorder costs for every delivery, and at the end of a run: it runs on the receive
//! path of each client, so it must stay far below the microseconds of a delivery.
//!
//! ```text
//! cargo bench -p pushbench --bench recorder -- --quick
//! ```

use criterion::{BatchSize, Criterion, Throughput};
use pushbench::load::recorder::{Delivery, INTERVAL_NS, Plan, Recorder};
use std::hint::black_box;

const DELIVERIES: u64 = 10_000;
const START_NS: u64 = 1_000_000_000_000;

/// Deliveries `step_ns` apart, with latencies from 50 µs to some 10 ms in no order.
fn deliveries(step_ns: u64) -> Vec<Delivery> {
    let one = |message: u64| {
        let intended_ns = START_NS + message * step_ns;
        let actual_ns = intended_ns + 1_000;
        // A multiplicative hash: the same values in every run, spread over the histogram.
        let latency_ns = 50_000 + message.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 10_000_000;
        Delivery {
            message,
            intended_ns,
            actual_ns,
            received_ns: actual_ns + latency_ns,
        }
    };
    let mut all: Vec<Delivery> = (0..DELIVERIES).map(one).collect();
    // Receive times of one thread never go back.
    all.sort_by_key(|delivery| delivery.received_ns);
    all
}

fn plan() -> Plan {
    Plan {
        start_ns: START_NS,
        end_ns: START_NS + 10 * INTERVAL_NS,
        turns: None,
        messages: DELIVERIES,
        deliveries: DELIVERIES,
        max_samples: DELIVERIES,
        max_fanout_messages: pushbench::load::recorder::MAX_FANOUT_MESSAGES,
    }
}

fn filled(deliveries: &[Delivery]) -> Recorder {
    let mut recorder = Recorder::new(plan());
    for &delivery in deliveries {
        recorder.record(black_box(delivery));
    }
    recorder
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recorder");
    group.throughput(Throughput::Elements(DELIVERIES));
    // All within one interval of the log; and over ten, nine of which begin on the way.
    for (name, step_ns, intervals) in [
        ("record_within_an_interval", 10_000, 1),
        (
            "record_over_ten_intervals",
            10 * INTERVAL_NS / DELIVERIES,
            11,
        ),
    ] {
        let deliveries = deliveries(step_ns);
        let recorded = filled(&deliveries).finish_all();
        assert_eq!(recorded.delivery.len(), DELIVERIES);
        assert!(recorded.intervals.len() <= intervals);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || Recorder::new(plan()),
                |mut recorder| {
                    for &delivery in &deliveries {
                        recorder.record(black_box(delivery));
                    }
                    recorder
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Once a run and shard: what is left to do when the measure phase is over.
fn finish(criterion: &mut Criterion) {
    let deliveries = deliveries(10_000);
    criterion.bench_function("recorder/finish_all", |bencher| {
        bencher.iter_batched(
            || filled(&deliveries),
            Recorder::finish_all,
            BatchSize::LargeInput,
        );
    });
}

// `criterion_main!` would make public functions without documentation.
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    record(&mut criterion);
    finish(&mut criterion);
    criterion.final_summary();
}
