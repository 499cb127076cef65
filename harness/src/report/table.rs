//! The closing table: what was delivered and how late, then what it cost, then every doubt.
//!
//! Two tables, one under the other, because one would be wider than a terminal. Each column has
//! one unit, in its heading, so that rows can be compared by eye. With a sweep, each
//! transport is a curve: a row a point, and below it how its cost grows.

use super::answer::{answer, measured, trials_of_each};
use super::columns::{COST, of_rows};
use super::doubts::doubts;
use super::limits;
use super::measures;
use super::relation::within;
use super::scoreboard;
use super::sweep::{ends, growth, points};
use super::view::View;
use crate::analysis::compare::{CONFIDENCE, Comparison, MetricComparison, Says};
use crate::metrics::find;
use crate::record::{Pair, Record, SummaryRow};
use crate::scenario::{ChannelCount, Scenario, SweepKey};
use crate::text::figure::{NONE, count, three};
use crate::text::paragraph;
use crate::text::table::{bare, lines};
use comfy_table::Table;
use std::fmt::Write;

/// Prose in lines shorter than this is harder to read than what the terminal makes of long ones.
const MIN_WIDTH: u16 = 60;

/// The report of `record` for a terminal of `width` columns. Prose is broken to that width; of a
/// table that is wider, the last columns follow below, since a number over two lines reads as two.
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
    let view = View::of(record);
    // What it comes to, in words: the same as on the page.
    let found = answer(&view);
    out.push('\n');
    paragraph(&mut out, width, "", &found.sentences.join(" "));
    scoreboard::render(&mut out, &view, &found, width);
    let points = points(record, Some(SweepKey::CLIENTS));
    section(
        &mut out,
        "deliveries and latency",
        &view,
        &points,
        delivery(&view),
        width,
    );
    let points = self::points(record, None);
    section(
        &mut out,
        "cost",
        &view,
        &points,
        shown(&view, &of_rows(COST)),
        width,
    );
    for measure in measures::tables(&view) {
        let columns = shown(&view, &measure.columns_in(&view));
        section(
            &mut out,
            &measure.title.to_lowercase(),
            &view,
            &points,
            columns,
            width,
        );
        out.push('\n');
        paragraph(&mut out, width, "", measure.note);
    }
    if !record.growth.is_empty() {
        let title = "growth of server CPU per delivery along the sweep";
        titled(&mut out, title, growth(&record.growth));
    }
    out.push('\n');
    paragraph(
        &mut out,
        width,
        "",
        &format!(
            "{LOST_AND_LAST} other CPU: of the machine, charged to neither server nor harness. KB: \
             1,000 bytes; kernel memory counts both ends of a connection. –: too few samples, or not \
             measurable here."
        ),
    );
    differences(&mut out, record, width);
    if let Some(certainty) = &found.certainty {
        out.push('\n');
        paragraph(&mut out, width, "", certainty);
    }
    print_doubts(&mut out, record, width);
    out
}

/// A column as the terminal shows it: a heading of some lines, and a cell for each row.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) heading: String,
    pub(super) cells: Vec<String>,
}

impl Shown {
    /// A column of cells.
    pub(super) fn new(heading: &str, cells: impl IntoIterator<Item = String>) -> Self {
        Self {
            heading: heading.to_owned(),
            cells: cells.into_iter().collect(),
        }
    }

    /// As wide as its widest line, and the space before it.
    fn width(&self) -> usize {
        let lines = self
            .heading
            .lines()
            .chain(self.cells.iter().map(|cell| &**cell));
        1 + lines.map(|line| line.chars().count()).max().unwrap_or(0)
    }
}

