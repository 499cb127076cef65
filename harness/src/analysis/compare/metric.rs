//! The metrics of a trial that two records are compared by: name, unit, and which way is better.
//!
//! Beside the data path: read from the rows of a record. Nothing is measured here. Those of named
//! measures are told only where a scenario asks for the measure.

use serde::{Serialize, Serializer};

use crate::record::{Arrivals, Overflow, Recovery, RoundTrip, SlowReaders, Snapshot, Trial};
use crate::text::figure::{NONE, count, three};

/// What a metric counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Bytes.
    Bytes,
    /// A number a second.
    PerS,
    /// A number a delivery, or of whatever.
    Number,
}

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
}

/// How a metric is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By its ratio; corrected for the number of such comparisons.
    Primary,
    /// By its ratio; corrected for nothing.
    Secondary,
    /// A count over all trials, void ones too: what is counted needs no statistics.
    Counted,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// What gates and tables call it.
    pub name: &'static str,
    /// Its key in a trial of the record.
    pub key: &'static str,
    /// What it counts in.
    pub unit: Unit,
    /// Which way it gets better.
    pub better: Better,
    /// How it is compared.
    pub kind: Kind,
    /// Its value in a trial; `None` where the trial does not tell.
    pub of: fn(&Trial) -> Option<f64>,
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.key)
    }
}

const fn metric(
    name: &'static str,
    key: &'static str,
    unit: Unit,
    kind: Kind,
    of: fn(&Trial) -> Option<f64>,
) -> Metric {
    Metric {
        name,
        key,
        unit,
        better: Better::Lower,
        kind,
        of,
    }
}

const fn higher(metric: Metric) -> Metric {
    Metric {
        better: Better::Higher,
        ..metric
    }
}

fn ns(value: Option<u64>) -> Option<f64> {
    value.map(|ns| ns as f64)
}

fn some(value: u64) -> Option<f64> {
    Some(value as f64)
}

/// Begins the key of every figure of a named measure.
const OF_MEASURES: &str = "measures.";

/// Whether `key` is that of a figure of a named measure.
pub fn is_of_measure(key: &str) -> bool {
    key.starts_with(OF_MEASURES)
}

fn recovery(t: &Trial) -> Option<&Recovery> {
    t.measures.recovery.as_ref()
}

fn slow(t: &Trial) -> Option<&SlowReaders> {
    t.measures.slow_readers.as_ref()
}

fn overflow(t: &Trial) -> Option<&Overflow> {
    t.measures.overflow.as_ref()
}

fn trips(t: &Trial) -> Option<&RoundTrip> {
    t.measures.round_trip.as_ref()
}

fn arrivals(t: &Trial) -> Option<&Arrivals> {
    t.measures.arrivals.as_ref()
}

fn snapshot(t: &Trial) -> Option<&Snapshot> {
    t.measures.snapshot.as_ref()
}

use Kind::{Counted, Primary, Secondary};
use Unit::{Bytes, Ns, Number, PerS};

