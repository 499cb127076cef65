//! A WebSocket behind its handshake (RFC 6455).
//!
//! Place on the data path: shard → **transport** → socket, and back upstream. In: frames in the
//! ring, frames of the client. Out: the same bytes for every subscriber; pongs and closes.

use std::io;

use axum::extract::ws::close_code;

use super::Common;
use super::connection;
use super::socket::Socket;
use crate::shard::{Ready, Subscription};
pub(super) use crate::transport::websocket::CLOSE_WAIT;
use crate::transport::websocket::{BAD_FRAME, CLOSING, NOT_TEXT, NOT_UTF8, TOO_LARGE, upstream};
use pushbench_protocol::envelope::MAX_PAYLOAD_BYTES;
use pushbench_protocol::transport::websocket::{self, Decoder, Event, Opcode, ProtocolError, Role};

/// An open WebSocket.
pub(super) struct Frames {
    /// `None`: a close was sent, and the client's is awaited.
    subscription: Option<Subscription>,
    /// Where the client has sent something unfinished.
    decoder: Option<Box<Decoder>>,
}

/// Whether the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Close,
}

impl Frames {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self {
            subscription: Some(subscription),
            decoder: None,
        }
    }

    /// Whether a close was sent, and the client's is awaited.
    pub(super) fn is_closing(&self) -> bool {
        self.subscription.is_none()
    }

    pub(super) fn ready_or_wake(&mut self, number: u32) -> Option<Ready> {
        self.subscription.as_mut()?.ready_or_wake(number)
    }

    pub(super) fn subscription(&self) -> Option<&Subscription> {
        self.subscription.as_ref()
    }

    pub(super) fn send_pending(&mut self, socket: &mut Socket) -> io::Result<()> {
        match &mut self.subscription {
            Some(subscription) => connection::send_pending(subscription, socket),
            None => Ok(()),
        }
    }

    /// Does what is to be done but for sending what is pending.
    pub(super) fn act(
        &mut self,
        ready: Ready,
        socket: &mut Socket,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        match ready {
            Ready::Pending => return self.send_pending(socket),
            Ready::Quiet => out.extend_from_slice(websocket::KEEP_ALIVE),
            Ready::Skipped(lost) => websocket::encode_lagged_text(lost, out),
            Ready::Lagged(lost) => {
                websocket::encode_lagged(lost, out);
                self.subscription = None;
            }
            Ready::Closing => {
                websocket::encode_close(close_code::AWAY, CLOSING, None, out);
                self.subscription = None;
            }
        }
        socket.send([out, &[], &[]])
    }

    /// Takes what the client sent: all of it.
    pub(super) fn feed(
        &mut self,
        bytes: &mut [u8],
        socket: &mut Socket,
        common: &mut Common,
    ) -> io::Result<Next> {
        let fresh = || Box::new(Decoder::new(Role::Server, MAX_PAYLOAD_BYTES));
        let mut decoder = self.decoder.take().unwrap_or_else(fresh);
        let out = &mut common.out;
        out.clear();
        let hub = &common.shared.hub;
        let (subscription, mut next) = (&mut self.subscription, Next::Stay);
        let decoded = decoder.feed(bytes, |event| {
            let fault = match event {
                Event::Text(text) => subscription
                    .as_ref()
                    .and_then(|open| upstream(hub, open.channel(), text).err()),
                Event::Binary(_) => Some((close_code::UNSUPPORTED, NOT_TEXT)),
                Event::Ping(data) => {
                    websocket::encode_frame(Opcode::Pong, data, None, out);
                    None
                }
                Event::Pong(_) => None,
                Event::Close { code, .. } => {
                    // One that was sent first is not echoed.
                    if subscription.is_some() {
                        match code {
                            Some(code) => websocket::encode_close(code, "", None, out),
                            None => websocket::encode_frame(Opcode::Close, &[], None, out),
                        }
                    }
                    next = Next::Close;
                    None
                }
            };
            // Given up at once: nothing more is read from the channel while the client closes.
            if let Some((code, reason)) = fault
                && subscription.take().is_some()
            {
                websocket::encode_close(code, reason, None, out);
            }
        });
        if let Err(error) = decoded {
            if self.subscription.take().is_some() {
                websocket::encode_close(error.close_code(), reason_of(error), None, out);
            }
            next = Next::Close;
        } else if !decoder.is_idle() {
            self.decoder = Some(decoder);
        }
        if !out.is_empty() {
            socket.send([out, &[], &[]])?;
        }
        Ok(next)
    }
}

/// What the close of a failed connection says to people.
fn reason_of(error: ProtocolError) -> &'static str {
    match error {
        ProtocolError::Utf8 => NOT_UTF8,
        ProtocolError::TooBig { .. } => TOO_LARGE,
        _ => BAD_FRAME,
    }
}
