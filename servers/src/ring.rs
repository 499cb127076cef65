//! A channel's log in one shard: the last messages, framed, as one run of bytes.
//!
//! Place on the data path: hub → shard → **ring** → transport. In: framed messages in sequence.
//! Out: all that is pending behind a cursor as at most two slices, ready for one write. Whatever
//! frames look like, a message is encoded once here and never once per subscriber.

use std::collections::VecDeque;

use bytes::Bytes;

/// How much a ring keeps. The oldest messages fall off beyond either limit; the newest stays even
/// if it alone is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// Most messages of a channel; at least 1.
    pub messages: usize,
    /// Most framed bytes of a channel.
    pub bytes: usize,
}

impl Default for RingLimits {
    /// 1,024 messages or 1 MiB, whichever is less.
    fn default() -> Self {
        Self {
            messages: 1024,
            bytes: 1 << 20,
        }
    }
}

/// The framed log of one channel.
#[derive(Debug, Default)]
pub struct Ring {
    /// Sequence of the oldest message kept; the next sequence where there is none.
    first: u64,
    bytes: VecDeque<u8>,
    /// Absolute end of each message kept, in bytes since the ring began.
    ends: VecDeque<u64>,
    /// Absolute position of the first byte kept.
    start: u64,
    /// The last answer of [`Self::shared`]: subscribers of a channel mostly ask for the same.
    shared: Option<(u64, u64, Bytes)>,
}

