//! Conditions of real use: clients that come back, servers that go away, readers that are slow,
//! clients that send. Data for the fleet and for the run; nothing happens here.
//!
//! Before the data path. In: tables of a scenario. Out: plain values, checked by
//! `check_conditions.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scenario;

/// Most faults of one scenario.
pub const MAX_FAULTS: usize = 16;

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

/// What is done to the server or to connections, and when.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScenarioFault")]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// When, in s from the start of the measure phase.
    pub at_s: f64,
    /// `server_kill`: how long until a new server listens on the same port, in ms from the kill.
    pub down_ms: Option<u64>,
    /// `server_drain`: over how long the old server's connections are closed, in ms.
    pub over_ms: Option<u64>,
    /// `server_stall`, `connection_cuts`: for how long, in ms.
    pub for_ms: Option<u64>,
    /// `connection_cuts`: mean time between two cuts of one client, in s, exponentially distributed.
    pub mean_s: Option<f64>,
    /// `connection_cuts`: by `rst`, `fin`, or `both` at random (the default).
    pub how: Option<CutBy>,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The server is killed (SIGKILL), and a new one refills its log and takes the port.
    ServerKill,
    /// A second server takes the port, and the first ends its connections in their transport's polite
    /// way: a rolling deploy.
    ServerDrain,
    /// The server is stopped (SIGSTOP) and continued.
    ServerStall,
    /// Connections are cut at random times by their clients.
    ConnectionCuts,
    /// A thread of the clients panics: no condition of real use, but a test of the run itself.
    ShardPanic,
}

impl FaultKind {
    /// The id, as it is spelled everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::ServerKill => "server_kill",
            Self::ServerDrain => "server_drain",
            Self::ServerStall => "server_stall",
            Self::ConnectionCuts => "connection_cuts",
            Self::ShardPanic => "shard_panic",
        }
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.id())
    }
}

/// How a connection is cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CutBy {
    /// With a reset, as when a middlebox forgets it.
    Rst,
    /// In order, as when an application closes it.
    Fin,
    /// Either, at random.
    #[default]
    Both,
}

impl Fault {
    /// When it is over, in s from the start of the measure phase.
    pub fn end_s(&self) -> f64 {
        let ms = [self.down_ms, self.over_ms, self.for_ms];
        self.at_s + ms.into_iter().flatten().max().unwrap_or(0) as f64 / 1e3
    }
}

/// Clients that read slowly, or not at all, from the first message on. The others are what latency
/// and the ledger are about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScenarioSlowReaders")]
pub struct SlowReaders {
    /// Which share of the clients, 0 to 1, spread evenly; at least one client must remain.
    pub share: f64,
    /// How many bytes a second each of them reads. 0, the default: none.
    #[serde(default)]
    pub read_bytes_per_s: u64,
    /// Their receive buffer in bytes (SO_RCVBUF; the kernel doubles it), 2,304 to 4 MiB. Default
    /// 16,384: what lies there is no longer the server's.
    #[serde(default = "receive_buffer_bytes")]
    pub receive_buffer_bytes: u32,
}

fn receive_buffer_bytes() -> u32 {
    16_384
}

impl SlowReaders {
    /// How many of `clients`.
    pub fn of(&self, clients: u32) -> u32 {
        (f64::from(clients) * self.share) as u32
    }
}

/// Clients that send: each to its own channel, and whoever subscribes to that receives it, the
/// sender too. Nothing else may be published then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScenarioUpstream")]
pub struct Upstream {
    /// Messages a second of each client, above 0, due at its own random phase.
    pub rate_per_client_s: f64,
    /// The whole envelope in bytes as it comes back, 86 to 1,048,576.
    pub payload_bytes: usize,
    /// Which way messages go: `transport` (the default) takes the connection itself where it goes both
    /// ways (`tcp`, `websocket`) and HTTP POST on a second, kept-alive connection elsewhere;
    /// `connection` asks for the former, `post` for the latter.
    #[serde(default)]
    pub via: Via,
}

/// Which way upstream messages go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// As the transport does it.
    #[default]
    Transport,
    /// On the connection itself.
    Connection,
    /// By HTTP POST.
    Post,
}

/// How clients are shared out over channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sizes {
    /// Evenly: client *j* has channel *j mod* `count`.
    #[default]
    Even,
    /// Channel *k*, from 1, has clients in proportion to 1 / *k*, and at least one where there are
    /// enough: a few channels have most of them (Zipf's law with exponent 1).
    Zipf,
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

/// What a scenario measures beside latency and cost.
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
    /// The first look of a subscriber: needs `clients.snapshot_messages`.
    Snapshot,
    /// The server's memory and CPU over the measure phase.
    OverTime,
}

impl Measure {
    /// All, in the order in which they are reported.
    pub const ALL: [Self; 6] = [
        Self::Recovery,
        Self::SlowReaders,
        Self::RoundTrip,
        Self::Arrivals,
        Self::Snapshot,
        Self::OverTime,
    ];

    /// The id, as it is spelled everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::SlowReaders => "slow_readers",
            Self::RoundTrip => "round_trip",
            Self::Arrivals => "arrivals",
            Self::Snapshot => "snapshot",
            Self::OverTime => "over_time",
        }
    }

    /// What a scenario must have for it; `None` where every scenario will do.
    pub(super) fn needs(self) -> Option<&'static str> {
        match self {
            Self::Recovery => Some("[reconnect]"),
            Self::SlowReaders => Some("[slow_readers]"),
            Self::RoundTrip => Some("[upstream]"),
            Self::Arrivals => Some("[sessions]"),
            Self::Snapshot => Some("'clients.snapshot_messages'"),
            Self::OverTime => None,
        }
    }

    /// Whether `scenario` has what it needs.
    pub(super) fn fits(self, scenario: &Scenario) -> bool {
        match self {
            Self::Recovery => scenario.reconnect.is_some(),
            Self::SlowReaders => scenario.slow_readers.is_some(),
            Self::RoundTrip => scenario.upstream.is_some(),
            Self::Arrivals => scenario.sessions.is_some(),
            Self::Snapshot => scenario.clients.snapshot_messages > 0,
            Self::OverTime => true,
        }
    }
}

impl Scenario {
    /// What is measured beside latency and cost: as the scenario says, or all that its tables give.
    pub fn measures(&self) -> Vec<Measure> {
        match &self.measures {
            Some(named) => named.clone(),
            None => Measure::ALL
                .into_iter()
                .filter(|m| *m != Measure::OverTime && m.fits(self))
                .collect(),
        }
    }

    /// Whether `measure` is asked for.
    pub fn asks_for(&self, measure: Measure) -> bool {
        self.measures().contains(&measure)
    }

    /// Whether it asks for anything that only our own clients do.
    pub fn needs_lean_clients(&self) -> Option<&'static str> {
        let asked = [
            (self.reconnect.is_some(), "[reconnect]"),
            (self.slow_readers.is_some(), "[slow_readers]"),
            (self.upstream.is_some(), "[upstream]"),
            (
                self.clients.snapshot_messages > 0,
                "'clients.snapshot_messages'",
            ),
            (
                self.sessions.as_ref().is_some_and(|s| s.resume),
                "'sessions.resume'",
            ),
        ];
        asked
            .into_iter()
            .find(|(asked, _)| *asked)
            .map(|(_, what)| what)
    }
}
