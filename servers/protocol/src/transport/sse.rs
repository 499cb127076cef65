//! Server-sent events ([WHATWG HTML, section 9.2][spec]).
//!
//! Place on the data path: framing of the `sse` transport. In: envelopes and cursors. Out: blocks
//! of an event stream, and back. The HTTP response around them is [`http1`]'s.
//!
//! [spec]: https://html.spec.whatwg.org/multipage/server-sent-events.html

mod decoder;

pub use decoder::{Block, DecodeError, Decoder};

use std::time::Duration;

use super::{Framing, StreamedResponse};
use crate::framing::{Cursor, Lost, http1, push_decimal};

/// What a response with events carries.
pub const RESPONSE: StreamedResponse = StreamedResponse {
    content_type: "text/event-stream",
    // Tells nginx and its kin not to hold a stream back.
    fields: &[("x-accel-buffering", "no")],
    message: Framing::Sse,
    chunk: Framing::SseChunk,
    encode_open: encode_open_with_retry,
    encode_lagged,
    event_source: true,
};

/// A comment line. It adds nothing to the block that it stands in, so it needs no blank line
/// behind it and two bytes are enough.
pub const KEEP_ALIVE: &[u8] = b":\n";

/// The same as one chunk (RFC 9112, section 7.1).
pub const KEEP_ALIVE_CHUNK: &[u8] = b"2\r\n:\n\r\n";

/// Type of the event that reports a loss; its data is read by [`Lost::parse`].
pub const LAGGED_EVENT: &[u8] = b"lagged";

/// Appends one message: `id: N`, `data: envelope`, a blank line.
///
/// An envelope has neither CR nor LF, so one `data` field carries it.
pub fn encode(id: impl Into<Cursor>, envelope: &[u8], out: &mut Vec<u8>) {
    // The two field names, the longest id, and the line ends.
    out.reserve(envelope.len() + 39);
    out.extend_from_slice(b"id: ");
    id.into().push(out);
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(envelope);
    out.extend_from_slice(b"\n\n");
}

/// Appends how a stream opens: `id: N` and a blank line. It sets the last event id, so that a
/// client cut before its first message can resume, and dispatches nothing.
pub fn encode_open(cursor: impl Into<Cursor>, out: &mut Vec<u8>) {
    encode_open_with_retry(cursor.into(), None, out);
}

/// As [`encode_open`], with the time that an EventSource is to wait before it reconnects, in whole
/// milliseconds, in the same block (section 9.2.6).
pub fn encode_open_with_retry(cursor: Cursor, retry: Option<Duration>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    cursor.push(out);
    if let Some(retry) = retry {
        out.extend_from_slice(b"\nretry: ");
        push_decimal(retry.as_millis().try_into().unwrap_or(u64::MAX), out);
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends the event that reports a loss. Its id is the cursor after it, so that an EventSource that
/// reconnects resumes there.
pub fn encode_lagged(lost: Lost, id: Cursor, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: lagged\nid: ");
    id.push(out);
    out.extend_from_slice(b"\ndata: ");
    lost.push(out);
    out.extend_from_slice(b"\n\n");
}

/// Appends the header fields of an EventSource, but for the line that ends the head. `last_event_id`:
/// that of one that reconnects (WHATWG HTML, section 9.2.2).
pub(super) fn push_fields(last_event_id: Option<Cursor>, out: &mut Vec<u8>) {
    http1::push_header("Accept", RESPONSE.content_type, out);
    if let Some(id) = last_event_id {
        http1::push_header("Last-Event-ID", &id.to_string(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_documented_bytes() {
        let mut out = Vec::new();
        encode_open(41, &mut out);
        encode(u64::MAX, b"envelope", &mut out);
        encode_lagged(Lost::Range { from: 42, to: 50 }, 50.into(), &mut out);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "id: 41\n\n\
             id: 18446744073709551615\ndata: envelope\n\n\
             event: lagged\nid: 50\ndata: 42 50\n\n"
        );
    }

    #[test]
    fn a_stream_may_open_with_a_time_to_reconnect_in_the_same_block() {
        let mut out = Vec::new();
        encode_open_with_retry(41.into(), Some(Duration::from_millis(2500)), &mut out);
        assert_eq!(out, b"id: 41\nretry: 2500\n\n");
        let mut blocks = Vec::new();
        Decoder::default()
            .feed(&out, |block| {
                blocks.push((
                    block.id.map(<[u8]>::to_vec),
                    block.retry_ms,
                    block.data.is_some(),
                ));
            })
            .expect("a short block");
        assert_eq!(blocks, [(Some(b"41".to_vec()), Some(2500), false)]);
    }

    #[test]
    fn a_six_digit_id_costs_nineteen_bytes_a_message() {
        let mut out = Vec::new();
        encode(123_456, &[b'x'; 100], &mut out);
        assert_eq!(out.len(), 119);
    }
}
