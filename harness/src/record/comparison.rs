//! What two rows come to when they are compared, metric by metric.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Pair;

/// One side held against another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// What is compared with what, and where in the sweep.
    #[serde(flatten)]
    pub pair: Pair,
    /// Rounds in which both have a trial that is not void.
    pub rounds: u32,
    /// Rounds that were left out, since one of the two is void.
    pub left_out: u32,
    /// Metric by metric, primary ones first. One that some trial does not tell is not compared.
    pub metrics: Vec<MetricComparison>,
}

/// One metric of two sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricComparison {
    /// Which: a key of a trial.
    pub metric: String,
    /// Whether it is one of the three that decide.
    pub primary: bool,
    /// What there is to say.
    pub says: Says,
    /// Geometric mean of the ratios `a / b` of the rounds.
    pub ratio: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
    /// Confidence of the interval, corrected for the number of primary metrics.
    pub confidence: f64,
    /// P-value of "the ratio is 1"; after Holm for primary metrics.
    pub p_value: f64,
    /// The smallest difference that matters, as a share of the smaller figure.
    #[serde(default = "five_percent")]
    pub matters: f64,
    /// The same as an amount, in the unit of the metric; `null` where the share of the scenario is larger.
    #[serde(default)]
    pub matters_amount: Option<f64>,
    /// For `undecided`: how many more rounds would decide with a probability of about 0.8, if all
    /// goes on as so far; `null` where more than 1,000.
    pub more_trials: Option<u32>,
}

/// What records held before they said it.
fn five_percent() -> f64 {
    0.05
}

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// The ratio is not 1.
    Different,
    /// The difference lies within the smallest that matters.
    #[serde(alias = "same")]
    Alike,
    /// It may be either.
    Undecided,
}
