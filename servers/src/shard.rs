//! The hub within one shard: rings, subscribers as cursors, wake-ups, time-outs.
//!
//! Place on the data path: hub → **shard** → transport. In: appended envelopes from the hub's
//! inbox. Out: for each subscriber, a wake-up of its task and the framed bytes behind its cursor.
//!
//! A shard is one thread, so its state is a thread-local without locks. It is not handed around as
//! an `Rc`, because axum asks for handlers that could move between threads (`Send`): a
//! [`Subscription`] is plain numbers that mean something on their own shard only, and every
//! runtime here is a current-thread one, from which no task can move.
//!
//! A subscriber that reads slowly costs its cursor and what its transport has taken for it, never a
//! queue. What becomes of one whose cursor fell off the ring is its channel's policy
//! ([`pushbench_protocol::overflow`]): it is told the range that it lost and disconnected ([`Ready::Lagged`]), or
//! told and served on ([`Ready::Skipped`]), or gets the newest message only. All are counted.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::hub::{Appended, Hub};
use crate::ring::{Ring, RingLimits};
use crate::shutdown::{STEP, ShutdownStep};
use crate::slab::Slab;
use crate::stall::{Watch, Watches};
use crate::wheel::{Place, TICK_MS, Wheel};
use pushbench_protocol::framing::Start;
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::Framing;

/// Most bytes that one write takes from a ring: 256 KiB, several times a socket's default buffer.
/// More that is pending follows in the next write.
pub const MAX_WRITE_BYTES: usize = 256 << 10;

/// What one shard has counted since it began. Written by its own thread only, read by anyone.
#[derive(Debug, Default)]
#[repr(align(128))] // no cache line is shared with another shard's counters
pub struct ShardStats {
    /// Subscribers now.
    pub subscribers: AtomicU64,
    /// Messages handed to a transport, once for each subscriber.
    pub deliveries: AtomicU64,
    /// Keep-alives that came due.
    pub keep_alives: AtomicU64,
    /// Subscribers that fell off a ring.
    pub lagged: AtomicU64,
    /// Messages that those did not get.
    pub lost_messages: AtomicU64,
    /// Subscribers that the server ended in their transport's polite way, with nothing pending.
    pub closed_politely: AtomicU64,
    /// Messages that were left out because a newer one was handed out in their place.
    pub conflated_messages: AtomicU64,
    /// Subscribers that were dropped because they had fallen off a ring while their socket took
    /// nothing. They count as lagged too.
    pub cut_off: AtomicU64,
}

