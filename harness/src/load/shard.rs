//! What one thread of the fleet knows and counts: its clients, their accounts, its recorder.
//!
//! Place on the data path: around its clients. What they share (one recorder, plain counters) is
//! never touched by another thread while clients run. Who drives the clients is another matter:
//! see `poller.rs` and `tasks.rs`.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pushbench_os::sys::{self, TcpCounters, monotonic_ns};
use pushbench_protocol::payload::SplitMix64;

use super::channels::Channels;
use super::conditions::round_trip::RoundTrips;
use super::conditions::{ConditionReport, ConditionState};
use super::handle::Gauges;
use super::pace::Pace;
use super::session::Client;
use super::tally::{CounterId, Counters, Histograms, Tally};
use super::{MeasurePhase, Setup};
use crate::load::client::ClientError;
use crate::load::client::socket::Options;
use crate::load::ledger::Ledger;
use crate::load::recorder::{self, Recorded, Recorder};
use crate::load::turns::PhaseTurns;
use crate::record::{Cause, Deliveries, HistogramId, Merge, RoundTrip};

/// Connects under way at once in a whole fleet: half the queue of one listener (4,096, or what
/// `net.core.somaxconn` allows), so that none overflows however few listeners there are.
const MAX_CONNECTING: usize = 2_048;

/// Deliveries of a fleet that are kept one by one for the intervals of quantiles: 8 bytes each.
/// More would make the intervals no narrower, as the publishes are what counts.
const MAX_SAMPLES: u64 = 1 << 20;

/// Errors kept in words. The rest is counted.
const MAX_ERRORS: usize = 5;

/// Period of the timer whose lateness is the scheduler lag, in ns. The loops' timers are good to
/// 1 ms.
pub(super) const LAG_TICK_NS: u64 = 10_000_000;

/// What a shard counted.
#[derive(Debug)]
pub(super) struct ShardReport {
    pub(super) counts: Deliveries,
    pub(super) overflowed: bool,
    pub(super) first_missing: Option<String>,
    pub(super) corrupt: u64,
    pub(super) first_corrupt: Option<String>,
    pub(super) lagged_messages: u64,
    pub(super) received_bytes: u64,
    pub(super) recorded: Option<Recorded>,
    pub(super) histograms: Histograms,
    pub(super) round_trip: Option<RoundTrip>,
    pub(super) conditions: Option<ConditionReport>,
}

/// A shard's own state.
pub(crate) struct Shard {
    number: usize,
    pub(crate) setup: Arc<Setup>,
    pub(super) host: String,
    pub(crate) options: Options,
    pub(super) clients: RefCell<Vec<Client>>,
    pub(super) recorder: RefCell<Option<Recorder>>,
    /// Set when the schedule is known.
    phase: OnceCell<Arc<MeasurePhase>>,
    pub(super) first_message: Cell<u64>,
    pub(super) closed_wire: Cell<TcpCounters>,
    /// Deliveries of the measure phase that the clients should receive.
    expected_in_all: Cell<u64>,
    /// How many clients to open.
    wanted: Cell<usize>,
    pub(super) pace: RefCell<Pace>,
    pub(super) settled: RefCell<Deliveries>,
    pub(super) overflowed: Cell<bool>,
    pub(super) first_missing: RefCell<Option<String>>,
    corrupt: Cell<u64>,
    first_corrupt: RefCell<Option<String>>,
    lagged_messages: Cell<u64>,
    /// Deliveries of the measure phase that the server said are lost: nobody waits for them.
    written_off: Cell<u64>,
    pub(super) tally: Tally,
    received: Cell<u64>,
    received_bytes: Cell<u64>,
    gauges: Arc<Gauges>,
    /// What clients send and what comes back, where they send at all.
    pub(super) round_trips: Option<RefCell<RoundTrips>>,
    channels: Channels,
    /// What only some plans need.
    pub(super) conditions: Option<Box<ConditionState>>,
}

fn add(cell: &Cell<u64>, by: u64) {
    cell.set(cell.get() + by);
}

