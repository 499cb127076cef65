//! The hub within one shard: rings, subscribers as cursors, wake-ups, time-outs.
//!
//! Place on the data path: hub → **shard** → transport. In: appended envelopes from the hub's
//! inbox. Out: for each subscriber, a wake-up of its task and the framed bytes after its cursor.
//!
//! A shard is one thread, so its state is a thread-local without locks. It is not handed around as
//! an `Rc`, because axum asks for handlers that could move between threads (`Send`): a
//! [`Subscription`] is plain numbers that mean something on their own shard only, and every
//! runtime here is a current-thread one, from which no task can move.
//!
//! A subscriber that reads slowly costs its cursor and what its transport has taken for it, never a
//! queue. What becomes of one whose cursor fell off the ring is its channel's policy
//! ([`pushbench_protocol::overflow`]): it is informed of the range that it lost and disconnected ([`Ready::Lagged`]), or
//! informed and served on ([`Ready::Skipped`]), or gets the newest message only. All are counted.

mod subscription;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use crate::hub::{Appended, Hub};
use crate::ring::{Ring, RingLimits};
use crate::server::shutdown::{STEP, ShutdownStep};
use crate::slab::Slab;
use crate::stall::Watches;
use crate::wheel::{Place, TICK_MS, Wheel};
use pushbench_protocol::framing::{Cursor, Epoch};
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::Framing;

pub use self::subscription::{Ready, SubscribeError, Subscription, Written};

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
#[inline]
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
    epoch: Epoch,
}

/// Who is woken when a subscriber has something to do.
#[derive(Debug)]
enum Sleeper {
    /// Nobody: it has not been asked since it was woken.
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
    /// Whether it was informed that the server closes.
    informed: bool,
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
    /// Who is to end while the server drains, in this order, and how many of them were informed.
    leaving: Option<(Vec<u32>, usize)>,
    stats: Arc<ShardStats>,
    inbox: Vec<Appended>,
    framed: Vec<u8>,
    /// Connections to be served, in the order in which they were woken.
    woken: Vec<u32>,
    /// Says that ticks are needed, to a loop that left them out.
    begins: Arc<Notify>,
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
        begins: Arc::default(),
    };
    SHARD.set(Some(shard));
}

/// Takes what waits in the hub for this shard, wakes the subscribers, and goes on until `turn`,
/// asked at each wake-up, says that they were informed of the server's end.
///
/// # Errors
/// Those of registering the wake-up with the runtime.
pub(crate) async fn pump(mut turn: impl FnMut() -> ShutdownStep) -> std::io::Result<()> {
    let (hub, number, begins) = with(|s| (s.hub.clone(), s.number, s.begins.clone()));
    let wake = hub.wake_of(number).listen()?;
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    tick.tick().await;
    let (mut hasty, mut ticks) = (false, false);
    loop {
        let ticked = std::mem::replace(&mut ticks, with(|s| s.is_timed()));
        if ticks && !ticked {
            tick.reset();
        }
        tokio::select! {
            () = wake.wait() => drain(),
            _ = tick.tick(), if ticks => with(Shard::tick),
            () = begins.notified(), if !ticks => {}
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

/// Whether there is anything that ticks are needed for: for a loop without a runtime.
pub(crate) fn is_timed() -> bool {
    with(|shard| shard.is_timed())
}

/// Informs every subscriber that the server closes.
pub(crate) fn close() {
    with(Shard::close);
}

/// The server begins to drain: nobody subscribes any more, and those who have are to be informed one
/// after the other ([`leave`]).
pub(crate) fn begin_to_leave() {
    with(|shard| {
        let ids = shard.subscribers.iter().map(|(id, _)| id as u32);
        shard.leaving = Some((ids.collect(), 0));
    });
}

/// Informs this share, 0 to 1, of those who had subscribed when the drain began that it is over for
/// them. Numbers of subscribers are not given anew meanwhile.
pub(crate) fn leave(share: f64) {
    with(|shard| {
        let Some((ids, informed)) = &mut shard.leaving else {
            return;
        };
        let until = ((ids.len() as f64 * share) as usize).min(ids.len());
        for &id in ids.get(*informed..until).unwrap_or_default() {
            if let Some(subscriber) = shard.subscribers.get_mut(id as usize) {
                subscriber.closing = true;
                wake(&mut subscriber.sleeper, &mut shard.woken);
            }
        }
        *informed = until.max(*informed);
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

/// Whoever is at `socket` was informed of what it lost, and is to take it: for a loop without a runtime.
pub(crate) fn informed(socket: std::os::fd::RawFd) {
    with(|shard| shard.watches.informed(socket));
}

/// `socket` is about to be closed: if its client was informed of what it lost and took nothing of it, it
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
            let cursor = Cursor {
                epoch: self.channels[number].epoch,
                sequence: message.sequence,
            };
            for (i, framing) in self.framings.iter().enumerate() {
                let slot = &mut self.rings[number * self.framings.len() + i];
                let ring =
                    slot.get_or_insert_with(|| Box::new(Ring::starting_at(message.sequence)));
                self.framed.clear();
                framing.encode(cursor, &message.envelope, &mut self.framed);
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
                    epoch: self.hub.epoch(channels.len() as u32),
                    ..Channel::default()
                });
                true
            });
            let count = channels.len();
            self.rings.resize_with(count * self.framings.len(), || None);
        }
    }

    /// Whether anything waits for time to pass. A server without clients sleeps.
    fn is_timed(&self) -> bool {
        !self.wheel.is_empty() || self.watches.is_active()
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
            self.sample_stalls();
        }
    }

    /// Gives up the connections of those that can no longer be informed of what they lost.
    fn sample_stalls(&mut self) {
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
            if watch.stall.sample(&watch.socket)
                && pushbench_os::sys::give_up(&watch.socket).is_ok()
            {
                count(&self.stats.cut_off, 1);
                watch.socket = -1;
            }
        }
        if some_fell_off {
            self.watches.something_fell_off();
        }
        count(&self.stats.cut_off, self.watches.sample_informed());
    }

    fn close(&mut self) {
        self.closing = true;
        for subscriber in self.subscribers.values_mut() {
            wake(&mut subscriber.sleeper, &mut self.woken);
        }
    }

    #[inline]
    fn ring(&mut self, channel: u32, framing: u8) -> Option<&mut Ring> {
        let index = channel as usize * self.framings.len() + usize::from(framing);
        self.rings.get_mut(index)?.as_deref_mut()
    }

    #[inline]
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
        if self.wheel.is_empty() {
            self.begins.notify_one();
        }
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
            informed: false,
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

#[cfg(test)]
mod tests;
