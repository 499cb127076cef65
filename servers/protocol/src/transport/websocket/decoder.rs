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
mod tests {
    use super::super::{KEEP_ALIVE, encode_close, encode_frame, encode_text};
    use super::*;
    use crate::framing::testing::{at_every_split, envelope, feeds, feeds_of};

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    /// Small, so that the tests of the bound are quick.
    const MAX: usize = 70_000;

    fn decode(role: Role, feeds: &[&[u8]]) -> (Vec<String>, Option<ProtocolError>) {
        let (mut decoder, mut found) = (Decoder::new(role, MAX), Vec::new());
        for feed in feeds {
            let result = decoder.feed(&mut feed.to_vec(), |event| {
                found.push(match event {
                    Event::Text(bytes) => {
                        format!("text {}", std::str::from_utf8(bytes).expect("valid UTF-8"))
                    }
                    event => format!("{event:?}"),
                });
            });
            if let Err(error) = result {
                return (found, Some(error));
            }
        }
        (found, None)
    }

    fn client(stream: &[u8]) -> (Vec<String>, Option<ProtocolError>) {
        at_every_split(stream, |feeds| decode(Role::Client, feeds))
    }

    fn server(stream: &[u8]) -> (Vec<String>, Option<ProtocolError>) {
        at_every_split(stream, |feeds| decode(Role::Server, feeds))
    }

