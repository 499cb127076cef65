//! A server that drains sends its clients away without losing anything: every transport in every
//! profile, over real sockets.
//!
//! Nothing here is timed. A drain over a day is one that tells nobody yet, one over no time tells
//! all at once; who is told when in between is tested where it is decided, in `shard.rs`.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::ring::RingLimits;
use pushbench_servers::server::{Config, MAX_DRAIN, Server};

use crate::support::wire::Wire;
use crate::support::{
    address, bytes, config, count, deliveries, eventually, for_each, publish, start, subscribe,
    subscribers, wait_at,
};

fn politely(server: &Server) -> u64 {
    count(server, |s| &s.closed_politely)
}

fn await_end(server: &Server) {
    eventually("the drain is over", || server.is_drained());
}

#[test]
fn a_drain_ends_who_waits_as_the_transport_has_it() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let mut wire = wait_at(&server, transport, 0);
        assert!(server.drain(Duration::ZERO));
        match transport {
            Transport::Tcp | Transport::Sse | Transport::HttpStream | Transport::WebSocket => {
                wire.expect(bytes::goodbye(transport, 0));
            }
            Transport::LongPoll => {
                let (status, head, _) = wire.response();
                assert_eq!(status, 204);
                assert!(head.contains("\r\npush-cursor: 0\r\n"), "{head}");
                assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
            }
            Transport::ShortPoll => {}
        }
        wire.expect_end();
        await_end(&server);
        let ended = u64::from(transport != Transport::ShortPoll);
        assert_eq!(politely(&server), ended);
        assert_eq!(subscribers(&server), 0);
    });
}

#[test]
fn a_drain_delivers_what_is_pending_first() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let mut wire = wait_at(&server, transport, 0);
        let messages = publish(&server, 0, &["a", "b", "c"]);
        assert!(server.drain(Duration::ZERO));
        match transport {
            Transport::Tcp | Transport::Sse | Transport::HttpStream | Transport::WebSocket => {
                let rest = wire.rest();
                assert_eq!(bytes::sequences(&rest), [1, 2, 3]);
                assert!(rest.ends_with(&bytes::goodbye(transport, 3)));
                assert_eq!(politely(&server), 1);
            }
            Transport::LongPoll => {
                let (status, _, body) = wire.response();
                assert_eq!((status, bytes::sequences(&body)), (200, vec![1, 2, 3]));
                wire.expect_end();
            }
            // It has its answer; the messages are there for its next server.
            Transport::ShortPoll => wire.expect_end(),
        }
        await_end(&server);
        drop(messages);
    });
}

/// Letters in a payload that is large enough to fill sockets.
const LETTERS: usize = 100 << 10;

