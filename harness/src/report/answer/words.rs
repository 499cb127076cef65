//! The answer's sentences: findings, figures and verdicts in words.

use super::{DECISIVE, Finding, LATENCIES};
use crate::analysis::compare::MIN_ROUNDS;
use crate::metrics::{Metric, Unit, all, find, named};
use crate::record::{Capability, Record, Status, Trial, Variant, Verdict};
use crate::report::relation::Relation;
use crate::report::view::View;
use crate::scenario::ChannelCount;
use crate::text::capitalised;
use crate::text::figure::{count, three};
use pushbench_protocol::transport::Polls;

/// The scenario in a sentence, and one for each of its conditions.
pub(super) fn scenario(view: &View<'_>) -> String {
    let scenario = &view.record.scenario;
    let points = view.points();
    let channels = match scenario.channels.count {
        _ if scenario.channels.members.is_some() => format!(
            "{} rooms of {}",
            count(scenario.channel_count().into()),
            count(scenario.channels.members.unwrap_or(1).into())
        ),
        ChannelCount::PerClient => "a channel each".to_owned(),
        ChannelCount::Fixed(1) => "one channel".to_owned(),
        ChannelCount::Fixed(channels) => format!("{} channels", count(channels.into())),
    };
    let publish = match &scenario.publish {
        Some(publish) => format!(
            "are sent {} messages a second in all, of {} bytes each",
            three(scenario.published_per_s()),
            count(publish.payload_bytes as u64)
        ),
        None if scenario.upstream.is_some() => "send and receive".to_owned(),
        None => "wait, and nothing is published".to_owned(),
    };
    let conditions: String = scenario.sentences().map(|s| format!(" {s}")).collect();
    let trials = match trials_of_each(view.record) {
        None => "no trial".to_owned(),
        Some((1, 1)) => "one trial of each transport and profile".to_owned(),
        Some((n, m)) if n == m => format!("{n} trials of each transport and profile"),
        Some((n, m)) => format!("{n} to {m} trials of each transport and profile"),
    };
    let sweep = match points.len() {
        0 => String::new(),
        n => format!(", at {n} points of a sweep"),
    };
    let status = match view.record.status {
        Status::Complete => "",
        Status::Running => "; the run was not finished",
        Status::Interrupted => "; the run was interrupted",
        Status::Failed => "; the run failed",
    };
    format!(
        "{} clients on {channels} {publish}; {} are measured, in {trials}{sweep}{status}.\
         {conditions}",
        count(scenario.clients.count.into()),
        measured(view.record)
    )
}

/// How much of a trial is measured: slices, where trials took turns.
pub(in super::super) fn measured(record: &Record) -> String {
    let slices = record.trials.iter().map(|trial| trial.slices.len()).max();
    match slices.filter(|&slices| slices > 0) {
        Some(slices) => format!("{slices} slices a round"),
        None => format!("{} s", record.scenario.phases.measure_s),
    }
}

/// The fewest and the most trials of a row: a run that was cut short has not as many of each.
pub(in super::super) fn trials_of_each(record: &Record) -> Option<(u32, u32)> {
    let trials = || record.summary.iter().map(|row| row.trials);
    trials().min().zip(trials().max())
}

fn names(view: &View<'_>, rows: &[usize]) -> String {
    let ids: Vec<&str> = rows
        .iter()
        .map(|&row| view.rows[row].transport.id())
        .collect();
    listed(&ids).unwrap_or_else(|| "none".to_owned())
}

/// `sse (0.211 ms)`; of one that polls at intervals, what its clients wait for in the same breath.
fn with_figure(view: &View<'_>, row: usize, metric: &Metric) -> String {
    let figures = [view.figure(row, metric), waits(view, row, metric)];
    let figures: Vec<String> = figures.into_iter().flatten().collect();
    match figures.is_empty() {
        true => names(view, &[row]),
        false => format!("{} ({})", names(view, &[row]), figures.join(", ")),
    }
}

/// What is cheap because it waits is never praised without saying for how long.
fn waits(view: &View<'_>, row: usize, metric: &Metric) -> Option<String> {
    let median = find("p50").filter(|_| metric.unit != Unit::Ms)?;
    let polls = view.rows[row].transport.polls() == Some(Polls::AtIntervals);
    let waits = view.figure(row, median).filter(|_| polls)?;
    Some(format!("whose clients wait {waits} in the median"))
}

