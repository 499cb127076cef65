//! The answer in words: the scenario in a sentence, who wins on what, by how much, and how sure that
//! is.
//!
//! In: the record's own comparisons and verdicts. Nothing is decided here: where the record compares
//! nothing, no winner is named, and what one trial showed is called what it is.

mod words;

pub(super) use words::{board, less, measured, trials_in_words, trials_of_each};

use super::limits;
use super::measures;
use super::relation::Relation;
use super::view::View;
use crate::analysis::compare::Says;
use crate::environment::readiness::sentence;
use crate::metrics::{Metric, named};
use pushbench_protocol::transport::Profile;
use words::{
    certainty, clause, cost, late_receipts, latency, not_tested, observed, scenario, why_no_winner,
};

/// What decides, in the order in which people choose: latency, then cost.
pub(super) const DECISIVE: [&str; 6] = ["p50", "p99", "cpu", "user_memory", "down", "connect_p50"];

/// How many of [`DECISIVE`] are latencies.
const LATENCIES: usize = 2;

/// What the record says of one metric. Rows are places in the summary.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finding {
    /// One row has surely less than every other; `against` is the nearest of them.
    Wins {
        row: usize,
        against: usize,
        relation: Relation,
    },
    /// These are the same, and no other has surely less than any of them.
    Same { rows: Vec<usize> },
    /// No other has surely less than any of these, but among themselves nothing is decided.
    Undecided {
        rows: Vec<usize>,
        more_trials: Option<u32>,
    },
    /// The record does not compare it.
    NotCompared,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// What was asked: the scenario.
    pub(super) scenario: String,
    /// Latency, cost, and what else is to be said first.
    pub(super) sentences: Vec<String>,
    /// How sure that is; `None` where nothing is compared, and the sentences say why.
    pub(super) certainty: Option<String>,
    /// Metric by metric, in the order of [`DECISIVE`].
    pub(super) findings: Vec<Finding>,
    /// What was found by the scenario's own measures, where the record compares it.
    pub(super) measured: Vec<(&'static Metric, Finding)>,
    /// Rows that were in question.
    pub(super) candidates: Vec<usize>,
}

/// The answer of a record.
pub(super) fn answer(view: &View<'_>) -> Answer {
    let candidates = candidates(view);
    let findings: Vec<Finding> = named(&DECISIVE)
        .map(|metric| find(view, &candidates, metric))
        .collect();
    let compared = findings.iter().any(|found| *found != Finding::NotCompared);
    let of_all: Vec<String> = if !view.record.limits.is_empty() {
        vec![
            limits::sentences(view.record),
            "A limit is one search on one machine; each step is a single trial.".to_owned(),
            trials_in_words(view),
        ]
    } else if compared {
        vec![
            latency(view, &candidates, &findings),
            cost(view, &candidates, &findings),
        ]
    } else {
        vec![
            why_no_winner(view, &candidates),
            observed(view, &candidates),
            trials_in_words(view),
        ]
    };
    // What the scenario is about comes first.
    let mut sentences = Vec::new();
    let mut measured = Vec::new();
    for table in measures::tables(view) {
        let Some(metric) = table.foremost_in(view) else {
            continue;
        };
        let figures = measures::in_words(view, metric);
        let found = find(view, &candidates, metric);
        if found == Finding::NotCompared {
            sentences.push(format!("{figures}."));
        } else {
            let clause = clause(view, &candidates, metric, &found);
            sentences.push(format!("{figures}; {clause}."));
            measured.push((metric, found));
        }
    }
    sentences.extend(of_all);
    sentences.extend(late_receipts(view));
    sentences.extend(not_tested(view));
    sentences.extend(sentence(view.record.environment.before.as_ref()));
    sentences.extend(view.record.conversion_note());
    Answer {
        scenario: scenario(view),
        sentences,
        certainty: (compared && view.record.limits.is_empty()).then(|| certainty(view)),
        findings,
        measured,
        candidates,
    }
}

impl Answer {
    /// What the board shows: the scenario's own measures first.
    pub(super) fn board(&self) -> impl Iterator<Item = (&'static Metric, &Finding)> {
        let measured = self.measured.iter().map(|(metric, found)| (*metric, found));
        measured.chain(named(&DECISIVE).zip(&self.findings))
    }
}

/// The rows that may win: all transports but the baseline, in the profile that most of them ran in
/// (`tuned` before others), at the last point of a sweep.
fn candidates(view: &View<'_>) -> Vec<usize> {
    let last = view.points().last().map(|point| point.index);
    let of = |profile: Profile| -> Vec<usize> {
        let rows = view.rows.iter().enumerate();
        rows.filter(|(_, row)| row.profile == profile && !row.is_baseline())
            .filter(|(_, row)| row.point.map(|point| point.index) == last)
            .map(|(place, _)| place)
            .collect()
    };
    let ranked = |profile: &Profile| (of(*profile).len(), *profile == Profile::Tuned);
    let profile = Profile::ALL.into_iter().max_by_key(ranked);
    profile.map(of).unwrap_or_default()
}

fn find(view: &View<'_>, candidates: &[usize], metric: &Metric) -> Finding {
    let relation =
        |a: usize, b: usize| Relation::find(view.record, metric.key, view.rows[a], view.rows[b]);
    // A row whose trials are void, or do not tell the metric, is compared with nobody.
    let told: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|&a| {
            candidates
                .iter()
                .any(|&b| a != b && relation(a, b).is_some())
        })
        .collect();
    let others = |a: usize| told.iter().copied().filter(move |&b| b != a);
    let less = |a: usize, b: usize| relation(a, b).is_some_and(|found| found.is_less());
    if told.len() < 2 {
        return Finding::NotCompared;
    }
    let winner = told.iter().find(|&&a| others(a).all(|b| less(a, b)));
    if let Some(&row) = winner {
        let nearest = others(row)
            .filter_map(|b| Some((b, relation(row, b)?)))
            .max_by(|(_, a), (_, b)| a.ratio.total_cmp(&b.ratio));
        if let Some((against, relation)) = nearest {
            return Finding::Wins {
                row,
                against,
                relation,
            };
        }
    }
    let mut rows: Vec<usize> = told
        .iter()
        .copied()
        .filter(|&a| !others(a).any(|b| less(b, a)))
        .collect();
    if let [only] = rows[..] {
        // It beats some and is undecided against others, which others again may beat.
        rows.extend(others(only).filter(|&b| !less(only, b)));
        rows.sort_unstable();
    }
    if rows.is_empty() {
        rows = told;
    }
    let among = || {
        let rows = &rows;
        rows.iter()
            .enumerate()
            .flat_map(move |(i, &a)| rows[i + 1..].iter().map(move |&b| (a, b)))
    };
    let same = |(a, b)| relation(a, b).is_some_and(|found| found.says == Says::Alike);
    if among().all(same) {
        return Finding::Same { rows };
    }
    let undecided = among()
        .filter_map(|(a, b)| relation(a, b))
        .filter(|found| found.says == Says::Undecided);
    // What would decide the hardest of them; unknown where one has no number.
    let more_trials = undecided
        .map(|found| found.more_trials)
        .try_fold(0, |most, more| Some(most.max(more?)))
        .filter(|&most| most > 0);
    Finding::Undecided { rows, more_trials }
}

#[cfg(test)]
mod tests;
