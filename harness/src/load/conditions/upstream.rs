//! What clients send: when each message is due, what it says, and in which phase it counts.
//!
//! Place on the data path: ahead of the sending (`poller/upstream.rs`) and after the receiving
//! (`round_trip.rs`). Pure functions, so that both sides of the account follow from the same
//! schedule. In: [`Upstream`], the [`Timing`] of the trial, a seed. Out: due times, payloads,
//! and how many messages each channel must see.
//!
//! Open loop: message *i* of a client is due at its time whether or not the one before was answered.
//! A client that lags is an index that lags; nothing is queued. Not measured here: anything.

use std::ops::Range;

use crate::load::shard::random_of_client;
use crate::load::{Setup, Timing};
use crate::scenario::Upstream;
use crate::scenario::conditions::upstream::HEAD_BYTES;

/// The longest interval between two messages of a client in ns: 146 years. A bound, so that sums of
/// times cannot overflow.
const MAX_INTERVAL_NS: f64 = (1u64 << 62) as f64;

/// Number of messages that a head can distinguish.
const NUMBERS: u64 = 1 << 32;

/// Which stream of a client's random numbers the phase comes from.
const PURPOSE: u64 = b'u' as u64;

/// What follows the head of a payload, over and over.
const FILLER: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// When each message of each client is due: message `i` of client `j` at
/// `start + phase(j) + i / rate`, with a phase drawn from the client's own random numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    start_ns: u64,
    end_ns: u64,
    ns_per_message: f64,
    seed: u64,
}

impl Schedule {
    /// From the start of the trial's schedule to the end of its measure phase.
    pub fn new(plan: Upstream, timing: &Timing, seed: u64) -> Self {
        Self {
            start_ns: timing.schedule.start_ns,
            end_ns: timing.measure_until_ns,
            ns_per_message: (1e9 / plan.rate_per_client_s).min(MAX_INTERVAL_NS),
            seed,
        }
    }

    /// No message is due at or after this time, in ns of `CLOCK_MONOTONIC`.
    pub fn end_ns(&self) -> u64 {
        self.end_ns
    }

    /// How long after the start a client's first message is due, in ns: uniform in one interval.
    pub fn phase_ns(&self, client: u32) -> u64 {
        random_of_client(self.seed, client, PURPOSE).below((self.ns_per_message as u64).max(1))
    }

    /// When message `number` (from 0) of a client with that phase is due.
    pub fn due_at_phase_ns(&self, phase_ns: u64, number: u64) -> u64 {
        // Multiplied out from the start each time: rounding never accumulates.
        let offset = (number as f64 * self.ns_per_message) as u64;
        self.start_ns
            .saturating_add(phase_ns)
            .saturating_add(offset)
    }

    /// When message `number` (from 0) of `client` is due, in ns of `CLOCK_MONOTONIC`.
    pub fn due_ns(&self, client: u32, number: u64) -> u64 {
        self.due_at_phase_ns(self.phase_ns(client), number)
    }

    /// How many messages of `client` are due before `time_ns` and before the end.
    pub fn messages_before(&self, client: u32, time_ns: u64) -> u64 {
        let phase_ns = self.phase_ns(client);
        let time_ns = time_ns.min(self.end_ns);
        let first_ns = self.start_ns.saturating_add(phase_ns);
        let Some(elapsed) = time_ns.checked_sub(first_ns).filter(|&e| e > 0) else {
            return 0;
        };
        let mut count = (elapsed as f64 / self.ns_per_message) as u64;
        // Beyond 2^53 ns (104 days) a double no longer distinguishes neighbours.
        if elapsed < 1 << 53 {
            // The division may be off by one, so it is settled against the times themselves.
            while self.due_at_phase_ns(phase_ns, count) < time_ns {
                count += 1;
            }
            while count > 0 && self.due_at_phase_ns(phase_ns, count - 1) >= time_ns {
                count -= 1;
            }
        }
        count.min(NUMBERS)
    }
}

/// The messages of a measure phase: how many each channel sees, and an index for each.
#[derive(Debug, Clone)]
pub struct Messages {
    schedule: Schedule,
    timing: Timing,
    clients: u64,
    /// The first number of any client in the phase …
    first_round: u64,
    /// … and how many numbers there are. The phases of all clients lie within one interval, so at
    /// most two rounds are not full.
    rounds: u64,
    due: u64,
    due_of_channel: Vec<u64>,
}

