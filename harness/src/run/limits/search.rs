//! Where to look next for a limit: doubling until something breaks, then bisecting.
//!
//! A pure state machine. In: whether each value held. Out: the next value, until the highest that
//! held and the lowest that broke are as close as asked for.
//!
//! Limits of machines are noisy, and a search that believes one bad step ends below the limit. So a
//! step that may have broken by chance is tried once more, and broke only if it does so twice. A step that
//! the machine spoiled neither held nor broke: it is tried again, and if that does not help, the search ends
//! without an answer there.

use crate::record::Broke;

/// So often a value is tried that the machine spoils.
const TRIES: u32 = 3;

/// A search under way. Values are whole: clients, or messages a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    start: u64,
    maximum: u64,
    resolution: f64,
    good: Option<u64>,
    bad: Option<u64>,
    /// A value that broke once, perhaps by chance.
    doubted: Option<u64>,
    /// A value that was spoiled, and how often.
    spoiled: Option<(u64, u32)>,
}

/// How a step came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The objective held.
    Held,
    /// It did not, and a repetition may change that.
    BrokePerhaps,
    /// It did not, and would not again.
    Broke,
    /// It did not, because of the machine: neither.
    Spoiled,
}

impl Found {
    /// How a step came out in which this broke.
    pub fn of(broke: Option<Broke>) -> Self {
        match broke {
            None => Self::Held,
            Some(Broke::Machine) => Self::Spoiled,
            Some(broke) if broke.may_be_chance() => Self::BrokePerhaps,
            Some(_) => Self::Broke,
        }
    }
}

impl Search {
    /// A search from `start` (at least 1) up to `maximum`, until good and bad differ by at most
    /// `resolution` of the good one.
    pub fn new(start: u64, maximum: u64, resolution: f64) -> Self {
        Self {
            start: start.clamp(1, maximum.max(1)),
            maximum: maximum.max(1),
            resolution,
            good: None,
            bad: None,
            doubted: None,
            spoiled: None,
        }
    }

    /// The value to try next; `None` once the limit is found, the maximum held, or there is no answer.
    pub fn next(&self) -> Option<u64> {
        if let Some((value, times)) = self.spoiled {
            return (times < TRIES).then_some(value);
        }
        if self.doubted.is_some() {
            return self.doubted;
        }
        match (self.good, self.bad) {
            (None, None) => Some(self.start),
            (Some(good), None) if good >= self.maximum => None,
            (Some(good), None) => Some(good.saturating_mul(2).min(self.maximum)),
            // Down by halves where the start was too much.
            (None, Some(bad)) => (bad > 1).then_some(bad / 2),
            (Some(good), Some(bad)) => {
                let close = bad - good <= 1 || (bad - good) as f64 <= self.resolution * good as f64;
                (!close).then_some(good + (bad - good) / 2)
            }
        }
    }

    /// Enters how `value` came out.
    pub fn enter(&mut self, value: u64, found: Found) {
        let times = self.spoiled.take().map_or(0, |(_, times)| times);
        match found {
            Found::Spoiled => self.spoiled = Some((value, times + 1)),
            Found::Held => {
                self.doubted = None;
                self.good = Some(self.good.map_or(value, |good| good.max(value)));
            }
            Found::BrokePerhaps if self.doubted != Some(value) => self.doubted = Some(value),
            Found::BrokePerhaps | Found::Broke => {
                self.doubted = None;
                self.bad = Some(self.bad.map_or(value, |bad| bad.min(value)));
            }
        }
    }

    /// The highest value that held.
    pub fn good(&self) -> Option<u64> {
        self.good
    }

    /// The lowest value that broke.
    pub fn bad(&self) -> Option<u64> {
        self.bad
    }

