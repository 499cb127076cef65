//! What the clients of an HTTP response that does not end share: its head, then its body, taken apart
//! into what the decoder of the transport finds in it.
//!
//! Place on the data path: socket → **client** → sink.

use pushbench_protocol::framing::http1::{Body, BodyLength};
use pushbench_protocol::transport::Transport;

use super::http::HeadReader;
use super::{ClientError, Next, Sink};

/// What finds the messages in a stream of bytes.
pub(super) trait Messages: Default {
    /// Takes the next bytes and hands what they complete to `sink`.
    ///
    /// # Errors
    /// [`ClientError`]: the session is over.
    fn feed_to(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), ClientError>;
}

/// Where a client stands in the response.
#[derive(Debug)]
pub(super) enum Streamed<M> {
    Head(HeadReader),
    Body(Body, M),
}

impl<M> Default for Streamed<M> {
    fn default() -> Self {
        Self::Head(HeadReader::default())
    }
}

impl<M: Messages> Streamed<M> {
    /// Takes what arrived on a connection that asked for a stream of `transport`.
    ///
    /// # Errors
    /// [`ClientError`]: the session is over.
    pub(super) fn receive(
        &mut self,
        transport: Transport,
        mut bytes: &mut [u8],
        sink: &mut impl Sink,
    ) -> Result<Next, ClientError> {
        if let Self::Head(reader) = self {
            let Some((head, length)) = reader.feed(bytes)? else {
                return Ok(Next::Read);
            };
            if head.status != 200 {
                return Err(ClientError::Status {
                    expected: 200,
                    got: head.status,
                });
            }
            if head.streams != Some(transport) {
                let expected = transport.streamed().map_or("", |r| r.content_type);
                return Err(ClientError::ContentType(expected));
            }
            let Some(cursor) = head.push_cursor else {
                return Err(ClientError::Protocol(
                    "the answer has no 'Push-Cursor' header".into(),
                ));
            };
            sink.subscribed(cursor);
            bytes = &mut bytes[length..];
            debug_assert!(head.body != BodyLength::None);
            *self = Self::Body(Body::new(head.body), M::default());
        }
        let Self::Body(body, messages) = self else {
            return Ok(Next::Read);
        };
        while !bytes.is_empty() {
            let progress = body.decode(bytes)?;
            let found = messages.feed_to(&bytes[..progress.payload_len], sink);
            if progress.finished {
                return found.map(|()| Next::Closed);
            }
            found?;
            bytes = &mut bytes[progress.consumed..];
        }
        Ok(Next::Read)
    }
}
