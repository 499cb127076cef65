//! What a record says of one row against another, whichever way round it compares the two.
//!
//! In: the comparisons of a record. Out: one of them, turned as it is asked for.

use crate::analysis::compare::{MetricComparison, Says};
use crate::metrics::{Metric, Unit};
use crate::record::{Record, Variant};

/// What the record says of a metric of one row against another: ratios are first over second,
/// whichever way round the record has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Relation {
    pub(super) says: Says,
    pub(super) ratio: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) confidence: f64,
    /// The smallest difference that matters, as a share, and as an amount where that decides.
    pub(super) matters: (f64, Option<f64>),
    pub(super) more_trials: Option<u32>,
}

impl Relation {
    /// Of `a` against `b`; `None` where the record does not compare them in this metric.
    pub(super) fn find(record: &Record, metric: &str, a: Variant, b: Variant) -> Option<Self> {
        record.comparisons.iter().find_map(|comparison| {
            let turned = match comparison.pair.variants() {
                pair if pair == [a, b] => false,
                pair if pair == [b, a] => true,
                _ => return None,
            };
            let found = comparison.metrics.iter().find(|m| m.metric == metric)?;
            Some(Self::of(found, turned))
        })
    }

    fn of(found: &MetricComparison, turned: bool) -> Self {
        let (ratio, low, high) = if turned {
            (1.0 / found.ratio, 1.0 / found.high, 1.0 / found.low)
        } else {
            (found.ratio, found.low, found.high)
        };
        Self {
            says: found.says,
            ratio,
            low,
            high,
            confidence: found.confidence,
            matters: (found.matters, found.matters_amount),
            more_trials: found.more_trials,
        }
    }

    /// Within what two that are alike are: `within 1 ms`, `within 5%`.
    pub(super) fn within(&self, metric: &Metric) -> String {
        within(metric, self.matters)
    }

    /// The first has surely less than the second.
    pub(super) fn is_less(&self) -> bool {
        self.says == Says::Different && self.ratio < 1.0
    }
}

/// The smallest difference of a metric that matters, in words: a share, or the amount where that decides.
pub(super) fn within(metric: &Metric, (share, amount): (f64, Option<f64>)) -> String {
    match (amount, metric.unit) {
        (Some(ns), Unit::Ms) => format!("within {} ms", ns / 1e6),
        (Some(bytes), Unit::KB) => format!("within {} KB", bytes / 1e3),
        (Some(bytes), _) => format!("within {bytes} bytes"),
        (None, _) => format!("within {:.0}%", share * 100.0),
    }
}
