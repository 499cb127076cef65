//! What one protocol alone has: frames of WebSocket, events and old versions of HTTP, lines of raw
//! TCP.

use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::server::Server;

use crate::support::bytes::opcode::{BINARY, CLOSE, PING, PONG, TEXT};
use crate::support::bytes::{
    self, Message, client_frame, close_payload, masked_frame, server_frame,
};
use crate::support::wire::Wire;
use crate::support::{
    address, ask, assert_serves, await_subscribers, config, for_each, for_each_poll, publish,
    settle, start, subscribe,
};
use crate::upstream::MAX_PAYLOAD_BYTES;

#[test]
fn last_event_id_wins_over_since_on_sse() {
    let transport = Transport::Sse;
    for profile in Profile::ALL {
        let server = start(&config(transport, profile));
        let messages = publish(&server, 0, &["a", "b", "c"]);
        settle(&server, transport, 3);
        let ask = |query: &str, headers: &str| {
            let request = bytes::subscribe_raw(transport, query, headers);
            ask(&server, transport, request)
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
        // A malformed id is refused, and an impossible one not replaced by `since`.
        for id in ["x", "-1", "+1", "1, 2", "18446744073709551616"] {
            let mut wire = ask("?channel=news&since=0", &format!("Last-Event-ID: {id}\r\n"));
            wire.expect(bytes::refused_response(
                "400 Bad Request",
                &format!(
                    "'Last-Event-ID' is '{id}', expected the id of an event of this stream, such as \
                     '19' or 'k3f9-19'"
                ),
            ));
        }
        ask("?channel=news&since=0", "Last-Event-ID: 4\r\n")
            .expect(bytes::lost(transport, 0, "unknown", 0));
    }
}

#[test]
fn an_answer_is_the_last_where_the_client_says_so() {
    for_each_poll(|transport, profile| {
        let server = start(&config(transport, profile));
        let request = bytes::subscribe_raw(transport, "?channel=news", "Connection: close\r\n");
        let mut wire = ask(&server, transport, request);
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
        let mut wire = ask(
            &server,
            Transport::Sse,
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
fn an_http_server_shows_itself_to_people() {
    for_each(|transport, profile| {
        if transport == Transport::Tcp {
            return;
        }
        let server = start(&config(transport, profile));
        let mut wire = ask(
            &server,
            transport,
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
