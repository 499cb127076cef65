//! The slices of a trial that took turns with others, or why it had the machine for itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

impl Slice {
    /// A total of the slice for each of its deliveries; `None` without one.
    pub fn per_delivery(&self, total: Option<u64>) -> Option<f64> {
        let total = total.filter(|_| self.deliveries > 0)?;
        Some(total as f64 / self.deliveries as f64)
    }
}

/// Why a trial runs by itself instead of in slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whole {
    /// It was asked for.
    Asked,
    /// There is no other to take turns with.
    Alone,
    /// Its clients poll at intervals, and so use the machine in the turns of others too.
    PollsAtIntervals,
    /// Nothing is published.
    NothingPublished,
    /// Clients send by a schedule of their own.
    ClientsSend,
    /// The scenario does something to server, clients or connections at certain times.
    Conditions,
    /// A slice would take longer than 2 s: too few messages are published.
    FewMessages,
    /// The measure phase has room for fewer than 5 slices.
    ShortPhase,
    /// All trials together would need more than 200,000 connections.
    ManyConnections,
    /// A channel is silent for so long that keep-alives would be sent in the turns of others.
    QuietChannels,
}

impl Whole {
    /// The reason, as the end of a sentence.
    pub fn why(self) -> &'static str {
        match self {
            Self::Asked => "it was asked for",
            Self::Alone => "there is no other to take turns with",
            Self::PollsAtIntervals => "its clients poll at intervals, in the turns of others too",
            Self::NothingPublished => "nothing is published",
            Self::ClientsSend => "clients send by a schedule of their own",
            Self::Conditions => {
                "the scenario does something to server, clients or connections at certain times"
            }
            Self::FewMessages => {
                "a slice would take longer than 2 s, as few messages are published"
            }
            Self::ShortPhase => "the measure phase has room for fewer than 5 slices",
            Self::ManyConnections => "all at once would need more than 200,000 connections",
            Self::QuietChannels => {
                "channels are silent for so long that keep-alives would be sent in the turns of \
                 others"
            }
        }
    }
}

/// The measured part of one slice, of a trial that took turns with others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slice {
    /// When the slice began, in ns since the trial began.
    pub start_ns: u64,
    /// CPU time of the server.
    pub server_cpu_ns: Option<u64>,
    /// CPU time of the fleet.
    pub harness_cpu_ns: Option<u64>,
    /// Deliveries.
    pub deliveries: u64,
    /// Median of their latency.
    pub p50_ns: Option<u64>,
    /// 99th percentile of their latency.
    #[serde(default)]
    pub p99_ns: Option<u64>,
}