impl Shard {
    /// A shard without clients.
    pub(super) fn new(
        number: usize,
        setup: Arc<Setup>,
        channels: Channels,
        gauges: Arc<Gauges>,
    ) -> Self {
        let share = (setup.clients() as usize).div_ceil(setup.shards);
        let per_s = setup
            .scenario
            .clients
            .connect_per_s
            .map(|all| all / setup.shards as f64);
        let most = MAX_CONNECTING.min(somaxconn() / 2) / setup.shards;
        Self {
            number,
            host: setup.server.to_string(),
            options: Options {
                congestion: setup.congestion.clone(),
                sources: setup.sources.clone(),
                first_source: setup.first_source,
                // A client that leaves in the middle leaves in order, as clients do.
                reset_on_close: setup.scenario.sessions.is_none(),
                slow: setup.scenario.slow_readers,
            },
            clients: RefCell::new(Vec::with_capacity(share)),
            recorder: RefCell::new(None),
            phase: OnceCell::new(),
            first_message: Cell::new(0),
            closed_wire: Cell::default(),
            expected_in_all: Cell::new(0),
            wanted: Cell::new(0),
            pace: RefCell::new(Pace::new(per_s, most)),
            settled: RefCell::default(),
            overflowed: Cell::new(false),
            first_missing: RefCell::default(),
            corrupt: Cell::new(0),
            first_corrupt: RefCell::default(),
            lagged_messages: Cell::new(0),
            written_off: Cell::new(0),
            tally: Tally::default(),
            received: Cell::new(0),
            received_bytes: Cell::new(0),
            gauges,
            round_trips: setup
                .scenario
                .upstream
                .map(|_| RefCell::new(RoundTrips::new(&setup))),
            channels,
            conditions: ConditionState::new(&setup.scenario),
            setup,
        }
    }

    /// How many clients are still to be opened.
    pub(super) fn to_open(&self) -> usize {
        self.wanted
            .get()
            .saturating_sub(self.clients.borrow().len())
    }

    /// How many clients to have open; the fleet never shrinks.
    pub(super) fn want(&self, count: usize) {
        self.wanted.set(count);
    }

    /// Makes room for one more client, whose connect begins; its slot.
    pub(super) fn add_client(&self) -> usize {
        let mut clients = self.clients.borrow_mut();
        clients.push(Client::default());
        self.pace.borrow_mut().begun();
        if let Some(round_trips) = &self.round_trips {
            round_trips.borrow_mut().add_client();
        }
        let slot = clients.len() - 1;
        self.add_conditions(slot);
        slot
    }

    /// Enters every tick of the clock from `due_ns` to `now_ns`, and returns the next one. Each
    /// that has passed was late, not only the first: otherwise a thread that is starved has the
    /// fewer samples, the less it gets to run.
    pub(super) fn tick(&self, mut due_ns: u64, now_ns: u64) -> u64 {
        let timing = self.phase().map(|phase| &phase.timing);
        while due_ns <= now_ns {
            if timing.is_some_and(|t| (t.measure_from_ns..t.measure_until_ns).contains(&due_ns)) {
                self.tally
                    .record(HistogramId::SchedulerLag, now_ns - due_ns);
            }
            due_ns += LAG_TICK_NS;
        }
        if let Some(phase) = self.phase() {
            self.show_outstanding(phase);
            // No timer of this fleet runs in the turn of another.
            if let Some(until_ns) = phase.others_until_ns(now_ns) {
                return due_ns.max(until_ns);
            }
        }
        due_ns
    }

    /// The schedule is known.
    pub(super) fn begin(&self, phase: Arc<MeasurePhase>) {
        self.first_message.set(phase.first_message());
        let expected = self.expected(&phase);
        self.expected_in_all.set(expected);
        *self.recorder.borrow_mut() = Some(Recorder::new(recorder::Plan {
            start_ns: phase.timing.measure_from_ns,
            end_ns: phase.timing.measure_until_ns,
            turns: PhaseTurns::new(&phase.timetable, phase.timing.measure_from_ns),
            messages: phase.index_bound(),
            deliveries: expected,
            max_samples: if self.setup.probes {
                MAX_SAMPLES / self.setup.shards as u64
            } else {
                0
            },
            max_fanout_messages: recorder::MAX_FANOUT_MESSAGES / self.setup.shards as u64,
        }));
        self.count_connections();
        self.show_outstanding(&phase);
        // A second schedule has no place in a trial: the first stays.
        let _ = self.phase.set(phase);
    }

    /// The measure phase, once the schedule is known.
    pub(super) fn phase(&self) -> Option<&MeasurePhase> {
        self.phase.get().map(Arc::as_ref)
    }

