//! A comparison as people read it: text for a terminal of 100 columns, Markdown for a pull request,
//! JSON for programs. Nothing is judged here.

use std::fmt::Write;

use super::judge::percent;
use super::records::{Line, Report, Row, Says};
use crate::analysis::stats::decision::SMALLEST_EFFECT;
use crate::metrics::Role;
use crate::text::figure::NONE;
use crate::text::table::{bare, lines};
use crate::text::{markdown as escape, paragraph};

/// How a comparison is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Form {
    #[default]
    #[value(name = "table")]
    Text,
    Md,
    Json,
}

impl Form {
    /// The comparison, ended by a line end.
    pub fn render(self, report: &Report) -> String {
        match self {
            Self::Text => text(report),
            Self::Md => markdown(report),
            Self::Json => json(report),
        }
    }
}

fn json(report: &Report) -> String {
    // Keys are strings and no type of a report refuses to be written, so this has no error.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}

/// The answer in a sentence.
pub fn answer(report: &Report) -> String {
    if report.identical {
        return "A and B are one and the same record: every line is the same by identity, and no \
                statistics were made."
            .to_owned();
    }
    let named = |says: Says| {
        let lines = report.rows.iter().flat_map(|row| {
            let meant = row.lines.iter().filter(move |l| l.says == says);
            meant.map(move |line| (row, line))
        });
        let primary: Vec<String> = lines
            .clone()
            .filter(|(_, l)| l.primary || l.metric.role == Role::Count)
            .map(|(row, line)| match line.change {
                Some(change) => {
                    format!("{} {} {}", row.pair, line.metric.title, percent(change))
                }
                None => format!("{} {}", row.pair, line.metric.title),
            })
            .collect();
        let of = lines.count() - primary.len();
        match (primary.is_empty(), of) {
            (true, n) => format!("{n} secondary metrics"),
            (false, 0) => primary.join("; "),
            (false, n) => format!("{}; and {n} secondary metrics", primary.join("; ")),
        }
    };
    let t = report.tally;
    let mut text = match t.worse {
        0 => "B against A shows no regressions".to_owned(),
        _ => format!("B against A is worse in {}", named(Says::Worse)),
    };
    if t.better > 0 {
        let _ = write!(text, ". Better in {}", named(Says::Better));
    }
    let _ = write!(
        text,
        ". The same in {} lines, undecided in {}",
        t.same, t.undecided
    );
    let primary = || {
        report
            .rows
            .iter()
            .flat_map(|r| &r.lines)
            .filter(|l| l.primary)
    };
    let open: Vec<&Line> = primary().filter(|l| l.says == Says::Undecided).collect();
    if !open.is_empty() {
        let more = open
            .iter()
            .map(|l| l.more_trials)
            .collect::<Option<Vec<u32>>>();
        let _ = match more.and_then(|m| m.into_iter().max()) {
            Some(more) => write!(
                text,
                ", {} of them primary: some {more} more trials of each side would likely decide",
                open.len()
            ),
            None => write!(
                text,
                ", {} of them primary, some beyond what 1,000 more trials would decide",
                open.len()
            ),
        };
    }
    text + "."
}

fn origins(report: &Report) -> [String; 2] {
    [&report.a, &report.b].map(|o| {
        format!(
            "{} ({}, {}, {})",
            o.label, o.scenario, o.started_utc, o.verdict
        )
    })
}

const MACHINES: &str = "Different machines: the two records were made on machines that are not the same. \
     Times and CPU say as much about these as about what was measured; bytes may be compared.";

fn method(report: &Report) -> String {
    if report.identical {
        return String::new();
    }
    let level = report.rows.iter().flat_map(|r| &r.lines);
    let level = level.filter(|l| l.primary).find_map(|l| l.confidence);
    let paired = report.rows.iter().any(|r| r.paired);
    let how = if paired {
        "paired t-intervals over the rounds of one run"
    } else {
        "Welch's t-intervals of independent trials"
    };
    let level = match level {
        Some(level) => format!(" (each at {}%)", (level * 1e5).round() / 1e3),
        None => String::new(),
    };
    format!(
        "Values: geometric means over the trials that are not void, counts over all. Intervals: {how} \
         on logarithms; those of metrics marked * hold together with {}%{level}, the others each by \
         itself. Same: within {}%.",
        super::CONFIDENCE * 100.0,
        SMALLEST_EFFECT * 100.0
    )
}

fn trials(row: &Row) -> String {
    let void = match row.void {
        [0, 0] => String::new(),
        [a, b] => format!("; void and left out: {a} of A, {b} of B"),
    };
    if row.paired {
        format!("{} rounds{void}", row.trials[0])
    } else {
        format!("{} trials against {}{void}", row.trials[0], row.trials[1])
    }
}

fn interval(line: &Line) -> String {
    match line.low.zip(line.high) {
        Some((low, high)) => format!("{} to {}", percent(low), percent(high)),
        None => NONE.to_owned(),
    }
}

fn change(line: &Line) -> String {
    line.change.map_or_else(|| NONE.to_owned(), percent)
}

/// What the line says, and what would help where it says nothing.
fn says(line: &Line) -> String {
    let id = line.says.id();
    match (line.says, line.more_trials, &line.why) {
        (Says::Undecided, Some(more), Some(why)) => format!("{id}: {why}, +{more}"),
        (Says::Undecided, _, Some(why)) => format!("{id}: {why}"),
        (Says::Undecided, Some(more), None) => format!("{id}, +{more} trials"),
        (Says::Undecided, None, None) => format!("{id}, +1,000 trials or more"),
        _ => id.to_owned(),
    }
}

/// Counts that are 0 on both sides say nothing that a reader needs line by line.
fn shown(line: &&Line) -> bool {
    line.metric.role != Role::Count || line.a != Some(0.0) || line.b != Some(0.0)
}

fn hidden(row: &Row) -> Option<String> {
    let none: Vec<&str> = row
        .lines
        .iter()
        .filter(|l| !shown(l))
        .map(|l| l.metric.title)
        .collect();
    (!none.is_empty()).then(|| format!("none in either: {}", none.join(", ")))
}

fn cells(line: &Line) -> [String; 6] {
    let star = if line.primary { " *" } else { "" };
    [
        format!("{}{star}", line.metric.title),
        line.metric.show(line.a),
        line.metric.show(line.b),
        change(line),
        interval(line),
        says(line),
    ]
}

const HEAD: [&str; 6] = ["metric", "A", "B", "change", "interval", "B is"];

/// Width of the text: what a terminal shows without breaking a line.
const WIDTH: u16 = 100;

fn text(report: &Report) -> String {
    let mut out = String::new();
    let [a, b] = origins(report);
    let _ = writeln!(out, "A: {a}\nB: {b}");
    if report.different_machines {
        out.push('\n');
        paragraph(&mut out, WIDTH, "", MACHINES);
    }
    if !report.differences.is_empty() {
        out.push_str("\nnot the same\n");
        for d in &report.differences {
            paragraph(
                &mut out,
                WIDTH,
                "  ",
                &format!("{}: {} → {}", d.key, d.a, d.b),
            );
        }
    }
    for note in &report.left_out {
        paragraph(&mut out, WIDTH, "", &format!("left out: {note}"));
    }
    for row in &report.rows {
        let _ = writeln!(out, "\n{} ({})\n", row.pair, trials(row));
        let mut table = bare(HEAD);
        for line in row.lines.iter().filter(shown) {
            table.add_row(cells(line));
        }
        lines(&mut out, table, 2, 5);
        if let Some(hidden) = hidden(row) {
            paragraph(&mut out, WIDTH, "  ", &hidden);
        }
    }
    out.push('\n');
    paragraph(&mut out, WIDTH, "", &answer(report));
    let method = method(report);
    if !method.is_empty() {
        paragraph(&mut out, WIDTH, "", &method);
    }
    if !report.gates.is_empty() {
        out.push_str("\ngates\n");
    }
    for gate in &report.gates {
        let holds = if gate.failures.is_empty() {
            "holds"
        } else {
            "FAILED"
        };
        let _ = writeln!(out, "  {}: {holds}", gate.gate);
        for failure in &gate.failures {
            paragraph(&mut out, WIDTH, "    ", failure);
        }
    }
    out
}

/// A pull request's comment, or the summary of a job of GitHub Actions.
fn markdown(report: &Report) -> String {
    let mut out = String::from("## pushbench compare\n\n");
    let [a, b] = origins(report).map(|o| escape(&o));
    let _ = writeln!(out, "A: {a}  \nB: {b}\n");
    if report.different_machines {
        let _ = writeln!(out, "> **{MACHINES}**\n");
    }
    for gate in &report.gates {
        let name = code(&gate.gate);
        if gate.failures.is_empty() {
            let _ = writeln!(out, "- gate {name} holds");
        } else {
            let _ = writeln!(out, "- **gate {name} failed**");
        }
        for failure in &gate.failures {
            let _ = writeln!(out, "  - {}", escape(failure));
        }
    }
    if !report.gates.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "{}\n", escape(&answer(report)));
    if !report.differences.is_empty() {
        out.push_str("| not the same | A | B |\n|---|---|---|\n");
        for d in &report.differences {
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                code(&d.key),
                escape(&d.a),
                escape(&d.b)
            );
        }
        out.push('\n');
    }
    for note in &report.left_out {
        let _ = writeln!(out, "Left out: {}\n", escape(note));
    }
    for row in &report.rows {
        let _ = writeln!(out, "### {} ({})\n", row.pair, trials(row));
        let _ = writeln!(out, "| {} |", HEAD.join(" | "));
        out.push_str("|---|---:|---:|---:|---:|---|\n");
        for line in row.lines.iter().filter(shown) {
            let mut cells = cells(line).map(|cell| escape(&cell));
            if matches!(line.says, Says::Worse | Says::Better) {
                cells[5] = format!("**{}**", cells[5]);
            }
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        if let Some(hidden) = hidden(row) {
            let _ = writeln!(out, "\n{}", escape(&hidden));
        }
        out.push('\n');
    }
    let method = method(report);
    if !method.is_empty() {
        let _ = writeln!(out, "{}", escape(&method));
    }
    out
}

/// Text between backticks; one that holds a backtick, or a bar, is escaped instead.
fn code(text: &str) -> String {
    if text.contains(['`', '|', '\n', '\r']) {
        escape(text)
    } else {
        format!("`{text}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_record_cannot_break_a_table_of_markdown() {
        assert_eq!(
            escape("a|b <script> *x*\n_y_ `z` [l](u)"),
            "a\\|b &lt;script&gt; \\*x\\* \\_y\\_ \\`z\\` \\[l\\](u)"
        );
        assert_eq!(code("p99>+10%"), "`p99>+10%`");
        assert_eq!(code("a`|b"), "a\\`\\|b");
    }
}
