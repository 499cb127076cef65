//! Clients that come back when their connection was lost: when, and how it went.
//!
//! Next to the data path. In: [`Reconnect`], losses, attempts and cursors. Out: how long each
//! client waits before it tries again, and the counts of [`Recovery`]. The sockets are `poller.rs`'s. A
//! client's ledger goes on across the gap, so what is missing or came twice is in its counts, not
//! here.

use std::collections::BTreeMap;

use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::framing::Cursor;
use pushbench_protocol::payload::SplitMix64;

use super::{Account, After, ConditionReport, End, Hook, Missed, MissedBecause, Sees};
use crate::load::Timing;
use crate::load::shard::Shard;
use crate::load::tally::Histograms;
use crate::record::{HistogramId, Recovery};
use crate::scenario::{Reconnect, Scenario};

/// What a client's random numbers are for: its waits.
const PURPOSE: u64 = 3;

/// An attempt that has no cursor after this time is given up, in ns.
const ATTEMPT_NS: u64 = 10_000_000_000;

/// Length of the bins from which the peaks are counted, in ns.
const BIN_NS: u64 = 100_000_000;

/// Bins of a window of 1 s.
const BINS_A_WINDOW: u64 = 10;

/// Most bins of a shard: an hour of losses. What comes after is in no peak.
const MAX_BINS: usize = 36_000;

impl Reconnect {
    /// The wait before the next attempt, in ns, after so many that failed. `uniform` is in [0, 1);
    /// `retry_ms` is what the server asked for.
    pub fn wait_ns(&self, failures: u32, retry_ms: Option<u64>, uniform: f64) -> u64 {
        let base_ms = retry_ms.unwrap_or(self.delay_ms) as f64;
        let doubled_ms = base_ms * 2f64.powi(failures.min(1_000) as i32);
        (doubled_ms.min(self.max_delay_ms as f64) * (1.0 + self.jitter * uniform) * 1e6) as u64
    }
}

/// Counts over time, in bins.
#[derive(Debug, Clone, Default)]
struct Bins(BTreeMap<u64, u64>);

impl Bins {
    fn count(&mut self, at_ns: u64) {
        let bin = at_ns / BIN_NS;
        if self.0.len() < MAX_BINS || self.0.contains_key(&bin) {
            *self.0.entry(bin).or_default() += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        for (&bin, count) in &other.0 {
            *self.0.entry(bin).or_default() += count;
        }
    }

    /// The most within any window of 1 s.
    fn peak_per_s(&self) -> f64 {
        let window = |(&first, _)| -> u64 {
            self.0
                .range(first..first + BINS_A_WINDOW)
                .map(|(_, n)| n)
                .sum()
        };
        self.0.iter().map(window).max().unwrap_or(0) as f64
    }
}

/// When clients of all shards were lost, tried again and came back.
#[derive(Debug, Clone, Default)]
pub(in crate::load) struct Timeline {
    returns: Bins,
    attempts: Bins,
    first_loss_ns: Option<u64>,
    last_return_ns: Option<u64>,
}

impl Timeline {
    pub(in crate::load) fn add(&mut self, other: &Self) {
        self.returns.add(&other.returns);
        self.attempts.add(&other.attempts);
        let firsts = [self.first_loss_ns, other.first_loss_ns];
        self.first_loss_ns = firsts.into_iter().flatten().min();
        self.last_return_ns = self.last_return_ns.max(other.last_return_ns);
    }

