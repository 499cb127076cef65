//! Fleets whose clients are not all alike: some read slowly, some come and go and resume, and the
//! channels differ in size. What the plain ones are owed stays exact.

use std::sync::atomic::Ordering::Relaxed;

use pushbench::load::{FleetReport, Setup};
use pushbench::record::{Family, HistogramId};
use pushbench::scenario::{ChannelCount, Publish, Sessions, Sizes, SlowReaders, Spread, Streams};
use pushbench_protocol::payload::PayloadKind;
use pushbench_protocol::schedule::Arrival;
use pushbench_protocol::transport::Transport;

use crate::fleets::{Bench, MESSAGES, SOON, assert_received, on_each, setup, whole_schedule, with};
use crate::support::{ESTABLISHED, await_some, table_address, tcp_sockets};

const CLIENTS: u32 = 20;

/// Envelopes of this size, so that few of them fill a small buffer.
const BYTES: usize = 1_000;

fn half_slow(transport: Transport, read_bytes_per_s: u64) -> (Setup, u64) {
    let plan = SlowReaders {
        share: 0.5,
        read_bytes_per_s,
        receive_buffer_bytes: 4_096,
    };
    let slow = (0..CLIENTS).filter(|&index| plan.is_slow(index)).count() as u64;
    let setup = with(setup(transport, CLIENTS), |s| s.slow_readers = Some(plan));
    (setup, slow)
}

#[tokio::test]
async fn clients_that_do_not_read_leave_the_counts_of_the_others_exact() {
    on_each(Transport::ALL, |transport| async move {
        let (setup, slow) = half_slow(transport, 0);
        assert!(slow > 0 && slow < u64::from(CLIENTS));
        let mut bench = Bench::connected_with(setup, 1_024, BYTES).await;
        bench.begin(None).await;
        let report = bench.drained().await;
        let healthy = (u64::from(CLIENTS) - slow) * MESSAGES;
        assert_received(transport, &report, healthy);
        assert_eq!(
            report.histograms.count(HistogramId::Delivery),
            healthy,
            "{transport}"
        );
        let account = report.measures.slow_readers.expect("there is a plan");
        assert_eq!((account.clients, account.attached), (slow, slow));
        assert_eq!(account.expected, slow * MESSAGES, "{transport}");
        assert_eq!((account.received, account.ended), (0, 0), "{transport}");
        assert_eq!(report.disconnected, 0, "{transport}");
        let first = report.histograms.count(HistogramId::FirstMessage);
        assert_eq!(first, 0, "{transport}: all came before the schedule");
    })
    .await;
}

#[tokio::test]
async fn clients_that_read_slowly_receive_no_more_than_their_rate() {
    let rate = 20_000;
    let (setup, slow) = half_slow(Transport::Tcp, rate);
    let mut bench = Bench::connected_with(setup, 1_024, BYTES).await;
    bench.begin(None).await;
    bench.published().await;
    // Long enough for a portion, however busy the machine.
    bench.at_ms(700).await;
    let report = bench.fleet.report().await;
    let most_s = bench.elapsed().as_secs_f64() + 0.1;
    let account = report.measures.slow_readers.expect("there is a plan");
    let bytes = (account.received * BYTES as u64) as f64;
    assert!(bytes <= slow as f64 * rate as f64 * most_s, "{account:?}");
    assert!(account.received > 0, "{account:?}");
    assert_eq!(report.counts.missing, 0);
    bench.fleet.end().await;
}

#[tokio::test]
async fn the_end_of_a_connection_that_is_not_read_is_seen() {
    let (setup, slow) = half_slow(Transport::WebSocket, 0);
    let mut bench = Bench::connected(setup).await;
    bench.begin(None).await;
    bench.published().await;
    let (fleet, others) = (&mut bench.fleet, u64::from(CLIENTS) - slow);
    fleet
        .until("all of the others'", |s| s.outstanding == 0)
        .await;
    bench.proxy.cut(true);
    fleet
        .until("the others' ends", |s| s.disconnected == others)
        .await;
    let end = table_address(bench.proxy.address);
    await_some("the kernel to know", || {
        let mut clients = tcp_sockets().into_iter().filter(|s| s.remote == end);
        clients
            .all(|socket| socket.state != ESTABLISHED)
            .then_some(())
    });
    let report = bench.finish().await;
    let account = report.measures.slow_readers.expect("there is a plan");
    assert_eq!((account.ended, account.attached), (slow, 0));
    assert_eq!(account.received, 0);
}

