//! Every transport in every profile keeps its wire contract, byte for byte, over real sockets.
//!
//! One suite over `Transport::ALL` and `Profile::ALL`: what differs between transports stands in
//! `support/bytes.rs`, in matches without a wildcard. Clients are bare sockets, so nothing of the
//! crate's own framings is taken for granted. Nothing here is timed: bytes and counts only.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pushbench_protocol::envelope::{HEAD_BYTES, MAX_BYTES};
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::listen::{Config, Server};
use pushbench_servers::ring::RingLimits;

use crate::support::bytes::{
    self, Message, client_frame, close_payload, masked_frame, server_frame,
};
use crate::support::wire::Wire;
use crate::support::{
    address, await_subscribers, config, eventually, for_each, publish, settle, start, subscribe,
};

/// Longest payload: an envelope of 1 MiB without its head.
const MAX_PAYLOAD_BYTES: usize = MAX_BYTES - HEAD_BYTES;

/// Opcodes of RFC 6455, section 5.2.
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Whatever went wrong with one client, others are served as before: one that subscribes, gets a
/// message and leaves. `tail` messages were published; returns how many then are.
#[track_caller]
fn assert_serves(server: &Server, transport: Transport, profile: Profile, tail: u64) -> u64 {
    let mut wire = subscribe(server, transport, Some(tail));
    match transport {
        Transport::Tcp | Transport::Sse | Transport::WebSocket => {
            wire.expect(bytes::at_tail(transport, tail));
            let messages = publish(server, tail, &["still here"]);
            wire.expect(bytes::streamed(transport, profile, &messages));
        }
        Transport::LongPoll => {
            let messages = publish(server, tail, &["still here"]);
            wire.expect(bytes::behind(transport, profile, tail, &messages));
        }
        Transport::ShortPoll => {
            wire.expect(bytes::at_tail(transport, tail));
            let messages = publish(server, tail, &["still here"]);
            settle(server, transport, tail + 1);
            wire.send(bytes::subscribe(transport, "news", Some(tail)));
            wire.expect(bytes::behind(transport, profile, tail, &messages));
        }
    }
    tail + 1
}

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
        if bytes::is_stream(transport) {
            wire.expect(bytes::streamed(transport, profile, &messages));
        } else {
            settle(&server, transport, 3);
            // The cursor of the answer is the `since` of the next request, on one connection.
            wire.send(bytes::subscribe(transport, "news", Some(2)));
            wire.expect(bytes::behind(transport, profile, 2, &messages));
        }
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
        let mut wire = subscribe(&server, transport, Some(0));
        match transport {
            Transport::Tcp | Transport::Sse | Transport::WebSocket => {
                wire.expect(bytes::at_tail(transport, 0));
                let messages = publish(&server, 0, &["a", "b", "c"]);
                wire.expect(bytes::streamed(transport, profile, &messages));
            }
            Transport::LongPoll => {
                await_subscribers(&server, 1);
                let messages = publish(&server, 0, &["a", "b", "c"]);
                wire.expect(bytes::behind(transport, profile, 0, &messages));
            }
            Transport::ShortPoll => {
                wire.expect(bytes::no_content(0));
                let messages = publish(&server, 0, &["a", "b", "c"]);
                settle(&server, transport, 3);
                wire.send(bytes::subscribe(transport, "news", Some(0)));
                wire.expect(bytes::behind(transport, profile, 0, &messages));
            }
        }
        // A long-poll is counted as a delivery of each of its messages, as everywhere.
        eventually("three deliveries are counted", || {
            server.total(|s| s.deliveries.load(Relaxed)) == 3
        });
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
            if bytes::is_stream(transport) {
                stream.expect(bytes::streamed(transport, profile, &messages));
            } else {
                settle(&server, transport, before + 1);
                stream.send(bytes::subscribe(transport, "news", Some(before)));
                stream.expect(bytes::behind(transport, profile, before, &messages));
            }
        }
    });
}

#[test]
fn a_poll_that_cannot_take_all_says_where_to_go_on() {
    // Three of these do not fit into the 256 KiB of one write, two do.
    let payload = "x".repeat(100 << 10);
    for transport in [Transport::LongPoll, Transport::ShortPoll] {
        for profile in Profile::ALL {
            let server = start(&config(transport, profile));
            let messages = publish(&server, 0, &[&payload, &payload, &payload]);
            settle(&server, transport, 3);
            let mut wire = subscribe(&server, transport, Some(0));
            wire.expect(bytes::behind(transport, profile, 0, &messages[..2]));
            wire.send(bytes::subscribe(transport, "news", Some(2)));
            wire.expect(bytes::behind(transport, profile, 2, &messages[2..]));
        }
    }
}

