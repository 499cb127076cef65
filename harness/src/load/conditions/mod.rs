//! What a shard keeps of its clients only where a scenario has a condition: losses, sessions, cuts, slow
//! readers, snapshots, streams.
//!
//! Place on the data path: next to the ledger. A plain client costs nothing of this: the tables are
//! there only where a plan is, and a message then finds `None` (see `Shard::conditions_of`). What is
//! measured is in the files of the plans.

pub(crate) mod cuts;
pub(crate) mod reconnect;
pub(crate) mod round_trip;
pub(crate) mod sessions;
pub(crate) mod slow;
pub(crate) mod snapshot;
pub(crate) mod streams;
pub mod upstream;

use std::cell::RefCell;

use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::envelope::Envelope;
use pushbench_protocol::payload::SplitMix64;

use crate::load::client::ClientError;
use crate::load::shard::Shard;
use crate::load::tally::Histograms;
use crate::load::{MeasurePhase, Timing};
use crate::record::{Deliveries, Measures};
use crate::scenario::Scenario;
use cuts::Cuts;
use reconnect::{Comebacks, Timeline};
use sessions::Sessions;
use slow::Slow;
use snapshot::Snapshots;
use streams::Streams;

/// What a shard does for a condition that its scenario has. Where it has none, nothing is called.
pub(in crate::load) trait Hook {
    /// What it keeps; `None` where the scenario does not have the condition.
    fn of(scenario: &Scenario) -> Option<Self>
    where
        Self: Sized;

    /// Which messages it must see.
    fn sees(&self) -> Sees {
        Sees::None
    }

    /// Makes room for the next client; `random` gives it numbers of its own for a purpose, of which
    /// 1 and 2 are polls and departures.
    fn add_client(&mut self, index: u32, random: &dyn Fn(u64) -> SplitMix64);

    /// Whether a client has an account of its own: it is in no count and no latency of the others, and
    /// once the schedule begins nothing but its timer reads.
    fn sets_apart(&self, _slot: usize) -> bool {
        false
    }

    /// A subscribe of a client begins; `resumes`: after the last message that it has. What it was not
    /// there for.
    fn subscribing(&mut self, _slot: usize, _now_ns: u64, _resumes: bool) -> Option<Missed> {
        None
    }

    /// A client got its cursor. What it was not there for.
    fn cursor(
        &mut self,
        _slot: usize,
        _at_ns: u64,
        _cursor: u64,
        _timing: Option<&Timing>,
    ) -> Option<Missed> {
        None
    }

    /// A message arrived, where it [sees](Self::sees) all; `measured`: one of the measure phase.
    fn message(&mut self, _slot: usize, _message: &Envelope<'_>, _at_ns: u64, _measured: bool) {}

    /// A message arrived that its client was not there for when it was due.
    fn late(&mut self, _missed: Missed, _due_ns: u64, _at_ns: u64) {}

    /// A client that is set apart lost so many messages.
    fn lagged(&mut self, _slot: usize, _messages: u64) {}

    /// The connection of a client ended when it was not to. What becomes of it, where that is the
    /// condition's to say.
    fn ended(&mut self, _slot: usize, _end: End, _now_ns: u64) -> Option<After> {
        None
    }

    /// When the timer of a client fires next after `after_ns`, or for the first time; `None`: not any
    /// more.
    fn next_ns(&mut self, _slot: usize, _after_ns: Option<u64>, _timing: &Timing) -> Option<u64> {
        None
    }

    /// The timer of a client that was due at `due_ns` fires: what is to be done.
    fn timer(&mut self, _slot: usize, _due_ns: u64, _timing: &Timing) -> Option<Action> {
        None
    }

    /// Enters what it counted. `account`: what a client was owed and got, and whether its connection
    /// stands.
    fn settle(&mut self, _account: &dyn Fn(usize) -> Option<Account>, _into: &mut ConditionReport) {
    }
}

/// Which messages a condition must see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::load) enum Sees {
    #[default]
    None,
    /// Those of clients that are set apart, and those that come late.
    Some,
    All,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::load) enum End {
    /// A connect got no cursor; `is_final`: the client must not try again.
    NoCursor { is_final: bool },
    /// One that had a cursor was lost.
    Lost { is_final: bool },
    /// The fleet cut it.
    Cut { by_reset: bool },
}

/// What becomes of a client whose connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::load) enum After {
    /// It tries again after so long, in ns.
    ComesBack(u64),
    /// It was lost, and stops trying.
    Stops,
    /// It has an account of its own, which knows.
    Apart,
}

/// What a timer of a client has the loop do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::load) enum Action {
    /// End the connection, where it has a cursor.
    Cut { by_reset: bool },
    /// Read so many bytes at the most, in small reads.
    Read { most_bytes: u64 },
}

