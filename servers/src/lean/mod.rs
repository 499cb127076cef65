//! The `lean` profile: one connection loop for all transports, without a framework.
//!
//! Place on the data path: shard → **transport** → socket. In: what is pending behind cursors,
//! readiness of sockets. Out: writes, straight from the ring. The protocols are those of
//! [`pushbench_protocol::framing`], as everywhere; what this adds is a loop over `epoll` (through mio) that holds
//! a small struct for each connection and nothing else: buffers for reading are the shard's, and a
//! connection has one of its own only while a request or a write is unfinished.
//!
//! | file | what is in it |
//! |---|---|
//! | here | the loop: accepting, readiness, time-outs, shutting down |
//! | `connection` | one connection: what it reads, what it serves, how it ends |
//! | `socket` | writes, and what a full socket left of them |
//! | `timer` | a connection's time-out |
//! | `http` | requests and their answers; the polls |
//! | `streamed` | a response that does not end |
//! | `frames` | a WebSocket behind its handshake |

mod answer;
mod connection;
mod frames;
mod http;
mod socket;
mod streamed;
mod timer;

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use self::connection::{Connection, Flow};
use self::socket::Socket;
use crate::server::listener::{MAX_LAST, is_its_own};
use crate::server::shutdown::{Departure, STEP, ShutdownStep};
use crate::shard;
use crate::slab::Slab;
use crate::transport::http::Shared;
use crate::wheel::{TICK_MS, Wheel};

/// Bytes read at once, into a buffer that the whole shard shares.
const READ_BYTES: usize = 64 << 10;

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// Connections accepted before those that are open get a turn: some milliseconds of work.
const ACCEPT_TURN: usize = 256;

/// What woke the loop, where it is not a connection.
const WAKE: Token = Token(usize::MAX);

/// What clients speak at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Lines of raw TCP.
    Lines,
    /// HTTP/1.1, and what it is upgraded to.
    Http,
}

/// What all connections of a shard share.
struct Common {
    shared: Shared,
    /// Whether the server drains: every answer is the last of its connection.
    drains: bool,
    /// How long a request or a line may take to come, in ticks.
    patience_ticks: u32,
    /// The tick of the wheel.
    now: u32,
    /// The `Date` of answers, and the second that it tells.
    date: String,
    second: u64,
    /// Where answers are put together.
    out: Vec<u8>,
}

impl Common {
    fn look_at_the_clock(&mut self) {
        let now = SystemTime::now();
        let second = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if second != self.second || self.date.is_empty() {
            self.second = second;
            self.date = httpdate::fmt_http_date(now);
        }
    }
}

