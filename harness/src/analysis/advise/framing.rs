//! Bytes on TCP of a delivery, from the framings (`METHODOLOGY.md`, *What cannot be made equal*).
//!
//! Payload of TCP: heads of HTTP are in it, headers of TCP and IP are not. Checked against the
//! kernel's counters of every record by [`check`](super::check).

use pushbench_protocol::framing::{Cursor, Start};
use pushbench_protocol::transport::{Delivery, Framing, Profile, Transport, tcp};

use super::workload::Workload;

/// Bytes from server to client and back, a second, over all clients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bytes {
    /// Down.
    pub down: f64,
    /// Up.
    pub up: f64,
}

/// A sequence or a cursor of a stream that has been up for a while, and its digits.
const SEQUENCE: u64 = 1_000;
const DIGITS: f64 = 4.0;

/// A channel's name and `Host`, as long as in the scenarios here.
const NAME: &str = "c12345";
const HOST: &str = "127.0.0.1:12345";

/// A poll that is answered without a message: status, cursor, `Cache-Control` and `Date`.
const NO_CONTENT: f64 = 104.0 + DIGITS;

/// Head of a poll's answer with messages, but for the digits of its length.
const POLL_HEAD: f64 = 155.0 + DIGITS;

/// Head of a response that does not end, but for the fields of its own.
const STREAM_HEAD: f64 = 124.0 + DIGITS;

/// The answer to the handshake of a WebSocket.
const UPGRADED: f64 = 181.0 + DIGITS;

/// The answer to a POST: its head, its cursor, and a body of the sequence.
const ANSWER: f64 = 116.0 + 2.0 * DIGITS;

/// A client's frames are masked (RFC 6455, section 5.3).
const MASK: f64 = 4.0;

/// Bytes a second of `workload` in `profile`.
pub fn bytes(workload: &Workload, transport: Transport, profile: Profile) -> Bytes {
    let load = workload.load(transport);
    let length = workload.payload;
    let batch = workload.batch(transport);
    let (down, up) = match transport.info().delivery {
        Delivery::Lines => {
            let keep_alives = load.empty * size_of_keep_alive(Framing::Line);
            (
                load.deliveries * (length + around(Framing::Line, length)) + keep_alives,
                0.0,
            )
        }
        Delivery::Response(response) => {
            let message = length + around(response.message, length);
            // hyper makes a chunk of what it is given: all that is pending, or one message.
            let in_chunk = match profile {
                Profile::Tuned => batch,
                Profile::Stock | Profile::Lean => 1.0,
            };
            let per_delivery = message + around_chunk(message * in_chunk) / in_chunk;
            let keep_alives = load.empty * size_of_keep_alive(response.chunk);
            (load.deliveries * per_delivery + keep_alives, 0.0)
        }
        Delivery::WebSocket => {
            let keep_alive = size_of_keep_alive(Framing::WebSocket);
            let per_delivery = length + around(Framing::WebSocket, length);
            (
                load.deliveries * per_delivery + load.empty * keep_alive,
                load.empty * (keep_alive + MASK),
            )
        }
        Delivery::Poll(_) => {
            let full = (load.writes - load.empty).max(0.0);
            let body = batch * (length + around(Framing::Line, length));
            let head = POLL_HEAD + digits(body);
            (
                full * (head + body) + load.empty * NO_CONTENT,
                load.writes * request(transport, Some(SEQUENCE)),
            )
        }
    };
    let (connect_down, connect_up) = connect(transport);
    let (send_down, send_up) = upstream(length, transport);
    Bytes {
        down: down + load.connects * connect_down + load.sends * send_down,
        up: up + load.connects * connect_up + load.sends * send_up,
    }
}

/// Bytes that a subscribe takes, down and up.
fn connect(transport: Transport) -> (f64, f64) {
    let down = match transport.info().delivery {
        Delivery::Lines => length_of(|out| tcp::encode_subscribed(SEQUENCE, out)),
        Delivery::Response(response) => {
            let open = length_of(|out| (response.encode_open)(SEQUENCE.into(), None, out));
            let open = if open > 0.0 {
                open + around_chunk(open)
            } else {
                0.0
            };
            let fields = [("content-type", response.content_type)];
            let fields = fields.iter().chain(response.fields);
            let fields: usize = fields
                .map(|(name, value)| name.len() + value.len() + 4)
                .sum();
            STREAM_HEAD + fields as f64 + open
        }
        Delivery::WebSocket => UPGRADED,
        Delivery::Poll(_) => NO_CONTENT,
    };
    (down, request(transport, None))
}

/// Bytes that a message of `length` bytes from a client takes, down and up: the frame with its mask, or a
/// POST with its answer, with the least heads that lean clients send; a browser's are some 400 bytes
/// longer.
fn upstream(length: f64, transport: Transport) -> (f64, f64) {
    match transport.info().delivery {
        Delivery::Lines => (0.0, length + 10.0 + NAME.len() as f64),
        Delivery::WebSocket => (0.0, length + around(Framing::WebSocket, length) + MASK),
        Delivery::Response(_) | Delivery::Poll(_) => {
            let head = 62.0 + (NAME.len() + HOST.len()) as f64 + digits(length);
            (ANSWER, head + length)
        }
    }
}

/// Bytes of a request that subscribes at the tail, or after a cursor.
fn request(transport: Transport, since: Option<u64>) -> f64 {
    let since = since.map(Cursor::from);
    length_of(|out| transport.encode_subscribe(HOST, NAME, Start::Tail, since, out))
}

/// Bytes that a framing puts around a message of `length` bytes.
fn around(framing: Framing, length: f64) -> f64 {
    let message = vec![b'x'; length as usize];
    length_of(|out| framing.encode(SEQUENCE, &message, out)) - message.len() as f64
}

/// Bytes around a chunk of `length` bytes (RFC 9112, section 7.1).
fn around_chunk(length: f64) -> f64 {
    4.0 + hex_digits(length)
}

fn size_of_keep_alive(framing: Framing) -> f64 {
    framing.keep_alive().len() as f64
}

fn length_of(write: impl FnOnce(&mut Vec<u8>)) -> f64 {
    let mut out = Vec::new();
    write(&mut out);
    out.len() as f64
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
    fn a_subscribe_takes_the_bytes_that_were_counted_on_the_wire() {
        assert_eq!(connect(Transport::Tcp), (16.0, 17.0));
        assert_eq!(connect(Transport::Sse), (199.0, 86.0));
        assert_eq!(connect(Transport::WebSocket), (185.0, 178.0));
        assert_eq!(connect(Transport::LongPoll), (108.0, 65.0));
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
        // As 'chat' was measured: 109 bytes next to the server's stamps, to a room of one digit.
        assert_eq!(upstream(109.0, Transport::WebSocket), (0.0, 115.0));
        let (down, up) = upstream(109.0, Transport::Sse);
        assert_eq!((down, up), (124.0, 195.0));
        assert_eq!(upstream(126.0, Transport::WebSocket).1, 134.0);
    }
}
