//! Sockets, accept loops, profiles, shards: the server as a whole.
//!
//! Place on the data path: around it. A server is N threads, each with a current-thread runtime, a
//! listener of its own on the same port (`SO_REUSEPORT`: the kernel spreads connections by hash),
//! and its own view of the hub. Where one descriptor table is too small for what is asked, each
//! shard gives itself its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::hub::{DeclareError, Hub};
use crate::listener::Listener;
use crate::pending_writes;
use crate::publisher::Publisher;
use crate::refill::Refill;
use crate::ring::RingLimits;
use crate::shard::{self, ShardStats};
use crate::shutdown::{Departure, Ending, ShutdownStep};
use crate::transport::lean::{self, Connections};
use crate::transport::stream::Stream;
use crate::transport::{http, tcp};
use pushbench_os::sys;
use pushbench_os::wake::{Wake, shared_descriptors};
use pushbench_protocol::control::{Addresses, PublishPlan, PublishReport};
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::{Framing, Profile, Transport};

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// `tuned`: hyper's buffer for one connection, the smallest that it allows. Stock is 400 KiB.
pub(crate) const HTTP_BUFFER_BYTES: usize = 8 << 10;

/// How long a client may take nothing of what was sent to it: then the kernel ends the connection
/// (`TCP_USER_TIMEOUT`, RFC 5482), and a subscriber that has fallen off its ring meanwhile counts
/// as lagged. Between two keep-alives and the half minute that proxies wait.
const STUCK_WRITE: Duration = Duration::from_secs(20);

/// Longest time over which a server drains: a day.
pub const MAX_DRAIN: Duration = Duration::from_secs(86_400);

/// How often it is looked whether a drain is over.
const DRAINED_STEP: Duration = Duration::from_millis(10);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it serves; all HTTP transports share one port.
    pub transports: Vec<Transport>,
    /// Buffers, socket options and flushing.
    pub profile: Profile,
    /// Where HTTP, or `tcp` alone, listens.
    pub listen: SocketAddr,
    /// Where `tcp` listens when it is served beside HTTP transports.
    pub tcp_listen: SocketAddr,
    /// Threads; at least 1.
    pub shards: usize,
    /// CPUs to run on, by number; all where empty.
    pub cpus: Vec<usize>,
    /// Whether each shard has a descriptor table of its own.
    pub own_tables: bool,
    /// What a channel keeps.
    pub ring: RingLimits,
    /// Silence before a keep-alive on a stream. Default 15 s.
    pub keep_alive: Duration,
    /// Longest wait of a long-poll. Default 30 s (RFC 6202, section 5.5).
    pub poll_timeout: Duration,
    /// How long a client may take for the head of a request, and a kept-alive connection may
    /// wait for the next one. Default 75 s, as nginx's.
    pub head_timeout: Duration,
    /// Congestion control of every connection; the system's where `None`.
    pub congestion: Option<String>,
    /// Whether another server of the same user that has the port may keep it, so that this one can
    /// take over from it.
    pub share_port: bool,
    /// Channels declared before it listens, each by name or as `prefix*count`, with its policy.
    pub channels: Vec<(String, Overflow)>,
    /// What it publishes from its start on. Its rings are filled first, before it listens, with
    /// what this schedule had due before, as if the server had run since.
    pub publish: Option<PublishPlan>,
    /// How long an `EventSource` is told to wait before it reconnects; its own choice where `None`.
    pub retry: Option<Duration>,
    /// Send buffer of every connection (`SO_SNDBUF`), 4,096 bytes to 64 MiB; where `None`, the
    /// kernel sizes it. The kernel doubles it for its own bookkeeping.
    pub send_buffer_bytes: Option<usize>,
}

