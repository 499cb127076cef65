//! What a record says of a claim: *yes*, *no*, *alike* or *undecided*.
//!
//! In: what must be so, as data. Out: the verdict, with the figure that decides. Two rows are compared by the
//! record's own comparison; counts are held against their bound exactly, in every round; other figures by
//! a t-interval over rounds.

use serde::Deserialize;

use super::super::answer::less;
use super::super::relation::Relation;
use super::super::view::View;
use super::row;
use crate::analysis::compare::{CONFIDENCE, MIN_ROUNDS, MetricComparison, Says, compare_pair};
use crate::analysis::stats::mean_interval;
use crate::metrics::{Metric, Role, Unit, find};
use crate::record::{Record, Selector, Trial, Variant, Verdict as Validity};
use crate::text::figure::count;

/// What must be so for a claim to hold: `of` a row, `metric` next to that `against` which it is compared, next
/// to a `bound`, or, with `points`, at the last point of a sweep next to the first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verdict {
    pub(super) metric: String,
    of: Selector,
    pub(super) against: Option<Selector>,
    pub(super) bound: Option<f64>,
    #[serde(default)]
    pub(super) points: bool,
    expects: Expects,
    /// Whose record says so, where it is another than that of the claim.
    pub(super) scenario: Option<String>,
    /// Put in front of what is told.
    pub(super) what: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expects {
    Less,
    More,
    Same,
    AtMost,
    AtLeast,
}

impl Verdict {
    /// What `view` says of it.
    pub(super) fn tell(&self, view: &View<'_>) -> String {
        let told = self.told(view).replace('_', "\\_");
        match &self.what {
            Some(what) => format!("{what} {told}"),
            None => told,
        }
    }

    fn told(&self, view: &View<'_>) -> String {
        let (Some(metric), Some(of)) = (find(&self.metric), row(view, self.of)) else {
            return "**undecided**: the record has no such row".to_owned();
        };
        let of = view.rows[of];
        if let Some(bound) = self.bound {
            return self.held_against(bound, metric, &witnesses(view.record, metric, of));
        }
        if self.points {
            return self.between_points(view, metric, of);
        }
        let against = self.against.and_then(|selector| row(view, selector));
        let Some(against) = against.map(|row| view.rows[row]) else {
            return "**undecided**: the record has no such row".to_owned();
        };
        match Relation::find(view.record, metric.key, of, against) {
            Some(found) => self.compared(metric, &found, [of, against]),
            None => few(view.record, metric, [of, against]),
        }
    }

    fn compared(&self, metric: &Metric, found: &Relation, [of, against]: [Variant; 2]) -> String {
        let (of, against) = (of.side.transport, against.side.transport);
        let turned = Relation {
            ratio: 1.0 / found.ratio,
            low: 1.0 / found.high,
            high: 1.0 / found.low,
            ..*found
        };
        let told = if found.ratio < 1.0 {
            format!("{of} has {} than {against}", less(found))
        } else {
            format!("{against} has {} than {of}", less(&turned))
        };
        let within = found.within(metric);
        match (found.says, self.expects) {
            (Says::Undecided, _) => format!(
                "**undecided**: {of} has × {:.3} ({:.3} to {:.3}) of {against}",
                found.ratio, found.low, found.high
            ),
            (Says::Alike, Expects::Same) => format!("**yes**: alike {within}"),
            (Says::Alike, _) => format!("**alike** {within}"),
            (Says::Different, Expects::Less) if found.ratio < 1.0 => format!("**yes**: {told}"),
            (Says::Different, Expects::More) if found.ratio > 1.0 => format!("**yes**: {told}"),
            (Says::Different, _) => format!("**no**: {told}"),
        }
    }

    /// The last point of a sweep next to the first.
    fn between_points(&self, view: &View<'_>, metric: &Metric, last: Variant) -> String {
        let first = view.rows.iter().find(|row| row.side == last.side);
        let Some(first) = first.filter(|first| **first != last) else {
            return "**undecided**: the record has a single point".to_owned();
        };
        let of = |variant| -> Vec<Trial> {
            let trials = view.record.trials.iter();
            trials.filter(|t| t.variant == variant).cloned().collect()
        };
        let matters = &view.record.scenario.matters;
        let found = compare_pair(&of(last), &of(*first), matters).and_then(|found| {
            let mut metrics = found.metrics.into_iter();
            metrics.find(|m: &MetricComparison| m.metric == metric.key)
        });
        let Some(found) = found else {
            return few(view.record, metric, [last, *first]);
        };
        let told = format!(
            "× {:.2} ({:.2} to {:.2})",
            found.ratio, found.low, found.high
        );
        let more = found.ratio > 1.0;
        match (found.says, self.expects) {
            (Says::Undecided, _) => format!("**undecided**: {told}"),
            (Says::Alike, Expects::Same) => format!("**yes**: alike, {told}"),
            // What is claimed is a difference that somebody would notice.
            (Says::Alike, _) => format!("**no**: alike, {told}"),
            (Says::Different, Expects::More) if more => format!("**yes**: {told}"),
            (Says::Different, Expects::Less) if !more => format!("**yes**: {told}"),
            (Says::Different, _) => format!("**no**: {told}"),
        }
    }