    /// Enters what it comes to; the measure phase began at `measure_from_ns`.
    pub(in crate::load) fn enter(&self, recovery: &mut Recovery, measure_from_ns: u64) {
        let since = |ns: u64| ns.saturating_sub(measure_from_ns);
        recovery.peak_returns_per_s = self.returns.peak_per_s();
        recovery.peak_attempts_per_s = self.attempts.peak_per_s();
        recovery.first_loss_ns = self.first_loss_ns.map(since);
        recovery.last_return_ns = self.last_return_ns.map(since);
    }
}

/// One client on its way back, or not.
#[derive(Debug)]
struct Comeback {
    random: SplitMix64,
    /// When its connection was lost; `None` while it has one, and before it had any.
    lost_ns: Option<u64>,
    /// When the attempt under way began.
    attempt_ns: u64,
    /// What the server asked for as `retry`.
    retry_ms: Option<u64>,
    failures: u32,
}

/// The clients of a shard that come back.
#[derive(Debug)]
pub(in crate::load) struct Comebacks {
    plan: Reconnect,
    clients: Vec<Comeback>,
    /// `not_back` are those lost and not yet back.
    counts: Recovery,
    timeline: Timeline,
    histograms: Histograms,
}

impl Comebacks {
    fn new(plan: Reconnect) -> Self {
        Self {
            plan,
            clients: Vec::new(),
            counts: Recovery::default(),
            timeline: Timeline::default(),
            histograms: Histograms::default(),
        }
    }

    /// Clients with an attempt under way.
    fn on_their_way(&self) -> impl Iterator<Item = usize> {
        let under_way = |client: &Comeback| client.lost_ns.is_some() && client.attempt_ns > 0;
        let slots = self.clients.iter().enumerate();
        slots.filter_map(move |(slot, client)| under_way(client).then_some(slot))
    }

    /// A client that held a cursor has lost its connection.
    fn lost(&mut self, slot: usize, now_ns: u64) {
        self.clients[slot].lost_ns = Some(now_ns);
        self.clients[slot].attempt_ns = 0;
        self.counts.not_back += 1;
        self.counts.lost += 1;
        self.timeline.first_loss_ns.get_or_insert(now_ns);
    }

    /// A connect got no cursor.
    fn attempt_failed(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        client.failures = client.failures.saturating_add(1);
        client.attempt_ns = 0;
        self.counts.failed_attempts += 1;
    }

    /// How long a client waits before it tries again, in ns.
    fn wait_ns(&mut self, slot: usize) -> u64 {
        let client = &mut self.clients[slot];
        let uniform = (client.random.next() >> 11) as f64 / (1u64 << 53) as f64;
        self.plan.wait_ns(client.failures, client.retry_ms, uniform)
    }

    /// A client tries again.
    fn attempt(&mut self, slot: usize, now_ns: u64) {
        self.clients[slot].attempt_ns = now_ns;
        self.counts.attempts += 1;
        self.timeline.attempts.count(now_ns);
    }
}

impl Shard {
    fn comebacks<T>(&self, f: impl FnOnce(&mut Comebacks) -> T) -> Option<T> {
        let table = self.conditions.as_ref()?.comebacks.as_ref()?;
        Some(f(&mut table.borrow_mut()))
    }

    /// Clients lost and not yet back.
    pub(in crate::load) fn away(&self) -> u64 {
        self.comebacks(|table| table.counts.not_back).unwrap_or(0)
    }

    /// A client tries again; the cursor to resume after, where it holds one.
    pub(in crate::load) fn attempt(&self, slot: usize, now_ns: u64) -> Option<Cursor> {
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
        self.comebacks(|table| table.attempt(slot, now_ns));
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
        self.cursor(slot).sequence >= due
    }

    /// A client resumes with a request that stands at the server and is owed nothing: no answer is
    /// due, and so it is back, since it asked. `true` where that is so.
    pub(in crate::load) fn is_back_quietly(&self, slot: usize) -> bool {
        if !self.clients.borrow()[slot].resumes || !self.owes_nothing(slot, monotonic_ns()) {
            return false;
        }
        let Some(asked_ns) = self.comebacks(|table| table.clients[slot].attempt_ns) else {
            return false;
        };
        self.clients.borrow_mut()[slot].has_cursor = true;
        self.clients.borrow_mut()[slot].connected = true;
        self.got_cursor(slot, asked_ns, 0);
        true
    }