/// A heading on three lines at most: the last word and the unit on lines of their own, so that it is
/// hardly wider than the figures.
pub(super) fn heading(words: &str, unit: &str) -> String {
    let (first, last) = words.rsplit_once(' ').unwrap_or(("", words));
    let unit = unit.replace("delivery", "del.");
    let lines = [first, last, &unit].into_iter();
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

fn shown(view: &View<'_>, columns: &[super::columns::Column]) -> Vec<Shown> {
    let of = |column: &super::columns::Column| {
        let value = |row| view.tree.at(&format!("summary/{row}/{}", column.key));
        let cells = (0..view.rows.len()).map(|row| column.show.text(value(row)));
        Shown::new(&heading(&column.heading, &column.unit), cells)
    };
    columns.iter().map(of).collect()
}

/// What was delivered and how late. Wherever two numbers only say something together, they share a
/// column.
fn delivery(view: &View<'_>) -> Vec<Shown> {
    let rows = &view.record.summary;
    let whole = |row: &SummaryRow, id: &str| row.figure(id).unwrap_or(0.0) as u64;
    let of = |row: &SummaryRow| (whole(row, "connected"), whole(row, "target"));
    let clients = rows.iter().map(|row| match of(row) {
        (_, 0) => NONE.to_owned(),
        (connected, target) if connected == target => count(target),
        (connected, target) => format!("{}/{}", count(connected), count(target)),
    });
    let lost = rows.iter().map(|row| match row.failed == row.trials {
        true => NONE.to_owned(),
        false => {
            lost(["missing", "duplicate", "out_of_order"].map(|id| Some(row.figure(id)? as u64)))
        }
    });
    let mut columns = vec![Shown::new("clients", clients)];
    columns.extend(shown(view, &of_rows(&["achieved", "received"])));
    columns.push(Shown::new(LOST, lost));
    let latency = [
        "p50", "p99", "p999", "max", "last_p50", "last_p99", "verdict",
    ];
    columns.extend(shown(view, &of_rows(&latency)));
    columns
}

/// Heading of [`lost`].
pub(super) const LOST: &str = "lost/dup/\nreordered";

/// What tables of deliveries say below.
pub(super) const LOST_AND_LAST: &str = "lost/dup/reordered: deliveries that never arrived, arrived twice, arrived after a later one. \
     last: from the intended publish time to the last subscriber.";

/// What the ledgers found wrong, in one cell.
pub(super) fn lost(missing_duplicate_reordered: [Option<u64>; 3]) -> String {
    let figure = |found: Option<u64>| found.map_or_else(|| NONE.to_owned(), count);
    missing_duplicate_reordered.map(figure).join("/")
}

/// Tables of the rows of the summary: as many columns at a time as the terminal has room for, each
/// time after the columns `points`.
fn section(
    out: &mut String,
    title: &str,
    view: &View<'_>,
    points: &[Shown],
    columns: Vec<Shown>,
    width: u16,
) {
    let names = || view.rows.iter().map(|row| row.side.to_string());
    let fixed: Vec<Shown> = std::iter::once(Shown::new("transport", names()))
        .chain(points.iter().cloned())
        .collect();
    let taken: usize = fixed.iter().map(Shown::width).sum();
    let room = usize::from(width).saturating_sub(taken - 1);
    let (mut parts, mut left): (Vec<Vec<Shown>>, usize) = (Vec::new(), 0);
    for column in columns {
        let wide = column.width();
        match parts.last_mut() {
            Some(part) if left >= wide => part.push(column),
            _ => {
                left = room.max(wide);
                parts.push([&fixed[..], &[column]].concat());
            }
        }
        left -= wide;
    }
    let _ = writeln!(out, "\n{title}");
    for part in parts {
        let mut table = bare(part.iter().map(|column| &column.heading));
        for (row, variant) in view.rows.iter().enumerate() {
            // A line between the curves of a sweep.
            if row > 0 && variant.point.is_some() && variant.side != view.rows[row - 1].side {
                table.add_row([""]);
            }
            table.add_row(part.iter().map(|column| &column.cells[row]));
        }
        out.push('\n');
        lines(out, table, 1, usize::MAX);
    }
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
        "Ratios of {} paired trials with {:.0}% intervals, the first three corrected for being three; \
         alike: the difference is below what matters.",
        record
            .comparisons
            .iter()
            .map(|c| c.rounds)
            .max()
            .unwrap_or(0),
        CONFIDENCE * 100.0
    );
    paragraph(out, width, "", &text);
}