/// Four sessions in the time of the schedule.
fn sessions(resume: bool, spread: Spread) -> Option<Sessions> {
    Some(Sessions {
        length_ms: 60,
        gap_ms: 40,
        resume,
        spread,
    })
}

async fn sessions_resume(transport: Transport, spread: Spread) {
    let setup = with(setup(transport, CLIENTS), |s| {
        s.sessions = sessions(true, spread);
    });
    let report = whole_schedule(setup).await;
    let owed = u64::from(CLIENTS) * MESSAGES;
    assert_received(transport, &report, owed);
    let arrivals = report.measures.arrivals.expect("there are sessions");
    assert!(arrivals.arrivals > 0, "{transport}: {arrivals:?}");
    assert_eq!(arrivals.failed, 0, "{transport}");
    let first = report.histograms.count(HistogramId::FirstMessage);
    let begun = 1..=arrivals.arrivals;
    assert!(begun.contains(&first), "{transport}: {first} of {begun:?}");
    let late = report.histograms.count(HistogramId::ResumedCatchUp);
    assert_eq!(
        report.histograms.count(HistogramId::Delivery),
        owed - late,
        "{transport}"
    );
    assert!(late > 0, "{transport}: {arrivals:?}");
    assert_eq!((report.refused, report.disconnected), (0, 0));
}

/// Clients with two streams each in the time of the schedule: 10 messages after 100 ms, 5 ms apart.
fn streams(transport: Transport, family: Family) -> Setup {
    let mut setup = with(setup(transport, 6), |s| {
        s.channels.count = ChannelCount::PerClient;
        s.sessions = Some(Sessions {
            length_ms: 150,
            gap_ms: 50,
            resume: false,
            spread: Spread::Fixed,
        });
        s.streams = Some(Streams {
            first_after_ms: 100,
        });
        s.publish = Some(Publish {
            rate_per_s: 200.0,
            payload_bytes: 96,
            payload: PayloadKind::Text,
            burst: 1,
            arrival: Arrival::Uniform,
        });
    });
    setup.family = family;
    setup
}

#[tokio::test]
async fn every_session_gets_exactly_its_stream() {
    const OWED: u64 = 6 * 2 * 10;
    for transport in Transport::ALL {
        for family in [Family::Lean, Family::Library] {
            let whom = format!("{transport} {family:?}");
            // A client that this machine was too slow for is owed less; that it is not every time.
            let mut report = whole_schedule(streams(transport, family)).await;
            for _ in 0..9 {
                assert!(report.counts.expected <= OWED, "{whom}");
                assert_received(&whom, &report, report.counts.expected);
                if report.counts.expected == OWED {
                    break;
                }
                report = whole_schedule(streams(transport, family)).await;
            }
            assert_received(&whom, &report, OWED);
            let counts = [
                HistogramId::Stream,
                HistogramId::GapJitter,
                HistogramId::FirstMessage,
            ]
            .map(|id| report.histograms.count(id));
            // Client 2 was in the middle of a stream when the schedule began, and of another when it
            // ended: 11 are complete, in 2 parts each is one. Of the 9 sessions that begin and have a
            // message due, the first of client 0 began before the schedule.
            assert_eq!(counts, [11, OWED - 13, 8], "{whom}");
            assert_eq!((report.refused, report.disconnected), (0, 0), "{whom}");
        }
    }
}

#[tokio::test]
async fn clients_that_resume_are_owed_exactly_what_was_published() {
    on_each(Transport::ALL, |transport| async move {
        let spread = match transport.is_stream() {
            true => Spread::Exponential,
            false => Spread::Fixed,
        };
        sessions_resume(transport, spread).await;
    })
    .await;
}

