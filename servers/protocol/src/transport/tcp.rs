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
//!                               ←    ERROR <text>            and the connection is closed
//! PUBLISH <channel> <payload>   →
//! ```
//!
//! Envelopes need no word in front: they begin with a lower-case hexadecimal digit, control lines
//! with an upper-case letter.

use crate::envelope;
use crate::framing::{
    LineTooLong, Lines, MAX_BUFFERED_BYTES, encode_range, excerpt, parse_decimal,
};
use crate::framing::{MAX_LAST, Start, parse_last, parse_range, push_decimal};

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

/// Why a line is no request.
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
    /// The cursor is not a decimal number.
    #[error("expected a cursor in decimal after 'SUBSCRIBE <channel> ', got '{0}'")]
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
    let since = parse_decimal(text).map(Start::Since);
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
            push_decimal(since, out);
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
pub fn encode_subscribed(cursor: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SUBSCRIBED ");
    push_decimal(cursor, out);
    out.push(b'\n');
}

/// Appends `LAGGED <from> <to>`: the first and the last sequence that were lost.
pub fn encode_lagged(from: u64, to: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"LAGGED ");
    encode_range(from, to, out);
    out.push(b'\n');
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
    Subscribed(u64),
    /// A message.
    Envelope(&'a [u8]),
    /// An empty line.
    KeepAlive,
    /// The subscriber fell off the ring.
    Lagged {
        /// First sequence lost.
        from: u64,
        /// Last sequence lost.
        to: u64,
    },
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
        "expected an envelope, 'SUBSCRIBED <cursor>', 'LAGGED <from> <to>' or 'ERROR <text>', got \
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
    if let Some(cursor) = word(line, b"SUBSCRIBED") {
        parse_decimal(cursor).map(Line::Subscribed)
    } else if let Some((from, to)) = word(line, b"LAGGED").and_then(parse_range) {
        Some(Line::Lagged { from, to })
    } else {
        std::str::from_utf8(word(line, b"ERROR")?)
            .ok()
            .map(Line::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::testing::{at_every_split, envelope, feeds, feeds_of};

    fn decode(feeds: &[&[u8]]) -> (Vec<String>, Option<DecodeError>) {
        let (mut decoder, mut found) = (Decoder::default(), Vec::new());
        for feed in feeds {
            if let Err(error) = decoder.feed(feed, |line| found.push(format!("{line:?}"))) {
                return (found, Some(error));
            }
        }
        (found, None)
    }

    #[test]
    fn requests_have_the_documented_bytes() {
        let mut out = Vec::new();
        encode_subscribe("news", None, &mut out);
        encode_subscribe("news", Some(7), &mut out);
        encode_subscribe("news", Start::Last(7), &mut out);
        encode_publish("news", "zażółć gęślą".as_bytes(), &mut out);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "SUBSCRIBE news\nSUBSCRIBE news 7\nSUBSCRIBE news last=7\n\
             PUBLISH news zażółć gęślą\n"
        );
    }

    #[test]
    fn answers_have_the_documented_bytes() {
        let mut out = Vec::new();
        encode_subscribed(0, &mut out);
        encode(b"envelope", &mut out);
        encode_lagged(3, 9, &mut out);
        encode_error("no\r\nsuch channel", &mut out);
        assert_eq!(
            out,
            b"SUBSCRIBED 0\nenvelope\nLAGGED 3 9\nERROR no  such channel\n"
        );
    }

    #[test]
    fn requests_parse_with_and_without_their_line_end() {
        for end in ["", "\n", "\r\n"] {
            let parse = |text: &str| {
                let line = format!("{text}{end}").leak();
                Request::parse(line.as_bytes())
            };
            assert_eq!(
                parse("SUBSCRIBE news"),
                Ok(Request::Subscribe {
                    channel: "news",
                    start: Start::Tail
                })
            );
            assert_eq!(
                parse("SUBSCRIBE news last=1000000"),
                Ok(Request::Subscribe {
                    channel: "news",
                    start: Start::Last(1_000_000)
                })
            );
            assert_eq!(
                parse("SUBSCRIBE news 18446744073709551615"),
                Ok(Request::Subscribe {
                    channel: "news",
                    start: Start::Since(u64::MAX)
                })
            );
            assert_eq!(
                parse("PUBLISH żółw two words "),
                Ok(Request::Publish {
                    channel: "żółw",
                    payload: b"two words "
                })
            );
            assert_eq!(
                parse("PUBLISH news "),
                Ok(Request::Publish {
                    channel: "news",
                    payload: b""
                })
            );
        }
    }

    #[test]
    fn a_bad_request_says_what_was_expected_and_what_was_found() {
        for (line, message) in [
            (
                &b"subscribe news"[..],
                "expected 'SUBSCRIBE <channel> [since | last=N]' or 'PUBLISH <channel> <payload>', got \
                 'subscribe news'",
            ),
            (
                b"SUBSCRIBED 7",
                "expected 'SUBSCRIBE <channel> [since | last=N]' or 'PUBLISH <channel> <payload>', got \
                 'SUBSCRIBED 7'",
            ),
            (
                b"SUBSCRIBE",
                "expected the name of a channel after 'SUBSCRIBE', got ''",
            ),
            (
                b"SUBSCRIBE  7",
                "expected the name of a channel after 'SUBSCRIBE', got ''",
            ),
            (
                b"PUBLISH a\tb x",
                "expected the name of a channel after 'PUBLISH', got 'a\\tb'",
            ),
            (
                b"PUBLISH \xff x",
                "expected the name of a channel after 'PUBLISH', got '\u{fffd}'",
            ),
            (
                b"SUBSCRIBE news -1",
                "expected a cursor in decimal after 'SUBSCRIBE <channel> ', got '-1'",
            ),
            (
                b"SUBSCRIBE news 1 2",
                "expected a cursor in decimal after 'SUBSCRIBE <channel> ', got '1 2'",
            ),
            (
                b"SUBSCRIBE news last=1000001",
                "expected a count of 0 to 1000000 after 'last=', got '1000001'",
            ),
            (
                b"SUBSCRIBE news last=",
                "expected a count of 0 to 1000000 after 'last=', got ''",
            ),
            (
                b"SUBSCRIBE news 3 last=1",
                "expected a cursor in decimal after 'SUBSCRIBE <channel> ', got '3 last=1'",
            ),
            (
                b"PUBLISH news",
                "expected a payload after 'PUBLISH news', got the end of the line",
            ),
            (
                b"PUBLISH news a\xff",
                "expected a payload of UTF-8 without CR or LF and of at most 1048525 bytes, got 2 \
                 bytes that are not",
            ),
        ] {
            let error = Request::parse(line).expect_err("no request");
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_stream_decodes_the_same_at_every_split() {
        let mut stream = b"SUBSCRIBED 41\n".to_vec();
        encode(&envelope(42, 60), &mut stream);
        stream.extend_from_slice(KEEP_ALIVE);
        encode_lagged(43, 50, &mut stream);
        encode(&envelope(0xf << 60, 52), &mut stream);
        encode_error("shutting down", &mut stream);
        stream.extend_from_slice(b"unfinished");
        let (found, error) = at_every_split(&stream, decode);
        assert_eq!(
            found,
            [
                "Subscribed(41)".to_owned(),
                format!("{:?}", Line::Envelope(&envelope(42, 60))),
                "KeepAlive".to_owned(),
                "Lagged { from: 43, to: 50 }".to_owned(),
                format!("{:?}", Line::Envelope(&envelope(0xf << 60, 52))),
                "Error(\"shutting down\")".to_owned(),
            ]
        );
        assert_eq!(error, None);
    }

    #[test]
    fn lines_that_the_protocol_does_not_have_are_errors() {
        for line in [
            "HTTP/1.1 400",
            "SUBSCRIBED",
            "SUBSCRIBED x",
            "LAGGED 9 3",
            "ERRORS",
            "é",
        ] {
            let (found, error) = at_every_split(format!("\n{line}\n\n").as_bytes(), decode);
            assert_eq!(found, ["KeepAlive"]);
            assert_eq!(error, Some(DecodeError::Unknown(line.to_owned())));
        }
    }

    #[test]
    fn the_longest_envelope_passes_and_a_longer_line_is_an_error() {
        let mut decoder = Decoder::default();
        let mut stream = Vec::new();
        encode(&envelope(1, envelope::MAX_BYTES), &mut stream);
        let mut lengths = Vec::new();
        for part in stream.chunks(4096) {
            decoder
                .feed(part, |line| {
                    if let Line::Envelope(bytes) = line {
                        lengths.push(bytes.len());
                    }
                })
                .expect("an envelope of the largest size");
        }
        assert_eq!(lengths, [envelope::MAX_BYTES]);
        let mut fed = 0;
        let error = loop {
            fed += 4096;
            assert!(fed < 2 * MAX_BUFFERED_BYTES, "the bound must hold");
            if let Err(error) = decoder.feed(&[b'a'; 4096], |_| ()) {
                break error;
            }
        };
        assert_eq!(
            error,
            DecodeError::TooLong(LineTooLong {
                max: MAX_BUFFERED_BYTES
            })
        );
    }

    #[test]
    fn a_decoder_is_one_vector() {
        assert_eq!(size_of::<Decoder>(), size_of::<Vec<u8>>());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(feeds in feeds()) {
            let mut decoder = Decoder::default();
            for feed in &feeds {
                let _ = Request::parse(feed);
                let _ = decoder.feed(feed, |_| ());
            }
        }

        #[test]
        fn any_mix_of_words_is_read_or_refused(
            feeds in feeds_of(&[b"LAGGED", b"ERROR", b"SUBSCRIBED", b" ", b"7", b"\n", b"\xc3"])
        ) {
            let mut decoder = Decoder::default();
            for feed in &feeds {
                let _ = decoder.feed(feed, |_| ());
            }
        }
    }
}
