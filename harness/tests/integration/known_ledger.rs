//! Known answers of the ledger, without sockets: faults that are made here must be counted, all of
//! them and no others, on every transport and across reconnects.
//!
//! On the data path from the bytes on. A mock server encodes messages for each transport, the bytes
//! are cut anywhere, and the lean clients hand what they read to a sink with the real ledger.
//! Nothing is timed.

use std::net::SocketAddr;

use pushbench::load::client::{ClientError, Next, Protocol, Sink, Target, WithClient, with_client};
use pushbench::load::ledger::Ledger;
use pushbench::record::{Deliveries, Merge};
use pushbench_protocol::envelope;
use pushbench_protocol::framing::{Cursor, Lost};
use pushbench_protocol::payload::SplitMix64;
use pushbench_protocol::transport::Transport;
use pushbench_protocol::transport::{Framing, sse, tcp, websocket};

/// Faults of each kind, over all clients.
const FAULTS: u64 = 10_000;

/// Each has a fifth of the faults: a ledger holds 4,096 gaps at once.
const CLIENTS: u64 = 5;

/// Messages stand in blocks of four with one fault in each at the most, so that no fault undoes
/// another and the answer is known without a second ledger.
const BLOCK: u64 = 4;

/// Reconnects of a client, of each kind.
const RECONNECTS: u64 = 50;

/// Blocks before the measure phase. They have faults too, which must not be counted.
const WARM_UP_BLOCKS: u64 = 100;

/// What happens to one block of messages, or to two with a reconnect in between. Places count from
/// 1 within the block.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Clean,
    /// The message at this place never comes.
    Drop(u64),
    /// The message at this place comes twice in a row.
    Double(u64),
    /// The message at this place comes again behind the block.
    Repeat(u64),
    /// The message at this place comes behind the next.
    Swap(u64),
    /// The connection is cut and resumes in order.
    Resume,
    /// It resumes too early: so many messages come again.
    Overlap(u64),
    /// It resumes too late: so many messages never come.
    Gap(u64),
    /// The message at this place comes only after the reconnect.
    Late(u64),
}

/// What one client is sent: the sequences of each of its connections, in the order of the wire.
struct Script {
    connections: Vec<Vec<u64>>,
    /// The first sequence of the measure phase.
    measured_from: u64,
    last: u64,
}

impl Script {
    fn new(units: &[Unit], warm_up: u64) -> Self {
        let mut script = Self {
            connections: vec![Vec::new()],
            measured_from: 0,
            last: 0,
        };
        for (number, &unit) in units.iter().enumerate() {
            if number as u64 == warm_up {
                script.measured_from = script.last + 1;
            }
            script.play(unit);
        }
        script
    }

    fn block(&mut self) -> Vec<u64> {
        let first = self.last + 1;
        self.last += BLOCK;
        (first..=self.last).collect()
    }

    fn send(&mut self, sequences: &[u64]) {
        let connection = self.connections.last_mut().expect("there is one");
        connection.extend_from_slice(sequences);
    }

    fn play(&mut self, unit: Unit) {
        let mut block = self.block();
        let at = |place: u64| place as usize - 1;
        match unit {
            Unit::Clean | Unit::Resume | Unit::Overlap(_) | Unit::Gap(_) => {}
            Unit::Drop(place) => _ = block.remove(at(place)),
            Unit::Double(place) => block.insert(at(place), block[at(place)]),
            Unit::Repeat(place) => block.push(block[at(place)]),
            Unit::Swap(place) => block.swap(at(place), at(place) + 1),
            Unit::Late(place) => _ = block.remove(at(place)),
        }
        self.send(&block);
        if !matches!(
            unit,
            Unit::Resume | Unit::Overlap(_) | Unit::Gap(_) | Unit::Late(_)
        ) {
            return;
        }
        self.connections.push(Vec::new());
        match unit {
            Unit::Overlap(count) => self.send(&block[(BLOCK - count) as usize..]),
            Unit::Late(place) => self.send(&[self.last - BLOCK + place]),
            _ => {}
        }
        let skipped = if let Unit::Gap(count) = unit {
            count
        } else {
            0
        };
        let block = self.block();
        self.send(&block[skipped as usize..]);
    }
}

