//! The time-out of one connection, as an entry of the shard's wheel.
//!
//! Beside the data path. Most connections have none: a stream lives until either side ends it, and
//! its keep-alives are the subscriber's. A request that is repeated over and over moves its time-out
//! without touching the wheel: an entry that comes up too early is put back.

use crate::wheel::{Place, Wheel};

/// No time-out.
const NEVER: u32 = u32::MAX;

/// Nothing was asked since the last [`Timer::apply`].
const UNCHANGED: u32 = 0;

/// A time-out.
#[derive(Debug)]
pub(super) struct Timer {
    place: Option<Place>,
    /// Tick at which it is over.
    due: u32,
    /// What was asked for, in ticks from now.
    wanted: u32,
}

/// An entry of the wheel that took another's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    /// The connection that it belongs to.
    pub(super) number: u32,
    /// Where it is now.
    pub(super) place: Place,
}

impl Timer {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            place: None,
            due: NEVER,
            wanted: UNCHANGED,
        }
    }

    /// Asks for a time-out in `ticks` (at least one), or for none, in place of the one before.
    pub(super) fn want(&mut self, ticks: Option<u32>) {
        self.wanted = ticks.map_or(NEVER, |ticks| ticks.clamp(UNCHANGED + 1, NEVER - 1));
    }

    /// Whether a time-out is set, or asked for.
    pub(super) fn is_set(&self) -> bool {
        match self.wanted {
            UNCHANGED => self.due != NEVER,
            wanted => wanted != NEVER,
        }
    }

    /// Whether a time-out is set, or asked for, that comes within so many ticks.
    pub(super) fn is_due_within(&self, ticks: u32, now: u32) -> bool {
        match self.wanted {
            UNCHANGED => self.due <= now.saturating_add(ticks),
            wanted => wanted <= ticks,
        }
    }

    /// Does what was asked for.
    #[must_use = "whose entry moved must be told"]
    pub(super) fn apply(&mut self, wheel: &mut Wheel, number: u32) -> Option<Moved> {
        let before = self.due;
        self.due = match std::mem::replace(&mut self.wanted, UNCHANGED) {
            UNCHANGED => return None,
            NEVER => NEVER,
            ticks => (wheel.now() as u32).saturating_add(ticks).min(NEVER - 1),
        };
        if self.due == NEVER {
            return None;
        }
        // A later time keeps its entry, which is put back when it comes up.
        let mut moved = None;
        if self.place.is_some() && (before == NEVER || self.due < before) {
            moved = self.stop(wheel);
        }
        if self.place.is_none() {
            self.place = Some(wheel.insert(number, u64::from(self.due)));
        }
        moved
    }

    /// Its entry came up: whether time is over.
    pub(super) fn came_up(&mut self, wheel: &mut Wheel, number: u32) -> bool {
        self.place = None;
        if self.due == NEVER {
            return false;
        }
        if self.due <= wheel.now() as u32 {
            self.due = NEVER;
            return true;
        }
        self.place = Some(wheel.insert(number, u64::from(self.due)));
        false
    }

    /// Takes the entry out.
    #[must_use = "whose entry moved must be told"]
    pub(super) fn stop(&mut self, wheel: &mut Wheel) -> Option<Moved> {
        let place = self.place.take()?;
        let number = wheel.remove(place)?;
        Some(Moved { number, place })
    }

    /// Another entry went, and this one took its place.
    pub(super) fn moved_to(&mut self, place: Place) {
        self.place = Some(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Timers by number over one wheel, as the loop holds them.
    struct Timers(Wheel, Vec<Timer>);

    impl Timers {
        fn new(count: usize) -> Self {
            Self(Wheel::default(), (0..count).map(|_| Timer::new()).collect())
        }

        fn want(&mut self, number: u32, ticks: Option<u32>) {
            let timer = &mut self.1[number as usize];
            timer.want(ticks);
            let moved = timer.apply(&mut self.0, number);
            self.tell(moved);
        }

        fn stop(&mut self, number: u32) {
            let moved = self.1[number as usize].stop(&mut self.0);
            self.tell(moved);
        }

        fn tell(&mut self, moved: Option<Moved>) {
            if let Some(moved) = moved {
                self.1[moved.number as usize].moved_to(moved.place);
            }
        }

        /// The ticks, from now, at which timers are over, by number.
        fn over(&mut self, ticks: u32) -> Vec<(u32, u32)> {
            let mut over = Vec::new();
            for tick in 1..=ticks {
                for number in self.0.tick() {
                    if self.1[number as usize].came_up(&mut self.0, number) {
                        over.push((tick, number));
                    }
                }
            }
            over
        }
    }

    #[test]
    fn a_time_out_comes_once_at_its_tick() {
        let mut timers = Timers::new(2);
        timers.want(0, Some(3));
        timers.want(1, Some(5));
        assert_eq!(timers.over(3000), [(3, 0), (5, 1)]);
    }

    #[test]
    fn a_later_time_takes_the_place_of_the_one_before_and_so_does_an_earlier_one() {
        let mut timers = Timers::new(2);
        timers.want(0, Some(3));
        timers.want(0, Some(7));
        timers.want(1, Some(700));
        timers.want(1, Some(2));
        assert_eq!(timers.over(3000), [(2, 1), (7, 0)]);
    }

    #[test]
    fn none_is_none_until_another_is_asked_for() {
        let mut timers = Timers::new(3);
        (0..3).for_each(|number| timers.want(number, Some(10)));
        timers.want(0, None);
        timers.want(1, None);
        timers.want(1, Some(4));
        assert_eq!(timers.over(3000), [(4, 1), (10, 2)]);
    }

    #[test]
    fn those_that_stop_leave_the_others_in_place() {
        let mut timers = Timers::new(4);
        (0..4).for_each(|number| timers.want(number, Some(6)));
        timers.stop(0);
        timers.stop(2);
        timers.stop(2);
        let over = timers.over(3000);
        assert_eq!(over.len(), 2);
        assert!(over.contains(&(6, 1)) && over.contains(&(6, 3)));
    }
}
