//! What the ledger costs for every message received: it runs on the receive path of each client,
//! so it must stay far below the microseconds of a delivery.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pushbench::load::ledger::Ledger;
use std::hint::black_box;

const MESSAGES: u64 = 1_000;

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("ledger");
    group.throughput(Throughput::Elements(MESSAGES));
    let in_order: Vec<u64> = (1..=MESSAGES).collect();
    let one_in_ten_lost: Vec<u64> = in_order.iter().copied().filter(|s| s % 10 != 0).collect();
    let mut neighbours_swapped = in_order.clone();
    neighbours_swapped
        .chunks_exact_mut(2)
        .for_each(|pair| pair.swap(0, 1));
    let arrivals = [
        ("in_order", in_order),
        ("one_in_ten_lost", one_in_ten_lost),
        ("neighbours_swapped", neighbours_swapped),
    ];
    for (name, sequences) in arrivals {
        group.bench_function(name, |b| {
            b.iter_batched(
                || Ledger::new(0),
                |mut ledger| {
                    for &sequence in &sequences {
                        black_box(ledger.record(black_box(sequence), true));
                    }
                    ledger
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
