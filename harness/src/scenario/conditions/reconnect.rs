//! Clients that come back when their connection ends. How they wait and resume is in
//! `load/conditions/reconnect.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::check::wait_ms;
use crate::scenario::condition::{Condition, Kind};
use crate::scenario::error::{Check, ensure};
use crate::scenario::{Measure, Scenario};
use crate::text::figure::count;

pub(in crate::scenario) const KIND: Kind = Kind {
    name: "[reconnect]",
    measure: Some(Measure::Recovery),
    of: |scenario| Some(scenario.reconnect.as_ref()?),
};

/// How a client comes back when its connection ends or cannot be made: it waits `delay_ms`, twice
/// as long after each attempt that fails up to `max_delay_ms`, and up to `jitter` of that longer,
/// at random; then it subscribes behind the last message that it has.
///
/// `sse`: the server sends `delay_ms` as `retry:`, and the client obeys that, as an `EventSource`
/// does (WHATWG HTML, section 9.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ScenarioReconnect")]
pub struct Reconnect {
    /// The first wait, in ms, at least 1. Default 500.
    pub delay_ms: u64,
    /// The longest, without jitter, in ms, at least `delay_ms`. Default 5000.
    pub max_delay_ms: u64,
    /// Largest share of the wait that is added at random, 0 to 10. Default 0.5.
    pub jitter: f64,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            delay_ms: 500,
            max_delay_ms: 5_000,
            jitter: 0.5,
        }
    }
}

impl Condition for Reconnect {
    fn check(&self, _: &Scenario) -> Check {
        let Self {
            delay_ms,
            max_delay_ms,
            jitter,
        } = *self;
        wait_ms("reconnect.delay_ms", delay_ms)?;
        wait_ms("reconnect.max_delay_ms", max_delay_ms)?;
        ensure!(
            max_delay_ms >= delay_ms,
            "reconnect.max_delay_ms",
            "is {max_delay_ms}, but the first wait is {delay_ms} already; raise it, or lower \
             'delay_ms'"
        );
        ensure!(
            (0.0..=10.0).contains(&jitter),
            "reconnect.jitter",
            "is {jitter}, but it is a share of the wait, from 0 to 10"
        );
        Ok(())
    }

    fn lean_only(&self) -> Option<&'static str> {
        Some(KIND.name)
    }

    fn sentence(&self) -> Option<String> {
        Some(format!(
            "Clients that lose their connection come back after {} ms, backing off to {} ms.",
            count(self.delay_ms),
            count(self.max_delay_ms)
        ))
    }

    fn server_options(&self) -> Vec<(&'static str, String)> {
        vec![("--retry-ms", self.delay_ms.to_string())]
    }

    fn needs_samples(&self) -> bool {
        true
    }
}
