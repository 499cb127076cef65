//! Connections that the fleet itself cuts, as networks do: at random times, client by client.
//!
//! Beside the data path. In: a [`Fault`]. Out: when a client is cut next, and how; `poller.rs`
//! does it. What comes of it is counted in `reconnect.rs`.

use pushbench_protocol::payload::SplitMix64;

use super::Hook;
use super::sessions::exponential_ns;
use crate::scenario::{CutBy, Fault};

/// What a client's random numbers are for: when it is cut, and how.
const PURPOSE: u64 = 4;

/// When each client of a shard is cut.
#[derive(Debug)]
pub(in crate::load) struct Cuts {
    plan: Fault,
    /// One a client.
    random: Vec<SplitMix64>,
}

impl Cuts {
    pub(in crate::load) fn new(plan: Fault) -> Self {
        let random = Vec::new();
        Self { plan, random }
    }

    /// When a client is cut next after `after_ns`, where the measure phase began at
    /// `measure_from_ns`; `None` for never again.
    pub(in crate::load) fn next_ns(
        &mut self,
        slot: usize,
        after_ns: Option<u64>,
        measure_from_ns: u64,
    ) -> Option<u64> {
        let at = |s: f64| measure_from_ns.saturating_add((s * 1e9) as u64);
        let after_ns = after_ns.unwrap_or(at(self.plan.at_s));
        let mean_ns = self.plan.mean_s.unwrap_or(f64::INFINITY) * 1e9;
        let random = self.random.get_mut(slot)?;
        let next_ns = after_ns.saturating_add(exponential_ns(mean_ns, random));
        (next_ns < at(self.plan.end_s())).then_some(next_ns)
    }

    /// Whether the cut that is due is a reset.
    pub(in crate::load) fn resets(&mut self, slot: usize) -> bool {
        match self.plan.how.unwrap_or_default() {
            CutBy::Rst => true,
            // The client first takes what has arrived; where more comes in between, the kernel
            // resets after all, which is counted.
            CutBy::Fin => false,
            CutBy::Both => self.random[slot].next() & 1 == 0,
        }
    }
}

impl Hook for Cuts {
    fn add_client(&mut self, _index: u32, random: &dyn Fn(u64) -> SplitMix64) {
        self.random.push(random(PURPOSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_come_at_the_mean_asked_for_and_only_within_their_time() {
        let mut cuts = Cuts::new(Fault::cuts(1.0, 100_000, 0.1, CutBy::Both));
        cuts.add_client(0, &SplitMix64::new);
        let start_ns = 5_000_000_000;
        let (mut times, mut last) = (Vec::new(), None);
        while let Some(next) = cuts.next_ns(0, last, start_ns) {
            times.push(next);
            last = Some(next);
        }
        assert!(times[0] > start_ns + 1_000_000_000);
        assert!(times.is_sorted() && times.last() < Some(&(start_ns + 101_000_000_000)));
        // 1,000 are expected, with a standard deviation of 32.
        assert!((900..1_100).contains(&times.len()), "{}", times.len());
        let resets = (0..1_000).filter(|_| cuts.resets(0)).count();
        assert!((400..600).contains(&resets), "{resets}");
    }

    #[test]
    fn each_kind_of_cut_is_what_it_is_called() {
        for (how, resets) in [(CutBy::Rst, true), (CutBy::Fin, false)] {
            let mut cuts = Cuts::new(Fault::cuts(0.0, 1, 1.0, how));
            cuts.add_client(0, &SplitMix64::new);
            assert_eq!(cuts.resets(0), resets);
        }
    }
}
