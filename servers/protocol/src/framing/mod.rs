//! Framings: envelopes in, bytes out, and back.
//!
//! Place on the data path: between the hub's log and the socket on the server, between the socket
//! and the ledger on the client. In: envelopes, cursors, requests. Out: the bytes of a protocol,
//! and what a decoder finds in them. Pure functions and small decoders without any I/O, so that
//! servers and clients of every kind share one reading of each protocol.
//!
//! | framing | used by | one message | keep-alive | specification |
//! |---|---|---|---|---|
//! | [`Framing::Line`] | `tcp`, `long_poll`, `short_poll` | envelope, LF | LF (`tcp` only) | [`tcp`] |
//! | [`Framing::Sse`] | `sse` | `id: N`, `data: envelope`, blank line | `:` line | [WHATWG HTML, server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html) |
//! | [`Framing::SseChunk`] | `sse` in profile `lean` | the same as one chunk | the same as one chunk | and [RFC 9112, section 7.1](https://www.rfc-editor.org/rfc/rfc9112#section-7.1) |
//! | [`Framing::WebSocket`] | `websocket` | one unmasked text frame | ping | [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455) |
//!
//! The three transports over HTTP and the WebSocket handshake stand on [`http1`]
//! ([RFC 9112](https://www.rfc-editor.org/rfc/rfc9112)).
//!
//! Every decoder follows the same rules: it accepts its stream cut at any byte, borrows what lies
//! whole in one feed and allocates only for what does not, gives its buffer back as soon as the
//! item is complete (most of a million clients sit between two messages at any time), and bounds
//! that buffer. After an error the connection is of no use: the caller closes it.

pub mod http1;
mod lines;
pub mod long_poll;
pub mod short_poll;
pub mod sse;
pub mod tcp;
pub mod websocket;

pub use lines::{LineTooLong, Lines};

use crate::envelope;

/// Longest item that a decoder puts together over several feeds, in bytes: one envelope and 1 KiB
/// for the field names, ids and control words around it.
pub const MAX_BUFFERED_BYTES: usize = envelope::MAX_BYTES + 1024;

/// How a hub's log stores its messages: encoded once, then the same bytes for every subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The envelope and LF: raw TCP and the bodies of polls.
    Line,
    /// One server-sent event with the sequence as its id.
    Sse,
    /// One server-sent event in a chunk of its own, where no library makes the chunks.
    SseChunk,
    /// One unmasked text frame.
    WebSocket,
}

impl Framing {
    /// Appends one message. `sequence` must be the envelope's own; only server-sent events repeat
    /// it outside of the envelope.
    pub fn encode(self, sequence: u64, envelope: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Line => tcp::encode(envelope, out),
            Self::Sse => sse::encode(sequence, envelope, out),
            Self::SseChunk => http1::encode_chunk(out, |out| sse::encode(sequence, envelope, out)),
            Self::WebSocket => websocket::encode_text(envelope, out),
        }
    }

    /// What a stream sends after a period without a message. It may stand between any two messages
    /// and never inside one. Polls do without: their answers are proof of life enough.
    pub fn keep_alive(self) -> &'static [u8] {
        match self {
            Self::Line => tcp::KEEP_ALIVE,
            Self::Sse => sse::KEEP_ALIVE,
            Self::SseChunk => sse::KEEP_ALIVE_CHUNK,
            Self::WebSocket => websocket::KEEP_ALIVE,
        }
    }
}

/// Most messages that `last` may ask for.
pub const MAX_LAST: u64 = 1_000_000;

/// Where a subscription starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// Behind the last message there is: only what is still to come.
    #[default]
    Tail,
    /// Behind this sequence.
    Since(u64),
    /// So many messages before the tail, or at the oldest one remembered: a snapshot, then what is
    /// to come. At most [`MAX_LAST`].
    Last(u64),
}

impl From<Option<u64>> for Start {
    /// Behind a cursor, or at the tail without one.
    fn from(since: Option<u64>) -> Self {
        since.map_or(Self::Tail, Self::Since)
    }
}

/// Reads the count of `last`.
pub fn parse_last(text: &[u8]) -> Option<u64> {
    parse_decimal(text).filter(|&count| count <= MAX_LAST)
}

