//! What a scenario measures beside latency and cost: named measures, each with a table of its own.
//!
//! `null` where the scenario does not ask for one, and where the trial did not come to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Deliveries;
use super::quantiles::Quantiles;
use crate::scenario::FaultKind;

/// The named measures of a trial.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Measures {
    /// How clients came back.
    pub recovery: Option<Recovery>,
    /// What slow readers cost, and what became of them.
    pub slow_readers: Option<SlowReaders>,
    /// From a client's message to its return.
    pub round_trip: Option<RoundTrip>,
    /// Clients that came in the measure phase.
    pub arrivals: Option<Arrivals>,
    /// Streams of messages, one a session.
    pub streams: Option<Streams>,
    /// The first look of a subscriber.
    pub snapshot: Option<Snapshot>,
    /// The server over the measure phase.
    pub over_time: Option<OverTime>,
    /// What the server did about subscribers that were too slow; also where only a policy other than
    /// `disconnect` is set.
    pub overflow: Option<Overflow>,
}

/// Connections that were lost, and how their clients came back. Times in ns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// What was done.
    pub faults: Vec<FaultDone>,
    /// Connections that ended when they were not to, after their client held a cursor. Each loss ends as
    /// one of `back`, `not_back` and `gave_up`.
    pub lost: u64,
    /// Of those, cut by the clients themselves, as planned.
    pub cut: u64,
    /// Of those cut, ended by a reset: asked to, or because something had arrived that was not read.
    #[serde(default)]
    pub cut_by_reset: u64,
    /// Returns: clients that held a cursor again.
    pub back: u64,
    /// Clients that were still away at the end.
    pub not_back: u64,
    /// Clients that never tried again: an `EventSource` does so after any status but 200, or another type.
    pub gave_up: u64,
    /// Connects begun to come back, or after a first connect that failed.
    pub attempts: u64,
    /// Connects that did not lead to a cursor: of those, and first ones.
    pub failed_attempts: u64,
    /// From the fault to the cursor, over all returns; its quantiles are the times until 50%, 90% and
    /// 99% were back, its maximum that until all were.
    pub after_fault_ns: Quantiles,
    /// From the loss of a connection to the cursor.
    pub away_ns: Quantiles,
    /// Delivery latency of what was published while its client was away.
    pub caught_up_ns: Quantiles,
    /// Most clients that came back within one second, from bins of 100 ms.
    pub peak_returns_per_s: f64,
    /// Most connects begun within one second.
    pub peak_attempts_per_s: f64,
    /// When the first connection was lost, in ns from the start of the measure phase; `null` where none
    /// was.
    #[serde(default)]
    pub first_loss_ns: Option<u64>,
    /// When the last client was back.
    #[serde(default)]
    pub last_return_ns: Option<u64>,
    /// Messages of which the server said that they had fallen off the ring.
    pub lagged_messages: u64,
    /// Largest memory of the server process from the first fault on, in bytes.
    pub server_peak_bytes: Option<u64>,
    /// The same before it.
    pub server_before_bytes: Option<u64>,
    /// CPU time of the server from the first fault to the last return.
    pub server_cpu_ns: Option<u64>,
}

/// A fault as it happened, in ns from the start of the measure phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultDone {
    /// What.
    pub kind: FaultKind,
    /// When it began.
    pub at_ns: u64,
    /// When it was over: a server listened again, was continued, or had drained.
    pub over_ns: u64,
}

/// Clients that read slowly or not at all; latency, deliveries and cost are those of the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlowReaders {
    /// How many, of those that ever held a cursor.
    pub clients: u64,
    /// Bytes a second that each read; 0: none.
    pub read_bytes_per_s: u64,
    /// Messages of the measure phase that they were owed.
    pub expected: u64,
    /// Messages of the measure phase that they read.
    pub received: u64,
    /// Clients that were told of a loss and read it.
    pub lagged_clients: u64,
    /// Messages in what they were told.
    pub lagged_messages: u64,
    /// Clients whose connection the server ended, as far as their kernel was told: a server that gives up
    /// a connection whose window is closed cannot tell.
    pub ended: u64,
    /// Clients that were attached at the end.
    pub attached: u64,
    /// Memory of the server process at its largest in the measure phase, over that before the first
    /// message, in bytes.
    pub user_growth_bytes: Option<u64>,
    /// What it may grow by: the rings, and for each slow reader what its transport may hold for it.
    pub user_bound_bytes: u64,
    /// The same of the kernel's socket memory and slab, both ends.
    pub kernel_growth_bytes: Option<u64>,
    /// What that may grow by: both socket buffers of each slow reader as set, doubled as the kernel
    /// does, and one segment in whole pages beyond either; `null` where the send buffer is left to the
    /// kernel.
    pub kernel_bound_bytes: Option<u64>,
    /// Send buffer that was asked for, in bytes.
    pub send_buffer_bytes: Option<u32>,
    /// Receive buffer that was asked for, in bytes.
    pub receive_buffer_bytes: u32,
}

/// What the server did about subscribers that were too slow, as it counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overflow {
    /// Times that a subscriber fell off a ring.
    pub lagged: u64,
    /// Messages lost to them.
    pub lost_messages: u64,
    /// Messages left out for a newer one (`latest-only`).
    pub conflated_messages: u64,
    /// Subscribers that were cut off, because they could not even be told.
    pub cut_off: u64,
}

