//! Raw TCP: envelopes one a line.
//!
//! Place on the data path: socket → **client** → sink. Not measured here: anything.

use pushbench_protocol::transport::tcp::{self, Decoder, Line};

use super::streamed::Messages;
use super::{ClientError, Next, Protocol, Sink, Target};

/// The client of the `tcp` transport.
#[derive(Debug, Default)]
pub struct Tcp {
    decoder: Decoder,
}

impl Protocol for Tcp {
    fn open(
        &mut self,
        target: Target<'_>,
        since: Option<u64>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) {
        sink.request();
        tcp::encode_subscribe(&target.channel_name(), target.start(since), out);
    }

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
    fn feed_to(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), ClientError> {
        let mut result = Ok(());
        self.feed(bytes, |line| match line {
            Line::Envelope(envelope) => {
                if let Err(error) = sink.envelope(envelope) {
                    result = Err(error);
                }
            }
            Line::KeepAlive => {}
            Line::Subscribed(cursor) => sink.subscribed(cursor),
            // Whether the stream goes on behind it is the channel's policy: its end is seen as such.
            Line::Lagged { from, to } => sink.lagged(from, to),
            Line::Error(text) => result = Err(ClientError::Ended(text.to_owned())),
        })?;
        result
    }
}
