//! Splits a byte stream at LF.
//!
//! Place on the data path: under the line protocol (both ends) and under the bodies of polls that
//! do not fit one read. In: bytes, cut anywhere. Out: whole lines without their LF.

use super::find;

/// A line went past the bound that its reader set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line has more than the {max} bytes that were expected at most")]
pub struct LineTooLong {
    /// The bound, in bytes.
    pub max: usize,
}

/// Splits a stream into lines. Holds the unfinished rest of a line and nothing else: no heap
/// memory between two lines.
#[derive(Debug, Default)]
pub struct Lines {
    /// Never holds an LF.
    rest: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes of the stream and calls `each` with every line that they complete,
    /// without its LF. A line that lies whole in `bytes` is borrowed from there.
    ///
    /// # Errors
    /// [`LineTooLong`] for a line of more than `max` bytes, finished or not; `E` is the first
    /// error of `each`. The rest of `bytes` is then discarded.
    pub fn feed<E: From<LineTooLong>>(
        &mut self,
        mut bytes: &[u8],
        max: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = find(bytes, |byte| byte == b'\n') {
            if self.rest.len() + end > max {
                return Err(self.too_long(max));
            }
            if self.rest.is_empty() {
                each(&bytes[..end])?;
            } else {
                // Taken, not cleared: the heap memory goes with the line.
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(&bytes[..end]);
                each(&line)?;
            }
            bytes = &bytes[end + 1..];
        }
        if self.rest.len() + bytes.len() > max {
            return Err(self.too_long(max));
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes of the line that is not finished yet. Not 0 at the end of a stream means that it was
    /// cut.
    pub fn pending_bytes(&self) -> usize {
        self.rest.len()
    }

    fn too_long<E: From<LineTooLong>>(&mut self, max: usize) -> E {
        self.rest = Vec::new();
        LineTooLong { max }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at_every_split, feeds};
    use super::*;

    fn lines(feeds: &[&[u8]], max: usize) -> (Vec<Vec<u8>>, Option<LineTooLong>, usize) {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for feed in feeds {
            let result = lines.feed(feed, max, |line| {
                found.push(line.to_vec());
                Ok(())
            });
            if let Err(error) = result {
                return (found, Some(error), lines.pending_bytes());
            }
        }
        (found, None, lines.pending_bytes())
    }

    #[test]
    fn lines_are_the_same_at_every_split() {
        let (found, error, pending) =
            at_every_split(b"one\n\ntwo two\nthree\r\nrest", |feeds| lines(feeds, 100));
        assert_eq!(found, [&b"one"[..], b"", b"two two", b"three\r"]);
        assert_eq!((error, pending), (None, 4));
    }

    #[test]
    fn a_line_over_the_bound_is_an_error_finished_or_not() {
        for stream in [&b"ok\n12345\nnext\n"[..], b"ok\n12345"] {
            let (found, error, pending) = at_every_split(stream, |feeds| lines(feeds, 4));
            assert_eq!(found, [b"ok"]);
            assert_eq!((error, pending), (Some(LineTooLong { max: 4 }), 0));
        }
        assert_eq!(lines(&[b"1234\n1234"], 4).1, None);
    }

    #[test]
    fn no_heap_memory_is_kept_between_lines() {
        let mut lines = Lines::default();
        for feed in [&b"half a li"[..], b"ne\nwhole\n"] {
            lines
                .feed::<LineTooLong>(feed, 100, |_| Ok(()))
                .expect("short lines");
        }
        assert_eq!(lines.rest.capacity(), 0);
    }

    proptest::proptest! {
        #[test]
        fn any_feeds_stay_within_the_bound(feeds in feeds()) {
            let mut lines = Lines::default();
            for feed in feeds {
                let _ = lines.feed::<LineTooLong>(&feed, 30, |line| {
                    assert!(line.len() <= 30 && !line.contains(&b'\n'));
                    Ok(())
                });
                proptest::prop_assert!(lines.pending_bytes() <= 30);
            }
        }
    }
}
