//! Two records, or two transports of one: metric by metric, *better*, *worse*, *same* or *undecided*.
//!
//! Place on the data path: behind it. In: two [`Source`]s. Out: a [`Report`], to be drawn and to be
//! held against gates.
//!
//! Two runs are two independent sets of trials, made at different times: Welch's test, which is not
//! misled by a run that was noisier than the other. Two transports of *one* run were interleaved, so
//! they are paired by round, as the run itself does. A void trial is not a witness, but what it lost
//! counts.
//!
//! Not here: percentiles over several trials. A value is the geometric mean of the trials' own
//! values, so that the change is exactly the ratio of the two values shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::CONFIDENCE;
use super::environment::{self, Difference};
use super::gate::Gate;
use super::judge::{Judged, judge};
use crate::analysis::stats::decision::SMALLEST_EFFECT;
use crate::analysis::stats::family::simultaneous;
use crate::analysis::stats::welch::MIN_TRIALS;
use crate::analysis::stats::{
    Decision, decide, decide_unpaired, holm, paired_log_ratio, unpaired_log_ratio,
};
use crate::metrics::table::compared;
use crate::metrics::{Better, Metric, Role, find};
use crate::record::{Pair, Record, Selector, Trial, Variant, Verdict};

/// One side of the comparison.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What the reader calls the record.
    pub label: &'a str,
    /// It.
    pub record: &'a Record,
    /// Which of its rows; all where `None`.
    pub only: Option<Selector>,
}

/// What there is to say of two records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The one that is compared with …
    pub a: Origin,
    /// … this one: a change of +10% says that B has 10% more.
    pub b: Origin,
    /// The two are one and the same record, so that nothing can differ.
    pub identical: bool,
    /// The two were made on machines that are not the same.
    pub different_machines: bool,
    /// What else was not the same, in environment, workload and program.
    pub differences: Vec<Difference>,
    /// Rows of one that the other has not.
    pub left_out: Vec<String>,
    /// Every row that both have.
    pub rows: Vec<Row>,
    /// How many lines say what.
    pub tally: Tally,
    /// What the gates say.
    pub gates: Vec<Judged>,
}

/// Where one side comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// What the reader calls the record.
    pub label: String,
    /// When its run began.
    pub started_utc: String,
    /// Its scenario.
    pub scenario: String,
    /// The worst verdict of its trials.
    pub verdict: Verdict,
}

/// A transport and profile of A beside one of B.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Of A and of B, at which point of the sweep by A's record.
    #[serde(flatten)]
    pub pair: Pair,
    /// Trials that are witnesses, of A and of B: not void.
    pub trials: [u32; 2],
    /// Trials that are void.
    pub void: [u32; 2],
    /// Whether the trials were paired by round.
    pub paired: bool,
    /// Metric by metric; one that neither tells is left out.
    pub lines: Vec<Line>,
}

/// One metric of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Which.
    pub metric: &'static Metric,
    /// Whether its interval is corrected for the number of comparisons.
    pub primary: bool,
    /// Which way it gets better.
    pub better: Better,
    /// Value of A: the geometric mean over its trials, or a count over all of them.
    pub a: Option<f64>,
    /// Value of B.
    pub b: Option<f64>,
    /// B over A, less 1.
    pub change: Option<f64>,
    /// Lower end of its interval.
    pub low: Option<f64>,
    /// Upper end of its interval.
    pub high: Option<f64>,
    /// Confidence of the interval.
    pub confidence: Option<f64>,
    /// P-value of "no change"; after Holm for primary metrics.
    pub p_value: Option<f64>,
    /// What it says.
    pub says: Says,
    /// For `undecided`: how many more trials of each side would likely decide.
    pub more_trials: Option<u32>,
    /// Why nothing can be said, where that is so.
    pub why: Option<String>,
    /// Witnesses of A and of B that tell it.
    #[serde(skip)]
    pub told: [u32; 2],
    /// What it is counted out of, summed over the witnesses of A and of B; `None` where that is not known.
    #[serde(skip)]
    pub out_of: [Option<f64>; 2],
}

