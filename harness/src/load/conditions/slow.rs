//! Clients that read slowly, or not at all.
//!
//! Beside the data path. In: [`SlowReaders`], and what slow clients received. Out: which clients are
//! slow, how much each may read, and counts of their own: they are in no count and no
//! latency of the others. The reading itself is in `poller.rs`.

use pushbench_protocol::payload::SplitMix64;

use super::{Account, ConditionReport, Hook};
use crate::record::SlowReaders as Counts;
use crate::scenario::SlowReaders;

/// How often a slow client reads, in ns: its rate comes in portions of that.
pub(in crate::load) const PORTION_NS: u64 = 100_000_000;

/// What `Shard::random_of` is asked for, for the time of a portion.
pub(in crate::load) const PURPOSE: u64 = 6;

/// Most bytes of one read of a slow client: small, so that what it has not yet read stays in the
/// kernel.
pub(in crate::load) const READ_BYTES: usize = 4 << 10;

impl SlowReaders {
    /// Whether client `index` is slow. The multiples of the golden ratio fill the unit interval
    /// evenly, and stay even among the clients of any one channel or shard.
    pub fn is_slow(&self, index: u32) -> bool {
        let place = (u64::from(index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.share >= 1.0 || (place as f64) < self.share * 2f64.powi(64)
    }

    /// Bytes that a slow client may read in its portion `number`, counted from 0.
    pub(in crate::load) fn portion_bytes(&self, number: u64) -> u64 {
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
    lagged: bool,
    ended: bool,
}

/// The slow clients of a shard.
#[derive(Debug)]
pub(in crate::load) struct Slow {
    pub(in crate::load) plan: SlowReaders,
    clients: Vec<Known>,
    lagged_messages: u64,
}

impl Slow {
    pub(in crate::load) fn new(plan: SlowReaders) -> Self {
        Self {
            plan,
            clients: Vec::new(),
            lagged_messages: 0,
        }
    }

    pub(in crate::load) fn is_slow(&self, slot: usize) -> bool {
        self.clients.get(slot).is_some_and(|known| known.slow)
    }

    pub(in crate::load) fn lagged(&mut self, slot: usize, messages: u64) {
        self.clients[slot].lagged = true;
        self.lagged_messages += messages;
    }

    pub(in crate::load) fn ended(&mut self, slot: usize) {
        self.clients[slot].ended = true;
    }
}

impl Hook for Slow {
    fn add_client(&mut self, index: u32, _random: &dyn Fn(u64) -> SplitMix64) {
        self.clients.push(Known {
            slow: self.plan.is_slow(index),
            ..Known::default()
        });
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

/// When in a portion a client reads, in ns: each at a time of its own, so that they do not all read
/// together.
pub(in crate::load) fn offset_ns(random: &mut SplitMix64) -> u64 {
    random.below(PORTION_NS)
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