#[cfg(test)]
fn timing(measure_from_ns: u64, faults_ns: &[u64]) -> Timing {
    Timing {
        schedule: pushbench_protocol::schedule::Schedule::uniform(0..0, 1.0, 1),
        measure_from_ns,
        measure_until_ns: u64::MAX,
        linger_ms: 0.0,
        faults_ns: faults_ns.to_vec(),
    }
}

/// What a client was owed and got, and whether its connection stands.
pub(in crate::load) type Account = (Deliveries, bool);

/// Declares the tables of a shard, of which a condition that is in use has one.
macro_rules! tables {
    ($($name:ident: $table:ty),+) => {
        /// The tables of a shard's conditions.
        #[derive(Debug)]
        pub(in crate::load) struct ConditionState {
            $($name: Option<RefCell<$table>>,)+
            sees: Sees,
            clients: RefCell<Vec<ClientConditions>>,
        }

        impl ConditionState {
            /// The tables that a scenario asks for; `None` where it asks for none.
            pub(in crate::load) fn new(scenario: &Scenario) -> Option<Box<Self>> {
                let mut conditions = Self {
                    $($name: <$table>::of(scenario).map(RefCell::new),)+
                    sees: Sees::None,
                    clients: RefCell::default(),
                };
                let (mut any, mut sees) = (false, Sees::None);
                conditions.each(|hook| {
                    any = true;
                    sees = sees.max(hook.sees());
                });
                conditions.sees = sees;
                any.then(|| Box::new(conditions))
            }

            /// Calls what each condition does.
            fn each(&self, mut f: impl FnMut(&mut dyn Hook)) {
                $(if let Some(table) = &self.$name {
                    f(&mut *table.borrow_mut());
                })+
            }
        }
    };
}

tables! {
    comebacks: Comebacks,
    sessions: Sessions,
    cuts: Cuts,
    slow: Slow,
    snapshots: Snapshots,
    streams: Streams
}

/// What the side tables counted.
#[derive(Debug, Default)]
pub(in crate::load) struct ConditionReport {
    pub(in crate::load) measures: Measures,
    pub(in crate::load) timeline: Timeline,
    pub(in crate::load) histograms: Histograms,
}

/// The messages that a client was not there for: due in `from_ns..until_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::load) struct Missed {
    because: MissedBecause,
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

/// What one read must know of its client in addition to the ledger.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::load) struct ClientConditions {
    /// Whether it has an account of its own.
    pub(in crate::load) apart: bool,
    missed: Option<Missed>,
}

impl ConditionState {
    /// A client was not there for some messages.
    fn note_missed(&self, slot: usize, missed: Missed) {
        let known = &mut self.clients.borrow_mut()[slot].missed;
        // What it missed before and has not caught up with is missed still.
        let before = known.filter(|known| known.because == missed.because);
        *known = Some(Missed {
            from_ns: before.map_or(missed.from_ns, |b| b.from_ns.min(missed.from_ns)),
            ..missed
        });
    }
}

impl Shard {
    /// Makes room in the side tables for client `slot`, the next one.
    pub(in crate::load) fn add_conditions(&self, slot: usize) {
        let Some(conditions) = &self.conditions else {
            return;
        };
        let random = |purpose| self.random_of(slot, purpose);
        let mut client = ClientConditions::default();
        conditions.each(|hook| {
            hook.add_client(self.index_of(slot), &random);
            client.apart |= hook.sets_apart(slot);
        });
        conditions.clients.borrow_mut().push(client);
    }

    /// What a read must know of its client; `None` where no condition sees messages.
    pub(in crate::load) fn conditions_of(&self, slot: usize) -> Option<ClientConditions> {
        let conditions = self.conditions.as_ref()?;
        (conditions.sees > Sees::None).then(|| conditions.clients.borrow()[slot])
    }

    /// Whether a client has an account of its own.
    pub(in crate::load) fn is_apart(&self, slot: usize) -> bool {
        let apart = |e: &ConditionState| e.clients.borrow().get(slot).is_some_and(|c| c.apart);
        self.conditions.as_deref().is_some_and(apart)
    }

    /// Classifies a message of the measure phase, received for the first time. Whether its latency
    /// is one of the system's.
    pub(in crate::load) fn classify_message(
        &self,
        slot: usize,
        client: &mut ClientConditions,
        message: &Envelope<'_>,
        at_ns: u64,
    ) -> bool {
        let (Some(missed), Some(conditions)) = (client.missed, &self.conditions) else {
            return true;
        };
        if message.intended_ns >= missed.until_ns {
            // It has caught up: the messages that follow are as all others.
            client.missed = None;
            conditions.clients.borrow_mut()[slot].missed = None;
            return true;
        }
        if message.intended_ns < missed.from_ns {
            return true;
        }
        conditions.each(|hook| hook.late(missed, message.intended_ns, at_ns));
        missed.because == MissedBecause::Loss
    }

