//! Server-sent events: one endless answer, taken apart as WHATWG HTML says.
//!
//! Place on the data path: socket → **client** → sink. Not measured here: anything.

use pushbench_servers::framing::http1::{Body, BodyLength};
use pushbench_servers::framing::{parse_range, sse};

use super::http::HeadReader;
use super::{ClientError, Next, Protocol, Sink, Target};

/// The client of the `sse` transport.
#[derive(Debug, Default)]
pub struct Sse {
    state: State,
}

#[derive(Debug)]
enum State {
    Head(HeadReader),
    Stream { body: Body, decoder: sse::Decoder },
}

impl Default for State {
    fn default() -> Self {
        Self::Head(HeadReader::default())
    }
}

impl Protocol for Sse {
    fn open(
        &mut self,
        target: Target<'_>,
        since: Option<u64>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) {
        sink.request();
        sse::encode_request(target.host, &target.channel_name(), None, since, out);
    }

    fn receive(
        &mut self,
        mut bytes: &mut [u8],
        _target: Target<'_>,
        sink: &mut impl Sink,
        _out: &mut Vec<u8>,
    ) -> Result<Next, ClientError> {
        if let State::Head(reader) = &mut self.state {
            let Some((head, length)) = reader.feed(bytes)? else {
                return Ok(Next::Read);
            };
            if head.status != 200 {
                return Err(ClientError::Status {
                    expected: 200,
                    got: head.status,
                });
            }
            // Another content type fails the connection for good (WHATWG HTML 9.2.3).
            if !head.event_stream {
                return Err(ClientError::Protocol(
                    "expected content type 'text/event-stream', got another".into(),
                ));
            }
            let Some(cursor) = head.push_cursor else {
                return Err(ClientError::Protocol(
                    "the answer has no 'Push-Cursor' header".into(),
                ));
            };
            sink.subscribed(cursor);
            bytes = &mut bytes[length..];
            let body = Body::new(head.body);
            debug_assert!(head.body != BodyLength::None);
            self.state = State::Stream {
                body,
                decoder: sse::Decoder::default(),
            };
        }
        let State::Stream { body, decoder } = &mut self.state else {
            return Ok(Next::Read);
        };
        let mut result = Ok(Next::Read);
        while !bytes.is_empty() {
            let progress = body.decode(bytes)?;
            decoder.feed(&bytes[..progress.payload_len], |block| {
                let Some(data) = &block.data else { return };
                if block.event == sse::LAGGED_EVENT {
                    if let Some((from, to)) = parse_range(data) {
                        sink.lagged(from, to);
                    }
                    result = Ok(Next::Closed);
                } else if let Err(error) = sink.envelope(data) {
                    result = Err(error);
                }
            })?;
            if progress.finished {
                return result.and(Ok(Next::Closed));
            }
            bytes = &mut bytes[progress.consumed..];
        }
        result
    }
}