    /// Clients with an attempt under way.
    pub(in crate::load) fn on_their_way(&self) -> Vec<usize> {
        self.comebacks(|table| table.on_their_way().collect())
            .unwrap_or_default()
    }

    /// What a server asks for as `retry`.
    pub(in crate::load) fn retry(&self, slot: usize, ms: u64) {
        self.comebacks(|table| table.clients[slot].retry_ms = Some(ms));
    }
}

impl Hook for Comebacks {
    fn of(scenario: &Scenario) -> Option<Self> {
        scenario.reconnect.map(Self::new)
    }

    fn sees(&self) -> Sees {
        Sees::Some
    }

    fn add_client(&mut self, _index: u32, random: &dyn Fn(u64) -> SplitMix64) {
        self.clients.push(Comeback {
            random: random(PURPOSE),
            lost_ns: None,
            attempt_ns: 0,
            retry_ms: None,
            failures: 0,
        });
    }

    fn cursor(
        &mut self,
        slot: usize,
        at_ns: u64,
        _cursor: u64,
        timing: Option<&Timing>,
    ) -> Option<Missed> {
        let client = &mut self.clients[slot];
        client.failures = 0;
        let lost_ns = client.lost_ns.take()?;
        self.counts.not_back -= 1;
        self.counts.back += 1;
        let timeline = &mut self.timeline;
        timeline.returns.count(at_ns);
        timeline.last_return_ns = timeline.last_return_ns.max(Some(at_ns));
        let since = |ns: u64| at_ns.saturating_sub(ns);
        self.histograms.record(HistogramId::Away, since(lost_ns));
        let faults_ns = timing.map_or(&[][..], |timing| &timing.faults_ns);
        let before = faults_ns.iter().filter(|&&fault_ns| fault_ns <= lost_ns);
        if let Some(&fault_ns) = before.max() {
            let after_ns = since(fault_ns);
            self.histograms.record(HistogramId::AfterFault, after_ns);
        }
        Some(Missed {
            because: MissedBecause::Loss,
            from_ns: lost_ns,
            until_ns: at_ns,
        })
    }

    fn late(&mut self, missed: Missed, due_ns: u64, at_ns: u64) {
        if missed.because == MissedBecause::Loss {
            let latency_ns = at_ns.saturating_sub(due_ns);
            self.histograms.record(HistogramId::LostCatchUp, latency_ns);
        }
    }

    fn ended(&mut self, slot: usize, end: End, now_ns: u64) -> Option<After> {
        match end {
            End::NoCursor { .. } => self.attempt_failed(slot),
            End::Lost { .. } => self.lost(slot, now_ns),
            End::Cut { by_reset } => {
                self.lost(slot, now_ns);
                self.counts.cut += 1;
                self.counts.cut_by_reset += u64::from(by_reset);
            }
        }
        if let End::NoCursor { is_final: true } | End::Lost { is_final: true } = end {
            // One that was never there is refused, as without this condition.
            self.clients[slot].lost_ns.take()?;
            self.counts.not_back -= 1;
            self.counts.gave_up += 1;
            return Some(After::Stops);
        }
        Some(After::ComesBack(self.wait_ns(slot)))
    }

