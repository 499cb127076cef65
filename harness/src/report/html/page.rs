//! The page: its head, its sections in order, and what stands in them as words and tables.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::answer::{Answer, Finding, answer, board};
use super::super::columns::{
    CHECK, COST, DELIVERY, DIFFERENCE, LEDGER, MEMORY_POINT, Show, TRIAL_LEDGER, of_rows, of_trials,
};
use super::super::doubts::doubts;
use super::super::measures;
use super::super::repeat::repeat;
use super::super::tree::Tree;
use super::super::view::View;
use super::table::{Row, boxed, cell, fold, summary_rows, swatch, table, trial_rows, verdict};
use super::{cost, growth, latency, moments};
use crate::analysis::compare::Comparison;
use crate::record::{Variant, Verdict};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// So many reasons are shown at once; more are in a fold.
const OPEN_REASONS: usize = 12;

/// The page of a record, with the logs in `folder`, the folder of its run.
pub(in super::super) fn render(view: &View<'_>, folder: Option<&Path>) -> String {
    let record = view.record;
    let answer = answer(view);
    let title = format!("{}: pushbench report", record.scenario.name);
    let sections = sections(view, folder);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Whatever a record may hold, this page asks nobody for anything.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.brand { "pushbench " (record.tool.version)
                        @if let Some(revision) = &record.tool.revision { " · " (revision) }
                        " · " (record.environment.started_utc) }
                    h1 { (record.scenario.name) " " (verdict(record.verdict().id())) }
                    p.lead { (record.scenario.summary) }
                }
                nav aria-label="Sections" { ul {
                    li { a href="#answer" { "Answer" } }
                    @for (id, title, _) in &sections { li { a href=(format!("#{id}")) { (title) } } }
                } }
                main {
                    section #answer { (the_answer(view, &answer)) }
                    @for (id, title, inside) in &sections {
                        section id=(id) { h2 { (title) } (inside) }
                    }
                }
                footer { p {
                    "Every number of this page carries its exact value, and its place in the record, in \
                     the page's source. A dash means that there are too few samples, or that the figure \
                     cannot be measured here. METHODOLOGY.md of pushbench says how each is measured."
                } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// Id, title and content of every section for which the record has something.
fn sections(view: &View<'_>, folder: Option<&Path>) -> Vec<(&'static str, &'static str, Markup)> {
    let curves = view.distributions(folder);
    let growth = growth::growth(view);
    // A search for limits has trials, but no row that adds them up.
    let rows = !view.rows.is_empty();
    let sections = [
        (
            "latency",
            "Latency by percentile",
            rows.then(|| latency::percentiles(view, &curves)),
        ),
        (
            "time",
            "Latency over time",
            rows.then(|| latency::over_time(view)),
        ),
        (
            "split",
            "Harness, network, server",
            rows.then(|| cost::split(view)),
        ),
        ("cost", "Cost", rows.then(|| cost::section(view))),
        ("growth", "Growth", growth),
        ("connects", "Connects", rows.then(|| cost::connects(view))),
        ("ledger", "Delivery ledger", rows.then(|| ledger(view))),
        ("verdicts", "Verdicts", Some(verdicts(view))),
        ("differences", "Differences", Some(differences(view))),
        ("environment", "Environment", Some(environment(view))),
        ("repeat", "To repeat this run", Some(again(view))),
        ("numbers", "All numbers", Some(numbers(view))),
    ];
    // What the scenario is about comes before what every scenario has.
    let measured = measures::tables(view).map(|found| {
        let columns = found.columns_in(view);
        let inside = html! {
            (table(view, found.title, "transport", &summary_rows(view), &columns))
            p.note { (found.note) }
        };
        (found.id, found.title, Some(inside))
    });
    let moments = ("moments", "The server over time", moments::section(view));
    measured
        .chain([moments])
        .chain(sections)
        .filter_map(|(id, title, inside)| Some((id, title, inside?)))
        .collect()
}

fn the_answer(view: &View<'_>, answer: &Answer) -> Markup {
    let scenario = &view.record.scenario;
    html! {
        h2 { "The answer" }
        p.scenario { (answer.scenario) }
        ol.answer { @for sentence in &answer.sentences { li { (sentence) } } }
        @if answer.findings.iter().any(|found| *found != Finding::NotCompared) {
            div.board { @for (metric, found) in answer.board() {
                @let (who, how) = board(view, metric, found);
                div class=(match found {
                    Finding::Wins { .. } => "card wins",
                    Finding::Same { .. } => "card same",
                    _ => "card open",
                }) {
                    h3 { (metric.title) }
                    p.who {
                        @if let Finding::Wins { row, .. } = found { (swatch(&view.rows[*row])) }
                        (who)
                    }
                    p { (how) }
                }
            } }
        }
        @if let Some(certainty) = &answer.certainty { p.note { (certainty) } }
        (table(view, "Deliveries and latency", "transport", &summary_rows(view), &of_rows(DELIVERY)))
        (table(view, "Cost", "transport", &summary_rows(view), &of_rows(COST)))
        p.note {
            "last: from the intended publish time to the last subscriber. other CPU: what the \
             machine did that neither server nor harness was charged with. KB: 1,000 bytes. tcp is the \
             floor that the others are held against, and no candidate."
        }
        (fold("What this scenario is for, and what it cannot show", false, &html! {
            p { (scenario.purpose) }
            p { strong { "It cannot show: " } (scenario.cannot_show) }
        }))
    }
}

fn ledger(view: &View<'_>) -> Markup {
    html! {
        p { "What was owed and what arrived, by the ledgers of all clients: missing, duplicated and out \
             of order are counted over every trial." }
        (table(view, "Delivery ledger, sums over trials", "transport", &summary_rows(view), &of_rows(LEDGER)))
        (fold("Trial by trial", false, &table(
            view, "Delivery ledger of each trial", "trial", &trial_rows(view), &of_trials(TRIAL_LEDGER),
        )))
    }
}

fn verdicts(view: &View<'_>) -> Markup {
    let trials = &view.record.trials;
    let reasons = doubts(view.record);
    let cells = trials.iter().map(|trial| {
        let verdict = trial.validity.verdict;
        ((trial.variant, trial.index), verdict)
    });
    let cells: BTreeMap<(Variant, u32), Verdict> = cells.collect();
    // Those that there are: a number in a file may be any.
    let rounds: BTreeSet<u32> = trials.iter().map(|trial| trial.index).collect();
    html! {
        p { (super::super::answer::trials_in_words(view)) }
        (boxed("Verdict of every trial", &html! {
            thead { tr {
                th scope="col" { "transport" }
                @for round in &rounds { th scope="col" { "trial " (round) } }
            } }
            tbody { @for key in &view.rows { tr {
                th scope="row" { (swatch(key)) (key.to_string()) }
                @for &round in &rounds {
                    td { @match cells.get(&(*key, round)) {
                        Some(found) => (verdict(found.id())),
                        None => "–",
                    } }
                }
            } } }
        }))
        @if !reasons.is_empty() {
            (fold("Reasons", reasons.len() <= OPEN_REASONS, &html! {
                dl.reasons { @for doubt in &reasons {
                    dt { (verdict(doubt.verdict.id())) " " (doubt.of()) }
                    dd { code { (doubt.reason.check) } ": " (doubt.message())
                        @if !doubt.reason.remedy.is_empty() { "; " em { (doubt.reason.remedy) } } }
                } }
            }))
        }
        (fold("Every check of every trial", false, &checks(view)))
    }
}

fn checks(view: &View<'_>) -> Markup {
    let rows: Vec<Row> = view
        .record
        .trials
        .iter()
        .enumerate()
        .flat_map(|(place, trial)| {
            let checks = 0..trial.validity.checks.len();
            checks.map(move |check| Row {
                name: view.record.trials[place].label(),
                key: None,
                place: format!("/trials/{place}/validity/checks/{check}"),
            })
        })
        .collect();
    table(view, "Checks of the audit", "trial", &rows, CHECK)
}

fn differences(view: &View<'_>) -> Markup {
    let comparisons = &view.record.comparisons;
    if comparisons.is_empty() {
        return html! { p {
            "The record compares nothing: a difference needs "
            (crate::analysis::compare::MIN_ROUNDS)
            " rounds in which neither of two rows is void. '--trials "
            (crate::analysis::compare::MIN_ROUNDS)
            "' runs as many, '--trials auto' goes on until each difference is decided."
        } };
    }
    let rows: Vec<Row> = comparisons
        .iter()
        .enumerate()
        .flat_map(|(place, Comparison { pair, metrics, .. })| {
            let name = format!("{} / {}", pair.a.at(pair.point), pair.b);
            (0..metrics.len()).map(move |metric| Row {
                name: name.clone(),
                key: None,
                place: format!("/comparisons/{place}/metrics/{metric}"),
            })
        })
        .collect();
    let metrics = comparisons.iter().flat_map(|pair| &pair.metrics);
    let foremost: Vec<Row> = rows
        .iter()
        .zip(metrics)
        .filter(|(_, metric)| metric.is_headline())
        .map(|(row, _)| row.clone())
        .collect();
    let open = foremost.len() <= 30;
    html! {
        p {
            "Ratios of the first over the second, paired by round. "
            em { "different" } ": the interval excludes 1; "
            em { "alike" } ": the difference is below what matters (5%, or 1 ms, 1 KB a client, 16 bytes a \
            delivery, unless the scenario says otherwise); "
            em { "undecided" } ": neither. Primary metrics are corrected for being three, the others for \
            nothing."
        }
        (fold("Foremost metrics of every pair", open, &table(
            view,
            "Primary metrics (p50, p99, server CPU per delivery), and the scenario's own measures",
            "pair", &foremost, DIFFERENCE,
        )))
        (fold("All metrics of every pair", false, &table(
            view, "All metrics", "pair", &rows, DIFFERENCE,
        )))
    }
}

/// A list of keys and values of a part of the record.
fn keys(view: &View<'_>, caption: &str, place: &str, without: &[&str]) -> Markup {
    let leaves = view.tree.at(place).map(|tree| tree.leaves("", '/'));
    let leaves = leaves.unwrap_or_default().into_iter();
    let leaves = leaves.filter(|(key, _)| !without.contains(&key.as_str()));
    boxed(
        caption,
        &html! {
            thead { tr { th scope="col" { "key" } th.n scope="col" { "value" } } }
            tbody { @for (key, value) in leaves {
                tr data-at=(format!("/{place}/{key}")) {
                    th scope="row" { (key.replace('/', ".")) }
                    @match value {
                        Tree::Number(_) => (cell(Some(value), Show::Over(1.0))),
                        Tree::Null => td.n.none { "–" },
                        other => td.n { (other.text().unwrap_or_default()) },
                    }
                }
            } }
        },
    )
}

fn environment(view: &View<'_>) -> Markup {
    html! {
        div.pair {
            (keys(view, "Machine and settings", "environment", &[]))
            (keys(view, "Scenario as it ran", "scenario",
                &["name", "summary", "purpose", "cannot_show"]))
        }
    }
}

fn again(view: &View<'_>) -> Markup {
    let again = repeat(view);
    html! {
        @if let Some((name, _)) = &again.file {
            p { "With the file below saved as " code { (name) } ":" }
        }
        pre tabindex="0" role="region" aria-label="Command that repeats the run" { code { (again.command) } }
        @if let Some((name, text)) = &again.file {
            pre tabindex="0" role="region" aria-label=(format!("The file {name}")) { code { (text) } }
        }
        p.note { "On another machine the numbers will be others; the order of trials and the payloads \
                  follow from the seed. Schema version " (view.record.schema_version) "." }
    }
}

/// Keys of a trial that have tables of their own, or are no numbers of one column.
const ELSEWHERE: [&str; 4] = [
    "latency_over_time_ns/",
    "validity/",
    "server/memory/points/",
    "server/memory/method",
];

fn numbers(view: &View<'_>) -> Markup {
    let leaves = |list: &str| -> Vec<String> {
        let (mut keys, mut known) = (Vec::new(), HashSet::new());
        if let Some(Tree::List(rows)) = view.tree.at(list) {
            for (key, _) in rows.iter().flat_map(|row| row.leaves("", '/')) {
                let is_elsewhere = ELSEWHERE.iter().any(|prefix| key.starts_with(prefix));
                if !is_elsewhere && known.insert(key.clone()) {
                    keys.push(key);
                }
            }
        }
        keys
    };
    let whole = |caption: &str, list: &str, rows: &[Row]| {
        let keys = leaves(list);
        let keys: Vec<&String> = keys
            .iter()
            .filter(|key| !["transport", "profile"].contains(&key.as_str()))
            .collect();
        boxed(
            caption,
            &html! {
                thead { tr {
                    th scope="col" { (list.trim_end_matches('s')) }
                    @for key in &keys {
                        th.n scope="col" data-key=(key) data-scale="1" { (key.replace('/', ".")) }
                    }
                } }
                tbody { @for row in rows { tr data-at=(row.place) {
                    th scope="row" { (row.name) }
                    @for key in &keys {
                        @let value = view.tree.at(&format!("{}/{key}", row.place));
                        @match value {
                            Some(value @ Tree::Number(_)) => (cell(Some(value), Show::Over(1.0))),
                            Some(value) => td.n { (value.text().filter(|t| !t.is_empty())
                                .unwrap_or_else(|| "–".to_owned())) },
                            None => td.n.none { "–" },
                        }
                    }
                } } }
            },
        )
    };
    let point_rows: Vec<Row> = view
        .record
        .trials
        .iter()
        .enumerate()
        .flat_map(|(place, trial)| {
            (0..trial.server.memory.points.len()).map(move |point| Row {
                name: view.record.trials[place].label(),
                key: None,
                place: format!("/trials/{place}/server/memory/points/{point}"),
            })
        })
        .collect();
    html! {
        p { "By the record's own keys and in its own units. The file itself is " code { "run.json" }
            " beside this page; 'pushbench report RUN --format csv' writes the same as a table." }
        (fold("Summary: a row for each transport and profile", false,
            &whole("Summary", "summary", &summary_rows(view))))
        (fold("Trials: a row each", false, &whole("Trials", "trials", &trial_rows(view))))
        (fold("Memory while clients connected", false,
            &table(view, "Readings of memory", "trial", &point_rows, MEMORY_POINT)))
    }
}
