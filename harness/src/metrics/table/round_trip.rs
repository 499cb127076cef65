//! Round trips: messages of clients and their return.

use super::prelude::*;

#[rustfmt::skip]
pub(super) const METRICS: &[Metric] = &[
    metric(Measure, "trips_due", of!(measures.round_trip?.due), "messages due", "due", Count).pool(Sum),
    metric(Measure, "trips_sent", of!(measures.round_trip?.sent), "messages sent", "sent", Count).pool(Sum),
    metric(Measure, "trips_acknowledged", of!(measures.round_trip?.acknowledged), "messages acknowledged", "acknowledged", Count).pool(Sum),
    metric(Measure, "trips_returned", of!(measures.round_trip?.returned), "messages that returned", "back", Count).pool(Sum),
    metric(Measure, "trips_lost", of!(measures.round_trip?.lost), "messages that never returned", "lost", Count).count("trips_due"),
    metric(Measure, "trips_doubled", of!(measures.round_trip?.doubled), "messages that returned twice", "twice", Count).count("trips_due"),
    metric(Measure, "sends_refused", of!(measures.round_trip?.refused), "sends refused", "refused", Count).count("trips_due"),
    metric(Trial, "posts_reopened", of!(measures.round_trip?.reopened), "POST connections opened again", "reopened", Count).pool(Sum),
    metric(Measure, "round_trip_p50", of!(measures.round_trip?.round_trip_ns.p50), "median round trip", "p50", Ms).secondary(),
    metric(Measure, "round_trip_p99", of!(measures.round_trip?.round_trip_ns.p99), "p99 round trip", "p99", Ms).secondary(),
    metric(Measure, "answer_p50", of!(measures.round_trip?.acknowledge_ns.p50), "median answer to a POST", "answer p50", Ms).secondary(),
    metric(Measure, "connections", of!(measures.round_trip?.connections_per_client), "connections per client", "connections", Number).per(Client).secondary(),
    metric(Workload, "message_up", of!(measures.round_trip?.up_bytes_per_message), "bytes up per message", "up", B).per(Message).secondary(),
    metric(Workload, "message_down", of!(measures.round_trip?.down_bytes_per_message), "bytes down per message", "down", B).per(Message).secondary(),
    metric(Workload, "post_up", of!(measures.round_trip?.post_up_bytes_per_message), "bytes up per message, on POSTs", "POST up", B).per(Message),
    metric(Workload, "post_down", of!(measures.round_trip?.post_down_bytes_per_message), "bytes down per message, on POSTs", "POST down", B).per(Message),
    metric(Workload, "message_cpu", of!(measures.round_trip?.server_cpu_ns_per_message), "server CPU per message", "server CPU", Us).per(Message).secondary(),
];
