//! The transports: what each can do, and its bytes.
//!
//! On the data path: between a shard's ring and the socket on the server, between the socket and the
//! ledger on the client. In: envelopes, cursors, requests. Out: the bytes of a protocol, and what a
//! decoder finds in them. [`TRANSPORTS`] holds one row for each transport, and whatever asks about a
//! transport asks its row; a module for each transport holds its bytes, which stand on
//! [`framing`](crate::framing).
//!
//! | form of a message | used by | one message | keep-alive | specification |
//! |---|---|---|---|---|
//! | [`Framing::Line`] | `tcp`, `long_poll`, `short_poll`, `http_stream` | envelope, LF | LF, but for polls | [`tcp`] |
//! | [`Framing::LineChunk`] | `http_stream` in profile `lean` | the same as one chunk | the same as one chunk | and [RFC 9112, section 7.1](https://www.rfc-editor.org/rfc/rfc9112#section-7.1) |
//! | [`Framing::Sse`] | `sse` | `id: N`, `data: envelope`, blank line | `:` line | [WHATWG HTML, server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html) |
//! | [`Framing::SseChunk`] | `sse` in profile `lean` | the same as one chunk | the same as one chunk | and [RFC 9112, section 7.1](https://www.rfc-editor.org/rfc/rfc9112#section-7.1) |
//! | [`Framing::WebSocket`] | `websocket` | one unmasked text frame | ping | [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455) |
//!
//! Every decoder follows the same rules: it accepts its stream cut at any byte, borrows what lies
//! whole in one feed and allocates only for what does not, gives its buffer back as soon as the
//! item is complete (most of a million clients sit between two messages at any time), and bounds
//! that buffer. After an error the connection is of no use: the caller closes it.

pub mod http_stream;
pub mod poll;
mod profile;
pub mod sse;
pub mod tcp;
pub mod websocket;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use profile::Profile;

use crate::framing::{Cursor, Lost, Start, http1};

