//! What travels: one published message, the same bytes on every transport.
//!
//! Place on the data path: made once by the hub when a message is appended, carried unchanged by
//! every framing, taken apart by the client. In: sequence, times, payload. Out: ASCII head plus
//! UTF-8 payload without CR or LF, so that a line, an SSE `data:` field and a WebSocket text
//! message can all carry it as it is.
//!
//! ```text
//! 0000000000000001:0000012a05f20000:0000012a05f2a410:payload
//! sequence         intended ns      actual ns        UTF-8
//! ```

/// Bytes of the head: three times 16 hexadecimal digits and a colon each. An envelope is never
/// shorter than this.
pub const HEAD_BYTES: usize = 3 * (16 + 1);

/// Longest envelope that the servers accept and the clients read, in bytes, head included.
///
/// 1 MiB: sixteen times the largest payload that the scenarios use (64 KiB), and small enough that
/// ten thousand clients with a half-read message each do not exhaust a machine.
pub const MAX_BYTES: usize = 1 << 20;

/// Longest payload, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = MAX_BYTES - HEAD_BYTES;

/// One message, decoded. Borrows its payload from the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Position in its channel, counted from 1.
    pub sequence: u64,
    /// When the schedule wanted it published, in ns of `CLOCK_MONOTONIC`.
    pub intended_ns: u64,
    /// When it was appended to its channel, in ns of `CLOCK_MONOTONIC`.
    pub actual_ns: u64,
    /// UTF-8 without CR or LF.
    pub payload: &'a [u8],
}

/// Why bytes are not an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a head has.
    #[error("an envelope has at least {HEAD_BYTES} bytes, got {0}")]
    Short(usize),
    /// The head is not `16 hex : 16 hex : 16 hex :`.
    #[error(
        "byte {0} of the envelope's head is not what it must be (a lower-case hexadecimal digit, \
         or ':' at 16, 33 and 50)"
    )]
    Head(usize),
}

/// Appends one envelope to `out`.
///
/// `payload` must be UTF-8 without CR or LF (see [`payload_is_valid`]); this is not checked again
/// here, because it runs once for every message published.
pub fn encode(sequence: u64, intended_ns: u64, actual_ns: u64, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEAD_BYTES + payload.len());
    for value in [sequence, intended_ns, actual_ns] {
        let mut field = [b':'; 17];
        for (i, digit) in field[..16].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(value >> (60 - 4 * i)) as usize & 15];
        }
        out.extend_from_slice(&field);
    }
    out.extend_from_slice(payload);
}

/// Reads one envelope, without allocation.
///
/// # Errors
/// [`DecodeError::Short`] below 51 bytes; [`DecodeError::Head`] where the head has another shape.
pub fn decode(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    if bytes.len() < HEAD_BYTES {
        return Err(DecodeError::Short(bytes.len()));
    }
    Ok(Envelope {
        sequence: hex_field(bytes, 0)?,
        intended_ns: hex_field(bytes, 17)?,
        actual_ns: hex_field(bytes, 34)?,
        payload: &bytes[HEAD_BYTES..],
    })
}

/// Whether `payload` may travel: UTF-8, no CR, no LF, and short enough for [`MAX_BYTES`].
pub fn payload_is_valid(payload: &[u8]) -> bool {
    payload.len() <= MAX_PAYLOAD_BYTES
        && !payload.iter().any(|b| matches!(b, b'\r' | b'\n'))
        && std::str::from_utf8(payload).is_ok()
}

fn hex_field(bytes: &[u8], at: usize) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for (i, &byte) in bytes[at..at + 16].iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return Err(DecodeError::Head(at + i)),
        };
        value = value << 4 | u64::from(digit);
    }
    if bytes[at + 16] != b':' {
        return Err(DecodeError::Head(at + 16));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_has_the_documented_bytes() {
        let mut out = Vec::new();
        encode(1, 0x12a, u64::MAX, "zażółć".as_bytes(), &mut out);
        assert_eq!(
            String::from_utf8(out).expect("ASCII head and UTF-8 payload"),
            "0000000000000001:000000000000012a:ffffffffffffffff:zażółć"
        );
    }

    #[test]
    fn a_head_of_another_shape_is_refused_with_its_place() {
        let good = b"0000000000000001:000000000000012a:ffffffffffffffff:x";
        assert_eq!(decode(&good[..50]), Err(DecodeError::Short(50)));
        for (at, byte) in [
            (0, b'G'),
            (3, b'A'),
            (16, b'0'),
            (33, b' '),
            (50, b';'),
            (40, b':'),
        ] {
            let mut bad = good.to_vec();
            bad[at] = byte;
            assert_eq!(decode(&bad), Err(DecodeError::Head(at)));
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(
            sequence: u64, intended: u64, actual: u64, payload: String
        ) {
            let mut out = Vec::new();
            encode(sequence, intended, actual, payload.as_bytes(), &mut out);
            let back = decode(&out).expect("an encoded envelope");
            proptest::prop_assert_eq!(back, Envelope {
                sequence, intended_ns: intended, actual_ns: actual, payload: payload.as_bytes(),
            });
        }
    }
}
