//! Polling: one outstanding request at a time, the next one sent as soon as it is answered (RFC 6202), or
//! after an interval.
//!
//! Place on the data path: socket → **client** → sink.

use pushbench_protocol::framing::http1::Body;
use pushbench_protocol::framing::{Cursor, Lost};
use pushbench_protocol::transport::{Transport, poll};

use super::http::HeadReader;
use super::{ClientError, Next, Protocol, Sink, Target};

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
        bytes: &mut [u8],
        target: Target<'_>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) -> Result<Next, ClientError> {
        match (self.is_answered(bytes, sink)?, HELD) {
            (false, _) => Ok(Next::Read),
            (true, false) => Ok(Next::Pause),
            (true, true) => {
                self.poll(target, sink, out);
                Ok(Next::Read)
            }
        }
    }

    fn is_between_answers(&self) -> bool {
        matches!(&self.state, State::Head(reader) if reader.is_empty())
    }
}

impl<const HELD: bool> Polled<HELD> {
    /// Takes what arrived. `true` when an answer is complete: the next request may be sent.
    fn is_answered(
        &mut self,
        mut bytes: &mut [u8],
        sink: &mut impl Sink,
    ) -> Result<bool, ClientError> {
        if let State::Head(reader) = &mut self.state {
            let Some((head, length)) = reader.feed(bytes)? else {
                return Ok(false);
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
                return Ok(true);
            }
            bytes = &mut bytes[length..];
            // The common case: the whole body arrived with its head, and needs no buffer.
            let mut body = Body::new(head.body);
            let progress = body.decode(bytes)?;
            if progress.finished {
                finish(head.status, cursor, &bytes[..progress.payload_len], sink)?;
                return Ok(true);
            }
            let text = bytes[..progress.payload_len].to_vec();
            self.state = State::Body(Box::new(Reading {
                status: head.status,
                cursor,
                body,
                text,
            }));
            return Ok(false);
        }
        let State::Body(reading) = &mut self.state else {
            return Ok(false);
        };
        let progress = reading.body.decode(bytes)?;
        reading
            .text
            .extend_from_slice(&bytes[..progress.payload_len]);
        if !progress.finished {
            return Ok(false);
        }
        finish(reading.status, reading.cursor, &reading.text, sink)?;
        self.state = State::default();
        Ok(true)
    }
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
    let mut result = Ok(());
    poll::lines(text, |line| {
        if let Err(error) = sink.envelope(line) {
            result = Err(error);
        }
    });
    result
}
