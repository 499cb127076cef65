//! When each message is due: a pure function, known to server and harness alike.
//!
//! Place on the data path: the publisher walks it, the harness derives from it which messages a
//! client must have received. Open loop: message *i* is due at its time whether or not the system
//! keeps up, and no tick is ever skipped or shifted.

use serde::{Deserialize, Serialize};

/// Publishes `rate_per_s` messages a second in total, round robin over `channels` channels, in
/// bursts of `burst` messages that are due together and go to one channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// When message 0 is due, in ns of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// No message is due at or after this time, in ns of `CLOCK_MONOTONIC`.
    pub end_ns: u64,
    /// Messages a second over all channels; above 0.
    pub rate_per_s: f64,
    /// Messages that are due at the same moment; at least 1.
    pub burst: u32,
    /// Channels in use; at least 1.
    pub channels: u32,
}

/// One message of a [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Channel, from 0.
    pub channel: u32,
    /// Position in the channel, from 1.
    pub sequence: u64,
    /// Intended time in ns of `CLOCK_MONOTONIC`.
    pub intended_ns: u64,
}

impl Schedule {
    /// Number of messages in the whole schedule.
    pub fn len(&self) -> u64 {
        self.messages_before(self.end_ns)
    }

    /// Whether no message is due at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Message `index`, counted from 0. Not bounded by `end_ns`: compare with [`Self::len`].
    pub fn message(&self, index: u64) -> Due {
        let burst = u64::from(self.burst);
        let channels = u64::from(self.channels);
        let tick = index / burst;
        Due {
            channel: (tick % channels) as u32,
            sequence: tick / channels * burst + index % burst + 1,
            intended_ns: self.tick_ns(tick),
        }
    }

    /// The index of message `sequence` (from 1) of `channel`: the inverse of [`Self::message`].
    pub fn index_of(&self, channel: u32, sequence: u64) -> u64 {
        let burst = u64::from(self.burst);
        let position = sequence - 1;
        let tick = position / burst * u64::from(self.channels) + u64::from(channel);
        tick * burst + position % burst
    }

    /// How many messages are due before `time_ns`, over all channels.
    pub fn messages_before(&self, time_ns: u64) -> u64 {
        self.ticks_before(time_ns) * u64::from(self.burst)
    }

    /// The last sequence of `channel` that is due before `time_ns`; 0 where there is none.
    pub fn last_sequence_before(&self, channel: u32, time_ns: u64) -> u64 {
        let ticks = self.ticks_before(time_ns);
        let channels = u64::from(self.channels);
        let rounds = ticks / channels + u64::from(u64::from(channel) < ticks % channels);
        rounds * u64::from(self.burst)
    }

    fn tick_ns(&self, tick: u64) -> u64 {
        // Multiplied out from the start each time: rounding never accumulates.
        self.start_ns + (tick as f64 * self.ns_per_tick()) as u64
    }

    fn ns_per_tick(&self) -> f64 {
        f64::from(self.burst) * 1e9 / self.rate_per_s
    }

    /// Ticks due before `time_ns` and before the end. The division may be off by one through
    /// rounding, so it is settled against [`Self::tick_ns`], which is what messages carry.
    fn ticks_before(&self, time_ns: u64) -> u64 {
        let time_ns = time_ns.min(self.end_ns);
        if time_ns <= self.start_ns {
            return 0;
        }
        let mut ticks = ((time_ns - self.start_ns) as f64 / self.ns_per_tick()) as u64;
        while self.tick_ns(ticks) < time_ns {
            ticks += 1;
        }
        while ticks > 0 && self.tick_ns(ticks - 1) >= time_ns {
            ticks -= 1;
        }
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate_per_s: f64, burst: u32, channels: u32) -> Schedule {
        Schedule {
            start_ns: 1_000,
            end_ns: 2_000_001_000,
            rate_per_s,
            burst,
            channels,
        }
    }

    #[test]
    fn messages_go_round_the_channels_on_time() {
        let due: Vec<Due> = (0..5).map(|i| schedule(4.0, 1, 2).message(i)).collect();
        let expect = |channel, sequence, intended_ns| Due {
            channel,
            sequence,
            intended_ns,
        };
        assert_eq!(
            due,
            [
                expect(0, 1, 1_000),
                expect(1, 1, 250_001_000),
                expect(0, 2, 500_001_000),
                expect(1, 2, 750_001_000),
                expect(0, 3, 1_000_001_000),
            ]
        );
        assert_eq!(schedule(4.0, 1, 2).len(), 8);
    }

    #[test]
    fn a_burst_is_due_together_and_goes_to_one_channel() {
        let s = schedule(30.0, 10, 2);
        assert!((0..10).all(|i| s.message(i).intended_ns == 1_000 && s.message(i).channel == 0));
        assert_eq!(s.message(10).channel, 1);
        assert_eq!(s.message(20).sequence, 11);
        assert_eq!(s.len(), 60);
    }

    #[test]
    fn the_end_is_exclusive() {
        let s = Schedule {
            end_ns: 1_000,
            ..schedule(10.0, 1, 1)
        };
        assert!(s.is_empty());
        let s = Schedule {
            end_ns: 1_001,
            ..schedule(10.0, 1, 1)
        };
        assert_eq!(s.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn counts_and_inverse_agree_with_the_messages(
            rate in 0.5f64..5_000.0, burst in 1u32..20, channels in 1u32..50,
            time in 0u64..2_500_000_000,
        ) {
            let s = schedule(rate, burst, channels);
            let before = s.messages_before(time);
            let mut last = vec![0u64; channels as usize];
            for i in 0..s.len() {
                let due = s.message(i);
                proptest::prop_assert_eq!(s.index_of(due.channel, due.sequence), i);
                proptest::prop_assert_eq!(due.intended_ns < time, i < before);
                if due.intended_ns < time {
                    last[due.channel as usize] = due.sequence;
                }
            }
            for channel in 0..channels {
                proptest::prop_assert_eq!(
                    s.last_sequence_before(channel, time), last[channel as usize]
                );
            }
        }
    }
}
