//! Clients that come back when their connection was lost: when, and how it went.
//!
//! Beside the data path. In: [`Reconnect`], losses, attempts and cursors. Out: how long each
//! client waits before it tries again, and the counts of [`Recovery`]. The sockets are `poller.rs`'s. A
//! client's ledger goes on across the gap, so what is missing or came twice is in its counts, not
//! here.

use std::collections::BTreeMap;

use pushbench_protocol::payload::SplitMix64;

use super::{Account, ConditionReport, Hook};
use crate::load::tally::Histograms;
use crate::record::{HistogramId, Recovery};
use crate::scenario::Reconnect;

/// What a client's random numbers are for: its waits.
const PURPOSE: u64 = 3;

/// An attempt that has no cursor after this time is given up, in ns.
pub(in crate::load) const ATTEMPT_NS: u64 = 10_000_000_000;

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
    pub(in crate::load) fn new(plan: Reconnect) -> Self {
        Self {
            plan,
            clients: Vec::new(),
            counts: Recovery::default(),
            timeline: Timeline::default(),
            histograms: Histograms::default(),
        }
    }

    /// Clients lost and not yet back.
    pub(in crate::load) fn away(&self) -> u64 {
        self.counts.not_back
    }

    /// A message came that was due while its client was away.
    pub(in crate::load) fn caught_up(&mut self, latency_ns: u64) {
        self.histograms.record(HistogramId::LostCatchUp, latency_ns);
    }

    /// Clients that are lost, each with the start of its last attempt.
    pub(in crate::load) fn lost_clients(&self) -> impl Iterator<Item = (usize, u64)> {
        let lost = self.clients.iter().enumerate();
        lost.filter(|(_, client)| client.lost_ns.is_some())
            .map(|(slot, client)| (slot, client.attempt_ns))
    }

    /// When the attempt under way of a client began.
    pub(in crate::load) fn attempt_ns(&self, slot: usize) -> u64 {
        self.clients[slot].attempt_ns
    }

    /// The server asks for another wait.
    pub(in crate::load) fn retry(&mut self, slot: usize, ms: u64) {
        self.clients[slot].retry_ms = Some(ms);
    }

    /// A client that held a cursor has lost its connection.
    pub(in crate::load) fn lost(&mut self, slot: usize, now_ns: u64) {
        self.clients[slot].lost_ns = Some(now_ns);
        self.clients[slot].attempt_ns = 0;
        self.counts.not_back += 1;
        self.counts.lost += 1;
        self.timeline.first_loss_ns.get_or_insert(now_ns);
    }

    /// The loss just entered was a cut of the fleet's own.
    pub(in crate::load) fn was_cut(&mut self, by_reset: bool) {
        self.counts.cut += 1;
        self.counts.cut_by_reset += u64::from(by_reset);
    }

    /// A connect got no cursor.
    pub(in crate::load) fn attempt_failed(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        client.failures = client.failures.saturating_add(1);
        client.attempt_ns = 0;
        self.counts.failed_attempts += 1;
    }

    /// How long a client waits before it tries again, in ns.
    pub(in crate::load) fn wait_ns(&mut self, slot: usize) -> u64 {
        let client = &mut self.clients[slot];
        let uniform = (client.random.next() >> 11) as f64 / (1u64 << 53) as f64;
        self.plan.wait_ns(client.failures, client.retry_ms, uniform)
    }

    /// A client tries again.
    pub(in crate::load) fn attempt(&mut self, slot: usize, now_ns: u64) {
        self.clients[slot].attempt_ns = now_ns;
        self.counts.attempts += 1;
        self.timeline.attempts.count(now_ns);
    }

    /// A client holds a cursor. When it was lost, where it was; `faults_ns`: when the run disturbed
    /// the server.
    pub(in crate::load) fn returned(
        &mut self,
        slot: usize,
        at_ns: u64,
        faults_ns: &[u64],
    ) -> Option<u64> {
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
        let before = faults_ns.iter().filter(|&&fault_ns| fault_ns <= lost_ns);
        if let Some(&fault_ns) = before.max() {
            let after_ns = since(fault_ns);
            self.histograms.record(HistogramId::AfterFault, after_ns);
        }
        Some(lost_ns)
    }

    /// A client will not try again. `false` where it was not lost.
    pub(in crate::load) fn gave_up(&mut self, slot: usize) -> bool {
        let was_lost = self.clients[slot].lost_ns.take().is_some();
        if was_lost {
            self.counts.not_back -= 1;
            self.counts.gave_up += 1;
        }
        was_lost
    }
}

impl Hook for Comebacks {
    fn add_client(&mut self, _index: u32, random: &dyn Fn(u64) -> SplitMix64) {
        self.clients.push(Comeback {
            random: random(PURPOSE),
            lost_ns: None,
            attempt_ns: 0,
            retry_ms: None,
            failures: 0,
        });
    }

    fn settle(&mut self, _account: &dyn Fn(usize) -> Option<Account>, into: &mut ConditionReport) {
        into.measures.recovery = Some(self.counts.clone());
        into.timeline = self.timeline.clone();
        into.histograms += self.histograms.clone();
    }
}

#[cfg(test)]
mod tests {
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
            recovery.lost(slot, 1_000 + slot as u64);
        }
        recovery.was_cut(true);
        recovery.attempt(0, 2_000);
        recovery.attempt_failed(0);
        recovery.attempt(0, 3_000);
        assert_eq!(recovery.returned(0, 4_000, &[500, 900, 2_500]), Some(1_000));
        assert_eq!(
            recovery.returned(0, 4_001, &[]),
            None,
            "it was back already"
        );
        assert!(recovery.gave_up(1));
        assert!(!recovery.gave_up(3), "it was never lost");
        assert_eq!(recovery.away(), 1);
        let mut report = ConditionReport::default();
        recovery.settle(&|_| None, &mut report);
        let after_fault = report.histograms.get(HistogramId::AfterFault);
        let longest_ns = after_fault.map(|histogram| histogram.max());
        assert_eq!(longest_ns, Some(3_100 | 1), "from the last fault before");
        let mut found = report.measures.recovery.expect("it was settled");
        report.timeline.enter(&mut found, 500);
        assert_eq!((found.lost, found.cut, found.cut_by_reset), (3, 1, 1));
        assert_eq!((found.back, found.not_back, found.gave_up), (1, 1, 1));
        assert_eq!((found.attempts, found.failed_attempts), (2, 1));
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
        recovery.returned(0, 1, &[]);
        assert_eq!(recovery.wait_ns(0), 100_000_000);
        recovery.retry(0, 30);
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