#[test]
fn last_event_id_wins_over_since_on_sse() {
    let transport = Transport::Sse;
    for profile in Profile::ALL {
        let server = start(&config(transport, profile));
        let messages = publish(&server, 0, &["a", "b", "c"]);
        settle(&server, transport, 3);
        let ask = |query: &str, headers: &str| {
            let request = bytes::subscribe_raw(transport, query, headers);
            Wire::open(address(&server, transport), request)
        };
        // WHATWG HTML, section 9.2.4: a client that reconnects goes to the URL that it was given.
        // It may do so any number of times, and resumes at the same place.
        for _ in 0..3 {
            ask("?channel=news&since=0", "Last-Event-ID: 2\r\n").expect(bytes::behind(
                transport,
                profile,
                2,
                &messages[2..],
            ));
        }
        ask("?channel=news", "last-event-id: 1\r\n").expect(bytes::behind(
            transport,
            profile,
            1,
            &messages[1..],
        ));
        // A field sent twice is the client's mistake; the first one stands.
        ask("?channel=news", "Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n").expect(bytes::behind(
            transport,
            profile,
            1,
            &messages[1..],
        ));
        // A malformed or impossible id is refused, and not replaced by `since`.
        for id in ["x", "-1", "+1", "1, 2", "18446744073709551616"] {
            let mut wire = ask("?channel=news&since=0", &format!("Last-Event-ID: {id}\r\n"));
            wire.expect(bytes::refused_response(
                "400 Bad Request",
                &format!(
                    "'Last-Event-ID' is '{id}', expected the id of an event of this stream, a \
                     number"
                ),
            ));
        }
        ask("?channel=news&since=0", "Last-Event-ID: 4\r\n").expect(bytes::refused_response(
            "400 Bad Request",
            "'since' is 4, but the last message of channel 'news' is 3",
        ));
    }
}

#[test]
fn a_cursor_beyond_the_tail_is_refused() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        publish(&server, 0, &["a"]);
        for since in [2, u64::MAX] {
            let mut wire = subscribe(&server, transport, Some(since));
            wire.expect(bytes::refusal(
                transport,
                "400 Bad Request",
                &format!("'since' is {since}, but the last message of channel 'news' is 1"),
            ));
        }
        assert_serves(&server, transport, profile, 1);
    });
}

#[test]
fn an_unknown_channel_is_refused_by_name() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        for since in [None, Some(0)] {
            let request = bytes::subscribe(transport, "nope", since);
            let mut wire = Wire::open(address(&server, transport), request);
            wire.expect(bytes::refusal(
                transport,
                "404 Not Found",
                "unknown channel 'nope'; '/info' lists the channels of this server",
            ));
        }
        assert_serves(&server, transport, profile, 0);
    });
}

#[test]
fn a_malformed_subscribe_is_refused_and_the_others_are_served() {
    // What a query must be, and how each of these is not.
    let queries = [
        ("", "missing field `channel`"),
        ("?", "missing field `channel`"),
        ("?since=0", "missing field `channel`"),
        ("?channel", "unknown channel ''"),
        ("?channel=", "unknown channel ''"),
        ("?channel=news&channel=other", "duplicate field `channel`"),
        (
            "?channel=news&since=",
            "cannot parse integer from empty string",
        ),
        ("?channel=news&since=x", "invalid digit"),
        ("?channel=news&since=-1", "invalid digit"),
        ("?channel=news&since=1.0", "invalid digit"),
        ("?channel=news&since=18446744073709551616", "too large"),
        ("?channel=news&since=0&since=1", "duplicate field `since`"),
    ];
    let lines = [
        (
            "SUBSCRIBE\n",
            "expected the name of a channel after 'SUBSCRIBE', got ''",
        ),
        (
            "SUBSCRIBE \n",
            "expected the name of a channel after 'SUBSCRIBE', got ''",
        ),
        (
            "SUBSCRIBE news x\n",
            "expected a cursor in decimal after 'SUBSCRIBE <channel> ', got 'x'",
        ),
        (
            "SUBSCRIBE news -1\n",
            "expected a cursor in decimal after 'SUBSCRIBE <channel> ', got '-1'",
        ),
        (
            "SUBSCRIBE news 0 0\n",
            "expected a cursor in decimal after 'SUBSCRIBE <channel> ', got '0 0'",
        ),
        (
            "SUBSCRIBE news \n",
            "expected a cursor in decimal after 'SUBSCRIBE <channel> ', got ''",
        ),
        (
            "\n",
            "expected 'SUBSCRIBE <channel> [since | last=N]' or 'PUBLISH <channel> <payload>', got ''",
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            "expected 'SUBSCRIBE <channel> [since | last=N]' or 'PUBLISH <channel> <payload>', got 'GET / \
             HTTP/1.1'",
        ),
    ];
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let address = address(&server, transport);
        let mut tail = 0;
        if transport == Transport::Tcp {
            for (line, text) in lines {
                let mut wire = Wire::open(address, line);
                wire.expect(format!("ERROR {text}\n"));
                // An `ERROR` is the last that is said.
                assert!(wire.rest_or_reset().is_empty());
                tail = assert_serves(&server, transport, profile, tail);
            }
            return;
        }
        for (query, complaint) in queries {
            let request = bytes::subscribe_raw(transport, query, "");
            let mut wire = Wire::open(address, request);
            let (status, head, body) = wire.response();
            let body = String::from_utf8(body).expect("UTF-8");
            let expected = if complaint.starts_with("unknown") {
                404
            } else {
                400
            };
            assert_eq!(status, expected, "{query}");
            assert!(body.contains(complaint), "{query}: {body}");
            assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
            // The connection stands: it was the question that was wrong (RFC 9112, section 9.3).
            wire.send("GET /info HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(wire.response().0, 200);
            tail = assert_serves(&server, transport, profile, tail);
        }
    });
}