/// Adds to a counter that only this thread writes: no locked instruction is needed.
fn count(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

#[derive(Debug, Default)]
struct Channel {
    /// Last sequence that this shard has seen.
    head: u64,
    /// Ids of the subscribers.
    subscribers: Vec<u32>,
    /// Whether it is in the list of channels to wake.
    dirty: bool,
    overflow: Overflow,
}

/// Who is told that a subscriber has something to do.
#[derive(Debug)]
enum Sleeper {
    /// Nobody: it has not been asked since it was told.
    Nobody,
    /// A task of the shard's runtime.
    Task(Waker),
    /// A connection of the shard's own loop, by its number ([`take_woken`]).
    Connection(u32),
}

#[derive(Debug)]
struct Subscriber {
    sleeper: Sleeper,
    channel: u32,
    /// Index in the channel's list.
    index: u32,
    place: Place,
    /// Tick at which silence has lasted long enough.
    due: u64,
    /// Length of that silence in ticks.
    quiet_ticks: u32,
    /// Set when it has.
    quiet: bool,
    /// Set when it is its turn to end, while the server drains.
    closing: bool,
    /// Whether it was told that the server closes.
    told: bool,
}

struct Shard {
    hub: Arc<Hub>,
    number: usize,
    framings: Vec<Framing>,
    limits: RingLimits,
    channels: Vec<Channel>,
    /// Rings of channel `c` and framing `f` at `c * framings + f`; made when first written.
    rings: Vec<Option<Box<Ring>>>,
    subscribers: Slab<Subscriber>,
    wheel: Wheel,
    watches: Watches,
    /// Goes round, so that no subscriber is always served last.
    turn: usize,
    closing: bool,
    /// Who is to end while the server drains, in this order, and how many of them it was told.
    leaving: Option<(Vec<u32>, usize)>,
    stats: Arc<ShardStats>,
    inbox: Vec<Appended>,
    framed: Vec<u8>,
    /// Connections to be served, in the order in which they were woken.
    woken: Vec<u32>,
}

thread_local! {
    static SHARD: RefCell<Option<Shard>> = const { RefCell::new(None) };
}

fn with<T>(f: impl FnOnce(&mut Shard) -> T) -> T {
    SHARD.with_borrow_mut(|shard| {
        f(shard
            .as_mut()
            .expect("a task of a shard runs on the thread of that shard"))
    })
}

/// Makes the calling thread shard `number` of `hub`. Call it inside the thread's runtime, once.
pub fn enter(
    hub: Arc<Hub>,
    number: usize,
    framings: &[Framing],
    limits: RingLimits,
    stats: Arc<ShardStats>,
) {
    let shard = Shard {
        hub,
        number,
        framings: framings.to_vec(),
        limits,
        channels: Vec::new(),
        rings: Vec::new(),
        subscribers: Slab::default(),
        wheel: Wheel::default(),
        watches: Watches::default(),
        turn: 0,
        closing: false,
        leaving: None,
        stats,
        inbox: Vec::new(),
        framed: Vec::new(),
        woken: Vec::new(),
    };
    SHARD.set(Some(shard));
}

/// Takes what waits in the hub for this shard, wakes the subscribers, and goes on until `turn`,
/// asked at each wake-up, says that they were told of the server's end.
///
/// # Errors
/// Those of registering the wake-up with the runtime.
pub(crate) async fn pump(mut turn: impl FnMut() -> ShutdownStep) -> std::io::Result<()> {
    let (hub, number) = with(|s| (s.hub.clone(), s.number));
    let wake = hub.wake_of(number).listen()?;
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    tick.tick().await;
    let mut hasty = false;
    loop {
        tokio::select! {
            () = wake.wait() => drain(),
            _ = tick.tick() => with(Shard::tick),
            () = async { tokio::time::sleep(STEP).await }, if hasty => {}
        }
        match turn() {
            ShutdownStep::Serve => {}
            ShutdownStep::StopAccepting | ShutdownStep::Drain => hasty = true,
            ShutdownStep::Closed { .. } => return Ok(()),
        }
    }
}

/// Takes what waits in the hub for this shard, now. `pump` calls it at every wake-up; a caller
/// that has just appended, or a benchmark without a runtime, may call it too.
pub fn drain() {
    with(Shard::drain);
}

/// One tick of the wheel: for a loop without a runtime, every [`TICK_MS`].
pub(crate) fn tick() {
    with(Shard::tick);
}

/// Tells every subscriber that the server closes.
pub(crate) fn close() {
    with(Shard::close);
}

/// The server begins to drain: nobody subscribes any more, and those who have are to be told one
/// after the other ([`leave`]).
pub(crate) fn begin_to_leave() {
    with(|shard| {
        let ids = shard.subscribers.iter().map(|(id, _)| id as u32);
        shard.leaving = Some((ids.collect(), 0));
    });
}

/// Tells this share, 0 to 1, of those who had subscribed when the drain began that it is over for
/// them. Numbers of subscribers are not given anew meanwhile.
pub(crate) fn leave(share: f64) {
    with(|shard| {
        let Some((ids, told)) = &mut shard.leaving else {
            return;
        };
        let until = ((ids.len() as f64 * share) as usize).min(ids.len());
        for &id in ids.get(*told..until).unwrap_or_default() {
            if let Some(subscriber) = shard.subscribers.get_mut(id as usize) {
                subscriber.closing = true;
                wake(&mut subscriber.sleeper, &mut shard.woken);
            }
        }
        *told = until.max(*told);
    });
}

/// Whether the server of the calling thread drains, so that its connections are not to be used
/// again. `false` on a thread of no server.
pub(crate) fn is_draining() -> bool {
    SHARD.with_borrow(|shard| shard.as_ref().is_some_and(|shard| shard.leaving.is_some()))
}

/// Swaps the connections that were woken for `taken`, which is emptied. A connection may have ended
/// since, or be woken for nothing.
pub(crate) fn take_woken(taken: &mut Vec<u32>) {
    taken.clear();
    with(|shard| std::mem::swap(&mut shard.woken, taken));
}

/// Whoever is at `socket` was told what it lost, and is to take it: for a loop without a runtime.
pub(crate) fn told(socket: std::os::fd::RawFd) {
    with(|shard| shard.watches.told(socket));
}

/// `socket` is about to be closed: if its client was told what it lost and took nothing of it, it
/// is reset.
pub(crate) fn closes(socket: std::os::fd::RawFd) {
    // As where a subscription is dropped.
    let _ = SHARD.try_with(|shard| {
        if let Ok(mut shard) = shard.try_borrow_mut()
            && let Some(shard) = shard.as_mut()
            && shard.watches.closes(socket)
        {
            count(&shard.stats.cut_off, 1);
        }
    });
}

impl Shard {
    fn drain(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        self.hub.take(self.number, &mut inbox);
        let mut dirty: Vec<u32> = Vec::new();
        for message in inbox.drain(..) {
            let number = message.channel as usize;
            self.grow(number);
            for (i, framing) in self.framings.iter().enumerate() {
                let slot = &mut self.rings[number * self.framings.len() + i];
                let ring =
                    slot.get_or_insert_with(|| Box::new(Ring::starting_at(message.sequence)));
                self.framed.clear();
                framing.encode(message.sequence, &message.envelope, &mut self.framed);
                let first = ring.first();
                ring.push(self.limits, &self.framed);
                if ring.first() != first {
                    self.watches.something_fell_off();
                }
            }
            let channel = &mut self.channels[number];
            channel.head = message.sequence;
            if !std::mem::replace(&mut channel.dirty, true) {
                dirty.push(message.channel);
            }
        }
        self.inbox = inbox;
        for number in dirty {
            let channel = &mut self.channels[number as usize];
            channel.dirty = false;
            self.turn = self.turn.wrapping_add(1);
            let split = self.turn % channel.subscribers.len().max(1);
            let (late, early) = channel.subscribers.split_at(split);
            for &id in early.iter().chain(late) {
                if let Some(subscriber) = self.subscribers.get_mut(id as usize) {
                    wake(&mut subscriber.sleeper, &mut self.woken);
                }
            }
        }
    }

    fn grow(&mut self, channel: usize) {
        if channel >= self.channels.len() {
            let channels = &mut self.channels;
            channels.reserve(self.hub.channel_count() as usize - channels.len());
            self.hub.each_overflow(channels.len() as u32, |overflow| {
                channels.push(Channel {
                    overflow,
                    ..Channel::default()
                });
                true
            });
            let count = channels.len();
            self.rings.resize_with(count * self.framings.len(), || None);
        }
    }

    fn tick(&mut self) {
        let up = self.wheel.tick();
        let now = self.wheel.now();
        for id in up {
            let Some(subscriber) = self.subscribers.get_mut(id as usize) else {
                continue;
            };
            if subscriber.due <= now {
                subscriber.quiet = true;
                subscriber.due = now + u64::from(subscriber.quiet_ticks);
                wake(&mut subscriber.sleeper, &mut self.woken);
            }
            subscriber.place = self.wheel.insert(id, subscriber.due);
        }
        if self.watches.is_time(now) {
            self.look_for_stalls();
        }
    }

    /// Gives up the connections of those that can no longer be told what they lost.
    fn look_for_stalls(&mut self) {
        let mut some_fell_off = false;
        for watch in &mut self.watches.of {
            if watch.socket < 0 {
                continue;
            }
            let ring = watch.channel as usize * self.framings.len() + usize::from(watch.framing);
            let first = self.rings[ring].as_ref().map_or(0, |ring| ring.first());
            let policy = self.channels[watch.channel as usize].overflow;
            if policy != Overflow::Disconnect || watch.next >= first {
                watch.stall.forget();
                continue;
            }
            some_fell_off = true;
            if watch.stall.look(&watch.socket) && pushbench_os::sys::give_up(&watch.socket).is_ok()
            {
                count(&self.stats.cut_off, 1);
                watch.socket = -1;
            }
        }
        if some_fell_off {
            self.watches.something_fell_off();
        }
        count(&self.stats.cut_off, self.watches.look_at_told());
    }

    fn close(&mut self) {
        self.closing = true;
        for subscriber in self.subscribers.values_mut() {
            wake(&mut subscriber.sleeper, &mut self.woken);
        }
    }

    fn ring(&mut self, channel: u32, framing: u8) -> Option<&mut Ring> {
        let index = channel as usize * self.framings.len() + usize::from(framing);
        self.rings.get_mut(index)?.as_deref_mut()
    }

    fn deliver(&mut self, id: u32, messages: u64) {
        count(&self.stats.deliveries, messages);
        let now = self.wheel.now();
        if let Some(subscriber) = self.subscribers.get_mut(id as usize) {
            subscriber.due = now + u64::from(subscriber.quiet_ticks);
            subscriber.quiet = false;
        }
    }

    fn subscribe(&mut self, channel: u32, quiet: Duration) -> u32 {
        let ticks = (quiet.as_millis() as u64)
            .div_ceil(TICK_MS)
            .clamp(1, u64::from(u32::MAX));
        let id = self.subscribers.next_number() as u32;
        let due = self.wheel.now() + ticks;
        let list = &mut self.channels[channel as usize].subscribers;
        list.push(id);
        self.subscribers.insert(Subscriber {
            sleeper: Sleeper::Nobody,
            channel,
            index: (list.len() - 1) as u32,
            place: self.wheel.insert(id, due),
            due,
            quiet_ticks: ticks as u32,
            quiet: false,
            closing: false,
            told: false,
        });
        count(&self.stats.subscribers, 1);
        id
    }

    fn unsubscribe(&mut self, id: u32) {
        let Some(gone) = self.subscribers.remove(id as usize) else {
            return;
        };
        if let Some(moved) = self.wheel.remove(gone.place)
            && let Some(other) = self.subscribers.get_mut(moved as usize)
        {
            other.place = gone.place;
        }
        let list = &mut self.channels[gone.channel as usize].subscribers;
        list.swap_remove(gone.index as usize);
        if let Some(&moved) = list.get(gone.index as usize)
            && let Some(other) = self.subscribers.get_mut(moved as usize)
        {
            other.index = gone.index;
        }
        self.watches.forget(id);
        count(&self.stats.subscribers, 1u64.wrapping_neg());
    }
}

/// Wakes who waits for a subscriber and forgets it: whoever has nothing to do registers again, so
/// that one which is busy is not woken once for every message.
fn wake(sleeper: &mut Sleeper, woken: &mut Vec<u32>) {
    match std::mem::replace(sleeper, Sleeper::Nobody) {
        Sleeper::Nobody => {}
        Sleeper::Task(waker) => waker.wake(),
        Sleeper::Connection(number) => woken.push(number),
    }
}

/// Why a subscription was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// No channel has this name.
    #[error("unknown channel '{0}'; '/info' lists the channels of this server")]
    UnknownChannel(String),
    /// A cursor that no message has reached yet.
    #[error("'since' is {since}, but the last message of channel '{channel}' is {tail}")]
    BeyondTail {
        /// The channel's name.
        channel: String,
        /// What was asked for.
        since: u64,
        /// The channel's last sequence.
        tail: u64,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closing,
}

/// What a subscriber is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Messages wait behind the cursor.
    Pending,
    /// Nothing came for the quiet period: a keep-alive is due, or a poll's wait is over.
    Quiet,
    /// The cursor fell off the ring: messages `from..=to` are gone for this subscriber, and its
    /// stream ends.
    Lagged {
        /// First lost sequence.
        from: u64,
        /// Last lost sequence.
        to: u64,
    },
    /// As [`Self::Lagged`], but the stream goes on behind the loss.
    Skipped {
        /// First lost sequence.
        from: u64,
        /// Last lost sequence.
        to: u64,
    },
    /// The server shuts down.
    Closing,
}