/// A client's units: its share of each fault, exactly, in an order drawn from the seed.
fn units(seed: u64) -> Vec<Unit> {
    let mut random = SplitMix64::new(seed);
    let share = FAULTS / CLIENTS;
    let mut units = vec![Unit::Clean; 500];
    let (mut missing, mut duplicate, mut late) = (0, 0, 0);
    for _ in 0..RECONNECTS {
        let (gap, overlap) = (1 + random.below(BLOCK), 1 + random.below(BLOCK));
        missing += gap;
        duplicate += overlap;
        late += 1;
        // Not the last of a block: what comes late must have been overtaken.
        let overtaken = 1 + random.below(BLOCK - 1);
        units.extend([
            Unit::Resume,
            Unit::Gap(gap),
            Unit::Overlap(overlap),
            Unit::Late(overtaken),
        ]);
    }
    units.extend((missing..share).map(|_| Unit::Drop(1 + random.below(BLOCK))));
    units.extend((duplicate..share).map(|number| {
        let place = 1 + random.below(BLOCK);
        if number % 2 == 0 {
            Unit::Double(place)
        } else {
            Unit::Repeat(place)
        }
    }));
    units.extend((late..share).map(|_| Unit::Swap(1 + random.below(BLOCK - 1))));
    for last in (1..units.len()).rev() {
        units.swap(last, random.below(last as u64 + 1) as usize);
    }
    let mut all: Vec<Unit> = (0..WARM_UP_BLOCKS)
        .map(|number| match number % 4 {
            0 => Unit::Drop(2),
            1 => Unit::Double(3),
            2 => Unit::Swap(1),
            _ => Unit::Clean,
        })
        .collect();
    all.extend(units);
    all
}

/// A sink as a session's, with the real ledger.
struct Account {
    ledger: Option<Ledger>,
    measured_from: u64,
}

impl Sink for Account {
    fn subscribed(&mut self, cursor: Cursor) {
        // A reconnect goes on with the account, whatever the server answered.
        self.ledger
            .get_or_insert_with(|| Ledger::new(cursor.sequence));
    }

    fn envelope(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let message = envelope::decode(bytes)?;
        assert_eq!(message.payload, payload(message.sequence).as_bytes());
        let ledger = self.ledger.as_mut().expect("the cursor came first");
        ledger.record(
            message.sequence,
            message.intended_ns >= due_ns(self.measured_from),
        );
        Ok(())
    }

    fn lagged(&mut self, lost: Lost) -> Result<(), ClientError> {
        panic!("nothing said that {lost} were lost");
    }

    fn request(&mut self) {}

    fn empty_response(&mut self) {}

    fn cursor(&self) -> Cursor {
        self.ledger.as_ref().map_or(0, Ledger::cursor).into()
    }
}

fn due_ns(sequence: u64) -> u64 {
    1_000_000 * sequence
}

/// Of varying length, with characters of several bytes.
fn payload(sequence: u64) -> String {
    "zażółć".repeat(sequence as usize % 7)
}

fn message(sequence: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let due_ns = due_ns(sequence);
    envelope::encode(
        sequence,
        due_ns,
        due_ns + 7,
        payload(sequence).as_bytes(),
        &mut out,
    );
    out
}

