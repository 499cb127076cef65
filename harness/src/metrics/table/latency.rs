//! Latency: of deliveries, to the last subscriber, of connecting, and where it comes from.

use super::prelude::*;

#[rustfmt::skip]
pub(super) const METRICS: &[Metric] = &[
    metric(Measure, "p50", of!(latency_ns.p50), "median latency", "p50", Ms).primary().pool(Histogram).in_slice(|s| Some(s.p50_ns? as f64)),
    metric(Measure, "p99", of!(latency_ns.p99), "p99 latency", "p99", Ms).primary().pool(Histogram).in_slice(|s| Some(s.p99_ns? as f64)),
    metric(Measure, "p90", of!(latency_ns.p90), "p90 latency", "p90", Ms).secondary().pool(Histogram),
    metric(Measure, "p999", of!(latency_ns.p999), "p99.9 latency", "p99.9", Ms).detail().pool(Histogram),
    metric(Measure, "latencies", of!(latency_ns.count), "deliveries with a latency", "deliveries", Count).pool(Histogram),
    metric(Measure, "min", of!(latency_ns.min), "least latency", "min", Ms).pool(Histogram),
    metric(Measure, "mean", of!(latency_ns.mean), "mean latency", "mean", Ms).pool(Histogram),
    metric(Measure, "max", of!(latency_ns.max), "greatest latency", "max", Ms).pool(Histogram),
    metric(Measure, "service_p50", of!(service_ns.p50), "median service latency", "service p50", Ms).secondary(),
    metric(Measure, "service_p99", of!(service_ns.p99), "p99 service latency", "service p99", Ms).detail(),
    metric(Measure, "last_p50", of!(fanout_ns.p50), "median to the last subscriber", "last p50", Ms).secondary().pool(Histogram),
    metric(Measure, "last_p99", of!(fanout_ns.p99), "p99 to the last subscriber", "last p99", Ms).detail().pool(Histogram),
    metric(Connect, "connects", of!(clients.connect_ns.count), "connections set up", "connects", Count).pool(Sum),
    metric(Connect, "connect_min", of!(clients.connect_ns.min), "least connection set-up", "min", Ms),
    metric(Connect, "connect_p50", of!(clients.connect_ns.p50), "median connection set-up", "p50", Ms).secondary(),
    metric(Connect, "connect_p90", of!(clients.connect_ns.p90), "p90 connection set-up", "p90", Ms),
    metric(Connect, "connect_p99", of!(clients.connect_ns.p99), "p99 connection set-up", "p99", Ms).detail(),
    metric(Connect, "connect_max", of!(clients.connect_ns.max), "greatest connection set-up", "max", Ms),
    metric(Measure, "first_message_p50", of!(clients.first_message_ns.p50), "median time to the first message", "first message p50", Ms).secondary(),
    metric(Measure, "first_message_p99", of!(clients.first_message_ns.p99), "p99 time to the first message", "first message p99", Ms).secondary(),
    metric(Measure, "publish_lag_p50", of!(publish.lag_ns.p50), "median publish lag", "publish lag p50", Ms).of_target(PublishReport),
    metric(Measure, "publish_lag_p90", of!(publish.lag_ns.p90), "p90 publish lag", "publish lag p90", Ms).of_target(PublishReport),
    metric(Measure, "publish_lag_p99", of!(publish.lag_ns.p99), "p99 publish lag", "publish lag p99", Ms).detail().of_target(PublishReport),
    metric(Measure, "probe_reads", of!(probe?.reads), "reads by probes", "reads", Count).pool(Sum),
    metric(Measure, "probe_harness_p50", of!(probe?.harness_ns.p50), "median in the harness", "harness p50", Ms),
    metric(Measure, "probe_harness_p90", of!(probe?.harness_ns.p90), "p90 in the harness", "harness p90", Ms),
    metric(Measure, "probe_harness_p99", of!(probe?.harness_ns.p99), "p99 in the harness", "harness p99", Ms),
    metric(Measure, "probe_server_p50", of!(probe?.server_and_network_ns.p50), "median in server and network", "server and network p50", Ms),
    metric(Measure, "probe_server_p90", of!(probe?.server_and_network_ns.p90), "p90 in server and network", "server and network p90", Ms),
    metric(Measure, "probe_server_p99", of!(probe?.server_and_network_ns.p99), "p99 in server and network", "server and network p99", Ms),
];