#[tokio::test]
async fn sessions_that_do_not_resume_owe_what_they_always_did() {
    let setup = with(setup(Transport::Tcp, CLIENTS), |s| {
        s.sessions = sessions(false, Spread::Fixed);
    });
    let report = whole_schedule(setup).await;
    let owed = report.counts.expected;
    assert_received(Transport::Tcp, &report, owed);
    assert!(owed < u64::from(CLIENTS) * MESSAGES);
    assert!(report.measures.arrivals.is_some_and(|a| a.arrivals > 0));
}

#[tokio::test]
async fn clients_subscribe_to_the_channels_that_the_sizes_say() {
    let setup = with(setup(Transport::Tcp, CLIENTS), |s| {
        s.channels.count = ChannelCount::Fixed(3);
        s.channels.sizes = Sizes::Zipf;
    });
    let report = whole_schedule(setup).await;
    // One client each; of the other 17, 9.3, 4.6 and 3.1 by 1, 1/2 and 1/3. 80 messages in turn: 27,
    // 27 and 26.
    let owed = 10 * 27 + 6 * 27 + 4 * 26;
    assert_received(Transport::Tcp, &report, owed);
}

const SNAPSHOT: u64 = 5;

/// Messages that the server has handed out.
fn deliveries(bench: &Bench) -> u64 {
    bench.server.total(|stats| stats.deliveries.load(Relaxed))
}

/// Snapshots that were whole.
fn whole_ones(report: &FleetReport) -> u64 {
    report.histograms.count(HistogramId::Snapshot)
}

fn asking(transport: Transport) -> Setup {
    with(setup(transport, CLIENTS), |s| {
        s.clients.snapshot_messages = SNAPSHOT;
        s.publish = Some(Publish {
            rate_per_s: 200.0,
            payload_bytes: BYTES,
            payload: PayloadKind::Json,
            burst: 1,
            arrival: Arrival::Uniform,
        });
    })
}

#[tokio::test]
async fn a_snapshot_is_exactly_the_last_messages_asked_for() {
    on_each(Transport::ALL, |transport| async move {
        let mut bench = Bench::ready(asking(transport)).await;
        bench.publish_before(12);
        bench.fleet.connect().await;
        let clients = u64::from(CLIENTS);
        let fleet = &mut bench.fleet;
        fleet
            .report_when("every snapshot", |report| whole_ones(report) == clients)
            .await;
        assert_eq!(deliveries(&bench), clients * SNAPSHOT, "{transport}");
        bench.finish().await;
    })
    .await;
}

#[tokio::test]
async fn a_channel_with_fewer_messages_gives_them_all_and_no_whole_snapshot() {
    let mut bench = Bench::ready(asking(Transport::Tcp)).await;
    bench.publish_before(3);
    bench.fleet.connect().await;
    let all = u64::from(CLIENTS) * 3;
    await_some("all deliveries", || {
        (deliveries(&bench) >= all).then_some(())
    });
    assert_eq!(deliveries(&bench), all);
    assert_eq!(whole_ones(&bench.finish().await), 0);
}

#[tokio::test]
async fn snapshots_of_clients_that_come_and_go_are_owed_to_each_session() {
    for transport in [Transport::Sse, Transport::LongPoll] {
        let setup = with(asking(transport), |s| {
            s.sessions = sessions(false, Spread::Fixed);
        });
        let report = whole_schedule(setup).await;
        assert_received(transport, &report, report.counts.expected);
        assert!(whole_ones(&report) > 0, "{transport}");
    }
}

#[tokio::test]
async fn what_was_due_before_its_reader_came_is_owed_and_is_no_latency() {
    on_each(Transport::ALL, |transport| async move {
        // So that what late comers are owed is waited for.
        let setup = with(asking(transport), |s| s.reconnect = Some(SOON));
        let mut bench = Bench::ready(setup).await;
        bench.begin(None).await;
        bench.published().await;
        bench.fleet.connect().await;
        let report = bench.drained().await;
        assert_received(transport, &report, u64::from(CLIENTS) * SNAPSHOT);
        assert_eq!(
            report.histograms.count(HistogramId::Delivery),
            0,
            "{transport}"
        );
    })
    .await;
}
