//! The fleet: opens, holds and closes thousands of clients, in a process of its own.
//!
//! Place on the data path: around the clients. In: a [`Setup`], then when the schedule is known a
//! [`Timing`]. Out: a [`FleetReport`]. Clients are spread over shards, one thread each, with
//! nothing shared on the receive path; what they counted is merged at the end.
//!
//! Not measured here: the server; the run reads its counters from outside.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use pushbench_protocol::payload::PayloadKind;
use pushbench_protocol::schedule::{Schedule, Timetable};
use pushbench_protocol::transport::Transport;
use serde::{Deserialize, Serialize};

use crate::record::{Cause, Deliveries, Family, LatencyIntervals, Measures};
use crate::scenario::Scenario;

mod channels;
pub mod client;
pub mod conditions;
pub mod control;
mod handle;
pub mod ledger;
mod merge;
mod pace;
mod poller;
pub mod recorder;
pub(crate) mod session;
pub(crate) mod shard;
pub mod tally;
pub(crate) mod tasks;
pub mod turns;

/// What a fleet knows before it connects.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// How to talk to the server.
    pub transport: Transport,
    /// With which client.
    pub family: Family,
    /// Where the server listens.
    pub server: SocketAddr,
    /// What clients do: the scenario at one point, without a sweep.
    pub scenario: Scenario,
    /// Seed of phases.
    pub seed: u64,
    /// Threads.
    pub shards: usize,
    /// CPUs to run on; all where empty.
    pub cpus: Vec<usize>,
    /// Whether each shard has a descriptor table of its own.
    pub own_tables: bool,
    /// Addresses to connect from, in turn; those of loopback where empty.
    pub sources: Vec<IpAddr>,
    /// First source address, counted from 127.0.0.1, or in `sources`.
    pub first_source: u32,
    /// Congestion control; the system's where `None`.
    pub congestion: Option<String>,
    /// Whether the fleet keeps what only the audit looks at: some clients have the kernel stamp what
    /// they receive, and latencies are kept over time and one by one.
    pub probes: bool,
    /// Payloads to compare with, byte for byte, where given.
    pub check_payload: Option<PayloadCheck>,
}

impl Setup {
    /// Lean clients in one thread, with everything of its own off.
    pub fn new(transport: Transport, server: SocketAddr, scenario: Scenario) -> Self {
        Self {
            transport,
            family: Family::Lean,
            server,
            scenario,
            seed: 1,
            shards: 1,
            cpus: Vec::new(),
            own_tables: false,
            sources: Vec::new(),
            first_source: 0,
            congestion: None,
            probes: false,
            check_payload: None,
        }
    }

    /// How many clients there will be in all.
    pub fn clients(&self) -> u32 {
        self.scenario.clients.count
    }

    /// Checks the scenario, and what the family of clients cannot do of it.
    ///
    /// # Errors
    /// A text that names the key, what was expected and what was found.
    pub fn check(&self) -> Result<(), String> {
        let is_library = self.family.of_clients(self.transport) == Family::Library;
        match self.scenario.needs_lean_clients() {
            Some(what) if is_library => Err(format!(
                "{what} needs lean clients: those of libraries do not do it"
            )),
            _ if self.shards == 0 => Err("'shards' is 0, expected at least 1".to_owned()),
            _ => self.scenario.check(),
        }
    }

    /// Whether the kernel's counters of every connection can be read: some libraries keep their
    /// sockets to themselves.
    pub(crate) fn knows_sockets(&self) -> bool {
        let library = client::library_client(self.transport);
        self.family == Family::Lean || library.is_none_or(|library| library.counts_bytes)
    }
}

/// What payloads must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadCheck {
    /// Their kind.
    pub kind: PayloadKind,
    /// Their seed.
    pub seed: u64,
    /// Bytes of the whole envelope.
    pub payload_bytes: usize,
}