    /// The value that was spoiled each time, so that the search is over.
    pub fn unanswered(&self) -> Option<u64> {
        self.spoiled
            .filter(|&(_, times)| times >= TRIES)
            .map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Searches something that breaks above `limit`, and returns the values that were tried.
    fn search(
        mut search: Search,
        mut holds: impl FnMut(u64, usize) -> Found,
    ) -> (Search, Vec<u64>) {
        let mut tried = Vec::new();
        while let Some(value) = search.next() {
            assert!(tried.len() < 200, "it goes on for ever: {tried:?}");
            let found = holds(value, tried.len());
            tried.push(value);
            search.enter(value, found);
        }
        (search, tried)
    }

    fn breaks_above(limit: u64) -> impl FnMut(u64, usize) -> Found {
        move |value, _| match value <= limit {
            true => Found::Held,
            false => Found::Broke,
        }
    }

    #[test]
    fn it_doubles_until_it_breaks_and_bisects_to_the_resolution() {
        let (found, tried) = search(Search::new(1_000, 1_000_000, 0.1), breaks_above(5_300));
        assert_eq!(tried, [1_000, 2_000, 4_000, 8_000, 6_000, 5_000, 5_500]);
        assert_eq!((found.good(), found.bad()), (Some(5_000), Some(5_500)));
    }

    #[test]
    fn a_maximum_that_holds_ends_it() {
        let (found, tried) = search(Search::new(300, 1_000, 0.1), breaks_above(5_300));
        assert_eq!(tried, [300, 600, 1_000]);
        assert_eq!((found.good(), found.bad()), (Some(1_000), None));
    }

    #[test]
    fn a_start_that_breaks_is_halved() {
        let (found, tried) = search(Search::new(1_000, 2_000, 0.1), breaks_above(100));
        assert_eq!(tried, [1_000, 500, 250, 125, 62, 93, 109, 101]);
        assert_eq!((found.good(), found.bad()), (Some(93), Some(101)));
        let (found, tried) = search(Search::new(4, 8, 0.1), breaks_above(0));
        assert_eq!(tried, [4, 2, 1]);
        assert_eq!((found.good(), found.bad()), (None, Some(1)));
    }

    #[test]
    fn what_may_have_broken_by_chance_is_tried_once_more() {
        // The third step breaks once, for no reason of its own.
        let (found, tried) = search(Search::new(1_000, 8_000, 0.5), |value, step| {
            match (value > 5_000, step) {
                (false, 2) | (true, _) => Found::BrokePerhaps,
                (false, _) => Found::Held,
            }
        });
        assert_eq!(
            tried,
            [1_000, 2_000, 4_000, 4_000, 8_000, 8_000, 6_000, 6_000]
        );
        assert_eq!((found.good(), found.bad()), (Some(4_000), Some(6_000)));
    }

    #[test]
    fn what_the_machine_spoiled_neither_held_nor_broke_and_is_tried_again() {
        // The third and fourth step were spoiled; the fifth, at the same value, was not.
        let (found, tried) = search(Search::new(1_000, 8_000, 0.5), |value, step| match step {
            2 | 3 => Found::Spoiled,
            _ if value > 5_000 => Found::Broke,
            _ => Found::Held,
        });
        assert_eq!(tried, [1_000, 2_000, 4_000, 4_000, 4_000, 8_000, 6_000]);
        assert_eq!((found.good(), found.bad()), (Some(4_000), Some(6_000)));
        assert_eq!(found.unanswered(), None);
    }

    #[test]
    fn a_value_that_is_spoiled_each_time_ends_the_search_without_an_answer() {
        let (found, tried) = search(Search::new(1_000, 8_000, 0.1), |value, _| match value {
            0..3_000 => Found::Held,
            _ => Found::Spoiled,
        });
        assert_eq!(tried, [1_000, 2_000, 4_000, 4_000, 4_000]);
        assert_eq!((found.good(), found.bad()), (Some(2_000), None));
        assert_eq!(found.unanswered(), Some(4_000));
        // A step that broke once in between does not count twice for having been spoiled.
        let (found, tried) = search(Search::new(8, 8, 1.0), |_, step| match step {
            0 | 2 => Found::Spoiled,
            1 => Found::BrokePerhaps,
            _ => Found::Held,
        });
        assert_eq!(tried, [8, 8, 8, 8]);
        assert_eq!((found.good(), found.unanswered()), (Some(8), None));
    }

    proptest! {
        #[test]
        fn the_limit_lies_between_good_and_bad(
            start in 1u64..5_000,
            maximum in 1u64..2_000_000,
            limit in 0u64..2_000_000,
            percent in 1u32..50,
        ) {
            let resolution = f64::from(percent) / 100.0;
            let (found, tried) = search(Search::new(start, maximum, resolution), breaks_above(limit));
            prop_assert!(tried.iter().all(|&value| (1..=maximum).contains(&value)));
            match (found.good(), found.bad()) {
                (Some(good), Some(bad)) => {
                    prop_assert!(good <= limit && limit < bad);
                    prop_assert!(bad - good <= 1 || (bad - good) as f64 <= resolution * good as f64);
                }
                (Some(good), None) => prop_assert!(good == maximum && good <= limit),
                (None, Some(bad)) => prop_assert!(bad == 1 && limit == 0),
                (None, None) => prop_assert!(false, "nothing was tried"),
            }
        }
    }
}
