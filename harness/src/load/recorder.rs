//! Latencies of one shard, kept as they come and merged at the end.
//!
//! Place on the data path: client → **recorder** → record. In: for each delivery of the measure
//! phase its intended, actual and receive time. Out: HDR histograms of delivery and service
//! latency, one a second for the interval log, and the time at which each message reached its last
//! subscriber of this shard. Percentiles are never averaged: histograms are added.
//!
//! Not measured here: publish lag (the publisher does that) and what lies between the kernel's
//! receipt of a segment and our read of it.

use hdrhistogram::Histogram;

use super::turns::PhaseTurns;

pub use crate::record::{INTERVAL_NS, histogram};

/// Most messages of a measure phase whose last subscriber is looked for, over all shards: each
/// keeps 8 bytes a message, so 32 MiB in all. With more messages than this over the number of
/// shards, the time to the last subscriber is `null`.
pub const MAX_FANOUT_MESSAGES: u64 = 4 << 20;

/// One delivery of the measure phase.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// Index of its message within the measure phase.
    pub message: u64,
    /// When the message was due, in ns of `CLOCK_MONOTONIC`.
    pub intended_ns: u64,
    /// When it was published.
    pub actual_ns: u64,
    /// When the client had read it.
    pub received_ns: u64,
}

/// Stretches of the measure phase in which latency is followed over time: the test of stationarity
/// wants at least 80, and each should hold some deliveries.
pub const STRETCHES: usize = 100;

/// What a recorder prepares for.
#[derive(Debug)]
pub struct Plan {
    /// Begin of the measure phase in ns of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// Its slices, where there are some.
    pub turns: Option<PhaseTurns>,
    /// Messages that are due in it.
    pub messages: u64,
    /// Deliveries that this shard expects, as far as is known.
    pub deliveries: u64,
    /// Deliveries that are kept one by one, for the intervals of quantiles. Where more are
    /// expected, every so many messages are kept, each with all its deliveries. 0: nothing is kept
    /// for the audit, neither these nor latency over time.
    pub max_samples: u64,
    /// Most messages whose last subscriber is looked for, at most [`MAX_FANOUT_MESSAGES`].
    pub max_fanout_messages: u64,
}

/// One delivery, kept for resampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Index of its message within the measure phase.
    pub message: u32,
    /// Delivery latency in µs, rounded down; 2^32 - 1 for more than that.
    pub latency_us: u32,
}

/// What one shard recorded.
#[derive(Debug)]
pub struct Recorder {
    /// Receive times count in intervals from here.
    start_ns: u64,
    turns: Option<PhaseTurns>,
    delivery: Histogram<u64>,
    service: Histogram<u64>,
    current: Interval,
    finished: Vec<FinishedInterval>,
    /// Quantiles 0.5 and 0.99 of the last interval that is over, for who watches.
    last_second: Option<(u64, u64)>,
    last_receipt_ns: Vec<u64>,
    negative: u64,
    last_ns: u64,
    stretch_ns: u64,
    series: Vec<Stretch>,
    samples: Vec<Sample>,
    /// Messages whose index is a multiple of this are sampled.
    sample_every: u64,
    probes: Probes,
}

/// Deliveries of one stretch of the measure phase.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stretch {
    /// How many.
    pub count: u64,
    /// Sum of the natural logarithms of their latencies in ns.
    pub sum_of_logs: f64,
}

/// What the probe clients of one shard found.
#[derive(Debug)]
pub struct Probes {
    /// How long a read's last segment had waited in the kernel, in ns.
    pub waited: Histogram<u64>,
    /// Delivery latency of the read's last message without that wait, in ns.
    pub rest: Histogram<u64>,
    /// Stamps that lay after the read, or before the message was due.
    pub impossible: u64,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            waited: histogram(),
            rest: histogram(),
            impossible: 0,
        }
    }
}

/// Delivery latencies of one interval.
#[derive(Debug)]
pub struct Interval {
    /// Which, from 0 at the start of the measure phase: a second, or a slice.
    pub number: u64,
    /// The latencies in ns.
    pub histogram: Histogram<u64>,
}