impl Messages {
    /// Counts what clients are to send; `None` where the fleet has no upstream.
    pub fn new(setup: &Setup, timing: &Timing) -> Option<Self> {
        let schedule = Schedule::new(setup.scenario.upstream?, timing, setup.seed);
        let mut messages = Self {
            schedule,
            timing: timing.clone(),
            clients: u64::from(setup.clients()),
            first_round: u64::MAX,
            rounds: 0,
            due: 0,
            due_of_channel: vec![0; setup.scenario.channel_count() as usize],
        };
        let mut last = 0;
        for client in 0..setup.clients() {
            let numbers = messages.numbers_of(client);
            let due = numbers.end - numbers.start;
            if due > 0 {
                messages.first_round = messages.first_round.min(numbers.start);
                last = last.max(numbers.end);
            }
            messages.due += due;
            let channel = setup.scenario.channel_of(client) as usize;
            if let Some(of_channel) = messages.due_of_channel.get_mut(channel) {
                *of_channel += due;
            }
        }
        messages.first_round = messages.first_round.min(last);
        messages.rounds = last - messages.first_round;
        Some(messages)
    }

    /// When they are due.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Numbers of a client's messages that belong to the phase.
    pub fn numbers_of(&self, client: u32) -> Range<u64> {
        let before = |time_ns| self.schedule.messages_before(client, time_ns);
        let first = before(self.timing.measure_from_ns);
        first..before(self.timing.measure_until_ns).max(first)
    }

    /// Messages of the phase over all clients.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Messages of the phase that the members of `channel` are to send, and so each of them to
    /// receive.
    pub fn due_of_channel(&self, channel: u32) -> u64 {
        self.due_of_channel
            .get(channel as usize)
            .copied()
            .unwrap_or(0)
    }

    /// Indexes lie below this: a little more than [`Self::due`].
    pub fn index_bound(&self) -> u64 {
        self.rounds.saturating_mul(self.clients)
    }

    /// The index of a message of the phase: round by round. The clients of a round are turned by
    /// the round's number, so that a sample of every so many indexes meets all of them. Another
    /// message's index lies at or beyond [`Self::index_bound`].
    pub fn index_of(&self, client: u32, number: u64) -> u64 {
        let round = number.wrapping_sub(self.first_round);
        if round >= self.rounds || u64::from(client) >= self.clients {
            return u64::MAX;
        }
        round * self.clients + (u64::from(client) + round) % self.clients
    }

    /// Client and number at an index below [`Self::index_bound`]: the inverse of
    /// [`Self::index_of`].
    pub fn place_of(&self, index: u64) -> (u32, u64) {
        let clients = self.clients.max(1);
        let (round, at) = (index / clients, index % clients);
        let client = (at + clients - round % clients) % clients;
        (client as u32, self.first_round + round)
    }
}

/// What stands at the front of an upstream payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the sender in the whole fleet.
    pub client: u32,
    /// Number of the message, from 0 in each client.
    pub number: u32,
    /// When it was due, in ns of `CLOCK_MONOTONIC`.
    pub intended_ns: u64,
}

/// Appends a payload of `bytes` bytes, at least `HEAD_BYTES`: the head and filler, all ASCII.
pub fn write_payload(head: Head, bytes: usize, out: &mut Vec<u8>) {
    let end = out.len() + bytes.max(HEAD_BYTES);
    push_hex(u64::from(head.client), 8, out);
    push_hex(u64::from(head.number), 8, out);
    push_hex(head.intended_ns, 16, out);
    while out.len() < end {
        let take = FILLER.len().min(end - out.len());
        out.extend_from_slice(&FILLER[..take]);
    }
}

/// Reads the head of an upstream payload, without allocation; `None` where there is none.
pub fn decode_head(payload: &[u8]) -> Option<Head> {
    Some(Head {
        client: read_hex(payload.get(..9)?)? as u32,
        number: read_hex(payload.get(9..18)?)? as u32,
        intended_ns: read_hex(payload.get(18..HEAD_BYTES)?)?,
    })
}

fn push_hex(value: u64, digits: u32, out: &mut Vec<u8>) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (4 * digit)) as usize & 15]);
    }
    out.push(b':');
}

