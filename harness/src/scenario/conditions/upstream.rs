//! Clients that send, each to its own channel. When each message is due and what it says is in
//! `load/conditions/upstream.rs`.

use pushbench_protocol::envelope;
use pushbench_protocol::transport::Transport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::check::positive;
use crate::scenario::condition::{Condition, Exclusion, Kind};
use crate::scenario::error::{Check, ensure};
use crate::scenario::{Measure, Scenario, Sizes};
use crate::text::figure::{count, three};

pub(in crate::scenario) const KIND: Kind = Kind {
    name: "[upstream]",
    measure: Some(Measure::RoundTrip),
    of: |scenario| Some(scenario.upstream.as_ref()?),
};

/// Bytes at the front of each upstream payload: who sent it, its number and its intended time in
/// lower-case hexadecimal digits, each with a colon.
pub(crate) const HEAD_BYTES: usize = 8 + 1 + 8 + 1 + 16 + 1;

/// The smallest `payload_bytes`: the envelope's head and ours.
pub(crate) const MIN_PAYLOAD_BYTES: usize = envelope::HEAD_BYTES + HEAD_BYTES;

/// Most messages a second of one client. At this rate the 2^32 numbers of a head last five days.
pub(crate) const MAX_RATE_PER_CLIENT_S: f64 = 10_000.0;

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

impl Upstream {
    /// Bytes of the payload, without the head of the envelope.
    pub fn body_bytes(&self) -> usize {
        self.payload_bytes.saturating_sub(envelope::HEAD_BYTES)
    }
}

impl Condition for Upstream {
    fn check(&self, scenario: &Scenario) -> Check {
        let (rate, bytes) = (self.rate_per_client_s, self.payload_bytes);
        positive(
            "upstream.rate_per_client_s",
            rate,
            "nothing would ever be sent; use a number above 0, or leave [upstream] out",
        )?;
        ensure!(
            rate <= MAX_RATE_PER_CLIENT_S,
            "upstream.rate_per_client_s",
            "is {rate}, but a client sends at most {MAX_RATE_PER_CLIENT_S} messages a second"
        );
        ensure!(
            bytes >= MIN_PAYLOAD_BYTES,
            "upstream.payload_bytes",
            "is {bytes}, but an envelope with its sender needs at least {MIN_PAYLOAD_BYTES}"
        );
        ensure!(
            bytes <= envelope::MAX_BYTES,
            "upstream.payload_bytes",
            "is {bytes}, but servers accept and clients read at most {} (1 MiB)",
            envelope::MAX_BYTES
        );
        ensure!(
            scenario.channels.sizes == Sizes::Even,
            "channels.sizes",
            "is 'zipf', but rooms in which clients send are of even size; leave one out"
        );
        for &transport in &scenario.run.transports {
            let both_ways = transport.goes_both_ways();
            ensure!(
                self.via != Via::Connection || both_ways,
                "upstream.via",
                "is 'connection', but {transport} goes one way: the server has nothing to read on \
                 it; use 'transport' or 'post', or leave {transport} out of 'run.transports'"
            );
            ensure!(
                self.via != Via::Post || !both_ways,
                "upstream.via",
                "is 'post', but {transport} sends on its own connection; use 'transport', or leave \
                 {transport} out of 'run.transports'"
            );
        }
        Ok(())
    }

    fn excludes(&self) -> Option<Exclusion> {
        Some(Exclusion {
            key: "upstream",
            names: &[
                "[publish]",
                "[sessions]",
                "[reconnect]",
                "'clients.snapshot_messages'",
            ],
            because: "what a client is owed follows from what clients send",
        })
    }

    fn lean_only(&self) -> Option<&'static str> {
        Some(KIND.name)
    }

    fn sentence(&self) -> Option<String> {
        let s = if self.rate_per_client_s == 1.0 {
            ""
        } else {
            "s"
        };
        Some(format!(
            "Each client sends {} message{s} a second of {} bytes to its channel.",
            three(self.rate_per_client_s),
            count(self.payload_bytes as u64)
        ))
    }

    fn connections_per_client(&self, transports: &[Transport]) -> u32 {
        match transports.iter().all(|t| t.goes_both_ways()) {
            true => 1,
            // One to receive on, and one for POST.
            false => 2,
        }
    }
}