/// Reads a decimal number of ASCII digits, the form of every sequence and cursor on the wire.
/// `None` for anything else: no digits, a sign, a space, or more than 64 bits.
pub fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Appends a number in decimal. Own code because `write!` costs several times as much, and an SSE
/// id is written for every message published.
pub fn push_decimal(mut value: u64, out: &mut Vec<u8>) {
    // 20 digits hold 2^64 - 1.
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a lost range, `<from> <to>`: the first and the last sequence that fell off the ring
/// before the subscriber read them. A subscriber resumes with `since` = `to`.
pub fn encode_range(from: u64, to: u64, out: &mut Vec<u8>) {
    push_decimal(from, out);
    out.push(b' ');
    push_decimal(to, out);
}

/// Reads what [`encode_range`] wrote: the data of SSE's `lagged` event, the reason of WebSocket's
/// close 4001. `None` where it has another shape or its end is before its start.
pub fn parse_range(text: &[u8]) -> Option<(u64, u64)> {
    let space = text.iter().position(|&byte| byte == b' ')?;
    let (from, to) = (
        parse_decimal(&text[..space])?,
        parse_decimal(&text[space + 1..])?,
    );
    (from <= to).then_some((from, to))
}

/// Position of the first byte for which `is` holds.
///
/// Sixteen bytes at a time without a branch between them, which the compiler turns into vector
/// instructions; `Iterator::position` looks at one byte at a time, and finding line ends is most
/// of what a client's decoder does.
pub fn find(bytes: &[u8], is: impl Fn(u8) -> bool) -> Option<usize> {
    let (chunks, tail) = bytes.as_chunks::<16>();
    for (i, chunk) in chunks.iter().enumerate() {
        if chunk.iter().fold(false, |any, &byte| any | is(byte)) {
            return chunk
                .iter()
                .position(|&byte| is(byte))
                .map(|at| 16 * i + at);
        }
    }
    tail.iter()
        .position(|&byte| is(byte))
        .map(|at| 16 * chunks.len() + at)
}

/// `bytes` as text for an error message, cut where it gets long.
pub fn excerpt(bytes: &[u8]) -> String {
    // Long enough to recognise a line, short enough for a terminal.
    const SHOWN_BYTES: usize = 60;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]);
    let more = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
    format!("{}{more}", text.escape_debug())
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the decoders' tests share.

    use std::fmt::Debug;

    /// Checks that `decode` finds the same in `stream` fed whole, in two parts cut at every place,
    /// and byte by byte. Returns what it found.
    pub(crate) fn at_every_split<T: PartialEq + Debug>(
        stream: &[u8],
        mut decode: impl FnMut(&[&[u8]]) -> T,
    ) -> T {
        let whole = decode(&[stream]);
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            assert_eq!(decode(&[head, tail]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(decode(&single), whole, "byte by byte");
        whole
    }

    /// One envelope of exactly `bytes` bytes.
    pub(crate) fn envelope(sequence: u64, bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let payload = vec![b'x'; bytes - crate::envelope::HEAD_BYTES];
        crate::envelope::encode(sequence, 1, 2, &payload, &mut out);
        out
    }

    /// Any bytes, cut into feeds of any size.
    pub(crate) fn feeds() -> impl proptest::strategy::Strategy<Value = Vec<Vec<u8>>> {
        use proptest::collection::vec;
        vec(vec(proptest::num::u8::ANY, 0..40), 0..12)
    }

    /// Text made of the given words in any order, cut into feeds of any size: it gets further into
    /// a protocol than random bytes do.
    pub(crate) fn feeds_of(
        words: &'static [&'static [u8]],
    ) -> impl proptest::strategy::Strategy<Value = Vec<Vec<u8>>> {
        use proptest::{collection::vec, sample::select, strategy::Strategy};
        (vec(select(words), 0..40), 1usize..24)
            .prop_map(|(words, size)| words.concat().chunks(size).map(<[u8]>::to_vec).collect())
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
        assert_eq!(Framing::Sse.keep_alive(), b":\n");
        assert_eq!(Framing::SseChunk.keep_alive(), b"2\r\n:\n\r\n");
        assert_eq!(Framing::WebSocket.keep_alive(), [0x89, 0x00]);
    }

    #[test]
    fn decimals_are_digits_of_at_most_64_bits() {
        assert_eq!(parse_decimal(b"0"), Some(0));
        assert_eq!(parse_decimal(b"007"), Some(7));
        assert_eq!(parse_decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [
            "",
            "18446744073709551616",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1_0",
            "0x1",
            "١",
        ] {
            assert_eq!(parse_decimal(bad.as_bytes()), None, "'{bad}'");
        }
    }

    #[test]
    fn ranges_are_two_decimals_in_order() {
        let mut out = Vec::new();
        encode_range(7, 12, &mut out);
        assert_eq!(out, b"7 12");
        assert_eq!(parse_range(b"7 12"), Some((7, 12)));
        assert_eq!(parse_range(b"7 7"), Some((7, 7)));
        for bad in ["", "7", "7 ", " 7", "7  12", "12 7", "7 12\n", "a b"] {
            assert_eq!(parse_range(bad.as_bytes()), None, "'{bad}'");
        }
    }

    #[test]
    fn excerpts_of_long_or_odd_bytes_stay_printable() {
        assert_eq!(excerpt(b"a\n\xff"), "a\\n\u{fffd}");
        assert_eq!(excerpt(&[b'a'; 61]), format!("{}…", "a".repeat(60)));
    }

    proptest::proptest! {
        #[test]
        fn decimals_read_back_as_written(value: u64) {
            let mut out = Vec::new();
            push_decimal(value, &mut out);
            proptest::prop_assert_eq!(&out, &value.to_string().into_bytes());
            proptest::prop_assert_eq!(parse_decimal(&out), Some(value));
        }

        #[test]
        fn find_agrees_with_a_plain_search(bytes in proptest::collection::vec(0u8..20, 0..100)) {
            proptest::prop_assert_eq!(
                find(&bytes, |byte| byte == 7),
                bytes.iter().position(|&byte| byte == 7)
            );
        }
    }
}
