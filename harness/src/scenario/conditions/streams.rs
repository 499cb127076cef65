//! Sessions with a stream each, as answers that come token by token. When their messages are due is in
//! the protocol's `schedule/streams.rs`; what is counted of them is in `load/conditions/streams.rs`.

use pushbench_protocol::schedule::{self, Arrival, MAX_STREAM_MESSAGES};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::condition::{Condition, Exclusion, Kind};
use crate::scenario::error::{Check, ensure};
use crate::scenario::{ChannelCount, Measure, Scenario, Spread};
use crate::text::figure::count;

pub(in crate::scenario) const KIND: Kind = Kind {
    name: "[streams]",
    measure: Some(Measure::Streams),
    of: |scenario| Some(scenario.streams.as_ref()?),
};

const NS_PER_MS: u64 = 1_000_000;

/// Each session of \[sessions\] has a stream of its own, which ends with it: `publish.rate_per_s`
/// messages a second, in a channel of its client alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScenarioStreams")]
pub struct Streams {
    /// From the time at which a session is due to its first message, in ms; below
    /// `sessions.length_ms`.
    pub first_after_ms: u64,
}

impl Condition for Streams {
    fn check(&self, scenario: &Scenario) -> Check {
        let key = "streams";
        let (Some(sessions), Some(publish)) = (scenario.sessions, &scenario.publish) else {
            ensure!(
                false,
                key,
                "needs [sessions], which each have one, and [publish], whose messages it has; add them"
            );
            return Ok(());
        };
        ensure!(
            !sessions.resume && sessions.spread == Spread::Fixed,
            key,
            "needs sessions that are all alike and do not resume; remove 'resume' and 'spread' from \
             [sessions]"
        );
        ensure!(
            scenario.channels.count == ChannelCount::PerClient,
            key,
            "needs a channel for each client; set 'count' in [channels] to \"per_client\""
        );
        ensure!(
            publish.burst == 1 && publish.arrival == Arrival::Uniform,
            key,
            "needs messages at even distances; remove 'burst' and 'arrival' from [publish]"
        );
        let (first, length) = (self.first_after_ms, sessions.length_ms);
        let messages = scenario.schedule_streams().map_or(0, |s| s.messages);
        ensure!(
            messages > 0,
            "streams.first_after_ms",
            "is {first}, so no message at {} a second fits into the rest of a session of {length} ms; \
             lower it, or raise 'length_ms' in [sessions]",
            publish.rate_per_s
        );
        let in_all = u64::from(messages) * u64::from(scenario.clients.count);
        ensure!(
            in_all <= MAX_STREAM_MESSAGES,
            key,
            "has {messages} messages for each of {} clients, but a schedule holds at most \
             {MAX_STREAM_MESSAGES} in all; use fewer clients, shorter sessions or a lower rate",
            scenario.clients.count
        );
        Ok(())
    }

    fn excludes(&self) -> Option<Exclusion> {
        Some(Exclusion {
            key: "streams",
            names: &[
                "[reconnect]",
                "[slow_readers]",
                "[upstream]",
                "'clients.snapshot_messages'",
            ],
            because: "a client is owed its stream and nothing else",
        })
    }

    fn sentence(&self) -> Option<String> {
        Some(format!(
            "Each time it gets a stream of its own, whose first message is due after {} ms.",
            count(self.first_after_ms)
        ))
    }
}

impl Scenario {
    /// The streams of its schedule, where sessions have them.
    pub fn schedule_streams(&self) -> Option<schedule::Streams> {
        let (streams, sessions) = (self.streams?, self.sessions?);
        let rest_ms = sessions.length_ms.saturating_sub(streams.first_after_ms);
        // A little more, so that 6 s hold 300 messages at 50/s however their product is rounded.
        let messages = rest_ms as f64 / 1e3 * self.publish.as_ref()?.rate_per_s + 1e-6;
        let period_ms = sessions.length_ms.saturating_add(sessions.gap_ms);
        Some(schedule::Streams {
            messages: messages as u32,
            first_after_ns: streams.first_after_ms.saturating_mul(NS_PER_MS),
            period_ns: period_ms.saturating_mul(NS_PER_MS),
        })
    }

    /// Streams that begin in a second; `None` where there are none.
    pub fn streams_per_s(&self) -> Option<f64> {
        let period_ns = self.schedule_streams()?.period_ns;
        Some(f64::from(self.channel_count()) * 1e9 / period_ns as f64)
    }

    /// Messages published in a second, over all channels; 0 where nothing is.
    pub fn published_per_s(&self) -> f64 {
        match (self.streams_per_s(), self.schedule_streams()) {
            (Some(per_s), Some(streams)) => per_s * f64::from(streams.messages),
            _ => self.publish.as_ref().map_or(0.0, |p| p.rate_per_s),
        }
    }
}
