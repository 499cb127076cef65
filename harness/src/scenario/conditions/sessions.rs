//! Clients that come and go by themselves. When they do is in `load/conditions/sessions.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::check::wait_ms;
use crate::scenario::condition::{Condition, Kind};
use crate::scenario::error::Check;
use crate::scenario::{Measure, Scenario};
use crate::text::figure::count;

pub(in crate::scenario) const KIND: Kind = Kind {
    name: "[sessions]",
    measure: Some(Measure::Arrivals),
    of: |scenario| Some(scenario.sessions.as_ref()?),
};

/// Clients that come and go: each stays, leaves, is away, and subscribes anew from the tail.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScenarioSessions")]
pub struct Sessions {
    /// How long a client stays connected, in ms, at least 1. Phases are random.
    pub length_ms: u64,
    /// How long it is away before it connects again, in ms, at least 1.
    pub gap_ms: u64,
    /// Whether it resumes behind the last message that it has, and is owed what it missed. Default:
    /// it subscribes anew from the tail.
    #[serde(default)]
    pub resume: bool,
    /// Whether stays and gaps are all alike (`fixed`, the default) or `exponential`.
    #[serde(default)]
    pub spread: Spread,
}

/// How long stays and gaps of sessions are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// All alike.
    #[default]
    Fixed,
    /// Exponentially distributed, and at most ten times the mean.
    Exponential,
}

impl Condition for Sessions {
    fn check(&self, _: &Scenario) -> Check {
        wait_ms("sessions.length_ms", self.length_ms)?;
        wait_ms("sessions.gap_ms", self.gap_ms)
    }

    fn lean_only(&self) -> Option<&'static str> {
        self.resume.then_some("'sessions.resume'")
    }

    fn disturbs(&self) -> Option<&'static str> {
        self.resume
            .then_some("clients catch up on what they missed")
    }

    fn sentence(&self) -> Option<String> {
        Some(format!(
            "Each client stays {} ms and is away for {} ms.",
            count(self.length_ms),
            count(self.gap_ms)
        ))
    }

    fn needs_samples(&self) -> bool {
        true
    }
}
