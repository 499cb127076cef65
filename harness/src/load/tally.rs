//! What a fleet counts, by id: from the line that counts to the record, through shards and over the
//! control interface, nothing is copied by name.
//!
//! Place on the data path: next to the clients of a shard. In: events. Out: [`Counters`], cumulative
//! since the fleet began. Those of shards are added up; what happened in a window is the difference of
//! two of them.

use std::cell::Cell;
use std::collections::BTreeMap;

use pushbench_os::sys::TcpCounters;
use serde::{Deserialize, Serialize};

/// A table of ids with the order in which they are kept.
macro_rules! ids {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $id:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$of])* $id,)+ }

        impl $name {
            /// Every id, in its order.
            pub const ALL: &[Self] = &[$(Self::$id,)+];
        }
    };
}

ids! {
    /// What a fleet counts. Slow readers are in none of these.
    CounterId {
        /// Messages received, of whatever phase.
        Deliveries,
        /// Subscribes and polls sent; POSTs are not among them.
        Requests,
        /// Polls answered without a message.
        EmptyResponses,
        /// Messages that clients sent.
        Sent,
        /// Sessions begun.
        Arrivals,
        /// Payload bytes of TCP from the server, on all connections.
        ReceivedBytes,
        /// Payload bytes of TCP to the server, on all connections.
        SentBytes,
        /// Segments with payload from the server.
        ReceivedSegments,
        /// Segments with payload to the server.
        SentSegments,
        /// Bytes that clients sent again.
        RetransmittedBytes,
        /// The part of `ReceivedBytes` on connections for POSTs.
        PostReceivedBytes,
        /// The part of `SentBytes` on connections for POSTs.
        PostSentBytes,
    }
}

const COUNTERS: usize = CounterId::ALL.len();

/// Counters of a shard while it runs: plain cells of one thread.
#[derive(Debug)]
pub(in crate::load) struct Tally([Cell<u64>; COUNTERS]);

impl Default for Tally {
    fn default() -> Self {
        Self([const { Cell::new(0) }; COUNTERS])
    }
}

impl Tally {
    pub(in crate::load) fn add(&self, id: CounterId, by: u64) {
        let cell = &self.0[id as usize];
        cell.set(cell.get() + by);
    }

    pub(in crate::load) fn counters(&self) -> Counters {
        Counters(std::array::from_fn(|index| self.0[index].get()))
    }
}

/// Counters at a moment, or over a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<CounterId, u64>", into = "BTreeMap<CounterId, u64>")]
pub struct Counters([u64; COUNTERS]);

impl Counters {
    /// One of them.
    pub fn get(&self, id: CounterId) -> u64 {
        self.0[id as usize]
    }

    /// Sets one of them.
    #[must_use]
    pub fn with(mut self, id: CounterId, value: u64) -> Self {
        self.0[id as usize] = value;
        self
    }

    /// What was counted from `before` to these. The counters of a shard that has panicked in between
    /// are gone, so a difference can only be 0 there; the trial is void then.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|i| {
            self.0[i].saturating_sub(before.0[i])
        }))
    }

    /// Enters the kernel's counters of connections.
    pub(in crate::load) fn add_wire(&mut self, wire: TcpCounters) {
        use CounterId::{
            ReceivedBytes, ReceivedSegments, RetransmittedBytes, SentBytes, SentSegments,
        };
        for (id, count) in [
            (ReceivedBytes, wire.bytes_received),
            (SentBytes, wire.bytes_sent),
            (ReceivedSegments, wire.data_segments_in),
            (SentSegments, wire.data_segments_out),
            (RetransmittedBytes, wire.bytes_retransmitted),
        ] {
            self.0[id as usize] += count;
        }
    }
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(sum, more)| *sum += more);
    }
}

impl From<BTreeMap<CounterId, u64>> for Counters {
    fn from(named: BTreeMap<CounterId, u64>) -> Self {
        named
            .into_iter()
            .fold(Self::default(), |all, (id, value)| all.with(id, value))
    }
}

impl From<Counters> for BTreeMap<CounterId, u64> {
    fn from(counters: Counters) -> Self {
        CounterId::ALL
            .iter()
            .map(|&id| (id, counters.get(id)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_shards_add_up_and_a_window_is_the_difference_of_two() {
        let tally = Tally::default();
        tally.add(CounterId::Deliveries, 3);
        let before = tally.counters();
        tally.add(CounterId::Deliveries, 4);
        tally.add(CounterId::Requests, 1);
        let mut after = tally.counters();
        assert_eq!(after.since(&before).get(CounterId::Deliveries), 4);
        after += Counters::default().with(CounterId::Requests, 10);
        assert_eq!(after.since(&before).get(CounterId::Requests), 11);
        assert_eq!(before.since(&after), Counters::default(), "never below 0");
    }

    #[test]
    fn counters_travel_by_name_and_one_that_is_not_named_is_0() {
        let counters = Counters::default().with(CounterId::PostSentBytes, 7);
        let json = serde_json::to_value(counters).expect("a map");
        assert_eq!(json["post_sent_bytes"], 7);
        assert_eq!(
            serde_json::from_value::<Counters>(json).expect("the same"),
            counters
        );
        let sparse = serde_json::json!({ "arrivals": 2 });
        let counters = serde_json::from_value::<Counters>(sparse).expect("a map");
        assert_eq!(
            (
                counters.get(CounterId::Arrivals),
                counters.get(CounterId::Sent)
            ),
            (2, 0)
        );
    }
}
