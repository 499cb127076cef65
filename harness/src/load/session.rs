//! One client's session: what the shard knows of it, and the sink that its messages go to.
//!
//! Place on the data path: client → **session** → ledger and recorder. In: cursors and envelopes.
//! Out: entries in the client's ledger and, for messages of the measure phase, in the shard's
//! recorder. No allocation and no lock on the receive path.
//!
//! Lean clients are numbers of slots to their loop (`poller.rs`), which calls the shard; clients of
//! libraries are tasks (`tasks.rs`), each with a handle of its own.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use pushbench_os::sys::{monotonic_ns, tcp_counters};
use pushbench_protocol::framing::{Cursor, Epoch, Lost};
use pushbench_protocol::{envelope, payload};

use super::MeasurePhase;
use super::conditions::ClientConditions;
use super::shard::Shard;
use super::tally::CounterId;
use crate::load::client::socket::Arrived;
use crate::load::client::{ClientError, Sink, Target};
use crate::load::ledger::{Arrival, Ledger};
use crate::load::recorder::Delivery;
use crate::record::HistogramId;
use crate::scenario::Spread;

/// Most probes of a fleet: enough for a quantile, too few to weigh on what they measure.
const MAX_PROBES: u32 = 64;

/// At most one client in so many is a probe: the others are read in the cheapest way.
const PROBE_EVERY: u32 = 16;

/// How often a client that must still receive something before it departs checks again, and a
/// client with sessions checks whether the timing is known.
pub(super) const RECHECK: Duration = Duration::from_millis(20);

/// What a shard keeps for each client: small, there are thousands.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// `None` before the first cursor.
    pub(super) ledger: Option<Ledger>,
    /// The end of what the server said was lost; polls resume after it.
    pub(super) lagged_to: u64,
    /// Of the log that its cursor is of.
    pub(super) epoch: Epoch,
    pub(super) fd: Option<RawFd>,
    /// When its session began, in ns of `CLOCK_MONOTONIC`.
    pub(super) started_ns: u64,
    pub(super) has_cursor: bool,
    pub(super) connected: bool,
    /// Whether its first connect is over, one way or the other.
    pub(super) came: bool,
    /// Whether it counts as connected.
    pub(super) counted: bool,
    /// Whether it subscribes after its cursor: its account goes on.
    pub(super) resumes: bool,
    /// Whether its connect is one to come back after a loss, which is not a first one.
    pub(super) comes_back: bool,
    /// Between sessions nothing is expected of a client.
    pub(super) away: bool,
    /// Whether its session began in the measure phase and has had no message.
    awaits_first: bool,
}

impl Client {
    pub(super) fn cursor(&self) -> Cursor {
        let received = self.ledger.as_ref().map_or(0, Ledger::cursor);
        Cursor {
            epoch: self.epoch,
            sequence: received.max(self.lagged_to),
        }
    }
}