#[test]
fn what_is_no_http_or_no_route_is_refused_and_the_others_are_served() {
    for_each(|transport, profile| {
        if transport == Transport::Tcp {
            return;
        }
        let server = start(&config(transport, profile));
        let mut tail = 0;
        for (request, statuses) in [
            ("\0\x01\x02\r\n\r\n", &[400][..]),
            ("SUBSCRIBE news\n\n", &[400]),
            ("GET /poll?channel=news HTTP/9.9\r\n\r\n", &[400]),
            ("GET /nope HTTP/1.1\r\nHost: test\r\n\r\n", &[404]),
            (
                "DELETE /publish?channel=news HTTP/1.1\r\nHost: test\r\n\r\n",
                &[405],
            ),
            (
                "GET /publish?channel=news HTTP/1.1\r\nHost: test\r\n\r\n",
                &[405],
            ),
            (
                "GET /websocket?channel=news HTTP/1.1\r\nHost: test\r\n\r\n",
                &[400, 404, 426],
            ),
        ] {
            let mut wire = Wire::open(address(&server, transport), request);
            let status = wire.response().0;
            assert!(statuses.contains(&status), "{request:?} got {status}");
            tail = assert_serves(&server, transport, profile, tail);
        }
        // A transport that is not served has no route.
        let others = Transport::ALL
            .into_iter()
            .filter(|&t| t != transport && t != Transport::Tcp);
        for other in others {
            let request = bytes::subscribe(other, "news", None);
            let mut wire = Wire::open(address(&server, transport), request);
            assert_eq!(wire.response().0, 404, "{other} beside {transport}");
        }
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
            assert_eq!(server.total(|s| s.keep_alives.load(Relaxed)), held);
            return;
        };
        wire.expect(bytes::at_tail(transport, 0));
        wire.expect(keep_alive);
        wire.expect(keep_alive);
        let messages = publish(&server, 0, &["a"]);
        wire.expect_behind(keep_alive, bytes::streamed(transport, profile, &messages));
        wire.expect(keep_alive);
        server.stop();
        assert!(server.total(|s| s.keep_alives.load(Relaxed)) >= 3);
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
    let mut read = Vec::new();
    if bytes::is_stream(transport) {
        while bytes::sequences(&read).len() < least {
            read.extend(wire.some());
        }
        return bytes::sequences(&read);
    }
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
            ring: RingLimits {
                messages: 2,
                bytes: 1 << 20,
            },
            ..config(transport, profile)
        });
        let messages = publish(&server, 0, &["a", "b", "c", "d", "e"]);
        settle(&server, transport, 5);
        let mut wire = subscribe(&server, transport, Some(1));
        wire.expect(bytes::lagged(transport, 1, 3));
        assert_eq!(server.total(|s| s.lagged.load(Relaxed)), 1);
        assert_eq!(server.total(|s| s.lost_messages.load(Relaxed)), 2);
        match transport {
            Transport::Tcp => wire.expect_end(),
            Transport::WebSocket => {
                // The server ends the connection when the client has answered its close (RFC 6455,
                // section 7.1.1).
                wire.send(client_frame(CLOSE, &4001u16.to_be_bytes()));
                wire.expect_end();
            }
            Transport::Sse | Transport::LongPoll | Transport::ShortPoll => {}
        }
        // It resumes behind the loss, on a connection of its own or the same.
        let mut wire = subscribe(&server, transport, Some(3));
        wire.expect(bytes::behind(transport, profile, 3, &messages[3..]));
        assert_eq!(server.total(|s| s.lagged.load(Relaxed)), 1);
    });
}

