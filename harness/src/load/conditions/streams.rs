//! Streams: sessions that each get a stream of messages of their own.
//!
//! Next to the data path. In: subscribes, and the messages that follow. Out: how evenly they came, and how
//! long each complete stream took from its first message to its last. The messages themselves are in the
//! ledger, like all others.

use pushbench_protocol::envelope::Envelope;
use pushbench_protocol::payload::SplitMix64;

use super::{Account, ConditionReport, Hook, Missed, Sees};
use crate::load::tally::Histograms;
use crate::record::HistogramId;
use crate::scenario::Scenario;

/// A client that reads a stream.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    /// Messages of this session so far, and when the first of them came.
    messages: u64,
    first_ns: u64,
    /// Of the last of them: sequence, intended and receive time.
    last: (u64, u64, u64),
}

/// The streams of a shard.
#[derive(Debug)]
pub(in crate::load) struct Streams {
    /// Messages of a stream.
    messages: u64,
    clients: Vec<Reading>,
    histograms: Histograms,
}

impl Streams {
    /// Streams of so many messages.
    fn new(messages: u64) -> Self {
        Self {
            messages,
            clients: Vec::new(),
            histograms: Histograms::default(),
        }
    }
}

impl Hook for Streams {
    fn of(scenario: &Scenario) -> Option<Self> {
        let streams = scenario.schedule_streams()?;
        Some(Self::new(streams.messages.into()))
    }

    fn sees(&self) -> Sees {
        Sees::All
    }

    fn add_client(&mut self, _index: u32, _random: &dyn Fn(u64) -> SplitMix64) {
        self.clients.push(Reading::default());
    }

    fn subscribing(&mut self, slot: usize, _now_ns: u64, _resumes: bool) -> Option<Missed> {
        self.clients[slot] = Reading::default();
        None
    }

    fn message(&mut self, slot: usize, message: &Envelope<'_>, at_ns: u64, measured: bool) {
        let reading = &mut self.clients[slot];
        let (sequence, intended_ns, received_ns) = reading.last;
        if message.sequence <= sequence {
            return;
        }
        if reading.messages == 0 {
            reading.first_ns = at_ns;
        }
        let follows = reading.messages > 0 && message.sequence == sequence + 1;
        reading.last = (message.sequence, message.intended_ns, at_ns);
        reading.messages += 1;
        if !measured {
            return;
        }
        if follows {
            let gap_ns = at_ns.saturating_sub(received_ns);
            let due_ns = message.intended_ns.saturating_sub(intended_ns);
            self.histograms
                .record(HistogramId::GapJitter, gap_ns.abs_diff(due_ns));
        }
        // A session has no more than its own stream, and one that began in the middle has fewer.
        if reading.messages == self.messages {
            let took_ns = at_ns.saturating_sub(reading.first_ns);
            self.histograms.record(HistogramId::Stream, took_ns);
        }
    }

    fn settle(&mut self, _account: &dyn Fn(usize) -> Option<Account>, into: &mut ConditionReport) {
        into.histograms += self.histograms.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands over messages of a session: sequence, intended and receive time.
    fn session(streams: &mut Streams, messages: &[(u64, u64, u64)]) {
        streams.subscribing(0, 0, false);
        for &(sequence, intended_ns, at_ns) in messages {
            let message = Envelope {
                sequence,
                intended_ns,
                actual_ns: intended_ns,
                payload: b"",
            };
            streams.message(0, &message, at_ns, intended_ns >= 1_000);
        }
    }

    #[test]
    fn jitter_is_that_of_successive_messages_and_a_stream_is_complete_with_its_last() {
        let mut streams = Streams::new(3);
        streams.add_client(0, &SplitMix64::new);
        let found = |streams: &Streams| {
            let of = |id| {
                let all = streams.histograms.get(id).expect("there are some");
                let values = all.iter_recorded();
                Vec::from_iter(values.map(|value| value.value_iterated_to()))
            };
            (of(HistogramId::GapJitter), of(HistogramId::Stream))
        };
        // Before the phase, but for its last message; the gap before that is too long by 7 ns.
        session(
            &mut streams,
            &[(1, 800, 810), (2, 900, 910), (3, 1_000, 1_017)],
        );
        assert_eq!(found(&streams), (vec![7], vec![207]));
        // Together, as a poll brings them: too short by 100 ns.
        session(&mut streams, &[(4, 1_200, 1_300), (5, 1_300, 1_300)]);
        assert_eq!(
            found(&streams),
            (vec![7, 100], vec![207]),
            "its last is missing"
        );
        // One is lost, and one comes twice: neither makes a gap.
        session(
            &mut streams,
            &[(7, 1_600, 1_600), (9, 1_800, 1_900), (9, 1_800, 1_950)],
        );
        assert_eq!(found(&streams), (vec![7, 100], vec![207]));
    }
}
