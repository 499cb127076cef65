//! `pushbench run`: trials, a record, a table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::{LoadGenerator, Output, Selection, Workload, seconds};
use super::progress::Bar;
use super::reference::References;
use super::{Failure, Outcome, console_width, failed, interrupt, print, runtime, say, usage};
use crate::record::Family;
use crate::record::{Record, Status, Verdict};
use crate::report::{Format, HTML_FILE};
use crate::run::{Done, RunError};
use crate::scenario::{EMBEDDED, MattersValue, Overrides, Scenario, ScenarioError, Sweep};
use crate::store::RecordError;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
// So that '--rate -1' is reported as a bad rate and not as an unknown option.
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    /// Scenarios by name ('pushbench list') or as paths of TOML files [default: quick; all with
    /// '--reference']
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    workload: Workload,
    /// Trials of each transport and profile [default: 'auto', until every difference is decided]
    #[arg(long, value_name = "N", value_parser = trials)]
    trials: Option<Trials>,
    /// Time that trials of a scenario may take until all is decided, in s, connecting left out
    /// [default: 60]
    #[arg(long, value_name = "S", value_parser = seconds)]
    budget: Option<Duration>,
    /// Smallest differences that matter, such as 'latency_ms=0.1' [default: relative=0.05,
    /// latency_ms=1, memory_bytes=1000, wire_bytes=16]
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    matters: Vec<MattersValue>,
    /// Run each trial by itself, instead of all in turns, in slices of some 100 ms
    #[arg(long)]
    whole_trials: bool,
    /// Vary clients, payload_bytes, channels, rate_per_s, or any number of a scenario by its path,
    /// such as 'clients=100,1000' or 'server.ring_messages=64,1024'; several lists go together value
    /// by value
    #[arg(long, value_name = "KEY=VALUES")]
    sweep: Vec<Sweep>,
    #[command(flatten)]
    load: LoadGenerator,
    #[command(flatten)]
    output: Output,
    /// Exit with 1 also when a trial is only suspect
    #[arg(long)]
    strict: bool,
    /// Put each record in the place of the one before it, to be quoted: in results/reference, or the
    /// folder given. Needs a program that was built from a commit; what it has recorded is left out
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true,
          default_missing_value = "results/reference")]
    reference: Option<PathBuf>,
}

/// Runs every scenario and prints what was found.
pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    // All of them first: a typing error in the third is not found after ten minutes.
    let overrides = arguments.overrides()?;
    let references = arguments.reference.as_deref().map(References::below);
    let references = references.transpose()?;
    let names = arguments.names();
    let scenarios = names.iter().map(|name| {
        let mut scenario = Scenario::load(name)?;
        scenario.apply(&overrides)?;
        if let (Family::Library, Some(what)) =
            (arguments.load.client_family, scenario.needs_lean_clients())
        {
            return Err(ScenarioError::Option(format!(
                "'--client-family' is 'library', but scenario '{}' has {what}, which only the \
                 built-in clients do; leave the option out",
                scenario.name
            )));
        }
        Ok(scenario)
    });
    let scenarios: Vec<Scenario> = scenarios
        .collect::<Result<_, ScenarioError>>()
        .map_err(usage)?;
    let mut options = arguments.load.options(&arguments.output)?;
    options.looks_around = true;
    let runtime = runtime()?;
    let _context = runtime.enter();
    let mut interrupted = std::pin::pin!(interrupt());
    let mut outcome = Outcome::Good;
    for scenario in &scenarios {
        if references.as_ref().is_some_and(|all| all.has(scenario)) {
            continue;
        }
        let bar = Bar::new(arguments.output.verbosity.quiet);
        let done = runtime.block_on(crate::run::run(
            scenario,
            &options,
            &bar,
            interrupted.as_mut(),
        ));
        drop(bar);
        let done = done.map_err(run_failure)?;
        if arguments.report(&done)? == Outcome::Bad {
            outcome = Outcome::Bad;
        }
        if let Some(references) = &references {
            references.keep(scenario, &done)?;
        }
        if done.record.status == Status::Interrupted {
            break;
        }
    }
    Ok(outcome)
}

