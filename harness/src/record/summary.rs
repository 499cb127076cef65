//! All trials of one transport and profile, at one point of a sweep, in one row.
//!
//! Rates, costs and memory are medians over trials; counts of lost and repeated messages are sums,
//! because one lost message in one trial must not vanish in a median; percentiles come from
//! histograms that the caller has merged, because percentiles cannot be averaged.

use super::measures::{Measures, MeasuresOfRow, beside_none};
use super::quantiles::{Latency, Quantiles};
use super::trial::{Trial, Verdict};
use super::variant::Variant;
use crate::analysis::stats::median;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the trials of one transport and profile, at one point of a sweep, add up to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SummaryRow {
    /// What was measured.
    #[serde(flatten)]
    pub variant: Variant,
    /// Trials that ran, failed ones included.
    pub trials: u32,
    /// Trials that did not come to their end; they count in no median.
    pub failed: u32,
    /// The worst verdict of all trials.
    pub verdict: Verdict,
    /// Clients that were to connect in a trial.
    pub target: u64,
    /// The fewest clients that were connected in a trial.
    pub connected: u64,
    /// Offered rate.
    pub offered_per_s: f64,
    /// Achieved publish rate, median.
    pub achieved_per_s: Option<f64>,
    /// Deliveries received a second, median.
    pub received_per_s: Option<f64>,
    /// Deliveries that were owed, over all trials.
    pub expected: u64,
    /// Deliveries that arrived, over all trials.
    pub received: u64,
    /// Deliveries that never arrived, over all trials.
    pub missing: u64,
    /// Messages that came again, over all trials.
    pub duplicate: u64,
    /// Messages that came after a later one, over all trials.
    pub out_of_order: u64,
    /// Delivery latency, over the deliveries of all trials.
    pub latency_ns: Latency,
    /// Time to the last subscriber, over the messages of all trials.
    pub fanout_ns: Quantiles,
    /// Server CPU per delivery, median.
    pub server_cpu_ns_per_delivery: Option<f64>,
    /// The same over that of `tcp` in this run, at the same point; `null` where `tcp` did not run.
    pub cpu_multiple_of_tcp: Option<f64>,
    /// Harness CPU per delivery, median.
    pub harness_cpu_ns_per_delivery: Option<f64>,
    /// CPU that neither was charged with per delivery, median.
    pub unattributed_cpu_ns_per_delivery: Option<f64>,
    /// User memory of the server per client, median.
    pub user_bytes_per_client: Option<f64>,
    /// Kernel memory per client, both ends, median.
    pub kernel_bytes_per_client: Option<f64>,
    /// User memory of the fleet per client, median.
    pub harness_bytes_per_client: Option<f64>,
    /// Bytes from server to client per delivery, median.
    pub server_to_client_bytes_per_delivery: Option<f64>,
    /// Bytes from client to server per delivery, median.
    pub client_to_server_bytes_per_delivery: Option<f64>,
    /// Segments from server to client per delivery, median.
    pub segments_per_delivery: Option<f64>,
    /// The named measures: each figure under its path in `measures` of a trial. Counts of events are
    /// sums over trials, everything else is the median; empty where the scenario names none.
    #[serde(default)]
    pub measures: MeasuresOfRow,
}

/// Percentiles over all trials of one transport and profile, from merged histograms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Delivery latency.
    pub latency_ns: Latency,
    /// Time to the last subscriber.
    pub fanout_ns: Quantiles,
}

/// A row for each transport, profile and point, in the order of [`Transport::ALL`] and of the sweep.
/// Where `merged` has no entry and there was one trial, the trial's own percentiles are the row's;
/// where there were more, they are `null`.
pub fn summarise(trials: &[Trial], merged: &BTreeMap<Variant, Merged>) -> Vec<SummaryRow> {
    let mut groups: BTreeMap<Variant, Vec<&Trial>> = BTreeMap::new();
    for trial in trials {
        groups.entry(trial.variant).or_default().push(trial);
    }
    let mut rows: Vec<SummaryRow> = groups
        .iter()
        .map(|(key, trials)| row(*key, trials, merged.get(key)))
        .collect();
    let floors: BTreeMap<Variant, f64> = groups
        .keys()
        .zip(&rows)
        .filter(|(key, _)| key.is_baseline())
        .filter_map(|(key, row)| Some((*key, row.server_cpu_ns_per_delivery?)))
        .filter(|&(_, cpu_ns)| cpu_ns > 0.0)
        .collect();
    for ((key, of_row), row) in groups.iter().zip(&mut rows) {
        if let Some(found) = beside_none(of_row, trials) {
            let figures = [
                ("pairs", Some(f64::from(found.pairs))),
                ("healthy_p99_ratio", Some(found.p99_ratio)),
                ("user_added_bytes", found.user_bytes),
                ("kernel_added_bytes", found.kernel_bytes),
            ];
            for (name, value) in figures {
                let key = format!("slow_readers.{name}");
                row.measures.extend(value.map(|value| (key, value)));
            }
        }
        let floor = floors.get(&key.baseline());
        row.cpu_multiple_of_tcp = row
            .server_cpu_ns_per_delivery
            .zip(floor)
            .map(|(cpu_ns, floor)| cpu_ns / floor);
    }
    rows
}