#[test]
fn a_subscriber_that_reads_too_slowly_gets_what_was_on_its_way_and_then_what_it_lost() {
    // More than the sockets of a connection hold, and less than the hub's inbox.
    const MESSAGES: usize = 500;
    let payload = "x".repeat(64 << 10);
    for_each(|transport, profile| {
        if !bytes::is_stream(transport) {
            // Between two polls a client reads nothing: the test before this one.
            return;
        }
        let server = start(&Config {
            ring: RingLimits {
                messages: 4,
                bytes: 1 << 20,
            },
            ..config(transport, profile)
        });
        let mut wire = Wire::connect_with_small_buffer(address(&server, transport));
        wire.send(bytes::subscribe(transport, "news", None));
        wire.expect(bytes::at_tail(transport, 0));
        // Three of which one is on its way, and then more than anyone takes.
        publish(&server, 0, &[&payload; 3]);
        eventually("a delivery is counted", || {
            server.total(|s| s.deliveries.load(Relaxed)) > 0
        });
        publish(&server, 3, &vec![&payload; MESSAGES - 3]);

        let (before, range) = match transport {
            Transport::Tcp => (wire.until(b"LAGGED "), wire.until(b"\n")),
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
        assert_eq!(server.total(|s| s.lagged.load(Relaxed)), 1);
        assert_eq!(
            server.total(|s| s.lost_messages.load(Relaxed)),
            to - from + 1
        );
        match transport {
            Transport::Tcp => wire.expect_end(),
            Transport::Sse => wire.expect("\n\r\n0\r\n\r\n"),
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

/// Sends `payload` to `news` in the transport's own way. Returns the connection, past the answer
/// to a subscribe where it needed one.
fn send_upstream(server: &Server, transport: Transport, tail: u64, payload: &[u8]) -> Wire {
    let address = address(server, transport);
    match transport {
        Transport::Tcp => Wire::open(address, [b"PUBLISH news ", payload, b"\n"].concat()),
        Transport::WebSocket => {
            let mut wire = subscribe(server, transport, Some(tail));
            wire.expect(bytes::at_tail(transport, tail));
            wire.send_what_may_be_refused(client_frame(TEXT, payload));
            wire
        }
        Transport::Sse | Transport::LongPoll | Transport::ShortPoll => {
            let mut wire = Wire::connect(address);
            wire.send_what_may_be_refused(bytes::post("news", payload));
            wire
        }
    }
}

#[test]
fn what_a_client_sends_upstream_reaches_the_other_subscribers() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let mut other = subscribe(&server, transport, Some(0));
        let mut sender = send_upstream(&server, transport, 0, "zażółć: 1".as_bytes());
        let message = [Message::upstream(1, "zażółć: 1")];
        match transport {
            Transport::Tcp | Transport::Sse | Transport::WebSocket => {
                other.expect(bytes::behind(transport, profile, 0, &message));
            }
            Transport::LongPoll => other.expect(bytes::behind(transport, profile, 0, &message)),
            Transport::ShortPoll => {
                other.expect(bytes::no_content(0));
                settle(&server, transport, 1);
                other.send(bytes::subscribe(transport, "news", Some(0)));
                other.expect(bytes::behind(transport, profile, 0, &message));
            }
        }
        match transport {
            // Publishing is not answered, and a connection may subscribe behind it.
            Transport::Tcp => {
                sender.send("SUBSCRIBE news 0\n");
                sender.expect(bytes::behind(transport, profile, 0, &message));
            }
            // A subscriber gets its own messages like any other.
            Transport::WebSocket => sender.expect(bytes::streamed(transport, profile, &message)),
            Transport::Sse | Transport::LongPoll | Transport::ShortPoll => {
                sender.expect(bytes::posted(1));
                sender.send(bytes::post("other", b""));
                sender.expect(bytes::posted(1));
            }
        }
    });
}

#[test]
fn a_payload_with_a_line_end_or_bad_text_is_refused_and_uses_no_sequence() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let mut tail = 0;
        for payload in [&b"a\rb"[..], b"a\nb", b"a\r\nb", b"\xff", b"ab\xc3"] {
            if transport == Transport::Tcp && payload.contains(&b'\n') {
                // There the LF ends the line.
                continue;
            }
            let mut wire = send_upstream(&server, transport, tail, payload);
            match transport {
                Transport::Tcp => wire.expect(format!(
                    "ERROR expected a payload of UTF-8 without CR or LF and of at most \
                     {MAX_PAYLOAD_BYTES} bytes, got {} bytes that are not\n",
                    payload.len()
                )),
                Transport::WebSocket if payload.is_ascii() => {
                    // 1008: the message breaks a policy (RFC 6455, section 7.4.1).
                    let reason = "a payload must not contain CR or LF";
                    wire.expect(server_frame(CLOSE, &close_payload(1008, reason)));
                    wire.send(client_frame(CLOSE, &1008u16.to_be_bytes()));
                }
                Transport::WebSocket => {
                    // 1007: text that is not UTF-8 (RFC 6455, section 8.1).
                    let reason = "the text is not UTF-8";
                    wire.expect(server_frame(CLOSE, &close_payload(1007, reason)));
                }
                Transport::Sse | Transport::LongPoll | Transport::ShortPoll => {
                    wire.expect(bytes::refused_response(
                        "400 Bad Request",
                        "the payload must be UTF-8 without CR or LF",
                    ));
                    wire.finish_sending();
                }
            }
            wire.expect_end();
            tail = assert_serves(&server, transport, profile, tail);
        }
    });
}

