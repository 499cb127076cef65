//! One lean client's connection: a socket, a protocol, and nothing else while it waits.
//!
//! Place on the data path: socket → **connection** → [`Protocol`] → sink. In: turns, given by the
//! loop of the shard (`fleet/poller.rs`) when the socket is ready. Out: what the protocol made of
//! the bytes, entered through the shard. One read buffer and one write buffer serve all clients of
//! a shard, so that a client that waits holds none.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use pushbench_protocol::framing::Cursor;

use super::socket;
use super::{ClientError, Next, Protocol};
use crate::load::shard::Shard;

/// Reads that one client gets before the others have their turn.
const READS_A_TURN: usize = 16;

/// What a turn ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// Nothing more has arrived.
    Waits,
    /// More may have arrived: the readiness is used up, so the loop must come back by itself.
    More,
    /// The client waits for its next poll.
    Pauses,
    /// The server closed a kept-alive connection that owed no answer (RFC 9112, section 9.5).
    EndedBetweenAnswers,
}

/// A client's connection, open or not.
#[derive(Debug, Default)]
pub(crate) struct Connection<P> {
    stream: Option<TcpStream>,
    /// Whether something has been sent: before that, an error is one of connecting.
    established: bool,
    /// Whether the kernel stamps what arrives: on probe clients.
    stamped: bool,
    protocol: P,
    /// What the socket did not take; empty but for moments.
    unsent: Vec<u8>,
}

/// What the clients of a shard share.
pub(crate) struct Shared<'a> {
    pub(crate) shard: &'a Shard,
    pub(crate) registry: &'a Registry,
    /// Where requests are written.
    pub(crate) out: &'a mut Vec<u8>,
}