    fn error(stream: &[u8]) -> (ProtocolError, u16) {
        let (found, error) = client(stream);
        assert!(found.is_empty(), "{found:?}");
        let error = error.expect("a protocol error");
        (error, error.close_code())
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7_decode_as_it_says() {
        let ok = |text: &str| (vec![text.to_owned()], None);
        assert_eq!(client(b"\x81\x05\x48\x65\x6c\x6c\x6f"), ok("text Hello"));
        assert_eq!(
            server(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
            ok("text Hello")
        );
        assert_eq!(
            client(b"\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f"),
            ok("text Hello")
        );
        assert_eq!(
            client(b"\x89\x05\x48\x65\x6c\x6c\x6f"),
            ok("Ping([72, 101, 108, 108, 111])")
        );
        assert_eq!(
            server(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
            ok("Pong([72, 101, 108, 108, 111])")
        );
        let mut stream = b"\x82\x7e\x01\x00".to_vec();
        stream.resize(260, 7);
        assert_eq!(
            client(&stream),
            ok(&format!("{:?}", Event::Binary(&[7; 256])))
        );
        let mut stream = b"\x82\x7f\0\0\0\0\0\x01\0\0".to_vec();
        stream.resize(65_546, 7);
        assert_eq!(
            decode(Role::Client, &[&stream]),
            ok(&format!("{:?}", Event::Binary(&[7; 65_536])))
        );
    }

    #[test]
    fn a_stream_of_the_server_decodes_the_same_at_every_split() {
        let mut stream = Vec::new();
        encode_text(&envelope(1, 60), &mut stream);
        stream.extend_from_slice(KEEP_ALIVE);
        encode_text(&envelope(2, 300), &mut stream);
        encode_text(b"", &mut stream);
        encode_close(4001, "3 9", None, &mut stream);
        stream.extend_from_slice(b"\xff what follows a close is not for us");
        let (found, error) = client(&stream);
        let text = |sequence, bytes| {
            format!(
                "text {}",
                String::from_utf8_lossy(&envelope(sequence, bytes))
            )
        };
        assert_eq!(
            found,
            [
                text(1, 60),
                "Ping([])".to_owned(),
                text(2, 300),
                "text ".to_owned(),
                "Close { code: Some(4001), reason: \"3 9\" }".to_owned(),
            ]
        );
        assert_eq!(error, None);
    }

    #[test]
    fn a_stream_of_a_client_decodes_the_same_at_every_split() {
        let mut stream = Vec::new();
        encode_frame(Opcode::Text, "zażółć".as_bytes(), Some(MASK), &mut stream);
        encode_frame(Opcode::Pong, b"", Some(MASK), &mut stream);
        encode_frame(Opcode::Text, &[b'x'; 200], Some([1, 2, 3, 4]), &mut stream);
        encode_close(1000, "", Some(MASK), &mut stream);
        let (found, error) = server(&stream);
        assert_eq!(found[..2], ["text zażółć", "Pong([])"]);
        assert_eq!(found[2], format!("text {}", "x".repeat(200)));
        assert_eq!(found[3], "Close { code: Some(1000), reason: \"\" }");
        assert_eq!((found.len(), error), (4, None));
    }

    #[test]
    fn control_frames_may_stand_between_fragments() {
        // 'ż' is cut between its two bytes: only the whole message is checked for UTF-8.
        let stream = b"\x01\x02a\xc5\x89\x01p\x00\x00\x8a\x00\x80\x02\xbcb\x81\x01c";
        let (found, error) = client(stream);
        assert_eq!(found, ["Ping([112])", "Pong([])", "text ażb", "text c"]);
        assert_eq!(error, None);
    }

    #[test]
    fn reserved_bits_are_refused_with_1002() {
        for first in [0xc1, 0xa1, 0x91] {
            assert_eq!(
                error(&[first, 0]),
                (ProtocolError::ReservedBits(first), 1002)
            );
        }
    }

    #[test]
    fn reserved_opcodes_are_refused_with_1002() {
        for bits in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            assert_eq!(
                error(&[0x80 | bits, 0]),
                (ProtocolError::ReservedOpcode(bits), 1002)
            );
        }
    }

    #[test]
    fn control_frames_in_fragments_or_too_long_are_refused_with_1002() {
        for opcode in [0x8, 0x9, 0xa] {
            assert_eq!(
                error(&[opcode, 0]),
                (ProtocolError::FragmentedControl, 1002)
            );
            for length in [126, 127] {
                let stream = [0x80 | opcode, length, 0, 126];
                assert_eq!(error(&stream), (ProtocolError::LongControl, 1002));
            }
        }
    }

    #[test]
    fn masks_are_demanded_of_clients_and_refused_from_servers() {
        assert_eq!(error(b"\x81\x80\0\0\0\0"), (ProtocolError::Masked, 1002));
        assert_eq!(
            server(b"\x81\x01a"),
            (vec![], Some(ProtocolError::Unmasked))
        );
        assert_eq!(ProtocolError::Unmasked.close_code(), 1002);
    }

    #[test]
    fn lengths_in_a_longer_form_than_needed_are_refused_with_1002() {
        assert_eq!(
            error(b"\x81\x7e\x00\x7d"),
            (ProtocolError::LengthForm, 1002)
        );
        assert_eq!(
            error(b"\x81\x7f\0\0\0\0\0\0\xff\xff"),
            (ProtocolError::LengthForm, 1002)
        );
        assert_eq!(
            error(b"\x81\x7f\x80\0\0\0\0\0\0\0"),
            (ProtocolError::LengthForm, 1002)
        );
    }

    #[test]
    fn continuations_stand_behind_an_unfinished_message_and_nowhere_else() {
        assert_eq!(error(b"\x80\x00"), (ProtocolError::LoneContinuation, 1002));
        assert_eq!(error(b"\x00\x00"), (ProtocolError::LoneContinuation, 1002));
        assert_eq!(
            error(b"\x01\x01a\x81\x01b"),
            (ProtocolError::MissingContinuation, 1002)
        );
        assert_eq!(
            error(b"\x02\x01a\x01\x01b"),
            (ProtocolError::MissingContinuation, 1002)
        );
        let (found, error) = client(b"\x01\x00\x80\x00\x80\x00");
        assert_eq!(found, ["text "]);
        assert_eq!(error, Some(ProtocolError::LoneContinuation));
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_1007() {
        assert_eq!(error(b"\x81\x02a\xff"), (ProtocolError::Utf8, 1007));
        assert_eq!(error(b"\x01\x01\xc5\x80\x01a"), (ProtocolError::Utf8, 1007));
        // A surrogate half is no character (RFC 3629, section 3).
        assert_eq!(error(b"\x81\x03\xed\xa0\x80"), (ProtocolError::Utf8, 1007));
        assert_eq!(client(b"\x82\x01\xff").1, None);
    }

    #[test]
    fn a_message_over_the_limit_is_refused_with_1009_before_its_payload() {
        let too_big = ProtocolError::TooBig { max: MAX };
        let length = (MAX as u64 + 1).to_be_bytes();
        assert_eq!(error(&[b"\x81\x7f", &length[..]].concat()), (too_big, 1009));
        let huge = [b"\x81\x7f\x7f", &[0xff; 7][..]].concat();
        assert_eq!(error(&huge), (too_big, 1009));
        // In fragments: the second is over.
        let mut decoder = Decoder::new(Role::Client, 10);
        let mut stream = b"\x01\x06abcdef\x80\x05".to_vec();
        assert_eq!(
            decoder.feed(&mut stream, |_| ()),
            Err(ProtocolError::TooBig { max: 10 })
        );
        let mut decoder = Decoder::new(Role::Client, 10);
        let mut stream = b"\x01\x06abcdef\x80\x04ghij".to_vec();
        let mut bytes = 0;
        decoder
            .feed(&mut stream, |event| {
                if let Event::Text(text) = event {
                    bytes = text.len();
                }
            })
            .expect("a message of just the limit");
        assert_eq!(bytes, 10);
    }

    #[test]
    fn close_frames_say_why_or_nothing() {
        assert_eq!(
            client(b"\x88\x00").0,
            ["Close { code: None, reason: \"\" }"]
        );
        assert_eq!(
            client(b"\x88\x02\x03\xe8").0,
            ["Close { code: Some(1000), reason: \"\" }"]
        );
        assert_eq!(error(b"\x88\x01\x03"), (ProtocolError::CloseLength, 1002));
        assert_eq!(error(b"\x88\x03\x03\xe8\xff"), (ProtocolError::Utf8, 1007));
    }

    #[test]
    fn close_codes_that_never_travel_are_refused_with_1002() {
        for code in [
            0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
        ] {
            let stream = [b"\x88\x02", &code.to_be_bytes()[..]].concat();
            assert_eq!(error(&stream), (ProtocolError::CloseCode(code), 1002));
        }
        for code in [
            1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1014, 3000, 4001, 4999,
        ] {
            let stream = [b"\x88\x02", &code.to_be_bytes()[..]].concat();
            assert_eq!(client(&stream).1, None, "{code}");
        }
    }

    #[test]
    fn bytes_behind_an_error_are_ignored() {
        let mut decoder = Decoder::new(Role::Client, MAX);
        assert!(decoder.feed(&mut [0xff, 0xff], |_| ()).is_err());
        let mut after = b"\x81\x01a".to_vec();
        assert_eq!(
            decoder.feed(&mut after, |_| panic!("behind the error")),
            Ok(())
        );
    }

    #[test]
    fn a_whole_message_is_unmasked_and_borrowed_where_it_lies() {
        let mut stream = Vec::new();
        encode_frame(Opcode::Text, b"Hello", Some(MASK), &mut stream);
        let range = stream.as_ptr_range();
        let mut decoder = Decoder::new(Role::Server, MAX);
        decoder
            .feed(&mut stream, |event| {
                let Event::Text(text) = event else {
                    panic!("a text message")
                };
                assert!(range.contains(&text.as_ptr()));
            })
            .expect("a right frame");
        assert_eq!(
            (decoder.frame.capacity(), decoder.message.capacity()),
            (0, 0)
        );
    }

    #[test]
    fn no_heap_memory_is_kept_between_messages() {
        let mut decoder = Decoder::new(Role::Client, MAX);
        for byte in *b"\x01\x02ab\x80\x02cd\x81\x02ef" {
            decoder.feed(&mut [byte], |_| ()).expect("right frames");
        }
        assert_eq!(
            (decoder.frame.capacity(), decoder.message.capacity()),
            (0, 0)
        );
    }

    #[test]
    fn the_longest_envelope_passes() {
        let largest = envelope(1, crate::envelope::MAX_BYTES);
        let mut stream = Vec::new();
        encode_text(&largest, &mut stream);
        let mut decoder = Decoder::new(Role::Client, crate::envelope::MAX_BYTES);
        let mut found = false;
        for feed in stream.chunks_mut(4096) {
            decoder
                .feed(feed, |event| found = event == Event::Text(&largest))
                .expect("an envelope of the largest size");
        }
        assert!(found);
    }

    #[test]
    fn a_decoder_is_small() {
        assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_the_same_fed_whole_within_the_bound(
            feeds in feeds(), is_server: bool
        ) {
            let role = if is_server { Role::Server } else { Role::Client };
            let mut decoder = Decoder::new(role, 50);
            for feed in &feeds {
                let _ = decoder.feed(&mut feed.clone(), |_| ());
                // A whole message's fragments and one frame's header at the most.
                proptest::prop_assert!(decoder.pending_bytes() <= MAX_CONTROL_BYTES + 50 + 14);
            }
            let parts: Vec<&[u8]> = feeds.iter().map(Vec::as_slice).collect();
            proptest::prop_assert_eq!(decode(role, &parts), decode(role, &[&parts.concat()]));
        }

        #[test]
        fn any_mix_of_frames_decodes_the_same_fed_whole(
            feeds in feeds_of(&[
                b"\x81\x01a", b"\x01\x01b", b"\x00\x01c", b"\x80\x01d", b"\x89\x00", b"\x8a\x02ef",
                b"\x82\x7e\x00\x7e", b"\x88\x00",
            ])
        ) {
            let parts: Vec<&[u8]> = feeds.iter().map(Vec::as_slice).collect();
            proptest::prop_assert_eq!(
                decode(Role::Client, &parts),
                decode(Role::Client, &[&parts.concat()])
            );
        }

        #[test]
        fn messages_of_any_length_and_mask_come_back(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), mask: [u8; 4]
        ) {
            let mut stream = Vec::new();
            encode_frame(Opcode::Binary, &bytes, Some(mask), &mut stream);
            let mut decoder = Decoder::new(Role::Server, MAX);
            let mut back = None;
            decoder.feed(&mut stream, |event| {
                if let Event::Binary(payload) = event {
                    back = Some(payload.to_vec());
                }
            }).expect("a right frame");
            proptest::prop_assert_eq!(back, Some(bytes));
        }
    }
}