#[test]
fn publishing_to_an_unknown_channel_or_to_none_is_refused() {
    let unknown = "unknown channel 'nope'; '/info' lists the channels of this server";
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let address = address(&server, transport);
        if transport == Transport::Tcp {
            for (line, text) in [
                ("PUBLISH nope x\n", unknown),
                (
                    "PUBLISH news\n",
                    "expected a payload after 'PUBLISH news', got the end of the line",
                ),
                (
                    "PUBLISH\n",
                    "expected the name of a channel after 'PUBLISH', got ''",
                ),
            ] {
                let mut wire = Wire::open(address, line);
                wire.expect(format!("ERROR {text}\n"));
                wire.expect_end();
            }
        } else {
            let mut wire = Wire::open(address, bytes::post("nope", b"x"));
            wire.expect(bytes::refused_response("404 Not Found", unknown));
            wire.send("POST /publish HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
            assert_eq!(wire.response().0, 400);
        }
        assert_serves(&server, transport, profile, 0);
    });
}

#[test]
fn the_longest_payload_is_taken_and_one_byte_more_is_refused() {
    let longest = "x".repeat(MAX_PAYLOAD_BYTES);
    let longer = "x".repeat(MAX_PAYLOAD_BYTES + 1);
    for_each(|transport, profile| {
        let server = start(&Config {
            ring: RingLimits {
                messages: 4,
                bytes: 4 << 20,
            },
            ..config(transport, profile)
        });
        let mut wire = send_upstream(&server, transport, 0, longest.as_bytes());
        let message = [Message::upstream(1, &longest)];
        match transport {
            Transport::Tcp => {
                wire.send("SUBSCRIBE news 0\n");
                wire.expect(bytes::behind(transport, profile, 0, &message));
            }
            Transport::WebSocket => wire.expect(bytes::streamed(transport, profile, &message)),
            Transport::Sse | Transport::LongPoll | Transport::ShortPoll => {
                wire.expect(bytes::posted(1));
            }
        }
        settle(&server, transport, 1);
        let mut wire = send_upstream(&server, transport, 1, longer.as_bytes());
        match transport {
            Transport::Tcp => {
                wire.expect(format!(
                    "ERROR expected a payload of UTF-8 without CR or LF and of at most \
                     {MAX_PAYLOAD_BYTES} bytes, got {} bytes that are not\n",
                    MAX_PAYLOAD_BYTES + 1
                ));
            }
            Transport::WebSocket => {
                // 1009: too big to process (RFC 6455, section 7.4.1).
                let reason = "the message is too large";
                wire.expect(server_frame(CLOSE, &close_payload(1009, reason)));
            }
            Transport::Sse | Transport::LongPoll | Transport::ShortPoll => {
                // RFC 9110, section 15.5.14.
                wire.expect(bytes::refused_response(
                    "413 Payload Too Large",
                    &format!(
                        "Failed to buffer the request body: length limit exceeded; a payload has \
                         at most {MAX_PAYLOAD_BYTES} bytes"
                    ),
                ));
            }
        }
        assert_serves(&server, transport, profile, 1);
    });
}

#[test]
fn what_never_ends_is_refused_before_it_is_whole() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let mut wire = Wire::connect(address(&server, transport));
        match transport {
            Transport::Tcp => {
                // The longest line: a payload of 1 MiB, a name of 74 bytes, the words around them.
                const MAX_LINE_BYTES: usize = MAX_BYTES + 74 + 16;
                wire.send([b'x'; 100]);
                wire.send("x".repeat(MAX_LINE_BYTES + 1 - 100));
                wire.expect(format!("ERROR a line has at most {MAX_LINE_BYTES} bytes\n"));
                wire.expect_end();
            }
            Transport::Sse | Transport::WebSocket | Transport::LongPoll | Transport::ShortPoll => {
                // Past the buffer of either profile. RFC 6585, section 5: 431, and the connection
                // may be closed at once, with what is on its way.
                wire.send("GET / HTTP/1.1\r\nHost: test\r\nX-Padding: ");
                wire.send_what_may_be_refused("x".repeat(600 << 10));
                let answer = wire.rest_or_reset();
                assert!(
                    answer.is_empty()
                        || answer.starts_with(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
                    "{}",
                    bytes::printable(&answer)
                );
            }
        }
        assert_serves(&server, transport, profile, 0);
    });
}