/// A time in ticks of the wheel, at least one.
fn ticks(time: Duration) -> u32 {
    let ticks = time.as_millis().div_ceil(u128::from(TICK_MS));
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

/// A listener, and whether it has connections that wait.
struct Listening {
    socket: mio::net::TcpListener,
    protocol: Protocol,
    waiting: bool,
    /// Whether accepting failed, as without descriptors: the next tick tries again.
    failed: bool,
}

/// The connections of one shard.
pub(crate) struct Connections {
    poll: Poll,
    listeners: Vec<Listening>,
    open: Slab<Connection>,
    wheel: Wheel,
    common: Common,
    space: Vec<u8>,
    woken: Vec<u32>,
}

impl Connections {
    /// A loop over `listeners`, which must not block, woken by `wake`. Call it on the thread of the
    /// shard, behind [`shard::enter`].
    ///
    /// # Errors
    /// Those of `epoll_create(2)` and `epoll_ctl(2)`.
    pub(crate) fn new(
        listeners: Vec<(TcpListener, Protocol)>,
        wake: &pushbench_os::wake::Wake,
        shared: Shared,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut SourceFd(&wake.as_raw_fd()), WAKE, Interest::READABLE)?;
        let mut listening = Vec::new();
        for (listener, protocol) in listeners {
            let mut listener = mio::net::TcpListener::from_std(listener);
            let token = Self::token_of_listener(listening.len());
            poll.registry()
                .register(&mut listener, token, Interest::READABLE)?;
            listening.push(Listening {
                socket: listener,
                protocol,
                waiting: true,
                failed: false,
            });
        }
        let mut common = Common {
            patience_ticks: ticks(shared.patience),
            now: 0,
            shared,
            drains: false,
            date: String::new(),
            second: 0,
            out: Vec::new(),
        };
        common.look_at_the_clock();
        Ok(Self {
            poll,
            listeners: listening,
            open: Slab::default(),
            wheel: Wheel::default(),
            common,
            space: vec![0; READ_BYTES],
            woken: Vec::new(),
        })
    }

    fn token_of_listener(number: usize) -> Token {
        Token(usize::MAX - 1 - number)
    }

    /// Serves until the server is to end and the loop is woken; then tells every client.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`.
    pub(crate) fn run(
        &mut self,
        wake: &pushbench_os::wake::Wake,
        mut departure: Departure,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let tick = Duration::from_millis(TICK_MS);
        // None while nothing waits for time to pass.
        let mut next_tick = None;
        loop {
            next_tick = match next_tick {
                _ if !self.is_timed() => None,
                None => Some(Instant::now() + tick),
                next => next,
            };
            let to_tick = next_tick.map(|at| at.saturating_duration_since(Instant::now()));
            let wait = if departure.is_hasty() || departure.is_closed() {
                Some(to_tick.map_or(STEP, |to_tick| to_tick.min(STEP)))
            } else if self.listeners.iter().any(|listening| listening.waiting)
                && !departure.is_closed()
            {
                Some(Duration::ZERO)
            } else {
                to_tick
            };
            match self.poll.poll(&mut events, wait) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            if next_tick.is_none() {
                self.common.look_at_the_clock();
            }
            for event in &events {
                match event.token() {
                    WAKE => {
                        wake.consume();
                        shard::drain();
                        self.serve_woken();
                    }
                    Token(number) if number < self.open.end() => {
                        self.look_at(number, event.is_writable(), event.is_read_closed());
                    }
                    token => {
                        for (number, listening) in self.listeners.iter_mut().enumerate() {
                            listening.waiting |= token == Self::token_of_listener(number);
                        }
                    }
                }
            }
            if !departure.is_closed() {
                self.accept();
            }
            if let Some(next) = &mut next_tick {
                while *next <= Instant::now() {
                    *next += tick;
                    shard::tick();
                    self.tick();
                }
            }
            self.serve_woken();
            match departure.turn() {
                ShutdownStep::Serve => {}
                ShutdownStep::StopAccepting => {
                    self.common.drains = true;
                    self.stop_accepting();
                }
                ShutdownStep::Drain => self.serve_woken(),
                ShutdownStep::Closed { settled, end } => {
                    self.serve_woken();
                    let now = Instant::now();
                    if now >= end || now >= settled && self.is_at_rest() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether anything waits for time to pass.
    fn is_timed(&self) -> bool {
        let failed = self.listeners.iter().any(|listening| listening.failed);
        failed || !self.wheel.is_empty() || shard::is_timed()
    }

    /// Accepts every connection that waits, and closes each listener after its last.
    fn stop_accepting(&mut self) {
        let mut last = Vec::new();
        for listening in std::mem::take(&mut self.listeners) {
            for _ in 0..MAX_LAST {
                match listening.socket.accept() {
                    Ok((stream, _)) => last.extend(self.admit(stream, listening.protocol)),
                    Err(e) if is_its_own(&e) => {}
                    // Nobody waits; or out of descriptors, and then those who do are turned away.
                    Err(_) => break,
                }
            }
        }
        // What they may have sent is answered before anything else ends.
        for number in last {
            self.look_at(number, false, false);
        }
    }

    /// Whether nobody waits for bytes that are on their way, or for a client's last word.
    fn is_at_rest(&self) -> bool {
        self.open
            .iter()
            .all(|(_, connection)| connection.is_at_rest())
    }

    fn accept(&mut self) {
        for number in 0..self.listeners.len() {
            let mut turn = 0;
            while self.listeners[number].waiting && turn < ACCEPT_TURN {
                turn += 1;
                let listening = &mut self.listeners[number];
                match listening.socket.accept() {
                    Ok((stream, _)) => {
                        let protocol = listening.protocol;
                        self.admit(stream, protocol);
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    // Nobody waits; or out of descriptors, and then the next tick tries again: the
                    // clients' side counts who did not get in.
                    Err(e) => {
                        listening.waiting = false;
                        listening.failed = e.kind() != io::ErrorKind::WouldBlock;
                    }
                }
            }
        }
    }

    /// Opens a connection over a socket; returns its number.
    fn admit(&mut self, mut stream: mio::net::TcpStream, protocol: Protocol) -> Option<usize> {
        let token = Token(self.open.next_number());
        // Writes are watched once one did not fit.
        let registry = self.poll.registry();
        registry
            .register(&mut stream, token, Interest::READABLE)
            .ok()?;
        let mut connection = Connection::new(Socket::new(stream), protocol, &self.common);
        // A new entry of the wheel takes nobody's place.
        let _ = connection.timer.apply(&mut self.wheel, token.0 as u32);
        self.open.insert(connection);
        Some(token.0)
    }

    fn tick(&mut self) {
        self.common.look_at_the_clock();
        for listening in &mut self.listeners {
            listening.waiting |= std::mem::take(&mut listening.failed);
        }
        let up = self.wheel.tick();
        self.common.now = self.wheel.now() as u32;
        for number in up {
            let Some(connection) = self.open.get_mut(number as usize) else {
                continue;
            };
            if connection.timer.came_up(&mut self.wheel, number) {
                let flow = connection.on_timeout(&mut self.common);
                self.settle(number as usize, flow);
            }
        }
    }

    /// Serves the connections whose subscribers were woken.
    fn serve_woken(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        shard::take_woken(&mut woken);
        for &number in &woken {
            // It may have ended meanwhile, and its number may be another's: serving that one finds
            // nothing to do.
            if let Some(connection) = self.open.get_mut(number as usize) {
                let flow = connection.serve(number, &mut self.common);
                self.settle(number as usize, flow);
            }
        }
        self.woken = woken;
    }

    /// The kernel says that a connection can be read or written.
    fn look_at(&mut self, number: usize, writable: bool, read_closed: bool) {
        let Some(connection) = self.open.get_mut(number) else {
            return;
        };
        let mut flow = Flow::Stay;
        if writable {
            flow = connection.flush(number as u32, &mut self.common);
        }
        if flow == Flow::Stay {
            flow = connection.read(
                number as u32,
                read_closed,
                &mut self.space,
                &mut self.common,
            );
        }
        self.settle(number, flow);
    }

    /// What follows from a turn of a connection: its end, its time-out, what is watched.
    fn settle(&mut self, number: usize, flow: Flow) {
        let Some(connection) = self.open.get_mut(number) else {
            return;
        };
        let moved = if flow == Flow::Gone {
            connection.timer.stop(&mut self.wheel)
        } else {
            if connection.socket.is_full() {
                connection.watch(&self.common);
            }
            if connection.socket.wants_to_be_watched() {
                let both = Interest::READABLE | Interest::WRITABLE;
                let registry = self.poll.registry();
                // Fails only without memory; then the kernel ends it as one that takes nothing.
                let _ = registry.reregister(connection.socket.stream(), Token(number), both);
            }
            connection.timer.apply(&mut self.wheel, number as u32)
        };
        if flow == Flow::Gone {
            // Closing the socket takes it from the kernel's list.
            self.open.remove(number);
        }
        if let Some(moved) = moved
            && let Some(other) = self.open.get_mut(moved.number as usize)
        {
            other.timer.moved_to(moved.place);
        }
    }
}
