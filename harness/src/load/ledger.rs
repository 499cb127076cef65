//! What one client got of its channel: which messages are missing, came twice, or came late.
//!
//! Place on the data path: after a client has decoded an envelope, next to the recorder. In: the
//! cursor that the server answered a subscribe with, then the sequence of every message that
//! arrives. Out: counts over a range of expected sequences, once the drain is over.
//!
//! Not measured here: times (see the recorder), and which sequences are expected (that follows
//! from the schedule, see `servers/protocol/src/schedule.rs`).
//!
//! A ledger is small, because there is one for each of up to a million clients, and it allocates
//! only when something is missing: what has arrived is the range above the start cursor up to the
//! highest sequence, less a list of gaps.

use crate::record::Deliveries;

/// Most gaps that a ledger keeps; the next one sets [`Ledger::overflowed`], which voids the trial.
///
/// 4096 gaps are 64 KiB: a client that loses every second message is noticed long before, and ten
/// thousand such clients still fit into memory.
pub const MAX_GAPS: usize = 4096;

/// How a message stands to those that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Above everything seen so far.
    First,
    /// Seen before, or at or below the cursor that the subscription started from.
    Duplicate,
    /// Not seen before, but below the highest seen: it came late, and fills a gap.
    OutOfOrder,
}

/// The account of one client on one channel.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The subscription began after this sequence.
    start: u64,
    /// Highest sequence seen; `start` until there is one. Never below `start`.
    highest: u64,
    duplicate: u64,
    out_of_order: u64,
    /// `None` while nothing is missing. Boxed, so that a client without gaps stays small.
    gaps: Option<Box<Gaps>>,
}

/// Sequences between `start` and `highest` that have not arrived.
#[derive(Debug, Clone, Default)]
struct Gaps {
    /// First and last sequence, both missing; ascending, apart from each other, at most
    /// [`MAX_GAPS`].
    ranges: Vec<(u64, u64)>,
    overflowed: bool,
}

impl Ledger {
    /// A ledger for a subscription that the server answered with `start_cursor`: the first message
    /// to come is the one after it.
    pub fn new(start_cursor: u64) -> Self {
        Self {
            start: start_cursor,
            highest: start_cursor,
            duplicate: 0,
            out_of_order: 0,
            gaps: None,
        }
    }

    /// Enters one arrival. Duplicates and late arrivals count only when `in_phase`, that is, when
    /// the message's intended time lies in the measure phase; what has been seen is remembered
    /// either way.
    #[inline]
    pub fn record(&mut self, sequence: u64, in_phase: bool) -> Arrival {
        if sequence > self.highest {
            if sequence - self.highest > 1 {
                self.open_gap(self.highest + 1, sequence - 1);
            }
            self.highest = sequence;
            return Arrival::First;
        }
        let late = sequence > self.start && self.close_gap(sequence);
        let (arrival, count) = if late {
            (Arrival::OutOfOrder, &mut self.out_of_order)
        } else {
            (Arrival::Duplicate, &mut self.duplicate)
        };
        *count += u64::from(in_phase);
        arrival
    }

    /// Begins a new session from `cursor`, with a clean account: what lies between two sessions is
    /// expected of nobody. [`settle`](Self::settle) the session before, and add the counts up. Only
    /// the overflow flag stays: a trial that is void stays void.
    ///
    /// Not for a reconnect that resumes from [`cursor`](Self::cursor), nor for one that was
    /// answered with a later one: there the account goes on, so that a loss shows as a gap.
    pub fn rebase(&mut self, cursor: u64) {
        let overflowed = self.overflowed();
        *self = Self::new(cursor);
        if overflowed {
            self.gaps = Some(Box::new(Gaps {
                ranges: Vec::new(),
                overflowed,
            }));
        }
    }

    /// The highest sequence seen, from which a client that was cut resumes; the start cursor
    /// before the first message.
    pub fn cursor(&self) -> u64 {
        self.highest
    }

    /// Where the subscription began: sequences at or below are expected of nobody.
    pub fn start_cursor(&self) -> u64 {
        self.start
    }

