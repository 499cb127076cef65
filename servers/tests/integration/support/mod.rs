//! What the tests over real sockets share: a server in this process, a client that is nothing but
//! a socket, and the bytes that must come out of it.
//!
//! The expected bytes are written out here by hand. They do not come from the crate's framings, or
//! a mistake there would agree with itself.

pub(crate) mod bytes;
pub(crate) mod controlled;
pub(crate) mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use pushbench_protocol::framing::Epoch;
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::ring::RingLimits;
use pushbench_servers::server::{Config, Server};
use pushbench_servers::shard::ShardStats;

use bytes::{INTENDED_NS, Message};
use wire::Wire;

/// How long anything may take before a test fails: far longer than it ever does, so that a busy
/// machine changes no result, and shorter than the default silence before a keep-alive.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Calls `test` for every transport in every profile. A failure says which one it was.
pub(crate) fn for_each(mut test: impl FnMut(Transport, Profile)) {
    for transport in Transport::ALL {
        for profile in Profile::ALL {
            let _named = Named(transport, profile);
            test(transport, profile);
        }
    }
}

/// As [`for_each`], for those that are HTTP.
pub(crate) fn for_each_http(mut test: impl FnMut(Transport, Profile)) {
    for_each(|transport, profile| {
        if transport.is_http() {
            test(transport, profile);
        }
    });
}

/// As [`for_each`], for those whose messages come over one connection that stays open.
pub(crate) fn for_each_stream(mut test: impl FnMut(Transport, Profile)) {
    for_each(|transport, profile| {
        if bytes::is_stream(transport) {
            test(transport, profile);
        }
    });
}

/// As [`for_each`], for those whose messages come as answers to polls.
pub(crate) fn for_each_poll(mut test: impl FnMut(Transport, Profile)) {
    for_each(|transport, profile| {
        if !bytes::is_stream(transport) {
            test(transport, profile);
        }
    });
}

/// Names the case in which a test panicked.
struct Named(Transport, Profile);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while testing {} in profile {}", self.0, self.1);
        }
    }
}

/// One transport by itself on any port of loopback.
pub(crate) fn config(transport: Transport, profile: Profile) -> Config {
    Config {
        transports: vec![transport],
        profile,
        // Plain cursors, but where a test is about others.
        epoch: Some(Epoch::NONE),
        ..Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }
}

/// A ring of few messages, with room for large ones.
pub(crate) fn ring(messages: usize) -> RingLimits {
    RingLimits {
        messages,
        bytes: 4 << 20,
    }
}

/// Starts a server with the channels `news` (number 0) and `other`.
pub(crate) fn start(config: &Config) -> Server {
    let server = Server::start(config).expect("a free port on loopback");
    server.hub.declare(&["news", "other"]).expect("good names");
    server
}

/// As [`start`], with channels of this policy.
pub(crate) fn start_with(config: &Config, overflow: Overflow) -> Server {
    let server = Server::start(config).expect("a free port on loopback");
    let declared = server.hub.declare_with(&["news", "other"], &[overflow]);
    declared.expect("good names");
    server
}

/// Where clients of `transport` connect.
pub(crate) fn address(server: &Server, transport: Transport) -> SocketAddr {
    let address = match transport {
        Transport::Tcp => server.addresses.tcp,
        Transport::Sse
        | Transport::HttpStream
        | Transport::WebSocket
        | Transport::LongPoll
        | Transport::ShortPoll => server.addresses.http,
    };
    address.expect("the server serves this transport")
}

/// What the cursors of `news` begin with.
pub(crate) fn log_of(server: &Server) -> String {
    match server.hub.epoch(0) {
        Epoch::NONE => String::new(),
        epoch => format!("{epoch}-"),
    }
}

