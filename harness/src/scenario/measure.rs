//! What a scenario measures in addition to latency and cost, as `measures` names it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::condition::Kind;
use super::conditions::ALL;

/// What a scenario measures in addition to latency and cost.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// How clients came back: needs \[reconnect\].
    Recovery,
    /// What slow readers cost, and what became of them: needs \[slow_readers\].
    SlowReaders,
    /// From a client's message to its return: needs \[upstream\].
    RoundTrip,
    /// Clients that come: needs \[sessions\].
    Arrivals,
    /// Streams of messages, one a session: needs \[streams\].
    Streams,
    /// The first look of a subscriber: needs `clients.snapshot_messages`.
    Snapshot,
    /// The server's memory and CPU over the measure phase.
    OverTime,
}

pushbench_protocol::ids! {
    Measure, "a measure":
    Recovery = "recovery", SlowReaders = "slow_readers", RoundTrip = "round_trip",
    Arrivals = "arrivals", Streams = "streams", Snapshot = "snapshot", OverTime = "over_time"
}

impl Measure {
    /// The condition that it is about; `None` where every scenario will do.
    pub(super) fn kind(self) -> Option<&'static Kind> {
        ALL.iter().find(|kind| kind.measure == Some(self))
    }
}

impl Scenario {
    /// What is measured in addition to latency and cost: as the scenario says, or all that its
    /// conditions have.
    pub fn measures(&self) -> Vec<Measure> {
        match &self.measures {
            Some(named) => named.clone(),
            None => {
                let given = ALL.iter().filter(|kind| (kind.of)(self).is_some());
                given.filter_map(|kind| kind.measure).collect()
            }
        }
    }

    /// Whether `measure` is asked for.
    pub fn asks_for(&self, measure: Measure) -> bool {
        self.measures().contains(&measure)
    }
}
