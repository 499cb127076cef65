//! The loop's other half: sends what is due upstream.
//!
//! Place on the data path: schedule → **sender** → connection → server. In: the schedule of
//! `fleet/upstream.rs` and a timer of the kernel's, since the loop's own waits are good to 1 ms only.
//! Out: messages on the clients' connections, or POSTs on connections of their own.
//!
//! Nothing is queued: a client is the number of its next message. One that cannot send when a
//! message is due, because an answer is outstanding or its socket is full, goes on when it can, and
//! the message's time counts from when it was due.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use pushbench_os::sys::monotonic_ns;

use super::{Poller, State};
use crate::load::client::socket;
use crate::load::client::upstream::{Post, Uplink};
use crate::load::client::{ClientError, Protocol};
use crate::load::conditions::upstream::{Head, Schedule, write_payload};
use crate::load::shard::Shard;

/// Tokens from here on belong to the connections for POSTs: this and the slot. No slot reaches it.
pub(super) const FIRST_TOKEN: usize = 1 << (usize::BITS - 2);

/// The timer's, below that of the mailbox.
const TIMER: Token = Token(usize::MAX - 1);

/// Clients whose turn comes before the sockets that are ready have theirs again.
const SENDERS_A_ROUND: usize = 256;

/// A connection for POSTs that the server closed is opened again at once where it was of some use,
/// or stood so long; otherwise with the next message that is due. So a server that closes whatever
/// it accepts is not asked faster than messages are due.
const STOOD_NS: u64 = 1_000_000_000;

/// What a shard needs to send.
pub(super) struct Sender {
    posts: bool,
    timer: TimerFd,
    /// For when the timer is set; 0 before.
    armed_ns: u64,
    /// Set when the schedule is known.
    schedule: Option<Schedule>,
    /// Phase and slot of each client, ascending: the order in which they are due, in each round.
    order: Vec<(u64, u32)>,
    /// Whose turn is next …
    at: usize,
    /// … in this round.
    round: u64,
    /// Number of each client's next message.
    next: Vec<u64>,
    /// Connections for POSTs; empty without.
    uplinks: Vec<Uplink>,
    payload: Vec<u8>,
    channel: String,
}

impl Sender {
    /// `None` where the fleet has no upstream.
    pub(super) fn new(shard: &Shard, registry: &Registry) -> io::Result<Option<Self>> {
        if shard.setup.scenario.upstream.is_none() {
            return Ok(None);
        }
        let share = (shard.setup.clients() as usize).div_ceil(shard.setup.shards);
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        registry.register(
            &mut SourceFd(&timer.as_fd().as_raw_fd()),
            TIMER,
            Interest::READABLE,
        )?;
        let posts = !shard.setup.transport.goes_both_ways();
        let mut uplinks = Vec::new();
        if posts {
            uplinks.resize_with(share, Uplink::default);
        }
        Ok(Some(Self {
            posts,
            timer,
            armed_ns: 0,
            schedule: None,
            order: Vec::with_capacity(share),
            at: 0,
            round: 0,
            next: vec![0; share],
            uplinks,
            payload: Vec::new(),
            channel: String::new(),
        }))
    }

    /// When the next client's message is due; `None` where there is none.
    fn due_ns(&self) -> Option<u64> {
        let (schedule, &(phase_ns, _)) = (self.schedule.as_ref()?, self.order.get(self.at)?);
        let due_ns = schedule.due_at_phase_ns(phase_ns, self.round);
        (due_ns < schedule.end_ns()).then_some(due_ns)
    }

    /// Whether a message is due.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.due_ns().is_some_and(|due_ns| due_ns <= now_ns)
    }

    /// The slot whose message is due, where one is.
    fn take_due(&mut self, now_ns: u64) -> Option<usize> {
        if !self.is_due(now_ns) {
            return None;
        }
        let (_, slot) = *self.order.get(self.at)?;
        self.at += 1;
        if self.at == self.order.len() {
            self.at = 0;
            self.round += 1;
        }
        Some(slot as usize)
    }
}

