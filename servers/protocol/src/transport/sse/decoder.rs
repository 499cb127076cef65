//! Reads an event stream as an EventSource does.
//!
//! Place on the data path: between the body of the `sse` response and the ledger. In: bytes, cut
//! anywhere. Out: blocks, what stands between two blank lines.

use std::borrow::Cow;

use crate::framing::{MAX_BUFFERED_BYTES, find, parse_decimal};

/// UTF-8 byte order mark; one is ignored at the start of the stream (section 9.2.5).
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// What one block of an event stream says. Bytes are handed on as they came: malformed UTF-8 is
/// not replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// The new last event id, where the block sets one. It persists over later blocks without one
    /// and is what a client that reconnects sends as `Last-Event-ID`, so the caller keeps it. It
    /// counts even if the block dispatches nothing.
    pub id: Option<&'a [u8]>,
    /// Type of the event; empty stands for `message`.
    pub event: &'a [u8],
    /// The lines of data, joined with LF. `None`: nothing is dispatched. Borrowed where the block
    /// has one line of data.
    pub data: Option<Cow<'a, [u8]>>,
    /// The new reconnection time, in milliseconds, where the block sets one.
    pub retry_ms: Option<u64>,
}

/// Why an event stream cannot be read on. (An event stream has no syntax errors: what is not
/// understood is ignored.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A block longer than any that carries an envelope.
    #[error("expected an event of at most {MAX_BUFFERED_BYTES} bytes, got one that is longer")]
    TooLong,
}

/// An incremental reader of one event stream. Small and without heap memory between two blocks;
/// the last event id is the caller's to keep, as a number.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The block that is not finished, its lines ended by anything that ends lines. Empty while
    /// whole blocks are read where they lie.
    block: Vec<u8>,
    /// Where the unfinished last line of `block` starts. [`MAX_BUFFERED_BYTES`] fits easily.
    line_start: u32,
    comments: u32,
    /// Bytes of the byte order mark seen; 3 also once it is known that there is none.
    bom: u8,
    /// The last byte was a CR that ended a line: an LF now is the rest of that line end.
    after_cr: bool,
}

impl Decoder {
    /// Takes the next bytes of the stream and calls `each` with every block that they complete and
    /// that says anything: an id, data, or a reconnection time.
    ///
    /// What the end of the stream leaves unfinished is dropped, as the specification wants it. One
    /// liberty is taken: `retry` counts when its block is complete, not when its line is.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] for a block past [`MAX_BUFFERED_BYTES`], finished or not. The rest
    /// of `bytes` is then discarded.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Block<'_>),
    ) -> Result<(), DecodeError> {
        let bytes = self.skip_bom(bytes);
        let Some(&first) = bytes.first() else {
            return Ok(());
        };
        let mut at = usize::from(self.after_cr && first == b'\n');
        self.after_cr = false;
        // Start of the block that is read where it lies; of no meaning while `block` is in use.
        let mut start = at;
        while let Some(length) = find(&bytes[at..], |byte| matches!(byte, b'\r' | b'\n')) {
            let end = at + length;
            let mut next = end + 1;
            if bytes[end] == b'\r' {
                match bytes.get(next) {
                    Some(b'\n') => next += 1,
                    Some(_) => (),
                    // Not waited for: the line is complete, a blank one dispatches now.
                    None => self.after_cr = true,
                }
            }
            if self.block.is_empty() {
                match bytes[at..end].first() {
                    None => {
                        check(end - start)?;
                        parse(&bytes[start..at], &mut each);
                        start = next;
                    }
                    Some(b':') => {
                        self.comments = self.comments.wrapping_add(1);
                        // Between blocks a comment leaves nothing behind, so that an idle client
                        // stays without heap memory whatever keep-alives it gets.
                        if start == at {
                            start = next;
                        }
                    }
                    Some(_) => (),
                }
            } else {
                self.buffer(&bytes[at..end])?;
                self.end_line(&mut each);
                start = next;
            }
            at = next;
        }
        if self.block.is_empty() {
            self.line_start = (at - start) as u32;
            self.buffer(&bytes[start..])
        } else {
            self.buffer(&bytes[at..])
        }
    }

    /// Comment lines read so far, keep-alives among them. Wraps around at 2^32.
    pub fn comments(&self) -> u32 {
        self.comments
    }

    /// Bytes of the block that is not finished yet.
    pub fn pending_bytes(&self) -> usize {
        self.block.len()
    }

    /// Takes the byte order mark off the start of the stream, one byte at a time where need be.
    fn skip_bom<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while usize::from(self.bom) < BOM.len() {
            let Some((&byte, rest)) = bytes.split_first() else {
                break;
            };
            if byte == BOM[usize::from(self.bom)] {
                self.bom += 1;
                bytes = rest;
            } else {
                // No mark after all: what looked like one starts the first line.
                self.block.extend_from_slice(&BOM[..usize::from(self.bom)]);
                self.bom = 3;
            }
        }
        bytes
    }

    /// The line that ends `block` is complete, its line end not stored yet.
    fn end_line(&mut self, each: impl FnMut(Block<'_>)) {
        let start = self.line_start as usize;
        match self.block.get(start) {
            None => {
                // Taken, not cleared: the heap memory goes with the block.
                parse(&std::mem::take(&mut self.block), each);
                self.line_start = 0;
            }
            Some(b':') => {
                self.comments = self.comments.wrapping_add(1);
                self.block.truncate(start);
                if start == 0 {
                    self.block = Vec::new();
                }
            }
            Some(_) => {
                self.block.push(b'\n');
                self.line_start = self.block.len() as u32;
            }
        }
    }

    fn buffer(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let checked = check(self.block.len() + bytes.len());
        match checked {
            Ok(()) => self.block.extend_from_slice(bytes),
            Err(_) => (self.block, self.line_start) = (Vec::new(), 0),
        }
        checked
    }
}

fn check(bytes: usize) -> Result<(), DecodeError> {
    if bytes <= MAX_BUFFERED_BYTES {
        Ok(())
    } else {
        Err(DecodeError::TooLong)
    }
}

/// Interprets a block, all lines before its blank one (section 9.2.6).
fn parse(raw: &[u8], mut each: impl FnMut(Block<'_>)) {
    let mut block = Block {
        id: None,
        event: b"",
        data: None,
        retry_ms: None,
    };
    let mut rest = raw;
    while !rest.is_empty() {
        let end = find(rest, |byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        let line = &rest[..end];
        // A CR LF is taken as two line ends here: the empty line between them has no meaning
        // inside of a block.
        rest = rest.get(end + 1..).unwrap_or_default();
        // Names are short, so a plain search; a line without a colon is a name without a value.
        let colon = line
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => match &mut block.data {
                None => block.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"id" if !value.contains(&0) => block.id = Some(value),
            b"event" => block.event = value,
            // Digits beyond 64 bits are a time that nobody waits for: ignored like no digits.
            b"retry" => block.retry_ms = parse_decimal(value).or(block.retry_ms),
            _ => (),
        }
    }
    if block.id.is_some() || block.data.is_some() || block.retry_ms.is_some() {
        each(block);
    }
}

#[cfg(test)]
mod tests;
