//! What a person sees while trials run: four lines on a terminal (where the trial is, what its
//! deliveries look like, what they cost, how far the intervals have closed), and elsewhere a plain line a
//! trial, or a round where trials take turns. No colours.

mod words;

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::environment::readiness;
use crate::observe::before::Before;
use crate::record::{Record, Variant, Verdict};
use crate::run::{Spent, Watch};
use crate::text::figure::{NONE, count, in_unit, ms, three};
use crate::trial::Progress;
use crate::trial::live::Live;

/// How often a second the lines are drawn at most.
const DRAWN_PER_S: u8 = 20;

/// The bar of a run.
pub(super) struct Bar {
    bar: ProgressBar,
    /// Deliveries of the trial under way.
    figures: ProgressBar,
    /// What they cost, and the verdicts so far.
    costs: ProgressBar,
    /// How far the intervals of the run have closed.
    intervals: ProgressBar,
    verdicts: RefCell<String>,
    /// Where no bar is shown, lines for trials and rounds, unless all was to be quiet.
    lines: bool,
    /// Nothing is to be said at all.
    quiet: bool,
    phase: Cell<&'static str>,
}

impl Bar {
    /// A bar on standard error if that is a terminal with a cursor. `quiet`: nothing at all.
    pub(super) fn new(quiet: bool) -> Self {
        // A terminal that cannot move its cursor shows lines as a file does.
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !dumb;
        if quiet || !terminal {
            let mut bar = Self::on(ProgressDrawTarget::hidden());
            (bar.lines, bar.quiet) = (!quiet, quiet);
            return bar;
        }
        Self::on_terminal(console::Term::stderr())
    }

    fn on_terminal(terminal: impl TermLike + 'static) -> Self {
        let screen = Box::new(WithRoom(terminal));
        let bar = Self::on(ProgressDrawTarget::term_like_with_hz(screen, DRAWN_PER_S));
        bar.bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let lines = MultiProgress::with_draw_target(target);
        let line = |length| lines.add(ProgressBar::new(length));
        let (bar, figures, costs, intervals) = (line(1), line(0), line(0), line(0));
        let text = ProgressStyle::with_template("  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        figures.set_style(text.clone());
        costs.set_style(text.clone());
        intervals.set_style(text);
        let style = ProgressStyle::with_template("{prefix} {msg:11} {bar:30} {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        Self {
            bar,
            figures,
            costs,
            intervals,
            verdicts: RefCell::default(),
            lines: false,
            quiet: false,
            phase: Cell::new(""),
        }
    }

    /// As [`Bar::new`], but without a line for each trial: trials are not what is asked for.
    pub(super) fn silent_lines(quiet: bool) -> Self {
        let mut bar = Self::new(quiet);
        bar.lines = false;
        bar
    }
}

/// A terminal whose lines end a little before its last column. After drawing, the cursor rests at the end
/// of the last line; where that was the last column, the `^C` that a terminal shows for a key would go
/// to a line of its own, and what is cleared afterwards would be one line too low.
#[derive(Debug)]
struct WithRoom<T>(T);

impl<T> WithRoom<T> {
    /// Columns left free: four keys of two characters, more than anyone presses in one tick.
    const COLUMNS: u16 = 8;
}

impl<T: TermLike> TermLike for WithRoom<T> {
    fn width(&self) -> u16 {
        self.0.width().saturating_sub(Self::COLUMNS).max(1)
    }

    fn height(&self) -> u16 {
        self.0.height()
    }

    fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> std::io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> std::io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> std::io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> std::io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> std::io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Bar {
    /// Takes the bar away.
    fn drop(&mut self) {
        for line in [&self.intervals, &self.costs, &self.figures, &self.bar] {
            line.finish_and_clear();
        }
    }
}

impl Watch for Bar {
    fn before(&self, before: &Before) {
        for line in readiness::warning(before).into_iter().flatten() {
            if !self.quiet {
                let say = || super::say(&format!("pushbench: {line}"));
                self.bar.suspend(say);
            }
        }
    }

