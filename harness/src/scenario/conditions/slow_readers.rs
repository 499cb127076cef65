//! Clients that read slowly, or not at all, from the first message on. Latency and the ledger are
//! about the others. What they do is in `load/conditions/slow.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::condition::{Condition, Exclusion, Kind};
use crate::scenario::error::{Check, ensure};
use crate::scenario::{Measure, Scenario};
use crate::text::figure::{count, three};

pub(in crate::scenario) const KIND: Kind = Kind {
    name: "[slow_readers]",
    measure: Some(Measure::SlowReaders),
    of: |scenario| Some(scenario.slow_readers.as_ref()?),
};

/// Receive buffers that the kernel gives: its own least, and more than its default most.
const RECEIVE_BUFFER_BYTES: std::ops::RangeInclusive<u32> = 2_304..=4 << 20;

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

impl Condition for SlowReaders {
    fn check(&self, scenario: &Scenario) -> Check {
        let (share, clients) = (self.share, scenario.clients.count);
        ensure!(
            (0.0..=1.0).contains(&share),
            "slow_readers.share",
            "is {share}, but it is a share of the clients, from 0 to 1"
        );
        ensure!(
            (f64::from(clients) * share) as u32 != clients,
            "slow_readers.share",
            "is {share}, so none of {clients} clients reads as it should; lower it"
        );
        ensure!(
            RECEIVE_BUFFER_BYTES.contains(&self.receive_buffer_bytes),
            "slow_readers.receive_buffer_bytes",
            "is {}, but a receive buffer has {} to {} bytes",
            self.receive_buffer_bytes,
            RECEIVE_BUFFER_BYTES.start(),
            RECEIVE_BUFFER_BYTES.end()
        );
        Ok(())
    }

    fn excludes(&self) -> Option<Exclusion> {
        Some(Exclusion {
            key: "slow_readers",
            names: &["[reconnect]", "[sessions]", "[upstream]"],
            because: "what became of a client would have two reasons",
        })
    }

    fn lean_only(&self) -> Option<&'static str> {
        Some(KIND.name)
    }

    fn sentence(&self) -> Option<String> {
        let share = three(self.share * 100.0);
        Some(match self.read_bytes_per_s {
            0 => format!("{share}% of the clients read nothing."),
            bytes => format!("{share}% of the clients read {} bytes/s.", count(bytes)),
        })
    }

    fn needs_samples(&self) -> bool {
        true
    }
}
