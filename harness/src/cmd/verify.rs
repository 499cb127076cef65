//! `pushbench verify`: every transport, profile and family of clients must deliver exactly what was
//! published. Nothing is timed.

use std::fmt::Write;

use pushbench_servers::transport::{Profile, Transport};

use super::progress::Bar;
use super::{Failure, Outcome, failed, interrupt, print, runtime, usage};
use crate::client::Family;
use crate::results::{Status, Trial, Verdict};
use crate::run::Options;
use crate::scenario::{Overrides, Scenario};

/// The workloads: small, so that all of it takes a minute. The second crosses every buffer on the
/// way: messages larger than one, and many of them at once.
const WORKLOADS: [(&str, &str); 2] = [
    ("verify-small.toml", include_str!("verify-small.toml")),
    ("verify-large.toml", include_str!("verify-large.toml")),
];

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Transports to check, such as 'sse,websocket'; all by default
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    transports: Option<Vec<Transport>>,
    /// Profiles to check; all by default
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    profiles: Option<Vec<Profile>>,
    /// Clients to check with; both families by default
    #[arg(long, value_enum)]
    client: Option<Family>,
    /// Print nothing but what is wrong
    #[arg(long, short)]
    quiet: bool,
}

/// Checks all of them and says which failed.
pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let program = std::env::current_exe().map_err(failed)?;
    let runtime = runtime()?;
    let families = match arguments.client {
        Some(family) => vec![family],
        None => vec![Family::Lean, Family::Library],
    };
    let (mut checked, mut deliveries, mut wrong) = (0, 0, String::new());
    for (name, source) in WORKLOADS {
        let mut scenario = Scenario::parse(name, source).map_err(failed)?;
        let overrides = Overrides {
            transports: arguments.transports.clone(),
            profiles: arguments.profiles.clone(),
            ..Overrides::default()
        };
        scenario.apply(&overrides).map_err(usage)?;
        for &family in &families {
            let options = Options {
                family,
                shards: None,
                out: None,
                program: &program,
                check_payloads: true,
            };
            let bar = Bar::new(arguments.quiet);
            let done = runtime.block_on(crate::run::run(&scenario, &options, &bar, interrupt()));
            bar.finish();
            let record = done.map_err(failed)?.record;
            if record.status == Status::Interrupted {
                eprintln!("pushbench: interrupted");
                return Ok(Outcome::Bad);
            }
            for trial in &record.trials {
                checked += 1;
                deliveries += trial.deliveries.received;
                complain(&mut wrong, &scenario.name, family, trial);
            }
        }
    }
    if !wrong.is_empty() {
        eprint!("{wrong}");
        return Ok(Outcome::Bad);
    }
    if !arguments.quiet {
        print(&format!(
            "verified: {checked} trials, {deliveries} deliveries, each exactly as published\n"
        ))?;
    }
    Ok(Outcome::Good)
}

fn complain(wrong: &mut String, scenario: &str, family: Family, trial: &Trial) {
    if trial.validity.verdict != Verdict::Void {
        return;
    }
    for reason in &trial.validity.reasons {
        let _ = writeln!(
            wrong,
            "verify {} with {family} clients on '{scenario}': {}; {}",
            trial.label(),
            reason.message,
            reason.remedy
        );
    }
}