impl<P: Protocol> Connection<P> {
    /// Connects and asks for the channel, resuming after `since`. On loopback the connection
    /// stands when `connect(2)` returns, so the request goes out at once.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub(crate) fn open(
        &mut self,
        slot: usize,
        since: Option<Cursor>,
        shared: &mut Shared<'_>,
    ) -> Result<(), ClientError> {
        let shard = shared.shard;
        let server = shard.setup.server;
        let stream = socket::begin_connect(shard.index_of(slot), server, &shard.options)
            .map_err(|e| ClientError::Connect(server, e))?;
        shard.opened(slot, stream.as_raw_fd());
        self.stamped = shard.is_probe(slot) && socket::enable_stamps(&stream);
        self.stream = Some(stream);
        self.established = false;
        self.unsent = Vec::new();
        shared.out.clear();
        let protocol = &mut self.protocol;
        shard.with_sink(slot, |target, sink| {
            protocol.open(target, since, sink, shared.out);
        });
        self.send(shared.out, shard)?;
        self.register(slot, shared.registry, false)?;
        Ok(())
    }

    /// Sends what the socket did not take before.
    ///
    /// # Errors
    /// [`ClientError::Connect`] and [`ClientError::Io`].
    pub(crate) fn flush(&mut self, shared: &mut Shared<'_>) -> Result<(), ClientError> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&unsent, shared.shard)
    }

    /// Reads what has arrived, hands it to the protocol and sends what that answers. `ended`: the
    /// kernel has reported that the server will send no more.
    ///
    /// # Errors
    /// [`ClientError`]: the session is over.
    pub(crate) fn read(
        &mut self,
        slot: usize,
        ended: bool,
        space: &mut [u8],
        shared: &mut Shared<'_>,
    ) -> Result<ReadOutcome, ClientError> {
        for _ in 0..READS_A_TURN {
            if let (_, Some(turn)) = self.read_once(slot, ended, space, shared)? {
                return Ok(turn);
            }
        }
        Ok(ReadOutcome::More)
    }

    /// As [`Self::read`], and at most `most_bytes` in reads that are small; also how many it were.
    ///
    /// # Errors
    /// [`ClientError`]: the session is over.
    pub(crate) fn read_some(
        &mut self,
        slot: usize,
        most_bytes: u64,
        space: &mut [u8],
        shared: &mut Shared<'_>,
    ) -> Result<(u64, ReadOutcome), ClientError> {
        let mut taken = 0;
        while taken < most_bytes {
            let length = (most_bytes - taken).min(space.len() as u64) as usize;
            let (bytes, turn) = self.read_once(slot, false, &mut space[..length], shared)?;
            taken += bytes as u64;
            if let Some(turn) = turn {
                return Ok((taken, turn));
            }
        }
        Ok((taken, ReadOutcome::More))
    }

    /// One read: how many bytes it brought, and the turn where it ends with that.
    #[inline]
    fn read_once(
        &mut self,
        slot: usize,
        ended: bool,
        space: &mut [u8],
        shared: &mut Shared<'_>,
    ) -> Result<(usize, Option<ReadOutcome>), ClientError> {
        let shard = shared.shard;
        let Some(stream) = &self.stream else {
            return Ok((0, Some(ReadOutcome::Waits)));
        };
        let arrived = match socket::read(stream, self.stamped, space) {
            Ok(arrived) => arrived,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Ok((0, Some(ReadOutcome::Waits)));
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok((0, None)),
            Err(e) => return Err(self.error(e, shard)),
        };
        if arrived.bytes == 0 {
            return if P::TRANSPORT.polls().is_some() && self.protocol.is_between_answers() {
                Ok((0, Some(ReadOutcome::EndedBetweenAnswers)))
            } else {
                Err(ClientError::Eof("without saying why"))
            };
        }
        shared.out.clear();
        let protocol = &mut self.protocol;
        let next = shard.receive(slot, arrived, |target, sink| {
            protocol.receive(&mut space[..arrived.bytes], target, sink, shared.out)
        })?;
        if !shared.out.is_empty() {
            self.send_and_watch(slot, shared)?;
        }
        // A read that left room has emptied the socket: no need to hear so from another.
        let emptied = arrived.bytes < space.len() && !ended;
        match next {
            Next::Read => Ok((arrived.bytes, emptied.then_some(ReadOutcome::Waits))),
            Next::Pause => Ok((arrived.bytes, Some(ReadOutcome::Pauses))),
            Next::Closed => Err(ClientError::Eof("after saying why")),
        }
    }

    /// Whether the connection stands and all that was asked is with the kernel.
    pub(crate) fn has_asked(&self) -> bool {
        self.established && self.unsent.is_empty() && self.stream.is_some()
    }

    /// Cuts the connection, by a reset or in order; whether it was a reset.
    pub(crate) fn cut(&mut self, slot: usize, by_reset: bool, shard: &Shard) -> bool {
        self.unsent = Vec::new();
        let Some(stream) = self.stream.take() else {
            return by_reset;
        };
        shard.closing(slot, &stream);
        if by_reset {
            socket::close_with_reset(stream);
            return true;
        }
        socket::close_in_order(stream)
    }

    /// Sends the next request of a polling client.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub(crate) fn poll(&mut self, slot: usize, shared: &mut Shared<'_>) -> Result<(), ClientError> {
        shared.out.clear();
        let protocol = &mut self.protocol;
        shared.shard.with_sink(slot, |target, sink| {
            protocol.poll(target, sink, shared.out);
        });
        self.send_and_watch(slot, shared)
    }

    /// Whether a message upstream may go out: the socket has taken all that came before.
    pub(crate) fn is_clear(&self) -> bool {
        self.stream.is_some() && self.unsent.is_empty()
    }

    /// Sends what was written next to the protocol: a message upstream.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub(crate) fn send_upstream(
        &mut self,
        slot: usize,
        shared: &mut Shared<'_>,
    ) -> Result<(), ClientError> {
        self.send_and_watch(slot, shared)
    }

    /// Closes the socket, and keeps the kernel's counters of it: they end with it.
    pub(crate) fn close(&mut self, slot: usize, shard: &Shard) {
        if let Some(stream) = self.stream.take() {
            shard.closing(slot, &stream);
        }
        self.unsent = Vec::new();
    }

    /// Closes the socket with a reset, so that neither end remembers the connection (TIME_WAIT).
    pub(crate) fn abort(&mut self) {
        if let Some(stream) = self.stream.take() {
            socket::close_with_reset(stream);
        }
    }

    fn send_and_watch(&mut self, slot: usize, shared: &mut Shared<'_>) -> Result<(), ClientError> {
        let had_room = self.unsent.is_empty();
        self.send(shared.out, shared.shard)?;
        if had_room && !self.unsent.is_empty() {
            self.register(slot, shared.registry, true)?;
        }
        Ok(())
    }

    fn send(&mut self, mut bytes: &[u8], shard: &Shard) -> Result<(), ClientError> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        while let (false, Some(mut stream)) = (bytes.is_empty(), self.stream.as_ref()) {
            match stream.write(bytes) {
                Ok(sent) => {
                    self.established = true;
                    bytes = &bytes[sent..];
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent = bytes.to_vec();
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.error(e, shard)),
            }
        }
        Ok(())
    }

    /// Has the loop woken when the socket is ready: to be read, and to be written where something
    /// waits for that.
    fn register(&self, slot: usize, registry: &Registry, again: bool) -> io::Result<()> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        let fd = stream.as_raw_fd();
        let mut interest = Interest::READABLE;
        if !self.unsent.is_empty() {
            interest |= Interest::WRITABLE;
        }
        if again {
            registry.reregister(&mut SourceFd(&fd), Token(slot), interest)
        } else {
            registry.register(&mut SourceFd(&fd), Token(slot), interest)
        }
    }

    fn error(&self, error: io::Error, shard: &Shard) -> ClientError {
        if self.established {
            ClientError::Io(error)
        } else {
            ClientError::Connect(shard.setup.server, error)
        }
    }
}
