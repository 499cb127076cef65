//! One thread of the fleet: its clients, what it counts, and the commands that it obeys.
//!
//! Place on the data path: around its clients. A current-thread runtime drives all of them; what
//! they share (one read buffer, one recorder, plain counters) is never touched by another thread
//! while clients run. Other threads hand it [`Command`]s and read its [`Gauges`].

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use hdrhistogram::Histogram;
use pushbench_servers::payload::SplitMix64;
use pushbench_servers::sys::{self, TcpCounters, monotonic_ns};
use pushbench_servers::transport::Transport;
use pushbench_servers::wake::{Wake, shared_descriptors};
use tokio::task::LocalSet;

use super::session::Session;
use super::{MeasurePhase, Setup, Wire};
use crate::client::socket::Options;
use crate::client::{ClientError, Family, lean, library};
use crate::client::{long_poll, short_poll, sse, tcp, websocket};
use crate::ledger::{Counts, Ledger};
use crate::recorder::{self, Recorded, Recorder, histogram};

/// Bytes that one read can bring: 64 KiB, one full loopback segment. Shared by all clients.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// Connects under way at once in a shard. Half the backlog of a listener (4,096), so that a
/// SYN is never dropped and retried a second later.
const MAX_CONNECTING: usize = 512;

/// Deliveries of a fleet that are kept one by one for the intervals of quantiles: 8 bytes each.
/// More would make the intervals no narrower, as the publishes are what counts.
const MAX_SAMPLES: u64 = 1 << 20;

/// Errors kept in words. The rest is counted.
const MAX_ERRORS: usize = 5;

/// Period of the timer whose lateness is the scheduler lag. The runtime's timers are good to 1 ms.
const LAG_TICK: Duration = Duration::from_millis(10);

/// What a shard is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Open clients until this shard has so many.
    Connect(usize),
    /// The schedule is known.
    Begin(Arc<MeasurePhase>),
    /// Settle the accounts and report.
    Finish,
    /// Close everything and end.
    Exit,
}

/// What others may read at any time. Written by the shard's thread only.
#[derive(Debug, Default)]
#[repr(align(128))] // no cache line is shared with another shard's
pub(super) struct Gauges {
    pub(super) connected: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) disconnected: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) outstanding: AtomicU64,
    pub(super) errors: Mutex<Vec<String>>,
}

/// The handle to a shard's thread.
pub(super) struct Handle {
    pub(super) gauges: Arc<Gauges>,
    mailbox: Arc<Mailbox>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    wake: Wake,
}

impl Handle {
    /// Starts all shards of a fleet. Their reports come through `reports`.
    ///
    /// Every wake-up is made before the first thread copies the descriptor table.
    pub(super) fn start_all(
        setup: &Arc<Setup>,
        reports: &mpsc::Sender<Box<ShardReport>>,
    ) -> std::io::Result<Vec<Self>> {
        let mailbox = |_| {
            Ok(Arc::new(Mailbox {
                commands: Mutex::default(),
                wake: Wake::new()?,
            }))
        };
        let mailboxes: Vec<_> = (0..setup.shards)
            .map(mailbox)
            .collect::<std::io::Result<_>>()?;
        let start = |(number, mailbox)| Self::start(number, mailbox, setup, reports.clone());
        mailboxes.into_iter().enumerate().map(start).collect()
    }

