use super::*;
use crate::framing::testing::{feeds, feeds_of};

fn head(lines: &[&str]) -> Result<ResponseHead, HeadError> {
    let text = lines.join("\r\n") + "\r\n\r\n";
    let parsed = parse_head(text.as_bytes())?;
    let (head, consumed) = parsed.expect("a whole head");
    assert_eq!(consumed, text.len());
    Ok(head)
}

fn body(lines: &[&str]) -> BodyLength {
    head(lines).expect("a head").body
}

#[test]
fn requests_have_the_documented_bytes() {
    let mut out = Vec::new();
    encode_publish("h", "news", b"", &mut out);
    assert_eq!(
        out,
        b"POST /publish?channel=news HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn chunks_have_their_size_in_front_and_come_back_whole() {
    for bytes in [1usize, 15, 16, 255, 256, 4095, 4096, 70_000] {
        let data = vec![b'x'; bytes];
        let mut out = b"kept".to_vec();
        encode_chunk(&mut out, |out| out.extend_from_slice(&data));
        let expected = [format!("kept{bytes:X}\r\n").as_bytes(), &data, b"\r\n"].concat();
        assert_eq!(out, expected);
        let mut body = Body::new(BodyLength::Chunked);
        let progress = body.decode(&mut out[4..]).expect("a chunk");
        assert_eq!(progress.payload_len, bytes);
    }
    let mut out = b"kept".to_vec();
    encode_chunk(&mut out, |_| {});
    assert_eq!(out, b"kept");
}

#[test]
fn channels_are_percent_encoded_where_they_must_be() {
    for (channel, start, target) in [
        ("a-Z_0.9~", Start::Tail, "/p?channel=a-Z_0.9~"),
        (
            "a b&c=ż/\r\n",
            Start::Since(0.into()),
            "/p?channel=a%20b%26c%3D%C5%BC%2F%0D%0A&since=0",
        ),
    ] {
        let mut out = Vec::new();
        push_target("/p", channel, start, &mut out);
        assert_eq!(out, target.as_bytes());
    }
}

#[test]
fn the_head_of_a_stream_says_what_push_needs() {
    assert_eq!(
        head(&[
            "HTTP/1.1 200 OK",
            "content-type: text/event-stream; charset=utf-8",
            "cache-control: no-store",
            "push-cursor: 41",
            "transfer-encoding: chunked",
        ]),
        Ok(ResponseHead {
            status: 200,
            body: BodyLength::Chunked,
            push_cursor: Some(41.into()),
            streams: Some(Transport::Sse),
            close: false,
            upgrade: false,
            accept: None,
        })
    );
}

#[test]
fn a_head_is_whole_at_its_last_byte_and_no_sooner() {
    let text = b"HTTP/1.1 204 No Content\r\nPush-Cursor: 7\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(parse_head(&text[..end]), Ok(None), "{end} bytes");
    }
    let with_more = [&text[..], b"HTTP/1.1 200 OK\r\n"].concat();
    let (head, consumed) = parse_head(&with_more)
        .expect("a head")
        .expect("a whole head");
    assert_eq!((head.push_cursor, consumed), (Some(7.into()), text.len()));
}

#[test]
fn bodies_end_as_rfc_9112_section_6_3_says() {
    let length = "Content-Length: 5";
    for status in ["101 S", "204 N", "304 N"] {
        assert_eq!(
            body(&[&format!("HTTP/1.1 {status}"), length]),
            BodyLength::None
        );
    }
    let chunked = "Transfer-Encoding: Chunked";
    assert_eq!(
        body(&["HTTP/1.1 200 OK", length, chunked]),
        BodyLength::Chunked
    );
    assert_eq!(
        body(&["HTTP/1.1 200 OK", chunked, length]),
        BodyLength::Chunked
    );
    assert_eq!(
        body(&["HTTP/1.1 200 OK", length, length]),
        BodyLength::Length(5)
    );
    assert_eq!(
        body(&["HTTP/1.1 200 OK", "Content-Length: 5, 5"]),
        BodyLength::Length(5)
    );
    assert_eq!(
        body(&["HTTP/1.1 400 Bad", "Content-Length: 0"]),
        BodyLength::Length(0)
    );
    assert_eq!(body(&["HTTP/1.1 200 OK"]), BodyLength::UntilClose);
}

