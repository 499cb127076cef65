//! When each message is due: a pure function, known to server and harness alike.
//!
//! Place on the data path: the publisher walks it, the harness derives from it which messages a
//! client must have received. Open loop: message *i* is due at its time whether or not the system
//! keeps up, and no tick is ever skipped or shifted.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::payload::SplitMix64;

mod slices;
mod streams;

pub use slices::{MAX_SLICES, MAX_TURNS, Slices, Turns};
use streams::Period;
pub use streams::{MAX_STREAM_MESSAGES, Streams};

/// Most ticks of a Poisson schedule: their times are kept, 8 bytes each, so 128 MiB.
pub const MAX_POISSON_TICKS: u64 = 16 << 20;

/// Most messages a second of a schedule: one publisher thread stamps and appends a message in hundreds
/// of nanoseconds, so nothing above can be held, and intended times stay apart in ns.
pub const MAX_RATE_PER_S: f64 = 10_000_000.0;

/// Most messages of a burst: as many as a ring of a GiB has of the smallest.
pub const MAX_BURST: u32 = 16 << 20;

/// How the times between ticks are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// All alike.
    #[default]
    Uniform,
    /// Exponential, as if many independent sources published: a Poisson process. Follows from the
    /// seed.
    Poisson,
    /// All alike, as [`Self::Uniform`], where each tick is meant to publish several messages.
    Burst,
}

/// Publishes `rate_per_s` messages a second in total, round robin over `channels` channels, in
/// bursts of `burst` messages that are due together and go to one channel; or, with `streams`,
/// `rate_per_s` messages a second in each stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// When message 0 may be due, in ns of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// No message is due at or after this time, in ns of `CLOCK_MONOTONIC`.
    pub end_ns: u64,
    /// Messages a second over all channels, or of each stream; above 0.
    pub rate_per_s: f64,
    /// Messages that are due at the same moment; at least 1.
    pub burst: u32,
    /// Channels in use; at least 1.
    pub channels: u32,
    /// How the times between bursts are distributed.
    #[serde(default)]
    pub arrival: Arrival,
    /// Seed of random arrivals.
    #[serde(default)]
    pub seed: u64,
    /// Streams instead of a steady flow. Then `burst` is 1, and arrivals are uniform.
    #[serde(default)]
    pub streams: Option<Streams>,
    /// Slices in which it takes turns with others; without, all of it is one. Not with streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<Slices>,
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
    /// `rate_per_s` messages a second, one by one, in the time `due_ns`.
    pub fn uniform(due_ns: Range<u64>, rate_per_s: f64, channels: u32) -> Self {
        Self {
            start_ns: due_ns.start,
            end_ns: due_ns.end,
            rate_per_s,
            burst: 1,
            channels,
            arrival: Arrival::Uniform,
            seed: 0,
            streams: None,
            slices: None,
        }
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// A text that names the field, what was expected and what was found.
    pub fn check(&self) -> Result<(), String> {
        let most_per_s = match self.streams {
            // A message a ns, or two of a stream would be due together.
            Some(_) => 1e9,
            None => MAX_RATE_PER_S,
        };
        if !(self.rate_per_s > 0.0 && self.rate_per_s <= most_per_s) {
            return Err(format!(
                "'rate_per_s' is {}, expected a number above 0 and at most {most_per_s}",
                self.rate_per_s
            ));
        }
        if self.burst == 0 || self.channels == 0 {
            return Err("'burst' and 'channels' must be at least 1".into());
        }
        if self.burst > MAX_BURST {
            return Err(format!(
                "'burst' is {}, expected at most {MAX_BURST}",
                self.burst
            ));
        }
        if self.arrival == Arrival::Poisson {
            let seconds = self.end_ns.saturating_sub(self.start_ns) as f64 / 1e9;
            let ticks = self.rate_per_s / f64::from(self.burst) * seconds;
            if ticks > 0.9 * MAX_POISSON_TICKS as f64 {
                return Err(format!(
                    "'arrival' is 'poisson' with some {ticks:.0} arrivals, expected at most {:.0}; \
                     lower the rate or the duration",
                    0.9 * MAX_POISSON_TICKS as f64
                ));
            }
        }
        if let Some(slices) = &self.slices {
            slices.check(self)?;
        }
        self.streams
            .map_or(Ok(()), |streams| self.check_streams(streams))
    }

    /// Channel and sequence of message `index`, counted from 0, without streams.
    fn place_of(&self, index: u64) -> (u32, u64) {
        let burst = u64::from(self.burst);
        let channels = u64::from(self.channels);
        let tick = index / burst;
        (
            (tick % channels) as u32,
            tick / channels * burst + index % burst + 1,
        )
    }

    /// The inverse of [`Self::place_of`].
    fn index_of(&self, channel: u32, sequence: u64) -> u64 {
        let burst = u64::from(self.burst);
        // Sequences count from 1; a 0 can only come from a server that is wrong.
        let position = sequence.saturating_sub(1);
        let tick = position / burst * u64::from(self.channels) + u64::from(channel);
        tick * burst + position % burst
    }

    fn ns_per_tick(&self) -> f64 {
        f64::from(self.burst) * 1e9 / self.rate_per_s
    }
}

