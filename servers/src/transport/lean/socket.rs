//! Writes, and what a full socket left of them.
//!
//! Place on the data path: the last step before the kernel. In: slices. Out: one system call for
//! all of them. What is left is copied once and written first, before anything else is read or
//! delivered, so it is bounded by one write and the answers to one read.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

/// A socket and its unfinished write.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    backlog: Option<Box<Backlog>>,
    /// Whether the kernel was asked to tell when it takes more.
    watched: bool,
}

#[derive(Debug)]
struct Backlog {
    bytes: Vec<u8>,
    written: usize,
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

    /// Whether a write is unfinished.
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
        let written = loop {
            let written = match parts {
                // The usual case; 'writev' is dearer.
                [only, [], []] | [[], only, []] => self.stream.write(only),
                _ => self.stream.write_vectored(&parts.map(IoSlice::new)),
            };
            match written {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break 0,
                other => break other?,
            }
        };
        if written < all {
            let mut bytes = Vec::with_capacity(all - written);
            let mut skip = written;
            for part in parts {
                bytes.extend_from_slice(&part[skip.min(part.len())..]);
                skip = skip.saturating_sub(part.len());
            }
            self.backlog = Some(Box::new(Backlog { bytes, written: 0 }));
        }
        Ok(())
    }

    /// Goes on with the unfinished write.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(backlog) = &mut self.backlog {
            match self.stream.write(&backlog.bytes[backlog.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => backlog.written += written,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            if backlog.written == backlog.bytes.len() {
                self.backlog = None;
            }
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&mut self) {
        // One that is gone already needs no telling.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}
