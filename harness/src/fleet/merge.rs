//! From what each shard counted to one report: histograms are added, never averaged.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use pushbench_servers::publisher::encode_histogram;

use super::shard::ShardReport;
use super::{FleetReport, MeasurePhase, Wire};
use crate::recorder::histogram;

/// Merges the reports of all shards. `wire`: whether the clients' sockets could be read.
pub(super) fn merge(
    shards: Vec<ShardReport>,
    phase: Option<&MeasurePhase>,
    sockets_known: bool,
) -> FleetReport {
    let mut report = FleetReport::default();
    let (mut delivery, mut service) = (histogram(), histogram());
    let (mut connect, mut lag) = (histogram(), histogram());
    let mut intervals: BTreeMap<u64, Histogram<u64>> = BTreeMap::new();
    let mut last_receipt_ns: Vec<u64> = Vec::new();
    let mut wire = Wire::default();
    for shard in shards {
        report.counts += shard.counts;
        report.ledger_overflowed |= shard.overflowed;
        report.corrupt += shard.corrupt;
        report.first_corrupt = report.first_corrupt.or(shard.first_corrupt);
        report.first_missing = report.first_missing.or(shard.first_missing);
        report.lagged_messages += shard.lagged_messages;
        report.received_bytes += shard.received_bytes;
        report.requests += shard.requests;
        report.empty_responses += shard.empty_responses;
        wire.add(shard.wire);
        sum(&mut connect, &shard.connect);
        sum(&mut lag, &shard.scheduler_lag);
        let Some(recorded) = shard.recorded else {
            continue;
        };
        report.negative_latencies += recorded.negative;
        report.last_received_ns = report.last_received_ns.max(recorded.last_ns);
        sum(&mut delivery, &recorded.delivery);
        sum(&mut service, &recorded.service);
        for interval in recorded.intervals {
            let merged = intervals.entry(interval.number).or_insert_with(histogram);
            sum(merged, &interval.histogram);
        }
        last_receipt_ns.resize(last_receipt_ns.len().max(recorded.last_receipt_ns.len()), 0);
        for (last, other) in last_receipt_ns.iter_mut().zip(recorded.last_receipt_ns) {
            *last = (*last).max(other);
        }
    }
    report.delivery = encode_histogram(&delivery);
    report.service = encode_histogram(&service);
    report.connect = encode_histogram(&connect);
    report.scheduler_lag = encode_histogram(&lag);
    report.fanout = encode_histogram(&fanout(&last_receipt_ns, phase));
    report.intervals = intervals
        .into_iter()
        .map(|(number, h)| (number, encode_histogram(&h)))
        .collect();
    report.wire = sockets_known.then_some(wire);
    report
}

/// Time from each message's intended time to its last subscriber.
fn fanout(last_receipt_ns: &[u64], phase: Option<&MeasurePhase>) -> Histogram<u64> {
    let mut fanout = histogram();
    let Some(phase) = phase else { return fanout };
    let first = phase.first_message();
    for (index, &last_ns) in last_receipt_ns.iter().enumerate() {
        let intended_ns = phase.timetable.message(first + index as u64).intended_ns;
        if last_ns >= intended_ns && last_ns > 0 {
            fanout.saturating_record(last_ns - intended_ns);
        }
    }
    fanout
}

fn sum(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    into.add(from)
        .expect("no value lies beyond the bounds that all histograms share");
}

impl Wire {
    fn add(&mut self, other: Self) {
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.received_segments += other.received_segments;
        self.sent_segments += other.sent_segments;
        self.retransmitted_bytes += other.retransmitted_bytes;
    }
}
