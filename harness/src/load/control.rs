//! What a run asks its fleet, over the same kind of interface as the servers': HTTP/1.1 with JSON
//! on a loopback address of its own, so that fleets can run on other machines later.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /v1/fleet` | [`Setup`] | 200; 409 when it is set up already |
//! | `POST /v1/fleet/connect` | `{"up_to": 1000}` | 202: clients are opened at the pace of the setup |
//! | `GET /v1/fleet` | | 200 [`Status`] |
//! | `POST /v1/fleet/begin` | [`Timing`] | 202 |
//! | `POST /v1/fleet/sample` | | 200 [`Counters`]: everything counted so far, at the edges of a window |
//! | `POST /v1/fleet/finish` | `{"due_before_ns": 18446744073709551615}` | 200 [`FleetReport`] |
//! | `POST /v1/fleet/panic` | | 202: the first shard panics, for scenarios that ask what then becomes of a run |
//! | `DELETE /v1/fleet` | | 200 when every client is closed |
//!
//! Errors are 4xx and 5xx with `{"error": "…"}`; who may ask is as with servers ([`Guard`]).

// An answer of axum is the error of a request: a box would save nothing on this path.
#![allow(clippy::result_large_err)]

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::uri::Authority;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use pushbench_protocol::control::Guard;
use serde::{Deserialize, Serialize};

use super::handle::{Command, Handle};
use super::merge::merge;
use super::tally::Counters;
use super::{FleetReport, MeasurePhase, Setup, Status, Timing};

/// How long shards may take to answer, as when they settle their accounts. A million ledgers take well under a second.
const REPLY_WAIT: Duration = Duration::from_secs(60);

/// How often their replies are asked for.
const REPLY_LOOK: Duration = Duration::from_millis(1);

/// How many clients to have open.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// In all, over all shards.
    pub up_to: u32,
}

/// What accounts to settle.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// Nobody is owed what was due from then on, in ns of `CLOCK_MONOTONIC`.
    pub due_before_ns: u64,
}

