use super::*;
use crate::framing::testing::{at_every_split, envelope, feeds, feeds_of};

fn decode(feeds: &[&[u8]]) -> (Vec<String>, Option<DecodeError>) {
    let (mut decoder, mut found) = (Decoder::default(), Vec::new());
    for feed in feeds {
        if let Err(error) = decoder.feed(feed, |line| found.push(format!("{line:?}"))) {
            return (found, Some(error));
        }
    }
    (found, None)
}

#[test]
fn requests_have_the_documented_bytes() {
    let mut out = Vec::new();
    encode_subscribe("news", Start::Tail, &mut out);
    encode_subscribe("news", Some(7), &mut out);
    let cursor = Cursor::parse(b"k3f9-7").expect("a cursor");
    encode_subscribe("news", Some(cursor), &mut out);
    encode_subscribe("news", Start::Last(7), &mut out);
    encode_publish("news", "zażółć gęślą".as_bytes(), &mut out);
    assert_eq!(
        String::from_utf8(out).expect("UTF-8"),
        "SUBSCRIBE news\nSUBSCRIBE news 7\nSUBSCRIBE news k3f9-7\nSUBSCRIBE news last=7\n\
         PUBLISH news zażółć gęślą\n"
    );
}

#[test]
fn answers_have_the_documented_bytes() {
    let mut out = Vec::new();
    encode_subscribed(0, &mut out);
    encode(b"envelope", &mut out);
    encode_lagged(Lost::Range { from: 3, to: 9 }, &mut out);
    encode_lagged(Lost::Unknown, &mut out);
    encode_error("no\r\nsuch channel", &mut out);
    assert_eq!(
        out,
        b"SUBSCRIBED 0\nenvelope\nLAGGED 3 9\nLAGGED unknown\nERROR no  such channel\n"
    );
}

#[test]
fn a_loss_reads_back_as_written() {
    let (mut out, lost) = (Vec::new(), Lost::Range { from: 3, to: 9 });
    encode_lagged(lost, &mut out);
    assert_eq!(out, b"LAGGED 3 9\n");
    assert_eq!(parse_lagged(&out), Some(lost));
    assert_eq!(parse_lagged(b"LAGGED 3 9"), Some(lost));
    assert_eq!(parse_lagged(b"LAGGED unknown"), Some(Lost::Unknown));
    for bad in ["", "LAGGED", "LAGGED 9 3", "lagged 3 9", "gone"] {
        assert_eq!(parse_lagged(bad.as_bytes()), None, "'{bad}'");
    }
}

#[test]
fn requests_parse_with_and_without_their_line_end() {
    for end in ["", "\n", "\r\n"] {
        let parse = |text: &str| {
            let line = format!("{text}{end}").leak();
            Request::parse(line.as_bytes())
        };
        assert_eq!(
            parse("SUBSCRIBE news"),
            Ok(Request::Subscribe {
                channel: "news",
                start: Start::Tail
            })
        );
        assert_eq!(
            parse("SUBSCRIBE news last=1000000"),
            Ok(Request::Subscribe {
                channel: "news",
                start: Start::Last(1_000_000)
            })
        );
        assert_eq!(
            parse("SUBSCRIBE news 18446744073709551615"),
            Ok(Request::Subscribe {
                channel: "news",
                start: Start::Since(u64::MAX.into())
            })
        );
        assert_eq!(
            parse("PUBLISH żółw two words "),
            Ok(Request::Publish {
                channel: "żółw",
                payload: b"two words "
            })
        );
        assert_eq!(
            parse("PUBLISH news "),
            Ok(Request::Publish {
                channel: "news",
                payload: b""
            })
        );
    }
}

