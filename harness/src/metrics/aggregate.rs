//! Trials added up: a row for each variant, and how cost grows along a sweep.
//!
//! In: the trials of a run, and percentiles from histograms that the caller has merged, because
//! percentiles cannot be averaged. Out: the rows of a summary. How a metric adds up is in the table:
//! rates, costs and memory are medians over trials; counts of lost and repeated messages are sums,
//! because one lost message in one trial must not vanish in a median.

use std::collections::BTreeMap;

use super::table::{all, find};
use super::{Metric, Pool};
use crate::analysis::stats::median;
use crate::record::{
    Figures, Growth, Merged, Side, SlowReaders, SummaryRow, Trial, Variant, Verdict,
};
use crate::scenario::{Point, SweepKey};

/// A row for each transport, profile and point, in the order of `Transport::ALL` and of the sweep.
/// Where `merged` has no entry and there was one trial, the trial's own percentiles are the row's;
/// where there were more, they are `null`.
pub fn summarise(trials: &[Trial], merged: &BTreeMap<Variant, Merged>) -> Vec<SummaryRow> {
    let mut groups: BTreeMap<Variant, Vec<&Trial>> = BTreeMap::new();
    for trial in trials {
        groups.entry(trial.variant).or_default().push(trial);
    }
    let mut rows: Vec<SummaryRow> = groups
        .iter()
        .map(|(key, trials)| row(*key, trials, merged.get(key)))
        .collect();
    let floors: BTreeMap<Variant, f64> = groups
        .keys()
        .zip(&rows)
        .filter(|(key, _)| key.is_baseline())
        .filter_map(|(key, row)| Some((*key, row.figure("cpu")?)))
        .filter(|&(_, cpu_ns)| cpu_ns > 0.0)
        .collect();
    for ((key, of_row), row) in groups.iter().zip(&mut rows) {
        if let Some(found) = versus_no_slow_readers(of_row, trials) {
            row.figures.extend(found);
        }
        let multiple = row.figure("cpu").zip(floors.get(&key.baseline()));
        let multiple = multiple.map(|(cpu_ns, floor)| cpu_ns / floor);
        row.figures.extend(keyed("cpu_multiple", multiple));
    }
    rows
}

fn row(variant: Variant, trials: &[&Trial], merged: Option<&Merged>) -> SummaryRow {
    let done: Vec<&Trial> = completed(trials).collect();
    let merged = match (merged, done.as_slice()) {
        (Some(merged), _) => *merged,
        (None, [only]) => Merged {
            latency_ns: only.latency_ns,
            fanout_ns: only.fanout_ns,
        },
        (None, _) => Merged::default(),
    };
    // What has the percentiles of all trials.
    let mut whole = Trial::new(variant.transport, variant.profile, 0);
    (whole.latency_ns, whole.fanout_ns) = (merged.latency_ns, merged.fanout_ns);
    let figure = |metric: &Metric| Some((metric.key.to_owned(), pool(metric, trials, &whole)?));
    let verdicts = trials.iter().map(|t| t.validity.verdict);
    SummaryRow {
        variant,
        trials: trials.len() as u32,
        failed: (trials.len() - done.len()) as u32,
        verdict: verdicts.max().unwrap_or(Verdict::Void),
        figures: all().filter_map(figure).collect(),
    }
}

/// The metric `id` of a row, where it has one.
fn keyed(id: &str, value: Option<f64>) -> Option<(String, f64)> {
    Some((find(id)?.key.to_owned(), value?))
}

/// What `trials` add up to in `metric`, `whole` by their histograms; `None` where none of them has it, and
/// for what only the row as a whole tells.
fn pool(metric: &Metric, trials: &[&Trial], whole: &Trial) -> Option<f64> {
    let values = trials.iter().filter_map(|trial| (metric.read)(trial));
    match metric.pool {
        Pool::Median => median(completed(trials).filter_map(metric.read)),
        Pool::Sum => values.reduce(|sum, value| sum + value),
        Pool::Min => values.reduce(f64::min),
        Pool::Max => values.reduce(f64::max),
        Pool::Histogram => (metric.read)(whole),
        Pool::Row => None,
    }
}

