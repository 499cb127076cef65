//! Whose turn it is, for a recorder: the slices of a measure phase, followed as time goes on.
//!
//! Place on the data path: within the recorder. In: intended and receive times. Out: the slice that a
//! receive time lies in, and the moment of the load at which a message was due, where it was in a part that
//! is measured. Times of one thread go on, so the slice under way is remembered; only what is late is
//! searched for.

use std::sync::Arc;

use pushbench_protocol::schedule::{Slices, Timetable};

/// The slices of one measure phase.
#[derive(Debug)]
pub struct PhaseTurns {
    slices: Slices,
    /// When each begins, in ns of `CLOCK_MONOTONIC`.
    starts: Arc<[u64]>,
    /// The last that has begun.
    current: usize,
    /// Deliveries of measured messages that came when the turn was over.
    spilled: u64,
}

impl PhaseTurns {
    /// Those of `timetable` from `from_ns` on; `None` where it has none.
    pub fn new(timetable: &Timetable, from_ns: u64) -> Option<Self> {
        let turns = timetable.turns()?;
        let start_ns = timetable.schedule().start_ns;
        let starts = turns.starts().iter().map(|start| start_ns + start);
        Some(Self {
            slices: *turns.slices(),
            starts: starts.filter(|start| *start >= from_ns).collect(),
            current: 0,
            spilled: 0,
        })
    }

    /// When each slice begins, in ns of `CLOCK_MONOTONIC`.
    pub fn starts(&self) -> &[u64] {
        &self.starts
    }

    /// Load of the phase that is measured, in ns.
    pub fn measured_ns(&self) -> u64 {
        self.starts.len() as u64 * self.slices.body_ns
    }

    /// The slice in which, or after which, something was received, from 0.
    pub fn number(&mut self, received_ns: u64) -> u64 {
        while self
            .starts
            .get(self.current + 1)
            .is_some_and(|next| received_ns >= *next)
        {
            self.current += 1;
        }
        self.current as u64
    }

    /// How far into the measured load of the phase a message was due; `None` for one of a head, which is
    /// not measured. Call [`Self::number`] first.
    pub fn due_ns(&mut self, intended_ns: u64, received_ns: u64) -> Option<u64> {
        let slice = match self.starts.get(self.current) {
            Some(start) if intended_ns >= *start => self.current,
            _ => {
                let begun = self.starts.partition_point(|start| *start <= intended_ns);
                begun.checked_sub(1)?
            }
        };
        let within = intended_ns - self.starts[slice];
        if within < self.slices.head_ns {
            return None;
        }
        if received_ns - self.starts[slice] >= self.slices.slice_ns() {
            self.spilled += 1;
        }
        let within_body = within.saturating_sub(self.slices.head_ns + self.slices.pause_ns);
        Some(slice as u64 * self.slices.body_ns + within_body)
    }

    /// Deliveries of measured messages that came when the turn was over: in that of another.
    pub fn spilled(&self) -> u64 {
        self.spilled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushbench_protocol::schedule::Schedule;

    fn turns() -> PhaseTurns {
        let slices = Slices {
            of: 1,
            place: 0,
            blocks: 4,
            head_ns: 100,
            pause_ns: 10,
            body_ns: 300,
            gap_ns: 90,
            seed: 1,
        };
        let timetable = Timetable::new(Schedule {
            slices: Some(slices),
            ..Schedule::uniform(1_000..3_000, 1e7, 1)
        });
        // The first slice is warm-up.
        PhaseTurns::new(&timetable, 1_500).expect("slices")
    }

    #[test]
    fn a_receive_time_lies_in_the_last_slice_that_has_begun() {
        let mut turns = turns();
        assert_eq!(turns.starts(), [1_500, 2_000, 2_500]);
        assert_eq!(turns.measured_ns(), 900);
        let numbers = [1_500, 1_999, 2_000, 2_700, 9_999].map(|at| turns.number(at));
        assert_eq!(numbers, [0, 0, 1, 2, 2]);
    }

    #[test]
    fn a_message_of_a_head_is_not_measured_and_one_that_is_late_has_spilled() {
        let mut turns = turns();
        let mut received = |intended_ns: u64, received_ns: u64| {
            turns.number(received_ns);
            let due_ns = turns.due_ns(intended_ns, received_ns);
            (due_ns, turns.spilled())
        };
        assert_eq!(received(1_599, 1_650), (None, 0));
        assert_eq!(received(1_610, 1_650), (Some(0), 0));
        assert_eq!(received(1_909, 1_999), (Some(299), 0));
        assert_eq!(received(1_909, 2_000), (Some(299), 1));
        assert_eq!(received(2_110, 2_120), (Some(300), 1));
        // Of the warm-up, and late.
        assert_eq!(received(1_400, 2_121), (None, 1));
    }
}
