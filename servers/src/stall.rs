//! Subscribers that cannot be informed: their cursor has fallen off the ring, and their socket takes
//! nothing.
//!
//! Next to the data path. Nothing that is written to such a socket arrives, so the connection is
//! reset, and with it goes what kernel and process hold for it. In: sockets, sampled every
//! [`SAMPLE_TICKS`] once something has fallen off a ring. Out: whether to give one up. Progress is
//! what the other end has acknowledged, not what was written: a slow reader of a large send buffer
//! may read for seconds before anything more can be written.
//!
//! A subscriber that was informed is sampled too until its end has acknowledged all of it: a kernel
//! makes room now and then though nobody reads, and the farewell of one that reads nothing would
//! keep its buffer until the kernel gives up, 20 s later.

use std::os::fd::{AsRawFd, RawFd};

use pushbench_os::sys;

/// Time between two samples of a socket, in ticks: 0.4 s.
pub(crate) const SAMPLE_TICKS: u32 = 4;

/// Samples in which a socket was the same before it is given up. The first comes within 0.4 s of the
/// fall, so three of them take 0.8 s to 1.2 s.
const SAMPLES: u8 = 3;

/// Samples in which a socket that is closed after its farewell was the same, for it to be reset.
/// The server waits a second for the client's end, so there were two of them.
const SAMPLES_AT_THE_END: u8 = 2;

/// What is remembered of one socket between two samples.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stall {
    acknowledged_bytes: u64,
    /// Samples in which it had taken no more than that; 0: none yet.
    samples: u8,
}

impl Stall {
    /// Samples a socket whose subscriber has fallen off the ring. `true`: give it up.
    pub(crate) fn sample(&mut self, socket: &impl AsRawFd) -> bool {
        let Ok(progress) = sys::tcp_progress(socket) else {
            return false;
        };
        let same = progress.acknowledged_bytes == self.acknowledged_bytes;
        self.acknowledged_bytes = progress.acknowledged_bytes;
        self.samples = match (progress.unfinished, same && self.samples > 0) {
            // Nothing waits in the kernel: it is the server that is late.
            (false, _) => 0,
            (true, true) => self.samples + 1,
            (true, false) => 1,
        };
        self.samples >= SAMPLES
    }

    /// Whether it took nothing from sample to sample up to now.
    fn took_nothing(&self, socket: &impl AsRawFd) -> bool {
        let now = sys::tcp_progress(socket);
        self.samples >= SAMPLES_AT_THE_END
            && now.is_ok_and(|now| {
                now.unfinished && now.acknowledged_bytes == self.acknowledged_bytes
            })
    }

    /// Its subscriber has not fallen off.
    pub(crate) fn forget(&mut self) {
        self.samples = 0;
    }
}

/// A subscriber whose transport cannot sample by itself: a library holds its connection.
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
            samples: 0,
        },
    };
}

/// The watched subscribers of one shard by their ids; empty where transports sample by themselves.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    pub(crate) of: Vec<Watch>,
    /// Sockets of those that were informed of what they lost, until they have taken it.
    informed: Vec<(RawFd, Stall)>,
    /// Samples to come. None are, while nothing falls off.
    samples: u8,
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

    /// The subscriber `id` was informed of what it lost, and its stream ends.
    pub(crate) fn inform(&mut self, id: u32) {
        if let Some(watch) = self.of.get_mut(id as usize)
            && watch.socket >= 0
        {
            let socket = std::mem::replace(&mut watch.socket, -1);
            self.informed(socket);
        }
    }

    /// Who is at `socket` was informed of what it lost.
    pub(crate) fn informed(&mut self, socket: RawFd) {
        self.informed.push((socket, Stall::default()));
        self.something_fell_off();
    }

    /// Samples those that were informed. Returns how many of them were given up.
    pub(crate) fn sample_informed(&mut self) -> u64 {
        let mut given_up = 0;
        self.informed.retain_mut(|(socket, stall)| {
            let over = stall.sample(socket);
            if over && sys::give_up(socket).is_ok() {
                given_up += 1;
            }
            // One that has taken all has no sample to its name.
            !over && stall.samples > 0
        });
        if !self.informed.is_empty() {
            self.something_fell_off();
        }
        given_up
    }

    /// `socket` is about to be closed. `true`: it was given up.
    pub(crate) fn closes(&mut self, socket: RawFd) -> bool {
        let Some(at) = self
            .informed
            .iter()
            .position(|(informed, _)| *informed == socket)
        else {
            return false;
        };
        let (socket, stall) = self.informed.swap_remove(at);
        stall.took_nothing(&socket) && sys::give_up(&socket).is_ok()
    }

    /// Something fell off a ring.
    pub(crate) fn something_fell_off(&mut self) {
        self.samples = SAMPLES;
    }

    /// Whether there are samples to come.
    pub(crate) fn is_active(&self) -> bool {
        self.samples > 0 && !(self.of.is_empty() && self.informed.is_empty())
    }

    /// Whether it is time for a sample, at tick `now`.
    pub(crate) fn is_time(&mut self, now: u64) -> bool {
        let time = self.samples > 0 && now.is_multiple_of(u64::from(SAMPLE_TICKS));
        if time {
            self.samples -= 1;
        }
        time && !(self.of.is_empty() && self.informed.is_empty())
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
    fn a_socket_that_takes_nothing_is_given_up_at_the_third_sample() {
        let (mut near, far) = pair();
        let mut stall = Stall::default();
        // Nothing waits: whoever is late, it is not the reader.
        for _ in 0..5 {
            assert!(!stall.sample(&near));
        }
        fill(&mut near);
        // What is on its way arrives first.
        while sys::tcp_progress(&near).expect("open").acknowledged_bytes == 0 {}
        let mut samples = 0;
        while !stall.sample(&near) {
            samples += 1;
            assert!(samples < 1_000_000, "never given up");
        }
        sys::give_up(&near).expect("an open socket");
        drop(near);
        // The reset is reported to whoever reads on.
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
    fn one_that_takes_something_is_sampled_anew() {
        let (near, _far) = pair();
        let mut stall = Stall {
            acknowledged_bytes: 7,
            samples: SAMPLES - 1,
        };
        // It has acknowledged another number than the last time.
        assert!(!stall.sample(&near));
        assert_eq!(stall.samples, 0);
        stall.samples = SAMPLES - 1;
        stall.forget();
        assert_eq!(stall.samples, 0);
    }

    #[test]
    fn nobody_is_sampled_while_nothing_falls_off() {
        let mut watches = Watches::default();
        watches.watch(3, Watch::NONE);
        let times = |w: &mut Watches| (0..40).filter(|&now| w.is_time(now)).count();
        assert_eq!(times(&mut watches), 0);
        watches.something_fell_off();
        assert_eq!(times(&mut watches), usize::from(SAMPLES));
        assert_eq!(times(&mut watches), 0);
    }
}