    /// Everything that was counted so far, the kernel's counters of open and closed connections
    /// among it: a system call for each socket, so call it at the edges of a window only.
    pub(super) fn sample(&self) -> Counters {
        let mut wire = self.closed_wire.get();
        for (slot, client) in self.clients.borrow().iter().enumerate() {
            if let (Some(fd), false) = (client.fd, self.is_apart(slot)) {
                // A client takes its number back before it closes the socket
                // (`Session::closing`), so the number still means that socket.
                wire += sys::tcp_counters(&fd).unwrap_or_default();
            }
        }
        let uplinks = self.uplink_counters();
        wire += uplinks;
        let mut counters = self
            .tally
            .counters()
            .with(CounterId::PostReceivedBytes, uplinks.bytes_received)
            .with(CounterId::PostSentBytes, uplinks.bytes_sent);
        counters.add_wire(wire);
        counters
    }

    /// Settles every account of what was due before a time.
    pub(super) fn report(&self, due_before_ns: u64) -> ShardReport {
        for slot in 0..self.clients.borrow().len() {
            if !self.clients.borrow()[slot].away && !self.is_apart(slot) {
                self.settle(slot, due_before_ns);
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
            histograms: self.tally.histograms(),
            round_trip: self.report_round_trips(),
            conditions: self.settle_conditions(self.phase()),
        }
    }

    /// Adds what one client was to receive, and did, to the account.
    fn settle(&self, slot: usize, before_ns: u64) {
        let Some(phase) = self.phase() else {
            return;
        };
        if let Some(messages) = &phase.upstream {
            return self.settle_upstream(slot, messages);
        }
        let clients = self.clients.borrow();
        if let Some(ledger) = &clients[slot].ledger {
            self.settle_ledger(slot, phase, ledger, before_ns);
        }
    }

    /// Adds what a client was owed before `before_ns` and what it got of that.
    pub(super) fn settle_ledger(
        &self,
        slot: usize,
        phase: &MeasurePhase,
        ledger: &Ledger,
        before_ns: u64,
    ) {
        let channel = self.channel_of(slot);
        let expected = phase.expected(channel, before_ns);
        let counts = ledger.settle(expected.clone());
        self.settled.borrow_mut().merge(counts);
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
            if let Some(messages) = &phase.upstream {
                let due = messages.due_of_channel(self.channel_of(slot));
                return client.ledger.as_ref().map_or(0, |_| due);
            }
            let range = phase.expected(self.channel_of(slot), u64::MAX);
            client
                .ledger
                .as_ref()
                .map_or(0, |ledger| ledger.settle(range).expected)
        };
        let healthy = |(slot, _): &(usize, &Client)| !self.is_apart(*slot);
        clients.iter().enumerate().filter(healthy).map(of).sum()
    }

    fn show_outstanding(&self, phase: &MeasurePhase) {
        let outstanding = if self.setup.scenario.sessions.is_none() || self.resumes() {
            self.expected_in_all
                .get()
                .saturating_sub(self.received.get())
                .saturating_sub(self.written_off.get())
                + self.unanswered_posts()
        } else if monotonic_ns() < phase.timing.measure_until_ns {
            u64::from(!self.clients.borrow().is_empty())
        } else {
            self.clients
                .borrow()
                .iter()
                .filter(|c| c.connected && !c.away)
                .count() as u64
                + self.away()
        };
        self.gauges
            .outstanding
            .store(outstanding, Ordering::Relaxed);
        self.gauges
            .received
            .store(self.received.get(), Ordering::Relaxed);
        let recorder = self.recorder.borrow();
        if let Some((p50_ns, p99_ns)) = recorder.as_ref().and_then(Recorder::last_second) {
            self.gauges.p50_ns.store(p50_ns, Ordering::Relaxed);
            self.gauges.p99_ns.store(p99_ns, Ordering::Relaxed);
        }
    }

    /// Number of a client in the whole fleet: the shards take turns.
    pub(crate) fn index_of(&self, slot: usize) -> u32 {
        (slot * self.setup.shards + self.number) as u32
    }

    /// Number of a client's channel.
    pub(super) fn channel_of(&self, slot: usize) -> u32 {
        self.channels.of(self.index_of(slot))
    }

    /// Random numbers of a client, the same in every run with the same seed.
    pub(super) fn random_of(&self, slot: usize, purpose: u64) -> SplitMix64 {
        random_of_client(self.setup.seed, self.index_of(slot), purpose)
    }

    pub(super) fn count_received(&self, bytes: usize) {
        add(&self.received, 1);
        add(&self.received_bytes, bytes as u64);
    }

