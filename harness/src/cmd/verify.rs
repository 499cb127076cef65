//! `pushbench verify`: every transport, profile and family of clients must deliver exactly what was
//! published; nothing is timed. With `--known-answers`, numbers must show what was done to them; with
//! `--statistics`, comparisons must find the differences that there are, and no others.

use std::cell::RefCell;

use clap::ValueEnum;

use super::options::{Selection, Verbosity};
use super::progress::Bar;
use super::run::run_failure;
use super::{Failure, Outcome, interrupt, print, runtime, say, usage};
use crate::record::Family;
use crate::run::Watch;
use crate::scenario::Overrides;
use crate::verify::answers::{self, Counts, Known};
use crate::verify::bytes::{self, BytesError};
use crate::verify::{Bench, Listener, statistics};

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
    /// Compare a transport with itself, with 5% more work and 5% later, and count how often a
    /// difference is found: three quarters of an hour
    #[arg(long, conflicts_with_all = ["transports", "profiles", "client_family", "known_answers"])]
    statistics: bool,
    /// How many runs of each
    #[arg(long, default_value_t = 20, requires = "statistics", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Checks all of them and reports which failed.
pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let console = Console {
        quiet: arguments.verbosity.quiet,
        failed: RefCell::default(),
    };
    let ended = if arguments.known_answers {
        let known = arguments.only.as_deref();
        console.known_answers(known.unwrap_or_else(|| Known::value_variants()))?
    } else if arguments.statistics {
        console.statistics(arguments.runs)?
    } else {
        console.bytes(&arguments)?
    };
    if let Some(error) = console.failed.into_inner() {
        return Err(error);
    }
    Ok(match ended {
        Some(true) => Outcome::Good,
        Some(false) => Outcome::Bad,
        None => {
            say("pushbench: interrupted");
            Outcome::Bad
        }
    })
}

/// Prints what is found. The first result that cannot be printed is kept.
struct Console {
    quiet: bool,
    failed: RefCell<Option<Failure>>,
}

impl Listener for Console {
    fn result(&self, text: &str) {
        if let Err(error) = print(&format!("{text}\n")) {
            self.failed.borrow_mut().get_or_insert(error);
        }
    }

    fn progress(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    fn watch(&self) -> Box<dyn Watch> {
        Box::new(Bar::new(self.quiet))
    }
}

impl Console {
    /// Whether each was exactly as published; `None` where the check was interrupted.
    fn bytes(&self, arguments: &Arguments) -> Result<Option<bool>, Failure> {
        let families = match arguments.client_family {
            Some(family) => vec![family],
            None => vec![Family::Lean, Family::Library],
        };
        let overrides = Overrides {
            transports: arguments.selection.transports.clone(),
            profiles: arguments.selection.profiles.clone(),
            ..Overrides::default()
        };
        let program = super::program();
        let runtime = runtime()?;
        let _context = runtime.enter();
        let interrupted = std::pin::pin!(interrupt());
        let checked = bytes::run(&overrides, &families, &program, self, interrupted);
        let verified = runtime.block_on(checked).map_err(|error| match error {
            BytesError::Selection(error) => usage(error),
            BytesError::Run(error) => run_failure(error),
        })?;
        if verified.interrupted {
            return Ok(None);
        }
        if !verified.wrong.is_empty() {
            say(verified.wrong.trim_end());
        } else if !self.quiet {
            self.result(&format!(
                "verified: {} trials, {} deliveries, each exactly as published",
                verified.trials, verified.deliveries
            ));
        }
        Ok(Some(verified.wrong.is_empty()))
    }

    fn known_answers(&self, known: &[Known]) -> Result<Option<bool>, Failure> {
        let bench = Bench::new(super::program());
        let ended = until_interrupted(answers::run(known, bench, self.quiet, self))?;
        let Some(Counts {
            asked,
            held,
            without_premise,
        }) = ended
        else {
            return Ok(None);
        };
        if without_premise > 0 {
            say(&format!(
                "pushbench: {without_premise} of {asked} known answers cannot be judged: this machine is \
                 not what they presume; run them on an idle one"
            ));
        }
        if held == asked && !self.quiet {
            self.result(&format!("{held} of {asked} known answers hold"));
        }
        Ok(Some(held == asked))
    }

    fn statistics(&self, runs: u32) -> Result<Option<bool>, Failure> {
        let bench = Bench::new(super::program());
        until_interrupted(statistics::run(runs, bench, self))
    }
}

/// What `checked` comes to; `None` where it was interrupted.
fn until_interrupted<T>(
    checked: impl Future<Output = Result<T, crate::run::RunError>>,
) -> Result<Option<T>, Failure> {
    runtime()?.block_on(async {
        tokio::select! {
            ended = checked => ended.map(Some).map_err(run_failure),
            // Dropping a trial kills its children.
            () = interrupt() => Ok(None),
        }
    })
}
