//! Every transport in every profile keeps its wire contract, byte for byte, over real sockets.
//!
//! One suite over `Transport::ALL` and `Profile::ALL`: what differs between transports stands in
//! `support/bytes.rs`, in matches without a wildcard. Clients are bare sockets, so nothing of the
//! crate's own framings is taken for granted. Nothing here is timed: bytes and counts only.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pushbench_protocol::envelope::HEAD_BYTES;
use pushbench_protocol::transport::Transport;
use pushbench_servers::server::Config;

use crate::support::bytes::{self, client_frame, opcode::CLOSE};
use crate::support::wire::Wire;
use crate::support::{
    address, ask, assert_serves, await_subscribers, config, count, deliveries, eventually,
    expect_awaited, expect_next, for_each, for_each_poll, for_each_stream, publish, ring, settle,
    start, subscribe, subscribers, wait_at,
};

#[test]
fn every_subscriber_without_since_starts_at_the_tail_and_is_told_where_that_is() {
    for_each(|transport, profile| {
        let mut server = start(&config(transport, profile));
        subscribe(&server, transport, None).expect(bytes::at_tail(transport, 0));
        await_subscribers(&server, 0);
        publish(&server, 0, &["a", "b"]);
        settle(&server, transport, 2);

        let mut wire = subscribe(&server, transport, None);
        wire.expect(bytes::at_tail(transport, 2));
        let messages = publish(&server, 2, &["c"]);
        // The cursor of the answer is the `since` of the next request, on one connection.
        expect_next(&server, &mut wire, (transport, profile), 2, &messages);
        // Nothing else was sent, up to the end.
        server.stop();
        let rest = wire.rest();
        assert_eq!(
            rest,
            if bytes::is_stream(transport) {
                bytes::goodbye(transport, 3)
            } else {
                Vec::new()
            }
        );
    });
}

#[test]
fn every_subscriber_resumes_behind_since_and_gets_all_that_is_pending_at_once() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let messages = publish(&server, 0, &["a", "b", "c"]);
        settle(&server, transport, 3);
        for since in 0..3 {
            let pending = &messages[since as usize..];
            let expected = bytes::behind(transport, profile, since, pending);
            subscribe(&server, transport, Some(since)).expect(expected);
        }
    });
}

#[test]
fn messages_that_come_together_to_a_waiting_subscriber_go_out_together() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let mut wire = wait_at(&server, transport, 0);
        let messages = publish(&server, 0, &["a", "b", "c"]);
        expect_awaited(&server, &mut wire, (transport, profile), 0, &messages);
        // A long-poll is counted as a delivery of each of its messages, as everywhere.
        eventually("three deliveries are counted", || deliveries(&server) == 3);
    });
}

#[test]
fn messages_of_every_size_and_script_have_their_exact_bytes() {
    // Envelopes of 125, 126, 65,535 and 65,536 bytes take the three forms of a WebSocket frame's
    // length (RFC 6455, section 5.2).
    let sizes = [125, 126, 65_535, 65_536].map(|bytes| "x".repeat(bytes - HEAD_BYTES));
    let mut payloads: Vec<&str> = sizes.iter().map(String::as_str).collect();
    payloads.extend([
        "",
        " ",
        "zażółć gęślą jaźń 推送 🚀",
        "data: id: 1\0\t:",
        "LAGGED 1 2",
    ]);
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let mut stream = subscribe(&server, transport, None);
        stream.expect(bytes::at_tail(transport, 0));
        for (payload, before) in payloads.iter().zip(0..) {
            let messages = publish(&server, before, &[payload]);
            expect_next(
                &server,
                &mut stream,
                (transport, profile),
                before,
                &messages,
            );
        }
    });
}

#[test]
fn a_poll_that_cannot_take_all_says_where_to_go_on() {
    // Three of these do not fit into the 256 KiB of one write, two do.
    let payload = "x".repeat(100 << 10);
    for_each_poll(|transport, profile| {
        let server = start(&config(transport, profile));
        let messages = publish(&server, 0, &[&payload, &payload, &payload]);
        settle(&server, transport, 3);
        let mut wire = subscribe(&server, transport, Some(0));
        wire.expect(bytes::behind(transport, profile, 0, &messages[..2]));
        wire.send(bytes::subscribe(transport, "news", Some(2)));
        wire.expect(bytes::behind(transport, profile, 2, &messages[2..]));
    });
}

