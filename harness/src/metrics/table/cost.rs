//! Cost: CPU, memory, bytes on the wire.

use super::prelude::*;

#[rustfmt::skip]
pub(super) const METRICS: &[Metric] = &[
    metric(Workload, "cpu", of!(server.cpu_ns_per_delivery), "server CPU per delivery", "server CPU", Us).per(Delivery).primary().in_slice(|s| s.per_delivery(s.server_cpu_ns)),
    metric(Workload, "cpu_multiple", ("derived.cpu_multiple_of_tcp", |_| None), "server CPU over that of tcp", "over tcp", Times).pool(Row),
    metric(Workload, "harness_cpu", of!(harness.cpu_ns_per_delivery), "harness CPU per delivery", "harness CPU", Us).per(Delivery).secondary().in_slice(|s| s.per_delivery(s.harness_cpu_ns)),
    metric(Workload, "other_cpu", ("derived.unattributed_cpu_ns_per_delivery", other_cpu), "other CPU per delivery", "other CPU", Us).per(Delivery),
    metric(Connect, "user_memory", of!(server.memory.user_bytes_per_client), "server memory per client", "server memory", KB).per(Client).secondary(),
    metric(Connect, "kernel_memory", of!(server.memory.kernel_bytes_per_client), "kernel memory per client", "kernel memory", KB).per(Client).detail(),
    metric(Connect, "harness_memory", of!(harness.memory_bytes_per_client), "harness memory per client", "harness memory", KB).per(Client),
    metric(Connect, "settled_memory", of!(server.memory.settled_bytes), "settled server memory", "settled memory", MB),
    metric(Trial, "peak_memory", of!(server.memory.peak_bytes), "peak server memory", "peak memory", MB).detail(),
    metric(Workload, "down", of!(wire.server_to_client_bytes_per_delivery), "bytes sent per delivery", "down", B).per(Delivery).secondary(),
    metric(Workload, "up", of!(wire.client_to_server_bytes_per_delivery), "bytes received per delivery", "up", B).per(Delivery).detail(),
    metric(Workload, "segments", of!(wire.segments_per_delivery), "segments per delivery", "segments", Number).per(Delivery).detail(),
    metric(Workload, "segments_up", of!(wire.client_to_server_segments_per_delivery), "segments received per delivery", "segments up", Number).per(Delivery),
    metric(Workload, "retransmitted", of!(wire.retransmitted_bytes), "bytes that clients sent again", "sent again", B).pool(Sum),
    metric(Workload, "requests", of!(wire.requests), "requests", "requests", Count).pool(Sum),
    metric(Workload, "empty_responses", of!(wire.empty_responses), "requests answered without a message", "empty responses", Count).pool(Sum),
    metric(Workload, "empty_share", ("derived.empty_share", empty_share), "share of requests answered without a message", "empty responses", Percent),
];

/// What the machine did that neither server nor harness was charged with.
fn other_cpu(t: &crate::record::Trial) -> Option<f64> {
    let deliveries = t.workload?.deliveries.filter(|&n| n > 0)?;
    Some(t.machine.unattributed_cpu_ns? as f64 / deliveries as f64)
}

fn empty_share(t: &crate::record::Trial) -> Option<f64> {
    let requests = t.wire.requests.filter(|&requests| requests > 0)?;
    Some(t.wire.empty_responses? as f64 / requests as f64)
}
