//! `pushbench limits`: grow until an objective breaks, and name what broke.

use std::path::PathBuf;
use std::time::Duration;

use pushbench_os::allocator::Allocator;
use pushbench_protocol::transport::{Profile, Transport};

use super::addresses::{self, Addresses, addresses};
use super::progress::Bar;
use super::run::{console_width, keep_page, run_failure};
use super::{Failure, Outcome, failed, interrupt, print, runtime, say, usage};
use crate::environment::layout::MAX_SHARDS;
use crate::load::client::Family;
use crate::record::{LimitOf, Record, Status};
use crate::report::Format;
use crate::run::limits::objective::{DEFAULT, Objective};
use crate::run::limits::{self, Options};
use crate::scenario::{Overrides, Scenario};

/// What is grown where no scenario is named.
const WORKLOAD: &str = include_str!("limits.toml");

/// Messages a second while subscribers are grown: often enough that a sweep which takes longer than
/// a tenth of a second falls behind.
const FANOUT_RATE_PER_S: f64 = 10.0;

/// Arguments of `limits`.
#[derive(Debug, clap::Args)]
// So that '--rate -1' is told as a bad rate and not as an unknown option.
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    /// Scenario whose workload is grown, by name or as a path [default: one channel, a message
    /// every two seconds]
    #[arg(value_name = "SCENARIO")]
    scenario: Option<String>,
    /// Transports, one after the other, such as 'sse,websocket'
    #[arg(long, alias = "transport", value_name = "IDS", value_delimiter = ',')]
    transports: Option<Vec<Transport>>,
    /// Profiles to run them in
    #[arg(long, alias = "profile", value_name = "IDS", value_delimiter = ',')]
    profiles: Option<Vec<Profile>>,
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
    /// How close the last value that held and the first that broke shall come, as a share
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    resolution: f64,
    /// Time for all transports and profiles together, in s
    #[arg(long, value_name = "S", default_value_t = 600.0)]
    time_budget: f64,
    /// Number of clients while the rate is grown
    #[arg(long, value_name = "N")]
    clients: Option<u32>,
    /// Messages a second while clients or subscribers are grown
    #[arg(long, value_name = "PER_S")]
    rate: Option<f64>,
    /// Length of the measure phase of a step, in s
    #[arg(long, value_name = "S")]
    duration: Option<f64>,
    /// Seed of payloads and phases
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
    /// Print the result and nothing else
    #[arg(long, short)]
    quiet: bool,
}

/// Searches, and prints what was found.
pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    arguments.check()?;
    let scenario = arguments.scenario()?;
    let sources = addresses::check(&arguments.source_addresses)?;
    let program = std::env::current_exe().map_err(failed)?;
    let options = Options {
        family: arguments.client,
        shards: arguments.shards,
        sources: &sources,
        out: &arguments.out,
        program: &program,
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
        budget: Duration::from_secs_f64(arguments.time_budget),
    };
    let runtime = runtime()?;
    let _context = runtime.enter();
    let bar = Bar::new(arguments.quiet);
    let done = runtime.block_on(limits::run(&scenario, &options, &bar, interrupt()));
    bar.finish();
    let done = done.map_err(run_failure)?;
    let report = arguments
        .format
        .render(&done.record, done.folder.as_deref(), console_width());
    print(&report.map_err(failed)?)?;
    if done.record.status == Status::Interrupted {
        say("pushbench: interrupted; the steps that were done are kept");
    }
    if let Some(folder) = &done.folder {
        keep_page(&done.record, folder, arguments.quiet)?;
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
        if !(self.time_budget > 0.0 && self.time_budget <= 86_400.0) {
            return refuse(format!(
                "'--time-budget' is {}, expected seconds above 0 and up to 86400",
                self.time_budget
            ));
        }
        if let Some(shards) = self.shards
            && !(1..=MAX_SHARDS).contains(&shards)
        {
            return refuse(format!(
                "'--shards' is {shards}, expected 1 to {MAX_SHARDS}"
            ));
        }
        let grown = match self.of {
            LimitOf::Clients | LimitOf::Fanout => self
                .clients
                .map(|n| ("--clients", n.to_string(), "--max-clients")),
            LimitOf::Rate => self.rate.map(|r| ("--rate", r.to_string(), "--max-rate")),
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
            None => Scenario::parse("limits.toml", WORKLOAD),
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
        let overrides = Overrides {
            transports: self.transports.clone(),
            profiles: self.profiles.clone(),
            clients: self.clients,
            rate: self.rate.or(own.then_some(FANOUT_RATE_PER_S)),
            duration_s: self.duration,
            trials: None,
            sweep: None,
            seed: self.seed,
            allocator: self.allocator,
        };
        scenario.apply(&overrides).map_err(usage)?;
        let name = &scenario.name;
        if scenario.publish.is_none() {
            let needs = if self.of == LimitOf::Rate {
                Some("'--of rate' grows what is published".to_owned())
            } else if self.objective.asks_for_latency() {
                Some(format!("'--objective' is '{}'", self.objective))
            } else {
                None
            };
            if let Some(needs) = needs {
                return Err(usage(anyhow::anyhow!(
                    "{needs}, but scenario '{name}' publishes nothing; choose another scenario, or \
                     an objective without a latency"
                )));
            }
        }
        Ok(scenario)
    }
}
