//! The named measures of a trial: from what the fleet, the server and the looks over time found to
//! what the record keeps.
//!
//! Beside the data path. In: reports and readings. Out: [`Measures`]. Nothing is measured here but
//! the memory and CPU of processes, at each look.

use super::phases::Running;
use crate::environment::target::{Fleet, Target};
use crate::load::tally::CounterId;
use crate::load::{FleetReport, Setup};
use crate::observe::kernel::KernelMemory;
use crate::record::{
    Arrivals, HistogramId, Measures, Moment, OverTime, Overflow, Recovery, RoundTrip, SlowReaders,
    Snapshot, Streams, Trial,
};
use crate::scenario::Measure;

/// Most looks that are kept: ten minutes of four a second, and some.
const MAX_MOMENTS: usize = 2_500;

/// Looks around a moment whose median stands for it, in ns either way.
const AROUND_NS: u64 = 500_000_000;

impl<T: Target, F: Fleet> Running<'_, T, F> {
    /// Notes where memory and CPU stand, where a measure of the scenario needs it.
    pub(super) fn look_over_time(&mut self) {
        let now_ns = self.clocks.now_ns();
        if self.measure_from_ns == 0
            || now_ns < self.measure_from_ns
            || !self.plan.scenario.needs_samples()
            || self.moments.len() >= MAX_MOMENTS
        {
            return;
        }
        let used = self.server_cpu_ns();
        let base = *self.cpu_at_start_ns.get_or_insert(used.unwrap_or(0));
        self.moments.push(Moment {
            at_ns: now_ns - self.measure_from_ns,
            server_bytes: self.server_resident_bytes(),
            kernel_bytes: KernelMemory::read().map(|k| k.bytes()),
            server_cpu_ns: used.map(|used| used.saturating_sub(base)),
            connected: self.sampler.live().map(|live| live.connected),
        });
    }

    /// Enters the measures that the scenario asks for.
    pub(super) fn enter_measures(&self, trial: &mut Trial, report: &FleetReport) {
        let scenario = self.plan.scenario;
        let mut measures = Measures::default();
        for measure in scenario.measures() {
            match measure {
                Measure::Recovery => {
                    let found = report.measures.recovery.clone();
                    measures.recovery = Some(self.recovery(found.unwrap_or_default(), report));
                }
                Measure::SlowReaders => {
                    let found = report.measures.slow_readers.clone();
                    measures.slow_readers = self.slow_readers(found.unwrap_or_default());
                }
                Measure::RoundTrip => {
                    let found = report.measures.round_trip.clone();
                    measures.round_trip = Some(self.round_trip(found.unwrap_or_default(), trial));
                }
                Measure::Arrivals => measures.arrivals = self.arrivals(report, trial),
                Measure::Streams => measures.streams = self.streams(report),
                Measure::Snapshot => {
                    measures.snapshot = Some(Snapshot {
                        messages: scenario.clients.snapshot_messages,
                        ..Snapshot::default()
                    });
                }
                Measure::OverTime => {
                    measures.over_time = Some(OverTime {
                        points: self.moments.clone(),
                    });
                }
            }
        }
        let (policies, stats) = (&scenario.channels.overflow, &self.stats);
        if scenario.slow_readers.is_some() || policies.iter().any(|p| *p != Default::default()) {
            measures.overflow = Some(Overflow {
                lagged: stats.lagged,
                lost_messages: stats.lost_messages,
                conflated_messages: stats.conflated_messages,
                cut_off: stats.cut_off,
            });
        }
        trial.measures = measures;
    }

    fn recovery(&self, found: Recovery, report: &FleetReport) -> Recovery {
        let first_ns = self.faults.done.first().map(|f| f.at_ns);
        let last_ns = found.last_return_ns.unwrap_or(0);
        let bytes = |from: u64, to: u64| {
            let within = self
                .moments
                .iter()
                .filter(|m| (from..to).contains(&m.at_ns));
            within.filter_map(|m| m.server_bytes).max()
        };
        let cpu_at = |at_ns: u64| {
            let until = self.moments.iter().take_while(|m| m.at_ns <= at_ns);
            until.filter_map(|m| m.server_cpu_ns).last()
        };
        // The look behind the last return has all of it.
        let next = |at_ns: u64| {
            let behind = self.moments.iter().find(|m| m.at_ns >= at_ns);
            behind.or(self.moments.last()).and_then(|m| m.server_cpu_ns)
        };
        let first_ns = first_ns.or(found.first_loss_ns).unwrap_or(0);
        let was_lost = found.lost > 0;
        Recovery {
            faults: self.faults.done.clone(),
            lagged_messages: report.lagged_messages,
            server_peak_bytes: bytes(first_ns, u64::MAX).filter(|_| was_lost),
            server_before_bytes: bytes(0, first_ns).filter(|_| was_lost),
            server_cpu_ns: next(last_ns)
                .zip(cpu_at(first_ns))
                .map(|(after, before)| after.saturating_sub(before))
                .filter(|_| was_lost),
            ..found
        }
    }

    fn slow_readers(&self, found: SlowReaders) -> Option<SlowReaders> {
        let scenario = self.plan.scenario;
        let slow = scenario.slow_readers?;
        let server = &scenario.server;
        let growth = |first: Option<u64>, of: fn(&Moment) -> Option<u64>| {
            let first = first?;
            let largest = self.moments.iter().filter_map(of).max()?;
            Some(largest.saturating_sub(first))
        };
        // A ring is full when either bound is reached; each shard has its own.
        let envelope = scenario.publish.as_ref().map_or(0, |p| p.payload_bytes);
        let ring = server.ring_bytes.min(
            server
                .ring_messages
                .saturating_mul(envelope + FRAMING_BYTES),
        );
        let rings = ring as u64
            * u64::from(scenario.channel_count())
            * self.plan.layout.server.shards as u64;
        let held = self.target.stalled_bytes(envelope);
        let segment = (envelope + FRAMING_BYTES).next_multiple_of(PAGE_BYTES) as u64;
        let buffers = server.send_buffer_bytes.map(|send| {
            // The kernel doubles what is asked for, and counts its own bookkeeping in it (socket(7)).
            // A queue takes a segment for as long as it is below its limit, so each may exceed it by
            // one, and memory goes by pages.
            2 * (u64::from(send) + u64::from(slow.receive_buffer_bytes)) + 2 * segment
        });
        Some(SlowReaders {
            read_bytes_per_s: slow.read_bytes_per_s,
            user_growth_bytes: growth(self.before_bytes.0, |m| m.server_bytes),
            user_bound_bytes: rings + held * found.clients,
            kernel_growth_bytes: growth(self.before_bytes.1, |m| m.kernel_bytes),
            kernel_bound_bytes: buffers.map(|each| each * found.clients),
            send_buffer_bytes: server.send_buffer_bytes,
            receive_buffer_bytes: slow.receive_buffer_bytes,
            ..found
        })
    }

    fn round_trip(&self, found: RoundTrip, trial: &Trial) -> RoundTrip {
        let window = self.window.found();
        // Only what is posted is acknowledged.
        let posts = found.acknowledged.is_some();
        let knows_sockets = self.setup.as_ref().is_some_and(Setup::knows_sockets);
        let wire = |bytes| {
            let window = window.filter(|window| knows_sockets && window.tells_sockets())?;
            window.ratio(bytes, CounterId::Sent)
        };
        RoundTrip {
            connections_per_client: found.connections as f64
                / f64::from(self.plan.scenario.clients.count.max(1)),
            up_bytes_per_message: wire(CounterId::SentBytes),
            down_bytes_per_message: wire(CounterId::ReceivedBytes),
            post_up_bytes_per_message: wire(CounterId::PostSentBytes).filter(|_| posts),
            post_down_bytes_per_message: wire(CounterId::PostReceivedBytes).filter(|_| posts),
            server_cpu_ns_per_message: window
                .and_then(|window| window.per(trial.server.cpu_ns, CounterId::Sent)),
            ..found
        }
    }

    fn streams(&self, report: &FleetReport) -> Option<Streams> {
        let scenario = self.plan.scenario;
        let complete = report.histograms.count(HistogramId::Stream);
        Some(Streams {
            offered_per_s: scenario.streams_per_s()?,
            complete_per_s: complete as f64 / scenario.phases.measure_s,
            ..Streams::default()
        })
    }

    fn arrivals(&self, report: &FleetReport, trial: &Trial) -> Option<Arrivals> {
        let found = report.measures.arrivals.clone()?;
        let measure_ns = (self.plan.scenario.phases.measure_s * 1e9) as u64;
        let around = |at_ns: u64| {
            let near = self
                .moments
                .iter()
                .filter(|m| m.at_ns.abs_diff(at_ns) <= AROUND_NS);
            let mut near: Vec<u64> = near.filter_map(|m| m.server_bytes).collect();
            near.sort_unstable();
            near.get(near.len() / 2).copied()
        };
        let (early, late) = (
            around(measure_ns / 3),
            around(measure_ns.saturating_sub(AROUND_NS)),
        );
        Some(Arrivals {
            server_cpu_ns_per_arrival: (self.window.found())
                .and_then(|window| window.per(trial.server.cpu_ns, CounterId::Arrivals)),
            early_bytes: early,
            late_bytes: late,
            growth: late
                .zip(early)
                .filter(|(_, early)| *early > 0)
                .map(|(late, early)| late as f64 / early as f64),
            ..found
        })
    }
}

/// What the kernel hands out at the least.
const PAGE_BYTES: usize = 4_096;

/// What a framing adds to an envelope at most, in a ring.
const FRAMING_BYTES: usize = 64;
