//! What the HTTP transports share: the subscribe query, errors, `POST /publish`, the page at `/`.
//!
//! Place on the data path: beside it; only a subscribe and an upstream message come through here.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};

use super::origin::{Origin, may_send};
use super::query::{Query, QueryError};
use super::{poll, streamed};
use crate::hub::{AppendError, Hub};
use crate::shard::{SubscribeError, Subscription};
use pushbench_protocol::envelope::{self, MAX_PAYLOAD_BYTES};
use pushbench_protocol::framing::http1::RequestError;
use pushbench_protocol::framing::{Cursor, Epoch, Start, parse_decimal};
use pushbench_protocol::transport::websocket::OpeningError;
use pushbench_protocol::transport::{Delivery, Framing, Profile, Transport};

/// Carries a cursor: where a stream starts, or what the next poll should pass as `since`.
pub(crate) const PUSH_CURSOR: HeaderName = HeaderName::from_static("push-cursor");

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
    /// How long an `EventSource` is told to wait before it reconnects.
    pub(crate) retry: Option<Duration>,
    /// How long a client may take for a line of raw TCP or the body of a request, and between two of
    /// them where it has not subscribed.
    pub(crate) patience: Duration,
    /// Whose pages may read and send, in addition to its own.
    pub(crate) origins: Vec<Origin>,
    /// Whether it can be reached from this machine only.
    pub(crate) on_loopback: bool,
}