    /// Whether there were more than [`MAX_GAPS`] gaps at once. The counts are then worth nothing:
    /// the trial is void.
    pub fn overflowed(&self) -> bool {
        self.gaps.as_ref().is_some_and(|gaps| gaps.overflowed)
    }

    /// Counts over the sequences `expected`, those at or below the start cursor left out.
    ///
    /// Missing is what has not arrived *by now*: call it after the drain. An empty range is one
    /// whose end lies below its start, such as `1..=0`.
    pub fn settle(&self, expected: std::ops::RangeInclusive<u64>) -> Deliveries {
        let mut counts = Deliveries {
            duplicate: self.duplicate,
            out_of_order: self.out_of_order,
            ..Deliveries::default()
        };
        let (low, high) = (
            (*expected.start()).max(self.start.saturating_add(1)),
            *expected.end(),
        );
        if low > high || high <= self.start {
            return counts;
        }
        counts.expected = high - low + 1;
        if high > self.highest {
            counts.missing = high - self.highest.max(low - 1);
        }
        for &(first, last) in self.gaps.iter().flat_map(|gaps| &gaps.ranges) {
            let (first, last) = (first.max(low), last.min(high));
            if first <= last {
                counts.missing += last - first + 1;
            }
        }
        counts.received = counts.expected - counts.missing;
        counts
    }

    /// The first sequence of `expected` that is missing, for messages that say where to look.
    pub fn first_missing(&self, expected: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (
            (*expected.start()).max(self.start.saturating_add(1)),
            *expected.end(),
        );
        let in_gap = self
            .gaps
            .iter()
            .flat_map(|gaps| &gaps.ranges)
            .find(|&&(_, last)| last >= low)
            .map(|&(first, _)| first.max(low));
        in_gap
            .or_else(|| self.highest.checked_add(1).map(|next| next.max(low)))
            .filter(|&sequence| sequence > self.start && sequence <= high)
    }

    /// Out of line: the path without loss stays short.
    #[cold]
    fn open_gap(&mut self, first: u64, last: u64) {
        let gaps = self.gaps.get_or_insert_default();
        if gaps.ranges.len() < MAX_GAPS {
            // Gaps open only above the highest sequence, so the list stays sorted.
            gaps.ranges.push((first, last));
        } else {
            gaps.overflowed = true;
        }
    }