    pub(super) fn count_lagged(&self, messages: u64) {
        add(&self.lagged_messages, messages);
    }

    /// Messages `from..=to` of a channel will not come to one client.
    pub(super) fn write_off(&self, channel: u32, from: u64, to: u64) {
        let Some(phase) = self.phase() else { return };
        let owed = phase.expected(channel, u64::MAX);
        let (from, to) = (from.max(*owed.start()), to.min(*owed.end()));
        add(&self.written_off, to.saturating_add(1).saturating_sub(from));
    }

    pub(super) fn corrupt(&self, channel: u32, sequence: u64) {
        add(&self.corrupt, 1);
        self.first_corrupt
            .borrow_mut()
            .get_or_insert_with(|| format!("channel {channel}, sequence {sequence}"));
    }

    /// Counts a client as connected that took so long for it.
    pub(super) fn answered(&self, slot: usize, took_ns: u64) {
        let now_ns = monotonic_ns();
        if self.is_first(slot) {
            self.pace.borrow_mut().answered(took_ns, now_ns);
        }
        if !std::mem::replace(&mut self.clients.borrow_mut()[slot].counted, true) {
            self.gauges
                .last_connected_ns
                .store(now_ns, Ordering::Relaxed);
            self.gauges.connected.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a session that ended out of order.
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
        self.note_failure(slot, error, false);
    }

    /// Counts a client as connected no more.
    pub(super) fn gone(&self, slot: usize) {
        if std::mem::take(&mut self.clients.borrow_mut()[slot].counted) {
            self.gauges.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Tells the pace and keeps the words. `comes_back`: the client tries again, so that a server
    /// that refuses now is not a reason to open no more.
    pub(super) fn note_failure(&self, slot: usize, error: &ClientError, comes_back: bool) {
        if self.is_first(slot) {
            self.pace.borrow_mut().failed(monotonic_ns());
        }
        if let Some(cause) = self.count_limit(error)
            && !(comes_back && cause == Cause::Refused)
        {
            self.stop_at(cause);
        }
        self.note(slot, error);
    }

    /// Counts the limit that an error names, where it names one.
    pub(super) fn count_limit(&self, error: &ClientError) -> Option<Cause> {
        let limit = error.limit()?;
        let mut met = self.gauges.limits_met.lock().expect("no panic while held");
        *met.entry(limit).or_default() += 1;
        Some(limit)
    }

    /// Keeps an error in words, where it is one of the first few.
    pub(super) fn note(&self, slot: usize, error: impl std::fmt::Display) {
        let mut errors = self.gauges.errors.lock().expect("no panic while held");
        if errors.len() < MAX_ERRORS {
            let text = format!("client {}: {error}", self.index_of(slot));
            errors.push(text);
        }
    }

    /// Shows how many clients are lost and not yet back.
    pub(super) fn show_away(&self) {
        self.gauges.away.store(self.away(), Ordering::Relaxed);
    }

    /// Adds what a client that came after the schedule was known is owed. Shown at once, and before the
    /// client counts as connected or back: whoever waits for nothing to be outstanding must not find
    /// that in between.
    pub(super) fn expect_more(&self, deliveries: u64) {
        add(&self.expected_in_all, deliveries);
        let outstanding = &self.gauges.outstanding;
        outstanding.fetch_add(deliveries, Ordering::Relaxed);
    }

    /// A limit was met: the first is kept, and where it stands in the way of every further client,
    /// no more are opened.
    fn stop_at(&self, cause: Cause) {
        let mut stopped_by = self.gauges.stopped_by.lock().expect("no panic while held");
        stopped_by.get_or_insert(cause);
        if cause.ends_growth() {
            self.wanted.set(0);
        }
    }

    /// Whether this is the first connect of a client; asked once, when it is over.
    fn is_first(&self, slot: usize) -> bool {
        !std::mem::replace(&mut self.clients.borrow_mut()[slot].came, true)
    }
}

/// Random numbers of client `index` of a fleet, a stream of its own for each purpose.
pub(super) fn random_of_client(seed: u64, index: u32, purpose: u64) -> SplitMix64 {
    let mut mixed = SplitMix64::new(seed ^ (u64::from(index) << 8 | purpose));
    SplitMix64::new(mixed.next())
}

/// The kernel's bound on the queue of a listener; its default where it does not say.
fn somaxconn() -> usize {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(4_096)
}
