//! One trial: one transport in one profile, on a fresh server process.

use super::cause::Cause;
use super::measures::Measures;
use super::memory::{Fit, Memory};
use super::quantiles::Quantiles;
use super::slices::{Slice, Whole};
use super::variant::{Side, Variant};
use crate::record::Family;
use crate::scenario::known_allocator_schema;
use pushbench_os::allocator::Allocator;
use pushbench_protocol::transport::{Profile, Transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a trial found. What it did not come to measure is zero or `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// What was measured.
    #[serde(flatten)]
    pub variant: Variant,
    /// Which trial of it, from 1.
    pub index: u32,
    /// Why the trial did not come to its end; `null` when it did.
    pub error: Option<String>,
    /// Whether the kernel killed one of its processes. Known while the trial runs, and not recorded.
    #[serde(skip)]
    pub killed: bool,
    /// When each phase began and ended.
    pub phase_ns: Phases,
    /// How connecting went.
    pub clients: Clients,
    /// How publishing went.
    pub publish: Publish,
    /// What the ledgers say.
    pub deliveries: Deliveries<Option<u64>>,
    /// What arrived per second of the measure phase.
    pub throughput: Throughput,
    /// Delivery latency: from the intended publish time to the receive time.
    pub latency_ns: Quantiles,
    /// Intervals of its quantiles.
    pub latency_interval_ns: LatencyIntervals,
    /// Delivery latency over the measure phase, in stretches of equal length by intended time: the
    /// geometric mean of each; `null` for a stretch without a delivery.
    pub latency_over_time_ns: Vec<Option<f64>>,
    /// Where the time went, on probe clients; `null` where there was none, or no stamp.
    pub probe: Option<Probe>,
    /// Per message: from its intended time to its last subscriber.
    pub fanout_ns: Quantiles,
    /// Service latency: from the actual publish time to the receive time.
    pub service_ns: Quantiles,
    /// What it cost the server.
    pub server: ServerCost,
    /// What it cost the clients.
    pub harness: HarnessCost,
    /// What the machine did beside both.
    pub machine: Machine,
    /// What went over the wire.
    pub wire: Wire,
    /// Why the trial had the machine for itself; `null` for one that took turns with others, and where
    /// nobody asked.
    #[serde(default)]
    pub whole: Option<Whole>,
    /// Every slice of the measure phase, in the order of time; empty where the trial had the machine for
    /// itself. CPU per delivery is that of their measured parts.
    #[serde(default)]
    pub slices: Vec<Slice>,
    /// Deliveries that came when the turn of this trial was over, in that of another; `null` without slices.
    #[serde(default)]
    pub spilled: Option<u64>,
    /// The window over which costs were read; `null` where the trial did not come to its end.
    #[serde(default)]
    pub workload: Option<WorkloadWindow>,
    /// What the target cannot do: metrics and checks that need it are not tested.
    #[serde(default)]
    pub lacks: Vec<Capability>,
    /// What the scenario measures beside latency and cost.
    #[serde(default)]
    pub measures: Measures,
    /// Whether the numbers may be believed.
    pub validity: Validity,
}

/// Begin and end of each phase, in ns since the trial began; `null` for one that was not reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)] // each is the phase of its name
pub struct Phases {
    pub connect: Option<Span>,
    pub settle: Option<Span>,
    pub warm_up: Option<Span>,
    pub measure: Option<Span>,
    pub drain: Option<Span>,
    pub disconnect: Option<Span>,
}

/// A stretch of time, in ns since the trial began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// Its first moment.
    pub start: u64,
    /// The first moment after it.
    pub end: u64,
}

/// Clients of a trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Clients {
    /// Clients that were to connect.
    pub target: u64,
    /// Clients that held a cursor at the end of the connect phase.
    pub connected: u64,
    /// Attempts that failed or were refused.
    pub refused: u64,
    /// Connections that ended before they were to.
    pub disconnected: u64,
    /// What ended the connect phase before all clients were connected; `null` where they were, or
    /// where no limit was found behind it.
    pub stopped_by: Option<Cause>,
    /// Clients that got their cursor a second, the pauses of the connect phase left out; `null`
    /// where none did.
    pub connected_per_s: Option<f64>,
    /// From the start of a connection to its cursor.
    pub connect_ns: Quantiles,
    /// From the start of a session of the measure phase to its first message; its count is 0 where
    /// none began then.
    #[serde(default)]
    pub first_message_ns: Quantiles,
}

/// The publisher's side of the measure phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Publish {
    /// Offered rate, in messages a second over all channels; 0 where nothing is published.
    pub offered_per_s: f64,
    /// Achieved rate; `null` where nothing is published.
    pub achieved_per_s: Option<f64>,
    /// Channels that were published to and had no client; 0 where nothing is published.
    #[serde(default)]
    pub channels_without_subscriber: u32,
    /// Publish lag: from the intended to the actual time.
    pub lag_ns: Quantiles,
}

/// What a target may be unable to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// To answer a subscribe with a cursor, so that every gap shows.
    Cursor,
    /// To report when it published what.
    PublishReport,
}

impl Capability {
    /// Why what needs it is not tested.
    pub fn lacking(self) -> &'static str {
        match self {
            Self::Cursor => "this target has no cursor",
            Self::PublishReport => "this target does not report what it published",
        }
    }
}

/// Messages of the measure phase, summed over the ledgers of all clients. In a record, what was owed is
/// `null` where the target has no cursor to count from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Deliveries")]
pub struct Deliveries<Owed = u64> {
    /// Deliveries that were owed: sequences after the start cursor.
    pub expected: Owed,
    /// Deliveries that were owed and arrived, each counted once.
    pub received: u64,
    /// Deliveries that were owed and had not arrived at the end of the drain.
    pub missing: Owed,
    /// Messages that came again, or from before the subscription.
    pub duplicate: u64,
    /// Messages that came first after a later one.
    pub out_of_order: u64,
}

/// Intervals of the quantiles of delivery latency, at 95%: by bootstrap over publishes, since the
/// deliveries of one publish share their fate. `null` where too few publishes lie beyond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyIntervals {
    /// Of the quantile 0.5.
    pub p50: Option<IntervalNs>,
    /// Of the quantile 0.9.
    pub p90: Option<IntervalNs>,
    /// Of the quantile 0.99.
    pub p99: Option<IntervalNs>,
    /// Of the quantile 0.999.
    pub p999: Option<IntervalNs>,
}

/// An interval in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntervalNs {
    /// Its lower end.
    pub low: u64,
    /// Its upper end.
    pub high: u64,
}

/// Delivery latency taken apart on a few clients, by the kernel's stamp of each segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// Reads that could be taken apart.
    pub reads: u64,
    /// The harness's share: from the kernel's stamp to the read, in ns of the wall clock.
    pub harness_ns: Quantiles,
    /// The rest, which is server and network: delivery latency without the harness's share.
    pub server_and_network_ns: Quantiles,
}

/// Deliveries over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// Deliveries received a second.
    pub received_per_s: Option<f64>,
    /// Envelopes received, in bytes a second.
    pub received_bytes_per_s: Option<f64>,
}

/// Cost at the server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerCost {
    /// CPU time over the workload window.
    pub cpu_ns: Option<u64>,
    /// The same over the deliveries of the window.
    pub cpu_ns_per_delivery: Option<f64>,
    /// How long its threads, all together, were ready to run and waited for a core, over the same
    /// window; `null` where the kernel does not tell.
    pub run_queue_wait_ns: Option<u64>,
    /// Threads of the process.
    pub threads: Option<u32>,
    /// Its allocator; `null` where it did not say.
    #[schemars(schema_with = "known_allocator_schema")]
    pub allocator: Option<Allocator>,
    /// Its memory.
    pub memory: Memory,
}

/// Cost at the clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HarnessCost {
    /// Which clients made the load.
    pub client: Family,
    /// CPU time of the fleet over the workload window.
    pub cpu_ns: Option<u64>,
    /// The same over the deliveries of the window.
    pub cpu_ns_per_delivery: Option<f64>,
    /// How long the fleet's threads, all together, were ready to run and waited for a core, over
    /// the same window; `null` where the kernel does not tell.
    pub run_queue_wait_ns: Option<u64>,
    /// User memory of the fleet per client; `null` below 1,000 clients.
    pub memory_bytes_per_client: Option<f64>,
    /// The line behind it, through the points of the server's memory.
    pub memory_fit: Option<Fit>,
    /// Allocator of the fleet; `null` where it did not say.
    #[schemars(schema_with = "known_allocator_schema")]
    pub allocator: Option<Allocator>,
    /// How late a timer of the fleet's runtime fires. Such timers are good to 1 ms, so a
    /// millisecond or two is what an idle machine shows.
    pub scheduler_lag_ns: Quantiles,
}

/// The machine as a whole, over the workload window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// CPU time that neither server nor fleet was charged with. May lie below 0 by the 10-ms tick
    /// in which the machine counts.
    pub unattributed_cpu_ns: Option<i64>,
    /// CPU time that a hypervisor gave to others.
    pub steal_ns: Option<u64>,
    /// How long the kernel kept the run's threads from running because their control group had used up
    /// its CPU quota, over all cores; `null` where there is no quota.
    #[serde(default)]
    pub throttled_ns: Option<u64>,
}

/// Bytes and segments of TCP, by the kernel's counters, and requests: over the workload window, and
/// its deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wire {
    /// Payload bytes of TCP from server to clients.
    pub server_to_client_bytes_per_delivery: Option<f64>,
    /// Payload bytes of TCP from clients to server.
    pub client_to_server_bytes_per_delivery: Option<f64>,
    /// Segments with payload from server to clients.
    pub segments_per_delivery: Option<f64>,
    /// Segments with payload from clients to server.
    #[serde(default)]
    pub client_to_server_segments_per_delivery: Option<f64>,
    /// Payload bytes that clients sent again.
    #[serde(default)]
    pub retransmitted_bytes: Option<u64>,
    /// Subscribes and polls that clients sent; POSTs are not among them.
    pub requests: Option<u64>,
    /// Requests that were answered without a message.
    pub empty_responses: Option<u64>,
}

/// The window over which CPU, bytes, segments, requests, messages sent and arrivals were read, with
/// what they are divided by. It reaches from just before the schedule's start to the end of the drain;
/// of a transport that polls at an interval, from one interval after the schedule's start over whole
/// intervals, while messages are published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadWindow {
    /// When it opened, in ns since the trial began.
    pub from_ns: u64,
    /// When it closed.
    pub until_ns: u64,
    /// How much of that was the trial's turn, where it took turns with others: CPU is that of its slices.
    #[serde(default)]
    pub slices_ns: Option<u64>,
    /// Messages that clients received in it, warm-up and repeated ones included; `null` where a
    /// record of schema 1 did not say.
    pub deliveries: Option<u64>,
    /// Messages that clients sent in it; `null` where a record of schema 1 did not say.
    pub sent: Option<u64>,
    /// Sessions that began in it; `null` where a record of schema 1 did not say.
    pub arrivals: Option<u64>,
}

impl WorkloadWindow {
    /// Its length in ns; that of its slices, where it has some.
    pub fn length_ns(&self) -> u64 {
        let whole = self.until_ns.saturating_sub(self.from_ns);
        self.slices_ns.unwrap_or(whole)
    }
}

/// Whether a trial's numbers may be believed, best first, so that the worst is the greatest.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every check passed.
    #[default]
    Valid,
    /// Something may have bent the numbers.
    Suspect,
    /// The numbers say nothing about the server.
    Void,
}

pushbench_protocol::ids! {
    Verdict, "a verdict":
    Valid = "valid", Suspect = "suspect", Void = "void"
}

/// The verdict of a trial with everything that led to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    /// The worst that any check gave.
    pub verdict: Verdict,
    /// One for each check that did not pass.
    pub reasons: Vec<Reason>,
    /// Every check that was made, passed or not.
    pub checks: Vec<Check>,
}

/// A check of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Its name, in snake case; `METHODOLOGY.md` says what it looks at.
    pub check: String,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found; `null` where there was nothing to measure.
    pub measured: Option<f64>,
    /// Where the check passes.
    pub limit: Option<f64>,
    /// Why it was not tested; `null` where it was.
    pub not_tested: Option<String>,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Passed,
    /// There is doubt: the trial is suspect.
    Doubtful,
    /// The trial is void.
    Failed,
    /// It could not be made.
    NotTested,
}

impl Validity {
    /// Enters a check that did not pass: the verdict becomes `verdict` unless it was worse.
    pub fn raise(&mut self, verdict: Verdict, reason: Reason) {
        self.verdict = self.verdict.max(verdict);
        self.reasons.push(reason);
    }
}

/// A check that did not pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// Name of the check, in snake case.
    pub check: String,
    /// What was found, in the unit of the message; `null` where it is not a number.
    pub measured: Option<f64>,
    /// Where the check passes.
    pub limit: Option<f64>,
    /// The command or setting that helps.
    pub remedy: String,
    /// What was expected and what was found, in a line without the remedy.
    pub message: String,
}

/// Declares the ids of distributions, and where a trial has each.
macro_rules! histograms {
    ($trial:ident: $($(#[$of:meta])* $id:ident => $place:expr,)+) => {
        /// What a fleet keeps the distribution of, in ns.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum HistogramId { $($(#[$of])* $id,)+ }

        impl HistogramId {
            /// Every id, in its order.
            pub const ALL: &[Self] = &[$(Self::$id,)+];

            /// Where a trial has it; `None` where its scenario does not ask for it.
            pub(crate) fn place(self, $trial: &mut Trial) -> Option<&mut Quantiles> {
                Some(match self { $(Self::$id => &mut $place,)+ })
            }
        }
    };
}

histograms! {
    trial:
    /// Receive − intended time.
    Delivery => trial.latency_ns,
    /// Receive − actual time.
    Service => trial.service_ns,
    /// From a message's intended time to its last subscriber; nothing where there were too many messages.
    Fanout => trial.fanout_ns,
    /// How long the last segment of a probe's read had waited in the kernel.
    ProbeWaited => trial.probe.as_mut()?.harness_ns,
    /// Delivery latency of the last message of that read, without that wait.
    ProbeRest => trial.probe.as_mut()?.server_and_network_ns,
    /// From the start of a connect to the cursor.
    Connect => trial.clients.connect_ns,
    /// From the start of a session of the measure phase to its first message.
    FirstMessage => trial.clients.first_message_ns,
    /// How late the timers of shards were.
    SchedulerLag => trial.harness.scheduler_lag_ns,
    /// From the first message of a complete stream to its last.
    Stream => trial.measures.streams.as_mut()?.first_to_last_ns,
    /// Time between two receipts of a stream − intended time between them, whichever is longer.
    GapJitter => trial.measures.streams.as_mut()?.gap_jitter_ns,
    /// From the start of a connect to the last message of its snapshot.
    Snapshot => trial.measures.snapshot.as_mut()?.complete_ns,
    /// From the intended time of a client's message to its return.
    RoundTrip => trial.measures.round_trip.as_mut()?.round_trip_ns,
    /// How late clients sent: actual − intended time.
    SendLag => trial.measures.round_trip.as_mut()?.send_lag_ns,
    /// POST sent → answered.
    Acknowledge => trial.measures.round_trip.as_mut()?.acknowledge_ns,
    /// From the connect of a session of the measure phase to its cursor.
    SetUp => trial.measures.arrivals.as_mut()?.set_up_ns,
    /// From the connect of a session that resumes to each message that was due while its client was
    /// away by plan.
    ResumedCatchUp => trial.measures.arrivals.as_mut()?.caught_up_ns,
    /// From the loss of a connection to the cursor.
    Away => trial.measures.recovery.as_mut()?.away_ns,
    /// From the last fault before the loss to the cursor.
    AfterFault => trial.measures.recovery.as_mut()?.after_fault_ns,
    /// Delivery latency of messages that were due between a client's loss and its return.
    LostCatchUp => trial.measures.recovery.as_mut()?.caught_up_ns,
}

impl Deliveries {
    /// As a record has them, with what was owed where `has_cursor`.
    pub fn recorded(self, has_cursor: bool) -> Deliveries<Option<u64>> {
        Deliveries {
            expected: has_cursor.then_some(self.expected),
            received: self.received,
            missing: has_cursor.then_some(self.missing),
            duplicate: self.duplicate,
            out_of_order: self.out_of_order,
        }
    }
}

impl Trial {
    /// Whether what the target cannot do leaves room for what needs `capability`.
    pub fn has(&self, capability: Capability) -> bool {
        !self.lacks.contains(&capability)
    }

    /// A trial about which nothing is known yet.
    pub fn new(transport: Transport, profile: Profile, index: u32) -> Self {
        Self {
            variant: Side { transport, profile }.at(None),
            index,
            ..Self::default()
        }
    }

    /// Marks the trial as one that did not come to its end: void, with the error as its reason.
    /// What has been measured so far stays.
    #[must_use]
    pub fn failed(mut self, error: String, remedy: String) -> Self {
        let reason = Reason {
            check: "completed".to_owned(),
            measured: None,
            limit: None,
            remedy,
            message: error.clone(),
        };
        self.validity.raise(Verdict::Void, reason);
        self.error = Some(error);
        self
    }

    /// `sse-tuned-2`, or `sse-tuned-point3-2` in a sweep: what its files are called.
    pub fn label_for_file(&self) -> String {
        format!("{}-{}", self.variant.file_name(), self.index)
    }

    /// `sse tuned, trial 2`, or `sse tuned at clients 1,000, trial 2`: what messages call it.
    pub fn label(&self) -> String {
        format!("{}, trial {}", self.variant, self.index)
    }
}
