//! What a person sees while trials run: a bar on a terminal, nothing elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::results::Record;
use crate::run::{Turn, Watch};
use crate::trial::Progress;

/// The bar of a run.
pub(super) struct Bar {
    bar: ProgressBar,
    /// Where no bar is shown, a line for each trial, unless all was to be quiet.
    lines: bool,
    phase: Cell<&'static str>,
}

impl Bar {
    /// A bar on standard error if that is a terminal. `quiet`: nothing at all.
    pub(super) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if quiet || !terminal {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(1)
        };
        let style = ProgressStyle::with_template("{prefix} {msg:11} {bar:30} {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            bar,
            lines: !quiet && !terminal,
            phase: Cell::new(""),
        }
    }

    /// As [`Bar::new`], but without a line for each trial: trials are not what is asked for.
    pub(super) fn silent_lines(quiet: bool) -> Self {
        Self {
            lines: false,
            ..Self::new(quiet)
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Bar {
    fn trial(&self, number: usize, of: usize, what: &Turn) {
        self.phase.set("");
        let Turn {
            transport, profile, ..
        } = what;
        let point = match what.point {
            Some(point) => format!(" at {point}"),
            None => String::new(),
        };
        self.bar
            .set_prefix(format!("[{number}/{of}] {transport} {profile}{point}"));
    }

    fn progress(&self, progress: Progress) {
        if self.phase.replace(progress.phase) != progress.phase {
            self.bar.set_message(progress.phase);
        }
        self.bar.set_length(progress.of);
        self.bar.set_position(progress.done);
    }

    fn ended(&self, record: &Record) {
        if let (true, Some(trial)) = (self.lines, record.trials.last()) {
            let d = &trial.deliveries;
            super::say(&format!(
                "{}: {}; {} of {} clients, {} of {} deliveries",
                trial.label(),
                trial.validity.verdict,
                trial.clients.connected,
                trial.clients.target,
                d.received,
                d.expected,
            ));
        }
    }
}
