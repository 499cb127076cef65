//! The options of the command line that change a scenario, and errors that name them.

use super::error::ScenarioError;
use super::{Scenario, check};
use pushbench_servers::transport::{Profile, Transport};

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
    /// `--trials`, for `run.trials`.
    pub trials: Option<u32>,
    /// `--seed`, for `run.seed`.
    pub seed: Option<u64>,
}

/// See [`Scenario::apply`].
pub(super) fn apply(scenario: &mut Scenario, overrides: &Overrides) -> Result<(), ScenarioError> {
    let mut changed = scenario.clone();
    // Option, the key it stands for, and its value, of those that were given.
    let mut given: Vec<(&str, &str, String)> = Vec::new();
    let ids = |ids: Vec<&str>| ids.join(",");
    if let Some(transports) = &overrides.transports {
        changed.run.transports.clone_from(transports);
        let value = ids(transports.iter().map(|t| t.id()).collect());
        given.push(("--transports", "run.transports", value));
    }
    if let Some(profiles) = &overrides.profiles {
        changed.run.profiles.clone_from(profiles);
        let value = ids(profiles.iter().map(|p| p.id()).collect());
        given.push(("--profiles", "run.profiles", value));
    }
    if let Some(clients) = overrides.clients {
        changed.clients.count = clients;
        given.push(("--clients", "clients.count", clients.to_string()));
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
        given.push(("--rate", "publish.rate_per_s", rate.to_string()));
    }
    if let Some(duration_s) = overrides.duration_s {
        changed.phases.measure_s = duration_s;
        given.push(("--duration", "phases.measure_s", duration_s.to_string()));
    }
    if let Some(trials) = overrides.trials {
        changed.run.trials = trials;
        given.push(("--trials", "run.trials", trials.to_string()));
    }
    if let Some(seed) = overrides.seed {
        changed.run.seed = Some(seed);
    }
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