    fn held_against(&self, bound: f64, metric: &Metric, values: &[f64]) -> String {
        let holds = |value: f64| match self.expects {
            Expects::AtMost | Expects::Less => value <= bound,
            _ => value >= bound,
        };
        if values.is_empty() {
            return "**undecided**: not measured".to_owned();
        }
        let rounds = count(values.len() as u64);
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if metric.role == Role::Count || metric.unit == Unit::Count {
            let [least, most] = [least, most].map(|v| metric.show(Some(v)));
            let found = match least == most {
                true => least,
                false => format!("{least} to {most}"),
            };
            let word = match values.iter().all(|value| holds(*value)) {
                true => "yes",
                false => "no",
            };
            return format!("**{word}**: {found} in each of {rounds} rounds")
                .replace("each of 1 rounds", "its one round");
        }
        let Some((low, high)) = mean_interval(values, CONFIDENCE) else {
            return format!(
                "**undecided**: {} in {rounds} of the {MIN_ROUNDS} rounds that an interval needs",
                metric.show(Some(most))
            );
        };
        let told = format!("{} to {}", metric.show(Some(low)), metric.show(Some(high)));
        match (holds(low), holds(high)) {
            (true, true) => format!("**yes**: {told}"),
            (false, false) => format!("**no**: {told}"),
            _ => format!("**undecided**: {told}"),
        }
    }
}

/// What the trials of a row have of a metric; of counts void trials are witnesses, too.
fn witnesses(record: &Record, metric: &Metric, variant: Variant) -> Vec<f64> {
    let counts = metric.role == Role::Count;
    let of_row = record
        .trials
        .iter()
        .filter(|trial| trial.variant == variant);
    let kept = of_row.filter(|trial| counts || trial.validity.verdict != Validity::Void);
    kept.filter_map(|trial| (metric.read)(trial)).collect()
}

/// Why two rows are not compared.
fn few(record: &Record, metric: &Metric, pair: [Variant; 2]) -> String {
    if let Some(from) = record.converted_from {
        return format!("**undecided**: left out of a record of schema {from}; run it again");
    }
    let rounds = pair.map(|variant| witnesses(record, metric, variant).len());
    let rounds = rounds.into_iter().min().unwrap_or(0);
    format!("**undecided**: {rounds} of the {MIN_ROUNDS} rounds that a comparison needs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::compare::compare_all;
    use crate::record::sample;
    use crate::scenario::Point;
    use pushbench_protocol::transport::Transport;

    /// So many rounds of `sse`, after a change of each.
    fn record(rounds: u32, change: impl Fn(&mut Trial, u32)) -> Record {
        let mut record = sample::record();
        let model = record.trials[0].clone();
        record.trials = (1..=rounds)
            .map(|index| {
                let mut trial = model.clone();
                trial.index = index;
                trial.variant.side.transport = Transport::Sse;
                change(&mut trial, index);
                trial
            })
            .collect();
        record.summary = crate::metrics::summarise(&record.trials, &Default::default());
        record.comparisons = compare_all(&record.trials, &record.scenario.matters, 1.0);
        record
    }

    fn told(record: &Record, verdict: &str) -> String {
        let verdict: Verdict = toml::from_str(verdict).expect("a verdict");
        verdict.tell(&View::of(record))
    }

    #[test]
    fn a_count_is_held_against_its_bound_in_every_round() {
        let none = "metric = 'missing'\nof = 'sse-tuned'\nbound = 0\nexpects = 'at_most'";
        let lost = |of: u32| {
            let record = record(3, |trial, index| {
                trial.deliveries.missing = Some(u64::from(index == of) * 7);
            });
            told(&record, none)
        };
        assert_eq!(lost(0), "**yes**: 0 in each of 3 rounds");
        assert_eq!(lost(2), "**no**: 0 to 7 in each of 3 rounds");
        let one = record(1, |trial, _| trial.deliveries.missing = Some(0));
        assert_eq!(told(&one, none), "**yes**: 0 in its one round");
    }

    #[test]
    fn another_figure_is_held_against_its_bound_by_an_interval() {
        let half = "metric = 'cpu'\nof = 'sse-tuned'\nbound = 10_000\nexpects = 'at_least'";
        let cpu = |rounds, ns: f64| {
            let record = record(rounds, |trial, index| {
                trial.server.cpu_ns_per_delivery = Some(ns + 10.0 * f64::from(index % 3));
            });
            told(&record, half)
        };
        assert!(
            cpu(6, 12_000.0).starts_with("**yes**: 12.0 µs to 12.0 µs"),
            "{}",
            cpu(6, 12_000.0)
        );
        assert!(cpu(6, 8_000.0).starts_with("**no**: "));
        assert!(cpu(6, 9_990.0).starts_with("**undecided**: "));
        assert_eq!(
            cpu(4, 12_000.0),
            "**undecided**: 12.0 µs in 4 of the 5 rounds that an interval needs"
        );
    }

    #[test]
    fn points_of_a_sweep_are_compared_round_by_round() {
        let more = "metric = 'p99'\nof = 'sse-tuned'\npoints = true\nexpects = 'more'";
        let slower = |factor: f64| {
            let mut record = record(6, |trial, index| {
                trial.variant.point = Some(Point::new(1));
                trial.latency_ns.p99 = Some(9_000_000 + u64::from(index) * 1_000);
            });
            let second: Vec<Trial> = record
                .trials
                .iter()
                .map(|trial| {
                    let mut trial = trial.clone();
                    trial.variant.point = Some(Point::new(2));
                    let p99 = trial.latency_ns.p99.expect("set") as f64;
                    trial.latency_ns.p99 = Some((p99 * factor) as u64);
                    trial
                })
                .collect();
            record.trials.extend(second);
            record.summary = crate::metrics::summarise(&record.trials, &Default::default());
            told(&record, more)
        };
        assert!(
            slower(2.0).starts_with("**yes**: × 2.00"),
            "{}",
            slower(2.0)
        );
        assert!(
            slower(1.0).starts_with("**no**: alike, × 1.00"),
            "{}",
            slower(1.0)
        );
        assert!(slower(0.5).starts_with("**no**: × 0.50"), "{}", slower(0.5));
    }
}