/// An interval that is over: for each latency that was counted, in steps of the histogram, how
/// often. A histogram takes hundreds of KB however little is in it, and a large fleet has one a
/// shard for every second.
#[derive(Debug)]
pub struct FinishedInterval {
    /// Which, from 0 at the start of the measure phase.
    pub number: u64,
    counts: Box<[(u64, u32)]>,
}

impl FinishedInterval {
    /// Adds its latencies to a histogram with the bounds of all.
    pub fn add_to(&self, histogram: &mut Histogram<u64>) {
        for &(value, count) in &self.counts {
            histogram.saturating_record_n(value, u64::from(count));
        }
    }

    /// Number of its deliveries.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|&(_, count)| u64::from(count)).sum()
    }
}

/// A recorder's account, whole.
#[derive(Debug)]
pub struct Recorded {
    /// Receive − intended, in ns.
    pub delivery: Histogram<u64>,
    /// Receive − actual, in ns.
    pub service: Histogram<u64>,
    /// Delivery latency by second or slice of receipt, empty ones left out.
    pub intervals: Vec<FinishedInterval>,
    /// For each message the last time at which a subscriber of this shard received it; 0 where
    /// none did.
    pub last_receipt_ns: Vec<u64>,
    /// Deliveries that came before they were published, by the clocks: none is ever clamped to 0.
    pub negative: u64,
    /// Deliveries that came in the turn of another.
    pub spilled: u64,
    /// Receive time of the last delivery; 0 where there was none.
    pub last_ns: u64,
    /// Deliveries by stretch of the measure phase, by intended time.
    pub series: Vec<Stretch>,
    /// Deliveries one by one, of the messages that were sampled.
    pub samples: Vec<Sample>,
    /// What the probe clients found.
    pub probes: Probes,
}

fn middle_and_tail(histogram: &Histogram<u64>) -> Option<(u64, u64)> {
    let at = |quantile| histogram.value_at_quantile(quantile);
    (!histogram.is_empty()).then(|| (at(0.5), at(0.99)))
}

impl Recorder {
    /// A recorder for one measure phase.
    pub fn new(plan: Plan) -> Self {
        let followed = if plan.messages <= plan.max_fanout_messages {
            plan.messages as usize
        } else {
            0
        };
        let sample_every = plan.deliveries.div_ceil(plan.max_samples.max(1)).max(1);
        // Allocated now, so that memory does not grow while deliveries are timed.
        let samples = (plan.deliveries / sample_every).min(plan.max_samples) as usize;
        let length_ns = match &plan.turns {
            Some(turns) => turns.measured_ns(),
            None => plan.end_ns.saturating_sub(plan.start_ns),
        };
        Self {
            start_ns: plan.start_ns,
            turns: plan.turns,
            delivery: histogram(),
            service: histogram(),
            current: Interval {
                number: 0,
                histogram: histogram(),
            },
            finished: Vec::new(),
            last_second: None,
            last_receipt_ns: vec![0; followed],
            negative: 0,
            last_ns: 0,
            stretch_ns: (length_ns / STRETCHES as u64).max(1),
            series: vec![Stretch::default(); if plan.max_samples > 0 { STRETCHES } else { 0 }],
            samples: Vec::with_capacity(samples),
            sample_every,
            probes: Probes::default(),
        }
    }

