//! Polling: one outstanding request at a time, the next one sent as soon as it is answered (RFC 6202), or
//! after an interval.
//!
//! Place on the data path: socket → **client** → sink.

use pushbench_protocol::envelope;
use pushbench_protocol::framing::http1::Body;
use pushbench_protocol::framing::{Cursor, Lost};
use pushbench_protocol::transport::{Transport, poll};

use super::http::HeadReader;
use super::{ClientError, Next, Outcome, Protocol, Sink, Target};

/// Longest body of an answer, in bytes: a server writes up to 256 KiB at once, or one envelope.
const MAX_BODY_BYTES: usize = 2 * envelope::MAX_BYTES;

/// The client of the transports that poll; `HELD`: of the one whose server holds a request until there is
/// something.
#[derive(Debug, Default)]
pub(super) struct Polled<const HELD: bool> {
    state: State,
    first: First,
}

/// What the first answer on a connection brings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum First {
    /// The start cursor.
    #[default]
    Cursor,
    /// That delivery goes on after the client's own.
    Resumed,
    /// It has come.
    Over,
}

#[derive(Debug)]
enum State {
    Head(HeadReader),
    /// Boxed: most clients wait for a head at any time.
    Body(Box<Reading>),
    /// An answer is complete, and the next request not yet sent.
    Answered,
}

#[derive(Debug)]
struct Reading {
    status: u16,
    cursor: Cursor,
    body: Body,
    text: Vec<u8>,
}

impl Default for State {
    fn default() -> Self {
        Self::Head(HeadReader::default())
    }
}

impl<const HELD: bool> Protocol for Polled<HELD> {
    const TRANSPORT: Transport = if HELD {
        Transport::LongPoll
    } else {
        Transport::ShortPoll
    };

    fn begin(&mut self, resumes: bool) {
        self.state = State::default();
        self.first = if resumes {
            First::Resumed
        } else {
            First::Cursor
        };
    }

    fn receive(
        &mut self,
        mut bytes: &mut [u8],
        target: Target<'_>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) -> Result<Next, ClientError> {
        while let Some(length) = self.answer(bytes, sink)? {
            bytes = &mut bytes[length..];
            if HELD {
                self.poll(target, sink, out);
            } else if bytes.is_empty() {
                return Ok(Next::Pause);
            }
        }
        Ok(Next::Read)
    }

    fn poll(&mut self, target: Target<'_>, sink: &mut impl Sink, out: &mut Vec<u8>) {
        self.state = State::default();
        sink.request();
        target.encode_subscribe(Self::TRANSPORT, Some(sink.cursor()), out);
    }

    fn is_between_answers(&self) -> bool {
        match &self.state {
            State::Head(reader) => reader.is_empty(),
            State::Body(_) => false,
            State::Answered => true,
        }
    }
}

impl<const HELD: bool> Polled<HELD> {
    /// Takes what arrived. Once an answer is complete: how many of `bytes` belonged to it.
    fn answer(
        &mut self,
        bytes: &mut [u8],
        sink: &mut impl Sink,
    ) -> Result<Option<usize>, ClientError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if let State::Head(reader) = &mut self.state {
            let Some((head, length)) = reader.feed(bytes)? else {
                return Ok(None);
            };
            let (Some(cursor), 200 | 204 | 410) = (head.push_cursor, head.status) else {
                return Err(ClientError::Status {
                    expected: 200,
                    got: head.status,
                });
            };
            if head.close {
                return Err(ClientError::Eof("after an answer that said so"));
            }
            let first = std::mem::replace(&mut self.first, First::Over);
            if first == First::Resumed {
                sink.resumed();
            }
            if head.status == 204 {
                // The first answer carries no message but the cursor to start from.
                if first == First::Cursor {
                    sink.subscribed(cursor);
                } else {
                    sink.empty_response();
                }
                self.state = State::Answered;
                return Ok(Some(length));
            }
            // The common case: the whole body arrived with its head, and needs no buffer.
            let mut body = Body::new(head.body);
            let progress = body.decode(&mut bytes[length..])?;
            let text = &bytes[length..length + progress.payload_len];
            if progress.finished {
                finish(head.status, cursor, text, sink)?;
                self.state = State::Answered;
                return Ok(Some(length + progress.consumed));
            }
            self.state = State::Body(Box::new(Reading {
                status: head.status,
                cursor,
                body,
                text: bounded(Vec::new(), text)?,
            }));
            return Ok(None);
        }
        let State::Body(reading) = &mut self.state else {
            let error = "bytes came that no request had asked for";
            return Err(ClientError::Protocol(error.into()));
        };
        let progress = reading.body.decode(bytes)?;
        let text = std::mem::take(&mut reading.text);
        reading.text = bounded(text, &bytes[..progress.payload_len])?;
        if !progress.finished {
            return Ok(None);
        }
        finish(reading.status, reading.cursor, &reading.text, sink)?;
        self.state = State::Answered;
        Ok(Some(progress.consumed))
    }
}

/// `text` with `more` at its end, unless that is longer than an answer may be.
pub(super) fn bounded(mut text: Vec<u8>, more: &[u8]) -> Result<Vec<u8>, ClientError> {
    if text.len() + more.len() > MAX_BODY_BYTES {
        return Err(ClientError::Protocol(format!(
            "expected at most {MAX_BODY_BYTES} bytes in the body of an answer, got more"
        )));
    }
    text.extend_from_slice(more);
    Ok(text)
}

fn finish(
    status: u16,
    cursor: Cursor,
    text: &[u8],
    sink: &mut impl Sink,
) -> Result<(), ClientError> {
    if status == 410 {
        let lost = poll::parse_lagged(text).ok_or_else(|| {
            ClientError::Protocol("expected 'LAGGED from to' in the body of a 410".into())
        })?;
        if lost == Lost::Unknown {
            // Its own cursor is of no use any more.
            sink.subscribed(cursor);
        }
        return sink.lagged(lost);
    }
    let mut outcome = Outcome::default();
    poll::lines(text, |line| {
        outcome.take(|| sink.envelope(line).map(|()| Next::Read))
    });
    outcome.0.map(|_| ())
}
