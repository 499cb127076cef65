//! A relay as a layer: for known answers only, never part of an ordinary trial.
//!
//! Next to the data path. In: what the server sends. Out: the same bytes, later by a fixed time; on the `tcp`
//! transport also with messages left out, sent twice or swapped ([`LineFaults`]). What clients send
//! goes on at once.
//!
//! Threads with blocking sockets, not a runtime: a runtime's timer is good to 1 ms, a sleep to an
//! absolute time to some 100 µs, and the time that bytes were really held is measured
//! ([`Passed::held`]).
//!
//! A relay adds wake-ups, and where a hypervisor or other programs take the cores, each wake-up of
//! a core that sleeps adds a wait. So bytes are due by the kernel's stamp of their arrival, not by
//! when they were read; those who read run where the server runs, which is awake because it has
//! just written, and the one who sends runs where the clients do, which it wakes anyway.

mod lines;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use pushbench_os::sys::{monotonic_ns, pin_to, sharpen_sleeps, sleep_until_ns};

use self::lines::{Counters, Filter};
pub use self::lines::{Every, Injected, LineFaults};
use super::{Layer, Passed, Placed};
use crate::environment::layout::Layout;
use crate::load::client::socket::{enable_stamps, receive_stamped};
use crate::record::histogram;

/// Most connections at once: two threads each. Known answers need few clients.
pub const MAX_CONNECTIONS: usize = 512;

/// Most bytes that wait for their time, over all connections. 16 MiB is 1.6 GB/s at 10 ms.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// Longest sleep at a stretch, so that the end is noticed.
const NAP_NS: u64 = 20_000_000;

/// A client that takes nothing for so long is cut, because the others wait behind it.
const WRITE_WAIT: Duration = Duration::from_secs(1);

/// How long a message waits for the next one to be swapped with.
const SWAP_WAIT: Duration = Duration::from_millis(500);

/// A relay as it is planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayPlan {
    /// Bytes of the server reach the client later by this much.
    pub delay: Duration,
    /// What is done to messages. Only for the `tcp` transport, whose messages are lines; bytes of the
    /// others pass unchanged.
    pub faults: Option<LineFaults>,
}

/// A running relay. Dropped, it closes every connection and ends its threads.
#[derive(Debug)]
struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: RelayPlan,
    server: SocketAddr,
    /// Cores of the server's side and of the clients'; all where empty.
    cores: [Vec<usize>; 2],
    counters: Counters,
    stop: AtomicBool,
    queue: Mutex<Queue>,
    /// The queue has grown, or all is over.
    grown: Condvar,
    /// The queue has shrunk, or all is over.
    shrunk: Condvar,
    connections: Mutex<Vec<Open>>,
    held: Mutex<Histogram<u64>>,
}

/// What waits for its time: first in, first out, because all of it is delayed alike.
#[derive(Debug, Default)]
struct Queue {
    parcels: VecDeque<Parcel>,
    bytes: usize,
}

#[derive(Debug)]
struct Parcel {
    connection: Arc<Connection>,
    arrived_ns: u64,
    /// Empty: the server has closed its side.
    bytes: Vec<u8>,
}

/// Both sides of a relayed connection.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn cut(&self) {
        // One that is closed already is not an error.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

#[derive(Debug)]
struct Open {
    connection: Arc<Connection>,
    threads: [JoinHandle<()>; 2],
}

impl Layer for RelayPlan {
    /// Listens on a free port of the server's address.
    fn put(&self, server: SocketAddr, layout: &Layout) -> io::Result<Box<dyn Placed>> {
        let cores = [&layout.server.cpus, &layout.fleet.cpus].map(Clone::clone);
        let listener = TcpListener::bind((server.ip(), 0))?;
        let mut relay = Relay {
            address: listener.local_addr()?,
            shared: Arc::new(Shared {
                plan: *self,
                server,
                cores,
                counters: Counters::default(),
                stop: AtomicBool::new(false),
                queue: Mutex::default(),
                grown: Condvar::new(),
                shrunk: Condvar::new(),
                connections: Mutex::default(),
                held: Mutex::new(histogram()),
            }),
            threads: Vec::new(),
        };
        let shared = relay.shared.clone();
        relay
            .threads
            .push(spawn("relay-send", move || shared.send())?);
        let shared = relay.shared.clone();
        relay
            .threads
            .push(spawn("relay-accept", move || shared.accept(&listener))?);
        Ok(Box::new(relay))
    }
}

impl Placed for Relay {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn measure(&self, from_ns: u64, until_ns: u64) {
        self.shared.counters.count_within(from_ns, until_ns);
    }

