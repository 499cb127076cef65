//! Streams of messages, one a session.

use super::prelude::*;

#[rustfmt::skip]
pub(super) const METRICS: &[Metric] = &[
    metric(Measure, "streams_offered", of!(measures.streams?.offered_per_s), "streams that begin a second", "streams offered", PerS),
    metric(Measure, "streams", of!(measures.streams?.complete_per_s), "complete streams a second", "streams complete", PerS).higher().secondary().out_of("streams_offered"),
    metric(Measure, "gap_jitter_p50", of!(measures.streams?.gap_jitter_ns.p50), "median gap jitter", "jitter p50", Ms).secondary(),
    metric(Measure, "gap_jitter_p99", of!(measures.streams?.gap_jitter_ns.p99), "p99 gap jitter", "jitter p99", Ms).secondary(),
    metric(Measure, "stream_p50", of!(measures.streams?.first_to_last_ns.p50), "median from first to last message", "first to last p50", Ms).secondary(),
    metric(Measure, "stream_p99", of!(measures.streams?.first_to_last_ns.p99), "p99 from first to last message", "first to last p99", Ms),
];
