//! WebSocket on axum and tungstenite (RFC 6455).
//!
//! Place on the data path: shard → **transport** → socket. In: envelopes behind a cursor. Out: one
//! text message an envelope; `tuned` flushes once for all that is pending, `stock` after each
//! message. Upstream: one text message is one payload for the channel subscribed to.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, Method, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, Stream};
use tokio_tungstenite::tungstenite;

use super::http::{Http, PUSH_CURSOR, Refusal, append, may_send_from, push_cursor, subscribe};
use super::library::has_body;
use super::stream;
use crate::hub::{AppendError, Hub};
use crate::shard::{MAX_WRITE_BYTES, Ready, Subscription};
use pushbench_protocol::envelope::{self, MAX_PAYLOAD_BYTES};
use pushbench_protocol::framing::Epoch;
use pushbench_protocol::framing::http1::Upgrade;
use pushbench_protocol::transport::websocket::{CLOSE_LAGGED, check_opening};
use pushbench_protocol::transport::{Framing, Profile};

/// `tuned`: a client of a push channel sends little, and tungstenite allocates this eagerly and
/// clears it at every read. Stock is 128 KiB.
const READ_BUFFER_BYTES: usize = 2 << 10;

/// `tuned`: messages gather here until the flush, so that all that is pending goes out in one write
/// as on the other transports. It is allocated as it fills, and kept. Stock is 128 KiB.
const WRITE_BUFFER_BYTES: usize = MAX_WRITE_BYTES;

/// Most that waits to be written, in both: what one write takes, the largest message, and the
/// answers to a client that pings without reading. By itself the library has no bound.
pub(crate) const MAX_WRITE_BUFFER_BYTES: usize = WRITE_BUFFER_BYTES + 2 * envelope::MAX_BYTES;

/// Most bytes of the frames that carry `lines` bytes of envelopes, each of them with its LF.
pub(crate) const fn framed_bytes(lines: usize) -> usize {
    // A header in the place of the LF: 4 bytes for the shortest message that needs more than 2,
    // and one of the longest form, 10, for a message that fills a write alone.
    lines + lines / 32 + 10
}

/// How long the client may take to answer a close frame (RFC 6455, section 7.1.1).
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// `GET /websocket?channel=C[&since=N | &last=N]`
pub(crate) async fn handler(
    State(http): State<Http>,
    method: Method,
    version: Version,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    // HEAD too, which a route for GET would let through.
    if method != Method::GET {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response();
    }
    let opens = may_send_from(&http, &uri, &headers).and_then(|()| {
        let mut fields = Upgrade::default();
        for (name, value) in &headers {
            fields.read(name.as_str(), value.as_bytes());
        }
        let is_http_1_1 = version != Version::HTTP_10;
        Ok(check_opening(&fields, is_http_1_1, has_body(&headers))?)
    });
    if let Err(refusal) = opens {
        return refusal.into_response();
    }
    let upgrade = match upgrade {
        // The frame's limit too: by itself, a header's word for 16 MiB would be taken, and all of
        // it be kept, before the message is found too large.
        Ok(upgrade) => upgrade
            .max_message_size(MAX_PAYLOAD_BYTES)
            .max_frame_size(MAX_PAYLOAD_BYTES)
            .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES),
        Err(rejection) => return rejection.into_response(),
    };
    // Before the upgrade, so that an unknown channel is a 404 and not a close frame.
    let subscription = match subscribe(uri.query(), None, Framing::Line, http.keep_alive) {
        Ok((subscription, _)) => subscription,
        Err(refusal) => return refusal.into_response(),
    };
    let upgrade = if http.profile == Profile::Stock {
        upgrade
    } else {
        upgrade
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
    };
    let cursor = subscription.cursor();
    let connection = stream::current();
    let mut response = upgrade.on_upgrade(move |socket| async move {
        // Not before: from now on the socket is open for as long as the subscription is.
        subscription.watch(connection);
        follow(socket, subscription, http).await;
    });
    response
        .headers_mut()
        .insert(PUSH_CURSOR, push_cursor(cursor));
    response
}

/// What woke the connection.
enum Step {
    Incoming(Option<Result<Message, axum::Error>>),
    Outgoing(Ready),
}

/// Follows the channel until either side closes.
async fn follow(mut socket: WebSocket, mut subscription: Subscription, http: Http) {
    let start = subscription.cursor();
    if start.epoch != Epoch::NONE {
        // As [`encode_subscribed_text`](websocket::encode_subscribed_text).
        let told = format!("SUBSCRIBED {start}");
        if socket.send(Message::Text(told.into())).await.is_err() {
            return;
        }
    }
    loop {
        let step = std::future::poll_fn(|cx| {
            // Reading first: tungstenite answers pings and closes while it reads.
            if let Poll::Ready(message) = Pin::new(&mut socket).poll_next(cx) {
                return Poll::Ready(Step::Incoming(message));
            }
            subscription.poll_ready(cx).map(Step::Outgoing)
        })
        .await;
        let flow = match step {
            Step::Incoming(message) => take(message, &subscription, &http),
            Step::Outgoing(ready) => {
                match send(&mut socket, &mut subscription, ready, http.profile).await {
                    Ok(flow) => flow,
                    Err(_gone) => return,
                }
            }
        };
        match flow {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(None) => return,
            ControlFlow::Break(Some(close)) => {
                // Given up at once: nothing more is read from the channel while the client closes.
                drop(subscription);
                let _ = tokio::time::timeout(CLOSE_WAIT, close_politely(socket, close)).await;
                return;
            }
        }
    }
}

