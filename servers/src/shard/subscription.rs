//! A subscriber's cursor: what it has to do next, and the bytes after it.
//!
//! Place on the data path: ring → **cursor** → transport. In: a channel and a place to start. Out:
//! [`Ready`], then the framed messages that are pending, counted as they are taken.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::{Channel, SHARD, Shard, Sleeper, count, with};
use crate::stall::Watch;
use pushbench_protocol::framing::{Cursor, Epoch, Lost, Start};
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::Framing;

/// Why a subscription was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// No channel has this name.
    #[error("unknown channel '{0}'; '/info' lists the channels of this server")]
    UnknownChannel(String),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closing,
}

/// What a subscriber is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Messages wait after the cursor.
    Pending,
    /// Nothing came for the quiet period: a keep-alive is due, or a poll's wait is over.
    Quiet,
    /// The cursor fell off the ring, or is not one of this log: what is gone for this subscriber, whose
    /// stream ends.
    Lagged(Lost),
    /// As [`Self::Lagged`], but the stream goes on after the loss.
    Skipped(Lost),
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
    /// Of the channel's log.
    epoch: Epoch,
    framing: u8,
    /// It asked for a place that is not of this log, and was not informed of it yet.
    strays: bool,
    /// It was informed that it lagged and its stream ends: what it loses until then is not counted.
    informed: bool,
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
            let pending = match start {
                Start::Tail => false,
                Start::Since(since) => since.sequence > shard.channels[channel as usize].head,
                Start::Last(_) => true,
            };
            if pending {
                // Another shard may have delivered what still waits in this one's inbox.
                shard.drain();
            }
            let Channel {
                head: tail, epoch, ..
            } = shard.channels[channel as usize];
            let ring = shard.ring(channel, framing);
            let oldest = ring.map_or(tail, |ring| ring.first() - 1);
            let since = match start {
                Start::Tail => Some(tail),
                Start::Since(since) => Some(since)
                    .filter(|since| [Epoch::NONE, epoch].contains(&since.epoch))
                    .map(|since| since.sequence)
                    // One that the schedule has due is of this log: another server on it was ahead,
                    // or this one's publisher is a moment late.
                    .filter(|&since| since <= tail || since <= shard.hub.last_due(channel)),
                Start::Last(count) => Some(tail.saturating_sub(count).max(oldest)),
            };
            Ok(Self {
                id: shard.subscribe(channel, quiet),
                channel,
                next: since.unwrap_or(oldest) + 1,
                epoch,
                framing,
                strays: since.is_none(),
                informed: false,
            })
        })
    }

    /// The last sequence that was handed out, or the start cursor.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            sequence: self.next - 1,
        }
    }

    /// Number of the channel.
    pub fn channel(&self) -> u32 {
        self.channel
    }

    /// Has `socket` sampled from now on, which is this subscriber's connection: for transports
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
        let ready = self.next_ready(|sleeper| match sleeper {
            Sleeper::Task(waker) => waker.clone_from(cx.waker()),
            other => *other = Sleeper::Task(cx.waker().clone()),
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    }

    /// Says what this subscriber should do next, or has connection `number` woken
    /// (`take_woken`).
    pub(crate) fn ready_or_wake(&mut self, number: u32) -> Option<Ready> {
        self.next_ready(|sleeper| *sleeper = Sleeper::Connection(number))
    }

    /// Says what this subscriber should do next; nobody is woken for it.
    pub(crate) fn ready_now(&mut self) -> Option<Ready> {
        self.next_ready(|_| {})
    }

    fn next_ready(&mut self, sleep: impl FnOnce(&mut Sleeper)) -> Option<Ready> {
        with(|shard| {
            let channel = &shard.channels[self.channel as usize];
            let (head, overflow) = (channel.head, channel.overflow);
            if std::mem::take(&mut self.strays) {
                return Some(self.lose(shard, overflow, Lost::Unknown));
            }
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
                let lost = Lost::Range {
                    from: self.next,
                    to: first - 1,
                };
                // Resuming after the loss is the cursor's business: it is not reported twice.
                self.next = first;
                return Some(self.lose(shard, overflow, lost));
            }
            let subscriber = shard
                .subscribers
                .get_mut(self.id as usize)
                .expect("open until dropped");
            if shard.closing || subscriber.closing {
                if !std::mem::replace(&mut subscriber.informed, true) {
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

    /// Counts a loss. What is to be done about it.
    #[cold]
    fn lose(&mut self, shard: &mut Shard, overflow: Overflow, lost: Lost) -> Ready {
        count(&shard.stats.lagged, 1);
        count(&shard.stats.lost_messages, lost.messages());
        if overflow != Overflow::Disconnect {
            return Ready::Skipped(lost);
        }
        shard.watches.inform(self.id);
        self.informed = true;
        Ready::Lagged(lost)
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
    /// the bytes it took. The cursor moves after the message that it stopped within, and the rest
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

    /// Shows what is pending to `take`, in two slices with the cursor after them, and moves there. `false` where nothing is.
    ///
    /// # Errors
    /// Those of `take`; the cursor stays then.
    pub(crate) fn hand_out<E>(
        &mut self,
        max_bytes: usize,
        take: impl FnOnce(&[u8], &[u8], Cursor) -> Result<(), E>,
    ) -> Result<bool, E> {
        with(|shard| {
            let ring = shard.ring(self.channel, self.framing);
            let Some((head, tail, last)) = ring.and_then(|r| r.pending(self.next, max_bytes))
            else {
                return Ok(false);
            };
            let cursor = Cursor {
                epoch: self.epoch,
                sequence: last,
            };
            take(head, tail, cursor)?;
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
                // One that stopped reading and was cut off could not be informed of what it lost.
                let first = shard
                    .ring(self.channel, self.framing)
                    .map_or(0, |ring| ring.first());
                let overflow = shard.channels[self.channel as usize].overflow;
                if self.next < first && !self.informed && overflow != Overflow::LatestOnly {
                    count(&shard.stats.lagged, 1);
                    count(&shard.stats.lost_messages, first - self.next);
                }
                shard.unsubscribe(self.id);
            }
        });
    }
}
