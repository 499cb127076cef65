//! The documented bytes of every transport, both ways.
//!
//! No `match` over transports here has a wildcard: a new transport does not compile before it says
//! what its bytes are, and is tested from then on.

use std::fmt::Display;

use pushbench_protocol::transport::{Profile, Transport};

/// The intended time of all messages published by a test.
pub(crate) const INTENDED_NS: u64 = 0x1234;

/// Stands for the 16 digits of a time that cannot be foreseen.
const ANY_TIME: &str = "****************";

/// Stands for a date, which always has 29 characters (RFC 9110, section 5.6.7).
const ANY_DATE: &str = "*****************************";

/// One message as its subscribers must see it.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    /// The cursor after it.
    cursor: String,
    envelope: Vec<u8>,
}

impl Message {
    /// Published at [`INTENDED_NS`].
    pub(crate) fn planned(sequence: u64, payload: &[u8]) -> Self {
        let mut envelope = format!("{sequence:016x}:{INTENDED_NS:016x}:{ANY_TIME}:").into_bytes();
        envelope.extend_from_slice(payload);
        Self {
            sequence,
            cursor: sequence.to_string(),
            envelope,
        }
    }

    /// Sent by a client: intended when it was appended.
    pub(crate) fn upstream(sequence: u64, payload: &str) -> Self {
        Self {
            sequence,
            cursor: sequence.to_string(),
            envelope: format!("{sequence:016x}:{ANY_TIME}:{ANY_TIME}:{payload}").into_bytes(),
        }
    }

    /// In a log whose cursors begin so.
    pub(crate) fn in_log(self, prefix: &str) -> Self {
        let cursor = format!("{prefix}{}", self.sequence);
        Self { cursor, ..self }
    }

    fn line(&self) -> Vec<u8> {
        [&self.envelope[..], b"\n"].concat()
    }

    fn event(&self) -> Vec<u8> {
        let id = format!("id: {}\ndata: ", self.cursor);
        [id.as_bytes(), &self.envelope, b"\n\n"].concat()
    }
}

/// Opcodes of RFC 6455, section 5.2.
pub(crate) mod opcode {
    pub(crate) const TEXT: u8 = 0x1;
    pub(crate) const BINARY: u8 = 0x2;
    pub(crate) const CLOSE: u8 = 0x8;
    pub(crate) const PING: u8 = 0x9;
    pub(crate) const PONG: u8 = 0xa;
}

/// Whether messages come over one connection that stays open.
pub(crate) fn is_stream(transport: Transport) -> bool {
    match transport {
        Transport::Tcp | Transport::Sse | Transport::HttpStream | Transport::WebSocket => true,
        Transport::LongPoll | Transport::ShortPoll => false,
    }
}

/// The key of the example in RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request to subscribe with `arguments` as they stand: what follows the channel's place in a
/// line of `tcp`, a query elsewhere.
pub(crate) fn subscribe_raw(transport: Transport, arguments: &str, headers: &str) -> String {
    let get = |path: &str, more: &str| {
        format!("GET {path}{arguments} HTTP/1.1\r\nHost: test\r\n{more}{headers}\r\n")
    };
    match transport {
        Transport::Tcp => format!("SUBSCRIBE{arguments}\n"),
        Transport::Sse => get("/sse", "Accept: text/event-stream\r\n"),
        Transport::WebSocket => {
            let upgrade = format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: {KEY}\r\n"
            );
            get("/websocket", &upgrade)
        }
        Transport::HttpStream => get("/http-stream", ""),
        Transport::LongPoll => get("/long-poll", ""),
        Transport::ShortPoll => get("/poll", ""),
    }
}

/// A request to subscribe to `channel`.
pub(crate) fn subscribe(transport: Transport, channel: &str, since: Option<u64>) -> String {
    let arguments = match (transport, since) {
        (Transport::Tcp, None) => format!(" {channel}"),
        (Transport::Tcp, Some(since)) => format!(" {channel} {since}"),
        (
            Transport::Sse
            | Transport::HttpStream
            | Transport::WebSocket
            | Transport::LongPoll
            | Transport::ShortPoll,
            since,
        ) => {
            let since = since.map_or(String::new(), |since| format!("&since={since}"));
            format!("?channel={channel}{since}")
        }
    };
    subscribe_raw(transport, &arguments, "")
}

