//! A record in which everything has a value, for the tests of record and reports.

use super::*;
use crate::metrics::{growth, summarise};
use crate::observe::before::Before;
use crate::observe::environment::Pinning;
use crate::scenario::{Sweep, SweepKey};
use pushbench_os::allocator::Allocator;
use pushbench_protocol::transport::{Profile, Transport};
use std::collections::BTreeMap;

/// Two good trials and a failed one, `quick` on a made-up machine.
pub(crate) fn record() -> Record {
    let mut scenario = Scenario::load("quick").expect("built in");
    scenario.phases.measure_s = 3.0;
    let mut record = Record::new(scenario, 7, environment());
    record.tool.version = "0.1.0".to_owned();
    record.tool.revision = Some("0123abc".to_owned());
    record.status = Status::Complete;
    let mut tcp = trial(Transport::Tcp, 84_000);
    tcp.server.cpu_ns_per_delivery = Some(7_210.0);
    let mut sse = trial(Transport::Sse, 91_300);
    sse.server.cpu_ns_per_delivery = Some(8_940.0);
    sse.deliveries.missing = Some(2);
    sse.deliveries.received -= 2;
    sse.clients.connected = 998;
    sse.validity.raise(
        Verdict::Void,
        Reason {
            check: "ledger".to_owned(),
            measured: Some(2.0),
            limit: Some(0.0),
            remedy: "look for 'lagged' in the server's log".to_owned(),
            message: "expected 9000 deliveries, got 8998".to_owned(),
        },
    );
    let poll = Trial::new(Transport::ShortPoll, Profile::Tuned, 1).failed(
        "the server ended with status 101 in phase measure".to_owned(),
        "run 'pushbench serve --transports short_poll' by itself to see why".to_owned(),
    );
    record.trials = vec![tcp, sse, poll];
    record.summary = summarise(&record.trials, &BTreeMap::new());
    record
}

/// Two transports at three points of a sweep over clients, with as many deliveries at each.
pub(crate) fn sweep() -> Record {
    let mut record = record();
    record.scenario = record.scenario.clone();
    let sweep = Sweep::of(SweepKey::CLIENTS, &[100.0, 1_000.0, 10_000.0]);
    let rates = Sweep::of(SweepKey::RATE_PER_S, &[3_000.0, 300.0, 30.0]);
    record.scenario.sweep = sweep.join(rates).ok();
    record.trials.clear();
    for point in record.scenario.points() {
        for (transport, cpu_ns) in [(Transport::Tcp, 5_000), (Transport::Sse, 6_000)] {
            let index = point.map_or(0, |point| point.index);
            let mut trial = trial(transport, 84_000 * u64::from(index));
            trial.variant.point = point;
            let clients = point.and_then(|point| point.value(SweepKey::CLIENTS));
            let clients = clients.unwrap_or(0.0) as u64;
            trial.clients.target = clients;
            trial.clients.connected = clients;
            let factor = index + u32::from(transport == Transport::Sse);
            trial.server.cpu_ns_per_delivery = Some(f64::from(cpu_ns + 1_000 * factor));
            record.trials.push(trial);
        }
    }
    record.summary = summarise(&record.trials, &BTreeMap::new());
    record.growth = growth(&record.summary);
    record
}

/// A search that found its limit, and one that was cut short.
pub(crate) fn limits() -> Record {
    let mut record = record();
    record.trials.clear();
    record.summary.clear();
    let side = (Transport::Sse, Profile::Tuned).into();
    let objective = "p99<=1s,missing=0,connects=all";
    let search = |side| Limit::new(side, LimitOf::Clients, objective.to_owned(), (100_000, 0.5));
    let mut limit = search(side);
    for (value, p50_ms, broke) in [
        (1_000, 9, None),
        (2_000, 20, None),
        (4_000, 4_000, Some(Broke::ServerCpu)),
        (3_000, 30, None),
    ] {
        let mut trial = trial(Transport::Sse, p50_ms * 100_000);
        trial.clients.target = value;
        trial.clients.connected = value;
        let evidence = "p99 was 2.00 s, above 1.00 s; the server used 99% of its 1 core(s)";
        limit.steps.push(LimitStep {
            value,
            trial: record.trials.len(),
            held: broke.is_none(),
            short_of: Vec::new(),
            broke,
            evidence: broke.map(|_| evidence.to_owned()),
            server_cpu_share: Some(value as f64 / 4_040.0),
            harness_cpu_share: None,
            memory: HeldMemory::default(),
        });
        record.trials.push(trial);
        limit.evidence = limit.evidence.or(broke.map(|_| evidence.to_owned()));
    }
    (limit.last_good, limit.first_bad) = (Some(3_000), Some(4_000));
    (limit.broke, limit.ended) = (Some(Broke::ServerCpu), Ended::Resolved);
    let mut cut = search((Transport::WebSocket, Profile::Tuned).into());
    cut.ended = Ended::TimeBudget;
    record.limits = vec![limit, cut];
    record
}

