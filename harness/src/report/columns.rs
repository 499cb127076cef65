//! What the tables of Markdown and HTML hold: for each column the record's key, a heading, the unit
//! and how the number is written. No figure comes from anywhere but the key that stands here.

use super::tree::Tree;
use crate::text::figure::{NONE, count, three};

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Where the value is below a row's own place in the record, as steps of a JSON pointer.
    pub(super) key: &'static str,
    /// What it is, without the unit.
    pub(super) heading: &'static str,
    /// Its unit; empty for a count.
    pub(super) unit: &'static str,
    /// How it is written.
    pub(super) show: Show,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Show {
    /// A whole number.
    Count,
    /// Over this many of the record's units, with three digits.
    Over(f64),
    /// As it is.
    Text,
}

impl Show {
    /// The value as people read it; `–` for one that there is not.
    pub(super) fn text(self, value: Option<&Tree>) -> String {
        match (self, value) {
            (Self::Text, Some(value)) => value.text().unwrap_or_default(),
            (Self::Over(unit), Some(Tree::Number(number))) => number
                .as_f64()
                .map_or_else(|| NONE.to_owned(), |value| three(value / unit)),
            (Self::Count, Some(Tree::Number(number))) => number
                .as_u64()
                .or_else(|| {
                    number
                        .as_f64()
                        .filter(|n| n.fract() == 0.0)
                        .map(|n| n as u64)
                })
                .map_or_else(|| three(number.as_f64().unwrap_or(f64::NAN)), count),
            _ => NONE.to_owned(),
        }
    }
}

impl Column {
    /// Heading with unit: `p50, ms`.
    pub(super) fn title(&self) -> String {
        match self.unit {
            "" => self.heading.to_owned(),
            unit => format!("{}, {unit}", self.heading),
        }
    }

    /// Whether its values are numbers.
    pub(super) fn is_number(&self) -> bool {
        self.show != Show::Text
    }
}

pub(super) const fn over(
    key: &'static str,
    heading: &'static str,
    unit: &'static str,
    by: f64,
) -> Column {
    let show = Show::Over(by);
    Column {
        key,
        heading,
        unit,
        show,
    }
}

pub(super) const fn whole(key: &'static str, heading: &'static str) -> Column {
    Column {
        key,
        heading,
        unit: "",
        show: Show::Count,
    }
}

const fn word(key: &'static str, heading: &'static str) -> Column {
    Column {
        key,
        heading,
        unit: "",
        show: Show::Text,
    }
}

const MS: f64 = 1e6;
const US: f64 = 1e3;
const KB: f64 = 1e3;

/// Rows of the summary: what was delivered, and how late.
pub(super) const DELIVERY: &[Column] = &[
    whole("connected", "clients"),
    over("achieved_per_s", "achieved", "publ./s", 1.0),
    over("received_per_s", "received", "/s", 1.0),
    over("latency_ns/p50", "p50", "ms", MS),
    over("latency_ns/p90", "p90", "ms", MS),
    over("latency_ns/p99", "p99", "ms", MS),
    over("latency_ns/p999", "p99.9", "ms", MS),
    over("latency_ns/max", "max", "ms", MS),
    over("fanout_ns/p50", "last p50", "ms", MS),
    over("fanout_ns/p99", "last p99", "ms", MS),
    word("verdict", "verdict"),
];

/// Rows of the summary: what it cost.
pub(super) const COST: &[Column] = &[
    over(
        "server_cpu_ns_per_delivery",
        "server CPU",
        "µs/delivery",
        US,
    ),
    over("cpu_multiple_of_tcp", "× tcp", "", 1.0),
    over(
        "harness_cpu_ns_per_delivery",
        "harness CPU",
        "µs/delivery",
        US,
    ),
    over(
        "unattributed_cpu_ns_per_delivery",
        "CPU of neither",
        "µs/delivery",
        US,
    ),
    over("user_bytes_per_client", "server memory", "KB/client", KB),
    over("kernel_bytes_per_client", "kernel memory", "KB/client", KB),
    over(
        "server_to_client_bytes_per_delivery",
        "down",
        "B/delivery",
        1.0,
    ),
    over(
        "client_to_server_bytes_per_delivery",
        "up",
        "B/delivery",
        1.0,
    ),
    over("segments_per_delivery", "segments", "/delivery", 1.0),
];

/// Rows of the summary: the ledgers of all clients and trials.
pub(super) const LEDGER: &[Column] = &[
    whole("trials", "trials"),
    whole("failed", "failed"),
    whole("target", "clients"),
    whole("connected", "connected"),
    whole("expected", "expected"),
    whole("received", "received"),
    whole("missing", "missing"),
    whole("duplicate", "duplicate"),
    whole("out_of_order", "out of order"),
    word("verdict", "verdict"),
];

/// Rows of the trials: the ledger of each.
pub(super) const TRIAL_LEDGER: &[Column] = &[
    whole("clients/target", "clients wanted"),
    whole("clients/connected", "connected"),
    whole("clients/refused", "refused"),
    whole("clients/disconnected", "disconnected"),
    whole("deliveries/expected", "expected"),
    whole("deliveries/received", "received"),
    whole("deliveries/missing", "missing"),
    whole("deliveries/duplicate", "duplicate"),
    whole("deliveries/out_of_order", "out of order"),
];

/// Rows of the summary: quantiles, for the chart of them.
pub(super) const QUANTILES: &[Column] = &[
    whole("latency_ns/count", "deliveries"),
    over("latency_ns/min", "min", "ms", MS),
    over("latency_ns/p50", "p50", "ms", MS),
    over("latency_ns/p90", "p90", "ms", MS),
    over("latency_ns/p99", "p99", "ms", MS),
    over("latency_ns/p999", "p99.9", "ms", MS),
    over("latency_ns/max", "max", "ms", MS),
];

