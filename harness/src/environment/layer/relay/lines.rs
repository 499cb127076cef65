//! Faults of a line protocol: some envelopes left out, sent twice, or sent behind the next.
//!
//! Beside the data path, between the two sockets of a relayed connection. In: the bytes that the
//! server sent, cut anywhere. Out: the bytes that go on, and a count of exactly what was done to
//! them. Which messages are hit follows from their sequence alone, so a second run hits the same.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pushbench_protocol::envelope;

/// The messages whose sequence leaves `offset` when divided by `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every {
    /// One message in so many; at least 1.
    pub period: u64,
    /// Which of them, below `period`.
    pub offset: u64,
}

impl Every {
    fn hits(self, sequence: u64) -> bool {
        sequence % self.period.max(1) == self.offset
    }
}

/// What is done to the messages of a connection. A message that two kinds would hit is left out
/// first, swapped next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineFaults {
    /// These are left out.
    pub drop: Option<Every>,
    /// These are sent twice.
    pub duplicate: Option<Every>,
    /// These are sent behind the next message that goes on.
    pub swap: Option<Every>,
}

/// How many messages were hit, over all connections. A swap counts once it has happened: for the
/// message that was held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Injected {
    /// Left out.
    pub dropped: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Sent behind the next.
    pub swapped: u64,
}

/// Counts what is injected into messages whose intended time lies in a window.
#[derive(Debug, Default)]
pub(super) struct Counters {
    from_ns: AtomicU64,
    until_ns: AtomicU64,
    dropped: AtomicU64,
    duplicated: AtomicU64,
    swapped: AtomicU64,
}

impl Counters {
    /// Counts messages intended in `from_ns..until_ns` from here on; none before the first call.
    pub(super) fn count_within(&self, from_ns: u64, until_ns: u64) {
        self.from_ns.store(from_ns, Relaxed);
        self.until_ns.store(until_ns, Relaxed);
    }

    pub(super) fn read(&self) -> Injected {
        Injected {
            dropped: self.dropped.load(Relaxed),
            duplicated: self.duplicated.load(Relaxed),
            swapped: self.swapped.load(Relaxed),
        }
    }

