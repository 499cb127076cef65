//! From the readings of a trial's slices to its record.
//!
//! Around the data path, after it. In: the clocks over each slice, and what clients received in it. Out: the
//! slices of the record, and the CPU time of a delivery over their measured parts.

use super::phases::Running;
use crate::environment::target::{Fleet, Target};
use crate::load::{FleetReport, MeasurePhase};
use crate::record::{HistogramId, Slice, Span, Trial};

impl<T: Target, F: Fleet> Running<'_, T, F> {
    /// Enters every slice of the measure phase, where the trial had turns.
    pub(super) fn enter_slices(
        &self,
        trial: &mut Trial,
        report: &FleetReport,
        phase: &MeasurePhase,
    ) {
        let (Some(turns), Some(turn)) = (phase.timetable.turns(), &self.plan.turn) else {
            return;
        };
        let timing = &phase.timing;
        let since = |at_ns: u64| at_ns.saturating_sub(self.started_ns);
        let [start, from, until] = [
            timing.schedule.start_ns,
            timing.measure_from_ns,
            timing.measure_until_ns,
        ]
        .map(since);
        trial.phase_ns.warm_up = Some(Span { start, end: from });
        trial.phase_ns.measure = Some(Span {
            start: from,
            end: until,
        });
        let warm_up = turn.warm_up_blocks as usize;
        let bodies = self.window.bodies_ns().zip(turns.starts());
        trial.slices = bodies
            .skip(warm_up)
            .map(|([server_cpu_ns, harness_cpu_ns], start)| Slice {
                start_ns: since(timing.schedule.start_ns + start),
                server_cpu_ns,
                harness_cpu_ns,
                ..Slice::default()
            })
            .collect();
        for (number, of) in &report.intervals {
            let latency = of.get(HistogramId::Delivery);
            let slice = trial.slices.get_mut(*number as usize);
            if let (Some(slice), Some(latency)) = (slice, latency) {
                slice.deliveries = latency.len();
                let at = |q| (!latency.is_empty()).then(|| latency.value_at_quantile(q));
                (slice.p50_ns, slice.p99_ns) = (at(0.5), at(0.99));
            }
        }
        let deliveries: u64 = trial.slices.iter().map(|slice| slice.deliveries).sum();
        let per_delivery = |of: fn(&Slice) -> Option<u64>| {
            let used_ns: Option<u64> = trial.slices.iter().map(of).sum();
            used_ns
                .filter(|_| deliveries > 0)
                .map(|ns| ns as f64 / deliveries as f64)
        };
        let (server, harness) = (
            per_delivery(|slice| slice.server_cpu_ns),
            per_delivery(|slice| slice.harness_cpu_ns),
        );
        trial.server.cpu_ns_per_delivery = server;
        trial.harness.cpu_ns_per_delivery = harness;
        trial.spilled = Some(report.spilled);
    }
}