#[test]
fn a_stream_in_silence_gets_keep_alives_and_a_long_poll_its_answer() {
    for_each(|transport, profile| {
        let mut server = start(&Config {
            keep_alive: Duration::from_millis(100),
            poll_timeout: Duration::from_millis(100),
            ..config(transport, profile)
        });
        let mut wire = subscribe(&server, transport, Some(0));
        let Some(keep_alive) = bytes::keep_alive(transport) else {
            // RFC 6202, section 5.5: the answer of a poll that found nothing, at once on
            // `short_poll`, and again on the same connection.
            wire.expect(bytes::no_content(0));
            wire.send(bytes::subscribe(transport, "news", Some(0)));
            wire.expect(bytes::no_content(0));
            let held = u64::from(transport == Transport::LongPoll) * 2;
            assert_eq!(count(&server, |s| &s.keep_alives), held);
            return;
        };
        wire.expect(bytes::at_tail(transport, 0));
        wire.expect(keep_alive);
        wire.expect(keep_alive);
        let messages = publish(&server, 0, &["a"]);
        wire.expect_behind(keep_alive, bytes::streamed(transport, profile, &messages));
        wire.expect(keep_alive);
        server.stop();
        assert!(count(&server, |s| &s.keep_alives) >= 3);
        let mut rest = &wire.rest()[..];
        while let Some(more) = rest.strip_prefix(keep_alive) {
            rest = more;
        }
        assert_eq!(rest, bytes::goodbye(transport, 1));
    });
}

/// Reads at least `least` messages behind `cursor`, whatever is around them. Returns their
/// sequences.
fn read_behind(wire: &mut Wire, transport: Transport, cursor: u64, least: usize) -> Vec<u64> {
    if bytes::is_stream(transport) {
        return wire.sequences(least);
    }
    let mut read = Vec::new();
    let mut cursor = cursor;
    loop {
        let (status, _, body) = wire.response();
        assert!(
            status == 200 || status == 204 && body.is_empty(),
            "{status}"
        );
        read.extend(body);
        let sequences = bytes::sequences(&read);
        cursor = sequences.last().copied().unwrap_or(cursor);
        if sequences.len() >= least {
            return sequences;
        }
        wire.send(bytes::subscribe(transport, "news", Some(cursor)));
    }
}

#[test]
fn no_message_is_lost_or_doubled_between_two_polls_or_two_connections() {
    const ROUNDS: u64 = 25;
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let mut seen: Vec<u64> = Vec::new();
        for round in 0..ROUNDS {
            let cursor = seen.last().copied().unwrap_or(0);
            // One message while nobody is connected, one that races with the subscribe.
            publish(&server, 2 * round, &["between"]);
            let mut wire = subscribe(&server, transport, Some(cursor));
            publish(&server, 2 * round + 1, &["meanwhile"]);
            seen.extend(read_behind(&mut wire, transport, cursor, 1));
        }
        let cursor = seen.last().copied().unwrap_or(0);
        if cursor < 2 * ROUNDS {
            let mut wire = subscribe(&server, transport, Some(cursor));
            let least = (2 * ROUNDS - cursor) as usize;
            seen.extend(read_behind(&mut wire, transport, cursor, least));
        }
        assert_eq!(seen, (1..=2 * ROUNDS).collect::<Vec<u64>>());
    });
}