/// What the user can mend is wrong usage, the rest is a failure.
pub(super) fn run_failure(error: RunError) -> Failure {
    match error {
        RunError::Layout(_) | RunError::Record(RecordError::Write { .. }) => usage(error),
        other => failed(other),
    }
}

/// How many trials were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trials {
    Number(u32),
    Auto,
}

fn trials(text: &str) -> Result<Trials, String> {
    if text == "auto" {
        return Ok(Trials::Auto);
    }
    let number = text.parse().map(Trials::Number);
    number.map_err(|_| format!("'{text}' is neither a number of trials nor 'auto'"))
}

/// Keeps a record that its own folder has no room for, and says where it is, or why not.
fn keep_elsewhere(record: &Record) -> String {
    match record.rescue(&std::env::temp_dir()) {
        Ok(folder) => format!("what was measured is kept in '{}'", folder.display()),
        Err((folder, reason)) => format!(
            "what was measured is what was printed: it cannot be kept in '{}' either ({reason})",
            folder.display()
        ),
    }
}

/// Writes the page next to a record, and says where both are.
pub(super) fn keep_page(record: &Record, folder: &Path, quiet: bool) -> Result<(), Failure> {
    let page = folder.join(HTML_FILE);
    let html = Format::Html.render(record, Some(folder), console_width());
    crate::files::write(&page, &html.map_err(failed)?).map_err(|error| {
        failed(anyhow::anyhow!(
            "cannot write '{}': {}; the record is whole, 'pushbench report {}' draws it",
            page.display(),
            crate::text::io_reason(&error),
            crate::text::shell(&folder.to_string_lossy())
        ))
    })?;
    if !quiet {
        say(&format!("record: {}", folder.display()));
        say(&format!("report: {}", page.display()));
    }
    Ok(())
}

impl Arguments {
    /// What is to be run.
    fn names(&self) -> Vec<String> {
        match (self.scenarios.as_slice(), &self.reference) {
            ([], None) => vec!["quick".to_owned()],
            ([], Some(_)) => EMBEDDED
                .iter()
                .map(|(name, _)| (*name).to_owned())
                .collect(),
            (named, _) => named.to_vec(),
        }
    }

    fn sweep(&self) -> Result<Option<Sweep>, Failure> {
        let mut lists = self.sweep.iter().cloned();
        let Some(first) = lists.next() else {
            return Ok(None);
        };
        let sweep = lists.try_fold(first, Sweep::join);
        sweep.map(Some).map_err(|e| usage(anyhow::anyhow!(e)))
    }

    fn overrides(&self) -> Result<Overrides, Failure> {
        Ok(Overrides {
            trials: self.trials.map(|trials| match trials {
                Trials::Number(number) => Some(number),
                Trials::Auto => None,
            }),
            budget_s: self.budget.map(|budget| budget.as_secs_f64()),
            matters: self.matters.clone(),
            whole_trials: self.whole_trials,
            sweep: self.sweep()?,
            ..self.workload.overrides(&self.selection)
        })
    }

    /// Prints what a run found, and says how it ended.
    fn report(&self, done: &Done) -> Result<Outcome, Failure> {
        let record = &done.record;
        let interrupted = record.status == Status::Interrupted;
        let width = console_width();
        let folder = done.folder.as_deref();
        if !record.trials.is_empty() || self.output.format == Format::Json {
            print(
                &self
                    .output
                    .format
                    .render(record, folder, width)
                    .map_err(failed)?,
            )?;
        }
        if interrupted {
            say("pushbench: interrupted; what was measured is kept");
        }
        if let Some(error) = &done.unwritten {
            return Err(failed(anyhow::anyhow!(
                "{error}; {}",
                keep_elsewhere(record)
            )));
        }
        // What is quoted is drawn from its record whenever somebody asks.
        if let Some(folder) = folder.filter(|_| self.reference.is_none()) {
            keep_page(record, folder, self.output.verbosity.quiet)?;
        }
        Ok(if interrupted {
            Outcome::Bad
        } else {
            self.outcome(record)
        })
    }

    fn outcome(&self, record: &Record) -> Outcome {
        match record.verdict() {
            Verdict::Valid => Outcome::Good,
            Verdict::Suspect if self.strict => Outcome::Bad,
            Verdict::Suspect => Outcome::Good,
            Verdict::Void => Outcome::Bad,
        }
    }
}
