//! `--format csv`: one tidy table (RFC 4180), a row a trial, every number of it under the record's own
//! key. What holds for the whole run stands in each row, so that tables of several runs can be put
//! together. Nothing is rounded; a value that there is not is an empty field.

use super::tree::Tree;
use crate::record::Record;

/// What a run has beside its trials. Summary and comparisons follow from the trials, and prose is no
/// column.
const OF_THE_RUN: [&str; 6] = [
    "schema_version",
    "status",
    "seed",
    "tool",
    "environment",
    "scenario",
];

/// Lists of a trial that are no columns: each would make hundreds. Checks and reasons come by name.
const SERIES: [&str; 3] = [
    "validity.checks.",
    "validity.reasons.",
    "measures.over_time.points.",
];

const PROSE: [&str; 3] = [
    "scenario.summary",
    "scenario.purpose",
    "scenario.cannot_show",
];

/// The table.
pub fn render(record: &Record) -> String {
    let tree = Tree::of(record);
    let mut of_run: Vec<(String, String)> = Vec::new();
    for key in OF_THE_RUN {
        let leaves = tree.at(key).map(|tree| tree.leaves(key, '.'));
        for (key, leaf) in leaves.unwrap_or_default() {
            if !PROSE.contains(&key.as_str()) {
                of_run.push((key, leaf.text().unwrap_or_default()));
            }
        }
    }
    let rows: Vec<Vec<(String, String)>> = match tree.at("trials") {
        Some(Tree::List(trials)) => trials.iter().map(fields).collect(),
        _ => Vec::new(),
    };
    let mut columns: Vec<String> = Vec::new();
    for row in &rows {
        for (key, _) in row {
            if !columns.contains(key) {
                columns.push(key.clone());
            }
        }
    }
    // A part that one trial has and another has not is `null` there: the columns of the part are
    // then empty, and `null` itself is no column.
    let parts = columns.clone();
    columns.retain(|key| {
        !parts
            .iter()
            .any(|other| other.starts_with(&format!("{key}.")))
    });
    let mut out = String::new();
    let of_run_keys = of_run.iter().map(|(key, _)| key.as_str());
    line(
        &mut out,
        columns.iter().map(String::as_str).chain(of_run_keys),
    );
    for row in &rows {
        let value = |key: &String| {
            let field = row.iter().find(|(known, _)| known == key);
            field.map_or("", |(_, value)| value.as_str())
        };
        let of_run = of_run.iter().map(|(_, value)| value.as_str());
        line(&mut out, columns.iter().map(value).chain(of_run));
    }
    out
}

/// Fields of a trial. Checks stand under their name rather than their place, and reasons, which are
/// sentences, in one field.
fn fields(trial: &Tree) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (key, leaf) in trial.leaves("", '.') {
        if !SERIES.iter().any(|series| key.starts_with(series)) {
            out.push((key, leaf.text().unwrap_or_default()));
        }
    }
    if let Some(Tree::List(reasons)) = trial.at("validity/reasons") {
        let messages = reasons
            .iter()
            .filter_map(|reason| reason.at("message")?.text());
        let messages: Vec<String> = messages.collect();
        out.push(("validity.reasons".to_owned(), messages.join("; ")));
    }
    if let Some(Tree::List(checks)) = trial.at("validity/checks") {
        for check in checks {
            let Some(name) = check.at("check").and_then(Tree::text) else {
                continue;
            };
            for (key, leaf) in check.leaves("", '.') {
                if key != "check" {
                    let key = format!("validity.checks.{name}.{key}");
                    out.push((key, leaf.text().unwrap_or_default()));
                }
            }
        }
    }
    out
}

fn line<'a>(out: &mut String, fields: impl Iterator<Item = &'a str>) {
    for (place, field) in fields.enumerate() {
        if place > 0 {
            out.push(',');
        }
        if field.contains([',', '"', '\n', '\r']) {
            out.push('"');
            out.push_str(&field.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(field);
        }
    }
    out.push('\n');
}
