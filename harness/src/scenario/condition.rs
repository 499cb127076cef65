//! What a condition of real use is: the questions that the rest of the program asks of one.
//!
//! Before the data path. In: a scenario. Out: its conditions, in a fixed order. Each has a file in
//! `conditions/` with its table, its rules and its answers, and a place in [`ALL`]; what clients do
//! because of it is in `load/conditions/`.

use pushbench_protocol::transport::Transport;

use super::conditions::ALL;
use super::error::{Check, ensure};
use super::{Measure, Scenario};

/// A kind of condition.
pub(super) struct Kind {
    /// The table or key that asks for it, as messages write it: `[slow_readers]`.
    pub(super) name: &'static str,
    /// What it has to measure.
    pub(super) measure: Option<Measure>,
    /// The condition of a scenario that has it.
    pub(super) of: fn(&Scenario) -> Option<&dyn Condition>,
}

/// A condition that a scenario has.
pub(super) trait Condition {
    /// Checks its own values against each other and against the scenario's.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn check(&self, scenario: &Scenario) -> Check;

    /// Tables and keys that it cannot go together with, and why: what follows their name and a
    /// comma.
    fn excludes(&self) -> Option<Exclusion> {
        None
    }

    /// What of it only our own clients do, as messages write it.
    fn lean_only(&self) -> Option<&'static str> {
        None
    }

    /// Why latency need not stay as it is over the measure phase, and a delivery then not cost what
    /// it costs otherwise.
    fn disturbs(&self) -> Option<&'static str> {
        None
    }

    /// What a reader of results must know of it: whole sentences.
    fn sentence(&self) -> Option<String> {
        None
    }

    /// Options that it gives the server.
    fn server_options(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Connections that each client opens at the most, over any of `transports`.
    fn connections_per_client(&self, _transports: &[Transport]) -> u32 {
        1
    }

    /// Whether memory and CPU must be sampled over the measure phase for what it measures.
    fn needs_samples(&self) -> bool {
        false
    }
}

/// What a condition cannot go together with.
pub(super) struct Exclusion {
    /// The key that an error is about.
    pub(super) key: &'static str,
    /// Names as in [`Kind::name`], or `[publish]`.
    pub(super) names: &'static [&'static str],
    /// Why not.
    pub(super) because: &'static str,
}

impl Scenario {
    /// The conditions that it has.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &dyn Condition> {
        ALL.iter().filter_map(|kind| (kind.of)(self))
    }

    /// Why latency need not stay as it is over the measure phase; `None` where it must.
    pub fn disturbed(&self) -> Option<&'static str> {
        self.conditions().find_map(Condition::disturbs)
    }

    /// What it asks for that only our own clients do.
    pub fn needs_lean_clients(&self) -> Option<&'static str> {
        self.conditions().find_map(Condition::lean_only)
    }

    /// What a reader of results must know of its conditions.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.conditions().filter_map(Condition::sentence)
    }

    /// Options that its conditions give the server.
    pub fn server_options(&self) -> Vec<(&'static str, String)> {
        self.conditions()
            .flat_map(Condition::server_options)
            .collect()
    }

    /// Whether memory and CPU are to be sampled over the measure phase.
    pub fn needs_samples(&self) -> bool {
        let asked = |kind: &&Kind| kind.measure.is_some_and(|m| self.asks_for(m));
        let given = ALL.iter().filter(asked);
        self.asks_for(Measure::OverTime)
            || given
                .filter_map(|kind| (kind.of)(self))
                .any(|c| c.needs_samples())
    }

    fn has(&self, name: &str) -> bool {
        let kind = ALL.iter().find(|kind| kind.name == name);
        match kind {
            Some(kind) => (kind.of)(self).is_some(),
            None => name == "[publish]" && self.publish.is_some(),
        }
    }
}

/// The first rule of any condition that `scenario` breaks.
pub(super) fn check(scenario: &Scenario) -> Check {
    for condition in scenario.conditions() {
        condition.check(scenario)?;
        if let Some(Exclusion {
            key,
            names,
            because,
        }) = condition.excludes()
            && let Some(name) = names.iter().find(|name| scenario.has(name))
        {
            ensure!(
                false,
                key,
                "cannot go with {name}: {because}; use two scenarios"
            );
        }
    }
    for (index, measure) in scenario.measures.iter().flatten().enumerate() {
        if let Some(kind) = measure.kind() {
            ensure!(
                (kind.of)(scenario).is_some(),
                "measures",
                "names '{}', which needs {}; add that, or remove it",
                measure.id(),
                kind.name
            );
        }
        let mut before = scenario.measures.iter().flatten().take(index);
        ensure!(
            !before.any(|other| other == measure),
            "measures",
            "names '{}' twice",
            measure.id()
        );
    }
    Ok(())
}
