//! Waking another thread across descriptor tables.
//!
//! A shard may have a descriptor table of its own (see [`crate::sys::own_descriptor_table`]), so a
//! runtime's own wake-up, which writes to a descriptor by its number, must never be used from
//! another thread. A [`Wake`] is an eventfd that is made before any table is copied and kept open
//! in every one: its number means the same everywhere.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::io::unix::AsyncFd;

/// Wakes one thread. Lives until the process ends, so that no table ever closes another's.
#[derive(Debug)]
pub struct Wake {
    fd: BorrowedFd<'static>,
    /// Set while a wake-up is on its way: a second one needs no system call.
    pending: AtomicBool,
}

/// Descriptors that every shard must keep when it copies its table.
static SHARED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

impl Wake {
    /// Makes a wake-up. Make all of them before the first shard copies its table.
    ///
    /// # Errors
    /// `EMFILE` where this process may open no more descriptors.
    pub fn new() -> std::io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let fd: &'static OwnedFd = Box::leak(Box::new(OwnedFd::from(event)));
        let mut shared = SHARED.lock().expect("no panic while held");
        shared.push(fd.as_raw_fd());
        Ok(Self {
            fd: fd.as_fd(),
            pending: AtomicBool::new(false),
        })
    }

    /// Wakes the thread that waits; remembered where it does not wait yet.
    pub fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // Fails only where the counter is full, and then the thread is being woken already.
            let _ = nix::unistd::write(self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Takes the wake-ups so far: for a thread that waits for the descriptor by means of its own.
    /// Whatever was handed over before them is visible afterwards; look at it after this, not
    /// before.
    pub fn consume(&self) {
        let mut count = [0; 8];
        let _ = nix::unistd::read(self.fd, &mut count);
        // Cleared before the caller looks at its queue: what is queued after that wakes again.
        self.pending.store(false, Ordering::Release);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Registers this wake-up with the runtime of the thread that will wait for it.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub fn listen(&self) -> std::io::Result<WakeListener<'_>> {
        let fd = crate::sys::watch(self.fd)?;
        Ok(WakeListener { wake: self, fd })
    }
}

impl AsRawFd for Wake {
    /// Readable when the thread is woken; the same number in every descriptor table.
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The waiting end of a [`Wake`], bound to one runtime.
#[derive(Debug)]
pub struct WakeListener<'a> {
    wake: &'a Wake,
    fd: AsyncFd<BorrowedFd<'static>>,
}

impl WakeListener<'_> {
    /// Waits for a wake-up; whatever was handed over before it is visible afterwards.
    pub async fn wait(&self) {
        // The registration fails only when the runtime shuts down; then nothing waits any more.
        let ready = self.fd.readable().await;
        self.wake.consume();
        if let Ok(mut ready) = ready {
            ready.clear_ready();
        }
    }
}

/// The descriptors to keep when a thread copies its table.
pub fn shared_descriptors() -> Vec<RawFd> {
    SHARED.lock().expect("no panic while held").clone()
}
