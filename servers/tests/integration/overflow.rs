//! What becomes of a subscriber that fell off the ring, by policy, over every transport and profile.
//!
//! Bytes where it is told something, and counts that add up: whatever was published was handed out,
//! lost and told, or left out for a newer one.

use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::server::{Config, Server};

use crate::support::wire::Wire;
use crate::support::{
    address, await_rest, await_subscribers, bytes, config, count, deliveries, eventually,
    expect_next, for_each, for_each_stream, publish, ring, settle, start_with, subscribe,
};

/// Payload of the messages that are more than a connection holds.
const LARGE_BYTES: usize = 16 << 10;

/// As many of them as no connection holds, with 408 KiB of hyper's and what the kernel has.
const MANY: u64 = 100;

/// A ring of few messages, and sockets that take few.
fn small(transport: Transport, profile: Profile, messages: usize) -> Config {
    Config {
        ring: ring(messages),
        send_buffer_bytes: Some(16 << 10),
        ..config(transport, profile)
    }
}

/// Lagged, lost, conflated, cut off.
fn counts(server: &Server) -> [u64; 4] {
    [
        count(server, |s| &s.lagged),
        count(server, |s| &s.lost_messages),
        count(server, |s| &s.conflated_messages),
        count(server, |s| &s.cut_off),
    ]
}

/// A message is counted right behind the write that hands it out, so a client may have it first.
fn await_deliveries(server: &Server, expected: u64) {
    eventually("each that was handed out is counted", || {
        deliveries(server) == expected
    });
}

/// A stream at the start of `channel` whose client reads nothing behind the answer.
fn open_stream(server: &Server, transport: Transport, channel: &str) -> Wire {
    let mut wire = Wire::connect_with_small_buffer(address(server, transport));
    wire.send(bytes::subscribe(transport, channel, None));
    wire.expect(bytes::at_tail(transport, 0));
    wire
}

/// Appends large messages to a channel, one at a time.
fn publish_large(server: &Server, channel: u32, count: u64) {
    let payload = "x".repeat(LARGE_BYTES);
    for _ in 0..count {
        let appended = server.hub.append(channel, None, payload.as_bytes());
        appended.expect("room in the inbox");
    }
}

/// Reads up to the last of the messages that were published, [`MANY`] in all.
fn read_to_the_last(wire: &mut Wire) -> Vec<u8> {
    let head = format!("{MANY:016x}:");
    let mut read = wire.until(head.as_bytes());
    // The rest of the envelope, so that its head is found whole.
    read.extend(wire.exactly(LARGE_BYTES + 34));
    read
}

/// The ranges that were told within a stream.
fn told(read: &[u8]) -> Vec<(u64, u64)> {
    // The words of 'tcp' and 'websocket', and the field of 'sse' behind the id.
    let text = String::from_utf8_lossy(read);
    let mut told = Vec::new();
    for word in ["LAGGED ", "event: lagged\nid: "] {
        for at in text.match_indices(word).map(|(at, _)| at + word.len()) {
            let rest = &text[at..];
            let range = rest
                .split_once("\ndata: ")
                .filter(|_| word.starts_with('e'));
            let range = range.map_or(rest, |(_, range)| range);
            let mut numbers = range.split(|c: char| !c.is_ascii_digit());
            let mut number = || {
                numbers
                    .next()
                    .and_then(|n| n.parse().ok())
                    .expect("a number")
            };
            told.push((number(), number()));
        }
    }
    told
}

#[test]
fn drop_oldest_tells_the_loss_within_the_stream_and_goes_on() {
    for_each(|transport, profile| {
        let server = start_with(&small(transport, profile, 2), Overflow::DropOldest);
        let messages = publish(&server, 0, &["a", "b", "c", "d", "e"]);
        settle(&server, transport, 5);
        let mut wire = subscribe(&server, transport, Some(1));
        if bytes::is_stream(transport) {
            wire.expect(bytes::at_tail(transport, 1));
            wire.expect(bytes::told(transport, "2 3", 3));
            wire.expect(bytes::streamed(transport, profile, &messages[3..]));
            let more = publish(&server, 5, &["f"]);
            wire.expect(bytes::streamed(transport, profile, &more));
        } else {
            wire.expect(bytes::lagged(transport, 1, 3));
            wire.send(bytes::subscribe(transport, "news", Some(3)));
            wire.expect(bytes::behind(transport, profile, 3, &messages[3..]));
        }
        assert_eq!(counts(&server), [1, 2, 0, 0]);
    });
}

#[test]
fn latest_only_hands_out_the_newest_of_all_that_is_pending() {
    for_each(|transport, profile| {
        let server = start_with(&small(transport, profile, 2), Overflow::LatestOnly);
        let messages = publish(&server, 0, &["a", "b", "c", "d", "e"]);
        settle(&server, transport, 5);
        // Whether those between are remembered or not is all one.
        let mut wire = subscribe(&server, transport, Some(1));
        wire.expect(bytes::behind(transport, profile, 1, &messages[4..])); // 2, 3, 4 left out
        let more = publish(&server, 5, &["f", "g"]);
        expect_next(&server, &mut wire, (transport, profile), 5, &more[1..]);
        let one = publish(&server, 7, &["h"]);
        if bytes::is_stream(transport) {
            wire.expect(bytes::streamed(transport, profile, &one));
        }
        assert_eq!(counts(&server), [0, 0, 4, 0]);
        let streamed = u64::from(bytes::is_stream(transport));
        await_deliveries(&server, 2 + streamed);
    });
}