impl Shard {
    /// What client `slot` is to ask for.
    pub(crate) fn target(&self, slot: usize) -> Target<'_> {
        Target {
            server: self.setup.server,
            host: &self.host,
            prefix: &self.setup.scenario.channels.prefix,
            channel: self.channel_of(slot),
            snapshot_messages: self.setup.scenario.clients.snapshot_messages,
        }
    }

    /// Notes that a session begins; the cursor to resume after, where it does.
    pub(super) fn begin_session(&self, slot: usize, now_ns: u64) -> Option<Cursor> {
        let mut clients = self.clients.borrow_mut();
        let client = &mut clients[slot];
        client.has_cursor = false;
        client.connected = false;
        client.comes_back = false;
        client.started_ns = now_ns;
        client.awaits_first = self.phase().is_some_and(|phase| phase.holds(now_ns));
        client.resumes = self.resumes() && client.ledger.is_some();
        let since = client.resumes.then(|| client.cursor());
        if since.is_none() {
            client.lagged_to = 0;
        }
        drop(clients);
        self.tally.add(CounterId::Arrivals, 1);
        self.arrives(slot, now_ns, since.is_some());
        since
    }

    /// Notes the socket, for the kernel's counters.
    pub(crate) fn opened(&self, slot: usize, fd: RawFd) {
        self.clients.borrow_mut()[slot].fd = Some(fd);
    }

    /// Keeps the kernel's counters of a socket that is about to be closed.
    pub(crate) fn closing(&self, slot: usize, stream: &impl AsRawFd) {
        if let (Ok(counters), false) = (tcp_counters(stream), self.is_apart(slot)) {
            let mut closed = self.closed_wire.get();
            closed += counters;
            self.closed_wire.set(closed);
        }
        // At the end of the shard the clients may be borrowed; nobody asks for sockets then.
        if let Ok(mut clients) = self.clients.try_borrow_mut() {
            clients[slot].fd = None;
        }
    }

    /// Enters a client as connected where it holds a cursor and was not; how long it took then.
    pub(super) fn connected(&self, slot: usize) -> Option<u64> {
        let mut clients = self.clients.borrow_mut();
        let client = &mut clients[slot];
        if !client.has_cursor || std::mem::replace(&mut client.connected, true) {
            return None;
        }
        if client.comes_back {
            // The way back has its own account.
            return None;
        }
        let took_ns = monotonic_ns().saturating_sub(client.started_ns);
        self.arrived(slot, took_ns);
        self.tally.record(HistogramId::Connect, took_ns);
        Some(took_ns)
    }

    /// Whether the kernel is to stamp what this client receives: on a few, evenly spread.
    pub(crate) fn is_probe(&self, slot: usize) -> bool {
        let setup = &self.setup;
        let every = setup.clients().div_ceil(MAX_PROBES).max(PROBE_EVERY);
        setup.probes && self.index_of(slot).is_multiple_of(every)
    }

    /// Lets `f` write a request.
    pub(crate) fn with_sink<T>(
        &self,
        slot: usize,
        f: impl FnOnce(Target<'_>, &mut Entry<'_>) -> T,
    ) -> T {
        let arrived = Arrived {
            bytes: 0,
            at_ns: 0,
            waited_ns: None,
        };
        self.receive(slot, arrived, f)
    }

    /// Lets `f` hand over what a read brought.
    pub(crate) fn receive<T>(
        &self,
        slot: usize,
        arrived: Arrived,
        f: impl FnOnce(Target<'_>, &mut Entry<'_>) -> T,
    ) -> T {
        let mut clients = self.clients.borrow_mut();
        let target = self.target(slot);
        let mut entry = Entry {
            shard: self,
            sends: self.round_trips.is_some(),
            slot,
            conditions: self.conditions_of(slot),
            client: &mut clients[slot],
            channel: target.channel,
            at_ns: arrived.at_ns,
            last_latency_ns: None,
        };
        let result = f(target, &mut entry);
        // The stamp is that of the last segment, so it belongs to the last message of the read.
        if let (Some(waited_ns), Some(latency_ns)) = (arrived.waited_ns, entry.last_latency_ns)
            && let Some(recorder) = self.recorder.borrow_mut().as_mut()
        {
            recorder.probe(latency_ns, waited_ns);
        }
        result
    }

    /// The cursor to resume from.
    pub(crate) fn cursor(&self, slot: usize) -> Cursor {
        self.clients.borrow()[slot].cursor()
    }

    /// Time until a client's next poll, in ns: its own phase on a grid of the poll interval.
    pub(super) fn until_next_poll_ns(&self, slot: usize, now_ns: u64) -> u64 {
        let interval = self.setup.scenario.clients.poll_interval_ms.max(1) * 1_000_000;
        let phase = self.random_of(slot, 1).below(interval);
        let now = now_ns % interval;
        match phase.checked_sub(now) {
            Some(0) | None => phase + interval - now,
            Some(wait) => wait,
        }
    }

    /// Settles the account of a session that has ended as planned.
    pub(super) fn departed(&self, slot: usize) {
        // The account of one that resumes goes on.
        if !self.resumes() {
            let before_ns = self.departure_ns(slot).map(|(_, at_ns)| at_ns);
            self.settle_session(slot, before_ns);
        }
    }

    /// When a client that departs now comes back: one that resumes at the end of the measure phase
    /// at the latest, so that it gets what it is owed.
    pub(super) fn back_ns(&self, slot: usize, now_ns: u64) -> u64 {
        let gap_ns = self.gap_ns(slot);
        let back_ns = match self.next_stream_ns(slot) {
            // The next stream waits for nobody.
            Some(next_ns) => next_ns.max(now_ns),
            None => now_ns.saturating_add(gap_ns),
        };
        let until_ns = self.phase().map(|phase| phase.timing.measure_until_ns);
        match until_ns {
            Some(until_ns) if self.resumes() => back_ns.min(until_ns.max(now_ns)),
            _ => back_ns,
        }
    }

    /// Whether a client that was away comes back: for as long as the measure phase lasts, and once
    /// more where it resumes.
    pub(super) fn comes_back(&self, now_ns: u64) -> bool {
        self.phase()
            .is_some_and(|phase| self.resumes() || now_ns < phase.timing.measure_until_ns)
    }

    /// How long until a client departs or must be checked again, in ns; `None` where it departs
    /// now: it has received all that was due before, or has waited long enough for it.
    pub(super) fn until_departure_ns(&self, slot: usize, now_ns: u64) -> Option<u64> {
        let recheck = RECHECK.as_nanos() as u64;
        let Some((phase, at_ns)) = self.departure_ns(slot) else {
            return Some(recheck);
        };
        if now_ns < at_ns {
            return Some(at_ns - now_ns);
        }
        if self.resumes() {
            // What it misses is owed to it later; but it does not leave before it has come, nor
            // when there is no time to come back.
            let stays = at_ns >= phase.timing.measure_until_ns || !self.has_cursor(slot);
            return stays.then_some(recheck);
        }
        let due = phase
            .timetable
            .last_sequence_before(self.channel_of(slot), at_ns);
        let linger_ns = (phase.timing.linger_ms * 1e6) as u64;
        let departs = self.cursor(slot).sequence >= due || now_ns >= at_ns + linger_ns;
        (!departs).then_some(recheck)
    }

    /// When the stream after that of a client's session begins; `None` where there are no streams.
    fn next_stream_ns(&self, slot: usize) -> Option<u64> {
        let schedule = self.phase()?.timetable.schedule();
        let started_ns = self.clients.borrow()[slot].started_ns;
        schedule.next_stream_ns(self.channel_of(slot), started_ns.max(schedule.start_ns))
    }

    /// When a session's client departs, once the timing is known: at the end of its stay or stream, or
    /// with the measure phase.
    fn departure_ns(&self, slot: usize) -> Option<(&MeasurePhase, u64)> {
        let phase = self.phase()?;
        let timing = &phase.timing;
        let plan = self.setup.scenario.sessions?;
        if let Some(next_ns) = self.next_stream_ns(slot) {
            let gap_ns = plan.gap_ms.saturating_mul(1_000_000);
            let ends_ns = next_ns.saturating_sub(gap_ns);
            let ends_ns = ends_ns.max(timing.schedule.start_ns);
            return Some((phase, ends_ns.min(timing.measure_until_ns)));
        }
        let started_ns = self.clients.borrow()[slot].started_ns;
        let length = self.stay_ns(slot);
        let cycle = length.saturating_add(plan.gap_ms * 1_000_000).max(1);
        let start = timing.schedule.start_ns;
        // A client that was there before the schedule began is at a random point of its stay.
        let stay = match (started_ns < start, plan.spread) {
            (true, Spread::Fixed) => start + self.random_of(slot, 2).below(cycle).min(length),
            // What is left of an exponential stay is as long as a whole one.
            (true, Spread::Exponential) => start.saturating_add(length),
            (false, _) => started_ns.saturating_add(length),
        };
        Some((phase, stay.min(timing.measure_until_ns)))
    }
}

