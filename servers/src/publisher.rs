//! The open-loop publisher: walks a schedule and appends each message when it is due.
//!
//! Place on the data path: its beginning. In: a [`PublishPlan`]. Out: appends to the hub, and a report of
//! how well the schedule was held. It has a thread of its own that sleeps to absolute times; when
//! it is late it appends all that is due at once, and never skips or shifts a message (closed
//! loops hide the stalls that they cause: Schroeder et al., *Open Versus Closed*, NSDI 2006).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use pushbench_protocol::control::{PublishPlan, PublishReport};
use pushbench_protocol::histogram;

use crate::hub::{AppendError, Hub};
use crate::refill::Refill;
use pushbench_os::sys;
use pushbench_protocol::envelope::HEAD_BYTES;
use pushbench_protocol::payload::{self};
use pushbench_protocol::schedule::Timetable;

/// Longest sleep that a stop does not end: 50 ms. What is due later is waited for in a way that is less
/// exact and can be ended.
const NAP_NS: u64 = 50_000_000;

/// Messages appended before the shards are woken when the publisher is catching up. 256 bounds
/// the wait of the first of them to well under a millisecond.
const BATCH: usize = 256;

/// Times between publishes that a report holds: more than any test of them needs.
const MAX_GAPS: usize = 10_000;

/// How long the publisher waits before it offers a message again that no shard had room for.
const RETRY_NS: u64 = 200_000;

/// A running schedule.
#[derive(Debug)]
pub struct Publisher {
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<PublishReport>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts to publish `plan`, which must have been checked.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(hub: Arc<Hub>, plan: PublishPlan) -> std::io::Result<Self> {
        Self::begin(hub, plan, None, 0)
    }

    /// Goes on behind what the log was refilled with.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn resume(hub: Arc<Hub>, refill: &Refill) -> std::io::Result<Self> {
        let timetable = Some(refill.timetable().clone());
        Self::begin(hub, refill.plan().clone(), timetable, refill.messages())
    }

    /// Publishes the messages of `plan` from number `first` on.
    fn begin(
        hub: Arc<Hub>,
        plan: PublishPlan,
        timetable: Option<Arc<Timetable>>,
        first: u64,
    ) -> std::io::Result<Self> {
        // On a log with a past, the schedule's sequences are not the log's.
        let is_its_own = timetable.is_none() && hub.claim(plan.schedule.channels);
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(Mutex::new(PublishReport {
            refilled: first,
            ..PublishReport::default()
        }));
        let thread = std::thread::Builder::new()
            .name("publisher".into())
            .spawn({
                let (stop, report) = (stop.clone(), report.clone());
                move || {
                    let timetable = timetable.unwrap_or_else(|| {
                        let timetable = Arc::new(Timetable::new(plan.schedule));
                        hub.follow(is_its_own.then(|| timetable.clone()));
                        timetable
                    });
                    run(&hub, &plan, &timetable, first, &stop, &report);
                }
            })?;
        Ok(Self {
            stop,
            report,
            thread: Some(thread),
        })
    }

    /// How the schedule is held so far.
    pub fn report(&self) -> PublishReport {
        self.report.lock().expect("no panic while held").clone()
    }

    /// Ends the schedule now.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(
    hub: &Hub,
    plan: &PublishPlan,
    timetable: &Timetable,
    first: u64,
    stop: &AtomicBool,
    report: &Mutex<PublishReport>,
) {
    sys::sharpen_sleeps();
    let mut lag = histogram::empty();
    let mut text = Vec::with_capacity(plan.payload_bytes);
    let end = timetable.len();
    let mut gaps = Gaps::default();
    let mut index = first;
    while index < end && !stop.load(Ordering::Relaxed) {
        let now = sys::monotonic_ns();
        let due_ns = timetable.message(index).intended_ns;
        if due_ns > now {
            match due_ns - now {
                ..=NAP_NS => sys::sleep_until_ns(due_ns),
                ahead => std::thread::park_timeout(Duration::from_nanos(ahead - NAP_NS)),
            }
            continue;
        }
        let mut progress = Progress::default();
        while index < end && progress.published < BATCH as u64 {
            let due = timetable.message(index);
            if due.intended_ns > now {
                break;
            }
            text.clear();
            payload::write(
                plan.payload,
                plan.seed,
                due.channel,
                due.sequence,
                plan.payload_bytes - HEAD_BYTES,
                &mut text,
            );
            match hub.append_quietly(due.channel, Some(due.intended_ns), &text) {
                Ok(receipt) => {
                    let leads = index.is_multiple_of(u64::from(plan.schedule.burst));
                    index += 1;
                    let measured = due.intended_ns >= plan.measure_from_ns
                        && due.intended_ns < plan.measure_until_ns;
                    progress.note(receipt.actual_ns, measured);
                    if measured {
                        if leads {
                            let silent_ns = timetable.silence_before_ns(due.intended_ns);
                            gaps.note(receipt.actual_ns, silent_ns);
                        }
                        lag.saturating_record(receipt.actual_ns.saturating_sub(due.intended_ns));
                    }
                }
                Err(AppendError::Full) => {
                    sys::sleep_until_ns(sys::monotonic_ns() + RETRY_NS);
                    break;
                }
                // Checked when the plan was taken; channels are never withdrawn.
                Err(AppendError::UnknownChannel(_) | AppendError::Planned) => index = end,
            }
        }
        hub.wake_shards();
        progress.add_to(&mut report.lock().expect("no panic while held"));
    }
    // Before another schedule may begin.
    hub.follow(None);
    let mut report = report.lock().expect("no panic while held");
    report.gaps_ns = gaps.ns;
    report.lag_histogram = histogram::encode(&lag);
    report.finished = true;
}

