//! An HTTP response that does not end.
//!
//! Place on the data path: shard → **transport** → socket. In: chunks in the ring. Out: the same bytes
//! for every subscriber; to a client of HTTP/1.0 without the chunks.

use std::io;

use super::Common;
use super::answer::{End, NO_STORE};
use super::connection::send_pending;
use super::socket::Socket;
use crate::shard::{Ready, Subscription};
use pushbench_protocol::framing::http1::{
    Body, BodyLength, LAST_CHUNK, ResponseWriter, encode_chunk,
};
use pushbench_protocol::transport::{Profile, StreamedResponse, Transport};

/// A response that does not end.
pub(super) struct Streamed {
    pub(super) subscription: Subscription,
    /// Which it is, since a reference to its response would take a word of each connection.
    transport: Transport,
    /// Not towards a client of HTTP/1.0, which does not know chunks.
    chunked: bool,
    /// Whether the connection ends with the response.
    pub(super) close: bool,
}

impl Streamed {
    pub(super) fn new(
        subscription: Subscription,
        transport: Transport,
        chunked: bool,
        close: bool,
    ) -> Self {
        Self {
            subscription,
            transport,
            chunked,
            close,
        }
    }

    /// Writes the head, and what the body opens with.
    pub(super) fn open(&self, response: &StreamedResponse, end: End, common: &mut Common) {
        self.write_head(response, end, common);
        let (cursor, retry) = (self.subscription.cursor(), common.shared.retry);
        self.push(&mut common.out, |out| {
            (response.encode_open)(cursor, retry, out);
        });
    }

    pub(super) fn write_head(&self, response: &StreamedResponse, end: End, common: &mut Common) {
        let cursor = self.subscription.cursor();
        let mut writer = ResponseWriter::start(200, "OK", &mut common.out)
            .cursor(cursor)
            .field(NO_STORE.0, NO_STORE.1)
            .field("content-type", response.content_type);
        for (name, value) in response.fields {
            writer = writer.field(name, value);
        }
        let writer = if self.chunked {
            writer.field("transfer-encoding", "chunked")
        } else {
            writer
        };
        end.write(writer, &common.shared, &common.date);
    }

    /// Does what is to be done. `true`: the response is over.
    pub(super) fn act(
        &mut self,
        ready: Ready,
        socket: &mut Socket,
        out: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let over = match ready {
            Ready::Pending if self.chunked => {
                send_pending(&mut self.subscription, socket)?;
                return Ok(false);
            }
            Ready::Pending => {
                // One at a time: what a full socket leaves is the rest of one message here too.
                self.subscription.hand_out(0, |head, tail, _| {
                    out.extend_from_slice(head);
                    out.extend_from_slice(tail);
                    unchunk(out);
                    Ok::<(), io::Error>(())
                })?;
                false
            }
            Ready::Quiet => {
                let keep_alive = self.transport.framing(Profile::Tuned).keep_alive();
                self.push(out, |out| out.extend_from_slice(keep_alive));
                false
            }
            Ready::Lagged(lost) | Ready::Skipped(lost) => {
                let cursor = self.subscription.cursor();
                if let Some(response) = self.transport.streamed() {
                    self.push(out, |out| (response.encode_lagged)(lost, cursor, out));
                }
                matches!(ready, Ready::Lagged(_))
            }
            Ready::Closing => true,
        };
        let end = if over && self.chunked {
            LAST_CHUNK
        } else {
            &[]
        };
        socket.send([out, end, &[]])?;
        Ok(over)
    }

    fn push(&self, out: &mut Vec<u8>, data: impl FnOnce(&mut Vec<u8>)) {
        if self.chunked {
            encode_chunk(out, data);
        } else {
            data(out);
        }
    }
}

/// Takes the chunks apart that the ring holds, for a client that does not know them.
fn unchunk(bytes: &mut Vec<u8>) {
    // The ring holds whole chunks that this crate made.
    let decoded = Body::new(BodyLength::Chunked).decode(bytes);
    bytes.truncate(decoded.map_or(0, |progress| progress.payload_len));
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushbench_protocol::transport::Framing;

    #[test]
    fn a_client_of_http_1_0_gets_the_events_without_the_chunks() {
        let (mut chunks, mut plain) = (Vec::new(), Vec::new());
        for sequence in [9, 10] {
            let envelope = vec![b'x'; sequence as usize * 300];
            Framing::SseChunk.encode(sequence, &envelope, &mut chunks);
            Framing::Sse.encode(sequence, &envelope, &mut plain);
        }
        unchunk(&mut chunks);
        assert_eq!(chunks, plain);
    }
}