#[test]
fn polls_that_come_in_one_write_are_answered_in_order() {
    for transport in [Transport::LongPoll, Transport::ShortPoll] {
        for profile in Profile::ALL {
            let server = start(&config(transport, profile));
            let messages = publish(&server, 0, &["a", "b"]);
            settle(&server, transport, 2);
            let both = [0, 1].map(|since| bytes::subscribe(transport, "news", Some(since)));
            let mut wire = Wire::open(address(&server, transport), both.concat());
            wire.expect(bytes::behind(transport, profile, 0, &messages));
            wire.expect(bytes::behind(transport, profile, 1, &messages[1..]));
            await_subscribers(&server, 0);
        }
    }
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
fn an_answer_is_the_last_where_the_client_says_so() {
    for_each(|transport, profile| {
        if bytes::is_stream(transport) {
            return;
        }
        let server = start(&config(transport, profile));
        let request = bytes::subscribe_raw(transport, "?channel=news", "Connection: close\r\n");
        let mut wire = Wire::open(address(&server, transport), request);
        let (status, head, _) = wire.response();
        assert_eq!(status, 204);
        // RFC 9112, section 9.6: it says that it does.
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        wire.expect_end();
    });
}

#[test]
fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    for profile in Profile::ALL {
        let server = start(&config(Transport::Sse, profile));
        let mut wire = Wire::open(
            address(&server, Transport::Sse),
            "GET /sse?channel=news&since=0 HTTP/1.0\r\n\r\n",
        );
        // RFC 9112, section 6.1: a client of HTTP/1.0 need not know chunks.
        let head = String::from_utf8(wire.until(b"\r\n\r\n")).expect("ASCII");
        assert!(!head.contains("transfer-encoding"), "{profile}: {head}");
        wire.expect("id: 0\n\n");
        publish(&server, 0, &["a", "b"]);
        for sequence in 1..=2 {
            let event = String::from_utf8(wire.until(b"\n\n")).expect("UTF-8");
            assert!(
                event.starts_with(&format!("id: {sequence}\ndata: {sequence:016x}:")),
                "{profile}: {event}"
            );
        }
    }
}

#[test]
fn a_long_upload_in_chunks_is_taken_and_one_that_is_too_long_is_refused() {
    for_each(|transport, profile| {
        if matches!(transport, Transport::Tcp | Transport::WebSocket) {
            return;
        }
        let server = start(&config(transport, profile));
        let head = "POST /publish?channel=news HTTP/1.1\r\nHost: test\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let mut wire = Wire::open(address(&server, transport), head);
        for piece in ["3\r\nabc\r\n", "2\r\nd", "e\r\n0\r\n", "\r\n"] {
            wire.send(piece);
        }
        wire.expect(bytes::posted(1));
        wire.send(head);
        let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
        for _ in 0..=MAX_PAYLOAD_BYTES / (64 << 10) {
            wire.send_what_may_be_refused(&chunk);
        }
        assert_eq!(wire.response().0, 413);
        assert_serves(&server, transport, profile, 1);
    });
}

/// A WebSocket at the tail of `news`, where nothing was published.
fn websocket(server: &Server) -> Wire {
    let mut wire = subscribe(server, Transport::WebSocket, Some(0));
    wire.expect(bytes::at_tail(Transport::WebSocket, 0));
    wire
}

