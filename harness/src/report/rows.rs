//! What makes trials one row, and how a row is called and found again.
//!
//! Read from the record's tree and not from its types: whatever identifies a row (transport,
//! profile, and the point of a sweep where the record has one) is compared as a whole, in one
//! place.

use pushbench_protocol::transport::{Profile, Transport};

use super::tree::Tree;
use crate::analysis::compare::{MetricComparison, Says};
use crate::record::Record;
use crate::text::figure::three;

/// What identifies a row of the summary: all trials with the same key are in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    /// The transport.
    pub(super) transport: Transport,
    /// The profile of its server.
    pub(super) profile: Profile,
    /// Where in a sweep, if there is one.
    pub(super) point: Option<Point>,
}

/// A point of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// Which, from 1.
    pub(super) index: u64,
    /// What varies here: the record's key, and its value. The first one names the point.
    pub(super) values: Vec<(String, f64)>,
}

impl Point {
    fn read(tree: &Tree) -> Option<Self> {
        let Tree::Map(entries) = tree else {
            return None;
        };
        let numbers = entries
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.number()?)));
        let (index, values) = numbers.partition::<Vec<_>, _>(|(key, _)| key == "index");
        Some(Self {
            index: index.first()?.1 as u64,
            values,
        })
    }

    /// `clients 1,000, rate_per_s 40.0`.
    pub(super) fn name(&self) -> String {
        let values = self.values.iter();
        let named = values.map(|(key, value)| {
            let value = if value.fract() == 0.0 {
                crate::text::figure::count(*value as u64)
            } else {
                three(*value)
            };
            format!("{key} {value}")
        });
        named.collect::<Vec<_>>().join(", ")
    }
}

impl Key {
    /// The key of the trial, row or side at `place`; its point may stand at another one.
    fn read(tree: &Tree, place: &str, point: &str) -> Option<Self> {
        let word = |key: &str| tree.at(&format!("{place}/{key}"))?.text();
        Some(Self {
            transport: word("transport")?.parse().ok()?,
            profile: word("profile")?.parse().ok()?,
            point: tree.at(&format!("{point}/point")).and_then(Point::read),
        })
    }

    /// Those of every trial or row of the list `list`.
    pub(super) fn all(tree: &Tree, list: &str) -> Vec<Self> {
        let Some(Tree::List(rows)) = tree.at(list) else {
            return Vec::new();
        };
        (0..rows.len())
            .filter_map(|index| {
                let place = format!("{list}/{index}");
                Self::read(tree, &place, &place)
            })
            .collect()
    }

    /// `sse tuned`, or `sse tuned at clients 1,000`.
    pub(super) fn name(&self) -> String {
        let at = self
            .point
            .as_ref()
            .map(|point| format!(" at {}", point.name()));
        format!("{}{}", self.side(), at.unwrap_or_default())
    }

    /// `sse tuned`.
    pub(super) fn side(&self) -> String {
        format!("{} {}", self.transport, self.profile)
    }

    /// `sse-tuned`, or `sse-tuned-point3`, as its files are called.
    pub(super) fn file(&self) -> String {
        let at = self
            .point
            .as_ref()
            .map(|point| format!("-point{}", point.index));
        format!(
            "{}-{}{}",
            self.transport,
            self.profile,
            at.unwrap_or_default()
        )
    }

    /// Place of the transport among all, for colour and marker.
    pub(super) fn place(&self) -> usize {
        let all = Transport::ALL.iter();
        all.take_while(|&&known| known != self.transport).count()
    }
}

/// What the record says of two rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) a: Key,
    pub(super) b: Key,
    metrics: Vec<MetricComparison>,
}

impl Pair {
    /// Every pair that the record compares, in its order.
    pub(super) fn all(record: &Record, tree: &Tree) -> Vec<Self> {
        let pairs = record.comparisons.iter().enumerate();
        pairs
            .filter_map(|(index, found)| {
                let place = format!("comparisons/{index}");
                Some(Self {
                    a: Key::read(tree, &format!("{place}/a"), &place)?,
                    b: Key::read(tree, &format!("{place}/b"), &place)?,
                    metrics: found.metrics.clone(),
                })
            })
            .collect()
    }
}

/// What the record says of a metric of one row against another: ratios are first over second,
/// whichever way round the record has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Relation {
    pub(super) says: Says,
    pub(super) ratio: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) confidence: f64,
    pub(super) more_trials: Option<u32>,
}

impl Relation {
    /// Of `a` against `b`; `None` where the record does not compare them in this metric.
    pub(super) fn find(pairs: &[Pair], metric: &str, a: &Key, b: &Key) -> Option<Self> {
        pairs.iter().find_map(|pair| {
            let turned = match (&pair.a, &pair.b) {
                (first, second) if first == a && second == b => false,
                (first, second) if first == b && second == a => true,
                _ => return None,
            };
            let found = pair.metrics.iter().find(|m| m.metric == metric)?;
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
            more_trials: found.more_trials,
        }
    }

    /// The first has surely less than the second.
    pub(super) fn is_less(&self) -> bool {
        self.says == Says::Different && self.ratio < 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(json: &str) -> Tree {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn a_row_is_named_by_all_that_identifies_it() {
        let tree = tree(
            r#"{"summary":[{"transport":"sse","profile":"tuned"},
                {"transport":"sse","profile":"tuned","point":null},
                {"transport":"sse","profile":"tuned",
                 "point":{"index":3,"clients":1000,"payload_bytes":null,"rate_per_s":4.5}}]}"#,
        );
        let keys = Key::all(&tree, "summary");
        assert_eq!(keys.len(), 3);
        assert_eq!((keys[0] == keys[1], keys[1] == keys[2]), (true, false));
        assert_eq!(keys[0].name(), "sse tuned");
        assert_eq!(
            keys[2].name(),
            "sse tuned at clients 1,000, rate_per_s 4.50"
        );
        assert_eq!(
            (keys[0].file(), keys[2].file()),
            ("sse-tuned".to_owned(), "sse-tuned-point3".to_owned())
        );
    }
}
