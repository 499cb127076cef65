//! Reads frames and puts messages together (RFC 6455, section 5).
//!
//! Place on the data path: between the socket and the ledger on a client, between the socket and
//! the publisher's input on a server. In: bytes, cut anywhere, unmasked in place. Out: messages
//! and control frames.

use super::{MAX_CONTROL_BYTES, Opcode, apply_mask};

/// Which end reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads what a server sends: frames without a mask.
    Client,
    /// Reads what clients send: frames with a mask.
    Server,
}

/// What a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message; its bytes are valid UTF-8.
    Text(&'a [u8]),
    /// A binary message.
    Binary(&'a [u8]),
    /// To be answered with a pong that carries the same bytes (section 5.5.3).
    Ping(&'a [u8]),
    /// The answer to a ping, or a sign of life without one.
    Pong(&'a [u8]),
    /// The peer sends nothing more; to be answered with a close of the same code unless one was
    /// sent (section 5.5.1).
    Close {
        /// Why; `None` where the frame is empty.
        code: Option<u16>,
        /// Why, for people. Often empty.
        reason: &'a str,
    },
}

/// Why the connection must be failed (section 7.1.7) with [`ProtocolError::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// RSV1, RSV2 or RSV3 without an extension that gives it a meaning (section 5.2).
    #[error("expected reserved bits of 0 in a frame, got byte '{0:#04x}'")]
    ReservedBits(u8),
    /// One of the opcodes 3 to 7 or 11 to 15 (section 5.2).
    #[error("expected an opcode of 0, 1, 2, 8, 9 or 10, got {0}")]
    ReservedOpcode(u8),
    /// A control frame without FIN (section 5.5).
    #[error("expected a control frame in one piece, got a fragment")]
    FragmentedControl,
    /// A control frame of more than 125 bytes (section 5.5).
    #[error("expected at most {MAX_CONTROL_BYTES} bytes in a control frame, got more")]
    LongControl,
    /// A server's frame with a mask (section 5.1).
    #[error("expected a frame without a mask from a server, got one with a mask")]
    Masked,
    /// A client's frame without a mask (section 5.1).
    #[error("expected a frame with a mask from a client, got one without")]
    Unmasked,
    /// A length in a longer form than it needs, or with its highest bit set (section 5.2).
    #[error("expected a length in its shortest form, got a longer one")]
    LengthForm,
    /// A continuation where no message is open (section 5.4).
    #[error("expected the start of a message, got a continuation")]
    LoneContinuation,
    /// A new message inside of an unfinished one (section 5.4).
    #[error("expected a continuation of the unfinished message, got the start of another")]
    MissingContinuation,
    /// A close frame with half a code (section 5.5.1).
    #[error("expected 0 bytes or at least 2 in a close frame, got 1")]
    CloseLength,
    /// A close code that must not appear on the wire (section 7.4).
    #[error("expected a close code of 1000-1003, 1007-1014 or 3000-4999, got {0}")]
    CloseCode(u16),
    /// Text or a close reason that is not UTF-8 (section 8.1).
    #[error("expected UTF-8 in a text message or a close reason, got other bytes")]
    Utf8,
    /// A message over the limit that the reader set.
    #[error("expected a message of at most {max} bytes, got one that is longer")]
    TooBig {
        /// The limit, in bytes.
        max: usize,
    },
}

impl ProtocolError {
    /// The code to close with (section 7.4.1): 1007 for bad UTF-8, 1009 for too long a message,
    /// else 1002.
    pub fn close_code(self) -> u16 {
        match self {
            Self::Utf8 => 1007,
            Self::TooBig { .. } => 1009,
            _ => 1002,
        }
    }
}

/// An incremental reader of one direction of a connection. Without heap memory between two
/// messages.
#[derive(Debug)]
pub struct Decoder {
    /// The frame that is not finished: its header and what came of its payload, still masked.
    frame: Vec<u8>,
    /// What came of a fragmented message.
    message: Vec<u8>,
    max_message_bytes: usize,
    role: Role,
    fragments: Fragments,
    /// A close was read, or the connection failed: what follows is not for us (sections 5.5.1 and
    /// 7.1.7).
    ended: bool,
}

/// Which message is open for continuations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fragments {
    None,
    Text,
    Binary,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    bytes: usize,
    payload_bytes: usize,
}

impl Decoder {
    /// A reader at the start of a connection, behind the handshake. Messages of more than
    /// `max_message_bytes` are errors; for a client of this suite that is
    /// [`envelope::MAX_BYTES`](crate::envelope::MAX_BYTES).
    pub fn new(role: Role, max_message_bytes: usize) -> Self {
        Self {
            frame: Vec::new(),
            message: Vec::new(),
            max_message_bytes,
            role,
            fragments: Fragments::None,
            ended: false,
        }
    }

    /// Takes the next bytes of the stream and calls `each` with every message and control frame
    /// that they complete. What lies whole in `bytes` is unmasked there and borrowed from there.
    ///
    /// Behind a close or an error, all further bytes are ignored.
    ///
    /// # Errors
    /// [`ProtocolError`], one variant a rule broken; a frame that cannot be right is refused
    /// without waiting for its payload.
    pub fn feed(
        &mut self,
        bytes: &mut [u8],
        mut each: impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let result = self.feed_frames(bytes, &mut each);
        if result.is_err() {
            self.end();
        }
        result
    }

    /// Bytes of messages that are not finished yet.
    pub fn pending_bytes(&self) -> usize {
        self.frame.len() + self.message.len()
    }

    /// Whether the reader stands between two messages, so that a new one would read on alike.
    pub fn is_idle(&self) -> bool {
        self.frame.is_empty() && self.fragments == Fragments::None && !self.ended
    }

    fn end(&mut self) {
        self.ended = true;
        (self.frame, self.message) = (Vec::new(), Vec::new());
    }

    fn feed_frames(
        &mut self,
        mut bytes: &mut [u8],
        each: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        while !self.ended && !bytes.is_empty() {
            if self.frame.is_empty() {
                match self.header(bytes)? {
                    Some(header) if bytes.len() - header.bytes >= header.payload_bytes => {
                        let (frame, rest) = bytes.split_at_mut(header.bytes + header.payload_bytes);
                        bytes = rest;
                        self.complete(header, &mut frame[header.bytes..], each)?;
                    }
                    _ => {
                        self.frame.extend_from_slice(bytes);
                        bytes = &mut [];
                    }
                }
            } else {
                let wanted = match self.header(&self.frame)? {
                    Some(header) => header.bytes + header.payload_bytes,
                    // One byte at a time up to the end of the header, so that no byte of the
                    // frame behind this one is ever copied.
                    None => self.frame.len() + 1,
                };
                let take = (wanted - self.frame.len()).min(bytes.len());
                let (head, rest) = bytes.split_at_mut(take);
                self.frame.extend_from_slice(head);
                bytes = rest;
                if let Some(header) = self.header(&self.frame)?
                    && self.frame.len() == header.bytes + header.payload_bytes
                {
                    // Taken, not cleared: the heap memory goes with the frame.
                    let mut frame = std::mem::take(&mut self.frame);
                    self.complete(header, &mut frame[header.bytes..], each)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the header of a frame (section 5.2); `None` where it is not whole. What can be
    /// refused is refused at its first byte.
    fn header(&self, bytes: &[u8]) -> Result<Option<Header>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(ProtocolError::ReservedBits(first));
        }
        let (fin, bits) = (first & 0x80 != 0, first & 0x0f);
        let opcode = Opcode::from_bits(bits).ok_or(ProtocolError::ReservedOpcode(bits))?;
        let is_open = self.fragments != Fragments::None;
        match opcode {
            Opcode::Continuation if !is_open => return Err(ProtocolError::LoneContinuation),
            Opcode::Text | Opcode::Binary if is_open => {
                return Err(ProtocolError::MissingContinuation);
            }
            _ if opcode.is_control() && !fin => return Err(ProtocolError::FragmentedControl),
            _ => (),
        }

        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let is_masked = second & 0x80 != 0;
        match self.role {
            Role::Client if is_masked => return Err(ProtocolError::Masked),
            Role::Server if !is_masked => return Err(ProtocolError::Unmasked),
            _ => (),
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL_BYTES {
            return Err(ProtocolError::LongControl);
        }
        let (length, mask_at) = match short {
            126 => {
                let Some(field) = bytes[2..].first_chunk() else {
                    return Ok(None);
                };
                (u64::from(u16::from_be_bytes(*field)), 4)
            }
            127 => {
                let Some(field) = bytes[2..].first_chunk() else {
                    return Ok(None);
                };
                (u64::from_be_bytes(*field), 10)
            }
            short => (u64::from(short), 2),
        };
        let is_shortest = match short {
            126 => length > 125,
            127 => length > 0xffff && length >> 63 == 0,
            _ => true,
        };
        if !is_shortest {
            return Err(ProtocolError::LengthForm);
        }
        let room = (self.max_message_bytes as u64).saturating_sub(self.message.len() as u64);
        if !opcode.is_control() && length > room {
            return Err(ProtocolError::TooBig {
                max: self.max_message_bytes,
            });
        }
        let payload_bytes = length as usize;
        if !is_masked {
            return Ok(Some(Header {
                fin,
                opcode,
                mask: None,
                bytes: mask_at,
                payload_bytes,
            }));
        }
        Ok(bytes[mask_at..].first_chunk().map(|&mask| Header {
            fin,
            opcode,
            mask: Some(mask),
            bytes: mask_at + mask.len(),
            payload_bytes,
        }))
    }

    /// One frame is whole.
    fn complete(
        &mut self,
        header: Header,
        payload: &mut [u8],
        each: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        if let Some(mask) = header.mask {
            apply_mask(mask, payload);
        }
        match (header.opcode, header.fin) {
            (Opcode::Text, true) => each(Event::Text(checked_text(payload)?)),
            (Opcode::Binary, true) => each(Event::Binary(payload)),
            (Opcode::Text | Opcode::Binary, false) => {
                self.fragments = match header.opcode {
                    Opcode::Text => Fragments::Text,
                    _ => Fragments::Binary,
                };
                self.message = payload.to_vec();
            }
            (Opcode::Continuation, fin) => {
                self.message.extend_from_slice(payload);
                if fin {
                    let message = std::mem::take(&mut self.message);
                    match std::mem::replace(&mut self.fragments, Fragments::None) {
                        Fragments::Text => each(Event::Text(checked_text(&message)?)),
                        _ => each(Event::Binary(&message)),
                    }
                }
            }
            (Opcode::Ping, _) => each(Event::Ping(payload)),
            (Opcode::Pong, _) => each(Event::Pong(payload)),
            (Opcode::Close, _) => {
                each(parse_close(payload)?);
                self.end();
            }
        }
        Ok(())
    }
}

fn checked_text(payload: &[u8]) -> Result<&[u8], ProtocolError> {
    match std::str::from_utf8(payload) {
        Ok(_) => Ok(payload),
        Err(_) => Err(ProtocolError::Utf8),
    }
}

/// Reads the payload of a close frame (sections 5.5.1 and 7.4).
fn parse_close(payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    let (code, reason) = match payload {
        [] => (None, &payload[..0]),
        [_] => return Err(ProtocolError::CloseLength),
        [high, low, reason @ ..] => (Some(u16::from_be_bytes([*high, *low])), reason),
    };
    if let Some(code) = code {
        // 1004 is reserved; 1005, 1006 and 1015 are never sent; 1012 to 1014 came later, through
        // the IANA registry of section 11.7.
        let is_valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        if !is_valid {
            return Err(ProtocolError::CloseCode(code));
        }
    }
    let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::Utf8)?;
    Ok(Event::Close { code, reason })
}

#[cfg(test)]
mod tests;
