//! Two-way traffic of a real fleet: everything that was due is sent, comes back to its sender exactly
//! once and reaches every member of its room; what a server repeats is counted.

use std::net::SocketAddr;

use pushbench::load::conditions::upstream::{Head, Messages, write_payload};
use pushbench::load::tally::CounterId;
use pushbench::load::{FleetReport, PayloadCheck, Setup, Timing};
use pushbench::record::{HistogramId, RoundTrip};
use pushbench::scenario::{ChannelCount, Upstream, Via};
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::payload::PayloadKind;
use pushbench_protocol::schedule::Schedule;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::server::Server;

use crate::fleets::{self, Fleet, assert_received, config};

const ROOMS: u32 = 3;

/// Members of a room.
const MEMBERS: u32 = 4;

pub(crate) const CLIENTS: u32 = ROOMS * MEMBERS;

const PAYLOAD_BYTES: usize = 120;

const WARM_UP_NS: u64 = 100_000_000;

const MEASURE_NS: u64 = 500_000_000;

pub(crate) fn setup(transport: Transport, server: SocketAddr) -> Setup {
    let plain = fleets::with(fleets::setup(transport, CLIENTS), |s| {
        s.channels.count = ChannelCount::Fixed(ROOMS);
        s.channels.prefix = "room".to_owned();
        s.upstream = Some(Upstream {
            rate_per_client_s: 40.0,
            payload_bytes: PAYLOAD_BYTES,
            via: Via::Transport,
        });
    });
    Setup {
        server,
        probes: true,
        check_payload: Some(PayloadCheck {
            kind: PayloadKind::Json,
            seed: 7,
            payload_bytes: PAYLOAD_BYTES,
        }),
        ..plain
    }
}

/// A moment from now, long enough for every shard to know the schedule before it begins.
fn timing() -> Timing {
    let start_ns = monotonic_ns() + 400_000_000;
    let measure_from_ns = start_ns + WARM_UP_NS;
    let measure_until_ns = measure_from_ns + MEASURE_NS;
    Timing {
        schedule: Schedule::uniform(start_ns..measure_until_ns, 1.0, ROOMS),
        measure_from_ns,
        measure_until_ns,
        linger_ms: 0.0,
        faults_ns: Vec::new(),
    }
}

/// A fleet with all its clients connected to `server`.
pub(crate) async fn connected(transport: Transport, server: SocketAddr) -> Fleet {
    let mut fleet = Fleet::start(setup(transport, server)).await;
    fleet.connect().await;
    fleet
}

/// The schedule begins; what is due in it.
pub(crate) async fn begin(fleet: &mut Fleet) -> Messages {
    let timing = timing();
    fleet.begin(&timing).await;
    Messages::new(&fleet.setup, &timing).expect("it has an upstream")
}

pub(crate) fn trips(report: &FleetReport) -> &RoundTrip {
    report
        .measures
        .round_trip
        .as_ref()
        .expect("it has an upstream")
}

fn server(transport: Transport, profile: Profile) -> (Server, SocketAddr) {
    fleets::server(config(transport, profile), "room", ROOMS)
}

/// Messages that clients send in all, also before the measure phase.
pub(crate) fn sent_in_all(messages: &Messages) -> u64 {
    (0..CLIENTS).map(|c| messages.numbers_of(c).end).sum()
}

pub(crate) fn expected_in_all(messages: &Messages) -> u64 {
    (0..ROOMS)
        .map(|room| u64::from(MEMBERS) * messages.due_of_channel(room))
        .sum()
}