/// Where one read's messages go.
pub(crate) struct Entry<'a> {
    pub(super) shard: &'a Shard,
    /// Whether messages are those of clients, and so are entered otherwise.
    sends: bool,
    pub(super) slot: usize,
    /// `None` for clients of scenarios in which no condition sees messages.
    conditions: Option<ClientConditions>,
    pub(super) client: &'a mut Client,
    pub(super) channel: u32,
    pub(super) at_ns: u64,
    /// Delivery latency of the last message of the read that belongs to the measure phase.
    pub(super) last_latency_ns: Option<u64>,
}

impl Entry<'_> {
    fn is_apart(&self) -> bool {
        self.conditions
            .as_ref()
            .is_some_and(|conditions| conditions.apart)
    }

    fn got_cursor(&mut self, cursor: u64) {
        self.shard.got_cursor(self.slot, self.at_ns, cursor);
        self.conditions = self.shard.conditions_of(self.slot);
    }

    /// The server has another log than the one that the client's cursor is of: settles what was due of
    /// that one, and begins a new account.
    #[cold]
    fn begin_anew(&mut self, cursor: Cursor) {
        let is_apart = self.is_apart();
        self.client.lagged_to = 0;
        let Some(ledger) = &mut self.client.ledger else {
            return;
        };
        if let Some(phase) = self.shard.phase()
            && phase.upstream.is_none()
            && !is_apart
        {
            let now_ns = monotonic_ns();
            self.shard.settle_ledger(self.slot, phase, ledger, now_ns);
        }
        ledger.rebase(cursor.sequence);
    }
}

