//! Sockets, accept loops, profiles, shards: the server as a whole.
//!
//! Place on the data path: around it. A server is N threads, each with a current-thread runtime, a
//! listener of its own on the same port (`SO_REUSEPORT`: the kernel spreads connections by hash),
//! and its own view of the hub. Where one descriptor table is too small for what is asked, each
//! shard gives itself its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpListener;

use crate::framing::Framing;
use crate::hub::Hub;
use crate::ring::RingLimits;
use crate::shard::{self, ShardStats};
use crate::sys;
use crate::transport::lean::{Connections, Speaks};
use crate::transport::{Profile, Transport, http, tcp};
use crate::wake::{Wake, shared_descriptors};

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// `tuned`: hyper's buffer for one connection, the smallest that it allows. Stock is 400 KiB.
const HTTP_BUFFER_BYTES: usize = 8 << 10;

/// How long a client may take nothing of what was sent to it: then the kernel ends the connection
/// (`TCP_USER_TIMEOUT`, RFC 5482), and a subscriber that has fallen off its ring meanwhile counts
/// as lagged. Between two keep-alives and the half minute that proxies wait.
const STUCK_WRITE: Duration = Duration::from_secs(20);

/// How long shards may take to end their connections at a shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

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
        }
    }

    fn serves_http(&self) -> bool {
        self.transports.iter().any(|&t| t != Transport::Tcp)
    }

    /// The framings that a shard's rings are kept in.
    fn framings(&self) -> Vec<Framing> {
        let mut framings = Vec::new();
        for transport in &self.transports {
            let framing = match transport {
                Transport::Sse if self.profile == Profile::Lean => Framing::SseChunk,
                Transport::Sse => Framing::Sse,
                Transport::WebSocket if self.profile == Profile::Lean => Framing::WebSocket,
                // axum's WebSocket frames what it is given, so it is given envelopes.
                Transport::Tcp
                | Transport::WebSocket
                | Transport::LongPoll
                | Transport::ShortPoll => Framing::Line,
            };
            if !framings.contains(&framing) {
                framings.push(framing);
            }
        }
        framings
    }
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The HTTP transports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Raw TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<SocketAddr>,
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
                 for any"
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
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Bound and never listening: they keep the ports for the shards.
    _reserved: Vec<Socket>,
}

impl Server {
    /// Starts a server and returns when every shard listens.
    ///
    /// # Errors
    /// [`StartError`]; whatever was started before is stopped again.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        check_congestion(config)?;
        let hub = Hub::new(config.shards).map_err(|source| StartError::Hub {
            shards: config.shards,
            source,
        })?;
        let mut reserved = Vec::new();
        let mut reserve = |address: SocketAddr| -> Result<SocketAddr, StartError> {
            if address.port() != 0 && !port_is_free(address) {
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
            .transports
            .contains(&Transport::Tcp)
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
            stopped: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
            _reserved: reserved,
        };
        let (ready, readiness) = mpsc::channel();
        for number in 0..config.shards {
            let stats = Arc::new(ShardStats::default());
            server.stats.push(stats.clone());
            let shard = ShardMain {
                number,
                config: config.clone(),
                addresses: server.addresses,
                hub: server.hub.clone(),
                stats,
                stopped: server.stopped.clone(),
                ready: ready.clone(),
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
        for _ in 0..config.shards {
            // Every shard answers before it goes on, or its thread has ended with an answer.
            if let Ok(Err(error)) = readiness.recv() {
                return Err(error);
            }
        }
        Ok(server)
    }

    /// Sums a counter over all shards.
    pub fn total(&self, counter: impl Fn(&ShardStats) -> u64) -> u64 {
        self.stats.iter().map(|s| counter(s)).sum()
    }

    /// Ends all connections in their transport's polite way, and the shards.
    pub fn stop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
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
    stopped: Arc<AtomicBool>,
    ready: mpsc::Sender<Result<(), StartError>>,
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
        runtime.block_on(async move {
            match self.listen() {
                Ok(()) => {
                    let _ = ready.send(Ok(()));
                    self.serve().await;
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        });
    }

    /// Makes this thread a shard of the hub.
    fn enter(&self) {
        let framings = self.config.framings();
        let stats = self.stats.clone();
        shard::enter(
            self.hub.clone(),
            self.number,
            &framings,
            self.config.ring,
            stats,
        );
    }

    fn shared(&self) -> http::Shared {
        http::Shared {
            hub: self.hub.clone(),
            profile: self.config.profile,
            transports: self.config.transports.clone(),
            keep_alive: self.config.keep_alive,
            poll_timeout: self.config.poll_timeout,
        }
    }

    /// Serves in profile `lean` until the server stops.
    fn run_lean(&self) {
        self.enter();
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
        let _ = connections.run(wake, &self.stopped, SHUTDOWN_GRACE);
    }

    fn listen_lean(&self, wake: &Wake) -> Result<Connections, StartError> {
        let mut listeners = Vec::new();
        let doors = [
            (self.addresses.http, Speaks::Http),
            (self.addresses.tcp, Speaks::Lines),
        ];
        for (address, speaks) in doors {
            let Some(address) = address else {
                continue;
            };
            let listener = self.listener(address);
            let listener = listener.map_err(|e| StartError::listen(address, e))?;
            listeners.push((listener, speaks));
        }
        Connections::new(listeners, wake, self.shared(), self.config.head_timeout).map_err(
            |source| StartError::Shard {
                shard: self.number,
                source,
            },
        )
    }

    /// Opens the listeners and starts to accept.
    fn listen(&self) -> Result<(), StartError> {
        self.enter();
        if let Some(address) = self.addresses.http {
            let listener = self
                .tokio_listener(address)
                .map_err(|e| StartError::listen(address, e))?;
            let router = http::router(self.shared());
            if self.config.profile == Profile::Stock {
                tokio::spawn(async move { axum::serve(listener, router).await });
            } else {
                tokio::spawn(accept_http(listener, router, self.config.head_timeout));
            }
        }
        if let Some(address) = self.addresses.tcp {
            let listener = self
                .tokio_listener(address)
                .map_err(|e| StartError::listen(address, e))?;
            let (hub, keep_alive) = (self.hub.clone(), self.config.keep_alive);
            tokio::spawn(async move {
                loop {
                    let stream = accept(&listener).await;
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

    fn tokio_listener(&self, address: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::from_std(self.listener(address)?)
    }

    async fn serve(self) {
        let stopped = || self.stopped.load(Ordering::SeqCst);
        if shard::pump(stopped).await.is_err() {
            // Only a runtime that ends refuses the registration.
            return;
        }
        let deadline = Instant::now() + SHUTDOWN_GRACE;
        while self.stats.subscribers.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The last bytes were handed to the runtime's tasks; give those one more turn.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Accepts one connection. Out of descriptors, or with a connection that is gone again, it waits
/// and goes on: the clients' side counts who did not get in.
async fn accept(listener: &TcpListener) -> tokio::net::TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The accept loop of the `tuned` profile: hyper's HTTP/1 connection with small buffers.
async fn accept_http(listener: TcpListener, router: Router, head_timeout: Duration) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HTTP_BUFFER_BYTES);
    loop {
        let stream = accept(&listener).await;
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
