//! From what each shard counted to one report: histograms are added, never averaged.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::conditions::reconnect::Timeline;
use super::conditions::upstream::Messages;
use super::shard::ShardReport;
use super::tally::Histograms;
use super::{FleetReport, MeasurePhase};
use crate::analysis::stats::{Bootstrap, quantile_intervals};
use crate::load::recorder::{STRETCHES, Sample, Stretch, histogram};
use crate::record::{HistogramId, IntervalNs, LatencyIntervals, Merge};

/// Publishes drawn for the intervals of a trial, over all replicates.
const MAX_DRAWS: u32 = 100_000_000;

/// Fewer replicates would not reach into the tails of a 95% interval.
const MIN_REPLICATES: u32 = 100;

/// Merges the reports of all shards.
pub(super) fn merge(
    shards: impl Iterator<Item = ShardReport>,
    phase: Option<&MeasurePhase>,
) -> FleetReport {
    let mut report = FleetReport::default();
    let mut intervals: BTreeMap<u64, Histogram<u64>> = BTreeMap::new();
    let mut last_receipt_ns: Vec<u64> = Vec::new();
    let mut series = vec![Stretch::default(); STRETCHES];
    let mut samples: Vec<Sample> = Vec::new();
    let mut timeline = Timeline::default();
    for shard in shards {
        report.counts.merge(shard.counts);
        report.ledger_overflowed |= shard.overflowed;
        report.corrupt += shard.corrupt;
        report.first_corrupt = report.first_corrupt.or(shard.first_corrupt);
        report.first_missing = report.first_missing.or(shard.first_missing);
        report.lagged_messages += shard.lagged_messages;
        report.received_bytes += shard.received_bytes;
        report.histograms += shard.histograms;
        report.measures.round_trip.merge(shard.round_trip);
        if let Some(conditions) = shard.conditions {
            report.measures.merge(conditions.measures);
            report.histograms += conditions.histograms;
            timeline.add(&conditions.timeline);
        }
        let Some(recorded) = shard.recorded else {
            continue;
        };
        report.negative_latencies += recorded.negative;
        report.spilled += recorded.spilled;
        report.last_received_ns = report.last_received_ns.max(recorded.last_ns);
        report.impossible_stamps += recorded.probes.impossible;
        for (id, more) in [
            (HistogramId::Delivery, &recorded.delivery),
            (HistogramId::Service, &recorded.service),
            (HistogramId::ProbeWaited, &recorded.probes.waited),
            (HistogramId::ProbeRest, &recorded.probes.rest),
        ] {
            report.histograms.add(id, more);
        }
        for (stretch, other) in series.iter_mut().zip(&recorded.series) {
            stretch.count += other.count;
            stretch.sum_of_logs += other.sum_of_logs;
        }
        samples.extend(recorded.samples);
        for interval in recorded.intervals {
            let merged = intervals.entry(interval.number).or_insert_with(histogram);
            interval.add_to(merged);
        }
        last_receipt_ns.resize(last_receipt_ns.len().max(recorded.last_receipt_ns.len()), 0);
        for (last, other) in last_receipt_ns.iter_mut().zip(recorded.last_receipt_ns) {
            *last = (*last).max(other);
        }
    }
    report.intervals_of_quantiles = intervals_of_quantiles(&samples);
    let mean = |s: &Stretch| (s.count > 0).then(|| (s.sum_of_logs / s.count as f64).exp());
    report.series = series.iter().map(mean).collect();
    let last = fanout(&last_receipt_ns, phase);
    report.histograms.add(HistogramId::Fanout, &last);
    report.intervals = intervals
        .into_iter()
        .map(|(number, of)| (number, Histograms::of(HistogramId::Delivery, of)))
        .collect();
    finish_measures(&mut report, &timeline, phase);
    report
}

/// What follows from the sums of all shards.
fn finish_measures(report: &mut FleetReport, timeline: &Timeline, phase: Option<&MeasurePhase>) {
    if let Some(trips) = &mut report.measures.round_trip {
        let messages = phase.and_then(|phase| phase.upstream.as_ref());
        trips.due = messages.map_or(0, Messages::due);
        trips.lost = trips.due.saturating_sub(trips.returned);
    }
    let (from_ns, until_ns) = phase.map_or((0, 0), |phase| {
        (phase.timing.measure_from_ns, phase.timing.measure_until_ns)
    });
    if let Some(recovery) = &mut report.measures.recovery {
        timeline.enter(recovery, from_ns);
    }
    if let Some(arrivals) = &mut report.measures.arrivals
        && until_ns > from_ns
    {
        let came = report.histograms.count(HistogramId::SetUp) as f64;
        arrivals.achieved_per_s = came * 1e9 / (until_ns - from_ns) as f64;
    }
}

/// Intervals by bootstrap over publishes, from the deliveries that were kept.
fn intervals_of_quantiles(samples: &[Sample]) -> LatencyIntervals {
    let latency_us: Vec<u64> = samples.iter().map(|s| u64::from(s.latency_us)).collect();
    let messages: Vec<u32> = samples.iter().map(|s| s.message).collect();
    let quantiles = [0.5, 0.9, 0.99, 0.999];
    // The same deliveries give the same intervals: nothing of the run's seed is needed. A
    // replicate takes some 9 ns a publish, and no report should take longer than a second.
    let usual = Bootstrap::new(0);
    let publishes = messages
        .iter()
        .max()
        .map_or(1, |&last| last.saturating_add(1));
    let replicates = (MAX_DRAWS / publishes).clamp(MIN_REPLICATES, usual.replicates);
    let how = Bootstrap {
        replicates,
        ..usual
    };
    let found = quantile_intervals(&latency_us, &messages, &quantiles, &how);
    // Samples are whole µs, rounded down.
    let ns = |index: usize| {
        found[index].map(|i| IntervalNs {
            low: i.low_ns * 1_000,
            high: i.high_ns * 1_000 + 999,
        })
    };
    LatencyIntervals {
        p50: ns(0),
        p90: ns(1),
        p99: ns(2),
        p999: ns(3),
    }
}

/// Time from each message's intended time to its last subscriber.
fn fanout(last_receipt_ns: &[u64], phase: Option<&MeasurePhase>) -> Histogram<u64> {
    let mut fanout = histogram();
    let Some(phase) = phase else { return fanout };
    for (index, &last_ns) in last_receipt_ns.iter().enumerate() {
        if last_ns == 0 {
            continue;
        }
        let intended_ns = phase.intended_ns(index as u64);
        if last_ns >= intended_ns {
            fanout.saturating_record(last_ns - intended_ns);
        }
    }
    fanout
}

pub(super) fn sum(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    into.add(from)
        .expect("no value lies beyond the bounds that all histograms share");
}
