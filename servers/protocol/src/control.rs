//! The messages of the control protocol: what a harness asks a server, and what it answers.
//!
//! On the data path: next to it. JSON bodies of the requests under `/v1`, without any I/O; the
//! server's half that answers them is `pushbench_servers::control`, which lists the requests.

mod guard;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::envelope::{HEAD_BYTES, MAX_BYTES};
use crate::overflow::Overflow;
use crate::payload::PayloadKind;
use crate::schedule::Schedule;
use crate::transport::{Profile, Transport};

pub use guard::{Guard, Stranger, TOKEN_VARIABLE, is_local};

/// Most channels of one server: a million private ones, and room for more.
pub const MAX_CHANNELS: u32 = 4_000_000;

/// Version of this protocol.
pub const PROTOCOL: u32 = 1;

/// Who a server is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerInfo {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Name of the software.
    pub server: String,
    /// Its version.
    pub version: String,
    /// Its process, for memory and CPU time read from outside.
    pub pid: u32,
    /// What it serves.
    pub transports: Vec<Transport>,
    /// How it is set up.
    pub profile: Profile,
    /// Threads that deliver.
    pub threads: usize,
    /// Where clients connect.
    pub addresses: Addresses,
    /// Declared channels, as they were declared.
    pub channels: Vec<String>,
}

/// Channels to declare.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declare {
    /// Names, or `prefix*count`.
    pub declare: Vec<String>,
    /// Channel `k` of each declaration gets `overflow[k % len]`; the default where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overflow: Vec<Overflow>,
}

/// Counters since the start, over all shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Subscribers now. A long-poll counts while it is held.
    pub subscribers: u64,
    /// Messages handed to a transport, once for each subscriber.
    pub deliveries: u64,
    /// Keep-alives and poll time-outs that came due.
    pub keep_alives: u64,
    /// Subscribers that fell off a ring, once each time.
    pub lagged: u64,
    /// Messages that those did not get.
    pub lost_messages: u64,
    /// Subscribers that the server ended in their transport's polite way, with nothing pending.
    #[serde(default)]
    pub closed_politely: u64,
    /// Messages left out on `latest-only` channels, because a newer one was handed out.
    #[serde(default)]
    pub conflated_messages: u64,
    /// Subscribers of `disconnect` channels dropped because they had fallen off a ring while their
    /// socket took nothing. They count as lagged too.
    #[serde(default)]
    pub cut_off: u64,
}

/// How to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Time over which the clients are sent away; 0: all at once.
    pub over_ms: u64,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The HTTP transports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Raw TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<SocketAddr>,
}

impl Addresses {
    /// Where clients of `transport` connect.
    pub fn of(&self, transport: Transport) -> Option<SocketAddr> {
        if transport.is_http() {
            self.http
        } else {
            self.tcp
        }
    }
}

/// What to publish. Messages of the schedule's channel `c` go to the server's channel number `c`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishPlan {
    /// When each message is due.
    pub schedule: Schedule,
    /// What it says.
    pub payload: PayloadKind,
    /// Bytes of the whole envelope: 51 to 1 MiB.
    pub payload_bytes: usize,
    /// Seed of the payloads.
    pub seed: u64,
    /// Messages intended in `measure_from_ns..measure_until_ns` (`CLOCK_MONOTONIC`) are reported.
    pub measure_from_ns: u64,
    /// End of the measure phase, exclusive.
    pub measure_until_ns: u64,
}

impl PublishPlan {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// A text that names the field, what was expected and what was found.
    pub fn check(&self, channels: u32) -> Result<(), String> {
        let s = &self.schedule;
        s.check()?;
        if s.channels > channels {
            return Err(format!(
                "'channels' is {}, but only {channels} are declared; declare them first",
                s.channels
            ));
        }
        if !(HEAD_BYTES..=MAX_BYTES).contains(&self.payload_bytes) {
            return Err(format!(
                "'payload_bytes' is {}, expected {HEAD_BYTES} to {MAX_BYTES}",
                self.payload_bytes
            ));
        }
        Ok(())
    }
}

/// How a schedule was held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PublishReport {
    /// Whether the schedule is over, or was stopped.
    pub finished: bool,
    /// Messages that were due before this server began, and that it took from the schedule without
    /// publishing them: those published here follow behind them.
    #[serde(default)]
    pub refilled: u64,
    /// Messages appended since the start.
    pub published: u64,
    /// Messages of the measure phase that were appended.
    pub measured: u64,
    /// Actual time of the first message of the measure phase, in ns; 0 before it.
    pub first_actual_ns: u64,
    /// Actual time of the last message of the measure phase, in ns; 0 before it.
    pub last_actual_ns: u64,
    /// Times between actual publishes of the measure phase in ns, the first 10,000 at the most:
    /// for a test of the arrival process. Within a burst they are left out.
    pub gaps_ns: Vec<u64>,
    /// Publish lag (actual − intended) of the measure phase in ns: a histogram in HdrHistogram's
    /// V2 form, base64. Filled in when finished.
    pub lag_histogram: String,
}
