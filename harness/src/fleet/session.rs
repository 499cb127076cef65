//! One client's session: what the shard knows of it, and the sink that its messages go to.
//!
//! Place on the data path: client → **session** → ledger and recorder. In: cursors and envelopes.
//! Out: entries in the client's ledger and, for messages of the measure phase, in the shard's
//! recorder. No allocation and no lock on the receive path.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pushbench_servers::sys::{monotonic_ns, tcp_counters};
use pushbench_servers::{envelope, payload};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::MeasurePhase;
use super::shard::{Client, Shard};
use crate::client::socket::{Arrived, Options};
use crate::client::{ClientError, Sink, Target};
use crate::ledger::{Arrival, Ledger};
use crate::recorder::Delivery;

/// Most probes of a fleet: enough for a quantile, too few to weigh on what they measure.
const MAX_PROBES: u32 = 64;

/// At most one client in so many is a probe: the others are read in the cheapest way.
const PROBE_EVERY: u32 = 16;

/// How often a client that must still receive something before it departs looks again, and a
/// client with sessions looks whether the timing is known.
const RECHECK: Duration = Duration::from_millis(20);

/// A client's session, from the connect to the departure.
pub(crate) struct Session {
    shard: Rc<Shard>,
    /// Index among the clients of the shard.
    slot: usize,
    started_ns: Cell<u64>,
    /// Until the client has connected, or failed to, for the first time.
    first: Cell<bool>,
}

impl Session {
    pub(super) fn new(shard: Rc<Shard>, slot: usize) -> Self {
        Self {
            shard,
            slot,
            started_ns: Cell::new(0),
            first: Cell::new(true),
        }
    }

