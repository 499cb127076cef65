//! The options that several commands share: one name for one meaning.
//!
//! Flattened into the arguments of each command.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use pushbench_os::allocator::Allocator;
use pushbench_protocol::transport::{Profile, Transport};

use super::addresses::{self, Addresses, addresses};
use super::{Failure, failed};
use crate::environment::layout::MAX_SHARDS;
use crate::record::Family;
use crate::report::Format;
use crate::run::Options;
use crate::scenario::Overrides;

/// What is tried: for commands that try several, one after the other.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Selection {
    /// Transports, such as 'tcp,sse,websocket' [default: those of the scenario]
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(super) transports: Option<Vec<Transport>>,
    /// Profiles to run them in: stock, tuned, lean, or several of them [default: those of the
    /// scenario]
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(super) profiles: Option<Vec<Profile>>,
}

/// What a scenario says and the command line may change.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Workload {
    /// Number of clients
    #[arg(long, value_name = "N")]
    pub(super) clients: Option<u32>,
    /// Messages published a second, over all channels
    #[arg(long, value_name = "PER_S")]
    pub(super) rate: Option<f64>,
    /// Length of the measure phase of a trial, in s
    #[arg(long, value_name = "S")]
    pub(super) duration: Option<f64>,
    /// Seed of payloads, phases and the order of trials
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Allocator of server and clients: system or jemalloc
    #[arg(long, value_name = "ID")]
    pub(super) allocator: Option<Allocator>,
}

impl Workload {
    /// The changes to a scenario, with those of `selection`.
    pub(super) fn overrides(&self, selection: &Selection) -> Overrides {
        Overrides {
            transports: selection.transports.clone(),
            profiles: selection.profiles.clone(),
            clients: self.clients,
            rate: self.rate,
            duration_s: self.duration,
            trials: None,
            sweep: None,
            seed: self.seed,
            allocator: self.allocator,
        }
    }
}

/// What makes the load.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct LoadGenerator {
    /// Which clients make the load: the built-in ones (lean), or those of libraries (library)
    #[arg(long, value_enum, value_name = "FAMILY", default_value_t)]
    pub(super) client_family: Family,
    /// Threads of the server, and of the clients [default: as many as cores and descriptors ask for]
    #[arg(long, value_name = "N", value_parser = shards())]
    pub(super) shards: Option<usize>,
    /// Addresses to connect from, such as '10.0.0.2,10.0.0.10-10.0.0.40' [default: 127.0.0.x]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = addresses)]
    source_addresses: Vec<Addresses>,
}

impl LoadGenerator {
    /// How trials are run whose record goes to `output`. Each address must be one of this machine's.
    pub(super) fn options(&self, output: &Output) -> Result<Options, Failure> {
        Ok(Options {
            family: self.client_family,
            shards: self.shards,
            sources: addresses::check(&self.source_addresses)?,
            out: Some(output.out.clone()),
            program: std::env::current_exe().map_err(failed)?,
            ..Options::default()
        })
    }
}

/// Where the result goes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Output {
    /// Folder for the record
    #[arg(long, value_name = "FOLDER", default_value = super::report::LOCAL)]
    pub(super) out: PathBuf,
    /// What to print in the end: table, html, md, csv, json or hgrm
    #[arg(long, default_value_t)]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) verbosity: Verbosity,
}

/// How much is printed next to the result.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Verbosity {
    /// Print the result and nothing else
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// What a process of its own runs on.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Process {
    /// Cores to run on, such as '0,2'
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = cpu)]
    pub(super) cpus: Vec<usize>,
    /// Allocator of this process: system or jemalloc
    #[arg(long, value_name = "ID")]
    pub(super) allocator: Option<Allocator>,
}

/// The formats of commands that print no record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Printed {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Parses a number of threads.
pub(super) fn shards() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=MAX_SHARDS as u64)
}

/// Parses a time in s.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let expected = "expected seconds above 0 and up to 86400";
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 86_400.0 => Ok(Duration::from_secs_f64(value)),
        _ => Err(expected.to_owned()),
    }
}

/// Parses the number of a core.
fn cpu(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is not the number of a core"))
}
