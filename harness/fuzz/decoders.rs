//! What reads bytes of others, each as a function of any bytes: it must end without a panic, and where
//! bytes come in pieces, the outcome must not depend on where they are cut.
//!
//! Not on the data path. The targets of `cargo fuzz` call these with what a fuzzer finds, the integration
//! tests `fuzzed` with seeded changes of the corpus.

use std::fmt::Debug;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use pushbench::load::client::{ClientError, Next, Protocol, Sink, Target, WithClient, with_client};
use pushbench::load::{FleetReport, Setup};
use pushbench::record::Record;
use pushbench::scenario::Scenario;
use pushbench_protocol::control::PublishPlan;
use pushbench_protocol::envelope;
use pushbench_protocol::framing::http1::{Body, BodyLength, parse_head, parse_request};
use pushbench_protocol::framing::{Cursor, Lost};
use pushbench_protocol::transport::tcp::Request;
use pushbench_protocol::transport::websocket::{self, Role};
use pushbench_protocol::transport::{Transport, poll, sse, tcp};

/// What takes any bytes.
pub(crate) type Decoder = fn(&[u8]);

/// Each by its name, which is also that of its folder in `corpus`. The corpus of `scenario` is the scenarios.
pub(crate) const DECODERS: [(&str, Decoder); 14] = [
    ("envelope", envelope),
    ("cursor", cursor),
    ("tcp_answers", tcp_answers),
    ("tcp_requests", tcp_requests),
    ("events", events),
    ("frames", frames),
    ("http_requests", http_requests),
    ("http_responses", http_responses),
    ("plan", plan),
    ("scenario", scenario),
    ("client", client),
    ("report", report),
    ("setup", setup),
    ("record", record),
];

/// Most bytes of a message of a WebSocket here: few, so that the bound is met.
const MOST_MESSAGE_BYTES: usize = 300;

