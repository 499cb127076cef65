//! A run: all trials of one scenario, interleaved, and the record that grows with each.
//!
//! Around the trials. In: a checked scenario and options. Out: a [`Record`], written after every
//! trial so that an interrupted run keeps what it had.

pub mod limits;
mod recording;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use pushbench_protocol::payload::SplitMix64;
use pushbench_protocol::transport::{Profile, Transport};

use crate::analysis::compare::{MIN_ROUNDS, all_decided, compare_all};
use crate::environment::layout::{Layout, LayoutError, check_ports};
use crate::load::client::socket::CLIENTS_PER_SOURCE;
use crate::metrics::growth;
use crate::record::{Family, Record, Side, Status, Variant};
use crate::scenario::{Point, Scenario};
use crate::store::RecordError;
use crate::trial::{self, Progress};

use self::recording::Recording;
pub(crate) use self::recording::congestion;

/// Most rounds of a run that goes on until it is decided; beyond it, the budget was a slip.
const MAX_ROUNDS: u32 = 1_000;

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
    /// Go on beyond the scenario's trials until every primary comparison is decided, or this much
    /// time is spent.
    pub until_decided: Option<Duration>,
}

/// What a run says while it runs.
pub trait Watch {
    /// Trial `number` of `of` begins.
    fn trial(&self, number: usize, of: usize, variant: Variant);
    /// The trial under way has come so far.
    fn progress(&self, progress: Progress);
    /// A trial has ended: its row is the record's last.
    fn ended(&self, record: &Record);
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
    let started = SystemTime::now();
    let points = at_each_point(scenario, options)?;
    let mut recording = Recording::start(scenario, options, &points[0].2)?;
    let mut random = SplitMix64::new(recording.record.seed);
    let mut number = 0;
    let mut interrupted = std::pin::pin!(interrupted);
    for index in 1.. {
        if !another_round(scenario, options, index, &recording.record, started) {
            break;
        }
        let round = round(scenario, points.len(), &mut random);
        // Of how many is known only where nothing is decided on the way.
        let of = (round.len() * scenario.run.trials as usize).max(number + round.len());
        for (transport, profile, place) in round {
            number += 1;
            let (point, at, layout) = &points[place];
            let variant = Side { transport, profile }.at(*point);
            watch.trial(number, of, variant);
            let first_source = first_source(scenario, number);
            let plan = recording.plan(at, variant.side, layout, (index, first_source));
            let progress = |progress| watch.progress(progress);
            let ended = trial::run_until(&plan, &progress, &mut interrupted).await;
            let (mut trial, histograms, was_interrupted) = ended;
            trial.variant = variant;
            let entered = recording.enter(trial, histograms.as_ref());
            let record = &mut recording.record;
            record.growth = growth(&record.summary);
            record.comparisons = compare_all(&record.trials);
            if was_interrupted {
                record.status = Status::Interrupted;
            }
            if let Err(error) = entered.and_then(|()| recording.write()) {
                // What was measured is in memory still: it is the caller's to keep.
                recording.record.status = Status::Failed;
                return Ok(recording.done(Some(error)));
            }
            watch.ended(&recording.record);
            if was_interrupted {
                return Ok(recording.done(None));
            }
        }
    }
    Ok(recording.done(None))
}

/// Each point as the scenario that it is, on the layout that it would have by itself.
fn at_each_point(
    scenario: &Scenario,
    options: &Options,
) -> Result<Vec<(Option<Point>, Scenario, Layout)>, LayoutError> {
    let points = scenario.points().into_iter();
    let points = points.map(|point| {
        let at = scenario.at(point);
        check_ports(at.connections(), options.sources.len())?;
        let layout = Layout::plan(at.connections(), options.shards)?;
        Ok((point, at, layout))
    });
    points.collect()
}

/// Whether round `index`, counted from 1, is to be run.
fn another_round(
    scenario: &Scenario,
    options: &Options,
    index: u32,
    record: &Record,
    started: SystemTime,
) -> bool {
    let Some(budget) = options.until_decided else {
        return index <= scenario.run.trials;
    };
    let least = scenario.run.trials.max(MIN_ROUNDS as u32);
    let spent = started.elapsed().unwrap_or_default();
    index <= least || (!all_decided(&record.comparisons) && spent < budget && index <= MAX_ROUNDS)
}

/// One round: every transport and profile once at every point, in an order of its own, so that none
/// always runs first or while the machine is at its warmest.
fn round(
    scenario: &Scenario,
    points: usize,
    random: &mut SplitMix64,
) -> Vec<(Transport, Profile, usize)> {
    let pairs = scenario.pairs().into_iter();
    let mut round: Vec<_> = pairs
        .flat_map(|(transport, profile)| (0..points).map(move |i| (transport, profile, i)))
        .collect();
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

    #[test]
    fn every_round_has_every_pair_in_an_order_that_follows_from_the_seed() {
        let scenario = Scenario::load("quick").expect("built in");
        let rounds = |seed| {
            let mut random = SplitMix64::new(seed);
            (0..4)
                .map(|_| round(&scenario, 1, &mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(rounds(1), rounds(1));
        assert_ne!(rounds(1), rounds(2));
        for trials in rounds(1) {
            let mut seen: Vec<Transport> = trials.iter().map(|t| t.0).collect();
            seen.sort_unstable();
            assert_eq!(seen, scenario.run.transports);
        }
    }

    #[test]
    fn a_round_has_every_pair_at_every_point_and_points_are_interleaved() {
        let scenario = Scenario::load("quick").expect("built in");
        let mut trials = round(&scenario, 3, &mut SplitMix64::new(1));
        let order: Vec<usize> = trials.iter().map(|t| t.2).collect();
        assert!(order.windows(2).any(|w| w[0] > w[1]), "{order:?}");
        trials.sort_unstable();
        trials.dedup();
        assert_eq!(trials.len(), 3 * scenario.pairs().len());
    }
}