/// Messages of clients and their return, on the sender's own clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundTrip {
    /// Messages of the measure phase that were due to be sent.
    pub due: u64,
    /// Of those, sent.
    pub sent: u64,
    /// Of those, answered 200; `null` where they travel on the client's own connection, which does not
    /// answer.
    pub acknowledged: Option<u64>,
    /// Of those, answered otherwise, or never because their connection ended.
    pub refused: u64,
    /// Come back to their sender, each counted once.
    pub returned: u64,
    /// Due and never come back, sent or not.
    pub lost: u64,
    /// Come back with a second sequence: they were appended twice.
    pub doubled: u64,
    /// POST connections that were opened again, of whatever phase.
    #[serde(default)]
    pub reopened: u64,
    /// From the intended time of sending to the return.
    pub round_trip_ns: Quantiles,
    /// From the intended to the actual time of sending.
    pub send_lag_ns: Quantiles,
    /// From the actual time of sending to the answer of a POST.
    pub acknowledge_ns: Quantiles,
    /// Connections of all clients when the schedule became known: with POSTs two a client.
    pub connections: u64,
    /// The same of each client.
    pub connections_per_client: f64,
    /// Bytes from clients to server, on whatever connection, for each message sent.
    pub up_bytes_per_message: Option<f64>,
    /// Bytes from server to clients, on whatever connection, for each message sent; what it is
    /// fanned out to counts.
    pub down_bytes_per_message: Option<f64>,
    /// The part of the former on connections for POSTs; `null` where there are none.
    #[serde(default)]
    pub post_up_bytes_per_message: Option<f64>,
    /// The part of the latter on connections for POSTs.
    #[serde(default)]
    pub post_down_bytes_per_message: Option<f64>,
    /// CPU time of the server for each message sent, its fan-out included.
    pub server_cpu_ns_per_message: Option<f64>,
}

/// Sessions begun in the measure phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Arrivals {
    /// How many.
    pub arrivals: u64,
    /// Of those, sessions that got their cursor, a second.
    pub achieved_per_s: f64,
    /// Of those, connects that failed or were refused.
    pub failed: u64,
    /// From the start of a connect to the cursor.
    pub set_up_ns: Quantiles,
    /// From the connect of a session that resumes to each message that was due while its client was
    /// away by plan; such messages are in no delivery latency.
    #[serde(default)]
    pub caught_up_ns: Quantiles,
    /// CPU time of the server for each arrival; deliveries are in it, so publish little.
    pub server_cpu_ns_per_arrival: Option<f64>,
    /// The server's memory a third into the measure phase, in bytes: the median of the second around.
    pub early_bytes: Option<u64>,
    /// The same at its end.
    pub late_bytes: Option<u64>,
    /// The latter over the former.
    pub growth: Option<f64>,
}

/// Streams of messages, one a session. A stream belongs to the measure phase where its last message does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Streams {
    /// Streams that begin in a second, by plan.
    pub offered_per_s: f64,
    /// Complete streams of the measure phase, a second of it: every message came in one session.
    pub complete_per_s: f64,
    /// From the first message of a complete stream to its last.
    pub first_to_last_ns: Quantiles,
    /// How far the time between the receipts of two successive messages is from the time between their
    /// intended times, either way.
    pub gap_jitter_ns: Quantiles,
}

/// What a subscriber gets first: the latest messages, before those that follow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Messages asked for.
    pub messages: u64,
    /// From the start of the connect to the last message of the snapshot.
    pub complete_ns: Quantiles,
}

/// The server process and the kernel over the measure phase and the drain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OverTime {
    /// One entry for each look, some four a second.
    pub points: Vec<Moment>,
}

/// One look at the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// When, in ns from the start of the measure phase.
    pub at_ns: u64,
    /// Resident memory of the server process in bytes; of both while there are two.
    pub server_bytes: Option<u64>,
    /// The kernel's unreclaimable slab and socket buffers in bytes, both ends, of the whole machine.
    pub kernel_bytes: Option<u64>,
    /// CPU time of the server since the start of the measure phase, of all its processes.
    pub server_cpu_ns: Option<u64>,
    /// Clients that held a cursor.
    pub connected: Option<u64>,
}

/// What each shard of a fleet counts, and all of them together.
pub trait Merge {
    /// Adds what another shard counted.
    fn merge(&mut self, other: Self);
}

impl Merge for u64 {
    fn merge(&mut self, other: Self) {
        *self += other;
    }
}

impl<T: Merge> Merge for Option<T> {
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Some(sum), Some(more)) => sum.merge(more),
            (none, other) => *none = none.take().or(other),
        }
    }
}

/// Merges the fields that shards count; the others are worked out over all of them.
macro_rules! merge {
    ($($type:ident: $($count:ident)+;)+) => {$(
        impl Merge for $type {
            fn merge(&mut self, other: Self) {
                $(self.$count.merge(other.$count);)+
            }
        }
    )+};
}

merge! {
    Measures: recovery slow_readers round_trip arrivals;
    Recovery: lost cut cut_by_reset back not_back gave_up attempts failed_attempts;
    SlowReaders: clients expected received lagged_clients lagged_messages ended attached;
    RoundTrip: sent acknowledged refused returned doubled connections reopened;
    Arrivals: arrivals failed;
    Deliveries: expected received missing duplicate out_of_order;
}
