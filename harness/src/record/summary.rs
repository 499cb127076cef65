//! All trials of one transport and profile, at one point of a sweep, in one row.
//!
//! Rates, costs and memory are medians over trials; counts of lost and repeated messages are sums,
//! because one lost message in one trial must not vanish in a median; percentiles come from
//! histograms that the caller has merged, because percentiles cannot be averaged.

use super::quantiles::{Latency, Quantiles};
use super::trial::Verdict;
use super::variant::Variant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the trials of one transport and profile, at one point of a sweep, add up to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SummaryRow {
    /// What was measured.
    #[serde(flatten)]
    pub variant: Variant,
    /// Trials that ran, failed ones included.
    pub trials: u32,
    /// Trials that did not come to their end; they count in no median.
    pub failed: u32,
    /// The worst verdict of all trials.
    pub verdict: Verdict,
    /// Clients that were to connect in a trial.
    pub target: u64,
    /// The fewest clients that were connected in a trial.
    pub connected: u64,
    /// Offered rate.
    pub offered_per_s: f64,
    /// Achieved publish rate, median.
    pub achieved_per_s: Option<f64>,
    /// Deliveries received a second, median.
    pub received_per_s: Option<f64>,
    /// Deliveries that were owed, over all trials.
    pub expected: u64,
    /// Deliveries that arrived, over all trials.
    pub received: u64,
    /// Deliveries that never arrived, over all trials.
    pub missing: u64,
    /// Messages that came again, over all trials.
    pub duplicate: u64,
    /// Messages that came after a later one, over all trials.
    pub out_of_order: u64,
    /// Delivery latency, over the deliveries of all trials.
    pub latency_ns: Latency,
    /// Time to the last subscriber, over the messages of all trials.
    pub fanout_ns: Quantiles,
    /// Server CPU per delivery, median.
    pub server_cpu_ns_per_delivery: Option<f64>,
    /// The same over that of `tcp` in this run, at the same point; `null` where `tcp` did not run.
    pub cpu_multiple_of_tcp: Option<f64>,
    /// Harness CPU per delivery, median.
    pub harness_cpu_ns_per_delivery: Option<f64>,
    /// CPU that neither was charged with per delivery, median.
    pub unattributed_cpu_ns_per_delivery: Option<f64>,
    /// User memory of the server per client, median.
    pub user_bytes_per_client: Option<f64>,
    /// Kernel memory per client, both ends, median.
    pub kernel_bytes_per_client: Option<f64>,
    /// User memory of the fleet per client, median.
    pub harness_bytes_per_client: Option<f64>,
    /// Bytes from server to client per delivery, median.
    pub server_to_client_bytes_per_delivery: Option<f64>,
    /// Bytes from client to server per delivery, median.
    pub client_to_server_bytes_per_delivery: Option<f64>,
    /// Segments from server to client per delivery, median.
    pub segments_per_delivery: Option<f64>,
    /// The named measures: each metric under its path in `measures` of a trial. Counts of events are
    /// sums over trials, everything else is the median; empty where the scenario names none.
    #[serde(default)]
    pub measures: Figures,
    /// Every other metric that has no key of its own here, under its key in a trial.
    #[serde(default)]
    pub figures: Figures,
}

/// Metrics of a row by their keys; one that no trial has is left out.
pub type Figures = BTreeMap<String, f64>;

/// Percentiles over all trials of one transport and profile, from merged histograms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Delivery latency.
    pub latency_ns: Latency,
    /// Time to the last subscriber.
    pub fanout_ns: Quantiles,
}
