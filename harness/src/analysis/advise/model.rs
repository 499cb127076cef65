//! Memory and CPU of a server, fitted to records.
//!
//! In: `Observation`s. Out: a [`Model`] that predicts for a [`Workload`], and says where it leaves
//! the range of what it was fitted to.
//!
//! **Memory** is base + slope · clients: medians over the trials of a transport and profile. Where
//! clients POST what they send, a second slope for the connections that carry it.
//!
//! **CPU** in a second is linear in what the server has to do, with costs that are not below 0:
//!
//! ```text
//! cpu = wake · wake_ups · asleep + write · writes + delivery · deliveries
//!     + byte · bytes + connect · connects + send · sends
//! asleep = max(0, 1 − cpu)
//! ```
//!
//! The first term is what the model rests on: work that finds the server asleep pays for the way
//! out of sleep and for cold caches, and the share of the time asleep is what is left of the CPU
//! (work that comes at random sees a queue as it is on average: PASTA, Wolff 1982). It is why a
//! delivery costs several times as much on a quiet server, and why cost per delivery cannot be
//! carried from one rate to another by itself. The fit takes the share that was measured; the
//! prediction solves for it. Least squares of the relative errors, by coordinate descent, drawn
//! towards the costs of all transports together where a transport's own records do not tell terms
//! apart.

use std::collections::BTreeMap;

use pushbench_protocol::transport::{Profile, Transport};
use serde::Serialize;

use super::beyond::{beyond, cpu_beyond};
use super::framing::{self, Bytes};
use super::workload::{Load, Workload};

/// A transport in a profile.
pub type Key = (Transport, Profile);

/// Terms of the cost of a second.
pub(super) const TERMS: usize = 6;

/// Names of the terms, for people.
pub const TERM_NAMES: [&str; TERMS] = ["wake-up", "write", "delivery", "byte", "connect", "send"];

/// Beyond the greatest value seen times this, a prediction is an extrapolation.
const REACH: f64 = 1.25;

/// Connects a second that cost next to nothing.
pub(super) const FEW_CONNECTS: f64 = 1.0;

/// How far the records of a transport and profile go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Range {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        values.fold(None, |range: Option<Self>, v| {
            Some(match range {
                None => Self { low: v, high: v },
                Some(r) => Self {
                    low: r.low.min(v),
                    high: r.high.max(v),
                },
            })
        })
    }

    pub(super) fn leaves(self, value: f64) -> bool {
        value > self.high * REACH || value < self.low / REACH
    }
}

/// What is known of a transport and profile.
#[derive(Debug, Clone, Serialize)]
pub struct Fitted {
    /// Server memory with nobody connected, in bytes.
    pub base_bytes: Option<f64>,
    /// User memory of a client, in bytes.
    pub user_slope: Option<f64>,
    /// Kernel memory of a connection, both ends, in bytes.
    pub kernel_slope: Option<f64>,
    /// What the connection adds on which a client POSTs, user and kernel memory, in bytes; `None` where
    /// no record has any.
    pub second_connection: Option<(f64, f64)>,
    /// What a server that publishes holds beyond that, in bytes.
    pub busy_bytes: Option<f64>,
    /// CPU seconds of each term; `None` where no trial of it was measured.
    pub costs: Option<[f64; TERMS]>,
    /// Trials that the costs were fitted to.
    pub trials: usize,
    /// Clients of the records.
    pub clients: Option<Range>,
    /// Bytes of a message.
    pub payload: Option<Range>,
    /// Deliveries a second.
    pub deliveries: Option<Range>,
    /// Clients that share a message.
    pub group: Option<Range>,
    /// Messages that go out in one write.
    pub batch: Option<Range>,
    /// Whether a record had clients that came and went.
    pub connects: bool,
    /// Scenarios that had such: one alone cannot separate the cost of a connect from the rest.
    pub scenarios_with_connects: usize,
    /// Scenarios in which clients sent.
    pub scenarios_with_sends: usize,
    /// Whether the records differ in how much is done at a wake-up: only then can the cost of waking be
    /// separated from that of the work.
    pub separable: bool,
}

/// Everything fitted.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// By transport and profile.
    pub fitted: BTreeMap<Key, Fitted>,
    /// Scenarios that went in, each once.
    pub scenarios: Vec<String>,
}

