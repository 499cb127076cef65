//! Arrivals: sessions begun under load, and what a new subscriber gets first.

use super::prelude::*;

#[rustfmt::skip]
pub(super) const METRICS: &[Metric] = &[
    metric(Measure, "arrivals", of!(measures.arrivals?.arrivals), "arrivals", "arrivals", Count),
    metric(Measure, "arrival_rate", of!(measures.arrivals?.achieved_per_s), "arrivals a second", "arrivals", PerS),
    metric(Measure, "failed_arrivals", of!(measures.arrivals?.failed), "failed arrivals", "failed", Count).count("arrivals"),
    metric(Measure, "set_up_p50", of!(measures.arrivals?.set_up_ns.p50), "median set-up of an arrival", "set-up p50", Ms).secondary(),
    metric(Measure, "set_up_p99", of!(measures.arrivals?.set_up_ns.p99), "p99 set-up of an arrival", "set-up p99", Ms).secondary(),
    metric(Measure, "set_up_max", of!(measures.arrivals?.set_up_ns.max), "greatest set-up of an arrival", "set-up max", Ms),
    metric(Measure, "resumed_p50", of!(measures.arrivals?.caught_up_ns.p50), "median catching up of a session", "caught up p50", Ms),
    metric(Measure, "resumed_p99", of!(measures.arrivals?.caught_up_ns.p99), "p99 catching up of a session", "caught up p99", Ms),
    metric(Measure, "arrival_cpu", of!(measures.arrivals?.server_cpu_ns_per_arrival), "server CPU per arrival", "server CPU", Us).per(Arrival).secondary(),
    metric(Measure, "early_memory", of!(measures.arrivals?.early_bytes), "server memory early in the phase", "memory early", MB),
    metric(Measure, "late_memory", of!(measures.arrivals?.late_bytes), "server memory at its end", "memory late", MB),
    metric(Measure, "memory_growth", of!(measures.arrivals?.growth), "growth of memory", "growth", Times).secondary(),
    metric(Measure, "snapshot_messages", of!(measures.snapshot?.messages), "messages of a snapshot", "messages", Count),
    metric(Measure, "snapshot_p50", of!(measures.snapshot?.complete_ns.p50), "median time to a whole snapshot", "p50", Ms).secondary(),
    metric(Measure, "snapshot_p90", of!(measures.snapshot?.complete_ns.p90), "p90 time to a whole snapshot", "p90", Ms),
    metric(Measure, "snapshot_p99", of!(measures.snapshot?.complete_ns.p99), "p99 time to a whole snapshot", "p99", Ms).secondary(),
    metric(Measure, "snapshot_max", of!(measures.snapshot?.complete_ns.max), "greatest time to a whole snapshot", "max", Ms),
];
