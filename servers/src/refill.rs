//! The log of a server that begins in the middle of a schedule, as when it was restarted.
//!
//! Place on the data path: before its beginning. In: a [`PublishPlan`] and the time. Out: rings that hold
//! what a server that had run since the schedule's start would hold, byte for byte but for the
//! actual times: there is one for all, that of the refill. Nothing is appended and nothing is
//! measured here. Each shard fills its own rings, since every message is a pure function of the
//! plan, and only what a ring keeps is built: a long schedule makes no long start.

use std::sync::Arc;

use bytes::Bytes;

use crate::hub::{Appended, Hub};
use crate::ring::RingLimits;
use crate::shard;
use pushbench_os::sys;
use pushbench_protocol::control::PublishPlan;
use pushbench_protocol::envelope::{self, HEAD_BYTES};
use pushbench_protocol::framing::Epoch;
use pushbench_protocol::payload::{self, SplitMix64};
use pushbench_protocol::schedule::Timetable;

/// Messages handed to the shard at once, and the most bytes of them: little beside the rings that
/// they go to.
const BATCH: usize = 256;

/// See [`BATCH`].
const BATCH_BYTES: usize = 1 << 20;

/// What a schedule said before this server began.
#[derive(Debug)]
pub struct Refill {
    plan: PublishPlan,
    timetable: Arc<Timetable>,
    now_ns: u64,
}

impl Refill {
    /// What `plan`, which must have been checked, says of the time before `now_ns`.
    pub fn new(plan: PublishPlan, now_ns: u64) -> Self {
        let timetable = Arc::new(Timetable::new(plan.schedule));
        Self {
            plan,
            timetable,
            now_ns,
        }
    }

    /// As [`Self::new`], before now.
    pub fn until_now(plan: PublishPlan) -> Self {
        Self::new(plan, sys::monotonic_ns())
    }

    /// The plan.
    pub fn plan(&self) -> &PublishPlan {
        &self.plan
    }

    /// The times of its messages.
    pub fn timetable(&self) -> &Arc<Timetable> {
        &self.timetable
    }

    /// How many messages were due before, which is the index of the first that is to be published.
    pub fn messages(&self) -> u64 {
        self.timetable.messages_before(self.now_ns)
    }

    /// The last sequence of `channel` that was due before; 0 where there is none.
    pub fn last_sequence(&self, channel: u32) -> u64 {
        if channel < self.plan.schedule.channels {
            self.timetable.last_sequence_before(channel, self.now_ns)
        } else {
            0
        }
    }

    /// The epoch of the plan's logs: the same on every server that publishes it, and hardly ever that of
    /// another plan.
    pub fn epoch(&self) -> Epoch {
        let plan = &self.plan;
        let of = (&plan.schedule, plan.payload, plan.payload_bytes, plan.seed);
        // Numbers and words always are JSON.
        let text = serde_json::to_vec(&of).unwrap_or_default();
        // FNV-1a, which is the same in every build; then mixed, since its bits are not.
        let hash = text.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Epoch::of(SplitMix64::new(hash).next())
    }

    /// Fills the rings of the calling thread, which is shard `number` of `hub`. Nothing may have
    /// been appended yet.
    pub fn fill(&self, hub: &Hub, number: usize, limits: RingLimits) {
        let size = self.plan.payload_bytes;
        // A framed message is no smaller than its envelope, so no ring keeps more than this.
        let kept = limits.messages.min(limits.bytes / size).max(1) as u64;
        let batch = BATCH.min(BATCH_BYTES / size).max(1);
        let mut messages = Vec::with_capacity(batch);
        for channel in 0..self.plan.schedule.channels {
            let last = self.last_sequence(channel);
            for sequence in last.saturating_sub(kept) + 1..=last {
                messages.push(self.message(channel, sequence));
                if messages.len() == batch {
                    hub.hand_to(number, &mut messages);
                    shard::drain();
                }
            }
        }
        hub.hand_to(number, &mut messages);
        shard::drain();
    }

    fn message(&self, channel: u32, sequence: u64) -> Appended {
        let plan = &self.plan;
        let index = self.timetable.index_of(channel, sequence);
        let intended_ns = self.timetable.message(index).intended_ns;
        let bytes = plan.payload_bytes - HEAD_BYTES;
        let mut text = Vec::with_capacity(bytes);
        payload::write(plan.payload, plan.seed, channel, sequence, bytes, &mut text);
        let mut envelope = Vec::with_capacity(plan.payload_bytes);
        envelope::encode(sequence, intended_ns, self.now_ns, &text, &mut envelope);
        Appended {
            channel,
            sequence,
            envelope: Bytes::from(envelope),
        }
    }
}
