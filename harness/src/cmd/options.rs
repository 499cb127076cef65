//! The options that several commands share: one name for one meaning.
//!
//! Flattened into the arguments of each command. Spellings of the release before are rewritten in
//! front of the parser, with a hint; help, manual pages and completions have the new ones only.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use pushbench_os::allocator::Allocator;
use pushbench_protocol::transport::{Profile, Transport};

use super::Failure;
use super::addresses::{self, Addresses, addresses};
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
    /// Length of the measure phase of a trial, in s; without '--trials', trials that take turns have
    /// rounds of 8 slices, or of this where it is less
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
            budget_s: None,
            matters: Vec::new(),
            whole_trials: false,
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
            program: super::program(),
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

/// A spelling that the release before had: the commands that took it, as words, and what it is now,
/// in one word.
struct Renamed {
    commands: &'static [&'static str],
    old: &'static [&'static str],
    new: &'static str,
}

const RENAMED: [Renamed; 9] = [
    row(&["run"], &["--time-budget"], "--budget"),
    row(
        &["run", "limits", "verify"],
        &["--client"],
        "--client-family",
    ),
    row(&["serve", "limits"], &["--transport"], "--transports"),
    row(&["limits"], &["--profile"], "--profiles"),
    row(&["doctor"], &["--record"], "--from"),
    row(&["advise"], &["--rate"], "--rate-per-client"),
    row(&["advise"], &["--payload"], "--payload-bytes"),
    row(&["advise"], &["--json"], "--format=json"),
    row(&["compare"], &["--format", "text"], "--format=table"),
];

const fn row(
    commands: &'static [&'static str],
    old: &'static [&'static str],
    new: &'static str,
) -> Renamed {
    Renamed { commands, old, new }
}

/// The hint about an old spelling.
pub(super) fn renamed(old: &str, new: &str) -> String {
    format!("'{old}' is now '{new}'; the old spelling goes away in 0.3")
}

/// The command line with every old spelling replaced, and a hint for each.
pub(super) fn modern(arguments: impl Iterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let arguments: Vec<OsString> = arguments.collect();
    let (mut kept, mut hints) = (Vec::new(), Vec::new());
    let command = arguments.get(1).cloned().unwrap_or_default();
    let mut rest = &arguments[..];
    while let [first, after @ ..] = rest {
        // What follows is not an option, whatever it looks like.
        if first == "--" {
            break;
        }
        let mut rows = RENAMED
            .iter()
            .filter(|row| row.commands.iter().any(|name| command == *name));
        let found = rows.find_map(|row| Some((row, row.matches(rest)?)));
        let Some((row, (words, value))) = found else {
            kept.push(first.clone());
            rest = after;
            continue;
        };
        kept.push(format!("{}{value}", row.new).into());
        hints.push(renamed(&row.old.join(" "), &row.new.replace('=', " ")));
        rest = &rest[words..];
    }
    kept.extend_from_slice(rest);
    (kept, hints)
}

impl Renamed {
    /// How many words at the start of `arguments` are this spelling, and what the first carries
    /// after it (`=5`); `None` where they are something else.
    fn matches<'a>(&self, arguments: &'a [OsString]) -> Option<(usize, &'a str)> {
        let first = arguments.first()?.to_str()?;
        let value = first.strip_prefix(self.old[0])?;
        let separate = arguments.get(1).and_then(|word| word.to_str());
        match self.old {
            [_] if value.is_empty() || value.starts_with('=') => Some((1, value)),
            [_, second] if value.is_empty() && separate == Some(second) => Some((2, "")),
            [_, second] if value.strip_prefix('=') == Some(second) => Some((1, "")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn old_spellings_become_the_new_ones_with_a_hint() {
        for (line, new, hint) in [
            (
                "pushbench run --trials auto --time-budget 5",
                "pushbench run --trials auto --budget 5",
                "'--time-budget' is now '--budget'; the old spelling goes away in 0.3",
            ),
            (
                "pushbench verify --client=lean",
                "pushbench verify --client-family=lean",
                "'--client' is now '--client-family'; the old spelling goes away in 0.3",
            ),
            (
                "pushbench advise --json --check",
                "pushbench advise --format=json --check",
                "'--json' is now '--format json'; the old spelling goes away in 0.3",
            ),
            (
                "pushbench compare a --format=text b",
                "pushbench compare a --format=table b",
                "'--format text' is now '--format table'; the old spelling goes away in \
                 0.3",
            ),
            (
                "pushbench compare --format text a b",
                "pushbench compare --format=table a b",
                "'--format text' is now '--format table'; the old spelling goes away in \
                 0.3",
            ),
        ] {
            assert_eq!(
                modern(words(line).into_iter()),
                (words(new), vec![hint.to_owned()]),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_spelled_well_or_belongs_to_another_command_stays() {
        for line in [
            "pushbench run --rate 5 --clients 3 --client-family lean",
            "pushbench serve --rate 5 --payload json",
            "pushbench doctor --transport sse",
            "pushbench run -- --time-budget",
            "pushbench compare --format md text",
            "pushbench compare --format",
            "pushbench",
        ] {
            assert_eq!(
                modern(words(line).into_iter()),
                (words(line), Vec::new()),
                "{line}"
            );
        }
    }

    #[test]
    fn every_new_spelling_is_an_option_and_no_old_one_is() {
        use clap::CommandFactory;
        let cli = super::super::Cli::command();
        for row in RENAMED {
            for name in row.commands {
                let command = cli.find_subcommand(name).expect("a command");
                let has = |option: &str| {
                    let mut options = command.get_arguments();
                    options
                        .any(|a| a.get_long() == option.trim_start_matches("--").split('=').next())
                };
                assert!(has(row.new), "{name} {}", row.new);
                assert!(
                    row.old.len() > 1 || !has(row.old[0]),
                    "{name} {}",
                    row.old[0]
                );
            }
        }
    }
}
