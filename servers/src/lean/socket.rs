//! Writes, and what a full socket left of them.
//!
//! Place on the data path: the last step before the kernel. In: slices. Out: one system call for
//! all of them. What is left is copied once and written first, before anything else is read or
//! delivered, so it is bounded by the rest of one message or answer, and the answers to one read.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use mio::net::TcpStream;

use crate::shard;
use crate::stall::Stall;
use pushbench_os::sys;

/// A socket and its unfinished write.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    backlog: Option<Box<Backlog>>,
    /// Whether the kernel was asked to tell when it takes more.
    watched: bool,
}

/// What a full socket left; nothing, where it stopped between two messages.
#[derive(Debug)]
struct Backlog {
    bytes: Vec<u8>,
    written: usize,
    stall: Stall,
}

impl Drop for Socket {
    fn drop(&mut self) {
        shard::closes(self.stream.as_raw_fd());
    }
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            backlog: None,
            watched: false,
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether a write is unfinished, or was refused.
    pub(super) fn is_full(&self) -> bool {
        self.backlog.is_some()
    }

    /// Whether the kernel is yet to be asked to tell when it takes more; says so once.
    pub(super) fn wants_to_be_watched(&mut self) -> bool {
        self.is_full() && !std::mem::replace(&mut self.watched, true)
    }

    /// Reads what has arrived; `WouldBlock` where nothing has.
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(space) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Writes `parts` in one call, behind what is unfinished.
    ///
    /// # Errors
    /// Those of `writev(2)`, but for a full socket: what it left is kept.
    pub(super) fn send(&mut self, parts: [&[u8]; 3]) -> io::Result<()> {
        if let Some(backlog) = &mut self.backlog {
            parts
                .iter()
                .for_each(|part| backlog.bytes.extend_from_slice(part));
            return Ok(());
        }
        let all: usize = parts.iter().map(|part| part.len()).sum();
        let written = self.write(parts)?;
        if written < all {
            let mut bytes = Vec::with_capacity(all - written);
            let mut skip = written;
            for part in parts {
                bytes.extend_from_slice(&part[skip.min(part.len())..]);
                skip = skip.saturating_sub(part.len());
            }
            self.keep(bytes);
        }
        Ok(())
    }

    /// Writes `parts` in one call and says how much of them the socket took; not for one that is
    /// full. Of what it left, hand over to [`Self::keep`] what cannot wait where it is.
    ///
    /// # Errors
    /// Those of `writev(2)`, but for a full socket.
    pub(super) fn write(&mut self, parts: [&[u8]; 3]) -> io::Result<usize> {
        loop {
            let written = match parts {
                // The usual case; 'writev' is dearer.
                [only, [], []] | [[], only, []] => self.stream.write(only),
                _ => self.stream.write_vectored(&parts.map(IoSlice::new)),
            };
            match written {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                other => return other,
            }
        }
    }

    /// The socket is full, and left this.
    pub(super) fn keep(&mut self, bytes: Vec<u8>) {
        self.backlog = Some(Box::new(Backlog {
            bytes,
            written: 0,
            stall: Stall::default(),
        }));
    }

    /// Goes on with the unfinished write.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(backlog) = &mut self.backlog {
            if backlog.written == backlog.bytes.len() {
                self.backlog = None;
                break;
            }
            match self.stream.write(&backlog.bytes[backlog.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => backlog.written += written,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Looks at a full socket, whose subscriber has `fallen` off the ring or not. `true`: it takes
    /// nothing, so the subscriber cannot be told.
    pub(super) fn is_stalled(&mut self, fallen: bool) -> bool {
        match &mut self.backlog {
            Some(backlog) if fallen => backlog.stall.sample(&self.stream),
            Some(backlog) => {
                backlog.stall.forget();
                false
            }
            None => false,
        }
    }

    /// Its client was told what it lost.
    pub(super) fn informed(&self) {
        shard::informed(self.stream.as_raw_fd());
    }

    /// Resets the connection.
    pub(super) fn give_up(&self) {
        // One that is gone already needs no reset.
        let _ = sys::give_up(&self.stream);
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&mut self) {
        // One that is gone already needs no telling.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}
