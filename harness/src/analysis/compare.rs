//! Two transports over the trials of one run: *different*, *same* or *undecided*, metric by metric.
//!
//! Place on the data path: after the trials, beside their summary. In: rows of the record, paired
//! by round (trial 3 of one ran next to trial 3 of the other). Out: ratios with intervals and what
//! they say. A trial that is void is not a witness: its round is left out, and counted.
//!
//! Three metrics are primary (the medians and tails of delivery latency, and server CPU per
//! delivery) and corrected for being three; whatever else is compared is marked as secondary, is
//! not corrected, and should be believed only as far as it fits the rest.
//!
//! Two *records* are compared by [`records`], over the table of [`metrics`], held against [`gate`]s
//! and rendered by [`mod@render`].

mod environment;
pub mod gate;
pub mod judge;
pub mod records;
pub mod render;

use std::collections::BTreeMap;

use crate::analysis::stats::decision::SMALLEST_EFFECT;
use crate::analysis::stats::{Decision, Ratio, decide, family, paired_log_ratio, paired_slices};
use crate::metrics::{self, Metric, Role};
pub use crate::record::{Comparison, MetricComparison, Says};
use crate::record::{Pair, Side, Trial, Variant, Verdict};

/// Confidence of the intervals that decide. 99%: who acts on *different* should be wrong once in a
/// hundred comparisons, not once in twenty.
pub const CONFIDENCE: f64 = 0.99;

/// Rounds that a comparison needs; a bootstrap or a t-interval of fewer is not an interval.
pub const MIN_ROUNDS: usize = crate::analysis::stats::ratio::MIN_PAIRS;

impl MetricComparison {
    /// Whether people are shown it before they ask for everything: a metric that decides, or what the
    /// scenario's own measures found.
    pub fn is_headline(&self) -> bool {
        metrics::find(&self.metric).is_some_and(Metric::is_headline)
    }
}

fn of_role(role: Role) -> impl Iterator<Item = &'static Metric> {
    metrics::all().filter(move |metric| metric.role == role)
}

/// Every pair of sides that `trials` hold at one point of a sweep, the earlier transport first.
pub fn compare_all(trials: &[Trial]) -> Vec<Comparison> {
    let mut points: BTreeMap<Option<u32>, BTreeMap<Side, BTreeMap<u32, &Trial>>> = BTreeMap::new();
    for trial in trials {
        let Variant { side, point } = trial.variant;
        let sides = points.entry(point.map(|point| point.index)).or_default();
        sides.entry(side).or_default().insert(trial.index, trial);
    }
    let mut comparisons = Vec::new();
    for sides in points.values() {
        for (i, of_a) in sides.values().enumerate() {
            for of_b in sides.values().skip(i + 1) {
                comparisons.extend(compare(of_a, of_b));
            }
        }
    }
    comparisons
}

/// Two lists of trials that were paired by their index, whatever they are of. `None` with fewer
/// than [`MIN_ROUNDS`] rounds.
pub fn compare_pair(a: &[Trial], b: &[Trial]) -> Option<Comparison> {
    let of_a = a.iter().map(|t| (t.index, t)).collect();
    let of_b = b.iter().map(|t| (t.index, t)).collect();
    compare(&of_a, &of_b)
}

/// `None` with fewer than [`MIN_ROUNDS`] rounds.
fn compare(of_a: &BTreeMap<u32, &Trial>, of_b: &BTreeMap<u32, &Trial>) -> Option<Comparison> {
    let rounds: Vec<(&Trial, &Trial)> = of_a
        .iter()
        .filter_map(|(index, trial)| Some((*trial, *of_b.get(index)?)))
        .collect();
    let witness = |t: &Trial| t.validity.verdict != Verdict::Void;
    let kept: Vec<(&Trial, &Trial)> = rounds
        .iter()
        .copied()
        .filter(|(a, b)| witness(a) && witness(b))
        .collect();
    if kept.len() < MIN_ROUNDS {
        return None;
    }
    let columns = |metric: &Metric| -> Option<(Vec<f64>, Vec<f64>)> {
        kept.iter().map(|(a, b)| of_round(metric, a, b)).collect()
    };
    let of_primary: Vec<(Vec<f64>, Vec<f64>)> = of_role(Role::Primary)
        .map(|m| columns(m).unwrap_or_default())
        .collect();
    let pairs: Vec<(&[f64], &[f64])> = of_primary
        .iter()
        .map(|(a, b)| (a.as_slice(), b.as_slice()))
        .collect();
    let mut metrics: Vec<MetricComparison> = of_role(Role::Primary)
        .zip(family(&pairs, CONFIDENCE))
        .filter_map(|(metric, member)| {
            let member = member?;
            Some(told(metric.key, true, &member.ratio, member.p_adjusted))
        })
        .collect();
    metrics.extend(of_role(Role::Secondary).filter_map(|metric| {
        let (a, b) = columns(metric)?;
        let ratio = paired_log_ratio(&a, &b, CONFIDENCE)?;
        Some(told(metric.key, false, &ratio, ratio.p_value))
    }));
    let (a, b) = kept[0];
    Some(Comparison {
        pair: Pair {
            a: a.variant.side,
            b: b.variant.side,
            point: a.variant.point,
        },
        rounds: kept.len() as u32,
        left_out: (rounds.len() - kept.len()) as u32,
        metrics,
    })
}

