use super::super::{KEEP_ALIVE, encode_close, encode_frame, encode_text};
use super::*;
use crate::framing::testing::{at_every_split, envelope, feeds, feeds_of};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Small, so that the tests of the bound are quick.
const MAX: usize = 70_000;

fn decode(role: Role, feeds: &[&[u8]]) -> (Vec<String>, Option<ProtocolError>) {
    let (mut decoder, mut found) = (Decoder::new(role, MAX), Vec::new());
    for feed in feeds {
        let result = decoder.feed(&mut feed.to_vec(), |event| {
            found.push(match event {
                Event::Text(bytes) => {
                    format!("text {}", std::str::from_utf8(bytes).expect("valid UTF-8"))
                }
                event => format!("{event:?}"),
            });
        });
        if let Err(error) = result {
            return (found, Some(error));
        }
    }
    (found, None)
}

fn client(stream: &[u8]) -> (Vec<String>, Option<ProtocolError>) {
    at_every_split(stream, |feeds| decode(Role::Client, feeds))
}

fn server(stream: &[u8]) -> (Vec<String>, Option<ProtocolError>) {
    at_every_split(stream, |feeds| decode(Role::Server, feeds))
}

fn error(stream: &[u8]) -> (ProtocolError, u16) {
    let (found, error) = client(stream);
    assert!(found.is_empty(), "{found:?}");
    let error = error.expect("a protocol error");
    (error, error.close_code())
}

