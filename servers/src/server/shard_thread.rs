//! The thread of one shard: its descriptor table and core, its listeners, its loop.
//!
//! Around the data path. In: what [`Server::start`](super::Server::start) gives it. Out: whether it is
//! ready; then connections are served until the server ends.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::config::{Config, StartError};
use super::listener::Listener;
use super::shutdown::{Departure, Ending, ShutdownStep};
use super::sockets::{BACKLOG, bind, is_loopback};
use crate::hub::Hub;
use crate::lean::{self, Connections};
use crate::pending_writes;
use crate::refill::Refill;
use crate::shard::{self, ShardStats};
use crate::transport::{http, library, tcp};
use pushbench_os::sys;
use pushbench_os::wake::{Wake, shared_descriptors};
use pushbench_protocol::control::Addresses;
use pushbench_protocol::transport::Profile;

/// What the thread of a shard is started with.
pub(super) struct ShardThread {
    pub(super) number: usize,
    pub(super) config: Config,
    pub(super) addresses: Addresses,
    pub(super) hub: Arc<Hub>,
    pub(super) stats: Arc<ShardStats>,
    pub(super) ending: Arc<Ending>,
    /// What the rings hold before anyone is let in.
    pub(super) refill: Option<Arc<Refill>>,
    pub(super) ready: mpsc::Sender<Result<(), StartError>>,
    /// Says when every shard's rings are filled.
    pub(super) go: mpsc::Receiver<()>,
}

impl ShardThread {
    pub(super) fn run(self) {
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
            let (stop_accepting, stopped) = watch::channel(false);
            match self.listen(&stopped) {
                Ok(()) => {
                    let _ = ready.send(Ok(()));
                    self.serve(&stop_accepting).await;
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
            patience: self.config.head_timeout,
            origins: self.config.allow_origins.clone(),
            on_loopback: is_loopback(self.config.listen.ip()),
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
        let addresses = [
            (self.addresses.http, lean::Protocol::Http),
            (self.addresses.tcp, lean::Protocol::Lines),
        ];
        for (address, protocol) in addresses {
            let Some(address) = address else {
                continue;
            };
            let listener = self.listener(address);
            let listener = listener.map_err(|e| StartError::listen(address, e))?;
            listeners.push((listener, protocol));
        }
        Connections::new(listeners, wake, self.shared()).map_err(|source| StartError::Shard {
            shard: self.number,
            source,
        })
    }

    /// Opens the listeners and starts to accept, until `stopped` turns true.
    fn listen(&self, stopped: &watch::Receiver<bool>) -> Result<(), StartError> {
        if let Some(address) = self.addresses.http {
            let listener = self.accepting(address, stopped)?;
            let head_timeout = self.config.head_timeout;
            tokio::spawn(library::serve(listener, self.shared(), head_timeout));
        }
        if let Some(address) = self.addresses.tcp {
            let mut listener = self.accepting(address, stopped)?;
            let http = http::Http::new(self.shared());
            tokio::spawn(async move {
                loop {
                    let stream = listener.accept().await;
                    tokio::spawn(tcp::serve(stream, http.clone()));
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

    /// A listener that accepts until `stopped` turns true.
    fn accepting(
        &self,
        address: SocketAddr,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Listener, StartError> {
        let listener = self.listener(address).and_then(TcpListener::from_std);
        let listener = listener.map_err(|e| StartError::listen(address, e))?;
        Ok(Listener::new(listener, stopped.clone()))
    }

    async fn serve(self, stop_accepting: &watch::Sender<bool>) {
        let mut departure = Departure::new(self.ending.clone());
        let turn = || {
            let turn = departure.turn();
            if let ShutdownStep::StopAccepting = turn {
                stop_accepting.send_replace(true);
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