    fn passed(&self) -> Passed {
        Passed {
            injected: self.shared.counters.read(),
            held: lock(&self.shared.held).clone(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.stop.store(true, Relaxed);
        // Under the lock, so that nobody is between looking and waiting.
        drop(lock(&shared.queue));
        shared.grown.notify_all();
        shared.shrunk.notify_all();
        // Wakes the thread that accepts; a failure means that it has ended.
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let open = std::mem::take(&mut *lock(&shared.connections));
        open.iter().for_each(|open| open.connection.cut());
        for thread in open.into_iter().flat_map(|open| open.threads) {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(f)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while held")
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Keeps the calling thread on the cores of one side.
    fn run_on(&self, side: usize) {
        if !self.cores[side].is_empty() {
            // Where it may not, it runs anywhere: how long bytes were held is measured either way.
            let _ = pin_to(&self.cores[side]);
        }
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept() {
            if self.stopped() {
                return;
            }
            // A client that cannot be relayed is closed, and counts itself as refused.
            let _ = self.open(client);
        }
    }

    fn open(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let mut connections = lock(&self.connections);
        connections.retain(|open| open.threads.iter().any(|thread| !thread.is_finished()));
        if connections.len() >= MAX_CONNECTIONS {
            return Err(io::Error::other("too many connections"));
        }
        let server = TcpStream::connect(self.server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        client.set_write_timeout(Some(WRITE_WAIT))?;
        // Without stamps, the time of the read is taken.
        enable_stamps(&server);
        if self.plan.faults.is_some() {
            server.set_read_timeout(Some(SWAP_WAIT))?;
        }
        let connection = Arc::new(Connection { client, server });
        let start = |name, run: fn(&Self, &Arc<Connection>)| {
            let (shared, connection) = (self.clone(), connection.clone());
            spawn(name, move || run(&shared, &connection))
        };
        let up = start("relay-up", |_, connection| forward(connection))?;
        let down = start("relay-down", Self::collect).inspect_err(|_| connection.cut())?;
        connections.push(Open {
            connection,
            threads: [up, down],
        });
        Ok(())
    }

    /// Server → queue.
    fn collect(&self, connection: &Arc<Connection>) {
        self.run_on(0);
        let mut filter = self.plan.faults.map(Filter::new);
        let mut space = vec![0; READ_BYTES];
        let mut ended = false;
        while !ended {
            let mut bytes = Vec::new();
            let read = receive_stamped(connection.server.as_raw_fd(), &mut space);
            let arrived_ns = match &read {
                // Only a wall clock that was set meanwhile makes a wait negative.
                Ok(arrived) => {
                    let waited_ns = arrived.waited_ns.unwrap_or(0);
                    arrived.at_ns - u64::try_from(waited_ns).unwrap_or(0).min(arrived.at_ns)
                }
                Err(_) => monotonic_ns(),
            };
            match (read.map(|arrived| arrived.bytes), &mut filter) {
                (Ok(0), filter) => {
                    if let Some(filter) = filter {
                        filter.finish(&mut bytes);
                    }
                    ended = true;
                }
                (Ok(length), None) => bytes.extend_from_slice(&space[..length]),
                (Ok(length), Some(filter)) => {
                    filter.feed(&space[..length], &self.counters, &mut bytes);
                }
                (Err(e), Some(filter)) if e.kind() == io::ErrorKind::WouldBlock => {
                    filter.release(&mut bytes);
                }
                (Err(e), _) if e.kind() == io::ErrorKind::Interrupted => {}
                (Err(_), _) => return connection.cut(),
            }
            if !bytes.is_empty() {
                self.push(connection, arrived_ns, bytes);
            }
            if ended {
                self.push(connection, arrived_ns, Vec::new());
            }
        }
    }

    fn push(&self, connection: &Arc<Connection>, arrived_ns: u64, bytes: Vec<u8>) {
        let mut queue = lock(&self.queue);
        while queue.bytes >= MAX_WAITING_BYTES && !self.stopped() {
            queue = self.shrunk.wait(queue).expect("no panic while held");
        }
        queue.bytes += bytes.len();
        queue.parcels.push_back(Parcel {
            connection: connection.clone(),
            arrived_ns,
            bytes,
        });
        self.grown.notify_one();
    }

    fn pop(&self) -> Option<Parcel> {
        let mut queue = lock(&self.queue);
        loop {
            if self.stopped() {
                return None;
            }
            if let Some(parcel) = queue.parcels.pop_front() {
                queue.bytes -= parcel.bytes.len();
                self.shrunk.notify_all();
                return Some(parcel);
            }
            queue = self.grown.wait(queue).expect("no panic while held");
        }
    }

    /// Queue → clients, each parcel at its time.
    fn send(&self) {
        sharpen_sleeps();
        self.run_on(1);
        let delay_ns = self.plan.delay.as_nanos() as u64;
        while let Some(parcel) = self.pop() {
            let due_ns = parcel.arrived_ns + delay_ns;
            loop {
                let now = monotonic_ns();
                if now >= due_ns || self.stopped() {
                    break;
                }
                sleep_until_ns(due_ns.min(now + NAP_NS));
            }
            let connection = &parcel.connection;
            if parcel.bytes.is_empty() {
                let _ = connection.client.shutdown(Shutdown::Write);
            } else if (&connection.client).write_all(&parcel.bytes).is_err() {
                connection.cut();
            } else {
                let held_ns = monotonic_ns().saturating_sub(parcel.arrived_ns);
                lock(&self.held).saturating_record(held_ns);
            }
        }
    }
}

/// Client → server, at once.
fn forward(connection: &Connection) {
    let mut space = vec![0; READ_BYTES];
    loop {
        match (&connection.client).read(&mut space) {
            Ok(0) => {
                let _ = connection.server.shutdown(Shutdown::Write);
                return;
            }
            Ok(length) => {
                if (&connection.server).write_all(&space[..length]).is_err() {
                    return connection.cut();
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return connection.cut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushbench_protocol::envelope;

    /// A relay to `server` on any core.
    fn put(plan: RelayPlan, server: SocketAddr) -> Box<dyn Placed> {
        plan.put(server, &Layout::anywhere()).expect("a free port")
    }

    /// A server that answers the first line of its only client with `answer`, and closes.
    fn server(answer: Vec<u8>) -> (SocketAddr, JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.5:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).expect("the client asks");
            stream.write_all(&answer).expect("the client reads");
            asked.to_vec()
        });
        (address, thread)
    }

    fn ask(address: SocketAddr) -> (Vec<u8>, u64) {
        let mut client = TcpStream::connect(address).expect("listening");
        client.write_all(b"ask\n").expect("open");
        let asked_ns = monotonic_ns();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("closed in order");
        (answer, monotonic_ns() - asked_ns)
    }

    #[test]
    fn bytes_pass_unchanged_both_ways_and_never_before_their_time() {
        let answer: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let (address, thread) = server(answer.clone());
        let delay = Duration::from_millis(10);
        let plan = RelayPlan {
            delay,
            faults: None,
        };
        let relay = put(plan, address);
        assert_eq!(relay.address().ip(), address.ip(), "of the server's family");
        let (got, took_ns) = ask(relay.address());
        assert!(got == answer, "{} bytes came", got.len());
        assert_eq!(thread.join().expect("no panic"), b"ask\n");
        assert!(u128::from(took_ns) >= delay.as_nanos());
        assert!(u128::from(relay.passed().held.min()) >= delay.as_nanos() * 999 / 1000);
        assert_eq!(relay.passed().injected, Injected::default());
    }

    #[test]
    fn faults_are_injected_and_counted_over_real_sockets() {
        let mut answer = b"SUBSCRIBED 0\n".to_vec();
        let message = |sequence, out: &mut Vec<u8>| {
            envelope::encode(sequence, sequence, 1, b"x", out);
            out.push(b'\n');
        };
        let mut expected = answer.clone();
        for sequence in 1..=1_000 {
            message(sequence, &mut answer);
        }
        for tens in 0..100 {
            // 2 is left out, 4 comes twice, 6 and 7 are swapped; 0 follows 9.
            for last in [1, 3, 4, 4, 5, 7, 6, 8, 9, 10] {
                message(10 * tens + last, &mut expected);
            }
        }
        let (address, thread) = server(answer);
        let every = |offset| Some(Every { period: 10, offset });
        let faults = LineFaults {
            drop: every(2),
            duplicate: every(4),
            swap: every(6),
        };
        let plan = RelayPlan {
            delay: Duration::ZERO,
            faults: Some(faults),
        };
        let relay = put(plan, address);
        relay.measure(1, 501);
        assert!(ask(relay.address()).0 == expected);
        thread.join().expect("no panic");
        let injected = Injected {
            dropped: 50,
            duplicated: 50,
            swapped: 50,
        };
        assert_eq!(relay.passed().injected, injected);
    }

    #[test]
    fn a_relay_that_is_dropped_closes_what_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = listener.local_addr().expect("bound");
        let relay = put(RelayPlan::default(), server);
        let mut client = TcpStream::connect(relay.address()).expect("listening");
        let (mut far, _) = listener.accept().expect("relayed");
        drop(relay);
        // The end of the stream, or a reset: either way it is over.
        assert!(!matches!(client.read(&mut [0; 8]), Ok(1..)));
        assert!(!matches!(far.read(&mut [0; 8]), Ok(1..)));
    }

    #[test]
    fn a_server_that_is_not_there_closes_the_client() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let nobody = listener.local_addr().expect("bound");
        drop(listener);
        let relay = put(RelayPlan::default(), nobody);
        let mut client = TcpStream::connect(relay.address()).expect("listening");
        assert!(!matches!(client.read(&mut [0; 8]), Ok(1..)));
    }
}