    /// Takes `sequence` out of the gaps; `false` where it is in none.
    #[cold]
    fn close_gap(&mut self, sequence: u64) -> bool {
        let Some(gaps) = self.gaps.as_mut() else {
            return false;
        };
        let at = gaps.ranges.partition_point(|&(_, last)| last < sequence);
        let Some(&(first, last)) = gaps.ranges.get(at) else {
            return false;
        };
        if sequence < first {
            return false;
        }
        match (sequence == first, sequence == last) {
            (true, true) => {
                gaps.ranges.remove(at);
            }
            (true, false) => gaps.ranges[at].0 = sequence + 1,
            (false, true) => gaps.ranges[at].1 = sequence - 1,
            (false, false) if gaps.ranges.len() < MAX_GAPS => {
                gaps.ranges[at].1 = sequence - 1;
                gaps.ranges.insert(at + 1, (sequence + 1, last));
            }
            (false, false) => {
                gaps.ranges[at].1 = sequence - 1;
                gaps.overflowed = true;
            }
        }
        if gaps.ranges.is_empty() && !gaps.overflowed {
            self.gaps = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Merge;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn counts(
        expected: u64,
        received: u64,
        missing: u64,
        duplicate: u64,
        out_of_order: u64,
    ) -> Deliveries {
        Deliveries {
            expected,
            received,
            missing,
            duplicate,
            out_of_order,
        }
    }

    #[test]
    fn a_ledger_without_gaps_fits_into_64_bytes() {
        assert!(size_of::<Ledger>() <= 64, "{}", size_of::<Ledger>());
        let mut ledger = Ledger::new(0);
        (1..1000).for_each(|sequence| assert_eq!(ledger.record(sequence, true), Arrival::First));
        assert!(ledger.gaps.is_none());
    }

    #[test]
    fn a_complete_client_has_nothing_missing() {
        let mut ledger = Ledger::new(4);
        for sequence in 5..=20 {
            ledger.record(sequence, true);
        }
        assert_eq!(ledger.settle(1..=20), counts(16, 16, 0, 0, 0));
        assert_eq!(ledger.settle(10..=12), counts(3, 3, 0, 0, 0));
        assert_eq!(ledger.first_missing(1..=20), None);
    }

    #[test]
    fn a_loss_before_the_first_message_is_seen() {
        let mut ledger = Ledger::new(4);
        ledger.record(7, true);
        assert_eq!(ledger.settle(1..=7), counts(3, 1, 2, 0, 0));
        assert_eq!(ledger.first_missing(1..=7), Some(5));
    }

    #[test]
    fn a_client_that_got_nothing_misses_everything_above_its_cursor() {
        let ledger = Ledger::new(4);
        assert_eq!(ledger.settle(1..=10), counts(6, 0, 6, 0, 0));
        assert_eq!(ledger.settle(8..=10), counts(3, 0, 3, 0, 0));
        assert_eq!(ledger.first_missing(8..=10), Some(8));
    }

    #[test]
    fn a_late_message_fills_its_gap_and_counts_once_as_out_of_order() {
        let mut ledger = Ledger::new(0);
        assert_eq!(ledger.record(1, true), Arrival::First);
        assert_eq!(ledger.record(4, true), Arrival::First);
        assert_eq!(ledger.record(3, true), Arrival::OutOfOrder);
        assert_eq!(ledger.record(3, true), Arrival::Duplicate);
        assert_eq!(ledger.settle(1..=4), counts(4, 3, 1, 1, 1));
        assert_eq!(ledger.record(2, true), Arrival::OutOfOrder);
        assert_eq!(ledger.settle(1..=4), counts(4, 4, 0, 1, 2));
        assert!(ledger.gaps.is_none(), "a filled list gives its memory back");
    }

    #[test]
    fn what_is_delivered_before_the_subscription_cursor_is_a_duplicate() {
        let mut ledger = Ledger::new(10);
        assert_eq!(ledger.record(10, true), Arrival::Duplicate);
        assert_eq!(ledger.record(0, true), Arrival::Duplicate);
        assert_eq!(ledger.settle(1..=10), counts(0, 0, 0, 2, 0));
        assert_eq!(ledger.first_missing(1..=10), None);
    }

    #[test]
    fn outside_the_measure_phase_arrivals_are_remembered_but_not_counted() {
        let mut ledger = Ledger::new(0);
        ledger.record(3, false);
        assert_eq!(ledger.record(1, false), Arrival::OutOfOrder);
        assert_eq!(ledger.record(1, false), Arrival::Duplicate);
        assert_eq!(ledger.settle(1..=3), counts(3, 2, 1, 0, 0));
    }

    #[test]
    fn ledger_reports_a_gap_across_a_reconnect() {
        let mut ledger = Ledger::new(0);
        (1..=5).for_each(|sequence| _ = ledger.record(sequence, true));
        assert_eq!(ledger.cursor(), 5);
        // Cut; the new subscription was answered with cursor 8, and the account goes on.
        (9..=10).for_each(|sequence| _ = ledger.record(sequence, true));
        assert_eq!(ledger.settle(1..=10), counts(10, 7, 3, 0, 0));
        assert_eq!(ledger.first_missing(1..=10), Some(6));
    }

    #[test]
    fn what_lies_between_two_sessions_is_expected_of_nobody() {
        let mut ledger = Ledger::new(0);
        (1..=5).for_each(|sequence| _ = ledger.record(sequence, true));
        let mut total = ledger.settle(1..=5);
        ledger.rebase(100);
        assert_eq!(ledger.start_cursor(), 100);
        (101..=103).for_each(|sequence| _ = ledger.record(sequence, true));
        total.merge(ledger.settle(1..=104));
        assert_eq!(total, counts(9, 8, 1, 0, 0));
    }

    #[test]
    fn more_gaps_than_the_bound_set_the_overflow_flag() {
        let mut ledger = Ledger::new(0);
        for gap in 1..=MAX_GAPS as u64 {
            ledger.record(2 * gap, true);
        }
        assert!(!ledger.overflowed());
        ledger.record(2 * MAX_GAPS as u64 + 2, true);
        assert!(ledger.overflowed());
        ledger.rebase(0);
        assert!(
            ledger.overflowed(),
            "a session that overflowed is not forgotten"
        );
        assert_eq!(ledger.settle(1..=4), counts(4, 0, 4, 0, 0));
    }

    #[test]
    fn splitting_a_gap_beyond_the_bound_sets_the_overflow_flag() {
        let mut ledger = Ledger::new(0);
        for gap in 1..=MAX_GAPS as u64 {
            ledger.record(4 * gap, true);
        }
        assert_eq!(ledger.record(2, true), Arrival::OutOfOrder);
        assert!(ledger.overflowed());
    }

    #[test]
    fn the_ends_of_the_number_range_do_not_overflow() {
        let mut ledger = Ledger::new(u64::MAX - 1);
        assert_eq!(ledger.record(u64::MAX, true), Arrival::First);
        assert_eq!(ledger.settle(0..=u64::MAX), counts(1, 1, 0, 0, 0));
        assert_eq!(ledger.first_missing(0..=u64::MAX), None);
        assert_eq!(
            Ledger::new(u64::MAX).settle(0..=u64::MAX),
            counts(0, 0, 0, 0, 0)
        );
        assert_eq!(Ledger::new(0).settle(0..=0), counts(0, 0, 0, 0, 0));
        let (first, last) = (7, 3);
        assert_eq!(Ledger::new(0).settle(first..=last), counts(0, 0, 0, 0, 0));
    }

    /// One arrival of the model: the sequence and whether it belongs to the phase.
    fn arrivals() -> impl Strategy<Value = (u64, u64, Vec<(u64, bool)>)> {
        // Sequences 1..=n from a start cursor, with drops, repeats and swaps of neighbours.
        (0u64..30, 1u64..200).prop_flat_map(|(start, n)| {
            proptest::collection::vec((0u8..10, any::<bool>()), n as usize).prop_map(
                move |chances| {
                    let mut out: Vec<(u64, bool)> = Vec::new();
                    for (sequence, (chance, in_phase)) in (start.saturating_sub(2)..).zip(chances) {
                        match chance {
                            0 | 1 => {}
                            2 => out.extend([(sequence, in_phase), (sequence, in_phase)]),
                            3 => {
                                let at = out.len().saturating_sub(3);
                                out.insert(at, (sequence, in_phase));
                            }
                            4 => out.insert(0, (sequence, in_phase)),
                            _ => out.push((sequence, in_phase)),
                        }
                    }
                    (start, start + n, out)
                },
            )
        })
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_a_set_of_all_that_arrived(
            (start, end, arrivals) in arrivals(), low in 0u64..60, span in 0u64..250,
        ) {
            let mut ledger = Ledger::new(start);
            let mut seen = HashSet::new();
            let (mut highest, mut duplicate, mut out_of_order) = (start, 0, 0);
            for (sequence, in_phase) in arrivals {
                let expect = if sequence <= start || !seen.insert(sequence) {
                    duplicate += u64::from(in_phase);
                    Arrival::Duplicate
                } else if sequence < highest {
                    out_of_order += u64::from(in_phase);
                    Arrival::OutOfOrder
                } else {
                    highest = sequence;
                    Arrival::First
                };
                prop_assert_eq!(ledger.record(sequence, in_phase), expect);
            }
            for range in [low..=low + span, 1..=end] {
                let expected: Vec<u64> = range.clone().filter(|&s| s > start).collect();
                let received = expected.iter().filter(|s| seen.contains(s)).count() as u64;
                let count = expected.len() as u64;
                prop_assert_eq!(
                    ledger.settle(range.clone()),
                    counts(count, received, count - received, duplicate, out_of_order)
                );
                prop_assert_eq!(
                    ledger.first_missing(range),
                    expected.into_iter().find(|s| !seen.contains(s))
                );
            }
            prop_assert_eq!(ledger.cursor(), highest);
        }
    }
}
