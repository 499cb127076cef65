//! What the framings of the transports share: numbers, cursors, lines, HTTP/1.1.
//!
//! Place on the data path: under the [transports](crate::transport). Pure functions and small
//! decoders without any I/O, so that servers and clients of every kind share one reading of each
//! protocol. The transports over HTTP and the WebSocket handshake stand on [`http1`]
//! ([RFC 9112](https://www.rfc-editor.org/rfc/rfc9112)).

mod cursor;
pub mod http1;
mod lines;

pub use cursor::{Cursor, Epoch, Lost};
pub use lines::{LineTooLong, Lines};

use crate::envelope;

/// Longest item that a decoder puts together over several feeds, in bytes: one envelope and 1 KiB
/// for the field names, ids and control words around it.
pub const MAX_BUFFERED_BYTES: usize = envelope::MAX_BYTES + 1024;

/// Most messages that `last` may ask for.
pub const MAX_LAST: u64 = 1_000_000;

/// Where a subscription starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// Behind the last message there is: only what is still to come.
    #[default]
    Tail,
    /// Behind this cursor.
    Since(Cursor),
    /// So many messages before the tail, or at the oldest one remembered: a snapshot, then what is
    /// to come. At most [`MAX_LAST`].
    Last(u64),
}

impl<C: Into<Cursor>> From<Option<C>> for Start {
    /// Behind a cursor, or at the tail without one.
    fn from(since: Option<C>) -> Self {
        since.map_or(Self::Tail, |cursor| Self::Since(cursor.into()))
    }
}

/// Reads the count of `last`.
pub fn parse_last(text: &[u8]) -> Option<u64> {
    parse_decimal(text).filter(|&count| count <= MAX_LAST)
}

/// Reads a decimal number of ASCII digits, the form of every sequence on the wire.
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
