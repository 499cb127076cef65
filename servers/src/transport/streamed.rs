//! An HTTP response that does not end: a body that follows a channel.
//!
//! Place on the data path: shard → **transport** → socket. In: framed messages behind a cursor. Out:
//! one body frame for all that is pending (`tuned`) or for each message (`stock`); hyper makes one
//! chunk of each. What such a body consists of is its transport's [`StreamedResponse`].

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use http_body::Frame;

use super::http::{Http, Refusal, answer, subscribe};
use super::stream;
use crate::shard::{MAX_WRITE_BYTES, Ready, SubscribeError, Subscription};
use pushbench_protocol::transport::{Profile, StreamedResponse};

/// `GET <path>?channel=C[&since=N | &last=N]`
pub(crate) fn handler(response: &'static StreamedResponse) -> MethodRouter<Http> {
    get(
        move |State(http), headers: HeaderMap, RawQuery(query)| async move {
            respond(response, &http, &headers, query.as_deref())
        },
    )
}

fn respond(
    streamed: &'static StreamedResponse,
    http: &Http,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Response, Refusal> {
    let last_event_id = headers.get("last-event-id").map(HeaderValue::as_bytes);
    let resumed_by = last_event_id.filter(|_| streamed.event_source);
    let subscription = match subscribe(query, resumed_by, streamed.message, http.keep_alive) {
        // An EventSource gives up for good at any status but 200 (WHATWG HTML, section 9.2.2), but
        // tries again where the connection ends without an answer.
        Err(Refusal::Subscribe(SubscribeError::Closing)) if streamed.event_source => {
            return Ok(Response::new(Body::new(HangUp)));
        }
        subscribed => subscribed?.0,
    };
    subscription.watch(stream::current());
    let cursor = subscription.cursor();
    let mut open = Vec::new();
    (streamed.encode_open)(cursor, http.retry, &mut open);
    let body = Messages {
        subscription,
        streamed,
        open: (!open.is_empty()).then(|| Bytes::from(open)),
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
    let content_type = HeaderValue::from_static(streamed.content_type);
    headers.insert(header::CONTENT_TYPE, content_type);
    for (name, value) in streamed.fields {
        let (name, value) = (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        headers.insert(name, value);
    }
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
struct Messages {
    subscription: Subscription,
    streamed: &'static StreamedResponse,
    open: Option<Bytes>,
    ended: bool,
    max_bytes: usize,
}

impl http_body::Body for Messages {
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
            Ready::Quiet => Some(Bytes::from_static(this.streamed.message.keep_alive())),
            Ready::Lagged(lost) | Ready::Skipped(lost) => {
                this.ended = matches!(ready, Ready::Lagged(_));
                let mut lagged = Vec::new();
                (this.streamed.encode_lagged)(lost, this.subscription.cursor(), &mut lagged);
                Some(Bytes::from(lagged))
            }
            Ready::Closing => None,
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
