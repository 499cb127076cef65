//! The scoreboard on the terminal, below the answer: every candidate and every metric that decides, at a
//! glance.
//!
//! In: the answer and the record's comparisons. Nothing is decided here.

use super::answer::{Answer, Finding};
use super::relation::Relation;
use super::table::{Shown, heading};
use super::view::View;
use crate::analysis::compare::Says;
use crate::metrics::Metric;
use crate::record::Variant;
use crate::text::figure::NONE;
use crate::text::paragraph;
use crate::text::table::{bare, lines};

/// A row for each candidate and a column for each metric that decides: the figure, how many times the best it
/// is, and whether that is decided. The baseline stands apart.
pub(super) fn render(out: &mut String, view: &View<'_>, found: &Answer, width: u16) {
    if found.certainty.is_none() {
        return;
    }
    let first = found.candidates.first().map(|&row| view.rows[row]);
    let is_baseline =
        |row: &Variant| first.is_some_and(|first| *row == first.side.baseline().at(first.point));
    let baseline = view.rows.iter().position(is_baseline);
    let rows: Vec<usize> = found.candidates.iter().copied().chain(baseline).collect();
    let names = rows
        .iter()
        .map(|&row| match found.candidates.contains(&row) {
            true => view.rows[row].side.to_string(),
            false => format!("({})", view.rows[row].side),
        });
    let mut columns = vec![Shown::new("transport", names)];
    for (metric, finding) in found.board() {
        if *finding != Finding::NotCompared {
            let best = best(view, &found.candidates, metric);
            let cells = rows.iter().map(|&row| score(view, row, best, metric));
            let name = metric.title.split(" per ").next().unwrap_or_default();
            columns.push(Shown::new(&heading(name, &metric.unit_text()), cells));
        }
    }
    let mut table = bare(columns.iter().map(|column| &column.heading));
    for row in 0..rows.len() {
        table.add_row(columns.iter().map(|column| &column.cells[row]));
    }
    out.push_str("\nscoreboard\n\n");
    lines(out, table, 1, usize::MAX);
    out.push('\n');
    let note = "Each figure, and how many times the best it is; = alike, ? undecided. In brackets: the \
                baseline, a bare socket.";
    paragraph(out, width, "", note);
}

/// The candidate with the least of a metric.
fn best(view: &View<'_>, candidates: &[usize], metric: &Metric) -> Option<(usize, f64)> {
    let of = |&row: &usize| Some((row, view.of_row(row, &metric.in_row())?));
    let all = candidates.iter().filter_map(of);
    all.min_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// A cell of the scoreboard.
fn score(view: &View<'_>, row: usize, best: Option<(usize, f64)>, metric: &Metric) -> String {
    let Some(value) = view.of_row(row, &metric.in_row()) else {
        return NONE.to_owned();
    };
    let figure = metric.figure(Some(value));
    let Some((least_row, least)) = best.filter(|(_, least)| *least > 0.0) else {
        return figure;
    };
    let relation = Relation::find(
        view.record,
        metric.key,
        view.rows[row],
        view.rows[least_row],
    );
    let mark = match relation.map(|found| found.says) {
        Some(Says::Alike) => "=",
        Some(Says::Undecided) => "?",
        Some(Says::Different) | None => "",
    };
    let times = value / least;
    let digits = if times < 9.95 { 2 } else { 0 };
    format!("{figure} ×{times:.digits$}{mark}")
}
