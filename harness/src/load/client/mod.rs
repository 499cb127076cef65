//! Clients: one file a transport.
//!
//! Place on the data path: socket → **client** → ledger and recorder. In: bytes. Out: cursors and
//! envelopes, handed to a [`Sink`] with the time at which they were read. Not measured here: nothing
//! is; the sink does that.
//!
//! Two families. *Lean* clients are protocols without I/O of their own (a [`Protocol`] turns bytes
//! into envelopes with the framings that the servers use), all driven by the one loop in [`lean`],
//! so that one client costs what its transport costs and no more. *Library* clients (`library`)
//! are what an application would use; each family checks the other.

use std::net::SocketAddr;

use pushbench_protocol::framing::{Cursor, Lost, Start, http1};
use pushbench_protocol::transport::{self, Transport};

use self::library::LibraryClient;
use self::polled::Polled;
use self::streamed::Streamed;
use crate::record::{Cause, Family};

mod http;
pub mod lean;
pub(crate) mod library;
mod polled;
pub mod socket;
mod sse;
mod streamed;
mod tcp;
pub(crate) mod upstream;
mod websocket;

/// What needs the lean client of a transport as a type, so that each client is as large as its
/// protocol and no larger.
pub trait WithClient {
    /// What comes of it.
    type Output;

    /// Takes the client of a transport.
    fn with<P: Protocol + 'static>(self) -> Self::Output;
}

/// Hands the lean client of `transport` to `taker`.
pub fn with_client<T: WithClient>(transport: Transport, taker: T) -> T::Output {
    match transport {
        Transport::Tcp => taker.with::<tcp::Tcp>(),
        Transport::Sse => taker.with::<Streamed<transport::sse::Decoder>>(),
        Transport::WebSocket => taker.with::<websocket::WebSocket>(),
        Transport::LongPoll => taker.with::<Polled<true>>(),
        Transport::ShortPoll => taker.with::<Polled<false>>(),
        Transport::HttpStream => taker.with::<Streamed<transport::http_stream::Decoder>>(),
    }
}

/// The library client of `transport`; `None` where no library speaks it.
pub(crate) fn library_client(transport: Transport) -> Option<LibraryClient> {
    match transport {
        Transport::Tcp => None,
        Transport::Sse => Some(LibraryClient::OF_EVENTS),
        Transport::WebSocket => Some(LibraryClient::OF_WEB_SOCKETS),
        Transport::LongPoll | Transport::ShortPoll => Some(LibraryClient::OF_POLLS),
        Transport::HttpStream => {
            Some(LibraryClient::of_messages::<transport::http_stream::Decoder>())
        }
    }
}

impl Family {
    /// The family that clients of `transport` are of where this one was asked for.
    pub(crate) fn of_clients(self, transport: Transport) -> Self {
        match self {
            Self::Library if library_client(transport).is_some() => Self::Library,
            Self::Lean | Self::Library => Self::Lean,
        }
    }
}

/// Whom a client talks to, and about what.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Where the server listens.
    pub server: SocketAddr,
    /// The same as text, for the `Host` header.
    pub host: &'a str,
    /// Name of the channel is this …
    pub prefix: &'a str,
    /// … and this number.
    pub channel: u32,
    /// Messages before the tail that a subscribe without a cursor asks for.
    pub snapshot_messages: u64,
}

impl Target<'_> {
    /// Name of the channel to subscribe to.
    pub fn channel_name(&self) -> String {
        format!("{}{}", self.prefix, self.channel)
    }

    /// Appends the name of the channel to `out`, for those who need it for every message.
    pub(crate) fn write_channel_name(&self, out: &mut String) {
        use std::fmt::Write;

        // A string takes whatever is written to it.
        let _ = write!(out, "{}{}", self.prefix, self.channel);
    }

    /// Appends what a client of `transport` sends to subscribe: after `since` where it resumes, otherwise
    /// with a snapshot or at the tail.
    fn encode_subscribe(&self, transport: Transport, since: Option<Cursor>, out: &mut Vec<u8>) {
        let start = match self.snapshot_messages {
            0 => Start::Tail,
            messages => Start::Last(messages),
        };
        transport.encode_subscribe(self.host, &self.channel_name(), start, since, out);
    }
}

/// Where a client hands what it receives.
pub trait Sink {
    /// The server answered a subscribe: delivery starts after `cursor`.
    fn subscribed(&mut self, cursor: Cursor);
    /// One message arrived, complete.
    ///
    /// # Errors
    /// [`ClientError::Envelope`] where it is not what a message must be.
    fn envelope(&mut self, bytes: &[u8]) -> Result<(), ClientError>;
    /// The server says what is lost to this client.
    ///
    /// # Errors
    /// [`ClientError::Stray`] where nobody knows what that is.
    fn lagged(&mut self, lost: Lost) -> Result<(), ClientError>;
    /// A request was sent.
    fn request(&mut self);
    /// A request was answered without a message.
    fn empty_response(&mut self);
    /// After the highest sequence received, or the start cursor: where to resume.
    fn cursor(&self) -> Cursor;
    /// The first answer came to a poll that resumes after a cursor: delivery goes on.
    fn resumed(&mut self) {}
    /// The server asks for this wait before a reconnect, in ms (`retry` of an event stream).
    fn retry(&mut self, _ms: u64) {}
}

/// What a lean client does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send what was written, if anything, and go on reading.
    Read,
    /// Wait for the next poll, then call [`Protocol::poll`].
    Pause,
    /// The server ended the session in order.
    Closed,
}

/// What comes of one read: the first end that the bytes bring, whatever follows it in the same read. So the
/// outcome of a session does not depend on how its bytes were cut, and no error is overwritten.
#[derive(Debug)]
struct Outcome(Result<Next, ClientError>);

