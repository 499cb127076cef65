//! What no measurement here decides: what a transport can do at all, and what stands in its way
//! between server and client. Each rule with its specification.

use pushbench_protocol::transport::{Delivery, Polls, Transport};

use super::workload::{Audience, Workload};

/// A rule that concerns a workload.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// What it says.
    pub text: &'static str,
    /// Where that is written.
    pub source: &'static str,
    /// Whether it is about a transport.
    pub about: fn(Transport) -> bool,
    /// Workloads that it concerns.
    pub concerns: fn(&Workload) -> bool,
}

fn always(_: &Workload) -> bool {
    true
}

fn browser(w: &Workload) -> bool {
    w.audience == Audience::Browser
}

fn is_streamed(t: Transport) -> bool {
    t.streamed().is_some()
}

fn is_event_source(t: Transport) -> bool {
    t.streamed().is_some_and(|response| response.event_source)
}

fn is_websocket(t: Transport) -> bool {
    matches!(t.info().delivery, Delivery::WebSocket)
}

fn polls(t: Transport) -> bool {
    t.polls().is_some()
}

/// Whether it consists of requests and responses, and nothing else.
fn is_plain_http(t: Transport) -> bool {
    t.is_http() && !is_websocket(t)
}

/// Whether a browser has a request open for it while nothing comes.
pub(super) fn holds_a_request(t: Transport) -> bool {
    is_streamed(t) || t.polls() == Some(Polls::Held)
}

/// Whether a browser has a connection open for it while nothing comes.
fn waits(t: Transport) -> bool {
    is_websocket(t) || holds_a_request(t)
}

fn resumes_by_hand(t: Transport) -> bool {
    t.is_http() && t.is_stream() && !is_event_source(t)
}

fn posts(t: Transport) -> bool {
    !t.goes_both_ways()
}

/// Every rule.
pub const RULES: [Rule; 16] = [
    Rule {
        text: "one way, from server to client; what clients send is a request of its own",
        source: "RFC 9110, section 3.4; WHATWG HTML, 9.2 Server-sent events",
        about: is_streamed,
        concerns: always,
    },
    Rule {
        text: "both ways on one connection, in frames of 2 to 14 bytes of head; clients mask theirs",
        source: "RFC 6455, sections 1.1, 5.1 and 5.2",
        about: is_websocket,
        concerns: always,
    },
    Rule {
        text: "one way; an answer for each message or batch, and a request for each answer",
        source: "RFC 6202, section 2",
        about: polls,
        concerns: always,
    },
    Rule {
        text: "text in UTF-8 only: binary messages must be encoded, such as in base64 with a third more \
               bytes",
        source: "WHATWG HTML, 9.2.6: event streams are always decoded as UTF-8",
        about: is_event_source,
        concerns: |w| w.binary,
    },
    Rule {
        text: "text and binary messages",
        source: "RFC 6455, section 5.6",
        about: is_websocket,
        concerns: |w| w.binary,
    },
    Rule {
        text: "EventSource reconnects by itself and sends 'Last-Event-ID', so the server can go on where \
               it was",
        source: "WHATWG HTML, 9.2.3 and 9.2.4",
        about: is_event_source,
        concerns: browser,
    },
    Rule {
        text: "neither reconnects nor resumes by itself: the application does both, with a cursor of its \
               own",
        source: "RFC 6455, section 7.2.3 (only recommends a delay); WHATWG WebSockets and Fetch",
        about: resumes_by_hand,
        concerns: always,
    },
    Rule {
        text: "each request carries its cursor, so a cut loses nothing and needs no code for resuming",
        source: "RFC 6202, sections 2.1 and 2.2",
        about: polls,
        concerns: always,
    },
    Rule {
        text: "over HTTP/1.1 browsers open at most six connections to a host, over all tabs: the seventh \
               stream waits, and so does every other request to that host",
        source: "RFC 6202, section 5.1; RFC 9112, section 9.4; WHATWG HTML, 9.2.7 authoring notes",
        about: holds_a_request,
        concerns: |w| browser(w) && !w.http2,
    },
    Rule {
        text: "over HTTP/2 streams share a connection, commonly a hundred of them, and the limit of six is \
               gone",
        source: "RFC 9113, sections 5.1.2 and 6.5.2 (SETTINGS_MAX_CONCURRENT_STREAMS, at least 100 \
                 recommended)",
        about: is_plain_http,
        concerns: |w| w.http2,
    },
    Rule {
        text: "over HTTP/2 needs extended CONNECT at both ends and every proxy between; else it falls back \
               to an HTTP/1.1 connection of its own",
        source: "RFC 8441",
        about: is_websocket,
        concerns: |w| w.http2,
    },
    Rule {
        text: "a proxy may hold back a response until a buffer is full or the response ends: switch \
               buffering off (nginx reads 'X-Accel-Buffering: no'), and send something every 15 s or so",
        source: "RFC 6202, section 3.2; WHATWG HTML, 9.2.7 authoring notes",
        about: is_streamed,
        concerns: |w| w.proxy,
    },
    Rule {
        text: "an HTTP/1.1 proxy must pass 'Upgrade' and 'Connection', which are hop by hop, on purpose; \
               one that does not answers with an error",
        source: "RFC 9110, sections 7.6.1 and 7.8; RFC 6455, section 4",
        about: is_websocket,
        concerns: |w| w.proxy,
    },
    Rule {
        text: "answers are complete, so proxies need no setting but a time-out above the wait (30 s here) \
               and caching off",
        source: "RFC 6202, sections 5.5 and 5.6; RFC 9111, section 5.2.2.5",
        about: polls,
        concerns: |w| w.proxy,
    },
    Rule {
        text: "a connection that stays open wakes the radio at every keep-alive and is cut when the \
               network changes or the system sleeps: use the system's push service for what must reach a \
               phone at rest",
        source: "RFC 8030, section 1; WHATWG HTML, 9.2.8 (connectionless push)",
        about: waits,
        concerns: |w| w.mobile,
    },
    Rule {
        text: "each message of a client is a POST with heads and cookies; over HTTP/1.1 it takes one more of \
               the six connections",
        source: "RFC 9110, section 9.3.3; RFC 9112, section 9.4",
        about: posts,
        concerns: |w| w.upstream > 0.0,
    },
];

/// The rules that concern `workload`.
pub fn rules(workload: &Workload) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| (rule.concerns)(workload))
}
