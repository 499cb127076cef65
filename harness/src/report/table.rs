//! The closing table: what was delivered and how late, then what it cost, then every doubt.
//!
//! Two tables, one under the other, because one would be wider than a terminal. Each column has
//! one unit, which stands in its heading, so that rows can be compared by eye. With a sweep, each
//! transport is a curve: a row a point, and below it how its cost grows.

use super::answer::answer;
use super::limits;
use super::measures;
use super::sweep::{ends, growth, with_point};
use super::view::View;
use crate::analysis::compare::metric::{Metric, find};
use crate::analysis::compare::{CONFIDENCE, Comparison, MetricComparison, Says};
use crate::analysis::stats::decision::SMALLEST_EFFECT;
use crate::record::{Pair, Record, Status, SummaryRow, Verdict};
use crate::scenario::{ChannelCount, Scenario, SweepKey};
use crate::text::figure::{NONE, count, in_unit, ms, three};
use crate::text::paragraph;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use std::fmt::Write;

/// Prose in lines shorter than this is harder to read than what the terminal makes of long ones.
const MIN_WIDTH: u16 = 60;

/// The report of `record` for a terminal of `width` columns. Prose is broken to that width; tables
/// need about 100 and are never broken, since a number over two lines reads as two numbers.
pub fn render(record: &Record, width: u16) -> String {
    let width = width.max(MIN_WIDTH);
    if !record.limits.is_empty() {
        return limits::render(record, width);
    }
    let mut out = String::new();
    paragraph(&mut out, width, "", &headline(record));
    if record.summary.is_empty() {
        out.push_str("\nno trial was run\n");
        return out;
    }
    let rows = &record.summary;
    let scenario = &record.scenario;
    let delivery = with_point(DELIVERY, scenario, Some(SweepKey::CLIENTS));
    section(&mut out, "deliveries and latency", table(&delivery, rows));
    let cost = with_point(COST, scenario, None);
    section(&mut out, "cost", table(&cost, rows));
    let view = View::of(record);
    named(&mut out, &view, width);
    if !record.growth.is_empty() {
        let title = "growth of server CPU per delivery along the sweep";
        section(&mut out, title, growth(&record.growth));
    }
    out.push('\n');
    paragraph(
        &mut out,
        width,
        "",
        "m/d/o: missing/duplicate/out of order. last: from the intended publish time to the last \
         subscriber. neither: CPU of the machine that neither server nor harness was charged with. \
         KB: 1,000 bytes; kernel memory counts both ends of a connection. –: too few samples, or \
         not to be measured here.",
    );
    // What it comes to, in words: the same as on the page.
    let found = answer(&view);
    out.push('\n');
    paragraph(&mut out, width, "", &found.sentences.join(" "));
    differences(&mut out, record, width);
    doubts(&mut out, record, width);
    out
}

/// The named measures: a table each, broken into several where it is too wide for the terminal.
fn named(out: &mut String, view: &View<'_>, width: u16) {
    for measure in measures::tables(view) {
        let columns = measure.columns_in(view);
        let _ = writeln!(out, "\n{}", measure.title.to_lowercase());
        for part in parts(view, &columns, width) {
            let headings = part.iter().map(|column| heading(column).join("\n"));
            let mut table = bare(std::iter::once("transport".to_owned()).chain(headings));
            for (row, key) in view.rows.iter().enumerate() {
                let figures = part.iter().map(|column| shown(view, row, column));
                table.add_row(std::iter::once(key.to_string()).chain(figures));
            }
            out.push('\n');
            for line in aligned(table).lines() {
                let _ = writeln!(out, "{}", line.trim_end());
            }
        }
        out.push('\n');
        paragraph(out, width, "", measure.note);
    }
}

/// The heading of a measure's column on two lines: its last word goes to the unit.
fn heading(column: &super::columns::Column) -> [String; 2] {
    let words = column.heading.trim();
    let (first, last) = words.rsplit_once(' ').unwrap_or((words, ""));
    let below = [last, column.unit]
        .into_iter()
        .filter(|text| !text.is_empty());
    [first.to_owned(), below.collect::<Vec<_>>().join(" ")]
}

