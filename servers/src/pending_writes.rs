//! Which connections of a shard have bytes that their sockets did not take yet.
//!
//! Place on the data path: between a library's HTTP connection and its socket. In: writes. Out: the
//! same writes, and a count of the connections whose last one must be repeated. A library keeps what
//! a full socket left to itself, even behind the end of a response, so that a server that ends
//! could not know that something is still on its way. One bit a connection; nothing is measured.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

thread_local! {
    static UNWRITTEN: Cell<usize> = const { Cell::new(0) };
}

/// Connections of the calling thread with bytes that their sockets did not take yet.
pub(crate) fn connections() -> usize {
    UNWRITTEN.get()
}

/// A socket that says so. It stays on the thread that made it, as everything of a shard does.
#[derive(Debug)]
pub(crate) struct Tracked {
    stream: TcpStream,
    waits: bool,
}

impl Tracked {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            waits: false,
        }
    }

    fn note(&mut self, waits: bool) {
        if waits == self.waits {
            return;
        }
        self.waits = waits;
        // Gone only when the thread ends, and its runtime with it.
        let _ = UNWRITTEN.try_with(|count| {
            let now = count.get();
            count.set(if waits {
                now + 1
            } else {
                now.saturating_sub(1)
            });
        });
    }

    fn noted<T>(&mut self, written: Poll<T>) -> Poll<T> {
        self.note(written.is_pending());
        written
    }
}

impl AsRawFd for Tracked {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.note(false);
    }
}

impl AsyncRead for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