    fn settle(&mut self, _account: &dyn Fn(usize) -> Option<Account>, into: &mut ConditionReport) {
        into.measures.recovery = Some(self.counts.clone());
        into.timeline = self.timeline.clone();
        into.histograms += self.histograms.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::super::timing;
    use super::*;

    const PLAN: Reconnect = Reconnect {
        delay_ms: 100,
        max_delay_ms: 5_000,
        jitter: 0.5,
    };

    #[test]
    fn waits_double_up_to_the_longest_and_are_stretched_by_the_jitter() {
        let ms = |failures, retry, uniform| PLAN.wait_ns(failures, retry, uniform) / 1_000_000;
        let doubled: Vec<u64> = (0..8).map(|failures| ms(failures, None, 0.0)).collect();
        assert_eq!(doubled, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(ms(0, None, 0.5), 125);
        assert_eq!(ms(9, None, 0.5), 6_250);
        assert_eq!(ms(u32::MAX, None, 0.0), 5_000, "no overflow");
        // What an event stream asked for wins, and doubles too.
        assert_eq!(ms(0, Some(7), 0.0), 7);
        assert_eq!(ms(2, Some(7), 0.0), 28);
        assert_eq!(ms(3, Some(0), 0.9), 0);
    }

    #[test]
    fn every_loss_ends_as_back_not_back_or_given_up() {
        let mut recovery = Comebacks::new(PLAN);
        (0..4).for_each(|index| recovery.add_client(index, &SplitMix64::new));
        for slot in 0..3 {
            let end = match slot {
                2 => End::Cut { by_reset: true },
                _ => End::Lost { is_final: false },
            };
            let after = recovery.ended(slot, end, 1_000 + slot as u64);
            assert!(matches!(after, Some(After::ComesBack(_))), "{after:?}");
        }
        let refused = |is_final| End::NoCursor { is_final };
        recovery.attempt(0, 2_000);
        recovery.ended(0, refused(false), 2_500);
        recovery.attempt(0, 3_000);
        let timing = timing(0, &[500, 900, 2_500]);
        let missed = recovery.cursor(0, 4_000, 7, Some(&timing));
        let missed = missed.map(|missed| (missed.from_ns, missed.until_ns));
        assert_eq!(missed, Some((1_000, 4_000)));
        assert_eq!(
            recovery.cursor(0, 4_001, 7, None),
            None,
            "it was back already"
        );
        assert_eq!(recovery.ended(1, refused(true), 5_000), Some(After::Stops));
        assert_eq!(
            recovery.ended(3, refused(true), 5_000),
            None,
            "it was never lost"
        );
        assert_eq!(recovery.counts.not_back, 1);
        let mut report = ConditionReport::default();
        recovery.settle(&|_| None, &mut report);
        let after_fault = report.histograms.get(HistogramId::AfterFault);
        let longest_ns = after_fault.map(|histogram| histogram.max());
        assert_eq!(longest_ns, Some(3_100 | 1), "from the last fault before");
        let mut found = report.measures.recovery.expect("it was settled");
        report.timeline.enter(&mut found, 500);
        assert_eq!((found.lost, found.cut, found.cut_by_reset), (3, 1, 1));
        assert_eq!((found.back, found.not_back, found.gave_up), (1, 1, 1));
        assert_eq!((found.attempts, found.failed_attempts), (2, 3));
        let ends = (found.first_loss_ns, found.last_return_ns);
        assert_eq!(ends, (Some(500), Some(3_500)));
    }

    #[test]
    fn a_success_makes_the_next_wait_short_again() {
        let plan = Reconnect {
            jitter: 0.0,
            ..PLAN
        };
        let mut recovery = Comebacks::new(plan);
        recovery.add_client(0, &SplitMix64::new);
        recovery.attempt_failed(0);
        recovery.attempt_failed(0);
        assert_eq!(recovery.wait_ns(0), 400_000_000);
        recovery.cursor(0, 1, 0, None);
        assert_eq!(recovery.wait_ns(0), 100_000_000);
        recovery.clients[0].retry_ms = Some(30);
        assert_eq!(recovery.wait_ns(0), 30_000_000);
    }

    #[test]
    fn the_peak_is_the_fullest_second_wherever_it_begins() {
        let mut bins = Bins::default();
        let ms = |ms: u64| ms * 1_000_000;
        for at in [100, 950, 1_050, 1_150, 1_850, 3_000] {
            bins.count(ms(at));
        }
        // 950 to 1,850 ms.
        assert_eq!(bins.peak_per_s(), 4.0);
        let mut other = Bins::default();
        other.count(ms(1_250));
        bins.add(&other);
        assert_eq!(bins.peak_per_s(), 5.0);
        assert_eq!(Bins::default().peak_per_s(), 0.0);
    }
}
