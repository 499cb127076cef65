//! A schedule in slices: several schedules take turns on one machine, so that what disturbs it disturbs
//! them all alike.
//!
//! Place on the data path: below the timetable. In: how long the parts of a slice are, and whose turn is
//! when, which follows from a seed. Out: the time of the clock at which a moment of the load comes, and the
//! reverse. Load time passes only in the schedule's own slices.
//!
//! A block holds one slice of each schedule, in an order of its own (a randomised block design: Fisher
//! 1926, *The Arrangement of Field Experiments*; for benchmarks, Abedi and Brecht 2017, *Conducting
//! Repeatable Experiments in Highly Variable Cloud Computing Environments*).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::payload::SplitMix64;

/// Most schedules that take turns.
pub const MAX_TURNS: u32 = 256;

/// Most slices of a schedule: their starts are kept, 8 bytes each.
pub const MAX_SLICES: u32 = 1 << 20;

/// Longest part of a slice, in ns: an hour.
const MAX_PART_NS: u64 = 3_600_000_000_000;

/// When a schedule has its turn. A slice is a head, a pause, a body and a gap; load is offered in head and
/// body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slices {
    /// Schedules that take turns: 1 to [`MAX_TURNS`].
    pub of: u32,
    /// Which of them this is, from 0.
    pub place: u32,
    /// Blocks, so slices of each: 1 to [`MAX_SLICES`].
    pub blocks: u32,
    /// Load that warms caches after another's turn and is not measured, in ns; up to an hour, as the
    /// others.
    pub head_ns: u64,
    /// Silence after the head, in which it is delivered and clocks are read, in ns.
    pub pause_ns: u64,
    /// Load that is measured, in ns; above 0.
    pub body_ns: u64,
    /// Silence after the body, in ns.
    pub gap_ns: u64,
    /// Seed of the order within each block; the same for all that take turns.
    pub seed: u64,
}

impl Slices {
    /// Load of a slice in ns.
    pub fn load_ns(&self) -> u64 {
        self.head_ns + self.body_ns
    }

    /// From the start of a slice to the start of whoever is next, in ns.
    pub fn slice_ns(&self) -> u64 {
        self.load_ns() + self.pause_ns + self.gap_ns
    }

    /// A slice of each, in ns.
    pub fn block_ns(&self) -> u64 {
        self.slice_ns() * u64::from(self.of)
    }

    /// Where in the load of its slice a moment lies, by where it lies in the slice.
    fn load_within(&self, within_ns: u64) -> u64 {
        let body = within_ns.saturating_sub(self.head_ns + self.pause_ns);
        within_ns.min(self.head_ns) + body.min(self.body_ns)
    }

    pub(super) fn check(&self, schedule: &Schedule) -> Result<(), String> {
        let parts = [self.head_ns, self.pause_ns, self.body_ns, self.gap_ns];
        if self.body_ns == 0 || parts.iter().any(|part| *part > MAX_PART_NS) {
            return Err(format!(
                "'slices' has parts of {parts:?} ns, expected at most {MAX_PART_NS} each, and a body above 0"
            ));
        }
        if !(1..=MAX_TURNS).contains(&self.of) || self.place >= self.of {
            return Err(format!(
                "'slices' has place {} of {}, expected 1 to {MAX_TURNS} places, counted from 0",
                self.place, self.of
            ));
        }
        if !(1..=MAX_SLICES).contains(&self.blocks) {
            return Err(format!(
                "'slices' has {} blocks, expected 1 to {MAX_SLICES}",
                self.blocks
            ));
        }
        if schedule.streams.is_some() {
            return Err("'slices' and 'streams' exclude each other".to_owned());
        }
        Ok(())
    }
}

/// The slices of one schedule, with their starts.
#[derive(Debug, Clone)]
pub struct Turns {
    slices: Slices,
    /// Of each slice, in ns after the start of the schedule; ascending.
    starts: Arc<[u64]>,
}