/// Defines [`Transport`] and [`TRANSPORTS`] from one list, so that neither can lack a transport that
/// the other has.
macro_rules! transports {
    ($($(#[$doc:meta])* $variant:ident = $id:literal: $info:tt)+) => {
        /// A way to push messages to a client. The ids are spelled the same in code, files, the
        /// command line and reports.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum Transport {
            $($(#[$doc])* #[serde(rename = $id)] $variant,)+
        }

        /// All transports, baseline first.
        pub const TRANSPORTS: [TransportInfo; [$($id),+].len()] =
            [$(transports!(@row $variant $id $info)),+];

        ids!(Transport, "a transport": $($variant = $id),+);
    };
    (@row $variant:ident $id:tt { $($field:ident: $value:expr,)+ }) => {
        TransportInfo { transport: Transport::$variant, id: $id, $($field: $value),+ }
    };
}

transports! {
    /// Raw TCP, one envelope a line: the floor that the others are compared with.
    Tcp = "tcp": {
        summary: "raw TCP, one envelope a line: the floor",
        delivery: Delivery::Lines,
        path: None,
        sends: Some("PUBLISH <channel> <payload>"),
        secure: false,
        multiplexed: false,
        profiles: &[Profile::Tuned, Profile::Lean],
        specification: "https://www.rfc-editor.org/rfc/rfc9293",
    }
    /// Server-sent events over HTTP/1.1 (WHATWG HTML, section 9.2).
    Sse = "sse": {
        summary: "server-sent events over HTTP/1.1",
        delivery: Delivery::Response(&sse::RESPONSE),
        path: Some("/sse"),
        sends: None,
        secure: false,
        multiplexed: false,
        profiles: &Profile::ALL,
        specification: "https://html.spec.whatwg.org/multipage/server-sent-events.html",
    }
    /// WebSocket over HTTP/1.1 (RFC 6455).
    WebSocket = "websocket": {
        summary: "WebSocket over HTTP/1.1",
        delivery: Delivery::WebSocket,
        path: Some("/websocket"),
        sends: Some("one text message"),
        secure: false,
        multiplexed: false,
        profiles: &Profile::ALL,
        specification: "https://www.rfc-editor.org/rfc/rfc6455",
    }
    /// Long-polling over HTTP/1.1 (RFC 6202).
    LongPoll = "long_poll": {
        summary: "long-polling over HTTP/1.1",
        delivery: Delivery::Poll(Polls::Held),
        path: Some("/long-poll"),
        sends: None,
        secure: false,
        multiplexed: false,
        profiles: &Profile::ALL,
        specification: "https://www.rfc-editor.org/rfc/rfc6202",
    }
    /// Plain polling over HTTP/1.1, answered at once.
    ShortPoll = "short_poll": {
        summary: "plain polling over HTTP/1.1",
        delivery: Delivery::Poll(Polls::AtIntervals),
        path: Some("/poll"),
        sends: None,
        secure: false,
        multiplexed: false,
        profiles: &Profile::ALL,
        specification: "https://www.rfc-editor.org/rfc/rfc9110",
    }
    /// Lines in an HTTP/1.1 response that does not end, read with `fetch`.
    HttpStream = "http_stream": {
        summary: "lines in an HTTP/1.1 response that does not end, read with fetch",
        delivery: Delivery::Response(&http_stream::RESPONSE),
        path: Some("/http-stream"),
        sends: None,
        secure: false,
        multiplexed: false,
        profiles: &Profile::ALL,
        specification: "https://www.rfc-editor.org/rfc/rfc9112#section-7.1",
    }
}

/// What is known of a transport: a row of [`TRANSPORTS`].
#[derive(Debug, Clone, Copy)]
pub struct TransportInfo {
    /// Which.
    pub transport: Transport,
    /// The id, as it is spelled everywhere.
    pub id: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// How messages reach a client, and so which listener its connections come to.
    pub delivery: Delivery,
    /// Path of a subscribe over HTTP.
    pub path: Option<&'static str>,
    /// How a client sends a message on the connection that it receives on; `None` where it takes a
    /// request of its own, `POST /publish`.
    pub sends: Option<&'static str>,
    /// Whether it is encrypted.
    pub secure: bool,
    /// Whether the streams of several clients share a connection.
    pub multiplexed: bool,
    /// The profiles that it runs in.
    pub profiles: &'static [Profile],
    /// What governs it.
    pub specification: &'static str,
}

/// How messages reach a client.
#[derive(Debug, Clone, Copy)]
pub enum Delivery {
    /// As lines of a TCP connection, on a listener of its own.
    Lines,
    /// In one HTTP response that does not end.
    Response(&'static StreamedResponse),
    /// As frames of a WebSocket.
    WebSocket,
    /// In a response to each request.
    Poll(Polls),
}

/// When a polling client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polls {
    /// When there is something, or after a time-out; it asks again at once.
    Held,
    /// At once; it asks again after an interval.
    AtIntervals,
}

/// What an HTTP response that does not end carries.
#[derive(Debug)]
pub struct StreamedResponse {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Further header fields, in lower case.
    pub fields: &'static [(&'static str, &'static str)],
    /// Form of a message, and of a keep-alive.
    pub message: Framing,
    /// The same as one chunk.
    pub chunk: Framing,
    /// Appends what the body opens with: a cursor, and the time that a client should wait before it
    /// reconnects.
    pub encode_open: fn(Cursor, Option<Duration>, &mut Vec<u8>),
    /// Appends the report of a loss, after which a client stands at the cursor.
    pub encode_lagged: fn(Lost, Cursor, &mut Vec<u8>),
    /// Whether an `EventSource` reads it: one that reconnects to the address that it was given, with
    /// its cursor as `Last-Event-ID`, and gives up for good at any status but 200.
    pub event_source: bool,
}

impl Transport {
    /// The one that the others are compared with.
    pub const BASELINE: Self = Self::ALL[0];

    /// Its row.
    pub const fn info(self) -> &'static TransportInfo {
        &TRANSPORTS[self as usize]
    }

    /// The one that streams responses of this content type.
    pub(crate) fn that_streams(content_type: &[u8]) -> Option<Self> {
        let is_it = |response: &StreamedResponse| {
            let essence = response.content_type.split(';').next().unwrap_or_default();
            content_type.eq_ignore_ascii_case(essence.as_bytes())
        };
        let mut all = Self::ALL.into_iter();
        all.find(|transport| transport.streamed().is_some_and(is_it))
    }

    /// The response that it streams, where it does.
    pub const fn streamed(self) -> Option<&'static StreamedResponse> {
        match self.info().delivery {
            Delivery::Response(response) => Some(response),
            Delivery::Lines | Delivery::WebSocket | Delivery::Poll(_) => None,
        }
    }

    /// Whether its clients speak HTTP, at least at first: they share a port then.
    pub const fn is_http(self) -> bool {
        !matches!(self.info().delivery, Delivery::Lines)
    }

    /// When it answers; `None`: it is a stream, and does not poll.
    pub const fn polls(self) -> Option<Polls> {
        match self.info().delivery {
            Delivery::Poll(polls) => Some(polls),
            Delivery::Lines | Delivery::Response(_) | Delivery::WebSocket => None,
        }
    }

    /// Whether messages arrive on a connection that stays open, without being asked for.
    pub const fn is_stream(self) -> bool {
        self.polls().is_none()
    }

    /// Whether a client can send on the connection that it receives on; otherwise by POST on another.
    pub const fn goes_both_ways(self) -> bool {
        self.info().sends.is_some()
    }

    /// The profile that it runs in next to others in `profile`: that one where it can. The baseline
    /// has no library to compare, so its `stock` is `tuned`, but its `lean` is the loop of the others.
    #[must_use]
    pub fn profile_for(self, profile: Profile) -> Profile {
        let profiles = self.info().profiles;
        if profiles.contains(&profile) {
            profile
        } else {
            Profile::Tuned
        }
    }

    /// What a client asks to subscribe.
    pub fn subscribe(self) -> String {
        match (self.info().path, self.polls()) {
            (None, _) => "SUBSCRIBE <channel> [since]".to_owned(),
            (Some(path), None) => format!("GET {path}?channel=C[&since=N]"),
            (Some(path), Some(_)) => format!("GET {path}?channel=C&since=N"),
        }
    }

    /// Appends what a client sends to subscribe: from `start`, or after `since` where it resumes. An
    /// EventSource asks for the URL that it was given all the same, and names the last event that it has.
    pub fn encode_subscribe(
        self,
        host: &str,
        channel: &str,
        start: Start,
        since: Option<Cursor>,
        out: &mut Vec<u8>,
    ) {
        let events = self.streamed().is_some_and(|r| r.event_source);
        let start = match since {
            Some(since) if !events => Start::Since(since),
            _ => start,
        };
        let Some(path) = self.info().path else {
            return tcp::encode_subscribe(channel, start, out);
        };
        http1::push_request_line("GET", path, channel, start, host, out);
        if events {
            sse::push_fields(since, out);
        } else if matches!(self.info().delivery, Delivery::WebSocket) {
            websocket::push_upgrade(websocket::CLIENT_KEY, out);
        }
        // No further fields: what a client need not say is not counted against the transport.
        out.extend_from_slice(b"\r\n");
    }

    /// What a client asks to send a message.
    pub fn upstream(self) -> &'static str {
        self.info().sends.unwrap_or("POST /publish?channel=C")
    }

    /// The form in which a server in `profile` keeps its messages, so that they are framed once.
    pub const fn framing(self, profile: Profile) -> Framing {
        match (self.info().delivery, profile) {
            (Delivery::Response(response), Profile::Lean) => response.chunk,
            // hyper makes the chunks.
            (Delivery::Response(response), Profile::Stock | Profile::Tuned) => response.message,
            (Delivery::WebSocket, Profile::Lean) => Framing::WebSocket,
            // axum's WebSocket frames what it is given, so it is given envelopes.
            (Delivery::WebSocket | Delivery::Lines | Delivery::Poll(_), _) => Framing::Line,
        }
    }
}

