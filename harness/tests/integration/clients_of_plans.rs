//! Fleets whose clients are not all alike: some read slowly, some come and go and resume, and the
//! channels differ in size. What the plain ones are owed stays exact.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use pushbench::load::{ChannelSizes, SessionPlan, Setup, SlowPlan, Spread};
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::transport::Transport;

use crate::fleets::{Bench, MESSAGES, MS, SOON, entries, setup, standing};
use crate::support::{PATIENCE, await_some};

const CLIENTS: u32 = 20;

/// Envelopes of this size, so that few of them fill a small buffer.
const BYTES: usize = 1_000;

fn half_slow(transport: Transport, read_bytes_per_s: u64) -> (Setup, u64) {
    let plan = SlowPlan {
        share: 0.5,
        read_bytes_per_s,
    };
    let slow = (0..CLIENTS).filter(|&index| plan.is_slow(index)).count() as u64;
    let setup = Setup {
        slow: Some(plan),
        receive_buffer_bytes: Some(4_096),
        ..setup(transport, CLIENTS)
    };
    (setup, slow)
}

#[tokio::test]
async fn clients_that_do_not_read_leave_the_counts_of_the_others_exact() {
    for transport in Transport::ALL {
        let (setup, slow) = half_slow(transport, 0);
        assert!(slow > 0 && slow < u64::from(CLIENTS));
        let mut bench = Bench::connected(setup, 1_024, BYTES).await;
        bench.begin(None).await;
        let report = bench.drained().await;
        let healthy = (u64::from(CLIENTS) - slow) * MESSAGES;
        let counts = report.counts;
        assert_eq!((counts.expected, counts.received), (healthy, healthy));
        assert_eq!((counts.missing, counts.duplicate), (0, 0), "{transport}");
        assert_eq!(entries(&report.delivery), healthy, "{transport}");
        let account = report.slow.expect("there is a plan");
        assert_eq!((account.clients, account.attached), (slow, slow));
        assert_eq!(account.expected, slow * MESSAGES, "{transport}");
        assert_eq!((account.received, account.ended), (0, 0), "{transport}");
        assert_eq!(report.disconnected, 0, "{transport}");
    }
}

#[tokio::test]
async fn clients_that_read_slowly_receive_no_more_than_their_rate() {
    let rate = 20_000;
    let (setup, slow) = half_slow(Transport::Tcp, rate);
    let mut bench = Bench::connected(setup, 1_024, BYTES).await;
    bench.begin(None).await;
    let start_ns = bench.timing.as_ref().expect("it began").schedule.start_ns;
    bench.published().await;
    // Long enough for a portion, however busy the machine.
    bench.at_ms(700).await;
    let report = bench.finish().await;
    let most_s = (monotonic_ns() - start_ns) as f64 / 1e9 + 0.1;
    let account = report.slow.expect("there is a plan");
    let bytes = (account.received * BYTES as u64) as f64;
    assert!(bytes <= slow as f64 * rate as f64 * most_s, "{account:?}");
    assert!(account.received > 0, "{account:?}");
    assert_eq!(report.counts.missing, 0);
}

#[tokio::test]
async fn the_end_of_a_connection_that_is_not_read_is_seen() {
    let (setup, slow) = half_slow(Transport::WebSocket, 0);
    let mut bench = Bench::connected(setup, 1_024, 96).await;
    bench.begin(None).await;
    bench.published().await;
    bench
        .until("the others have all", |status| status.outstanding == 0)
        .await;
    bench.proxy.cut(true);
    bench
        .until("the others see the cut", |status| {
            status.disconnected == u64::from(CLIENTS) - slow
        })
        .await;
    let address = bench.proxy.address;
    await_some("the kernel to know", || {
        (standing(address) == 0).then_some(())
    });
    let report = bench.finish().await;
    let account = report.slow.expect("there is a plan");
    assert_eq!((account.ended, account.attached), (slow, 0));
    assert_eq!(account.received, 0);
}

async fn sessions_resume(transport: Transport, spread: Spread) {
    let setup = Setup {
        sessions: Some(SessionPlan {
            length_ms: 60.0,
            gap_ms: 40.0,
            resume: true,
            spread,
        }),
        ..setup(transport, CLIENTS)
    };
    let mut bench = Bench::connected(setup, 1_024, 96).await;
    bench.begin(None).await;
    let report = bench.drained().await;
    let owed = u64::from(CLIENTS) * MESSAGES;
    let counts = report.counts;
    assert_eq!((counts.expected, counts.received), (owed, owed));
    assert_eq!((counts.missing, counts.duplicate), (0, 0), "{transport}");
    let arrivals = report.arrivals.expect("there are sessions");
    assert!(arrivals.arrivals > 0, "{transport}: {arrivals:?}");
    assert_eq!(arrivals.failed, 0, "{transport}");
    let late = entries(&arrivals.caught_up);
    assert_eq!(entries(&report.delivery), owed - late, "{transport}");
    assert!(late > 0, "{transport}: {arrivals:?}");
    assert_eq!((report.refused, report.disconnected), (0, 0));
}

#[tokio::test]
async fn streams_that_resume_are_owed_exactly_what_was_published() {
    for transport in [Transport::Tcp, Transport::Sse, Transport::WebSocket] {
        sessions_resume(transport, Spread::Exponential).await;
    }
}