/// The head of a response that does not end, so that it is chunked (RFC 9112, section 7.1).
fn streamed_head(cursor: impl Display, fields: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\npush-cursor: {cursor}\r\ncache-control: no-store\r\n\
         {fields}x-accel-buffering: no\r\ntransfer-encoding: chunked\r\ndate: {ANY_DATE}\r\n\r\n"
    )
}

fn sse_head(cursor: impl Display) -> String {
    streamed_head(cursor, "content-type: text/event-stream\r\n")
}

fn http_stream_head(cursor: impl Display) -> String {
    streamed_head(
        cursor,
        "content-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n",
    )
}

/// Its size may be in either case (RFC 9112, section 7.1); hyper writes capitals.
fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:X}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// The answer that upgrades (RFC 6455, section 4.2.2); its accept key is the one of section 1.3.
fn websocket_head(cursor: impl Display) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\npush-cursor: {cursor}\r\n\
         date: {ANY_DATE}\r\n\r\n"
    )
}

/// 204 has no body and no `Content-Length` (RFC 9110, section 8.6).
pub(crate) fn no_content(cursor: impl Display) -> String {
    format!(
        "HTTP/1.1 204 No Content\r\npush-cursor: {cursor}\r\ncache-control: no-store\r\n\
         date: {ANY_DATE}\r\n\r\n"
    )
}

fn lines(messages: &[Message]) -> Vec<u8> {
    messages.iter().flat_map(Message::line).collect()
}

/// One final frame as a server sends it: not masked (RFC 6455, section 5.1), its length in the
/// shortest of the three forms (section 5.2).
pub(crate) fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(length as u8),
        length @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// One final frame as a client sends it: masked (RFC 6455, section 5.3).
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked_frame(0x80 | opcode, payload)
}

/// As [`client_frame`], with the first byte given whole.
pub(crate) fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = server_frame(0, payload);
    let header = frame.len() - payload.len();
    frame[0] = first;
    frame[1] |= 0x80;
    for (i, byte) in frame[header..].iter_mut().enumerate() {
        *byte ^= MASK[i % 4];
    }
    frame.splice(header..header, MASK);
    frame
}

/// A close frame's payload: code and reason (RFC 6455, section 5.5.1).
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// What answers a subscribe without `since` where `cursor` is the tail.
pub(crate) fn at_tail(transport: Transport, cursor: impl Display) -> Vec<u8> {
    let cursor = cursor.to_string();
    match transport {
        Transport::Tcp => format!("SUBSCRIBED {cursor}\n").into_bytes(),
        Transport::Sse => {
            let open = chunk(format!("id: {cursor}\n\n").as_bytes());
            [sse_head(cursor).into_bytes(), open].concat()
        }
        Transport::HttpStream => http_stream_head(cursor).into_bytes(),
        Transport::WebSocket => {
            // A page does not see the head of the answer.
            let told = server_frame(0x1, format!("SUBSCRIBED {cursor}").as_bytes());
            let told = if cursor.contains('-') {
                told
            } else {
                Vec::new()
            };
            [websocket_head(cursor).into_bytes(), told].concat()
        }
        Transport::LongPoll | Transport::ShortPoll => no_content(cursor).into_bytes(),
    }
}

/// What answers a subscribe behind `since` where `messages` wait there; at least one of them on
/// `long_poll`, which waits otherwise.
pub(crate) fn behind(
    transport: Transport,
    profile: Profile,
    since: impl Display,
    messages: &[Message],
) -> Vec<u8> {
    match transport {
        Transport::Tcp | Transport::Sse | Transport::HttpStream | Transport::WebSocket => [
            at_tail(transport, since),
            streamed(transport, profile, messages),
        ]
        .concat(),
        Transport::LongPoll | Transport::ShortPoll => {
            let Some(last) = messages.last() else {
                return no_content(since).into_bytes();
            };
            let body = lines(messages);
            let head = format!(
                "HTTP/1.1 200 OK\r\npush-cursor: {}\r\ncache-control: no-store\r\n\
                 content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
                 date: {ANY_DATE}\r\n\r\n",
                last.cursor,
                body.len()
            );
            [head.into_bytes(), body].concat()
        }
    }
}