/// Every metric, primary ones first, those of named measures last.
#[rustfmt::skip]
pub static METRICS: [Metric; 58] = [
    metric("p50", "latency_ns.p50", Ns, Primary, |t| ns(t.latency_ns.p50)),
    metric("p99", "latency_ns.p99", Ns, Primary, |t| ns(t.latency_ns.p99)),
    metric("cpu", "server.cpu_ns_per_delivery", Ns, Primary, |t| t.server.cpu_ns_per_delivery),
    metric("p90", "latency_ns.p90", Ns, Secondary, |t| ns(t.latency_ns.p90)),
    metric("p999", "latency_ns.p999", Ns, Secondary, |t| ns(t.latency_ns.p999)),
    metric("service_p50", "service_ns.p50", Ns, Secondary, |t| ns(t.service_ns.p50)),
    metric("service_p99", "service_ns.p99", Ns, Secondary, |t| ns(t.service_ns.p99)),
    metric("last_p50", "fanout_ns.p50", Ns, Secondary, |t| ns(t.fanout_ns.p50)),
    metric("last_p99", "fanout_ns.p99", Ns, Secondary, |t| ns(t.fanout_ns.p99)),
    metric("connect_p50", "clients.connect_ns.p50", Ns, Secondary, |t| ns(t.clients.connect_ns.p50)),
    metric("connect_p99", "clients.connect_ns.p99", Ns, Secondary, |t| ns(t.clients.connect_ns.p99)),
    metric("user_memory", "server.memory.user_bytes_per_client", Bytes, Secondary, |t| t.server.memory.user_bytes_per_client),
    metric("kernel_memory", "server.memory.kernel_bytes_per_client", Bytes, Secondary, |t| t.server.memory.kernel_bytes_per_client),
    metric("peak_memory", "server.memory.peak_bytes", Bytes, Secondary, |t| ns(t.server.memory.peak_bytes)),
    metric("down", "wire.server_to_client_bytes_per_delivery", Bytes, Secondary, |t| t.wire.server_to_client_bytes_per_delivery),
    metric("up", "wire.client_to_server_bytes_per_delivery", Bytes, Secondary, |t| t.wire.client_to_server_bytes_per_delivery),
    metric("segments", "wire.segments_per_delivery", Number, Secondary, |t| t.wire.segments_per_delivery),
    metric("harness_cpu", "harness.cpu_ns_per_delivery", Ns, Secondary, |t| t.harness.cpu_ns_per_delivery),
    metric("publish_lag_p99", "publish.lag_ns.p99", Ns, Secondary, |t| ns(t.publish.lag_ns.p99)),
    higher(metric("achieved", "publish.achieved_per_s", PerS, Secondary, |t| t.publish.achieved_per_s)),
    higher(metric("received", "throughput.received_per_s", PerS, Secondary, |t| t.throughput.received_per_s)),
    metric("missing", "deliveries.missing", Number, Counted, |t| Some(t.deliveries.missing as f64)),
    metric("duplicate", "deliveries.duplicate", Number, Counted, |t| Some(t.deliveries.duplicate as f64)),
    metric("out_of_order", "deliveries.out_of_order", Number, Counted, |t| Some(t.deliveries.out_of_order as f64)),
    metric("refused", "clients.refused", Number, Counted, |t| Some(t.clients.refused as f64)),
    metric("disconnected", "clients.disconnected", Number, Counted, |t| Some(t.clients.disconnected as f64)),
    metric("back_p50", "measures.recovery.after_fault_ns.p50", Ns, Secondary, |t| ns(recovery(t)?.after_fault_ns.p50)),
    metric("back_all", "measures.recovery.after_fault_ns.max", Ns, Secondary, |t| ns(recovery(t)?.after_fault_ns.max)),
    metric("away_p50", "measures.recovery.away_ns.p50", Ns, Secondary, |t| ns(recovery(t)?.away_ns.p50)),
    metric("away_p99", "measures.recovery.away_ns.p99", Ns, Secondary, |t| ns(recovery(t)?.away_ns.p99)),
    metric("caught_up_p50", "measures.recovery.caught_up_ns.p50", Ns, Secondary, |t| ns(recovery(t)?.caught_up_ns.p50)),
    metric("caught_up_p99", "measures.recovery.caught_up_ns.p99", Ns, Secondary, |t| ns(recovery(t)?.caught_up_ns.p99)),
    metric("recovery_memory", "measures.recovery.server_peak_bytes", Bytes, Secondary, |t| ns(recovery(t)?.server_peak_bytes)),
    metric("recovery_cpu", "measures.recovery.server_cpu_ns", Ns, Secondary, |t| ns(recovery(t)?.server_cpu_ns)),
    metric("not_back", "measures.recovery.not_back", Number, Counted, |t| some(recovery(t)?.not_back)),
    metric("gave_up", "measures.recovery.gave_up", Number, Counted, |t| some(recovery(t)?.gave_up)),
    metric("fell_off", "measures.recovery.lagged_messages", Number, Counted, |t| some(recovery(t)?.lagged_messages)),
    metric("slow_memory", "measures.slow_readers.user_growth_bytes", Bytes, Secondary, |t| ns(slow(t)?.user_growth_bytes)),
    metric("slow_kernel_memory", "measures.slow_readers.kernel_growth_bytes", Bytes, Secondary, |t| ns(slow(t)?.kernel_growth_bytes)),
    metric("overflow_lost", "measures.overflow.lost_messages", Number, Counted, |t| some(overflow(t)?.lost_messages)),
    metric("overflow_cut_off", "measures.overflow.cut_off", Number, Counted, |t| some(overflow(t)?.cut_off)),
    metric("round_trip_p50", "measures.round_trip.round_trip_ns.p50", Ns, Secondary, |t| ns(trips(t)?.round_trip_ns.p50)),
    metric("round_trip_p99", "measures.round_trip.round_trip_ns.p99", Ns, Secondary, |t| ns(trips(t)?.round_trip_ns.p99)),
    metric("answer_p50", "measures.round_trip.acknowledge_ns.p50", Ns, Secondary, |t| ns(trips(t)?.acknowledge_ns.p50)),
    metric("connections", "measures.round_trip.connections_per_client", Number, Secondary, |t| Some(trips(t)?.connections_per_client)),
    metric("message_up", "measures.round_trip.up_bytes_per_message", Bytes, Secondary, |t| trips(t)?.up_bytes_per_message),
    metric("message_down", "measures.round_trip.down_bytes_per_message", Bytes, Secondary, |t| trips(t)?.down_bytes_per_message),
    metric("message_cpu", "measures.round_trip.server_cpu_ns_per_message", Ns, Secondary, |t| trips(t)?.server_cpu_ns_per_message),
    metric("trips_lost", "measures.round_trip.lost", Number, Counted, |t| some(trips(t)?.lost)),
    metric("trips_doubled", "measures.round_trip.doubled", Number, Counted, |t| some(trips(t)?.doubled)),
    metric("sends_refused", "measures.round_trip.refused", Number, Counted, |t| some(trips(t)?.refused)),
    metric("set_up_p50", "measures.arrivals.set_up_ns.p50", Ns, Secondary, |t| ns(arrivals(t)?.set_up_ns.p50)),
    metric("set_up_p99", "measures.arrivals.set_up_ns.p99", Ns, Secondary, |t| ns(arrivals(t)?.set_up_ns.p99)),
    metric("arrival_cpu", "measures.arrivals.server_cpu_ns_per_arrival", Ns, Secondary, |t| arrivals(t)?.server_cpu_ns_per_arrival),
    metric("memory_growth", "measures.arrivals.growth", Number, Secondary, |t| arrivals(t)?.growth),
    metric("failed_arrivals", "measures.arrivals.failed", Number, Counted, |t| some(arrivals(t)?.failed)),
    metric("snapshot_p50", "measures.snapshot.complete_ns.p50", Ns, Secondary, |t| ns(snapshot(t)?.complete_ns.p50)),
    metric("snapshot_p99", "measures.snapshot.complete_ns.p99", Ns, Secondary, |t| ns(snapshot(t)?.complete_ns.p99)),
];