/// What a line says of B against A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// There is a change, and it is for the worse.
    Worse,
    /// There is a change, and it is for the better.
    Better,
    /// There is none that matters.
    Same,
    /// It may be any.
    Undecided,
}

pushbench_protocol::ids! {
    Says, "what a line says":
    Worse = "worse", Better = "better", Same = "same", Undecided = "undecided"
}

/// How many lines say what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // each is the verdict of its name
pub struct Tally {
    pub worse: u32,
    pub better: u32,
    pub same: u32,
    pub undecided: u32,
}

/// Why two records cannot be compared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompareError {
    /// No row of one is a row of the other.
    #[error(
        "'{a}' and '{b}' have no row in common: '{a}' holds {rows_a}, '{b}' holds {rows_b}; choose \
         two transports with 'RECORD@TRANSPORT-PROFILE'"
    )]
    NothingInCommon {
        /// Label of A.
        a: String,
        /// Label of B.
        b: String,
        /// Rows of A.
        rows_a: String,
        /// Rows of B.
        rows_b: String,
    },
    /// A row that was asked for is not there.
    #[error("'{label}' has no '{asked}'; its 'trials' hold {rows}")]
    NoSuchRow {
        /// Label of the record.
        label: String,
        /// What was asked for.
        asked: String,
        /// What there is.
        rows: String,
    },
    /// A gate asks for something that a record does not hold.
    #[error("gate '{gate}': '{label}' has no '{key}' for {row}; {why}")]
    NoSuchMetric {
        /// The gate.
        gate: String,
        /// Label of the record.
        label: String,
        /// The key that is missing.
        key: &'static str,
        /// Of which rows.
        row: String,
        /// Why, as far as is known.
        why: &'static str,
    },
    /// A gate asks for a row that is not compared.
    #[error("gate '{gate}': no '{asked}' is compared; the rows are {rows}")]
    NoSuchGateRow {
        /// The gate.
        gate: String,
        /// What it asks for.
        asked: String,
        /// What there is.
        rows: String,
    },
}

/// Compares `a` with `b` and asks every gate.
///
/// # Errors
/// [`CompareError`]
pub fn compare_records(
    a: &Source<'_>,
    b: &Source<'_>,
    gates: &[Gate],
) -> Result<Report, CompareError> {
    let one_record = a.record == b.record;
    let (of_a, of_b) = (rows_of(a.record), rows_of(b.record));
    for (source, sides) in [(a, &of_a), (b, &of_b)] {
        if let Some(only) = source.only
            && !sides.keys().any(|variant| only.takes(variant.side))
        {
            return Err(CompareError::NoSuchRow {
                label: source.label.to_owned(),
                asked: only.to_string(),
                rows: names(sides.keys()),
            });
        }
    }
    let pairs = pairs(&of_a, a.only.or(b.only), &of_b, b.only.or(a.only));
    if pairs.is_empty() {
        return Err(CompareError::NothingInCommon {
            a: a.label.to_owned(),
            b: b.label.to_owned(),
            rows_a: names(of_a.keys()),
            rows_b: names(of_b.keys()),
        });
    }
    let primary = compared().filter(|m| m.role == Role::Primary).count();
    let each = simultaneous(CONFIDENCE, primary * pairs.len());
    let row = |(a, b): &(Variant, Variant)| row((a, &of_a[a]), (b, &of_b[b]), one_record, each);
    let mut rows: Vec<Row> = pairs.iter().map(row).collect();
    adjust(&mut rows);
    let left_out = if a.only.is_some() || b.only.is_some() {
        Vec::new()
    } else {
        left_out((a.label, &of_a), (b.label, &of_b))
    };
    let mut tally = Tally::default();
    for line in rows.iter().flat_map(|row| &row.lines) {
        *match line.says {
            Says::Worse => &mut tally.worse,
            Says::Better => &mut tally.better,
            Says::Same => &mut tally.same,
            Says::Undecided => &mut tally.undecided,
        } += 1;
    }
    let absent = left_out
        .iter()
        .map(|(variant, why)| format!("{variant} {why}"));
    let mut report = Report {
        a: origin(a),
        b: origin(b),
        identical: one_record && pairs.iter().all(|(a, b)| a == b),
        different_machines: environment::different_machines(a.record, b.record),
        differences: environment::differences(a.record, b.record),
        left_out: absent.collect(),
        rows,
        tally,
        gates: Vec::new(),
    };
    report.gates = gates
        .iter()
        .map(|gate| judge(gate, &report, &left_out))
        .collect::<Result<_, _>>()?;
    Ok(report)
}