/// How a hub's log stores its messages: encoded once, then the same bytes for every subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The envelope and LF: raw TCP and the bodies of polls.
    Line,
    /// The same in a chunk of its own, where no library makes the chunks.
    LineChunk,
    /// One server-sent event with the cursor after it as its id.
    Sse,
    /// One server-sent event in a chunk of its own, where no library makes the chunks.
    SseChunk,
    /// One unmasked text frame.
    WebSocket,
}

impl Framing {
    /// Appends one message, after which a client stands at `cursor`: with the envelope's own sequence.
    /// Only server-sent events repeat it outside of the envelope.
    pub fn encode(self, cursor: impl Into<Cursor>, envelope: &[u8], out: &mut Vec<u8>) {
        let cursor = cursor.into();
        match self {
            Self::Line => tcp::encode(envelope, out),
            Self::LineChunk => http1::encode_chunk(out, |out| tcp::encode(envelope, out)),
            Self::Sse => sse::encode(cursor, envelope, out),
            Self::SseChunk => http1::encode_chunk(out, |out| sse::encode(cursor, envelope, out)),
            Self::WebSocket => websocket::encode_text(envelope, out),
        }
    }

    /// What a stream sends after a period without a message. It may stand between any two messages
    /// and never inside one. Polls do without: their answers are proof of life enough.
    pub fn keep_alive(self) -> &'static [u8] {
        match self {
            Self::Line => tcp::KEEP_ALIVE,
            Self::LineChunk => http_stream::KEEP_ALIVE_CHUNK,
            Self::Sse => sse::KEEP_ALIVE,
            Self::SseChunk => sse::KEEP_ALIVE_CHUNK,
            Self::WebSocket => websocket::KEEP_ALIVE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(framing: Framing) -> Vec<u8> {
        let mut out = b"kept".to_vec();
        framing.encode(42, b"envelope", &mut out);
        out
    }

    #[test]
    fn every_framing_appends_its_exact_bytes() {
        assert_eq!(encoded(Framing::Line), b"keptenvelope\n");
        assert_eq!(encoded(Framing::LineChunk), b"kept9\r\nenvelope\n\r\n");
        assert_eq!(encoded(Framing::Sse), b"keptid: 42\ndata: envelope\n\n");
        assert_eq!(
            encoded(Framing::SseChunk),
            b"kept17\r\nid: 42\ndata: envelope\n\n\r\n"
        );
        assert_eq!(encoded(Framing::WebSocket), b"kept\x81\x08envelope");
    }

    #[test]
    fn every_keep_alive_has_its_exact_bytes() {
        assert_eq!(Framing::Line.keep_alive(), b"\n");
        assert_eq!(Framing::LineChunk.keep_alive(), b"1\r\n\n\r\n");
        assert_eq!(Framing::Sse.keep_alive(), b":\n");
        assert_eq!(Framing::SseChunk.keep_alive(), b"2\r\n:\n\r\n");
        assert_eq!(Framing::WebSocket.keep_alive(), [0x89, 0x00]);
    }

    #[test]
    fn every_transport_subscribes_with_its_exact_bytes() {
        let encoded = |transport: Transport, start, since: Option<u64>| {
            let mut out = Vec::new();
            let since = since.map(Cursor::from);
            transport.encode_subscribe("127.0.0.1:80", "a b", start, since, &mut out);
            String::from_utf8(out).expect("ASCII")
        };
        let http = |target: &str, fields: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:80\r\n{fields}\r\n")
        };
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: cHVzaGJlbmNoIGNsaWVudA==\r\n";
        for (transport, path, fields) in [
            (Transport::WebSocket, "/websocket", upgrade),
            (Transport::LongPoll, "/long-poll", ""),
            (Transport::ShortPoll, "/poll", ""),
            (Transport::HttpStream, "/http-stream", ""),
            (Transport::Sse, "/sse", "Accept: text/event-stream\r\n"),
        ] {
            let target = format!("{path}?channel=a%20b");
            let of = |start, since| encoded(transport, start, since);
            assert_eq!(of(Start::Tail, None), http(&target, fields));
            let snapshot = http(&format!("{target}&last=5"), fields);
            assert_eq!(of(Start::Last(5), None), snapshot);
            let resumed = if transport == Transport::Sse {
                let fields = format!("{fields}Last-Event-ID: 9\r\n");
                http(&format!("{target}&last=5"), &fields)
            } else {
                http(&format!("{target}&since=9"), fields)
            };
            assert_eq!(of(Start::Last(5), Some(9)), resumed);
        }
        let tcp = encoded(Transport::Tcp, Start::Last(5), Some(9));
        assert_eq!(tcp, "SUBSCRIBE a b 9\n");
    }

    #[test]
    fn every_transport_finds_its_own_row() {
        for (transport, row) in Transport::ALL.into_iter().zip(&TRANSPORTS) {
            assert_eq!(transport.info().transport, row.transport);
            assert_eq!(row.id.parse(), Ok(transport));
            assert_eq!(row.path.is_some(), transport.is_http(), "{transport}");
            assert!(row.profiles.contains(&Profile::Tuned), "{transport}");
            if let Some(response) = transport.streamed() {
                let essence = response.content_type.split(';').next().unwrap_or_default();
                let found = Transport::that_streams(essence.as_bytes());
                assert_eq!(found, Some(transport), "a content type of its own");
            }
        }
        assert_eq!(
            Profile::ALL.map(|profile| Transport::BASELINE.profile_for(profile)),
            [Profile::Tuned, Profile::Tuned, Profile::Lean]
        );
    }
}
