//! What the HTTP transports share: the subscribe query, errors, `POST /publish`, the page at `/`.
//!
//! Place on the data path: beside it; only a subscribe and an upstream message come through here.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::{Profile, Transport};
use crate::envelope::{self, MAX_PAYLOAD_BYTES};
use crate::framing::{Framing, parse_decimal};
use crate::hub::{AppendError, Hub};
use crate::shard::{SubscribeError, Subscription};

/// Carries a cursor: where a stream starts, or what the next poll should pass as `since`.
pub(crate) const PUSH_CURSOR: HeaderName = HeaderName::from_static("push-cursor");

/// Tells nginx and its kin not to hold a stream back.
pub(crate) const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What every handler of a shard knows.
#[derive(Debug, Clone)]
pub(crate) struct Http(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) hub: Arc<Hub>,
    pub(crate) profile: Profile,
    pub(crate) transports: Vec<Transport>,
    /// Silence before a keep-alive on a stream.
    pub(crate) keep_alive: Duration,
    /// Longest wait of a long-poll.
    pub(crate) poll_timeout: Duration,
}

impl std::ops::Deref for Http {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The routes of `shared.transports`, with `/`, `/info` and `/publish`.
pub(crate) fn router(shared: Shared) -> Router {
    let http = Http(Arc::new(shared));
    let mut router = Router::new()
        .route("/", get(page))
        .route("/info", get(info))
        .route(
            "/publish",
            post(publish).layer(DefaultBodyLimit::max(MAX_PAYLOAD_BYTES)),
        );
    for transport in &http.transports {
        router = match transport {
            // Listens on its own address: it is no HTTP.
            Transport::Tcp => router,
            Transport::Sse => router.route("/sse", get(super::sse::handler)),
            Transport::WebSocket => router.route("/websocket", get(super::websocket::handler)),
            Transport::LongPoll => router.route("/long-poll", get(super::long_poll::handler)),
            Transport::ShortPoll => router.route("/poll", get(super::short_poll::handler)),
        };
    }
    router.with_state(http)
}

/// The query of every subscribe.
#[derive(Debug, Deserialize)]
pub(crate) struct Subscribe {
    channel: String,
    since: Option<u64>,
}

/// A subscribe query that may be malformed: [`Refusal`] says how.
pub(crate) type SubscribeQuery = Result<Query<Subscribe>, QueryRejection>;

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}; expected '?channel=NAME' and optionally '&since=SEQUENCE'")]
    Query(String),
    #[error("'Last-Event-ID' is '{0}', expected the id of an event of this stream, a number")]
    LastEventId(String),
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    #[error("the payload must be UTF-8 without CR or LF")]
    Payload,
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Query(_) | Self::LastEventId(_) | Self::Payload => StatusCode::BAD_REQUEST,
            Self::Subscribe(SubscribeError::UnknownChannel(_))
            | Self::Append(AppendError::UnknownChannel(_)) => StatusCode::NOT_FOUND,
            Self::Subscribe(SubscribeError::BeyondTail { .. }) => StatusCode::BAD_REQUEST,
            Self::Subscribe(SubscribeError::Closing) | Self::Append(AppendError::Full) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        (
            status,
            [(header::CACHE_CONTROL, "no-store")],
            format!("{self}\n"),
        )
            .into_response()
    }
}

/// Opens the subscription that a request asks for. `Last-Event-ID` wins over `since`, because a
/// browser's `EventSource` sends it when it reconnects to the address that it was given.
pub(crate) fn subscribe(
    query: SubscribeQuery,
    last_event_id: Option<&HeaderValue>,
    framing: Framing,
    quiet: Duration,
) -> Result<(Subscription, bool), Refusal> {
    let Query(query) = query.map_err(|e| Refusal::Query(e.body_text()))?;
    let resumed = match last_event_id {
        None => None,
        Some(id) => {
            let id = parse_decimal(id.as_bytes().trim_ascii());
            Some(id.ok_or_else(|| {
                Refusal::LastEventId(
                    String::from_utf8_lossy(last_event_id.map_or(&[], |v| v.as_bytes())).into(),
                )
            })?)
        }
    };
    let since = resumed.or(query.since);
    Ok((
        Subscription::open(&query.channel, since, framing, quiet)?,
        since.is_some(),
    ))
}

/// Status and headers of an answer that carries a cursor.
pub(crate) fn answer(status: StatusCode, cursor: u64, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(PUSH_CURSOR, HeaderValue::from(cursor));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Query of `POST /publish`.
#[derive(Debug, Deserialize)]
struct PublishTo {
    channel: String,
}

/// Appends the body to a channel; answers with its sequence.
async fn publish(
    State(http): State<Http>,
    query: Result<Query<PublishTo>, QueryRejection>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Response> {
    let Query(query) = query.map_err(|e| Refusal::Query(e.body_text()).into_response())?;
    let body = body.map_err(|e| {
        (
            e.status(),
            [(header::CACHE_CONTROL, "no-store")],
            format!(
                "{}; a payload has at most {MAX_PAYLOAD_BYTES} bytes\n",
                e.body_text()
            ),
        )
            .into_response()
    })?;
    let channel = http.hub.channel(&query.channel).ok_or_else(|| {
        Refusal::from(SubscribeError::UnknownChannel(query.channel)).into_response()
    })?;
    let sequence = append(&http.hub, channel, &body).map_err(Refusal::into_response)?;
    Ok(answer(
        StatusCode::OK,
        sequence,
        Body::from(format!("{sequence}\n")),
    ))
}

/// Appends an upstream payload to a channel.
pub(crate) fn append(hub: &Hub, channel: u32, payload: &[u8]) -> Result<u64, Refusal> {
    if !envelope::payload_is_valid(payload) {
        return Err(Refusal::Payload);
    }
    Ok(hub.append(channel, None, payload)?)
}

/// A page of this server itself that subscribes and shows what arrives.
async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self' 'unsafe-inline'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("page.html")).into_response()
}

/// What this server offers, for its page and for people.
async fn info(State(http): State<Http>) -> Response {
    let ids: Vec<&str> = http.transports.iter().map(|t| t.id()).collect();
    let info = serde_json::json!({
        "server": "pushbench",
        "version": env!("CARGO_PKG_VERSION"),
        "profile": http.profile.id(),
        "transports": ids,
        "channels": http.hub.declared(),
    });
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(info)).into_response()
}
