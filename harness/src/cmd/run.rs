//! `pushbench run`: trials, a record, a table.

use std::path::PathBuf;

use pushbench_servers::transport::{Profile, Transport};

use super::progress::Bar;
use super::{Failure, Outcome, failed, interrupt, print, runtime, usage};
use crate::client::Family;
use crate::report::Format;
use crate::results::{Record, RecordError, Status, Verdict};
use crate::run::{Done, Options, RunError};
use crate::scenario::{Overrides, Scenario};

/// Width of the table where standard output is no terminal.
const DEFAULT_WIDTH: u16 = 120;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Scenarios by name ('pushbench list') or as paths of TOML files
    #[arg(value_name = "SCENARIO", default_value = "quick")]
    scenarios: Vec<String>,
    /// Transports to compare, such as 'tcp,sse,websocket'
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    transports: Option<Vec<Transport>>,
    /// Profiles to run them in: stock, tuned, or both
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    profiles: Option<Vec<Profile>>,
    /// Number of clients
    #[arg(long, value_name = "N")]
    clients: Option<u32>,
    /// Messages published a second, over all channels
    #[arg(long, value_name = "PER_S")]
    rate: Option<f64>,
    /// Length of the measure phase, in s
    #[arg(long, value_name = "S")]
    duration: Option<f64>,
    /// Trials of each transport and profile
    #[arg(long, value_name = "N")]
    trials: Option<u32>,
    /// Seed of payloads, phases and the order of trials
    #[arg(long)]
    seed: Option<u64>,
    /// Which clients make the load: our own, or those of the libraries
    #[arg(long, value_enum, default_value_t)]
    client: Family,
    /// Threads on either side [default: as many as cores and descriptors ask for]
    #[arg(long, value_name = "N")]
    shards: Option<usize>,
    /// Folder for the record
    #[arg(long, value_name = "FOLDER", default_value = "results/local")]
    out: PathBuf,
    /// What to print in the end: table or json
    #[arg(long, default_value_t)]
    format: Format,
    /// Exit with 1 also when a trial is only suspect
    #[arg(long)]
    strict: bool,
    /// Print the result and nothing else
    #[arg(long, short)]
    quiet: bool,
}

/// Runs every scenario and prints what was found.
pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    // All of them first: a typing error in the third is not found after ten minutes.
    let scenarios = arguments.scenarios.iter().map(|name| {
        let mut scenario = Scenario::load(name)?;
        scenario.apply(&arguments.overrides())?;
        Ok(scenario)
    });
    let scenarios: Vec<Scenario> = scenarios
        .collect::<Result<_, crate::scenario::ScenarioError>>()
        .map_err(usage)?;
    if arguments.shards == Some(0) {
        return Err(usage(anyhow::anyhow!(
            "'--shards' is 0, expected at least 1"
        )));
    }
    let program = std::env::current_exe().map_err(failed)?;
    let options = Options {
        family: arguments.client,
        shards: arguments.shards,
        out: Some(&arguments.out),
        program: &program,
        check_payloads: false,
    };
    let runtime = runtime()?;
    let mut outcome = Outcome::Good;
    for scenario in &scenarios {
        let bar = Bar::new(arguments.quiet);
        let done = runtime.block_on(crate::run::run(scenario, &options, &bar, interrupt()));
        bar.finish();
        let done = done.map_err(|error| match error {
            RunError::Layout(_) | RunError::Record(RecordError::Write { .. }) => usage(error),
            other => failed(other),
        })?;
        if arguments.report(&done)? == Outcome::Bad {
            outcome = Outcome::Bad;
        }
        if done.record.status == Status::Interrupted {
            break;
        }
    }
    Ok(outcome)
}

impl Arguments {
    fn overrides(&self) -> Overrides {
        Overrides {
            transports: self.transports.clone(),
            profiles: self.profiles.clone(),
            clients: self.clients,
            rate: self.rate,
            duration_s: self.duration,
            trials: self.trials,
            seed: self.seed,
        }
    }

    /// Prints what a run found, and says how it ended.
    fn report(&self, done: &Done) -> Result<Outcome, Failure> {
        let record = &done.record;
        let interrupted = record.status == Status::Interrupted;
        let width = console_width();
        if !record.trials.is_empty() || self.format == Format::Json {
            print(&self.format.render(record, width))?;
        }
        if interrupted {
            eprintln!("pushbench: interrupted; the trials that were done are kept");
        }
        if let (Some(folder), false) = (&done.folder, self.quiet) {
            eprintln!("record: {}", folder.display());
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

/// Width of the terminal in columns.
fn console_width() -> u16 {
    match indicatif::TermLike::width(&console::Term::stdout()) {
        0 => DEFAULT_WIDTH,
        width => width,
    }
}