#[test]
fn a_websocket_that_breaks_the_protocol_is_closed_with_the_code_for_it() {
    let large = (MAX_PAYLOAD_BYTES as u64 + 1).to_be_bytes();
    let half = vec![b'x'; MAX_PAYLOAD_BYTES / 2 + 1];
    let protocol = (1002, "the frame does not follow RFC 6455");
    let binary = (1003, "expected text messages, got a binary one");
    let text = (1007, "the text is not UTF-8");
    let size = (1009, "the message is too large");
    // Sections of RFC 6455. The codes are those of section 7.4.1.
    let cases = [
        (
            "5.1: a frame that is not masked",
            server_frame(TEXT, b"x"),
            protocol,
        ),
        ("5.2: a reserved bit", masked_frame(0xc1, b"x"), protocol),
        ("5.2: a reserved opcode", masked_frame(0x83, b"x"), protocol),
        (
            "5.2: a reserved control opcode",
            masked_frame(0x8b, b""),
            protocol,
        ),
        (
            "5.4: a continuation of nothing",
            masked_frame(0x80, b"x"),
            protocol,
        ),
        (
            "5.4: a new message within another",
            [masked_frame(TEXT, b"x"), masked_frame(TEXT, b"y")].concat(),
            protocol,
        ),
        ("5.5: a fragmented ping", masked_frame(PING, b""), protocol),
        (
            "5.5: a ping of 126 bytes",
            client_frame(PING, &[b'x'; 126]),
            protocol,
        ),
        ("5.6: a binary message", client_frame(BINARY, b"x"), binary),
        (
            "8.1: text that is not UTF-8",
            client_frame(TEXT, b"\xc3\x28"),
            text,
        ),
        (
            "8.1: text that ends within a character, over two fragments",
            [masked_frame(TEXT, b"\xe6"), masked_frame(0x80, b"\x8e")].concat(),
            text,
        ),
        // Refused by its header: a byte more is never waited for, or kept.
        (
            "10.4: a frame that is too large",
            [&[0x81, 0xff][..], &large, &[0; 4]].concat(),
            size,
        ),
        (
            "10.4: a frame of the largest length there is",
            [&[0x81, 0xff, 0x7f][..], &[0xff; 7], &[0; 4]].concat(),
            size,
        ),
        (
            "10.4: a message that is too large, in fragments",
            [masked_frame(TEXT, &half), masked_frame(0x80, &half)].concat(),
            size,
        ),
    ];
    for profile in Profile::ALL {
        let server = start(&config(Transport::WebSocket, profile));
        for (name, frames, (code, reason)) in &cases {
            eprintln!("{profile}: section {name}");
            let mut wire = websocket(&server);
            let mut other = websocket(&server);
            wire.send(frames);
            wire.expect(server_frame(CLOSE, &close_payload(*code, reason)));
            wire.send_what_may_be_refused(client_frame(CLOSE, &code.to_be_bytes()));
            assert!(wire.rest_or_reset().is_empty());
            // Who was connected is served on.
            other.send(client_frame(PING, b"?"));
            other.expect(server_frame(PONG, b"?"));
        }
        await_subscribers(&server, 0);
        assert_serves(&server, Transport::WebSocket, profile, 0);
    }
}

#[test]
fn a_websocket_answers_pings_echoes_a_close_and_takes_messages_in_fragments() {
    for profile in Profile::ALL {
        let server = start(&config(Transport::WebSocket, profile));
        let mut wire = websocket(&server);
        // RFC 6455, section 5.5.3: a pong has the ping's own data, up to 125 bytes.
        for data in [&b""[..], b"data", &[b'x'; 125]] {
            wire.send(client_frame(PING, data));
            wire.expect(server_frame(PONG, data));
        }
        // An unsolicited pong is not answered (section 5.5.3). A ping may stand within a message
        // (section 5.4), and a character across two fragments (section 5.6).
        wire.send(client_frame(PONG, b"unasked"));
        wire.send(masked_frame(TEXT, b"za\xc5"));
        wire.send(client_frame(PING, b"within"));
        wire.send(masked_frame(0x80, b"\xbc"));
        wire.expect(server_frame(PONG, b"within"));
        let message = [Message::upstream(1, "zaż")];
        wire.expect(bytes::streamed(Transport::WebSocket, profile, &message));
        // Section 5.5.1: the close is echoed with its code, and the server ends the connection.
        wire.send(client_frame(CLOSE, &close_payload(1000, "bye")));
        let echo = wire.exactly(4);
        assert_eq!(echo[0], 0x80 | CLOSE);
        assert_eq!(echo[2..], 1000u16.to_be_bytes());
        wire.exactly(usize::from(echo[1]) - 2);
        wire.expect_end();
        await_subscribers(&server, 0);
        // A close without a code is echoed so.
        let mut wire = subscribe(&server, Transport::WebSocket, Some(1));
        wire.expect(bytes::at_tail(Transport::WebSocket, 1));
        wire.send(client_frame(CLOSE, b""));
        wire.expect(server_frame(CLOSE, b""));
        wire.expect_end();
        await_subscribers(&server, 0);
    }
}

