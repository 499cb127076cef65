//! The threads of a fleet as others see them: started, given commands, and read.
//!
//! Beside the data path. Other threads hand a shard [`Command`]s and read its [`Gauges`]; nothing
//! else is shared. Clients of our own run on a loop of their own (`poller.rs`), those of libraries
//! as tasks of a runtime (`tasks.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, mpsc};

use pushbench_os::sys;
use pushbench_os::wake::{Wake, shared_descriptors};

use super::channels::Channels;
use super::poller::Poller;
use super::shard::{Shard, ShardReport};
use super::tally::Counters;
use super::tasks::Tasks;
use super::{MeasurePhase, Setup};
use crate::load::client::{self, Protocol, WithClient};
use crate::record::{Cause, Family};

/// What a shard is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Open clients until this shard has so many.
    Connect(usize),
    /// The schedule is known.
    Begin(Arc<MeasurePhase>),
    /// Answer with everything counted so far.
    Sample(mpsc::Sender<Counters>),
    /// Settle the accounts of what was due before then, in ns of `CLOCK_MONOTONIC`, and report.
    Finish(u64, mpsc::Sender<Box<ShardReport>>),
    /// Panic, as a fault of the harness itself would.
    Panic,
    /// Close everything and end.
    Exit,
}

/// What others may read at any time. Written by the shard's thread only.
#[derive(Debug, Default)]
#[repr(align(128))] // no cache line is shared with another shard's
pub(super) struct Gauges {
    pub(super) connected: AtomicU64,
    /// When the last of them got its cursor, in ns of `CLOCK_MONOTONIC`.
    pub(super) last_connected_ns: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) disconnected: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) outstanding: AtomicU64,
    /// Clients lost and not yet back.
    pub(super) away: AtomicU64,
    pub(super) errors: Mutex<Vec<String>>,
    /// How often a connect met which limit.
    pub(super) limits_met: Mutex<BTreeMap<Cause, u64>>,
    /// Delivery latency of the last whole second: quantiles 0.5 and 0.99 in ns; 0 before.
    pub(super) p50_ns: AtomicU64,
    pub(super) p99_ns: AtomicU64,
    /// The limit that ended the growth of this shard.
    pub(super) stopped_by: Mutex<Option<Cause>>,
}

/// The handle to a shard's thread.
pub(super) struct Handle {
    pub(super) gauges: Arc<Gauges>,
    mailbox: Arc<Mailbox>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Where commands for a shard wait.
#[derive(Debug)]
pub(super) struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    pub(super) wake: Wake,
}

impl Mailbox {
    /// The next command, where there is one.
    ///
    /// # Panics
    /// Where that is the command.
    pub(super) fn next(&self) -> Option<Command> {
        let next = self
            .commands
            .lock()
            .expect("no panic while held")
            .pop_front();
        assert!(
            !matches!(next, Some(Command::Panic)),
            "a shard of the clients panics, because the scenario says so"
        );
        next
    }
}

impl Handle {
    /// Starts all shards of a fleet. Every wake-up is made before the first thread copies the descriptor table.
    pub(super) fn start_all(setup: &Arc<Setup>) -> std::io::Result<Vec<Self>> {
        let mailbox = |_| {
            Ok(Arc::new(Mailbox {
                commands: Mutex::default(),
                wake: Wake::new()?,
            }))
        };
        let mailboxes: Vec<_> = (0..setup.shards)
            .map(mailbox)
            .collect::<std::io::Result<_>>()?;
        let channels = Channels::new(
            setup.scenario.channels.sizes,
            setup.clients(),
            setup.scenario.channel_count(),
        );
        let start = |(number, mailbox)| Self::start(number, mailbox, setup, channels.clone());
        mailboxes.into_iter().enumerate().map(start).collect()
    }

    fn start(
        number: usize,
        mailbox: Arc<Mailbox>,
        setup: &Arc<Setup>,
        channels: Channels,
    ) -> std::io::Result<Self> {
        let gauges = Arc::<Gauges>::default();
        let (ready, readiness) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("fleet-{number}"))
            .spawn({
                let (gauges, mailbox, setup) = (gauges.clone(), mailbox.clone(), setup.clone());
                move || {
                    let started = prepare(number, &setup);
                    let started =
                        started.and_then(|()| engine(Shard::new(number, setup, channels, gauges)));
                    match started {
                        Ok(engine) => {
                            let _ = ready.send(Ok(()));
                            engine.run(&mailbox);
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                        }
                    }
                }
            })?;
        readiness
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("the thread ended")))?;
        Ok(Self {
            gauges,
            mailbox,
            thread: Some(thread),
        })
    }

    pub(super) fn send(&self, command: Command) {
        self.mailbox
            .commands
            .lock()
            .expect("no panic while held")
            .push_back(command);
        self.mailbox.wake.wake();
    }

    /// Whether the thread still runs: one that panicked does not.
    pub(super) fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives the calling thread its descriptor table and its core.
fn prepare(number: usize, setup: &Setup) -> std::io::Result<()> {
    if setup.own_tables {
        sys::own_descriptor_table(&shared_descriptors())?;
    }
    if !setup.cpus.is_empty() {
        sys::pin_to(&[setup.cpus[number % setup.cpus.len()]])?;
    }
    Ok(())
}

/// What drives the clients of a shard: a loop of our own for lean clients, a runtime for those of
/// libraries.
pub(super) trait Engine {
    /// Runs until asked to exit.
    fn run(self: Box<Self>, mailbox: &Mailbox);
}

fn engine(shard: Shard) -> std::io::Result<Box<dyn Engine>> {
    let transport = shard.setup.transport;
    match client::library_client(transport) {
        Some(client) if shard.setup.family == Family::Library => {
            Ok(Box::new(Tasks::new(shard, client)?))
        }
        _ => client::with_client(transport, OnALoop(shard)),
    }
}

/// A shard whose clients are lean.
struct OnALoop(Shard);

impl WithClient for OnALoop {
    type Output = std::io::Result<Box<dyn Engine>>;

    fn with<P: Protocol + 'static>(self) -> Self::Output {
        Ok(Box::new(Poller::<P>::new(self.0)?))
    }
}