/// One body frame, and so one chunk, for each message, as a library does it (`lean` keeps its messages
/// as chunks); `tuned` has one for all.
fn chunks(profile: Profile, messages: Vec<Vec<u8>>) -> Vec<u8> {
    match profile {
        Profile::Stock | Profile::Lean => messages.iter().flat_map(|one| chunk(one)).collect(),
        Profile::Tuned if messages.is_empty() => Vec::new(),
        Profile::Tuned => chunk(&messages.concat()),
    }
}

/// What comes on an open stream for `messages` that wait together. Polls have none.
pub(crate) fn streamed(transport: Transport, profile: Profile, messages: &[Message]) -> Vec<u8> {
    match transport {
        Transport::Tcp => lines(messages),
        Transport::Sse => chunks(profile, messages.iter().map(Message::event).collect()),
        Transport::HttpStream => chunks(profile, messages.iter().map(Message::line).collect()),
        Transport::WebSocket => messages
            .iter()
            .flat_map(|message| server_frame(0x1, &message.envelope))
            .collect(),
        Transport::LongPoll | Transport::ShortPoll => Vec::new(),
    }
}

/// What a stream sends in silence; polls send nothing.
pub(crate) fn keep_alive(transport: Transport) -> Option<&'static [u8]> {
    match transport {
        Transport::Tcp => Some(b"\n"),
        // A comment (WHATWG HTML, section 9.2.6) in a chunk of its own.
        Transport::Sse => Some(b"2\r\n:\n\r\n"),
        Transport::HttpStream => Some(b"1\r\n\n\r\n"),
        // A ping without payload (RFC 6455, section 5.5.2).
        Transport::WebSocket => Some(b"\x89\x00"),
        Transport::LongPoll | Transport::ShortPoll => None,
    }
}

/// What a subscriber gets that asked for what came behind `since` and lost `since + 1..=to`, up to
/// where the connection ends or waits for the client.
pub(crate) fn lagged(transport: Transport, since: u64, to: u64) -> Vec<u8> {
    let range = format!("{} {to}", since + 1);
    lost(transport, since, &range, to)
}

/// As [`lagged`], for one that is answered with `start`, told to have lost `range`, and to resume
/// behind `end`.
pub(crate) fn lost(
    transport: Transport,
    start: impl Display,
    range: &str,
    end: impl Display,
) -> Vec<u8> {
    let told = match transport {
        Transport::Tcp => told(transport, range, end),
        Transport::Sse | Transport::HttpStream => {
            [&told(transport, range, end)[..], LAST_CHUNK].concat()
        }
        Transport::WebSocket => server_frame(0x8, &close_payload(4001, range)),
        Transport::LongPoll | Transport::ShortPoll => return told(transport, range, end),
    };
    [at_tail(transport, start), told].concat()
}

/// What tells a loss on a stream that goes on, and a poll.
pub(crate) fn told(transport: Transport, range: &str, end: impl Display) -> Vec<u8> {
    let line = format!("LAGGED {range}\n");
    match transport {
        Transport::Tcp => line.into_bytes(),
        Transport::Sse => chunk(format!("event: lagged\nid: {end}\ndata: {range}\n\n").as_bytes()),
        Transport::HttpStream => chunk(line.as_bytes()),
        Transport::WebSocket => server_frame(0x1, line.trim_end().as_bytes()),
        Transport::LongPoll | Transport::ShortPoll => format!(
            "HTTP/1.1 410 Gone\r\npush-cursor: {end}\r\ncache-control: no-store\r\n\
             content-length: {}\r\ndate: {ANY_DATE}\r\n\r\n{line}",
            line.len()
        )
        .into_bytes(),
    }
}

/// A request to subscribe to `channel` so many messages before the tail.
pub(crate) fn subscribe_last(transport: Transport, channel: &str, last: &str) -> String {
    let arguments = match transport {
        Transport::Tcp => format!(" {channel} last={last}"),
        Transport::Sse
        | Transport::HttpStream
        | Transport::WebSocket
        | Transport::LongPoll
        | Transport::ShortPoll => {
            format!("?channel={channel}&last={last}")
        }
    };
    subscribe_raw(transport, &arguments, "")
}