fn row(variant: Variant, trials: &[&Trial], merged: Option<&Merged>) -> SummaryRow {
    let done: Vec<&Trial> = trials
        .iter()
        .copied()
        .filter(|t| t.error.is_none())
        .collect();
    let middle = |value: fn(&Trial) -> Option<f64>| median(done.iter().filter_map(|t| value(t)));
    let sum = |value: fn(&Trial) -> u64| trials.iter().map(|t| value(t)).sum::<u64>();
    let merged = match (merged, done.as_slice()) {
        (Some(merged), _) => *merged,
        (None, [only]) => Merged {
            latency_ns: only.latency_ns,
            fanout_ns: only.fanout_ns,
        },
        (None, _) => Merged::default(),
    };
    SummaryRow {
        variant,
        trials: trials.len() as u32,
        failed: (trials.len() - done.len()) as u32,
        verdict: trials
            .iter()
            .map(|t| t.validity.verdict)
            .max()
            .unwrap_or(Verdict::Void),
        target: trials.iter().map(|t| t.clients.target).max().unwrap_or(0),
        connected: trials
            .iter()
            .map(|t| t.clients.connected)
            .min()
            .unwrap_or(0),
        offered_per_s: trials
            .iter()
            .map(|t| t.publish.offered_per_s)
            .fold(0.0, f64::max),
        achieved_per_s: middle(|t| t.publish.achieved_per_s),
        received_per_s: middle(|t| t.throughput.received_per_s),
        expected: sum(|t| t.deliveries.expected),
        received: sum(|t| t.deliveries.received),
        missing: sum(|t| t.deliveries.missing),
        duplicate: sum(|t| t.deliveries.duplicate),
        out_of_order: sum(|t| t.deliveries.out_of_order),
        latency_ns: merged.latency_ns,
        fanout_ns: merged.fanout_ns,
        server_cpu_ns_per_delivery: middle(|t| t.server.cpu_ns_per_delivery),
        cpu_multiple_of_tcp: None,
        harness_cpu_ns_per_delivery: middle(|t| t.harness.cpu_ns_per_delivery),
        unattributed_cpu_ns_per_delivery: middle(|t| {
            let deliveries = t.workload?.deliveries.filter(|&n| n > 0)?;
            Some(t.machine.unattributed_cpu_ns? as f64 / deliveries as f64)
        }),
        user_bytes_per_client: middle(|t| t.server.memory.user_bytes_per_client),
        kernel_bytes_per_client: middle(|t| t.server.memory.kernel_bytes_per_client),
        harness_bytes_per_client: middle(|t| t.harness.memory_bytes_per_client),
        server_to_client_bytes_per_delivery: middle(|t| t.wire.server_to_client_bytes_per_delivery),
        client_to_server_bytes_per_delivery: middle(|t| t.wire.client_to_server_bytes_per_delivery),
        segments_per_delivery: middle(|t| t.wire.segments_per_delivery),
        measures: Measures::add_up(done.iter().map(|t| &t.measures)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Reason, WorkloadWindow};
    use crate::scenario::{Point, SweepKey};
    use pushbench_protocol::transport::{Profile, Transport};

    fn trial(transport: Transport, index: u32, cpu_ns: f64) -> Trial {
        let mut trial = Trial::new(transport, Profile::Tuned, index);
        trial.clients.target = 10;
        trial.clients.connected = 11 - u64::from(index);
        trial.server.cpu_ns_per_delivery = Some(cpu_ns);
        trial.workload = Some(WorkloadWindow {
            deliveries: Some(100),
            ..WorkloadWindow::default()
        });
        trial.deliveries.received = 100;
        trial.deliveries.missing = u64::from(index) - 1;
        trial.machine.unattributed_cpu_ns = Some(-500);
        trial.latency_ns.p50 = Some(7);
        trial
    }

    #[test]
    fn costs_are_medians_and_losses_are_sums() {
        let mut trials: Vec<Trial> = [4.0, 2.0, 3.0]
            .into_iter()
            .zip(1..)
            .map(|(c, i)| trial(Transport::Sse, i, c))
            .collect();
        trials[1].validity.raise(
            Verdict::Suspect,
            Reason {
                check: "steal".to_owned(),
                measured: None,
                limit: None,
                remedy: String::new(),
                message: String::new(),
            },
        );
        let rows = summarise(&trials, &BTreeMap::new());
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!(
            (row.trials, row.failed, row.verdict),
            (3, 0, Verdict::Suspect)
        );
        assert_eq!((row.connected, row.target), (8, 10));
        assert_eq!((row.received, row.missing), (300, 3));
        assert_eq!(row.server_cpu_ns_per_delivery, Some(3.0));
        assert_eq!(row.unattributed_cpu_ns_per_delivery, Some(-5.0));
        assert_eq!(row.cpu_multiple_of_tcp, None, "no tcp, no multiple");
        assert_eq!(
            row.latency_ns,
            Latency::default(),
            "percentiles are never averaged"
        );
    }

    #[test]
    fn percentiles_are_the_merged_ones() {
        let trials = [trial(Transport::Sse, 1, 4.0), trial(Transport::Sse, 2, 4.0)];
        let latency_ns = Latency {
            count: 200,
            p50: Some(9),
            ..Latency::default()
        };
        let merged = Merged {
            latency_ns,
            fanout_ns: Quantiles::default(),
        };
        let rows = summarise(&trials, &[(trials[0].variant, merged)].into());
        assert_eq!(rows[0].latency_ns, latency_ns);
        assert_eq!(
            summarise(&trials[..1], &BTreeMap::new())[0].latency_ns.p50,
            Some(7)
        );
    }

    #[test]
    fn cpu_is_held_against_tcp_of_the_same_run() {
        let trials = [trial(Transport::Sse, 1, 6.0), trial(Transport::Tcp, 1, 4.0)];
        let rows = summarise(&trials, &BTreeMap::new());
        assert_eq!(
            (rows[0].variant.transport, rows[0].cpu_multiple_of_tcp),
            (Transport::Tcp, Some(1.0))
        );
        assert_eq!(
            (rows[1].variant.transport, rows[1].cpu_multiple_of_tcp),
            (Transport::Sse, Some(1.5))
        );
    }

    #[test]
    fn every_point_of_a_sweep_has_its_row_and_its_own_baseline() {
        let at = |transport, index: u32, cpu_ns| {
            let mut trial = trial(transport, 1, cpu_ns);
            trial.variant.point =
                Some(Point::new(index).with(SweepKey::CLIENTS, f64::from(10 * index)));
            trial
        };
        let trials = [
            at(Transport::Sse, 2, 12.0),
            at(Transport::Tcp, 2, 8.0),
            at(Transport::Sse, 1, 6.0),
            at(Transport::Tcp, 1, 3.0),
            at(Transport::Sse, 3, 9.0),
        ];
        let rows = summarise(&trials, &BTreeMap::new());
        let told = |row: &SummaryRow| {
            let clients = row
                .variant
                .point
                .and_then(|point| point.value(SweepKey::CLIENTS));
            (row.variant.transport, clients, row.cpu_multiple_of_tcp)
        };
        assert_eq!(
            rows.iter().map(told).collect::<Vec<_>>(),
            [
                (Transport::Tcp, Some(10.0), Some(1.0)),
                (Transport::Tcp, Some(20.0), Some(1.0)),
                (Transport::Sse, Some(10.0), Some(2.0)),
                (Transport::Sse, Some(20.0), Some(1.5)),
                (Transport::Sse, Some(30.0), None),
            ]
        );
    }

    #[test]
    fn a_failed_trial_is_a_row_and_in_no_median() {
        let bad = trial(Transport::Sse, 2, 900.0).failed("it died".to_owned(), String::new());
        let trials = [trial(Transport::Sse, 1, 6.0), bad];
        let row = &summarise(&trials, &BTreeMap::new())[0];
        assert_eq!((row.trials, row.failed, row.verdict), (2, 1, Verdict::Void));
        assert_eq!(row.server_cpu_ns_per_delivery, Some(6.0));
        assert_eq!(row.latency_ns.p50, Some(7), "one trial came to its end");
        let row = &summarise(&trials[1..], &BTreeMap::new())[0];
        assert_eq!(row.server_cpu_ns_per_delivery, None);
    }
}
