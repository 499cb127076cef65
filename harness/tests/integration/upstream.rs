//! Two-way traffic of a real fleet: everything that was due is sent, comes back to its sender exactly
//! once and reaches every member of its room; what a server refuses, ends or repeats is counted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use pushbench::environment::process::ManagedProcess;
use pushbench::load::client::Family;
use pushbench::load::conditions::upstream::{Head, Messages, UpstreamPlan, write_payload};
use pushbench::load::control::Connect;
use pushbench::load::ledger::Counts;
use pushbench::load::{
    FleetReport, PayloadCheck, RoundTripReport, SessionPlan, Setup, Status, Timing,
};
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::payload::PayloadKind;
use pushbench_protocol::schedule::{Arrival, Schedule};
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::listen::{Config, Server};
use serde_json::Value;

use crate::support::PATIENCE;

const ROOMS: u32 = 3;

/// Members of a room.
const MEMBERS: u32 = 4;

const CLIENTS: u32 = ROOMS * MEMBERS;

const PAYLOAD_BYTES: usize = 120;

const WARM_UP_NS: u64 = 100_000_000;

const MEASURE_NS: u64 = 500_000_000;

fn setup(transport: Transport, server: SocketAddr) -> Setup {
    Setup {
        transport,
        family: Family::Lean,
        server,
        clients: CLIENTS,
        channels: ROOMS,
        channel_prefix: "room".to_owned(),
        connect_per_s: None,
        poll_interval_ms: 20.0,
        sessions: None,
        seed: 7,
        shards: 2,
        cpus: Vec::new(),
        own_tables: false,
        sources: Vec::new(),
        first_source: 0,
        congestion: None,
        probes: true,
        check_payload: Some(PayloadCheck {
            kind: PayloadKind::Json,
            seed: 7,
            payload_bytes: PAYLOAD_BYTES,
        }),
        reconnect: None,
        cuts: None,
        slow: None,
        receive_buffer_bytes: None,
        snapshot_messages: 0,
        channel_sizes: Default::default(),
        upstream: Some(UpstreamPlan {
            rate_per_client_s: 40.0,
            payload_bytes: PAYLOAD_BYTES,
        }),
    }
}

/// A moment from now, long enough for every shard to know the schedule before it begins.
fn timing() -> Timing {
    let start_ns = monotonic_ns() + 400_000_000;
    let measure_from_ns = start_ns + WARM_UP_NS;
    let measure_until_ns = measure_from_ns + MEASURE_NS;
    Timing {
        schedule: Schedule {
            start_ns,
            end_ns: measure_until_ns,
            rate_per_s: 1.0,
            burst: 1,
            channels: ROOMS,
            arrival: Arrival::Uniform,
            seed: 0,
        },
        measure_from_ns,
        measure_until_ns,
        linger_ms: 0.0,
        faults_ns: Vec::new(),
    }
}

/// A fleet, and what it was set up with.
struct Fleet {
    helper: ManagedProcess,
    setup: Setup,
}

