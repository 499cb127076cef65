//! Messages in streams: what is due when each channel has one stream after another.
//!
//! Place on the data path: as `schedule.rs`, whose kind of schedule this is. All periods are alike, so the
//! order of the messages of one is worked out and kept, and everything else follows from it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Arrival, Due, Schedule};

/// Most messages of one period of [`Streams`], over all channels: their order is kept, 20 bytes each,
/// so 80 MiB.
pub const MAX_STREAM_MESSAGES: u64 = 4 << 20;

/// Messages in streams: each channel has one in every period, and is silent for the rest of it. Those of
/// the channels begin at even distances over a period, so that the rate of all together is the same at any
/// time, from the start of the schedule on; some streams are in the middle then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    /// Messages of a stream; at least 1.
    pub messages: u32,
    /// From the beginning of a stream to its first message, in ns.
    pub first_after_ns: u64,
    /// From the beginning of a channel's stream to that of its next, in ns: more than a stream takes.
    pub period_ns: u64,
}

impl Schedule {
    pub(super) fn check_streams(&self, streams: Streams) -> Result<(), String> {
        if self.burst != 1 || self.arrival != Arrival::Uniform {
            return Err("'streams' needs 'burst' 1 and 'arrival' 'uniform'".into());
        }
        let messages = u64::from(streams.messages) * u64::from(self.channels);
        if messages == 0 || messages > MAX_STREAM_MESSAGES {
            return Err(format!(
                "'streams' has {} messages in each of {} channels, expected 1 to \
                 {MAX_STREAM_MESSAGES} in all",
                streams.messages, self.channels
            ));
        }
        // Compared as such numbers, nothing can overflow.
        let length_ns = f64::from(streams.messages) * self.ns_per_tick();
        let last_ns = streams.first_after_ns as f64 + length_ns;
        if last_ns > streams.period_ns as f64 {
            return Err(format!(
                "'streams' takes {last_ns:.0} ns at {} messages a second, expected at most its \
                 'period_ns' of {}",
                self.rate_per_s, streams.period_ns
            ));
        }
        Ok(())
    }

    /// When a stream of `channel` begins next after `time_ns`, in ns of `CLOCK_MONOTONIC`, and not
    /// before the start; `None` without streams.
    pub fn next_stream_ns(&self, channel: u32, time_ns: u64) -> Option<u64> {
        let streams = self.streams?;
        let first_ns = self
            .start_ns
            .saturating_add(self.stream_offset_ns(streams, channel));
        Some(match time_ns.checked_sub(first_ns) {
            None => first_ns,
            Some(past_ns) => {
                let periods = past_ns / streams.period_ns.max(1) + 1;
                first_ns.saturating_add(periods.saturating_mul(streams.period_ns))
            }
        })
    }

    /// How long after the start of a period the stream of `channel` begins.
    fn stream_offset_ns(&self, streams: Streams, channel: u32) -> u64 {
        let all = u128::from(streams.period_ns) * u128::from(channel);
        // Less than a period for every channel that there is.
        u64::try_from(all / u128::from(self.channels.max(1))).unwrap_or(u64::MAX)
    }
}

/// The messages of all channels in one period, which all periods are alike in.
#[derive(Debug, Clone)]
pub(super) struct Period {
    length_ns: u64,
    /// Messages of a channel.
    messages: u64,
    /// In the order in which they are due; at least one.
    due: Arc<[InPeriod]>,
    /// Where in `due` is which message of which channel: channel by channel.
    places: Arc<[u32]>,
}

/// A message in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct InPeriod {
    /// When it is due, after the start of the period.
    at_ns: u64,
    channel: u32,
    /// Which of its channel's messages in the period it is, from 0.
    number: u32,
}

