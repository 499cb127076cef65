//! All trials of one transport and profile, at one point of a sweep, in one row.

use super::quantiles::Quantiles;
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
    /// Every metric of [`crate::metrics`], under its key in a trial: rates, costs and memory are medians over
    /// trials, counts of events are sums, percentiles are those of merged histograms. A multiple of `tcp` is
    /// over its row in this run at the same point. One that no trial has is left out.
    #[serde(default)]
    pub figures: Figures,
}

/// Metrics of a row by their keys.
pub type Figures = BTreeMap<String, f64>;

/// Percentiles over all trials of one transport and profile, from merged histograms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Merged {
    /// Delivery latency.
    pub latency_ns: Quantiles,
    /// Time to the last subscriber.
    pub fanout_ns: Quantiles,
}
