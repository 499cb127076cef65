//! Long-polling over HTTP/1.1 ([RFC 6202](https://www.rfc-editor.org/rfc/rfc6202), section 2).
//!
//! Place on the data path: framing of the `long_poll` transport; `short_poll` shares all but the
//! path. In: a channel and a cursor, later the body of the answer. Out: the request, and the
//! envelopes in the body.
//!
//! | status | body |
//! |---|---|
//! | 200 | all that is pending after `since`, one envelope a line |
//! | 204 | none: nothing came until the time-out |
//! | 410 | `LAGGED <from> <to>`: the subscriber fell off the ring |
//!
//! Every answer carries `Push-Cursor`, the `since` of the next request: a message published
//! between two polls is after that cursor, so none is lost.

use super::Transport;
use crate::framing::{Start, encode_range, find, http1, parse_range};

/// Appends the request for what comes after `since`; otherwise for the cursor of `start` at once,
/// which the next request passes as `since`.
///
/// `Host` is the only header field: what a client need not say is not counted against the
/// transport.
pub fn encode_request(host: &str, channel: &str, start: impl Into<Start>, out: &mut Vec<u8>) {
    encode_poll(Transport::LongPoll, host, channel, start, out);
}

pub(super) fn encode_poll(
    transport: Transport,
    host: &str,
    channel: &str,
    start: impl Into<Start>,
    out: &mut Vec<u8>,
) {
    http1::push_subscribe(transport, host, channel, start, out);
    out.extend_from_slice(b"\r\n");
}

/// Calls `each` with every envelope of a whole body. For a body that is read in parts, use
/// [`Lines`](crate::framing::Lines), which waits for the rest of a line.
pub fn lines(body: &[u8], mut each: impl FnMut(&[u8])) {
    let mut rest = body;
    while let Some(end) = find(rest, |byte| byte == b'\n') {
        if end > 0 {
            each(&rest[..end]);
        }
        rest = &rest[end + 1..];
    }
    // Bodies of other servers may do without the last LF.
    if !rest.is_empty() {
        each(rest);
    }
}

/// Appends the body of status 410: the first and the last sequence that were lost.
pub fn encode_lagged(from: u64, to: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"LAGGED ");
    encode_range(from, to, out);
    out.push(b'\n');
}

/// Reads the body of status 410, with or without its LF. `None` where it has another shape.
pub fn parse_lagged(body: &[u8]) -> Option<(u64, u64)> {
    let line = body.strip_suffix(b"\n").unwrap_or(body);
    parse_range(line.strip_prefix(b"LAGGED ")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        lines(body, |line| {
            found.push(String::from_utf8_lossy(line).into_owned())
        });
        found
    }

    #[test]
    fn requests_have_the_documented_bytes() {
        let mut out = Vec::new();
        encode_request("127.0.0.1:8080", "news", Some(41), &mut out);
        assert_eq!(
            out,
            b"GET /long-poll?channel=news&since=41 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
        );
        out.clear();
        encode_request("h", "żółw", None, &mut out);
        assert_eq!(
            out,
            b"GET /long-poll?channel=%C5%BC%C3%B3%C5%82w HTTP/1.1\r\nHost: h\r\n\r\n"
        );
    }

    #[test]
    fn a_body_gives_its_envelopes_in_order() {
        assert!(found(b"").is_empty());
        assert_eq!(found(b"a\nb b\n"), ["a", "b b"]);
        assert_eq!(found(b"a\n\nb"), ["a", "b"]);
    }

    #[test]
    fn a_lost_range_reads_back_as_written() {
        let mut out = Vec::new();
        encode_lagged(3, 9, &mut out);
        assert_eq!(out, b"LAGGED 3 9\n");
        assert_eq!(parse_lagged(&out), Some((3, 9)));
        assert_eq!(parse_lagged(b"LAGGED 3 9"), Some((3, 9)));
        for bad in ["", "LAGGED", "LAGGED 9 3", "lagged 3 9", "gone"] {
            assert_eq!(parse_lagged(bad.as_bytes()), None, "'{bad}'");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_lines_come_back(bodies in proptest::collection::vec("[^\n]{1,40}", 0..20)) {
            let mut body = Vec::new();
            for line in &bodies {
                body.extend_from_slice(line.as_bytes());
                body.push(b'\n');
            }
            proptest::prop_assert_eq!(found(&body), bodies);
        }
    }
}
