//! The server as a whole: sockets, threads, start and end.
//!
//! Around the data path. A server is N threads, each with a current-thread runtime, a listener of its own
//! on the same port (`SO_REUSEPORT`: the kernel spreads connections by hash), and its own view of the
//! hub. Where one descriptor table is too small for what is asked, each shard gives itself its own.
//!
//! | file | what is in it |
//! |---|---|
//! | here | starting, publishing, draining, stopping |
//! | `config` | how a server is set up, and why it does not start |
//! | `sockets` | sockets that listen, and their options |
//! | `listener` | accepting, and closing a listener without turning anyone away |
//! | `shard_thread` | the thread of one shard |
//! | `shutdown` | what each shard does about a stop or a drain |

mod config;
pub(crate) mod listener;
mod shard_thread;
pub(crate) mod shutdown;
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::Socket;
use tokio::sync::watch;

use self::shard_thread::ShardThread;
use self::shutdown::Ending;
use self::sockets::{bind, check_congestion, check_send_buffer, port_is_free};
use crate::hub::Hub;
use crate::publisher::Publisher;
use crate::refill::Refill;
use crate::shard::ShardStats;
use pushbench_protocol::control::{Addresses, PublishPlan, PublishReport};

pub use self::config::{Config, StartError};
pub use self::sockets::is_loopback;

/// Longest time over which a server drains: a day.
pub const MAX_DRAIN: Duration = Duration::from_secs(86_400);

/// How often it is looked whether a drain that was asked for is over.
const DRAINED_STEP: Duration = Duration::from_millis(10);

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
    /// Whether a drain was asked for.
    drains: watch::Sender<bool>,
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
        let hub = Hub::new(config.shards, config.epoch).map_err(|source| StartError::Hub {
            shards: config.shards,
            source,
        })?;
        for (spec, overflow) in &config.channels {
            hub.declare_with(&[spec], &[*overflow])?;
        }
        let (addresses, reserved) = reserve(config)?;
        let mut server = Self {
            addresses,
            hub,
            stats: Vec::new(),
            ending: Arc::default(),
            drains: watch::Sender::new(false),
            threads: Vec::new(),
            reserved: Mutex::new(reserved),
            publisher: Mutex::default(),
        };
        let refill = config.publish.clone().map(|plan| server.take_over(plan));
        let refill = refill.transpose()?;
        server.start_shards(config, refill.as_ref())?;
        if let Some(refill) = refill {
            let publisher = Publisher::resume(server.hub.clone(), &refill);
            *server.publisher() = Some(publisher.map_err(StartError::Publisher)?);
        }
        Ok(server)
    }

    /// Starts a thread for each shard, and returns when all of them listen.
    fn start_shards(
        &mut self,
        config: &Config,
        refill: Option<&Arc<Refill>>,
    ) -> Result<(), StartError> {
        let (ready, readiness) = mpsc::channel();
        let mut filled = Vec::new();
        for number in 0..config.shards {
            let stats = Arc::new(ShardStats::default());
            self.stats.push(stats.clone());
            let (listen, go) = mpsc::channel();
            filled.push(listen);
            let shard = ShardThread {
                number,
                config: config.clone(),
                addresses: self.addresses,
                hub: self.hub.clone(),
                stats,
                ending: self.ending.clone(),
                refill: refill.cloned(),
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
            self.threads.push(thread);
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
        all_are_ready()
    }

    /// Has the channels begin behind what a schedule had due before now.
    fn take_over(&self, plan: PublishPlan) -> Result<Arc<Refill>, StartError> {
        plan.check(self.hub.channel_count())
            .map_err(StartError::Plan)?;
        let refill = Refill::until_now(plan);
        let channels = 0..refill.plan().schedule.channels;
        let heads: Vec<u64> = channels.map(|c| refill.last_sequence(c)).collect();
        self.hub.take_over(&heads, refill.epoch());
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
        self.drains.send_replace(true);
        begins
    }

    /// Whether a drain was asked for and is over.
    pub fn is_drained(&self) -> bool {
        self.ending.is_draining() && self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until a drain, asked for by then or later, is over.
    pub async fn drained(&self) {
        // Ends only with the server, which holds the sender.
        let _ = self.drains.subscribe().wait_for(|&drains| drains).await;
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

/// Binds the addresses of `config`, without listening.
fn reserve(config: &Config) -> Result<(Addresses, Vec<Socket>), StartError> {
    let mut reserved = Vec::new();
    let mut reserve = |address: SocketAddr| -> Result<SocketAddr, StartError> {
        if address.port() != 0 && !config.share_port && !port_is_free(address) {
            return Err(StartError::listen(address, io::ErrorKind::AddrInUse.into()));
        }
        let failed = |e| StartError::listen(address, e);
        let socket = bind(address, config).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        reserved.push(socket);
        Ok(bound.as_socket().unwrap_or(address))
    };
    let http = config
        .serves_http()
        .then(|| reserve(config.listen))
        .transpose()?;
    let alone = if http.is_some() {
        config.tcp_listen
    } else {
        config.listen
    };
    let tcp = config.serves_lines().then(|| reserve(alone)).transpose()?;
    Ok((Addresses { http, tcp }, reserved))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