    /// Enters one delivery: no allocation but once a second.
    pub fn record(&mut self, delivery: Delivery) {
        let Delivery {
            message,
            intended_ns,
            actual_ns,
            received_ns,
        } = delivery;
        if received_ns < intended_ns || received_ns < actual_ns {
            self.negative += 1;
            return;
        }
        let (number, due_ns) = match &mut self.turns {
            None => {
                let number = received_ns.saturating_sub(self.start_ns) / INTERVAL_NS;
                (number, intended_ns.saturating_sub(self.start_ns))
            }
            Some(turns) => {
                let number = turns.number(received_ns);
                let Some(due_ns) = turns.due_ns(intended_ns, received_ns) else {
                    return;
                };
                (number, due_ns)
            }
        };
        // Receive times of one thread never go back, so an interval that is over stays over.
        if number != self.current.number {
            self.rotate(number);
        }
        self.current
            .histogram
            .saturating_record(received_ns - intended_ns);
        self.service.saturating_record(received_ns - actual_ns);
        if let Some(last) = self.last_receipt_ns.get_mut(message as usize) {
            *last = received_ns;
        }
        self.last_ns = received_ns;
        let latency_ns = received_ns - intended_ns;
        let stretch = due_ns / self.stretch_ns;
        if let Some(stretch) = self.series.get_mut(stretch as usize) {
            stretch.count += 1;
            stretch.sum_of_logs += (latency_ns.max(1) as f64).ln();
        }
        // Sessions may make more deliveries than were expected: those beyond are not kept.
        if message % self.sample_every == 0 && self.samples.len() < self.samples.capacity() {
            let latency_us = u32::try_from(latency_ns / 1_000).unwrap_or(u32::MAX);
            self.samples.push(Sample {
                message: message as u32,
                latency_us,
            });
        }
    }

    /// Enters what a probe client found: the delivery latency of a read's last message, and how
    /// long its segment had waited for the read.
    pub fn probe(&mut self, latency_ns: u64, waited_ns: i64) {
        let waited = u64::try_from(waited_ns).ok();
        match waited.and_then(|waited| Some((waited, latency_ns.checked_sub(waited)?))) {
            Some((waited, rest)) => {
                self.probes.waited.saturating_record(waited);
                self.probes.rest.saturating_record(rest);
            }
            // The wall clock was set, or stamp and message do not belong together: never clamped.
            None => self.probes.impossible += 1,
        }
    }

    fn rotate(&mut self, number: u64) {
        let over = &mut self.current;
        // Once a second, next to adding up thousands of counters: some microseconds.
        self.last_second = middle_and_tail(&over.histogram);
        if !over.histogram.is_empty() {
            self.delivery
                .add(&over.histogram)
                .expect("all histograms have the same bounds");
            // Of one shard and second, so it fits; a value above is split in two.
            let counts = over.histogram.iter_recorded().flat_map(|step| {
                let (value, count) = (step.value_iterated_to(), step.count_at_value());
                let most = u64::from(u32::MAX);
                let whole = (0..count / most).map(move |_| (value, u32::MAX));
                whole.chain(std::iter::once((value, (count % most) as u32)))
            });
            self.finished.push(FinishedInterval {
                number: over.number,
                counts: counts.collect(),
            });
            over.histogram.reset();
        }
        over.number = number;
    }

    /// Quantiles 0.5 and 0.99 in ns of the last second that is over; `None` without a delivery.
    pub fn last_second(&self) -> Option<(u64, u64)> {
        self.last_second
    }