/// The end of a chunked body (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What a subscriber that waits at `cursor` gets when the server shuts down.
pub(crate) fn goodbye(transport: Transport, cursor: u64) -> Vec<u8> {
    match transport {
        Transport::Tcp => Vec::new(),
        Transport::Sse | Transport::HttpStream => LAST_CHUNK.to_vec(),
        // 1001: going away (RFC 6455, section 7.4.1).
        Transport::WebSocket => {
            server_frame(0x8, &close_payload(1001, "the server is shutting down"))
        }
        Transport::LongPoll => no_content(cursor).into_bytes(),
        // Never waits: between two polls there is nothing to be told.
        Transport::ShortPoll => Vec::new(),
    }
}

/// What refuses a subscribe with `status` (not on `tcp`, which has none) and `text`.
pub(crate) fn refusal(transport: Transport, status: &str, text: &str) -> Vec<u8> {
    match transport {
        Transport::Tcp => format!("ERROR {text}\n").into_bytes(),
        Transport::Sse
        | Transport::HttpStream
        | Transport::WebSocket
        | Transport::LongPoll
        | Transport::ShortPoll => refused_response(status, text),
    }
}

/// The response that refuses an HTTP request.
pub(crate) fn refused_response(status: &str, text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         cache-control: no-store\r\ncontent-length: {}\r\ndate: {ANY_DATE}\r\n\r\n{text}\n",
        text.len() + 1
    )
    .into_bytes()
}

/// `POST /publish?channel=<channel>`.
pub(crate) fn post(channel: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /publish?channel={channel} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// The answer to [`post`].
pub(crate) fn posted(sequence: u64) -> String {
    let body = format!("{sequence}\n");
    format!(
        "HTTP/1.1 200 OK\r\npush-cursor: {sequence}\r\ncache-control: no-store\r\n\
         content-length: {}\r\ndate: {ANY_DATE}\r\n\r\n{body}",
        body.len()
    )
}

/// The sequences of the envelopes in `wire`, in the order in which they stand there.
pub(crate) fn sequences(wire: &[u8]) -> Vec<u64> {
    envelope_heads(wire)
        .map(|at| {
            let digits = std::str::from_utf8(&wire[at..at + 16]).expect("digits are ASCII");
            u64::from_str_radix(digits, 16).expect("16 digits are 64 bits")
        })
        .collect()
}

/// Where envelopes begin: three times 16 digits and a colon.
fn envelope_heads(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let is_field = |field: &[u8]| {
        field[16] == b':'
            && field[..16]
                .iter()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    (0..bytes.len().saturating_sub(50)).filter(move |&at| {
        // The colons first: they are rare.
        bytes[at + 16] == b':' && bytes[at..at + 51].chunks(17).all(is_field)
    })
}

/// `bytes` with the actual time of every envelope and every date starred; the intended time too
/// where it is the actual one.
pub(crate) fn masked(bytes: &[u8]) -> Vec<u8> {
    const DATE: &[u8] = b"\r\ndate: ";
    let mut out = bytes.to_vec();
    for at in envelope_heads(bytes) {
        let intended = &bytes[at + 17..at + 33];
        if intended == &bytes[at + 34..at + 50] {
            out[at + 17..at + 33].copy_from_slice(ANY_TIME.as_bytes());
        }
        out[at + 34..at + 50].copy_from_slice(ANY_TIME.as_bytes());
    }
    // Heads only, which come first in whatever is compared.
    let head = &bytes[..bytes.len().min(1 << 10)];
    let dates = head.windows(DATE.len()).enumerate();
    for at in dates
        .filter(|(_, w)| *w == DATE)
        .map(|(at, _)| at + DATE.len())
    {
        if let Some(date) = out.get_mut(at..at + ANY_DATE.len()) {
            date.copy_from_slice(ANY_DATE.as_bytes());
        }
    }
    out
}

/// `bytes` for a message to a person.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const SHOWN: usize = 1500;
    let shown = &bytes[..bytes.len().min(SHOWN)];
    format!("{} bytes '{}'", bytes.len(), shown.escape_ascii())
}

/// The envelopes in `wire` with all their times, joined; payloads as far as letters and `_` go.
pub(crate) fn envelopes(wire: &[u8]) -> String {
    let one = |at: usize| {
        let payload = wire[at + 51..]
            .iter()
            .take_while(|b| b.is_ascii_lowercase() || **b == b'_');
        let end = at + 51 + payload.count();
        String::from_utf8_lossy(&wire[at..end]).into_owned()
    };
    envelope_heads(wire).map(one).collect::<Vec<_>>().join("\n")
}
