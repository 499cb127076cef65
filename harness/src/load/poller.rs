//! The loop that drives every lean client of a shard: one epoll, one read buffer, one heap of
//! timers.
//!
//! Place on the data path: socket → **loop** → client → session. In: ready sockets. Out: turns for
//! their connections. A client is a slot in a table, not a task: it costs its connection and its
//! account, and a message costs a look-up, not a wake-up of a task.
//!
//! Readiness is reported once (edge-triggered): whoever gets it must read until nothing is left, or come
//! back by itself ([`ReadOutcome::More`]).

mod upstream;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::framing::Cursor;

use super::handle::{Command, Engine, Mailbox};
use super::shard::{LAG_TICK_NS, Shard};
use crate::load::client::lean::{Connection, ReadOutcome, Shared};
use crate::load::client::{ClientError, Protocol};
use crate::load::conditions::End;

mod conditions;

/// Bytes that one read can bring: 64 KiB, one full loopback segment. Shared by all clients.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// Ready sockets that one call of the kernel reports.
const EVENTS: usize = 1_024;

/// Clients opened before those that are open have their turn again.
const OPENED_A_ROUND: usize = 64;

/// The token of the mailbox: no slot has it.
const MAILBOX: Token = Token(usize::MAX);

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has a connection, or is about to.
    Open,
    /// It waits for its next poll; `true` where something arrived meanwhile.
    Pauses(bool),
    /// It is between two sessions.
    Away,
    /// Its connection was lost, or did not come about: it waits to try again.
    Lost,
    /// It will not come back.
    Over,
}

/// A client as its loop sees it.
#[derive(Debug)]
struct Slot<P> {
    connection: Connection<P>,
    state: State,
    /// When it polls, comes back, or gives an attempt up.
    turn_ns: u64,
    /// When it departs, or must be checked.
    departs_ns: u64,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// The next poll, the end of a rest or of an attempt.
    ReadOutcome,
    Departure,
    /// What the condition of this number does.
    Condition(u8),
}

/// A shard of lean clients.
pub(super) struct Poller<P> {
    shard: Shard,
    poll: Poll,
    slots: Vec<Slot<P>>,
    /// Due time, slot and purpose. One whose time is not that of its slot is out of date.
    timers: BinaryHeap<Reverse<(u64, u32, Purpose)>>,
    /// Slots whose readiness was not used up, and whether their server has ended.
    again: Vec<(usize, bool)>,
    buffer: Box<[u8]>,
    out: Vec<u8>,
    /// What clients send, where they do.
    sender: Option<Box<upstream::Sender>>,
    /// From when on clients with an account of their own are read by their timers alone, once that is
    /// known and where there are any.
    apart_from_ns: Option<u64>,
}

/// Where a turn ended: nothing to do, or this.
type Ended = Result<ReadOutcome, ClientError>;

impl<P: Protocol> Engine for Poller<P> {
    fn run(mut self: Box<Self>, mailbox: &Mailbox) {
        let mailbox_fd = mailbox.wake.as_raw_fd();
        let watched =
            self.poll
                .registry()
                .register(&mut SourceFd(&mailbox_fd), MAILBOX, Interest::READABLE);
        if watched.is_err() {
            // The thread ends, which the fleet's status shows.
            return;
        }
        let mut events = Events::with_capacity(EVENTS);
        let mut tick_ns = monotonic_ns() + LAG_TICK_NS;
        loop {
            let wait = self.wait(tick_ns);
            self.arm_sender();
            match self.poll.poll(&mut events, wait) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return,
                _ => {}
            }
            for event in &events {
                if event.token() == MAILBOX {
                    mailbox.wake.consume();
                } else if event.token().0 >= upstream::FIRST_TOKEN {
                    self.uplink_ready(event.token(), event.is_writable());
                } else {
                    let ended = event.is_read_closed() || event.is_error();
                    self.ready(event.token().0, event.is_readable(), ended);
                    self.catch_up(event.token().0);
                }
            }
            self.send_due();
            for (slot, ended) in std::mem::take(&mut self.again) {
                self.ready(slot, true, ended);
            }
            let now_ns = monotonic_ns();
            if now_ns >= tick_ns {
                self.welcome_quiet_at_the_end(now_ns);
                tick_ns = self.shard.tick(tick_ns, now_ns);
            }
            self.run_timers(now_ns);
            while let Some(command) = mailbox.next() {
                match command {
                    Command::Connect(count) => self.shard.want(count),
                    Command::Begin(phase) => {
                        self.shard.begin(phase);
                        self.arm_departures();
                        self.begin_sending();
                        self.arm_conditions();
                    }
                    // Whoever asked may have lost patience, which ends nothing here.
                    Command::Sample(reply) => _ = reply.send(self.shard.sample()),
                    Command::Finish(before_ns, reply) => {
                        self.welcome_quiet();
                        let _ = reply.send(Box::new(self.shard.report(before_ns)));
                    }
                    Command::Exit | Command::Panic => {
                        self.slots.iter_mut().for_each(|s| s.connection.abort());
                        self.abort_uplinks();
                        return;
                    }
                }
            }
            self.open_clients();
        }
    }
}