/// What became of a write ([`Subscription::write`]).
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// All that was shown was taken, or nothing is pending.
    All,
    /// The socket is full. It stopped within a message whose rest is this, to be written before
    /// anything else; empty where it stopped between two.
    Short(Box<[u8]>),
}

/// A cursor into a channel. Belongs to the thread that made it (see the module's text).
#[derive(Debug)]
pub struct Subscription {
    id: u32,
    channel: u32,
    /// Sequence of the next message to hand out.
    next: u64,
    framing: u8,
    /// It was told that it lagged and its stream ends: what it loses until then is not counted.
    told: bool,
}

impl Subscription {
    /// Subscribes to the channel called `name` from `start` on, to read messages in `framing`. Silence counts in periods of `quiet`.
    ///
    /// # Errors
    /// [`SubscribeError`].
    ///
    /// # Panics
    /// Where the shard does not keep `framing`: a server sets up the framings of its transports.
    pub fn open(
        name: &str,
        start: impl Into<Start>,
        framing: Framing,
        quiet: Duration,
    ) -> Result<Self, SubscribeError> {
        let start = start.into();
        with(|shard| {
            if shard.closing || shard.leaving.is_some() {
                return Err(SubscribeError::Closing);
            }
            let channel = shard.hub.channel(name);
            let channel = channel.ok_or_else(|| SubscribeError::UnknownChannel(name.into()))?;
            shard.grow(channel as usize);
            let framing = shard.framings.iter().position(|&f| f == framing);
            let framing = framing.expect("the shard keeps the framings of its transports") as u8;
            let behind = match start {
                Start::Tail => false,
                Start::Since(since) => since > shard.channels[channel as usize].head,
                Start::Last(_) => true,
            };
            if behind {
                // Another shard may have delivered what still waits in this one's inbox.
                shard.drain();
            }
            let tail = shard.channels[channel as usize].head;
            let since = match start {
                Start::Tail => tail,
                Start::Since(since) => since,
                Start::Last(count) => {
                    let oldest = shard.ring(channel, framing);
                    let oldest = oldest.map_or(tail, |ring| ring.first() - 1);
                    tail.saturating_sub(count).max(oldest)
                }
            };
            // One that the schedule has due is no error: another server on the same log was ahead,
            // or this one's publisher is a moment late.
            if since > tail && since > shard.hub.last_due(channel) {
                return Err(SubscribeError::BeyondTail {
                    channel: name.into(),
                    since,
                    tail,
                });
            }
            Ok(Self {
                id: shard.subscribe(channel, quiet),
                channel,
                next: since + 1,
                framing,
                told: false,
            })
        })
    }

