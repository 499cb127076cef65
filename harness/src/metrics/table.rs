//! The table of metrics: a file a subject, a row a metric.

mod arrivals;
mod cost;
mod delivery;
mod latency;
mod recovery;
mod round_trip;
mod slow_readers;
mod streams;

use super::Metric;

/// Every metric, in the order in which people read them: of every scenario first.
pub fn all() -> impl Iterator<Item = &'static Metric> + Clone {
    const SUBJECTS: [&[Metric]; 8] = [
        latency::METRICS,
        cost::METRICS,
        delivery::METRICS,
        recovery::METRICS,
        slow_readers::METRICS,
        round_trip::METRICS,
        arrivals::METRICS,
        streams::METRICS,
    ];
    SUBJECTS.into_iter().flatten()
}

/// Every metric that is compared: those that decide first, else as in [`all`].
pub fn compared() -> impl Iterator<Item = &'static Metric> + Clone {
    let of = |primary: bool| all().filter(move |m| (m.role == super::Role::Primary) == primary);
    of(true)
        .chain(of(false))
        .filter(|metric| metric.is_compared())
}

/// The metric that is called so, by its id or by its key in the record.
pub fn find(name: &str) -> Option<&'static Metric> {
    all().find(|metric| metric.id == name || metric.key == name)
}

/// The metrics of a list of ids, in its order.
pub fn named(ids: &[&str]) -> impl Iterator<Item = &'static Metric> {
    ids.iter().filter_map(|id| find(id))
}

/// A number of the record.
trait Figure {
    fn figure(self) -> Option<f64>;
}

impl Figure for f64 {
    fn figure(self) -> Option<f64> {
        Some(self)
    }
}

impl Figure for u64 {
    fn figure(self) -> Option<f64> {
        Some(self as f64)
    }
}

impl<T: Figure> Figure for Option<T> {
    fn figure(self) -> Option<f64> {
        self?.figure()
    }
}

/// The key of a field of a trial, and the function that reads it: written once, so that the two
/// cannot differ. A `?` follows a part that only some trials have.
macro_rules! of {
    ($first:ident $(. $next:ident)* ? . $then:ident $(. $last:ident)*) => {
        (
            concat!(
                stringify!($first), $(".", stringify!($next),)* ".", stringify!($then)
                $(, ".", stringify!($last))*
            ),
            |t: &crate::record::Trial| {
                $crate::metrics::table::Figure::figure(
                    t.$first $(.$next)*.as_ref()?.$then $(.$last)*,
                )
            },
        )
    };
    ($first:ident $(. $next:ident)*) => {
        (
            concat!(stringify!($first) $(, ".", stringify!($next))*),
            |t: &crate::record::Trial| {
                $crate::metrics::table::Figure::figure(t.$first $(.$next)*)
            },
        )
    };
}

/// What rows are written with.
mod prelude {
    pub(super) use super::of;
    pub(super) use crate::metrics::Per::{Arrival, Client, Delivery, Message};
    pub(super) use crate::metrics::Pool::{Histogram, Max, Min, Row, Sum};
    pub(super) use crate::metrics::Unit::{B, Count, KB, MB, Ms, Number, PerS, Percent, Times, Us};
    pub(super) use crate::metrics::Window::{Connect, Measure, Trial, Workload};
    pub(super) use crate::metrics::{Metric, metric};
    pub(super) use crate::record::Capability::{Cursor, PublishReport};
}

use of;

#[cfg(test)]
mod tests {
    use super::super::{Pool, Role};
    use super::*;
    use crate::record::{Probe, sample};
    use std::collections::BTreeSet;

    #[test]
    fn every_key_is_that_of_the_record_and_every_name_is_told_apart() {
        let mut trial = sample::measured();
        trial.probe = Some(Probe::default());
        let json = serde_json::to_value(&trial).expect("serialisable");
        let mut names = BTreeSet::new();
        for metric in all() {
            assert!(
                names.insert(metric.id) && names.insert(metric.key),
                "{}",
                metric.id
            );
            assert!(metric.title.len() <= 60, "{}", metric.title);
            assert_eq!(find(metric.key), Some(metric));
            // What is put together from several keys has none of its own.
            if metric.pool == Pool::Row || metric.key.starts_with("derived.") {
                continue;
            }
            let value = json.pointer(&format!("/{}", metric.in_trial()));
            let number = value.expect(metric.key).as_f64();
            assert_eq!((metric.read)(&trial), number, "{}", metric.key);
            assert!(
                number.is_some() || metric.needs().is_none(),
                "{}",
                metric.key
            );
        }
    }

    #[test]
    fn titles_of_what_is_compared_are_told_apart_and_fit_a_table() {
        let mut titles = BTreeSet::new();
        for metric in compared() {
            assert!(titles.insert(metric.title), "{}", metric.title);
            assert!(metric.title.chars().count() <= 34, "{}", metric.title);
        }
        let first: Vec<&str> = compared().take(3).map(|metric| metric.id).collect();
        assert_eq!(first, ["p50", "p99", "cpu"]);
        assert!(compared().all(|m| (m.role == Role::Count) == (m.pool == Pool::Sum)));
        for of in compared().filter_map(|metric| metric.out_of) {
            assert!(find(of).is_some(), "{of}");
        }
    }
}
