//! `--format md`: GitHub-flavoured Markdown, for a pull request, a job summary or a README.
//!
//! The same words and tables as the page, without charts. Text from outside is escaped, so that
//! a scenario cannot put markup into a page that shows it.

use std::fmt::Write;

use super::answer::{Answer, answer, board, trials_in_words};
use super::columns::{COST, Column, DELIVERY, DIFFERENCE, LEDGER, of_rows};
use super::doubts::doubts;
use super::measures;
use super::repeat::repeat;
use super::view::View;
use crate::analysis::compare::Comparison;
use crate::text::{code_block, code_span, markdown as escape};

/// The whole report.
pub(super) fn render(view: &View<'_>) -> String {
    let record = view.record;
    let found = answer(view);
    let mut out = format!("# {}\n\n", escape(&record.scenario.name));
    let _ = writeln!(out, "{}\n", escape(&record.scenario.summary));
    out += &in_words(view, &found);
    for table in measures::tables(view) {
        let _ = write!(out, "\n## {}\n\n{}", table.title, measure(view, table));
    }
    for (title, text) in [
        ("Deliveries and latency", summary(view, &of_rows(DELIVERY))),
        ("Cost", summary(view, &of_rows(COST))),
        ("Delivery ledger", summary(view, &of_rows(LEDGER))),
        ("Differences", differences(view)),
        ("Verdicts", verdicts(view)),
        ("Environment", environment(view)),
        ("To repeat this run", command(view)),
    ] {
        let _ = write!(out, "\n## {title}\n\n{text}");
    }
    out
}

/// Scenario, answer and board.
pub(super) fn in_words(view: &View<'_>, found: &Answer) -> String {
    let mut out = format!("{}\n\n", escape(&found.scenario));
    for sentence in &found.sentences {
        let _ = writeln!(out, "- {}", escape(sentence));
    }
    if !view.record.comparisons.is_empty() {
        out += "\n| metric | winner | by how much |\n|---|---|---|\n";
        for (metric, finding) in found.board() {
            let (who, how) = board(view, metric, finding);
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                metric.title,
                escape(&who),
                escape(&how)
            );
        }
    }
    if let Some(certainty) = &found.certainty {
        let _ = write!(out, "\n{}\n", escape(certainty));
    }
    out
}

/// The tables of the named measures, without their titles.
pub(super) fn named(view: &View<'_>) -> String {
    let tables: Vec<String> = measures::tables(view)
        .map(|table| measure(view, table))
        .collect();
    match tables.as_slice() {
        [] => "The scenario names no measure besides latency and cost.\n".to_owned(),
        tables => tables.join("\n"),
    }
}

fn measure(view: &View<'_>, table: &measures::Table) -> String {
    let figures = summary(view, &table.columns_in(view));
    format!("{figures}\n{}\n", table.note)
}

/// A table of the summary.
pub(super) fn summary(view: &View<'_>, columns: &[Column]) -> String {
    let rows = view.rows.iter().enumerate();
    let rows: Vec<(String, String)> = rows
        .map(|(place, key)| (key.to_string(), format!("summary/{place}")))
        .collect();
    table(view, "transport", &rows, columns)
}

fn table(view: &View<'_>, first: &str, rows: &[(String, String)], columns: &[Column]) -> String {
    if rows.is_empty() {
        return "No trial was run.\n".to_owned();
    }
    let mut out = format!("| {first} |");
    for column in columns {
        let _ = write!(out, " {} |", escape(&column.title()));
    }
    out += "\n|---|";
    for column in columns {
        out += if column.is_number() { "---:|" } else { "---|" };
    }
    for (name, place) in rows {
        let _ = write!(out, "\n| {} |", escape(name));
        for column in columns {
            let value = view.tree.at(&format!("{place}/{}", column.key));
            let _ = write!(out, " {} |", escape(&column.show.text(value)));
        }
    }
    out + "\n"
}

/// The primary metrics of every pair that the record compares, and those of named measures.
pub(super) fn differences(view: &View<'_>) -> String {
    let mut rows = Vec::new();
    for (place, Comparison { pair, metrics, .. }) in view.record.comparisons.iter().enumerate() {
        for (metric, found) in metrics.iter().enumerate() {
            let at = format!("comparisons/{place}/metrics/{metric}");
            if found.is_headline() {
                rows.push((format!("{} / {}", pair.a.at(pair.point), pair.b), at));
            }
        }
    }
    if rows.is_empty() {
        return format!(
            "The record compares nothing: that needs {} rounds that are not void.\n",
            crate::analysis::compare::MIN_ROUNDS
        );
    }
    table(view, "pair", &rows, DIFFERENCE)
}

/// Why trials are not valid.
pub(super) fn verdicts(view: &View<'_>) -> String {
    let mut out = format!("{}\n", trials_in_words(view));
    for doubt in doubts(view.record) {
        let _ = write!(
            out,
            "\n- **{}**: {}\n  - {}: {}",
            doubt.verdict,
            escape(&doubt.of()),
            escape(&doubt.reason.check),
            escape(&doubt.message())
        );
        if !doubt.reason.remedy.is_empty() {
            let _ = write!(out, "; {}", escape(&doubt.reason.remedy));
        }
    }
    if out.ends_with('\n') { out } else { out + "\n" }
}

/// Machine and settings, key by key.
pub(super) fn environment(view: &View<'_>) -> String {
    let mut out = "| key | value |\n|---|---|\n".to_owned();
    let tree = view.tree.at("environment");
    for (key, value) in tree.map(|tree| tree.leaves("", '.')).unwrap_or_default() {
        let text = value.text().filter(|text| !text.is_empty());
        let text = text.map_or_else(
            || crate::text::figure::NONE.to_owned(),
            |text| escape(&text),
        );
        let _ = writeln!(out, "| {key} | {text} |");
    }
    out
}

/// What repeats the run.
pub(super) fn command(view: &View<'_>) -> String {
    let again = repeat(view);
    let mut out = code_block("", &again.command);
    if let Some((name, text)) = again.file {
        let (name, file) = (code_span(&name), code_block("toml", &text));
        let _ = write!(out, "\nwith the file {name}:\n\n{file}");
    }
    out
}