    /// The last sequence that was handed out, or the start cursor.
    pub fn cursor(&self) -> u64 {
        self.next - 1
    }

    /// Number of the channel.
    pub fn channel(&self) -> u32 {
        self.channel
    }

    /// Has `socket` looked at from now on, which is this subscriber's connection: for transports
    /// whose connections a library holds. Only as long as the socket is open.
    pub(crate) fn watch(&self, socket: std::os::fd::RawFd) {
        with(|shard| {
            let watch = Watch {
                socket,
                channel: self.channel,
                framing: self.framing,
                next: self.next,
                stall: Default::default(),
            };
            shard.watches.watch(self.id, watch);
        });
    }

    /// Whether it has fallen off the ring of a channel that disconnects those.
    pub(crate) fn has_fallen_off(&self) -> bool {
        with(|shard| {
            let policy = shard.channels[self.channel as usize].overflow;
            let ring = shard.ring(self.channel, self.framing);
            policy == Overflow::Disconnect && ring.is_some_and(|ring| self.next < ring.first())
        })
    }

    /// Counts it as cut off; dropping it counts what it lost.
    pub(crate) fn count_cut_off(&self) {
        with(|shard| count(&shard.stats.cut_off, 1));
    }

    /// Says what this subscriber should do next, or registers its task to be woken.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Ready> {
        let ready = self.look(|sleeper| match sleeper {
            Sleeper::Task(waker) => waker.clone_from(cx.waker()),
            other => *other = Sleeper::Task(cx.waker().clone()),
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    }

    /// Says what this subscriber should do next, or has connection `number` woken
    /// ([`take_woken`]).
    pub(crate) fn ready_or_wake(&mut self, number: u32) -> Option<Ready> {
        self.look(|sleeper| *sleeper = Sleeper::Connection(number))
    }

    /// Says what this subscriber should do next; nobody is woken for it.
    pub(crate) fn ready_now(&mut self) -> Option<Ready> {
        self.look(|_| {})
    }

    fn look(&mut self, sleep: impl FnOnce(&mut Sleeper)) -> Option<Ready> {
        with(|shard| {
            let channel = &shard.channels[self.channel as usize];
            let (head, overflow) = (channel.head, channel.overflow);
            if self.next <= head {
                if overflow == Overflow::LatestOnly && self.next < head {
                    // What fell off meanwhile is left out like the rest.
                    count(&shard.stats.conflated_messages, head - self.next);
                    self.next = head;
                }
                let first = shard
                    .ring(self.channel, self.framing)
                    .map_or(head + 1, |r| r.first());
                if self.next >= first {
                    return Some(Ready::Pending);
                }
                let (from, to) = (self.next, first - 1);
                let lagged = match overflow {
                    Overflow::DropOldest => Ready::Skipped { from, to },
                    Overflow::Disconnect | Overflow::LatestOnly => {
                        shard.watches.tell(self.id);
                        self.told = true;
                        Ready::Lagged { from, to }
                    }
                };
                count(&shard.stats.lagged, 1);
                count(&shard.stats.lost_messages, first - self.next);
                // Resuming behind the loss is the cursor's business: it is not reported twice.
                self.next = first;
                return Some(lagged);
            }
            let subscriber = shard
                .subscribers
                .get_mut(self.id as usize)
                .expect("open until dropped");
            if shard.closing || subscriber.closing {
                if !std::mem::replace(&mut subscriber.told, true) {
                    count(&shard.stats.closed_politely, 1);
                }
                return Some(Ready::Closing);
            }
            if std::mem::take(&mut subscriber.quiet) {
                count(&shard.stats.keep_alives, 1);
                return Some(Ready::Quiet);
            }
            sleep(&mut subscriber.sleeper);
            None
        })
    }

    /// Waits until there is something to do.
    pub async fn ready(&mut self) -> Ready {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// Takes what is pending, at most `max_bytes` but at least one message, as one piece.
    pub fn take(&mut self, max_bytes: usize) -> Option<Bytes> {
        with(|shard| {
            let (bytes, last) = shard
                .ring(self.channel, self.framing)?
                .shared(self.next, max_bytes)?;
            shard.deliver(self.id, last + 1 - self.next);
            shard.watches.moved(self.id, last + 1);
            self.next = last + 1;
            Some(bytes)
        })
    }

    /// Shows what is pending to `write`, in two slices without copying. `write` says how many of
    /// the bytes it took. The cursor moves behind the message that it stopped within, and the rest
    /// of that one is returned, for the caller to write first when it can: a subscriber that reads
    /// slowly costs its cursor and one message at most.
    ///
    /// # Errors
    /// Those of `write`; the cursor stays then.
    pub fn write<E>(
        &mut self,
        max_bytes: usize,
        write: impl FnOnce(&[u8], &[u8]) -> Result<usize, E>,
    ) -> Result<Written, E> {
        with(|shard| {
            let Some(ring) = shard.ring(self.channel, self.framing) else {
                return Ok(Written::All);
            };
            let Some((head, tail, mut last)) = ring.pending(self.next, max_bytes) else {
                return Ok(Written::All);
            };
            let all = head.len() + tail.len();
            let taken = write(head, tail)?;
            let mut written = Written::All;
            if taken < all {
                let Some((head, tail, stopped)) = ring.rest(self.next, taken) else {
                    return Ok(Written::Short(Box::default()));
                };
                written = Written::Short([head, tail].concat().into_boxed_slice());
                last = stopped;
            }
            shard.deliver(self.id, last + 1 - self.next);
            shard.watches.moved(self.id, last + 1);
            self.next = last + 1;
            Ok(written)
        })
    }

    /// Shows what is pending to `take`, in two slices with the last sequence in them, and moves the
    /// cursor behind it. `false` where nothing is.
    ///
    /// # Errors
    /// Those of `take`; the cursor stays then.
    pub(crate) fn hand_out<E>(
        &mut self,
        max_bytes: usize,
        take: impl FnOnce(&[u8], &[u8], u64) -> Result<(), E>,
    ) -> Result<bool, E> {
        with(|shard| {
            let ring = shard.ring(self.channel, self.framing);
            let Some((head, tail, last)) = ring.and_then(|r| r.pending(self.next, max_bytes))
            else {
                return Ok(false);
            };
            take(head, tail, last)?;
            shard.deliver(self.id, last + 1 - self.next);
            self.next = last + 1;
            Ok(true)
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The thread-local is gone only when the thread ends, and every subscriber with it.
        let _ = SHARD.try_with(|shard| {
            if let Ok(mut shard) = shard.try_borrow_mut()
                && let Some(shard) = shard.as_mut()
            {
                // One that stopped reading and was cut off could not be told what it lost.
                let first = shard
                    .ring(self.channel, self.framing)
                    .map_or(0, |ring| ring.first());
                let overflow = shard.channels[self.channel as usize].overflow;
                if self.next < first && !self.told && overflow != Overflow::LatestOnly {
                    count(&shard.stats.lagged, 1);
                    count(&shard.stats.lost_messages, first - self.next);
                }
                shard.unsubscribe(self.id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    const QUIET: Duration = Duration::from_secs(15);

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn start(limits: RingLimits) -> (Arc<Hub>, Arc<ShardStats>) {
        let hub = Hub::new(1).expect("descriptors");
        hub.declare(&["a", "b"]).expect("good names");
        let stats = Arc::new(ShardStats::default());
        enter(hub.clone(), 0, &[Framing::Line], limits, stats.clone());
        (hub, stats)
    }

    fn poll(subscription: &mut Subscription) -> Poll<Ready> {
        subscription.poll_ready(&mut Context::from_waker(Waker::noop()))
    }

    fn open(since: Option<u64>) -> Result<Subscription, SubscribeError> {
        Subscription::open("a", since, Framing::Line, QUIET)
    }

    fn publish(hub: &Hub, payload: &str) {
        hub.append(0, Some(0), payload.as_bytes()).expect("room");
        drain();
    }

    #[test]
    fn a_subscriber_starts_at_the_tail_and_gets_all_that_is_pending_at_once() {
        let (hub, stats) = start(RingLimits::default());
        publish(&hub, "before");
        let mut subscription = open(None).expect("a channel");
        assert_eq!(subscription.cursor(), 1);
        assert_eq!(poll(&mut subscription), Poll::Pending);
        publish(&hub, "x");
        publish(&hub, "y");
        assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Pending));
        let bytes = subscription.take(MAX_WRITE_BYTES).expect("pending");
        let lines: Vec<&[u8]> = bytes.split(|&b| b == b'\n').collect();
        assert!(lines[0].ends_with(b":x") && lines[1].ends_with(b":y") && lines.len() == 3);
        assert_eq!(subscription.cursor(), 3);
        assert_eq!(poll(&mut subscription), Poll::Pending);
        assert_eq!(stats.deliveries.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_cursor_resumes_where_it_was_and_none_beyond_the_tail_is_taken() {
        let (hub, _) = start(RingLimits::default());
        hub.append(0, None, b"one").expect("room");
        hub.append(0, None, b"two").expect("room");
        // Nothing was drained yet: a resume must not be refused for it.
        let mut subscription = open(Some(1)).expect("a cursor in the log");
        assert!(
            subscription
                .take(MAX_WRITE_BYTES)
                .expect("pending")
                .ends_with(b":two\n")
        );
        let error = open(Some(3)).expect_err("beyond the tail");
        assert_eq!(
            error.to_string(),
            "'since' is 3, but the last message of channel 'a' is 2"
        );
        assert!(Subscription::open("c", None, Framing::Line, QUIET).is_err());
    }

    #[test]
    fn a_subscriber_that_falls_off_the_ring_is_told_what_it_lost_and_counted() {
        let (hub, stats) = start(RingLimits {
            messages: 2,
            bytes: 1 << 20,
        });
        let mut subscription = open(None).expect("a channel");
        for payload in ["1", "2", "3", "4", "5"] {
            publish(&hub, payload);
        }
        assert_eq!(
            poll(&mut subscription),
            Poll::Ready(Ready::Lagged { from: 1, to: 3 })
        );
        assert_eq!(stats.lagged.load(Ordering::Relaxed), 1);
        assert_eq!(stats.lost_messages.load(Ordering::Relaxed), 3);
        assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Pending));
        // Its farewell may take a while; it has lagged once all the same.
        for payload in ["6", "7", "8"] {
            publish(&hub, payload);
        }
        drop(subscription);
        assert_eq!(stats.lagged.load(Ordering::Relaxed), 1);
        assert_eq!(stats.lost_messages.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_task_is_woken_once_however_many_messages_come_and_others_are_not() {
        let (hub, _) = start(RingLimits::default());
        let (here, there) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
        let mut a = open(None).expect("a channel");
        let mut b = Subscription::open("b", None, Framing::Line, QUIET).expect("a channel");
        let waker = Waker::from(here.clone());
        assert!(a.poll_ready(&mut Context::from_waker(&waker)).is_pending());
        let waker = Waker::from(there.clone());
        assert!(b.poll_ready(&mut Context::from_waker(&waker)).is_pending());
        for _ in 0..3 {
            publish(&hub, "x");
        }
        assert_eq!(here.0.load(Ordering::SeqCst), 1);
        assert_eq!(there.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn silence_is_reported_once_a_period_and_put_off_by_deliveries() {
        let (hub, stats) = start(RingLimits::default());
        let mut subscription =
            Subscription::open("a", None, Framing::Line, Duration::from_secs(1)).expect("channel");
        let ticks = |n: usize| (0..n).for_each(|_| with(Shard::tick));
        ticks(9);
        assert_eq!(poll(&mut subscription), Poll::Pending);
        publish(&hub, "x");
        subscription.take(MAX_WRITE_BYTES).expect("pending");
        ticks(9);
        assert_eq!(poll(&mut subscription), Poll::Pending);
        ticks(1);
        assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Quiet));
        assert_eq!(poll(&mut subscription), Poll::Pending);
        ticks(10);
        assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Quiet));
        assert_eq!(stats.keep_alives.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn subscribers_come_and_go_in_any_order_and_leave_nothing_behind() {
        let (hub, stats) = start(RingLimits::default());
        let mut all: Vec<Subscription> = (0..50).map(|_| open(None).expect("channel")).collect();
        let mut random = pushbench_protocol::payload::SplitMix64::new(1);
        for _ in 0..200 {
            let index = random.below(all.len() as u64) as usize;
            drop(all.swap_remove(index));
            all.push(open(None).expect("channel"));
        }
        publish(&hub, "x");
        for subscription in &mut all {
            assert_eq!(poll(subscription), Poll::Ready(Ready::Pending));
        }
        with(|s| assert!(s.subscribers.end() <= 51 && s.channels[0].subscribers.len() == 50));
        for _ in 0..200 {
            with(Shard::tick);
        }
        all.clear();
        assert_eq!(stats.subscribers.load(Ordering::Relaxed), 0);
        for _ in 0..2000 {
            with(Shard::tick);
        }
    }

    #[test]
    fn what_a_full_socket_left_is_handed_back_and_the_cursor_moves_on() {
        let (hub, _) = start(RingLimits::default());
        let mut subscription = open(Some(0)).expect("a channel");
        publish(&hub, "abc");
        let rest = subscription
            .write(MAX_WRITE_BYTES, |head, tail| {
                assert_eq!(head.len() + tail.len(), 51 + 3 + 1);
                Ok::<usize, ()>(53)
            })
            .expect("no error");
        assert_eq!(rest, Written::Short((*b"c\n").into()));
        assert_eq!(poll(&mut subscription), Poll::Pending);
    }

    #[test]
    fn subscribers_leave_one_after_the_other_each_behind_what_is_pending() {
        let (hub, stats) = start(RingLimits::default());
        let mut all: Vec<Subscription> = (0..10).map(|_| open(None).expect("channel")).collect();
        let closing = |all: &mut Vec<Subscription>| {
            let ready = all.iter_mut().map(poll);
            ready.filter(|r| *r == Poll::Ready(Ready::Closing)).count()
        };
        assert!(!is_draining());
        begin_to_leave();
        assert!(is_draining());
        assert_eq!(open(None).expect_err("draining"), SubscribeError::Closing);
        for (share, told) in [(0.0, 0), (0.09, 0), (0.5, 5), (0.3, 5), (1.0, 10)] {
            leave(share);
            publish(&hub, "x");
            assert_eq!(closing(&mut all), 0, "something is pending");
            for subscription in &mut all {
                subscription.take(MAX_WRITE_BYTES).expect("pending");
            }
            assert_eq!(closing(&mut all), told, "{share}");
        }
        assert_eq!(stats.closed_politely.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn a_full_socket_is_left_the_rest_of_one_message_and_the_cursor_stays_before_the_next() {
        let (hub, stats) = start(RingLimits::default());
        let mut subscription = open(Some(0)).expect("a channel");
        for payload in ["a", "b", "c"] {
            publish(&hub, payload);
        }
        // A line has 53 bytes here.
        for (taken, rest, cursor) in [(0, 0, 0), (53, 0, 1), (1, 52, 2), (52, 1, 3)] {
            let written = subscription
                .write(MAX_WRITE_BYTES, |_, _| Ok::<usize, ()>(taken))
                .expect("no error");
            let length = match (&written, cursor) {
                (Written::Short(rest), _) => rest.len(),
                (Written::All, _) => panic!("taken as a whole at {cursor}"),
            };
            assert_eq!((length, subscription.cursor()), (rest, cursor));
            assert_eq!(stats.deliveries.load(Ordering::Relaxed), cursor);
        }
    }

    #[test]
    fn a_start_before_the_tail_is_at_most_at_the_oldest_message() {
        let (hub, _) = start(RingLimits {
            messages: 3,
            bytes: 1 << 20,
        });
        let cursor = |start| {
            let opened = Subscription::open("a", start, Framing::Line, QUIET);
            opened.expect("a channel").cursor()
        };
        assert_eq!(cursor(Start::Last(5)), 0);
        for _ in 0..5 {
            // Nothing was drained yet.
            hub.append(0, None, b"x").expect("room");
        }
        for (count, expected) in [
            (2, 3),
            (0, 5),
            (3, 2),
            (4, 2),
            (1_000_000, 2),
            (u64::MAX, 2),
        ] {
            assert_eq!(cursor(Start::Last(count)), expected, "last={count}");
        }
    }

    #[test]
    fn closing_wakes_every_subscriber_and_takes_no_new_one() {
        let (_hub, _) = start(RingLimits::default());
        let mut subscription = open(None).expect("a channel");
        with(Shard::close);
        assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Closing));
        assert_eq!(open(None).expect_err("closing"), SubscribeError::Closing);
    }
}