async fn close_politely(mut socket: WebSocket, close: CloseFrame) {
    if socket.send(Message::Close(Some(close))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

fn close(code: u16, reason: impl Into<Utf8Bytes>) -> ControlFlow<Option<CloseFrame>> {
    ControlFlow::Break(Some(CloseFrame {
        code,
        reason: reason.into(),
    }))
}

/// Hands one message of the client upstream, or says how to close.
fn take(
    message: Option<Result<Message, axum::Error>>,
    subscription: &Subscription,
    http: &Http,
) -> ControlFlow<Option<CloseFrame>> {
    match message {
        Some(Ok(Message::Text(text))) => {
            match upstream(&http.hub, subscription.channel(), text.as_bytes()) {
                Ok(()) => ControlFlow::Continue(()),
                Err((code, reason)) => close(code, reason),
            }
        }
        Some(Ok(Message::Binary(_))) => close(close_code::UNSUPPORTED, NOT_TEXT),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => ControlFlow::Continue(()),
        // The answer to a close has been queued by tungstenite; reading on flushes it and ends.
        Some(Ok(Message::Close(_))) => ControlFlow::Continue(()),
        Some(Err(error)) => match close_code_of(error) {
            Some((code, reason)) => close(code, reason),
            None => ControlFlow::Break(None),
        },
        None => ControlFlow::Break(None),
    }
}

/// Appends what a client sent; otherwise says how to close.
pub(crate) fn upstream(hub: &Hub, channel: u32, text: &[u8]) -> Result<(), (u16, &'static str)> {
    match append(hub, channel, text) {
        Ok(_) => Ok(()),
        Err(Refusal::Append(AppendError::Full)) => {
            Err((close_code::AGAIN, "too many messages wait; try again later"))
        }
        Err(Refusal::Append(AppendError::Planned)) => Err((close_code::POLICY, PLANNED)),
        Err(_) => Err((close_code::POLICY, "a payload must not contain CR or LF")),
    }
}

/// Reasons of closes, the same in every profile.
pub(crate) const NOT_TEXT: &str = "expected text messages, got a binary one";
/// See [`NOT_TEXT`].
pub(crate) const PLANNED: &str = "the log of this channel is that of a plan; publish to another";
/// See [`NOT_TEXT`].
pub(crate) const TOO_LARGE: &str = "the message is too large";
/// See [`NOT_TEXT`].
pub(crate) const NOT_UTF8: &str = "the text is not UTF-8";
/// See [`NOT_TEXT`].
pub(crate) const BAD_FRAME: &str = "the frame does not follow RFC 6455";
/// See [`NOT_TEXT`].
pub(crate) const CLOSING: &str = "the server is shutting down";

/// The close code for what the client did wrong; `None` where the connection is gone already.
fn close_code_of(error: axum::Error) -> Option<(u16, &'static str)> {
    let error = error.into_inner();
    match error.downcast_ref::<tungstenite::Error>()? {
        tungstenite::Error::Capacity(_) => Some((close_code::SIZE, TOO_LARGE)),
        tungstenite::Error::Utf8(_) => Some((close_code::INVALID, NOT_UTF8)),
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => None,
        tungstenite::Error::Protocol(_) => Some((close_code::PROTOCOL, BAD_FRAME)),
        _ => None,
    }
}

/// Sends what is pending, a ping, or says how to close.
async fn send(
    socket: &mut WebSocket,
    subscription: &mut Subscription,
    ready: Ready,
    profile: Profile,
) -> Result<ControlFlow<Option<CloseFrame>>, axum::Error> {
    match ready {
        Ready::Pending => {
            // One piece that all subscribers share; each message is a slice of it.
            let Some(lines) = subscription.take(MAX_WRITE_BYTES) else {
                return Ok(ControlFlow::Continue(()));
            };
            let mut start = 0;
            while let Some(length) = lines[start..].iter().position(|&b| b == b'\n') {
                let envelope = lines.slice(start..start + length);
                start += length + 1;
                // Valid: payloads are checked when they are appended.
                let Ok(text) = Utf8Bytes::try_from(envelope) else {
                    return Ok(close(close_code::ERROR, "a message is not UTF-8"));
                };
                if profile == Profile::Stock {
                    socket.send(Message::Text(text)).await?;
                } else {
                    socket.feed(Message::Text(text)).await?;
                }
            }
            socket.flush().await?;
            Ok(ControlFlow::Continue(()))
        }
        Ready::Quiet => {
            socket.send(Message::Ping(Default::default())).await?;
            Ok(ControlFlow::Continue(()))
        }
        Ready::Skipped(lost) => {
            let told = format!("LAGGED {lost}");
            socket.send(Message::Text(told.into())).await?;
            Ok(ControlFlow::Continue(()))
        }
        Ready::Lagged(lost) => Ok(close(CLOSE_LAGGED, lost.to_string())),
        Ready::Closing => Ok(close(close_code::AWAY, CLOSING)),
    }
}