impl<P: Protocol> Poller<P> {
    /// The schedule is known.
    pub(super) fn begin_sending(&mut self) {
        let messages = self.shard.phase().and_then(|phase| phase.upstream.as_ref());
        let (Some(sender), Some(messages)) = (&mut self.sender, messages) else {
            return;
        };
        let schedule = *messages.schedule();
        sender.order = (0..sender.next.len())
            .map(|slot| (self.shard.index_of(slot), slot as u32))
            .filter(|&(index, _)| index < self.shard.setup.clients())
            .map(|(index, slot)| (schedule.phase_ns(index), slot))
            .collect();
        sender.order.sort_unstable();
        sender.schedule = Some(schedule);
    }

    /// Has the kernel wake the loop when the next message is due.
    pub(super) fn arm_sender(&mut self) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        let Some(due_ns) = sender.due_ns().filter(|&due_ns| due_ns != sender.armed_ns) else {
            return;
        };
        sender.armed_ns = due_ns;
        let at = TimeSpec::nanoseconds(due_ns as i64);
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
        // A time that the kernel does not take lies centuries ahead; the loop's own ticks check then.
        let _ = sender.timer.set(Expiration::OneShot(at), flags);
    }

    /// Sends what is due, of as many clients as have their turn.
    pub(super) fn send_due(&mut self) {
        if self.sender.is_none() {
            return;
        }
        for _ in 0..SENDERS_A_ROUND {
            let now_ns = monotonic_ns();
            let due = self.sender.as_mut().and_then(|s| s.take_due(now_ns));
            let Some(slot) = due else { return };
            self.catch_up(slot);
        }
    }

    /// Sends what is due of one client, as far as it can.
    pub(super) fn catch_up(&mut self, slot: usize) {
        while let Some(head) = self.due_of(slot) {
            if !self.can_send(slot) {
                return;
            }
            if let Some(sender) = &mut self.sender {
                sender.next[slot] += 1;
            }
            if let Err(error) = self.send_one(slot, head) {
                if self.sender.as_ref().is_some_and(|s| s.posts) {
                    self.uplink_failed(slot, &error);
                } else {
                    self.fail(slot, &error);
                }
                return;
            }
        }
    }

    /// The next message of a client, where it is due.
    fn due_of(&self, slot: usize) -> Option<Head> {
        let sender = self.sender.as_ref()?;
        let schedule = sender.schedule.as_ref()?;
        let number = *sender.next.get(slot)?;
        let client = self.shard.index_of(slot);
        let intended_ns = schedule.due_ns(client, number);
        let is_due = intended_ns < schedule.end_ns() && intended_ns <= monotonic_ns();
        is_due.then_some(Head {
            client,
            number: u32::try_from(number).ok()?,
            intended_ns,
        })
    }

    /// Whether a client can send now. Opens its connection for POSTs where it has none.
    fn can_send(&mut self, slot: usize) -> bool {
        let Some(client) = self.slots.get(slot) else {
            return false;
        };
        if !self.shard.is_connected(slot) || matches!(client.state, State::Away | State::Over) {
            return false;
        }
        let Some(sender) = &self.sender else {
            return false;
        };
        if !sender.posts {
            return client.connection.is_clear();
        }
        if !sender.uplinks[slot].is_open() {
            self.open_uplink(slot);
            return false;
        }
        sender.uplinks[slot].is_free()
    }

    fn send_one(&mut self, slot: usize, head: Head) -> Result<(), ClientError> {
        let Some(sender) = &mut self.sender else {
            return Ok(());
        };
        let (shard, target) = (&self.shard, self.shard.target(slot));
        let bytes = shard
            .setup
            .scenario
            .upstream
            .map_or(0, |plan| plan.body_bytes());
        sender.payload.clear();
        write_payload(head, bytes, &mut sender.payload);
        sender.channel.clear();
        target.write_channel_name(&mut sender.channel);
        self.out.clear();
        let (channel, payload) = (&sender.channel, &sender.payload);
        P::send(target, channel, payload, &mut self.out);
        let post = Post {
            intended_ns: head.intended_ns,
            sent_ns: monotonic_ns(),
        };
        shard.count_sent(post.intended_ns, post.sent_ns);
        if sender.posts {
            return sender.uplinks[slot].post(&self.out, post);
        }
        self.with(slot, |connection, _, shared| {
            connection.send_upstream(slot, shared)
        })
    }

    /// Whether a client that holds a cursor may count as connected: its connection for POSTs, which
    /// is opened after the subscription, must stand too. One that is connected stays so: its next
    /// message opens what was closed meanwhile.
    pub(super) fn can_be_connected(&mut self, slot: usize) -> bool {
        let Some(sender) = self.sender.as_ref().filter(|sender| sender.posts) else {
            return true;
        };
        let settled = !self.shard.has_cursor(slot) || self.shard.is_connected(slot);
        if settled || sender.uplinks[slot].stands() {
            return true;
        }
        let over = matches!(self.slots[slot].state, State::Away | State::Over);
        if !over && !sender.uplinks[slot].is_open() {
            self.open_uplink(slot);
        }
        false
    }

    fn open_uplink(&mut self, slot: usize) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        let shard = &self.shard;
        // The ports of one address are enough for its clients, not for both their connections.
        let index = shard.index_of(slot).wrapping_add(shard.setup.clients());
        let uplink = &mut sender.uplinks[slot];
        let again = uplink.opened_ns > 0;
        let opened = uplink.open(
            index,
            shard.target(slot),
            &shard.options,
            self.poll.registry(),
            Token(FIRST_TOKEN + slot),
        );
        match opened {
            Ok(fd) => shard.uplink_opened(slot, fd, again),
            Err(error) => self.uplink_failed(slot, &error),
        }
    }

    /// The timer has fired, or a connection for POSTs is ready.
    pub(super) fn uplink_ready(&mut self, token: Token, writable: bool) {
        if token == TIMER {
            // What is due is sent by the loop in any case; being woken was all.
            return;
        }
        let slot = token.0 - FIRST_TOKEN;
        let Some(uplink) = self.sender.as_mut().and_then(|s| s.uplinks.get_mut(slot)) else {
            return;
        };
        let stood = uplink.stands();
        let target = self.shard.target(slot);
        let turn = uplink.turn(writable, target, &mut self.buffer);
        let useful = uplink.served || monotonic_ns() >= uplink.opened_ns + STOOD_NS;
        if !stood && uplink.stands() {
            self.note_connected(slot);
        }
        if let Some(answer) = turn.answer {
            self.shard.count_answer(slot, answer);
        }
        if let Some(error) = turn.failed {
            return self.uplink_failed(slot, &error);
        }
        if turn.ended {
            self.close_uplink(slot);
            if !useful {
                return;
            }
            if self.shard.is_connected(slot) {
                self.open_uplink(slot);
            }
        }
        self.catch_up(slot);
    }

    /// A connection for POSTs is of no more use. Before the client is connected, that is the end of
    /// it; later it opens another with the next message that is due.
    fn uplink_failed(&mut self, slot: usize, error: &ClientError) {
        self.close_uplink(slot);
        if self.shard.is_connected(slot) {
            self.shard.count_limit(error);
            self.shard
                .note(slot, format_args!("the connection for POSTs: {error}"));
        } else {
            self.fail(slot, error);
        }
    }

    /// Closes a client's connection for POSTs, where it has one. A request that was not answered
    /// counts as refused: whether it was carried out is not known, so it is not sent again (RFC 9110,
    /// section 9.2.2).
    pub(super) fn close_uplink(&mut self, slot: usize) {
        let Some(uplink) = self.sender.as_mut().and_then(|s| s.uplinks.get_mut(slot)) else {
            return;
        };
        let (stream, awaited) = uplink.close();
        if let Some(stream) = stream {
            self.shard.uplink_closing(slot, &stream);
        }
        if let Some(post) = awaited {
            self.shard.count_refused(post.intended_ns);
        }
    }

    /// Closes all connections for POSTs with a reset.
    pub(super) fn abort_uplinks(&mut self) {
        let uplinks = self.sender.iter_mut().flat_map(|s| &mut s.uplinks);
        uplinks
            .filter_map(|uplink| uplink.close().0)
            .for_each(socket::close_with_reset);
    }
}
