//! What a search for a limit found: every step of it, and what broke.

use super::variant::Side;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is grown until it breaks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum LimitOf {
    /// Connected clients, at a low rate.
    Clients,
    /// Messages published a second, to a fixed number of clients.
    Rate,
    /// Subscribers of one channel, at a fixed rate.
    Fanout,
}

pushbench_protocol::ids! {
    LimitOf, "what is grown":
    Clients = "clients", Rate = "rate", Fanout = "fanout"
}

/// What ended the growth of a step: the first that applies, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Broke {
    /// The server may open no more descriptors.
    ServerDescriptors,
    /// The clients' process may open no more descriptors.
    ClientDescriptors,
    /// A pair of addresses has no source port left.
    SourcePorts,
    /// A listener's queue was full.
    Backlog,
    /// The memory guard stopped the growth, or the system ended a process.
    Memory,
    /// The server refused connections, or answered a subscribe with something else than it must.
    Refused,
    /// Connecting came no further in time, and none of the others was found.
    Stalled,
    /// A process of the trial ended, or did not answer, or the step took longer than it may.
    Process,
    /// The clients had no CPU left: what the server could bear was not found.
    HarnessCpu,
    /// The server had no CPU left.
    ServerCpu,
    /// Messages were lost, doubled or out of order, or clients were disconnected.
    Loss,
    /// The latency that the objective allows was exceeded, and nothing was seen to be full.
    Latency,
    /// A check of the audit voided the trial for another reason.
    Audit,
    /// Nothing that was grown: other programs, a hypervisor or a CPU quota had the cores, and the step
    /// answers nothing.
    Machine,
}

pushbench_protocol::ids! {
    Broke, "what may break":
    ServerDescriptors = "server_descriptors", ClientDescriptors = "client_descriptors",
    SourcePorts = "source_ports", Backlog = "backlog", Memory = "memory", Refused = "refused",
    Stalled = "stalled", Process = "process", HarnessCpu = "harness_cpu", ServerCpu = "server_cpu",
    Loss = "loss", Latency = "latency", Audit = "audit", Machine = "machine"
}

impl Broke {
    /// What broke, for a sentence.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::ServerDescriptors => "the server's descriptors",
            Self::ClientDescriptors => "the clients' descriptors",
            Self::SourcePorts => "source ports",
            Self::Backlog => "the listen backlog",
            Self::Memory => "memory",
            Self::Refused => "the server, which refused",
            Self::Stalled => "connecting, which stalled",
            Self::Process => "a process of the trial",
            Self::HarnessCpu => "harness CPU",
            Self::ServerCpu => "server CPU",
            Self::Loss => "loss",
            Self::Latency => "latency",
            Self::Audit => "the audit",
            Self::Machine => "the machine",
        }
    }

    /// Whether a machine that was busy for a moment may be behind it: such a step is tried again
    /// before it counts.
    pub fn may_be_chance(self) -> bool {
        match self {
            Self::HarnessCpu
            | Self::ServerCpu
            | Self::Loss
            | Self::Latency
            | Self::Audit
            | Self::Machine
            | Self::Stalled => true,
            Self::ServerDescriptors
            | Self::ClientDescriptors
            | Self::SourcePorts
            | Self::Backlog
            | Self::Memory
            | Self::Refused
            | Self::Process => false,
        }
    }
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The last good and the first bad value are as close as was asked for.
    Resolved,
    /// The maximum held.
    Maximum,
    /// Another step would have taken longer than was left.
    TimeBudget,
    /// Other programs, a hypervisor or a CPU quota had the cores each time that a value was tried.
    NoAnswer,
    /// Someone interrupted it.
    Interrupted,
    /// Not yet: found in a finished record, the search was killed.
    Running,
}

/// The search for one limit of one transport in one profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// What was measured.
    #[serde(flatten)]
    pub side: Side,
    /// What was grown.
    pub of: LimitOf,
    /// What had to hold.
    pub objective: String,
    /// Where growth would have ended.
    pub maximum: u64,
    /// How close the last good and the first bad value were to come, as a share of the former.
    pub resolution: f64,
    /// Every step in the order in which it ran.
    pub steps: Vec<LimitStep>,
    /// The highest value that held; `null` where none did.
    pub last_good: Option<u64>,
    /// The lowest value that broke; `null` where none did.
    pub first_bad: Option<u64>,
    /// The value at which the search ended, since the machine spoiled each of its steps; `null` where it did
    /// not.
    #[serde(default)]
    pub unanswered: Option<u64>,
    /// Why the search ended.
    pub ended: Ended,
    /// What broke at `first_bad`; `null` where nothing did.
    pub broke: Option<Broke>,
    /// How that was seen.
    pub evidence: Option<String>,
}

/// One step: a trial with one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitStep {
    /// The number of clients, or the rate.
    pub value: u64,
    /// The trial, counted from 0 in `trials`.
    pub trial: usize,
    /// Whether the objective held and the trial is not void.
    pub held: bool,
    /// The terms of the objective that did not hold, with what was found.
    pub short_of: Vec<String>,
    /// What broke; `null` where the objective held.
    pub broke: Option<Broke>,
    /// How that was seen; `null` where the objective held.
    pub evidence: Option<String>,
    /// CPU of the server over that of its cores; `null` where it could not be read.
    pub server_cpu_share: Option<f64>,
    /// CPU of the clients over that of their cores; `null` where it could not be read.
    pub harness_cpu_share: Option<f64>,
    /// Who held how much memory.
    pub memory: HeldMemory,
}

/// Memory of a step at the last reading of its connect phase, by holder, in bytes; `null` where it
/// could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldMemory {
    /// User memory of the server beyond what it had without clients.
    pub server_bytes: Option<u64>,
    /// User memory of the clients' process.
    pub harness_bytes: Option<u64>,
    /// Memory of the kernel beyond what it had before, both ends.
    pub kernel_bytes: Option<u64>,
}

impl HeldMemory {
    /// Who held most, with how much.
    pub fn most(&self) -> Option<(&'static str, u64)> {
        [
            ("the server", self.server_bytes),
            ("the harness", self.harness_bytes),
            ("the kernel", self.kernel_bytes),
        ]
        .into_iter()
        .filter_map(|(who, bytes)| Some((who, bytes?)))
        .max_by_key(|&(_, bytes)| bytes)
    }
}

impl Limit {
    /// A search of which nothing is known yet.
    pub fn new(
        side: Side,
        of: LimitOf,
        objective: String,
        (maximum, resolution): (u64, f64),
    ) -> Self {
        Self {
            side,
            of,
            objective,
            maximum,
            resolution,
            steps: Vec::new(),
            last_good: None,
            first_bad: None,
            unanswered: None,
            ended: Ended::Running,
            broke: None,
            evidence: None,
        }
    }

    /// The last step of `value`: what counts where a step was tried again.
    pub fn step(&self, value: u64) -> Option<&LimitStep> {
        self.steps.iter().rev().find(|step| step.value == value)
    }
}
