//! One connection: what it reads, what it serves, how it ends.
//!
//! Place on the data path: between the socket and the shard. In: bytes of the client; wake-ups of
//! the subscriber. Out: answers and messages. What a connection is at the moment is its [`Role`]:
//! a few words, because most of a million connections wait.

use std::io;

use super::socket::Socket;
use super::streamed::Streamed;
use super::timer::Timer;
use super::{Common, Protocol, answer, frames, http, ticks};
use crate::shard::{MAX_WRITE_BYTES, Ready, Subscription, Written};
use crate::stall::SAMPLE_TICKS;
use crate::transport::stream::LINGER_BYTES;
use crate::transport::tcp::{self, MAX_LINE_BYTES, Refused};
use pushbench_protocol::framing::find;
use pushbench_protocol::transport::tcp as lines;

/// Most bytes of a client that wait while it is being answered.
const MAX_WAITING_BYTES: usize = 64 << 10;

/// How long a client may take to end a connection that the server has ended, in ticks: 1 s. Until
/// then what it sends is read and thrown away: closing a socket with unread bytes resets the
/// connection, and a reset may overtake the answer.
const LINGER_TICKS: u32 = 10;

/// What a connection is at the moment.
pub(super) enum Role {
    /// Raw TCP, before and behind its `SUBSCRIBE`.
    Lines(Option<Subscription>),
    /// HTTP, between two requests.
    Request,
    /// The body of a `POST /publish`.
    Upload(Box<http::Upload>),
    /// A response that does not end.
    Streamed(Streamed),
    /// A WebSocket.
    Frames(frames::Frames),
    /// A long-poll that waits.
    Poll {
        /// What it waits at.
        subscription: Subscription,
        /// How the head of the answer ends.
        end: answer::End,
    },
    /// Everything is said, and the end is told when it is written. So many bytes were thrown away.
    Closing(usize),
}

/// Whether the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Stay,
    /// It is over: drop it.
    Gone,
}

/// What became of bytes that a client sent.
pub(super) enum Step {
    /// So many are done with.
    Took(usize),
    /// More of them are needed, or another time.
    Wait,
}

/// What a client has sent of something unfinished.
struct Input {
    bytes: Vec<u8>,
    /// How many of them are known to have no LF, so that a long line is not searched again at each
    /// read.
    searched: usize,
    /// Tick by which a line has to be whole.
    due: u32,
}

/// One connection.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) timer: Timer,
    /// What the client has sent of something unfinished. `None` on an idle connection.
    input: Option<Box<Input>>,
    role: Role,
    /// The client sends nothing more.
    ended: bool,
}

impl Connection {
    pub(super) fn new(socket: Socket, protocol: Protocol, common: &Common) -> Self {
        let mut connection = Self {
            socket,
            timer: Timer::new(),
            input: None,
            role: Role::Closing(0),
            ended: false,
        };
        match protocol {
            Protocol::Lines => {
                connection.role = Role::Lines(None);
                connection.timer.want(Some(common.patience_ticks));
            }
            Protocol::Http => connection.await_request(common),
        }
        connection
    }

    fn await_request(&mut self, common: &Common) {
        self.role = Role::Request;
        self.timer.want(Some(common.patience_ticks));
    }

    /// Whether it owes its client nothing.
    pub(super) fn is_at_rest(&self) -> bool {
        match &self.role {
            Role::Lines(subscription) => subscription.is_none() && !self.socket.is_full(),
            Role::Request | Role::Closing(_) => !self.socket.is_full(),
            Role::Upload(_) => true,
            Role::Streamed(_) | Role::Frames(_) | Role::Poll { .. } => false,
        }
    }

    /// Ends the connection once everything is written. The subscription is given up at once.
    fn close(&mut self) {
        self.role = Role::Closing(0);
        self.input = None;
        self.timer.want(Some(LINGER_TICKS));
        if !self.socket.is_full() {
            self.socket.finish();
        }
    }

    /// The socket takes more: writes what is unfinished, then goes on where that stood in the way.
    pub(super) fn flush(&mut self, number: u32, common: &mut Common) -> Flow {
        if !self.socket.is_full() {
            return Flow::Stay;
        }
        if self.socket.flush().is_err() {
            return Flow::Gone;
        }
        if self.socket.is_full() {
            return Flow::Stay;
        }
        if matches!(self.role, Role::Closing(_)) {
            self.socket.finish();
            return if self.ended { Flow::Gone } else { Flow::Stay };
        }
        match self.serve(number, common) {
            Flow::Stay => self.feed(number, &mut [], common),
            gone => gone,
        }
    }

