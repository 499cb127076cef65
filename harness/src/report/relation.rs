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
    /// Of `a` against `b`; `None` where the record does not compare them in this metric. A ratio of typical
    /// slices and the figures of all deliveries may point in different directions; then nothing is decided.
    pub(super) fn find(record: &Record, metric: &str, a: Variant, b: Variant) -> Option<Self> {
        let mut found = Self::compared(record, metric, a, b)?;
        let figure = |variant| {
            let row = record.summary.iter().find(|row| row.variant == variant)?;
            row.figures.get(metric).copied()
        };
        if let (Says::Different, Some(of_a), Some(of_b)) = (found.says, figure(a), figure(b))
            && (of_a < of_b) != (found.ratio < 1.0)
        {
            (found.says, found.more_trials) = (Says::Undecided, None);
        }
        Some(found)
    }

    fn compared(record: &Record, metric: &str, a: Variant, b: Variant) -> Option<Self> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::rounds;

    #[test]
    fn a_ratio_against_the_order_of_the_figures_decides_nothing() {
        let mut record = rounds();
        let metric = "latency_ns.p99";
        let [a, b] = record.comparisons[0].pair.variants();
        let found = record.comparisons[0].metrics.iter_mut();
        let found = found
            .filter(|m| m.metric == metric)
            .last()
            .expect("compared");
        (found.says, found.ratio, found.low, found.high) = (Says::Different, 0.8, 0.7, 0.9);
        let mut says = |of_a: f64, of_b: f64| {
            for (variant, value) in [(a, of_a), (b, of_b)] {
                let mut rows = record.summary.iter_mut();
                let row = rows.find(|row| row.variant == variant).expect("a row");
                row.figures.insert(metric.to_owned(), value);
            }
            let turned = Relation::find(&record, metric, b, a).expect("compared");
            let found = Relation::find(&record, metric, a, b).expect("compared");
            assert_eq!(found.says, turned.says);
            found.says
        };
        assert_eq!(says(8.0, 10.0), Says::Different);
        assert_eq!(says(10.0, 8.0), Says::Undecided);
    }
}