impl Fleet {
    /// Told to connect all its clients.
    async fn connecting(setup: Setup) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_pushbench"));
        let mut helper = ManagedProcess::start("fleet", program, &["fleet".to_owned()])
            .await
            .expect("it starts");
        let _: Value = helper.post("/v1/fleet", &setup).await.expect("a setup");
        let all = Connect {
            up_to: setup.clients,
        };
        let _: Value = helper
            .post("/v1/fleet/connect", &all)
            .await
            .expect("set up");
        Self { helper, setup }
    }

    async fn connected(setup: Setup) -> Self {
        let all = u64::from(setup.clients);
        let mut fleet = Self::connecting(setup).await;
        fleet
            .await_status("all clients", |s| s.connected == all)
            .await;
        fleet
    }

    async fn begin(&mut self) -> Messages {
        let timing = timing();
        let messages = Messages::new(&self.setup, &timing).expect("it has an upstream");
        let _: Value = self
            .helper
            .post("/v1/fleet/begin", &timing)
            .await
            .expect("connected");
        messages
    }

    async fn await_status(&mut self, what: &str, done: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status: Status = self.helper.get("/v1/fleet").await.expect("it lives");
            if done(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn report(&mut self) -> (FleetReport, RoundTripReport) {
        let report: FleetReport = self
            .helper
            .post("/v1/fleet/finish", &Value::Null)
            .await
            .expect("it reports");
        let round_trip = report.round_trip.clone().expect("it has an upstream");
        (report, round_trip)
    }

    /// Reports again and again until one is as it must be in the end.
    async fn report_when(
        &mut self,
        what: &str,
        done: impl Fn(&RoundTripReport) -> bool,
    ) -> (FleetReport, RoundTripReport) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (report, round_trip) = self.report().await;
            if done(&round_trip) {
                return (report, round_trip);
            }
            assert!(Instant::now() < deadline, "{what}: {round_trip:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(mut self) {
        let _: Value = self.helper.delete("/v1/fleet").await.expect("it closes");
        self.helper.end().await;
    }
}

fn server(transport: Transport, profile: Profile) -> (Server, SocketAddr) {
    let config = Config {
        transports: vec![transport],
        profile,
        ..Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    };
    let server = Server::start(&config).expect("a free port on loopback");
    server
        .hub
        .declare(&[format!("room*{ROOMS}")])
        .expect("a good name");
    let addresses = server.addresses;
    let address = addresses.http.or(addresses.tcp).expect("it listens");
    (server, address)
}

fn expected_in_all(messages: &Messages) -> u64 {
    (0..ROOMS)
        .map(|room| u64::from(MEMBERS) * messages.due_of_channel(room))
        .sum()
}

fn count_of(histogram: &str) -> u64 {
    let bytes = BASE64_STANDARD.decode(histogram).expect("base64");
    let histogram: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .expect("V2");
    histogram.len()
}

async fn everything_due_is_sent_and_received(transport: Transport, profile: Profile) {
    let label = format!("{transport}, {profile:?}");
    let posts = !matches!(transport, Transport::Tcp | Transport::WebSocket);
    let (_server, address) = server(transport, profile);
    let mut fleet = Fleet::connected(setup(transport, address)).await;
    let messages = fleet.begin().await;
    let (due, expected) = (messages.due(), expected_in_all(&messages));
    assert!(due >= 19 * u64::from(CLIENTS), "{label}: {due}");
    assert_eq!(expected, due * u64::from(MEMBERS), "{label}");
    fleet
        .await_status(&label, |s| s.received == expected && s.outstanding == 0)
        .await;
    let (report, trips) = fleet.report().await;
    let answer = Counts {
        expected,
        received: expected,
        ..Counts::default()
    };
    assert_eq!(report.counts, answer, "{label}: {:?}", report.first_missing);
    assert_eq!(report.corrupt, 0, "{label}: {:?}", report.first_corrupt);
    assert_eq!((report.refused, report.disconnected), (0, 0), "{label}");
    assert_eq!(report.errors, [""; 0], "{label}");
    assert_eq!(
        report.received_bytes,
        expected * PAYLOAD_BYTES as u64,
        "{label}"
    );
    assert_eq!(count_of(&report.delivery), expected, "{label}");
    assert_eq!(count_of(&report.service), expected, "{label}");
    let clock = report.negative_latencies;
    assert_eq!(clock, 0, "{label}: nothing comes before it was due");

    assert_eq!((trips.due, trips.sent), (due, due), "{label}");
    assert_eq!((trips.returned, trips.lost), (due, 0), "{label}");
    assert_eq!((trips.refused, trips.doubled), (0, 0), "{label}");
    assert_eq!(trips.acknowledged, posts.then_some(due), "{label}");
    assert_eq!(count_of(&trips.round_trip), due, "{label}");
    assert_eq!(count_of(&trips.send_lag), due, "{label}");
    let answered = if posts { due } else { 0 };
    assert_eq!(count_of(&trips.acknowledge), answered, "{label}");
    let each = if posts { 2 } else { 1 };
    assert_eq!(trips.connections, each * u64::from(CLIENTS), "{label}");
    assert_eq!(trips.reopened, 0, "{label}");

    let wire = report.wire.expect("its sockets are known");
    let in_all: u64 = (0..CLIENTS).map(|c| messages.numbers_of(c).end).sum();
    assert_eq!(wire.deliveries, in_all * u64::from(MEMBERS), "{label}");
    let payload = in_all * (PAYLOAD_BYTES as u64 - 51);
    assert!(wire.sent_bytes > payload, "{label}: {wire:?}");
    assert_eq!(trips.wire.is_some(), posts, "{label}");
    if let Some(uplinks) = trips.wire {
        assert_eq!(uplinks.deliveries, in_all, "{label}");
        assert!(uplinks.sent_bytes > payload, "{label}: {uplinks:?}");
        assert!(wire.sent_bytes >= uplinks.sent_bytes, "{label}");
        assert!(wire.received_bytes > uplinks.received_bytes, "{label}");
    }
    // Each shard follows every message, and none is taken for another: its room is in one shard or
    // in both, so there is one time a message.
    assert_eq!(count_of(&report.fanout), due, "{label}");
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
async fn tcp_rooms_receive_all_that_is_due_and_senders_all_that_they_sent() {
    on_every_profile(Transport::Tcp).await;
}

#[tokio::test]
async fn sse_rooms_receive_all_that_is_due_and_senders_all_that_they_sent() {
    on_every_profile(Transport::Sse).await;
}

#[tokio::test]
async fn websocket_rooms_receive_all_that_is_due_and_senders_all_that_they_sent() {
    on_every_profile(Transport::WebSocket).await;
}

#[tokio::test]
async fn long_poll_rooms_receive_all_that_is_due_and_senders_all_that_they_sent() {
    on_every_profile(Transport::LongPoll).await;
}

#[tokio::test]
async fn short_poll_rooms_receive_all_that_is_due_and_senders_all_that_they_sent() {
    on_every_profile(Transport::ShortPoll).await;
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
    let mut fleet = Fleet::connected(setup(Transport::WebSocket, address)).await;
    let messages = fleet.begin().await;
    let expected = expected_in_all(&messages);
    fleet
        .await_status("all messages", |s| s.received == expected)
        .await;
    let again = first_payload(&messages, 4);
    server.hub.append(1, None, &again).expect("room in the hub");
    let room = u64::from(MEMBERS);
    fleet
        .await_status("the second copy", |s| s.received == expected + room)
        .await;
    let (report, trips) = fleet.report().await;
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
    let mut fleet = Fleet::connected(setup(Transport::Sse, address)).await;
    let messages = fleet.begin().await;
    // Client 1 is of room 1.
    let stray = first_payload(&messages, 1);
    server.hub.append(0, None, b"hello").expect("room");
    server.hub.append(2, None, &stray).expect("room");
    let status = fleet
        .await_status("two rooms to end", |s| {
            s.disconnected == u64::from(2 * MEMBERS)
        })
        .await;
    let says = |text: &str| status.errors.iter().any(|e| e.contains(text));
    assert!(
        says("begins with sender") || says("is no member"),
        "{status:?}"
    );
    fleet.end().await;
}

/// What a server that takes no messages does with a POST.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Answers, and keeps the connection.
    Refuses,
    /// Answers 200, appends nothing, and closes the connection as it has said.
    Forgets,
    /// Closes the connection without a word.
    HangsUp,
}

/// Serves subscribes of `sse` with nothing but their start, and POSTs in its manner. Counts those.
fn unwilling(manner: Manner) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let posts = Arc::new(AtomicU64::new(0));
    let counter = posts.clone();
    std::thread::spawn(move || {
        // Ends with the test's process; each thread when its client closes.
        for stream in listener.incoming().flatten() {
            let counter = counter.clone();
            std::thread::spawn(move || _ = serve_unwillingly(&stream, manner, &counter));
        }
    });
    (address, posts)
}

