//! What clients publish, on every transport in every profile: what reaches the others, and what is
//! refused.

use std::collections::HashSet;

use pushbench_protocol::envelope::{HEAD_BYTES, MAX_BYTES};
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::server::{Config, Server};

use crate::support::bytes::opcode::{CLOSE, TEXT};
use crate::support::bytes::{self, Message, client_frame, close_payload, server_frame};
use crate::support::wire::Wire;
use crate::support::{
    address, ask, assert_serves, config, eventually, expect_awaited, for_each, ring, settle, start,
    subscribe, wait_at,
};

/// Longest payload: an envelope of 1 MiB without its head.
pub(crate) const MAX_PAYLOAD_BYTES: usize = MAX_BYTES - HEAD_BYTES;

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
        Transport::Sse | Transport::HttpStream | Transport::LongPoll | Transport::ShortPoll => {
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
        let mut other = wait_at(&server, transport, 0);
        let mut sender = send_upstream(&server, transport, 0, "zażółć: 1".as_bytes());
        let message = [Message::upstream(1, "zażółć: 1")];
        expect_awaited(&server, &mut other, (transport, profile), 0, &message);
        match transport {
            // Publishing is not answered, and a connection may subscribe behind it.
            Transport::Tcp => {
                sender.send("SUBSCRIBE news 0\n");
                sender.expect(bytes::behind(transport, profile, 0, &message));
            }
            // A subscriber gets its own messages like any other.
            Transport::WebSocket => sender.expect(bytes::streamed(transport, profile, &message)),
            Transport::Sse | Transport::HttpStream | Transport::LongPoll | Transport::ShortPoll => {
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
                Transport::Sse
                | Transport::HttpStream
                | Transport::LongPoll
                | Transport::ShortPoll => {
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
            ring: ring(4),
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
            Transport::Sse | Transport::HttpStream | Transport::LongPoll | Transport::ShortPoll => {
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
            Transport::Sse | Transport::HttpStream | Transport::LongPoll | Transport::ShortPoll => {
                // RFC 9110, section 15.5.14.
                let (status, head, body) = wire.response();
                assert_eq!(status, 413);
                assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
                let text = format!(
                    "the body is longer than the {MAX_PAYLOAD_BYTES} bytes that a payload has at most\n"
                );
                assert_eq!(String::from_utf8_lossy(&body), text);
            }
        }
        assert_serves(&server, transport, profile, 1);
    });
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
        let mut wire = ask(&server, transport, head);
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
