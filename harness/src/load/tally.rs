//! What a fleet counts, by id: from the line that counts to the record, through shards and over the
//! control interface, nothing is copied by name.
//!
//! Place on the data path: next to the clients of a shard. In: events. Out: [`Counters`], cumulative
//! since the fleet began, and [`Histograms`]. Those of shards are added up; what happened in a window is
//! the difference of two counters. To count one thing more is a line in the list here, the line that
//! counts it, and a key of the record; a histogram's id stands next to its key, in `record/trial.rs`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use pushbench_os::sys::TcpCounters;
use pushbench_protocol::histogram;
use serde::{Deserialize, Serialize};

use crate::record::{HistogramId, Quantiles, Trial, histogram as empty};

/// Declares the ids of counters, and the order in which they are kept.
macro_rules! counters {
    ($($(#[$of:meta])* $id:ident,)+) => {
        /// What a fleet counts. Slow readers are in none of these.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum CounterId { $($(#[$of])* $id,)+ }

        impl CounterId {
            /// Every id, in its order.
            pub const ALL: &[Self] = &[$(Self::$id,)+];
        }
    };
}

counters! {
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

const COUNTERS: usize = CounterId::ALL.len();
const HISTOGRAMS: usize = HistogramId::ALL.len();

/// What a shard counts while it runs: plain cells of one thread.
#[derive(Debug)]
pub(crate) struct Tally {
    counters: [Cell<u64>; COUNTERS],
    /// Each from its first value on: it takes hundreds of KB however little is in it.
    histograms: [RefCell<Option<Box<Histogram<u64>>>>; HISTOGRAMS],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            counters: [const { Cell::new(0) }; COUNTERS],
            histograms: [const { RefCell::new(None) }; HISTOGRAMS],
        }
    }
}

impl Tally {
    pub(in crate::load) fn add(&self, id: CounterId, by: u64) {
        let cell = &self.counters[id as usize];
        cell.set(cell.get() + by);
    }

    pub(in crate::load) fn counters(&self) -> Counters {
        Counters(std::array::from_fn(|index| self.counters[index].get()))
    }

    pub(crate) fn record(&self, id: HistogramId, ns: u64) {
        let mut kept = self.histograms[id as usize].borrow_mut();
        kept.get_or_insert_with(|| Box::new(empty()))
            .saturating_record(ns);
    }

    pub(crate) fn histograms(&self) -> Histograms {
        let mut all = Histograms::default();
        for (&id, kept) in HistogramId::ALL.iter().zip(&self.histograms) {
            if let Some(kept) = kept.borrow().as_deref() {
                all.add(id, kept);
            }
        }
        all
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

/// Histograms by id; one without a value is left out. They travel in HdrHistogram's V2 form, base64.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<HistogramId, String>",
    into = "BTreeMap<HistogramId, String>"
)]
pub struct Histograms(BTreeMap<HistogramId, Histogram<u64>>);

impl Histograms {
    /// One alone.
    pub(crate) fn of(id: HistogramId, histogram: Histogram<u64>) -> Self {
        Self(BTreeMap::from([(id, histogram)]))
    }

    /// Adds the values of `more` to those of one of them.
    pub(in crate::load) fn add(&mut self, id: HistogramId, more: &Histogram<u64>) {
        if !more.is_empty() {
            super::merge::sum(self.0.entry(id).or_insert_with(empty), more);
        }
    }

    /// Enters a value into one of them.
    pub(in crate::load) fn record(&mut self, id: HistogramId, ns: u64) {
        let histogram = self.0.entry(id).or_insert_with(empty);
        histogram.saturating_record(ns);
    }

    /// One of them; `None` without a value.
    pub(crate) fn get(&self, id: HistogramId) -> Option<&Histogram<u64>> {
        self.0.get(&id)
    }

    /// Number of the values of one of them.
    pub fn count(&self, id: HistogramId) -> u64 {
        self.0.get(&id).map_or(0, Histogram::len)
    }

    /// Enters each where the trial has a place for it.
    pub(crate) fn enter(&self, trial: &mut Trial) {
        for (id, histogram) in &self.0 {
            if let Some(place) = id.place(trial) {
                *place = Quantiles::from_histogram(histogram);
            }
        }
    }
}

impl std::ops::AddAssign for Histograms {
    fn add_assign(&mut self, other: Self) {
        other.0.iter().for_each(|(&id, more)| self.add(id, more));
    }
}

impl TryFrom<BTreeMap<HistogramId, String>> for Histograms {
    type Error = String;

    fn try_from(texts: BTreeMap<HistogramId, String>) -> Result<Self, String> {
        let decoded = |(id, text): (_, String)| Ok((id, histogram::decode(&text)?));
        texts
            .into_iter()
            .map(decoded)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl From<Histograms> for BTreeMap<HistogramId, String> {
    fn from(all: Histograms) -> Self {
        let encoded = |(id, of)| (id, histogram::encode(&of));
        all.0.into_iter().map(encoded).collect()
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
    fn histograms_of_shards_are_added_travel_by_name_and_find_their_places_in_a_trial() {
        use pushbench_protocol::transport::{Profile, Transport};
        let (one, other) = (Tally::default(), Tally::default());
        one.record(HistogramId::Connect, 1_000);
        other.record(HistogramId::Connect, 3_000);
        other.record(HistogramId::RoundTrip, 5_000);
        let mut all = one.histograms();
        all += other.histograms();
        let json = serde_json::to_string(&all).expect("a map");
        let all: Histograms = serde_json::from_str(&json).expect("the same");
        assert_eq!(all.count(HistogramId::Connect), 2);
        assert_eq!(all.count(HistogramId::Away), 0);
        let mut trial = Trial::new(Transport::Sse, Profile::Tuned, 1);
        all.enter(&mut trial);
        assert_eq!(trial.clients.connect_ns.count, 2);
        assert!(
            trial.measures.round_trip.is_none(),
            "the scenario does not ask for it"
        );
        trial.measures.round_trip = Some(Default::default());
        all.enter(&mut trial);
        assert_eq!(
            trial
                .measures
                .round_trip
                .map(|trips| trips.round_trip_ns.count),
            Some(1)
        );
        assert!(serde_json::from_str::<Histograms>("{\"connect\": \"x\"}").is_err());
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
