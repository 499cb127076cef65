//! Rows of made-up trials.

use super::*;
use crate::record::{Quantiles, Reason, Recovery, WorkloadWindow};
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
    trial.deliveries.missing = Some(u64::from(index) - 1);
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
    for (id, figure) in [
        ("connected", Some(8.0)),
        ("target", Some(10.0)),
        ("delivered", Some(300.0)),
        ("missing", Some(3.0)),
        ("cpu", Some(3.0)),
        ("other_cpu", Some(-5.0)),
        // Without tcp.
        ("cpu_multiple", None),
        // Percentiles are never averaged.
        ("p50", None),
    ] {
        assert_eq!(row.figure(id), figure, "{id}");
    }
}

#[test]
fn percentiles_are_the_merged_ones() {
    let trials = [trial(Transport::Sse, 1, 4.0), trial(Transport::Sse, 2, 4.0)];
    let latency_ns = Quantiles {
        count: 200,
        p50: Some(9),
        ..Quantiles::default()
    };
    let merged = Merged {
        latency_ns,
        fanout_ns: Quantiles::default(),
    };
    let rows = summarise(&trials, &[(trials[0].variant, merged)].into());
    assert_eq!(rows[0].figure("p50"), Some(9.0));
    assert_eq!(rows[0].figure("latencies"), Some(200.0));
    let alone = &summarise(&trials[..1], &BTreeMap::new())[0];
    assert_eq!(alone.figure("p50"), Some(7.0));
}

#[test]
fn cpu_is_held_against_tcp_of_the_same_run() {
    let trials = [trial(Transport::Sse, 1, 6.0), trial(Transport::Tcp, 1, 4.0)];
    let rows = summarise(&trials, &BTreeMap::new());
    let told = |row: &SummaryRow| (row.variant.transport, row.figure("cpu_multiple"));
    assert_eq!(told(&rows[0]), (Transport::Tcp, Some(1.0)));
    assert_eq!(told(&rows[1]), (Transport::Sse, Some(1.5)));
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
        (row.variant.transport, clients, row.figure("cpu_multiple"))
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
    assert_eq!(row.figure("cpu"), Some(6.0));
    assert_eq!(row.figure("p50"), Some(7.0), "one trial came to its end");
    let row = &summarise(&trials[1..], &BTreeMap::new())[0];
    assert_eq!(row.figure("cpu"), None);
}

fn priced(transport: Transport, point: u32, cpu_ns: Option<f64>) -> Trial {
    let mut trial = Trial::new(transport, Profile::Tuned, 1);
    trial.variant.point = Some(Point::new(point).with(SweepKey::CLIENTS, f64::from(100 * point)));
    trial.server.cpu_ns_per_delivery = cpu_ns;
    trial
}

#[test]
fn growth_is_the_last_point_over_the_first_and_held_against_tcp_between_the_same_two() {
    let trials = [
        priced(Transport::Tcp, 1, Some(4.0)),
        priced(Transport::Tcp, 2, Some(5.0)),
        priced(Transport::Tcp, 3, Some(8.0)),
        priced(Transport::Sse, 1, Some(5.0)),
        priced(Transport::Sse, 2, Some(6.0)),
        priced(Transport::Sse, 3, Some(15.0)),
    ];
    let found = growth(&summarise(&trials, &Default::default()));
    let told = |g: &Growth| (g.side.transport, g.growth, g.growth_over_tcp);
    assert_eq!(
        found.iter().map(told).collect::<Vec<_>>(),
        [
            (Transport::Tcp, 2.0, Some(1.0)),
            (Transport::Sse, 3.0, Some(1.5))
        ]
    );
    assert_eq!(
        [found[1].from, found[1].to].map(|p| p.value(SweepKey::CLIENTS)),
        [Some(100.0), Some(300.0)]
    );
}

#[test]
fn a_point_without_a_cost_is_passed_over_and_one_alone_does_not_grow() {
    let trials = [
        priced(Transport::Tcp, 1, None),
        priced(Transport::Tcp, 2, Some(5.0)),
        priced(Transport::Sse, 1, Some(5.0)),
        priced(Transport::Sse, 2, Some(10.0)),
        priced(Transport::Sse, 3, None),
    ];
    let found = growth(&summarise(&trials, &Default::default()));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].growth, found[0].growth_over_tcp), (2.0, None));
    let unswept = Trial::new(Transport::Sse, Profile::Tuned, 1);
    assert_eq!(growth(&summarise(&[unswept], &Default::default())), []);
}

#[test]
fn events_are_sums_times_are_medians_and_every_metric_has_its_place() {
    let recovered = |(lost, p50): (u64, u64)| {
        let mut trial = Trial::new(Transport::Sse, Profile::Tuned, 1);
        let recovery = trial.measures.recovery.insert(Recovery::default());
        (recovery.lost, recovery.away_ns.p50) = (lost, Some(p50));
        trial.clients.connect_ns.p50 = Some(p50);
        trial
    };
    let trials = [(3, 10), (4, 30), (0, 20)].map(recovered);
    let row = &summarise(&trials, &BTreeMap::new())[0];
    assert_eq!(row.figures["measures.recovery.lost"], 7.0);
    assert_eq!(row.figure("away_p50"), Some(20.0));
    assert_eq!(row.figure("trips_due"), None, "no trial has one");
    assert_eq!(row.figures["clients.connect_ns.p50"], 20.0);
}

#[test]
fn healthy_clients_are_held_against_the_same_round_without_slow_ones() {
    let trial = |share: f64, index: u32, p99: u64| {
        let mut trial = Trial::new(Transport::Sse, Profile::Tuned, index);
        trial.variant.point =
            Some(Point::new(if share > 0.0 { 2 } else { 1 }).with(SweepKey::SLOW_SHARE, share));
        trial.latency_ns.p99 = Some(p99);
        trial.measures.slow_readers = Some(SlowReaders {
            user_growth_bytes: Some(if share > 0.0 { 5_000 + p99 } else { 4_000 }),
            ..SlowReaders::default()
        });
        trial
    };
    let all = [
        trial(0.0, 1, 100),
        trial(0.1, 1, 110),
        trial(0.0, 2, 200),
        trial(0.1, 2, 180),
        trial(0.0, 3, 100),
        trial(0.1, 3, 150),
    ];
    let with: Vec<&Trial> = all
        .iter()
        .filter(|t| t.variant.point.is_some_and(|p| p.index == 2))
        .collect();
    let found = versus_no_slow_readers(&with, &all).expect("three rounds");
    let expected = [
        ("healthy_p99_ratio", 1.1),
        ("pairs", 3.0),
        ("user_added_bytes", 1_150.0),
    ];
    let expected = expected.map(|(key, of)| (format!("measures.slow_readers.{key}"), of));
    assert_eq!(found, expected.into());
    let without: Vec<&Trial> = all
        .iter()
        .filter(|t| t.variant.point.is_some_and(|p| p.index == 1))
        .collect();
    assert_eq!(versus_no_slow_readers(&without, &all), None);
}
