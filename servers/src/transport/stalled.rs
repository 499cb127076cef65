//! What a client that reads nothing costs its server: a bound, from what each path really keeps.
//!
//! Beside the data path. In: transport, profile, the largest envelope of the channel. Out: bytes of
//! user memory. What the kernel holds is not counted here: at most twice
//! [`Config::send_buffer_bytes`](crate::server::Config::send_buffer_bytes) for each connection
//! where that is set.

use super::library::HTTP_BUFFER_BYTES;
use super::websocket;
use crate::shard::MAX_WRITE_BYTES;
use pushbench_protocol::transport::{Delivery, Profile, Transport};

/// What any framing puts around one envelope, at most: field names, a sequence of 20 digits, the
/// size of a chunk, line ends.
const AROUND_A_MESSAGE: usize = 80;

/// The head of an answer, at most, and the small things that are kept beside it.
const HEAD_BYTES: usize = 512;

/// `stock`: hyper's own bound of what it buffers for a connection.
const STOCK_HTTP_BUFFER_BYTES: usize = (8 << 10) + 100 * (4 << 10);

/// User memory that a connection may hold beyond an idle one while its client reads nothing, in
/// bytes, where no envelope of its channel is longer than `envelope_bytes`. What the client itself
/// has sent and not finished, and what answers its pings, is not counted; both have bounds of their
/// own.
///
/// | | `lean` | `tuned` | `stock` |
/// |---|---|---|---|
/// | `tcp` | the rest of one message | the same | the same |
/// | a streamed response | the rest of one message | one body frame of all that was pending, behind hyper's 8 KiB | one message behind hyper's 408 KiB |
/// | `websocket` | the rest of one message | all that was pending, once as it came from the ring and once as frames | the same, but one frame |
/// | polls | one answer | one answer | one answer |
///
/// *All that was pending* is at most [`MAX_WRITE_BYTES`], or one message where that is longer. It
/// is one piece of memory that all subscribers at the same place share; the bound holds where each
/// is at a place of its own.
pub fn stalled_bytes(transport: Transport, profile: Profile, envelope_bytes: usize) -> usize {
    let message = envelope_bytes + AROUND_A_MESSAGE;
    let pending = MAX_WRITE_BYTES.max(message);
    HEAD_BYTES
        + match (transport.info().delivery, profile) {
            (Delivery::Lines, _) | (Delivery::Response(_) | Delivery::WebSocket, Profile::Lean) => {
                message
            }
            (Delivery::Response(_), Profile::Tuned) => {
                HTTP_BUFFER_BYTES + pending + AROUND_A_MESSAGE
            }
            (Delivery::Response(_), Profile::Stock) => STOCK_HTTP_BUFFER_BYTES + message,
            // The frames gather in a vector that doubles as it grows.
            (Delivery::WebSocket, Profile::Tuned) => pending + 2 * websocket::framed_bytes(pending),
            (Delivery::WebSocket, Profile::Stock) => pending + 2 * message,
            (Delivery::Poll(_), _) => pending,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_least_where_the_ring_is_written_from_itself() {
        for transport in Transport::ALL {
            let bound = |profile| stalled_bytes(transport, profile, 1000);
            for profile in Profile::ALL {
                assert!(
                    bound(Profile::Lean) <= bound(profile),
                    "{transport} {profile}"
                );
            }
        }
        assert_eq!(stalled_bytes(Transport::Tcp, Profile::Lean, 1000), 1592);
        assert_eq!(
            stalled_bytes(Transport::Sse, Profile::Stock, 1000),
            418_304 + 1080
        );
    }
}