impl Report {
    /// Whether no gate failed.
    pub fn holds(&self) -> bool {
        self.gates.iter().all(|gate| gate.failures.is_empty())
    }

    /// The rows that are compared, for messages.
    pub(super) fn row_names(&self) -> String {
        let names: Vec<String> = self.rows.iter().map(|row| row.pair.to_string()).collect();
        names.join(", ")
    }
}

fn origin(source: &Source<'_>) -> Origin {
    Origin {
        label: match source.only {
            Some(only) => format!("{}@{only}", source.label),
            None => source.label.to_owned(),
        },
        started_utc: source.record.environment.started_utc.clone(),
        scenario: source.record.scenario.name.clone(),
        verdict: source.record.verdict(),
    }
}

type Rows<'a> = BTreeMap<Variant, Vec<&'a Trial>>;

/// The trials of each row, found by what varies: a point may have another place in the other sweep.
fn rows_of(record: &Record) -> Rows<'_> {
    let mut rows = Rows::new();
    for trial in &record.trials {
        let variant = trial.variant.in_any_sweep();
        rows.entry(variant).or_default().push(trial);
    }
    rows
}

fn names<'a>(variants: impl Iterator<Item = &'a Variant>) -> String {
    let names: Vec<String> = variants.map(Variant::to_string).collect();
    if names.is_empty() {
        "no trial".to_owned()
    } else {
        names.join(", ")
    }
}

/// Which row of A is held against which of B: its like, or what the selectors say.
fn pairs(
    of_a: &Rows<'_>,
    only_a: Option<Selector>,
    of_b: &Rows<'_>,
    only_b: Option<Selector>,
) -> Vec<(Variant, Variant)> {
    let wanted = |of: &Rows<'_>, only: Option<Selector>| -> Vec<Variant> {
        let takes = |variant: &&Variant| only.is_none_or(|only| only.takes(variant.side));
        of.keys().filter(takes).copied().collect()
    };
    let (wanted_a, wanted_b) = (wanted(of_a, only_a), wanted(of_b, only_b));
    // One against one may differ in everything; else the profiles must be the same.
    if let ([a], [b], Some(_)) = (&wanted_a[..], &wanted_b[..], only_a) {
        return vec![(*a, *b)];
    }
    let like = |a: Variant| only_b.unwrap_or_default().over(a.side).at(a.point);
    let pairs = wanted_a.into_iter().map(|a| (a, like(a)));
    pairs.filter(|(_, b)| wanted_b.contains(b)).collect()
}

