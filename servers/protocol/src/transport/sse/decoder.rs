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
mod tests {
    use super::super::{KEEP_ALIVE, encode, encode_lagged, encode_open};
    use super::*;
    use crate::framing::testing::{at_every_split, envelope, feeds, feeds_of};

    fn decode(feeds: &[&[u8]]) -> (Vec<String>, u32) {
        let (mut decoder, mut found) = (Decoder::default(), Vec::new());
        for feed in feeds {
            decoder
                .feed(feed, |block| found.push(show(&block)))
                .expect("short blocks");
        }
        (found, decoder.comments())
    }

    /// `id|event|data|retry`, `-` for what is not there.
    fn show(block: &Block<'_>) -> String {
        let text = |bytes: Option<&[u8]>| {
            bytes.map_or("-".to_owned(), |bytes| {
                String::from_utf8_lossy(bytes).into_owned()
            })
        };
        let retry = block.retry_ms.map_or("-".to_owned(), |ms| ms.to_string());
        let event = String::from_utf8_lossy(block.event);
        format!(
            "{}|{event}|{}|{retry}",
            text(block.id),
            text(block.data.as_deref())
        )
    }

    /// Decodes at every split; returns the blocks.
    fn blocks(stream: &str) -> Vec<String> {
        at_every_split(stream.as_bytes(), decode).0
    }

    #[test]
    fn a_stream_of_the_server_decodes_the_same_at_every_split() {
        let mut stream = Vec::new();
        encode_open(41, &mut stream);
        encode(42, &envelope(42, 60), &mut stream);
        stream.extend_from_slice(KEEP_ALIVE);
        stream.extend_from_slice(KEEP_ALIVE);
        encode_lagged(43, 50, &mut stream);
        encode(51, &envelope(51, 52), &mut stream);
        stream.extend_from_slice(KEEP_ALIVE);
        let (found, comments) = at_every_split(&stream, decode);
        let text = |sequence, bytes| {
            String::from_utf8(envelope(sequence, bytes)).expect("an envelope is UTF-8")
        };
        assert_eq!(
            found,
            [
                "41||-|-".to_owned(),
                format!("42||{}|-", text(42, 60)),
                "50|lagged|43 50|-".to_owned(),
                format!("51||{}|-", text(51, 52)),
            ]
        );
        assert_eq!(comments, 3);
    }

    #[test]
    fn one_leading_byte_order_mark_is_stripped() {
        assert_eq!(blocks("\u{feff}data: a\n\n"), ["-||a|-"]);
        assert!(blocks("\u{feff}\u{feff}data: a\n\n").is_empty());
        assert_eq!(
            blocks("data: a\n\n\u{feff}data: b\n\ndata: c\n\n"),
            ["-||a|-", "-||c|-"]
        );
    }

    #[test]
    fn what_only_begins_like_a_byte_order_mark_is_kept() {
        let stream = b"\xef\xbbdata: a\n\n\xefdata: b\n\ndata: c\n\n";
        assert_eq!(at_every_split(stream, decode).0, ["-||c|-"]);
        assert_eq!(
            at_every_split(b"\xef\xbb\n\ndata: c\n\n", decode).0,
            ["-||c|-"]
        );
    }

    #[test]
    fn cr_lf_and_crlf_end_lines() {
        assert_eq!(
            blocks("data: a\ndata: b\n\ndata: c\n\n"),
            ["-||a\nb|-", "-||c|-"]
        );
        assert_eq!(
            blocks("data: a\rdata: b\r\rdata: c\r\r"),
            ["-||a\nb|-", "-||c|-"]
        );
        assert_eq!(
            blocks("data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n"),
            ["-||a\nb|-", "-||c|-"]
        );
        assert_eq!(
            blocks("data: a\n\rdata: b\r\n\ndata: c\r\r\n"),
            ["-||a|-", "-||b|-", "-||c|-"]
        );
    }

