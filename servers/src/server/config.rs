//! How a server is set up, and why it does not start.
//!
//! Not on the data path. In: what the command line or a test asks for. Out: plain values.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::hub::DeclareError;
use crate::ring::RingLimits;
use crate::transport::origin::Origin;
use pushbench_os::sys;
use pushbench_protocol::control::PublishPlan;
use pushbench_protocol::framing::Epoch;
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::{Framing, Profile, Transport};

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
    /// How long a client may take for the head of a request, for its body, or for a line of raw TCP;
    /// and how long a connection that is not subscribed may wait for the next one. Default 75 s, as
    /// nginx's.
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
    /// Which logs these are, to be given where another server has or will have the same ones. Where
    /// `None`, a log that is filled from [`publish`](Self::publish) has the epoch of that plan, and
    /// another one is drawn at each start for the rest.
    pub epoch: Option<Epoch>,
    /// How long an `EventSource` is told to wait before it reconnects; its own choice where `None`.
    pub retry: Option<Duration>,
    /// Origins whose pages may read answers, publish and open a WebSocket, in addition to those of
    /// this server; at most [`MAX_ORIGINS`](crate::transport::origin::MAX_ORIGINS).
    pub allow_origins: Vec<Origin>,
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
            epoch: None,
            retry: None,
            allow_origins: Vec::new(),
            send_buffer_bytes: None,
        }
    }

    pub(super) fn serves_http(&self) -> bool {
        self.transports.iter().any(|t| t.is_http())
    }

    pub(super) fn serves_lines(&self) -> bool {
        self.transports.iter().any(|t| !t.is_http())
    }

    /// The framings that a shard's rings are kept in.
    pub(super) fn framings(&self) -> Vec<Framing> {
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
    pub(super) fn listen(address: SocketAddr, source: io::Error) -> Self {
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