    fn add(&self, counter: &AtomicU64, intended_ns: u64) {
        if (self.from_ns.load(Relaxed)..self.until_ns.load(Relaxed)).contains(&intended_ns) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

/// One direction of one connection.
#[derive(Debug)]
pub(super) struct Filter {
    faults: LineFaults,
    /// The line that is not complete yet.
    partial: Vec<u8>,
    /// A complete message that waits for the next one, and its intended time.
    held: Option<(Vec<u8>, u64)>,
}

impl Filter {
    pub(super) fn new(faults: LineFaults) -> Self {
        Self {
            faults,
            partial: Vec::new(),
            held: None,
        }
    }

    /// Takes what arrived and appends to `out` what goes on.
    pub(super) fn feed(&mut self, bytes: &[u8], counters: &Counters, out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            if self.partial.is_empty() {
                self.line(line, counters, out);
            } else {
                self.partial.extend_from_slice(line);
                let line = std::mem::take(&mut self.partial);
                self.line(&line, counters, out);
            }
        }
        self.partial.extend_from_slice(rest);
        // Longer than any line of the protocol: not ours to take apart.
        if self.partial.len() > envelope::MAX_BYTES + 1 {
            self.release(out);
            out.append(&mut self.partial);
        }
    }

    /// Lets go of a message that waits for the next: nothing came after it, so it is not swapped
    /// and does not count.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        if let Some((line, _)) = self.held.take() {
            out.extend_from_slice(&line);
        }
    }

    /// The connection ends: what is left goes on.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(out);
        out.append(&mut self.partial);
    }

    fn line(&mut self, line: &[u8], counters: &Counters, out: &mut Vec<u8>) {
        let Ok(message) = envelope::decode(&line[..line.len() - 1]) else {
            // Control lines keep their place among the messages.
            self.release(out);
            out.extend_from_slice(line);
            return;
        };
        let hit = |every: Option<Every>| every.is_some_and(|e| e.hits(message.sequence));
        if hit(self.faults.drop) {
            counters.add(&counters.dropped, message.intended_ns);
            return;
        }
        if self.held.is_none() && hit(self.faults.swap) {
            self.held = Some((line.to_vec(), message.intended_ns));
            return;
        }
        out.extend_from_slice(line);
        if hit(self.faults.duplicate) {
            out.extend_from_slice(line);
            counters.add(&counters.duplicated, message.intended_ns);
        }
        if let Some((held, intended_ns)) = self.held.take() {
            out.extend_from_slice(&held);
            counters.add(&counters.swapped, intended_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of messages that are due at ten times their sequence; 0 is a keep-alive.
    fn lines(sequences: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        for &sequence in sequences {
            if sequence > 0 {
                envelope::encode(sequence, 10 * sequence, 7, b"payload", &mut out);
            }
            out.push(b'\n');
        }
        out
    }

    fn every(period: u64, offset: u64) -> Option<Every> {
        Some(Every { period, offset })
    }

    /// What goes on of `input` when cut into parts of `size`, and what is counted of the messages
    /// 1 to 99.
    fn through(faults: LineFaults, input: &[u8], size: usize) -> (Vec<u8>, Injected) {
        let (counters, mut out) = (Counters::default(), Vec::new());
        counters.count_within(10, 1_000);
        let mut filter = Filter::new(faults);
        for part in input.chunks(size) {
            filter.feed(part, &counters, &mut out);
        }
        filter.finish(&mut out);
        (out, counters.read())
    }

    #[test]
    fn each_fault_has_its_exact_bytes_however_the_stream_is_cut() {
        let none = LineFaults::default();
        let input = [b"SUBSCRIBED 0\n".to_vec(), lines(&[1, 2, 3, 4, 5, 6])].concat();
        let output = |sequences: &[u64]| [b"SUBSCRIBED 0\n".to_vec(), lines(sequences)].concat();
        let cases = [
            (none, output(&[1, 2, 3, 4, 5, 6]), Injected::default()),
            (
                LineFaults {
                    drop: every(3, 2),
                    ..none
                },
                output(&[1, 3, 4, 6]),
                Injected {
                    dropped: 2,
                    ..Injected::default()
                },
            ),
            (
                LineFaults {
                    duplicate: every(4, 0),
                    ..none
                },
                output(&[1, 2, 3, 4, 4, 5, 6]),
                Injected {
                    duplicated: 1,
                    ..Injected::default()
                },
            ),
            (
                LineFaults {
                    swap: every(3, 1),
                    ..none
                },
                output(&[2, 1, 3, 5, 4, 6]),
                Injected {
                    swapped: 2,
                    ..Injected::default()
                },
            ),
        ];
        for (faults, expected, injected) in cases {
            for size in [1, 7, 64, 10_000] {
                assert_eq!(
                    through(faults, &input, size),
                    (expected.clone(), injected),
                    "{faults:?} in parts of {size}"
                );
            }
        }
    }

    #[test]
    fn a_message_is_swapped_with_the_next_that_goes_on() {
        let faults = LineFaults {
            drop: every(10, 2),
            swap: every(10, 1),
            duplicate: every(10, 3),
        };
        let injected = Injected {
            dropped: 1,
            duplicated: 1,
            swapped: 1,
        };
        assert_eq!(
            through(faults, &lines(&[1, 2, 3, 4]), 9),
            (lines(&[3, 3, 1, 4]), injected)
        );
    }

    #[test]
    fn a_message_with_nothing_behind_it_is_neither_lost_nor_counted() {
        let faults = LineFaults {
            swap: every(5, 0),
            ..LineFaults::default()
        };
        assert_eq!(
            through(faults, &lines(&[4, 5]), 100),
            (lines(&[4, 5]), Injected::default())
        );
        let (counters, mut out) = (Counters::default(), Vec::new());
        let mut filter = Filter::new(faults);
        filter.feed(&lines(&[4, 5]), &counters, &mut out);
        assert_eq!(out, lines(&[4]));
        filter.release(&mut out);
        filter.feed(&lines(&[6]), &counters, &mut out);
        assert_eq!(out, lines(&[4, 5, 6]));
        // A keep-alive is not a message to be swapped with.
        assert_eq!(
            through(faults, &lines(&[5, 0, 6]), 100),
            (lines(&[5, 0, 6]), Injected::default())
        );
    }

    #[test]
    fn only_messages_intended_within_the_window_are_counted() {
        let faults = LineFaults {
            drop: every(2, 0),
            ..LineFaults::default()
        };
        let (counters, mut out) = (Counters::default(), Vec::new());
        let mut filter = Filter::new(faults);
        filter.feed(&lines(&[1, 2]), &counters, &mut out);
        assert_eq!(counters.read().dropped, 0, "there is no window yet");
        counters.count_within(40, 80);
        filter.feed(&lines(&[3, 4, 5, 6, 7, 8, 9]), &counters, &mut out);
        assert_eq!(counters.read().dropped, 2);
        assert_eq!(out, lines(&[1, 3, 5, 7, 9]));
    }

    #[test]
    fn what_is_no_line_of_the_protocol_passes_unchanged() {
        let long = vec![b'a'; envelope::MAX_BYTES + 10];
        let faults = LineFaults {
            drop: every(1, 0),
            ..LineFaults::default()
        };
        assert_eq!(through(faults, &long, 4096).0, long);
    }
}
