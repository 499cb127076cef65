//! `pushbench verify`: every transport, profile and family of clients must deliver exactly what was
//! published; nothing is timed. With `--known-answers`, numbers must show what was done to them.

use std::fmt::Write;

use super::known::Known;
use super::options::{Selection, Verbosity};
use super::progress::Bar;
use super::run::run_failure;
use super::{Failure, Outcome, failed, interrupt, print, runtime, say, usage};
use crate::audit::is_timed;
use crate::record::Family;
use crate::record::{Check, Outcome as CheckOutcome, Status, Trial, Verdict};
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
    #[command(flatten)]
    selection: Selection,
    /// Clients to check with; both families by default
    #[arg(long, value_enum, value_name = "FAMILY")]
    client_family: Option<Family>,
    /// Do something to trials instead (stop the server, delay, drop, starve …), and check that
    /// their numbers say exactly that: two minutes
    #[arg(long, conflicts_with_all = ["transports", "profiles", "client_family"])]
    known_answers: bool,
    /// Known answers to check; all by default
    #[arg(
        long,
        value_enum,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "known_answers"
    )]
    only: Option<Vec<Known>>,
    /// Compare a transport with itself, and with itself 1 ms later, and count how often the
    /// difference is found: a quarter of an hour
    #[arg(long, conflicts_with_all = ["transports", "profiles", "client_family", "known_answers"])]
    statistics: bool,
    /// How many runs of either
    #[arg(long, default_value_t = 20, requires = "statistics", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Checks all of them and says which failed.
pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    if arguments.known_answers {
        return super::known::run(arguments.only.as_deref(), arguments.verbosity.quiet);
    }
    if arguments.statistics {
        return super::statistics::run(arguments.runs, arguments.verbosity.quiet);
    }
    let program = std::env::current_exe().map_err(failed)?;
    let runtime = runtime()?;
    let _context = runtime.enter();
    let mut interrupted = std::pin::pin!(interrupt());
    let families = match arguments.client_family {
        Some(family) => vec![family],
        None => vec![Family::Lean, Family::Library],
    };
    let (mut checked, mut deliveries, mut wrong) = (0, 0, String::new());
    for (name, source) in WORKLOADS {
        let mut scenario = Scenario::parse(name, source).map_err(failed)?;
        let overrides = Overrides {
            transports: arguments.selection.transports.clone(),
            profiles: arguments.selection.profiles.clone(),
            ..Overrides::default()
        };
        scenario.apply(&overrides).map_err(usage)?;
        for &family in &families {
            let options = Options {
                sources: &[],
                family,
                shards: None,
                out: None,
                program: &program,
                check_payloads: true,
                until_decided: None,
            };
            let bar = Bar::new(arguments.verbosity.quiet);
            let done = runtime.block_on(crate::run::run(
                &scenario,
                &options,
                &bar,
                interrupted.as_mut(),
            ));
            bar.finish();
            let record = done.map_err(run_failure)?.record;
            if record.status == Status::Interrupted {
                say("pushbench: interrupted");
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
        say(wrong.trim_end());
        return Ok(Outcome::Bad);
    }
    if !arguments.verbosity.quiet {
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
    // Nothing is timed here, and what a late publisher did not publish at all is missing.
    let counts = |name: &str| {
        let failed = |c: &Check| c.check == name && c.outcome == CheckOutcome::Failed;
        trial.error.is_some() || trial.validity.checks.iter().any(failed)
    };
    let reasons = trial.validity.reasons.iter();
    for reason in reasons.filter(|r| counts(&r.check) && !is_timed(&r.check)) {
        let _ = writeln!(
            wrong,
            "verify {} with {family} clients on '{scenario}': {}; {}",
            trial.label(),
            reason.message,
            reason.remedy
        );
    }
}
