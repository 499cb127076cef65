//! Bytes on TCP of a delivery, from the framings (`METHODOLOGY.md`, *What cannot be made equal*).
//!
//! Payload of TCP: heads of HTTP are in it, headers of TCP and IP are not. Checked against the
//! kernel's counters of every record by [`check`](super::check).

use pushbench_protocol::transport::{Profile, Transport};

use super::workload::Workload;

/// Bytes from server to client and back, a second, over all clients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bytes {
    /// Down.
    pub down: f64,
    /// Up.
    pub up: f64,
}

/// Digits of a sequence or a cursor: a stream that has been up for a while.
const DIGITS: f64 = 4.0;

/// Characters of a channel's name and of `Host`, as in the scenarios here.
const NAME: f64 = 6.0;
const HOST: f64 = 15.0;

/// The answer to a POST: its head, its cursor, and a body of the sequence.
const ANSWER: f64 = 116.0 + 2.0 * DIGITS;

/// Bytes a second of `workload` in `profile`.
pub fn bytes(workload: &Workload, transport: Transport, profile: Profile) -> Bytes {
    let load = workload.load(transport);
    let length = workload.payload;
    let batch = workload.batch(transport);
    let full = (load.writes - load.empty).max(0.0);
    let (down, up) = match transport {
        Transport::Tcp => (load.deliveries * (length + 1.0) + load.empty, 0.0),
        Transport::Sse => {
            let event = length + 13.0 + DIGITS;
            // A chunk for all that is pending, or one an event.
            let in_chunk = if profile == Profile::Stock {
                1.0
            } else {
                batch
            };
            let chunk = 4.0 + hex_digits(event * in_chunk);
            let per_delivery = event + chunk / in_chunk;
            (load.deliveries * per_delivery + load.empty * 7.0, 0.0)
        }
        Transport::WebSocket => {
            let down = load.deliveries * (length + frame_head(length)) + load.empty * 2.0;
            (down, load.empty * 6.0)
        }
        Transport::LongPoll | Transport::ShortPoll => {
            let body = batch * (length + 1.0);
            let head = 155.0 + DIGITS + digits(body);
            let down = full * (head + body) + load.empty * (104.0 + DIGITS);
            let path = if transport == Transport::LongPoll {
                51.0
            } else {
                46.0
            };
            (down, load.writes * (path + NAME + DIGITS + HOST))
        }
    };
    let (connect_down, connect_up) = match transport {
        Transport::Tcp => (12.0 + DIGITS, 11.0 + NAME),
        Transport::Sse => (191.0 + 2.0 * DIGITS, 65.0 + NAME + HOST),
        Transport::WebSocket => (181.0 + DIGITS, 157.0 + NAME + HOST),
        Transport::LongPoll | Transport::ShortPoll => (104.0 + DIGITS, 44.0 + NAME + HOST),
    };
    let (send_down, send_up) = upstream(length, transport);
    Bytes {
        down: down + load.connects * connect_down + load.sends * send_down,
        up: up + load.connects * connect_up + load.sends * send_up,
    }
}

/// Bytes that a message of `length` bytes from a client takes, down and up: the frame with its mask, or a
/// POST with its answer, with the least heads that lean clients send; a browser's are some 400 bytes
/// longer.
fn upstream(length: f64, transport: Transport) -> (f64, f64) {
    match transport {
        Transport::Tcp => (0.0, length + 10.0 + NAME),
        // A client's frames are masked.
        Transport::WebSocket => (0.0, length + frame_head(length) + 4.0),
        _ => {
            let head = 62.0 + NAME + HOST + digits(length);
            (ANSWER, head + length)
        }
    }
}

/// Head of a server's WebSocket frame (RFC 6455, section 5.2).
fn frame_head(length: f64) -> f64 {
    match length {
        l if l <= 125.0 => 2.0,
        l if l <= 65_535.0 => 4.0,
        _ => 10.0,
    }
}

fn digits(value: f64) -> f64 {
    value.max(1.0).log10().floor() + 1.0
}

fn hex_digits(value: f64) -> f64 {
    (value.max(1.0).log2() / 4.0).floor() + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::advise::workload::WorkloadArgs;

    #[test]
    fn a_message_alone_takes_the_documented_bytes() {
        let workload = Workload {
            reconnects_per_s: 0.0,
            even: true,
            ..WorkloadArgs {
                payload_bytes: Some(128),
                rate_per_client: Some(1.0),
                ..WorkloadArgs::default()
            }
            .check()
            .expect("good")
        };
        let down = |transport| bytes(&workload, transport, Profile::Tuned).down / 1_000.0;
        assert_eq!(down(Transport::Tcp), 129.0);
        // The documented 148 and 288 are for a sequence of one digit, these for four.
        assert_eq!(down(Transport::Sse), 151.0);
        assert_eq!(down(Transport::WebSocket), 132.0);
        assert_eq!(down(Transport::LongPoll), 291.0);
        assert_eq!(
            (digits(999.0), hex_digits(255.0), hex_digits(256.0)),
            (3.0, 2.0, 3.0)
        );
    }

    #[test]
    fn messages_that_are_due_together_share_a_head() {
        let workload = Workload {
            reconnects_per_s: 0.0,
            even: true,
            ..WorkloadArgs {
                payload_bytes: Some(160),
                rate_per_client: Some(50.0),
                burst: Some(50),
                ..WorkloadArgs::default()
            }
            .check()
            .expect("good")
        };
        let per_delivery = |t, p| bytes(&workload, t, p).down / workload.load(t).deliveries;
        assert!((per_delivery(Transport::LongPoll, Profile::Tuned) - 164.26).abs() < 0.01);
        assert!(per_delivery(Transport::Sse, Profile::Tuned) < 177.3);
        assert_eq!(per_delivery(Transport::Sse, Profile::Stock), 183.0);
    }

    #[test]
    fn what_a_client_sends_takes_a_masked_frame_or_a_post_with_its_answer() {
        // As 'chat' was measured: 109 bytes beside the server's stamps, to a room of one digit.
        assert_eq!(upstream(109.0, Transport::WebSocket), (0.0, 115.0));
        let (down, up) = upstream(109.0, Transport::Sse);
        assert_eq!((down, up), (124.0, 195.0));
        assert_eq!(upstream(126.0, Transport::WebSocket).1, 134.0);
    }
}