/// Appends messages with these payloads to `news`, so that the shards see all of them at once.
/// They follow the first `before` of the channel.
pub(crate) fn publish<P: AsRef<[u8]>>(
    server: &Server,
    before: u64,
    payloads: &[P],
) -> Vec<Message> {
    let messages = payloads
        .iter()
        .zip(before + 1..)
        .map(|(payload, expected)| {
            let payload = payload.as_ref();
            let receipt = server
                .hub
                .append_quietly(0, Some(INTENDED_NS), payload)
                .expect("room in the inbox");
            assert_eq!(receipt.sequence, expected);
            Message::planned(expected, payload).in_log(&log_of(server))
        });
    let messages = messages.collect();
    server.hub.wake_shards();
    messages
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One of the server's counters, over all its shards.
pub(crate) fn count(server: &Server, of: impl Fn(&ShardStats) -> &AtomicU64) -> u64 {
    server.total(|stats| of(stats).load(Relaxed))
}

pub(crate) fn subscribers(server: &Server) -> u64 {
    count(server, |stats| &stats.subscribers)
}

pub(crate) fn deliveries(server: &Server) -> u64 {
    count(server, |stats| &stats.deliveries)
}

/// Waits until the server has exactly `count` subscribers.
pub(crate) fn await_subscribers(server: &Server, count: u64) {
    eventually(&format!("{count} subscribers"), || {
        subscribers(server) == count
    });
}

/// Sends `request` over a connection of its own.
pub(crate) fn ask(server: &Server, transport: Transport, request: impl AsRef<[u8]>) -> Wire {
    Wire::open(address(server, transport), request)
}

/// Asks to subscribe to `news` over a connection of its own.
pub(crate) fn subscribe(server: &Server, transport: Transport, since: Option<u64>) -> Wire {
    subscribe_to(server, transport, "news", since)
}

/// Asks to subscribe to `channel` over a connection of its own.
pub(crate) fn subscribe_to(
    server: &Server,
    transport: Transport,
    channel: &str,
    since: Option<u64>,
) -> Wire {
    ask(
        server,
        transport,
        bytes::subscribe(transport, channel, since),
    )
}

/// A client of `news` that has all up to `tail`, which is the last, and waits for what comes.
#[track_caller]
pub(crate) fn wait_at(server: &Server, transport: Transport, tail: u64) -> Wire {
    let before = subscribers(server);
    let mut wire = subscribe(server, transport, Some(tail));
    match transport {
        Transport::LongPoll => await_subscribers(server, before + 1),
        Transport::Tcp
        | Transport::Sse
        | Transport::HttpStream
        | Transport::WebSocket
        | Transport::ShortPoll => {
            let cursor = format!("{}{tail}", log_of(server));
            wire.expect(bytes::at_tail(transport, cursor));
        }
    }
    wire
}

/// What comes behind `since` for a client whose last poll was answered: on its stream, or with its
/// next poll. Only for servers of one shard.
#[track_caller]
pub(crate) fn expect_next(
    server: &Server,
    wire: &mut Wire,
    (transport, profile): (Transport, Profile),
    since: u64,
    messages: &[Message],
) {
    if bytes::is_stream(transport) {
        wire.expect(bytes::streamed(transport, profile, messages));
        return;
    }
    if let Some(last) = messages.last() {
        settle(server, transport, last.sequence);
    }
    wire.send(bytes::subscribe(transport, "news", Some(since)));
    wire.expect(bytes::behind(transport, profile, since, messages));
}

/// As [`expect_next`], for a client that waits ([`wait_at`]).
#[track_caller]
pub(crate) fn expect_awaited(
    server: &Server,
    wire: &mut Wire,
    (transport, profile): (Transport, Profile),
    since: u64,
    messages: &[Message],
) {
    match transport {
        Transport::LongPoll => wire.expect(bytes::behind(transport, profile, since, messages)),
        Transport::Tcp
        | Transport::Sse
        | Transport::HttpStream
        | Transport::WebSocket
        | Transport::ShortPoll => {
            expect_next(server, wire, (transport, profile), since, messages);
        }
    }
}

/// Has the shard take what waits for it: `since` at the tail is refused before it did. Only for
/// servers of one shard.
#[track_caller]
pub(crate) fn settle(server: &Server, transport: Transport, tail: u64) {
    let before = subscribers(server);
    drop(wait_at(server, transport, tail));
    // Fewer, where a client that left before was still being counted.
    eventually("its subscriber is gone", || subscribers(server) <= before);
}

/// Whatever went wrong with one client, others are served as before: one that subscribes, gets a
/// message and leaves. `tail` messages were published; returns how many then are.
#[track_caller]
pub(crate) fn assert_serves(
    server: &Server,
    transport: Transport,
    profile: Profile,
    tail: u64,
) -> u64 {
    let mut wire = subscribe(server, transport, Some(tail));
    // A long-poll may come before the message or after it: the answer is the same.
    if transport != Transport::LongPoll {
        wire.expect(bytes::at_tail(transport, tail));
    }
    let messages = publish(server, tail, &["still here"]);
    expect_awaited(server, &mut wire, (transport, profile), tail, &messages);
    tail + 1
}

/// Waits until the connections are at rest at `tail`: nothing more is handed out, however often the
/// shard has had its turn. Only for servers of one shard.
pub(crate) fn await_rest(server: &Server, transport: Transport, tail: u64) {
    const TURNS: usize = 10;
    let mut same = 0;
    for _ in 0..100 * TURNS {
        let before = deliveries(server);
        // An answer shows that it had one.
        settle(server, transport, tail);
        same = if deliveries(server) == before {
            same + 1
        } else {
            0
        };
        if same == TURNS {
            return;
        }
    }
    panic!("deliveries go on and on: {}", deliveries(server));
}
