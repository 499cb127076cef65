//! `pushbench run`: trials, a record, a table.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pushbench_os::allocator::Allocator;
use pushbench_protocol::transport::{Profile, Transport};

use super::addresses::{self, Addresses, addresses};
use super::progress::Bar;
use super::{Failure, Outcome, failed, interrupt, print, runtime, say, usage};
use crate::analysis::compare::MIN_ROUNDS;
use crate::environment::layout::MAX_SHARDS;
use crate::load::client::Family;
use crate::record::{Record, RecordError, Status, Verdict, create_folder, write_atomically};
use crate::report::{DEFAULT_WIDTH, Format, HTML_FILE};
use crate::run::{Done, Options, RunError};
use crate::scenario::{Overrides, Scenario, ScenarioError, Sweep};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
// So that '--rate -1' is told as a bad rate and not as an unknown option.
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    /// Scenarios by name ('pushbench list') or as paths of TOML files
    #[arg(value_name = "SCENARIO", default_value = "quick")]
    scenarios: Vec<String>,
    /// Transports to compare, such as 'tcp,sse,websocket'
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    transports: Option<Vec<Transport>>,
    /// Profiles to run them in: stock, tuned, lean, or several of them
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
    /// Trials of each transport and profile; 'auto' goes on until every difference is decided
    #[arg(long, value_name = "N", value_parser = trials)]
    trials: Option<Trials>,
    /// Time that '--trials auto' may spend on a scenario, in s
    #[arg(long, value_name = "S", default_value_t = 600.0)]
    budget: f64,
    /// Vary clients, payload_bytes, channels or rate_per_s, such as 'clients=100,1000'; several
    /// lists go together value by value
    #[arg(long, value_name = "KEY=VALUES")]
    sweep: Vec<Sweep>,
    /// Seed of payloads, phases and the order of trials
    #[arg(long)]
    seed: Option<u64>,
    /// Which clients make the load: our own, or those of the libraries
    #[arg(long, value_enum, default_value_t)]
    client: Family,
    /// Threads on either side [default: as many as cores and descriptors ask for]
    #[arg(long, value_name = "N")]
    shards: Option<usize>,
    /// Allocator of server and clients: system or jemalloc
    #[arg(long, value_name = "ID")]
    allocator: Option<Allocator>,
    /// Addresses to connect from, such as '10.0.0.2,10.0.0.10-10.0.0.40' [default: 127.0.0.x]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = addresses)]
    source_addresses: Vec<Addresses>,
    /// Folder for the record
    #[arg(long, value_name = "FOLDER", default_value = "results/local")]
    out: PathBuf,
    /// What to print in the end: table, html, md, csv, json or hgrm
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
    let overrides = arguments.overrides()?;
    let scenarios = arguments.scenarios.iter().map(|name| {
        let mut scenario = Scenario::load(name)?;
        scenario.apply(&overrides)?;
        if let (Family::Library, Some(what)) = (arguments.client, scenario.needs_lean_clients()) {
            return Err(ScenarioError::Option(format!(
                "'--client' is 'library', but scenario '{}' has {what}, which only our own clients \
                 do; leave the option out",
                scenario.name
            )));
        }
        Ok(scenario)
    });
    let scenarios: Vec<Scenario> = scenarios
        .collect::<Result<_, ScenarioError>>()
        .map_err(usage)?;
    if let Some(shards) = arguments.shards
        && !(1..=MAX_SHARDS).contains(&shards)
    {
        return Err(usage(anyhow::anyhow!(
            "'--shards' is {shards}, expected 1 to {MAX_SHARDS}"
        )));
    }
    let program = std::env::current_exe().map_err(failed)?;
    let sources = addresses::check(&arguments.source_addresses)?;
    let options = Options {
        sources: &sources,
        family: arguments.client,
        shards: arguments.shards,
        out: Some(&arguments.out),
        program: &program,
        check_payloads: false,
        until_decided: arguments.until_decided()?,
    };
    let runtime = runtime()?;
    let _context = runtime.enter();
    let mut interrupted = std::pin::pin!(interrupt());
    let mut outcome = Outcome::Good;
    for scenario in &scenarios {
        let bar = Bar::new(arguments.quiet);
        let done = runtime.block_on(crate::run::run(
            scenario,
            &options,
            &bar,
            interrupted.as_mut(),
        ));
        bar.finish();
        let done = done.map_err(run_failure)?;
        if arguments.report(&done)? == Outcome::Bad {
            outcome = Outcome::Bad;
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

/// Keeps a record that its own folder has no room for, and says where it is.
fn keep_elsewhere(record: &Record) -> String {
    let kept = create_folder(
        &std::env::temp_dir().join("pushbench"),
        SystemTime::now(),
        &record.scenario.name,
    )
    .and_then(|folder| record.write(&folder).map(|()| folder));
    match kept {
        Ok(folder) => format!("what was measured is kept in '{}'", folder.display()),
        Err(_) => {
            "what was measured is what was printed: there was no room for it in the folder for \
                   temporary files either"
                .to_owned()
        }
    }
}

/// Writes the page beside a record, and says where both are.
pub(super) fn keep_page(record: &Record, folder: &Path, quiet: bool) -> Result<(), Failure> {
    let page = folder.join(HTML_FILE);
    let html = Format::Html.render(record, Some(folder), console_width());
    write_atomically(&page, &html.map_err(failed)?).map_err(|error| {
        failed(anyhow::anyhow!(
            "cannot write '{}': {}; the record is whole, 'pushbench report {}' draws it",
            page.display(),
            crate::text::io_reason(&error),
            folder.display()
        ))
    })?;
    if !quiet {
        say(&format!("record: {}", folder.display()));
        say(&format!("report: {}", page.display()));
    }
    Ok(())
}

impl Arguments {
    fn until_decided(&self) -> Result<Option<Duration>, Failure> {
        if !(self.budget > 0.0 && self.budget <= 86_400.0) {
            return Err(usage(anyhow::anyhow!(
                "'--budget' is {}, expected seconds above 0 and up to 86400",
                self.budget
            )));
        }
        let auto = self.trials == Some(Trials::Auto);
        Ok(auto.then(|| Duration::from_secs_f64(self.budget)))
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
            transports: self.transports.clone(),
            profiles: self.profiles.clone(),
            clients: self.clients,
            rate: self.rate,
            duration_s: self.duration,
            trials: match self.trials {
                Some(Trials::Number(number)) => Some(number),
                Some(Trials::Auto) => Some(MIN_ROUNDS as u32),
                None => None,
            },
            sweep: self.sweep()?,
            seed: self.seed,
            allocator: self.allocator,
        })
    }

    /// Prints what a run found, and says how it ended.
    fn report(&self, done: &Done) -> Result<Outcome, Failure> {
        let record = &done.record;
        let interrupted = record.status == Status::Interrupted;
        let width = console_width();
        let folder = done.folder.as_deref();
        if !record.trials.is_empty() || self.format == Format::Json {
            print(&self.format.render(record, folder, width).map_err(failed)?)?;
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
        if let Some(folder) = folder {
            keep_page(record, folder, self.quiet)?;
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
pub(super) fn console_width() -> u16 {
    let size = console::Term::stdout().size_checked();
    size.map_or(DEFAULT_WIDTH, |(_, columns)| columns)
}