/// ` (0.211 ms to 0.276 ms)`, from the least to the most of some rows.
fn range(view: &View<'_>, rows: &[usize], metric: &Metric) -> String {
    let values = rows
        .iter()
        .filter_map(|&row| view.of_row(row, &metric.in_row()));
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        (least, most) = (least.min(value), most.max(value));
    }
    let [low, high] = [least, most].map(|value| metric.show(Some(value)));
    match (least.is_finite(), low == high) {
        (false, _) => String::new(),
        (true, true) => format!(" ({low})"),
        (true, false) => format!(" ({low} to {high})"),
    }
}

/// `a, b and c`; `None` of nothing.
fn listed<T: AsRef<str>>(names: &[T]) -> Option<String> {
    let (last, most) = names.split_last()?;
    let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
    Some(match &most[..] {
        [] => last.as_ref().to_owned(),
        most => format!("{} and {}", most.join(", "), last.as_ref()),
    })
}

/// A share in percent; the nearer to all of it, the more digits, so that 99.98% is not 100%.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 99.0 {
        format!("{percent:.2}%")
    } else {
        format!("{percent:.1}%")
    }
}

/// `12.3% less (9.1% to 15.2%)`.
pub(in super::super) fn less(relation: &Relation) -> String {
    format!(
        "{} less ({} to {})",
        percent(1.0 - relation.ratio),
        percent(1.0 - relation.high),
        percent(1.0 - relation.low)
    )
}

/// What is found of a metric, as a part of a sentence.
pub(super) fn clause(
    view: &View<'_>,
    candidates: &[usize],
    metric: &Metric,
    found: &Finding,
) -> String {
    let name = metric.title;
    let behind = |rows: &[usize]| {
        let rest: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|row| !rows.contains(row))
            .filter(|&row| is_compared(view, row, candidates, metric))
            .collect();
        let figures: Vec<String> = rest
            .iter()
            .map(|&row| with_figure(view, row, metric))
            .collect();
        listed(&figures).map_or_else(String::new, |rest| format!(", ahead of {rest}"))
    };
    match found {
        Finding::Wins {
            row,
            against,
            relation,
        } => {
            let figure = view
                .figure(*row, metric)
                .map(|figure| format!(" with {figure}"));
            let waits = waits(view, *row, metric).map(|waits| format!(" ({waits})"));
            format!(
                "{} wins on {name}{}{}, {} than {}",
                names(view, &[*row]),
                figure.unwrap_or_default(),
                waits.unwrap_or_default(),
                less(relation),
                names(view, &[*against])
            )
        }
        Finding::Same { rows } => format!(
            "{} are alike {} on {name}{}{}",
            names(view, rows),
            within(view, rows, metric),
            range(view, rows, metric),
            behind(rows)
        ),
        Finding::Undecided { rows, .. } => format!(
            "{name} is undecided between {}{}{}",
            names(view, rows),
            range(view, rows, metric),
            behind(rows)
        ),
        Finding::NotCompared => format!("{name} is not compared"),
    }
}

/// Within what rows are alike: the widest of any two.
fn within(view: &View<'_>, rows: &[usize], metric: &Metric) -> String {
    let [first, .., last] = rows else {
        return String::new();
    };
    let (a, b) = (view.rows[*first], view.rows[*last]);
    let relation = Relation::find(view.record, metric.key, a, b);
    relation.map_or_else(String::new, |found| found.within(metric))
}

fn is_compared(view: &View<'_>, row: usize, candidates: &[usize], metric: &Metric) -> bool {
    candidates.iter().any(|&other| {
        let (a, b) = (view.rows[row], view.rows[other]);
        a != b && Relation::find(view.record, metric.key, a, b).is_some()
    })
}

fn where_candidates_are(view: &View<'_>, candidates: &[usize]) -> String {
    let Some(Variant { side, point }) = candidates.first().map(|&row| view.rows[row]) else {
        return String::new();
    };
    match point {
        Some(point) => format!(" ({}, at {point})", side.profile),
        None => format!(" ({})", side.profile),
    }
}

pub(super) fn latency(view: &View<'_>, candidates: &[usize], findings: &[Finding]) -> String {
    let clauses = clauses(view, candidates, findings).take(LATENCIES);
    let place = where_candidates_are(view, candidates);
    format!(
        "Latency{place}: {}.",
        clauses.collect::<Vec<_>>().join("; ")
    )
}

pub(super) fn cost(view: &View<'_>, candidates: &[usize], findings: &[Finding]) -> String {
    let clauses = clauses(view, candidates, findings).skip(LATENCIES);
    let place = where_candidates_are(view, candidates);
    format!("Cost{place}: {}.", clauses.collect::<Vec<_>>().join("; "))
}

