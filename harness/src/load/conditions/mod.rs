//! What a shard keeps of its clients only where a plan asks for it: losses, sessions, cuts, slow
//! readers, snapshots.
//!
//! Place on the data path: beside the ledger. A plain client costs nothing of this: the tables are
//! there only where a plan is, and a message then finds `None` (see `Shard::conditions_of`). What is
//! measured is in the files of the plans.

pub(crate) mod cuts;
pub(crate) mod reconnect;
pub(crate) mod round_trip;
pub(crate) mod sessions;
pub(crate) mod slow;
pub(crate) mod snapshot;
pub mod upstream;

use std::cell::RefCell;

use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::envelope::Envelope;
use pushbench_protocol::payload::SplitMix64;

use crate::load::client::ClientError;
use crate::load::shard::Shard;
use crate::load::tally::Histograms;
use crate::load::{MeasurePhase, Setup};
use crate::record::Deliveries;
use crate::record::Measures;
use cuts::Cuts;
use reconnect::{ATTEMPT_NS, Comebacks, Timeline};
use sessions::Sessions;
use slow::Slow;
use snapshot::Snapshots;

/// What a shard does for a condition that its scenario has. Where it has none, nothing is called.
pub(in crate::load) trait Hook {
    /// Makes room for the next client; `random` gives it numbers of its own for a purpose, of which
    /// 1 and 2 are polls and departures.
    fn add_client(&mut self, index: u32, random: &dyn Fn(u64) -> SplitMix64);

    /// A subscribe of a client begins; `resumes`: after the last message that it has.
    fn subscribing(&mut self, _slot: usize, _now_ns: u64, _resumes: bool) {}

    /// A client got its cursor.
    fn cursor(&mut self, _slot: usize, _at_ns: u64, _cursor: u64) {}

    /// Whether it wants every message.
    fn takes_messages(&self) -> bool {
        false
    }

    /// A message arrived.
    fn message(&mut self, _slot: usize, _message: &Envelope<'_>, _at_ns: u64) {}

    /// Enters what it counted. `account`: what a client was owed and got, and whether its connection
    /// stands.
    fn settle(&mut self, _account: &dyn Fn(usize) -> Option<Account>, _into: &mut ConditionReport) {
    }
}

/// What a client was owed and got, and whether its connection stands.
pub(in crate::load) type Account = (Deliveries, bool);

/// The side tables of a shard.
#[derive(Debug)]
pub(in crate::load) struct ConditionState {
    pub(in crate::load) recovery: Option<RefCell<Comebacks>>,
    pub(in crate::load) sessions: Option<RefCell<Sessions>>,
    pub(in crate::load) cuts: Option<RefCell<Cuts>>,
    pub(in crate::load) slow: Option<RefCell<Slow>>,
    pub(in crate::load) snapshots: Option<RefCell<Snapshots>>,
    /// Whether messages must be looked at one by one.
    looks_at_messages: bool,
    /// Whether any condition wants every message.
    takes_messages: bool,
    /// One a client.
    late: RefCell<Vec<MissedInterval>>,
}

/// What the side tables counted.
#[derive(Debug, Default)]
pub(in crate::load) struct ConditionReport {
    pub(in crate::load) measures: Measures,
    pub(in crate::load) timeline: Timeline,
    pub(in crate::load) histograms: Histograms,
}

/// The messages that a client was not there for: due in `from_ns..until_ns`.
#[derive(Debug, Clone, Copy, Default)]
struct MissedInterval {
    why: Option<MissedBecause>,
    from_ns: u64,
    until_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MissedBecause {
    /// Its connection was lost: the delay is the system's, and counts as latency.
    Loss,
    /// It was away by plan, or asks for what was before it came: the delay is its own.
    Absence,
}

/// What one read must know of its client beside the ledger.
#[derive(Debug, Clone, Copy)]
pub(in crate::load) struct ClientConditions {
    pub(in crate::load) slow: bool,
    late: MissedInterval,
}

impl ConditionState {
    /// The tables that a setup asks for; `None` where it asks for none.
    pub(in crate::load) fn new(setup: &Setup) -> Option<Box<Self>> {
        let scenario = &setup.scenario;
        let snapshot_messages = scenario.clients.snapshot_messages;
        let resumes = scenario.sessions.is_some_and(|plan| plan.resume);
        let mut conditions = Self {
            recovery: scenario.reconnect.map(|plan| Comebacks::new(plan).into()),
            sessions: scenario.sessions.map(|plan| Sessions::new(plan).into()),
            cuts: scenario.cuts().map(|plan| Cuts::new(plan).into()),
            slow: scenario.slow_readers.map(|plan| Slow::new(plan).into()),
            snapshots: (snapshot_messages > 0).then(|| Snapshots::new(snapshot_messages).into()),
            looks_at_messages: resumes
                || scenario.reconnect.is_some()
                || scenario.slow_readers.is_some(),
            takes_messages: false,
            late: RefCell::default(),
        };
        let (mut any, mut takes_messages) = (false, false);
        conditions.each(|hook| {
            any = true;
            takes_messages |= hook.takes_messages();
        });
        conditions.takes_messages = takes_messages;
        conditions.looks_at_messages |= takes_messages;
        any.then(|| Box::new(conditions))
    }

