//! What HTTP/1.1 lets a client send: every transport in every profile answers alike.

use pushbench_protocol::transport::{Delivery, Profile, Transport};
use pushbench_servers::server::{Config, Server};

use crate::support::wire::Wire;
use crate::support::{ask, await_subscribers, config, deliveries, for_each_http, publish, start};

/// Which requests a row is for.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Any,
    Stream,
    Poll,
    WebSocket,
}

impl Of {
    fn covers(self, transport: Transport) -> bool {
        match transport.info().delivery {
            Delivery::Response(_) => matches!(self, Self::Any | Self::Stream),
            Delivery::Poll(_) => matches!(self, Self::Any | Self::Poll),
            Delivery::WebSocket => matches!(self, Self::Any | Self::WebSocket),
            Delivery::Lines => false,
        }
    }
}

/// Of which transports; the request line without its version, where `{path}` is the transport's; more
/// fields; the status, and fields of the answer.
type Row<'a> = (Of, &'a str, &'a str, u16, &'a [&'a str]);

const ROWS: &[Row<'_>] = &[
    // Targets with scheme and host, RFC 9112, section 3.2.2.
    (
        Of::Any,
        "GET http://test/info",
        "",
        200,
        &["content-type: application/json"],
    ),
    (
        Of::Any,
        "GET http://test",
        "",
        200,
        &["content-type: text/html; charset=utf-8"],
    ),
    (Of::Any, "GET http://test/nope", "", 404, &[]),
    (
        Of::Any,
        "POST http://test/publish?channel=nope",
        "",
        404,
        &[],
    ),
    (
        Of::Any,
        "POST HTTP://test/info",
        "",
        405,
        &["allow: GET,HEAD"],
    ),
    (
        Of::Any,
        "GET http://test{path}?channel=nope",
        UPGRADE,
        404,
        &["cache-control: no-store"],
    ),
    (
        Of::Stream,
        "HEAD http://test{path}?channel=news",
        "",
        200,
        &["push-cursor: 1"],
    ),
    (
        Of::Poll,
        "GET http://test{path}?channel=news",
        "",
        204,
        &["push-cursor: 1"],
    ),
    // A fragment, which clients should not send.
    (Of::Any, "GET /info#x", "", 200, &[]),
    // HEAD is GET without the body, RFC 9110, section 9.3.2. It takes no message and does not wait.
    (
        Of::Any,
        "HEAD /",
        "",
        200,
        &["content-type: text/html; charset=utf-8"],
    ),
    (
        Of::Any,
        "HEAD /info",
        "",
        200,
        &["content-type: application/json"],
    ),
    (Of::Any, "HEAD /nope", "", 404, &[]),
    (
        Of::Any,
        "HEAD /publish?channel=news",
        "",
        405,
        &["allow: POST"],
    ),
    (
        Of::Stream,
        "HEAD {path}?channel=news",
        "",
        200,
        &["push-cursor: 1", "cache-control: no-store"],
    ),
    (
        Of::Stream,
        "HEAD {path}?channel=nope",
        "",
        404,
        &["cache-control: no-store"],
    ),
    (
        Of::Poll,
        "HEAD {path}?channel=news&since=0",
        "",
        204,
        &["push-cursor: 0"],
    ),
    (
        Of::Poll,
        "HEAD {path}?channel=news&since=1",
        "",
        204,
        &["push-cursor: 1"],
    ),
    (
        Of::Poll,
        "HEAD {path}?channel=news",
        "",
        204,
        &["push-cursor: 1"],
    ),
    (
        Of::Poll,
        "HEAD {path}",
        "",
        400,
        &["cache-control: no-store"],
    ),
    (
        Of::WebSocket,
        "HEAD {path}?channel=news",
        UPGRADE,
        405,
        &["allow: GET"],
    ),
    // Methods that a target does not have.
    (Of::Any, "OPTIONS *", "", 404, &[]),
    (
        Of::Stream,
        "POST {path}?channel=news",
        "",
        405,
        &["allow: GET,HEAD"],
    ),
    (
        Of::Poll,
        "OPTIONS {path}?channel=news",
        "",
        405,
        &["allow: GET,HEAD"],
    ),
    (
        Of::WebSocket,
        "DELETE {path}?channel=news",
        UPGRADE,
        405,
        &["allow: GET"],
    ),
    (Of::Any, "get /info", "", 405, &["allow: GET,HEAD"]),
    // An empty one is none; transports that know none do not read it.
    (
        Of::Stream,
        "HEAD {path}?channel=news&since=0",
        "Last-Event-ID:\r\n",
        200,
        &["push-cursor: 0"],
    ),
    (
        Of::Stream,
        "HEAD {path}?channel=news&since=0",
        "Last-Event-ID:  \r\n",
        200,
        &["push-cursor: 0"],
    ),
    (
        Of::Poll,
        "HEAD {path}?channel=news",
        "Last-Event-ID: x\r\n",
        204,
        &["push-cursor: 1"],
    ),
];

const READABLE: &[&str] = &[
    "access-control-allow-origin: https://a.example",
    "access-control-expose-headers: push-cursor",
    "vary: origin",
];

/// Of pages of other origins where `https://a.example` is allowed: fields of the request, then as in
/// [`ROWS`].
const ORIGINS: &[Row<'_>] = &[
    // Answers, and what is refused.
    (Of::Any, "GET /info", ALLOWED, 200, READABLE),
    (Of::Any, "GET /nope", ALLOWED, 404, READABLE),
    (
        Of::Any,
        "GET /info",
        "Origin: HTTPS://A.Example\r\n",
        200,
        READABLE,
    ),
    (
        Of::Stream,
        "GET {path}?channel=news",
        ALLOWED,
        200,
        READABLE,
    ),
    (
        Of::Stream,
        "GET {path}?channel=nope",
        ALLOWED,
        404,
        READABLE,
    ),
    (Of::Poll, "GET {path}?channel=news", ALLOWED, 204, READABLE),
    (
        Of::Poll,
        "GET {path}?channel=news&since=9",
        ALLOWED,
        400,
        READABLE,
    ),
    (
        Of::Any,
        "POST /publish?channel=nope",
        ALLOWED,
        404,
        READABLE,
    ),
    // Preflights, WHATWG Fetch, section 4.8.
    (
        Of::Any,
        "OPTIONS /publish?channel=news",
        PREFLIGHT,
        204,
        &[
            READABLE[0],
            READABLE[2],
            "access-control-allow-methods: POST",
            "access-control-allow-headers: content-type, last-event-id",
            "access-control-max-age: 600",
        ],
    ),
    (
        Of::Stream,
        "OPTIONS {path}?channel=news",
        PREFLIGHT,
        204,
        &["access-control-allow-methods: GET,HEAD"],
    ),
    (
        Of::Poll,
        "OPTIONS {path}?channel=news",
        PREFLIGHT,
        204,
        &["access-control-allow-methods: GET,HEAD"],
    ),
    (Of::Any, "OPTIONS /nope", PREFLIGHT, 404, READABLE),
    // Without the field of a preflight it is a method that the target does not have.
    (
        Of::Any,
        "OPTIONS /info",
        ALLOWED,
        405,
        &["allow: GET,HEAD", READABLE[0]],
    ),
    // A page of any other origin reads nothing and sends nothing.
    (Of::Stream, "HEAD {path}?channel=news", FOREIGN, 200, &[]),
    (Of::Poll, "GET {path}?channel=news", FOREIGN, 204, &[]),
    (
        Of::Any,
        "OPTIONS /publish?channel=news",
        "Origin: null\r\nAccess-Control-Request-Method: POST\r\n",
        405,
        &["allow: POST"],
    ),
    (
        Of::Any,
        "POST /publish?channel=nope",
        FOREIGN,
        403,
        &["cache-control: no-store"],
    ),
    (
        Of::Any,
        "POST /publish?channel=nope",
        "Origin: null\r\n",
        403,
        &[],
    ),
    // Pages of this server, also through TLS in front of it, and clients that are not browsers.
    (
        Of::Any,
        "POST /publish?channel=nope",
        "Origin: http://test\r\n",
        404,
        &[],
    ),
    (
        Of::Any,
        "POST /publish?channel=nope",
        "Origin: https://TEST\r\n",
        404,
        &[],
    ),
    (
        Of::Any,
        "POST http://other/publish?channel=nope",
        "Origin: http://test\r\n",
        403,
        &[],
    ),
    (
        Of::Any,
        "POST /publish?channel=nope",
        "Origin: http://test:81\r\n",
        403,
        &[],
    ),
    (Of::Any, "POST /publish?channel=nope", "", 404, &[]),
    (Of::Any, "GET /info", "", 200, &[]),
];

const ALLOWED: &str = "Origin: https://a.example\r\n";
const FOREIGN: &str = "Origin: https://b.example\r\n";
const PREFLIGHT: &str = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n\
                         Access-Control-Request-Headers: content-type\r\n";

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The head of the answer, which must be this one; what follows is in the connection.
#[track_caller]
fn answered(server: &Server, transport: Transport, row: &Row<'_>) -> (String, String, Wire) {
    let &(_, line, fields, status, expected) = row;
    let line = line.replace("{path}", transport.info().path.expect("HTTP"));
    let request = format!("{line} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let mut wire = ask(server, transport, &request);
    let head = String::from_utf8(wire.until(b"\r\n\r\n")).expect("a head is ASCII");
    let start = format!("HTTP/1.1 {status} ");
    assert!(head.starts_with(&start), "{request}{head}");
    for field in expected {
        let line = format!("\r\n{field}\r\n");
        assert!(head.contains(&line), "{request}{head}");
    }
    (request, head, wire)
}

#[test]
fn what_http_lets_a_client_send_is_answered_alike_by_every_transport_and_profile() {
    for_each_http(|transport, profile| {
        let server = start(&config(transport, profile));
        publish(&server, 0, &["a"]);
        for row in ROWS.iter().filter(|row| row.0.covers(transport)) {
            let (request, _, mut wire) = answered(&server, transport, row);
            if request.starts_with("HEAD") {
                // No body: the next answer follows at once.
                wire.send("GET /nope HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
                let rest = wire.rest();
                let rest = String::from_utf8_lossy(&rest);
                assert!(rest.starts_with("HTTP/1.1 404 "), "{request}{rest}");
            }
        }
        assert_eq!(deliveries(&server), 0);
    });
}

#[test]
fn pages_of_other_origins_read_and_send_where_they_are_allowed_to() {
    for_each_http(|transport, profile| {
        let allowed = ["https://c.example", "https://a.example"];
        let server = start(&Config {
            allow_origins: allowed.map(|o| o.parse().expect("an origin")).into(),
            ..config(transport, profile)
        });
        publish(&server, 0, &["a"]);
        for row in ORIGINS.iter().filter(|row| row.0.covers(transport)) {
            let (request, head, _) = answered(&server, transport, row);
            let reads = row.4.contains(&READABLE[0]) || row.2 == PREFLIGHT;
            for field in ["\r\naccess-control-", "\r\nvary: origin\r\n"] {
                assert_eq!(head.contains(field), reads, "{request}{head}");
            }
        }
        // A poll that is held, and what it was held for.
        if transport == Transport::LongPoll {
            let line = "GET {path}?channel=news&since=1";
            let path = line.replace("{path}", transport.info().path.expect("HTTP"));
            let request = format!("{path} HTTP/1.1\r\nHost: test\r\n{ALLOWED}\r\n");
            let mut wire = ask(&server, transport, request);
            await_subscribers(&server, 1);
            publish(&server, 1, &["b"]);
            let (status, head, _) = wire.response();
            assert_eq!(status, 200);
            assert!(READABLE.iter().all(|field| head.contains(field)), "{head}");
        }
    });
}

#[test]
fn a_websocket_opens_for_its_own_pages_for_allowed_ones_and_for_other_programs() {
    for profile in Profile::ALL {
        for (allowed, origin, status) in [
            (None, "", 101),
            (None, "Origin: http://test\r\n", 101),
            (None, "Origin: https://test\r\n", 101),
            (None, "Origin: http://test.example\r\n", 403),
            (None, "Origin: null\r\n", 403),
            (None, "Origin:\r\n", 403),
            (None, ALLOWED, 403),
            (Some("https://a.example"), ALLOWED, 101),
            (Some("https://a.example"), "Origin: http://test\r\n", 101),
            (Some("https://a.example"), FOREIGN, 403),
            (Some("null"), "Origin: null\r\n", 101),
            (Some("*"), FOREIGN, 101),
        ] {
            let server = start(&Config {
                allow_origins: allowed.iter().map(|o| o.parse().expect("one")).collect(),
                ..config(Transport::WebSocket, profile)
            });
            let fields = format!("{UPGRADE}{origin}");
            let row = (
                Of::WebSocket,
                "GET {path}?channel=news",
                &*fields,
                status,
                &[][..],
            );
            let (_, head, _) = answered(&server, Transport::WebSocket, &row);
            assert!(!head.contains("access-control"), "{head}");
        }
    }
}