    /// Number of the client in the whole fleet.
    pub(crate) fn index(&self) -> u32 {
        self.shard.index_of(self.slot)
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.shard.setup.server
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shard.options
    }

    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            server: self.shard.setup.server,
            host: &self.shard.host,
            prefix: &self.shard.setup.channel_prefix,
            channel: self.shard.channel_of(self.slot),
        }
    }

    /// Notes that a connect begins.
    pub(super) fn begin(&self) {
        self.started_ns.set(monotonic_ns());
        let mut clients = self.shard.clients.borrow_mut();
        let client = &mut clients[self.slot];
        client.has_cursor = false;
        client.connected = false;
        client.lagged_to = 0;
    }

    /// Notes the socket, for the kernel's counters.
    pub(crate) fn opened(&self, stream: &TcpStream) {
        self.shard.clients.borrow_mut()[self.slot].fd = Some(stream.as_raw_fd());
    }

    /// Keeps the kernel's counters of a socket that is about to be closed.
    pub(crate) fn closing(&self, stream: &TcpStream) {
        if let Ok(counters) = tcp_counters(stream) {
            let mut closed = self.shard.closed_wire.get();
            closed += counters;
            self.shard.closed_wire.set(closed);
        }
        // At the end of the shard the clients may be borrowed; nobody asks for sockets then.
        if let Ok(mut clients) = self.shard.clients.try_borrow_mut() {
            clients[self.slot].fd = None;
        }
    }

    /// Whether the server has answered with a cursor.
    pub(crate) fn has_cursor(&self) -> bool {
        self.shard.clients.borrow()[self.slot].has_cursor
    }

    /// Counts the client as connected, once a session.
    pub(crate) fn connected(&self) {
        let mut clients = self.shard.clients.borrow_mut();
        let client = &mut clients[self.slot];
        if !std::mem::replace(&mut client.connected, true) {
            let took = monotonic_ns() - self.started_ns.get();
            self.shard.connect.borrow_mut().saturating_record(took);
            if self.first.replace(false) {
                self.shard.count_connected(1);
                self.shard.no_longer_connecting();
            }
        }
    }

    /// Counts a session that ended out of order.
    pub(super) fn failed(&self, error: &ClientError) {
        self.shard.failed(self.slot, error);
        if self.first.replace(false) {
            self.shard.no_longer_connecting();
        }
    }

    /// Whether the kernel is to stamp what this client receives: on a few, evenly spread.
    pub(crate) fn is_probe(&self) -> bool {
        let setup = &self.shard.setup;
        let every = setup.clients.div_ceil(MAX_PROBES).max(PROBE_EVERY);
        setup.probes && self.index().is_multiple_of(every)
    }

    /// Lets `f` write a request.
    pub(crate) fn with_sink<T>(&self, f: impl FnOnce(Target<'_>, &mut Entry<'_>) -> T) -> T {
        self.receive_at(0, f)
    }

    /// Lets `f` hand over what was read at `at_ns`.
    pub(crate) fn receive_at<T>(
        &self,
        at_ns: u64,
        f: impl FnOnce(Target<'_>, &mut Entry<'_>) -> T,
    ) -> T {
        self.receive(
            Arrived {
                bytes: 0,
                at_ns,
                waited_ns: None,
            },
            f,
        )
    }

    /// Lets `f` hand over what a read brought.
    pub(crate) fn receive<T>(
        &self,
        arrived: Arrived,
        f: impl FnOnce(Target<'_>, &mut Entry<'_>) -> T,
    ) -> T {
        let mut clients = self.shard.clients.borrow_mut();
        let mut entry = Entry {
            shard: &self.shard,
            client: &mut clients[self.slot],
            channel: self.shard.channel_of(self.slot),
            at_ns: arrived.at_ns,
            last_latency_ns: None,
        };
        let result = f(self.target(), &mut entry);
        // The stamp is that of the last segment, so it belongs to the last message of the read.
        if let (Some(waited_ns), Some(latency_ns)) = (arrived.waited_ns, entry.last_latency_ns)
            && let Some(recorder) = self.shard.recorder.borrow_mut().as_mut()
        {
            recorder.probe(latency_ns, waited_ns);
        }
        result
    }

    /// Lends the shard's read buffer.
    pub(crate) fn with_buffer<T>(&self, f: impl FnOnce(&mut [u8]) -> T) -> T {
        f(&mut self.shard.buffer.borrow_mut())
    }

    /// The cursor to resume from.
    pub(crate) fn cursor(&self) -> u64 {
        self.shard.clients.borrow()[self.slot].cursor()
    }

    /// Time until this client's next poll: its own phase on a grid of the poll interval.
    pub(crate) fn until_next_poll(&self) -> Duration {
        let interval = (self.shard.setup.poll_interval_ms * 1e6).max(1.0) as u64;
        let phase = self.shard.random_of(self.slot, 1).below(interval);
        let now = monotonic_ns() % interval;
        Duration::from_nanos(match phase.checked_sub(now) {
            Some(0) | None => phase + interval - now,
            Some(wait) => wait,
        })
    }

    /// When this session is to end.
    pub(crate) fn departure(&self) -> Departure {
        let sleep = self
            .shard
            .setup
            .sessions
            .map(|_| Box::pin(tokio::time::sleep(RECHECK)));
        Departure { sleep }
    }

    /// Settles the account of a session that has ended as planned.
    pub(super) fn departed(&self) {
        let before_ns = self.departure_ns().map(|(_, at_ns)| at_ns);
        self.shard.settle_session(self.slot, before_ns);
    }

    /// Stays away between two sessions. `false`: there will be no other.
    pub(super) async fn rest(&self) -> bool {
        let (Some(phase), Some(plan)) = (self.shard.phase(), self.shard.setup.sessions) else {
            return false;
        };
        tokio::time::sleep(Duration::from_nanos((plan.gap_ms * 1e6) as u64)).await;
        monotonic_ns() < phase.timing.measure_until_ns
    }

    /// When this session's client departs, once the timing is known: at the end of its stay, or
    /// with the measure phase.
    fn departure_ns(&self) -> Option<(&MeasurePhase, u64)> {
        let phase = self.shard.phase()?;
        let timing = &phase.timing;
        let plan = self.shard.setup.sessions?;
        let length = (plan.length_ms * 1e6) as u64;
        let cycle = (length + (plan.gap_ms * 1e6) as u64).max(1);
        let start = timing.schedule.start_ns;
        // A client that was there before the schedule began is at a random point of its stay.
        let stay = if self.started_ns.get() < start {
            start + self.shard.random_of(self.slot, 2).below(cycle).min(length)
        } else {
            self.started_ns.get() + length
        };
        Some((phase, stay.min(timing.measure_until_ns)))
    }
}