/// When things happen, known once the clients are connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// What the publisher will do.
    pub schedule: Schedule,
    /// Messages intended from here on belong to the measure phase, in ns of `CLOCK_MONOTONIC`.
    pub measure_from_ns: u64,
    /// Messages intended from here on do not.
    pub measure_until_ns: u64,
    /// How long a departing client waits for what it still must receive, in ms.
    pub linger_ms: f64,
    /// When the run disturbs the server, in ns of `CLOCK_MONOTONIC`.
    #[serde(default)]
    pub faults_ns: Vec<u64>,
}

/// A [`Timing`] with the time of every message: what the measure phase holds.
#[derive(Debug, Clone)]
pub struct MeasurePhase {
    /// When it begins and ends.
    pub timing: Timing,
    /// When each message is due.
    pub timetable: Timetable,
    /// What clients send, where they do: their messages are then those of the phase, and the
    /// timetable holds none that is published.
    pub upstream: Option<conditions::upstream::Messages>,
}

impl MeasurePhase {
    /// Works out the times.
    pub fn new(timing: Timing) -> Self {
        Self {
            timetable: Timetable::new(timing.schedule),
            upstream: None,
            timing,
        }
    }

    /// The phase of a fleet that is set up so: where its clients send, their messages are what it
    /// holds.
    pub fn of_fleet(timing: Timing, setup: &Setup) -> Self {
        Self {
            upstream: conditions::upstream::Messages::new(setup, &timing),
            ..Self::new(timing)
        }
    }

    /// The same, as if it had ended at `time_ns`, where that is earlier; not where clients send.
    #[must_use]
    pub fn until(&self, time_ns: u64) -> Self {
        let mut timing = self.timing.clone();
        timing.measure_until_ns = timing.measure_until_ns.min(time_ns);
        timing.schedule.end_ns = timing.schedule.end_ns.min(time_ns);
        Self {
            upstream: self.upstream.clone(),
            ..Self::new(timing)
        }
    }

    /// Whether a message that was due then belongs to the phase.
    pub fn holds(&self, intended_ns: u64) -> bool {
        (self.timing.measure_from_ns..self.timing.measure_until_ns).contains(&intended_ns)
    }

    /// How long load is offered in it, in ns: all of it, but for the turns of others.
    pub fn load_ns(&self) -> u64 {
        let before_ns = |time_ns| self.timetable.load_before_ns(time_ns);
        match self.timetable.turns() {
            Some(_) => {
                before_ns(self.timing.measure_until_ns) - before_ns(self.timing.measure_from_ns)
            }
            None => self.timing.measure_until_ns - self.timing.measure_from_ns,
        }
    }

    /// Until when others have their turn; `None` in a turn of its own, and without turns.
    pub fn others_until_ns(&self, now_ns: u64) -> Option<u64> {
        let turns = self.timetable.turns()?;
        let since_ns = now_ns.checked_sub(self.timing.schedule.start_ns)?;
        let begun = turns.starts().partition_point(|start| *start <= since_ns);
        let next = turns.starts().get(begun)?;
        let ended = begun
            .checked_sub(1)
            .map_or(0, |last| turns.starts()[last] + turns.slices().slice_ns());
        (since_ns >= ended).then_some(self.timing.schedule.start_ns + next)
    }

    /// Index in the schedule of the first message of the phase.
    pub fn first_message(&self) -> u64 {
        if self.upstream.is_some() {
            return 0;
        }
        self.timetable.messages_before(self.timing.measure_from_ns)
    }

    /// Number of messages of the phase.
    pub fn messages(&self) -> u64 {
        if let Some(upstream) = &self.upstream {
            return upstream.due();
        }
        self.timetable.messages_before(self.timing.measure_until_ns) - self.first_message()
    }

    /// Indexes within the phase lie below this: its messages, and with an upstream a few more.
    pub fn index_bound(&self) -> u64 {
        match &self.upstream {
            Some(upstream) => upstream.index_bound(),
            None => self.messages(),
        }
    }

    /// When the message at an index within the phase was due, in ns of `CLOCK_MONOTONIC`.
    pub fn intended_ns(&self, index: u64) -> u64 {
        if let Some(upstream) = &self.upstream {
            let (client, number) = upstream.place_of(index);
            return upstream.schedule().due_ns(client, number);
        }
        self.timetable
            .message(self.first_message() + index)
            .intended_ns
    }

