//! Lines in an HTTP/1.1 response that does not end, as many applications stream today: chunked
//! ([RFC 9112, section 7.1](https://www.rfc-editor.org/rfc/rfc9112#section-7.1)), and read in a browser
//! with `fetch` ([WHATWG Fetch](https://fetch.spec.whatwg.org/)).
//!
//! Place on the data path: framing of the `http_stream` transport. In: envelopes. Out: lines in
//! chunks, and back.
//!
//! The lines are those of [`tcp`]: an envelope, which begins with a hexadecimal digit in lower case; an
//! empty line as keep-alive; `LAGGED <from> <to>` or `LAGGED unknown`, which no envelope can be mistaken for. The cursor that
//! the stream starts behind is in the head, as `Push-Cursor`; a client that comes back passes its own as
//! `since`, since nothing does that for it.
//!
//! The type is text, because envelopes are not JSON. Browsers hold back the first kilobyte of a plain text
//! to guess what it is, unless they are told not to (WHATWG MIME Sniffing, section 5).

use super::{Framing, StreamedResponse, tcp};

pub use super::tcp::{DecodeError, Decoder, Line};

/// What a response with lines carries.
pub const RESPONSE: StreamedResponse = StreamedResponse {
    content_type: "text/plain; charset=utf-8",
    fields: &[
        ("x-content-type-options", "nosniff"),
        // Tells nginx and its kin not to hold a stream back.
        ("x-accel-buffering", "no"),
    ],
    message: Framing::Line,
    chunk: Framing::LineChunk,
    // The head has the cursor.
    encode_open: |_, _, _| {},
    encode_lagged: |lost, _, out| tcp::encode_lagged(lost, out),
    event_source: false,
};

/// An empty line as one chunk.
pub const KEEP_ALIVE_CHUNK: &[u8] = b"1\r\n\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::Lost;

    #[test]
    fn a_stream_is_lines_and_says_in_a_line_of_its_own_what_was_lost() {
        let mut out = Vec::new();
        (RESPONSE.encode_open)(41.into(), None, &mut out);
        assert_eq!(out, b"");
        RESPONSE.message.encode(42, b"0000envelope", &mut out);
        out.extend_from_slice(RESPONSE.message.keep_alive());
        (RESPONSE.encode_lagged)(Lost::Range { from: 43, to: 50 }, 50.into(), &mut out);
        assert_eq!(out, b"0000envelope\n\nLAGGED 43 50\n");
        let mut found = Vec::new();
        Decoder::default()
            .feed(&out, |line| found.push(format!("{line:?}")))
            .expect("lines");
        assert_eq!(found.len(), 3);
        assert_eq!(found[2], "Lagged(Range { from: 43, to: 50 })");
    }
}