/// The end of a session: never, for clients that stay.
pub(crate) struct Departure {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Departure {
    /// Ready when the client is to depart and has received all that was due before, or has waited
    /// long enough for it.
    pub(crate) fn poll(&mut self, session: &Session, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else {
            return Poll::Pending;
        };
        loop {
            let now = monotonic_ns();
            let wait = match session.departure_ns() {
                None => RECHECK,
                Some((_, at_ns)) if now < at_ns => Duration::from_nanos(at_ns - now),
                Some((phase, at_ns)) => {
                    let channel = session.shard.channel_of(session.slot);
                    let due = phase.timetable.last_sequence_before(channel, at_ns);
                    let linger_ns = (phase.timing.linger_ms * 1e6) as u64;
                    if session.cursor() >= due || now >= at_ns + linger_ns {
                        return Poll::Ready(());
                    }
                    RECHECK
                }
            };
            // Armed again only when it has fired: a delivery in between costs nothing.
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            sleep.as_mut().reset(tokio::time::Instant::now() + wait);
        }
    }
}

/// Where one read's messages go.
pub(crate) struct Entry<'a> {
    shard: &'a Shard,
    client: &'a mut Client,
    channel: u32,
    at_ns: u64,
    /// Delivery latency of the last message of the read that belongs to the measure phase.
    last_latency_ns: Option<u64>,
}

impl Sink for Entry<'_> {
    fn subscribed(&mut self, cursor: u64) {
        self.client.has_cursor = true;
        self.client.away = false;
        let ledger = self
            .client
            .ledger
            .get_or_insert_with(|| Ledger::new(cursor));
        if !self.client.connected {
            ledger.rebase(cursor);
        }
    }

    fn envelope(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let message = envelope::decode(bytes)?;
        self.shard.count_message();
        let phase = self.shard.phase();
        let in_phase = phase.is_some_and(|phase| phase.holds(message.intended_ns));
        let Some(ledger) = self.client.ledger.as_mut() else {
            return Err(ClientError::Protocol(
                "a message came before the start cursor".into(),
            ));
        };
        let arrival = ledger.record(message.sequence, in_phase);
        if let Some(check) = &self.shard.setup.check_payload {
            let mut expected = Vec::new();
            let length = check.payload_bytes - envelope::HEAD_BYTES;
            payload::write(
                check.kind,
                check.seed,
                self.channel,
                message.sequence,
                length,
                &mut expected,
            );
            if message.payload != expected {
                self.shard.corrupt(self.channel, message.sequence);
            }
        }
        let (true, Some(phase)) = (in_phase, phase) else {
            return Ok(());
        };
        if arrival == Arrival::Duplicate {
            return Ok(());
        }
        self.shard.count_received(bytes.len());
        let index = phase
            .timing
            .schedule
            .index_of(self.channel, message.sequence);
        if let Some(recorder) = self.shard.recorder.borrow_mut().as_mut() {
            self.last_latency_ns = self.at_ns.checked_sub(message.intended_ns);
            recorder.record(Delivery {
                message: index.wrapping_sub(self.shard.first_message.get()),
                intended_ns: message.intended_ns,
                actual_ns: message.actual_ns,
                received_ns: self.at_ns,
            });
        }
        Ok(())
    }

    fn lagged(&mut self, from: u64, to: u64) {
        self.client.lagged_to = self.client.lagged_to.max(to);
        self.shard.count_lagged((to + 1).saturating_sub(from));
    }

    fn request(&mut self) {
        self.shard.count_request();
    }

    fn empty_response(&mut self) {
        self.shard.count_empty_response();
    }

    fn cursor(&self) -> u64 {
        self.client.cursor()
    }
}
