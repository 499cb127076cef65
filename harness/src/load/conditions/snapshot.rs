//! Snapshots: clients that ask for the last messages before the tail when they come.
//!
//! Beside the data path. In: subscribes, cursors and the messages that follow. Out: how long it took
//! from the start of a connect to the last message of its snapshot. The messages themselves are in
//! the ledger, like all others; their age is no delivery latency.

use hdrhistogram::Histogram;

use crate::load::recorder::histogram;

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
    pub(in crate::load) took: Histogram<u64>,
}

impl Snapshots {
    pub(in crate::load) fn new(messages: u64) -> Self {
        Self {
            messages,
            clients: Vec::new(),
            took: histogram(),
        }
    }

    pub(in crate::load) fn add_client(&mut self) {
        self.clients.push(Waiting::default());
    }

    pub(in crate::load) fn begin(&mut self, slot: usize, now_ns: u64) {
        self.clients[slot] = Waiting {
            began_ns: now_ns,
            ..Waiting::default()
        };
    }

    /// The snapshot is what follows the cursor.
    pub(in crate::load) fn got_cursor(&mut self, slot: usize, at_ns: u64, cursor: u64) {
        let client = &mut self.clients[slot];
        if client.began_ns > 0 && client.last == 0 {
            client.last = cursor.saturating_add(self.messages);
            client.cursor_ns = at_ns;
        }
    }

    /// A message arrived. Where it is the last of a whole snapshot, the time is entered: a channel
    /// that had fewer messages when the cursor came has no whole snapshot, which the time of the
    /// append tells, and so no time.
    pub(in crate::load) fn received(
        &mut self,
        slot: usize,
        sequence: u64,
        actual_ns: u64,
        at_ns: u64,
    ) {
        let client = &mut self.clients[slot];
        if client.last == 0 || sequence < client.last {
            return;
        }
        if sequence == client.last && actual_ns <= client.cursor_ns {
            self.took
                .saturating_record(at_ns.saturating_sub(client.began_ns));
        }
        *client = Waiting::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_ends_with_its_last_message_and_only_where_it_was_whole() {
        let mut snapshots = Snapshots::new(3);
        (0..3).for_each(|_| snapshots.add_client());
        for slot in 0..3 {
            snapshots.begin(slot, 1_000);
        }
        snapshots.received(0, 40, 10, 1_100);
        snapshots.got_cursor(0, 2_000, 40);
        for sequence in 41..=50 {
            snapshots.received(0, sequence, 500, 3_000 + sequence);
        }
        assert_eq!(snapshots.took.len(), 1);
        assert!(snapshots.took.equivalent(snapshots.took.max(), 2_043));
        // Only one was there: the third of the channel was published later.
        snapshots.got_cursor(1, 2_000, 0);
        snapshots.received(1, 1, 500, 2_000);
        snapshots.received(1, 2, 2_100, 2_200);
        snapshots.received(1, 3, 2_300, 2_400);
        // The third fell off before it could be read.
        snapshots.got_cursor(2, 2_000, 7);
        snapshots.received(2, 12, 500, 2_400);
        assert_eq!(snapshots.took.len(), 1);
    }
}