/// The metric that is called so, by its name or by its key in the record.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|m| m.name == name || m.key == name)
}

impl Metric {
    /// `value` with its unit, three significant digits.
    pub fn show(&self, value: Option<f64>) -> String {
        let Some(value) = value else {
            return NONE.to_owned();
        };
        let (unit, name) = match self.unit {
            Unit::Ns => [(1e9, "s"), (1e6, "ms"), (1e3, "µs")]
                .into_iter()
                .find(|(unit, _)| value.abs() >= *unit)
                .unwrap_or((1.0, "ns")),
            Unit::Bytes => [(1e9, "GB"), (1e6, "MB"), (1e3, "KB")]
                .into_iter()
                .find(|(unit, _)| value.abs() >= *unit)
                .unwrap_or((1.0, "B")),
            Unit::PerS => (1.0, "/s"),
            Unit::Number if self.kind == Kind::Counted => return count(value as u64),
            Unit::Number => return three(value),
        };
        format!("{} {name}", three(value / unit))
    }

    /// The metric and what it is measured against, for people.
    pub fn title(&self) -> String {
        match self.name {
            "cpu" => "cpu / delivery".to_owned(),
            "harness_cpu" => "harness cpu".to_owned(),
            "user_memory" => "user memory / client".to_owned(),
            "kernel_memory" => "kernel memory / client".to_owned(),
            "down" | "up" | "segments" => format!("{} / delivery", self.name),
            "message_up" | "message_down" => format!("{} / message", &self.name[8..]),
            "message_cpu" => "cpu / message".to_owned(),
            "arrival_cpu" => "cpu / arrival".to_owned(),
            "connections" => "connections / client".to_owned(),
            name => name.replace('_', " "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn every_key_is_that_of_the_record_and_every_name_is_told_apart() {
        let trial = sample::measured();
        let json = serde_json::to_value(&trial).expect("serialisable");
        for metric in &METRICS {
            let pointer = format!("/{}", metric.key.replace('.', "/"));
            let value = json.pointer(&pointer);
            assert!(value.is_some(), "{}", metric.key);
            let number = value.and_then(serde_json::Value::as_f64);
            assert_eq!((metric.of)(&trial), number, "{}", metric.key);
            assert!(
                number.is_some() || !is_of_measure(metric.key),
                "{}",
                metric.key
            );
            let same = METRICS.iter().filter(|m| m.name == metric.name);
            assert_eq!(same.count(), 1);
            assert_eq!(find(metric.key), Some(metric));
        }
    }

    #[test]
    fn values_are_shown_in_the_unit_that_people_read() {
        let show = |name: &str, value| find(name).expect(name).show(Some(value));
        assert_eq!(show("p50", 271_300.0), "271 µs");
        assert_eq!(show("p99", 2_620_000.0), "2.62 ms");
        assert_eq!(show("user_memory", 11_900.0), "11.9 KB");
        assert_eq!(show("received", 2_999.7), "3,000 /s");
        assert_eq!(show("missing", 12_345.0), "12,345");
        assert_eq!(show("segments", 0.3771), "0.377");
        assert_eq!(find("p50").expect("p50").show(None), "–");
    }
}