#[test]
fn raw_tcp_takes_lines_however_they_are_cut() {
    for profile in Profile::ALL {
        let server = start(&config(Transport::Tcp, profile));
        let mut wire = Wire::connect(address(&server, Transport::Tcp));
        // Several in one segment, one in several, with and without CR.
        for piece in [
            "PUBLISH news a\r\nPUBLISH ne",
            "ws b c \nSUB",
            "SCRIBE news 0\r",
            "\n",
        ] {
            wire.send(piece);
        }
        let messages = [Message::upstream(1, "a"), Message::upstream(2, "b c ")];
        wire.expect("SUBSCRIBED 0\n");
        wire.expect(bytes::streamed(Transport::Tcp, profile, &messages));
        // A subscriber may publish, and may not subscribe again.
        wire.send("PUBLISH news d\n");
        wire.expect(bytes::streamed(
            Transport::Tcp,
            profile,
            &[Message::upstream(3, "d")],
        ));
        wire.send("SUBSCRIBE other\n");
        wire.expect("ERROR this connection is subscribed already\n");
        wire.expect_end();
        await_subscribers(&server, 0);
    }
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
            let mut waiting = subscribe(&server, transport, Some(0));
            match transport {
                Transport::Tcp | Transport::Sse | Transport::WebSocket => {
                    waiting.expect(bytes::at_tail(transport, 0));
                }
                Transport::LongPoll => await_subscribers(&server, 1),
                Transport::ShortPoll => waiting.expect(bytes::no_content(0)),
            }
            let messages = publish(&server, 0, payloads);
            server.stop();
            match transport {
                Transport::Tcp | Transport::Sse | Transport::WebSocket => {
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
            assert_eq!(server.total(|s| s.subscribers.load(Relaxed)), 0);
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
            let mut wire = subscribe(&server, transport, Some(0));
            match transport {
                Transport::Tcp | Transport::Sse | Transport::WebSocket => {
                    wire.expect(bytes::at_tail(transport, 0));
                }
                Transport::LongPoll => await_subscribers(&server, wires.len() as u64 + 1),
                // Nothing tells which shard answered; 8 connections meet more than one of them
                // but for bad luck, and the test is right either way.
                Transport::ShortPoll => {}
            }
            wires.push(wire);
            let busy = |shard: &usize| server.stats[*shard].subscribers.load(Relaxed) > 0;
            match transport {
                Transport::ShortPoll => served.extend(0..SHARDS),
                Transport::Tcp | Transport::Sse | Transport::WebSocket | Transport::LongPoll => {
                    served.extend((0..SHARDS).filter(busy));
                }
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
            server.total(|s| s.deliveries.load(Relaxed)) == delivered
        });
        drop(wires);
        await_subscribers(&server, 0);
        server.stop();
    });
}

#[test]
fn all_transports_of_one_server_deliver_the_same_envelopes() {
    for profile in Profile::ALL {
        let server = start(&Config {
            transports: Transport::ALL.to_vec(),
            ..config(Transport::Tcp, profile)
        });
        // Upstream over each in turn, and all of it to all.
        let mut senders = Vec::new();
        for (transport, tail) in Transport::ALL.into_iter().zip(0..) {
            senders.push(send_upstream(
                &server,
                transport,
                tail,
                transport.id().as_bytes(),
            ));
            eventually("the message is appended", || {
                let mut wire = subscribe(&server, Transport::ShortPoll, Some(tail));
                wire.response().0 == 200
            });
        }
        let count = Transport::ALL.len();
        let mut envelopes = HashSet::new();
        for transport in Transport::ALL {
            let mut wire = subscribe(&server, transport, Some(0));
            let mut read = Vec::new();
            // The last payload is the last id.
            let last = Transport::ALL[count - 1].id().as_bytes();
            while !read.windows(last.len()).any(|window| window == last) {
                read.extend(wire.some());
            }
            assert_eq!(
                bytes::sequences(&read),
                (1..=count as u64).collect::<Vec<u64>>()
            );
            envelopes.insert(bytes::envelopes(&read));
        }
        assert_eq!(envelopes.len(), 1, "{envelopes:?}");
    }
}

#[test]
fn a_port_that_another_server_has_is_refused_with_a_remedy() {
    for_each(|transport, profile| {
        let first = start(&config(transport, profile));
        let taken = address(&first, transport);
        let second = Config {
            listen: taken,
            ..config(transport, profile)
        };
        let error = Server::start(&second).expect_err("the port is taken");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on {taken}: address in use; another program has it: choose another \
                 port with '--listen' or '--tcp-listen', or 0 for any; '--share-port' takes over \
                 from a server of your own"
            )
        );
        assert_serves(&first, transport, profile, 0);
        // Once the first is gone, connections of it that still linger are no hindrance.
        drop(first);
        let second = start(&second);
        assert_serves(&second, transport, profile, 0);
    });
}

#[test]
fn an_http_server_shows_itself_to_people() {
    for_each(|transport, profile| {
        if transport == Transport::Tcp {
            return;
        }
        let server = start(&config(transport, profile));
        let mut wire = Wire::open(
            address(&server, transport),
            "GET / HTTP/1.1\r\nHost: test\r\n\r\nGET /info HTTP/1.1\r\nHost: test\r\n\r\n",
        );
        // Two requests in one write are answered in order (RFC 9112, section 9.3.2).
        let (status, head, page) = wire.response();
        assert_eq!(status, 200);
        assert!(
            head.contains("\r\ncontent-type: text/html; charset=utf-8\r\n"),
            "{head}"
        );
        assert!(page.starts_with(b"<!doctype html>") || page.starts_with(b"<!DOCTYPE html>"));
        let (status, _, info) = wire.response();
        assert_eq!(status, 200);
        let info: serde_json::Value = serde_json::from_slice(&info).expect("JSON");
        assert_eq!(info["transports"], serde_json::json!([transport.id()]));
        assert_eq!(info["profile"], profile.id());
        assert_eq!(info["channels"], serde_json::json!(["news", "other"]));
    });
}
