//! Every transport, profile and family of clients delivers exactly what was published, byte for byte.
//! Nothing is timed.

use std::fmt::Write;
use std::path::Path;
use std::pin::Pin;

use super::{Listener, built_in};
use crate::audit::is_timed;
use crate::record::{Check, Family, Outcome, Status, Trial, Verdict};
use crate::run::{Options, RunError};
use crate::scenario::{Overrides, ScenarioError};

/// The workloads: small, so that all of it takes a minute. The second crosses every buffer on the
/// way: messages larger than one, and many of them at once.
pub(super) const WORKLOADS: [(&str, &str); 2] = [
    ("verify-small.toml", include_str!("verify-small.toml")),
    ("verify-large.toml", include_str!("verify-large.toml")),
];

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum BytesError {
    /// There is no such transport or profile to verify.
    #[error(transparent)]
    Selection(#[from] ScenarioError),
    /// The runs cannot be made.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What was verified.
#[derive(Debug, Default)]
pub struct Verified {
    /// Trials.
    pub trials: usize,
    /// Deliveries, each of which was compared.
    pub deliveries: u64,
    /// What is wrong, a line each.
    pub wrong: String,
    /// Whether it ended before its end.
    pub interrupted: bool,
}

/// Runs every workload over what `overrides` chooses, with each of `families`.
///
/// # Errors
/// [`BytesError`].
pub async fn run(
    overrides: &Overrides,
    families: &[Family],
    program: &Path,
    listener: &dyn Listener,
    mut interrupted: Pin<&mut impl Future<Output = ()>>,
) -> Result<Verified, BytesError> {
    let mut verified = Verified::default();
    for (name, source) in WORKLOADS {
        let mut scenario = built_in(name, source);
        scenario.apply(overrides)?;
        for &family in families {
            let options = Options {
                family,
                program: program.to_owned(),
                check_payloads: true,
                ..Options::default()
            };
            let watch = listener.watch();
            let done = crate::run::run(&scenario, &options, &*watch, interrupted.as_mut()).await?;
            if done.record.status == Status::Interrupted {
                verified.interrupted = true;
                return Ok(verified);
            }
            for trial in &done.record.trials {
                verified.trials += 1;
                verified.deliveries += trial.deliveries.received;
                complain(&mut verified.wrong, &scenario.name, family, trial);
            }
        }
    }
    Ok(verified)
}

fn complain(wrong: &mut String, scenario: &str, family: Family, trial: &Trial) {
    if trial.validity.verdict != Verdict::Void {
        return;
    }
    // Nothing is timed here, and what a late publisher did not publish at all is missing.
    let counts = |name: &str| {
        let failed = |c: &Check| c.check == name && c.outcome == Outcome::Failed;
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
