//! The log that every transport reads: channels, sequences, and the way from a publisher to the
//! shards.
//!
//! Place on the data path: publisher → **hub** → shard ([`crate::shard`]) → transport. In: payloads.
//! Out: the same encoded envelopes in the same order to every shard. A channel gives each message
//! the next sequence, counted from 1, and stamps its actual time under one lock, so that sequence,
//! actual time and the order in every shard's inbox agree.

mod names;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};

use bytes::Bytes;

use pushbench_os::sys::monotonic_ns;
use pushbench_os::wake::Wake;
use pushbench_protocol::envelope;
use pushbench_protocol::framing::Epoch;
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::schedule::Timetable;

use self::names::Names;
pub use self::names::{DeclareError, MAX_NAME_BYTES};

/// Most messages that wait for one shard. 65,536: over three seconds at 20,000 a second, and at
/// 128 bytes 8 MiB. Beyond it the publisher waits, and the wait shows as publish lag.
const MAX_INBOX_MESSAGES: usize = 65_536;

/// Most bytes that wait for one shard: 64 MiB, for large payloads.
const MAX_INBOX_BYTES: usize = 64 << 20;

/// How far a cursor may be ahead of the schedule that is being published: what another server on
/// the same log may be ahead of this one.
const AHEAD_NS: u64 = 1_000_000_000;

/// Why a message was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A shard has not taken what it was handed before.
    #[error(
        "the server is behind: {MAX_INBOX_MESSAGES} messages or {MAX_INBOX_BYTES} bytes wait for \
         a shard; publish more slowly or retry"
    )]
    Full,
    /// No channel has this number.
    #[error("no channel has the number {0}")]
    UnknownChannel(u32),
    /// The log is that of a plan, which another server may have too, and the message is not of it.
    #[error(
        "the log of this channel is that of a plan, so that another server can have the same; \
         publish to another channel"
    )]
    Planned,
}

/// A message on its way to a shard.
#[derive(Debug, Clone)]
pub struct Appended {
    /// Channel number.
    pub channel: u32,
    /// Position in the channel, from 1.
    pub sequence: u64,
    /// The encoded envelope; shared by all shards, copied once by each into its rings.
    pub envelope: Bytes,
}

/// What waits for one shard.
#[derive(Debug, Default)]
struct Inbox {
    messages: Vec<Appended>,
    bytes: usize,
}

/// One shard's end of the hub.
#[derive(Debug)]
struct Link {
    inbox: Mutex<Inbox>,
    wake: Wake,
}

/// Channels, and the shards that read them.
#[derive(Debug)]
pub struct Hub {
    names: RwLock<Names>,
    /// Last sequence of each channel. Held while a message enters the inboxes.
    heads: Mutex<Vec<u64>>,
    links: Vec<Link>,
    /// Of the schedule that is being published, where the sequences of the log are its own.
    timetable: Mutex<Option<Arc<Timetable>>>,
    /// Of the logs that no plan has.
    epoch: Epoch,
    /// Whether that was given from outside: another server has the same log, or will have.
    is_given: bool,
    planned: OnceLock<Planned>,
}

/// The first channels, whose logs are those of a plan.
#[derive(Debug)]
struct Planned {
    channels: u32,
    epoch: Epoch,
}

impl Hub {
    /// A hub without channels for `shards` shards. `epoch`: that of its logs; drawn anew where `None`,
    /// as nobody else has them.
    ///
    /// # Errors
    /// `EMFILE` where this process may open no more descriptors.
    pub fn new(shards: usize, epoch: Option<Epoch>) -> std::io::Result<Arc<Self>> {
        let link = |_| {
            Ok(Link {
                inbox: Mutex::default(),
                wake: Wake::new()?,
            })
        };
        let links = (0..shards).map(link).collect::<std::io::Result<_>>()?;
        Ok(Arc::new(Self {
            names: RwLock::default(),
            heads: Mutex::default(),
            links,
            timetable: Mutex::default(),
            // The keys of a hash table are drawn at random, which is all that is needed here.
            epoch: epoch.unwrap_or_else(|| Epoch::of(RandomState::new().hash_one(()))),
            is_given: epoch.is_some(),
            planned: OnceLock::new(),
        }))
    }

