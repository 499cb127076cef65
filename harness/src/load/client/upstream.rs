//! What a client sends: on the connection that it receives on, or by POST on one of its own.
//!
//! Place on the data path: payload → **client** → socket, the other way round. `tcp` and `websocket`
//! have a form for it on their own connection. A stream of events and a poll have none, so those
//! clients keep a second connection for `POST /publish` (HTTP/1.1, kept alive, one request at a
//! time), and an application over them would too. Not measured here: anything; the answers go to
//! `fleet/round_trip.rs` with the time at which they were read.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::framing::http1::Body;

use super::http::HeadReader;
use super::{ClientError, Target, socket};

/// Reads for one answer: with a buffer of 64 KiB, more than 1 MiB of it is not what a POST is
/// answered with.
const MAX_READS: usize = 16;

/// A message whose answer is outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Post {
    /// When it was due.
    pub(crate) intended_ns: u64,
    /// When it was sent.
    pub(crate) sent_ns: u64,
}

/// The answer to a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) post: Post,
    pub(crate) status: u16,
    /// When it had been read to its end.
    pub(crate) at_ns: u64,
}

/// What one turn of a connection brought. An answer that came in full counts, whatever came after it.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) answer: Option<Answer>,
    /// The server has ended the connection between two requests (RFC 9112, section 9.5).
    pub(crate) ended: bool,
    /// The connection is of no more use; whether an outstanding request was carried out is not known.
    pub(crate) failed: Option<ClientError>,
}

/// The status of an answer, and whether the connection ends with it.
type Complete = (u16, bool);

#[derive(Debug)]
enum Reading {
    Head(HeadReader),
    Body {
        status: u16,
        close: bool,
        body: Body,
    },
}

impl Default for Reading {
    fn default() -> Self {
        Self::Head(HeadReader::default())
    }
}

/// A client's connection for POSTs, open or not.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    stream: Option<TcpStream>,
    /// Whether the connect is known to have succeeded.
    stands: bool,
    /// Whether a request was answered on this connection.
    pub(crate) served: bool,
    /// When it was last opened; 0 before the first time.
    pub(crate) opened_ns: u64,
    awaited: Option<Post>,
    reading: Reading,
    /// What the socket did not take; at most one request.
    unsent: Vec<u8>,
}

