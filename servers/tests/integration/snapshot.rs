//! A subscription that starts before the tail: `last=N`, over every transport and profile.

use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::server::{Config, Server};

use crate::support::bytes::{self, Message};
use crate::support::wire::Wire;
use crate::support::{
    address, ask, config, count, expect_next, for_each, publish, ring, settle, start, start_with,
};

/// A server that remembers the last three of five messages.
fn remembering(config: Config, overflow: Overflow) -> (Server, Vec<Message>) {
    let transport = config.transports[0];
    let ring = ring(3);
    let server = start_with(&Config { ring, ..config }, overflow);
    let messages = publish(&server, 0, &["a", "b", "c", "d", "e"]);
    settle(&server, transport, 5);
    (server, messages)
}

fn ask_last(server: &Server, transport: Transport, last: &str) -> Wire {
    let request = bytes::subscribe_last(transport, "news", last);
    ask(server, transport, request)
}

#[test]
fn a_subscriber_may_start_before_the_tail_and_is_told_where_that_is() {
    for_each(|transport, profile| {
        let disconnect = Overflow::Disconnect;
        let (server, messages) = remembering(config(transport, profile), disconnect);
        // What is older than the oldest one remembered is not a loss: nobody asked for it by name.
        for (last, cursor) in [("2", 3), ("3", 2), ("4", 2), ("1000000", 2), ("0", 5)] {
            let mut wire = ask_last(&server, transport, last);
            wire.expect(bytes::at_tail(transport, cursor));
            let pending = &messages[cursor as usize..];
            if !pending.is_empty() {
                // The cursor of the answer is the `since` of the next poll.
                expect_next(&server, &mut wire, (transport, profile), cursor, pending);
            }
        }
        let mut wire = ask_last(&server, transport, "1");
        wire.expect(bytes::at_tail(transport, 4));
        let next = publish(&server, 5, &["f"]);
        if bytes::is_stream(transport) {
            wire.expect(bytes::streamed(transport, profile, &messages[4..]));
            wire.expect(bytes::streamed(transport, profile, &next));
        }
        assert_eq!(count(&server, |s| &s.lagged), 0);
    });
}

#[test]
fn a_snapshot_of_nothing_is_the_tail() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        ask_last(&server, transport, "7").expect(bytes::at_tail(transport, 0));
    });
}

#[test]
fn a_snapshot_on_latest_only_is_the_newest_message() {
    for_each(|transport, profile| {
        let latest_only = Overflow::LatestOnly;
        let (server, messages) = remembering(config(transport, profile), latest_only);
        let mut wire = ask_last(&server, transport, "3");
        wire.expect(bytes::at_tail(transport, 2));
        expect_next(&server, &mut wire, (transport, profile), 2, &messages[4..]);
    });
}

#[test]
fn a_count_that_is_none_and_two_places_to_start_are_refused() {
    let queries = [
        ("&last=", "last: expected a count of 0 to 1000000, got ''"),
        (
            "&last=-1",
            "last: expected a count of 0 to 1000000, got '-1'",
        ),
        (
            "&last=1000001",
            "last: expected a count of 0 to 1000000, got '1000001'",
        ),
        ("&last=1&last=1", "duplicate field `last`"),
        (
            "&last=1&since=1",
            "both `since` and `last`: one place to start is enough",
        ),
        (
            "&since=1&last=1",
            "both `since` and `last`: one place to start is enough",
        ),
    ];
    let lines = [
        (
            "last=",
            "expected a count of 0 to 1000000 after 'last=', got ''",
        ),
        (
            "last=1000001",
            "expected a count of 0 to 1000000 after 'last=', got '1000001'",
        ),
        (
            "1 last=1",
            "expected a cursor such as '19' or 'k3f9-19' after 'SUBSCRIBE <channel> ', got '1 last=1'",
        ),
    ];
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let address = address(&server, transport);
        if transport == Transport::Tcp {
            for (arguments, text) in lines {
                let request = format!("SUBSCRIBE news {arguments}\n");
                Wire::open(address, request).expect(format!("ERROR {text}\n"));
            }
            return;
        }
        for (arguments, text) in queries {
            let query = format!("?channel=news{arguments}");
            let request = bytes::subscribe_raw(transport, &query, "");
            Wire::open(address, request).expect(bytes::refused_response(
                "400 Bad Request",
                &format!(
                    "{text}; expected '?channel=NAME' and optionally '&since=CURSOR' or \
                     '&last=COUNT'"
                ),
            ));
        }
    });
}

#[test]
fn last_event_id_wins_over_last_on_sse() {
    let transport = Transport::Sse;
    for profile in Profile::ALL {
        let disconnect = Overflow::Disconnect;
        let (server, messages) = remembering(config(transport, profile), disconnect);
        // An EventSource that reconnects goes to the address that it was given.
        let request =
            bytes::subscribe_raw(transport, "?channel=news&last=3", "Last-Event-ID: 4\r\n");
        ask(&server, transport, request).expect(bytes::behind(
            transport,
            profile,
            4,
            &messages[4..],
        ));
    }
}
