//! Time-outs by the hundred thousand: keep-alives and long-poll waits of one shard.
//!
//! A hashed timing wheel (Varghese, Lauck: *Hashed and Hierarchical Timing Wheels*, SOSP 1987) of
//! coarse ticks. A runtime timer for each subscriber would be re-armed for every message; here a
//! delivery only notes the time, and an entry that comes up early is put back.

/// Length of a tick in ms. Keep-alives and long-poll waits are seconds long; a tenth of a second
/// early or late changes nothing that is measured.
pub(crate) const TICK_MS: u64 = 100;

/// Buckets of the wheel: 1,024 ticks are 102 s. Later deadlines go round again.
const BUCKETS: usize = 1024;

/// Where an entry is, so that it can be taken out at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    bucket: u32,
    index: u32,
}

/// The wheel. Entries are ids of subscribers.
#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Vec<Vec<u32>>,
    now: u64,
    entries: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            buckets: vec![Vec::new(); BUCKETS],
            now: 0,
            entries: 0,
        }
    }
}

impl Wheel {
    /// The current tick.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Whether nothing will come up. Its ticks may be left out then: only what is between two of them
    /// counts.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Puts `id` where it will come up at tick `due`, or earlier if that is a round away.
    pub(crate) fn insert(&mut self, id: u32, due: u64) -> Place {
        let ahead = due.saturating_sub(self.now).clamp(1, BUCKETS as u64 - 1);
        let bucket = ((self.now + ahead) % BUCKETS as u64) as usize;
        self.buckets[bucket].push(id);
        self.entries += 1;
        Place {
            bucket: bucket as u32,
            index: (self.buckets[bucket].len() - 1) as u32,
        }
    }

    /// Takes the entry at `place` out. Another entry of the bucket may move into its place: that
    /// one is returned, for its own place to be corrected.
    pub(crate) fn remove(&mut self, place: Place) -> Option<u32> {
        let bucket = &mut self.buckets[place.bucket as usize];
        bucket.swap_remove(place.index as usize);
        self.entries -= 1;
        bucket.get(place.index as usize).copied()
    }

    /// Goes one tick on and takes out all that come up at it.
    pub(crate) fn tick(&mut self) -> Vec<u32> {
        self.now += 1;
        let up = std::mem::take(&mut self.buckets[(self.now % BUCKETS as u64) as usize]);
        self.entries -= up.len();
        up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_up_at_their_tick_and_not_before() {
        let mut wheel = Wheel::default();
        wheel.insert(1, 3);
        wheel.insert(2, 5);
        assert!(!wheel.is_empty());
        let up: Vec<Vec<u32>> = (0..5).map(|_| wheel.tick()).collect();
        assert_eq!(up, [vec![], vec![], vec![1], vec![], vec![2]]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_deadline_in_the_past_comes_up_at_the_next_tick_and_a_far_one_within_a_round() {
        let mut wheel = Wheel::default();
        wheel.tick();
        wheel.insert(1, 0);
        assert_eq!(wheel.tick(), [1]);
        wheel.insert(2, 1_000_000);
        assert!((0..BUCKETS).any(|_| wheel.tick() == [2]));
    }

    #[test]
    fn removing_an_entry_names_the_one_that_moved() {
        let mut wheel = Wheel::default();
        let places: Vec<Place> = (0..3).map(|id| wheel.insert(id, 4)).collect();
        assert_eq!(wheel.remove(places[0]), Some(2));
        assert_eq!(wheel.remove(places[0]), Some(1));
        assert!(!wheel.is_empty());
        assert_eq!(wheel.remove(places[0]), None);
        assert!(wheel.is_empty());
        assert!((0..4).all(|_| wheel.tick().is_empty()));
    }
}