#[test]
fn connections_close_when_the_response_says_so_or_cannot_end_otherwise() {
    let length = "Content-Length: 5";
    for (lines, close) in [
        (&["HTTP/1.1 200 OK", length][..], false),
        (&["HTTP/1.1 200 OK", length, "Connection: foo, Close"], true),
        (&["HTTP/1.1 200 OK"], true),
        (&["HTTP/1.0 200 OK", length], true),
        (
            &["HTTP/1.0 200 OK", length, "Connection: Keep-Alive"],
            false,
        ),
    ] {
        assert_eq!(head(lines).expect("a head").close, close, "{lines:?}");
    }
}

#[test]
fn only_an_event_stream_is_an_event_stream() {
    for (value, expected) in [
        ("text/event-stream", true),
        ("Text/Event-Stream ;charset=utf-8", true),
        ("text/event-streams", false),
        ("text/plain; text/event-stream", false),
    ] {
        let line = format!("Content-Type: {value}");
        let head = head(&["HTTP/1.1 200 OK", &line]).expect("a head");
        assert_eq!(head.streams == Some(Transport::Sse), expected, "{value}");
    }
}

#[test]
fn fields_that_cannot_be_right_are_errors_with_their_value() {
    for (line, message) in [
        (
            "Content-Length: -1",
            "expected one 'Content-Length' in decimal, got '-1'",
        ),
        (
            "Content-Length: 5, 6",
            "expected one 'Content-Length' in decimal, got '5, 6'",
        ),
        (
            "Transfer-Encoding: gzip, chunked",
            "expected no 'Transfer-Encoding' but 'chunked', got 'gzip, chunked'",
        ),
        (
            "Transfer-Encoding: chunked, chunked",
            "expected no 'Transfer-Encoding' but 'chunked', got 'chunked, chunked'",
        ),
        (
            "Push-Cursor: tail",
            "expected a 'Push-Cursor' such as '19' or 'k3f9-19', got 'tail'",
        ),
    ] {
        let error = head(&["HTTP/1.1 200 OK", line]).expect_err("a bad field");
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn what_is_not_http_is_refused() {
    let error = parse_head(b"SUBSCRIBED 7\n").expect_err("no HTTP");
    assert!(
        error
            .to_string()
            .starts_with("expected the head of an HTTP/1.1 response, got 'SUBSCRIBED 7\\n' ("),
        "{error}"
    );
}

#[test]
fn a_head_over_16_kib_is_an_error_whole_or_not() {
    let mut text = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    text.resize(MAX_HEAD_BYTES - 1, b'x');
    assert_eq!(parse_head(&text), Ok(None));
    text.push(b'x');
    assert_eq!(parse_head(&text), Err(HeadError::TooLong));
    text.extend_from_slice(b"\r\n\r\n");
    assert_eq!(parse_head(&text), Err(HeadError::TooLong));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_head_or_none(feeds in feeds()) {
        let _ = parse_head(&feeds.concat());
    }

    #[test]
    fn any_mix_of_fields_is_a_head_or_none(
        feeds in feeds_of(&[
            b"HTTP/1.1 200 OK\r\n", b"\r\n", b"Content-Length", b": ", b"Connection", b"chunked",
            b"Transfer-Encoding", b"Push-Cursor", b"9", b",", b"Content-Type", b";",
        ])
    ) {
        let mut text = b"HTTP/1.1 200 OK\r\n".to_vec();
        text.extend(feeds.concat());
        if let Ok(Some((_, consumed))) = parse_head(&text) {
            proptest::prop_assert!(consumed <= text.len());
        }
    }
}
