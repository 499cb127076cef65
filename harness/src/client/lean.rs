//! The loop that drives every lean client.
//!
//! Place on the data path: socket → **this loop** → [`Protocol`] → sink. In: readable sockets. Out:
//! sessions: connected, received, departed. One read buffer serves all clients of a shard, so that
//! a client that waits holds none.

use std::future::Future;
use std::io;
use std::task::Poll;

use tokio::net::TcpStream;

use super::socket;
use super::{ClientError, Next, Protocol};
use crate::fleet::session::{Departure, Session};

/// Runs one session of a client: connects, receives until it departs or the session ends.
///
/// # Errors
/// [`ClientError`]: the session ended out of order.
pub(crate) async fn run<P: Protocol>(session: &Session) -> Result<(), ClientError> {
    let mut since = None;
    let mut protocol = P::default();
    loop {
        let mut connection = Connection::open(session).await?;
        let mut out = Vec::new();
        session.with_sink(|target, sink| protocol.open(target, since, sink, &mut out));
        connection.send(&mut out).await?;
        match connection.follow(session, &mut protocol, &mut out).await? {
            Ended::Departed => return Ok(()),
            Ended::BetweenAnswers => since = Some(session.cursor()),
        }
    }
}

/// How a connection ended in order.
enum Ended {
    /// The client left, as planned or when told.
    Departed,
    /// The server closed a kept-alive connection that owed no answer (RFC 9112, section 9.5).
    BetweenAnswers,
}

/// An open connection, known to the session for as long as it is open.
struct Connection<'a> {
    stream: TcpStream,
    session: &'a Session,
    /// Whether the kernel stamps what arrives: on probe clients.
    stamped: bool,
}

impl<'a> Connection<'a> {
    async fn open(session: &'a Session) -> Result<Self, ClientError> {
        let server = session.server();
        let stream = socket::connect(session.index(), server, session.options())
            .await
            .map_err(|e| ClientError::Connect(server, e))?;
        session.opened(&stream);
        let stamped = session.is_probe() && socket::enable_stamps(&stream);
        Ok(Self {
            stream,
            session,
            stamped,
        })
    }

    async fn send(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let mut sent = 0;
        while sent < out.len() {
            match self.stream.try_write(&out[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(e) => return Err(e),
            }
        }
        // Freed, not cleared: a client that waits holds no buffer.
        *out = Vec::new();
        Ok(())
    }

    async fn follow<P: Protocol>(
        &mut self,
        session: &Session,
        protocol: &mut P,
        out: &mut Vec<u8>,
    ) -> Result<Ended, ClientError> {
        let mut departure = session.departure();
        loop {
            let next = self.receive(session, protocol, out, &mut departure).await?;
            if !out.is_empty() {
                self.send(out).await?;
            }
            if session.has_cursor() {
                session.connected();
            }
            match next {
                Received::Next(Next::Read) => {}
                Received::Next(Next::Pause) => {
                    if !self.pause(session, &mut departure).await {
                        return Ok(Ended::Departed);
                    }
                    session.with_sink(|target, sink| protocol.poll(target, sink, out));
                    self.send(out).await?;
                }
                Received::Next(Next::Closed) => {
                    return Err(ClientError::Eof("after saying why"));
                }
                Received::Departed => return Ok(Ended::Departed),
                Received::Eof if P::RECONNECTS && protocol.is_between_answers() => {
                    return Ok(Ended::BetweenAnswers);
                }
                Received::Eof => return Err(ClientError::Eof("without saying why")),
            }
        }
    }

    /// Waits for what arrives and hands it to the protocol.
    async fn receive<P: Protocol>(
        &mut self,
        session: &Session,
        protocol: &mut P,
        out: &mut Vec<u8>,
        departure: &mut Departure,
    ) -> Result<Received, ClientError> {
        std::future::poll_fn(|cx| {
            let read = session.with_buffer(|space| {
                let arrived = if self.stamped {
                    socket::poll_read_stamped(&mut self.stream, cx, space)
                } else {
                    socket::poll_read(&mut self.stream, cx, space)
                };
                let arrived = match arrived {
                    Poll::Ready(Ok(arrived)) => arrived,
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e.into())),
                    Poll::Pending => return Poll::Pending,
                };
                if arrived.bytes == 0 {
                    return Poll::Ready(Ok(Received::Eof));
                }
                let next = session.receive(arrived, |target, sink| {
                    protocol.receive(&mut space[..arrived.bytes], target, sink, out)
                });
                Poll::Ready(next.map(Received::Next))
            });
            if read.is_pending() && departure.poll(session, cx).is_ready() {
                return Poll::Ready(Ok(Received::Departed));
            }
            read
        })
        .await
    }

    /// Waits for the client's next turn to poll. `false`: it departs instead.
    async fn pause(&mut self, session: &Session, departure: &mut Departure) -> bool {
        // Boxed: a timer is large, and most transports never pause.
        let mut sleep = Box::pin(tokio::time::sleep(session.until_next_poll()));
        std::future::poll_fn(|cx| {
            if departure.poll(session, cx).is_ready() {
                return Poll::Ready(false);
            }
            sleep.as_mut().poll(cx).map(|()| true)
        })
        .await
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // While the socket is still open: the kernel's counters end with it.
        self.session.closing(&self.stream);
    }
}

/// What a wait ended with.
enum Received {
    Next(Next),
    Departed,
    Eof,
}