    /// Reads what has arrived, unless the client must take something first.
    pub(super) fn read(
        &mut self,
        number: u32,
        to_the_end: bool,
        space: &mut [u8],
        common: &mut Common,
    ) -> Flow {
        while !self.ended && (!self.socket.is_full() || matches!(self.role, Role::Closing(_))) {
            let count = match self.socket.read(space) {
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Flow::Stay,
                Err(_) => return Flow::Gone,
            };
            if count == 0 {
                self.ended = true;
                // Who hangs up gets what was answered, and nothing is waited for on its behalf.
                if !self.socket.is_full() {
                    return Flow::Gone;
                }
                self.close();
                return Flow::Stay;
            }
            if self.feed(number, &mut space[..count], common) == Flow::Gone {
                return Flow::Gone;
            }
            // A short read has emptied the socket: what comes later is told anew (epoll(7)).
            if count < space.len() && !to_the_end {
                return Flow::Stay;
            }
        }
        Flow::Stay
    }

    /// Takes bytes of the client behind those that waited.
    fn feed(&mut self, number: u32, bytes: &mut [u8], common: &mut Common) -> Flow {
        let mut kept = self.input.take();
        let had_waited = kept.is_some();
        let mut searched = kept.as_ref().map_or(0, |kept| kept.searched);
        let all: &mut [u8] = match &mut kept {
            Some(kept) => {
                kept.bytes.extend_from_slice(bytes);
                &mut kept.bytes
            }
            None => bytes,
        };
        let mut start = 0;
        while start < all.len() {
            match self.step(number, &mut all[start..], searched, common) {
                Err(_gone) => return Flow::Gone,
                Ok(Step::Took(count)) => start += count,
                Ok(Step::Wait) => break,
            }
            searched = 0;
        }
        let rest = &all[start..];
        if rest.is_empty() || matches!(self.role, Role::Closing(_)) {
            return Flow::Stay;
        }
        let is_idle = matches!(self.role, Role::Poll { .. } | Role::Request);
        if is_idle && rest.len() > MAX_WAITING_BYTES {
            self.close();
            return Flow::Stay;
        }
        let searched = rest.len();
        let begun = (start > 0 || !had_waited).then(|| {
            Box::new(Input {
                bytes: rest.to_vec(),
                searched,
                due: common.now.saturating_add(common.patience_ticks),
            })
        });
        // What has waited whole goes on waiting where it is.
        self.input = begun.or(kept);
        if let Some(input) = &mut self.input {
            input.searched = searched;
        }
        self.await_the_line(common);
        Flow::Stay
    }

    /// Has a subscriber of raw TCP finish the line that it began.
    fn await_the_line(&mut self, common: &Common) {
        if let (Some(input), Role::Lines(Some(_))) = (&self.input, &self.role)
            && !self.timer.is_set()
        {
            let left = input.due.saturating_sub(common.now);
            self.timer.want(Some(left));
        }
    }

    /// Does what the first of `bytes` ask for; so many of them are known to have no LF.
    fn step(
        &mut self,
        number: u32,
        bytes: &mut [u8],
        searched: usize,
        common: &mut Common,
    ) -> io::Result<Step> {
        match &mut self.role {
            Role::Lines(subscription) => {
                let subscribed = subscription.is_some();
                match run_command(subscribed, bytes, searched, common) {
                    Ok((step, None)) => {
                        if matches!(step, Step::Took(_)) {
                            self.timer
                                .want((!subscribed).then_some(common.patience_ticks));
                        }
                        return Ok(step);
                    }
                    Ok((step, Some(opened))) => {
                        common.out.clear();
                        lines::encode_subscribed(opened.cursor(), &mut common.out);
                        self.socket.send([&common.out, &[], &[]])?;
                        self.role = Role::Lines(Some(opened));
                        self.timer.want(None);
                        self.serve_role(number, common)?;
                        return Ok(step);
                    }
                    Err(refused) => self.refuse(&refused, common)?,
                }
                Ok(Step::Took(bytes.len()))
            }
            // One answer at a time: the next request waits until the client took it.
            Role::Request if self.socket.is_full() => Ok(Step::Wait),
            Role::Request => {
                let (step, next) = http::request(bytes, &mut self.socket, common)?;
                self.follow(number, next, common)?;
                Ok(step)
            }
            Role::Upload(upload) => {
                let (step, next) = upload.take(bytes, &mut self.socket, common)?;
                self.follow(number, next, common)?;
                Ok(step)
            }
            Role::Frames(frames) => {
                if frames.feed(bytes, &mut self.socket, common)? == frames::Next::Close {
                    self.close();
                } else if frames.is_closing() {
                    self.timer.want(Some(ticks(frames::CLOSE_WAIT)));
                }
                Ok(Step::Took(bytes.len()))
            }
            Role::Poll { .. } => Ok(Step::Wait),
            // Nothing is expected of a client that follows a stream.
            Role::Streamed(_) => Ok(Step::Took(bytes.len())),
            Role::Closing(discarded) => {
                *discarded += bytes.len();
                match *discarded > LINGER_BYTES {
                    true => Err(io::ErrorKind::QuotaExceeded.into()),
                    false => Ok(Step::Took(bytes.len())),
                }
            }
        }
    }

