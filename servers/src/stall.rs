//! Subscribers that cannot be told: their cursor has fallen off the ring, and their socket takes
//! nothing.
//!
//! Beside the data path. Nothing that is written to such a socket arrives, so the connection is
//! reset, and with it goes what kernel and process hold for it. In: sockets, looked at every
//! [`LOOK_TICKS`] once something has fallen off a ring. Out: whether to give one up. Progress is
//! what the other end has acknowledged, not what was written: a slow reader of a large send buffer
//! may read for seconds before anything more can be written.
//!
//! A subscriber that was told is looked at too until its end has acknowledged all of it: a kernel
//! makes room now and then though nobody reads, and the farewell of one that reads nothing would
//! keep its buffer until the kernel gives up, 20 s later.

use std::os::fd::{AsRawFd, RawFd};

use pushbench_os::sys;

/// Time between two looks at a socket, in ticks: 0.4 s.
pub(crate) const LOOK_TICKS: u32 = 4;

/// Looks at which a socket was the same before it is given up. The first comes within 0.4 s of the
/// fall, so three of them take 0.8 s to 1.2 s.
const LOOKS: u8 = 3;

/// Looks at which a socket that is closed behind its farewell was the same, for it to be reset.
/// The server waits a second for the client's end, so there were two of them.
const LOOKS_AT_THE_END: u8 = 2;

/// What is remembered of one socket between two looks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stall {
    acknowledged_bytes: u64,
    /// Looks at which it had taken no more than that; 0: none yet.
    looks: u8,
}

impl Stall {
    /// Looks at a socket whose subscriber has fallen off the ring. `true`: give it up.
    pub(crate) fn look(&mut self, socket: &impl AsRawFd) -> bool {
        let Ok(progress) = sys::tcp_progress(socket) else {
            return false;
        };
        let same = progress.acknowledged_bytes == self.acknowledged_bytes;
        self.acknowledged_bytes = progress.acknowledged_bytes;
        self.looks = match (progress.unfinished, same && self.looks > 0) {
            // Nothing waits in the kernel: it is the server that is late.
            (false, _) => 0,
            (true, true) => self.looks + 1,
            (true, false) => 1,
        };
        self.looks >= LOOKS
    }

    /// Whether it took nothing from look to look up to now.
    fn took_nothing(&self, socket: &impl AsRawFd) -> bool {
        let now = sys::tcp_progress(socket);
        self.looks >= LOOKS_AT_THE_END
            && now.is_ok_and(|now| {
                now.unfinished && now.acknowledged_bytes == self.acknowledged_bytes
            })
    }

    /// Its subscriber has not fallen off.
    pub(crate) fn forget(&mut self) {
        self.looks = 0;
    }
}

/// A subscriber whose transport cannot look by itself: a library holds its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// Its connection's socket; negative: not watched.
    pub(crate) socket: RawFd,
    pub(crate) channel: u32,
    pub(crate) framing: u8,
    /// Sequence of the next message to hand out.
    pub(crate) next: u64,
    pub(crate) stall: Stall,
}

impl Watch {
    const NONE: Self = Self {
        socket: -1,
        channel: 0,
        framing: 0,
        next: 0,
        stall: Stall {
            acknowledged_bytes: 0,
            looks: 0,
        },
    };
}

/// The watched subscribers of one shard by their ids; empty where transports look by themselves.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    pub(crate) of: Vec<Watch>,
    /// Sockets of those that were told what they lost, until they have taken it.
    told: Vec<(RawFd, Stall)>,
    /// Looks to come. None are, while nothing falls off.
    looks: u8,
}

impl Watches {
    /// Watches the subscriber `id` from now on.
    pub(crate) fn watch(&mut self, id: u32, watch: Watch) {
        let id = id as usize;
        if id >= self.of.len() {
            self.of.resize(id + 1, Watch::NONE);
        }
        self.of[id] = watch;
    }

    /// The subscriber `id` is gone.
    pub(crate) fn forget(&mut self, id: u32) {
        if let Some(watch) = self.of.get_mut(id as usize) {
            *watch = Watch::NONE;
        }
    }

    /// The subscriber `id` was handed all before `next`.
    #[inline]
    pub(crate) fn moved(&mut self, id: u32, next: u64) {
        if let Some(watch) = self.of.get_mut(id as usize) {
            watch.next = next;
        }
    }