    /// Calls what each condition does.
    fn each(&self, mut f: impl FnMut(&mut dyn Hook)) {
        fn call(table: &Option<RefCell<impl Hook>>, f: &mut dyn FnMut(&mut dyn Hook)) {
            if let Some(table) = table {
                f(&mut *table.borrow_mut());
            }
        }
        call(&self.recovery, &mut f);
        call(&self.sessions, &mut f);
        call(&self.cuts, &mut f);
        call(&self.slow, &mut f);
        call(&self.snapshots, &mut f);
    }

    fn recovery<T>(&self, f: impl FnOnce(&mut Comebacks) -> T) -> Option<T> {
        self.recovery
            .as_ref()
            .map(|table| f(&mut table.borrow_mut()))
    }

    pub(in crate::load) fn sessions<T>(&self, f: impl FnOnce(&mut Sessions) -> T) -> Option<T> {
        self.sessions
            .as_ref()
            .map(|table| f(&mut table.borrow_mut()))
    }

    pub(in crate::load) fn is_slow(&self, slot: usize) -> bool {
        let slow = self.slow.as_ref();
        slow.is_some_and(|table| table.borrow().is_slow(slot))
    }

    /// A client was not there from `from_ns` on, until `until_ns`.
    fn note_missed(&self, slot: usize, why: MissedBecause, from_ns: u64, until_ns: u64) {
        let late = &mut self.late.borrow_mut()[slot];
        // What it missed before and has not caught up with is missed still.
        let from_ns = if late.why == Some(why) {
            late.from_ns.min(from_ns)
        } else {
            from_ns
        };
        *late = MissedInterval {
            why: Some(why),
            from_ns,
            until_ns,
        };
    }
}

impl Shard {
    /// Makes room in the side tables for client `slot`, the next one.
    pub(in crate::load) fn add_conditions(&self, slot: usize) {
        let Some(conditions) = &self.conditions else {
            return;
        };
        let random = |purpose| self.random_of(slot, purpose);
        conditions.each(|hook| hook.add_client(self.index_of(slot), &random));
        conditions.late.borrow_mut().push(MissedInterval::default());
    }

    /// What a read must know of its client; `None` for clients without any plan.
    pub(in crate::load) fn conditions_of(&self, slot: usize) -> Option<ClientConditions> {
        let conditions = self.conditions.as_ref()?;
        conditions.looks_at_messages.then(|| ClientConditions {
            slow: conditions.is_slow(slot),
            late: conditions.late.borrow()[slot],
        })
    }

    /// Whether a client reads slowly.
    pub(in crate::load) fn is_slow(&self, slot: usize) -> bool {
        self.conditions.as_ref().is_some_and(|e| e.is_slow(slot))
    }

