//! An examination for people: a verdict, a table, and for each limit the workaround and the remedy.

use super::{Examination, LimitFound};
use crate::text::figure::{NONE, count};
use crate::text::paragraph;
use std::fmt::Write;

/// Prose is wrapped at this column; rows and commands are not.
const WIDTH: u16 = 100;

/// The text of `found`. Each command is on its own line, to be copied.
pub fn render(found: &Examination) -> String {
    let mut out = verdict(found);
    out.push('\n');
    let number = |value: Option<u64>| value.map_or_else(|| NONE.to_owned(), count);
    let rows: Vec<[String; 5]> = found
        .limits
        .iter()
        .map(|l| {
            [
                l.limit.to_owned(),
                l.value.clone(),
                number(l.alone),
                number(l.allows),
                l.state.id().to_owned(),
            ]
        })
        .collect();
    let headings = ["limit", "value", "alone", "as run", "state"].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&headings]);
        cells
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [0, 1, 2, 3, 4].map(width);
    for row in [&headings].into_iter().chain(&rows) {
        let [limit, value, alone, allows, state] = row;
        let [a, b, c, d, e] = widths;
        let _ = writeln!(
            out,
            "{limit:a$}  {value:b$}  {alone:>c$}  {allows:>d$}  {state:>e$}"
        );
    }
    out.push_str(
        "\nalone: clients that the limit allows on its own. as run: with pushbench's workaround.\n",
    );
    for limit in &found.limits {
        out.push('\n');
        advice(&mut out, limit);
    }
    out
}

fn verdict(found: &Examination) -> String {
    let Examination {
        most, limited_by, ..
    } = found;
    match (found.asked, found.reachable) {
        (true, true) => format!(
            "This machine can hold {} clients; the maximum is {}, set by {limited_by}\n",
            count(found.clients),
            count(*most)
        ),
        (true, false) => format!(
            "This machine cannot hold {} clients: the maximum is {}, set by {limited_by}\n",
            count(found.clients),
            count(*most)
        ),
        (false, _) => format!(
            "This machine can hold at most {} clients, set by {limited_by}\n",
            count(*most)
        ),
    }
}

fn advice(out: &mut String, limit: &LimitFound) {
    let LimitFound {
        limit,
        value,
        raise,
        instead,
        ..
    } = limit;
    paragraph(
        out,
        WIDTH,
        "",
        &format!("{limit}: {value}; pushbench {instead}"),
    );
    if let Some(raise) = raise {
        let _ = writeln!(out, "    {raise}");
    }
}
