//! The fit: from observations to what is known of a transport and profile.
//!
//! Each trial is one equation, its terms over its CPU, whose sum with the costs should be 1; costs are
//! drawn towards those of all transports together. Records of a slow hour are put right by the raw-TCP
//! baseline in them.

use std::collections::{BTreeMap, BTreeSet};

use pushbench_protocol::transport::Transport;

use super::beyond::APART;
use super::model::{FEW_CONNECTS, Fitted, Key, Model, Range, TERMS, terms};
use super::observe::Observation;
use super::workload::Load;
use crate::analysis::stats::{median, nnls};

/// How strongly costs are drawn to those of all transports: as much as this share of a record.
const PRIOR_WEIGHT: f64 = 0.02;

impl Model {
    /// Fits everything to `observations`.
    pub fn fit(observations: &[Observation]) -> Self {
        let speed = speeds(observations);
        let all: Vec<Row> = observations.iter().filter_map(|o| row(o, &speed)).collect();
        let pooled = nnls::solve(&all, None, 0.0);
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
        let Some(costs) = nnls::solve(&rows, None, 0.0) else {
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
        separable: work.is_some_and(|work| work.high >= APART * work.low),
        base_bytes: middle(|o| o.base_bytes),
        user_slope: one.0,
        kernel_slope: one.1,
        second_connection: more(two.0, one.0).zip(more(two.1, one.1)),
        busy_bytes: median(
            published().filter_map(|o| Some((o.peak_bytes? - o.settled_bytes?).max(0.0))),
        ),
        trials: rows.len(),
        costs: nnls::solve(&rows, pooled, PRIOR_WEIGHT),
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