    /// The subscriber `id` was told what it lost, and its stream ends.
    pub(crate) fn tell(&mut self, id: u32) {
        if let Some(watch) = self.of.get_mut(id as usize)
            && watch.socket >= 0
        {
            let socket = std::mem::replace(&mut watch.socket, -1);
            self.told(socket);
        }
    }

    /// Who is at `socket` was told what it lost.
    pub(crate) fn told(&mut self, socket: RawFd) {
        self.told.push((socket, Stall::default()));
        self.something_fell_off();
    }

    /// Looks at those that were told. Returns how many of them were given up.
    pub(crate) fn look_at_told(&mut self) -> u64 {
        let mut given_up = 0;
        self.told.retain_mut(|(socket, stall)| {
            let over = stall.look(socket);
            if over && sys::give_up(socket).is_ok() {
                given_up += 1;
            }
            // One that has taken all has no look to its name.
            !over && stall.looks > 0
        });
        if !self.told.is_empty() {
            self.something_fell_off();
        }
        given_up
    }

    /// `socket` is about to be closed. `true`: it was given up.
    pub(crate) fn closes(&mut self, socket: RawFd) -> bool {
        let Some(at) = self.told.iter().position(|(told, _)| *told == socket) else {
            return false;
        };
        let (socket, stall) = self.told.swap_remove(at);
        stall.took_nothing(&socket) && sys::give_up(&socket).is_ok()
    }

    /// Something fell off a ring.
    pub(crate) fn something_fell_off(&mut self) {
        self.looks = LOOKS;
    }

    /// Whether it is time to look, at tick `now`.
    pub(crate) fn is_time(&mut self, now: u64) -> bool {
        let time = self.looks > 0 && now.is_multiple_of(u64::from(LOOK_TICKS));
        if time {
            self.looks -= 1;
        }
        time && !(self.of.is_empty() && self.told.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let near = TcpStream::connect(address).expect("it listens");
        (near, listener.accept().expect("one waits").0)
    }

    /// Writes until the socket takes no more.
    fn fill(stream: &mut TcpStream) {
        stream.set_nonblocking(true).expect("an open socket");
        loop {
            match stream.write(&[0; 64 << 10]) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                other => drop(other.expect("an open socket")),
            }
        }
    }

    #[test]
    fn a_socket_that_takes_nothing_is_given_up_at_the_third_look() {
        let (mut near, far) = pair();
        let mut stall = Stall::default();
        // Nothing waits: whoever is late, it is not the reader.
        for _ in 0..5 {
            assert!(!stall.look(&near));
        }
        fill(&mut near);
        // What is on its way arrives first.
        while sys::tcp_progress(&near).expect("open").acknowledged_bytes == 0 {}
        let mut looks = 0;
        while !stall.look(&near) {
            looks += 1;
            assert!(looks < 1_000_000, "never given up");
        }
        sys::give_up(&near).expect("an open socket");
        drop(near);
        // The reset is told to whoever reads on.
        let mut far = far;
        let mut space = vec![0; 1 << 20];
        let end = loop {
            match far.read(&mut space) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(e) => break Some(e.kind()),
            }
        };
        assert_eq!(end, Some(ErrorKind::ConnectionReset));
    }

    #[test]
    fn one_that_takes_something_is_looked_at_anew() {
        let (near, _far) = pair();
        let mut stall = Stall {
            acknowledged_bytes: 7,
            looks: LOOKS - 1,
        };
        // It has acknowledged another number than the last time.
        assert!(!stall.look(&near));
        assert_eq!(stall.looks, 0);
        stall.looks = LOOKS - 1;
        stall.forget();
        assert_eq!(stall.looks, 0);
    }

    #[test]
    fn nobody_is_looked_at_while_nothing_falls_off() {
        let mut watches = Watches::default();
        watches.watch(3, Watch::NONE);
        let times = |w: &mut Watches| (0..40).filter(|&now| w.is_time(now)).count();
        assert_eq!(times(&mut watches), 0);
        watches.something_fell_off();
        assert_eq!(times(&mut watches), usize::from(LOOKS));
        assert_eq!(times(&mut watches), 0);
    }
}