#[test]
fn the_examples_of_rfc_6455_section_5_7_decode_as_it_says() {
    let ok = |text: &str| (vec![text.to_owned()], None);
    assert_eq!(client(b"\x81\x05\x48\x65\x6c\x6c\x6f"), ok("text Hello"));
    assert_eq!(
        server(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        ok("text Hello")
    );
    assert_eq!(
        client(b"\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f"),
        ok("text Hello")
    );
    assert_eq!(
        client(b"\x89\x05\x48\x65\x6c\x6c\x6f"),
        ok("Ping([72, 101, 108, 108, 111])")
    );
    assert_eq!(
        server(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        ok("Pong([72, 101, 108, 108, 111])")
    );
    let mut stream = b"\x82\x7e\x01\x00".to_vec();
    stream.resize(260, 7);
    assert_eq!(
        client(&stream),
        ok(&format!("{:?}", Event::Binary(&[7; 256])))
    );
    let mut stream = b"\x82\x7f\0\0\0\0\0\x01\0\0".to_vec();
    stream.resize(65_546, 7);
    assert_eq!(
        decode(Role::Client, &[&stream]),
        ok(&format!("{:?}", Event::Binary(&[7; 65_536])))
    );
}

#[test]
fn a_stream_of_the_server_decodes_the_same_at_every_split() {
    let mut stream = Vec::new();
    encode_text(&envelope(1, 60), &mut stream);
    stream.extend_from_slice(KEEP_ALIVE);
    encode_text(&envelope(2, 300), &mut stream);
    encode_text(b"", &mut stream);
    encode_close(4001, "3 9", None, &mut stream);
    stream.extend_from_slice(b"\xff what follows a close is not for us");
    let (found, error) = client(&stream);
    let text = |sequence, bytes| {
        format!(
            "text {}",
            String::from_utf8_lossy(&envelope(sequence, bytes))
        )
    };
    assert_eq!(
        found,
        [
            text(1, 60),
            "Ping([])".to_owned(),
            text(2, 300),
            "text ".to_owned(),
            "Close { code: Some(4001), reason: \"3 9\" }".to_owned(),
        ]
    );
    assert_eq!(error, None);
}

#[test]
fn a_stream_of_a_client_decodes_the_same_at_every_split() {
    let mut stream = Vec::new();
    encode_frame(Opcode::Text, "zażółć".as_bytes(), Some(MASK), &mut stream);
    encode_frame(Opcode::Pong, b"", Some(MASK), &mut stream);
    encode_frame(Opcode::Text, &[b'x'; 200], Some([1, 2, 3, 4]), &mut stream);
    encode_close(1000, "", Some(MASK), &mut stream);
    let (found, error) = server(&stream);
    assert_eq!(found[..2], ["text zażółć", "Pong([])"]);
    assert_eq!(found[2], format!("text {}", "x".repeat(200)));
    assert_eq!(found[3], "Close { code: Some(1000), reason: \"\" }");
    assert_eq!((found.len(), error), (4, None));
}

#[test]
fn control_frames_may_stand_between_fragments() {
    // 'ż' is cut between its two bytes: only the whole message is checked for UTF-8.
    let stream = b"\x01\x02a\xc5\x89\x01p\x00\x00\x8a\x00\x80\x02\xbcb\x81\x01c";
    let (found, error) = client(stream);
    assert_eq!(found, ["Ping([112])", "Pong([])", "text ażb", "text c"]);
    assert_eq!(error, None);
}

#[test]
fn reserved_bits_are_refused_with_1002() {
    for first in [0xc1, 0xa1, 0x91] {
        assert_eq!(
            error(&[first, 0]),
            (ProtocolError::ReservedBits(first), 1002)
        );
    }
}

#[test]
fn reserved_opcodes_are_refused_with_1002() {
    for bits in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(
            error(&[0x80 | bits, 0]),
            (ProtocolError::ReservedOpcode(bits), 1002)
        );
    }
}

#[test]
fn control_frames_in_fragments_or_too_long_are_refused_with_1002() {
    for opcode in [0x8, 0x9, 0xa] {
        assert_eq!(
            error(&[opcode, 0]),
            (ProtocolError::FragmentedControl, 1002)
        );
        for length in [126, 127] {
            let stream = [0x80 | opcode, length, 0, 126];
            assert_eq!(error(&stream), (ProtocolError::LongControl, 1002));
        }
    }
}

#[test]
fn masks_are_demanded_of_clients_and_refused_from_servers() {
    assert_eq!(error(b"\x81\x80\0\0\0\0"), (ProtocolError::Masked, 1002));
    assert_eq!(
        server(b"\x81\x01a"),
        (vec![], Some(ProtocolError::Unmasked))
    );
    assert_eq!(ProtocolError::Unmasked.close_code(), 1002);
}

#[test]
fn lengths_in_a_longer_form_than_needed_are_refused_with_1002() {
    assert_eq!(
        error(b"\x81\x7e\x00\x7d"),
        (ProtocolError::LengthForm, 1002)
    );
    assert_eq!(
        error(b"\x81\x7f\0\0\0\0\0\0\xff\xff"),
        (ProtocolError::LengthForm, 1002)
    );
    assert_eq!(
        error(b"\x81\x7f\x80\0\0\0\0\0\0\0"),
        (ProtocolError::LengthForm, 1002)
    );
}

#[test]
fn continuations_stand_behind_an_unfinished_message_and_nowhere_else() {
    assert_eq!(error(b"\x80\x00"), (ProtocolError::LoneContinuation, 1002));
    assert_eq!(error(b"\x00\x00"), (ProtocolError::LoneContinuation, 1002));
    assert_eq!(
        error(b"\x01\x01a\x81\x01b"),
        (ProtocolError::MissingContinuation, 1002)
    );
    assert_eq!(
        error(b"\x02\x01a\x01\x01b"),
        (ProtocolError::MissingContinuation, 1002)
    );
    let (found, error) = client(b"\x01\x00\x80\x00\x80\x00");
    assert_eq!(found, ["text "]);
    assert_eq!(error, Some(ProtocolError::LoneContinuation));
}

#[test]
fn text_that_is_not_utf8_is_refused_with_1007() {
    assert_eq!(error(b"\x81\x02a\xff"), (ProtocolError::Utf8, 1007));
    assert_eq!(error(b"\x01\x01\xc5\x80\x01a"), (ProtocolError::Utf8, 1007));
    // A surrogate half is not a character (RFC 3629, section 3).
    assert_eq!(error(b"\x81\x03\xed\xa0\x80"), (ProtocolError::Utf8, 1007));
    assert_eq!(client(b"\x82\x01\xff").1, None);
}

#[test]
fn a_message_over_the_limit_is_refused_with_1009_before_its_payload() {
    let too_big = ProtocolError::TooBig { max: MAX };
    let length = (MAX as u64 + 1).to_be_bytes();
    assert_eq!(error(&[b"\x81\x7f", &length[..]].concat()), (too_big, 1009));
    let huge = [b"\x81\x7f\x7f", &[0xff; 7][..]].concat();
    assert_eq!(error(&huge), (too_big, 1009));
    // In fragments: the second is over.
    let mut decoder = Decoder::new(Role::Client, 10);
    let mut stream = b"\x01\x06abcdef\x80\x05".to_vec();
    assert_eq!(
        decoder.feed(&mut stream, |_| ()),
        Err(ProtocolError::TooBig { max: 10 })
    );
    let mut decoder = Decoder::new(Role::Client, 10);
    let mut stream = b"\x01\x06abcdef\x80\x04ghij".to_vec();
    let mut bytes = 0;
    decoder
        .feed(&mut stream, |event| {
            if let Event::Text(text) = event {
                bytes = text.len();
            }
        })
        .expect("a message of just the limit");
    assert_eq!(bytes, 10);
}

#[test]
fn close_frames_say_why_or_nothing() {
    assert_eq!(
        client(b"\x88\x00").0,
        ["Close { code: None, reason: \"\" }"]
    );
    assert_eq!(
        client(b"\x88\x02\x03\xe8").0,
        ["Close { code: Some(1000), reason: \"\" }"]
    );
    assert_eq!(error(b"\x88\x01\x03"), (ProtocolError::CloseLength, 1002));
    assert_eq!(error(b"\x88\x03\x03\xe8\xff"), (ProtocolError::Utf8, 1007));
}

#[test]
fn close_codes_that_never_travel_are_refused_with_1002() {
    for code in [
        0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let stream = [b"\x88\x02", &code.to_be_bytes()[..]].concat();
        assert_eq!(error(&stream), (ProtocolError::CloseCode(code), 1002));
    }
    for code in [
        1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1014, 3000, 4001, 4999,
    ] {
        let stream = [b"\x88\x02", &code.to_be_bytes()[..]].concat();
        assert_eq!(client(&stream).1, None, "{code}");
    }
}

#[test]
fn bytes_behind_an_error_are_ignored() {
    let mut decoder = Decoder::new(Role::Client, MAX);
    assert!(decoder.feed(&mut [0xff, 0xff], |_| ()).is_err());
    let mut after = b"\x81\x01a".to_vec();
    assert_eq!(
        decoder.feed(&mut after, |_| panic!("behind the error")),
        Ok(())
    );
}

#[test]
fn a_whole_message_is_unmasked_and_borrowed_where_it_lies() {
    let mut stream = Vec::new();
    encode_frame(Opcode::Text, b"Hello", Some(MASK), &mut stream);
    let range = stream.as_ptr_range();
    let mut decoder = Decoder::new(Role::Server, MAX);
    decoder
        .feed(&mut stream, |event| {
            let Event::Text(text) = event else {
                panic!("a text message")
            };
            assert!(range.contains(&text.as_ptr()));
        })
        .expect("a right frame");
    assert_eq!(
        (decoder.frame.capacity(), decoder.message.capacity()),
        (0, 0)
    );
}

#[test]
fn no_heap_memory_is_kept_between_messages() {
    let mut decoder = Decoder::new(Role::Client, MAX);
    for byte in *b"\x01\x02ab\x80\x02cd\x81\x02ef" {
        decoder.feed(&mut [byte], |_| ()).expect("right frames");
    }
    assert_eq!(
        (decoder.frame.capacity(), decoder.message.capacity()),
        (0, 0)
    );
}

#[test]
fn the_longest_envelope_passes() {
    let largest = envelope(1, crate::envelope::MAX_BYTES);
    let mut stream = Vec::new();
    encode_text(&largest, &mut stream);
    let mut decoder = Decoder::new(Role::Client, crate::envelope::MAX_BYTES);
    let mut found = false;
    for feed in stream.chunks_mut(4096) {
        decoder
            .feed(feed, |event| found = event == Event::Text(&largest))
            .expect("an envelope of the largest size");
    }
    assert!(found);
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
}

proptest::proptest! {
    #[test]
    fn any_bytes_decode_the_same_fed_whole_within_the_bound(
        feeds in feeds(), is_server: bool
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let mut decoder = Decoder::new(role, 50);
        for feed in &feeds {
            let _ = decoder.feed(&mut feed.clone(), |_| ());
            // A whole message's fragments and one frame's header at the most.
            proptest::prop_assert!(decoder.pending_bytes() <= MAX_CONTROL_BYTES + 50 + 14);
        }
        let parts: Vec<&[u8]> = feeds.iter().map(Vec::as_slice).collect();
        proptest::prop_assert_eq!(decode(role, &parts), decode(role, &[&parts.concat()]));
    }

    #[test]
    fn any_mix_of_frames_decodes_the_same_fed_whole(
        feeds in feeds_of(&[
            b"\x81\x01a", b"\x01\x01b", b"\x00\x01c", b"\x80\x01d", b"\x89\x00", b"\x8a\x02ef",
            b"\x82\x7e\x00\x7e", b"\x88\x00",
        ])
    ) {
        let parts: Vec<&[u8]> = feeds.iter().map(Vec::as_slice).collect();
        proptest::prop_assert_eq!(
            decode(Role::Client, &parts),
            decode(Role::Client, &[&parts.concat()])
        );
    }

    #[test]
    fn messages_of_any_length_and_mask_come_back(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), mask: [u8; 4]
    ) {
        let mut stream = Vec::new();
        encode_frame(Opcode::Binary, &bytes, Some(mask), &mut stream);
        let mut decoder = Decoder::new(Role::Server, MAX);
        let mut back = None;
        decoder.feed(&mut stream, |event| {
            if let Event::Binary(payload) = event {
                back = Some(payload.to_vec());
            }
        }).expect("a right frame");
        proptest::prop_assert_eq!(back, Some(bytes));
    }
}
