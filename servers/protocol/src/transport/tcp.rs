//! The line protocol of the raw TCP baseline: as little protocol as carries a resumable push.
//!
//! Place on the data path: framing of the `tcp` transport. In: envelopes, cursors and requests.
//! Out: lines that end with LF, and back.
//!
//! ```text
//! client                             server
//! SUBSCRIBE <channel> [since]   →
//! SUBSCRIBE <channel> last=N    →         N messages before the tail
//!                               ←    SUBSCRIBED <cursor>
//!                               ←    <envelope>
//!                               ←    (an empty line: keep-alive)
//!                               ←    LAGGED <from> <to>      fell off the ring; the last line, or the
//!                                                          stream goes on ('drop-oldest')
//!                               ←    LAGGED unknown          the cursor is of another log, or beyond
//!                                                          the tail; goes on as after a range
//!                               ←    ERROR <text>            and the connection is closed
//! PUBLISH <channel> <payload>   →
//! ```
//!
//! Envelopes need no word in front: they begin with a lower-case hexadecimal digit, control lines
//! with an upper-case letter.

use crate::envelope;
use crate::framing::{Cursor, LineTooLong, Lines, Lost, MAX_BUFFERED_BYTES, excerpt};
use crate::framing::{MAX_LAST, Start, parse_last, push_decimal};

/// An empty line.
pub const KEEP_ALIVE: &[u8] = b"\n";

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// All messages of a channel after a cursor, and those to come.
    Subscribe {
        /// Name of the channel, without spaces.
        channel: &'a str,
        /// Where to start.
        start: Start,
    },
    /// Append one message to a channel.
    Publish {
        /// Name of the channel, without spaces.
        channel: &'a str,
        /// UTF-8 without CR or LF. May contain spaces and may be empty.
        payload: &'a [u8],
    },
}

/// Why a line is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The first word is not a request of this protocol.
    #[error(
        "expected 'SUBSCRIBE <channel> [since | last=N]' or 'PUBLISH <channel> <payload>', got '{0}'"
    )]
    Verb(String),
    /// The channel is missing, not UTF-8, or has control characters in it.
    #[error("expected the name of a channel after '{verb}', got '{found}'")]
    Channel {
        /// The request.
        verb: &'static str,
        /// What stands in the channel's place.
        found: String,
    },
    /// It is not a cursor.
    #[error("expected a cursor such as '19' or 'k3f9-19' after 'SUBSCRIBE <channel> ', got '{0}'")]
    Since(String),
    /// The count behind `last=` is not a decimal number up to [`MAX_LAST`].
    #[error("expected a count of 0 to {MAX_LAST} after 'last=', got '{0}'")]
    Last(String),
    /// There is no space after the channel, so no payload.
    #[error("expected a payload after 'PUBLISH {0}', got the end of the line")]
    NoPayload(String),
    /// The payload cannot travel.
    #[error(
        "expected a payload of UTF-8 without CR or LF and of at most {max} bytes, got {0} bytes \
         that are not",
        max = envelope::MAX_BYTES - envelope::HEAD_BYTES
    )]
    Payload(usize),
}

impl<'a> Request<'a> {
    /// Reads one line, with or without its LF or CR LF (the latter for people with a terminal).
    ///
    /// # Errors
    /// [`RequestError`] says what was expected in the place of what was found.
    pub fn parse(line: &'a [u8]) -> Result<Self, RequestError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(rest) = word(line, b"SUBSCRIBE") {
            let (name, from) = split_at_space(rest);
            Ok(Self::Subscribe {
                channel: channel("SUBSCRIBE", name)?,
                start: from.map_or(Ok(Start::Tail), start)?,
            })
        } else if let Some(rest) = word(line, b"PUBLISH") {
            let (name, payload) = split_at_space(rest);
            let channel = channel("PUBLISH", name)?;
            let payload = payload.ok_or_else(|| RequestError::NoPayload(channel.to_owned()))?;
            if !envelope::payload_is_valid(payload) {
                return Err(RequestError::Payload(payload.len()));
            }
            Ok(Self::Publish { channel, payload })
        } else {
            Err(RequestError::Verb(excerpt(line)))
        }
    }
}

/// What follows `word` and one space, nothing where the line ends there; `None` where another word
/// stands first.
fn word<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(word)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix(b" ")
    }
}

fn split_at_space(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|&byte| byte == b' ') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

/// Reads what may stand behind the channel.
fn start(text: &[u8]) -> Result<Start, RequestError> {
    if let Some(count) = text.strip_prefix(b"last=") {
        let last = parse_last(count).map(Start::Last);
        return last.ok_or_else(|| RequestError::Last(excerpt(count)));
    }
    let since = Cursor::parse(text).map(Start::Since);
    since.ok_or_else(|| RequestError::Since(excerpt(text)))
}

fn channel<'a>(verb: &'static str, name: &'a [u8]) -> Result<&'a str, RequestError> {
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(text),
        _ => Err(RequestError::Channel {
            verb,
            found: excerpt(name),
        }),
    }
}

