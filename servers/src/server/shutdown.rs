//! How a server ends: at once, or drained over some time so that its clients move on one by one.
//!
//! Beside the data path. In: a stop or a drain, asked for on any thread. Out: what each shard does
//! about it at each turn of its loop ([`Departure::turn`]), the same in every profile. A subscriber
//! that is told to end gets everything that is pending first; how it is told is its transport's
//! business.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::shard;

/// How long shards may take to end their connections at a stop.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long they may take behind a drain: the process is to be gone 2 s behind its end.
const DRAIN_GRACE: Duration = Duration::from_millis(1_750);

/// How long a drained shard stays at least: who was accepted last may be about to send a request,
/// and a socket that is closed with a request unread resets its connection.
const LAST_REQUESTS: Duration = Duration::from_millis(50);

/// Time between two looks at who is next, while a server drains.
pub(crate) const STEP: Duration = Duration::from_millis(5);

/// What was asked of a server. Shared by its shards.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    stopped: AtomicBool,
    drain: OnceLock<Drain>,
}

#[derive(Debug, Clone, Copy)]
struct Drain {
    begun: Instant,
    over: Duration,
}

impl Ending {
    /// Asks every shard to end now; wake them then.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Asks every shard to drain over this time; wake them then. `false`: another drain was asked
    /// for before, and goes on.
    pub(crate) fn drain(&self, over: Duration) -> bool {
        let begun = Instant::now();
        self.drain.set(Drain { begun, over }).is_ok()
    }

    /// Whether a drain was asked for.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }
}

/// What a shard has to do now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ShutdownStep {
    /// Serve, as before.
    Serve,
    /// A drain begins: accept the connections that wait, and then no more.
    StopAccepting,
    /// Some subscribers were told to end; look again in [`STEP`].
    Drain,
    /// All were told. It is over when everything is said, but not before `settled`, and at `end` in
    /// any case.
    Closed {
        /// Not before.
        settled: Instant,
        /// Not after.
        end: Instant,
    },
}

/// One shard's way to its end.
#[derive(Debug)]
pub(crate) struct Departure {
    ending: Arc<Ending>,
    has_stopped_accepting: bool,
    closed: Option<(Instant, Instant)>,
}

impl Departure {
    /// Of a shard that serves.
    pub(crate) fn new(ending: Arc<Ending>) -> Self {
        Self {
            ending,
            has_stopped_accepting: false,
            closed: None,
        }
    }

    /// Whether every subscriber was told to end.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Whether the next turn should come within [`STEP`].
    pub(crate) fn is_hasty(&self) -> bool {
        self.has_stopped_accepting
    }

    /// What the shard of the calling thread has to do. Call it at each turn of the loop.
    pub(crate) fn turn(&mut self) -> ShutdownStep {
        if let Some((settled, end)) = self.closed {
            return ShutdownStep::Closed { settled, end };
        }
        let stopped = self.ending.stopped.load(Ordering::SeqCst);
        let drain = self.ending.drain.get().filter(|_| !stopped);
        let Some(drain) = drain else {
            return if stopped {
                self.close(Duration::ZERO, STOP_GRACE)
            } else {
                ShutdownStep::Serve
            };
        };
        if !self.has_stopped_accepting {
            self.has_stopped_accepting = true;
            shard::begin_to_leave();
            return ShutdownStep::StopAccepting;
        }
        let elapsed = drain.begun.elapsed();
        if elapsed >= drain.over {
            return self.close(LAST_REQUESTS, DRAIN_GRACE);
        }
        shard::leave(elapsed.as_secs_f64() / drain.over.as_secs_f64());
        ShutdownStep::Drain
    }

    fn close(&mut self, settle: Duration, grace: Duration) -> ShutdownStep {
        // What was published before is delivered too.
        shard::drain();
        shard::close();
        let now = Instant::now();
        let (settled, end) = (now + settle, now + grace);
        self.closed = Some((settled, end));
        ShutdownStep::Closed { settled, end }
    }
}