impl<P: Protocol> Poller<P> {
    /// Call it on the thread of the shard: the loop's descriptor belongs to its table.
    pub(super) fn new(shard: Shard) -> io::Result<Self> {
        let share = (shard.setup.clients() as usize).div_ceil(shard.setup.shards);
        let poll = Poll::new()?;
        let sender = upstream::Sender::new(&shard, poll.registry())?;
        Ok(Self {
            shard,
            poll,
            sender: sender.map(Box::new),
            slots: Vec::with_capacity(share),
            timers: BinaryHeap::new(),
            again: Vec::new(),
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            out: Vec::new(),
            apart_from_ns: None,
        })
    }

    /// How long there is nothing to do but wait for sockets and commands; `None` for ever.
    fn wait(&self, tick_ns: u64) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let now_ns = monotonic_ns();
        if self.sender.as_ref().is_some_and(|s| s.is_due(now_ns)) {
            return Some(Duration::ZERO);
        }
        // Before the schedule is known there is no clock to keep, and a large fleet has many
        // threads that would.
        let tick_ns = self.shard.phase().map(|_| tick_ns);
        let timer_ns = self.timers.peek().map(|Reverse((due_ns, ..))| *due_ns);
        let mut open_ns = None;
        if self.shard.to_open() > 0 {
            let mut pace = self.shard.pace.borrow_mut();
            if pace.allowed(now_ns) > 0 {
                return Some(Duration::ZERO);
            }
            // Without a time, the window is full: an answer will come by a socket.
            open_ns = pace.wait_ns().map(|wait| now_ns + wait);
        }
        let due_ns = [tick_ns, timer_ns, open_ns].into_iter().flatten().min()?;
        Some(Duration::from_nanos(due_ns.saturating_sub(now_ns)))
    }

    /// Opens some clients, as many as the pace allows.
    fn open_clients(&mut self) {
        let wanted = self.shard.to_open();
        if wanted == 0 {
            self.shard.pace.borrow_mut().rest();
            return;
        }
        let allowed = self.shard.pace.borrow_mut().allowed(monotonic_ns());
        for _ in 0..wanted.min(allowed).min(OPENED_A_ROUND) {
            let slot = self.shard.add_client();
            self.slots.push(Slot {
                connection: Connection::default(),
                state: State::Open,
                turn_ns: 0,
                departs_ns: 0,
            });
            self.begin(slot);
            if self.shard.phase().is_some() {
                self.arm_conditions_of(slot);
            }
            if self.shard.to_open() == 0 {
                return;
            }
        }
    }

    /// A session begins.
    fn begin(&mut self, slot: usize) {
        let client = &mut self.slots[slot];
        client.state = State::Open;
        // A new protocol too: the one of the session before is in the middle of its stream.
        client.connection = Connection::default();
        let now_ns = monotonic_ns();
        let since = self.shard.begin_session(slot, now_ns);
        if self.shard.phase().is_some() {
            self.limit_attempt(slot, now_ns);
        }
        self.open(slot, since);
        self.arm_departure(slot);
    }

    fn open(&mut self, slot: usize, since: Option<Cursor>) {
        let opened = self.with(slot, |connection, _, shared| {
            connection.open(slot, since, shared)
        });
        if let Err(error) = opened {
            self.fail(slot, &error);
        }
    }

    /// Lends a connection what the shard's clients share.
    fn with<T>(
        &mut self,
        slot: usize,
        f: impl FnOnce(&mut Connection<P>, &mut [u8], &mut Shared<'_>) -> T,
    ) -> T {
        let mut shared = Shared {
            shard: &self.shard,
            registry: self.poll.registry(),
            out: &mut self.out,
        };
        f(
            &mut self.slots[slot].connection,
            &mut self.buffer,
            &mut shared,
        )
    }

    /// A socket is ready. `true` where the client goes on as it was.
    fn ready(&mut self, slot: usize, readable: bool, ended: bool) -> bool {
        if self.is_read_by_timer(slot) {
            if ended {
                self.shard.after(slot, End::Lost { is_final: true });
            }
            return false;
        }
        self.read_ready(slot, readable, ended, true)
    }

    /// Reads what has arrived. `asked`: an answer is due to a polling client, or may be.
    fn read_ready(&mut self, slot: usize, readable: bool, ended: bool, asked: bool) -> bool {
        let Some(client) = self.slots.get_mut(slot) else {
            return false;
        };
        match &mut client.state {
            State::Open => {}
            State::Pauses(arrived) => {
                *arrived = true;
                return false;
            }
            State::Away | State::Lost | State::Over => return false,
        }
        let result = self.with(slot, |connection, buffer, shared| -> Ended {
            connection.flush(shared)?;
            if readable || ended {
                connection.read(slot, ended, buffer, shared)
            } else {
                Ok(ReadOutcome::Waits)
            }
        });
        self.take(slot, result, ended, asked)
    }

    /// Goes on with what a read ended with.
    fn take(&mut self, slot: usize, result: Ended, ended: bool, asked: bool) -> bool {
        // It may have got its cursor before it failed.
        self.note_connected(slot);
        if self.slots[slot].state == State::Over {
            // Its connection for POSTs could not be opened.
            return false;
        }
        match result {
            Ok(ReadOutcome::Waits) => return true,
            Ok(ReadOutcome::More) => {
                self.again.push((slot, ended));
                return true;
            }
            Ok(ReadOutcome::Pauses) => {
                let now_ns = monotonic_ns();
                let due_ns = now_ns + self.shard.until_next_poll_ns(slot, now_ns);
                self.slots[slot].state = State::Pauses(ended);
                self.slots[slot].turn_ns = due_ns;
                self.arm(due_ns, slot, Purpose::ReadOutcome);
            }
            // Whoever comes back after a loss does so for this one too: its answer is lost.
            Ok(ReadOutcome::EndedBetweenAnswers)
                if asked && self.shard.setup.scenario.reconnect.is_some() =>
            {
                self.fail(slot, &ClientError::Eof("before it answered"));
            }
            Ok(ReadOutcome::EndedBetweenAnswers) => self.reopen(slot),
            Err(error) => self.fail(slot, &error),
        }
        false
    }

    fn note_connected(&mut self, slot: usize) {
        if self.sender.is_some() && !self.can_be_connected(slot) {
            return;
        }
        if let Some(took_ns) = self.shard.connected(slot) {
            self.shard.answered(slot, took_ns);
        }
    }

    /// Connects anew, after what was received.
    fn reopen(&mut self, slot: usize) {
        self.slots[slot].connection.close(slot, &self.shard);
        self.open(slot, Some(self.shard.cursor(slot)));
    }

    fn fail(&mut self, slot: usize, error: &ClientError) {
        self.close_uplink(slot);
        self.slots[slot].connection.close(slot, &self.shard);
        match self.shard.ended(slot, error, error.is_final(P::TRANSPORT)) {
            Some(wait_ns) => self.lose(slot, wait_ns),
            None => self.slots[slot].state = State::Over,
        }
    }

    fn arm(&mut self, due_ns: u64, slot: usize, purpose: Purpose) {
        self.timers.push(Reverse((due_ns, slot as u32, purpose)));
    }

    /// Sets the timers of clients that came before the schedule was known.
    fn arm_departures(&mut self) {
        for slot in 0..self.slots.len() {
            self.arm_departure(slot);
        }
    }

    fn arm_departure(&mut self, slot: usize) {
        let shard = &self.shard;
        let client = &self.slots[slot];
        let stays = shard.setup.scenario.sessions.is_none()
            || shard.phase().is_none()
            || shard.is_apart(slot);
        if stays || matches!(client.state, State::Away | State::Lost | State::Over) {
            return;
        }
        let now_ns = monotonic_ns();
        // One that is to depart at once does so at the next check.
        let wait_ns = shard.until_departure_ns(slot, now_ns);
        let due_ns = now_ns + wait_ns.unwrap_or(0);
        self.slots[slot].departs_ns = due_ns;
        self.arm(due_ns, slot, Purpose::Departure);
    }

    fn run_timers(&mut self, now_ns: u64) {
        while let Some(&Reverse((due_ns, slot, purpose))) = self.timers.peek() {
            if due_ns > now_ns {
                return;
            }
            self.timers.pop();
            let slot = slot as usize;
            let client = &self.slots[slot];
            match purpose {
                Purpose::ReadOutcome if client.turn_ns == due_ns => self.take_turn(slot, now_ns),
                Purpose::Departure if client.departs_ns == due_ns => self.check_departure(slot),
                Purpose::Condition(condition) => self.fire(slot, condition, due_ns),
                _ => {}
            }
        }
    }

    /// A pause, or a rest between two sessions, is over.
    fn take_turn(&mut self, slot: usize, now_ns: u64) {
        match self.slots[slot].state {
            State::Pauses(arrived) => {
                self.slots[slot].state = State::Open;
                // Nothing was asked for: what arrived can only be the connection's end. The client
                // then connects anew, and has asked by that.
                if arrived && !self.read_ready(slot, true, true, false) {
                    return;
                }
                let polled = self.with(slot, |connection, _, shared| connection.poll(slot, shared));
                if let Err(error) = polled {
                    self.fail(slot, &error);
                }
            }
            State::Away if self.shard.comes_back(now_ns) => self.begin(slot),
            State::Away => self.slots[slot].state = State::Over,
            State::Lost => self.attempt(slot, now_ns),
            State::Open => self.end_attempt(slot),
            State::Over => {}
        }
    }

    fn check_departure(&mut self, slot: usize) {
        if matches!(
            self.slots[slot].state,
            State::Away | State::Lost | State::Over
        ) {
            // One that is lost is checked when it tries again.
            return;
        }
        let now_ns = monotonic_ns();
        if let Some(wait_ns) = self.shard.until_departure_ns(slot, now_ns) {
            self.slots[slot].departs_ns = now_ns + wait_ns;
            self.arm(now_ns + wait_ns, slot, Purpose::Departure);
            return;
        }
        self.slots[slot].connection.close(slot, &self.shard);
        self.shard.departed(slot);
        let back_ns = self.shard.back_ns(slot, now_ns);
        self.slots[slot].state = State::Away;
        self.slots[slot].turn_ns = back_ns;
        self.arm(back_ns, slot, Purpose::ReadOutcome);
    }
}

#[cfg(test)]
mod tests {
    use pushbench_protocol::transport::Transport;

    use super::*;
    use crate::load::client::{self, WithClient};
    use crate::load::session::Client;

    /// All that a client has: neither holds anything on the heap while it waits.
    struct Bytes;

    impl WithClient for Bytes {
        type Output = usize;

        fn with<P: Protocol>(self) -> usize {
            size_of::<Slot<P>>() + size_of::<Client>()
        }
    }

    #[test]
    fn a_client_that_waits_takes_at_most_256_bytes_with_its_ledger() {
        for transport in Transport::ALL {
            let bytes = client::with_client(transport, Bytes);
            assert!(bytes <= 256, "{transport}: {bytes}");
        }
    }
}