#[test]
fn a_subscriber_whose_cursor_fell_off_the_ring_is_told_what_it_lost_and_counted() {
    for_each(|transport, profile| {
        let server = start(&Config {
            ring: ring(2),
            ..config(transport, profile)
        });
        let messages = publish(&server, 0, &["a", "b", "c", "d", "e"]);
        settle(&server, transport, 5);
        let mut wire = subscribe(&server, transport, Some(1));
        wire.expect(bytes::lagged(transport, 1, 3));
        assert_eq!(count(&server, |s| &s.lagged), 1);
        assert_eq!(count(&server, |s| &s.lost_messages), 2);
        match transport {
            Transport::Tcp => wire.expect_end(),
            Transport::WebSocket => {
                // The server ends the connection when the client has answered its close (RFC 6455,
                // section 7.1.1).
                wire.send(client_frame(CLOSE, &4001u16.to_be_bytes()));
                wire.expect_end();
            }
            Transport::Sse | Transport::HttpStream | Transport::LongPoll | Transport::ShortPoll => {
            }
        }
        // It resumes behind the loss, on a connection of its own or the same.
        let mut wire = subscribe(&server, transport, Some(3));
        wire.expect(bytes::behind(transport, profile, 3, &messages[3..]));
        assert_eq!(count(&server, |s| &s.lagged), 1);
    });
}

#[test]
fn a_subscriber_that_reads_too_slowly_gets_what_was_on_its_way_and_then_what_it_lost() {
    // More than the sockets of a connection hold, and less than the hub's inbox.
    const MESSAGES: usize = 500;
    let payload = "x".repeat(64 << 10);
    // Between two polls a client reads nothing: the test before this one.
    for_each_stream(|transport, profile| {
        let server = start(&Config {
            ring: ring(4),
            ..config(transport, profile)
        });
        let mut wire = Wire::connect_with_small_buffer(address(&server, transport));
        wire.send(bytes::subscribe(transport, "news", None));
        wire.expect(bytes::at_tail(transport, 0));
        // Three of which one is on its way, and then more than anyone takes.
        publish(&server, 0, &[&payload; 3]);
        eventually("a delivery is counted", || deliveries(&server) > 0);
        publish(&server, 3, &vec![&payload; MESSAGES - 3]);

        let (before, range) = match transport {
            Transport::Tcp | Transport::HttpStream => (wire.until(b"LAGGED "), wire.until(b"\n")),
            Transport::Sse => {
                let before = wire.until(b"event: lagged\nid: ");
                wire.until(b"\ndata: ");
                (before, wire.until(b"\n"))
            }
            Transport::WebSocket => {
                let mut before = wire.until(&4001u16.to_be_bytes());
                // Two bytes of the close frame's payload are the code.
                let length = before[before.len() - 3];
                before.truncate(before.len() - 4);
                (before, wire.exactly(usize::from(length) - 2))
            }
            Transport::LongPoll | Transport::ShortPoll => unreachable!("left out above"),
        };
        let range = String::from_utf8(range).expect("ASCII");
        let range: Vec<u64> = range
            .split_ascii_whitespace()
            .map(|number| number.parse().expect("a decimal"))
            .collect();
        let [from, to] = range[..] else {
            panic!("expected two numbers, got {range:?}");
        };
        let got = bytes::sequences(&before);
        assert_eq!(got, (1..from).collect::<Vec<u64>>());
        assert!(
            1 < from && from <= to && to < MESSAGES as u64,
            "{from} to {to}"
        );
        assert_eq!(count(&server, |s| &s.lagged), 1);
        assert_eq!(count(&server, |s| &s.lost_messages), to - from + 1);
        match transport {
            Transport::Tcp => wire.expect_end(),
            Transport::Sse => wire.expect("\n\r\n0\r\n\r\n"),
            Transport::HttpStream => wire.expect("\r\n0\r\n\r\n"),
            Transport::WebSocket => {
                wire.send(client_frame(CLOSE, &4001u16.to_be_bytes()));
                wire.expect_end();
            }
            Transport::LongPoll | Transport::ShortPoll => {}
        }
        // The server forgets it.
        drop(wire);
        await_subscribers(&server, 0);
    });
}

#[test]
fn polls_that_come_in_one_write_are_answered_in_order() {
    for_each_poll(|transport, profile| {
        let server = start(&config(transport, profile));
        let messages = publish(&server, 0, &["a", "b"]);
        settle(&server, transport, 2);
        let both = [0, 1].map(|since| bytes::subscribe(transport, "news", Some(since)));
        let mut wire = ask(&server, transport, both.concat());
        wire.expect(bytes::behind(transport, profile, 0, &messages));
        wire.expect(bytes::behind(transport, profile, 1, &messages[1..]));
        await_subscribers(&server, 0);
    });
}