/// Rows of one that the other has not, each with where it is.
fn left_out(a: (&str, &Rows<'_>), b: (&str, &Rows<'_>)) -> Vec<(Variant, String)> {
    let only = |(label, has): (&str, &Rows<'_>), other: &Rows<'_>| -> Vec<(Variant, String)> {
        let only = has.keys().filter(|variant| !other.contains_key(variant));
        only.map(|variant| (*variant, format!("is only in '{label}'")))
            .collect()
    };
    [only(a, b.1), only(b, a.1)].concat()
}

fn row(
    (a, of_a): (&Variant, &Vec<&Trial>),
    (b, of_b): (&Variant, &Vec<&Trial>),
    one_record: bool,
    each: f64,
) -> Row {
    let identity = one_record && a == b;
    let paired = one_record && a != b;
    let witness = |t: &&&Trial| t.validity.verdict != Verdict::Void;
    let mut kept: [Vec<&Trial>; 2] =
        [of_a, of_b].map(|all| all.iter().filter(witness).copied().collect());
    let void = [of_a.len() - kept[0].len(), of_b.len() - kept[1].len()].map(|n| n as u32);
    if paired {
        // Rounds in which both are witnesses, in the same order.
        let rounds = |trials: &[&Trial]| trials.iter().map(|t| t.index).collect::<BTreeSet<_>>();
        let both: BTreeSet<u32> = &rounds(&kept[0]) & &rounds(&kept[1]);
        for side in &mut kept {
            side.retain(|t| both.contains(&t.index));
            side.sort_by_key(|t| t.index);
        }
    }
    let lines = compared().filter_map(|metric| {
        let mut line = if metric.role == Role::Count {
            counted(metric, of_a, of_b)?
        } else {
            let level = if metric.role == Role::Primary {
                each
            } else {
                CONFIDENCE
            };
            measured(metric, &kept, paired, level)?
        };
        let tells = |side: usize| kept[side].iter().filter(|t| (metric.read)(t).is_some());
        line.told = [0, 1].map(|side| tells(side).count() as u32);
        line.out_of = [0, 1].map(|side| {
            let of = find(metric.out_of?)?;
            let counted = kept[side].iter().map(|t| (of.read)(t));
            counted.sum()
        });
        if identity {
            line = Line {
                change: line.a.map(|_| 0.0),
                low: None,
                high: None,
                confidence: None,
                p_value: None,
                says: Says::Same,
                more_trials: None,
                why: None,
                ..line
            };
        }
        Some(line)
    });
    Row {
        pair: Pair {
            a: a.side,
            b: b.side,
            point: of_a.first().and_then(|trial| trial.variant.point),
        },
        trials: [kept[0].len() as u32, kept[1].len() as u32],
        void,
        paired,
        lines: lines.collect(),
    }
}

impl Line {
    fn new(metric: &'static Metric, a: Option<f64>, b: Option<f64>) -> Self {
        Self {
            metric,
            primary: metric.role == Role::Primary,
            better: metric.better,
            a,
            b,
            change: None,
            low: None,
            high: None,
            confidence: None,
            p_value: None,
            says: Says::Undecided,
            more_trials: None,
            why: None,
            told: [0; 2],
            out_of: [None; 2],
        }
    }

    fn decided(&mut self, decision: Decision, ratio: f64) {
        let up_is_worse = self.better == Better::Lower;
        (self.says, self.more_trials) = match decision {
            Decision::Same { .. } => (Says::Same, None),
            Decision::Different { .. } if (ratio > 1.0) == up_is_worse => (Says::Worse, None),
            Decision::Different { .. } => (Says::Better, None),
            Decision::Undecided { more_trials } => (Says::Undecided, more_trials),
        };
    }
}

/// A count of every trial, void ones too; `None` where neither side counts it.
fn counted(metric: &'static Metric, of_a: &[&Trial], of_b: &[&Trial]) -> Option<Line> {
    // Of what no trial counts, the sum is not 0 but unknown.
    let sum = |trials: &[&Trial]| {
        let told = trials.iter().filter_map(|t| (metric.read)(t));
        told.reduce(|sum, value| sum + value)
    };
    let (a, b) = (sum(of_a), sum(of_b));
    let mut line = Line::new(metric, a, b);
    let (Some(a), Some(b)) = (a, b) else {
        let side = if a.is_none() { "A" } else { "B" };
        line.why = Some(format!("no trial of {side} tells it"));
        return (line.a.is_some() || line.b.is_some()).then_some(line);
    };
    // Of five trials more may be lost than of one.
    let (a_each, b_each) = (a / of_a.len() as f64, b / of_b.len() as f64);
    line.change = (a > 0.0).then(|| b_each / a_each - 1.0);
    line.says = match b_each.partial_cmp(&a_each) {
        Some(std::cmp::Ordering::Greater) => Says::Worse,
        Some(std::cmp::Ordering::Less) => Says::Better,
        _ => Says::Same,
    };
    Some(line)
}

/// `None` where neither side tells.
fn measured(
    metric: &'static Metric,
    kept: &[Vec<&Trial>; 2],
    paired: bool,
    confidence: f64,
) -> Option<Line> {
    let values = kept.each_ref().map(|trials| {
        let told = trials.iter().map(|t| (metric.read)(t));
        told.collect::<Vec<Option<f64>>>()
    });
    let told = values.each_ref().map(|v| v.iter().flatten().count());
    if told == [0, 0] {
        return None;
    }
    let [a, b] = values
        .each_ref()
        .map(|v| v.iter().flatten().copied().collect::<Vec<f64>>());
    let mut line = Line::new(metric, centre(&a), centre(&b));
    line.change = line
        .a
        .zip(line.b)
        .filter(|(a, _)| *a > 0.0)
        .map(|(a, b)| b / a - 1.0);
    let names = ["A", "B"];
    if let Some(side) = (0..2).find(|&s| told[s] < kept[s].len()) {
        let (has, of) = (told[side], kept[side].len());
        line.why = Some(format!("{has} of {of} trials of {} tell it", names[side]));
        return Some(line);
    }
    if let Some(side) = (0..2).find(|&s| told[s] < MIN_TRIALS) {
        let missing = MIN_TRIALS - told.iter().min().copied().unwrap_or(0);
        let (has, name) = (told[side], names[side]);
        line.why = Some(format!("{has} of {MIN_TRIALS} trials of {name}"));
        line.more_trials = Some(missing as u32);
        return Some(line);
    }
    if a.iter().chain(&b).any(|v| *v <= 0.0) {
        // No logarithm of nothing: all the same number, or nothing that can be said.
        if a.iter().chain(&b).all(|v| *v == a[0]) {
            line.says = Says::Same;
        } else {
            line.why = Some("a trial has 0, of which there is no ratio".to_owned());
        }
        return Some(line);
    }
    let (ratio, low, high, p_value, decision) = if paired {
        let r = paired_log_ratio(&b, &a, confidence)?;
        (
            r.ratio,
            r.low,
            r.high,
            r.p_value,
            decide(&r, SMALLEST_EFFECT),
        )
    } else {
        let r = unpaired_log_ratio(&b, &a, confidence)?;
        let decision = decide_unpaired(&r, SMALLEST_EFFECT);
        (r.ratio, r.low, r.high, r.logs.p_value, decision)
    };
    line.low = Some(low - 1.0);
    line.high = Some(high - 1.0);
    line.confidence = Some(confidence);
    line.p_value = Some(p_value);
    line.decided(decision, ratio);
    Some(line)
}

/// The geometric mean; the arithmetic one where a value is 0.
fn centre(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    match values {
        [] => None,
        // As it stands in the record, to the last digit.
        [first, rest @ ..] if rest.iter().all(|v| v == first) => Some(*first),
        _ if values.iter().all(|v| *v > 0.0) => {
            Some((values.iter().map(|v| v.ln()).sum::<f64>() / n).exp())
        }
        _ => Some(values.iter().sum::<f64>() / n),
    }
}

/// Holm over every primary comparison of the report.
fn adjust(rows: &mut [Row]) {
    let lines = || rows.iter().flat_map(|row| &row.lines).filter(|l| l.primary);
    let p_values: Vec<Option<f64>> = lines().map(|line| line.p_value).collect();
    let mut adjusted = holm(&p_values).into_iter();
    let lines = rows.iter_mut().flat_map(|row| &mut row.lines);
    for line in lines.filter(|line| line.primary) {
        line.p_value = adjusted.next().flatten();
    }
}

#[cfg(test)]
mod tests;
