//! Takes the body out of a response (RFC 9112, sections 6 and 7), in place.
//!
//! Place on the data path: between the socket and the decoder of SSE or of a poll. In: what was
//! read, in the caller's buffer. Out: the payload, moved to the front of the same buffer, so that
//! thousands of clients can share one.

use super::{BodyLength, MAX_FIELDS, MAX_HEAD_BYTES};

/// What one call of [`Body::decode`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The first so many bytes of the input are payload now.
    pub payload_len: usize,
    /// So many bytes of the input belonged to this body. Fewer than all only when `finished`: the
    /// rest, still in its place, begins the next response.
    pub consumed: usize,
    /// Whether the body is complete.
    pub finished: bool,
}

/// Why a body cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A chunk does not begin with a hexadecimal number.
    #[error("expected the size of a chunk in hexadecimal, got byte '{0:#04x}'")]
    Size(u8),
    /// A chunk of 2^64 bytes or more.
    #[error("expected the size of a chunk below 2^64, got more")]
    SizeOverflow,
    /// Something else in the place of a CR or of an LF.
    #[error("expected CR LF behind a chunk, its size or a trailer, got byte '{0:#04x}'")]
    LineEnd(u8),
    /// A trailer that is no field: a byte that its name or its value cannot have (RFC 9110, section 5).
    #[error("expected a trailer to be a header field, got byte '{0:#04x}'")]
    Trailer(u8),
    /// More fields than any head may have.
    #[error("expected at most {MAX_FIELDS} trailers, got more")]
    Trailers,
    /// Chunk extensions or trailers without end.
    #[error("expected at most {MAX_HEAD_BYTES} bytes of chunk extensions or trailers, got more")]
    TooLong,
    /// The connection ended before the body did.
    #[error("expected more of the body, got the end of the connection")]
    Truncated,
}

/// The state of one response body between reads.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    /// Payload bytes to come of the body or of this chunk; the size read so far in
    /// [`State::Size`].
    left: u64,
    /// Bytes of the chunk's size line, or of all trailers: what [`MAX_HEAD_BYTES`] bounds.
    overhead: u16,
    /// Bytes of extensions in the whole body, which the same bounds: a peer could send any number of
    /// them with each byte of payload.
    extensions: u16,
    /// Trailers so far.
    trailers: u8,
    state: State,
}

/// Where in the body the next byte stands; from `SizeStart` on, in the grammar of chunks (RFC
/// 9112, section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Finished,
    UntilClose,
    Length,
    /// The first digit of a size.
    SizeStart,
    /// A further digit.
    Size,
    /// White space or extensions, up to CR. They are ignored, as a recipient must ignore what it
    /// does not know (section 7.1.1).
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    /// Its name, up to the colon.
    TrailerName,
    /// Its value, up to CR.
    Trailer,
    TrailerLf,
    LastLf,
}

impl Body {
    /// A body at its first byte. One of no bytes is finished from the start.
    pub fn new(length: BodyLength) -> Self {
        let (left, state) = match length {
            BodyLength::None | BodyLength::Length(0) => (0, State::Finished),
            BodyLength::Length(bytes) => (bytes, State::Length),
            BodyLength::Chunked => (0, State::SizeStart),
            BodyLength::UntilClose => (0, State::UntilClose),
        };
        Self {
            left,
            overhead: 0,
            extensions: 0,
            trailers: 0,
            state,
        }
    }

    /// Whether the body is complete. One that lasts until the connection closes never is.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Takes what was read and moves the payload in it to the front. Cut anywhere, the input gives
    /// the same payload.
    ///
    /// # Errors
    /// [`BodyError`] for chunks that are not what RFC 9112 says. Where the body ends is then not
    /// known, so the connection is of no further use.
    pub fn decode(&mut self, input: &mut [u8]) -> Result<Progress, BodyError> {
        match self.decode_to_error(input) {
            (progress, None) => Ok(progress),
            (_, Some(error)) => Err(error),
        }
    }