/// The control interface of a fleet, for those whom `guard` lets in. Serve it on a loopback address only.
pub fn router(guard: Guard) -> Router {
    Router::new()
        .route("/v1/fleet", get(status).post(set_up).delete(close))
        .route("/v1/fleet/connect", post(connect))
        .route("/v1/fleet/begin", post(begin))
        .route("/v1/fleet/sample", post(sample))
        .route("/v1/fleet/finish", post(finish))
        .route("/v1/fleet/panic", post(panic))
        .with_state(Fleet::default())
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

#[derive(Clone, Default)]
struct Fleet(Arc<Mutex<Option<Shards>>>);

struct Shards {
    setup: Arc<Setup>,
    handles: Vec<Handle>,
    phase: Option<Arc<MeasurePhase>>,
}

type Answer = Result<Response, Response>;

fn error(status: StatusCode, text: impl ToString) -> Response {
    (
        status,
        Json(serde_json::json!({ "error": text.to_string() })),
    )
        .into_response()
}

impl Fleet {
    fn with<T>(&self, f: impl FnOnce(&mut Shards) -> T) -> Result<T, Response> {
        let mut shards = self.0.lock().expect("no panic while held");
        let shards = shards.as_mut();
        shards.map(f).ok_or_else(|| {
            error(
                StatusCode::CONFLICT,
                "the fleet is not set up; 'POST /v1/fleet' first",
            )
        })
    }
}

async fn set_up(State(fleet): State<Fleet>, body: Result<Json<Setup>, JsonRejection>) -> Answer {
    let Json(setup) = body.map_err(|e| error(e.status(), e.body_text()))?;
    setup
        .check()
        .map_err(|e| error(StatusCode::BAD_REQUEST, e))?;
    let mut shards = fleet.0.lock().expect("no panic while held");
    if shards.is_some() {
        return Err(error(StatusCode::CONFLICT, "the fleet is set up already"));
    }
    let setup = Arc::new(setup);
    let handles = Handle::start_all(&setup).map_err(|e| {
        error(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot start: {e}"),
        )
    })?;
    *shards = Some(Shards {
        setup,
        handles,
        phase: None,
    });
    Ok(StatusCode::OK.into_response())
}

async fn connect(State(fleet): State<Fleet>, body: Result<Json<Connect>, JsonRejection>) -> Answer {
    let Json(Connect { up_to }) = body.map_err(|e| error(e.status(), e.body_text()))?;
    fleet.with(|shards| {
        let (up_to, count) = (
            up_to.min(shards.setup.clients()) as usize,
            shards.handles.len(),
        );
        for (number, handle) in shards.handles.iter().enumerate() {
            // Client j belongs to shard j % count.
            let share = up_to / count + usize::from(number < up_to % count);
            handle.send(Command::Connect(share));
        }
    })?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn status(State(fleet): State<Fleet>) -> Answer {
    fleet.with(|shards| Json(shards.status()).into_response())
}

async fn panic(State(fleet): State<Fleet>) -> Answer {
    fleet.with(|shards| {
        for handle in shards.handles.iter().take(1) {
            handle.send(Command::Panic);
        }
    })?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn begin(State(fleet): State<Fleet>, body: Result<Json<Timing>, JsonRejection>) -> Answer {
    let Json(timing) = body.map_err(|e| error(e.status(), e.body_text()))?;
    let checked = timing.schedule.check();
    checked.map_err(|text| error(StatusCode::BAD_REQUEST, text))?;
    fleet.with(|shards| {
        let phase = Arc::new(MeasurePhase::of_fleet(timing, &shards.setup));
        for handle in &shards.handles {
            handle.send(Command::Begin(phase.clone()));
        }
        shards.phase = Some(phase);
    })?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Gives every shard a command with a place for its reply, and waits for all of them.
async fn gather<T>(
    fleet: &Fleet,
    command: impl Fn(mpsc::Sender<T>) -> Command,
) -> Result<Vec<T>, Response> {
    let (sender, replies) = mpsc::channel();
    let replies = Mutex::new(replies);
    let count = fleet.with(|shards| {
        for handle in &shards.handles {
            handle.send(command(sender.clone()));
        }
        shards.handles.len()
    })?;
    let mut received = Vec::with_capacity(count);
    let deadline = Instant::now() + REPLY_WAIT;
    // What a shard counted that panicked is gone with it; the others reply.
    while received.len() + fleet.with(|shards| shards.dead())? < count {
        let next = replies.lock().expect("no panic while held").try_recv();
        match next {
            Ok(reply) => received.push(reply),
            Err(_) if Instant::now() > deadline => {
                let text = format!("{} of {count} shards replied", received.len());
                return Err(error(StatusCode::INTERNAL_SERVER_ERROR, text));
            }
            // Shards may have descriptor tables of their own, and so cannot wake this thread's
            // runtime: it asks again.
            Err(_) => tokio::time::sleep(REPLY_LOOK).await,
        }
    }
    Ok(received)
}

async fn sample(State(fleet): State<Fleet>) -> Answer {
    let mut counters = Counters::default();
    for shard in gather(&fleet, Command::Sample).await? {
        counters += shard;
    }
    Ok(Json(counters).into_response())
}

async fn finish(State(fleet): State<Fleet>, body: Result<Json<Finish>, JsonRejection>) -> Answer {
    let Json(Finish { due_before_ns }) = body.map_err(|e| error(e.status(), e.body_text()))?;
    let command = |reply| Command::Finish(due_before_ns, reply);
    let reports = gather(&fleet, command).await?;
    let report = fleet.with(|shards| {
        let status = shards.status();
        FleetReport {
            refused: status.refused,
            disconnected: status.disconnected,
            errors: status.errors,
            limits_met: status.limits_met,
            dead_shards: status.dead_shards,
            ..merge(
                reports.into_iter().map(|report| *report),
                shards.phase.as_deref(),
            )
        }
    })?;
    Ok(Json(report).into_response())
}

async fn close(State(fleet): State<Fleet>) -> Answer {
    let shards = fleet.0.lock().expect("no panic while held").take();
    if let Some(mut shards) = shards {
        for handle in &shards.handles {
            handle.send(Command::Exit);
        }
        for handle in &mut shards.handles {
            handle.join();
        }
    }
    Ok(StatusCode::OK.into_response())
}

impl Shards {
    /// How many threads have ended before their time.
    fn dead(&self) -> usize {
        self.handles.iter().filter(|h| !h.is_alive()).count()
    }

    fn status(&self) -> Status {
        let mut status = Status {
            dead_shards: self.dead() as u64,
            ..Status::default()
        };
        for handle in self.handles.iter().filter(|h| h.is_alive()) {
            let gauges = &handle.gauges;
            status.connected += gauges.connected.load(Relaxed);
            let last_ns = gauges.last_connected_ns.load(Relaxed);
            status.last_connected_ns = status.last_connected_ns.max(last_ns);
            status.refused += gauges.refused.load(Relaxed);
            status.disconnected += gauges.disconnected.load(Relaxed);
            status.received += gauges.received.load(Relaxed);
            status.outstanding += gauges.outstanding.load(Relaxed);
            status.away += gauges.away.load(Relaxed);
            let stopped_by = *gauges.stopped_by.lock().expect("no panic while held");
            status.stopped_by = status.stopped_by.or(stopped_by);
            // The worst shard's, since quantiles have no mean.
            status.p50_ns = status.p50_ns.max(gauges.p50_ns.load(Relaxed));
            status.p99_ns = status.p99_ns.max(gauges.p99_ns.load(Relaxed));
            let errors = gauges.errors.lock().expect("no panic while held");
            status.errors.extend(errors.iter().cloned());
            let met = gauges.limits_met.lock().expect("no panic while held");
            for (limit, times) in met.iter() {
                *status.limits_met.entry(*limit).or_default() += times;
            }
        }
        status
    }
}