impl Config {
    /// All transports on loopback, `tuned`, one shard.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            transports: Transport::ALL.to_vec(),
            profile: Profile::Tuned,
            listen,
            tcp_listen: SocketAddr::new(listen.ip(), 0),
            shards: 1,
            cpus: Vec::new(),
            own_tables: false,
            ring: RingLimits::default(),
            keep_alive: Duration::from_secs(15),
            poll_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(75),
            congestion: None,
            share_port: false,
            channels: Vec::new(),
            publish: None,
            retry: None,
            send_buffer_bytes: None,
        }
    }

    fn serves_http(&self) -> bool {
        self.transports.iter().any(|t| t.is_http())
    }

    fn serves_lines(&self) -> bool {
        self.transports.iter().any(|t| !t.is_http())
    }

    /// The framings that a shard's rings are kept in.
    fn framings(&self) -> Vec<Framing> {
        let mut framings = Vec::new();
        for transport in &self.transports {
            let framing = transport.framing(self.profile);
            if !framings.contains(&framing) {
                framings.push(framing);
            }
        }
        framings
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}; {remedy}", sys::reason(.source))]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
        /// What helps.
        remedy: &'static str,
    },
    /// No such congestion control.
    #[error(
        "'--congestion' is '{name}', which this machine does not have ({}); \
         '/proc/sys/net/ipv4/tcp_available_congestion_control' lists what it has",
        sys::reason(.source)
    )]
    Congestion {
        /// What was asked for.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The channels cannot be declared.
    #[error(transparent)]
    Declare(#[from] DeclareError),
    /// The schedule cannot be published.
    #[error("the plan to publish: {0}")]
    Plan(String),
    /// The publisher's thread could not be started.
    #[error("cannot start the publisher: {}", sys::reason(.0))]
    Publisher(io::Error),
    /// The kernel does not give send buffers of this size.
    #[error(
        "'--send-buffer-bytes' is {asked}, but this machine gives at most {most}; raise it with \
         'sysctl -w net.core.wmem_max={asked}'"
    )]
    SendBuffer {
        /// What was asked for, in bytes.
        asked: usize,
        /// What a socket got, in bytes.
        most: usize,
    },
    /// A shard could not be set up.
    #[error("cannot start shard {shard}: {}", sys::reason(.source))]
    Shard {
        /// Which, from 0.
        shard: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The hub could not be set up.
    #[error("cannot make the wake-ups of {shards} shards: {}; use fewer shards", sys::reason(.source))]
    Hub {
        /// How many.
        shards: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StartError {
    fn listen(address: SocketAddr, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program has it: choose another port with '--listen' or '--tcp-listen', or 0 \
                 for any; '--share-port' takes over from a server of your own"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 are privileged: choose a higher one with '--listen' or \
                 '--tcp-listen'"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address: use '--listen 127.0.0.1:0'"
            }
            _ => "choose another address with '--listen' or '--tcp-listen'",
        };
        Self::Listen {
            address,
            source,
            remedy,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addresses: Addresses,
    /// What it serves from.
    pub hub: Arc<Hub>,
    /// What each shard has counted.
    pub stats: Vec<Arc<ShardStats>>,
    ending: Arc<Ending>,
    threads: Vec<JoinHandle<()>>,
    /// Bound and never listening: they keep the ports for the shards.
    reserved: Mutex<Vec<Socket>>,
    /// The schedule that is being published, or was the last.
    publisher: Mutex<Option<Publisher>>,
}

impl Server {
    /// Starts a server and returns when every shard listens.
    ///
    /// # Errors
    /// [`StartError`]; whatever was started before is stopped again.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        check_congestion(config)?;
        check_send_buffer(config)?;
        let hub = Hub::new(config.shards).map_err(|source| StartError::Hub {
            shards: config.shards,
            source,
        })?;
        for (spec, overflow) in &config.channels {
            hub.declare_with(&[spec], &[*overflow])?;
        }
        let mut reserved = Vec::new();
        let mut reserve = |address: SocketAddr| -> Result<SocketAddr, StartError> {
            if address.port() != 0 && !config.share_port && !port_is_free(address) {
                return Err(StartError::listen(address, io::ErrorKind::AddrInUse.into()));
            }
            let socket = bind(address, config).map_err(|e| StartError::listen(address, e))?;
            let bound = socket
                .local_addr()
                .map_err(|e| StartError::listen(address, e))?;
            reserved.push(socket);
            Ok(bound.as_socket().unwrap_or(address))
        };
        let http = config
            .serves_http()
            .then(|| reserve(config.listen))
            .transpose()?;
        let tcp = config
            .serves_lines()
            .then(|| {
                reserve(if http.is_some() {
                    config.tcp_listen
                } else {
                    config.listen
                })
            })
            .transpose()?;
        let mut server = Self {
            addresses: Addresses { http, tcp },
            hub,
            stats: Vec::new(),
            ending: Arc::default(),
            threads: Vec::new(),
            reserved: Mutex::new(reserved),
            publisher: Mutex::default(),
        };
        let refill = config.publish.clone().map(|plan| server.take_over(plan));
        let refill = refill.transpose()?;
        let (ready, readiness) = mpsc::channel();
        let mut filled = Vec::new();
        for number in 0..config.shards {
            let stats = Arc::new(ShardStats::default());
            server.stats.push(stats.clone());
            let (listen, go) = mpsc::channel();
            filled.push(listen);
            let shard = ShardMain {
                number,
                config: config.clone(),
                addresses: server.addresses,
                hub: server.hub.clone(),
                stats,
                ending: server.ending.clone(),
                refill: refill.clone(),
                ready: ready.clone(),
                go,
            };
            let thread = std::thread::Builder::new()
                .name(format!("shard-{number}"))
                .spawn(move || shard.run())
                .map_err(|source| StartError::Shard {
                    shard: number,
                    source,
                })?;
            server.threads.push(thread);
        }
        let all_are_ready = || {
            // Every shard answers before it goes on, or its thread has ended with an answer.
            (0..config.shards).try_for_each(|_| readiness.recv().unwrap_or(Ok(())))
        };
        // Nobody is let in anywhere before every ring is filled. Where a shard failed, the others
        // are never told to listen, and end.
        all_are_ready()?;
        for listen in filled.drain(..) {
            let _ = listen.send(());
        }
        all_are_ready()?;
        if let Some(refill) = refill {
            let publisher = Publisher::resume(server.hub.clone(), &refill);
            *server.publisher() = Some(publisher.map_err(StartError::Publisher)?);
        }
        Ok(server)
    }

    /// Has the channels begin behind what a schedule had due before now.
    fn take_over(&self, plan: PublishPlan) -> Result<Arc<Refill>, StartError> {
        plan.check(self.hub.channel_count())
            .map_err(StartError::Plan)?;
        let refill = Refill::until_now(plan);
        let channels = 0..refill.plan().schedule.channels;
        let heads = channels.map(|channel| refill.last_sequence(channel));
        self.hub.begin_behind(heads);
        self.hub.follow(Some(refill.timetable().clone()));
        Ok(Arc::new(refill))
    }

    /// The schedule that is being published, or was the last.
    pub(crate) fn publisher(&self) -> MutexGuard<'_, Option<Publisher>> {
        self.publisher.lock().expect("no panic while held")
    }

    /// How the schedule that is being published, or was the last, is held. `None` before the first.
    pub fn report(&self) -> Option<PublishReport> {
        self.publisher().as_ref().map(Publisher::report)
    }

    /// Sums a counter over all shards.
    pub fn total(&self, counter: impl Fn(&ShardStats) -> u64) -> u64 {
        self.stats.iter().map(|s| counter(s)).sum()
    }

    /// Begins to drain: the server accepts who waits and nobody after them, ends its subscribers in
    /// their transport's polite way, evenly spread over the time given (at most [`MAX_DRAIN`]), each
    /// behind all that is pending for it, and then its shards, at the latest 2 s later. Returns at
    /// once; `false` where it drains already.
    pub fn drain(&self, over: Duration) -> bool {
        let begins = self.ending.drain(over.min(MAX_DRAIN));
        // Another server may have the port now.
        self.reserved.lock().expect("no panic while held").clear();
        self.hub.wake_shards();
        begins
    }

    /// Whether a drain was asked for and is over.
    pub fn is_drained(&self) -> bool {
        self.ending.is_draining() && self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until a drain, asked for by then or later, is over.
    pub async fn drained(&self) {
        // Not told by the shards: they must not wake another thread's runtime (see `wake`).
        while !self.is_drained() {
            tokio::time::sleep(DRAINED_STEP).await;
        }
    }

    /// Ends all connections in their transport's polite way, and the shards.
    pub fn stop(&mut self) {
        if let Some(publisher) = self.publisher().as_mut() {
            publisher.stop();
        }
        self.ending.stop();
        self.hub.wake_shards();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A bound socket with the options that accepted connections inherit. Shards share the port.
fn bind(address: SocketAddr, config: &Config) -> io::Result<Socket> {
    let domain = if address.is_ipv6() {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_user_timeout(Some(STUCK_WRITE))?;
    // Every transport alike: no transport is favoured by the machine's default.
    if let Some(congestion) = &config.congestion {
        socket.set_tcp_congestion(congestion.as_bytes())?;
    }
    if let Some(bytes) = config.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if config.profile != Profile::Stock {
        socket.set_tcp_nodelay(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Asks for the congestion control on a socket of no other use, so that its absence is not told as
/// trouble with an address.
fn check_congestion(config: &Config) -> Result<(), StartError> {
    let Some(name) = &config.congestion else {
        return Ok(());
    };
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| socket.set_tcp_congestion(name.as_bytes()))
        .map_err(|source| StartError::Congestion {
            name: name.clone(),
            source,
        })
}

/// Asks for the send buffer on a socket of no other use: the kernel gives less without saying so.
fn check_send_buffer(config: &Config) -> Result<(), StartError> {
    let Some(asked) = config.send_buffer_bytes else {
        return Ok(());
    };
    let got = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).and_then(|socket| {
        socket.set_send_buffer_size(asked)?;
        socket.send_buffer_size()
    });
    // It reports twice what was asked for (socket(7)).
    match got.map(|bytes| bytes / 2) {
        Ok(most) if most < asked => Err(StartError::SendBuffer { asked, most }),
        // Any other trouble shows when the address is bound in earnest.
        _ => Ok(()),
    }
}

/// With `SO_REUSEPORT` the kernel lets two servers of one user share a port, and splits the
/// clients between them: so it is tried without, first.
fn port_is_free(address: SocketAddr) -> bool {
    // Tells "in use" only; any other trouble shows when the address is bound in earnest.
    !matches!(
        std::net::TcpListener::bind(address),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse
    )
}

/// What the thread of a shard is started with.
struct ShardMain {
    number: usize,
    config: Config,
    addresses: Addresses,
    hub: Arc<Hub>,
    stats: Arc<ShardStats>,
    ending: Arc<Ending>,
    /// What the rings hold before anyone is let in.
    refill: Option<Arc<Refill>>,
    ready: mpsc::Sender<Result<(), StartError>>,
    /// Says when every shard's rings are filled.
    go: mpsc::Receiver<()>,
}

impl ShardMain {
    fn run(self) {
        let number = self.number;
        let ready = self.ready.clone();
        let failed = |source| StartError::Shard {
            shard: number,
            source,
        };
        let set_up = || -> io::Result<()> {
            if self.config.own_tables {
                sys::own_descriptor_table(&shared_descriptors())?;
            }
            if !self.config.cpus.is_empty() {
                sys::pin_to(&[self.config.cpus[number % self.config.cpus.len()]])?;
            }
            Ok(())
        };
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
        };
        if let Err(source) = set_up() {
            let _ = ready.send(Err(failed(source)));
            return;
        }
        if self.config.profile == Profile::Lean {
            return self.run_lean();
        }
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(source) => {
                let _ = ready.send(Err(failed(source)));
                return;
            }
        };
        if !self.enter() {
            return;
        }
        runtime.block_on(async move {
            let (shut, door) = watch::channel(false);
            match self.listen(&door) {
                Ok(()) => {
                    let _ = ready.send(Ok(()));
                    self.serve(&shut).await;
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        });
    }

    /// Makes this thread a shard of the hub, fills its rings and waits for the other shards.
    /// `false`: one of them failed.
    fn enter(&self) -> bool {
        let framings = self.config.framings();
        let stats = self.stats.clone();
        shard::enter(
            self.hub.clone(),
            self.number,
            &framings,
            self.config.ring,
            stats,
        );
        if let Some(refill) = &self.refill {
            refill.fill(&self.hub, self.number, self.config.ring);
        }
        let _ = self.ready.send(Ok(()));
        self.go.recv().is_ok()
    }

    fn shared(&self) -> http::Shared {
        http::Shared {
            hub: self.hub.clone(),
            profile: self.config.profile,
            transports: self.config.transports.clone(),
            keep_alive: self.config.keep_alive,
            poll_timeout: self.config.poll_timeout,
            retry: self.config.retry,
        }
    }

    /// Serves in profile `lean` until the server stops.
    fn run_lean(&self) {
        if !self.enter() {
            return;
        }
        let hub = self.hub.clone();
        let wake = hub.wake_of(self.number);
        let mut connections = match self.listen_lean(wake) {
            Ok(connections) => connections,
            Err(error) => {
                let _ = self.ready.send(Err(error));
                return;
            }
        };
        let _ = self.ready.send(Ok(()));
        // Fails only where the kernel refuses to wait; the clients see the end then.
        let _ = connections.run(wake, Departure::new(self.ending.clone()));
    }

    fn listen_lean(&self, wake: &Wake) -> Result<Connections, StartError> {
        let mut listeners = Vec::new();
        let doors = [
            (self.addresses.http, lean::Protocol::Http),
            (self.addresses.tcp, lean::Protocol::Lines),
        ];
        for (address, protocol) in doors {
            let Some(address) = address else {
                continue;
            };
            let listener = self.listener(address);
            let listener = listener.map_err(|e| StartError::listen(address, e))?;
            listeners.push((listener, protocol));
        }
        Connections::new(listeners, wake, self.shared(), self.config.head_timeout).map_err(
            |source| StartError::Shard {
                shard: self.number,
                source,
            },
        )
    }

    /// Opens the listeners and starts to accept, until `shut` turns true.
    fn listen(&self, shut: &watch::Receiver<bool>) -> Result<(), StartError> {
        if let Some(address) = self.addresses.http {
            let door = self.door(address, shut)?;
            let router = http::router(self.shared());
            if self.config.profile == Profile::Stock {
                tokio::spawn(async move { axum::serve(door, router).await });
            } else {
                tokio::spawn(accept_http(door, router, self.config.head_timeout));
            }
        }
        if let Some(address) = self.addresses.tcp {
            let mut door = self.door(address, shut)?;
            let (hub, keep_alive) = (self.hub.clone(), self.config.keep_alive);
            tokio::spawn(async move {
                loop {
                    let stream = door.accept().await;
                    tokio::spawn(tcp::serve(stream, hub.clone(), keep_alive));
                }
            });
        }
        Ok(())
    }

    fn listener(&self, address: SocketAddr) -> io::Result<std::net::TcpListener> {
        let socket = bind(address, &self.config)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }

    fn door(
        &self,
        address: SocketAddr,
        shut: &watch::Receiver<bool>,
    ) -> Result<Listener, StartError> {
        let listener = self.listener(address).and_then(TcpListener::from_std);
        let listener = listener.map_err(|e| StartError::listen(address, e))?;
        Ok(Listener::new(listener, shut.clone()))
    }

    async fn serve(self, shut: &watch::Sender<bool>) {
        let mut departure = Departure::new(self.ending.clone());
        let turn = || {
            let turn = departure.turn();
            if let ShutdownStep::StopAccepting = turn {
                shut.send_replace(true);
            }
            turn
        };
        if shard::pump(turn).await.is_err() {
            // Only a runtime that ends refuses the registration.
            return;
        }
        while let ShutdownStep::Closed { settled, end } = departure.turn() {
            let now = Instant::now();
            let all_is_said = self.stats.subscribers.load(Ordering::Relaxed) == 0
                && pending_writes::connections() == 0;
            if now >= end || all_is_said && now >= settled {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The last bytes were handed to the runtime's tasks; give those one more turn.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The accept loop of the `tuned` profile: hyper's HTTP/1 connection with small buffers.
async fn accept_http(mut door: Listener, router: Router, head_timeout: Duration) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HTTP_BUFFER_BYTES);
    loop {
        let stream = Stream::new(door.accept().await);
        let service = TowerToHyperService::new(router.clone());
        let connection = builder
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // A connection that fails is its client's affair; the others go on.
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
}

/// Whether an address is reachable from this machine only.
pub fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    }
}
