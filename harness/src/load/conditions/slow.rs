//! Clients that read slowly, or not at all.
//!
//! Next to the data path. In: [`SlowReaders`], and what slow clients received. Out: which clients are
//! slow, how much each may read, and counts of their own: they are in no count and no
//! latency of the others. The reading itself is in `poller.rs`.

use pushbench_protocol::payload::SplitMix64;

use super::{Account, Action, After, ConditionReport, End, Hook, Sees};
use crate::load::Timing;
use crate::record::SlowReaders as Counts;
use crate::scenario::{Scenario, SlowReaders};

/// How often a slow client reads, in ns: its rate comes in portions of that.
const PORTION_NS: u64 = 100_000_000;

/// What a client's random number is for: the time of its portions.
const PURPOSE: u64 = 6;

impl SlowReaders {
    /// Whether client `index` is slow. The multiples of the golden ratio fill the unit interval
    /// evenly, and stay even among the clients of any one channel or shard.
    pub fn is_slow(&self, index: u32) -> bool {
        let place = (u64::from(index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.share >= 1.0 || (place as f64) < self.share * 2f64.powi(64)
    }

    /// Bytes that a slow client may read in its portion `number`, counted from 0.
    fn portion_bytes(&self, number: u64) -> u64 {
        let until = |portions: u64| {
            (u128::from(self.read_bytes_per_s) * u128::from(portions) * u128::from(PORTION_NS)
                / 1_000_000_000) as u64
        };
        until(number + 1) - until(number)
    }
}

/// What a shard knows of one client that is slow or not.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    slow: bool,
    /// When in a portion it reads, in ns: each at a time of its own, so that they do not all read
    /// together.
    offset_ns: u32,
    lagged: bool,
    ended: bool,
}

/// The slow clients of a shard.
#[derive(Debug)]
pub(in crate::load) struct Slow {
    plan: SlowReaders,
    clients: Vec<Known>,
    lagged_messages: u64,
}

impl Slow {
    fn slow(&mut self, slot: usize) -> Option<&mut Known> {
        self.clients.get_mut(slot).filter(|known| known.slow)
    }
}

impl Hook for Slow {
    fn of(scenario: &Scenario) -> Option<Self> {
        scenario.slow_readers.map(|plan| Self {
            plan,
            clients: Vec::new(),
            lagged_messages: 0,
        })
    }

    fn sees(&self) -> Sees {
        Sees::Some
    }

    fn add_client(&mut self, index: u32, random: &dyn Fn(u64) -> SplitMix64) {
        self.clients.push(Known {
            slow: self.plan.is_slow(index),
            offset_ns: random(PURPOSE).below(PORTION_NS) as u32,
            ..Known::default()
        });
    }

    fn sets_apart(&self, slot: usize) -> bool {
        self.clients[slot].slow
    }

    fn lagged(&mut self, slot: usize, messages: u64) {
        if let Some(client) = self.slow(slot) {
            client.lagged = true;
            self.lagged_messages += messages;
        }
    }

    /// It does not come back: what it would get then would not be a slow client's.
    fn ended(&mut self, slot: usize, end: End, _now_ns: u64) -> Option<After> {
        let had_cursor = !matches!(end, End::NoCursor { .. });
        let client = self.slow(slot).filter(|_| had_cursor)?;
        client.ended = true;
        Some(After::Apart)
    }

    fn next_ns(&mut self, slot: usize, after_ns: Option<u64>, timing: &Timing) -> Option<u64> {
        let reads = self.plan.read_bytes_per_s > 0;
        let offset_ns = self.slow(slot).filter(|_| reads)?.offset_ns;
        let first_ns = timing.schedule.start_ns + u64::from(offset_ns);
        Some(after_ns.map_or(first_ns, |after_ns| after_ns + PORTION_NS))
    }

    fn timer(&mut self, _slot: usize, due_ns: u64, timing: &Timing) -> Option<Action> {
        let portion = due_ns.saturating_sub(timing.schedule.start_ns) / PORTION_NS;
        let most_bytes = self.plan.portion_bytes(portion);
        Some(Action::Read { most_bytes })
    }

    fn settle(&mut self, account: &dyn Fn(usize) -> Option<Account>, into: &mut ConditionReport) {
        let mut report = Counts {
            lagged_messages: self.lagged_messages,
            ..Counts::default()
        };
        for (slot, known) in self.clients.iter().enumerate().filter(|(_, k)| k.slow) {
            let Some((counts, stands)) = account(slot) else {
                continue;
            };
            report.clients += 1;
            report.expected += counts.expected;
            report.received += counts.received;
            report.lagged_clients += u64::from(known.lagged);
            let ended = known.ended || !stands;
            report.ended += u64::from(ended);
            report.attached += u64::from(!ended);
        }
        into.measures.slow_readers = Some(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(share: f64, read_bytes_per_s: u64) -> SlowReaders {
        SlowReaders {
            share,
            read_bytes_per_s,
            receive_buffer_bytes: 4_096,
        }
    }

    fn slow(share: f64, channel: u32, channels: u32) -> usize {
        let plan = plan(share, 0);
        let members = (0..10_000).filter(|index| index % channels == channel);
        members.filter(|&index| plan.is_slow(index)).count()
    }

    #[test]
    fn the_share_is_kept_over_all_clients_and_in_each_channel() {
        assert_eq!((slow(0.0, 0, 1), slow(1.0, 0, 1)), (0, 10_000));
        for share in [0.01, 0.1, 0.25, 0.5] {
            let expected = 10_000.0 * share;
            let found = slow(share, 0, 1) as f64;
            assert!((found - expected).abs() <= 3.0, "{share}: {found}");
            for channel in 0..4 {
                let found = slow(share, channel, 4) as f64;
                assert!((found - expected / 4.0).abs() <= 4.0, "{share}: {found}");
            }
        }
    }

    #[test]
    fn portions_sum_to_the_rate_however_small_it_is() {
        for read_bytes_per_s in [0, 1, 7, 999, 1 << 20] {
            let plan = plan(1.0, read_bytes_per_s);
            let second: u64 = (0..10).map(|number| plan.portion_bytes(number)).sum();
            assert_eq!(second, read_bytes_per_s);
            let tenth: u64 = (90..100).map(|number| plan.portion_bytes(number)).sum();
            assert_eq!(tenth, read_bytes_per_s);
        }
    }
}
