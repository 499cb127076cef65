//! What a server holds for clients that read nothing stays under its documented bound.
//!
//! Counted in bytes, exactly: what was handed out of the ring, less what the kernel has taken of it
//! (`/proc/net/tcp`: unacknowledged at the server's end, unread at the client's), is what the
//! process holds.

use std::collections::HashMap;

use pushbench_protocol::envelope::HEAD_BYTES;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::ring::RingLimits;
use pushbench_servers::server::{Config, Server};
use pushbench_servers::transport::stalled_bytes;

use crate::support::wire::Wire;
use crate::support::{
    address, await_rest, await_subscribers, bytes, config, deliveries, eventually, for_each,
    publish, settle, start,
};

const SUBSCRIBERS: usize = 50;
const ENVELOPE_BYTES: usize = 64 << 10;
/// More than 408 KiB of hyper's, what the kernel has, and the rest of a message.
const MESSAGES: u64 = 16;

/// Bytes in the kernel's queues, by the ports of this end and the other.
fn queues() -> HashMap<(u16, u16), (u64, u64)> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let connection = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let port = |field: &str| u16::from_str_radix(field.split_once(':')?.1, 16).ok();
        let (sent, received) = fields.get(4)?.split_once(':')?;
        let bytes = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let ports = (port(fields[1])?, port(fields[2])?);
        Some((ports, (bytes(sent)?, bytes(received)?)))
    };
    table.lines().skip(1).filter_map(connection).collect()
}

/// Bytes that the kernel has of what the server wrote to this client behind what the client read.
/// `None` where the table left an end out: it is not a snapshot, and others come and go meanwhile.
fn in_the_kernel(queues: &HashMap<(u16, u16), (u64, u64)>, wire: &Wire) -> Option<u64> {
    let (near, far) = wire.ports();
    Some(queues.get(&(far, near))?.0 + queues.get(&(near, far))?.1)
}

/// What the server has handed out, and what of it the kernel has, once neither moves any more.
fn at_rest(server: &Server, transport: Transport, wires: &[Wire]) -> (u64, u64) {
    let look = || {
        await_rest(server, transport, MESSAGES);
        let queues = queues();
        let taken = wires
            .iter()
            .map(|wire| in_the_kernel(&queues, wire))
            .sum::<Option<u64>>();
        taken.map(|taken| (deliveries(server), taken))
    };
    let mut before = look();
    eventually("the kernel's queues are at rest", || {
        let now = look();
        std::mem::replace(&mut before, now) == now && now.is_some()
    });
    before.expect("the last look found every end")
}

/// One message as it leaves the process.
fn framed_bytes(transport: Transport) -> u64 {
    let around = match transport {
        Transport::Tcp | Transport::LongPoll | Transport::ShortPoll => 1,
        // A sequence of one or two digits, its chunk's size of five and two line ends; one chunk
        // for several messages is less.
        Transport::Sse => 13 + 2 + 9,
        Transport::HttpStream => 1 + 9,
        Transport::WebSocket => 10,
    };
    ENVELOPE_BYTES as u64 + around
}

#[test]
fn what_is_held_for_a_client_that_reads_nothing_stays_under_its_bound() {
    let payload = "x".repeat(ENVELOPE_BYTES - HEAD_BYTES);
    for_each(|transport, profile| {
        let server = start(&Config {
            ring: RingLimits {
                messages: MESSAGES as usize,
                bytes: 4 << 20,
            },
            send_buffer_bytes: Some(16 << 10),
            ..config(transport, profile)
        });
        let mut wires: Vec<Wire> = (0..SUBSCRIBERS)
            .map(|_| Wire::connect_with_small_buffer(address(&server, transport)))
            .collect();
        if bytes::is_stream(transport) {
            for wire in &mut wires {
                wire.send(bytes::subscribe(transport, "news", None));
                wire.expect(bytes::at_tail(transport, 0));
            }
            publish(&server, 0, &vec![&payload; MESSAGES as usize]);
        } else {
            publish(&server, 0, &vec![&payload; MESSAGES as usize]);
            settle(&server, transport, MESSAGES);
            for wire in &mut wires {
                wire.send(bytes::subscribe(transport, "news", Some(0)));
            }
            // Three of them fit into an answer of 256 KiB. Whoever has it is not a subscriber any more.
            eventually("every poll is answered", || {
                deliveries(&server) == 3 * SUBSCRIBERS as u64
            });
            await_subscribers(&server, 0);
        }
        let (handed_out, taken) = at_rest(&server, transport, &wires);
        let held = (handed_out * framed_bytes(transport)).saturating_sub(taken);
        let bound = (SUBSCRIBERS * stalled_bytes(transport, profile, ENVELOPE_BYTES)) as u64;
        assert!(
            held <= bound,
            "{held} bytes are held for {SUBSCRIBERS} clients, at most {bound} may be: {handed_out} \
             messages handed out, {taken} bytes of them taken by the kernel"
        );
        // Nobody was served without end, or the bound was not tried.
        assert!(handed_out < SUBSCRIBERS as u64 * MESSAGES, "{handed_out}");
        assert!(held > 0);
        if profile == Profile::Lean && bytes::is_stream(transport) {
            // The next message of each waits in the ring, and not in a copy.
            assert!(
                held < SUBSCRIBERS as u64 * framed_bytes(transport),
                "{held}"
            );
        }
    });
}

#[test]
fn a_client_that_pings_and_does_not_read_is_not_answered_without_end() {
    const PINGS: usize = 30_000;
    let ping = |number: usize| {
        let data = format!("{number:0125}");
        bytes::client_frame(0x9, data.as_bytes())
    };
    // In `lean` such a client is not read any further: it would wait for itself here.
    for profile in [Profile::Stock, Profile::Tuned] {
        let server = start(&Config {
            send_buffer_bytes: Some(16 << 10),
            ..config(Transport::WebSocket, profile)
        });
        let mut wire = Wire::connect_with_small_buffer(address(&server, Transport::WebSocket));
        wire.send(bytes::subscribe(Transport::WebSocket, "news", None));
        wire.expect(bytes::at_tail(Transport::WebSocket, 0));
        for numbers in (1..=PINGS).collect::<Vec<_>>().chunks(500) {
            let pings: Vec<u8> = numbers.iter().flat_map(|&number| ping(number)).collect();
            wire.send(pings);
        }
        // Pings that the server reads while the client reads pongs would all be answered.
        let (near, far) = wire.ports();
        eventually("the server has read every ping", || {
            let queues = queues();
            let unsent = queues.get(&(near, far)).map(|queue| queue.0);
            let unread = queues.get(&(far, near)).map(|queue| queue.1);
            (unsent, unread) == (Some(0), Some(0))
        });
        // Where there is no room for more, the newest stands for those before it (RFC 6455,
        // section 5.5.3).
        let read = wire.until(format!("{PINGS:0125}").as_bytes());
        let pong_bytes = 2 + 125;
        let most = (256 << 10) + (2 << 20) + (256 << 10);
        assert!(read.len() <= most, "{profile}: {} bytes", read.len());
        assert!(most < PINGS * pong_bytes);
    }
}