    /// Declares channels by name or as `prefix*count`, before clients connect.
    ///
    /// # Errors
    /// [`DeclareError`]; none of them is declared then.
    pub fn declare<S: AsRef<str>>(&self, specs: &[S]) -> Result<(), DeclareError> {
        self.declare_with(specs, &[])
    }

    /// As [`Self::declare`]; channel `k` of each declaration gets `overflow[k % len]`, the default
    /// where `overflow` is empty.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn declare_with<S: AsRef<str>>(
        &self,
        specs: &[S],
        overflow: &[Overflow],
    ) -> Result<(), DeclareError> {
        let mut names = self.names.write().expect("no panic while held");
        let declared = names.declare(specs, overflow);
        self.heads
            .lock()
            .expect("no panic while held")
            .resize(names.len() as usize, 0);
        declared
    }

    /// The number of the channel called `name`.
    pub fn channel(&self, name: &str) -> Option<u32> {
        let names = self.names.read().expect("no panic while held");
        names.find(name)
    }

    /// The overflow policy of a channel; the default for a number that no channel has.
    pub fn overflow(&self, channel: u32) -> Overflow {
        let mut policy = Overflow::default();
        self.each_overflow(channel, |found| {
            policy = found;
            false
        });
        policy
    }

    /// Calls `each` with the policies of all channels from number `from` on, in order, until it
    /// says `false`.
    pub(crate) fn each_overflow(&self, from: u32, each: impl FnMut(Overflow) -> bool) {
        let names = self.names.read().expect("no panic while held");
        names.each_overflow(from, each);
    }

    /// The declarations, as they were made.
    pub fn declared(&self) -> Vec<String> {
        let names = self.names.read().expect("no panic while held");
        names.declared()
    }

    /// How many channels there are.
    pub fn channel_count(&self) -> u32 {
        self.names.read().expect("no panic while held").len()
    }

    /// How many shards read from this hub.
    pub fn shard_count(&self) -> usize {
        self.links.len()
    }

    /// Appends a message of a client and wakes the shards. The payload must be valid
    /// ([`envelope::payload_is_valid`]). Returns its sequence.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was appended then, and no sequence was used.
    pub fn append(
        &self,
        channel: u32,
        intended_ns: Option<u64>,
        payload: &[u8],
    ) -> Result<u64, AppendError> {
        let heads = self.heads.lock().expect("no panic while held");
        if self.is_planned(channel) {
            return Err(AppendError::Planned);
        }
        let appended = self.enter(heads, channel, intended_ns, payload)?;
        self.wake_shards();
        Ok(appended.sequence)
    }

    /// Appends a message of the publisher without waking anyone: for a batch that ends in
    /// [`Self::wake_shards`]. `intended_ns` is the actual time where there was no plan.
    ///
    /// # Errors
    /// As [`Self::append`], but for [`AppendError::Planned`].
    pub fn append_quietly(
        &self,
        channel: u32,
        intended_ns: Option<u64>,
        payload: &[u8],
    ) -> Result<Receipt, AppendError> {
        let heads = self.heads.lock().expect("no panic while held");
        self.enter(heads, channel, intended_ns, payload)
    }

    fn enter(
        &self,
        mut heads: MutexGuard<'_, Vec<u64>>,
        channel: u32,
        intended_ns: Option<u64>,
        payload: &[u8],
    ) -> Result<Receipt, AppendError> {
        let head = heads
            .get_mut(channel as usize)
            .ok_or(AppendError::UnknownChannel(channel))?;
        let length = envelope::HEAD_BYTES + payload.len();
        for link in &self.links {
            let inbox = link.inbox.lock().expect("no panic while held");
            if inbox.messages.len() >= MAX_INBOX_MESSAGES || inbox.bytes >= MAX_INBOX_BYTES {
                drop(inbox);
                link.wake.wake();
                return Err(AppendError::Full);
            }
        }
        let actual_ns = monotonic_ns();
        *head += 1;
        let sequence = *head;
        let mut bytes = Vec::with_capacity(length);
        let intended_ns = intended_ns.unwrap_or(actual_ns);
        envelope::encode(sequence, intended_ns, actual_ns, payload, &mut bytes);
        let appended = Appended {
            channel,
            sequence,
            envelope: Bytes::from(bytes),
        };
        for link in &self.links {
            let mut inbox = link.inbox.lock().expect("no panic while held");
            inbox.bytes += length;
            inbox.messages.push(appended.clone());
        }
        Ok(Receipt {
            sequence,
            actual_ns,
        })
    }

    /// Wakes every shard once.
    pub fn wake_shards(&self) {
        for link in &self.links {
            link.wake.wake();
        }
    }

    /// Gives the first channels to a plan whose log begins after these sequences here. `of_plan`:
    /// their epoch, unless another was given. Before anything was appended.
    pub(crate) fn take_over(&self, sequences: &[u64], of_plan: Epoch) {
        let mut heads = self.heads.lock().expect("no panic while held");
        for (head, &sequence) in heads.iter_mut().zip(sequences) {
            *head = sequence;
        }
        let epoch = if self.is_given { self.epoch } else { of_plan };
        let channels = sequences.len() as u32;
        // Set before, it is that of the same plan.
        let _ = self.planned.set(Planned { channels, epoch });
    }

    /// Whether a plan that begins now gives the first `channels` channels their sequences, because
    /// nothing was appended to them. Where the epoch was given, their logs are the plan's from now
    /// on: clients must not shift what another server takes over.
    pub(crate) fn claim(&self, channels: u32) -> bool {
        let heads = self.heads.lock().expect("no panic while held");
        let is_its_own = heads.iter().take(channels as usize).all(|&head| head == 0);
        if is_its_own && self.is_given {
            let epoch = self.epoch;
            let _ = self.planned.set(Planned { channels, epoch });
        }
        is_its_own
    }

    /// Whether a plan for the first `channels` channels may be published: not into logs that are to be
    /// those of one plan and have other messages already.
    pub(crate) fn takes_plan(&self, channels: u32) -> bool {
        let planned = self.planned.get().map_or(0, |planned| planned.channels);
        let channels = if self.is_given { channels } else { planned };
        let heads = self.heads.lock().expect("no panic while held");
        heads.iter().take(channels as usize).all(|&head| head == 0)
    }

    /// Whether the log of a channel is that of a plan.
    fn is_planned(&self, channel: u32) -> bool {
        let planned = self.planned.get();
        planned.is_some_and(|planned| channel < planned.channels)
    }

    /// The epoch of a channel's log.
    pub fn epoch(&self, channel: u32) -> Epoch {
        let planned = self.planned.get();
        let planned = planned.filter(|planned| channel < planned.channels);
        planned.map_or(self.epoch, |planned| planned.epoch)
    }

    /// Says which schedule is being published from now on, where the log's sequences are its own.
    pub(crate) fn follow(&self, timetable: Option<Arc<Timetable>>) {
        *self.timetable.lock().expect("no panic while held") = timetable;
    }

    /// The last sequence of a channel that the schedule, where one is being published, has due by
    /// now or in a moment; 0 without one.
    pub(crate) fn last_due(&self, channel: u32) -> u64 {
        let timetable = self.timetable.lock().expect("no panic while held");
        timetable
            .as_ref()
            .filter(|timetable| channel < timetable.schedule().channels)
            .map_or(0, |timetable| {
                timetable.last_sequence_before(channel, monotonic_ns().saturating_add(AHEAD_NS))
            })
    }

    /// Hands messages to one shard only, which takes them before it goes on. Empties `messages`.
    pub(crate) fn hand_to(&self, shard: usize, messages: &mut Vec<Appended>) {
        let mut inbox = self.links[shard].inbox.lock().expect("no panic while held");
        inbox.bytes += messages.iter().map(|m| m.envelope.len()).sum::<usize>();
        inbox.messages.append(messages);
    }

    /// The wake-up of one shard.
    pub(crate) fn wake_of(&self, shard: usize) -> &Wake {
        &self.links[shard].wake
    }

    /// Swaps what waits for a shard with an empty `taken`.
    pub(crate) fn take(&self, shard: usize, taken: &mut Vec<Appended>) {
        let mut inbox = self.links[shard].inbox.lock().expect("no panic while held");
        inbox.bytes = 0;
        std::mem::swap(&mut inbox.messages, taken);
    }
}

