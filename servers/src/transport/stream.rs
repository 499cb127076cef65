//! The connections of profiles `stock` and `tuned`, told apart by their sockets, and how they end.
//!
//! Place on the data path: between hyper and the kernel. In and out: what passes. A handler of a
//! framework learns nothing of the connection that its request came over, so the last socket that
//! was touched on this thread is noted: a request is handled in the turn of the task that owns its
//! connection, and no other connection of the thread has a turn meanwhile.
//!
//! Two things that a library leaves undone are done here. A client that ends its half right after a
//! request gets the answer: the end is shown to the library a turn later, because hyper drops a
//! request that it has not answered yet. And a connection that the server ends is read for a while
//! before it is closed: closing a socket with unread bytes resets the connection, and the reset may
//! overtake the answer or the close frame.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::pending_writes::Tracked;
use crate::shard;

/// How long a client may take to end a connection that the server has ended. Until then what it
/// sends is read and thrown away.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// Most that is read and thrown away: several times the largest message, and less than what a fast
/// client could keep a thread busy with for as long.
pub(crate) const LINGER_BYTES: usize = 32 << 20;

/// Bytes read at once, on the stack of the thread.
const READ_BYTES: usize = 16 << 10;

thread_local! {
    static TOUCHED: Cell<RawFd> = const { Cell::new(-1) };
}

/// The socket of the connection whose request is being handled.
pub(crate) fn current() -> RawFd {
    TOUCHED.get()
}

/// What the client has said of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It may send more.
    Open,
    /// It sends nothing more, which the library does not know yet.
    Seen,
    /// It sends nothing more, or is gone.
    Over,
}

/// A TCP connection that says which one it is when it is touched.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Always there until it is dropped.
    socket: Option<Tracked>,
    end: End,
}

impl Stream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            socket: Some(Tracked::new(stream)),
            end: End::Open,
        }
    }

    fn touch(&mut self) -> Option<Pin<&mut Tracked>> {
        let socket = self.socket.as_mut()?;
        TOUCHED.set(socket.as_raw_fd());
        Some(Pin::new(socket))
    }

    /// Does something with the socket; one that fails needs no farewell.
    fn with<T>(
        &mut self,
        act: impl FnOnce(Pin<&mut Tracked>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(socket) = self.touch() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let done = act(socket);
        if matches!(done, Poll::Ready(Err(_))) {
            self.end = End::Over;
        }
        done
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        let socket = Closes(socket);
        // Without a runtime the server has ended.
        if self.end != End::Over
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(linger(socket));
        }
    }
}

/// A socket that is looked at before it is closed.
pub(crate) struct Closes<T: AsRawFd>(pub(crate) T);

impl<T: AsRawFd> Drop for Closes<T> {
    fn drop(&mut self) {
        shard::closes(self.0.as_raw_fd());
    }
}

/// Ends a connection: says that nothing more is sent, and reads until the client ends it too.
pub(crate) async fn linger<T>(mut socket: Closes<T>)
where
    T: AsyncRead + AsyncWrite + AsRawFd + Unpin,
{
    let farewell = async {
        socket.0.shutdown().await?;
        let mut left = LINGER_BYTES;
        while left > 0 {
            match std::future::poll_fn(|cx| discard(Pin::new(&mut socket.0), cx)).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok::<(), io::Error>(())
    };
    // However it went, the connection is over.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}

/// Reads what has arrived and throws it away; says how much it was.
fn discard(socket: Pin<&mut impl AsyncRead>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut space = [MaybeUninit::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut space);
    std::task::ready!(socket.poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        std::task::ready!(this.with(|socket| socket.poll_read(cx, buffer)))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            if this.end == End::Open {
                this.end = End::Seen;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.end = End::Over;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().with(|socket| socket.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .with(|socket| socket.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|socket| socket.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|socket| socket.poll_shutdown(cx))
    }
}