    /// Becomes what a request asked for.
    fn follow(&mut self, number: u32, next: http::Next, common: &mut Common) -> io::Result<()> {
        match next {
            http::Next::Unfinished => {}
            http::Next::Request => self.await_request(common),
            http::Next::Close => self.close(),
            http::Next::Upload(upload) => {
                self.role = Role::Upload(upload);
                self.timer.want(Some(common.patience_ticks));
            }
            http::Next::Streamed(streamed) => {
                self.role = Role::Streamed(streamed);
                self.timer.want(None);
                self.serve_role(number, common)?;
            }
            http::Next::Frames(frames) => {
                self.role = Role::Frames(frames);
                self.timer.want(None);
                self.serve_role(number, common)?;
            }
            http::Next::Poll { subscription, end } => {
                self.role = Role::Poll { subscription, end };
                self.timer.want(None);
                self.serve_role(number, common)?;
            }
        }
        Ok(())
    }

    fn refuse(&mut self, refused: &Refused, common: &mut Common) -> io::Result<()> {
        common.out.clear();
        lines::encode_error(&refused.0, &mut common.out);
        self.socket.send([&common.out, &[], &[]])?;
        self.close();
        Ok(())
    }

    /// The subscription of a stream.
    fn stream(&self) -> Option<&Subscription> {
        match &self.role {
            Role::Lines(subscription) => subscription.as_ref(),
            Role::Streamed(streamed) => Some(&streamed.subscription),
            Role::Frames(frames) => frames.subscription(),
            Role::Request | Role::Upload(_) | Role::Poll { .. } | Role::Closing(_) => None,
        }
    }

    /// The socket is full: has a stream looked at, in case its client takes nothing more.
    pub(super) fn watch(&mut self, common: &Common) {
        // Sooner than a line that was begun is due: while the socket is full, nothing is read.
        if self.stream().is_some() && !self.timer.is_due_within(SAMPLE_TICKS, common.now) {
            self.timer.want(Some(SAMPLE_TICKS));
        }
    }

    /// The client has taken too long, or a stream that took nothing is to be looked at.
    pub(super) fn on_timeout(&mut self, common: &mut Common) -> Flow {
        if let Some(subscription) = self.stream() {
            let fallen = subscription.has_fallen_off();
            if self.socket.is_stalled(fallen) {
                // Borrowed anew: looking has changed the socket.
                self.stream()
                    .into_iter()
                    .for_each(Subscription::count_cut_off);
                self.socket.give_up();
                return Flow::Gone;
            }
        }
        let is_late = |input: &Input| input.due <= common.now;
        let done = match &self.role {
            Role::Lines(Some(_)) if !self.input.as_deref().is_some_and(is_late) => {
                self.await_the_line(common);
                return Flow::Stay;
            }
            Role::Lines(_) => self.refuse(&Refused::too_slow(common.shared.patience), common),
            Role::Upload(upload) => upload
                .time_out(&mut self.socket, common)
                .map(|()| self.close()),
            Role::Streamed(_) | Role::Frames(_) if self.stream().is_some() => return Flow::Stay,
            _ => return Flow::Gone,
        };
        match done {
            Ok(()) => Flow::Stay,
            Err(_gone) => Flow::Gone,
        }
    }

