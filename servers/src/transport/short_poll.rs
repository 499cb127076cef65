//! Plain polling: a request that is answered at once.
//!
//! Place on the data path: shard → **transport** → socket. In: envelopes behind the cursor that the
//! client sent. Out: as [`super::long_poll`], but 204 where nothing is pending.

use std::task::{Context, Poll, Waker};

use axum::extract::{RawQuery, State};
use axum::response::Response;

use super::http::{Http, Refusal, subscribe};
use super::long_poll::respond;
use crate::shard::Ready;
use pushbench_protocol::framing::Framing;

/// `GET /poll?channel=C&since=N`; without `since` answers with the cursor of the tail, or of
/// `&last=N`, and no message.
pub(crate) async fn handler(
    State(http): State<Http>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let (mut subscription, resumed) =
        subscribe(query.as_deref(), None, Framing::Line, http.poll_timeout)?;
    if !resumed {
        return Ok(respond(&mut subscription, Ready::Quiet));
    }
    // Nobody will wait, so nobody is woken.
    let ready = match subscription.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => Ready::Quiet,
    };
    Ok(respond(&mut subscription, ready))
}