fn shown(view: &View<'_>, row: usize, column: &super::columns::Column) -> String {
    let place = format!("summary/{row}/{}", column.key);
    column.show.text(view.tree.at(&place))
}

/// As many columns at a time as the terminal has room for.
fn parts(
    view: &View<'_>,
    columns: &[super::columns::Column],
    width: u16,
) -> Vec<Vec<super::columns::Column>> {
    let first = view.rows.iter().map(|key| key.to_string().len()).max();
    let room = usize::from(width).saturating_sub(first.unwrap_or(0).max("transport".len()));
    let mut parts: Vec<Vec<super::columns::Column>> = Vec::new();
    let mut left = 0;
    for column in columns {
        let figures = (0..view.rows.len()).map(|row| shown(view, row, column).chars().count());
        let heading = column.heading.trim().chars().count();
        let wide = 1 + figures
            .chain([heading, column.unit.chars().count()])
            .max()
            .unwrap_or(0);
        match parts.last_mut() {
            Some(part) if left >= wide => {
                left -= wide;
                part.push(*column);
            }
            _ => {
                left = room.saturating_sub(wide);
                parts.push(vec![*column]);
            }
        }
    }
    parts
}

/// What may be said of each pair: transports of one profile, and profiles of one transport. The
/// baseline is left to its column.
fn differences(out: &mut String, record: &Record, width: u16) {
    let shown = |c: &&Comparison| {
        let Pair { a, b, .. } = c.pair;
        let baseline = a.is_baseline() || b.is_baseline();
        !baseline && (a.profile == b.profile || a.transport == b.transport)
    };
    let pairs: Vec<&Comparison> = record.comparisons.iter().filter(shown).collect();
    if pairs.is_empty() {
        return;
    }
    let _ = writeln!(out, "\ndifferences");
    for pair in pairs {
        let left_out = match pair.left_out {
            0 => String::new(),
            n => format!(" ({n} void rounds left out)"),
        };
        let foremost: Vec<String> = pair
            .metrics
            .iter()
            .filter(|m| m.primary || measures::is_spoken_of(&m.metric))
            .map(difference)
            .collect();
        let text = format!(
            "{} against {}{left_out}: {}",
            pair.pair.a,
            pair.pair.variants()[1],
            foremost.join("; ")
        );
        paragraph(out, width, "  ", &text);
    }
    let text = format!(
        "Ratios of {} paired trials with {:.0}% intervals, p50, p99 and cpu corrected for being three; \
         same: within {:.0}%.",
        record
            .comparisons
            .iter()
            .map(|c| c.rounds)
            .max()
            .unwrap_or(0),
        CONFIDENCE * 100.0,
        SMALLEST_EFFECT * 100.0
    );
    paragraph(out, width, "", &text);
}

fn difference(metric: &MetricComparison) -> String {
    let name = find(&metric.metric).map_or_else(|| metric.metric.clone(), Metric::title);
    let interval = format!(
        "× {} ({}–{})",
        three(metric.ratio),
        three(metric.low),
        three(metric.high)
    );
    match (metric.says, metric.more_trials) {
        (Says::Different, _) => format!("{name} different, {interval}"),
        (Says::Same, _) => format!("{name} same, {interval}"),
        (Says::Undecided, Some(more)) => {
            format!("{name} undecided, {interval}, some {more} more trials would decide")
        }
        (Says::Undecided, None) => format!("{name} undecided, {interval}"),
    }
}