/// Times between publishes.
#[derive(Default)]
struct Gaps {
    ns: Vec<u64>,
    /// The last publish, without the silence before it.
    last_ns: Option<u64>,
}

impl Gaps {
    /// A publish, before which the schedule was silent for so long in all, while others had their turn.
    fn note(&mut self, actual_ns: u64, silent_ns: u64) {
        let at_ns = actual_ns.saturating_sub(silent_ns);
        if let Some(last_ns) = self.last_ns.replace(at_ns)
            && self.ns.len() < MAX_GAPS
        {
            self.ns.push(at_ns.saturating_sub(last_ns));
        }
    }
}

/// What one batch adds to the report, so that its lock is taken once a batch.
#[derive(Default)]
struct Progress {
    published: u64,
    measured: u64,
    first_ns: u64,
    last_ns: u64,
}

impl Progress {
    fn note(&mut self, actual_ns: u64, measured: bool) {
        self.published += 1;
        if measured {
            if self.measured == 0 {
                self.first_ns = actual_ns;
            }
            self.measured += 1;
            self.last_ns = actual_ns;
        }
    }

    fn add_to(&self, report: &mut PublishReport) {
        report.published += self.published;
        if self.measured > 0 {
            if report.measured == 0 {
                report.first_actual_ns = self.first_ns;
            }
            report.measured += self.measured;
            report.last_actual_ns = self.last_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Appended;
    use pushbench_protocol::payload::PayloadKind;
    use pushbench_protocol::schedule::Schedule;

    fn plan(rate_per_s: f64, messages: u64, channels: u32) -> PublishPlan {
        let start_ns = sys::monotonic_ns();
        let length = (messages as f64 * 1e9 / rate_per_s) as u64;
        PublishPlan {
            schedule: Schedule::uniform(start_ns..start_ns + length, rate_per_s, channels),
            payload: PayloadKind::Json,
            payload_bytes: 100,
            seed: 5,
            measure_from_ns: start_ns + length / 2,
            measure_until_ns: start_ns + length,
        }
    }

    fn published(hub: &Hub) -> Vec<Appended> {
        let mut taken = Vec::new();
        hub.take(0, &mut taken);
        taken
    }

    #[test]
    fn the_whole_schedule_is_appended_with_its_intended_times_and_payloads() {
        let hub = Hub::new(1, None).expect("descriptors");
        hub.declare(&["c*3"]).expect("good name");
        let plan = plan(20_000.0, 300, 3);
        let mut publisher = Publisher::start(hub.clone(), plan.clone()).expect("a thread");
        while !publisher.report().finished {
            std::thread::yield_now();
        }
        publisher.stop();
        let taken = published(&hub);
        assert_eq!(taken.len(), 300);
        for (i, message) in taken.iter().enumerate() {
            let due = Timetable::new(plan.schedule).message(i as u64);
            let envelope =
                pushbench_protocol::envelope::decode(&message.envelope).expect("an envelope");
            assert_eq!(
                (message.channel, message.sequence),
                (due.channel, due.sequence)
            );
            assert_eq!(envelope.intended_ns, due.intended_ns);
            assert!(envelope.actual_ns >= due.intended_ns);
            assert_eq!(message.envelope.len(), 100);
            let mut text = Vec::new();
            payload::write(plan.payload, 5, due.channel, due.sequence, 49, &mut text);
            assert_eq!(envelope.payload, text);
        }
        let report = publisher.report();
        assert_eq!((report.published, report.measured), (300, 150));
        assert_eq!(report.gaps_ns.len(), 149);
        let lag = histogram::decode(&report.lag_histogram).expect("a histogram");
        assert_eq!(lag.len(), 150);
    }

    #[test]
    fn a_late_publisher_appends_all_that_is_due_and_keeps_the_intended_times() {
        let hub = Hub::new(1, None).expect("descriptors");
        hub.declare(&["a"]).expect("good name");
        let mut plan = plan(1_000.0, 100, 1);
        // The schedule began a minute ago and is over.
        plan.schedule.start_ns -= 60_000_000_000;
        plan.schedule.end_ns -= 60_000_000_000;
        let publisher = Publisher::start(hub.clone(), plan).expect("a thread");
        while !publisher.report().finished {
            std::thread::yield_now();
        }
        let taken = published(&hub);
        assert_eq!(taken.len(), 100);
        for message in taken {
            let envelope =
                pushbench_protocol::envelope::decode(&message.envelope).expect("an envelope");
            assert!(envelope.actual_ns - envelope.intended_ns > 59_000_000_000);
        }
    }

    #[test]
    fn silence_while_others_have_their_turn_is_in_no_gap_between_publishes() {
        let mut gaps = Gaps::default();
        for (actual_ns, silent_ns) in [(100, 0), (110, 0), (900, 780), (905, 780), (1_000, 900)] {
            gaps.note(actual_ns, silent_ns);
        }
        // The last but one was late by more than it took to the last.
        assert_eq!(gaps.ns, [10, 10, 5, 0]);
    }

    #[test]
    fn a_plan_that_cannot_be_held_is_refused() {
        let good = plan(10.0, 10, 2);
        assert_eq!(good.check(2), Ok(()));
        assert!(good.check(1).is_err());
        let bad = |change: fn(&mut PublishPlan)| {
            let mut plan = good.clone();
            change(&mut plan);
            plan.check(2).expect_err("refused")
        };
        assert!(bad(|p| p.schedule.rate_per_s = 0.0).contains("rate_per_s"));
        assert!(bad(|p| p.schedule.rate_per_s = f64::NAN).contains("rate_per_s"));
        assert!(bad(|p| p.schedule.burst = 0).contains("burst"));
        assert!(bad(|p| p.payload_bytes = 50).contains("expected 51"));
    }
}