    /// Does what the subscriber has to do, as far as the socket takes it.
    pub(super) fn serve(&mut self, number: u32, common: &mut Common) -> Flow {
        let was_waiting = matches!(self.role, Role::Poll { .. });
        if self.serve_role(number, common).is_err() {
            return Flow::Gone;
        }
        // Behind the answer to a poll, the next request may wait already.
        if was_waiting && matches!(self.role, Role::Request) && self.input.is_some() {
            return self.feed(number, &mut [], common);
        }
        Flow::Stay
    }

    fn serve_role(&mut self, number: u32, common: &mut Common) -> io::Result<()> {
        while !self.socket.is_full() {
            let ready = match &mut self.role {
                Role::Lines(Some(subscription))
                | Role::Streamed(Streamed { subscription, .. })
                | Role::Poll { subscription, .. } => subscription.ready_or_wake(number),
                Role::Frames(frames) => frames.ready_or_wake(number),
                Role::Lines(None) | Role::Request | Role::Upload(_) | Role::Closing(_) => None,
            };
            let Some(ready) = ready else {
                return Ok(());
            };
            self.act(ready, common)?;
        }
        Ok(())
    }

    fn act(&mut self, ready: Ready, common: &mut Common) -> io::Result<()> {
        if matches!(ready, Ready::Lagged(_)) && self.stream().is_some() {
            self.socket.informed();
        }
        let socket = &mut self.socket;
        common.out.clear();
        match (&mut self.role, ready) {
            (Role::Lines(Some(subscription)), Ready::Pending) => {
                send_pending(subscription, socket)?;
            }
            (Role::Lines(Some(_)), Ready::Quiet) => socket.send([lines::KEEP_ALIVE, &[], &[]])?,
            (Role::Lines(Some(_)), Ready::Lagged(lost) | Ready::Skipped(lost)) => {
                lines::encode_lagged(lost, &mut common.out);
                socket.send([&common.out, &[], &[]])?;
                if matches!(ready, Ready::Lagged(_)) {
                    self.close();
                }
            }
            (Role::Lines(Some(_)), Ready::Closing) => self.close(),

            (Role::Streamed(streamed), ready) => {
                let close = streamed.close || ready == Ready::Closing;
                if streamed.act(ready, socket, &mut common.out)? {
                    if close {
                        self.close();
                    } else {
                        self.await_request(common);
                    }
                }
            }

            (Role::Frames(frames), Ready::Pending) => frames.send_pending(socket)?,
            (Role::Frames(frames), ready) => {
                frames.act(ready, socket, &mut common.out)?;
                if frames.is_closing() {
                    self.timer.want(Some(ticks(frames::CLOSE_WAIT)));
                }
            }

            (Role::Poll { .. }, ready) => {
                if let Role::Poll {
                    subscription,
                    mut end,
                } = std::mem::replace(&mut self.role, Role::Request)
                {
                    end.close |= common.drains;
                    http::answer_poll(subscription, ready, end, socket, common)?;
                    if end.close {
                        self.close();
                    } else {
                        self.await_request(common);
                    }
                }
            }

            // Nobody else has a subscription.
            (Role::Lines(None) | Role::Request | Role::Upload(_) | Role::Closing(_), _) => {}
        }
        Ok(())
    }
}

/// Carries out the first line in `bytes`. Returns the subscription that it asked for.
fn run_command(
    subscribed: bool,
    bytes: &[u8],
    searched: usize,
    common: &Common,
) -> Result<(Step, Option<Subscription>), Refused> {
    let end = find(&bytes[searched..], |byte| byte == b'\n');
    match end.map(|end| searched + end) {
        None if bytes.len() > MAX_LINE_BYTES => Err(Refused::too_long()),
        None => Ok((Step::Wait, None)),
        Some(end) => {
            let opened = tcp::run_command(&common.shared, subscribed, &bytes[..end])?;
            Ok((Step::Took(end + 1), opened))
        }
    }
}

/// Sends what is pending, straight from the ring.
pub(super) fn send_pending(subscription: &mut Subscription, socket: &mut Socket) -> io::Result<()> {
    let write = |head: &[u8], tail: &[u8]| socket.write([head, tail, &[]]);
    if let Written::Short(rest) = subscription.write(MAX_WRITE_BYTES, write)? {
        socket.keep(rest.into_vec());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        // A million of them stand beside as many sockets of the kernel.
        assert!(
            size_of::<Connection>() <= 104,
            "{}",
            size_of::<Connection>()
        );
    }
}