#[test]
fn a_slow_reader_on_drop_oldest_gets_or_is_told_of_every_message() {
    for_each_stream(|transport, profile| {
        let server = start_with(&small(transport, profile, 8), Overflow::DropOldest);
        let mut wire = open_stream(&server, transport, "news");
        publish_large(&server, 0, MANY);
        let read = read_to_the_last(&mut wire);
        let mut seen = bytes::sequences(&read);
        let received = seen.len() as u64;
        let ranges = told(&read);
        seen.extend(ranges.iter().flat_map(|&(from, to)| from..=to));
        seen.sort_unstable();
        assert_eq!(seen, (1..=MANY).collect::<Vec<u64>>());
        let lost = MANY - received;
        assert!(lost > 0 && !ranges.is_empty(), "{ranges:?}");
        assert_eq!(counts(&server), [ranges.len() as u64, lost, 0, 0]);
        await_deliveries(&server, received);
    });
}

#[test]
fn a_slow_reader_on_latest_only_gets_the_newest_when_it_reads_again() {
    for_each_stream(|transport, profile| {
        let server = start_with(&small(transport, profile, 8), Overflow::LatestOnly);
        let mut wire = open_stream(&server, transport, "news");
        publish_large(&server, 0, MANY);
        let read = read_to_the_last(&mut wire);
        let seen = bytes::sequences(&read);
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        assert_eq!(seen.last(), Some(&MANY));
        let left_out = MANY - seen.len() as u64;
        assert!(left_out > 0);
        assert_eq!(counts(&server), [0, 0, left_out, 0]);
        await_deliveries(&server, seen.len() as u64);
    });
}

/// A subscriber that falls off the ring of `news` and one that falls off that of `other`, neither
/// of which reads.
fn cut_off(transport: Transport, profile: Profile) {
    // More than a connection holds.
    const REMEMBERED: u64 = 64;
    let config = small(transport, profile, REMEMBERED as usize);
    let server = Server::start(&config).expect("a free port on loopback");
    let declare = |name: &str, policy| {
        let declared = server.hub.declare_with(&[name], &[policy]);
        declared.expect("a good name");
    };
    declare("news", Overflow::Disconnect);
    declare("other", Overflow::DropOldest);
    let mut gone = open_stream(&server, transport, "news");
    let mut stays = open_stream(&server, transport, "other");
    // One that has room is told: it must be full before it falls off.
    publish_large(&server, 0, REMEMBERED);
    await_rest(&server, transport, REMEMBERED);
    assert!(deliveries(&server) < REMEMBERED);
    publish_large(&server, 0, MANY);
    // A kernel makes room now and then though nobody reads, so one of these may have been told
    // first; it is not waited for any longer than the others.
    eventually("it is cut off", || counts(&server)[3] == 1);
    await_subscribers(&server, 1);
    let [lagged, lost, ..] = counts(&server);
    assert_eq!(lagged, 1);
    // All that fell off, or where it was told all that had by then.
    assert!(lost > 0 && deliveries(&server) + lost <= MANY, "{lost}");
    assert!(gone.is_reset());
    // The other policies wait for their readers.
    publish_large(&server, 1, MANY);
    let read = read_to_the_last(&mut stays);
    assert_eq!(bytes::sequences(&read).last(), Some(&MANY));
    assert_eq!(counts(&server)[3], 1);
}

#[test]
fn who_takes_nothing_and_has_fallen_off_is_reset_and_counted() {
    // Each takes a second by itself.
    std::thread::scope(|scope| {
        for transport in Transport::ALL.into_iter().filter(|&t| bytes::is_stream(t)) {
            for profile in Profile::ALL {
                let name = format!("{transport}-{profile}");
                let case = std::thread::Builder::new().name(name);
                let case = case.spawn_scoped(scope, move || cut_off(transport, profile));
                case.expect("a thread");
            }
        }
    });
}

#[test]
fn a_send_buffer_that_the_machine_does_not_give_is_refused_with_a_remedy() {
    let most = std::fs::read_to_string("/proc/sys/net/core/wmem_max").expect("Linux");
    let most: usize = most.trim().parse().expect("a number");
    // The kernel counts it in an 'int', and doubles it.
    if most > 1 << 29 {
        return;
    }
    let asked = most + 4096;
    let error = Server::start(&Config {
        send_buffer_bytes: Some(asked),
        ..config(Transport::Tcp, Profile::Lean)
    });
    assert_eq!(
        error.expect_err("more than there is").to_string(),
        format!(
            "'--send-buffer-bytes' is {asked}, but this machine gives at most {most}; raise it \
             with 'sysctl -w net.core.wmem_max={asked}'"
        )
    );
}