/// The trials that came to their end: a median is over these.
fn completed<'a>(trials: &[&'a Trial]) -> impl Iterator<Item = &'a Trial> {
    trials.iter().copied().filter(|t| t.error.is_none())
}

/// The growth of each transport and profile of `rows`; nothing without a sweep, and nothing of one
/// that has a cost at fewer than two points.
pub fn growth(rows: &[SummaryRow]) -> Vec<Growth> {
    let mut sides: Vec<Side> = rows.iter().map(|row| row.variant.side).collect();
    sides.dedup();
    let of = |side: Side| {
        let curve = curve(rows, side);
        let (&(from, first), &(to, last)) = (curve.first()?, curve.last()?);
        if from == to {
            return None;
        }
        let growth = last / first;
        let floor = self::curve(rows, side.baseline());
        let floor_at = |point: Point| Some(floor.iter().find(|(of, _)| *of == point)?.1);
        let tcp = floor_at(to)
            .zip(floor_at(from))
            .map(|(last, first)| last / first);
        Some(Growth {
            side,
            from,
            to,
            from_cpu_ns_per_delivery: first,
            to_cpu_ns_per_delivery: last,
            growth,
            growth_over_tcp: tcp.map(|tcp| growth / tcp),
        })
    };
    sides.into_iter().filter_map(of).collect()
}

/// The points of one side that have a cost.
fn curve(rows: &[SummaryRow], side: Side) -> Vec<(Point, f64)> {
    rows.iter()
        .filter(|row| row.variant.side == side)
        .filter_map(|row| Some((row.variant.point?, row.figure("cpu")?)))
        .filter(|&(_, cpu_ns)| cpu_ns > 0.0)
        .collect()
}

/// What slow readers did to a row, by key: its trials against those of `all` that had none in the same
/// round; `None` where there are none. Growth of memory beyond that is below 0 where it grew less.
fn versus_no_slow_readers(with: &[&Trial], all: &[Trial]) -> Option<Figures> {
    let share = |trial: &Trial| trial.variant.point?.value(SweepKey::SLOW_SHARE);
    let pairs: Vec<(&Trial, &Trial)> = with
        .iter()
        .filter(|trial| trial.error.is_none() && share(trial).is_some_and(|share| share > 0.0))
        .filter_map(|&trial| {
            let without = all.iter().find(|other| {
                share(other) == Some(0.0)
                    && other.error.is_none()
                    && (other.variant.side, other.index) == (trial.variant.side, trial.index)
            })?;
            Some((trial, without))
        })
        .collect();
    let p99 = |trial: &Trial| {
        trial
            .latency_ns
            .p99
            .filter(|&ns| ns > 0)
            .map(|ns| ns as f64)
    };
    let ratios = pairs
        .iter()
        .filter_map(|(with, without)| Some(p99(with)? / p99(without)?));
    let added = |of: fn(&SlowReaders) -> Option<u64>| {
        let growth = |trial: &Trial| Some(of(trial.measures.slow_readers.as_ref()?)? as f64);
        let added = pairs.iter();
        median(added.filter_map(|(with, without)| Some(growth(with)? - growth(without)?)))
    };
    let found = [
        ("slow_pairs", Some(ratios.clone().count() as f64)),
        ("healthy_p99", Some(median(ratios)?)),
        ("slow_memory_added", added(|slow| slow.user_growth_bytes)),
        ("slow_kernel_added", added(|slow| slow.kernel_growth_bytes)),
    ];
    let found = found.into_iter();
    Some(found.filter_map(|(id, of)| keyed(id, of)).collect())
}

#[cfg(test)]
mod tests;
