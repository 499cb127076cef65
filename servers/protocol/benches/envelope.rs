//! What an envelope costs by itself: encoded once for every message published, decoded once for
//! every delivery on the client.
//!
//! ```text
//! cargo bench -p pushbench-servers --bench envelope -- --quick
//! ```

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use pushbench_protocol::envelope::{self, Envelope, HEAD_BYTES};

/// A usual message, and one whose payload outweighs its head.
const ENVELOPE_BYTES: [usize; 2] = [128, 4 << 10];

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope/encode");
    for bytes in ENVELOPE_BYTES {
        let payload = vec![b'x'; bytes - HEAD_BYTES];
        let mut out = Vec::with_capacity(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| {
                out.clear();
                envelope::encode(black_box(123_456), 1, 2, black_box(&payload), &mut out);
                black_box(out.len())
            });
        });
        assert_eq!(out.len(), bytes);
    }
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope/decode");
    for bytes in ENVELOPE_BYTES {
        let mut wire = Vec::new();
        envelope::encode(123_456, 1, 2, &vec![b'x'; bytes - HEAD_BYTES], &mut wire);
        let expected = Envelope {
            sequence: 123_456,
            intended_ns: 1,
            actual_ns: 2,
            payload: &wire[HEAD_BYTES..],
        };
        assert_eq!(envelope::decode(&wire), Ok(expected));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| envelope::decode(black_box(&wire)));
        });
    }
    group.finish();
}

/// What is asked of every upstream payload before it is appended.
fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope/payload_is_valid");
    for bytes in ENVELOPE_BYTES {
        let payload = vec![b'x'; bytes - HEAD_BYTES];
        assert!(envelope::payload_is_valid(&payload));
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| envelope::payload_is_valid(black_box(&payload)));
        });
    }
    group.finish();
}

// `criterion_main!` would make public functions without documentation.
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    encode(&mut criterion);
    decode(&mut criterion);
    check(&mut criterion);
    criterion.final_summary();
}
