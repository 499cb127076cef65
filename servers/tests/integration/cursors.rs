//! Cursors and logs, on every transport in every profile: what a client that comes back is answered
//! where the server's log is the one that its cursor is of, and where it is not.
//!
//! A restart is two servers, one after the other.

use pushbench_protocol::framing::Epoch;
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::server::{Config, Server};

use crate::refill;
use crate::support::bytes::opcode::{CLOSE, TEXT};
use crate::support::bytes::{self, client_frame, close_payload, server_frame};
use crate::support::wire::Wire;
use crate::support::{
    address, ask, config, count, for_each, for_each_stream, log_of, publish, ring, settle, start,
    start_with,
};

/// A server that draws the epoch of its logs.
fn own(transport: Transport, profile: Profile) -> Config {
    Config {
        epoch: None,
        ..config(transport, profile)
    }
}

/// Comes back to `channel` with a cursor, as the clients of the transport do.
fn resume(server: &Server, transport: Transport, channel: &str, cursor: &str) -> Wire {
    let request = match transport {
        Transport::Tcp => bytes::subscribe_raw(transport, &format!(" {channel} {cursor}"), ""),
        // The address that an EventSource was given stays as it was.
        Transport::Sse => bytes::subscribe_raw(
            transport,
            &format!("?channel={channel}&since=0"),
            &format!("Last-Event-ID: {cursor}\r\n"),
        ),
        Transport::HttpStream
        | Transport::WebSocket
        | Transport::LongPoll
        | Transport::ShortPoll => {
            bytes::subscribe_raw(transport, &format!("?channel={channel}&since={cursor}"), "")
        }
    };
    ask(server, transport, request)
}

#[test]
fn a_restart_without_the_log_is_reported_as_a_loss_however_long_the_new_log_is() {
    for_each(|transport, profile| {
        let first = start(&own(transport, profile));
        publish(&first, 0, &["of the first"; 19]);
        let held = format!("{}19", log_of(&first));
        drop(first);
        for messages in [0, 2, 25] {
            let second = start(&own(transport, profile));
            let all = publish(&second, 0, &vec!["of the second"; messages as usize]);
            settle(&second, transport, messages);
            let begin = format!("{}0", log_of(&second));
            assert_ne!(begin, "0");
            let mut wire = resume(&second, transport, "news", &held);
            wire.expect(bytes::lost(transport, &begin, "unknown", &begin));
            assert_eq!(count(&second, |s| &s.lagged), 1);
            assert_eq!(count(&second, |s| &s.lost_messages), 0);
            // After it comes all that there is.
            if messages > 0 {
                let mut wire = resume(&second, transport, "news", &begin);
                if bytes::is_stream(transport) {
                    wire.expect(bytes::at_tail(transport, &begin));
                }
                assert_eq!(
                    wire.sequences(all.len()),
                    (1..=messages).collect::<Vec<_>>()
                );
            }
        }
    });
}

#[test]
fn every_answer_has_the_cursor_of_its_log_and_a_plain_number_is_one_of_any() {
    for_each(|transport, profile| {
        for epoch in [None, Some("k3f9".parse().expect("an epoch"))] {
            let server = start(&Config {
                epoch,
                ..config(transport, profile)
            });
            let log = log_of(&server);
            assert_eq!(log.len(), 5, "{log}");
            let messages = publish(&server, 0, &["a", "b", "c"]);
            settle(&server, transport, 3);
            // At the tail, which nobody is held at without a cursor.
            let request = bytes::subscribe(transport, "news", None);
            ask(&server, transport, request).expect(bytes::at_tail(transport, format!("{log}3")));
            for since in 0..3 {
                let of_log = format!("{log}{since}");
                let pending = &messages[since as usize..];
                let expected = bytes::behind(transport, profile, &of_log, pending);
                for given in [of_log, since.to_string()] {
                    resume(&server, transport, "news", &given).expect(&expected);
                }
            }
            assert_eq!(count(&server, |s| &s.lagged), 0);
        }
    });
}

