//! Whatever arrives, and however it is cut into reads: a client comes to the same end, by the same way.
//!
//! Streams of every protocol, good ones and ones that are damaged at any place, are read as a whole, byte by
//! byte and in random pieces.

use super::*;
use pushbench_protocol::payload::SplitMix64;
use pushbench_protocol::transport::websocket::{
    CLIENT_KEY, CLOSE_LAGGED, Opcode, encode_close, encode_frame, encode_text,
    encode_upgrade_response,
};

/// A sink that writes down what it hears, and takes no message with an `x`.
#[derive(Default)]
struct Heard(Vec<String>);

impl Sink for Heard {
    fn subscribed(&mut self, cursor: Cursor) {
        self.0.push(format!("subscribed {cursor}"));
    }
    fn envelope(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if text.contains('x') {
            return Err(ClientError::Ended(format!("not a message: {text}")));
        }
        self.0.push(text);
        Ok(())
    }
    fn lagged(&mut self, lost: Lost) -> Result<(), ClientError> {
        self.0.push(format!("lagged {lost}"));
        match lost {
            Lost::Unknown => Err(ClientError::Stray),
            Lost::Range { .. } => Ok(()),
        }
    }
    fn request(&mut self) {
        self.0.push("request".to_owned());
    }
    fn empty_response(&mut self) {
        self.0.push("empty".to_owned());
    }
    fn cursor(&self) -> Cursor {
        9.into()
    }
    fn resumed(&mut self) {
        self.0.push("resumed".to_owned());
    }
    fn retry(&mut self, ms: u64) {
        self.0.push(format!("retry {ms}"));
    }
}

const TARGET: Target<'static> = Target {
    server: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80),
    host: "h",
    prefix: "c",
    channel: 0,
    snapshot_messages: 0,
};

/// What a client hears in these reads, and how it ends.
struct Read<'a>(&'a [&'a [u8]]);

impl WithClient for Read<'_> {
    type Output = (Vec<String>, String);

    fn with<P: Protocol + 'static>(self) -> Self::Output {
        let (mut client, mut heard, mut out) = (P::default(), Heard::default(), Vec::new());
        client.open(TARGET, None, &mut heard, &mut out);
        let mut end = Ok(Next::Read);
        for piece in self.0.iter().filter(|piece| !piece.is_empty()) {
            end = client.receive(&mut piece.to_vec(), TARGET, &mut heard, &mut out);
            if !matches!(end, Ok(Next::Read | Next::Pause)) {
                break;
            }
        }
        // What an error quotes of a head is as much as had been read.
        let end = format!("{end:?}");
        let end = end.split(", got '").next().unwrap_or_default();
        (heard.0, end.to_owned())
    }
}

/// Good streams, and such as end in some way.
fn streams(transport: Transport) -> Vec<Vec<u8>> {
    let head = |status: &str, rest: &str| {
        format!("HTTP/1.1 {status}\r\nPush-Cursor: 4\r\n{rest}\r\n").into_bytes()
    };
    let chunked = |kind: &str, chunks: &[&str]| {
        let mut out = head(
            "200 OK",
            &format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"),
        );
        for chunk in chunks {
            out.extend(format!("{:x}\r\n{chunk}\r\n", chunk.len()).into_bytes());
        }
        out
    };
    let poll = |status: &str, body: &str| {
        let mut out = head(status, &format!("Content-Length: {}\r\n", body.len()));
        out.extend_from_slice(body.as_bytes());
        out
    };
    match transport {
        Transport::Tcp => vec![
            b"SUBSCRIBED 4\na one\n\nb two\nLAGGED 3 5\nc x\nERROR gone\n".to_vec(),
            b"SUBSCRIBED 4\na one\nERROR gone\nc x\nb two\n".to_vec(),
        ],
        Transport::Sse => vec![
            chunked(
                "text/event-stream",
                &[
                    "id: 4\n\nretry: 90\nid: 5\ndata: a\n\n",
                    "data: b\n\ndata: x\n\ndata: c\n\n",
                    "",
                ],
            ),
            chunked(
                "text/event-stream",
                &["data: a\n\n", "event: lagged\ndata: 3 5\n\n"],
            ),
        ],
        Transport::HttpStream => vec![
            chunked(
                "text/plain; charset=utf-8",
                &["SUBSCRIBED 4\na\n", "b\nx\nc\nERROR gone\n", ""],
            ),
            chunked("application/x-ndjson", &["a\nb\n", ""]),
        ],
        Transport::LongPoll | Transport::ShortPoll => {
            let first = head("204 No Content", "");
            let answers = [
                poll("200 OK", "a one\nb two\n"),
                poll("200 OK", "a\nc x\nb x2\n"),
                poll("410 Gone", "LAGGED 3 5\n"),
                poll("500 No", "broken"),
                chunked("text/plain", &["a\n", "b\n", ""]),
            ];
            let after_first = answers.iter().map(|answer| [&first[..], answer].concat());
            after_first
                .chain(answers.clone())
                .chain([answers.concat()])
                .collect()
        }
        Transport::WebSocket => {
            let opened = || {
                let mut out = Vec::new();
                encode_upgrade_response(CLIENT_KEY, &[("Push-Cursor", "4")], &mut out);
                encode_text(b"a one", &mut out);
                out
            };
            let mut refused = opened();
            encode_text(b"b x", &mut refused);
            encode_close(1000, "", None, &mut refused);
            let mut closed = opened();
            encode_close(CLOSE_LAGGED, "3 5", None, &mut closed);
            encode_text(b"b x", &mut closed);
            encode_frame(Opcode::Binary, b"c", None, &mut closed);
            let mut binary = opened();
            encode_frame(Opcode::Ping, b"p", None, &mut binary);
            encode_frame(Opcode::Binary, b"c", None, &mut binary);
            encode_close(1000, "", None, &mut binary);
            vec![refused, closed, binary]
        }
    }
}