/// What a round says of both: two numbers whose ratio counts. Of trials that took turns it is that of their
/// slices, which share what the machine did.
fn of_round(metric: &Metric, a: &Trial, b: &Trial) -> Option<(f64, f64)> {
    let (of_a, of_b) = ((metric.read)(a)?, (metric.read)(b)?);
    let in_slices = |trial: &Trial| -> Option<Vec<Option<f64>>> {
        let read = metric.in_slice?;
        Some(trial.slices.iter().map(read).collect())
    };
    let paired = in_slices(a).zip(in_slices(b));
    match paired.and_then(|(a, b)| paired_slices(&a, &b)) {
        Some(ratio) => Some((ratio * of_b, of_b)),
        None => Some((of_a, of_b)),
    }
}

fn told(metric: &str, primary: bool, ratio: &Ratio, p_value: f64) -> MetricComparison {
    let (says, more_trials) = match decide(ratio, SMALLEST_EFFECT) {
        Decision::Different { .. } => (Says::Different, None),
        Decision::Same { .. } => (Says::Same, None),
        Decision::Undecided { more_trials } => (Says::Undecided, more_trials),
    };
    MetricComparison {
        metric: metric.to_owned(),
        primary,
        says,
        ratio: ratio.ratio,
        low: ratio.low,
        high: ratio.high,
        confidence: ratio.confidence,
        p_value,
        more_trials,
    }
}