fn clauses(
    view: &View<'_>,
    candidates: &[usize],
    findings: &[Finding],
) -> impl Iterator<Item = String> {
    let of = |(metric, found)| clause(view, candidates, metric, found);
    named(&DECISIVE).zip(findings).map(of)
}

/// How sure the two sentences before are.
pub(super) fn certainty(view: &View<'_>) -> String {
    let comparisons = &view.record.comparisons;
    let rounds = |pick: fn(u32, u32) -> u32| {
        let rounds = comparisons.iter().map(|pair| pair.rounds);
        rounds.reduce(pick).unwrap_or(0)
    };
    let (least, most) = (rounds(u32::min), rounds(u32::max));
    let rounds = if least == most {
        format!("{least}")
    } else {
        format!("{least} to {most}")
    };
    format!(
        "How sure: a winner is named where the {:.0}% interval of the ratio over {rounds} paired \
         trials excludes no difference, 'alike' where it lies within the smallest that matters; the three \
         that decide (p50, p99, CPU) are corrected for being three, the others for nothing; {}.",
        crate::analysis::compare::CONFIDENCE * 100.0,
        lower_first(trials_in_words(view).trim_end_matches('.'))
    )
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

/// How many trials are valid, suspect, void.
pub(in super::super) fn trials_in_words(view: &View<'_>) -> String {
    let trials = &view.record.trials;
    let meaning = |verdict: Verdict| match verdict {
        Verdict::Valid => "",
        Verdict::Suspect => " (something may have skewed the numbers)",
        Verdict::Void => " (they say nothing about the server)",
    };
    let kinds: Vec<(Verdict, usize)> = [Verdict::Valid, Verdict::Suspect, Verdict::Void]
        .into_iter()
        .map(|kind| {
            let of_it = trials.iter().filter(|trial| trial.validity.verdict == kind);
            (kind, of_it.count())
        })
        .filter(|&(_, n)| n > 0)
        .collect();
    match (&kinds[..], trials.len()) {
        ([], _) => "There is no trial.".to_owned(),
        ([(kind, _)], 1) => format!("The one trial is {kind}{}.", meaning(*kind)),
        ([(kind, _)], all) => format!("All {all} trials are {kind}{}.", meaning(*kind)),
        (kinds, all) => {
            let parts = kinds.iter();
            let parts = parts.map(|(kind, n)| {
                let are = if *n == 1 { "is" } else { "are" };
                format!("{n} {are} {kind}{}", meaning(*kind))
            });
            let parts: Vec<String> = parts.collect();
            format!("Of {all} trials, {}.", parts.join(" and "))
        }
    }
}

pub(super) fn why_no_winner(view: &View<'_>, candidates: &[usize]) -> String {
    let trials = view.record.summary.iter().map(|row| row.trials).max();
    let run = &view.record.scenario.run;
    let more = match run.trials {
        Some(_) => format!("run at least {MIN_ROUNDS} ('--trials {MIN_ROUNDS}')"),
        // Without a number of trials, a run ends with its budget.
        None => format!(
            "the budget of {} s ends before {MIN_ROUNDS} rounds: raise '--budget'",
            run.budget_s
        ),
    };
    match (trials, candidates.len()) {
        (None, _) => "No winner is named: no trial was run.".to_owned(),
        (Some(_), 0 | 1) => {
            "No winner is named: it takes two transports besides the baseline.".to_owned()
        }
        (Some(1), _) => format!(
            "No winner is named: one trial of each cannot separate a difference from noise; {more}."
        ),
        (Some(n), _) if (n as usize) < MIN_ROUNDS => format!(
            "No winner is named: {n} trials of each are too few to separate a difference from noise; {more}."
        ),
        (Some(_), _) => format!(
            "No winner is named: no two transports have {MIN_ROUNDS} rounds in which neither is \
             void; the reasons are listed with each trial."
        ),
    }
}

/// What the targets could not be measured by, each with why.
pub(super) fn not_tested(view: &View<'_>) -> impl Iterator<Item = String> {
    let trials = &view.record.trials;
    let lacking = [Capability::Cursor, Capability::PublishReport].into_iter();
    let lacking = lacking.filter(move |&lack| trials.iter().any(|trial| !trial.has(lack)));
    lacking.map(|lack| {
        let metrics = all().filter(|metric| metric.capability == Some(lack));
        let titles: Vec<&str> = metrics.map(|metric| metric.title).collect();
        format!(
            "{}: not tested: {}.",
            capitalised(&titles.join(", ")),
            lack.lacking()
        )
    })
}

/// A receipt so much of the phase later than its end makes the rate received look like a loss.
const LATE: f64 = 0.01;

/// Rows that received all that they were owed, but some of it so late that their rate looks like a loss: it is
/// counted to the last receipt.
pub(super) fn late_receipts(view: &View<'_>) -> Option<String> {
    let phase_s = view.record.scenario.phases.measure_s;
    let late_s = |trial: &Trial| {
        let received = trial.deliveries.received as f64;
        let whole = trial.deliveries.missing == Some(0);
        let seconds = received / trial.throughput.received_per_s.filter(|rate| *rate > 0.0)?;
        Some(seconds - phase_s).filter(|late| whole && *late > LATE * phase_s)
    };
    let mut most = 0.0_f64;
    let of = |row: &Variant| {
        let mut trials = view.trials_of(row).map(|place| &view.record.trials[place]);
        trials.try_fold(0.0, |most: f64, trial| Some(most.max(late_s(trial)?)))
    };
    let late = view.rows.iter().filter_map(|row| {
        most = most.max(of(row)?);
        Some(row.to_string())
    });
    let late = listed(&late.collect::<Vec<_>>())?;
    Some(format!(
        "All that was owed to {late} arrived, the last of it up to {} s after the measure phase; the rate \
         received is over that time, too.",
        three(most)
    ))
}

/// The least that was seen, called what it is. It takes two rows to have a least; rows that are void are
/// no witness, and are named, since a table may show a figure of theirs.
pub(super) fn observed(view: &View<'_>, candidates: &[usize]) -> String {
    let (rows, void): (Vec<usize>, Vec<usize>) =
        candidates.iter().partition(|&&row| view.is_witness(row));
    let least = |metric: &Metric| {
        let of = |row: &usize| Some((view.of_row(*row, &metric.in_row())?, *row));
        let mut found: Vec<(f64, usize)> = rows.iter().filter_map(of).collect();
        found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let [(least, row), (next, _), ..] = found[..] else {
            return None;
        };
        // A figure that another row shares is nobody's.
        let figure = view.figure(row, metric).filter(|_| least < next)?;
        Some(format!(
            "{} ({}, {figure})",
            metric.title,
            names(view, &[row])
        ))
    };
    let seen: Vec<String> = named(&DECISIVE).filter_map(least).collect();
    let left_out = match void.len() {
        0 => String::new(),
        1 => format!("; {} has a void trial and is left out", names(view, &void)),
        _ => format!("; {} have void trials and are left out", names(view, &void)),
    };
    match (seen.len(), rows.len()) {
        (0, 0) => "No valid rows to compare.".to_owned(),
        (0, 1) => format!("{} has nothing to be compared with.", names(view, &rows)),
        (0, _) => format!("No row has less of anything than every other{left_out}."),
        _ => format!(
            "Lowest{}, which may be chance: {}{left_out}.",
            where_candidates_are(view, candidates),
            seen.join(", ")
        ),
    }
}

/// What the board says of a finding: who, and by how much or why not.
pub(in super::super) fn board(
    view: &View<'_>,
    metric: &Metric,
    found: &Finding,
) -> (String, String) {
    match found {
        Finding::Wins {
            row,
            against,
            relation,
        } => {
            let figure = view.figure(*row, metric).unwrap_or_default();
            (
                names(view, &[*row]),
                format!(
                    "{figure}, {} than {}",
                    less(relation),
                    names(view, &[*against])
                ),
            )
        }
        Finding::Same { rows } => (
            names(view, rows),
            format!("alike {}", within(view, rows, metric)),
        ),
        Finding::Undecided { rows, more_trials } => (
            "undecided".to_owned(),
            match more_trials {
                Some(more) => format!(
                    "between {}; some {more} more trials would decide",
                    names(view, rows)
                ),
                None => format!("between {}", names(view, rows)),
            },
        ),
        Finding::NotCompared => ("not compared".to_owned(), why_not(view, metric)),
    }
}

fn why_not(view: &View<'_>, metric: &Metric) -> String {
    if view.record.comparisons.is_empty() {
        format!("needs {MIN_ROUNDS} rounds that are not void")
    } else if metric.key.contains("memory") {
        format!(
            "not measured in every trial; a slope needs {} clients",
            count(crate::record::MIN_CLIENTS_FOR_SLOPE)
        )
    } else {
        "not measured in every trial".to_owned()
    }
}