impl Ring {
    /// An empty ring whose first message will be `first`.
    pub fn starting_at(first: u64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// Sequence of the oldest message kept; the next sequence where there is none.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The sequence that the next message will have.
    pub fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Appends one message, framed by `encode`, and lets the oldest fall off.
    pub fn push(&mut self, limits: RingLimits, framed: &[u8]) {
        self.bytes.extend(framed);
        self.ends.push_back(self.start + self.bytes.len() as u64);
        while self.ends.len() > 1
            && (self.ends.len() > limits.messages || self.bytes.len() > limits.bytes)
        {
            let end = self.ends.pop_front().expect("more than one message");
            self.bytes.drain(..(end - self.start) as usize);
            self.start = end;
            self.first += 1;
        }
    }

    /// The messages from `from` on that fit into `max_bytes`, at least one: the bytes in at most
    /// two slices, and the last sequence in them. `None` where nothing is pending or `from` has
    /// fallen off.
    pub fn pending(&self, from: u64, max_bytes: usize) -> Option<(&[u8], &[u8], u64)> {
        if from < self.first || from >= self.next() {
            return None;
        }
        let index = (from - self.first) as usize;
        let begin = self.begin_of(index);
        let until = begin + max_bytes as u64;
        let last = if self.ends[self.ends.len() - 1] <= until {
            self.ends.len() - 1
        } else {
            // The ends ascend: the first one past the limit is behind the last that fits.
            self.ends
                .partition_point(|&end| end <= until)
                .saturating_sub(1)
                .max(index)
        };
        let (head, tail) = slices(
            &self.bytes,
            (begin - self.start) as usize,
            (self.ends[last] - self.start) as usize,
        );
        Some((head, tail, self.first + last as u64))
    }

    /// What is left when a writer took only the first `taken` bytes behind the start of message
    /// `from`: the rest of the message that it stopped within, and the last sequence that it took
    /// at least a part of. `None` where it took nothing, or all that there is ends before.
    pub fn rest(&self, from: u64, taken: usize) -> Option<(&[u8], &[u8], u64)> {
        if taken == 0 || from < self.first || from >= self.next() {
            return None;
        }
        let stopped = self.begin_of((from - self.first) as usize) + taken as u64;
        let last = self.ends.partition_point(|&end| end < stopped);
        let (head, tail) = slices(
            &self.bytes,
            (stopped - self.start) as usize,
            (self.ends.get(last)? - self.start) as usize,
        );
        Some((head, tail, self.first + last as u64))
    }

    /// As [`Self::pending`], in one piece that is shared by all who ask for the same.
    pub fn shared(&mut self, from: u64, max_bytes: usize) -> Option<(Bytes, u64)> {
        let (head, tail, last) = self.pending(from, max_bytes)?;
        if let Some((f, l, bytes)) = &self.shared
            && (*f, *l) == (from, last)
        {
            return Some((bytes.clone(), last));
        }
        let mut joined = Vec::with_capacity(head.len() + tail.len());
        joined.extend_from_slice(head);
        joined.extend_from_slice(tail);
        let bytes = Bytes::from(joined);
        self.shared = Some((from, last, bytes.clone()));
        Some((bytes, last))
    }

    fn begin_of(&self, index: usize) -> u64 {
        if index == 0 {
            self.start
        } else {
            self.ends[index - 1]
        }
    }
}

fn slices(bytes: &VecDeque<u8>, begin: usize, end: usize) -> (&[u8], &[u8]) {
    let (front, back) = bytes.as_slices();
    let split = front.len();
    (
        &front[begin.min(split)..end.min(split)],
        &back[begin.saturating_sub(split)..end.saturating_sub(split)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ring: &Ring, from: u64, max: usize) -> Option<(String, u64)> {
        let (a, b, last) = ring.pending(from, max)?;
        Some((String::from_utf8([a, b].concat()).expect("ASCII"), last))
    }

    #[test]
    fn everything_pending_comes_as_one_run_of_bytes() {
        let mut ring = Ring::starting_at(1);
        assert_eq!(text(&ring, 1, 100), None);
        for message in ["one;", "two;", "three;"] {
            ring.push(RingLimits::default(), message.as_bytes());
        }
        assert_eq!(text(&ring, 1, 100), Some(("one;two;three;".into(), 3)));
        assert_eq!(text(&ring, 3, 100), Some(("three;".into(), 3)));
        assert_eq!(text(&ring, 4, 100), None);
        assert_eq!(text(&ring, 1, 9), Some(("one;two;".into(), 2)));
        assert_eq!(text(&ring, 1, 8), Some(("one;two;".into(), 2)));
        assert_eq!(text(&ring, 1, 0), Some(("one;".into(), 1)));
    }

    #[test]
    fn the_oldest_fall_off_by_count_and_by_bytes_and_the_newest_stays() {
        let mut ring = Ring::starting_at(7);
        let limits = RingLimits {
            messages: 2,
            bytes: 10,
        };
        for message in ["aaaa", "bbbb", "cccc"] {
            ring.push(limits, message.as_bytes());
        }
        assert_eq!((ring.first(), ring.next()), (8, 10));
        assert_eq!(text(&ring, 7, 100), None);
        ring.push(limits, b"a message longer than the ring");
        assert_eq!((ring.first(), ring.next()), (10, 11));
        assert_eq!(
            text(&ring, 10, 1),
            Some(("a message longer than the ring".into(), 10))
        );
    }

    #[test]
    fn one_answer_is_shared_by_all_who_ask_for_the_same() {
        let mut ring = Ring::starting_at(1);
        ring.push(RingLimits::default(), b"a;");
        ring.push(RingLimits::default(), b"b;");
        let (first, _) = ring.shared(1, 100).expect("pending");
        let (second, last) = ring.shared(1, 100).expect("pending");
        assert_eq!((&first[..], last), (&b"a;b;"[..], 2));
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(ring.shared(2, 100).expect("pending").0, "b;");
    }

    proptest::proptest! {
        #[test]
        fn a_ring_answers_as_a_list_of_its_last_messages_would(
            lengths in proptest::collection::vec(1usize..40, 1..200),
            messages in 1usize..20, bytes in 1usize..300, max in 0usize..400,
        ) {
            let limits = RingLimits { messages, bytes };
            let mut ring = Ring::starting_at(1);
            let mut all: Vec<Vec<u8>> = vec![vec![]];
            for (i, length) in lengths.iter().enumerate() {
                all.push(vec![i as u8; *length]);
                ring.push(limits, all.last().expect("just pushed"));
                for from in ring.first()..ring.next() {
                    let (a, b, last) = ring.pending(from, max).expect("kept");
                    let expected = all[from as usize..=last as usize].concat();
                    proptest::prop_assert!(expected.len() <= max || last == from);
                    if last + 1 < ring.next() {
                        let more = expected.len() + all[last as usize + 1].len();
                        proptest::prop_assert!(more > max);
                    }
                    proptest::prop_assert_eq!([a, b].concat(), &expected[..]);
                    // Whoever takes a part of it is left the rest of one message.
                    let taken = max % (expected.len() + 1);
                    let Some((a, b, last)) = ring.rest(from, taken) else {
                        proptest::prop_assert_eq!(taken, 0);
                        continue;
                    };
                    let whole = all[from as usize..=last as usize].concat();
                    proptest::prop_assert_eq!([&expected[..taken], a, b].concat(), whole);
                    proptest::prop_assert!(a.len() + b.len() < all[last as usize].len());
                }
            }
        }
    }
}
