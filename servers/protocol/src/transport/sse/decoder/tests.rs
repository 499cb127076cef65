use super::super::{KEEP_ALIVE, encode, encode_lagged, encode_open};
use super::*;
use crate::framing::Lost;
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
    encode_lagged(Lost::Range { from: 43, to: 50 }, 50.into(), &mut stream);
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
