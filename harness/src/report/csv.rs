//! `--format csv`: one tidy table (RFC 4180), a row a trial, every number of it under the record's own
//! key. What holds for the whole run stands in each row, so that tables of several runs can be put
//! together. Nothing is rounded; a value that there is not is an empty field.

use std::collections::{HashMap, HashSet};

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
                of_run.push((key, field(leaf)));
            }
        }
    }
    let rows: Vec<Vec<(String, String)>> = match tree.at("trials") {
        Some(Tree::List(trials)) => trials.iter().map(fields).collect(),
        _ => Vec::new(),
    };
    let mut columns: Vec<&str> = Vec::new();
    let mut known = HashSet::new();
    let keys = || rows.iter().flatten().map(|(key, _)| key.as_str());
    columns.extend(keys().filter(|&key| known.insert(key)));
    // A part that one trial has and another has not is `null` there: the columns of the part are
    // then empty, and `null` itself is not a column.
    let parts: HashSet<&str> = keys()
        .flat_map(|key| key.match_indices('.').map(|(end, _)| &key[..end]))
        .collect();
    columns.retain(|key| !parts.contains(key));
    let mut out = String::new();
    let of_run_keys = of_run.iter().map(|(key, _)| key.as_str());
    line(&mut out, columns.iter().copied().chain(of_run_keys));
    for row in &rows {
        let values: HashMap<&str, &str> = row.iter().map(|(k, v)| (&**k, &**v)).collect();
        let value = |key| values.get(key).copied().unwrap_or_default();
        let of_run = of_run.iter().map(|(_, value)| value.as_str());
        line(&mut out, columns.iter().map(value).chain(of_run));
    }
    out
}

/// A value as a field. A text that a spreadsheet would take for a formula begins with an apostrophe,
/// which it takes for the mark of a text (OWASP, CSV injection).
fn field(leaf: &Tree) -> String {
    let text = leaf.text().unwrap_or_default();
    match leaf {
        Tree::Text(_) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        _ => text,
    }
}

/// Fields of a trial. Checks stand under their name rather than their place, and reasons, which are
/// sentences, in one field.
fn fields(trial: &Tree) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (key, leaf) in trial.leaves("", '.') {
        if !SERIES.iter().any(|series| key.starts_with(series)) {
            out.push((key, field(leaf)));
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
                    out.push((key, field(leaf)));
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
