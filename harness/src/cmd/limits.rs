//! `pushbench limits`: grow until an objective breaks, and name what broke.

use std::time::Duration;

use super::options::{LoadGenerator, Output, Selection, Workload, seconds};
use super::progress::Bar;
use super::run::{keep_page, run_failure};
use super::{Failure, Outcome, console_width, failed, interrupt, print, runtime, say, usage};
use crate::record::{LimitOf, Record, Status};
use crate::run::limits::objective::{DEFAULT, Objective};
use crate::run::limits::{self, Options};
use crate::scenario::Scenario;

/// What is grown where no scenario is named.
const DEFAULT_SCENARIO: &str = include_str!("limits.toml");

/// Messages a second while subscribers are grown: often enough that a sweep which takes longer than
/// a tenth of a second falls behind.
const FANOUT_RATE_PER_S: f64 = 10.0;

/// Arguments of `limits`.
#[derive(Debug, clap::Args)]
// So that '--rate -1' is reported as a bad rate and not as an unknown option.
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    /// Scenario whose workload is grown, by name or as a path [default: one channel, a message
    /// every two seconds]
    #[arg(value_name = "SCENARIO")]
    scenario: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// What is grown
    #[arg(long, value_enum, default_value = "clients")]
    of: LimitOf,
    /// What must hold: p50, p90, p99, p999 or max with a longest time, missing, connects
    #[arg(long, value_name = "TERMS", default_value = DEFAULT)]
    objective: Objective,
    /// First value [default: 1000 clients, 10 messages a second, or 100 subscribers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    start: Option<u64>,
    /// Most clients, or subscribers
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: u32,
    /// Highest rate, in messages a second
    #[arg(long, value_name = "PER_S", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    max_rate: u64,
    /// Stop when the last value that held and the first that broke are within this fraction of
    /// each other
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    resolution: f64,
    /// Time for all transports and profiles together, in s
    #[arg(long, value_name = "S", default_value = "600", value_parser = seconds)]
    time_budget: Duration,
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    load: LoadGenerator,
    #[command(flatten)]
    output: Output,
}

/// Searches, and prints what was found.
pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    arguments.check()?;
    let scenario = arguments.scenario()?;
    let mut run = arguments.load.options(&arguments.output)?;
    let quiet = arguments.output.verbosity.quiet;
    run.looks_around = true;
    let options = Options {
        run: &run,
        of: arguments.of,
        objective: &arguments.objective,
        start: arguments.start.unwrap_or(match arguments.of {
            LimitOf::Clients => 1_000,
            LimitOf::Rate => 10,
            LimitOf::Fanout => 100,
        }),
        maximum: match arguments.of {
            LimitOf::Clients | LimitOf::Fanout => arguments.max_clients.into(),
            LimitOf::Rate => arguments.max_rate,
        },
        resolution: arguments.resolution,
        budget: arguments.time_budget,
    };
    let runtime = runtime()?;
    let _context = runtime.enter();
    let bar = Bar::new(quiet);
    let done = runtime.block_on(limits::run(&scenario, &options, &bar, interrupt()));
    drop(bar);
    let done = done.map_err(run_failure)?;
    let report =
        arguments
            .output
            .format
            .render(&done.record, done.folder.as_deref(), console_width());
    print(&report.map_err(failed)?)?;
    if done.record.status == Status::Interrupted {
        say("pushbench: interrupted; the steps that were done are kept");
    }
    if let Some(folder) = &done.folder {
        keep_page(&done.record, folder, quiet)?;
    }
    Ok(outcome(&done.record))
}

/// A limit that breaks is what was looked for; a search of which nothing held found none.
fn outcome(record: &Record) -> Outcome {
    let found = record.limits.iter().all(|limit| limit.last_good.is_some());
    if record.status == Status::Complete && found {
        Outcome::Good
    } else {
        Outcome::Bad
    }
}

impl Arguments {
    /// What the parser does not know.
    fn check(&self) -> Result<(), Failure> {
        let refuse = |message: String| Err(usage(anyhow::anyhow!(message)));
        if !(self.resolution > 0.0 && self.resolution <= 1.0) {
            return refuse(format!(
                "'--resolution' is {}, expected a share above 0 and up to 1",
                self.resolution
            ));
        }
        let grown = match self.of {
            LimitOf::Clients | LimitOf::Fanout => self
                .workload
                .clients
                .map(|n| ("--clients", n.to_string(), "--max-clients")),
            LimitOf::Rate => self
                .workload
                .rate
                .map(|r| ("--rate", r.to_string(), "--max-rate")),
        };
        if let Some((option, value, other)) = grown {
            return refuse(format!(
                "'{option}' is {value}, but that is what '--of {}' grows; use '--start' and \
                 '{other}'",
                self.of.id()
            ));
        }
        Ok(())
    }

    fn scenario(&self) -> Result<Scenario, Failure> {
        let mut scenario = match &self.scenario {
            Some(name) => Scenario::load(name),
            None => Scenario::parse("limits.toml", DEFAULT_SCENARIO),
        }
        .map_err(usage)?;
        if !scenario.faults.is_empty() {
            return Err(usage(anyhow::anyhow!(
                "scenario '{}' has [[faults]], so each step would break by them; search with one \
                 that leaves its servers alone, such as 'fanout-10k'",
                scenario.name
            )));
        }
        // What it sweeps is not what is grown here.
        scenario.sweep = None;
        let own = self.scenario.is_none() && self.of == LimitOf::Fanout;
        let mut overrides = self.workload.overrides(&self.selection);
        overrides.rate = overrides.rate.or(own.then_some(FANOUT_RATE_PER_S));
        scenario.apply(&overrides).map_err(usage)?;
        let name = &scenario.name;
        if scenario.publish.is_none() {
            let needs = if self.of == LimitOf::Rate {
                Some("'--of rate' grows what is published".to_owned())
            } else if self.objective.asks_for_deliveries() {
                Some(format!("'--objective' is '{}'", self.objective))
            } else {
                None
            };
            if let Some(needs) = needs {
                return Err(usage(anyhow::anyhow!(
                    "{needs}, but scenario '{name}' publishes nothing; choose another scenario, or \
                     an objective without deliveries, such as 'connects=all'"
                )));
            }
        }
        Ok(scenario)
    }
}
