//! WebSocket (RFC 6455): one text message an envelope.
//!
//! Place on the data path: socket → **client** → sink.

use pushbench_protocol::envelope;
use pushbench_protocol::framing::Lost;
use pushbench_protocol::transport::Transport;
use pushbench_protocol::transport::tcp::{parse_lagged, parse_subscribed};
use pushbench_protocol::transport::websocket::{
    self, CLIENT_KEY, CLOSE_LAGGED, Decoder, Event, Opcode, Role,
};

use super::http::HeadReader;
use super::{ClientError, Next, Outcome, Protocol, Sink, Target};

/// The client of the `websocket` transport.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    state: State,
}

#[derive(Debug)]
enum State {
    Handshake(HeadReader),
    Open(Decoder),
}

impl Default for State {
    fn default() -> Self {
        Self::Handshake(HeadReader::default())
    }
}

/// The mask of the frames that a client sends. A mask keeps intermediaries from being fed
/// chosen bytes (RFC 6455, section 10.3); between our own client and server any will do.
const MASK: [u8; 4] = [0x70, 0x75, 0x73, 0x68];

impl Protocol for WebSocket {
    const TRANSPORT: Transport = Transport::WebSocket;

    /// The channel is that of the subscription.
    fn send(_target: Target<'_>, _channel: &str, payload: &[u8], out: &mut Vec<u8>) {
        websocket::encode_frame(Opcode::Text, payload, Some(MASK), out);
    }

    fn receive(
        &mut self,
        mut bytes: &mut [u8],
        _target: Target<'_>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) -> Result<Next, ClientError> {
        if let State::Handshake(reader) = &mut self.state {
            let Some((head, length)) = reader.feed(bytes)? else {
                return Ok(Next::Read);
            };
            websocket::check_upgrade(&head, CLIENT_KEY)?;
            let Some(cursor) = head.push_cursor else {
                return Err(ClientError::Protocol(
                    "the answer has no 'Push-Cursor' header".into(),
                ));
            };
            sink.subscribed(cursor);
            bytes = &mut bytes[length..];
            self.state = State::Open(Decoder::new(Role::Client, envelope::MAX_BYTES));
        }
        let State::Open(decoder) = &mut self.state else {
            return Ok(Next::Read);
        };
        let mut outcome = Outcome::default();
        let fed = decoder.feed(bytes, |event| outcome.take(|| handle(event, sink, out)));
        outcome.after(fed)
    }
}

/// What comes of an event.
fn handle(event: Event<'_>, sink: &mut impl Sink, out: &mut Vec<u8>) -> Result<Next, ClientError> {
    match event {
        Event::Text(text) => {
            // A loss after which the stream goes on is reported by a message.
            if let Some(lost) = parse_lagged(text) {
                sink.lagged(lost)?;
            } else if parse_subscribed(text).is_none() {
                sink.envelope(text)?;
            } // Else it is for pages, which have not seen the head.
        }
        Event::Ping(data) => {
            websocket::encode_frame(Opcode::Pong, data, Some(MASK), out);
        }
        Event::Pong(_) => {}
        Event::Binary(_) => {
            let error = "expected text messages, got a binary";
            return Err(ClientError::Protocol(error.into()));
        }
        Event::Close { code, reason } => {
            // Echoed (RFC 6455, section 5.5.1); the server then ends the connection.
            websocket::encode_close(code.unwrap_or(1000), "", Some(MASK), out);
            let lost = Lost::parse(reason.as_bytes()).filter(|_| code == Some(CLOSE_LAGGED));
            lost.map_or(Ok(()), |lost| sink.lagged(lost))?;
            return Ok(Next::Closed);
        }
    }
    Ok(Next::Read)
}