impl Period {
    pub(super) fn new(schedule: &Schedule, streams: Streams) -> Self {
        let (messages, channels) = (streams.messages.max(1), schedule.channels.max(1));
        let length_ns = streams.period_ns.max(1);
        let mut due = Vec::with_capacity(messages as usize * channels as usize);
        for channel in 0..channels {
            let begins_ns = schedule.stream_offset_ns(streams, channel);
            let at = |number: u32| {
                let after_ns = (f64::from(number) * schedule.ns_per_tick()) as u64;
                let at_ns = begins_ns.saturating_add(streams.first_after_ns);
                InPeriod {
                    // One that began in the period before goes on in this one.
                    at_ns: at_ns.saturating_add(after_ns) % length_ns,
                    channel,
                    number: 0,
                }
            };
            due.extend((0..messages).map(at));
        }
        due.sort_unstable();
        let messages = u64::from(messages);
        let mut places = vec![0; due.len()];
        let mut counts = vec![0; channels as usize];
        for (place, message) in due.iter_mut().enumerate() {
            let count = &mut counts[message.channel as usize];
            message.number = *count;
            *count += 1;
            let of_channel = u64::from(message.channel) * messages + u64::from(message.number);
            places[of_channel as usize] = place as u32;
        }
        Self {
            length_ns,
            messages,
            due: due.into(),
            places: places.into(),
        }
    }

    /// Messages of all channels.
    fn in_all(&self) -> u64 {
        self.due.len() as u64
    }

    /// Message `index` of the schedule, counted from 0; due so long after its start.
    pub(super) fn message(&self, index: u64) -> Due {
        let before = index / self.in_all();
        let message = self.due[(index % self.in_all()) as usize];
        let past_ns = before.saturating_mul(self.length_ns);
        Due {
            channel: message.channel,
            sequence: before * self.messages + u64::from(message.number) + 1,
            intended_ns: past_ns.saturating_add(message.at_ns),
        }
    }

    /// The inverse of [`Self::message`].
    pub(super) fn index_of(&self, channel: u32, sequence: u64) -> u64 {
        // Neither a sequence of 0 nor a channel that there is not can come from a server that is right.
        let position = sequence.saturating_sub(1);
        let place = self
            .places_of(channel)
            .get((position % self.messages) as usize);
        (position / self.messages)
            .saturating_mul(self.in_all())
            .saturating_add(place.map_or(0, |&place| u64::from(place)))
    }

    /// Messages of all channels that are due in the first `elapsed_ns` of the schedule.
    pub(super) fn messages_before(&self, elapsed_ns: u64) -> u64 {
        let rest_ns = elapsed_ns % self.length_ns;
        let rest = self.due.partition_point(|due| due.at_ns < rest_ns);
        (elapsed_ns / self.length_ns)
            .saturating_mul(self.in_all())
            .saturating_add(rest as u64)
    }

    /// The same of one channel.
    pub(super) fn last_sequence_before(&self, channel: u32, elapsed_ns: u64) -> u64 {
        let rest_ns = elapsed_ns % self.length_ns;
        let is_before = |&place: &u32| self.due[place as usize].at_ns < rest_ns;
        let rest = self.places_of(channel).partition_point(is_before);
        (elapsed_ns / self.length_ns)
            .saturating_mul(self.messages)
            .saturating_add(rest as u64)
    }

