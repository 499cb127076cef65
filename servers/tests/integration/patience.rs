//! Clients that are late: what they began is not waited for without end, alike in every profile, and
//! however slowly more of it comes.

use std::time::Duration;

use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::server::{Config, Server};

use crate::support::wire::Wire;
use crate::support::{address, bytes, config, for_each, publish, start, subscribe};

/// What a client does; what it sends at first, and over and over; what it gets before the end.
pub(crate) struct Late {
    pub(crate) what: &'static str,
    begins: &'static str,
    goes_on: &'static str,
    pub(crate) answer: &'static str,
}

/// Over HTTP.
pub(crate) const REQUESTS: &[Late] = &[
    Late {
        what: "sends nothing",
        begins: "",
        goes_on: "",
        answer: "",
    },
    Late {
        what: "sends nothing but empty lines",
        begins: "\r\n",
        goes_on: "\r\n",
        answer: "",
    },
    Late {
        what: "does not finish the head of a request",
        begins: "GET /info HTTP/1.1\r\nHost: test\r\nX: ",
        goes_on: "x",
        answer: "",
    },
    Late {
        what: "does not finish the next request of a connection",
        begins: "GET /nope HTTP/1.1\r\nHost: test\r\n\r\nGET /info HTTP/1.1\r\nX: ",
        goes_on: "x",
        answer: "HTTP/1.1 404 Not Found",
    },
    Late {
        what: "does not finish the body of a POST",
        begins: "POST /publish?channel=news HTTP/1.1\r\nHost: test\r\nContent-Length: 9000\r\n\r\nx",
        goes_on: "x",
        answer: "HTTP/1.1 408 Request Timeout",
    },
    Late {
        what: "does not finish a chunk of it",
        begins: "POST /publish?channel=news HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\
                 \r\n",
        goes_on: "1\r\nx\r\n",
        answer: "HTTP/1.1 408 Request Timeout",
    },
    Late {
        what: "does not begin the body that it asked leave for",
        begins: "POST /publish?channel=news HTTP/1.1\r\nHost: test\r\nContent-Length: 9000\r\n\
                 Expect: 100-continue\r\n\r\n",
        goes_on: "",
        answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 Request Timeout",
    },
];

/// Over raw TCP.
pub(crate) const LINES: &[Late] = &[
    Late {
        what: "sends nothing",
        begins: "",
        goes_on: "",
        answer: "ERROR no whole line within ",
    },
    Late {
        what: "does not finish its first line",
        begins: "SUBSCRIBE ",
        goes_on: "x",
        answer: "ERROR no whole line within ",
    },
    Late {
        what: "does not finish another line",
        begins: "PUBLISH news a\nPUBLISH news ",
        goes_on: "x",
        answer: "ERROR no whole line within ",
    },
    Late {
        what: "does not finish a line after it subscribed",
        begins: "SUBSCRIBE other\nPUBLISH other ",
        goes_on: "x",
        answer: "SUBSCRIBED 0\nERROR no whole line within ",
    },
];

fn start_impatient(transport: Transport, profile: Profile) -> Server {
    start(&Config {
        head_timeout: Duration::from_millis(200),
        ..config(transport, profile)
    })
}

fn late_of(transport: Transport) -> &'static [Late] {
    match transport.is_http() {
        true => REQUESTS,
        false => LINES,
    }
}

#[test]
fn what_a_client_began_is_not_waited_for_without_end() {
    for_each(|transport, profile| {
        let server = start_impatient(transport, profile);
        // All at once: each takes the time of its server's patience.
        let clients = late_of(transport).iter();
        let clients =
            clients.map(|late| (late, Wire::open(address(&server, transport), late.begins)));
        for (late, mut wire) in clients.collect::<Vec<_>>() {
            let got = wire.rest();
            let got = String::from_utf8_lossy(&got);
            assert!(got.starts_with(late.answer), "{}: {got}", late.what);
            assert_eq!(
                got.is_empty(),
                late.answer.is_empty(),
                "{}: {got}",
                late.what
            );
            if late.answer.contains("408") {
                assert!(got.contains("\r\nconnection: close\r\n"), "{got}");
            }
        }
    });
}

#[test]
fn more_of_it_drop_by_drop_makes_no_difference() {
    for_each(|transport, profile| {
        let server = start_impatient(transport, profile);
        let clients = late_of(transport).iter();
        let clients = clients.filter(|late| !late.goes_on.is_empty());
        let mut clients: Vec<_> = clients
            .map(|late| (late, Wire::open(address(&server, transport), late.begins)))
            .collect();
        // The last byte is refused: the server has closed the connection.
        while !clients.is_empty() {
            clients.retain_mut(|(late, wire)| wire.send_while_open(late.goes_on));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn a_subscriber_may_be_silent_for_as_long_as_it_likes() {
    for profile in Profile::ALL {
        let transport = Transport::Tcp;
        let server = start(&Config {
            head_timeout: Duration::from_millis(100),
            keep_alive: Duration::from_millis(100),
            ..config(transport, profile)
        });
        let mut wire = subscribe(&server, transport, Some(0));
        wire.expect(bytes::at_tail(transport, 0));
        // A line that was finished is not waited for.
        wire.send("PUBLISH other x\nPUBLISH ot");
        wire.send("her y\n");
        wire.expect("\n\n\n\n\n");
        let messages = publish(&server, 0, &["a"]);
        wire.expect_behind(b"\n", bytes::streamed(transport, profile, &messages));
    }
}
