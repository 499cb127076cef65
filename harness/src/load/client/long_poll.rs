//! Long-polling: one outstanding request, the next one sent as soon as it is answered (RFC 6202).
//!
//! Place on the data path: socket → **client** → sink. Not measured here: anything.

use pushbench_protocol::framing::http1::Body;
use pushbench_protocol::transport::long_poll as framing;

use super::http::HeadReader;
use super::{ClientError, Next, Protocol, Sink, Target};

/// The client of the `long_poll` transport.
#[derive(Debug, Default)]
pub struct LongPoll {
    answers: Answers,
}

impl Protocol for LongPoll {
    const RECONNECTS: bool = true;
    const ANSWERS_LATE: bool = true;

    fn open(
        &mut self,
        target: Target<'_>,
        since: Option<u64>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) {
        self.answers = Answers::resuming(since.is_some());
        sink.request();
        let start = target.start(since);
        framing::encode_request(target.host, &target.channel_name(), start, out);
    }

    fn receive(
        &mut self,
        bytes: &mut [u8],
        target: Target<'_>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) -> Result<Next, ClientError> {
        if self.answers.receive(bytes, sink)? {
            self.poll(target, sink, out);
        }
        Ok(Next::Read)
    }

    fn poll(&mut self, target: Target<'_>, sink: &mut impl Sink, out: &mut Vec<u8>) {
        sink.request();
        framing::encode_request(
            target.host,
            &target.channel_name(),
            Some(sink.cursor()),
            out,
        );
    }

    fn is_between_answers(&self) -> bool {
        self.answers.is_between()
    }
}

/// Reads the answers to polls, one after another on one connection. For short polls too.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    state: State,
    first: First,
}

/// What the first answer on a connection tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum First {
    /// The start cursor.
    #[default]
    Cursor,
    /// That delivery goes on behind the client's own.
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
    body: Body,
    text: Vec<u8>,
}

impl Default for State {
    fn default() -> Self {
        Self::Head(HeadReader::default())
    }
}

impl Answers {
    /// Answers on a new connection; `resuming` where the client holds a cursor already.
    pub(crate) fn resuming(resuming: bool) -> Self {
        Self {
            state: State::default(),
            first: if resuming {
                First::Resumed
            } else {
                First::Cursor
            },
        }
    }

    /// Takes what arrived. `true` when an answer is complete: the next request may be sent.
    pub(crate) fn receive(
        &mut self,
        mut bytes: &mut [u8],
        sink: &mut impl Sink,
    ) -> Result<bool, ClientError> {
        if let State::Head(reader) = &mut self.state {
            let Some((head, length)) = reader.feed(bytes)? else {
                return Ok(false);
            };
            let Some(cursor) = head.push_cursor else {
                let expected = 200;
                return Err(ClientError::Status {
                    expected,
                    got: head.status,
                });
            };
            if !matches!(head.status, 200 | 204 | 410) {
                return Err(ClientError::Status {
                    expected: 200,
                    got: head.status,
                });
            }
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
                finish(head.status, &bytes[..progress.payload_len], sink)?;
                return Ok(true);
            }
            let text = bytes[..progress.payload_len].to_vec();
            self.state = State::Body(Box::new(Reading {
                status: head.status,
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
        finish(reading.status, &reading.text, sink)?;
        self.state = State::default();
        Ok(true)
    }

    /// Whether no answer is half read.
    pub(crate) fn is_between(&self) -> bool {
        matches!(&self.state, State::Head(reader) if reader.is_empty())
    }
}

fn finish(status: u16, text: &[u8], sink: &mut impl Sink) -> Result<(), ClientError> {
    if status == 410 {
        let (from, to) = framing::parse_lagged(text).ok_or_else(|| {
            ClientError::Protocol("expected 'LAGGED from to' in the body of a 410".into())
        })?;
        sink.lagged(from, to);
        return Ok(());
    }
    let mut result = Ok(());
    framing::lines(text, |line| {
        if let Err(error) = sink.envelope(line) {
            result = Err(error);
        }
    });
    result
}
