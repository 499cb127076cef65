//! Memory and CPU of a server, fitted to records.
//!
//! In: [`Observation`]s. Out: a [`Model`] that predicts for a [`Workload`], and says where it leaves
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

use std::collections::{BTreeMap, BTreeSet};

use pushbench_protocol::transport::{Profile, Transport};
use serde::Serialize;

use super::framing::{self, Bytes};
use super::observe::Observation;
use super::workload::{Load, Workload};
use crate::analysis::stats::median;

/// A transport in a profile.
pub type Key = (Transport, Profile);

/// Terms of the cost of a second.
const TERMS: usize = 6;

/// Names of the terms, for people.
pub const TERM_NAMES: [&str; TERMS] = ["wake-up", "write", "delivery", "byte", "connect", "send"];

/// How strongly costs are drawn to those of all transports: as much as this share of a record.
const PRIOR_WEIGHT: f64 = 0.02;

/// Rounds of coordinate descent; a fit of six terms is still after a few hundred.
const ROUNDS: usize = 4_000;

/// Beyond the greatest value seen times this, a prediction is an extrapolation.
const REACH: f64 = 1.25;

/// Connects a second that cost next to nothing.
const FEW_CONNECTS: f64 = 1.0;

/// How far the records of a transport and profile go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
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

    fn leaves(self, value: f64) -> bool {
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
    /// Scenarios that had such: of one alone, what a connect costs cannot be told from the rest.
    pub scenarios_with_connects: usize,
    /// Scenarios in which clients sent.
    pub scenarios_with_sends: usize,
    /// Whether the records differ in how much is done at a wake-up: the cost of waking cannot be
    /// told from that of the work where they do not.
    pub tells_apart: bool,
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
    /// Fits everything to `observations`.
    pub fn fit(observations: &[Observation]) -> Self {
        let speed = speeds(observations);
        let all: Vec<Row> = observations.iter().filter_map(|o| row(o, &speed)).collect();
        let pooled = solve(&all, None);
        let mut groups: BTreeMap<Key, Vec<&Observation>> = BTreeMap::new();
        for o in observations {
            groups.entry((o.transport, o.profile)).or_default().push(o);
        }
        let fitted = groups
            .into_iter()
            .map(|(key, of)| (key, fit_one(&of, &speed, pooled)))
            .collect();
        let mut scenarios: Vec<String> = observations.iter().map(|o| o.scenario.clone()).collect();
        scenarios.sort_unstable();
        scenarios.dedup();
        Self { fitted, scenarios }
    }

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
        let (second_user, second_kernel) = fitted.beside(workload, transport);
        let user = fitted.base_bytes.zip(fitted.user_slope);
        let unknown = cpu_beyond(fitted, workload, &load);
        let predicted = fitted
            .costs
            .filter(|_| fitted.tells_apart && unknown.is_none());
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
    pub fn beside(&self, workload: &Workload, transport: Transport) -> (f64, f64) {
        let second = self.second_connection;
        second
            .filter(|_| workload.upstream > 0.0 && !transport.goes_both_ways())
            .unwrap_or_default()
    }
}

/// Why CPU is not predicted.
pub const ONE_KIND: &str = "CPU: not predicted, since the records hold too few kinds of workload to tell \
                            the cost of waking from that of the work; record one of few clients a \
                            message and one of many, such as 'quick' and 'fanout-10k'";

/// Work at a wake-up must differ by this factor for its cost to be told from that of waking; where more
/// messages share a write than this many times those of the records, their cost is most of what there is.
const APART: f64 = 2.0;

/// Bytes of a message, over the most in the records, up to which their cost is little beside what a
/// message costs: with the 512 bytes of 'dashboard' as the most, that is 2 KiB. At 16 KiB and more, copying
/// them is most of the work, and a prediction was off by more than a factor of four.
const LARGER: f64 = 4.0;

/// What a prediction cannot rest on.
fn beyond(fitted: &Fitted, workload: &Workload, transport: Transport, load: &Load) -> Vec<String> {
    let mut said = Vec::new();
    let n = f64::from(workload.clients);
    for (what, range, value) in [
        ("clients", fitted.clients, n),
        ("bytes a message", fitted.payload, workload.payload),
        ("deliveries a second", fitted.deliveries, load.deliveries),
        (
            "clients that share a message",
            fitted.group,
            f64::from(workload.group),
        ),
    ] {
        let meant = value > 0.0 && (what == "clients" || load.deliveries > 0.0);
        if let Some(range) = range.filter(|r| meant && r.leaves(value)) {
            said.push(format!(
                "{what}: {}, but the records go from {} to {}",
                round(value),
                round(range.low),
                round(range.high)
            ));
        }
    }
    if load.connects > FEW_CONNECTS && !fitted.connects {
        said.push(
            "connects: no record has clients that come and go, so their CPU is left out".to_owned(),
        );
    }
    if fitted.user_slope.is_none() {
        said.push("memory: no record of at least 1,000 clients".to_owned());
    }
    if fitted.costs.is_none() || !fitted.tells_apart {
        said.push(ONE_KIND.to_owned());
    }
    if load.sends > 0.0 && fitted.scenarios_with_sends == 0 {
        said.push("upstream: no record has any, so its CPU is left out".to_owned());
    }
    if load.sends > 0.0 && !transport.goes_both_ways() && fitted.second_connection.is_none() {
        said.push(
            "memory: no record has a second connection for POSTs, so it is left out".to_owned(),
        );
    }
    said
}

