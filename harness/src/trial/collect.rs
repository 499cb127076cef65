//! From what each side counted to the row of a trial.
//!
//! Around the data path, after it. In: the reports of target and fleet, the window, readings of
//! memory. Out: the record's keys, the histograms behind them, and the verdict of the audit.

use std::time::SystemTime;

use pushbench_protocol::histogram::decode;
use pushbench_protocol::schedule::Arrival;

use super::phases::Running;
use super::{Histograms, TrialError};
use crate::audit::{Evidence, Waited, audit};
use crate::environment::target::{Fleet, Target};
use crate::load::tally;
use crate::load::{FleetReport, MeasurePhase, Setup};
use crate::observe::process;
use crate::record::{Capability, HistogramId, Probe, Quantiles, Trial, histogram};

impl<T: Target, F: Fleet> Running<'_, T, F> {
    /// Ends publishing and settles every account.
    pub(super) async fn finish(
        &mut self,
        trial: &mut Trial,
        phase: &MeasurePhase,
    ) -> Result<FleetReport, TrialError> {
        self.end_publishing(trial, phase).await?;
        let memory = &mut trial.server.memory;
        let peak = process::peak_bytes(self.server());
        // Another process has another peak.
        let is_fresh = self.peak_is_fresh && self.faults.ended == 0;
        memory.measure_peak_bytes = peak.filter(|_| is_fresh);
        memory.peak_bytes = peak.max(memory.peak_bytes);
        // Walks the page tables of the process: after the clocks, so that nothing is charged.
        memory.loaded_bytes = process::pss_bytes(self.server());
        memory.load(trial.clients.connected);
        let until_ns = phase.timing.measure_until_ns;
        let report = self.fleet.finish(until_ns).await?;
        self.stats = self.target.stats().await?;
        Ok(report)
    }

    async fn end_publishing(
        &mut self,
        trial: &mut Trial,
        phase: &MeasurePhase,
    ) -> Result<(), TrialError> {
        if phase.timetable.is_empty() || self.plan.scenario.publish.is_none() {
            return Ok(());
        }
        // A publisher that is still behind is stopped: what it did not do is missing.
        let report = self.target.end_publishing().await?;
        let offered = phase.messages();
        let is_known = self.faults.ended == 0 && trial.has(Capability::PublishReport);
        let phase_ns = phase.load_ns();
        let scenario = self.plan.scenario;
        let channels = scenario.channel_count();
        trial.publish.channels_without_subscriber = channels.saturating_sub(scenario.clients.count);
        trial.publish.offered_per_s = offered as f64 * 1e9 / phase_ns as f64;
        // What a publisher reported that has ended is not known, nor how late it was; some report nothing.
        if !is_known {
            return Ok(());
        }
        // One that was interrupted in its turns has published more than counts.
        let measured = report.measured.min(offered);
        // The last message's lateness stretches the time in which they all were published.
        let last = phase.first_message() + measured.max(1) - 1;
        let late_ns = report
            .last_actual_ns
            .saturating_sub(phase.timetable.message(last).intended_ns);
        let late_ns = if self.was_cut { 0 } else { late_ns };
        trial.publish.achieved_per_s = Some(measured as f64 * 1e9 / (phase_ns + late_ns) as f64);
        self.gaps_ns = report.gaps_ns;
        let lag = decode(&report.lag_histogram).map_err(TrialError::Histogram)?;
        trial.publish.lag_ns = Quantiles::from_histogram(&lag);
        Ok(())
    }

    /// Enters what was counted.
    pub(super) fn collect(
        &mut self,
        trial: &mut Trial,
        report: &FleetReport,
        phase: &MeasurePhase,
    ) -> Histograms {
        if let Some(found) = self.window.found() {
            let knows_sockets = self.setup.as_ref().is_some_and(Setup::knows_sockets);
            found.enter(trial, knows_sockets);
        }
        let waited = self.waited();
        trial.server.run_queue_wait_ns = waited.server.map(|w| w.waited_ns);
        trial.harness.run_queue_wait_ns = waited.fleet.map(|w| w.waited_ns);
        enter_counts(trial, report, phase, self.was_cut);
        self.enter_slices(trial, report, phase);
        trial.latency_interval_ns = report.intervals_of_quantiles;
        trial.latency_over_time_ns.clone_from(&report.series);
        let reads = report.histograms.count(HistogramId::ProbeWaited);
        trial.probe = (reads > 0).then(|| Probe {
            reads,
            ..Probe::default()
        });
        self.enter_measures(trial, report);
        report.histograms.enter(trial);
        let of = |all: &tally::Histograms, id| all.get(id).cloned().unwrap_or_else(histogram);
        let intervals = report.intervals.iter();
        let intervals = intervals.map(|(number, all)| (*number, of(all, HistogramId::Delivery)));
        let layers = self.layers.iter().map(|layer| layer.passed()).collect();
        Histograms {
            delivery: of(&report.histograms, HistogramId::Delivery),
            fanout: of(&report.histograms, HistogramId::Fanout),
            intervals: intervals.collect(),
            measure_started: self.measure_started.unwrap_or_else(SystemTime::now),
            interfered: self.interference.end(phase.timing.clone(), layers),
        }
    }

    /// Has the audit look at everything.
    pub(super) fn judge(&self, trial: &mut Trial, report: &FleetReport) {
        let cores = pushbench_os::sys::allowed_cpus().len().max(1);
        let fleet_cores = self.plan.layout.fleet.cpus.len();
        let publish = self.plan.scenario.publish.as_ref();
        let window = self.window.found();
        let evidence = Evidence {
            report,
            window_ns: window.map_or(0, |found| found.length_ns()),
            fleet_cores: if fleet_cores == 0 { cores } else { fleet_cores },
            cores,
            connecting: self.connecting,
            measuring: window.and_then(|found| found.network),
            // A layer runs on the same cores, and is not another program.
            waited: match self.layers.is_empty() {
                true => self.waited(),
                false => Waited::default(),
            },
            channels: self.plan.scenario.channel_count(),
            arrival: publish.map_or(Arrival::Uniform, |p| p.arrival),
            gaps_ns: &self.gaps_ns,
            disturbed: self.plan.scenario.disturbed(),
            server_replaced: self.faults.ended > 0,
            told_lost: report.lagged_messages + self.stats.conflated_messages,
        };
        audit(trial, &evidence);
    }
}

/// Clients, the ledger and rates.
fn enter_counts(trial: &mut Trial, report: &FleetReport, phase: &MeasurePhase, was_cut: bool) {
    let counts = report.counts;
    trial.clients.disconnected = report.disconnected;
    trial.clients.refused = report.refused;
    trial.deliveries = counts.recorded(trial.has(Capability::Cursor));
    let timing = &phase.timing;
    let late_ns = report
        .last_received_ns
        .saturating_sub(timing.measure_until_ns);
    // What came after the cut is in no count.
    let late_ns = if was_cut { 0 } else { late_ns };
    let seconds = (phase.load_ns() + late_ns) as f64 / 1e9;
    if !phase.timetable.is_empty() {
        trial.throughput.received_per_s = Some(counts.received as f64 / seconds);
        trial.throughput.received_bytes_per_s = Some(report.received_bytes as f64 / seconds);
    }
}