    fn start(
        number: usize,
        mailbox: Arc<Mailbox>,
        setup: &Arc<Setup>,
        reports: mpsc::Sender<Box<ShardReport>>,
    ) -> std::io::Result<Self> {
        let gauges = Arc::<Gauges>::default();
        let (ready, readiness) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("fleet-{number}"))
            .spawn({
                let (gauges, mailbox, setup) = (gauges.clone(), mailbox.clone(), setup.clone());
                move || match Shard::set_up(number, &setup) {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(()));
                        Shard::run(&runtime, number, setup, gauges, &mailbox, &reports);
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
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

    pub(super) fn tell(&self, command: Command) {
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

/// What a shard counted.
#[derive(Debug)]
pub(super) struct ShardReport {
    pub(super) counts: Counts,
    pub(super) overflowed: bool,
    pub(super) first_missing: Option<String>,
    pub(super) corrupt: u64,
    pub(super) first_corrupt: Option<String>,
    pub(super) lagged_messages: u64,
    pub(super) received_bytes: u64,
    pub(super) recorded: Option<Recorded>,
    pub(super) connect: Histogram<u64>,
    pub(super) scheduler_lag: Histogram<u64>,
    pub(super) wire: Wire,
    pub(super) requests: u64,
    pub(super) empty_responses: u64,
}

/// What a shard keeps for each client: small, there are thousands.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// `None` before the first cursor.
    pub(super) ledger: Option<Ledger>,
    /// The end of what the server said was lost; polls resume behind it.
    pub(super) lagged_to: u64,
    pub(super) fd: Option<RawFd>,
    pub(super) has_cursor: bool,
    pub(super) connected: bool,
    /// Between sessions nothing is expected of a client.
    pub(super) away: bool,
}

impl Client {
    pub(super) fn cursor(&self) -> u64 {
        self.ledger
            .as_ref()
            .map_or(0, Ledger::cursor)
            .max(self.lagged_to)
    }
}

/// A shard's own state.
pub(super) struct Shard {
    number: usize,
    pub(super) setup: Arc<Setup>,
    pub(super) host: String,
    pub(super) options: Options,
    pub(super) clients: RefCell<Vec<Client>>,
    pub(super) recorder: RefCell<Option<Recorder>>,
    pub(super) connect: RefCell<Histogram<u64>>,
    pub(super) buffer: RefCell<Box<[u8]>>,
    /// Set when the schedule is known.
    phase: OnceCell<Arc<MeasurePhase>>,
    pub(super) first_message: Cell<u64>,
    pub(super) closed_wire: Cell<TcpCounters>,
    /// Deliveries of the measure phase that the clients should receive.
    expected_in_all: Cell<u64>,
    /// How many clients to open.
    wanted: Cell<usize>,
    connecting: Cell<usize>,
    settled: RefCell<Counts>,
    overflowed: Cell<bool>,
    first_missing: RefCell<Option<String>>,
    corrupt: Cell<u64>,
    first_corrupt: RefCell<Option<String>>,
    lagged_messages: Cell<u64>,
    /// Messages received, of whatever phase.
    messages: Cell<u64>,
    received: Cell<u64>,
    received_bytes: Cell<u64>,
    requests: Cell<u64>,
    empty_responses: Cell<u64>,
    scheduler_lag: RefCell<Histogram<u64>>,
    /// Counters at the start of the measure phase.
    mark: Cell<Option<Mark>>,
    gauges: Arc<Gauges>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Messages received, of whatever phase.
    messages: u64,
    wire: TcpCounters,
    requests: u64,
    empty_responses: u64,
}

fn add(cell: &Cell<u64>, by: u64) {
    cell.set(cell.get() + by);
}

impl Shard {
    fn set_up(number: usize, setup: &Setup) -> std::io::Result<tokio::runtime::Runtime> {
        if setup.own_tables {
            sys::own_descriptor_table(&shared_descriptors())?;
        }
        if !setup.cpus.is_empty() {
            sys::pin_to(&[setup.cpus[number % setup.cpus.len()]])?;
        }
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    }

    fn run(
        runtime: &tokio::runtime::Runtime,
        number: usize,
        setup: Arc<Setup>,
        gauges: Arc<Gauges>,
        mailbox: &Mailbox,
        reports: &mpsc::Sender<Box<ShardReport>>,
    ) {
        let share = (setup.clients as usize).div_ceil(setup.shards);
        let shard = Rc::new(Self {
            number,
            host: setup.server.to_string(),
            options: Options {
                congestion: setup.congestion.clone(),
                first_source: setup.first_source,
            },
            clients: RefCell::new(Vec::with_capacity(share)),
            recorder: RefCell::new(None),
            connect: RefCell::new(histogram()),
            buffer: RefCell::new(vec![0; READ_BUFFER_BYTES].into_boxed_slice()),
            phase: OnceCell::new(),
            first_message: Cell::new(0),
            closed_wire: Cell::default(),
            expected_in_all: Cell::new(0),
            wanted: Cell::new(0),
            connecting: Cell::new(0),
            settled: RefCell::default(),
            overflowed: Cell::new(false),
            first_missing: RefCell::default(),
            corrupt: Cell::new(0),
            first_corrupt: RefCell::default(),
            lagged_messages: Cell::new(0),
            messages: Cell::new(0),
            received: Cell::new(0),
            received_bytes: Cell::new(0),
            requests: Cell::new(0),
            empty_responses: Cell::new(0),
            scheduler_lag: RefCell::new(histogram()),
            mark: Cell::new(None),
            gauges,
            setup,
        });
        let local = LocalSet::new();
        local.spawn_local(shard.clone().open_clients());
        local.spawn_local(shard.clone().keep_time());
        runtime.block_on(local.run_until(shard.obey(mailbox, reports)));
        // Dropping the set drops every client, which closes its socket.
    }

    /// Carries out commands until the last.
    async fn obey(&self, mailbox: &Mailbox, reports: &mpsc::Sender<Box<ShardReport>>) {
        let Ok(wake) = mailbox.wake.listen() else {
            return;
        };
        loop {
            let command = mailbox
                .commands
                .lock()
                .expect("no panic while held")
                .pop_front();
            match command {
                None => wake.wait().await,
                Some(Command::Connect(count)) => self.wanted.set(count),
                Some(Command::Begin(phase)) => self.begin(phase),
                Some(Command::Finish) => {
                    if reports.send(Box::new(self.report())).is_err() {
                        return;
                    }
                }
                Some(Command::Exit) => return,
            }
        }
    }

    /// Opens clients at the pace asked for, a bounded number at a time.
    async fn open_clients(self: Rc<Self>) {
        let per_s = self.setup.connect_per_s / self.setup.shards as f64;
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut allowed = 0.0;
        let mut last = monotonic_ns();
        loop {
            tick.tick().await;
            let now = monotonic_ns();
            let opened = self.clients.borrow().len();
            if opened >= self.wanted.get() {
                // Nothing to do: look rarely, so that an idle fleet costs next to nothing.
                allowed = 0.0;
                tokio::time::sleep(Duration::from_millis(10)).await;
                last = monotonic_ns();
                continue;
            }
            allowed = (allowed + (now - last) as f64 / 1e9 * per_s).min(MAX_CONNECTING as f64);
            last = now;
            while allowed >= 1.0
                && self.clients.borrow().len() < self.wanted.get()
                && self.connecting.get() < MAX_CONNECTING
            {
                allowed -= 1.0;
                self.open_one();
            }
        }
    }

    fn open_one(self: &Rc<Self>) {
        let slot = self.clients.borrow().len();
        self.clients.borrow_mut().push(Client::default());
        self.connecting.set(self.connecting.get() + 1);
        let session = Session::new(self.clone(), slot);
        // One arm a transport and family: each task is as large as its own client, no larger.
        macro_rules! spawn {
            ($run:expr) => {
                drop(tokio::task::spawn_local(live(session, $run)))
            };
        }
        match (self.setup.family, self.setup.transport) {
            (_, Transport::Tcp) => spawn!(lean::run::<tcp::Tcp>),
            (Family::Lean, Transport::Sse) => spawn!(lean::run::<sse::Sse>),
            (Family::Lean, Transport::WebSocket) => spawn!(lean::run::<websocket::WebSocket>),
            (Family::Lean, Transport::LongPoll) => spawn!(lean::run::<long_poll::LongPoll>),
            (Family::Lean, Transport::ShortPoll) => spawn!(lean::run::<short_poll::ShortPoll>),
            (Family::Library, Transport::Sse) => spawn!(library::sse),
            (Family::Library, Transport::WebSocket) => spawn!(library::websocket),
            (Family::Library, Transport::LongPoll) => spawn!(library::long_poll),
            (Family::Library, Transport::ShortPoll) => spawn!(library::short_poll),
        }
    }

    /// Watches the clock: how late timers fire, when the measure phase begins, what is left.
    async fn keep_time(self: Rc<Self>) {
        let mut due = tokio::time::Instant::now() + LAG_TICK;
        loop {
            tokio::time::sleep_until(due).await;
            let now = tokio::time::Instant::now();
            let now_ns = monotonic_ns();
            let timing = self.phase().map(|phase| phase.timing);
            // Every tick that has passed was late, not only the first: otherwise a thread that is
            // starved has the fewer samples, the less it gets to run.
            while due <= now {
                let late_ns = (now - due).as_nanos() as u64;
                let due_ns = now_ns.saturating_sub(late_ns);
                due += LAG_TICK;
                if timing.is_some_and(|t| (t.measure_from_ns..t.measure_until_ns).contains(&due_ns))
                {
                    self.scheduler_lag.borrow_mut().saturating_record(late_ns);
                }
            }
            let Some(phase) = self.phase() else {
                continue;
            };
            if now_ns >= phase.timing.measure_from_ns && self.mark.get().is_none() {
                self.mark.set(Some(self.counters()));
            }
            self.show_outstanding(phase);
        }
    }

    fn begin(&self, phase: Arc<MeasurePhase>) {
        self.first_message.set(phase.first_message());
        let expected = self.expected(&phase);
        self.expected_in_all.set(expected);
        *self.recorder.borrow_mut() = Some(Recorder::new(recorder::Plan {
            start_ns: phase.timing.measure_from_ns,
            end_ns: phase.timing.measure_until_ns,
            messages: phase.messages(),
            deliveries: expected,
            max_samples: MAX_SAMPLES / self.setup.shards as u64,
            max_fanout_messages: recorder::MAX_FANOUT_MESSAGES / self.setup.shards as u64,
        }));
        self.show_outstanding(&phase);
        // A second schedule has no place in a trial: the first stays.
        let _ = self.phase.set(phase);
    }

    /// The measure phase, once the schedule is known.
    pub(super) fn phase(&self) -> Option<&MeasurePhase> {
        self.phase.get().map(Arc::as_ref)
    }

    fn counters(&self) -> Mark {
        let mut wire = self.closed_wire.get();
        for client in self.clients.borrow().iter() {
            if let Some(fd) = client.fd {
                // A client takes its number back before it closes the socket
                // (`Session::closing`), so the number still means that socket.
                wire += sys::tcp_counters(&fd).unwrap_or_default();
            }
        }
        Mark {
            messages: self.messages.get(),
            wire,
            requests: self.requests.get(),
            empty_responses: self.empty_responses.get(),
        }
    }

    /// Settles every account.
    fn report(&self) -> ShardReport {
        let after = self.counters();
        let before = self.mark.get().unwrap_or(after);
        for slot in 0..self.clients.borrow().len() {
            if !self.clients.borrow()[slot].away {
                self.settle(slot, u64::MAX);
            }
        }
        let recorder = self.recorder.borrow_mut().take();
        ShardReport {
            counts: *self.settled.borrow(),
            overflowed: self.overflowed.get(),
            first_missing: self.first_missing.take(),
            corrupt: self.corrupt.get(),
            first_corrupt: self.first_corrupt.take(),
            lagged_messages: self.lagged_messages.get(),
            received_bytes: self.received_bytes.get(),
            recorded: recorder.map(Recorder::finish_all),
            connect: self.connect.borrow().clone(),
            scheduler_lag: self.scheduler_lag.borrow().clone(),
            wire: Wire::between(before.wire, after.wire, after.messages - before.messages),
            requests: after.requests - before.requests,
            empty_responses: after.empty_responses - before.empty_responses,
        }
    }

    /// Adds what one client was to receive, and did, to the account.
    fn settle(&self, slot: usize, before_ns: u64) {
        let Some(phase) = self.phase() else {
            return;
        };
        let channel = self.channel_of(slot);
        let clients = self.clients.borrow();
        let Some(ledger) = &clients[slot].ledger else {
            return;
        };
        let expected = phase.expected(channel, before_ns);
        *self.settled.borrow_mut() += ledger.settle(expected.clone());
        if ledger.overflowed() {
            self.overflowed.set(true);
        }
        if let Some(sequence) = ledger.first_missing(expected) {
            self.first_missing.borrow_mut().get_or_insert_with(|| {
                format!(
                    "client {}, channel {channel}, sequence {sequence}",
                    self.index_of(slot)
                )
            });
        }
    }

    /// Settles a session that ended as planned, and starts a clean account.
    pub(super) fn settle_session(&self, slot: usize, departure: Option<u64>) {
        if let Some(before_ns) = departure {
            self.settle(slot, before_ns);
        }
        let mut clients = self.clients.borrow_mut();
        clients[slot].away = true;
        if let Some(ledger) = clients[slot].ledger.as_mut() {
            let cursor = ledger.cursor();
            ledger.rebase(cursor);
        }
    }

    /// Deliveries of the measure phase that the clients connected now should receive.
    fn expected(&self, phase: &MeasurePhase) -> u64 {
        let clients = self.clients.borrow();
        let of = |(slot, client): (usize, &Client)| {
            let range = phase.expected(self.channel_of(slot), u64::MAX);
            client
                .ledger
                .as_ref()
                .map_or(0, |ledger| ledger.settle(range).expected)
        };
        clients.iter().enumerate().map(of).sum()
    }

    fn show_outstanding(&self, phase: &MeasurePhase) {
        let outstanding = if self.setup.sessions.is_none() {
            self.expected_in_all
                .get()
                .saturating_sub(self.received.get())
        } else if monotonic_ns() < phase.timing.measure_until_ns {
            u64::from(!self.clients.borrow().is_empty())
        } else {
            self.clients
                .borrow()
                .iter()
                .filter(|c| c.connected && !c.away)
                .count() as u64
        };
        self.gauges
            .outstanding
            .store(outstanding, Ordering::Relaxed);
        self.gauges
            .received
            .store(self.received.get(), Ordering::Relaxed);
    }

    /// Number of a client in the whole fleet: the shards take turns.
    pub(super) fn index_of(&self, slot: usize) -> u32 {
        (slot * self.setup.shards + self.number) as u32
    }

    /// Number of a client's channel.
    pub(super) fn channel_of(&self, slot: usize) -> u32 {
        self.index_of(slot) % self.setup.channels
    }

    /// Random numbers of a client, the same in every run with the same seed.
    pub(super) fn random_of(&self, slot: usize, purpose: u64) -> SplitMix64 {
        let index = u64::from(self.index_of(slot));
        let mut mixed = SplitMix64::new(self.setup.seed ^ (index << 8 | purpose));
        SplitMix64::new(mixed.next())
    }

    pub(super) fn count_connected(&self, by: u64) {
        self.gauges.connected.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn count_message(&self) {
        add(&self.messages, 1);
    }

    pub(super) fn count_received(&self, bytes: usize) {
        add(&self.received, 1);
        add(&self.received_bytes, bytes as u64);
    }

    pub(super) fn count_lagged(&self, messages: u64) {
        add(&self.lagged_messages, messages);
    }

    pub(super) fn count_request(&self) {
        add(&self.requests, 1);
    }

    pub(super) fn count_empty_response(&self) {
        add(&self.empty_responses, 1);
    }

    pub(super) fn corrupt(&self, channel: u32, sequence: u64) {
        add(&self.corrupt, 1);
        self.first_corrupt
            .borrow_mut()
            .get_or_insert_with(|| format!("channel {channel}, sequence {sequence}"));
    }

    pub(super) fn failed(&self, slot: usize, error: &ClientError) {
        let was_connected = {
            let mut clients = self.clients.borrow_mut();
            std::mem::replace(&mut clients[slot].connected, false)
        };
        let counter = if was_connected {
            &self.gauges.disconnected
        } else {
            &self.gauges.refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if was_connected {
            self.gauges.connected.fetch_sub(1, Ordering::Relaxed);
        }
        let mut errors = self.gauges.errors.lock().expect("no panic while held");
        if errors.len() < MAX_ERRORS {
            let text = format!("client {}: {error}", self.index_of(slot));
            errors.push(text);
        }
    }

    pub(super) fn no_longer_connecting(&self) {
        self.connecting.set(self.connecting.get().saturating_sub(1));
    }
}

/// A client's life: one session, or one after another until the measure phase is over.
async fn live(session: Session, run: impl AsyncFn(&Session) -> Result<(), ClientError>) {
    loop {
        session.begin();
        if let Err(error) = run(&session).await {
            session.failed(&error);
            return;
        }
        session.departed();
        if !session.rest().await {
            return;
        }
    }
}
