//! Plain polling over HTTP/1.1: long-polling that never waits.
//!
//! Place on the data path: framing of the `short_poll` transport. In: a channel and a cursor,
//! later the body of the answer. Out: the request, and the envelopes in the body. Statuses, bodies
//! and cursors are [`long_poll`](super::long_poll)'s; 204 comes at once.

use super::Transport;
pub use super::long_poll::{encode_lagged, lines, parse_lagged};
use crate::framing::Start;

/// Appends the request for what is there after `since`; otherwise for the cursor of `start`.
pub fn encode_request(host: &str, channel: &str, start: impl Into<Start>, out: &mut Vec<u8>) {
    super::long_poll::encode_poll(Transport::ShortPoll, host, channel, start, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_documented_bytes() {
        let mut out = Vec::new();
        encode_request("h:1", "news", None, &mut out);
        encode_request("h:1", "news", Some(0), &mut out);
        assert_eq!(
            out,
            b"GET /poll?channel=news HTTP/1.1\r\nHost: h:1\r\n\r\n\
              GET /poll?channel=news&since=0 HTTP/1.1\r\nHost: h:1\r\n\r\n"
        );
    }
}