/// A subscriber that reads nothing yet, and as many messages as are taken from the ring for it, but
/// no more than `most`. Returns how many these are.
fn stuffed(server: &Server, transport: Transport, most: u64) -> (Wire, u64) {
    let payload = "x".repeat(LETTERS);
    let mut wire = Wire::connect_with_small_buffer(address(server, transport));
    wire.send(bytes::subscribe(transport, "news", Some(0)));
    wire.expect(bytes::at_tail(transport, 0));
    for sequence in 0..most {
        publish(server, sequence, &[&payload]);
        let published = Instant::now();
        while deliveries(server) <= sequence {
            if published.elapsed() > Duration::from_millis(50) {
                return (wire, sequence + 1);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    (wire, most)
}

#[test]
fn a_drain_waits_for_one_that_reads_slowly() {
    for transport in Transport::ALL.into_iter().filter(|t| t.is_stream()) {
        for profile in Profile::ALL {
            let config = Config {
                ring: RingLimits {
                    messages: 1_000,
                    bytes: 64 << 20,
                },
                ..config(transport, profile)
            };
            // How much it takes until the server has to wait for the client. Some messages less are
            // taken by a library as a whole, to be written behind the end of the response.
            let (_, full) = stuffed(&start(&config), transport, 100);
            let server = start(&config);
            let (mut wire, count) = stuffed(&server, transport, full.saturating_sub(3).max(1));
            assert!(server.drain(Duration::ZERO));
            // Longer than a server stays that has nobody to wait for.
            std::thread::sleep(Duration::from_millis(150));
            let mut rest = wire.rest();
            assert!(rest.ends_with(&bytes::goodbye(transport, count)));
            let letters = rest.iter().filter(|&&b| b == b'x').count();
            assert_eq!(letters, count as usize * LETTERS, "{transport} {profile}");
            // The payloads out of the way, or to look for the heads takes long.
            rest.retain(|&b| b != b'x');
            let all: Vec<u64> = (1..=count).collect();
            assert_eq!(bytes::sequences(&rest), all, "{transport} {profile}");
            eventually("the drain is over", || server.is_drained());
        }
    }
}

#[test]
fn who_was_connected_when_the_drain_began_is_answered_and_never_reset() {
    for_each(|transport, profile| {
        let server = start(&Config {
            shards: 2,
            own_tables: true,
            ..config(transport, profile)
        });
        let wires: Vec<Wire> = (0..24)
            .map(|_| subscribe(&server, transport, Some(0)))
            .collect();
        assert!(server.drain(Duration::ZERO));
        for mut wire in wires {
            // Fails where the connection is reset.
            let answer = wire.rest();
            let refused = match transport {
                // Without an answer, or an EventSource would never try again.
                Transport::Sse => answer.is_empty(),
                Transport::Tcp => answer.starts_with(b"ERROR "),
                Transport::HttpStream
                | Transport::WebSocket
                | Transport::LongPoll
                | Transport::ShortPoll => answer.starts_with(b"HTTP/1.1 503 "),
            };
            let served = match transport {
                Transport::Tcp | Transport::Sse | Transport::HttpStream | Transport::WebSocket => {
                    answer.starts_with(match transport {
                        Transport::Tcp => b"SUBSCRIBED 0\n",
                        Transport::Sse | Transport::HttpStream => b"HTTP/1.1 200 ",
                        _ => b"HTTP/1.1 101 ",
                    }) && answer.ends_with(&bytes::goodbye(transport, 0))
                }
                Transport::LongPoll | Transport::ShortPoll => answer.starts_with(b"HTTP/1.1 204 "),
            };
            let text = String::from_utf8_lossy(&answer);
            assert!(refused || served, "{text}");
        }
        await_end(&server);
    });
}

#[test]
fn a_server_that_drains_serves_who_is_there_and_takes_nobody_new() {
    for_each(|transport, profile| {
        let mut server = start(&config(transport, profile));
        let mut wire = wait_at(&server, transport, 0);
        let place = address(&server, transport);
        // One more connection that has asked for nothing yet, and one that was answered.
        let mut silent = Wire::connect(place);
        let mut kept = (transport != Transport::Tcp).then(|| {
            let mut kept = Wire::open(place, "GET /info HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(kept.response().0, 200);
            kept
        });
        assert!(server.drain(MAX_DRAIN));
        assert!(!server.drain(Duration::ZERO), "it drains already");
        eventually("the port is free", || TcpStream::connect(place).is_err());

        // Who is there gets what is published.
        publish(&server, 0, &["a"]);
        match transport {
            Transport::Tcp | Transport::Sse | Transport::HttpStream | Transport::WebSocket => {
                assert_eq!(bytes::sequences(&wire.some()), [1]);
            }
            Transport::LongPoll => {
                let (status, head, body) = wire.response();
                assert_eq!((status, bytes::sequences(&body)), (200, vec![1]));
                assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
                wire.expect_end();
            }
            Transport::ShortPoll => {}
        }
        // Nobody subscribes any more.
        for wire in [&mut silent].into_iter().chain(&mut kept) {
            wire.send(bytes::subscribe(transport, "news", Some(0)));
            match transport {
                Transport::Tcp => wire.expect("ERROR the server is shutting down\n"),
                Transport::Sse => {}
                Transport::HttpStream
                | Transport::WebSocket
                | Transport::LongPoll
                | Transport::ShortPoll => {
                    let (status, head, _) = wire.response();
                    assert_eq!(status, 503);
                    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
                }
            }
            wire.expect_end();
        }
        assert_eq!(politely(&server), 0);
        assert!(!server.is_drained());

        // A stop ends the drain, as politely.
        server.stop();
        if bytes::is_stream(transport) {
            wire.expect(bytes::goodbye(transport, 1));
            wire.expect_end();
            assert_eq!(politely(&server), 1);
        }
    });
}

#[test]
fn an_upload_to_a_server_that_drains_is_taken_and_the_last_of_its_connection() {
    for profile in Profile::ALL {
        let server = start(&config(Transport::Sse, profile));
        let mut stream = wait_at(&server, Transport::Sse, 0);
        let mut wire = Wire::connect(address(&server, Transport::Sse));
        wire.send(bytes::post("news", b"a"));
        assert_eq!(wire.response().0, 200);
        assert!(server.drain(MAX_DRAIN));
        eventually("the drain has begun", || {
            TcpStream::connect(address(&server, Transport::Sse)).is_err()
        });
        wire.send(bytes::post("news", b"b"));
        let (status, head, body) = wire.response();
        assert_eq!((status, &body[..]), (200, &b"2\n"[..]));
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        wire.expect_end();
        assert_eq!(stream.sequences(2), [1, 2]);
    }
}

#[test]
fn a_second_server_on_the_same_port_takes_all_later_connects() {
    for_each(|transport, profile| {
        let first = start(&config(transport, profile));
        let place = address(&first, transport);
        let mut wire = wait_at(&first, transport, 0);
        let heir = Config {
            listen: place,
            shards: 2,
            ..config(transport, profile)
        };
        // Only where that is meant.
        let error = Server::start(&heir).expect_err("the port is taken");
        assert!(error.to_string().contains("'--share-port'"), "{error}");
        let second = start(&Config {
            share_port: true,
            ..heir
        });
        assert!(first.drain(Duration::ZERO));
        await_end(&first);
        for _ in 0..16 {
            // The tail of the second is 0 as well; the first has nobody to answer.
            let mut wire = subscribe(&second, transport, None);
            wire.expect(bytes::at_tail(transport, 0));
        }
        assert_eq!(address(&second, transport), place);
        let ended = match transport {
            Transport::LongPoll => wire.rest().starts_with(b"HTTP/1.1 204 "),
            Transport::Tcp
            | Transport::Sse
            | Transport::HttpStream
            | Transport::WebSocket
            | Transport::ShortPoll => wire.rest() == bytes::goodbye(transport, 0),
        };
        assert!(ended);
    });
}

#[test]
fn an_event_source_is_told_when_to_come_back_where_that_was_set() {
    for profile in Profile::ALL {
        let server = start(&Config {
            retry: Some(Duration::from_millis(1_500)),
            ..config(Transport::Sse, profile)
        });
        let mut wire = subscribe(&server, Transport::Sse, None);
        wire.until(b"\r\n\r\n");
        // 19 bytes: both fields are in one block.
        wire.expect("13\r\nid: 0\nretry: 1500\n\n\r\n");
    }
}