impl Uplink {
    /// Begins to connect as client `index`. The loop is woken when the connection stands, and when
    /// something arrives.
    ///
    /// # Errors
    /// [`ClientError::Connect`] and [`ClientError::Io`].
    pub(crate) fn open(
        &mut self,
        index: u32,
        target: Target<'_>,
        options: &socket::Options,
        registry: &Registry,
        token: Token,
    ) -> Result<RawFd, ClientError> {
        let stream = socket::begin_connect(index, target.server, options)
            .map_err(|e| ClientError::Connect(target.server, e))?;
        let fd = stream.as_raw_fd();
        // Never registered anew: an idle socket wakes nobody for being writable (epoll(7), EPOLLET).
        registry.register(
            &mut SourceFd(&fd),
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        *self = Self {
            stream: Some(stream),
            opened_ns: monotonic_ns(),
            ..Self::default()
        };
        Ok(fd)
    }

    /// Whether there is a connection, standing or under way.
    pub(crate) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether the connection stands.
    pub(crate) fn stands(&self) -> bool {
        self.stands
    }

    /// Whether a request may be sent: one at a time.
    pub(crate) fn is_free(&self) -> bool {
        self.stands && self.awaited.is_none()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub(crate) fn post(&mut self, request: &[u8], post: Post) -> Result<(), ClientError> {
        self.awaited = Some(post);
        self.send(request)
    }

    /// The socket is ready.
    pub(crate) fn turn(&mut self, writable: bool, target: Target<'_>, space: &mut [u8]) -> Turn {
        let mut turn = Turn::default();
        turn.failed = self.go_on(writable, target, space, &mut turn).err();
        turn
    }

    fn go_on(
        &mut self,
        writable: bool,
        target: Target<'_>,
        space: &mut [u8],
        turn: &mut Turn,
    ) -> Result<(), ClientError> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        if !self.stands {
            let error = stream.take_error().unwrap_or_else(Some);
            if let Some(error) = error {
                return Err(ClientError::Connect(target.server, error));
            }
            if !writable {
                return Ok(());
            }
            self.stands = true;
        }
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent)?;
        }
        for _ in 0..MAX_READS {
            let Some(stream) = &self.stream else {
                return Ok(());
            };
            let arrived = match socket::read(stream, false, space) {
                Ok(arrived) => arrived,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(ClientError::Io(e)),
            };
            if arrived.bytes == 0 {
                if self.awaited.is_some() {
                    return Err(ClientError::Eof("before it answered a POST"));
                }
                turn.ended = true;
                return Ok(());
            }
            let mut complete = None;
            let taken = self.take(&mut space[..arrived.bytes], &mut complete);
            if let Some((post, (status, close))) = complete {
                self.served = true;
                turn.answer = Some(Answer {
                    post,
                    status,
                    at_ns: arrived.at_ns,
                });
                turn.ended = close;
            }
            taken?;
            if turn.ended {
                return Ok(());
            }
        }
        Err(ClientError::Protocol(
            "expected a short answer to a POST, got more than 1 MiB".into(),
        ))
    }

    /// Takes bytes of an answer. Where it is complete, it is put into `complete`, with what it answers: also
    /// where what follows it is an error.
    fn take(
        &mut self,
        mut bytes: &mut [u8],
        complete: &mut Option<(Post, Complete)>,
    ) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let Some(post) = self.awaited else {
                return Err(ClientError::Protocol(
                    "an answer came that no POST had asked for".into(),
                ));
            };
            let (status, close, mut body) = match std::mem::take(&mut self.reading) {
                Reading::Head(mut reader) => {
                    let Some((head, length)) = reader.feed(bytes)? else {
                        self.reading = Reading::Head(reader);
                        return Ok(());
                    };
                    bytes = &mut bytes[length..];
                    // What comes before the answer itself (RFC 9110, section 15.2).
                    if head.status < 200 {
                        continue;
                    }
                    (head.status, head.close, Body::new(head.body))
                }
                Reading::Body {
                    status,
                    close,
                    body,
                } => (status, close, body),
            };
            let progress = body.decode(bytes)?;
            if !progress.finished {
                self.reading = Reading::Body {
                    status,
                    close,
                    body,
                };
                return Ok(());
            }
            self.awaited = None;
            *complete = Some((post, (status, close)));
            // Nothing counts that comes after the last answer of a connection (RFC 9112, section 9.6).
            if close {
                return Ok(());
            }
            bytes = &mut bytes[progress.consumed..];
        }
        Ok(())
    }

    /// Takes the socket away, for its last counters and the close, with the request whose answer
    /// nobody will read.
    pub(crate) fn close(&mut self) -> (Option<TcpStream>, Option<Post>) {
        let (stream, awaited) = (self.stream.take(), self.awaited.take());
        self.stands = false;
        self.unsent = Vec::new();
        self.reading = Reading::default();
        (stream, awaited)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), ClientError> {
        while let (false, Some(mut stream)) = (bytes.is_empty(), self.stream.as_ref()) {
            match stream.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent = bytes.to_vec();
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ClientError::Io(e)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: Post = Post {
        intended_ns: 1,
        sent_ns: 2,
    };

    fn awaiting() -> Uplink {
        Uplink {
            awaited: Some(POST),
            ..Uplink::default()
        }
    }

    /// What comes of `bytes`, which arrive cut in two: the answer, and whether an error came with or after it.
    fn read(mut uplink: Uplink, bytes: &[u8], cut: usize) -> (Option<Complete>, bool) {
        let mut answer = None;
        for part in [&bytes[..cut], &bytes[cut..]] {
            let mut complete = None;
            let taken = uplink.take(&mut part.to_vec(), &mut complete);
            if let Some((post, found)) = complete {
                assert_eq!((post, answer), (POST, None));
                answer = Some(found);
            }
            if taken.is_err() {
                return (answer, true);
            }
            // A connection that ends with its answer is read no more.
            if answer.is_some_and(|(_, close)| close) {
                break;
            }
        }
        (answer, false)
    }

    #[test]
    fn what_an_answer_comes_to_does_not_depend_on_how_it_is_cut() {
        let ok = "HTTP/1.1 200 OK\r\npush-cursor: 12\r\ncontent-length: 3\r\n\r\n12\n";
        let closing = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
        let chunked = "HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
        let bad = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nnope\r\n";
        for (bytes, expected) in [
            (
                format!("HTTP/1.1 100 Continue\r\n\r\n{ok}"),
                (Some((200, false)), false),
            ),
            (closing.to_owned(), (Some((404, true)), false)),
            (chunked.to_owned(), (Some((503, false)), false)),
            // An answer that came in full is not lost with what follows it.
            (format!("{ok}{ok}"), (Some((200, false)), true)),
            (format!("{ok}x"), (Some((200, false)), true)),
            (format!("{closing}more"), (Some((404, true)), false)),
            (bad.to_owned(), (None, true)),
            ("no HTTP at all\r\n\r\n".to_owned(), (None, true)),
        ] {
            for cut in 0..=bytes.len() {
                let found = read(awaiting(), bytes.as_bytes(), cut);
                assert_eq!(found, expected, "{bytes:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_nobody_asked_for_is_a_protocol_error() {
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(read(Uplink::default(), answer, answer.len()), (None, true));
    }
}