fn serve_unwillingly(
    mut stream: &TcpStream,
    manner: Manner,
    posts: &AtomicU64,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap_or(0);
            }
            if first.is_empty() {
                first.clone_from(&line);
            }
            line.clear();
        }
        if first.starts_with("GET") {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\npush-cursor: 0\r\n\
                  transfer-encoding: chunked\r\n\r\n",
            )?;
            continue;
        }
        if first.is_empty() {
            return Ok(());
        }
        reader.read_exact(&mut vec![0; length])?;
        posts.fetch_add(1, Ordering::SeqCst);
        let answer: &[u8] = match manner {
            Manner::Refuses => b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nno\n",
            Manner::Forgets => b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            Manner::HangsUp => return Ok(()),
        };
        stream.write_all(answer)?;
        if matches!(manner, Manner::Forgets) {
            return Ok(());
        }
    }
}

async fn unheard(manner: Manner) -> (FleetReport, RoundTripReport, Messages, u64) {
    let (address, posts) = unwilling(manner);
    let mut fleet = Fleet::connected(setup(Transport::Sse, address)).await;
    let messages = fleet.begin().await;
    let in_all: u64 = (0..CLIENTS).map(|c| messages.numbers_of(c).end).sum();
    // A message is not sent again, so the server is asked as often as there are messages.
    let end_ns = messages.schedule().end_ns();
    let (report, trips) = fleet
        .report_when("every answer", |trips| {
            let settled = trips.acknowledged.unwrap_or(0) + trips.refused;
            let over = match manner {
                // With every connection that ends the client waits for its next message.
                Manner::HangsUp => monotonic_ns() > end_ns && settled == trips.sent,
                _ => settled == messages.due(),
            };
            over && trips.sent == settled
        })
        .await;
    let asked = posts.load(Ordering::SeqCst);
    assert!(asked <= in_all, "{manner:?}: {asked} of {in_all}");
    assert_eq!(report.disconnected, 0, "{manner:?}: {:?}", report.errors);
    // Each report settles the accounts anew, and adds.
    let counts = report.counts;
    assert_eq!(
        (counts.received, counts.missing),
        (0, counts.expected),
        "{manner:?}"
    );
    assert!(counts.expected > 0 && counts.expected % expected_in_all(&messages) == 0);
    assert_eq!((trips.returned, trips.doubled), (0, 0), "{manner:?}");
    assert_eq!(trips.lost, messages.due(), "{manner:?}");
    assert_eq!(count_of(&trips.round_trip), 0, "{manner:?}");
    assert_eq!(trips.connections, 2 * u64::from(CLIENTS), "{manner:?}");
    fleet.end().await;
    (report, trips, messages, asked)
}