    /// Sequences of `channel` that belong to the phase and are due before `before_ns`.
    pub fn expected(&self, channel: u32, before_ns: u64) -> std::ops::RangeInclusive<u64> {
        let until = before_ns.min(self.timing.measure_until_ns);
        let first = self
            .timetable
            .last_sequence_before(channel, self.timing.measure_from_ns)
            + 1;
        first..=self.timetable.last_sequence_before(channel, until)
    }
}

/// How a fleet is doing, for progress and for the end of a phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Clients that hold a cursor.
    pub connected: u64,
    /// When the last of them got it, in ns of `CLOCK_MONOTONIC`; 0 before the first.
    pub last_connected_ns: u64,
    /// Clients that could not connect, or were refused.
    pub refused: u64,
    /// Clients whose session ended out of order.
    pub disconnected: u64,
    /// Deliveries of the measure phase received so far, each counted once.
    pub received: u64,
    /// Deliveries of the measure phase still expected, as far as is known. With sessions: clients
    /// that have not departed.
    pub outstanding: u64,
    /// The limit that ended the growth, where one was met.
    pub stopped_by: Option<Cause>,
    /// Shards whose thread has panicked; their clients are in no count.
    #[serde(default)]
    pub dead_shards: u64,
    /// The first few errors, in words.
    pub errors: Vec<String>,
    /// How often a connect met which limit.
    #[serde(default)]
    pub limits_met: BTreeMap<Cause, u64>,
    /// Median delivery latency of the last whole second in the shard where it is largest, in ns;
    /// 0 before the first. For who watches: what counts is the report.
    #[serde(default)]
    pub p50_ns: u64,
    /// The same of the quantile 0.99.
    #[serde(default)]
    pub p99_ns: u64,
    /// Clients whose connection was lost and that are not back yet.
    #[serde(default)]
    pub away: u64,
}

/// What a fleet counted, over all shards.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FleetReport {
    /// The account of all clients.
    pub counts: Deliveries,
    /// Whether a client had more gaps than its ledger holds: the counts are worth nothing then.
    pub ledger_overflowed: bool,
    /// Envelopes that were not what was published (`verify` only).
    pub corrupt: u64,
    /// The first of them, in words.
    pub first_corrupt: Option<String>,
    /// The first missing message, in words.
    pub first_missing: Option<String>,
    /// Messages that the server said were lost.
    pub lagged_messages: u64,
    /// Clients that could not connect.
    pub refused: u64,
    /// Clients whose session ended out of order.
    pub disconnected: u64,
    /// Shards whose thread has panicked; their clients are in no count.
    #[serde(default)]
    pub dead_shards: u64,
    /// The first few errors, in words.
    pub errors: Vec<String>,
    /// How often a connect met which limit.
    #[serde(default)]
    pub limits_met: BTreeMap<Cause, u64>,
    /// Bytes of the envelopes received in the measure phase.
    pub received_bytes: u64,
    /// Receive time of the last delivery of the measure phase; 0 without one.
    pub last_received_ns: u64,
    /// Deliveries that came before they were published.
    pub negative_latencies: u64,
    /// Deliveries that came when the turn of this fleet was over.
    #[serde(default)]
    pub spilled: u64,
    /// Stamps of the kernel that lay after the read, or before the message was due.
    pub impossible_stamps: u64,
    /// Intervals of the quantiles of delivery latency, by bootstrap over publishes.
    pub intervals_of_quantiles: LatencyIntervals,
    /// Delivery latency over the measure phase in stretches of equal length, by intended time: the
    /// geometric mean in ns, `None` for a stretch without a delivery.
    pub series: Vec<Option<f64>>,
    /// What was timed, by id.
    pub histograms: tally::Histograms,
    /// Delivery latency by second, or by slice where there are slices: number and histogram.
    pub intervals: Vec<(u64, tally::Histograms)>,
    /// What clients counted because of the scenario's conditions: of each measure, what is not worked out
    /// from the server, the window or the distributions. All other counts are without slow readers.
    #[serde(default)]
    pub measures: Measures,
}
