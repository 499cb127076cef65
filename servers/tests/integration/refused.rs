//! Subscribes that are refused, on every transport in every profile: what is said, in bytes, and that
//! others are served as before.

use pushbench_protocol::envelope::MAX_BYTES;
use pushbench_protocol::transport::Transport;
use pushbench_servers::server::{Config, Server};

use crate::support::wire::Wire;
use crate::support::{address, ask, assert_serves, bytes, config, for_each, start, subscribe_to};

#[test]
fn an_unknown_channel_is_refused_by_name() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        for since in [None, Some(0)] {
            let mut wire = subscribe_to(&server, transport, "nope", since);
            wire.expect(bytes::refusal(
                transport,
                "404 Not Found",
                "unknown channel 'nope'; '/info' lists the channels of this server",
            ));
        }
        assert_serves(&server, transport, profile, 0);
    });
}

/// Queries that do not subscribe, and what is answered.
const QUERIES: &[(&str, &str)] = &[
    ("", "missing field `channel`"),
    ("?", "missing field `channel`"),
    ("?since=0", "missing field `channel`"),
    ("?channel", "unknown channel ''"),
    ("?channel=", "unknown channel ''"),
    ("?channel=news&channel=other", "duplicate field `channel`"),
    (
        "?channel=news&since=",
        "since: expected a cursor such as '19' or 'k3f9-19', got ''",
    ),
    ("?channel=news&since=x", ", got 'x'"),
    ("?channel=news&since=-1", ", got '-1'"),
    ("?channel=news&since=%2B1", ", got '+1'"),
    ("?channel=news&since=1.0", ", got '1.0'"),
    ("?channel=news&since=K3F9-1", ", got 'K3F9-1'"),
    ("?channel=news&since=k3f9-", ", got 'k3f9-'"),
    (
        "?channel=news&since=18446744073709551616",
        ", got '18446744073709551616'",
    ),
    ("?channel=news&since=0&since=1", "duplicate field `since`"),
];

/// The same of lines.
const LINES: &[(&str, &str)] = &[
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
        "expected a cursor such as '19' or 'k3f9-19' after 'SUBSCRIBE <channel> ', got 'x'",
    ),
    (
        "SUBSCRIBE news -1\n",
        "expected a cursor such as '19' or 'k3f9-19' after 'SUBSCRIBE <channel> ', got '-1'",
    ),
    (
        "SUBSCRIBE news 0 0\n",
        "expected a cursor such as '19' or 'k3f9-19' after 'SUBSCRIBE <channel> ', got '0 0'",
    ),
    (
        "SUBSCRIBE news \n",
        "expected a cursor such as '19' or 'k3f9-19' after 'SUBSCRIBE <channel> ', got ''",
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

#[test]
fn a_malformed_subscribe_is_refused_and_the_others_are_served() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let address = address(&server, transport);
        let mut tail = 0;
        if transport == Transport::Tcp {
            for &(line, text) in LINES {
                let mut wire = Wire::open(address, line);
                wire.expect(format!("ERROR {text}\n"));
                // An `ERROR` is the last that is said.
                assert!(wire.rest_or_reset().is_empty());
                tail = assert_serves(&server, transport, profile, tail);
            }
            return;
        }
        for &(query, complaint) in QUERIES {
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
            let mut wire = ask(&server, transport, request);
            let status = wire.response().0;
            assert!(statuses.contains(&status), "{request:?} got {status}");
            tail = assert_serves(&server, transport, profile, tail);
        }
        // A transport that is not served has no route.
        let others = Transport::ALL
            .into_iter()
            .filter(|&t| t != transport && t != Transport::Tcp);
        for other in others {
            let mut wire = ask(&server, transport, bytes::subscribe(other, "news", None));
            assert_eq!(wire.response().0, 404, "{other} beside {transport}");
        }
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
            Transport::Sse
            | Transport::HttpStream
            | Transport::WebSocket
            | Transport::LongPoll
            | Transport::ShortPoll => {
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