/// Heading and content of a column.
pub(super) type Column = (&'static str, fn(&SummaryRow) -> String);

const DELIVERY: &[Column] = &[
    ("transport", name),
    ("clients", |row| {
        if row.target == 0 {
            NONE.to_owned()
        } else if row.connected == row.target {
            count(row.connected)
        } else {
            format!("{}/{}", count(row.connected), count(row.target))
        }
    }),
    ("publ.\n/s", |row| in_unit(row.achieved_per_s, 1.0)),
    ("received\n/s", |row| in_unit(row.received_per_s, 1.0)),
    ("m/d/o", |row| {
        let counts = [row.missing, row.duplicate, row.out_of_order];
        if row.failed == row.trials {
            NONE.to_owned()
        } else {
            counts.map(count).join("/")
        }
    }),
    ("p50\nms", |row| ms(row.latency_ns.p50)),
    ("p99\nms", |row| ms(row.latency_ns.p99)),
    ("p99.9\nms", |row| ms(row.latency_ns.p999)),
    ("max\nms", |row| ms(row.latency_ns.max)),
    // No maximum of these: it is that of the deliveries.
    ("last\np50 ms", |row| ms(row.fanout_ns.p50)),
    ("last\np99 ms", |row| ms(row.fanout_ns.p99)),
    ("verdict", |row| row.verdict.to_string()),
];

const COST: &[Column] = &[
    ("transport", name),
    ("server CPU\nµs/delivery", |row| {
        in_unit(row.server_cpu_ns_per_delivery, 1e3)
    }),
    ("× tcp", |row| in_unit(row.cpu_multiple_of_tcp, 1.0)),
    ("harness\nµs/del.", |row| {
        in_unit(row.harness_cpu_ns_per_delivery, 1e3)
    }),
    ("neither\nµs/del.", |row| {
        in_unit(row.unattributed_cpu_ns_per_delivery, 1e3)
    }),
    ("server user\nKB/client", |row| {
        in_unit(row.user_bytes_per_client, 1e3)
    }),
    ("kernel\nKB/client", |row| {
        in_unit(row.kernel_bytes_per_client, 1e3)
    }),
    ("down\nB/del.", |row| {
        in_unit(row.server_to_client_bytes_per_delivery, 1.0)
    }),
    ("up\nB/del.", |row| {
        in_unit(row.client_to_server_bytes_per_delivery, 1.0)
    }),
    ("segments\n/delivery", |row| {
        in_unit(row.segments_per_delivery, 1.0)
    }),
];

fn name(row: &SummaryRow) -> String {
    row.variant.side.to_string()
}

fn table(columns: &[Column], rows: &[SummaryRow]) -> Table {
    let mut table = bare(columns.iter().map(|(heading, _)| *heading));
    let mut before = None;
    for row in rows {
        let side = row.variant.side;
        // A line between the curves of a sweep.
        if row.variant.point.is_some() && before.is_some_and(|before| before != side) {
            table.add_row([""]);
        }
        before = Some(side);
        table.add_row(columns.iter().map(|(_, content)| Cell::new(content(row))));
    }
    aligned(table)
}

pub(super) fn bare<T: Into<Cell>>(headings: impl IntoIterator<Item = T>) -> Table {
    let mut table = Table::new();
    let headings: Vec<Cell> = headings.into_iter().map(Into::into).collect();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings);
    table
}

