//! What the HTTP transports share: the subscribe query, errors, `POST /publish`, the page at `/`.
//!
//! Place on the data path: beside it; only a subscribe and an upstream message come through here.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};

use super::origin::{Origin, PREFLIGHT, grant, may_send};
use super::query::{Query, QueryError};
use super::{poll, streamed};
use crate::hub::{AppendError, Hub};
use crate::shard::{SubscribeError, Subscription};
use pushbench_protocol::envelope::{self, MAX_PAYLOAD_BYTES};
use pushbench_protocol::framing::{Start, parse_decimal};
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
    /// Whose pages may read and send, in addition to its own.
    pub(crate) origins: Vec<Origin>,
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
    let router = router.with_state(http.clone());
    if http.origins.is_empty() {
        return router;
    }
    // Around the whole, so that it sees the methods of a route.
    Router::new()
        .fallback_service(router)
        .layer(middleware::from_fn_with_state(http, share))
}

/// Lets pages of the allowed origins read answers.
async fn share(State(http): State<Http>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN);
    let granted = grant(&http.origins, origin.map(HeaderValue::as_bytes));
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = next.run(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let Some(fields) = granted.fields(&http.origins) else {
        return response;
    };
    if is_preflight && let Some(methods) = response.headers_mut().remove(header::ALLOW) {
        response = (StatusCode::NO_CONTENT, PREFLIGHT).into_response();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        close_where_draining(&mut response);
    }
    for (name, value) in fields {
        // Origins are ASCII.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Whether a request may send ([`may_send`]).
pub(super) fn may_send_from(http: &Http, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let field = |name| headers.get(name).map(HeaderValue::as_bytes);
    let target = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = target.or(field(header::HOST));
    may_send(&http.origins, field(header::ORIGIN), host)
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}; expected '?channel=NAME' and optionally '&since=SEQUENCE' or '&last=COUNT'")]
    Query(#[from] QueryError),
    #[error("'Last-Event-ID' is '{0}', expected the id of an event of this stream, a number")]
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
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Query(_) | Self::LastEventId(_) | Self::Payload => StatusCode::BAD_REQUEST,
            Self::Subscribe(SubscribeError::UnknownChannel(_))
            | Self::Append(AppendError::UnknownChannel(_)) => StatusCode::NOT_FOUND,
            Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::Subscribe(SubscribeError::BeyondTail { .. }) => StatusCode::BAD_REQUEST,
            Self::Subscribe(SubscribeError::Closing) | Self::Append(AppendError::Full) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (
            self.status(),
            [(header::CACHE_CONTROL, "no-store")],
            format!("{self}\n"),
        )
            .into_response();
        close_where_draining(&mut response);
        response
    }
}

/// A server that drains says that its connections are not to be used again.
fn close_where_draining(response: &mut Response) {
    if crate::shard::is_draining() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
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
        parse_decimal(id).ok_or_else(malformed)
    });
    let resumed = resumed.transpose()?;
    let start = resumed.map_or(query.start, Start::Since);
    Ok((
        Subscription::open(&query.channel, start, framing, quiet)?,
        matches!(start, Start::Since(_)),
    ))
}

/// Status and headers of an answer that carries a cursor.
pub(crate) fn answer(status: StatusCode, cursor: u64, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(PUSH_CURSOR, HeaderValue::from(cursor));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    close_where_draining(&mut response);
    response
}

/// Appends the body to a channel; answers with its sequence.
async fn publish(
    State(http): State<Http>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Response> {
    let channel = may_send_from(&http, &uri, &headers)
        .and_then(|()| publish_to(&http.hub, uri.query()))
        .map_err(Refusal::into_response)?;
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
    let sequence = append(&http.hub, channel, &body).map_err(Refusal::into_response)?;
    Ok(answer(
        StatusCode::OK,
        sequence,
        Body::from(format!("{sequence}\n")),
    ))
}

/// The channel that a `POST /publish` names.
pub(crate) fn publish_to(hub: &Hub, query: Option<&str>) -> Result<u32, Refusal> {
    let name = Query::parse(query)?.channel;
    let channel = hub.channel(&name);
    Ok(channel.ok_or_else(|| SubscribeError::UnknownChannel(name.into_owned()))?)
}

/// Appends an upstream payload to a channel.
pub(crate) fn append(hub: &Hub, channel: u32, payload: &[u8]) -> Result<u64, Refusal> {
    if !envelope::payload_is_valid(payload) {
        return Err(Refusal::Payload);
    }
    Ok(hub.append(channel, None, payload)?)
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
