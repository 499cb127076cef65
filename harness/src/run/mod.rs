//! A run: all trials of one scenario, interleaved, and the record that grows with each.
//!
//! Around the trials. In: a checked scenario and options. Out: a [`Record`], written after every
//! trial so that an interrupted run keeps what it had.

mod design;
pub mod limits;
mod recording;
mod stopping;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use pushbench_protocol::payload::SplitMix64;

use crate::analysis::compare::{MIN_ROUNDS, compare_all};
use crate::environment::layout::{Layout, LayoutError, check_ports};
use crate::load::client::socket::CLIENTS_PER_SOURCE;
use crate::metrics::growth;
use crate::observe::before::Before;
use crate::record::{Family, Record, Side, Status, Trial, Variant, Whole};
use crate::scenario::{Point, Scenario};
use crate::store::RecordError;
use crate::trial::{self, Histograms, Plan, Progress, Turn};

pub(crate) use self::design::turn_of;
use self::design::{Design, beside_turns};
use self::recording::Recording;
pub(crate) use self::recording::congestion;
use self::stopping::Stopping;

/// How to run the trials of a scenario.
#[derive(Debug, Default)]
pub struct Options {
    /// Which clients make the load.
    pub family: Family,
    /// Threads on either side, where asked for.
    pub shards: Option<usize>,
    /// Addresses that clients connect from; those of loopback where empty.
    pub sources: Vec<IpAddr>,
    /// Where the record's folder is made; nothing is written where `None`.
    pub out: Option<PathBuf>,
    /// This program, to be started as server and fleet.
    pub program: PathBuf,
    /// Compare every payload, byte for byte.
    pub check_payloads: bool,
    /// Watch the machine for a moment before the first trial.
    pub looks_around: bool,
}

/// The most connections that trials of `scenario` have open at a time.
fn most_connections(scenario: &Scenario) -> u64 {
    let at_once = |point| {
        let at = scenario.at(point);
        let trials = Design::of(&at).in_turns.len().max(1);
        u64::from(at.connections()) * trials as u64
    };
    scenario
        .points()
        .into_iter()
        .map(at_once)
        .max()
        .unwrap_or(0)
}

/// What a run says while it runs.
pub trait Watch {
    /// This is what the machine did before the first trial.
    fn before(&self, before: &Before);
    /// Trial `number` of `of` begins.
    fn trial(&self, number: usize, of: usize, variant: Variant);
    /// Trials from `number` on, of `of`, begin to take turns.
    fn turns(&self, number: usize, of: usize, variants: &[Variant]);
    /// The trial under way has come so far.
    fn progress(&self, progress: Progress);
    /// So many trials have ended together: theirs are the record's last rows.
    fn ended(&self, record: &Record, trials: usize);
    /// A round has ended, of a run that goes on until all is decided: the record has its comparisons.
    fn round(&self, record: &Record, so_far: &Spent);
}

/// How far a run has come that goes on until all is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Rounds that have ended.
    pub rounds: u32,
    /// Time that they had the load.
    pub spent: Duration,
    /// Time that all may have.
    pub budget: Duration,
}

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The machine does not allow it.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The record cannot be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A histogram log cannot be kept.
    #[error(
        "cannot write '{}': {}; choose another folder with '--out'",
        .path.display(), crate::text::io_reason(.source)
    )]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A run that has ended.
#[derive(Debug)]
pub struct Done {
    /// What it found.
    pub record: Record,
    /// Where it is kept.
    pub folder: Option<PathBuf>,
    /// Why the record in the folder is not this one, where it could not be written: the run has ended
    /// there.
    pub unwritten: Option<RunError>,
}