    fn trial(&self, number: usize, of: usize, variant: Variant) {
        self.phase.set("");
        self.bar.set_prefix(format!("[{number}/{of}] {variant}"));
    }

    fn turns(&self, number: usize, of: usize, variants: &[Variant]) {
        let last = number + variants.len() - 1;
        let names: Vec<String> = variants.iter().map(Variant::to_string).collect();
        self.phase.set("");
        let prefix = format!("[{number}-{last}/{of}] {}", names.join(", "));
        self.bar.set_prefix(prefix);
    }

    fn progress(&self, progress: Progress) {
        if self.phase.replace(progress.phase) != progress.phase {
            self.bar.set_message(progress.phase);
        }
        self.bar.set_length(progress.of);
        self.bar.set_position(progress.done);
        let verdicts = self.verdicts.borrow();
        match &progress.live {
            Some(live) => {
                self.figures.set_message(deliveries(live));
                self.costs.set_message(join(&[&costs(live), &verdicts]));
            }
            None => {
                self.figures.set_message("");
                self.costs.set_message(verdicts.clone());
            }
        }
    }

    fn ended(&self, record: &Record, trials: usize) {
        *self.verdicts.borrow_mut() = verdicts(record);
        let from = record.trials.len().saturating_sub(trials);
        if let (true, Some(line)) = (self.lines, words::ended(&record.trials[from..])) {
            super::say(&line);
        }
    }