#[tokio::test]
async fn posts_that_are_refused_are_counted_and_end_no_session() {
    let (report, trips, messages, asked) = unheard(Manner::Refuses).await;
    let in_all: u64 = (0..CLIENTS).map(|c| messages.numbers_of(c).end).sum();
    assert_eq!(asked, in_all);
    assert_eq!((trips.sent, trips.refused), (messages.due(), trips.due));
    assert_eq!((trips.acknowledged, trips.reopened), (Some(0), 0));
    assert!(
        report.errors[0].contains("expected status 200, got 404"),
        "{:?}",
        report.errors
    );
    let first = report.first_missing.expect("everything is missing");
    assert!(first.contains(": 0 of "), "{first}");
}

#[tokio::test]
async fn a_connection_that_ends_with_its_answer_is_opened_again_for_the_next_post() {
    let (_, trips, messages, asked) = unheard(Manner::Forgets).await;
    let in_all: u64 = (0..CLIENTS).map(|c| messages.numbers_of(c).end).sum();
    assert_eq!(asked, in_all);
    assert_eq!(trips.acknowledged, Some(messages.due()));
    assert_eq!((trips.sent, trips.refused), (messages.due(), 0));
    assert!(trips.reopened >= in_all - u64::from(CLIENTS), "{trips:?}");
    assert!(trips.reopened <= in_all, "{trips:?}");
}