/// What became of an appended message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Position in its channel, from 1.
    pub sequence: u64,
    /// When it was appended, in ns of `CLOCK_MONOTONIC`.
    pub actual_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_found_by_name_and_by_prefix_and_count() {
        let hub = Hub::new(1, None).expect("descriptors");
        hub.declare(&["news", "c*100"]).expect("good names");
        assert_eq!(hub.channel("news"), Some(0));
        assert_eq!(hub.channel("c0"), Some(1));
        assert_eq!(hub.channel("c99"), Some(100));
        for unknown in ["c100", "c01", "c", "c-1", "c+1", "new", "news1", ""] {
            assert_eq!(hub.channel(unknown), None, "{unknown}");
        }
        assert_eq!(hub.channel_count(), 101);
        assert_eq!(hub.declared(), ["news", "c*100"]);
    }

    #[test]
    fn declarations_that_overlap_or_are_malformed_are_refused() {
        let hub = Hub::new(1, None).expect("descriptors");
        hub.declare(&["c*10"]).expect("good names");
        let error = |spec: &str| hub.declare(&[spec]).expect_err("refused").to_string();
        assert!(error("c5").contains("overlaps with 'c*10'"));
        assert!(error("c*3").contains("overlaps"));
        assert!(error("c1*3").contains("overlaps"));
        for bad in ["", "*3", "a b", "a*0", "a*x", "a/b", "a\n"] {
            assert!(
                matches!(hub.declare(&[bad]), Err(DeclareError::Malformed(_))),
                "{bad:?}"
            );
        }
        assert!(matches!(
            hub.declare(&["d*4000000"]),
            Err(DeclareError::TooMany(_))
        ));
        hub.declare(&["c10"]).expect("no number of the group");
    }

    #[test]
    fn policies_go_round_within_each_declaration() {
        use Overflow::{Disconnect, DropOldest, LatestOnly};
        let hub = Hub::new(1, None).expect("descriptors");
        hub.declare(&["a", "b*2"]).expect("good names");
        let policies = [LatestOnly, DropOldest, Disconnect];
        hub.declare_with(&["c*4", "d", "e*2"], &policies)
            .expect("good names");
        let expected = [
            Disconnect, Disconnect, Disconnect, // a, b0, b1
            LatestOnly, DropOldest, Disconnect, LatestOnly, // c0 to c3
            LatestOnly, // d
            LatestOnly, DropOldest, // e0, e1
        ];
        for from in 0..expected.len() {
            let mut found = Vec::new();
            hub.each_overflow(from as u32, |policy| {
                found.push(policy);
                true
            });
            assert_eq!(found, expected[from..]);
            assert_eq!(hub.overflow(from as u32), expected[from]);
        }
        assert_eq!(hub.overflow(10), Disconnect);
    }

    #[test]
    fn channels_are_declared_all_or_none() {
        let hub = Hub::new(1, None).expect("descriptors");
        hub.declare(&["first"]).expect("a good name");
        hub.declare(&["a", "b*2", "no name", "c"])
            .expect_err("the third is refused");
        assert_eq!(hub.declared(), ["first"]);
        assert_eq!(hub.append(0, None, b"x"), Ok(1));
        assert!(hub.append(1, None, b"x").is_err());
    }

    #[test]
    fn every_shard_gets_every_message_in_sequence() {
        let hub = Hub::new(2, None).expect("descriptors");
        hub.declare(&["a", "b"]).expect("good names");
        assert_eq!(hub.append(0, Some(5), b"x"), Ok(1));
        assert_eq!(hub.append(1, None, b"y"), Ok(1));
        assert_eq!(hub.append(0, None, b"z"), Ok(2));
        assert_eq!(
            hub.append(2, None, b"z"),
            Err(AppendError::UnknownChannel(2))
        );
        for shard in 0..2 {
            let mut taken = Vec::new();
            hub.take(shard, &mut taken);
            let seen: Vec<(u32, u64)> = taken.iter().map(|m| (m.channel, m.sequence)).collect();
            assert_eq!(seen, [(0, 1), (1, 1), (0, 2)]);
            let first = envelope::decode(&taken[0].envelope).expect("an envelope");
            assert_eq!((first.intended_ns, first.payload), (5, &b"x"[..]));
        }
    }

    #[test]
    fn a_full_inbox_refuses_and_uses_no_sequence() {
        let hub = Hub::new(1, None).expect("descriptors");
        hub.declare(&["a"]).expect("good name");
        for _ in 0..MAX_INBOX_MESSAGES {
            hub.append(0, None, b"").expect("room");
        }
        assert_eq!(hub.append(0, None, b""), Err(AppendError::Full));
        hub.take(0, &mut Vec::new());
        assert_eq!(hub.append(0, None, b""), Ok(MAX_INBOX_MESSAGES as u64 + 1));
    }
}