/// Runs `decode` on `bytes` in one piece, in pieces of as many bytes as the first byte says, and byte by
/// byte; all must find the same.
fn at_splits<T: PartialEq + Debug>(bytes: &[u8], decode: impl Fn(&[&[u8]]) -> T) {
    let Some((&first, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = decode(&[bytes]);
    for size in [1 + usize::from(first), 1] {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(decode(&pieces), whole, "in pieces of {size} bytes");
    }
}

/// Feeds pieces until one is an error; what was found, and the error.
fn fed<E: Debug>(
    pieces: &[&[u8]],
    mut feed: impl FnMut(&[u8], &mut Vec<String>) -> Result<(), E>,
) -> (Vec<String>, Option<String>) {
    let mut found = Vec::new();
    for piece in pieces {
        if let Err(error) = feed(piece, &mut found) {
            return (found, Some(format!("{error:?}")));
        }
    }
    (found, None)
}

/// What travels.
pub(crate) fn envelope(bytes: &[u8]) {
    let Ok(message) = envelope::decode(bytes) else {
        return;
    };
    let mut again = Vec::new();
    let (sequence, intended_ns) = (message.sequence, message.intended_ns);
    envelope::encode(
        sequence,
        intended_ns,
        message.actual_ns,
        message.payload,
        &mut again,
    );
    assert_eq!(again, bytes);
}

/// Where a client stands, and what it lost.
pub(crate) fn cursor(bytes: &[u8]) {
    if let Some(cursor) = Cursor::parse(bytes) {
        let mut again = Vec::new();
        cursor.push(&mut again);
        assert_eq!(Cursor::parse(&again), Some(cursor));
    }
    if let Some(lost) = Lost::parse(bytes) {
        let mut again = Vec::new();
        lost.push(&mut again);
        assert_eq!(Lost::parse(&again), Some(lost));
    }
}

/// Lines of a server, also those in the body of a poll.
pub(crate) fn tcp_answers(bytes: &[u8]) {
    at_splits(bytes, |pieces| {
        let mut decoder = tcp::Decoder::default();
        fed(pieces, |piece, found| {
            decoder.feed(piece, |line| found.push(format!("{line:?}")))
        })
    });
    poll::lines(bytes, |line| assert!(!line.is_empty()));
}

/// Lines of a client.
pub(crate) fn tcp_requests(bytes: &[u8]) {
    for line in bytes.split(|&byte| byte == b'\n') {
        if let Ok(Request::Publish { payload, .. }) = Request::parse(line) {
            assert!(envelope::payload_is_valid(payload));
        }
    }
}

/// Server-sent events.
pub(crate) fn events(bytes: &[u8]) {
    at_splits(bytes, |pieces| {
        let mut decoder = sse::Decoder::default();
        let found = fed(pieces, |piece, found| {
            decoder.feed(piece, |block| found.push(format!("{block:?}")))
        });
        (found, decoder.comments())
    });
}

/// Frames of WebSockets, as either end reads them.
pub(crate) fn frames(bytes: &[u8]) {
    for role in [Role::Client, Role::Server] {
        at_splits(bytes, |pieces| {
            let mut decoder = websocket::Decoder::new(role, MOST_MESSAGE_BYTES);
            fed(pieces, |piece, found| {
                // Unmasked in place.
                let mut piece = piece.to_vec();
                decoder.feed(&mut piece, |event| found.push(format!("{event:?}")))
            })
        });
    }
}

/// Heads and bodies of requests.
pub(crate) fn http_requests(bytes: &[u8]) {
    let Ok(Some((head, length))) = parse_request(bytes) else {
        return;
    };
    assert_eq!(parse_request(&bytes[..length]), Ok(Some((head, length))));
    assert_eq!(parse_request(&bytes[..length - 1]), Ok(None));
    body(head.body, &bytes[length..]);
}

/// Heads and bodies of responses.
pub(crate) fn http_responses(bytes: &[u8]) {
    let Ok(Some((head, length))) = parse_head(bytes) else {
        return;
    };
    assert_eq!(parse_head(&bytes[..length]), Ok(Some((head, length))));
    assert_eq!(parse_head(&bytes[..length - 1]), Ok(None));
    body(head.body, &bytes[length..]);
}

fn body(length: BodyLength, bytes: &[u8]) {
    at_splits(bytes, |pieces| {
        let mut body = Body::new(length);
        let (mut payload, mut taken) = (Vec::new(), 0);
        for piece in pieces {
            let mut piece = piece.to_vec();
            match body.decode(&mut piece) {
                Ok(progress) => {
                    assert!(progress.payload_len <= progress.consumed);
                    payload.extend_from_slice(&piece[..progress.payload_len]);
                    taken += progress.consumed;
                    if progress.finished {
                        break;
                    }
                }
                // What came in the piece of the error is not handed out.
                Err(error) => return Err(error),
            }
        }
        Ok((payload, taken, body.end_of_input()))
    });
}

/// A schedule to publish, from the command line or over the control interface.
pub(crate) fn plan(bytes: &[u8]) {
    if let Ok(plan) = serde_json::from_slice::<PublishPlan>(bytes) {
        let checked = plan.check(4);
        let again = serde_json::to_vec(&plan).expect("a plan is JSON");
        let again: PublishPlan = serde_json::from_slice(&again).expect("it was one");
        assert_eq!(again.check(4), checked);
    }
}

/// A scenario file.
pub(crate) fn scenario(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Scenario::parse("a.toml", text) {
        Ok(scenario) => assert_eq!(scenario.check(), Ok(())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A whole client of each transport: what it hears and how it ends.
pub(crate) fn client(bytes: &[u8]) {
    for transport in Transport::ALL {
        at_splits(bytes, |pieces| with_client(transport, Session(pieces)));
    }
}

/// What arrives at a client.
struct Session<'a>(&'a [&'a [u8]]);

impl WithClient for Session<'_> {
    type Output = (Vec<String>, String);

    fn with<P: Protocol + 'static>(self) -> Self::Output {
        let target = Target {
            server: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 80),
            host: "h",
            prefix: "c",
            channel: 0,
            snapshot_messages: 0,
        };
        let (mut client, mut heard, mut out) = (P::default(), Heard::default(), Vec::new());
        client.open(target, None, &mut heard, &mut out);
        let mut end = Ok(Next::Read);
        for piece in self.0.iter().filter(|piece| !piece.is_empty()) {
            end = client.receive(&mut piece.to_vec(), target, &mut heard, &mut out);
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

/// Writes down what it hears.
#[derive(Default)]
struct Heard(Vec<String>);

impl Sink for Heard {
    fn subscribed(&mut self, cursor: Cursor) {
        self.0.push(format!("subscribed {cursor}"));
    }
    fn envelope(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.0.push(bytes.escape_ascii().to_string());
        Ok(())
    }
    fn lagged(&mut self, lost: Lost) -> Result<(), ClientError> {
        self.0.push(format!("lagged {lost}"));
        Ok(())
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
    fn retry(&mut self, ms: u64) {
        self.0.push(format!("retry {ms}"));
    }
}

/// What a fleet counted, with its histograms.
pub(crate) fn report(bytes: &[u8]) {
    if let Ok(report) = serde_json::from_slice::<FleetReport>(bytes) {
        let again = serde_json::to_vec(&report).expect("a report is JSON");
        serde_json::from_slice::<FleetReport>(&again).expect("it was one");
    }
}

/// What a fleet is told.
pub(crate) fn setup(bytes: &[u8]) {
    if let Ok(setup) = serde_json::from_slice::<Setup>(bytes) {
        let checked = setup.check();
        let again = serde_json::to_vec(&setup).expect("a setup is JSON");
        let again: Setup = serde_json::from_slice(&again).expect("it was one");
        assert_eq!(again.check(), checked);
    }
}

/// A record, of either version.
pub(crate) fn record(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Record::from_json(Path::new("run.json"), text) {
        Ok(record) => {
            let json = record.to_json();
            let again = Record::from_json(Path::new("run.json"), &json).expect("it was one");
            assert_eq!(again.to_json(), json);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