/// Asserts that `stream` comes to the same end by every cut that is tried.
fn is_the_same_however_cut(transport: Transport, stream: &[u8], random: &mut SplitMix64) {
    let read = |pieces: &[&[u8]]| with_client(transport, Read(pieces));
    let whole = read(&[stream]);
    let says = || format!("{transport}: {}", String::from_utf8_lossy(stream));
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(read(&single), whole, "byte by byte, {}", says());
    for _ in 0..8 {
        let at = random.below(stream.len() as u64 + 1) as usize;
        let (front, rest) = stream.split_at(at);
        let again = random.below(rest.len() as u64 + 1) as usize;
        let (middle, end) = rest.split_at(again);
        assert_eq!(
            read(&[front, middle, end]),
            whole,
            "at {at}, {again}, {}",
            says()
        );
    }
}

#[test]
fn the_end_of_a_session_does_not_depend_on_how_its_bytes_were_cut() {
    let mut random = SplitMix64::new(11);
    for transport in Transport::ALL {
        for stream in streams(transport) {
            is_the_same_however_cut(transport, &stream, &mut random);
            for _ in 0..200 {
                let mut damaged = stream.clone();
                let at = random.below(damaged.len() as u64) as usize;
                match random.below(4) {
                    0 => damaged[at] = random.next() as u8,
                    1 => drop(damaged.remove(at)),
                    2 => damaged.insert(at, b"x\n0\r:"[random.below(5) as usize]),
                    _ => damaged.truncate(at),
                }
                is_the_same_however_cut(transport, &damaged, &mut random);
            }
        }
    }
}

#[test]
fn an_error_is_not_overwritten_by_what_follows_it_in_the_same_read() {
    for transport in Transport::ALL {
        for stream in streams(transport) {
            let text = String::from_utf8_lossy(&stream).into_owned();
            let (heard, end) = with_client(transport, Read(&[&stream]));
            // A client that polls at intervals has not asked for what follows its first answer.
            let unasked = transport == Transport::ShortPoll && text.matches("HTTP/1.1").count() > 1;
            let refused = text.contains("c x") || text.contains("b x");
            let ended_before =
                heard.iter().any(|said| said == "lagged 3 5") || text.contains("gone\nc");
            if refused && !ended_before && !unasked {
                assert!(
                    end.contains("not a message"),
                    "{transport}: {end} of {text}"
                );
            }
        }
    }
}

#[test]
fn a_poll_takes_no_byte_that_it_did_not_ask_for_and_no_body_without_end() {
    let answer = b"HTTP/1.1 204 No Content\r\nPush-Cursor: 4\r\n\r\n".to_vec();
    let more = [&answer[..], b"HTTP/1.1 2"].concat();
    let (_, end) = with_client(Transport::ShortPoll, Read(&[&more]));
    assert!(
        end.contains("bytes came that no request had asked for"),
        "{end}"
    );
    for transport in [Transport::LongPoll, Transport::ShortPoll] {
        let head = b"HTTP/1.1 200 OK\r\nPush-Cursor: 4\r\nContent-Length: 1099511627776\r\n\r\n";
        let piece = vec![b'a'; 1 << 20];
        let (_, end) = with_client(transport, Read(&[head, &piece, &piece, &piece, &piece]));
        assert!(
            end.contains("expected at most 2097152 bytes in the body"),
            "{end}"
        );
    }
}
