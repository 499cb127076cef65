//! Polling over HTTP/1.1: held until there is something, or for a while
//! ([RFC 6202](https://www.rfc-editor.org/rfc/rfc6202), section 2), or answered at once.
//!
//! Place on the data path: framing of the `long_poll` and `short_poll` transports. In: the body of an
//! answer. Out: the envelopes in it.
//!
//! | status | body |
//! |---|---|
//! | 200 | all that is pending after `since`, one envelope a line |
//! | 204 | none: nothing came until the time-out, which `short_poll` does without |
//! | 410 | `LAGGED <from> <to>`: the subscriber fell off the ring; `LAGGED unknown`: its cursor is of another log, or beyond the tail |
//!
//! Every answer carries `Push-Cursor`, the `since` of the next request: a message published
//! between two polls is after that cursor, so none is lost.

use crate::framing::find;

pub use super::tcp::{encode_lagged, parse_lagged};

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
    fn a_body_gives_its_envelopes_in_order() {
        assert!(found(b"").is_empty());
        assert_eq!(found(b"a\nb b\n"), ["a", "b b"]);
        assert_eq!(found(b"a\n\nb"), ["a", "b"]);
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
