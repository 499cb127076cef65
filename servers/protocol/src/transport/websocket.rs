//! WebSocket ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455)).
//!
//! Place on the data path: framing of the `websocket` transport. In: envelopes, control frames,
//! the handshake's key. Out: frames, and back. No extension is offered or understood, so the
//! reserved bits are always 0.

mod decoder;
mod handshake;

pub use decoder::{Decoder, Event, ProtocolError, Role};
pub use handshake::{
    CLIENT_KEY, HandshakeError, OpeningError, VERSION, accept_key, check_opening, check_upgrade,
    encode_upgrade_response, push_upgrade,
};

use super::tcp;
use crate::framing::{Cursor, Lost};

/// An unmasked ping without payload. Control frames may stand between any two frames (section
/// 5.4), and a client answers with a pong.
pub const KEEP_ALIVE: &[u8] = &[0x89, 0x00];

/// Close code of a subscriber that fell off the ring; its reason is read by [`Lost::parse`]. From the
/// range for private use (section 7.4.2).
pub const CLOSE_LAGGED: u16 = 4001;

/// Longest payload of a control frame, in bytes (section 5.5).
pub const MAX_CONTROL_BYTES: usize = 125;

/// What a frame is (section 5.2; the values not listed are reserved).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0x0,
    /// Text, or its first fragment.
    Text = 0x1,
    /// Binary, or its first fragment.
    Binary = 0x2,
    /// Close.
    Close = 0x8,
    /// Ping.
    Ping = 0x9,
    /// Pong.
    Pong = 0xa,
}

impl Opcode {
    /// Whether frames of this kind are at most [`MAX_CONTROL_BYTES`] long and never fragmented
    /// (section 5.5).
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }
}

/// Appends one text message as a server sends it: one frame, not masked. `payload` must be UTF-8,
/// as every envelope is.
pub fn encode_text(payload: &[u8], out: &mut Vec<u8>) {
    encode_frame(Opcode::Text, payload, None, out);
}

/// Appends one final frame. A client must give a `mask` that nobody can foresee, a server none
/// (section 5.1). The payload of a control frame is cut at [`MAX_CONTROL_BYTES`].
pub fn encode_frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    const FIN: u8 = 0x80;
    const MASKED: u8 = 0x80;
    let limit = if opcode.is_control() {
        MAX_CONTROL_BYTES
    } else {
        usize::MAX
    };
    let payload = &payload[..payload.len().min(limit)];
    // The longest header has 14 bytes: 2, 8 of length, 4 of mask.
    out.reserve(payload.len() + 14);
    out.push(FIN | opcode as u8);
    let masked = if mask.is_some() { MASKED } else { 0 };
    // The shortest of the three forms is the only one allowed (section 5.2).
    match payload.len() {
        length @ 0..=125 => out.push(masked | length as u8),
        length @ 126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        out.extend_from_slice(&mask);
        let start = out.len();
        out.extend_from_slice(payload);
        apply_mask(mask, &mut out[start..]);
    } else {
        out.extend_from_slice(payload);
    }
}

/// Appends a close frame. The reason is cut where it does not fit, between two characters.
pub fn encode_close(code: u16, reason: &str, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    // Two bytes of the payload are the code (section 5.5.1).
    let mut end = reason.len().min(MAX_CONTROL_BYTES - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = [0; MAX_CONTROL_BYTES];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + end].copy_from_slice(&reason.as_bytes()[..end]);
    encode_frame(Opcode::Close, &payload[..2 + end], mask, out);
}

/// Appends the close frame of a server that reports a loss.
pub fn encode_lagged(lost: Lost, out: &mut Vec<u8>) {
    let mut payload = CLOSE_LAGGED.to_be_bytes().to_vec();
    lost.push(&mut payload);
    encode_frame(Opcode::Close, &payload, None, out);
}

