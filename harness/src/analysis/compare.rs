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

use crate::analysis::stats::{Decision, Ratio, decide, family, paired_log_ratio, paired_slices};
use crate::metrics::{self, Metric, Role};
pub use crate::record::{Comparison, MetricComparison, Says};
use crate::record::{Pair, Side, Trial, Variant, Verdict};
use crate::scenario::Matters;

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
///
/// `look`: for how manieth time a run that goes on until all is decided is looked at, from 1; `None` where
/// the number of trials was fixed. The intervals of all looks hold together (see [`spent_at`]).
pub fn compare_all(trials: &[Trial], matters: &Matters, look: Option<u32>) -> Vec<Comparison> {
    let how = How {
        matters: *matters,
        error: (1.0 - CONFIDENCE) * look.map_or(1.0, spent_at),
    };
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
                comparisons.extend(compare(of_a, of_b, &how));
            }
        }
    }
    comparisons
}

/// Two lists of trials that were paired by their index, whatever they are of. `None` with fewer
/// than [`MIN_ROUNDS`] rounds.
pub fn compare_pair(a: &[Trial], b: &[Trial], matters: &Matters) -> Option<Comparison> {
    let of_a = a.iter().map(|t| (t.index, t)).collect();
    let of_b = b.iter().map(|t| (t.index, t)).collect();
    let how = How {
        matters: *matters,
        error: 1.0 - CONFIDENCE,
    };
    compare(&of_a, &of_b, &how)
}

/// By what a comparison goes.
struct How {
    matters: Matters,
    /// Probability of an error, over all primary metrics.
    error: f64,
}

/// The share of the probability of an error that look `k`, from 1, may spend: 0.8 for the first, then
/// 0.2 / (k (k - 1)), which add up to 1. By the union bound, intervals at these levels hold at all looks
/// together, whenever one stops: *α-spending* (Lan and DeMets 1983, Biometrika 70), with the stitching of
/// Howard, Ramdas, McAuliffe and Sekhon 2021 (*Time-Uniform, Nonparametric, Nonasymptotic Confidence
/// Sequences*, Annals of Statistics 49), as looks are taken at twice as many rounds each time.
pub fn spent_at(look: u32) -> f64 {
    match look {
        0 | 1 => 0.8,
        k => 0.2 / (f64::from(k) * f64::from(k - 1)),
    }
}

/// How many looks lie at or before so many rounds, of those at 5, 10, 20 and so on.
pub fn looks(rounds: u32) -> u32 {
    let mut at = MIN_ROUNDS as u32;
    let mut looks = 0;
    while at <= rounds {
        looks += 1;
        at *= 2;
    }
    looks
}

