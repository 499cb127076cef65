//! What the loop does for conditions: clients that come back, and what timers of conditions ask for.
//!
//! Next to the data path: turns that timers give, not sockets. The conditions and what they count are in
//! `load/conditions`.

use std::cmp::Reverse;
use std::io;

use pushbench_os::sys::monotonic_ns;

use pushbench_protocol::transport::Polls;

use super::{Poller, Purpose, State};
use crate::load::client::lean::{Connection, ReadOutcome};
use crate::load::client::{ClientError, Protocol};
use crate::load::conditions::Action;

/// Most bytes of one read of a portion: small, so that what is not yet read stays in the kernel.
const PORTION_READ_BYTES: usize = 4 << 10;

impl<P: Protocol> Poller<P> {
    /// Whether a request may rightly be unanswered for long: one that is owed nothing.
    const ANSWERS_LATE: bool = matches!(P::TRANSPORT.polls(), Some(Polls::Held));

    /// The schedule is known: sets the timers of conditions.
    pub(super) fn arm_conditions(&mut self) {
        for slot in 0..self.slots.len() {
            self.arm_conditions_of(slot);
        }
    }

    /// The same for one client.
    pub(super) fn arm_conditions_of(&mut self, slot: usize) {
        if self.shard.is_apart(slot) {
            self.apart_from_ns = self.shard.phase().map(|p| p.timing.schedule.start_ns);
        }
        let timers = &mut self.timers;
        self.shard.first_timers(slot, |condition, due_ns| {
            timers.push(Reverse((
                due_ns,
                slot as u32,
                Purpose::Condition(condition),
            )));
        });
    }

    /// A timer of a condition fires.
    pub(super) fn fire(&mut self, slot: usize, condition: u8, due_ns: u64) {
        if self.slots[slot].state == State::Over {
            return;
        }
        let (action, next_ns) = self.shard.timer(slot, condition, due_ns);
        if let Some(next_ns) = next_ns {
            self.arm(next_ns, slot, Purpose::Condition(condition));
        }
        match action {
            Some(Action::Cut { by_reset }) => self.cut(slot, by_reset),
            Some(Action::Read { most_bytes }) => self.read_portion(slot, most_bytes),
            None => {}
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
    fn cut(&mut self, slot: usize, by_reset: bool) {
        if !by_reset && self.slots[slot].state == State::Open {
            // Unread bytes would make a reset of it.
            self.read_ready(slot, true, false, true);
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

    /// Whether nothing but its timer reads a client by now.
    pub(super) fn is_read_by_timer(&self, slot: usize) -> bool {
        let Some(from_ns) = self.apart_from_ns else {
            return false;
        };
        self.shard.is_apart(slot) && monotonic_ns() >= from_ns
    }

    /// Reads so much at the most, where there is a connection.
    fn read_portion(&mut self, slot: usize, most_bytes: u64) {
        if self.slots[slot].state != State::Open {
            return;
        }
        let result = self.with(slot, |connection, buffer, shared| {
            connection.flush(shared)?;
            let space = &mut buffer[..PORTION_READ_BYTES];
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