/// Whether every primary metric of every pair is decided: more trials would change nothing.
pub fn all_decided(comparisons: &[Comparison]) -> bool {
    let undecided = |m: &MetricComparison| m.primary && m.says == Says::Undecided;
    !comparisons.is_empty() && !comparisons.iter().flat_map(|c| &c.metrics).any(undecided)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Quantiles, RoundTrip, Slice};
    use crate::scenario::Point;
    use pushbench_protocol::transport::{Profile, Transport};

    fn trials(transport: Transport, p50: &[u64]) -> Vec<Trial> {
        let trial = |(i, &ns): (usize, &u64)| {
            let mut trial = Trial::new(transport, Profile::Tuned, i as u32 + 1);
            trial.latency_ns.p50 = Some(ns);
            trial.server.cpu_ns_per_delivery = Some(1e4 + i as f64);
            trial
        };
        p50.iter().enumerate().map(trial).collect()
    }

    const BASE: [u64; 6] = [1_000, 1_100, 900, 1_050, 980, 1_020];

    fn against(factor: f64) -> Vec<Trial> {
        let other: Vec<u64> = BASE.iter().map(|&ns| (ns as f64 * factor) as u64).collect();
        let mut all = trials(Transport::Sse, &other);
        all.extend(trials(Transport::WebSocket, &BASE));
        all
    }

    fn metric<'a>(comparison: &'a Comparison, name: &str) -> &'a MetricComparison {
        comparison
            .metrics
            .iter()
            .find(|m| m.metric == name)
            .expect("compared")
    }

    #[test]
    fn rounds_are_paired_so_that_what_changed_for_both_drops_out() {
        let found = compare_all(&against(1.2));
        assert_eq!(found.len(), 1);
        let p50 = metric(&found[0], "latency_ns.p50");
        assert_eq!((p50.says, p50.primary), (Says::Different, true));
        assert!((p50.ratio - 1.2).abs() < 0.001 && p50.low > 1.19 && p50.high < 1.21);
        assert_eq!(
            metric(&found[0], "server.cpu_ns_per_delivery").says,
            Says::Same
        );
        assert!(all_decided(&found));
    }

    #[test]
    fn of_trials_that_took_turns_slices_are_paired() {
        let mut all = against(1.0);
        for (index, trial) in all.iter_mut().enumerate() {
            let dearer = 1.0 + 0.2 * f64::from(trial.variant.transport == Transport::Sse);
            let slice = |block: u64| Slice {
                // The machine's speed changes from block to block, and from round to round.
                server_cpu_ns: Some((1e6 * dearer * (block + index as u64 % 6 + 1) as f64) as u64),
                deliveries: 100,
                ..Slice::default()
            };
            trial.slices = (0..10).map(slice).collect();
        }
        let found = compare_all(&all);
        let cpu = metric(&found[0], "server.cpu_ns_per_delivery");
        assert_eq!(cpu.says, Says::Different);
        assert!(
            (cpu.ratio - 1.2).abs() < 1e-6 && cpu.high - cpu.low < 1e-6,
            "{cpu:?}"
        );
    }

    #[test]
    fn only_trials_of_one_point_are_compared() {
        let at = |index: u32, mut trials: Vec<Trial>| {
            for trial in &mut trials {
                trial.variant.point = Some(Point::new(index));
            }
            trials
        };
        let all = [at(1, against(1.2)), at(2, against(1.0))].concat();
        let found = compare_all(&all);
        let told = |c: &Comparison| {
            let point = c.pair.point.map(|point| point.index);
            (point, metric(c, "latency_ns.p50").says)
        };
        assert_eq!(
            found.iter().map(told).collect::<Vec<_>>(),
            [(Some(1), Says::Different), (Some(2), Says::Same)]
        );
    }

    #[test]
    fn what_no_trial_tells_is_not_compared() {
        let found = compare_all(&against(1.0));
        assert!(
            found[0]
                .metrics
                .iter()
                .all(|m| m.metric != "latency_ns.p99")
        );
        assert_eq!(metric(&found[0], "latency_ns.p50").says, Says::Same);
    }

    #[test]
    fn what_a_scenario_measures_by_name_is_compared_too() {
        let mut all = against(1.0);
        for (index, trial) in all.iter_mut().enumerate() {
            let longer = if trial.variant.transport == Transport::Sse {
                1.3
            } else {
                1.0
            };
            let p50 = (BASE[index % BASE.len()] as f64 * longer) as u64;
            trial.measures.round_trip = Some(RoundTrip {
                round_trip_ns: Quantiles {
                    p50: Some(p50),
                    ..Quantiles::default()
                },
                ..RoundTrip::default()
            });
        }
        let found = compare_all(&all);
        let trip = metric(&found[0], "measures.round_trip.round_trip_ns.p50");
        assert_eq!((trip.says, trip.primary), (Says::Different, false));
        assert!(trip.is_headline() && (trip.ratio - 1.3).abs() < 0.01);
        // Counts are no ratios, and what a trial leaves out is not compared.
        let told = found[0]
            .metrics
            .iter()
            .filter(|m| !m.primary && m.is_headline());
        assert_eq!(told.count(), 1);
    }

    #[test]
    fn fewer_than_five_rounds_say_nothing_and_void_ones_are_left_out() {
        let mut all = against(1.2);
        all[0].validity.verdict = Verdict::Void;
        let found = compare_all(&all);
        assert_eq!((found[0].rounds, found[0].left_out), (5, 1));
        all[1].validity.verdict = Verdict::Void;
        assert!(compare_all(&all).is_empty());
        assert!(!all_decided(&[]));
    }

    #[test]
    fn noise_larger_than_the_difference_is_undecided_with_a_number_of_trials() {
        let mut all = trials(Transport::Sse, &[1_000, 1_133, 882, 1_134, 921, 1_040]);
        all.extend(trials(Transport::WebSocket, &BASE));
        let found = compare_all(&all);
        let p50 = metric(&found[0], "latency_ns.p50");
        assert_eq!(p50.says, Says::Undecided);
        assert!(
            p50.more_trials.is_some_and(|n| n > 6),
            "{:?}",
            p50.more_trials
        );
        assert!(!all_decided(&found));
    }
}