/// What is predicted for a transport and profile.
#[derive(Debug, Clone, Serialize)]
pub struct Prediction {
    /// The transport.
    pub transport: Transport,
    /// The profile.
    pub profile: Profile,
    /// What the server has to do in a second.
    pub load: Load,
    /// User memory of the server with all clients connected, in bytes.
    pub user_bytes: Option<f64>,
    /// Kernel memory of the server's ends: half of what both ends take.
    pub kernel_bytes: Option<f64>,
    /// What publishing holds beyond that.
    pub busy_bytes: Option<f64>,
    /// Cores that are busy.
    pub cores: Option<f64>,
    /// Payload bytes of TCP a second, down, answers to POSTs in them.
    pub down_bytes_per_s: f64,
    /// The same from clients to server, with what they send.
    pub up_bytes_per_s: f64,
    /// HTTP requests a second: polls, subscribes, and upstream messages where they are requests.
    pub requests_per_s: f64,
    /// What is said beyond the range of the records, or not at all.
    pub beyond: Vec<String>,
}

impl Model {
    /// Predicts `workload`; `None` where no record knows the transport in that profile.
    pub fn predict(&self, workload: &Workload, (transport, profile): Key) -> Option<Prediction> {
        let fitted = self.fitted.get(&(transport, profile))?;
        let load = workload.load(transport);
        let n = f64::from(workload.clients);
        let Bytes { down, up } = framing::bytes(workload, transport, profile);
        let connects = load.connects;
        let polls = transport.polls().map_or(0.0, |_| load.writes);
        let posts = match transport.goes_both_ways() {
            true => 0.0,
            false => workload.upstream * n,
        };
        let requests = match transport.is_http() {
            true => connects + polls + posts,
            false => 0.0,
        };
        let (second_user, second_kernel) = fitted.second_connections(workload, transport);
        let user = fitted.base_bytes.zip(fitted.user_slope);
        let unknown = cpu_beyond(fitted, workload, &load);
        let predicted = fitted
            .costs
            .filter(|_| fitted.separable && unknown.is_none());
        let mut beyond = beyond(fitted, workload, transport, &load);
        beyond.extend(unknown);
        Some(Prediction {
            transport,
            profile,
            load,
            user_bytes: user.map(|(base, slope)| base + (slope + second_user) * n),
            kernel_bytes: fitted
                .kernel_slope
                .map(|slope| (slope + second_kernel) / 2.0 * n),
            busy_bytes: fitted.busy_bytes.filter(|_| load.deliveries > 0.0),
            cores: predicted.map(|costs| cpu(&costs, &load)),
            down_bytes_per_s: down,
            up_bytes_per_s: up,
            requests_per_s: requests,
            beyond,
        })
    }
}

impl Fitted {
    /// What each client's second connection adds, user and kernel memory, in bytes; nothing where it has
    /// none.
    pub fn second_connections(&self, workload: &Workload, transport: Transport) -> (f64, f64) {
        let second = self.second_connection;
        second
            .filter(|_| workload.upstream > 0.0 && !transport.goes_both_ways())
            .unwrap_or_default()
    }
}

/// CPU seconds a second, solved for the share of time asleep.
pub fn cpu(costs: &[f64; TERMS], load: &Load) -> f64 {
    let terms = terms(load, 1.0);
    let work: f64 = (1..TERMS).map(|i| costs[i] * terms[i]).sum();
    let wake = costs[0] * terms[0];
    // u = work + wake (1 - u), as long as a core can do it; work beyond a core finds none asleep.
    if work >= 1.0 {
        work
    } else {
        (work + wake) / (1.0 + wake)
    }
}

