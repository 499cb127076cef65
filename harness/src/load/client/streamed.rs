//! What the clients of an HTTP response that does not end share: its head, then its body, taken apart
//! into what the decoder of the transport finds in it.
//!
//! Place on the data path: socket → **client** → sink.

use pushbench_protocol::framing::http1::Body;
use pushbench_protocol::transport::Transport;

use super::http::HeadReader;
use super::{ClientError, Next, Protocol, Sink, Target};

/// What finds the messages in a stream of bytes.
pub(super) trait Messages: Default {
    /// The transport whose response they are in.
    const TRANSPORT: Transport;

    /// Takes the next bytes and hands what they complete to `sink`.
    ///
    /// # Errors
    /// [`ClientError`]: the session is over.
    fn feed_to(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), ClientError>;
}

/// The client of a response that does not end.
#[derive(Debug, Default)]
pub(super) struct Streamed<M>(State<M>);

/// Where a client stands in the response.
#[derive(Debug)]
enum State<M> {
    Head(HeadReader),
    Body(Body, M),
}

impl<M> Default for State<M> {
    fn default() -> Self {
        Self::Head(HeadReader::default())
    }
}

impl<M: Messages> Protocol for Streamed<M> {
    const TRANSPORT: Transport = M::TRANSPORT;

    fn receive(
        &mut self,
        mut bytes: &mut [u8],
        _target: Target<'_>,
        sink: &mut impl Sink,
        _out: &mut Vec<u8>,
    ) -> Result<Next, ClientError> {
        if let State::Head(reader) = &mut self.0 {
            let Some((head, length)) = reader.feed(bytes)? else {
                return Ok(Next::Read);
            };
            if head.status != 200 {
                return Err(ClientError::Status {
                    expected: 200,
                    got: head.status,
                });
            }
            if head.streams != Some(M::TRANSPORT) {
                let expected = M::TRANSPORT.streamed().map_or("", |r| r.content_type);
                return Err(ClientError::ContentType(expected));
            }
            let Some(cursor) = head.push_cursor else {
                return Err(ClientError::Protocol(
                    "the answer has no 'Push-Cursor' header".into(),
                ));
            };
            sink.subscribed(cursor);
            bytes = &mut bytes[length..];
            self.0 = State::Body(Body::new(head.body), M::default());
        }
        let State::Body(body, messages) = &mut self.0 else {
            return Ok(Next::Read);
        };
        while !bytes.is_empty() {
            let (progress, wrong) = body.decode_to_error(bytes);
            messages.feed_to(&bytes[..progress.payload_len], sink)?;
            if let Some(error) = wrong {
                return Err(error.into());
            }
            if progress.finished {
                return Ok(Next::Closed);
            }
            bytes = &mut bytes[progress.consumed..];
        }
        Ok(Next::Read)
    }
}