    fn round(&self, record: &Record, so_far: &Spent) {
        let Some(widths) = words::widths(record, so_far) else {
            return;
        };
        if self.lines {
            super::say(&widths);
        }
        self.intervals.set_message(widths);
    }
}

/// What arrives of what is owed, and how late.
fn deliveries(live: &Live) -> String {
    let received = match live.received_per_s {
        Some(received) => three(received),
        None => NONE.to_owned(),
    };
    let latency = match (live.p50_ns, live.p99_ns) {
        (None, None) => String::new(),
        (p50, p99) => format!("p50 {} ms, p99 {} ms in the last second", ms(p50), ms(p99)),
    };
    let connected = format!("{} connected", count(live.connected));
    let rate = if live.offered_per_s > 0.0 {
        format!("{received} of {} deliveries/s", three(live.offered_per_s))
    } else {
        "nothing published".to_owned()
    };
    join(&[&connected, &rate, &latency])
}

fn costs(live: &Live) -> String {
    let side = |name: &str, cores: Option<f64>, bytes: Option<u64>| {
        let cores = cores.map_or_else(|| NONE.to_owned(), |c| three(c * 100.0));
        let bytes = in_unit(bytes.map(|b| b as f64), 1e6);
        format!("{name} {cores}% of a core, {bytes} MB")
    };
    join(&[
        &side("server", live.server_cores, live.server_bytes),
        &side("clients", live.fleet_cores, live.fleet_bytes),
    ])
}

/// How many trials have which verdict so far.
fn verdicts(record: &Record) -> String {
    let of = |verdict: Verdict| {
        let trials = record.trials.iter();
        trials.filter(|t| t.validity.verdict == verdict).count()
    };
    let told: Vec<String> = [Verdict::Valid, Verdict::Suspect, Verdict::Void]
        .into_iter()
        .filter(|&verdict| of(verdict) > 0)
        .map(|verdict| format!("{} {verdict}", of(verdict)))
        .collect();
    match told.as_slice() {
        [] => String::new(),
        told => format!("so far {}", told.join(", ")),
    }
}

/// The parts that are not empty, apart from each other.
fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    parts.join("   ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Side;
    use crate::record::sample;
    use pushbench_protocol::transport::{Profile, Transport};
    use std::sync::{Arc, Mutex};

    /// A terminal of 80 columns.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<Grid>>);

    /// What is on it, and where its cursor is.
    #[derive(Debug, Default)]
    struct Grid {
        lines: Vec<Vec<char>>,
        line: usize,
        column: usize,
    }

    impl Paper {
        const COLUMNS: usize = 80;

        /// Moves the cursor by so many lines, and to the column that `column` makes of its own.
        fn to(&self, lines: isize, column: impl Fn(usize) -> usize) -> std::io::Result<()> {
            let mut paper = self.0.lock().expect("not poisoned");
            paper.line = paper.line.saturating_add_signed(lines);
            paper.column = column(paper.column);
            Ok(())
        }

        fn text(&self) -> String {
            let paper = self.0.lock().expect("not poisoned");
            let lines = paper
                .lines
                .iter()
                .map(|line| line.iter().collect::<String>());
            lines.collect::<Vec<_>>().join("\n")
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            Self::COLUMNS as u16
        }
        fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
            self.to(-(n as isize), |column| column)
        }
        fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
            self.to(n as isize, |column| column)
        }
        fn move_cursor_right(&self, n: usize) -> std::io::Result<()> {
            self.to(0, |column| column + n)
        }
        fn move_cursor_left(&self, n: usize) -> std::io::Result<()> {
            self.to(0, |column| column.saturating_sub(n))
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.write_str(text)?;
            self.to(1, |_| 0)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            for char in text.chars() {
                let mut paper = self.0.lock().expect("not poisoned");
                if char == '\n' || paper.column == Self::COLUMNS {
                    (paper.line, paper.column) = (paper.line + 1, 0);
                }
                if char != '\n' {
                    let (line, column) = (paper.line, paper.column);
                    let lines = paper.lines.len().max(line + 1);
                    paper.lines.resize(lines, vec![' '; Self::COLUMNS]);
                    paper.lines[line][column] = char;
                    paper.column += 1;
                }
            }
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            let mut paper = self.0.lock().expect("not poisoned");
            let line = paper.line;
            if let Some(line) = paper.lines.get_mut(line) {
                line.fill(' ');
            }
            paper.column = 0;
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_of_the_bar_stays_on_the_terminal_where_keys_were_echoed_into_it() {
        for keys in ["", "^C", "^C^C^C"] {
            let paper = Paper::default();
            let bar = Bar::on_terminal(paper.clone());
            let side = Side::from((Transport::Sse, Profile::Tuned));
            bar.trial(1, 2, side.at(None));
            bar.progress(Progress {
                phase: "measure",
                done: 1,
                of: 2,
                live: Some(Live::default()),
            });
            bar.intervals.set_message("after 7 rounds");
            bar.figures.tick();
            assert!(paper.text().contains("[1/2] sse tuned"), "{}", paper.text());
            assert!(paper.text().contains("nothing published"));
            assert!(paper.text().contains("after 7 rounds"));
            paper.write_str(keys).expect("it is memory");
            drop(bar);
            assert_eq!(paper.text().trim(), "", "after '{keys}'");
        }
    }

    #[test]
    fn the_live_lines_read_like_this() {
        let live = Live {
            connected: 1_000,
            offered_per_s: 3_000.0,
            received_per_s: Some(2_998.4),
            p50_ns: Some(310_000),
            p99_ns: Some(2_620_000),
            server_cores: Some(0.0983),
            fleet_cores: Some(0.051),
            server_bytes: Some(14_400_000),
            fleet_bytes: Some(6_100_000),
        };
        assert_eq!(
            deliveries(&live),
            "1,000 connected   2,998 of 3,000 deliveries/s   p50 0.310 ms, p99 2.62 ms in the last \
             second"
        );
        assert_eq!(
            costs(&live),
            "server 9.83% of a core, 14.4 MB   clients 5.10% of a core, 6.10 MB"
        );
        assert_eq!(
            deliveries(&Live::default()),
            "0 connected   nothing published"
        );
        assert_eq!(verdicts(&sample::record()), "so far 1 valid, 2 void");
    }
}
