//! What a message costs between its publisher and the sockets: appended to the hub, framed into the
//! ring of a shard, its subscribers woken, and read by each of them.
//!
//! No runtime and no socket: a waker that only notes that it was woken, so this is the part of a
//! delivery that is the hub's own. Throughput counts subscribers, so that the time of one of them
//! can be held against the microseconds of a `send()`.
//!
//! ```text
//! cargo bench -p pushbench-servers --bench hub -- --quick
//! ```

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use pushbench_protocol::envelope::HEAD_BYTES;
use pushbench_protocol::framing::{Epoch, Start};
use pushbench_protocol::transport::Framing;
use pushbench_servers::hub::Hub;
use pushbench_servers::ring::RingLimits;
use pushbench_servers::shard::{self, MAX_WRITE_BYTES, Ready, ShardStats, Subscription};

const ENVELOPE_BYTES: usize = 128;

/// Longer than any benchmark: no keep-alive comes between.
const QUIET: Duration = Duration::from_secs(3600);

/// Counts how often a task was woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // Written by one thread, read by the same.
        let count = self.0.load(Ordering::Relaxed);
        self.0.store(count + 1, Ordering::Relaxed);
    }
}

/// Makes this thread the only shard of a new hub with one channel.
fn start() -> Arc<Hub> {
    let hub = Hub::new(1, Some(Epoch::NONE)).expect("a descriptor");
    hub.declare(&["news"]).expect("a good name");
    let stats = Arc::new(ShardStats::default());
    shard::enter(
        hub.clone(),
        0,
        &[Framing::Line],
        RingLimits::default(),
        stats,
    );
    hub
}

fn append(hub: &Hub, payload: &[u8]) {
    hub.append(0, Some(0), black_box(payload))
        .expect("room in the inbox");
}

/// Without subscribers: what publishing costs whoever listens.
fn append_and_drain(criterion: &mut Criterion) {
    let hub = start();
    let payload = [b'x'; ENVELOPE_BYTES - HEAD_BYTES];
    let mut group = criterion.benchmark_group("hub");
    group.throughput(Throughput::Elements(1));
    group.bench_function("append_and_drain", |bencher| {
        bencher.iter(|| {
            append(&hub, &payload);
            shard::drain();
        });
    });
    group.finish();
}

/// Append and drain with every subscriber waiting, then each reads the message and waits again, as
/// its task does.
fn fan_out(criterion: &mut Criterion) {
    let payload = [b'x'; ENVELOPE_BYTES - HEAD_BYTES];
    let mut group = criterion.benchmark_group("hub/fan_out");
    for count in [1u64, 1_000, 10_000] {
        let hub = start();
        let woken = Arc::new(Woken::default());
        let wakers: Vec<Waker> = (0..count).map(|_| Waker::from(woken.clone())).collect();
        let open = |_| {
            Subscription::open("news", Start::Tail, Framing::Line, QUIET)
                .expect("a declared channel")
        };
        let mut subscribers: Vec<Subscription> = (0..count).map(open).collect();
        let wait = |subscriber: &mut Subscription, waker: &Waker| {
            let ready = subscriber.poll_ready(&mut Context::from_waker(waker));
            assert!(ready.is_pending());
        };
        for (subscriber, waker) in subscribers.iter_mut().zip(&wakers) {
            wait(subscriber, waker);
        }

        let mut messages = 0;
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                append(&hub, &payload);
                shard::drain();
                messages += 1;
                for (subscriber, waker) in subscribers.iter_mut().zip(&wakers) {
                    let ready = subscriber.poll_ready(&mut Context::from_waker(waker));
                    assert_eq!(ready, Poll::Ready(Ready::Pending));
                    black_box(subscriber.take(MAX_WRITE_BYTES));
                    wait(subscriber, waker);
                }
            });
        });
        // A benchmark of a wrong answer is worth nothing.
        assert_eq!(woken.0.load(Ordering::Relaxed), messages * count);
        assert!(subscribers.iter().all(|s| s.cursor() == messages.into()));
    }
    group.finish();
}

/// Append and drain alone, with every subscriber waiting: what stands between a publish and the
/// wake-up of its last subscriber. The subscribers read and wait again off the clock.
fn wake(criterion: &mut Criterion) {
    let payload = [b'x'; ENVELOPE_BYTES - HEAD_BYTES];
    let mut group = criterion.benchmark_group("hub/wake");
    for count in [1u64, 1_000, 10_000] {
        let hub = start();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let open = |_| {
            Subscription::open("news", Start::Tail, Framing::Line, QUIET)
                .expect("a declared channel")
        };
        let mut subscribers: Vec<Subscription> = (0..count).map(open).collect();
        let mut read_and_wait = || {
            for subscriber in &mut subscribers {
                subscriber.take(MAX_WRITE_BYTES);
                let ready = subscriber.poll_ready(&mut Context::from_waker(&waker));
                assert!(ready.is_pending());
            }
        };
        read_and_wait();
        let mut messages = 0;
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    let begin = std::time::Instant::now();
                    append(&hub, &payload);
                    shard::drain();
                    spent += begin.elapsed();
                    messages += 1;
                    read_and_wait();
                }
                spent
            });
        });
        assert_eq!(woken.0.load(Ordering::Relaxed), messages * count);
    }
    group.finish();
}

// `criterion_main!` would make public functions without documentation.
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    append_and_drain(&mut criterion);
    wake(&mut criterion);
    fan_out(&mut criterion);
    criterion.final_summary();
}