/// Appends a message: the envelope and LF.
pub fn encode(envelope: &[u8], out: &mut Vec<u8>) {
    out.reserve(envelope.len() + 1);
    out.extend_from_slice(envelope);
    out.push(b'\n');
}

/// Appends `SUBSCRIBE <channel> [since | last=N]`. The channel must not contain spaces or line
/// ends.
pub fn encode_subscribe(channel: &str, start: impl Into<Start>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SUBSCRIBE ");
    out.extend_from_slice(channel.as_bytes());
    match start.into() {
        Start::Tail => {}
        Start::Since(since) => {
            out.push(b' ');
            since.push(out);
        }
        Start::Last(count) => {
            out.extend_from_slice(b" last=");
            push_decimal(count, out);
        }
    }
    out.push(b'\n');
}

/// Appends `PUBLISH <channel> <payload>`. The channel must not contain spaces, neither of them
/// line ends.
pub fn encode_publish(channel: &str, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"PUBLISH ");
    out.extend_from_slice(channel.as_bytes());
    out.push(b' ');
    out.extend_from_slice(payload);
    out.push(b'\n');
}

/// Appends `SUBSCRIBED <cursor>`: the first message to come is the one after `cursor`.
pub fn encode_subscribed(cursor: impl Into<Cursor>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SUBSCRIBED ");
    cursor.into().push(out);
    out.push(b'\n');
}

/// Appends `LAGGED <from> <to>`, the first and the last sequence that were lost, or `LAGGED unknown`.
pub fn encode_lagged(lost: Lost, out: &mut Vec<u8>) {
    out.extend_from_slice(b"LAGGED ");
    lost.push(out);
    out.push(b'\n');
}

/// Reads what [`encode_lagged`] wrote, with or without its LF: the body of a poll's status 410, a text
/// message of a WebSocket. `None` where it has another shape.
pub fn parse_lagged(line: &[u8]) -> Option<Lost> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Lost::parse(word(line, b"LAGGED")?)
}

/// Reads what [`encode_subscribed`] wrote, without its LF. `None` where it has another shape.
pub fn parse_subscribed(line: &[u8]) -> Option<Cursor> {
    Cursor::parse(word(line, b"SUBSCRIBED")?)
}

/// Appends `ERROR <text>`. Line ends in `text` become spaces: an error stays one line.
pub fn encode_error(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ERROR ");
    out.extend(text.bytes().map(|byte| {
        if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            byte
        }
    }));
    out.push(b'\n');
}

/// What a server says in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// The subscription stands; the first message to come is the one after this cursor.
    Subscribed(Cursor),
    /// A message.
    Envelope(&'a [u8]),
    /// An empty line.
    KeepAlive,
    /// The subscriber fell off the ring, or its cursor was not of this log.
    Lagged(Lost),
    /// The server refuses or gives up, in its own words.
    Error(&'a str),
}

/// Why a server's line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A line longer than any that the protocol has.
    #[error(transparent)]
    TooLong(#[from] LineTooLong),
    /// Neither an envelope nor a control line of the protocol.
    #[error(
        "expected an envelope, 'SUBSCRIBED <cursor>', 'LAGGED <from> <to> | unknown' or 'ERROR <text>', got \
         '{0}'"
    )]
    Unknown(String),
}

/// The client's side of the protocol. Holds the unfinished rest of a line and nothing else.
#[derive(Debug, Default)]
pub struct Decoder {
    lines: Lines,
}

impl Decoder {
    /// Takes the next bytes of the stream and calls `each` with what every line completed says.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] past [`MAX_BUFFERED_BYTES`], [`DecodeError::Unknown`] for a line
    /// that the protocol does not have. The rest of `bytes` is then discarded.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Line<'_>),
    ) -> Result<(), DecodeError> {
        self.lines.feed(bytes, MAX_BUFFERED_BYTES, |line| {
            each(parse_line(line)?);
            Ok(())
        })
    }

    /// Bytes of the line that is not finished yet.
    pub fn pending_bytes(&self) -> usize {
        self.lines.pending_bytes()
    }
}

fn parse_line(line: &[u8]) -> Result<Line<'_>, DecodeError> {
    let parsed = match line.first() {
        None => Some(Line::KeepAlive),
        Some(b'0'..=b'9' | b'a'..=b'f') => Some(Line::Envelope(line)),
        Some(_) => parse_control(line),
    };
    parsed.ok_or_else(|| DecodeError::Unknown(excerpt(line)))
}

fn parse_control(line: &[u8]) -> Option<Line<'_>> {
    if let Some(cursor) = parse_subscribed(line) {
        Some(Line::Subscribed(cursor))
    } else if let Some(lost) = parse_lagged(line) {
        Some(Line::Lagged(lost))
    } else {
        std::str::from_utf8(word(line, b"ERROR")?)
            .ok()
            .map(Line::Error)
    }
}

#[cfg(test)]
mod tests;
