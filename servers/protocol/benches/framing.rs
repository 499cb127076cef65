//! What framing costs: one 128-byte envelope encoded, decoded, and decoded as one of 32 that came
//! in one read.
//!
//! `tcp` is the floor that the others are held against, in the same run. Every decoder gets a
//! fresh copy of its bytes, because WebSocket and HTTP bodies are read in place; the copy is the
//! same work for all. A poll is decoded with the head of its response, a stream without.
//!
//! ```text
//! cargo bench -p pushbench-servers --bench framing -- --quick
//! ```

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use pushbench_protocol::envelope;
use pushbench_protocol::framing::http1;
use pushbench_protocol::transport::{Framing, poll, sse, tcp, websocket};

const ENVELOPE_BYTES: usize = 128;
const SEQUENCE: u64 = 123_456;

fn envelope() -> Vec<u8> {
    let mut out = Vec::new();
    let payload = [b'x'; ENVELOPE_BYTES - envelope::HEAD_BYTES];
    envelope::encode(SEQUENCE, 1, 2, &payload, &mut out);
    out
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Bytes(ENVELOPE_BYTES as u64));
    let envelope = envelope();
    let mut out = Vec::with_capacity(1024);
    for (name, framing) in [
        ("tcp", Framing::Line),
        ("sse", Framing::Sse),
        ("websocket", Framing::WebSocket),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                framing.encode(black_box(SEQUENCE), black_box(&envelope), &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

/// Measures `decode` over a fresh copy of `wire` each time. It returns the envelopes' bytes found,
/// which is checked first: a benchmark of a wrong answer is worth nothing.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    messages: usize,
    wire: &[u8],
    mut decode: impl FnMut(&mut [u8]) -> usize,
) {
    let mut buffer = wire.to_vec();
    assert_eq!(decode(&mut buffer), messages * ENVELOPE_BYTES, "{name}");
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes((messages * ENVELOPE_BYTES) as u64));
    group.bench_function(BenchmarkId::new(name, messages), |bencher| {
        bencher.iter(|| {
            buffer.copy_from_slice(black_box(wire));
            black_box(decode(&mut buffer))
        });
    });
    group.finish();
}

fn decode(criterion: &mut Criterion, messages: usize) {
    let envelope = envelope();
    let wire = |framing: Framing| {
        let mut out = Vec::new();
        for _ in 0..messages {
            framing.encode(SEQUENCE, &envelope, &mut out);
        }
        out
    };

    let mut decoder = tcp::Decoder::default();
    measure(criterion, "tcp", messages, &wire(Framing::Line), |bytes| {
        let mut found = 0;
        let each = |line: tcp::Line<'_>| {
            if let tcp::Line::Envelope(envelope) = line {
                found += envelope.len();
            }
        };
        decoder.feed(bytes, each).expect("lines of the protocol");
        found
    });

    // As it comes over HTTP/1.1: all that is pending in one chunk.
    let events = wire(Framing::Sse);
    let mut chunk = format!("{:x}\r\n", events.len()).into_bytes();
    chunk.extend_from_slice(&events);
    chunk.extend_from_slice(b"\r\n");
    let mut body = http1::Body::new(http1::BodyLength::Chunked);
    let mut decoder = sse::Decoder::default();
    measure(criterion, "sse", messages, &chunk, |bytes| {
        let progress = body.decode(bytes).expect("a right chunk");
        let mut found = 0;
        let each = |block: sse::Block<'_>| found += block.data.map_or(0, |data| data.len());
        decoder
            .feed(&bytes[..progress.payload_len], each)
            .expect("short events");
        found
    });

    let mut decoder = websocket::Decoder::new(websocket::Role::Client, envelope::MAX_BYTES);
    measure(
        criterion,
        "websocket",
        messages,
        &wire(Framing::WebSocket),
        |bytes| {
            let mut found = 0;
            let each = |event: websocket::Event<'_>| {
                if let websocket::Event::Text(envelope) = event {
                    found += envelope.len();
                }
            };
            decoder.feed(bytes, each).expect("right frames");
            found
        },
    );

    let lines = wire(Framing::Line);
    let mut response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n\
         push-cursor: {SEQUENCE}\r\ncontent-length: {}\r\n\
         date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
        lines.len()
    )
    .into_bytes();
    response.extend_from_slice(&lines);
    measure(criterion, "long_poll", messages, &response, |bytes| {
        let (head, head_bytes) = http1::parse_head(bytes)
            .expect("a response")
            .expect("a whole head");
        let bytes = &mut bytes[head_bytes..];
        let progress = http1::Body::new(head.body)
            .decode(bytes)
            .expect("a right body");
        let mut found = 0;
        poll::lines(&bytes[..progress.payload_len], |line| found += line.len());
        found
    });
}

// `criterion_main!` would make public functions without documentation.
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    encode(&mut criterion);
    decode(&mut criterion, 1);
    decode(&mut criterion, 32);
    criterion.final_summary();
}
