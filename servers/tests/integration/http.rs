//! What HTTP/1.1 lets a client send: every transport in every profile answers alike.

use pushbench_protocol::transport::{Delivery, Transport};

use crate::support::{ask, config, deliveries, for_each, publish, start};

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
type Row = (Of, &'static str, &'static str, u16, &'static [&'static str]);

const ROWS: &[Row] = &[
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

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn what_http_lets_a_client_send_is_answered_alike_by_every_transport_and_profile() {
    for_each(|transport, profile| {
        let Some(path) = transport.info().path else {
            return;
        };
        let server = start(&config(transport, profile));
        publish(&server, 0, &["a"]);
        for &(of, line, fields, status, expected) in ROWS {
            if !of.covers(transport) {
                continue;
            }
            let line = line.replace("{path}", path);
            let request = format!("{line} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
            let mut wire = ask(&server, transport, &request);
            let head = String::from_utf8(wire.until(b"\r\n\r\n")).expect("a head is ASCII");
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")),
                "{line}: {head}"
            );
            for field in expected {
                assert!(head.contains(&format!("\r\n{field}\r\n")), "{line}: {head}");
            }
            if line.starts_with("HEAD") {
                // No body: the next answer follows at once.
                wire.send("GET /nope HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
                let rest = wire.rest();
                let rest = String::from_utf8_lossy(&rest);
                assert!(rest.starts_with("HTTP/1.1 404 "), "{line}: {rest}");
            }
        }
        assert_eq!(deliveries(&server), 0);
    });
}
