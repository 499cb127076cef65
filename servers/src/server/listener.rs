//! A listener of a shard on a runtime: accepting, and shutting it without turning anyone away.
//!
//! Beside the data path. In: connections that the kernel has completed. Out: sockets to serve. Under
//! `SO_REUSEPORT` whoever waits in the queue of a listener that is closed is reset, although another
//! server listens on the same port: so the queue is emptied first.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Most connections that are taken from the queue of a listener before it is closed: what the
/// queue may hold, and as many again that come meanwhile.
pub(crate) const MAX_LAST: usize = 2 * super::sockets::BACKLOG as usize;

/// How long to wait where nothing can be accepted, as without descriptors.
const PAUSE: Duration = Duration::from_millis(10);

/// A listener until it is shut; then those who waited, one by one.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: Option<TcpListener>,
    waiting: VecDeque<TcpStream>,
    shut: watch::Receiver<bool>,
}

impl Listener {
    /// A listener that is closed when `shut` turns true.
    pub(crate) fn new(listener: TcpListener, shut: watch::Receiver<bool>) -> Self {
        Self {
            listener: Some(listener),
            waiting: VecDeque::new(),
            shut,
        }
    }

    /// The next connection. After the last one of a listener that was closed, this never ends.
    ///
    /// Out of descriptors, or with a connection that is gone again, it waits and goes on: the
    /// clients' side counts who did not get in.
    pub(crate) async fn accept(&mut self) -> TcpStream {
        loop {
            match self.next().await {
                Some(stream) => return stream,
                None => self.empty(),
            }
        }
    }

    /// The next connection; `None`: the listener is to be closed.
    async fn next(&mut self) -> Option<TcpStream> {
        if let Some(stream) = self.waiting.pop_front() {
            return Some(stream);
        }
        let Some(listener) = &mut self.listener else {
            return std::future::pending().await;
        };
        let shut = &mut self.shut;
        let shut = async {
            // An error: the shard has ended.
            let _ = shut.wait_for(|&shut| shut).await;
        };
        tokio::select! {
            biased;
            () = shut => None,
            stream = accept(listener) => Some(stream),
        }
    }

    /// Accepts every connection that waits, and closes the listener after the last.
    fn empty(&mut self) {
        let Some(Ok(listener)) = self.listener.take().map(TcpListener::into_std) else {
            return;
        };
        // Not through the runtime, which knows only of those that the kernel has told it of.
        while self.waiting.len() < MAX_LAST {
            match listener.accept() {
                Ok((stream, _)) => {
                    let ready = stream.set_nonblocking(true);
                    // One that cannot be set up is closed.
                    if let Ok(stream) = ready.and_then(|()| TcpStream::from_std(stream)) {
                        self.waiting.push_back(stream);
                    }
                }
                Err(e) if is_its_own(&e) => {}
                // Nobody waits; or out of descriptors, and then those who do are turned away.
                Err(_) => return,
            }
        }
    }
}

/// Whether an error of `accept(2)` concerns the one connection only, or nothing at all.
pub(crate) fn is_its_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