/// `None` with fewer than [`MIN_ROUNDS`] rounds.
fn compare(
    of_a: &BTreeMap<u32, &Trial>,
    of_b: &BTreeMap<u32, &Trial>,
    how: &How,
) -> Option<Comparison> {
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
        .zip(family(&pairs, 1.0 - how.error))
        .filter_map(|(metric, member)| {
            let member = member?;
            let margin = margin(metric, &how.matters, &kept)?;
            Some(judged(
                metric,
                true,
                &member.ratio,
                (member.p_adjusted, margin),
            ))
        })
        .collect();
    metrics.extend(of_role(Role::Secondary).filter_map(|metric| {
        let (a, b) = columns(metric)?;
        let ratio = paired_log_ratio(&a, &b, 1.0 - how.error)?;
        let margin = margin(metric, &how.matters, &kept)?;
        Some(judged(metric, false, &ratio, (ratio.p_value, margin)))
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

/// The smallest difference of a metric that matters between two rows: as a share, and the amount where that
/// is what decides. The amount counts against the smaller of the two.
fn margin(metric: &Metric, matters: &Matters, kept: &[(&Trial, &Trial)]) -> Option<Margin> {
    let mean = |trials: &mut dyn Iterator<Item = &Trial>| {
        let logs: Option<Vec<f64>> = trials.map(|t| Some((metric.read)(t)?.ln())).collect();
        Some((logs?.iter().sum::<f64>() / kept.len() as f64).exp())
    };
    let of_a = mean(&mut kept.iter().map(|pair| pair.0))?;
    let of_b = mean(&mut kept.iter().map(|pair| pair.1))?;
    let smaller = of_a.min(of_b);
    let amount = metric.matters(matters);
    let share = amount.map_or(0.0, |amount| amount / smaller);
    Some(Margin {
        share: matters.relative.max(share),
        amount: amount.filter(|_| share > matters.relative),
    })
}

/// See [`margin`].
struct Margin {
    share: f64,
    amount: Option<f64>,
}

fn judged(
    metric: &Metric,
    primary: bool,
    ratio: &Ratio,
    (p_value, margin): (f64, Margin),
) -> MetricComparison {
    let (says, more_trials) = match decide(ratio, margin.share) {
        Decision::Different { .. } => (Says::Different, None),
        Decision::Same { .. } => (Says::Alike, None),
        Decision::Undecided { more_trials } => (Says::Undecided, more_trials),
    };
    MetricComparison {
        metric: metric.key.to_owned(),
        primary,
        says,
        ratio: ratio.ratio,
        low: ratio.low,
        high: ratio.high,
        confidence: ratio.confidence,
        p_value,
        matters: margin.share,
        matters_amount: margin.amount,
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

    /// Nothing but a share matters.
    const STRICT: Matters = Matters {
        relative: 0.05,
        latency_ms: 0.0,
        memory_bytes: 0.0,
        wire_bytes: 0.0,
    };

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
        let found = compare_all(&against(1.2), &STRICT, None);
        assert_eq!(found.len(), 1);
        let p50 = metric(&found[0], "latency_ns.p50");
        assert_eq!((p50.says, p50.primary), (Says::Different, true));
        assert!((p50.ratio - 1.2).abs() < 0.001 && p50.low > 1.19 && p50.high < 1.21);
        assert_eq!(
            metric(&found[0], "server.cpu_ns_per_delivery").says,
            Says::Alike
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
        let found = compare_all(&all, &STRICT, None);
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
        let found = compare_all(&all, &STRICT, None);
        let told = |c: &Comparison| {
            let point = c.pair.point.map(|point| point.index);
            (point, metric(c, "latency_ns.p50").says)
        };
        assert_eq!(
            found.iter().map(told).collect::<Vec<_>>(),
            [(Some(1), Says::Different), (Some(2), Says::Alike)]
        );
    }

    #[test]
    fn what_no_trial_tells_is_not_compared() {
        let found = compare_all(&against(1.0), &STRICT, None);
        assert!(
            found[0]
                .metrics
                .iter()
                .all(|m| m.metric != "latency_ns.p99")
        );
        assert_eq!(metric(&found[0], "latency_ns.p50").says, Says::Alike);
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
        let found = compare_all(&all, &STRICT, None);
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
        let found = compare_all(&all, &STRICT, None);
        assert_eq!((found[0].rounds, found[0].left_out), (5, 1));
        all[1].validity.verdict = Verdict::Void;
        assert!(compare_all(&all, &STRICT, None).is_empty());
        assert!(!all_decided(&[]));
    }

    #[test]
    fn noise_larger_than_the_difference_is_undecided_with_a_number_of_trials() {
        let mut all = trials(Transport::Sse, &[1_000, 1_133, 882, 1_134, 921, 1_040]);
        all.extend(trials(Transport::WebSocket, &BASE));
        let found = compare_all(&all, &STRICT, None);
        let p50 = metric(&found[0], "latency_ns.p50");
        assert_eq!(p50.says, Says::Undecided);
        assert!(
            p50.more_trials.is_some_and(|n| n > 6),
            "{:?}",
            p50.more_trials
        );
        assert!(!all_decided(&found));
    }

    #[test]
    fn a_difference_that_nobody_would_notice_is_alike_however_sure() {
        // 0.2 µs of a µs.
        let all = against(1.2);
        let within = |latency_ms| {
            let matters = Matters {
                latency_ms,
                ..STRICT
            };
            let found = compare_all(&all, &matters, None);
            let p50 = metric(&found[0], "latency_ns.p50");
            (p50.says, p50.matters_amount)
        };
        assert_eq!(within(0.001), (Says::Alike, Some(1_000.0)));
        assert_eq!(within(0.000_1), (Says::Different, Some(100.0)));
        assert_eq!(within(0.000_01), (Says::Different, None));
    }

    #[test]
    fn the_intervals_of_all_looks_hold_together() {
        let spent: f64 = (1..10_000).map(spent_at).sum();
        assert!((0.999..=1.0).contains(&spent), "{spent}");
        let at = [4, 5, 9, 10, 19, 20, 40].map(looks);
        assert_eq!(at, [0, 1, 1, 2, 2, 3, 4]);
        let width = |look| {
            let mut all = trials(Transport::Sse, &[1_000, 1_133, 882, 1_134, 921, 1_040]);
            all.extend(trials(Transport::WebSocket, &BASE));
            let found = compare_all(&all, &STRICT, look);
            let p50 = metric(&found[0], "latency_ns.p50");
            (p50.high / p50.low).ln()
        };
        assert!(width(None) < width(Some(1)) && width(Some(1)) < width(Some(2)));
    }
}