/// Runs every trial of `scenario`. Ends early when `interrupted` does, with a void row for the trial
/// that was under way, and where the record can no longer be written ([`Done::unwritten`]).
///
/// # Errors
/// [`RunError`], before the first trial; a trial that fails is not an error but a row.
pub async fn run(
    scenario: &Scenario,
    options: &Options,
    watch: &dyn Watch,
    interrupted: impl Future<Output = ()>,
) -> Result<Done, RunError> {
    let mut stopping = Stopping::new(scenario);
    let points = at_each_point(scenario, options)?;
    let mut recording = Recording::start(scenario, options, &points[0].layout)?;
    recording.look_around(most_connections(scenario), watch);
    let mut random = SplitMix64::new(recording.record.seed);
    let mut number = 0;
    let mut interrupted = std::pin::pin!(interrupted);
    for index in 1.. {
        if !stopping.goes_on(index) {
            break;
        }
        let is_early = index <= MIN_ROUNDS as u32;
        let round = round(&points, &mut random, stopping.has_whole());
        let trials: usize = round.iter().map(|unit| unit.sides.len()).sum();
        // Of how many is known only where nothing is decided on the way.
        let of = (trials * scenario.run.trials.unwrap_or(1) as usize).max(number + trials);
        for unit in round {
            let Place { point, layout, .. } = &points[unit.place];
            let at = points[unit.place].scenario(&unit);
            let variants: Vec<Variant> = unit.sides.iter().map(|side| side.at(*point)).collect();
            let first = number + 1;
            number += variants.len();
            let plans = variants.iter().enumerate().map(|(place, variant)| {
                let first_source = first_source(scenario, first + place);
                let plan = recording.plan(at, variant.side, layout, (index, first_source));
                let turn = unit
                    .turn
                    .map(|turn| turn.at(place as u32, random_of_round(&plan)));
                Plan {
                    turn,
                    // Rounds of turns are many and short, and memory differs so little between them that
                    // as many as a comparison needs tell it.
                    reads_memory: turn.is_none() || is_early,
                    ..plan
                }
            });
            let plans: Vec<Plan<'_>> = plans.collect();
            let progress = |progress| watch.progress(progress);
            let (ended, was_interrupted) = match plans.as_slice() {
                [plan] => {
                    watch.trial(first, of, variants[0]);
                    let ended = trial::run_until(plan, &progress, &mut interrupted).await;
                    (vec![(ended.0, ended.1)], ended.2)
                }
                plans => {
                    watch.turns(first, of, &variants);
                    trial::run_in_turns(plans, &progress, &mut interrupted).await
                }
            };
            if was_interrupted {
                recording.record.status = Status::Interrupted;
            }
            if let Err(error) = keep(&mut recording, ended, &variants, unit.whole) {
                // What was measured is in memory still: it is the caller's to keep.
                recording.record.status = Status::Failed;
                compare(&mut recording.record, stopping.share());
                return Ok(recording.done(Some(error)));
            }
            watch.ended(&recording.record, variants.len());
            if was_interrupted {
                compare(&mut recording.record, stopping.share());
                return Ok(recording.done(None));
            }
        }
        stopping.ends_round(&recording.record, trials);
        compare(&mut recording.record, stopping.share());
        stopping.look(&recording.record);
        if let Some(so_far) = stopping.so_far() {
            watch.round(&recording.record, &so_far);
        }
        if let Err(error) = recording.write() {
            recording.record.status = Status::Failed;
            return Ok(recording.done(Some(error)));
        }
    }
    Ok(recording.done(None))
}

/// Keeps trials that ended together.
fn keep(
    recording: &mut Recording<'_>,
    ended: Vec<(Trial, Option<Histograms>)>,
    variants: &[Variant],
    whole: Option<Whole>,
) -> Result<(), RunError> {
    for ((mut trial, histograms), variant) in ended.into_iter().zip(variants) {
        (trial.variant, trial.whole) = (*variant, whole);
        let entered = recording.enter(trial, histograms.as_ref());
        recording.record.growth = growth(&recording.record.summary);
        entered.and_then(|()| recording.write())?;
    }
    Ok(())
}

/// A point of the sweep.
struct Place {
    point: Option<Point>,
    /// As the scenario that it is, …
    at: Scenario,
    /// … as the one of trials that run by themselves beside others that take turns, …
    beside_turns: Scenario,
    /// … on the layout that it would have by itself …
    layout: Layout,
    /// … and which of its trials take turns.
    design: Design,
}

impl Place {
    fn scenario(&self, unit: &Unit) -> &Scenario {
        match self.design.turn.is_some() && unit.turn.is_none() {
            true => &self.beside_turns,
            false => &self.at,
        }
    }
}

/// What runs at a time: trials that take turns, or one by itself.
struct Unit {
    place: usize,
    sides: Vec<Side>,
    turn: Option<Turn>,
    whole: Option<Whole>,
}

/// What the order of slices in a round is derived from.
fn random_of_round(plan: &Plan<'_>) -> u64 {
    SplitMix64::new(plan.seed ^ (u64::from(plan.index) << 32)).next()
}

/// Each point as the scenario that it is, on the layout that it would have by itself.
fn at_each_point(scenario: &Scenario, options: &Options) -> Result<Vec<Place>, LayoutError> {
    let points = scenario.points().into_iter();
    let points = points.map(|point| {
        let at = scenario.at(point);
        check_ports(at.connections(), options.sources.len())?;
        let layout = Layout::plan(at.connections(), options.shards)?;
        Ok(Place {
            point,
            design: Design::of(&at),
            beside_turns: beside_turns(&at),
            at,
            layout,
        })
    });
    points.collect()
}

/// Enters what the trials say about each other, with intervals that may use so much of the probability of an
/// error. An interrupt in the round after a look has nothing to use: what was found at that look stands.
fn compare(record: &mut Record, share: f64) {
    if share > 0.0 {
        record.comparisons = compare_all(&record.trials, &record.scenario.matters, share);
    }
}

