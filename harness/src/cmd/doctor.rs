//! `pushbench doctor`: how many clients this machine can hold, limit by limit.

use std::path::PathBuf;

use pushbench_protocol::transport::{Profile, Transport};

use super::options::{Printed, Verbosity};
use super::progress::Bar;
use super::{Failure, Outcome, interrupt, print, runtime, say, usage};
use crate::environment::doctor::{Machine, MemoryPerClient, examine, render};
use crate::record::{Record, Trial};
use crate::run::Options;
use crate::scenario::Scenario;

/// The workload that measures the memory of a client.
const WORKLOAD: &str = include_str!("doctor.toml");

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Number of clients to check [default: the most that this machine can hold]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    clients: Option<u32>,
    /// Transport whose memory per client is used
    #[arg(long, value_name = "ID", default_value = "sse")]
    transport: Transport,
    /// Profile of its server
    #[arg(long, value_name = "ID", default_value = "tuned")]
    profile: Profile,
    /// Take memory per client from a record instead of measuring it for some seconds
    #[arg(long, value_name = "RUN", conflicts_with = "no_measure")]
    from: Option<PathBuf>,
    /// Use reference values of memory per client and measure nothing
    #[arg(long)]
    no_measure: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    format: Printed,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Examines the machine and prints what was found.
pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let machine = Machine::read();
    let memory = arguments.memory()?;
    let found = examine(&machine, &memory, arguments.clients);
    print(&match arguments.format {
        Printed::Table => render(&found),
        // Keys are strings and numbers are finite, so this has no error.
        Printed::Json => serde_json::to_string_pretty(&found).unwrap_or_default() + "\n",
    })?;
    Ok(if found.reachable {
        Outcome::Good
    } else {
        Outcome::Bad
    })
}

impl Arguments {
    fn memory(&self) -> Result<MemoryPerClient, Failure> {
        if let Some(path) = &self.from {
            let record = Record::read(path).map_err(usage)?;
            return self.of_record(&record).map_err(|message| {
                usage(anyhow::anyhow!(
                    "'--from' is '{}': {message}",
                    path.display()
                ))
            });
        }
        if self.no_measure {
            return Ok(MemoryPerClient::reference("nothing was measured"));
        }
        self.measured()
    }

    /// The highest memory per client of all trials of this transport and profile.
    fn of_record(&self, record: &Record) -> Result<MemoryPerClient, String> {
        let source = |trial: &Trial| format!("measured in the record, {}", trial.label());
        let of = |trial: &&Trial| trial.variant.side == (self.transport, self.profile).into();
        let slopes = record.trials.iter().filter(of);
        slopes
            .filter_map(|trial| of_trial(trial, source(trial)))
            .max_by(|a, b| a.bytes().total_cmp(&b.bytes()))
            .ok_or_else(|| {
                format!(
                    "it has no memory per client of {} {}; expected a trial with at least 1000 \
                     clients; choose another record, or leave the option out to measure it",
                    self.transport, self.profile
                )
            })
    }

    fn measured(&self) -> Result<MemoryPerClient, Failure> {
        let mut scenario = Scenario::parse("doctor.toml", WORKLOAD).map_err(super::failed)?;
        scenario.run.transports = vec![self.transport];
        scenario.run.profiles = vec![self.profile];
        let options = Options {
            program: super::program(),
            ..Options::default()
        };
        let runtime = runtime()?;
        let _context = runtime.enter();
        let bar = Bar::silent_lines(self.verbosity.quiet);
        let done = runtime.block_on(crate::run::run(&scenario, &options, &bar, interrupt()));
        drop(bar);
        let trials = match &done {
            Ok(done) => &done.record.trials[..],
            Err(_) => &[],
        };
        let measured = trials.first().and_then(|trial| {
            let source = format!(
                "measured now with {} idle clients of {} {}",
                trial.clients.connected, trial.variant.transport, trial.variant.profile
            );
            of_trial(trial, source)
        });
        Ok(measured.unwrap_or_else(|| {
            let why = match &done {
                Err(error) => error.to_string(),
                Ok(_) => "no slope could be fitted".to_owned(),
            };
            if !self.verbosity.quiet {
                say(&format!(
                    "pushbench: memory per client could not be measured ({why}); using reference \
                     values"
                ));
            }
            MemoryPerClient::reference("measuring failed")
        }))
    }
}

/// The memory of a client of `trial`; `None` if a slope is missing. A negative slope is noise
/// around 0.
fn of_trial(trial: &Trial, source: String) -> Option<MemoryPerClient> {
    let memory = &trial.server.memory;
    Some(MemoryPerClient {
        server_bytes: memory.user_bytes_per_client?.max(0.0),
        harness_bytes: trial.harness.memory_bytes_per_client?.max(0.0),
        kernel_bytes: memory.kernel_bytes_per_client?.max(0.0),
        source,
    })
}