    /// As [`Self::decode`], for those who take payload as it comes: what there was of it in front of an
    /// error counts, as it would have if it had been read earlier.
    pub fn decode_to_error(&mut self, input: &mut [u8]) -> (Progress, Option<BodyError>) {
        let (mut read, mut written) = (0, 0);
        let mut wrong = None;
        while wrong.is_none() && read < input.len() && self.state != State::Finished {
            match self.state {
                State::UntilClose => {
                    // All of it, and nothing has moved.
                    (read, written) = (input.len(), input.len());
                }
                State::Length | State::Data => {
                    let rest = input.len() - read;
                    let take = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                    if read != written {
                        input.copy_within(read..read + take, written);
                    }
                    read += take;
                    written += take;
                    self.left -= take as u64;
                    if self.left == 0 {
                        self.state = match self.state {
                            State::Length => State::Finished,
                            _ => State::DataCr,
                        };
                    }
                }
                _ => {
                    wrong = self.step(input[read]).err();
                    read += 1;
                }
            }
        }
        let progress = Progress {
            payload_len: written,
            consumed: read,
            finished: self.is_finished(),
        };
        (progress, wrong)
    }

    /// To be called when the connection ended.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] where more was to come.
    pub fn end_of_input(&self) -> Result<(), BodyError> {
        match self.state {
            State::Finished | State::UntilClose => Ok(()),
            _ => Err(BodyError::Truncated),
        }
    }

    /// Takes one byte of what is not payload.
    fn step(&mut self, byte: u8) -> Result<(), BodyError> {
        // A size with zeros in front is one (section 7.1), and none of them is kept.
        let is_leading_zero =
            byte == b'0' && self.left == 0 && matches!(self.state, State::SizeStart | State::Size);
        // Saturating: a caller may go on after an error.
        self.overhead = self.overhead.saturating_add(u16::from(!is_leading_zero));
        if self.state == State::Extension {
            self.extensions = self.extensions.saturating_add(1);
        }
        if usize::from(self.overhead.max(self.extensions)) > MAX_HEAD_BYTES {
            return Err(BodyError::TooLong);
        }
        let expect = |expected: u8, next: State| {
            if byte == expected {
                Ok(next)
            } else {
                Err(BodyError::LineEnd(byte))
            }
        };
        self.state = match self.state {
            State::SizeStart | State::Size => match (char::from(byte).to_digit(16), byte) {
                (Some(digit), _) => {
                    if self.left >> 60 != 0 {
                        return Err(BodyError::SizeOverflow);
                    }
                    self.left = self.left << 4 | u64::from(digit);
                    State::Size
                }
                (None, b'\r') if self.state == State::Size => State::SizeLf,
                // White space before the extensions is bad and to be borne (section 7.1.1).
                (None, b';' | b' ' | b'\t') if self.state == State::Size => State::Extension,
                (None, _) => return Err(BodyError::Size(byte)),
            },
            // A bare LF does not end the line: what reads it so and what does not would disagree
            // about where the chunk starts.
            State::Extension => match byte {
                b'\r' => State::SizeLf,
                b'\n' => return Err(BodyError::LineEnd(byte)),
                _ => State::Extension,
            },
            State::SizeLf => {
                let next = if self.left == 0 {
                    State::TrailerStart
                } else {
                    State::Data
                };
                self.overhead = 0;
                expect(b'\n', next)?
            }
            State::DataCr => expect(b'\r', State::DataLf)?,
            State::DataLf => {
                self.overhead = 0;
                expect(b'\n', State::SizeStart)?
            }
            State::TrailerStart if byte == b'\r' => State::LastLf,
            State::TrailerStart => {
                if usize::from(self.trailers) == MAX_FIELDS {
                    return Err(BodyError::Trailers);
                }
                self.trailers += 1;
                match is_token(byte) {
                    true => State::TrailerName,
                    false => return Err(BodyError::Trailer(byte)),
                }
            }
            State::TrailerName => match byte {
                b':' => State::Trailer,
                _ if is_token(byte) => State::TrailerName,
                _ => return Err(BodyError::Trailer(byte)),
            },
            State::Trailer => match byte {
                b'\r' => State::TrailerLf,
                b'\n' => return Err(BodyError::LineEnd(byte)),
                b'\t' | b' '..=b'~' | 0x80.. => State::Trailer,
                _ => return Err(BodyError::Trailer(byte)),
            },
            State::TrailerLf => expect(b'\n', State::TrailerStart)?,
            State::LastLf => expect(b'\n', State::Finished)?,
            // Read by `decode` itself.
            State::Finished | State::UntilClose | State::Length | State::Data => self.state,
        };
        Ok(())
    }
}