pub(super) fn aligned(mut table: Table) -> Table {
    for (i, column) in table.column_iter_mut().enumerate() {
        // A column of space between numbers, so that the whole fits a terminal of 100; the first one
        // stands at the margin.
        column.set_padding((u16::from(i > 0), 0));
        if i > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

pub(super) fn section(out: &mut String, title: &str, table: Table) {
    let _ = writeln!(out, "\n{title}\n");
    for line in table.lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// What was run, so that a pasted table says it by itself.
fn headline(record: &Record) -> String {
    let Scenario {
        name,
        clients,
        publish,
        phases,
        ..
    } = &record.scenario;
    let ends = |key| ends(&record.scenario, key);
    let clients = ends(SweepKey::CLIENTS).unwrap_or_else(|| count(clients.count.into()));
    let channels = match (ends(SweepKey::CHANNELS), record.scenario.channels.count) {
        _ if record.scenario.channels.members.is_some() => {
            let members = record.scenario.channels.members.unwrap_or(1);
            format!("rooms of {members}")
        }
        (Some(ends), _) => format!("{ends} channels"),
        (None, ChannelCount::PerClient) => "a channel each".to_owned(),
        (None, ChannelCount::Fixed(1)) => "1 channel".to_owned(),
        (None, ChannelCount::Fixed(channels)) => format!("{} channels", count(channels.into())),
    };
    let publish = match publish {
        Some(publish) => {
            format!(
                "{} publishes/s of {} bytes",
                ends(SweepKey::RATE_PER_S).unwrap_or_else(|| three(publish.rate_per_s)),
                ends(SweepKey::PAYLOAD_BYTES).unwrap_or_else(|| publish.payload_bytes.to_string())
            )
        }
        None => match &record.scenario.upstream {
            Some(upstream) => format!(
                "each sends {}/s of {} bytes",
                three(upstream.rate_per_client_s),
                upstream.payload_bytes
            ),
            None => "nothing published".to_owned(),
        },
    };
    let trials = match record.summary.iter().map(|row| row.trials).max() {
        Some(trials @ 2..) => format!(", {trials} trials each"),
        _ => String::new(),
    };
    let status = match record.status {
        Status::Complete => "",
        Status::Running => "; not finished",
        Status::Interrupted => "; interrupted",
        Status::Failed => "; failed",
    };
    format!(
        "{name}: {clients} clients, {channels}, {publish}, {} s measured{trials}, seed {}{status}",
        phases.measure_s, record.seed
    )
}

/// A paragraph for each check that did not pass, worst verdict first.
fn doubts(out: &mut String, record: &Record, width: u16) {
    for verdict in [Verdict::Void, Verdict::Suspect] {
        for trial in record
            .trials
            .iter()
            .filter(|trial| trial.validity.verdict == verdict)
        {
            let _ = writeln!(out, "\n{verdict}: {}", trial.label());
            for reason in &trial.validity.reasons {
                let remedy = match reason.remedy.as_str() {
                    "" => String::new(),
                    remedy => format!("; {remedy}"),
                };
                paragraph(out, width, "  ", &format!("{}{remedy}", reason.message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Reason, sample, summarise};

    #[test]
    fn the_closing_table_of_a_run_reads_like_this() {
        // In a file of its own, as rustfmt would not leave lines of this length alone.
        assert_eq!(render(&sample::record(), 110), include_str!("sample.txt"));
    }

    #[test]
    fn the_table_of_a_sweep_has_a_row_a_point_and_the_growth_of_each_curve() {
        let record = sample::sweep();
        assert_eq!(render(&record, 110), include_str!("sample-sweep.txt"));
    }

    #[test]
    fn the_headline_says_what_was_run() {
        let mut record = sample::record();
        record.status = Status::Interrupted;
        record.summary[0].trials = 3;
        assert_eq!(
            headline(&record),
            "quick: 1,000 clients, 100 channels, 300 publishes/s of 128 bytes, 3 s measured, 3 \
             trials each, seed 7; interrupted"
        );
        record.status = Status::Complete;
        record.scenario = Scenario::load("idle").expect("built in");
        record.summary[0].trials = 1;
        assert_eq!(
            headline(&record),
            "idle: 10,000 clients, a channel each, nothing published, 16 s measured, seed 7"
        );
    }

    #[test]
    fn a_run_without_trials_says_so() {
        let mut record = sample::record();
        record.trials.clear();
        record.summary.clear();
        record.status = Status::Failed;
        assert_eq!(
            render(&record, 200),
            "quick: 1,000 clients, 100 channels, 300 publishes/s of 128 bytes, 3 s measured, seed \
             7; failed\n\nno trial was run\n"
        );
    }

    #[test]
    fn void_comes_before_suspect_and_prose_keeps_to_the_width() {
        let mut record = sample::record();
        record.trials.truncate(2);
        record.trials[0].validity.raise(
            Verdict::Suspect,
            Reason {
                check: "steal".to_owned(),
                measured: Some(0.04),
                limit: Some(0.01),
                remedy: String::new(),
                message: "the hypervisor took 4% of the machine, expected at most 1%".to_owned(),
            },
        );
        record.summary = summarise(&record.trials, &Default::default());
        let text = render(&record, 40);
        let doubts = &text[text.find("\nvoid: ").expect("doubts")..];
        assert_eq!(
            doubts,
            "\nvoid: sse tuned, trial 1\n  expected 9000 deliveries, got 8998; look for 'lagged' in\n  \
             the server's log\n\nsuspect: tcp tuned, trial 1\n  the hypervisor took 4% of the \
             machine, expected at most 1%\n"
        );
    }
}