fn round(value: f64) -> String {
    if value >= 1_000.0 || value.fract() == 0.0 {
        crate::text::figure::count(value.round() as u64)
    } else {
        crate::text::figure::three(value)
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

fn terms(load: &Load, asleep: f64) -> [f64; TERMS] {
    [
        load.wake_ups * asleep,
        load.writes,
        load.deliveries,
        load.bytes,
        load.connects,
        load.sends,
    ]
}

/// How fast the machine was while each record was made, as the raw-TCP baseline saw it: its CPU over
/// what the fit of all records makes of it. 1.2 says that everything cost 20% more in that hour. A
/// record without the baseline counts as 1.
pub fn speeds(observations: &[Observation]) -> BTreeMap<usize, f64> {
    let baseline: Vec<&Observation> = observations
        .iter()
        .filter(|o| o.transport == Transport::BASELINE)
        .collect();
    let mut speed = BTreeMap::new();
    // A few turns: the costs from records of equal speed, the speeds from the costs.
    for _ in 0..20 {
        let rows: Vec<Row> = baseline.iter().filter_map(|o| row(o, &speed)).collect();
        let Some(costs) = solve(&rows, None) else {
            break;
        };
        let mut of: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for o in &baseline {
            of.entry(o.record)
                .or_default()
                .extend(relative_speed(o, &costs));
        }
        speed = of
            .into_iter()
            .filter_map(|(record, ratios)| Some((record, median(ratios)?)))
            .collect();
        // The middle record is what 1 means.
        if let Some(middle) = median(speed.values().copied()).filter(|m| *m > 0.0) {
            speed.values_mut().for_each(|s| *s /= middle);
        }
    }
    speed
}

/// Measured CPU of `o` over what `costs` make of it.
pub fn relative_speed(o: &Observation, costs: &[f64; TERMS]) -> Option<f64> {
    let measured = o.cpu.filter(|cpu| *cpu > 0.0)?;
    let terms = terms(&o.load, (1.0 - measured).max(0.0));
    let predicted: f64 = costs.iter().zip(terms).map(|(c, t)| c * t).sum();
    let ratio = measured / predicted;
    ratio.is_finite().then_some(ratio)
}

/// One equation: the terms of a trial, over its CPU. Their sum with the costs should be 1.
type Row = [f64; TERMS];

fn row(o: &Observation, speed: &BTreeMap<usize, f64>) -> Option<Row> {
    let measured = o.cpu.filter(|cpu| *cpu > 0.0)?;
    let own = measured / speed.get(&o.record).copied().unwrap_or(1.0);
    let asleep = (1.0 - measured).max(0.0);
    Some(terms(&o.load, asleep).map(|t| t / own))
}

fn fit_one(
    of: &[&Observation],
    speed: &BTreeMap<usize, f64>,
    pooled: Option<[f64; TERMS]>,
) -> Fitted {
    let middle =
        |value: fn(&Observation) -> Option<f64>| median(of.iter().filter_map(|o| value(o)));
    let rows: Vec<Row> = of.iter().filter_map(|o| row(o, speed)).collect();
    let published = || of.iter().filter(|o| o.load.deliveries > 0.0);
    // Whose clients have a second connection tell the slope of both.
    let both = |o: &&&Observation| o.load.sends > 0.0 && !o.transport.goes_both_ways();
    let slopes = |both_wanted: bool| {
        let of_it = || of.iter().filter(move |o| both(o) == both_wanted);
        let user = median(of_it().filter_map(|o| o.user_slope));
        (user, median(of_it().filter_map(|o| o.kernel_slope)))
    };
    let (one, two) = (slopes(false), slopes(true));
    let more = |two: Option<f64>, one: Option<f64>| Some((two? - one?).max(0.0));
    // Work at a wake-up: writes of a stream, requests of a poll with what they carry.
    let work = Range::of(of.iter().filter(|o| o.cpu.is_some()).filter_map(|o| {
        let ratio = (o.load.writes + o.load.deliveries) / o.load.wake_ups;
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    }));
    Fitted {
        tells_apart: work.is_some_and(|work| work.high >= APART * work.low),
        base_bytes: middle(|o| o.base_bytes),
        user_slope: one.0,
        kernel_slope: one.1,
        second_connection: more(two.0, one.0).zip(more(two.1, one.1)),
        busy_bytes: median(
            published().filter_map(|o| Some((o.peak_bytes? - o.settled_bytes?).max(0.0))),
        ),
        trials: rows.len(),
        costs: solve(&rows, pooled),
        clients: Range::of(of.iter().map(|o| f64::from(o.workload.clients))),
        payload: Range::of(published().map(|o| o.workload.payload)),
        deliveries: Range::of(published().map(|o| o.load.deliveries)),
        group: Range::of(published().map(|o| f64::from(o.workload.group))),
        batch: Range::of(published().map(|o| o.load.batch())),
        connects: of.iter().any(|o| o.load.connects > FEW_CONNECTS),
        scenarios_with_connects: scenarios(of, |load| load.connects > FEW_CONNECTS),
        scenarios_with_sends: scenarios(of, |load| load.sends > 0.0),
    }
}

/// How many scenarios had such a load.
fn scenarios(of: &[&Observation], such: fn(&Load) -> bool) -> usize {
    let with = of.iter().filter(|o| such(&o.load));
    with.map(|o| &o.scenario).collect::<BTreeSet<_>>().len()
}

/// Why the CPU of a workload cannot be told from the records: none of them writes so many messages at
/// once, or messages so large. What a message, or a byte, costs beside its write is then unknown,
/// whatever the numbers. `None` where it can.
pub fn cpu_beyond(fitted: &Fitted, workload: &Workload, load: &Load) -> Option<String> {
    if load.deliveries <= 0.0 {
        return None;
    }
    let (batch, payload) = (fitted.batch?, fitted.payload?);
    if load.batch() > batch.high * APART {
        return Some(format!(
            "CPU: not predicted, since {} messages go out in one write, and the records have {} at the \
             most",
            round(load.batch()),
            round(batch.high)
        ));
    }
    (workload.payload > payload.high * LARGER).then(|| {
        format!(
            "CPU: not predicted, since a message has {} bytes, and the records have {} at the most",
            round(workload.payload),
            round(payload.high)
        )
    })
}

/// Costs that are not below 0 and make each row sum to 1 as nearly as can be, in least squares;
/// drawn towards `prior` by [`PRIOR_WEIGHT`]. `None` without rows.
///
/// Coordinate descent on the normal equations: for a convex problem with bounds it reaches the
/// minimum (Franc, Hlaváč and Navara 2005, *Sequential Coordinate-Wise Algorithm for the
/// Non-negative Least Squares Problem*).
fn solve(rows: &[Row], prior: Option<[f64; TERMS]>) -> Option<[f64; TERMS]> {
    if rows.is_empty() {
        return None;
    }
    let n = rows.len() as f64;
    let mut square = [[0.0; TERMS]; TERMS];
    let mut right = [0.0; TERMS];
    for row in rows {
        for i in 0..TERMS {
            right[i] += row[i] / n;
            for j in 0..TERMS {
                square[i][j] += row[i] * row[j] / n;
            }
        }
    }
    if let Some(prior) = prior {
        for i in 0..TERMS {
            // A term as large as it is in the rows, so that units play no part.
            let weight = PRIOR_WEIGHT * square[i][i];
            square[i][i] += weight;
            right[i] += weight * prior[i];
        }
    }
    let mut costs = prior.unwrap_or([0.0; TERMS]);
    for _ in 0..ROUNDS {
        for i in 0..TERMS {
            if square[i][i] <= 0.0 {
                continue;
            }
            let rest: f64 = (0..TERMS)
                .filter(|&j| j != i)
                .map(|j| square[i][j] * costs[j])
                .sum();
            costs[i] = ((right[i] - rest) / square[i][i]).max(0.0);
        }
    }
    Some(costs)
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn least_squares_with_bounds_has_its_known_answer() {
        // min |A x - 1|, x >= 0, for A = [[1, 2], [1, 0]] in two of the terms: x = (1, 0).
        let mut rows = [[0.0; TERMS]; 2];
        rows[0][0] = 1.0;
        rows[0][1] = 2.0;
        rows[1][0] = 1.0;
        let x = solve(&rows, None).expect("rows");
        assert!((x[0] - 1.0).abs() < 1e-9 && x[1].abs() < 1e-9, "{x:?}");
        assert_eq!(solve(&[], None), None);
    }
}
