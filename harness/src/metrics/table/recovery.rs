//! Recovery: connections that were lost, and how their clients came back.

use super::prelude::*;

#[rustfmt::skip]
pub(super) const METRICS: &[Metric] = &[
    metric(Workload, "connections_lost", of!(measures.recovery?.lost), "connections lost", "lost", Count).pool(Sum),
    metric(Workload, "connections_cut", of!(measures.recovery?.cut), "connections cut by their client", "cut", Count).pool(Sum),
    metric(Workload, "cut_by_reset", of!(measures.recovery?.cut_by_reset), "connections cut by a reset", "reset", Count).pool(Sum),
    metric(Workload, "returns", of!(measures.recovery?.back), "clients that returned", "back", Count).pool(Sum),
    metric(Workload, "never_returned", of!(measures.recovery?.not_back), "clients that never returned", "never returned", Count).count("connections_lost"),
    metric(Workload, "stopped_retrying", of!(measures.recovery?.gave_up), "clients that stopped retrying", "stopped retrying", Count).count("connections_lost"),
    metric(Workload, "attempts", of!(measures.recovery?.attempts), "attempts to return", "attempts", Count).pool(Sum),
    metric(Workload, "failed_attempts", of!(measures.recovery?.failed_attempts), "failed attempts to return", "failed attempts", Count).pool(Sum),
    metric(Workload, "back_p50", of!(measures.recovery?.after_fault_ns.p50), "time until half were back", "after fault p50", Ms).secondary(),
    metric(Workload, "back_p90", of!(measures.recovery?.after_fault_ns.p90), "time until 90% were back", "after fault p90", Ms),
    metric(Workload, "back_p99", of!(measures.recovery?.after_fault_ns.p99), "time until 99% were back", "after fault p99", Ms),
    metric(Workload, "back_all", of!(measures.recovery?.after_fault_ns.max), "time until all clients were back", "after fault max", Ms).secondary(),
    metric(Workload, "away_p50", of!(measures.recovery?.away_ns.p50), "median time away", "away p50", Ms).secondary(),
    metric(Workload, "away_p99", of!(measures.recovery?.away_ns.p99), "p99 time away", "away p99", Ms).secondary(),
    metric(Workload, "caught_up_p50", of!(measures.recovery?.caught_up_ns.p50), "median latency of what was missed", "caught up p50", Ms).secondary(),
    metric(Workload, "caught_up_p99", of!(measures.recovery?.caught_up_ns.p99), "p99 latency of what was missed", "caught up p99", Ms).secondary(),
    metric(Workload, "peak_returns", of!(measures.recovery?.peak_returns_per_s), "most returns in a second", "peak returns", PerS),
    metric(Workload, "peak_attempts", of!(measures.recovery?.peak_attempts_per_s), "most attempts in a second", "peak attempts", PerS),
    metric(Workload, "ring_overflow", of!(measures.recovery?.lagged_messages), "messages lost to ring overflow", "ring overflow", Count).count("expected"),
    metric(Workload, "recovery_memory", of!(measures.recovery?.server_peak_bytes), "peak memory during recovery", "server peak", MB).secondary(),
    metric(Workload, "recovery_cpu", of!(measures.recovery?.server_cpu_ns), "server CPU during recovery", "server CPU", Ms).secondary(),
];
