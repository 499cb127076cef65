//! What a person sees while trials run: three lines on a terminal (where the trial is, what its
//! deliveries look like, what they cost), and a plain line a trial elsewhere. No colours.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::record::{Record, Variant, Verdict};
use crate::run::Watch;
use crate::text::figure::{NONE, count, in_unit, ms, three};
use crate::trial::Progress;
use crate::trial::live::Live;

/// The bar of a run.
pub(super) struct Bar {
    bar: ProgressBar,
    /// Deliveries of the trial under way.
    figures: ProgressBar,
    /// What they cost, and the verdicts so far.
    costs: ProgressBar,
    verdicts: RefCell<String>,
    /// Where no bar is shown, a line for each trial, unless all was to be quiet.
    lines: bool,
    phase: Cell<&'static str>,
}

impl Bar {
    /// A bar on standard error if that is a terminal with a cursor. `quiet`: nothing at all.
    pub(super) fn new(quiet: bool) -> Self {
        // A terminal that cannot move its cursor shows lines as a file does.
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !dumb;
        let lines = MultiProgress::new();
        let line = |length| {
            if quiet || !terminal {
                ProgressBar::hidden()
            } else {
                lines.add(ProgressBar::new(length))
            }
        };
        let (bar, figures, costs) = (line(1), line(0), line(0));
        let text = ProgressStyle::with_template("  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        figures.set_style(text.clone());
        costs.set_style(text);
        let style = ProgressStyle::with_template("{prefix} {msg:11} {bar:30} {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            bar,
            figures,
            costs,
            verdicts: RefCell::default(),
            lines: !quiet && !terminal,
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

impl Drop for Bar {
    /// Takes the bar away.
    fn drop(&mut self) {
        for line in [&self.costs, &self.figures, &self.bar] {
            line.finish_and_clear();
        }
    }
}

impl Watch for Bar {
    fn trial(&self, number: usize, of: usize, variant: Variant) {
        self.phase.set("");
        self.bar.set_prefix(format!("[{number}/{of}] {variant}"));
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

    fn ended(&self, record: &Record) {
        *self.verdicts.borrow_mut() = verdicts(record);
        if let (true, Some(trial)) = (self.lines, record.trials.last()) {
            let d = &trial.deliveries;
            super::say(&format!(
                "{}: {}; {} of {} clients, {} of {} deliveries",
                trial.label(),
                trial.validity.verdict,
                trial.clients.connected,
                trial.clients.target,
                d.received,
                d.expected
                    .map_or_else(|| NONE.to_owned(), |owed| owed.to_string()),
            ));
        }
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
    use crate::record::sample;

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