    #[test]
    fn a_blank_line_ended_by_cr_dispatches_before_the_next_byte() {
        assert_eq!(decode(&[b"data: a\r\n\r"]).0, ["-||a|-"]);
        assert_eq!(
            decode(&[b"data: a\r", b"\n\r", b"", b"\n", b"data: b\n\n"])
                .0
                .len(),
            2
        );
    }

    #[test]
    fn one_space_after_the_colon_is_stripped() {
        assert_eq!(
            blocks("data:a\n\ndata: a\n\ndata:  a \n\n"),
            ["-||a|-", "-||a|-", "-|| a |-"]
        );
        assert_eq!(blocks("data:\ta\n\n"), ["-||\ta|-"]);
    }

    #[test]
    fn comments_are_ignored_and_counted() {
        let (found, comments) = at_every_split(
            b": hi\n\n:\ndata: a\n:data: b\ndata: c\n:\n\n:\r\n:",
            decode,
        );
        assert_eq!(found, ["-||a\nc|-"]);
        assert_eq!(comments, 5);
    }

    #[test]
    fn the_keep_alive_between_events_changes_nothing_and_keeps_nothing() {
        let mut decoder = Decoder::default();
        let mut count = 0;
        for feed in [
            b"data: a\n\n",
            KEEP_ALIVE,
            KEEP_ALIVE,
            b":",
            b"\n",
            b"data: b\n\n",
        ] {
            decoder.feed(feed, |_| count += 1).expect("short blocks");
            if feed != b":" {
                assert_eq!(decoder.block.capacity(), 0);
            }
        }
        assert_eq!((count, decoder.comments()), (2, 3));
    }

    #[test]
    fn comments_inside_of_an_unfinished_block_do_not_fill_the_buffer() {
        let mut decoder = Decoder::default();
        decoder.feed(b"id: 1\n", |_| ()).expect("short");
        for _ in 0..1000 {
            decoder.feed(b": still here\n", |_| ()).expect("dropped");
        }
        assert_eq!(decoder.pending_bytes(), 6);
    }

    #[test]
    fn unknown_fields_are_ignored_and_names_are_case_sensitive() {
        assert!(blocks("Data: a\nDATA: b\ndat: c\n data: d\nfoo\n\n").is_empty());
        assert_eq!(blocks("foo: 1\ndata: a\n\n"), ["-||a|-"]);
    }

    #[test]
    fn an_id_with_nul_is_ignored() {
        assert_eq!(blocks("id: 1\nid: 2\0\ndata: a\n\n"), ["1||a|-"]);
        assert_eq!(blocks("id: \0\ndata: a\n\n"), ["-||a|-"]);
    }

    #[test]
    fn an_empty_id_is_an_id() {
        assert_eq!(
            blocks("id\ndata: a\n\nid:\ndata: b\n\n"),
            ["||a|-", "||b|-"]
        );
    }

    #[test]
    fn retry_takes_digits_only() {
        assert_eq!(blocks("retry: 1500\n\n"), ["-||-|1500"]);
        assert_eq!(
            blocks("retry: 7\nretry: 1.5\nretry: -1\nretry: 1s\nretry:\n\n"),
            ["-||-|7"]
        );
        assert!(blocks("retry: 0x10\n\nretry:  1\n\n").is_empty());
    }

    #[test]
    fn a_block_without_data_is_not_dispatched_but_its_id_is_kept() {
        assert_eq!(blocks("event: a\nid: 5\n\n"), ["5|a|-|-"]);
        assert!(blocks("event: a\n\n\n\n").is_empty());
    }

    #[test]
    fn an_empty_data_field_is_data() {
        assert_eq!(
            blocks("data\n\ndata:\n\ndata\ndata\n\n"),
            ["-|||-", "-|||-", "-||\n|-"]
        );
    }