#[test]
fn a_cursor_beyond_the_tail_is_a_loss_and_what_is_remembered_comes_after_it() {
    for_each(|transport, profile| {
        for epoch in [None, Some(Epoch::NONE)] {
            let server = start(&Config {
                epoch,
                ring: ring(2),
                ..config(transport, profile)
            });
            let log = log_of(&server);
            let messages = publish(&server, 0, &["a", "b", "c"]);
            settle(&server, transport, 3);
            let of = |sequence: u64| format!("{log}{sequence}");
            for beyond in [of(4), of(u64::MAX), "4".into(), "zzzz-2".into()] {
                let mut wire = resume(&server, transport, "news", &beyond);
                wire.expect(bytes::lost(transport, of(1), "unknown", of(1)));
            }
            let expected = bytes::behind(transport, profile, of(1), &messages[1..]);
            resume(&server, transport, "news", &of(1)).expect(expected);
            // One that only fell off is told its range.
            let mut wire = resume(&server, transport, "news", &of(0));
            wire.expect(bytes::lost(transport, of(0), "1 1", of(1)));
        }
    });
}

#[test]
fn where_a_stream_goes_on_after_a_loss_it_does_after_one_of_unknown_extent() {
    for_each_stream(|transport, profile| {
        for (policy, first) in [(Overflow::DropOldest, 0), (Overflow::LatestOnly, 2)] {
            let server = start_with(&own(transport, profile), policy);
            let begin = format!("{}0", log_of(&server));
            let messages = publish(&server, 0, &["a", "b", "c"]);
            settle(&server, transport, 3);
            let mut wire = resume(&server, transport, "news", "gone-7");
            wire.expect(bytes::at_tail(transport, &begin));
            wire.expect(bytes::told(transport, "unknown", &begin));
            wire.expect(bytes::streamed(transport, profile, &messages[first..]));
        }
    });
}

#[test]
fn the_log_of_a_plan_is_the_same_on_every_server_that_publishes_it_and_on_no_other() {
    for_each(|transport, profile| {
        let [plan, ..] = refill::past_plans();
        let first = refill::start(&plan, own(transport, profile));
        let log = log_of(&first);
        let tail = refill::expected(&plan, 0).len() as u64;
        let of = |sequence: u64| format!("{log}{sequence}");
        assert_ne!(first.hub.epoch(0), first.hub.epoch(3), "which no plan has");
        drop(first);

        let second = refill::start(&plan, own(transport, profile));
        assert_eq!(log_of(&second), log);
        let mut wire = resume(&second, transport, "c0", &of(tail - 3));
        assert_eq!(wire.sequences(3), [tail - 2, tail - 1, tail]);

        let mut other = plan.clone();
        other.seed += 1;
        let third = refill::start(&other, own(transport, profile));
        let begin = format!("{}0", log_of(&third));
        let mut wire = resume(&third, transport, "c0", &of(tail - 3));
        wire.expect(bytes::lost(transport, &begin, "unknown", &begin));
    });
}

#[test]
fn what_clients_publish_to_the_log_of_a_plan_is_refused() {
    let refusal = "the log of this channel is that of a plan, so that another server can have the \
                   same; publish to another channel";
    for_each(|transport, profile| {
        let [plan, ..] = refill::past_plans();
        let server = refill::start(&plan, config(transport, profile));
        let tail = refill::expected(&plan, 0).len() as u64;
        let place = address(&server, transport);
        match transport {
            Transport::Tcp => {
                let mut wire = Wire::open(place, "PUBLISH c3 x\nPUBLISH c0 x\n");
                wire.expect(format!("ERROR {refusal}\n"));
                wire.expect_end();
            }
            Transport::WebSocket => {
                let mut wire = resume(&server, transport, "c0", &tail.to_string());
                wire.expect(bytes::at_tail(transport, tail));
                wire.send(client_frame(TEXT, b"x"));
                let reason = "the log of this channel is that of a plan; publish to another";
                wire.expect(server_frame(CLOSE, &close_payload(1008, reason)));
            }
            Transport::Sse | Transport::HttpStream | Transport::LongPoll | Transport::ShortPoll => {
                let mut wire = Wire::open(place, bytes::post("c0", b"x"));
                wire.expect(bytes::refused_response("409 Conflict", refusal));
                wire.send(bytes::post("c3", b"x"));
                wire.expect(bytes::posted(1));
            }
        }
        let mut wire = resume(&server, transport, "c0", &(tail - 1).to_string());
        assert_eq!(wire.sequences(1), [tail], "nothing was appended");
    });
}