/// Appends the text message that reports a loss on a channel whose stream goes on
/// ([`DropOldest`](crate::overflow::Overflow::DropOldest)); read by [`parse_lagged`](tcp::parse_lagged).
pub fn encode_lagged_text(lost: Lost, out: &mut Vec<u8>) {
    encode_line(|line| tcp::encode_lagged(lost, line), out);
}

/// Appends the text message that opens the stream of a log with an epoch, for pages: they cannot read
/// the head of the answer, and without their cursor could not come back. Read by
/// [`parse_subscribed`](tcp::parse_subscribed).
pub fn encode_subscribed_text(cursor: Cursor, out: &mut Vec<u8>) {
    encode_line(|line| tcp::encode_subscribed(cursor, line), out);
}

/// Appends a line of the line protocol as a text message, without its LF.
fn encode_line(line: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    line(&mut payload);
    encode_text(payload.strip_suffix(b"\n").unwrap_or(&payload), out);
}

/// Masks and unmasks, which is the same (section 5.3): octet i is xored with octet i mod 4 of the
/// mask.
fn apply_mask(mask: [u8; 4], payload: &mut [u8]) {
    let (quads, tail) = payload.as_chunks_mut::<4>();
    let word = u32::from_ne_bytes(mask);
    for quad in quads {
        *quad = (u32::from_ne_bytes(*quad) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

    fn frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut out = Vec::new();
        encode_frame(opcode, payload, mask, &mut out);
        out
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7_have_their_bytes() {
        // A single-frame unmasked text message.
        let mut out = Vec::new();
        encode_text(b"Hello", &mut out);
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        // A single-frame masked text message.
        assert_eq!(
            frame(Opcode::Text, b"Hello", MASK),
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
        // Unmasked ping request and masked pong response.
        assert_eq!(
            frame(Opcode::Ping, b"Hello", None),
            [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]
        );
        assert_eq!(
            frame(Opcode::Pong, b"Hello", MASK),
            [
                0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
        // 256 bytes and 64 KiB of binary in one unmasked frame.
        let binary = frame(Opcode::Binary, &[7; 256], None);
        assert_eq!(
            (&binary[..4], binary.len()),
            (&[0x82, 0x7e, 0x01, 0x00][..], 260)
        );
        let binary = frame(Opcode::Binary, &[7; 65_536], None);
        assert_eq!(
            (&binary[..10], binary.len()),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], 65_546)
        );
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (bytes, header) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 255, 255]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = frame(Opcode::Text, &vec![b'x'; bytes], None);
            assert_eq!(frame.len(), header.len() + bytes);
            assert_eq!(&frame[..header.len()], header);
        }
    }

    #[test]
    fn closes_have_code_and_reason() {
        let mut out = Vec::new();
        encode_close(1000, "bye", None, &mut out);
        assert_eq!(out, b"\x88\x05\x03\xe8bye");
        out.clear();
        let lost = Lost::Range { from: 7, to: 12 };
        encode_lagged(lost, &mut out);
        assert_eq!(out, b"\x88\x06\x0f\xa17 12");
        out.clear();
        encode_lagged_text(lost, &mut out);
        assert_eq!(out, b"\x81\x0bLAGGED 7 12");
        out.clear();
        encode_subscribed_text(41.into(), &mut out);
        assert_eq!(out, b"\x81\x0dSUBSCRIBED 41");
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        // 122 ASCII bytes leave room for one more byte of the two that 'ż' has.
        let reason = format!("{}ż", "x".repeat(122));
        let mut out = Vec::new();
        encode_close(1001, &reason, None, &mut out);
        assert_eq!((out[1], out.len()), (124, 126));
        out.clear();
        encode_close(1001, &"x".repeat(300), MASK, &mut out);
        assert_eq!((out[1], out.len()), (0x80 | 125, 131));
    }

    #[test]
    fn a_long_control_payload_is_cut() {
        assert_eq!(frame(Opcode::Ping, &[0; 200], None).len(), 127);
    }
}