impl Turns {
    /// Works out when each slice begins; `slices` must have been checked.
    pub fn new(slices: Slices) -> Self {
        let mut random = SplitMix64::new(slices.seed);
        let mut order: Vec<u32> = (0..slices.of).collect();
        let starts = (0..slices.blocks).map(|block| {
            // Fisher and Yates, from the end.
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last as u64 + 1) as usize);
            }
            let turn = order.iter().position(|place| *place == slices.place);
            let turn = turn.unwrap_or_default() as u64;
            u64::from(block) * slices.block_ns() + turn * slices.slice_ns()
        });
        Self {
            slices,
            starts: starts.collect(),
        }
    }

    /// What they were worked out from.
    pub fn slices(&self) -> &Slices {
        &self.slices
    }

    /// When each slice begins, in ns after the start of the schedule.
    pub fn starts(&self) -> &[u64] {
        &self.starts
    }

    /// When the clock comes to a moment of the load, both in ns after the start; beyond the last slice,
    /// `None`.
    pub(super) fn clock_ns(&self, load_ns: u64) -> Option<u64> {
        let slice = load_ns / self.slices.load_ns();
        let within = load_ns % self.slices.load_ns();
        let is_head = within < self.slices.head_ns;
        let pause_ns = if is_head { 0 } else { self.slices.pause_ns };
        let start = self.starts.get(usize::try_from(slice).ok()?)?;
        Some(start + within + pause_ns)
    }

    /// How much of the load lies before a time of the clock, both in ns after the start.
    pub(super) fn load_ns(&self, clock_ns: u64) -> u64 {
        let begun = self.starts.partition_point(|start| *start <= clock_ns);
        let Some(last) = begun.checked_sub(1) else {
            return 0;
        };
        let within = self.slices.load_within(clock_ns - self.starts[last]);
        last as u64 * self.slices.load_ns() + within
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Arrival, Timetable};

    fn slices(of: u32, place: u32) -> Slices {
        Slices {
            of,
            place,
            blocks: 20,
            head_ns: 2_000,
            pause_ns: 500,
            body_ns: 8_000,
            gap_ns: 1_500,
            seed: 7,
        }
    }

    fn table(of: u32, place: u32, arrival: Arrival) -> Timetable {
        let slices = slices(of, place);
        let end_ns = 100 + u64::from(slices.blocks) * slices.block_ns();
        // A message a µs of the load.
        Timetable::new(Schedule {
            slices: Some(slices),
            arrival,
            seed: 3,
            ..Schedule::uniform(100..end_ns, 1e6, 3)
        })
    }

    #[test]
    fn a_slice_has_its_head_and_after_a_pause_its_body() {
        let table = table(1, 0, Arrival::Uniform);
        let due: Vec<u64> = (0..12).map(|i| table.message(i).intended_ns).collect();
        let expected = [
            100, 1_100, 2_600, 3_600, 4_600, 5_600, 6_600, 7_600, 8_600, 9_600, 12_100, 13_100,
        ];
        assert_eq!(due, expected);
        assert_eq!(table.len(), 200);
    }

    #[test]
    fn everyone_has_a_turn_in_each_block_and_nobody_two_at_a_time() {
        let of = 5;
        let starts: Vec<Turns> = (0..of).map(|place| Turns::new(slices(of, place))).collect();
        let slice_ns = slices(of, 0).slice_ns();
        let mut firsts = Vec::new();
        for block in 0..20usize {
            let mut begins: Vec<u64> = starts.iter().map(|turns| turns.starts()[block]).collect();
            firsts.push(begins.iter().position(|b| b.is_multiple_of(5 * slice_ns)));
            begins.sort_unstable();
            let first = block as u64 * 5 * slice_ns;
            let whole: Vec<u64> = (0..5).map(|turn| first + turn * slice_ns).collect();
            assert_eq!(begins, whole);
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert!(firsts.len() >= 4, "the order changes: {firsts:?}");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let schedule = Schedule::uniform(0..1, 1.0, 1);
        let check = |change: fn(&mut Slices)| {
            let mut slices = slices(3, 1);
            change(&mut slices);
            slices.check(&schedule).expect_err("refused")
        };
        assert!(check(|s| s.body_ns = 0).contains("body above 0"));
        assert!(check(|s| s.gap_ns = u64::MAX).contains("expected at most"));
        assert!(check(|s| s.place = 3).contains("place 3 of 3"));
        assert!(check(|s| s.of = 0).contains("place 1 of 0"));
        assert!(check(|s| s.blocks = 0).contains("0 blocks"));
        assert_eq!(slices(3, 1).check(&schedule), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn counts_and_times_of_a_sliced_schedule_agree(
            of in 1u32..5, place in 0u32..5, time in 0u64..1_500_000, poisson: bool,
        ) {
            let arrival = if poisson { Arrival::Poisson } else { Arrival::Uniform };
            let s = table(of, place % of, arrival);
            let before = s.messages_before(time);
            let mut last = [0u64; 3];
            let mut at = 0;
            for i in 0..s.len() {
                let due = s.message(i);
                proptest::prop_assert!(due.intended_ns >= at);
                at = due.intended_ns;
                proptest::prop_assert_eq!(s.index_of(due.channel, due.sequence), i);
                proptest::prop_assert_eq!(due.intended_ns < time, i < before);
                if due.intended_ns < time {
                    last[due.channel as usize] = due.sequence;
                }
            }
            for channel in 0..3 {
                proptest::prop_assert_eq!(
                    s.last_sequence_before(channel, time), last[channel as usize]
                );
            }
        }
    }
}
