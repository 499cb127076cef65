//! What clients sent and what came back of it: the account of upstream messages.
//!
//! Place on the data path: client → session → **round trip** → ledger and recorder. In: messages sent,
//! answers to POSTs, and the messages that arrive, each with its sender, number and intended time in
//! front (`upstream.rs`). Out: the counts of a room as each member received it, the counts of each
//! client's own messages, and their times on the client's own clock.
//!
//! Not measured here: how a message fared between two clients of different shards; each account is
//! the receiver's.

use std::os::fd::{AsRawFd, RawFd};

use pushbench_os::sys::{TcpCounters, tcp_counters};
use pushbench_protocol::envelope::Envelope;

use super::upstream::{self, Head, Messages};
use crate::load::Setup;
use crate::load::client::ClientError;
use crate::load::client::upstream::Answer;
use crate::load::ledger::{Arrival, Ledger};
use crate::load::recorder::Delivery;
use crate::load::session::Entry;
use crate::load::shard::Shard;
use crate::load::tally::CounterId;
use crate::record::{Deliveries, HistogramId, Merge, RoundTrip};

/// What a shard keeps for each client that sends.
#[derive(Debug)]
struct Account {
    /// Own messages by number + 1: the first is 1 after a cursor of 0.
    own: Ledger,
    /// Sequences of the measure phase received, each counted once.
    received: u64,
    /// The socket for POSTs.
    uplink: Option<RawFd>,
}

/// What a shard keeps where clients send.
#[derive(Debug)]
pub(in crate::load) struct RoundTrips {
    accounts: Vec<Account>,
    counts: RoundTrip,
    /// Counters of POST connections that are closed.
    closed_wire: TcpCounters,
    /// What a payload must be, where payloads are checked; working space.
    expected: Vec<u8>,
}

impl RoundTrips {
    pub(in crate::load) fn new(setup: &Setup) -> Self {
        let share = (setup.clients() as usize).div_ceil(setup.shards);
        Self {
            accounts: Vec::with_capacity(share),
            counts: RoundTrip {
                acknowledged: (!setup.transport.goes_both_ways()).then_some(0),
                ..RoundTrip::default()
            },
            closed_wire: TcpCounters::default(),
            expected: Vec::new(),
        }
    }

    pub(in crate::load) fn add_client(&mut self) {
        self.accounts.push(Account {
            own: Ledger::new(0),
            received: 0,
            uplink: None,
        });
    }
}

impl Shard {
    fn in_phase(&self, intended_ns: u64) -> bool {
        self.phase().is_some_and(|phase| phase.holds(intended_ns))
    }

    fn with_round_trips<T: Default>(&self, f: impl FnOnce(&mut RoundTrips) -> T) -> T {
        let round_trips = self.round_trips.as_ref();
        round_trips.map_or_else(T::default, |all| f(&mut all.borrow_mut()))
    }

    /// Whether a client holds a cursor.
    pub(in crate::load) fn has_cursor(&self, slot: usize) -> bool {
        self.clients.borrow()[slot].has_cursor
    }

    /// Whether a client counts as connected.
    pub(in crate::load) fn is_connected(&self, slot: usize) -> bool {
        self.clients.borrow()[slot].connected
    }

    /// Counts a message that is about to be sent.
    pub(in crate::load) fn count_sent(&self, intended_ns: u64, sent_ns: u64) {
        self.tally.add(CounterId::Sent, 1);
        if self.in_phase(intended_ns) {
            self.with_round_trips(|all| {
                all.counts.sent += 1;
                let lag_ns = sent_ns.saturating_sub(intended_ns);
                self.tally.record(HistogramId::SendLag, lag_ns);
            });
        }
    }

