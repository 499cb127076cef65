//! What the loop does beyond the plain: clients that come back, are cut, or read slowly.
//!
//! Beside the data path: turns that timers give, not sockets. The plans and what they count are in
//! `reconnect.rs`, `cuts.rs` and `slow.rs`. Nothing is measured here.

use std::io;

use pushbench_os::sys::monotonic_ns;

use pushbench_protocol::transport::Polls;

use super::{Poller, Purpose, State};
use crate::load::client::lean::{Connection, ReadOutcome};
use crate::load::client::{ClientError, Protocol};
use crate::load::conditions::slow::{self, PORTION_NS};

impl<P: Protocol> Poller<P> {
    /// Whether a request may rightly be unanswered for long: one that is owed nothing.
    const ANSWERS_LATE: bool = matches!(P::TRANSPORT.polls(), Some(Polls::Held));

    /// The schedule is known: sets the timers of cuts and of slow clients.
    pub(super) fn arm_plans(&mut self) {
        if self.shard.setup.scenario.slow_readers.is_some() {
            self.slow_from_ns = self.shard.phase().map(|p| p.timing.schedule.start_ns);
        }
        for slot in 0..self.slots.len() {
            self.arm_plans_of(slot);
        }
    }

    /// The same for one client.
    pub(super) fn arm_plans_of(&mut self, slot: usize) {
        if self.shard.is_slow(slot) {
            if let (Some(from_ns), Some(plan)) =
                (self.slow_from_ns, self.shard.setup.scenario.slow_readers)
                && plan.read_bytes_per_s > 0
            {
                let offset_ns = slow::offset_ns(&mut self.shard.random_of(slot, slow::PURPOSE));
                self.arm(from_ns + offset_ns, slot, Purpose::Portion);
            }
        } else if let Some(cut_ns) = self.shard.next_cut_ns(slot, None) {
            self.arm(cut_ns, slot, Purpose::Cut);
        }
    }

    /// A client waits to try again.
    pub(super) fn lose(&mut self, slot: usize, wait_ns: u64) {
        let due_ns = monotonic_ns().saturating_add(wait_ns);
        self.slots[slot].state = State::Lost;
        self.slots[slot].turn_ns = due_ns;
        self.arm(due_ns, slot, Purpose::ReadOutcome);
    }

    /// A client that was lost tries again.
    pub(super) fn attempt(&mut self, slot: usize, now_ns: u64) {
        let since = self.shard.attempt(slot, now_ns);
        let client = &mut self.slots[slot];
        client.state = State::Open;
        // A new protocol too: the one before is in the middle of its stream.
        client.connection = Connection::default();
        self.limit_attempt(slot, now_ns);
        self.open(slot, since);
        self.arm_departure(slot);
    }

    /// Sets the timer at which a connect that got no cursor is given up.
    pub(super) fn limit_attempt(&mut self, slot: usize, now_ns: u64) {
        if let Some(ends_ns) = self.shard.attempt_ends_ns(now_ns) {
            self.slots[slot].turn_ns = ends_ns;
            self.arm(ends_ns, slot, Purpose::ReadOutcome);
        }
    }

    /// The time of an attempt is over.
    pub(super) fn end_attempt(&mut self, slot: usize) {
        if self.shard.has_cursor(slot) || self.welcome(slot) {
            return;
        }
        let error = ClientError::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            "expected an answer within 10 s, got none",
        ));
        self.fail(slot, &error);
    }

    /// Takes a client as back whose request stands and is owed no answer.
    fn welcome(&mut self, slot: usize) -> bool {
        let client = &self.slots[slot];
        Self::ANSWERS_LATE
            && client.state == State::Open
            && client.connection.has_asked()
            && self.shard.is_back_quietly(slot)
    }

    /// The same for all that are on their way.
    pub(super) fn welcome_quiet(&mut self) {
        if Self::ANSWERS_LATE {
            for slot in self.shard.on_their_way() {
                self.welcome(slot);
            }
        }
    }

    /// The same once nothing is published any more: the drain waits for those that are away, and
    /// who is owed nothing would be away until its request times out at the server.
    pub(super) fn welcome_quiet_at_the_end(&mut self, now_ns: u64) {
        let until_ns = self.shard.phase().map(|p| p.timing.measure_until_ns);
        if until_ns.is_some_and(|until_ns| now_ns >= until_ns) && self.shard.away() > 0 {
            self.welcome_quiet();
        }
    }

    /// Cuts a client that has a cursor; whoever is away or on the way back is spared.
    pub(super) fn cut(&mut self, slot: usize, due_ns: u64) {
        if let Some(next_ns) = self.shard.next_cut_ns(slot, Some(due_ns)) {
            self.arm(next_ns, slot, Purpose::Cut);
        }
        let by_reset = self.shard.cut_resets(slot);
        if !by_reset && self.slots[slot].state == State::Open {
            // Unread bytes would make a reset of it.
            self.look(slot, true, false, true);
        }
        let stands = matches!(self.slots[slot].state, State::Open | State::Pauses(_));
        if !stands || !self.shard.has_cursor(slot) {
            return;
        }
        let was_reset = self.slots[slot].connection.cut(slot, by_reset, &self.shard);
        if let Some(wait_ns) = self.shard.was_cut(slot, was_reset) {
            self.lose(slot, wait_ns);
        }
    }

    /// Whether a client reads slowly by now.
    pub(super) fn is_slow_now(&self, slot: usize) -> bool {
        self.shard.is_slow(slot)
            && self
                .slow_from_ns
                .is_some_and(|from_ns| monotonic_ns() >= from_ns)
    }

    /// A slow client reads what its rate allows for one portion.
    pub(super) fn read_portion(&mut self, slot: usize, due_ns: u64) {
        let (Some(plan), Some(from_ns)) =
            (self.shard.setup.scenario.slow_readers, self.slow_from_ns)
        else {
            return;
        };
        let state = self.slots[slot].state;
        if matches!(state, State::Over) {
            return;
        }
        self.arm(due_ns + PORTION_NS, slot, Purpose::Portion);
        if state != State::Open {
            return;
        }
        let most_bytes = plan.portion_bytes((due_ns - from_ns) / PORTION_NS);
        let result = self.with(slot, |connection, buffer, shared| {
            connection.flush(shared)?;
            let space = &mut buffer[..slow::READ_BYTES];
            let (_, turn) = connection.read_some(slot, most_bytes, space, shared)?;
            Ok(turn)
        });
        match result {
            // The rest is for the next portion.
            Ok(ReadOutcome::More | ReadOutcome::Waits) => self.note_connected(slot),
            result => _ = self.take(slot, result, false, true),
        }
    }
}
