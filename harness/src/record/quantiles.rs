//! What is told of a distribution, and when nothing is.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Samples that must lie beyond a quantile for it to be told: with fewer it is the luck of a few
/// messages.
pub const MIN_BEYOND: u64 = 6;

/// A distribution in ns. Anything that cannot be told is `null`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Quantiles {
    /// Samples.
    pub count: u64,
    /// The least.
    pub min: Option<u64>,
    /// The arithmetic mean, rounded.
    pub mean: Option<u64>,
    /// The quantile 0.5; like the others `null` when fewer than 6 samples lie beyond it.
    pub p50: Option<u64>,
    /// The quantile 0.9.
    pub p90: Option<u64>,
    /// The quantile 0.99.
    pub p99: Option<u64>,
    /// The quantile 0.999.
    pub p999: Option<u64>,
    /// The greatest.
    pub max: Option<u64>,
}

impl Quantiles {
    /// What can be told of `histogram`. Values are as exact as its resolution.
    pub fn from_histogram(histogram: &Histogram<u64>) -> Self {
        let any = !histogram.is_empty();
        Self {
            count: histogram.len(),
            min: any.then(|| histogram.min()),
            mean: any.then(|| histogram.mean().round() as u64),
            p50: quantile(histogram, 500),
            p90: quantile(histogram, 900),
            p99: quantile(histogram, 990),
            p999: quantile(histogram, 999),
            max: any.then(|| histogram.max()),
        }
    }
}

/// The quantile `per_mille / 1000`, if at least [`MIN_BEYOND`] samples have a higher rank.
fn quantile(histogram: &Histogram<u64>, per_mille: u64) -> Option<u64> {
    // In whole numbers: 0.99 * 600 is not 594 in every floating-point order of things.
    let beyond = (u128::from(histogram.len()) * u128::from(1000 - per_mille) / 1000) as u64;
    (beyond >= MIN_BEYOND).then(|| histogram.value_at_quantile(per_mille as f64 / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, 2, … n, each once; exact below 2048 with three digits.
    fn up_to(n: u64) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).expect("three digits");
        (1..=n).for_each(|value| histogram.record(value).expect("it resizes"));
        histogram
    }

    #[test]
    fn quantiles_of_one_to_a_thousand_are_known() {
        let found = Quantiles::from_histogram(&up_to(1000));
        let expect = Quantiles {
            count: 1000,
            min: Some(1),
            mean: Some(501),
            p50: Some(500),
            p90: Some(900),
            p99: Some(990),
            p999: None,
            max: Some(1000),
        };
        assert_eq!(found, expect);
    }

    #[test]
    fn a_quantile_with_fewer_than_six_samples_beyond_it_is_null() {
        for (samples, p50, p90, p99) in [
            (11, None, None, None),
            (12, Some(6), None, None),
            (59, Some(30), None, None),
            (60, Some(30), Some(54), None),
            (599, Some(300), Some(540), None),
            (600, Some(300), Some(540), Some(594)),
        ] {
            let quantiles = Quantiles::from_histogram(&up_to(samples));
            let found = (quantiles.p50, quantiles.p90, quantiles.p99);
            assert_eq!(found, (p50, p90, p99), "{samples} samples");
        }
        let mut many = Histogram::new(3).expect("three digits");
        many.record_n(7, 5_999).expect("it resizes");
        assert_eq!(Quantiles::from_histogram(&many).p999, None);
        many.record(7).expect("it resizes");
        assert_eq!(Quantiles::from_histogram(&many).p999, Some(7));
    }

    #[test]
    fn nothing_is_told_of_an_empty_histogram() {
        let empty = Histogram::new(3).expect("three digits");
        assert_eq!(Quantiles::from_histogram(&empty), Quantiles::default());
    }
}