#[tokio::test]
async fn polls_that_resume_are_owed_exactly_what_was_published() {
    for transport in [Transport::LongPoll, Transport::ShortPoll] {
        sessions_resume(transport, Spread::Fixed).await;
    }
}

#[tokio::test]
async fn sessions_that_do_not_resume_owe_what_they_always_did() {
    let setup = Setup {
        sessions: Some(SessionPlan {
            length_ms: 60.0,
            gap_ms: 40.0,
            resume: false,
            spread: Spread::Fixed,
        }),
        ..setup(Transport::Tcp, CLIENTS)
    };
    let mut bench = Bench::connected(setup, 1_024, 96).await;
    bench.begin(None).await;
    let report = bench.drained().await;
    let counts = report.counts;
    assert_eq!((counts.missing, counts.duplicate), (0, 0));
    assert_eq!(counts.expected, counts.received);
    assert!(counts.expected < u64::from(CLIENTS) * MESSAGES);
    assert!(report.arrivals.is_some_and(|a| a.arrivals > 0));
}

#[tokio::test]
async fn clients_subscribe_to_the_channels_that_the_sizes_say() {
    // With such an exponent all but one of each other channel are in the first.
    let setup = Setup {
        channels: 3,
        channel_sizes: ChannelSizes::Zipf { exponent: 40.0 },
        ..setup(Transport::Tcp, CLIENTS)
    };
    let mut bench = Bench::connected(setup, 1_024, 96).await;
    bench.begin(None).await;
    let report = bench.drained().await;
    // 80 messages in turn: 27, 27 and 26.
    let owed = u64::from(CLIENTS - 2) * 27 + 27 + 26;
    let counts = report.counts;
    assert_eq!((counts.expected, counts.received), (owed, owed));
    assert_eq!((counts.missing, counts.duplicate), (0, 0));
}

const SNAPSHOT: u64 = 5;

fn asking(transport: Transport) -> Setup {
    Setup {
        snapshot_messages: SNAPSHOT,
        ..setup(transport, CLIENTS)
    }
}

#[tokio::test]
async fn a_snapshot_is_exactly_the_last_messages_asked_for() {
    for transport in Transport::ALL {
        let mut bench = Bench::ready(asking(transport), 1_024, 96).await;
        bench.publish_before(12);
        bench.connect().await;
        let clients = u64::from(CLIENTS);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = bench.report_so_far().await;
            let whole = entries(&report.snapshot.expect("it was asked for"));
            if whole == clients {
                break;
            }
            assert!(Instant::now() < deadline, "{transport}: {whole}");
            tokio::time::sleep(2 * MS).await;
        }
        let sent = bench.server.total(|stats| stats.deliveries.load(Relaxed));
        assert_eq!(sent, clients * SNAPSHOT, "{transport}");
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_channel_with_fewer_messages_gives_them_all_and_no_whole_snapshot() {
    let mut bench = Bench::ready(asking(Transport::Tcp), 1_024, 96).await;
    bench.publish_before(3);
    bench.connect().await;
    let deadline = Instant::now() + PATIENCE;
    let all = u64::from(CLIENTS) * 3;
    while bench.server.total(|stats| stats.deliveries.load(Relaxed)) < all {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(2 * MS).await;
    }
    assert_eq!(
        bench.server.total(|stats| stats.deliveries.load(Relaxed)),
        all
    );
    let report = bench.finish().await;
    assert_eq!(entries(&report.snapshot.expect("it was asked for")), 0);
}

#[tokio::test]
async fn snapshots_of_clients_that_come_and_go_are_owed_to_each_session() {
    for transport in [Transport::Sse, Transport::LongPoll] {
        let setup = Setup {
            sessions: Some(SessionPlan {
                length_ms: 60.0,
                gap_ms: 40.0,
                resume: false,
                spread: Spread::Fixed,
            }),
            ..asking(transport)
        };
        let mut bench = Bench::connected(setup, 1_024, 96).await;
        bench.begin(None).await;
        let report = bench.drained().await;
        let counts = report.counts;
        assert_eq!((counts.missing, counts.duplicate), (0, 0), "{transport}");
        assert_eq!(counts.expected, counts.received, "{transport}");
        let whole = entries(&report.snapshot.expect("it was asked for"));
        assert!(whole > 0, "{transport}");
    }
}

#[tokio::test]
async fn what_was_due_before_its_reader_came_is_owed_and_is_no_latency() {
    for transport in Transport::ALL {
        let setup = Setup {
            // So that what late comers are owed is waited for.
            reconnect: Some(SOON),
            ..asking(transport)
        };
        let mut bench = Bench::ready(setup, 1_024, 96).await;
        bench.begin(None).await;
        bench.published().await;
        bench.connect().await;
        let report = bench.drained().await;
        let owed = u64::from(CLIENTS) * SNAPSHOT;
        let counts = report.counts;
        assert_eq!((counts.expected, counts.received), (owed, owed));
        assert_eq!((counts.missing, counts.duplicate), (0, 0), "{transport}");
        assert_eq!(entries(&report.delivery), 0, "{transport}");
    }
}