/// Rows of the trials: the ends of the intervals that the chart of quantiles shows.
pub(super) const INTERVALS: &[Column] = &[
    over("latency_interval_ns/p50/low", "p50 from", "ms", MS),
    over("latency_interval_ns/p50/high", "p50 to", "ms", MS),
    over("latency_interval_ns/p90/low", "p90 from", "ms", MS),
    over("latency_interval_ns/p90/high", "p90 to", "ms", MS),
    over("latency_interval_ns/p99/low", "p99 from", "ms", MS),
    over("latency_interval_ns/p99/high", "p99 to", "ms", MS),
    over("latency_interval_ns/p999/low", "p99.9 from", "ms", MS),
    over("latency_interval_ns/p999/high", "p99.9 to", "ms", MS),
];

/// Rows of the trials: where the time went.
pub(super) const SPLIT: &[Column] = &[
    whole("probe/reads", "reads"),
    over("probe/harness_ns/p50", "harness p50", "ms", MS),
    over("probe/harness_ns/p90", "harness p90", "ms", MS),
    over("probe/harness_ns/p99", "harness p99", "ms", MS),
    over(
        "probe/server_and_network_ns/p50",
        "server and network p50",
        "ms",
        MS,
    ),
    over(
        "probe/server_and_network_ns/p90",
        "server and network p90",
        "ms",
        MS,
    ),
    over(
        "probe/server_and_network_ns/p99",
        "server and network p99",
        "ms",
        MS,
    ),
    over("publish/lag_ns/p50", "publish lag p50", "ms", MS),
    over("publish/lag_ns/p90", "publish lag p90", "ms", MS),
];

/// Rows of the trials: connecting.
pub(super) const CONNECT: &[Column] = &[
    whole("clients/connect_ns/count", "connects"),
    over("clients/connect_ns/min", "min", "ms", MS),
    over("clients/connect_ns/p50", "p50", "ms", MS),
    over("clients/connect_ns/p90", "p90", "ms", MS),
    over("clients/connect_ns/p99", "p99", "ms", MS),
    over("clients/connect_ns/max", "max", "ms", MS),
];

/// Rows of the summary: memory a client.
pub(super) const MEMORY: &[Column] = &[
    over("user_bytes_per_client", "server, user", "KB/client", KB),
    over(
        "kernel_bytes_per_client",
        "kernel, both ends",
        "KB/client",
        KB,
    ),
    over("harness_bytes_per_client", "harness, user", "KB/client", KB),
];

/// Rows of the summary: CPU a delivery.
pub(super) const CPU: &[Column] = &[
    over("server_cpu_ns_per_delivery", "server", "µs/delivery", US),
    over("cpu_multiple_of_tcp", "× tcp", "", 1.0),
    over("harness_cpu_ns_per_delivery", "harness", "µs/delivery", US),
    over(
        "unattributed_cpu_ns_per_delivery",
        "neither",
        "µs/delivery",
        US,
    ),
];

/// Rows of the summary: bytes a delivery.
pub(super) const BYTES: &[Column] = &[
    over(
        "server_to_client_bytes_per_delivery",
        "down",
        "B/delivery",
        1.0,
    ),
    over(
        "client_to_server_bytes_per_delivery",
        "up",
        "B/delivery",
        1.0,
    ),
    over("segments_per_delivery", "segments", "/delivery", 1.0),
];

/// Metrics of a comparison.
pub(super) const DIFFERENCE: &[Column] = &[
    word("metric", "metric"),
    word("says", "verdict"),
    over("ratio", "ratio", "", 1.0),
    over("low", "from", "", 1.0),
    over("high", "to", "", 1.0),
    over("confidence", "confidence", "", 1.0),
    over("p_value", "p-value", "", 1.0),
    whole("more_trials", "more trials to decide"),
];

/// Checks of a trial.
pub(super) const CHECK: &[Column] = &[
    word("check", "check"),
    word("outcome", "outcome"),
    over("measured", "found", "", 1.0),
    over("limit", "limit", "", 1.0),
    word("not_tested", "why not tested"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::compare::compare_all;
    use crate::record::sample;

    #[test]
    fn every_column_is_a_key_of_the_record() {
        let mut record = sample::record();
        let reference = record.trials[0].clone();
        let interval = Some(crate::record::IntervalNs { low: 1, high: 2 });
        record.trials = (0..6)
            .flat_map(|index| {
                let mut a = reference.clone();
                a.index = index + 1;
                a.probe = Some(Default::default());
                a.latency_interval_ns.p50 = interval;
                a.latency_interval_ns.p90 = interval;
                a.latency_interval_ns.p99 = interval;
                a.latency_interval_ns.p999 = interval;
                let mut b = a.clone();
                b.variant.side.transport = pushbench_protocol::transport::Transport::Sse;
                [a, b]
            })
            .collect();
        record.comparisons = compare_all(&record.trials);
        let tree = Tree::of(&record);
        for (place, columns) in [
            ("summary/0", DELIVERY),
            ("summary/0", COST),
            ("summary/0", LEDGER),
            ("summary/0", QUANTILES),
            ("summary/0", MEMORY),
            ("summary/0", CPU),
            ("summary/0", BYTES),
            ("trials/0", TRIAL_LEDGER),
            ("trials/0", INTERVALS),
            ("trials/0", SPLIT),
            ("trials/0", CONNECT),
            ("comparisons/0/metrics/0", DIFFERENCE),
        ] {
            for column in columns {
                let found = tree.at(&format!("{place}/{}", column.key));
                assert!(found.is_some(), "{place}/{}", column.key);
            }
        }
    }
}
