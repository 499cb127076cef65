//! The options of the command line that change a scenario, and errors that name them.

use super::error::ScenarioError;
use super::{MattersValue, Scenario, Sweep, SweepKey, check};
use pushbench_os::allocator::Allocator;
use pushbench_protocol::transport::{Profile, Transport};

/// Options of `pushbench run` that take the place of a scenario's values; `None` leaves them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `--transports`, for `run.transports`.
    pub transports: Option<Vec<Transport>>,
    /// `--profiles`, for `run.profiles`.
    pub profiles: Option<Vec<Profile>>,
    /// `--clients`, for `clients.count`. The number of channels stays, unless it is `per_client`.
    pub clients: Option<u32>,
    /// `--rate`, for `publish.rate_per_s`.
    pub rate: Option<f64>,
    /// `--duration`, in s, for `phases.measure_s`.
    pub duration_s: Option<f64>,
    /// `--trials`, for `run.trials`: a number, or until all is decided.
    pub trials: Option<Option<u32>>,
    /// `--budget`, in s, for `run.budget_s`.
    pub budget_s: Option<f64>,
    /// `--matters`, for values of `matters`.
    pub matters: Vec<MattersValue>,
    /// `--whole-trials`, which sets `run.slices` to false.
    pub whole_trials: bool,
    /// `--sweep`, for the whole of `sweep`.
    pub sweep: Option<Sweep>,
    /// `--seed`, for `run.seed`.
    pub seed: Option<u64>,
    /// `--allocator`, for `run.allocator`.
    pub allocator: Option<Allocator>,
}

/// See [`Scenario::apply`].
pub(super) fn apply(scenario: &mut Scenario, overrides: &Overrides) -> Result<(), ScenarioError> {
    let mut changed = scenario.clone();
    // Option, the key it stands for, and its value, of those that were given.
    let mut given: Vec<Given> = Vec::new();
    let ids = |ids: Vec<&str>| ids.join(",");
    if let Some(transports) = &overrides.transports {
        changed.run.transports.clone_from(transports);
        let value = ids(transports.iter().map(|t| t.id()).collect());
        given.push(("--transports".to_owned(), "run.transports", value));
    }
    if let Some(profiles) = &overrides.profiles {
        changed.run.profiles.clone_from(profiles);
        let value = ids(profiles.iter().map(|p| p.id()).collect());
        given.push(("--profiles".to_owned(), "run.profiles", value));
    }
    if let Some(sweep) = &overrides.sweep {
        changed.sweep = Some(sweep.clone());
        for (key, values) in sweep.lists() {
            let values: Vec<String> = values.iter().map(f64::to_string).collect();
            given.push((
                format!("--sweep {}", key.id()),
                key.place(),
                values.join(","),
            ));
        }
    }
    if let Some(clients) = overrides.clients {
        not_swept(&changed, SweepKey::CLIENTS, "--clients", &clients)?;
        changed.clients.count = clients;
        given.push(("--clients".to_owned(), "clients.count", clients.to_string()));
    }
    if let Some(rate) = overrides.rate {
        let Some(publish) = &mut changed.publish else {
            return Err(ScenarioError::Option(format!(
                "'--rate' is {rate}, but scenario '{}' publishes nothing; leave the option out, or \
                 choose a scenario with a [publish] table",
                scenario.name
            )));
        };
        publish.rate_per_s = rate;
        not_swept(&changed, SweepKey::RATE_PER_S, "--rate", &rate)?;
        given.push(("--rate".to_owned(), "publish.rate_per_s", rate.to_string()));
    }
    if let Some(duration_s) = overrides.duration_s {
        changed.phases.measure_s = duration_s;
        given.push((
            "--duration".to_owned(),
            "phases.measure_s",
            duration_s.to_string(),
        ));
    }
    rounds(&mut changed, overrides, &mut given);
    for value in &overrides.matters {
        value.enter(&mut changed.matters);
    }
    changed.run.slices &= !overrides.whole_trials;
    changed.run.seed = overrides.seed.or(changed.run.seed);
    changed.run.allocator = overrides.allocator.unwrap_or(changed.run.allocator);
    check::check(&changed).map_err(|problem| {
        let option = given.iter().find(|(_, key, _)| *key == problem.key);
        ScenarioError::Option(match option {
            Some((option, ..)) => format!("'{option}' {}", problem.message),
            // The value is the file's, and was good until an option changed what it depends on.
            None => {
                let options: Vec<String> = given
                    .iter()
                    .map(|(option, _, value)| format!("'{option} {value}'"))
                    .collect();
                format!(
                    "scenario '{}' with {}: '{}' {}",
                    scenario.name,
                    options.join(" "),
                    problem.key,
                    problem.message
                )
            }
        })
    })?;
    *scenario = changed;
    Ok(())
}

/// An option that was given, the key it stands for, and its value.
type Given = (String, &'static str, String);

/// How many rounds, or for how long.
fn rounds(changed: &mut Scenario, overrides: &Overrides, given: &mut Vec<Given>) {
    if let Some(trials) = overrides.trials {
        changed.run.trials = trials;
        let trials = trials.map_or_else(|| "auto".to_owned(), |trials| trials.to_string());
        given.push(("--trials".to_owned(), "run.trials", trials));
    }
    if let Some(budget_s) = overrides.budget_s {
        changed.run.budget_s = budget_s;
        given.push(("--budget".to_owned(), "run.budget_s", budget_s.to_string()));
    }
}

/// A value that every point of a sweep replaces would have no effect.
fn not_swept(
    scenario: &Scenario,
    key: SweepKey,
    option: &str,
    value: &dyn std::fmt::Display,
) -> Result<(), ScenarioError> {
    match &scenario.sweep {
        Some(sweep) if sweep.varies(key) => Err(ScenarioError::Option(format!(
            "'{option}' is {value}, but scenario '{}' sweeps '{key}'; give the points with \
             '--sweep {key}={value}'",
            scenario.name,
            key = key.id()
        ))),
        _ => Ok(()),
    }
}