    /// Looks at a message of the measure phase, received for the first time. Whether its latency
    /// is one of the system's.
    pub(in crate::load) fn classify_message(
        &self,
        slot: usize,
        client: &mut ClientConditions,
        message: &Envelope<'_>,
        at_ns: u64,
    ) -> bool {
        let late = client.late;
        let (Some(why), Some(conditions)) = (late.why, &self.conditions) else {
            return true;
        };
        if message.intended_ns >= late.until_ns {
            // It has caught up: the messages that follow need no look.
            client.late = MissedInterval::default();
            conditions.late.borrow_mut()[slot] = client.late;
            return true;
        }
        if message.intended_ns < late.from_ns {
            return true;
        }
        match why {
            MissedBecause::Loss => {
                let latency_ns = at_ns.saturating_sub(message.intended_ns);
                conditions.recovery(|r| r.caught_up(latency_ns));
                true
            }
            MissedBecause::Absence => {
                let took_ns = at_ns.saturating_sub(late.until_ns);
                if self.resumes() {
                    conditions.sessions(|s| s.caught_up(took_ns));
                }
                false
            }
        }
    }

    /// A client got its cursor at `at_ns`.
    pub(in crate::load) fn got_cursor(&self, slot: usize, at_ns: u64, cursor: u64) {
        let Some(conditions) = &self.conditions else {
            return;
        };
        let faults_ns = self.phase().map_or(&[][..], |p| &p.timing.faults_ns);
        let lost_ns = conditions.recovery(|table| table.returned(slot, at_ns, faults_ns));
        if let Some(Some(lost_ns)) = lost_ns {
            conditions.note_missed(slot, MissedBecause::Loss, lost_ns, at_ns);
            self.show_away();
        }
        conditions.each(|hook| hook.cursor(slot, at_ns, cursor));
    }

    /// A subscribe of a client begins. `resumes`: behind its cursor.
    pub(in crate::load) fn subscribe_begins(&self, slot: usize, now_ns: u64, resumes: bool) {
        let Some(conditions) = &self.conditions else {
            return;
        };
        conditions.each(|hook| hook.subscribing(slot, now_ns, resumes));
        if conditions.snapshots.is_some() && !resumes {
            conditions.late.borrow_mut()[slot] = MissedInterval::default();
            conditions.note_missed(slot, MissedBecause::Absence, 0, now_ns);
        }
    }

    /// A session of a client begins, one that may resume.
    pub(in crate::load) fn arrives(&self, slot: usize, now_ns: u64, resumes: bool) {
        let Some(conditions) = &self.conditions else {
            return;
        };
        let measured = self.phase().is_some_and(|phase| phase.holds(now_ns));
        conditions.sessions(|table| table.begin(slot, measured));
        if resumes && let Some(from_ns) = conditions.sessions(|s| s.departed_ns(slot)) {
            conditions.note_missed(slot, MissedBecause::Absence, from_ns, now_ns);
        }
        self.subscribe_begins(slot, now_ns, resumes);
    }

    /// A session of a client that took so long got its cursor.
    pub(in crate::load) fn arrived(&self, slot: usize, took_ns: u64) {
        if let Some(conditions) = &self.conditions {
            conditions.sessions(|table| table.came(slot, took_ns));
        }
    }

    /// Whether clients that come back resume behind their cursor.
    pub(in crate::load) fn resumes(&self) -> bool {
        self.setup.scenario.sessions.is_some_and(|plan| plan.resume)
    }

    /// A client departs by plan; how long it is away, in ns.
    pub(in crate::load) fn gap_ns(&self, slot: usize) -> u64 {
        let conditions = self.conditions.as_ref();
        let gap_ns = conditions.and_then(|e| e.sessions(|s| s.depart(slot, monotonic_ns())));
        gap_ns.unwrap_or(0)
    }

    /// How long the session of a client is, in ns.
    pub(in crate::load) fn stay_ns(&self, slot: usize) -> u64 {
        let conditions = self.conditions.as_ref();
        let length_ns = conditions.and_then(|e| e.sessions(|s| s.length_ns(slot)));
        length_ns.unwrap_or(u64::MAX)
    }