    /// Where in a period the messages of a channel are, in their order; empty where there is no such
    /// channel.
    fn places_of(&self, channel: u32) -> &[u32] {
        let mut channels = self.places.chunks_exact(self.messages as usize);
        channels.nth(channel as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timetable;
    use super::*;

    /// Two streams of 3 messages, 10 ns apart, in a period of 100 ns; the first begins with the schedule.
    fn streams() -> Timetable {
        Timetable::new(Schedule {
            streams: Some(Streams {
                messages: 3,
                first_after_ns: 40,
                period_ns: 100,
            }),
            ..Schedule::uniform(1_000..2_000, 1e8, 2)
        })
    }

    #[test]
    fn streams_take_turns_and_one_that_began_before_the_schedule_is_in_the_middle() {
        let table = streams();
        let due = |index| {
            let due = table.message(index);
            (due.intended_ns, due.channel, due.sequence)
        };
        let found: Vec<_> = (0..8).map(due).collect();
        // Channel 1 begins 50 ns later: its stream is over at 50 + 40 + 20, in the next period.
        let expected = [
            (1_000, 1, 1),
            (1_010, 1, 2),
            (1_040, 0, 1),
            (1_050, 0, 2),
            (1_060, 0, 3),
            (1_090, 1, 3),
            (1_100, 1, 4),
            (1_110, 1, 5),
        ];
        assert_eq!(found, expected);
        assert_eq!(table.len(), 60);
        let next = |channel, time_ns| table.schedule().next_stream_ns(channel, time_ns);
        assert_eq!(next(0, 0), Some(1_000));
        assert_eq!(next(0, 1_000), Some(1_100), "after, not at");
        assert_eq!((next(1, 1_049), next(1, 1_050)), (Some(1_050), Some(1_150)));
        assert_eq!(next(1, u64::MAX), Some(u64::MAX), "nothing overflows");
        let plain = Schedule::uniform(0..1, 1.0, 1);
        assert_eq!(plain.next_stream_ns(0, 0), None);
    }

    #[test]
    fn streams_that_cannot_be_are_refused() {
        let plain = *streams().schedule();
        let of = |messages, first_after_ns, period_ns| Streams {
            messages,
            first_after_ns,
            period_ns,
        };
        assert_eq!(plain.check(), Ok(()));
        for (schedule, expected) in [
            (Schedule { burst: 2, ..plain }, "needs 'burst' 1"),
            (
                Schedule {
                    arrival: Arrival::Poisson,
                    end_ns: 1_010,
                    ..plain
                },
                "'arrival' 'uniform'",
            ),
            (
                Schedule {
                    rate_per_s: 2e9,
                    ..plain
                },
                "above 0 and at most 1000000000",
            ),
        ] {
            let found = schedule.check().expect_err("cannot be");
            assert!(found.contains(expected), "{found}");
        }
        for (streams, expected) in [
            (of(0, 0, 100), "0 messages in each of 2 channels"),
            (of(u32::MAX, 0, u64::MAX), "expected 1 to 4194304 in all"),
            (of(3, 71, 100), "takes 101 ns"),
            (
                of(3, u64::MAX, 100),
                "expected at most its 'period_ns' of 100",
            ),
            (of(1, 0, 0), "'period_ns' of 0"),
        ] {
            let streams = Some(streams);
            let found = Schedule { streams, ..plain }
                .check()
                .expect_err("cannot be");
            assert!(found.contains(expected), "{found}");
        }
    }

    proptest::proptest! {
        #[test]
        fn streams_in_turn_agree_with_their_messages_one_by_one(
            channels in 1u32..12, messages in 1u32..12, first_after_ns in 0u64..3_000,
            rest_ns in 0u64..3_000, rate in 1e6f64..1e8, time in 0u64..70_000,
        ) {
            let length_ns = (f64::from(messages) * 1e9 / rate).ceil() as u64;
            let period_ns = first_after_ns + length_ns + rest_ns;
            let schedule = Schedule {
                streams: Some(Streams { messages, first_after_ns, period_ns }),
                ..Schedule::uniform(1_000..61_000, rate, channels)
            };
            proptest::prop_assert_eq!(schedule.check(), Ok(()));
            let table = Timetable::new(schedule);
            // By hand: every stream of every channel, from one that began before the start on.
            let mut expected = Vec::new();
            for channel in 0..channels {
                let offset_ns = period_ns * u64::from(channel) / u64::from(channels);
                let streams = 0..60_000 / period_ns + 3;
                let times = streams.flat_map(|stream| (0..messages).map(move |number| {
                    let after_ns = (f64::from(number) * (1e9 / rate)) as u64;
                    1_000 + offset_ns + stream * period_ns + first_after_ns + after_ns
                }));
                let mut times: Vec<u64> = times.map(|at_ns| at_ns - period_ns.min(at_ns)).collect();
                times.sort_unstable();
                let due = times.into_iter().filter(|at_ns| (1_000..61_000).contains(at_ns));
                expected.extend(due.zip(1..).map(|(at_ns, sequence)| (at_ns, channel, sequence)));
            }
            expected.sort_unstable();
            proptest::prop_assert_eq!(table.len(), expected.len() as u64);
            let before = table.messages_before(time);
            let mut last = vec![0u64; channels as usize];
            for (index, &(at_ns, channel, sequence)) in expected.iter().enumerate() {
                let due = table.message(index as u64);
                proptest::prop_assert_eq!((due.intended_ns, due.channel, due.sequence), (at_ns, channel, sequence));
                proptest::prop_assert_eq!(table.index_of(channel, sequence), index as u64);
                proptest::prop_assert_eq!(at_ns < time, (index as u64) < before);
                if at_ns < time {
                    last[channel as usize] = sequence;
                }
            }
            for channel in 0..channels {
                proptest::prop_assert_eq!(table.last_sequence_before(channel, time), last[channel as usize]);
            }
        }
    }
}