/// Digits up to the colon at the end.
fn read_hex(field: &[u8]) -> Option<u64> {
    let (&colon, digits) = field.split_last()?;
    let value = digits.iter().try_fold(0, |value: u64, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })?;
    (colon == b':').then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{ChannelCount, Scenario, Via};
    use pushbench_protocol::schedule;
    use pushbench_protocol::transport::Transport;

    fn plan(rate_per_client_s: f64) -> Upstream {
        Upstream {
            rate_per_client_s,
            payload_bytes: 128,
            via: Via::Transport,
        }
    }

    fn timing(start_ns: u64, measure_from_ns: u64, measure_until_ns: u64) -> Timing {
        Timing {
            schedule: schedule::Schedule::uniform(start_ns..measure_until_ns, 1.0, 1),
            measure_from_ns,
            measure_until_ns,
            linger_ms: 0.0,
            faults_ns: Vec::new(),
        }
    }

    fn setup(clients: u32, channels: u32, rate: f64) -> Setup {
        let server = "127.0.0.1:80".parse().expect("an address");
        let mut scenario = Scenario::of_clients(clients);
        scenario.channels.count = ChannelCount::Fixed(channels);
        scenario.upstream = Some(plan(rate));
        Setup::new(Transport::WebSocket, server, scenario)
    }

    #[test]
    fn a_payload_has_the_documented_bytes() {
        let head = Head {
            client: 0x1f,
            number: 2,
            intended_ns: u64::MAX,
        };
        let mut out = b"before ".to_vec();
        write_payload(head, HEAD_BYTES + 3, &mut out);
        assert_eq!(
            String::from_utf8(out).expect("ASCII"),
            "before 0000001f:00000002:ffffffffffffffff:ABC"
        );
        assert_eq!(crate::scenario::conditions::upstream::MIN_PAYLOAD_BYTES, 86);
    }

    #[test]
    fn a_payload_without_the_head_is_told_from_one_with_it() {
        let good = b"0000001f:00000002:ffffffffffffffff:";
        assert!(decode_head(good).is_some());
        for length in 0..good.len() {
            assert_eq!(decode_head(&good[..length]), None, "{length} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] = b'G';
            assert_eq!(decode_head(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn a_schedule_without_end_and_one_of_a_lifetime_are_counted_without_overflow() {
        let endless = Schedule::new(plan(10_000.0), &timing(1, 1, u64::MAX), 3);
        assert_eq!(endless.messages_before(0, u64::MAX), NUMBERS);
        let rare = Schedule::new(plan(f64::MIN_POSITIVE), &timing(1, 1, 1_000), 3);
        assert_eq!(rare.messages_before(0, 1_000), 0);
        assert_eq!(rare.due_ns(0, u64::MAX), u64::MAX);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_decodes_to_itself_and_may_travel(
            client: u32, number: u32, intended_ns: u64, filler in 0usize..300,
        ) {
            let head = Head { client, number, intended_ns };
            let mut out = Vec::new();
            write_payload(head, HEAD_BYTES + filler, &mut out);
            proptest::prop_assert_eq!(out.len(), HEAD_BYTES + filler);
            proptest::prop_assert_eq!(decode_head(&out), Some(head));
            proptest::prop_assert!(pushbench_protocol::envelope::payload_is_valid(&out));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            if let Some(head) = decode_head(&bytes) {
                let mut again = Vec::new();
                write_payload(head, HEAD_BYTES, &mut again);
                proptest::prop_assert_eq!(&again, &bytes[..HEAD_BYTES]);
            }
        }

        #[test]
        fn counts_agree_with_the_times_of_the_messages(
            rate in 0.5f64..5_000.0, seed: u64, client in 0u32..100,
            length in 0u64..500_000_000, time in 0u64..700_000_000,
        ) {
            let start = 1_000;
            let schedule = Schedule::new(plan(rate), &timing(start, start, start + length), seed);
            let interval = (1e9 / rate) as u64;
            proptest::prop_assert!(schedule.phase_ns(client) < interval.max(1));
            let before = schedule.messages_before(client, time);
            let ends = start + length;
            let limit = time.min(ends);
            if before > 0 {
                proptest::prop_assert!(schedule.due_ns(client, before - 1) < limit);
            }
            proptest::prop_assert!(schedule.due_ns(client, before) >= limit);
            // Each message is one interval after the one before, rounded to whole ns.
            let gap = schedule.due_ns(client, 8) - schedule.due_ns(client, 7);
            proptest::prop_assert!((interval..=interval + 1).contains(&gap));
        }

        #[test]
        fn every_message_of_the_phase_has_an_index_of_its_own_and_a_channel_that_counts_it(
            clients in 1u32..40, channels in 1u32..12, rate in 1.0f64..300.0, seed: u64,
            warm_up in 0u64..50_000_000, length in 0u64..100_000_000,
        ) {
            let setup = Setup { seed, ..setup(clients, channels, rate) };
            let from = 1_000 + warm_up;
            let messages = Messages::new(&setup, &timing(1_000, from, from + length))
                .expect("it has an upstream");
            let mut seen = std::collections::HashSet::new();
            let mut of_channel = vec![0; channels as usize];
            for client in 0..clients {
                for number in messages.numbers_of(client) {
                    let due = messages.schedule().due_ns(client, number);
                    proptest::prop_assert!((from..from + length).contains(&due));
                    let index = messages.index_of(client, number);
                    proptest::prop_assert!(index < messages.index_bound());
                    proptest::prop_assert!(seen.insert(index));
                    proptest::prop_assert_eq!(messages.place_of(index), (client, number));
                    of_channel[setup.scenario.channel_of(client) as usize] += 1;
                }
            }
            proptest::prop_assert_eq!(messages.due(), seen.len() as u64);
            for channel in 0..channels {
                let counted = of_channel[channel as usize];
                proptest::prop_assert_eq!(messages.due_of_channel(channel), counted);
            }
            // At most two rounds are not full.
            let spare = messages.index_bound() - messages.due();
            proptest::prop_assert!(spare <= 2 * u64::from(clients));
        }
    }
}