    /// Clients lost and not yet back.
    pub(in crate::load) fn away(&self) -> u64 {
        let conditions = self.conditions.as_ref();
        conditions
            .and_then(|e| e.recovery(|r| r.away()))
            .unwrap_or(0)
    }

    /// The connection of a client has ended when it was not to, or a connect got no cursor. After
    /// how long it comes back, in ns; `None` where it does not. `is_final`: it was told not to.
    pub(in crate::load) fn ended(
        &self,
        slot: usize,
        error: &ClientError,
        is_final: bool,
    ) -> Option<u64> {
        let Some(conditions) = &self.conditions else {
            self.failed(slot, error);
            return None;
        };
        let had_cursor = self.clients.borrow()[slot].connected;
        if had_cursor
            && let Some(slow) = &conditions.slow
            && slow.borrow().is_slow(slot)
        {
            // Its end is in its own account. It does not come back: what it would get then would
            // be no slow client's.
            slow.borrow_mut().ended(slot);
            return None;
        }
        if !had_cursor {
            conditions.sessions(|table| table.failed(slot));
        }
        let Some(recovery) = &conditions.recovery else {
            self.failed(slot, error);
            return None;
        };
        if had_cursor {
            self.clients.borrow_mut()[slot].connected = false;
            recovery.borrow_mut().lost(slot, monotonic_ns());
        } else {
            recovery.borrow_mut().attempt_failed(slot);
        }
        let gave_up = is_final && recovery.borrow_mut().gave_up(slot);
        self.show_away();
        if gave_up {
            self.gone(slot);
        }
        if is_final && !gave_up {
            self.failed(slot, error);
            return None;
        }
        self.note_failure(slot, error, true);
        (!is_final).then(|| recovery.borrow_mut().wait_ns(slot))
    }

    /// The fleet itself has cut a client; after how long it comes back, in ns.
    pub(in crate::load) fn was_cut(&self, slot: usize, by_reset: bool) -> Option<u64> {
        let recovery = self.conditions.as_ref()?.recovery.as_ref()?;
        self.clients.borrow_mut()[slot].connected = false;
        let mut recovery = recovery.borrow_mut();
        recovery.lost(slot, monotonic_ns());
        recovery.was_cut(by_reset);
        let wait_ns = recovery.wait_ns(slot);
        drop(recovery);
        self.show_away();
        Some(wait_ns)
    }

    /// A client tries again; the cursor to resume behind, where it holds one.
    pub(in crate::load) fn attempt(&self, slot: usize, now_ns: u64) -> Option<u64> {
        let mut clients = self.clients.borrow_mut();
        let client = &mut clients[slot];
        client.has_cursor = false;
        client.connected = false;
        // One that got no cursor in this session has nothing to resume.
        client.resumes = client.ledger.is_some() && !client.away;
        client.comes_back = client.ledger.is_some();
        if !client.comes_back {
            // Its first connect failed, and this one is the first again.
            client.started_ns = now_ns;
        }
        let since = client.resumes.then(|| client.cursor());
        drop(clients);
        if let Some(conditions) = &self.conditions {
            conditions.recovery(|table| table.attempt(slot, now_ns));
        }
        self.subscribe_begins(slot, now_ns, since.is_some());
        since
    }

    /// When an attempt that begins now is given up; `None` without a plan.
    pub(in crate::load) fn attempt_ends_ns(&self, now_ns: u64) -> Option<u64> {
        self.setup.scenario.reconnect.map(|_| now_ns + ATTEMPT_NS)
    }

    /// Whether a client has received all that was due before `before_ns`.
    fn owes_nothing(&self, slot: usize, before_ns: u64) -> bool {
        let due = self.phase().map_or(0, |phase| {
            let channel = self.channel_of(slot);
            phase.timetable.last_sequence_before(channel, before_ns)
        });
        self.cursor(slot) >= due
    }

