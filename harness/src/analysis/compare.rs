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

use crate::analysis::stats::{
    Decision, Ratio, decide, family, paired_log_ratio, paired_slices, ratio_of_slices,
};
use crate::metrics::{self, Metric, Role, Window};
pub use crate::record::{Comparison, MetricComparison, Says};
use crate::record::{Pair, Side, Slice, Trial, Variant, Verdict};
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
/// `share`: what these intervals may use of the probability of an error, in (0, 1]; 1 where the number of
/// trials was fixed and they are looked at once (see [`spent_by`]).
pub fn compare_all(trials: &[Trial], matters: &Matters, share: f64) -> Vec<Comparison> {
    let how = How {
        matters: *matters,
        error: (1.0 - CONFIDENCE) * share,
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

/// What a run that goes on until all is decided may have used of the probability of an error when it has
/// spent so much of its budget, both from 0 to 1: *α-spending* by the power family, with an exponent of 3
/// (Lan and DeMets 1983, *Discrete Sequential Boundaries for Clinical Trials*, Biometrika 70; in calendar
/// time, Lan and DeMets 1989, Biometrics 45; Kim and DeMets 1987, Biometrika 74). Each look has what was not
/// used by the looks before it, so by the union bound the intervals of all looks hold together, whichever of
/// them is the last. Most of it is left for the end, as by O'Brien and Fleming.
pub fn spent_by(budget: f64) -> f64 {
    if budget.is_nan() {
        return 1.0;
    }
    budget.clamp(0.0, 1.0).powi(3)
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
    let kept = Rounds(kept);
    let primary: Vec<&Metric> = of_role(Role::Primary).collect();
    let of_family = family(primary.len(), 1.0 - how.error, |of, level| {
        kept.ratio(primary[of], level)
    });
    let mut metrics: Vec<MetricComparison> = primary
        .iter()
        .zip(of_family)
        .filter_map(|(metric, member)| {
            let member = member?;
            let margin = margin(metric, &how.matters, &kept)?;
            let p_and_margin = (member.p_adjusted, margin);
            Some(judged(metric, true, &member.ratio, p_and_margin))
        })
        .collect();
    metrics.extend(of_role(Role::Secondary).filter_map(|metric| {
        let ratio = kept.ratio(metric, 1.0 - how.error)?;
        let margin = margin(metric, &how.matters, &kept)?;
        Some(judged(metric, false, &ratio, (ratio.p_value, margin)))
    }));
    let (a, b) = *kept.0.first()?;
    Some(Comparison {
        pair: Pair {
            a: a.variant.side,
            b: b.variant.side,
            point: a.variant.point,
        },
        rounds: kept.0.len() as u32,
        left_out: (rounds.len() - kept.0.len()) as u32,
        metrics,
    })
}

/// Rounds in which both trials are witnesses.
struct Rounds<'a>(Vec<(&'a Trial, &'a Trial)>);

impl Rounds<'_> {
    /// How many times as large a metric is in the first of each pair, at that confidence. Of trials that took
    /// turns the slices tell, which share what the machine did.
    fn ratio(&self, metric: &Metric, confidence: f64) -> Option<Ratio> {
        let (a, b) = self.values(metric)?;
        match self.slices(metric) {
            Some(slices) => ratio_of_slices(&slices, confidence),
            None => paired_log_ratio(&a, &b, confidence),
        }
    }

    /// The values of both, round by round. A run reads what changes while clients connect in its first
    /// rounds only, so such a metric has fewer; any other is missing nowhere.
    fn values(&self, metric: &Metric) -> Option<(Vec<f64>, Vec<f64>)> {
        let of_round = |(a, b): &(&Trial, &Trial)| Some(((metric.read)(a)?, (metric.read)(b)?));
        let rounds = self.0.iter().map(of_round);
        match metric.window {
            Window::Connect => Some(rounds.flatten().unzip()),
            _ => rounds.collect(),
        }
    }

    /// Logarithms of the ratios of paired slices, round by round; `None` where a round has too few.
    fn slices(&self, metric: &Metric) -> Option<Vec<Vec<f64>>> {
        let read = metric.in_slice?;
        self.0.iter().map(|(a, b)| of_slices(a, b, read)).collect()
    }
}

/// Logarithms of the ratios of what `read` finds in the slices of two trials that took turns; `None` where
/// too few of them have it.
pub(crate) fn of_slices(a: &Trial, b: &Trial, read: fn(&Slice) -> Option<f64>) -> Option<Vec<f64>> {
    let of = |trial: &Trial| -> Vec<Option<f64>> { trial.slices.iter().map(read).collect() };
    paired_slices(&of(a), &of(b))
}

/// The smallest difference of a metric that matters between two rows: as a share, and the amount where that
/// is what decides. The amount counts against the smaller of the two.
fn margin(metric: &Metric, matters: &Matters, kept: &Rounds<'_>) -> Option<Margin> {
    let (a, b) = kept.values(metric)?;
    let mean = |of: &[f64]| (of.iter().map(|v| v.ln()).sum::<f64>() / of.len() as f64).exp();
    let (of_a, of_b) = (mean(&a), mean(&b));
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
    use crate::record::{Quantiles, RoundTrip};
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
        let found = compare_all(&against(1.2), &STRICT, 1.0);
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
        let found = compare_all(&all, &STRICT, 1.0);
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
        let found = compare_all(&all, &STRICT, 1.0);
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
        let found = compare_all(&against(1.0), &STRICT, 1.0);
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
        let found = compare_all(&all, &STRICT, 1.0);
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
        let found = compare_all(&all, &STRICT, 1.0);
        assert_eq!((found[0].rounds, found[0].left_out), (5, 1));
        all[1].validity.verdict = Verdict::Void;
        assert!(compare_all(&all, &STRICT, 1.0).is_empty());
        assert!(!all_decided(&[]));
    }

    #[test]
    fn noise_larger_than_the_difference_is_undecided_with_a_number_of_trials() {
        let mut all = trials(Transport::Sse, &[1_000, 1_133, 882, 1_134, 921, 1_040]);
        all.extend(trials(Transport::WebSocket, &BASE));
        let found = compare_all(&all, &STRICT, 1.0);
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
            let found = compare_all(&all, &matters, 1.0);
            let p50 = metric(&found[0], "latency_ns.p50");
            (p50.says, p50.matters_amount)
        };
        assert_eq!(within(0.001), (Says::Alike, Some(1_000.0)));
        assert_eq!(within(0.000_1), (Says::Different, Some(100.0)));
        assert_eq!(within(0.000_01), (Says::Different, None));
    }

    #[test]
    fn what_the_looks_of_a_run_use_adds_up_and_less_is_a_wider_interval() {
        let spent = [0.0, 0.125, 0.25, 0.5, 1.0].map(spent_by);
        assert_eq!(spent, [0.0, 0.001_953_125, 0.015_625, 0.125, 1.0]);
        assert_eq!((spent_by(7.0), spent_by(f64::NAN)), (1.0, 1.0));
        let width = |share| {
            let mut all = trials(Transport::Sse, &[1_000, 1_133, 882, 1_134, 921, 1_040]);
            all.extend(trials(Transport::WebSocket, &BASE));
            let found = compare_all(&all, &STRICT, share);
            let p50 = metric(&found[0], "latency_ns.p50");
            (p50.high / p50.low).ln()
        };
        assert!(width(1.0) < width(0.875) && width(0.875) < width(0.015));
    }
}
