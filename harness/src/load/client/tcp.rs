//! Lines, one an envelope: raw TCP, and an HTTP response that does not end (see [`Streamed`](super::Streamed)).
//!
//! Place on the data path: socket → **client** → sink.

use pushbench_protocol::transport::Transport;
use pushbench_protocol::transport::tcp::{self, Decoder, Line};

use super::streamed::Messages;
use super::{ClientError, Next, Outcome, Protocol, Sink, Target};

/// The client of the `tcp` transport.
#[derive(Debug, Default)]
pub(super) struct Tcp {
    decoder: Decoder,
}

impl Protocol for Tcp {
    const TRANSPORT: Transport = Transport::Tcp;

    fn send(_target: Target<'_>, channel: &str, payload: &[u8], out: &mut Vec<u8>) {
        tcp::encode_publish(channel, payload, out);
    }

    fn receive(
        &mut self,
        bytes: &mut [u8],
        _target: Target<'_>,
        sink: &mut impl Sink,
        _out: &mut Vec<u8>,
    ) -> Result<Next, ClientError> {
        self.decoder.feed_to(bytes, sink)?;
        Ok(Next::Read)
    }
}

impl Messages for Decoder {
    const TRANSPORT: Transport = Transport::HttpStream;

    fn feed_to(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), ClientError> {
        let mut outcome = Outcome::default();
        let mut handle = |line: Line<'_>| {
            match line {
                Line::Envelope(envelope) => sink.envelope(envelope)?,
                Line::KeepAlive => {}
                Line::Subscribed(cursor) => sink.subscribed(cursor),
                // Whether the stream goes on after it is the channel's policy: its end is seen as such.
                Line::Lagged(lost) => sink.lagged(lost)?,
                Line::Error(text) => return Err(ClientError::Ended(text.to_owned())),
            }
            Ok(Next::Read)
        };
        let fed = self.feed(bytes, |line| outcome.take(|| handle(line)));
        outcome.after(fed).map(|_| ())
    }
}