impl std::ops::Deref for Http {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Http {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

/// The routes of the transports, with `/`, `/info` and `/publish`.
pub(crate) fn router(http: Http) -> Router {
    let mut router = Router::new()
        .route("/", get(page))
        .route("/info", get(info))
        .route(
            "/publish",
            post(publish).layer(DefaultBodyLimit::max(MAX_PAYLOAD_BYTES)),
        );
    for transport in &http.transports {
        let info = transport.info();
        // One without a path is not HTTP, and listens on its own address.
        let Some(path) = info.path else { continue };
        let handler = match info.delivery {
            Delivery::Lines => continue,
            Delivery::Response(response) => streamed::handler(response),
            Delivery::WebSocket => any(super::websocket::handler),
            Delivery::Poll(polls) => poll::handler(polls),
        };
        router = router.route(path, handler);
    }
    router.with_state(http)
}

/// Whether a request may send ([`may_send`]).
pub(super) fn may_send_from(http: &Http, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let field = |name| headers.get(name).map(HeaderValue::as_bytes);
    let target = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = target.or(field(header::HOST));
    may_send(http, field(header::ORIGIN), host)
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Opening(#[from] OpeningError),
    #[error("{0}; expected '?channel=NAME' and optionally '&since=CURSOR' or '&last=COUNT'")]
    Query(#[from] QueryError),
    #[error(
        "'Last-Event-ID' is '{0}', expected the id of an event of this stream, such as '19' or \
         'k3f9-19'"
    )]
    LastEventId(String),
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    #[error(
        "pages of '{0}' may not publish here or open a WebSocket; 'serve --allow-origin ORIGIN' \
         allows it"
    )]
    Origin(String),
    #[error("the payload must be UTF-8 without CR or LF")]
    Payload,
    #[error("the body is longer than the {MAX_PAYLOAD_BYTES} bytes that a payload has at most")]
    TooLarge,
    #[error("the body did not come within {} s", .0.as_secs_f64())]
    TooSlow(Duration),
    #[error("the body cannot be read: {0}")]
    Body(String),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Request(RequestError::TooLong) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Request(_)
            | Self::Query(_)
            | Self::LastEventId(_)
            | Self::Payload
            | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Opening(error) => {
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Subscribe(SubscribeError::UnknownChannel(_))
            | Self::Append(AppendError::UnknownChannel(_)) => StatusCode::NOT_FOUND,
            Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::Append(AppendError::Planned) => StatusCode::CONFLICT,
            Self::Subscribe(SubscribeError::Closing) | Self::Append(AppendError::Full) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The fields that the answer has because of it.
    pub(crate) fn fields(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Opening(error) => error.fields(),
            // Where the next request begins is not known.
            Self::TooLarge | Self::TooSlow(_) | Self::Body(_) => &[("connection", "close")],
            _ => &[],
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let fields = [(header::CACHE_CONTROL, "no-store")];
        let mut response = (self.status(), fields, format!("{self}\n")).into_response();
        for (name, value) in self.fields() {
            let name = HeaderName::from_static(name);
            let value = HeaderValue::from_static(value);
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// Opens the subscription that a request asks for. `Last-Event-ID` wins over `since` and `last`,
/// because a browser's `EventSource` sends it when it reconnects to the address that it was given.
/// Says too whether the request carries a cursor: a poll without one is answered with one at once.
pub(crate) fn subscribe(
    query: Option<&str>,
    last_event_id: Option<&[u8]>,
    framing: Framing,
    quiet: Duration,
) -> Result<(Subscription, bool), Refusal> {
    let query = Query::parse(query)?;
    // An empty one is none (WHATWG HTML, section 9.2.4).
    let last_event_id = last_event_id.map(<[u8]>::trim_ascii);
    let resumed = last_event_id.filter(|id| !id.is_empty()).map(|id| {
        let malformed = || Refusal::LastEventId(String::from_utf8_lossy(id).into());
        Cursor::parse(id).ok_or_else(malformed)
    });
    let resumed = resumed.transpose()?;
    let start = resumed.map_or(query.start, Start::Since);
    Ok((
        Subscription::open(&query.channel, start, framing, quiet)?,
        matches!(start, Start::Since(_)),
    ))
}

/// Status and headers of an answer that carries a cursor.
pub(crate) fn answer(status: StatusCode, cursor: Cursor, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(PUSH_CURSOR, push_cursor(cursor));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The value of [`PUSH_CURSOR`].
pub(crate) fn push_cursor(cursor: Cursor) -> HeaderValue {
    let text = (cursor.epoch != Epoch::NONE).then(|| cursor.to_string());
    // An epoch is ASCII.
    text.and_then(|text| HeaderValue::try_from(text).ok())
        .unwrap_or_else(|| HeaderValue::from(cursor.sequence))
}

/// Appends the body to a channel; answers with its sequence.
async fn publish(State(http): State<Http>, request: Request) -> Result<Response, Refusal> {
    let (uri, headers) = (request.uri(), request.headers());
    let channel =
        may_send_from(&http, uri, headers).and_then(|()| publish_to(&http.hub, uri.query()));
    let body = read_body(request, http.patience).await?;
    let appended = append(&http.hub, channel?, &body)?;
    let body = Body::from(format!("{}\n", appended.sequence));
    Ok(answer(StatusCode::OK, appended, body))
}

/// The body of a request, which is of no use to anyone before it is whole.
async fn read_body(request: Request, patience: Duration) -> Result<Bytes, Refusal> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| parse_decimal(length.as_bytes().trim_ascii()));
    if length.is_some_and(|length| length > MAX_PAYLOAD_BYTES as u64) {
        return Err(Refusal::TooLarge);
    }
    let body = tokio::time::timeout(patience, Bytes::from_request(request, &()));
    let body = body.await.map_err(|_elapsed| Refusal::TooSlow(patience))?;
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        _ => Refusal::Body(error.body_text()),
    })
}

/// The channel that a `POST /publish` names.
pub(crate) fn publish_to(hub: &Hub, query: Option<&str>) -> Result<u32, Refusal> {
    let name = Query::parse(query)?.channel;
    let channel = hub.channel(&name);
    Ok(channel.ok_or_else(|| SubscribeError::UnknownChannel(name.into_owned()))?)
}

/// Appends an upstream payload to a channel. Returns the cursor after it.
pub(crate) fn append(hub: &Hub, channel: u32, payload: &[u8]) -> Result<Cursor, Refusal> {
    if !envelope::payload_is_valid(payload) {
        return Err(Refusal::Payload);
    }
    let sequence = hub.append(channel, None, payload)?;
    let epoch = hub.epoch(channel);
    Ok(Cursor { epoch, sequence })
}

/// A page of this server itself that subscribes and shows what arrives.
pub(crate) const PAGE: &str = include_str!("page.html");

/// The header fields that go with [`PAGE`].
pub(crate) const PAGE_FIELDS: [(&str, &str); 3] = [
    ("content-type", "text/html; charset=utf-8"),
    (
        "content-security-policy",
        "default-src 'self' 'unsafe-inline'",
    ),
    ("x-content-type-options", "nosniff"),
];

async fn page() -> Response {
    (PAGE_FIELDS, PAGE).into_response()
}

impl Shared {
    /// What this server offers, for its page and for people.
    pub(crate) fn info(&self) -> serde_json::Value {
        let ids: Vec<&str> = self.transports.iter().map(|t| t.id()).collect();
        serde_json::json!({
            "server": "pushbench",
            "version": env!("CARGO_PKG_VERSION"),
            "profile": self.profile.id(),
            "transports": ids,
            "channels": self.hub.declared(),
        })
    }
}

async fn info(State(http): State<Http>) -> Response {
    (
        [(header::CACHE_CONTROL, "no-store")],
        axum::Json(http.info()),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_subscribes_over_every_transport_that_is_http() {
        for transport in Transport::ALL.into_iter().filter(|t| t.is_http()) {
            let id = transport.id();
            let subscribes = [format!("  {id}(query) {{"), format!("  {id}: (query) =>")];
            assert!(subscribes.iter().any(|s| PAGE.contains(s)), "{id}");
            assert!(PAGE.contains(&format!(" {id}: \"")), "{id} has no name");
        }
    }
}