async fn everything_due_is_sent_and_received(transport: Transport, profile: Profile) {
    let label = format!("{transport}, {profile:?}");
    let posts = !matches!(transport, Transport::Tcp | Transport::WebSocket);
    let (_server, address) = server(transport, profile);
    let mut fleet = connected(transport, address).await;
    let before = fleet.sample().await;
    let messages = begin(&mut fleet).await;
    let (due, expected) = (messages.due(), expected_in_all(&messages));
    assert!(due >= 19 * u64::from(CLIENTS), "{label}: {due}");
    assert_eq!(expected, due * u64::from(MEMBERS), "{label}");
    fleet
        .until(&label, |s| s.received == expected && s.outstanding == 0)
        .await;
    let window = fleet.sample().await.since(&before);
    let report = fleet.report().await;
    let trips = trips(&report);
    assert_received(&label, &report, expected);
    assert_eq!(report.corrupt, 0, "{label}: {:?}", report.first_corrupt);
    assert_eq!((report.refused, report.disconnected), (0, 0), "{label}");
    assert_eq!(report.errors, [""; 0], "{label}");
    assert_eq!(
        report.received_bytes,
        expected * PAYLOAD_BYTES as u64,
        "{label}"
    );
    assert_eq!(
        report.histograms.count(HistogramId::Delivery),
        expected,
        "{label}"
    );
    assert_eq!(
        report.histograms.count(HistogramId::Service),
        expected,
        "{label}"
    );
    let clock = report.negative_latencies;
    assert_eq!(clock, 0, "{label}: nothing comes before it was due");

    assert_eq!((trips.due, trips.sent), (due, due), "{label}");
    assert_eq!((trips.returned, trips.lost), (due, 0), "{label}");
    assert_eq!((trips.refused, trips.doubled), (0, 0), "{label}");
    assert_eq!(trips.acknowledged, posts.then_some(due), "{label}");
    assert_eq!(
        report.histograms.count(HistogramId::RoundTrip),
        due,
        "{label}"
    );
    assert_eq!(
        report.histograms.count(HistogramId::SendLag),
        due,
        "{label}"
    );
    let answered = if posts { due } else { 0 };
    assert_eq!(
        report.histograms.count(HistogramId::Acknowledge),
        answered,
        "{label}"
    );
    let each = if posts { 2 } else { 1 };
    assert_eq!(trips.connections, each * u64::from(CLIENTS), "{label}");
    assert_eq!(trips.reopened, 0, "{label}");

    let in_all = sent_in_all(&messages);
    let found = |id| window.get(id);
    let received = in_all * u64::from(MEMBERS);
    assert_eq!(found(CounterId::Deliveries), received, "{label}");
    assert_eq!(found(CounterId::Sent), in_all, "{label}");
    let payload = in_all * (PAYLOAD_BYTES as u64 - 51);
    let (sent, by_post) = (found(CounterId::SentBytes), found(CounterId::PostSentBytes));
    assert!(sent > payload && sent >= by_post, "{label}: {window:?}");
    assert_eq!(by_post > payload, posts, "{label}: {window:?}");
    let down = found(CounterId::ReceivedBytes);
    assert!(down > found(CounterId::PostReceivedBytes), "{label}");
    // Each shard follows every message, and none is taken for another: its room is in one shard or
    // in both, so there is one time a message.
    assert_eq!(report.histograms.count(HistogramId::Fanout), due, "{label}");
    fleet.end().await;
}

async fn on_every_profile(transport: Transport) {
    // Side by side, as each does little but wait for its schedule.
    tokio::join!(
        everything_due_is_sent_and_received(transport, Profile::Stock),
        everything_due_is_sent_and_received(transport, Profile::Tuned),
        everything_due_is_sent_and_received(transport, Profile::Lean),
    );
}

#[tokio::test]
async fn rooms_on_streams_receive_all_that_is_due_and_senders_all_that_they_sent() {
    for transport in [Transport::Tcp, Transport::Sse, Transport::WebSocket] {
        on_every_profile(transport).await;
    }
}

#[tokio::test]
async fn rooms_that_poll_receive_all_that_is_due_and_senders_all_that_they_sent() {
    for transport in [Transport::LongPoll, Transport::ShortPoll] {
        on_every_profile(transport).await;
    }
}

/// A client's first message of the measure phase, as it sent it.
fn first_payload(messages: &Messages, client: u32) -> Vec<u8> {
    let number = messages.numbers_of(client).start;
    let head = Head {
        client,
        number: number as u32,
        intended_ns: messages.schedule().due_ns(client, number),
    };
    let mut payload = Vec::new();
    write_payload(head, PAYLOAD_BYTES - 51, &mut payload);
    payload
}

#[tokio::test]
async fn a_message_that_the_server_appends_twice_is_counted_as_doubled_by_its_sender() {
    let (server, address) = server(Transport::WebSocket, Profile::Tuned);
    let mut fleet = connected(Transport::WebSocket, address).await;
    let messages = begin(&mut fleet).await;
    let expected = expected_in_all(&messages);
    fleet
        .until("all messages", |s| s.received == expected)
        .await;
    let again = first_payload(&messages, 4);
    server.hub.append(1, None, &again).expect("room in the hub");
    let room = u64::from(MEMBERS);
    fleet
        .until("the second copy", |s| s.received == expected + room)
        .await;
    let report = fleet.report().await;
    let trips = trips(&report);
    assert_eq!((trips.returned, trips.lost), (messages.due(), 0));
    assert_eq!(trips.doubled, 1);
    assert_eq!(report.counts.missing, 0);
    assert_eq!(report.counts.received, expected + room);
    assert_eq!(report.corrupt, 0);
    fleet.end().await;
}

#[tokio::test]
async fn a_payload_of_nobody_and_one_of_another_room_end_the_sessions_of_the_room() {
    let (server, address) = server(Transport::Sse, Profile::Tuned);
    let mut fleet = connected(Transport::Sse, address).await;
    let messages = begin(&mut fleet).await;
    // Client 1 is of room 1.
    let stray = first_payload(&messages, 1);
    server.hub.append(0, None, b"hello").expect("room");
    server.hub.append(2, None, &stray).expect("room");
    let status = fleet
        .until("two rooms to end", |s| {
            s.disconnected == u64::from(2 * MEMBERS)
        })
        .await;
    let says = |text: &str| status.errors.iter().any(|e| e.contains(text));
    assert!(
        says("begins with sender") || says("is not a member"),
        "{status:?}"
    );
    fleet.end().await;
}