pub(super) fn terms(load: &Load, asleep: f64) -> [f64; TERMS] {
    [
        load.wake_ups * asleep,
        load.writes,
        load.deliveries,
        load.bytes,
        load.connects,
        load.sends,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::advise::fit::speeds;
    use crate::analysis::advise::observe::Observation;
    use crate::analysis::advise::workload::WorkloadArgs;

    const COSTS: [f64; TERMS] = [120e-6, 10e-6, 4e-6, 1e-9, 90e-6, 20e-6];

    fn observation(
        record: usize,
        transport: Transport,
        asked: WorkloadArgs,
        speed: f64,
    ) -> Observation {
        let workload = asked.check().expect("good");
        let load = workload.load(transport);
        let n = f64::from(workload.clients);
        Observation {
            record,
            scenario: format!("s{record}"),
            transport,
            profile: Profile::Tuned,
            cpu: Some(speed * cpu(&COSTS, &load)),
            base_bytes: Some(3e6),
            settled_bytes: Some(3e6 + 5_000.0 * n),
            peak_bytes: Some(8e6 + 5_000.0 * n),
            user_slope: Some(5_000.0),
            kernel_slope: Some(6_000.0),
            down_per_delivery: None,
            p50_ns: None,
            p99_ns: None,
            workload,
            planned: load,
            load,
        }
    }

    fn asked(clients: u32, rate: f64, group: u32, payload: u32) -> WorkloadArgs {
        WorkloadArgs {
            clients: Some(clients),
            rate_per_client: Some(rate),
            group: Some(format!("{group}").parse().expect("a number")),
            payload_bytes: Some(payload),
            ..WorkloadArgs::default()
        }
    }

    fn set() -> Vec<WorkloadArgs> {
        vec![
            asked(1_000, 3.0, 10, 128),
            asked(2_000, 0.02, 1, 256),
            asked(10_000, 1.0, 10_000, 128),
            asked(200, 10.0, 20, 16_384),
            WorkloadArgs {
                burst: Some(50),
                ..asked(200, 50.0, 10, 160)
            },
            WorkloadArgs {
                reconnects: Some(1_440.0),
                ..asked(500, 4.0, 1, 128)
            },
        ]
    }

    #[test]
    fn a_workload_that_was_left_out_is_predicted_where_the_model_holds() {
        let observations: Vec<Observation> = set()
            .into_iter()
            .enumerate()
            .map(|(i, asked)| observation(i, Transport::Sse, asked, 1.0))
            .collect();
        let model = Model::fit(&observations);
        let wanted = asked(5_000, 0.5, 50, 300).check().expect("good");
        let found = model
            .predict(&wanted, (Transport::Sse, Profile::Tuned))
            .expect("known");
        let truth = cpu(&COSTS, &wanted.load(Transport::Sse));
        let cores = found.cores.expect("fitted");
        assert!((cores / truth - 1.0).abs() < 0.1, "{cores} {truth}");
        assert_eq!(found.user_bytes, Some(3e6 + 25e6));
        assert_eq!(found.kernel_bytes, Some(15e6));
        assert_eq!(found.beyond, Vec::<String>::new());
        assert!(
            model
                .predict(&wanted, (Transport::Sse, Profile::Stock))
                .is_none()
        );
    }

    #[test]
    fn a_record_of_a_slow_hour_is_set_right_by_its_baseline() {
        let mut observations = Vec::new();
        for (i, asked) in set().into_iter().enumerate() {
            // The second record was made while everything cost a little more.
            let speed = if i == 1 { 1.3 } else { 1.0 };
            observations.push(observation(i, Transport::Tcp, asked.clone(), speed));
            observations.push(observation(i, Transport::Sse, asked, speed));
        }
        let speeds = speeds(&observations);
        assert!((speeds[&0] - 1.0).abs() < 0.1, "{speeds:?}");
        assert!(speeds[&1] > 1.1, "{speeds:?}");
    }

    #[test]
    fn a_busy_server_never_sleeps_and_a_quiet_one_pays_for_each_wake_up() {
        let load = |rate: f64| Load {
            deliveries: rate,
            wake_ups: rate,
            writes: rate,
            ..Load::default()
        };
        let costs = [150e-6, 16e-6, 0.0, 0.0, 0.0, 0.0];
        let per_delivery = |rate: f64| cpu(&costs, &load(rate)) / rate;
        assert!((per_delivery(1.0) - 166e-6).abs() < 1e-6);
        assert!((per_delivery(20_000.0) - 41.5e-6).abs() < 1e-6);
        assert!((per_delivery(200_000.0) - 16e-6).abs() < 1e-9);
    }

    #[test]
    fn what_the_records_do_not_reach_is_said() {
        let observations = [observation(
            0,
            Transport::Sse,
            asked(1_000, 3.0, 10, 128),
            1.0,
        )];
        let model = Model::fit(&observations);
        let wanted = WorkloadArgs {
            upstream: Some(1.0),
            reconnects: Some(36.0),
            ..asked(100_000, 3.0, 10, 4_096)
        };
        let found = model.predict(
            &wanted.check().expect("good"),
            (Transport::Sse, Profile::Tuned),
        );
        let beyond = found.expect("known").beyond.join("; ");
        for what in [
            "clients: 100,000, but the records go",
            "bytes a message",
            "deliveries",
            "connects",
            "upstream",
        ] {
            assert!(beyond.contains(what), "{what}: {beyond}");
        }
        assert!(!beyond.contains("share a message"), "{beyond}");
    }
}