#[test]
fn a_request_may_come_byte_by_byte() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        publish(&server, 0, &["a"]);
        settle(&server, transport, 1);
        let mut wire = Wire::connect(address(&server, transport));
        for byte in bytes::subscribe(transport, "news", None).bytes() {
            wire.send([byte]);
        }
        wire.expect(bytes::at_tail(transport, 1));
    });
}

#[test]
fn a_client_that_hangs_up_leaves_nothing_behind() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        if transport == Transport::ShortPoll {
            // It never waits.
            subscribe(&server, transport, None).expect(bytes::no_content(0));
            await_subscribers(&server, 0);
            return;
        }
        let wires: Vec<Wire> = (0..5)
            .map(|_| subscribe(&server, transport, Some(0)))
            .collect();
        await_subscribers(&server, 5);
        drop(wires);
        await_subscribers(&server, 0);
        assert_serves(&server, transport, profile, 0);
    });
}

#[test]
fn a_server_that_stops_delivers_what_it_has_and_ends_every_connection_politely() {
    for_each(|transport, profile| {
        // Twice: to one that waits at the tail, and to one with messages still to come.
        for payloads in [&[][..], &["a", "b"]] {
            let mut server = start(&config(transport, profile));
            let mut waiting = wait_at(&server, transport, 0);
            let messages = publish(&server, 0, payloads);
            server.stop();
            match transport {
                Transport::Tcp | Transport::Sse | Transport::HttpStream | Transport::WebSocket => {
                    waiting.expect(bytes::streamed(transport, profile, &messages));
                    waiting.expect(bytes::goodbye(transport, messages.len() as u64));
                }
                Transport::LongPoll if messages.is_empty() => {
                    waiting.expect(bytes::goodbye(transport, 0));
                }
                Transport::LongPoll => {
                    waiting.expect(bytes::behind(transport, profile, 0, &messages));
                }
                Transport::ShortPoll => {}
            }
            waiting.expect_end();
            assert_eq!(subscribers(&server), 0);
            // A second stop has nothing to do.
            server.stop();
        }
    });
}

#[test]
fn subscribers_on_every_shard_get_every_message() {
    const SHARDS: usize = 3;
    const MESSAGES: u64 = 20;
    for_each(|transport, profile| {
        let mut server = start(&Config {
            shards: SHARDS,
            own_tables: true,
            ..config(transport, profile)
        });
        // The kernel spreads connections by hash: connect until every shard has one.
        let mut wires = Vec::new();
        let mut served: HashSet<usize> = HashSet::new();
        while served.len() < SHARDS || wires.len() < 8 {
            assert!(
                wires.len() < 500,
                "500 connections met {served:?} of {SHARDS} shards"
            );
            wires.push(match transport {
                Transport::ShortPoll => subscribe(&server, transport, Some(0)),
                _ => wait_at(&server, transport, 0),
            });
            // Nothing tells which shard answered a short poll; 8 connections meet more than one of
            // them but for bad luck, and the test is right either way.
            let busy = |shard: &usize| server.stats[*shard].subscribers.load(Relaxed) > 0;
            match transport {
                Transport::ShortPoll => served.extend(0..SHARDS),
                _ => served.extend((0..SHARDS).filter(busy)),
            }
        }
        for before in 0..MESSAGES {
            publish(&server, before, &["x"]);
        }
        for wire in &mut wires {
            let got = read_behind(wire, transport, 0, MESSAGES as usize);
            assert_eq!(got, (1..=MESSAGES).collect::<Vec<u64>>());
        }
        let delivered = MESSAGES * wires.len() as u64;
        eventually("every delivery is counted, none twice", || {
            deliveries(&server) == delivered
        });
        drop(wires);
        await_subscribers(&server, 0);
        server.stop();
    });
}