#[tokio::test]
async fn a_post_that_nobody_answers_is_refused_and_not_sent_again() {
    let (report, trips, messages, _) = unheard(Manner::HangsUp).await;
    assert_eq!((trips.acknowledged, trips.refused), (Some(0), trips.sent));
    assert!(
        trips.sent > 0 && trips.sent <= messages.due(),
        "{}",
        trips.sent
    );
    assert!(trips.reopened > 0);
    assert!(
        report.errors[0].contains("the connection for POSTs"),
        "{:?}",
        report.errors
    );
}

#[tokio::test]
async fn a_client_whose_connection_for_posts_is_refused_is_refused_and_asks_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        drop(listener);
        let mut reader = BufReader::new(stream.try_clone().expect("open"));
        let mut line = String::new();
        while reader.read_line(&mut line).expect("a request") > 2 {
            line.clear();
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\npush-cursor: 0\r\n\r\n")
            .expect("open");
        // To the end, which is a reset.
        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest);
    });
    let one = Setup {
        clients: 1,
        shards: 1,
        poll_interval_ms: 1.0,
        ..setup(Transport::ShortPoll, address)
    };
    let mut fleet = Fleet::connecting(one).await;
    let status = fleet.await_status("the refusal", |s| s.refused > 0).await;
    assert_eq!((status.connected, status.refused), (0, 1));
    assert!(
        status.errors[0].contains("cannot connect"),
        "{:?}",
        status.errors
    );
    // The server ends with the client's connection. Polls may have come before the refusal did; a
    // client that went on polling behind it would fail once more, and be noted.
    server.join().expect("no panic");
    let status = fleet.await_status("its state", |_| true).await;
    assert_eq!((status.connected, status.refused), (0, 1));
    assert_eq!(status.errors.len(), 1, "{:?}", status.errors);
    fleet.end().await;
}

#[tokio::test]
async fn a_fleet_that_cannot_send_says_so_when_it_is_set_up() {
    let good = setup(Transport::Sse, "127.0.0.1:9".parse().expect("an address"));
    let program = Path::new(env!("CARGO_BIN_EXE_pushbench"));
    let mut helper = ManagedProcess::start("fleet", program, &["fleet".to_owned()])
        .await
        .expect("it starts");
    let plan = |rate_per_client_s, payload_bytes| {
        Some(UpstreamPlan {
            rate_per_client_s,
            payload_bytes,
        })
    };
    let bad = [
        (
            Setup {
                upstream: plan(0.0, 100),
                ..good.clone()
            },
            "'rate_per_client_s' of the upstream is 0",
        ),
        (
            Setup {
                upstream: plan(1.0, 85),
                ..good.clone()
            },
            "'payload_bytes' of the upstream is 85: expected 86",
        ),
        (
            Setup {
                family: Family::Library,
                ..good.clone()
            },
            "'upstream' needs lean clients",
        ),
        (
            Setup {
                sessions: Some(SessionPlan {
                    length_ms: 1.0,
                    gap_ms: 1.0,
                    resume: false,
                    spread: Default::default(),
                }),
                ..good
            },
            "'upstream' and 'sessions' do not go together",
        ),
    ];
    for (setup, text) in bad {
        let answer = helper.post::<Value>("/v1/fleet", &setup).await;
        let error = answer.expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    }
    helper.end().await;
}