/// Whether a byte may stand in the name of a field (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::testing::{at_every_split, feeds, feeds_of};

    /// Payload, consumed bytes, whether finished, error.
    type Outcome = (String, usize, bool, Option<BodyError>);

    fn decode(length: BodyLength, feeds: &[&[u8]]) -> Outcome {
        let (mut body, mut payload, mut consumed) = (Body::new(length), Vec::new(), 0);
        for feed in feeds {
            let mut buffer = feed.to_vec();
            match body.decode(&mut buffer) {
                Ok(progress) => {
                    payload.extend_from_slice(&buffer[..progress.payload_len]);
                    consumed += progress.consumed;
                    assert_eq!(progress.finished, body.is_finished());
                    assert!(progress.finished || progress.consumed == feed.len());
                    // What follows the body stays where it was.
                    assert_eq!(buffer[progress.consumed..], feed[progress.consumed..]);
                }
                // Payload before the error is not counted: it depends on the cut.
                Err(error) => return (String::new(), 0, false, Some(error)),
            }
        }
        (
            String::from_utf8_lossy(&payload).into_owned(),
            consumed,
            body.is_finished(),
            None,
        )
    }

    fn chunked(stream: &str) -> Outcome {
        at_every_split(stream.as_bytes(), |feeds| {
            decode(BodyLength::Chunked, feeds)
        })
    }

    fn error(stream: &str) -> BodyError {
        chunked(stream).3.expect("an error")
    }

    #[test]
    fn chunks_come_out_joined_at_every_split() {
        let stream = "4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n";
        assert_eq!(
            chunked(stream),
            ("Wikipedia".into(), stream.len(), true, None)
        );
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_in_either_case_with_leading_zeros() {
        let data = "x".repeat(0x1a);
        for size in ["1a", "1A", "0001a"] {
            let stream = format!("{size}\r\n{data}\r\n");
            assert_eq!(chunked(&stream), (data.clone(), stream.len(), false, None));
        }
    }

    #[test]
    fn extensions_and_trailers_are_skipped() {
        let stream = "3;a=\"b;c\"\r\nabc\r\n2 ;x\r\nde\r\n0;last\r\nA: b\r\nCD:\r\n\r\n";
        assert_eq!(chunked(stream), ("abcde".into(), stream.len(), true, None));
    }

    #[test]
    fn the_next_response_stays_behind_the_last_chunk() {
        let stream = "1\r\na\r\n0\r\n\r\n";
        let with_more = format!("{stream}HTTP/1.1 200 OK\r\n");
        assert_eq!(chunked(&with_more), ("a".into(), stream.len(), true, None));
    }

    #[test]
    fn chunks_that_are_not_as_specified_are_errors() {
        assert_eq!(error("x\r\n"), BodyError::Size(b'x'));
        assert_eq!(error("\r\n"), BodyError::Size(b'\r'));
        assert_eq!(error("-1\r\n"), BodyError::Size(b'-'));
        assert_eq!(error("1\na"), BodyError::Size(b'\n'));
        assert_eq!(error("1\rxa"), BodyError::LineEnd(b'x'));
        assert_eq!(error("1;a\nb\r\n"), BodyError::LineEnd(b'\n'));
        assert_eq!(error("1\r\nab\r\n"), BodyError::LineEnd(b'b'));
        assert_eq!(error("1\r\na\rx"), BodyError::LineEnd(b'x'));
        assert_eq!(error("0\r\nA: b\n\r\n"), BodyError::LineEnd(b'\n'));
        assert_eq!(error("0\r\n\rx"), BodyError::LineEnd(b'x'));
        assert_eq!(error("10000000000000000\r\n"), BodyError::SizeOverflow);
    }

    #[test]
    fn a_trailer_that_is_no_field_is_an_error() {
        assert_eq!(error("0\r\nb ad: y\r\n\r\n"), BodyError::Trailer(b' '));
        assert_eq!(error("0\r\nnone\r\n\r\n"), BodyError::Trailer(b'\r'));
        assert_eq!(error("0\r\n: y\r\n\r\n"), BodyError::Trailer(b':'));
        assert_eq!(error("0\r\n folded\r\n\r\n"), BodyError::Trailer(b' '));
        assert_eq!(error("0\r\nA: \x01\r\n\r\n"), BodyError::Trailer(1));
        let fields = |count| format!("0\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert_eq!(chunked(&fields(MAX_FIELDS)).3, None);
        assert_eq!(error(&fields(MAX_FIELDS + 1)), BodyError::Trailers);
    }

    #[test]
    fn a_chunk_of_the_largest_size_is_read_on() {
        let (payload, _, finished, error) = chunked("ffffffffffffffff\r\nabc");
        assert_eq!((payload.as_str(), finished, error), ("abc", false, None));
    }

    #[test]
    fn extensions_and_trailers_without_end_are_errors() {
        for start in ["1;", "0\r\nA: "] {
            let mut body = Body::new(BodyLength::Chunked);
            body.decode(&mut start.as_bytes().to_vec())
                .expect("a right start");
            let mut fed = 0;
            let error = loop {
                fed += 1000;
                assert!(fed <= MAX_HEAD_BYTES + 1000, "the bound must hold");
                if let Err(error) = body.decode(&mut [b'x'; 1000]) {
                    break error;
                }
            };
            assert_eq!(error, BodyError::TooLong);
        }
    }

    #[test]
    fn zeros_before_a_size_are_no_overhead() {
        let mut body = Body::new(BodyLength::Chunked);
        let mut stream = [vec![b'0'; MAX_HEAD_BYTES * 2], b"1\r\nx\r\n".to_vec()].concat();
        let progress = body.decode(&mut stream).expect("a right chunk");
        assert_eq!((progress.payload_len, stream[0]), (1, b'x'));
    }

    #[test]
    fn many_chunks_do_not_add_up_to_the_bound_and_their_extensions_do() {
        let mut body = Body::new(BodyLength::Chunked);
        for _ in 0..20_000 {
            let progress = body
                .decode(&mut b"1\r\nx\r\n".to_vec())
                .expect("a right chunk");
            assert_eq!(progress.payload_len, 1);
        }
        let mut body = Body::new(BodyLength::Chunked);
        let mut chunks = 0;
        while body.decode(&mut b"1;abc\r\nx\r\n".to_vec()).is_ok() {
            chunks += 1;
        }
        // Four bytes of each, with the CR that ends it.
        assert_eq!(chunks, MAX_HEAD_BYTES / 4);
    }

    #[test]
    fn a_body_of_known_length_ends_there() {
        let outcome = at_every_split(b"abcdeHTTP", |feeds| decode(BodyLength::Length(5), feeds));
        assert_eq!(outcome, ("abcde".into(), 5, true, None));
    }

    #[test]
    fn a_body_of_no_bytes_is_finished_from_the_start() {
        for length in [BodyLength::None, BodyLength::Length(0)] {
            assert!(Body::new(length).is_finished());
            assert_eq!(decode(length, &[b"HTTP"]), (String::new(), 0, true, None));
        }
    }

    #[test]
    fn a_body_until_close_takes_everything_and_is_never_finished() {
        let outcome = at_every_split(b"abcde", |feeds| decode(BodyLength::UntilClose, feeds));
        assert_eq!(outcome, ("abcde".into(), 5, false, None));
    }

    #[test]
    fn the_end_of_the_connection_is_an_error_where_more_was_to_come() {
        let ended = |length, bytes: &[u8]| {
            let mut body = Body::new(length);
            body.decode(&mut bytes.to_vec()).expect("right so far");
            body.end_of_input()
        };
        assert_eq!(ended(BodyLength::UntilClose, b"abc"), Ok(()));
        assert_eq!(ended(BodyLength::Length(3), b"abc"), Ok(()));
        assert_eq!(
            ended(BodyLength::Length(4), b"abc"),
            Err(BodyError::Truncated)
        );
        assert_eq!(ended(BodyLength::Chunked, b"0\r\n\r\n"), Ok(()));
        assert_eq!(
            ended(BodyLength::Chunked, b"0\r\n"),
            Err(BodyError::Truncated)
        );
    }

    #[test]
    fn a_body_is_small() {
        assert!(size_of::<Body>() <= 24, "{}", size_of::<Body>());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_the_same_fed_whole(feeds in feeds(), length in 0u64..300) {
            let parts: Vec<&[u8]> = feeds.iter().map(Vec::as_slice).collect();
            for length in [BodyLength::Chunked, BodyLength::Length(length)] {
                proptest::prop_assert_eq!(
                    decode(length, &parts),
                    decode(length, &[&parts.concat()])
                );
            }
        }

        #[test]
        fn any_mix_of_chunks_decodes_the_same_fed_whole(
            feeds in feeds_of(&[b"1\r\na\r\n", b"2", b"\r\n", b";x", b"abc", b"0", b"0\r\n\r\n"])
        ) {
            let parts: Vec<&[u8]> = feeds.iter().map(Vec::as_slice).collect();
            proptest::prop_assert_eq!(
                decode(BodyLength::Chunked, &parts),
                decode(BodyLength::Chunked, &[&parts.concat()])
            );
        }
    }
}