impl Sink for Entry<'_> {
    fn subscribed(&mut self, cursor: Cursor) {
        self.client.has_cursor = true;
        self.client.away = false;
        let (is_new, is_apart) = (self.client.ledger.is_none(), self.is_apart());
        let epoch = std::mem::replace(&mut self.client.epoch, cursor.epoch);
        let goes_on = self.client.connected || self.client.resumes;
        if goes_on && epoch != cursor.epoch {
            self.begin_anew(cursor);
        }
        let cursor = cursor.sequence;
        let ledger = self
            .client
            .ledger
            .get_or_insert_with(|| Ledger::new(cursor));
        if !goes_on {
            ledger.rebase(cursor);
        }
        if is_new
            && self.shard.setup.scenario.reconnect.is_some()
            && let (Some(phase), false) = (self.shard.phase(), is_apart)
        {
            let owed = ledger.settle(phase.expected(self.channel, u64::MAX));
            self.shard.expect_more(owed.expected);
        }
        self.got_cursor(cursor);
    }

    fn resumed(&mut self) {
        if !std::mem::replace(&mut self.client.has_cursor, true) {
            self.client.away = false;
            self.got_cursor(self.client.cursor().sequence);
        }
    }

    fn retry(&mut self, ms: u64) {
        self.shard.retry(self.slot, ms);
    }

    fn envelope(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let message = envelope::decode(bytes)?;
        if std::mem::take(&mut self.client.awaits_first) {
            let took_ns = self.at_ns.saturating_sub(self.client.started_ns);
            self.shard.tally.record(HistogramId::FirstMessage, took_ns);
        }
        if self.sends {
            self.shard.tally.add(CounterId::Deliveries, 1);
            return self.enter_upstream(&message, bytes.len());
        }
        let is_apart = self.is_apart();
        if !is_apart {
            self.shard.tally.add(CounterId::Deliveries, 1);
        }
        let phase = self.shard.phase();
        let in_phase = phase.is_some_and(|phase| phase.holds(message.intended_ns));
        let Some(ledger) = self.client.ledger.as_mut() else {
            return Err(ClientError::Protocol(
                "a message came before the start cursor".into(),
            ));
        };
        let arrival = ledger.record(message.sequence, in_phase);
        if let Some(check) = &self.shard.setup.check_payload {
            let mut expected = Vec::new();
            let length = check.payload_bytes - envelope::HEAD_BYTES;
            payload::write(
                check.kind,
                check.seed,
                self.channel,
                message.sequence,
                length,
                &mut expected,
            );
            if message.payload != expected {
                self.shard.corrupt(self.channel, message.sequence);
            }
        }
        if self.conditions.is_some() {
            self.shard
                .condition_message(self.slot, &message, self.at_ns, in_phase);
        }
        let (true, Some(phase)) = (in_phase, phase) else {
            return Ok(());
        };
        if arrival == Arrival::Duplicate || is_apart {
            return Ok(());
        }
        self.shard.count_received(bytes.len());
        if let Some(conditions) = &mut self.conditions
            && !self
                .shard
                .classify_message(self.slot, conditions, &message, self.at_ns)
        {
            return Ok(());
        }
        let index = phase.timetable.index_of(self.channel, message.sequence);
        if let Some(recorder) = self.shard.recorder.borrow_mut().as_mut() {
            self.last_latency_ns = self.at_ns.checked_sub(message.intended_ns);
            recorder.record(Delivery {
                message: index.wrapping_sub(self.shard.first_message.get()),
                intended_ns: message.intended_ns,
                actual_ns: message.actual_ns,
                received_ns: self.at_ns,
            });
        }
        Ok(())
    }

    fn lagged(&mut self, lost: Lost) -> Result<(), ClientError> {
        let Lost::Range { from, to } = lost else {
            return Err(ClientError::Stray);
        };
        let cursor = self.client.cursor().sequence;
        self.client.lagged_to = self.client.lagged_to.max(to);
        let messages = lost.messages();
        if self.is_apart() {
            self.shard.lagged_apart(self.slot, messages);
        } else {
            self.shard.count_lagged(messages);
            let from = from.max(cursor.saturating_add(1));
            self.shard.write_off(self.channel, from, to);
        }
        Ok(())
    }

    fn request(&mut self) {
        if !self.is_apart() {
            self.shard.tally.add(CounterId::Requests, 1);
        }
    }

    fn empty_response(&mut self) {
        if !self.is_apart() {
            self.shard.tally.add(CounterId::EmptyResponses, 1);
        }
    }

    fn cursor(&self) -> Cursor {
        self.client.cursor()
    }
}

#[cfg(test)]
mod tests;
