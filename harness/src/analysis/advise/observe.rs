//! A trial as a point of the fit: what it did in a second, and what that took.

use pushbench_protocol::schedule::Arrival;
use pushbench_protocol::transport::{Polls, Profile, Transport};

use super::workload::{Audience, Load, Workload};
use crate::record::{Record, Trial, Verdict};

/// What is known of one trial.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Which record it is from.
    pub record: usize,
    /// Name of the scenario.
    pub scenario: String,
    /// The transport.
    pub transport: Transport,
    /// The profile.
    pub profile: Profile,
    /// The workload that it ran.
    pub workload: Workload,
    /// What the server had to do in a second, as the workload says.
    pub planned: Load,
    /// The same with what was counted in its place, where it was.
    pub load: Load,
    /// Server CPU, in seconds a second.
    pub cpu: Option<f64>,
    /// Server memory with nobody connected, in bytes.
    pub base_bytes: Option<f64>,
    /// Server memory with all clients connected.
    pub settled_bytes: Option<f64>,
    /// The most that the server ever held.
    pub peak_bytes: Option<f64>,
    /// User memory of a client, as a slope.
    pub user_slope: Option<f64>,
    /// Kernel memory of a client, both ends.
    pub kernel_slope: Option<f64>,
    /// Bytes down, a delivery.
    pub down_per_delivery: Option<f64>,
    /// Median of delivery latency.
    pub p50_ns: Option<f64>,
    /// Its quantile 0.99.
    pub p99_ns: Option<f64>,
}

/// Every trial of `record` that is not void; `number` is what its points are known by. None of a
/// scenario that does something to its servers or clients: what such a second takes is not a cost of a
/// delivery.
pub fn observe(record: &Record, number: usize) -> Vec<Observation> {
    let mut receiving = record.scenario.clone();
    receiving.upstream = None;
    if receiving.needs_lean_clients().is_some() || receiving.disturbed().is_some() {
        return Vec::new();
    }
    record
        .trials
        .iter()
        .filter(|t| t.validity.verdict != Verdict::Void && t.error.is_none())
        .filter_map(|trial| observation(record, number, trial))
        .collect()
}

fn observation(record: &Record, number: usize, trial: &Trial) -> Option<Observation> {
    let workload = workload_of(record, trial)?;
    let measure = trial.phase_ns.measure?;
    let window = trial.workload?;
    let window_s = window.length_ns() as f64 / 1e9;
    if window_s <= 0.0 {
        return None;
    }
    let mut load = workload.load(trial.variant.transport);
    // The window of CPU and bytes may hold the drain, in which nothing is published.
    let warm_up_ns = (record.scenario.phases.warm_up_s * 1e9) as u64;
    let published_from = measure.start.saturating_sub(warm_up_ns);
    let published_ns = measure
        .end
        .min(window.until_ns)
        .saturating_sub(published_from.max(window.from_ns));
    let share = published_ns as f64 / 1e9 / window_s;
    let wake_ups = load.wake_ups;
    let polls = trial.variant.transport.polls();
    for term in [
        &mut load.deliveries,
        &mut load.wake_ups,
        &mut load.bytes,
        &mut load.sends,
    ] {
        *term *= share;
    }
    if polls == Some(Polls::AtIntervals) {
        // Polls go on where nothing is published.
        let polls = f64::from(workload.clients) / workload.poll_interval_s;
        load.wake_ups = (wake_ups - polls) * share + polls;
    }
    let planned = load;
    if let Some(segments) = trial.wire.segments_per_delivery.filter(|_| polls.is_none()) {
        // Answers to POSTs are segments too.
        let answers = if trial.variant.transport.goes_both_ways() {
            0.0
        } else {
            load.sends
        };
        load.writes = (segments * load.deliveries - answers).max(0.0);
    }
    if let (Some(requests), true) = (trial.wire.requests, polls.is_some()) {
        load.writes = match (record.converted_from, trial.phase_ns.warm_up) {
            // There they were counted from the warm-up on, and CPU was not; held requests follow
            // messages, so there were none in the drain.
            (Some(_), Some(warm_up)) => {
                let counted_ns = measure.end.saturating_sub(warm_up.start).max(1);
                requests as f64 * 1e9 / counted_ns as f64 * share
            }
            _ => requests as f64 / window_s,
        };
    }
    let memory = &trial.server.memory;
    let bytes = |value: Option<u64>| value.map(|v| v as f64);
    let quantile = |value: Option<u64>| value.map(|v| v as f64);
    Some(Observation {
        record: number,
        scenario: record.scenario.name.clone(),
        transport: trial.variant.transport,
        profile: trial.variant.profile,
        planned,
        load,
        cpu: trial.server.cpu_ns.map(|ns| ns as f64 / 1e9 / window_s),
        base_bytes: bytes(memory.base_bytes),
        settled_bytes: bytes(memory.settled_bytes),
        peak_bytes: bytes(memory.peak_bytes),
        user_slope: memory.user_bytes_per_client,
        kernel_slope: memory.kernel_bytes_per_client,
        down_per_delivery: trial.wire.server_to_client_bytes_per_delivery,
        p50_ns: quantile(trial.latency_ns.p50),
        p99_ns: quantile(trial.latency_ns.p99),
        workload,
    })
}

/// The workload of a trial. What its row tells goes before what the scenario says: a trial may have
/// run with other values than its neighbours.
fn workload_of(record: &Record, trial: &Trial) -> Option<Workload> {
    let scenario = &record.scenario;
    let clients = u32::try_from(trial.clients.connected)
        .ok()
        .filter(|n| *n > 0)?;
    let publish = scenario.publish.as_ref();
    let upstream = scenario
        .upstream
        .as_ref()
        .map_or(0.0, |u| u.rate_per_client_s);
    // What clients send is what is published, where they do.
    let published = trial
        .publish
        .achieved_per_s
        .or(Some(upstream * f64::from(clients)))
        .filter(|rate| *rate > 0.0);
    let received = trial.throughput.received_per_s.filter(|rate| *rate > 0.0);
    let payload = match (trial.throughput.received_bytes_per_s, received) {
        (Some(bytes), Some(received)) => bytes / received,
        _ => publish.map_or(51.0, |p| p.payload_bytes as f64),
    };
    // Received through the end of the phase: what polls fetch later is owed as well.
    let expected = trial.deliveries.expected? as f64;
    let measure = trial.phase_ns.measure?;
    let measured_s = (measure.end.saturating_sub(measure.start)) as f64 / 1e9;
    let (rate, group) = match published {
        Some(published) if measured_s > 0.0 && expected > 0.0 => {
            let deliveries = expected / measured_s;
            let group = (deliveries / published).round().max(1.0);
            (deliveries / f64::from(clients), group as u32)
        }
        _ => (0.0, 1),
    };
    let connects = scenario
        .sessions
        .as_ref()
        .map_or(0.0, |s| 1e3 / (s.length_ms as f64 + s.gap_ms as f64));
    Some(Workload {
        clients,
        rate,
        group,
        payload,
        burst: publish.map_or(1.0, |p| f64::from(p.burst.max(1))),
        upstream,
        poll_interval_s: scenario.clients.poll_interval_ms as f64 / 1e3,
        reconnects_per_s: connects,
        keep_alive_s: scenario.server.keep_alive_s,
        poll_timeout_s: scenario.server.poll_timeout_s,
        even: publish.is_none_or(|p| p.arrival != Arrival::Poisson),
        audience: Audience::Native,
        binary: false,
        proxy: false,
        http2: false,
        mobile: false,
        price_per_gb: None,
        price_per_core: None,
    })
}
