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

/// Longest latency that is told apart, in ns: an hour. Longer ones count as an hour.
pub const MAX_LATENCY_NS: u64 = 3_600_000_000_000;

/// Significant decimal digits of every histogram: values are right to 0.1%.
pub const DIGITS: u8 = 3;

/// Length of an interval of the log, in ns of receive time.
pub const INTERVAL_NS: u64 = 1_000_000_000;

/// Most messages of a measure phase whose last subscriber is looked for: 8 bytes each in every
/// shard, so 32 MiB. Beyond it, the time to the last subscriber is `null`.
pub const MAX_FANOUT_MESSAGES: u64 = 4 << 20;

/// An empty histogram with the bounds that all of ours share, so that any two can be added.
pub fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, MAX_LATENCY_NS, DIGITS)
        .expect("the bounds are constants that fit");
    histogram.auto(false);
    histogram
}

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

/// What one shard recorded.
#[derive(Debug)]
pub struct Recorder {
    /// Receive times count in intervals from here.
    start_ns: u64,
    delivery: Histogram<u64>,
    service: Histogram<u64>,
    current: Interval,
    finished: Vec<Interval>,
    last_receipt_ns: Vec<u64>,
    negative: u64,
    last_ns: u64,
}

/// Delivery latencies of one interval.
#[derive(Debug)]
pub struct Interval {
    /// Which, from 0 at the start of the measure phase.
    pub number: u64,
    /// The latencies in ns.
    pub histogram: Histogram<u64>,
}

/// A recorder's account, whole.
#[derive(Debug)]
pub struct Recorded {
    /// Receive − intended, in ns.
    pub delivery: Histogram<u64>,
    /// Receive − actual, in ns.
    pub service: Histogram<u64>,
    /// Delivery latency by second of receipt, empty seconds left out.
    pub intervals: Vec<Interval>,
    /// For each message the last time at which a subscriber of this shard received it; 0 where
    /// none did.
    pub last_receipt_ns: Vec<u64>,
    /// Deliveries that came before they were published, by the clocks: none is ever clamped to 0.
    pub negative: u64,
    /// Receive time of the last delivery; 0 where there was none.
    pub last_ns: u64,
}

impl Recorder {
    /// A recorder for a measure phase that begins at `start_ns` and has `messages` messages.
    pub fn new(start_ns: u64, messages: u64) -> Self {
        let followed = if messages <= MAX_FANOUT_MESSAGES {
            messages as usize
        } else {
            0
        };
        Self {
            start_ns,
            delivery: histogram(),
            service: histogram(),
            current: Interval {
                number: 0,
                histogram: histogram(),
            },
            finished: Vec::new(),
            last_receipt_ns: vec![0; followed],
            negative: 0,
            last_ns: 0,
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
        let number = received_ns.saturating_sub(self.start_ns) / INTERVAL_NS;
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
    }

    fn rotate(&mut self, number: u64) {
        let fresh = Interval {
            number,
            histogram: histogram(),
        };
        let over = std::mem::replace(&mut self.current, fresh);
        self.finish(over);
    }

    fn finish(&mut self, mut over: Interval) {
        if over.histogram.is_empty() {
            return;
        }
        self.delivery
            .add(&over.histogram)
            .expect("all histograms have the same bounds");
        // A finished interval is kept for the log only: give back the counters above its maximum.
        let mut small = Histogram::new_with_bounds(1, over.histogram.max().max(2), DIGITS)
            .expect("bounds from a recorded value fit");
        small
            .add(&over.histogram)
            .expect("every value lies within the bounds");
        over.histogram = small;
        self.finished.push(over);
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
            last_ns: self.last_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000_000_000_000;

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
        let mut recorder = Recorder::new(START, 10);
        recorder.record(delivery(0, 0, 400, 500));
        let recorded = recorder.finish_all();
        assert_eq!(recorded.delivery.max(), 500);
        assert_eq!(recorded.service.max(), 100);
    }

    #[test]
    fn intervals_follow_the_receive_time_and_add_up_to_the_whole() {
        let mut recorder = Recorder::new(START, 10);
        for second in [0, 0, 1, 3] {
            recorder.record(delivery(second, 0, 0, second * INTERVAL_NS + 7));
        }
        let recorded = recorder.finish_all();
        let counts: Vec<(u64, u64)> = recorded
            .intervals
            .iter()
            .map(|i| (i.number, i.histogram.len()))
            .collect();
        assert_eq!(counts, [(0, 2), (1, 1), (3, 1)]);
        assert_eq!(recorded.delivery.len(), 4);
        assert_eq!(recorded.last_ns, START + 3 * INTERVAL_NS + 7);
    }

    #[test]
    fn the_last_receipt_of_each_message_is_kept() {
        let mut recorder = Recorder::new(START, 3);
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
        let mut recorder = Recorder::new(START, 3);
        recorder.record(delivery(0, 100, 100, 99));
        recorder.record(delivery(0, 0, 100, 99));
        let recorded = recorder.finish_all();
        assert_eq!((recorded.negative, recorded.delivery.len()), (2, 0));
    }

    #[test]
    fn a_latency_beyond_the_range_counts_as_the_longest() {
        let mut recorder = Recorder::new(START, 3);
        recorder.record(delivery(0, 0, 0, 2 * MAX_LATENCY_NS));
        let recorded = recorder.finish_all();
        assert_eq!(recorded.delivery.len(), 1);
        assert!(recorded.delivery.max() >= MAX_LATENCY_NS);
    }
}