fn quantiles(unit: u64, count: u64) -> Quantiles {
    Quantiles {
        count,
        min: Some(unit / 2),
        mean: Some(unit + 5_000),
        p50: Some(unit),
        p90: Some(unit * 2),
        p99: Some(unit * 5),
        p999: Some(unit * 12),
        max: Some(unit * 14),
    }
}

fn trial(transport: Transport, median_ns: u64) -> Trial {
    let mut trial = Trial::new(transport, Profile::Tuned, 1);
    let span = |start: u64, end: u64| {
        Some(Span {
            start: start * 1_000_000,
            end: end * 1_000_000,
        })
    };
    trial.phase_ns = Phases {
        connect: span(50, 250),
        settle: span(250, 550),
        warm_up: span(550, 1_550),
        measure: span(1_550, 4_550),
        drain: span(4_550, 4_560),
        disconnect: span(4_560, 4_700),
    };
    trial.clients = Clients {
        target: 1_000,
        connected: 1_000,
        connected_per_s: Some(9_800.0),
        connect_ns: quantiles(310_000, 1_000),
        ..Clients::default()
    };
    trial.publish = Publish {
        channels_without_subscriber: 0,
        offered_per_s: 300.0,
        achieved_per_s: Some(299.97),
        lag_ns: quantiles(12_000, 900),
    };
    trial.deliveries = Deliveries {
        expected: Some(9_000),
        received: 9_000,
        missing: Some(0),
        duplicate: 0,
        out_of_order: 0,
    };
    trial.throughput = Throughput {
        received_per_s: Some(2_999.7),
        received_bytes_per_s: Some(383_961.6),
    };
    trial.latency_ns = quantiles(median_ns, 9_000);
    trial.service_ns = trial.latency_ns;
    trial.fanout_ns = quantiles(median_ns * 2, 900);
    trial.server = server_cost();
    trial.server.memory.fit();
    trial.server.memory.load(1_000);
    trial.server.memory.give_back();
    trial.harness = HarnessCost {
        client: super::Family::Lean,
        cpu_ns: Some(31_000_000),
        cpu_ns_per_delivery: Some(3_444.4),
        run_queue_wait_ns: Some(3_000_000),
        memory_bytes_per_client: Some(1_480.0),
        memory_fit: trial.server.memory.fleet_fit(),
        allocator: Some(Allocator::System),
        scheduler_lag_ns: quantiles(60_000, 3_000),
    };
    trial.machine = Machine {
        unattributed_cpu_ns: Some(9_000_000),
        steal_ns: Some(0),
        throttled_ns: None,
    };
    trial.wire = Wire {
        server_to_client_bytes_per_delivery: Some(129.0),
        client_to_server_bytes_per_delivery: Some(0.0),
        segments_per_delivery: Some(1.0),
        client_to_server_segments_per_delivery: Some(0.0),
        retransmitted_bytes: Some(0),
        requests: Some(0),
        empty_responses: Some(0),
    };
    trial.workload = Some(WorkloadWindow {
        from_ns: 1_550_000_000,
        until_ns: 4_560_000_000,
        slices_ns: None,
        deliveries: Some(9_000),
        sent: Some(0),
        arrivals: Some(0),
    });
    trial
}