#[test]
fn a_bad_request_says_what_was_expected_and_what_was_found() {
    for (line, message) in [
        (
            &b"subscribe news"[..],
            "expected 'SUBSCRIBE <channel> [since | last=N]' or 'PUBLISH <channel> <payload>', got \
             'subscribe news'",
        ),
        (
            b"SUBSCRIBED 7",
            "expected 'SUBSCRIBE <channel> [since | last=N]' or 'PUBLISH <channel> <payload>', got \
             'SUBSCRIBED 7'",
        ),
        (
            b"SUBSCRIBE",
            "expected the name of a channel after 'SUBSCRIBE', got ''",
        ),
        (
            b"SUBSCRIBE  7",
            "expected the name of a channel after 'SUBSCRIBE', got ''",
        ),
        (
            b"PUBLISH a\tb x",
            "expected the name of a channel after 'PUBLISH', got 'a\\tb'",
        ),
        (
            b"PUBLISH \xff x",
            "expected the name of a channel after 'PUBLISH', got '\u{fffd}'",
        ),
        (
            b"SUBSCRIBE news -1",
            "expected a cursor such as '19' or 'k3f9-19' after 'SUBSCRIBE <channel> ', got '-1'",
        ),
        (
            b"SUBSCRIBE news 1 2",
            "expected a cursor such as '19' or 'k3f9-19' after 'SUBSCRIBE <channel> ', got '1 2'",
        ),
        (
            b"SUBSCRIBE news last=1000001",
            "expected a count of 0 to 1000000 after 'last=', got '1000001'",
        ),
        (
            b"SUBSCRIBE news last=",
            "expected a count of 0 to 1000000 after 'last=', got ''",
        ),
        (
            b"SUBSCRIBE news 3 last=1",
            "expected a cursor such as '19' or 'k3f9-19' after 'SUBSCRIBE <channel> ', got '3 last=1'",
        ),
        (
            b"PUBLISH news",
            "expected a payload after 'PUBLISH news', got the end of the line",
        ),
        (
            b"PUBLISH news a\xff",
            "expected a payload of UTF-8 without CR or LF and of at most 1048525 bytes, got 2 \
             bytes that are not",
        ),
    ] {
        let error = Request::parse(line).expect_err("no request");
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_stream_decodes_the_same_at_every_split() {
    let mut stream = b"SUBSCRIBED 41\n".to_vec();
    encode(&envelope(42, 60), &mut stream);
    stream.extend_from_slice(KEEP_ALIVE);
    encode_lagged(Lost::Range { from: 43, to: 50 }, &mut stream);
    encode(&envelope(0xf << 60, 52), &mut stream);
    encode_error("shutting down", &mut stream);
    stream.extend_from_slice(b"unfinished");
    let (found, error) = at_every_split(&stream, decode);
    assert_eq!(
        found,
        [
            format!("{:?}", Line::Subscribed(41.into())),
            format!("{:?}", Line::Envelope(&envelope(42, 60))),
            "KeepAlive".to_owned(),
            "Lagged(Range { from: 43, to: 50 })".to_owned(),
            format!("{:?}", Line::Envelope(&envelope(0xf << 60, 52))),
            "Error(\"shutting down\")".to_owned(),
        ]
    );
    assert_eq!(error, None);
}

#[test]
fn lines_that_the_protocol_does_not_have_are_errors() {
    for line in [
        "HTTP/1.1 400",
        "SUBSCRIBED",
        "SUBSCRIBED x",
        "LAGGED 9 3",
        "ERRORS",
        "é",
    ] {
        let (found, error) = at_every_split(format!("\n{line}\n\n").as_bytes(), decode);
        assert_eq!(found, ["KeepAlive"]);
        assert_eq!(error, Some(DecodeError::Unknown(line.to_owned())));
    }
}

#[test]
fn the_longest_envelope_passes_and_a_longer_line_is_an_error() {
    let mut decoder = Decoder::default();
    let mut stream = Vec::new();
    encode(&envelope(1, envelope::MAX_BYTES), &mut stream);
    let mut lengths = Vec::new();
    for part in stream.chunks(4096) {
        decoder
            .feed(part, |line| {
                if let Line::Envelope(bytes) = line {
                    lengths.push(bytes.len());
                }
            })
            .expect("an envelope of the largest size");
    }
    assert_eq!(lengths, [envelope::MAX_BYTES]);
    let mut fed = 0;
    let error = loop {
        fed += 4096;
        assert!(fed < 2 * MAX_BUFFERED_BYTES, "the bound must hold");
        if let Err(error) = decoder.feed(&[b'a'; 4096], |_| ()) {
            break error;
        }
    };
    assert_eq!(
        error,
        DecodeError::TooLong(LineTooLong {
            max: MAX_BUFFERED_BYTES
        })
    );
}

#[test]
fn a_decoder_is_one_vector() {
    assert_eq!(size_of::<Decoder>(), size_of::<Vec<u8>>());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(feeds in feeds()) {
        let mut decoder = Decoder::default();
        for feed in &feeds {
            let _ = Request::parse(feed);
            let _ = decoder.feed(feed, |_| ());
        }
    }

    #[test]
    fn any_mix_of_words_is_read_or_refused(
        feeds in feeds_of(&[b"LAGGED", b"ERROR", b"SUBSCRIBED", b" ", b"7", b"\n", b"\xc3"])
    ) {
        let mut decoder = Decoder::default();
        for feed in &feeds {
            let _ = decoder.feed(feed, |_| ());
        }
    }
}