/// What a server of `transport` sends on one connection: a subscription answered with `cursor`,
/// then `sequences`, then the beginning of a message that the cut ends.
fn stream(
    transport: Transport,
    request: &str,
    cursor: u64,
    sequences: &[u64],
    random: &mut SplitMix64,
) -> Vec<u8> {
    let mut out = Vec::new();
    let framing = match transport {
        Transport::Tcp | Transport::HttpStream => Framing::Line,
        Transport::Sse => Framing::Sse,
        Transport::WebSocket => Framing::WebSocket,
        _ => unreachable!("polls are answered one by one"),
    };
    let mut body = Vec::new();
    match transport {
        Transport::Tcp => tcp::encode_subscribed(cursor, &mut out),
        Transport::Sse => {
            out.extend_from_slice(
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\npush-cursor: \
                     {cursor}\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                .as_bytes(),
            );
            sse::encode_open(cursor, &mut body);
        }
        Transport::HttpStream => {
            out.extend_from_slice(
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\npush-cursor: \
                     {cursor}\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                .as_bytes(),
            );
        }
        _ => {
            let key = request
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            let key = key.expect("the client asks for an upgrade");
            let cursor = cursor.to_string();
            websocket::encode_upgrade_response(key, &[("push-cursor", &cursor)], &mut out);
        }
    }
    for &sequence in sequences {
        if random.below(50) == 0 {
            body.extend_from_slice(framing.keep_alive());
        }
        framing.encode(sequence, &message(sequence), &mut body);
    }
    let mut next = Vec::new();
    let after = sequences.iter().max().map_or(cursor, |&last| last) + 1;
    framing.encode(after, &message(after), &mut next);
    next.truncate(random.below(next.len() as u64) as usize);
    body.extend_from_slice(&next);
    if transport.streamed().is_none() {
        out.append(&mut body);
        return out;
    }
    // Chunks end anywhere, also in the middle of a message.
    let mut rest = body.as_slice();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rest.len().min(1 + random.below(3_000) as usize));
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    out
}

/// The answer to a poll.
fn answer(cursor: u64, sequences: &[u64]) -> Vec<u8> {
    let body: Vec<u8> = sequences
        .iter()
        .flat_map(|&sequence| [message(sequence), b"\n".to_vec()].concat())
        .collect();
    let (status, length) = if sequences.is_empty() {
        ("204 No Content", String::new())
    } else {
        ("200 OK", format!("content-length: {}\r\n", body.len()))
    };
    let head = format!("HTTP/1.1 {status}\r\npush-cursor: {cursor}\r\n{length}\r\n");
    [head.into_bytes(), body].concat()
}

/// One client's protocol, and what it has written.
struct Client<'a, P> {
    protocol: P,
    account: &'a mut Account,
    out: Vec<u8>,
}

const TARGET: Target<'static> = Target {
    server: SocketAddr::V4(std::net::SocketAddrV4::new(
        std::net::Ipv4Addr::LOCALHOST,
        80,
    )),
    host: "127.0.0.1:80",
    prefix: "c",
    channel: 0,
    snapshot_messages: 0,
};

impl<'a, P: Protocol> Client<'a, P> {
    fn open(account: &'a mut Account, since: Option<u64>) -> Self {
        let mut client = Self {
            protocol: P::default(),
            account,
            out: Vec::new(),
        };
        let Self {
            protocol,
            account,
            out,
        } = &mut client;
        protocol.open(TARGET, since.map(Cursor::from), *account, out);
        client
    }

    /// What it asks. Checks that it resumes where it must.
    fn request(&mut self, since: Option<u64>) -> String {
        let request = String::from_utf8(std::mem::take(&mut self.out)).expect("ASCII");
        if let Some(since) = since {
            let first_line = request.lines().next().unwrap_or_default();
            let asked: Vec<&str> = first_line.split([' ', '=']).collect();
            let asked = asked.iter().any(|word| *word == since.to_string());
            let by_id = request.contains(&format!("Last-Event-ID: {since}\r\n"));
            assert!(asked || by_id, "not since {since}: {request}");
        }
        request
    }