fn server_cost() -> ServerCost {
    ServerCost {
        cpu_ns: Some(64_890_000),
        cpu_ns_per_delivery: None,
        run_queue_wait_ns: Some(2_000_000),
        threads: Some(2),
        memory: Memory {
            base_bytes: Some(4_000_000),
            settled_bytes: Some(5_100_000),
            loaded_bytes: Some(5_600_000),
            peak_bytes: Some(6_200_000),
            measure_peak_bytes: Some(6_200_000),
            after_disconnect_bytes: Some(4_300_000),
            kernel_base_bytes: Some(90_000_000),
            time_wait: Some(0),
            kernel_settled_bytes: Some(97_750_000),
            kernel_loaded_bytes: Some(98_000_000),
            kernel_after_disconnect_bytes: Some(90_000_000),
            method: "PSS of smaps_rollup".to_owned(),
            points: [250, 500, 750, 1_000]
                .map(|clients| MemoryPoint {
                    clients,
                    user_bytes: Some(4_000_000 + 1_100 * clients),
                    fleet_bytes: Some(3_000_000 + 300 * clients),
                    kernel_bytes: Some(90_000_000 + 7_750 * clients),
                })
                .to_vec(),
            ..Memory::default()
        },
        allocator: Some(Allocator::System),
    }
}

fn environment() -> Environment {
    Environment {
        started_utc: "2026-11-22T10:30:00Z".to_owned(),
        platform: "linux x86_64".to_owned(),
        kernel_release: Some("6.18.0".to_owned()),
        cpu_model: Some("Example CPU @ 2.20GHz".to_owned()),
        cores: Some(2),
        usable_cores: Some(2),
        cpu_quota_ms_per_s: None,
        pinning: Some(Pinning {
            server_cores: vec![0],
            client_cores: vec![1],
        }),
        frequency_governor: Some("performance".to_owned()),
        hypervisor: Some("Example".to_owned()),
        memory_bytes: Some(24 << 30),
        congestion_control: Some("cubic".to_owned()),
        congestion_control_used: Some("cubic".to_owned()),
        congestion_controls_available: Some(vec!["reno".to_owned(), "cubic".to_owned()]),
        congestion_controls_allowed: Some(vec!["reno".to_owned(), "cubic".to_owned()]),
        nofile_soft: Some(1_024),
        nofile_hard: Some(20_000),
        port_first: Some(32_768),
        port_last: Some(60_999),
        somaxconn: Some(4_096),
        tcp_mem_pages: Some([190_000, 253_000, 380_000]),
        allocator: "system".to_owned(),
        before: Some(Before {
            cpu_ns: Some(1_400_000_000),
            other_cpu_ns: Some(20_000_000),
            steal_ns: Some(0),
            throttled_ns: None,
            timer_late_p50_ns: Some(70_000),
            timer_late_max_ns: Some(300_000),
            available_bytes: Some(20 << 30),
            needed_bytes: 14_122_000,
        }),
    }
}

/// A good trial of which every named measure tells every figure, no two the same.
pub(crate) fn measured() -> Trial {
    fn fill(value: &mut serde_json::Value, next: &mut u64) {
        match value {
            serde_json::Value::Object(entries) => {
                entries.values_mut().for_each(|value| fill(value, next));
            }
            serde_json::Value::Null | serde_json::Value::Number(_) => {
                *next += 1;
                *value = (*next).into();
            }
            _ => {}
        }
    }
    let mut trial = trial(Transport::Sse, 91_300);
    trial.clients.first_message_ns = trial.fanout_ns;
    let blank = Measures {
        recovery: Some(Recovery::default()),
        slow_readers: Some(SlowReaders::default()),
        round_trip: Some(RoundTrip::default()),
        arrivals: Some(Arrivals::default()),
        streams: Some(Streams::default()),
        snapshot: Some(Snapshot::default()),
        over_time: Some(OverTime::default()),
        overflow: Some(Overflow::default()),
    };
    let mut tree = serde_json::to_value(blank).expect("serialisable");
    fill(&mut tree, &mut 1_000);
    trial.measures = serde_json::from_value(tree).expect("of the same shape");
    trial
}