    /// Counts the answer to a POST.
    pub(in crate::load) fn count_answer(&self, slot: usize, answer: Answer) {
        if answer.status != 200 {
            self.count_refused(answer.post.intended_ns);
            let status = ClientError::Status {
                expected: 200,
                got: answer.status,
            };
            return self.note(slot, format_args!("a POST was refused: {status}"));
        }
        if self.in_phase(answer.post.intended_ns) {
            self.with_round_trips(|all| {
                *all.counts.acknowledged.get_or_insert_default() += 1;
                let took_ns = answer.at_ns.saturating_sub(answer.post.sent_ns);
                self.tally.record(HistogramId::Acknowledge, took_ns);
            });
        }
    }

    /// Counts a POST that was refused, or will not be answered.
    pub(in crate::load) fn count_refused(&self, intended_ns: u64) {
        if self.in_phase(intended_ns) {
            self.with_round_trips(|all| all.counts.refused += 1);
        }
    }

    /// POSTs of the measure phase whose answer is outstanding.
    pub(in crate::load) fn unanswered_posts(&self) -> u64 {
        self.with_round_trips(|all| {
            let counts = &all.counts;
            let unanswered = |acknowledged| counts.sent - acknowledged - counts.refused;
            counts.acknowledged.map_or(0, unanswered)
        })
    }

    /// Notes the socket for POSTs, for the kernel's counters.
    pub(in crate::load) fn uplink_opened(&self, slot: usize, fd: RawFd, again: bool) {
        self.with_round_trips(|all| {
            all.accounts[slot].uplink = Some(fd);
            all.counts.reopened += u64::from(again);
        });
    }

    /// Keeps the kernel's counters of a socket for POSTs that is about to be closed.
    pub(in crate::load) fn uplink_closing(&self, slot: usize, stream: &impl AsRawFd) {
        let counters = tcp_counters(stream).unwrap_or_default();
        self.with_round_trips(|all| {
            all.closed_wire += counters;
            all.accounts[slot].uplink = None;
        });
    }

    /// The kernel's counters of all connections for POSTs, open or closed.
    pub(in crate::load) fn uplink_counters(&self) -> TcpCounters {
        self.with_round_trips(|all| {
            let mut counters = all.closed_wire;
            for fd in all.accounts.iter().filter_map(|account| account.uplink) {
                counters += tcp_counters(&fd).unwrap_or_default();
            }
            counters
        })
    }

    /// Counts the connections that are open.
    pub(in crate::load) fn count_connections(&self) {
        let clients = self.clients.borrow();
        let own = clients.iter().filter(|client| client.fd.is_some()).count();
        self.with_round_trips(|all| {
            let uplinks = all.accounts.iter().filter(|a| a.uplink.is_some()).count();
            all.counts.connections = (own + uplinks) as u64;
        });
    }

    /// Adds what one client was to receive of its room, and did, to the account. Sequences say what
    /// came twice or late; which of them belong to the phase is in the messages themselves, so what
    /// is missing is counted.
    pub(in crate::load) fn settle_upstream(&self, slot: usize, messages: &Messages) {
        let clients = self.clients.borrow();
        let (Some(ledger), Some(round_trips)) = (&clients[slot].ledger, &self.round_trips) else {
            return;
        };
        let channel = self.channel_of(slot);
        let account = &round_trips.borrow().accounts[slot];
        let (expected, received) = (messages.due_of_channel(channel), account.received);
        let missing = expected.saturating_sub(received);
        // Over no sequences: only what came twice or late.
        #[expect(clippy::reversed_empty_ranges, reason = "the empty range of a ledger")]
        let repeats = ledger.settle(1..=0);
        self.settled.borrow_mut().merge(Deliveries {
            expected,
            received,
            missing,
            ..repeats
        });
        if ledger.overflowed() || account.own.overflowed() {
            self.overflowed.set(true);
        }
        if missing > 0 {
            let gap = ledger.first_missing(1..=ledger.cursor());
            self.first_missing.borrow_mut().get_or_insert_with(|| {
                let place = match gap {
                    Some(sequence) => format!("sequence {sequence} is the first that is missing"),
                    None => "no sequence before the last received".to_owned(),
                };
                let client = self.index_of(slot);
                format!("client {client}, channel {channel}: {received} of {expected}; {place}")
            });
        }
    }

