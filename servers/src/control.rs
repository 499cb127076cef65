//! What the harness asks a server: who it is, its channels, its counters, a schedule to publish.
//!
//! Beside the data path. HTTP/1.1 with JSON bodies on a loopback address of its own, never on the
//! one that clients reach, so that a server in any language can speak it:
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/server` | | 200 [`ServerInfo`] |
//! | `POST /v1/channels` | `{"declare": ["news", "c*100"]}` | 200 `{"channels": 101}`; numbers are given in this order, from 0 |
//! | | `{"declare": …, "overflow": ["disconnect", "latest-only"]}` | the same; channel *k* of each declaration gets policy *k* mod their number ([`pushbench_protocol::overflow`]); without, all get `disconnect` |
//! | `GET /v1/stats` | | 200 [`Stats`] |
//! | `POST /v1/publish` | [`PublishPlan`] | 202; 409 while another schedule runs, or where the logs are those of another plan |
//! | `GET /v1/publish` | | 200 [`PublishReport`]; 404 before the first schedule |
//! | `DELETE /v1/publish` | | 200 [`PublishReport`]: the schedule is stopped first |
//! | `POST /v1/drain` | `{"over_ms": 5000}` | 202; 409 where it drains already |
//!
//! Errors are 4xx with `{"error": "…"}`. `Host` has to be an address of loopback or `localhost`, or it is
//! 421; a request from a page, which has an `Origin`, is 403; and where the server was started with a
//! token, one without `Authorization: Bearer TOKEN` is 401 ([`Guard`]). A server publishes message *i* of the plan's schedule at
//! its intended time ([`pushbench_protocol::schedule`]), in the envelope of [`pushbench_protocol::envelope`], with the
//! payload of [`pushbench_protocol::payload`]; it ends when its standard input does.
//!
//! A server that drains takes no more connections and ends those that it has, spread evenly over
//! the time given, each behind all that is pending for it; then its process ends, at the latest 2 s
//! later. All other requests are answered meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::uri::Authority;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use std::sync::atomic::Ordering::Relaxed;

use crate::publisher::Publisher;
use crate::server::{MAX_DRAIN, Server};
use pushbench_protocol::control::{
    Declare, Drain, Guard, PROTOCOL, PublishPlan, PublishReport, ServerInfo, Stats,
};
use pushbench_protocol::transport::{Profile, Transport};

#[derive(Clone)]
struct Control {
    server: Arc<Server>,
    transports: Arc<[Transport]>,
    profile: Profile,
}

/// The control interface of a server, for those whom `guard` lets in. Serve it on a loopback address
/// only.
pub fn router(
    server: Arc<Server>,
    transports: &[Transport],
    profile: Profile,
    guard: Guard,
) -> Router {
    let control = Control {
        server,
        transports: transports.into(),
        profile,
    };
    Router::new()
        .route("/v1/server", get(info))
        .route("/v1/channels", post(declare))
        .route("/v1/stats", get(stats))
        .route("/v1/publish", get(report).post(publish).delete(stop))
        .route("/v1/drain", post(drain))
        .fallback(|| async {
            error(
                StatusCode::NOT_FOUND,
                "no such path; expected one of those of protocol 1 under '/v1'",
            )
        })
        .method_not_allowed_fallback(|| async {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
            )
        })
        .with_state(control)
        .layer(middleware::from_fn_with_state(guard, guarded))
}

/// Carries out what may be asked for.
async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let authority = request.uri().authority().map(Authority::as_str);
    match guard.check(authority, fields) {
        Ok(()) => next.run(request).await,
        Err(stranger) => {
            let status = StatusCode::from_u16(stranger.status());
            error(status.unwrap_or(StatusCode::FORBIDDEN), stranger)
        }
    }
}

/// The address of a control interface may be reached from this machine only.
///
/// # Errors
/// A text that says so.
pub fn check_address(address: SocketAddr) -> Result<(), String> {
    if crate::server::is_loopback(address.ip()) {
        Ok(())
    } else {
        Err(format!(
            "control address '{address}' is not a loopback address, and whoever reaches it \
             commands the server; use '127.0.0.1:0'"
        ))
    }
}

fn error(status: StatusCode, text: impl ToString) -> Response {
    (
        status,
        Json(serde_json::json!({ "error": text.to_string() })),
    )
        .into_response()
}

async fn info(State(control): State<Control>) -> Json<ServerInfo> {
    Json(ServerInfo {
        protocol: PROTOCOL,
        server: "pushbench".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        transports: control.transports.to_vec(),
        profile: control.profile,
        threads: control.server.stats.len(),
        addresses: control.server.addresses,
        channels: control.server.hub.declared(),
    })
}

async fn declare(
    State(control): State<Control>,
    body: Result<Json<Declare>, JsonRejection>,
) -> Result<Response, Response> {
    let Json(body) = body.map_err(|e| error(e.status(), e.body_text()))?;
    let hub = &control.server.hub;
    hub.declare_with(&body.declare, &body.overflow)
        .map_err(|e| error(StatusCode::BAD_REQUEST, e))?;
    Ok(Json(serde_json::json!({ "channels": hub.channel_count() })).into_response())
}

async fn stats(State(control): State<Control>) -> Json<Stats> {
    let server = &control.server;
    Json(Stats {
        subscribers: server.total(|s| s.subscribers.load(Relaxed)),
        deliveries: server.total(|s| s.deliveries.load(Relaxed)),
        keep_alives: server.total(|s| s.keep_alives.load(Relaxed)),
        lagged: server.total(|s| s.lagged.load(Relaxed)),
        lost_messages: server.total(|s| s.lost_messages.load(Relaxed)),
        closed_politely: server.total(|s| s.closed_politely.load(Relaxed)),
        conflated_messages: server.total(|s| s.conflated_messages.load(Relaxed)),
        cut_off: server.total(|s| s.cut_off.load(Relaxed)),
    })
}

async fn publish(
    State(control): State<Control>,
    body: Result<Json<PublishPlan>, JsonRejection>,
) -> Result<Response, Response> {
    let Json(plan) = body.map_err(|e| error(e.status(), e.body_text()))?;
    let hub = control.server.hub.clone();
    plan.check(hub.channel_count())
        .map_err(|e| error(StatusCode::BAD_REQUEST, e))?;
    let mut running = control.server.publisher();
    if running.as_ref().is_some_and(|p| !p.report().finished) {
        return Err(error(
            StatusCode::CONFLICT,
            "a schedule is running; wait for it, or stop it with 'DELETE /v1/publish'",
        ));
    }
    if !hub.takes_plan(plan.schedule.channels) {
        return Err(error(
            StatusCode::CONFLICT,
            "the logs of these channels are to be those of one plan, and have messages already; \
             publish another plan with another server",
        ));
    }
    let publisher =
        Publisher::start(hub, plan).map_err(|e| error(StatusCode::INTERNAL_SERVER_ERROR, e))?;
    *running = Some(publisher);
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn report(State(control): State<Control>) -> Result<Json<PublishReport>, Response> {
    let report = control.server.report();
    report
        .map(Json)
        .ok_or_else(|| error(StatusCode::NOT_FOUND, "no schedule was started"))
}

async fn stop(State(control): State<Control>) -> Result<Json<PublishReport>, Response> {
    let mut running = control.server.publisher();
    let publisher = running.as_mut();
    let publisher =
        publisher.ok_or_else(|| error(StatusCode::NOT_FOUND, "no schedule was started"))?;
    publisher.stop();
    Ok(Json(publisher.report()))
}

async fn drain(
    State(control): State<Control>,
    body: Result<Json<Drain>, JsonRejection>,
) -> Result<Response, Response> {
    let Json(Drain { over_ms }) = body.map_err(|e| error(e.status(), e.body_text()))?;
    let over = Duration::from_millis(over_ms);
    if over > MAX_DRAIN {
        let text = format!(
            "'over_ms' is {over_ms}, expected at most {}",
            MAX_DRAIN.as_millis()
        );
        return Err(error(StatusCode::BAD_REQUEST, text));
    }
    if !control.server.drain(over) {
        let text = "the server drains already; wait for its end";
        return Err(error(StatusCode::CONFLICT, text));
    }
    Ok(StatusCode::ACCEPTED.into_response())
}
