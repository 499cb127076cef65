//! Snapshots: clients that ask for the last messages before the tail when they come.
//!
//! Next to the data path. In: subscribes, cursors and the messages that follow. Out: how long it took
//! from the start of a connect to the last message of its snapshot. The messages themselves are in
//! the ledger, like all others; their age is not a delivery latency.

use pushbench_protocol::envelope::Envelope;
use pushbench_protocol::payload::SplitMix64;

use super::{Account, ConditionReport, Hook, Missed, MissedBecause, Sees};
use crate::load::Timing;
use crate::load::tally::Histograms;
use crate::record::HistogramId;
use crate::scenario::Scenario;

/// A client that waits for its snapshot.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    /// When its connect began; 0 where it waits for none.
    began_ns: u64,
    /// When it got its cursor.
    cursor_ns: u64,
    /// The last sequence of a whole snapshot; 0 before the cursor.
    last: u64,
}

/// The snapshots of a shard.
#[derive(Debug)]
pub(in crate::load) struct Snapshots {
    messages: u64,
    clients: Vec<Waiting>,
    histograms: Histograms,
}

impl Snapshots {
    fn new(messages: u64) -> Self {
        Self {
            messages,
            clients: Vec::new(),
            histograms: Histograms::default(),
        }
    }
}

impl Hook for Snapshots {
    fn of(scenario: &Scenario) -> Option<Self> {
        let messages = scenario.clients.snapshot_messages;
        (messages > 0).then(|| Self::new(messages))
    }

    fn sees(&self) -> Sees {
        Sees::All
    }

    fn add_client(&mut self, _index: u32, _random: &dyn Fn(u64) -> SplitMix64) {
        self.clients.push(Waiting::default());
    }

    fn subscribing(&mut self, slot: usize, now_ns: u64, resumes: bool) -> Option<Missed> {
        if resumes {
            return None;
        }
        self.clients[slot] = Waiting {
            began_ns: now_ns,
            ..Waiting::default()
        };
        Some(Missed {
            because: MissedBecause::Absence,
            from_ns: 0,
            until_ns: now_ns,
        })
    }

    /// The snapshot is what follows the cursor.
    fn cursor(
        &mut self,
        slot: usize,
        at_ns: u64,
        cursor: u64,
        _timing: Option<&Timing>,
    ) -> Option<Missed> {
        let client = &mut self.clients[slot];
        if client.began_ns > 0 && client.last == 0 {
            client.last = cursor.saturating_add(self.messages);
            client.cursor_ns = at_ns;
        }
        None
    }

    /// Where a message is the last of a whole snapshot, the time is entered: a channel that had fewer
    /// messages when the cursor came has no whole snapshot, which the time of the append shows, and
    /// so no time.
    fn message(&mut self, slot: usize, message: &Envelope<'_>, at_ns: u64, _measured: bool) {
        let client = &mut self.clients[slot];
        if client.last == 0 || message.sequence < client.last {
            return;
        }
        if message.sequence == client.last && message.actual_ns <= client.cursor_ns {
            let took_ns = at_ns.saturating_sub(client.began_ns);
            self.histograms.record(HistogramId::Snapshot, took_ns);
        }
        *client = Waiting::default();
    }

    fn settle(&mut self, _account: &dyn Fn(usize) -> Option<Account>, into: &mut ConditionReport) {
        into.histograms += self.histograms.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u64, actual_ns: u64) -> Envelope<'static> {
        Envelope {
            sequence,
            intended_ns: actual_ns,
            actual_ns,
            payload: b"",
        }
    }

    #[test]
    fn a_snapshot_ends_with_its_last_message_and_only_where_it_was_whole() {
        let mut snapshots = Snapshots::new(3);
        (0..3).for_each(|index| snapshots.add_client(index, &SplitMix64::new));
        for slot in 0..3 {
            snapshots.subscribing(slot, 1_000, false);
        }
        snapshots.message(0, &message(40, 10), 1_100, true);
        snapshots.cursor(0, 2_000, 40, None);
        for sequence in 41..=50 {
            snapshots.message(0, &message(sequence, 500), 3_000 + sequence, true);
        }
        let took = snapshots.histograms.get(HistogramId::Snapshot);
        let took = took.expect("one is whole");
        assert!(took.len() == 1 && took.equivalent(took.max(), 2_043));
        // Only one was there: the third of the channel was published later.
        snapshots.cursor(1, 2_000, 0, None);
        snapshots.message(1, &message(1, 500), 2_000, true);
        snapshots.message(1, &message(2, 2_100), 2_200, true);
        snapshots.message(1, &message(3, 2_300), 2_400, true);
        // The third fell off before it could be read.
        snapshots.cursor(2, 2_000, 7, None);
        snapshots.message(2, &message(12, 500), 2_400, true);
        assert_eq!(snapshots.histograms.count(HistogramId::Snapshot), 1);
    }
}
