//! What the tests over real sockets share: a server in this process, a client that is nothing but
//! a socket, and the bytes that must come out of it.
//!
//! The expected bytes are written out here by hand. They do not come from the crate's framings, or
//! a mistake there would agree with itself.

pub(crate) mod bytes;
pub(crate) mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::listen::{Config, Server};

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
        ..Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
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
        Transport::Sse | Transport::WebSocket | Transport::LongPoll | Transport::ShortPoll => {
            server.addresses.http
        }
    };
    address.expect("the server serves this transport")
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
            Message::planned(expected, payload)
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

/// Waits until the server has exactly `count` subscribers.
pub(crate) fn await_subscribers(server: &Server, count: u64) {
    eventually(&format!("{count} subscribers"), || {
        server.total(|s| s.subscribers.load(Relaxed)) == count
    });
}

/// Asks to subscribe to `news` over a connection of its own.
pub(crate) fn subscribe(server: &Server, transport: Transport, since: Option<u64>) -> Wire {
    let request = bytes::subscribe(transport, "news", since);
    Wire::open(address(server, transport), request)
}

/// Has the shard take what waits for it: `since` at the tail is refused before it did. Only for
/// servers of one shard.
#[track_caller]
pub(crate) fn settle(server: &Server, transport: Transport, tail: u64) {
    let subscribers = server.total(|s| s.subscribers.load(Relaxed));
    // On 'long_poll' this one waits, which tells that it was taken.
    let mut wire = subscribe(server, transport, Some(tail));
    match transport {
        Transport::LongPoll => await_subscribers(server, subscribers + 1),
        Transport::Tcp | Transport::Sse | Transport::WebSocket | Transport::ShortPoll => {
            wire.expect(bytes::at_tail(transport, tail));
        }
    }
    drop(wire);
    // Fewer, where a client that left before was still being counted.
    eventually("its subscriber is gone", || {
        server.total(|s| s.subscribers.load(Relaxed)) <= subscribers
    });
}

/// Waits until the connections are at rest at `tail`: nothing more is handed out, however often the
/// shard has had its turn. Only for servers of one shard.
pub(crate) fn await_rest(server: &Server, transport: Transport, tail: u64) {
    const TURNS: usize = 10;
    let deliveries = || server.total(|s| s.deliveries.load(Relaxed));
    let mut same = 0;
    for _ in 0..100 * TURNS {
        let before = deliveries();
        // An answer shows that it had one.
        settle(server, transport, tail);
        same = if deliveries() == before { same + 1 } else { 0 };
        if same == TURNS {
            return;
        }
    }
    panic!("deliveries go on and on: {}", deliveries());
}
