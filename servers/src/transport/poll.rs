//! Polling: a request that is held until something is pending (RFC 6202, section 2), or answered at
//! once.
//!
//! Place on the data path: shard → **transport** → socket. In: envelopes behind the cursor that the
//! client sent. Out: a response with all that is pending, one envelope a line, or 204 where there is
//! nothing, with a held request when the wait is over. The cursor makes sure that a message published
//! between two polls is not lost.

use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{MethodRouter, get};

use super::http::{Http, Refusal, answer, subscribe};
use crate::shard::{MAX_WRITE_BYTES, Ready, Subscription};
use pushbench_protocol::transport::{Framing, Polls, poll};

/// `GET <path>?channel=C&since=N`; without `since` answers with the cursor of the tail, or of
/// `&last=N`, and no message.
pub(crate) fn handler(polls: Polls) -> MethodRouter<Http> {
    get(
        move |State(http): State<Http>, method: Method, RawQuery(query)| async move {
            poll(polls, &http, &method, query.as_deref()).await
        },
    )
}

async fn poll(
    polls: Polls,
    http: &Http,
    method: &Method,
    query: Option<&str>,
) -> Result<Response, Refusal> {
    let (mut subscription, resumed) = subscribe(query, None, Framing::Line, http.poll_timeout)?;
    let ready = match polls {
        // HEAD neither waits nor takes a message.
        _ if !resumed || method == Method::HEAD => Ready::Quiet,
        Polls::Held => subscription.ready().await,
        // Nobody will wait, so nobody is woken.
        Polls::AtIntervals => {
            match subscription.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(ready) => ready,
                Poll::Pending => Ready::Quiet,
            }
        }
    };
    Ok(respond(&mut subscription, ready))
}

/// The answer to a poll that found `ready`.
fn respond(subscription: &mut Subscription, ready: Ready) -> Response {
    match ready {
        Ready::Pending => match subscription.take(MAX_WRITE_BYTES) {
            Some(lines) => {
                let cursor = subscription.cursor();
                let mut response = answer(StatusCode::OK, cursor, Body::from(lines));
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, text);
                response
            }
            None => answer(StatusCode::NO_CONTENT, subscription.cursor(), Body::empty()),
        },
        // A server that closes answers as at a time-out; the next poll finds it gone.
        Ready::Quiet | Ready::Closing => {
            answer(StatusCode::NO_CONTENT, subscription.cursor(), Body::empty())
        }
        Ready::Lagged(lost) | Ready::Skipped(lost) => {
            let mut body = Vec::new();
            poll::encode_lagged(lost, &mut body);
            answer(StatusCode::GONE, subscription.cursor(), Body::from(body))
        }
    }
}
