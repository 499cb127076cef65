//! Connections that the fleet itself cuts, as networks do: at random times, client by client.
//!
//! Next to the data path. In: a [`Fault`]. Out: when a client is cut next, and how; `poller.rs`
//! does it. What comes of it is counted in `reconnect.rs`.

use pushbench_protocol::payload::SplitMix64;

use super::sessions::exponential_ns;
use super::{Action, Hook};
use crate::load::Timing;
use crate::scenario::{CutBy, Fault, Scenario};

/// What a client's random numbers are for: when it is cut, and how.
const PURPOSE: u64 = 4;

/// When each client of a shard is cut.
#[derive(Debug)]
pub(in crate::load) struct Cuts {
    plan: Fault,
    /// One a client.
    random: Vec<SplitMix64>,
}

impl Hook for Cuts {
    fn of(scenario: &Scenario) -> Option<Self> {
        scenario.cuts().map(|plan| Self {
            plan,
            random: Vec::new(),
        })
    }

    fn add_client(&mut self, _index: u32, random: &dyn Fn(u64) -> SplitMix64) {
        self.random.push(random(PURPOSE));
    }

    fn next_ns(&mut self, slot: usize, after_ns: Option<u64>, timing: &Timing) -> Option<u64> {
        let at = |s: f64| timing.measure_from_ns.saturating_add((s * 1e9) as u64);
        let after_ns = after_ns.unwrap_or(at(self.plan.at_s));
        let mean_ns = self.plan.mean_s.unwrap_or(f64::INFINITY) * 1e9;
        let random = self.random.get_mut(slot)?;
        let next_ns = after_ns.saturating_add(exponential_ns(mean_ns, random));
        (next_ns < at(self.plan.end_s())).then_some(next_ns)
    }

    fn timer(&mut self, slot: usize, _due_ns: u64, _timing: &Timing) -> Option<Action> {
        let by_reset = match self.plan.how.unwrap_or_default() {
            CutBy::Rst => true,
            // The client first takes what has arrived; where more comes in between, the kernel
            // resets after all, which is counted.
            CutBy::Fin => false,
            CutBy::Both => self.random[slot].next() & 1 == 0,
        };
        Some(Action::Cut { by_reset })
    }
}

#[cfg(test)]
mod tests {
    use super::super::timing;
    use super::*;

    fn cuts(plan: Fault) -> Cuts {
        let mut scenario = Scenario::of_clients(1);
        scenario.faults = vec![plan];
        let mut cuts = Cuts::of(&scenario).expect("there are cuts");
        cuts.add_client(0, &SplitMix64::new);
        cuts
    }

    #[test]
    fn cuts_come_at_the_mean_asked_for_and_only_within_their_time() {
        let mut cuts = cuts(Fault::cuts(1.0, 100_000, 0.1, CutBy::Both));
        let timing = timing(5_000_000_000, &[]);
        let (mut times, mut last) = (Vec::new(), None);
        while let Some(next) = cuts.next_ns(0, last, &timing) {
            times.push(next);
            last = Some(next);
        }
        assert!(times[0] > 6_000_000_000);
        assert!(times.is_sorted() && times.last() < Some(&106_000_000_000));
        // 1,000 are expected, with a standard deviation of 32.
        assert!((900..1_100).contains(&times.len()), "{}", times.len());
        let reset = Some(Action::Cut { by_reset: true });
        let resets = (0..1_000).filter(|_| cuts.timer(0, 0, &timing) == reset);
        let resets = resets.count();
        assert!((400..600).contains(&resets), "{resets}");
    }

    #[test]
    fn each_kind_of_cut_is_what_it_is_called() {
        for (how, by_reset) in [(CutBy::Rst, true), (CutBy::Fin, false)] {
            let mut cuts = cuts(Fault::cuts(0.0, 1, 1.0, how));
            let action = cuts.timer(0, 0, &timing(0, &[]));
            assert_eq!(action, Some(Action::Cut { by_reset }));
        }
    }
}