    #[test]
    fn the_event_type_lasts_for_one_block() {
        assert_eq!(
            blocks("event: a\ndata: 1\n\ndata: 2\n\n"),
            ["-|a|1|-", "-||2|-"]
        );
        assert_eq!(blocks("event: a\nevent\ndata: 1\n\n"), ["-||1|-"]);
    }

    #[test]
    fn lines_of_data_are_joined_with_lf() {
        assert_eq!(
            blocks("data: YHOO\ndata: +2\nid: 1\ndata: 10\n\n"),
            ["1||YHOO\n+2\n10|-"]
        );
    }

    #[test]
    fn an_unfinished_last_block_is_dropped() {
        assert!(blocks("data: a\n").is_empty());
        assert!(blocks("id: 1\ndata: a").is_empty());
    }

    #[test]
    fn examples_of_the_specification_decode_as_it_says() {
        // Section 9.2.6, its second and third stream.
        assert_eq!(
            blocks(
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
            ),
            ["1||first event|-", "||second event|-", "-|| third event|-"]
        );
        assert_eq!(blocks("data\n\ndata\ndata\n\ndata:"), ["-|||-", "-||\n|-"]);
    }

    #[test]
    fn a_block_with_one_line_of_data_is_borrowed_from_the_feed() {
        let stream = b"id: 1\ndata: envelope\n\n";
        Decoder::default()
            .feed(stream, |block| {
                let Some(Cow::Borrowed(data)) = block.data else {
                    panic!("an allocation")
                };
                assert!(stream.as_ptr_range().contains(&data.as_ptr()));
            })
            .expect("a short block");
    }

    #[test]
    fn no_heap_memory_is_kept_between_blocks() {
        let mut decoder = Decoder::default();
        for feed in [&b"id: 1\nda"[..], b"ta: a\n", b"\ndata: b\n\n"] {
            decoder.feed(feed, |_| ()).expect("short blocks");
        }
        assert_eq!(decoder.block.capacity(), 0);
    }

    #[test]
    fn the_longest_envelope_passes_and_a_longer_block_is_an_error() {
        let largest = envelope(1, crate::envelope::MAX_BYTES);
        let mut stream = Vec::new();
        encode(1, &largest, &mut stream);
        for size in [4096, stream.len()] {
            let (mut decoder, mut found) = (Decoder::default(), false);
            for feed in stream.chunks(size) {
                decoder
                    .feed(feed, |block| {
                        found = block.data.as_deref() == Some(&largest)
                    })
                    .expect("an envelope of the largest size");
            }
            assert!(found);
        }

        let mut stream = b"data: ".to_vec();
        stream.resize(MAX_BUFFERED_BYTES + 1, b'x');
        stream.extend_from_slice(b"\n\n");
        for size in [4096, stream.len()] {
            let mut decoder = Decoder::default();
            let result = stream.chunks(size).try_for_each(|feed| {
                let result = decoder.feed(feed, |_| panic!("a block past the bound"));
                assert!(decoder.pending_bytes() <= MAX_BUFFERED_BYTES);
                result
            });
            assert_eq!(result, Err(DecodeError::TooLong));
        }
    }

    #[test]
    fn a_decoder_is_small() {
        assert!(size_of::<Decoder>() <= 48, "{}", size_of::<Decoder>());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_the_same_fed_whole(feeds in feeds()) {
            let parts: Vec<&[u8]> = feeds.iter().map(Vec::as_slice).collect();
            proptest::prop_assert_eq!(decode(&parts), decode(&[&parts.concat()]));
        }

        #[test]
        fn any_mix_of_fields_decodes_the_same_fed_whole(
            feeds in feeds_of(&[
                b"data", b"id", b"event", b"retry", b":", b" ", b"7", b"\n", b"\r", b"\r\n",
                b"\n\n", b"\0", b"\xef\xbb\xbf",
            ])
        ) {
            let parts: Vec<&[u8]> = feeds.iter().map(Vec::as_slice).collect();
            proptest::prop_assert_eq!(decode(&parts), decode(&[&parts.concat()]));
        }
    }
}
