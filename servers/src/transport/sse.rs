//! Server-sent events: an endless response body that follows a channel.
//!
//! Place on the data path: shard → **transport** → socket. In: framed events behind a cursor. Out:
//! one body frame for all that is pending (`tuned`) or for each event (`stock`); hyper makes one
//! chunk of each. Specification: WHATWG HTML, *server-sent events*.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body::Frame;

use super::http::{Http, Refusal, X_ACCEL_BUFFERING, answer, subscribe};
use super::stream;
use crate::shard::{MAX_WRITE_BYTES, Ready, SubscribeError, Subscription};
use pushbench_protocol::framing::{Framing, sse};
use pushbench_protocol::transport::Profile;

/// `GET /sse?channel=C[&since=N | &last=N]`
pub(crate) async fn handler(
    State(http): State<Http>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let last_event_id = headers.get("last-event-id").map(HeaderValue::as_bytes);
    let subscribed = subscribe(
        query.as_deref(),
        last_event_id,
        Framing::Sse,
        http.keep_alive,
    );
    let subscription = match subscribed {
        // An EventSource gives up for good at any status but 200 (WHATWG HTML, section 9.2.2), but
        // tries again where the connection ends without an answer.
        Err(Refusal::Subscribe(SubscribeError::Closing)) => {
            return Ok(Response::new(Body::new(HangUp)));
        }
        subscribed => subscribed?.0,
    };
    subscription.watch(stream::current());
    let cursor = subscription.cursor();
    let mut open = Vec::new();
    sse::encode_open_with_retry(cursor, http.retry, &mut open);
    let body = Events {
        subscription,
        open: Some(Bytes::from(open)),
        ended: false,
        max_bytes: if http.profile == Profile::Stock {
            // At least one message is always taken, so this is one at a time.
            0
        } else {
            MAX_WRITE_BYTES
        },
    };
    let mut response = answer(StatusCode::OK, cursor, Body::new(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// A body that fails before its first byte: hyper drops the connection then, with the head unsent.
struct HangUp;

impl http_body::Body for HangUp {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionAborted.into())))
    }
}

/// The body: ends only when the subscriber lagged on a channel that disconnects those, or the
/// server closes.
struct Events {
    subscription: Subscription,
    open: Option<Bytes>,
    ended: bool,
    max_bytes: usize,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Some(open) = this.open.take() {
            return Poll::Ready(Some(Ok(Frame::data(open))));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let ready = std::task::ready!(this.subscription.poll_ready(cx));
        let bytes = match ready {
            Ready::Pending => this.subscription.take(this.max_bytes),
            Ready::Quiet => Some(Bytes::from_static(sse::KEEP_ALIVE)),
            Ready::Lagged { from, to } | Ready::Skipped { from, to } => {
                this.ended = matches!(ready, Ready::Lagged { .. });
                let mut lagged = Vec::new();
                sse::encode_lagged(from, to, &mut lagged);
                Some(Bytes::from(lagged))
            }
            Ready::Closing => None,
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