/// One round: every transport and profile once at every point, in an order of its own, so that none
/// always runs first or while the machine is at its warmest. Unless `all` are to run, those that run by
/// themselves sit out where others take turns.
fn round(points: &[Place], random: &mut SplitMix64, all: bool) -> Vec<Unit> {
    let units = points.iter().enumerate().flat_map(|(place, of)| {
        let design = &of.design;
        let in_turns = design.turn.map(|turn| Unit {
            place,
            sides: design.in_turns.clone(),
            turn: Some(turn),
            whole: None,
        });
        let whole = design
            .whole
            .iter()
            .filter(move |_| all || design.turn.is_none());
        let whole = whole.map(move |(side, why)| Unit {
            place,
            sides: vec![*side],
            turn: None,
            whole: Some(*why),
        });
        in_turns.into_iter().chain(whole)
    });
    let mut round: Vec<Unit> = units.collect();
    // Fisher and Yates, from the end.
    for last in (1..round.len()).rev() {
        round.swap(last, random.below(last as u64 + 1) as usize);
    }
    round
}

/// Source addresses that no recent trial has used: its connections are still being forgotten.
fn first_source(scenario: &Scenario, number: usize) -> u32 {
    let sources = scenario.most_connections().div_ceil(CLIENTS_PER_SOURCE);
    // TIME_WAIT lasts a minute, in which no more than some dozens of trials are run.
    (number as u32 % 64) * sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushbench_protocol::transport::Transport;

    fn places(points: u32, name: &str) -> Vec<Place> {
        let at = Scenario::load(name).expect("built in");
        let place = |index| Place {
            point: Some(Point::new(index)),
            design: Design::of(&at),
            beside_turns: beside_turns(&at),
            at: at.clone(),
            layout: Layout::plan(at.connections(), None).expect("room for it"),
        };
        (0..points).map(place).collect()
    }

    fn sides(round: &[Unit]) -> Vec<(usize, Side)> {
        let each = round
            .iter()
            .flat_map(|unit| unit.sides.iter().map(|side| (unit.place, *side)));
        let mut all: Vec<(usize, Side)> = each.collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn an_interrupt_right_after_a_look_keeps_what_was_found_there() {
        let mut record = crate::record::sample::record();
        let model = record.trials[0].clone();
        let of = |index: u32, transport| {
            let mut trial = model.clone();
            trial.index = index;
            trial.variant.side.transport = transport;
            trial.latency_ns.p50 = Some(1_000_000 + u64::from(index % 3) * 10_000);
            trial
        };
        let rounds = 1..=6;
        let both = |index| [Transport::Sse, Transport::WebSocket].map(|t| of(index, t));
        record.trials = rounds.flat_map(both).collect();
        compare(&mut record, 1.0);
        let found = record.comparisons.clone();
        assert!(!found.is_empty());
        compare(&mut record, 0.0);
        assert_eq!(record.comparisons, found);
        compare(&mut record, 0.5);
        assert!(record.comparisons[0].metrics[0].confidence > found[0].metrics[0].confidence);
    }

    #[test]
    fn every_round_has_every_side_once_in_an_order_that_follows_from_the_seed() {
        let places = places(3, "quick");
        let order = |seed| -> Vec<Vec<(usize, usize)>> {
            let mut random = SplitMix64::new(seed);
            let round = |_| {
                let units = round(&places, &mut random, true).into_iter();
                units.map(|unit| (unit.place, unit.sides.len())).collect()
            };
            (0..4).map(round).collect()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let whole = sides(&round(&places, &mut SplitMix64::new(1), true));
        assert_eq!(whole.len(), 3 * places[0].at.pairs().len());
        let mut distinct = whole.clone();
        distinct.dedup();
        assert_eq!(distinct, whole);
    }

    #[test]
    fn those_that_can_take_turns_do_and_the_others_run_by_themselves() {
        let places = places(1, "quick");
        let units = round(&places, &mut SplitMix64::new(1), true);
        let mut kinds: Vec<(usize, bool, Option<Whole>)> = units
            .iter()
            .map(|unit| (unit.sides.len(), unit.turn.is_some(), unit.whole))
            .collect();
        kinds.sort_unstable_by_key(|kind| kind.0);
        assert_eq!(
            kinds,
            [(1, false, Some(Whole::PollsAtIntervals)), (4, true, None)]
        );
        let later = round(&places, &mut SplitMix64::new(1), false);
        assert_eq!(sides(&later).len(), 4);
        let by_themselves = super::tests::places(1, "idle");
        let later = round(&by_themselves, &mut SplitMix64::new(1), false);
        assert_eq!(later.len(), by_themselves[0].design.whole.len());
    }
}
