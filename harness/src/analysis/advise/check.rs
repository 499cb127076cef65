//! Prediction against measurement, for scenarios that were left out of the fit.
//!
//! In: observations of several records. Out: a [`Row`] for each transport, profile and workload of
//! the scenarios that were left out, with what was predicted from all the *other* scenarios. CPU is
//! predicted for the speed that the machine had while the record was made, as its raw-TCP baseline
//! shows it; so the baseline's own CPU is not a check and is left out.

use pushbench_protocol::transport::{Profile, Transport};
use serde::Serialize;

use super::beyond::{ONE_KIND, cpu_beyond};
use super::fit::relative_speed;
use super::framing;
use super::model::{Model, cpu};
use super::observe::Observation;
use crate::analysis::stats::median;

/// How near a prediction is meant to be.
pub const TARGET: f64 = 0.25;

/// One quantity, twice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Twice {
    /// From the other scenarios.
    pub predicted: f64,
    /// In the record.
    pub measured: f64,
}

impl Twice {
    /// How far off, relative to the measurement.
    pub fn error(self) -> f64 {
        self.predicted / self.measured - 1.0
    }

    /// Whether it is as near as it is meant to be.
    pub fn near(self) -> bool {
        self.error().abs() <= TARGET
    }
}

/// One transport, profile and workload that was left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// The transport.
    pub transport: Transport,
    /// The profile.
    pub profile: Profile,
    /// Clients.
    pub clients: u32,
    /// Bytes of a message.
    pub payload: f64,
    /// User memory of the server with all clients connected, in bytes.
    pub memory: Option<Twice>,
    /// Server CPU in seconds a second.
    pub cpu: Option<Twice>,
    /// Bytes down, a delivery.
    pub bytes: Option<Twice>,
    /// Why something was not predicted.
    pub missing: Vec<String>,
}

/// Leaves out one scenario after the other: those called `names`, or each where there are none.
pub fn leave_out(observations: &[Observation], names: &[String]) -> Vec<Row> {
    let mut scenarios: Vec<&String> = observations.iter().map(|o| &o.scenario).collect();
    scenarios.sort_unstable();
    scenarios.dedup();
    scenarios.retain(|s| names.is_empty() || names.contains(s));
    let mut rows = Vec::new();
    for scenario in scenarios {
        let (left_out, others): (Vec<Observation>, Vec<Observation>) = observations
            .iter()
            .cloned()
            .partition(|o| o.scenario == *scenario);
        rows.extend(against(&Model::fit(&others), &left_out));
    }
    rows
}

/// Whether two counts of different trials mean one workload: what was counted differs by a little.
fn near(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 0.05
}

/// Holds `model` against observations that it has not seen.
pub fn against(model: &Model, left_out: &[Observation]) -> Vec<Row> {
    let mut cells: Vec<Vec<&Observation>> = Vec::new();
    for o in left_out {
        // Points of a sweep are workloads of their own.
        let same = |other: &Observation| {
            (other.transport, other.profile, other.workload.clients)
                == (o.transport, o.profile, o.workload.clients)
                && other.scenario == o.scenario
                && near(f64::from(other.workload.group), f64::from(o.workload.group))
                && (other.workload.payload - o.workload.payload).abs() < 2.0
        };
        match cells.iter_mut().find(|cell| same(cell[0])) {
            Some(cell) => cell.push(o),
            None => cells.push(vec![o]),
        }
    }
    cells
        .iter()
        .map(|cell| row(model, left_out, cell))
        .collect()
}

fn row(model: &Model, left_out: &[Observation], cell: &[&Observation]) -> Row {
    let first = cell[0];
    let key = (first.transport, first.profile);
    let mut row = Row {
        scenario: first.scenario.clone(),
        transport: first.transport,
        profile: first.profile,
        clients: first.workload.clients,
        payload: first.workload.payload,
        memory: None,
        cpu: None,
        bytes: None,
        missing: Vec::new(),
    };
    let middle =
        |value: fn(&Observation) -> Option<f64>| median(cell.iter().filter_map(|o| value(o)));
    let twice = |predicted: Option<f64>, measured: Option<f64>| {
        let (predicted, measured) = predicted.zip(measured).filter(|(_, m)| *m > 0.0)?;
        Some(Twice {
            predicted,
            measured,
        })
    };
    if first.load.deliveries > 0.0 {
        let bytes = framing::bytes(&first.workload, key.0, key.1);
        let deliveries = first.workload.load(key.0).deliveries;
        row.bytes = twice(
            Some(bytes.down / deliveries),
            middle(|o| o.down_per_delivery),
        );
    }
    let Some(fitted) = model.fitted.get(&key) else {
        row.missing.push("no other scenario ran it".to_owned());
        return row;
    };
    let n = f64::from(first.workload.clients);
    let memory = fitted.base_bytes.zip(fitted.user_slope);
    let (second, _) = fitted.second_connections(&first.workload, key.0);
    row.memory = twice(
        memory.map(|(base, slope)| base + (slope + second) * n),
        middle(|o| o.settled_bytes),
    );
    if key.0 == Transport::BASELINE {
        return row;
    }
    if first.load.connects > 0.0 && fitted.scenarios_with_connects < 2 {
        row.missing.push(
            "CPU: fewer than two other scenarios have clients that come and go, so the cost of \
             a connect is not known"
                .to_owned(),
        );
        return row;
    }
    if first.load.sends > 0.0 && fitted.scenarios_with_sends < 2 {
        row.missing.push(
            "CPU: fewer than two other scenarios have clients that send, so the cost of \
             their messages is not known"
                .to_owned(),
        );
        return row;
    }
    if !fitted.separable {
        row.missing.push(ONE_KIND.to_owned());
        return row;
    }
    if let Some(why) = cpu_beyond(fitted, &first.workload, &first.load) {
        row.missing.push(why);
        return row;
    }
    let predicted = cell.iter().filter_map(|o| {
        let speed = speed(model, left_out, o.record);
        Some(cpu(&fitted.costs?, &o.planned) * speed)
    });
    row.cpu = twice(median(predicted), middle(|o| o.cpu));
    row
}

/// How fast the machine was in `record`, by its baseline; 1 where it has none.
fn speed(model: &Model, observations: &[Observation], record: usize) -> f64 {
    let costs = model
        .fitted
        .get(&(Transport::BASELINE, Profile::Tuned))
        .and_then(|f| f.costs);
    let Some(costs) = costs else {
        return 1.0;
    };
    let of = observations
        .iter()
        .filter(|o| o.record == record && o.transport == Transport::BASELINE)
        .filter_map(|o| relative_speed(o, &costs));
    median(of).unwrap_or(1.0)
}

/// Quantities that are near, and all of them.
pub fn score(rows: &[Row]) -> (usize, usize) {
    let all = rows
        .iter()
        .flat_map(|r| [r.memory, r.cpu, r.bytes])
        .flatten();
    (all.clone().filter(|t| t.near()).count(), all.count())
}