fn difference(metric: &MetricComparison) -> String {
    let known = find(&metric.metric);
    let name = known.map_or(&*metric.metric, |metric| metric.title);
    let alike = known.map(|known| within(known, (metric.matters, metric.matters_amount)));
    let interval = format!(
        "× {} ({}–{})",
        three(metric.ratio),
        three(metric.low),
        three(metric.high)
    );
    match (metric.says, metric.more_trials) {
        (Says::Different, _) => format!("{name} different, {interval}"),
        (Says::Alike, _) => format!("{name} alike {}, {interval}", alike.unwrap_or_default()),
        (Says::Undecided, Some(more)) => {
            format!("{name} undecided, {interval}, some {more} more trials would decide")
        }
        (Says::Undecided, None) => format!("{name} undecided, {interval}"),
    }
}

/// A table under its title.
pub(super) fn titled(out: &mut String, title: &str, table: Table) {
    let _ = writeln!(out, "\n{title}\n");
    lines(out, table, 1, usize::MAX);
}

/// What was run, so that a pasted table says it by itself.
fn headline(record: &Record) -> String {
    let Scenario {
        name,
        clients,
        publish,
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
                ends(SweepKey::RATE_PER_S)
                    .unwrap_or_else(|| three(record.scenario.published_per_s())),
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
    let trials = match trials_of_each(record) {
        None | Some((_, 1)) => String::new(),
        Some((n, m)) if n == m => format!(", {n} trials each"),
        Some((n, m)) => format!(", {n} to {m} trials each"),
    };
    let status = record.status.ending();
    format!(
        "{name}: {clients} clients, {channels}, {publish}, {} measured{trials}, seed {}{status}",
        measured(record),
        record.seed
    )
}

/// A paragraph for each reason why trials are not valid, worst verdict first.
fn print_doubts(out: &mut String, record: &Record, width: u16) {
    for doubt in doubts(record) {
        out.push('\n');
        paragraph(
            out,
            width,
            "",
            &format!("{}: {}", doubt.verdict, doubt.of()),
        );
        let remedy = match doubt.reason.remedy.as_str() {
            "" => String::new(),
            remedy => format!("; {remedy}"),
        };
        paragraph(out, width, "  ", &format!("{}{remedy}", doubt.message()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summarise;
    use crate::record::{Reason, Status, Trial, Verdict, sample};
    use crate::report::tests::{golden, rounds, sum_up};
    use crate::scenario::Matters;
    use pushbench_protocol::transport::Transport;

    #[test]
    fn the_closing_table_of_a_run_reads_like_this() {
        // In a file of its own, as rustfmt would not leave lines of this length alone.
        golden("sample.txt", &render(&sample::record(), 110));
    }

    #[test]
    fn a_run_with_comparisons_begins_with_its_answer_and_the_scoreboard() {
        let mut record = rounds();
        let polls = |trial: &&mut Trial| trial.variant.transport == Transport::ShortPoll;
        for trial in record.trials.iter_mut().filter(polls) {
            trial.latency_ns.p50 = trial.latency_ns.p50.map(|ns| ns * 2_000);
            let cpu = &mut trial.server.cpu_ns_per_delivery;
            *cpu = cpu.map(|ns| ns / 10.0);
        }
        record.scenario.matters = Matters::default();
        sum_up(&mut record);
        let text = render(&record, 110);
        let end = text
            .find("\ndeliveries and latency")
            .expect("the tables follow");
        golden("sample-board.txt", &text[..end]);
    }

    #[test]
    fn the_table_of_a_sweep_has_a_row_a_point_and_the_growth_of_each_curve() {
        let record = sample::sweep();
        golden("sample-sweep.txt", &render(&record, 110));
    }

    #[test]
    fn the_headline_says_what_was_run() {
        let mut record = sample::record();
        record.status = Status::Interrupted;
        record.summary[0].trials = 3;
        assert_eq!(
            headline(&record),
            "quick: 1,000 clients, 100 channels, 1,000 publishes/s of 128 bytes, 3 s measured, 1 \
             to 3 trials each, seed 7; interrupted"
        );
        record.trials[0].slices = vec![Default::default(); 8];
        assert!(headline(&record).contains(", 8 slices a round measured, 1 to 3 trials each"));
        record.trials[0].slices.clear();
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
            "quick: 1,000 clients, 100 channels, 1,000 publishes/s of 128 bytes, 3 s measured, seed \
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