    /// Hands it `bytes` in parts of any size.
    fn feed(&mut self, mut bytes: Vec<u8>, random: &mut SplitMix64) {
        // Mostly large parts, as on a busy connection, but also single bytes.
        let most = [1, 20, 20, 700, 700, 20_000, 20_000, 20_000][random.below(8) as usize];
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            let length = rest.len().min(1 + random.below(most) as usize);
            let (part, after) = rest.split_at_mut(length);
            rest = after;
            let next = self
                .protocol
                .receive(part, TARGET, self.account, &mut self.out)
                .expect("the server keeps to the protocol");
            match next {
                Next::Read => {}
                Next::Pause => self.protocol.poll(TARGET, self.account, &mut self.out),
                Next::Closed => panic!("the server has closed nothing"),
            }
        }
    }
}

/// Plays `script` to a client of `P` and returns its account.
fn play<P: Protocol>(transport: Transport, script: &Script, random: &mut SplitMix64) -> Deliveries {
    let mut account = Account {
        ledger: None,
        measured_from: script.measured_from,
    };
    let polls = matches!(transport, Transport::LongPoll | Transport::ShortPoll);
    let mut highest = 0;
    for (number, sequences) in script.connections.iter().enumerate() {
        let since = (number > 0).then(|| account.cursor().sequence);
        assert_eq!(
            since.unwrap_or(0),
            highest,
            "the highest seen is the cursor"
        );
        let mut client = Client::<P>::open(&mut account, since);
        let mut request = client.request(since);
        let cursor = sequences.first().map_or(highest, |first| first - 1);
        if !polls {
            let bytes = stream(transport, &request, cursor, sequences, random);
            client.feed(bytes, random);
            highest = sequences.iter().copied().fold(highest, u64::max);
            continue;
        }
        if number == 0 {
            client.feed(answer(0, &[]), random);
            request = client.request(Some(0));
        }
        let mut rest = sequences.as_slice();
        while !rest.is_empty() {
            let count = rest.len().min(random.below(12) as usize);
            let (now, after) = rest.split_at(count);
            rest = after;
            highest = now.iter().copied().fold(highest, u64::max);
            client.feed(answer(highest, now), random);
            request = client.request(Some(highest));
        }
        assert!(request.starts_with("GET /"));
        // The cut ends an answer half-way.
        let mut cut = answer(highest + 3, &[highest + 1, highest + 2, highest + 3]);
        cut.truncate(random.below(cut.len() as u64) as usize);
        client.feed(cut, random);
    }
    let ledger = account.ledger.expect("it was subscribed");
    assert!(!ledger.overflowed());
    ledger.settle(script.measured_from..=script.last)
}

struct Play<'a>(&'a Script, &'a mut SplitMix64);

impl WithClient for Play<'_> {
    type Output = Deliveries;

    fn with<P: Protocol>(self) -> Deliveries {
        play::<P>(P::TRANSPORT, self.0, self.1)
    }
}

fn play_on(transport: Transport, script: &Script, random: &mut SplitMix64) -> Deliveries {
    with_client(transport, Play(script, random))
}

#[test]
fn ledgers_count_ten_thousand_faults_of_each_kind_exactly_on_every_transport() {
    for transport in Transport::ALL {
        let mut total = Deliveries::default();
        let mut expected = 0;
        for client in 0..CLIENTS {
            let script = Script::new(&units(client), WARM_UP_BLOCKS);
            let mut random = SplitMix64::new(1_000 + client);
            total.merge(play_on(transport, &script, &mut random));
            expected += script.last + 1 - script.measured_from;
        }
        let answer = Deliveries {
            expected,
            received: expected - FAULTS,
            missing: FAULTS,
            duplicate: FAULTS,
            out_of_order: FAULTS,
        };
        assert_eq!(total, answer, "{transport}");
    }
}

#[test]
fn a_client_that_is_cut_everywhere_and_resumes_has_a_clean_account() {
    let script = Script::new(&[Unit::Resume; 400], 0);
    for transport in Transport::ALL {
        let counts = play_on(transport, &script, &mut SplitMix64::new(9));
        let answer = Deliveries {
            expected: script.last,
            received: script.last,
            ..Deliveries::default()
        };
        assert_eq!(counts, answer, "{transport}");
    }
    assert_eq!(script.connections.len(), 401);
}