impl Default for Outcome {
    fn default() -> Self {
        Self(Ok(Next::Read))
    }
}

impl Outcome {
    /// Takes what `event` comes to, unless the session ended before it.
    #[inline]
    fn take(&mut self, event: impl FnOnce() -> Result<Next, ClientError>) {
        if matches!(self.0, Ok(Next::Read)) {
            self.0 = event();
        }
    }

    /// What comes of the read, where a decoder that `fed` the events may have failed after the last of them.
    #[inline]
    fn after<E: Into<ClientError>>(self, fed: Result<(), E>) -> Result<Next, ClientError> {
        match self.0 {
            Ok(Next::Read) => fed.map(|()| Next::Read).map_err(Into::into),
            ended => ended,
        }
    }
}

/// One transport as its client sees it, without I/O. Kept small: there is one for each of
/// thousands of clients.
pub trait Protocol: Default {
    /// Which.
    const TRANSPORT: Transport;

    /// A connection begins, of a client that resumes or does not.
    fn begin(&mut self, _resumes: bool) {}

    /// Writes what opens a session, resuming after `since`.
    fn open(
        &mut self,
        target: Target<'_>,
        since: Option<Cursor>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) {
        self.begin(since.is_some());
        sink.request();
        target.encode_subscribe(Self::TRANSPORT, since, out);
    }

    /// Takes what arrived, hands messages to `sink`, and writes what is to be sent to `out`.
    /// `bytes` is scratch space afterwards.
    ///
    /// # Errors
    /// [`ClientError`]: the session is over.
    fn receive(
        &mut self,
        bytes: &mut [u8],
        target: Target<'_>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) -> Result<Next, ClientError>;

    /// Writes the next request of a polling client.
    fn poll(&mut self, target: Target<'_>, sink: &mut impl Sink, out: &mut Vec<u8>) {
        sink.request();
        target.encode_subscribe(Self::TRANSPORT, Some(sink.cursor()), out);
    }

    /// Writes a message to `channel` in the form of the transport: on the connection of its own that
    /// those have which cannot send on this one, unless said otherwise.
    fn send(target: Target<'_>, channel: &str, payload: &[u8], out: &mut Vec<u8>) {
        http1::encode_publish(target.host, channel, payload, out);
    }

    /// Whether the connection may end here without loss: no answer is half read.
    fn is_between_answers(&self) -> bool {
        false
    }
}

/// Why a client's session ended out of order. Says what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection {0}")]
    Eof(&'static str),
    /// The server refused.
    #[error("expected status {expected}, got {got}")]
    Status {
        /// Of a subscribe that succeeds.
        expected: u16,
        /// What came.
        got: u16,
    },
    /// The server answered with another content type than the transport prescribes.
    #[error("expected content type '{0}', got another")]
    ContentType(&'static str),
    /// The server said something else than the transport prescribes.
    #[error("{0}")]
    Protocol(String),
    /// The server said why it ended the session.
    #[error("the server ended the session: {0}")]
    Ended(String),
    /// The cursor of a client that came back is not one of the server's log.
    #[error(
        "the server's log is not the one that this client had a cursor of, or ends before it; what \
         was lost is unknown"
    )]
    Stray,
    /// What arrived is not a message.
    #[error("not an envelope: {0}")]
    Envelope(#[from] pushbench_protocol::envelope::DecodeError),
}

impl ClientError {
    /// Whether a client of `transport` that got this error must not come back. Another status or type
    /// fails the connection of an EventSource for good (WHATWG HTML, section 9.2.3); it comes back only
    /// from what the network did.
    pub fn is_final(&self, transport: Transport) -> bool {
        let events = transport.streamed().is_some_and(|r| r.event_source);
        events && matches!(self, Self::Status { .. } | Self::ContentType(_))
    }

    /// The limit that was met, where one was met in connecting.
    pub fn limit(&self) -> Option<Cause> {
        match self {
            Self::Connect(_, error) => Cause::of_connect(error),
            _ => None,
        }
    }
}

macro_rules! protocol_errors {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for ClientError {
            fn from(error: $error) -> Self {
                Self::Protocol(error.to_string())
            }
        }
    )*};
}

protocol_errors!(
    transport::tcp::DecodeError,
    transport::sse::DecodeError,
    transport::websocket::HandshakeError,
    http1::HeadError,
    http1::BodyError,
    transport::websocket::ProtocolError,
);

#[cfg(test)]
mod splits;

#[cfg(test)]
mod tests {
    use super::*;

    struct Sent;

    impl WithClient for Sent {
        type Output = Vec<u8>;

        fn with<P: Protocol>(self) -> Vec<u8> {
            let target = Target {
                server: "127.0.0.1:80".parse().expect("an address"),
                host: "h",
                prefix: "c",
                channel: 7,
                snapshot_messages: 0,
            };
            let mut out = Vec::new();
            P::send(target, "c7", b"x", &mut out);
            out
        }
    }

    #[test]
    fn each_transport_sends_a_message_in_its_own_form() {
        let post = b"POST /publish?channel=c7 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx";
        for transport in Transport::ALL {
            let sent = with_client(transport, Sent);
            assert_eq!(sent != post, transport.goes_both_ways(), "{transport}");
        }
        assert_eq!(with_client(Transport::Tcp, Sent), b"PUBLISH c7 x\n");
        let frame = with_client(Transport::WebSocket, Sent);
        assert_eq!(frame[..2], [0x81, 0x81], "a masked text of one byte");
        assert_eq!(frame[6], b'x' ^ frame[2]);
    }
}