    /// Ends the recording.
    pub fn finish_all(mut self) -> Recorded {
        self.rotate(u64::MAX);
        Recorded {
            delivery: self.delivery,
            service: self.service,
            intervals: self.finished,
            last_receipt_ns: self.last_receipt_ns,
            negative: self.negative,
            spilled: self.turns.as_ref().map_or(0, PhaseTurns::spilled),
            last_ns: self.last_ns,
            series: self.series,
            samples: self.samples,
            probes: self.probes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::MAX_LATENCY_NS;

    const START: u64 = 1_000_000_000_000;

    fn recorder(messages: u64) -> Recorder {
        Recorder::new(Plan {
            start_ns: START,
            end_ns: START + 10_000,
            turns: None,
            messages,
            deliveries: 10,
            max_samples: 5,
            max_fanout_messages: 10,
        })
    }

    fn delivery(message: u64, intended_ns: u64, actual_ns: u64, received_ns: u64) -> Delivery {
        Delivery {
            message,
            intended_ns: START + intended_ns,
            actual_ns: START + actual_ns,
            received_ns: START + received_ns,
        }
    }

    #[test]
    fn delivery_counts_from_the_intended_time_and_service_from_the_actual_one() {
        let mut recorder = recorder(10);
        recorder.record(delivery(0, 0, 400, 500));
        let recorded = recorder.finish_all();
        assert_eq!(recorded.delivery.max(), 500);
        assert_eq!(recorded.service.max(), 100);
    }

    #[test]
    fn intervals_follow_the_receive_time_and_add_up_to_the_whole() {
        let mut recorder = recorder(10);
        for second in [0, 0, 1, 3] {
            recorder.record(delivery(second, 0, 0, second * INTERVAL_NS + 7));
        }
        let recorded = recorder.finish_all();
        let counts: Vec<(u64, u64)> = recorded
            .intervals
            .iter()
            .map(|i| (i.number, i.count()))
            .collect();
        assert_eq!(counts, [(0, 2), (1, 1), (3, 1)]);
        assert_eq!(recorded.delivery.len(), 4);
        assert_eq!(recorded.last_ns, START + 3 * INTERVAL_NS + 7);
    }

    #[test]
    fn the_last_receipt_of_each_message_is_kept() {
        let mut recorder = recorder(3);
        recorder.record(delivery(1, 0, 0, 10));
        recorder.record(delivery(1, 0, 0, 90));
        recorder.record(delivery(2, 0, 0, 95));
        assert_eq!(
            recorder.finish_all().last_receipt_ns,
            [0, START + 90, START + 95]
        );
    }

    #[test]
    fn a_negative_latency_is_counted_and_never_clamped() {
        let mut recorder = recorder(3);
        recorder.record(delivery(0, 100, 100, 99));
        recorder.record(delivery(0, 0, 100, 99));
        let recorded = recorder.finish_all();
        assert_eq!((recorded.negative, recorded.delivery.len()), (2, 0));
    }

    #[test]
    fn a_latency_beyond_the_range_counts_as_the_longest() {
        let mut recorder = recorder(3);
        recorder.record(delivery(0, 0, 0, 2 * MAX_LATENCY_NS));
        let recorded = recorder.finish_all();
        assert_eq!(recorded.delivery.len(), 1);
        assert!(recorded.delivery.max() >= MAX_LATENCY_NS);
    }

    #[test]
    fn latency_over_time_is_a_geometric_mean_by_intended_time() {
        let mut recorder = recorder(10);
        // Stretches are 100 ns long. A delivery of the drain has an intended time of the phase.
        recorder.record(delivery(0, 50, 50, 50 + 100));
        recorder.record(delivery(0, 60, 60, 60 + 10_000));
        recorder.record(delivery(1, 9_999, 9_999, 9_999 + 7));
        let series = recorder.finish_all().series;
        let mean = |of: &Stretch| (of.sum_of_logs / of.count as f64).exp();
        assert!((mean(&series[0]) - 1_000.0).abs() < 1e-6);
        assert_eq!(
            (series[0].count, series[1].count, series[99].count),
            (2, 0, 1)
        );
    }

    #[test]
    fn samples_are_whole_messages_and_bounded() {
        let mut recorder = recorder(10);
        for message in [0, 0, 1, 1, 2, 2, 4, 4] {
            recorder.record(delivery(message, 0, 0, 5_000 + message));
        }
        let samples = recorder.finish_all().samples;
        // 10 expected, 5 kept: every second message, with both its deliveries while there is room.
        let messages: Vec<u32> = samples.iter().map(|s| s.message).collect();
        assert_eq!(messages, [0, 0, 2, 2, 4]);
        assert!(samples.iter().all(|s| s.latency_us == 5));
    }

    #[test]
    fn a_probe_splits_a_latency_and_never_clamps_an_impossible_stamp() {
        let mut recorder = recorder(10);
        recorder.probe(100, 30);
        recorder.probe(100, -1);
        recorder.probe(100, 101);
        let probes = recorder.finish_all().probes;
        assert_eq!((probes.waited.max(), probes.rest.max()), (30, 70));
        assert_eq!((probes.waited.len(), probes.impossible), (1, 2));
    }
}