    /// What the clients sent and what came back of it.
    pub(in crate::load) fn report_round_trips(&self) -> Option<RoundTrip> {
        let all = self.round_trips.as_ref()?.borrow();
        let mut own = Deliveries::default();
        if let Some(messages) = self.phase().and_then(|phase| phase.upstream.as_ref()) {
            for (slot, account) in all.accounts.iter().enumerate() {
                let numbers = messages.numbers_of(self.index_of(slot));
                own.merge(account.own.settle(numbers.start + 1..=numbers.end));
            }
        }
        Some(RoundTrip {
            returned: own.received,
            doubled: own.duplicate,
            ..all.counts.clone()
        })
    }
}

impl Entry<'_> {
    /// Enters a message that a client has sent.
    pub(in crate::load) fn enter_upstream(
        &mut self,
        message: &Envelope<'_>,
        bytes: usize,
    ) -> Result<(), ClientError> {
        let shard = self.shard;
        let head = self.head_of(message)?;
        let in_phase = shard.in_phase(head.intended_ns);
        let Some(ledger) = self.client.ledger.as_mut() else {
            return Err(ClientError::Protocol(
                "a message came before the start cursor".into(),
            ));
        };
        let arrival = ledger.record(message.sequence, in_phase);
        let Some(round_trips) = &shard.round_trips else {
            return Ok(());
        };
        let mut all = round_trips.borrow_mut();
        if shard.setup.check_payload.is_some() {
            all.expected.clear();
            upstream::write_payload(head, message.payload.len(), &mut all.expected);
            let promised = shard.setup.scenario.upstream.map(|plan| plan.body_bytes());
            if message.payload != all.expected || promised != Some(message.payload.len()) {
                shard.corrupt(self.channel, message.sequence);
            }
        }
        if arrival == Arrival::Duplicate {
            return Ok(());
        }
        if head.client == shard.index_of(self.slot) {
            let number = u64::from(head.number) + 1;
            let own = all.accounts[self.slot].own.record(number, in_phase);
            if in_phase && own != Arrival::Duplicate {
                let took_ns = self.at_ns.saturating_sub(head.intended_ns);
                shard.tally.record(HistogramId::RoundTrip, took_ns);
            }
        }
        let (true, Some(phase)) = (in_phase, shard.phase()) else {
            return Ok(());
        };
        all.accounts[self.slot].received += 1;
        shard.count_received(bytes);
        if let (Some(messages), Some(recorder)) =
            (&phase.upstream, shard.recorder.borrow_mut().as_mut())
        {
            self.last_latency_ns = self.at_ns.checked_sub(head.intended_ns);
            recorder.record(Delivery {
                message: messages.index_of(head.client, u64::from(head.number)),
                intended_ns: head.intended_ns,
                actual_ns: message.actual_ns,
                received_ns: self.at_ns,
            });
        }
        Ok(())
    }

    /// Who sent a message: a member of this client's channel.
    fn head_of(&self, message: &Envelope<'_>) -> Result<Head, ClientError> {
        let setup = &self.shard.setup;
        let head = upstream::decode_head(message.payload).ok_or_else(|| {
            ClientError::Protocol(format!(
                "expected a payload that begins with sender, number and intended time, got another \
                 (sequence {}); publish nothing else to this channel",
                message.sequence
            ))
        })?;
        if head.client >= setup.clients() || setup.scenario.channel_of(head.client) != self.channel
        {
            return Err(ClientError::Protocol(format!(
                "client {} is not a member of channel {}, to which its message {} came",
                head.client, self.channel, head.number
            )));
        }
        Ok(head)
    }
}