/// A [`Schedule`] with the time of each of its messages.
#[derive(Debug, Clone)]
pub struct Timetable {
    schedule: Schedule,
    /// Time of each tick after the start, ascending; `None` where it can be calculated.
    ticks: Option<Arc<[u64]>>,
    /// One period of streams, where messages come in streams.
    period: Option<Period>,
    /// When its slices begin, where it has some.
    turns: Option<Turns>,
}

impl Timetable {
    /// Works out the times of `schedule`.
    ///
    /// It must have been [checked](Schedule::check): a Poisson schedule of more than
    /// [`MAX_POISSON_TICKS`] ends there.
    pub fn new(schedule: Schedule) -> Self {
        let turns = schedule.slices.map(Turns::new);
        let length = schedule.end_ns.saturating_sub(schedule.start_ns);
        let length = turns.as_ref().map_or(length, |turns| turns.load_ns(length)) as f64;
        let ticks = (schedule.arrival == Arrival::Poisson).then(|| {
            let mut random = SplitMix64::new(schedule.seed);
            let mean = schedule.ns_per_tick();
            let mut at = 0.0;
            let next = || {
                // By inversion, from a number in (0, 1]: never the logarithm of 0.
                let uniform = ((random.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
                at -= uniform.ln() * mean;
                (at < length).then_some(at as u64)
            };
            std::iter::from_fn(next)
                .take(MAX_POISSON_TICKS as usize)
                .collect()
        });
        let period = schedule.streams.map(|of| Period::new(&schedule, of));
        Self {
            schedule,
            ticks,
            period,
            turns,
        }
    }

    /// Its slices, where it has some.
    pub fn turns(&self) -> Option<&Turns> {
        self.turns.as_ref()
    }

    /// How much of the load is offered before a time of the clock, in ns: all of the time since the start
    /// without slices.
    pub fn load_before_ns(&self, time_ns: u64) -> u64 {
        self.elapsed_ns(time_ns)
    }

    /// How long nothing was offered before a time of the clock, in ns, because others had their turn.
    pub fn silence_before_ns(&self, time_ns: u64) -> u64 {
        let time_ns = time_ns.min(self.schedule.end_ns);
        let whole = time_ns.saturating_sub(self.schedule.start_ns);
        whole - self.elapsed_ns(time_ns)
    }

    /// What it was worked out from.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Number of messages in the whole schedule.
    pub fn len(&self) -> u64 {
        self.messages_before(self.schedule.end_ns)
    }

    /// Whether no message is due at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Message `index`, counted from 0; below [`Self::len`].
    pub fn message(&self, index: u64) -> Due {
        if let Some(period) = &self.period {
            let due = period.message(index);
            return Due {
                intended_ns: self.schedule.start_ns.saturating_add(due.intended_ns),
                ..due
            };
        }
        let (channel, sequence) = self.schedule.place_of(index);
        let tick = index / u64::from(self.schedule.burst);
        Due {
            channel,
            sequence,
            intended_ns: self.tick_ns(tick),
        }
    }

    /// The index of message `sequence` (from 1) of `channel`: the inverse of [`Self::message`].
    pub fn index_of(&self, channel: u32, sequence: u64) -> u64 {
        match &self.period {
            Some(period) => period.index_of(channel, sequence),
            None => self.schedule.index_of(channel, sequence),
        }
    }

    /// How many messages are due before `time_ns`, over all channels.
    pub fn messages_before(&self, time_ns: u64) -> u64 {
        if let Some(period) = &self.period {
            return period.messages_before(self.elapsed_ns(time_ns));
        }
        self.ticks_before(time_ns)
            .saturating_mul(u64::from(self.schedule.burst))
    }

    /// The last sequence of `channel` that is due before `time_ns`; 0 where there is none.
    pub fn last_sequence_before(&self, channel: u32, time_ns: u64) -> u64 {
        if let Some(period) = &self.period {
            return period.last_sequence_before(channel, self.elapsed_ns(time_ns));
        }
        let ticks = self.ticks_before(time_ns);
        let channels = u64::from(self.schedule.channels);
        let rounds = ticks / channels + u64::from(u64::from(channel) < ticks % channels);
        rounds * u64::from(self.schedule.burst)
    }

    fn tick_ns(&self, tick: u64) -> u64 {
        let offset = match &self.ticks {
            // A tick beyond the last is never due.
            Some(ticks) => match ticks.get(tick as usize) {
                Some(&offset) => offset,
                None => return self.schedule.end_ns,
            },
            // Multiplied out from the start each time: rounding never accumulates.
            None => (tick as f64 * self.schedule.ns_per_tick()) as u64,
        };
        let offset = match &self.turns {
            Some(turns) => match turns.clock_ns(offset) {
                Some(clock_ns) => clock_ns,
                None => return self.schedule.end_ns,
            },
            None => offset,
        };
        self.schedule.start_ns.saturating_add(offset)
    }

    /// How much of the schedule lies before `time_ns`, in load time.
    fn elapsed_ns(&self, time_ns: u64) -> u64 {
        let time_ns = time_ns.min(self.schedule.end_ns);
        let elapsed = time_ns.saturating_sub(self.schedule.start_ns);
        self.turns
            .as_ref()
            .map_or(elapsed, |turns| turns.load_ns(elapsed))
    }

    /// Ticks due before `time_ns` and before the end.
    fn ticks_before(&self, time_ns: u64) -> u64 {
        let elapsed = self.elapsed_ns(time_ns);
        if elapsed == 0 {
            return 0;
        }
        let time_ns = time_ns.min(self.schedule.end_ns);
        if let Some(ticks) = &self.ticks {
            return ticks.partition_point(|&offset| offset < elapsed) as u64;
        }
        let ticks = (elapsed as f64 / self.schedule.ns_per_tick()) as u64;
        // Beyond 2^53 ns (104 days) a double no longer tells neighbours apart, and nobody counts.
        if elapsed >= 1 << 53 {
            return ticks;
        }
        // The division may be off by one through rounding, so it is settled against the times
        // that messages carry.
        let mut ticks = ticks;
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
            burst,
            ..Schedule::uniform(1_000..2_000_001_000, rate_per_s, channels)
        }
    }

    fn table(rate_per_s: f64, burst: u32, channels: u32) -> Timetable {
        Timetable::new(schedule(rate_per_s, burst, channels))
    }

    #[test]
    fn messages_go_round_the_channels_on_time() {
        let due: Vec<Due> = (0..5).map(|i| table(4.0, 1, 2).message(i)).collect();
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
        assert_eq!(table(4.0, 1, 2).len(), 8);
    }

    #[test]
    fn a_burst_is_due_together_and_goes_to_one_channel() {
        let s = table(30.0, 10, 2);
        assert!((0..10).all(|i| s.message(i).intended_ns == 1_000 && s.message(i).channel == 0));
        assert_eq!(s.message(10).channel, 1);
        assert_eq!(s.message(20).sequence, 11);
        assert_eq!(s.len(), 60);
    }

    #[test]
    fn the_end_is_exclusive() {
        let ending = |end_ns| {
            Timetable::new(Schedule {
                end_ns,
                ..schedule(10.0, 1, 1)
            })
        };
        assert!(ending(1_000).is_empty());
        assert_eq!(ending(1_001).len(), 1);
    }

    #[test]
    fn a_schedule_without_end_has_its_first_messages_at_once() {
        let endless = Timetable::new(Schedule {
            end_ns: u64::MAX,
            ..schedule(2.0, 1, 1)
        });
        assert!(endless.len() > 30_000_000_000);
        assert_eq!(endless.message(2).intended_ns, 1_000_001_000);
    }

    #[test]
    fn poisson_arrivals_follow_from_the_seed_and_have_the_mean_and_spread_of_their_rate() {
        let poisson = |seed| {
            let end_ns = 1_000 + 100_000_000_000;
            let base = schedule(1_000.0, 1, 1);
            Timetable::new(Schedule {
                arrival: Arrival::Poisson,
                seed,
                end_ns,
                ..base
            })
        };
        let (first, again, other) = (poisson(1), poisson(1), poisson(2));
        assert_eq!(first.ticks, again.ticks);
        assert_ne!(first.ticks, other.ticks);
        // 100,000 arrivals are expected, with a standard deviation of 316.
        assert!((98_500..101_500).contains(&first.len()), "{}", first.len());
        let times: Vec<u64> = (0..first.len())
            .map(|i| first.message(i).intended_ns)
            .collect();
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential distribution's standard deviation is its mean.
        assert!(
            (variance.sqrt() / mean - 1.0).abs() < 0.02,
            "{}",
            variance.sqrt() / mean
        );
    }

    proptest::proptest! {
        #[test]
        fn counts_and_inverse_agree_with_the_messages(
            rate in 0.5f64..5_000.0, burst in 1u32..20, channels in 1u32..50,
            time in 0u64..2_500_000_000, poisson: bool,
        ) {
            let arrival = if poisson { Arrival::Poisson } else { Arrival::Uniform };
            let s = Timetable::new(Schedule { arrival, ..schedule(rate, burst, channels) });
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