    /// A client resumes with a request that stands at the server and is owed nothing: no answer is
    /// due, and so it is back, since it asked. `true` where that is so.
    pub(in crate::load) fn is_back_quietly(&self, slot: usize) -> bool {
        if !self.clients.borrow()[slot].resumes || !self.owes_nothing(slot, monotonic_ns()) {
            return false;
        }
        let Some(conditions) = &self.conditions else {
            return false;
        };
        let asked_ns = conditions.recovery(|table| table.attempt_ns(slot));
        self.clients.borrow_mut()[slot].has_cursor = true;
        self.clients.borrow_mut()[slot].connected = true;
        self.got_cursor(slot, asked_ns.unwrap_or(0), 0);
        true
    }

    /// Clients with an attempt under way.
    pub(in crate::load) fn on_their_way(&self) -> Vec<usize> {
        let conditions = self.conditions.as_ref();
        let slots = conditions.and_then(|e| {
            e.recovery(|table| {
                let under_way = table.lost_clients().filter(|&(_, since_ns)| since_ns > 0);
                under_way.map(|(slot, _)| slot).collect()
            })
        });
        slots.unwrap_or_default()
    }

    /// What a server asks for as `retry`.
    pub(in crate::load) fn retry(&self, slot: usize, ms: u64) {
        if let Some(conditions) = &self.conditions {
            conditions.recovery(|table| table.retry(slot, ms));
        }
    }

    /// When a client is cut next after `after_ns`.
    pub(in crate::load) fn next_cut_ns(&self, slot: usize, after_ns: Option<u64>) -> Option<u64> {
        let cuts = self.conditions.as_ref()?.cuts.as_ref()?;
        let from_ns = self.phase()?.timing.measure_from_ns;
        cuts.borrow_mut().next_ns(slot, after_ns, from_ns)
    }

    /// Whether the cut that is due for a client is a reset.
    pub(in crate::load) fn cut_resets(&self, slot: usize) -> bool {
        let cuts = self.conditions.as_ref().and_then(|e| e.cuts.as_ref());
        cuts.is_some_and(|table| table.borrow_mut().resets(slot))
    }

    /// The kernel has told that the connection of a client that does not read has ended.
    pub(in crate::load) fn slow_ended(&self, slot: usize) {
        if let Some(slow) = self.conditions.as_ref().and_then(|e| e.slow.as_ref()) {
            slow.borrow_mut().ended(slot);
        }
    }

    /// A slow client was told that so many messages are lost to it. `false` where it is not slow.
    pub(in crate::load) fn slow_lagged(&self, slot: usize, messages: u64) -> bool {
        let slow = self.conditions.as_ref().and_then(|e| e.slow.as_ref());
        let Some(slow) = slow.filter(|table| table.borrow().is_slow(slot)) else {
            return false;
        };
        slow.borrow_mut().lagged(slot, messages);
        true
    }

    /// A message arrived at a client of a scenario with conditions.
    pub(in crate::load) fn condition_message(
        &self,
        slot: usize,
        message: &Envelope<'_>,
        at_ns: u64,
    ) {
        if let Some(conditions) = self.conditions.as_ref().filter(|e| e.takes_messages) {
            conditions.each(|hook| hook.message(slot, message, at_ns));
        }
    }

    /// Settles the side tables.
    pub(in crate::load) fn settle_conditions(
        &self,
        phase: Option<&MeasurePhase>,
    ) -> Option<ConditionReport> {
        let conditions = self.conditions.as_ref()?;
        let clients = self.clients.borrow();
        let account = |slot: usize| {
            let client = clients.get(slot)?;
            let ledger = client.ledger.as_ref()?;
            let expected = |phase: &MeasurePhase| phase.expected(self.channel_of(slot), u64::MAX);
            let counts = phase.map(|phase| ledger.settle(expected(phase)));
            Some((counts.unwrap_or_default(), client.fd.is_some()))
        };
        let mut report = ConditionReport::default();
        conditions.each(|hook| hook.settle(&account, &mut report));
        Some(report)
    }
}
