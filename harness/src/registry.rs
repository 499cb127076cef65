//! One row a transport: what a reader, a list and a test ask of it.
//!
//! A new transport is a file in `servers/protocol/src/framing/` and one in `servers/src/transport/`, one in
//! `harness/src/load/client/`, and a row here; a test fails where one is missing.

use pushbench_protocol::transport::Transport;

/// What is known of a transport.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which.
    pub transport: Transport,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Path and query of a subscribe, or the line for `tcp`.
    pub subscribe: &'static str,
    /// How a client sends something up.
    pub upstream: &'static str,
    /// What governs it.
    pub specification: &'static str,
}

/// All transports, baseline first.
pub const ROWS: [Row; 5] = [
    Row {
        transport: Transport::Tcp,
        summary: "raw TCP, one envelope a line: the floor",
        subscribe: "SUBSCRIBE <channel> [since]",
        upstream: "PUBLISH <channel> <payload>",
        specification: "https://www.rfc-editor.org/rfc/rfc9293",
    },
    Row {
        transport: Transport::Sse,
        summary: "server-sent events over HTTP/1.1",
        subscribe: "GET /sse?channel=C[&since=N]",
        upstream: "POST /publish?channel=C",
        specification: "https://html.spec.whatwg.org/multipage/server-sent-events.html",
    },
    Row {
        transport: Transport::WebSocket,
        summary: "WebSocket over HTTP/1.1",
        subscribe: "GET /websocket?channel=C[&since=N]",
        upstream: "one text message",
        specification: "https://www.rfc-editor.org/rfc/rfc6455",
    },
    Row {
        transport: Transport::LongPoll,
        summary: "long-polling over HTTP/1.1",
        subscribe: "GET /long-poll?channel=C&since=N",
        upstream: "POST /publish?channel=C",
        specification: "https://www.rfc-editor.org/rfc/rfc6202",
    },
    Row {
        transport: Transport::ShortPoll,
        summary: "plain polling over HTTP/1.1",
        subscribe: "GET /poll?channel=C&since=N",
        upstream: "POST /publish?channel=C",
        specification: "https://www.rfc-editor.org/rfc/rfc9110",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_transport_has_a_row_and_every_row_its_three_files() {
        let listed: Vec<Transport> = ROWS.iter().map(|row| row.transport).collect();
        assert_eq!(listed, Transport::ALL);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for row in ROWS {
            for folder in [
                "servers/protocol/src/framing",
                "servers/src/transport",
                "harness/src/load/client",
            ] {
                let file = root.join(folder).join(format!("{}.rs", row.transport.id()));
                assert!(file.is_file(), "{} is missing", file.display());
            }
        }
    }
}
