//! The connections of profiles `stock` and `tuned`, told apart by their sockets.
//!
//! Place on the data path: between hyper and the kernel. In and out: what passes. A handler of a
//! framework learns nothing of the connection that its request came over, so the last socket that
//! was touched on this thread is noted: a request is handled in the turn of the task that owns its
//! connection, and no other connection of the thread has a turn meanwhile.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::pending_writes::Tracked;
use crate::shard;

thread_local! {
    static TOUCHED: Cell<RawFd> = const { Cell::new(-1) };
}

/// The socket of the connection whose request is being handled.
pub(crate) fn current() -> RawFd {
    TOUCHED.get()
}

/// A TCP connection that says which one it is when it is touched.
#[derive(Debug)]
pub(crate) struct Stream(Tracked);

impl Stream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Tracked::new(stream))
    }

    fn touch(self: Pin<&mut Self>) -> Pin<&mut Tracked> {
        let stream = &mut self.get_mut().0;
        TOUCHED.set(stream.as_raw_fd());
        Pin::new(stream)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        shard::closes(self.0.as_raw_fd());
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.touch().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.touch().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.touch().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.touch().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.touch().poll_shutdown(cx)
    }
}