    /// A client got its cursor at `at_ns`.
    pub(in crate::load) fn got_cursor(&self, slot: usize, at_ns: u64, cursor: u64) {
        let Some(conditions) = &self.conditions else {
            return;
        };
        let timing = self.phase().map(|phase| &phase.timing);
        conditions.each(|hook| {
            if let Some(missed) = hook.cursor(slot, at_ns, cursor, timing) {
                conditions.note_missed(slot, missed);
            }
        });
        self.show_away();
    }

    /// A subscribe of a client begins. `resumes`: after its cursor.
    pub(in crate::load) fn subscribe_begins(&self, slot: usize, now_ns: u64, resumes: bool) {
        let Some(conditions) = &self.conditions else {
            return;
        };
        conditions.each(|hook| {
            if let Some(missed) = hook.subscribing(slot, now_ns, resumes) {
                conditions.note_missed(slot, missed);
            }
        });
    }

    /// The connection of a client has ended when it was not to, or a connect got no cursor. After
    /// how long it comes back, in ns; `None` where it does not. `is_final`: it must not.
    pub(in crate::load) fn ended(
        &self,
        slot: usize,
        error: &ClientError,
        is_final: bool,
    ) -> Option<u64> {
        let end = if self.clients.borrow()[slot].connected {
            End::Lost { is_final }
        } else {
            End::NoCursor { is_final }
        };
        let after = self.after(slot, end);
        match after {
            None => self.failed(slot, error),
            Some(After::Apart) => {}
            Some(After::Stops | After::ComesBack(_)) => self.note_failure(slot, error, true),
        }
        match after {
            Some(After::ComesBack(wait_ns)) => Some(wait_ns),
            _ => None,
        }
    }

    /// The fleet itself has cut a client; after how long it comes back, in ns.
    pub(in crate::load) fn was_cut(&self, slot: usize, by_reset: bool) -> Option<u64> {
        match self.after(slot, End::Cut { by_reset }) {
            Some(After::ComesBack(wait_ns)) => Some(wait_ns),
            _ => None,
        }
    }

    /// What becomes of a client whose connection ended.
    pub(in crate::load) fn after(&self, slot: usize, end: End) -> Option<After> {
        let conditions = self.conditions.as_ref()?;
        let mut after = None;
        conditions.each(|hook| after = hook.ended(slot, end, monotonic_ns()).or(after));
        if let Some(After::Stops | After::ComesBack(_)) = after {
            self.clients.borrow_mut()[slot].connected = false;
        }
        if after == Some(After::Stops) {
            self.gone(slot);
        }
        self.show_away();
        after
    }

    /// A client that has an account of its own lost so many messages.
    pub(in crate::load) fn lagged_apart(&self, slot: usize, messages: u64) {
        if let Some(conditions) = &self.conditions {
            conditions.each(|hook| hook.lagged(slot, messages));
        }
    }

    /// Calls `arm` with the first time of each timer of a client, and the number of its condition.
    pub(in crate::load) fn first_timers(&self, slot: usize, mut arm: impl FnMut(u8, u64)) {
        let (Some(conditions), Some(phase)) = (&self.conditions, self.phase()) else {
            return;
        };
        let mut number = 0;
        conditions.each(|hook| {
            if let Some(due_ns) = hook.next_ns(slot, None, &phase.timing) {
                arm(number, due_ns);
            }
            number += 1;
        });
    }

    /// A timer of a client fires: what is to be done, and when it fires next.
    pub(in crate::load) fn timer(
        &self,
        slot: usize,
        condition: u8,
        due_ns: u64,
    ) -> (Option<Action>, Option<u64>) {
        let mut fired = (None, None);
        let (Some(conditions), Some(phase)) = (&self.conditions, self.phase()) else {
            return fired;
        };
        let (mut number, timing) = (0, &phase.timing);
        conditions.each(|hook| {
            if number == condition {
                let next_ns = hook.next_ns(slot, Some(due_ns), timing);
                fired = (hook.timer(slot, due_ns, timing), next_ns);
            }
            number += 1;
        });
        fired
    }

    /// A message arrived at a client of a scenario with conditions.
    pub(in crate::load) fn condition_message(
        &self,
        slot: usize,
        message: &Envelope<'_>,
        at_ns: u64,
        measured: bool,
    ) {
        if let Some(conditions) = self.conditions.as_ref().filter(|e| e.sees == Sees::All) {
            conditions.each(|hook| hook.message(slot, message, at_ns, measured));
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
