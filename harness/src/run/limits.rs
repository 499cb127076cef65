//! Searching for a limit: grow until an objective breaks, and name what broke.
//!
//! Around the trials, in the place of a [`run`](mod@crate::run). In: a scenario, what is to be grown, an
//! objective. Out: a [`Record`](crate::record::Record) with a [`Limit`] for each transport and profile, written after every
//! step. Each step is an ordinary trial on a fresh server and a fresh fleet, bounded in time; a step
//! that breaks closes everything that it opened.
//!
//! Not decided here: where to look next ([`search`]), what had to hold ([`objective`]), what broke
//! (`limits/cause.rs`).

mod cause;
pub mod objective;
pub mod search;

use std::time::{Duration, Instant};

use self::cause::{Cores, cpu_shares, held_memory, spoiled, voided, what_broke};
use self::objective::Objective;
use self::search::{Found, Search};
use crate::environment::layout::{Layout, check_ports};
use crate::load::client::socket::CLIENTS_PER_SOURCE;
use crate::observe::memory::available_bytes;
use crate::record::{Broke, Cause, Ended, Limit, LimitOf, LimitStep, Side, Status, Trial};
use crate::run::recording::Recording;
use crate::run::{self, Done, RunError, Watch};
use crate::scenario::{ChannelCount, Overrides, Point, Scenario, SweepKey};
use crate::trial::{self, Histograms};

/// A step may take so many times what its phases and its pace of connecting make, and [`GRACE`].
const PATIENCE: f64 = 3.0;

/// What starting, connecting, settling accounts and closing may take in addition: each of the four
/// steps of connecting has 20 s of its own before it gives up, and says why.
const GRACE: Duration = Duration::from_secs(100);

/// What they take where nothing is slow, to tell whether another step fits into the budget.
const OVERHEAD: Duration = Duration::from_secs(2);

/// Connects a second, where no pace is asked for, to tell how long a step will take.
const USUAL_CONNECTS_PER_S: f64 = 10_000.0;

/// After a step, memory that it held is waited for: so much of what was available before …
const GIVEN_BACK: f64 = 0.95;

/// … but no longer than this. Closing a million sockets takes the kernel seconds.
const REST: Duration = Duration::from_secs(15);

/// How to search.
#[derive(Debug)]
pub struct Options<'a> {
    /// Clients, threads, addresses and the folder of the record, as of a run.
    pub run: &'a run::Options,
    /// What is grown.
    pub of: LimitOf,
    /// What has to hold.
    pub objective: &'a Objective,
    /// The first value.
    pub start: u64,
    /// Where growth ends.
    pub maximum: u64,
    /// How close the last good and the first bad value shall come, as a share of the former.
    pub resolution: f64,
    /// For all transports and profiles together.
    pub budget: Duration,
}

/// How one step came out.
enum Step {
    Measured(Box<Trial>, Option<Box<Histograms>>),
    OutOfTime,
    Interrupted,
}

/// Searches the limit of every transport and profile of `scenario`, one after the other. Ends
/// early, with the record so far, when `interrupted` does.
///
/// # Errors
/// [`RunError`]; what breaks is not an error but what is looked for.
pub async fn run(
    scenario: &Scenario,
    options: &Options<'_>,
    watch: &dyn Watch,
    interrupted: impl Future<Output = ()>,
) -> Result<Done, RunError> {
    let deadline = Instant::now() + options.budget;
    // For the cores alone: descriptors are planned for each step.
    let layout = Layout::plan(1, options.run.shards)?;
    let mut bench = LimitSearch {
        options,
        watch,
        deadline,
        recording: Recording::start(scenario, options.run, &layout)?,
        values: Vec::new(),
        next_source: 0,
    };
    // What it grows to is bounded by the guard, so what it needs is not known here.
    bench.recording.look_around(0, watch);
    let mut interrupted = std::pin::pin!(interrupted);
    let sides = scenario.pairs();
    for (i, &side) in sides.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (sides.len() - i) as u32;
        let until = Instant::now() + share;
        let ended = bench
            .search(scenario, side.into(), until, interrupted.as_mut())
            .await?;
        if ended == Ended::Interrupted {
            bench.recording.record.status = Status::Interrupted;
            break;
        }
    }
    let mut done = bench.recording.done(None);
    match done.unwritten.take() {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

/// What the searches of one record share.
struct LimitSearch<'a> {
    options: &'a Options<'a>,
    watch: &'a dyn Watch,
    /// When everything must have ended.
    deadline: Instant,
    recording: Recording<'a>,
    /// Values that were tried, by any transport: their place is the index of their point, so that
    /// rows of one point have one value.
    values: Vec<u64>,
    /// First source address that no step has used.
    next_source: u32,
}

impl LimitSearch<'_> {
    /// Searches the limit of one transport in one profile, until the moment `until`.
    async fn search(
        &mut self,
        scenario: &Scenario,
        side: Side,
        until: Instant,
        mut interrupted: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Ended, RunError> {
        let options = self.options;
        let limit = Limit::new(
            side,
            options.of,
            options.objective.to_string(),
            (options.maximum, options.resolution),
        );
        let place = self.recording.record.limits.len();
        self.recording.record.limits.push(limit);
        let mut search = Search::new(options.start, options.maximum, options.resolution);
        let ended = loop {
            let Some(value) = search.next() else {
                break match (search.unanswered(), search.bad()) {
                    (Some(_), _) => Ended::NoAnswer,
                    (None, Some(_)) => Ended::Resolved,
                    (None, None) => Ended::Maximum,
                };
            };
            let before = available_bytes();
            match self
                .step(scenario, side, value, until, interrupted.as_mut())
                .await
            {
                Step::OutOfTime => break Ended::TimeBudget,
                Step::Interrupted => break Ended::Interrupted,
                Step::Measured(trial, histograms) => {
                    let at = scenario_at(scenario, options.of, value);
                    let found = self.enter(place, value, &at, *trial, histograms)?;
                    search.enter(value, found);
                }
            }
            let limit = &mut self.recording.record.limits[place];
            (limit.last_good, limit.first_bad) = (search.good(), search.bad());
            limit.unanswered = search.unanswered();
            name_what_broke(limit);
            self.recording.write()?;
            self.watch.ended(&self.recording.record, 1);
            rest(before).await;
        };
        self.recording.record.limits[place].ended = ended;
        self.recording.write()?;
        Ok(ended)
    }

    /// One trial at `value`.
    async fn step(
        &mut self,
        scenario: &Scenario,
        side: Side,
        value: u64,
        until: Instant,
        interrupted: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Step {
        let options = self.options;
        let at = scenario_at(scenario, options.of, value);
        let takes = takes(&at);
        if Instant::now() + takes > until {
            return Step::OutOfTime;
        }
        let point = self.point(value);
        let variant = side.at(Some(point));
        let trials = self.recording.record.trials.iter();
        let attempts = trials.filter(|trial| trial.variant == variant);
        let index = attempts.count() as u32 + 1;
        let number = self.recording.record.trials.len() + 1;
        // How many steps there will be is what is found out.
        self.watch.trial(number, number, variant);
        let Side { transport, profile } = side;
        let failed = |error: String, stopped_by: Option<Cause>| {
            let mut trial = Trial::new(transport, profile, index);
            trial.variant = variant;
            trial.clients.target = u64::from(at.clients.count);
            trial.clients.stopped_by = stopped_by;
            Step::Measured(Box::new(trial.failed(error, String::new())), None)
        };
        let layout = match Layout::plan(at.connections(), options.run.shards) {
            Ok(layout) => layout,
            // Planned for both sides alike; the clients' process is the one that opens first.
            Err(error) => return failed(error.to_string(), Some(Cause::ClientDescriptors)),
        };
        if let Err(error) = check_ports(at.connections(), options.run.sources.len()) {
            return failed(error.to_string(), Some(Cause::SourcePorts));
        }
        if let Err(error) = at.clone().apply(&Overrides::default()) {
            return failed(error.to_string(), None);
        }
        let first_source = self.sources_of(at.clients.count);
        let numbers = (index, first_source);
        let plan = self.recording.plan(&at, side, &layout, numbers);
        let patience = takes.mul_f64(PATIENCE) + GRACE;
        let progress = |progress| self.watch.progress(progress);
        tokio::select! {
            (mut trial, histograms) = trial::run(&plan, &progress) => {
                trial.variant = variant;
                Step::Measured(Box::new(trial), histograms.map(Box::new))
            }
            // Dropping the trial kills its children, and the kernel closes their sockets.
            () = interrupted => Step::Interrupted,
            () = tokio::time::sleep(patience) => failed(
                format!("the step was not done after {} s", patience.as_secs()),
                None,
            ),
            () = tokio::time::sleep_until(self.deadline.into()) => Step::OutOfTime,
        }
    }

    /// Judges a step and keeps it.
    fn enter(
        &mut self,
        place: usize,
        value: u64,
        at: &Scenario,
        trial: Trial,
        histograms: Option<Box<Histograms>>,
    ) -> Result<Found, RunError> {
        let options = self.options;
        let cores = self.cores();
        let short_of = options.objective.short_of(&trial);
        let void = voided(&trial, |check| options.objective.covers(check)).count() > 0;
        let held = short_of.is_empty() && !void;
        let subscribers = f64::from(at.clients.count) / f64::from(at.channel_count());
        let (broke, evidence) = match held {
            true => (None, None),
            false => {
                let (broke, evidence) = what_broke(&trial, &short_of, cores, subscribers);
                // What a full table or a dead process says, it says on a busy machine too.
                match spoiled(&trial, cores).filter(|_| broke.may_be_chance()) {
                    Some(who) => (Some(Broke::Machine), Some(who)),
                    None => (Some(broke), Some(evidence)),
                }
            }
        };
        let (server_cpu_share, harness_cpu_share) = cpu_shares(&trial, cores);
        let step = LimitStep {
            value,
            trial: self.recording.record.trials.len(),
            held,
            short_of,
            broke,
            evidence,
            server_cpu_share,
            harness_cpu_share,
            memory: held_memory(&trial),
        };
        self.recording.record.limits[place].steps.push(step);
        self.recording.enter(trial, histograms.as_deref())?;
        Ok(Found::of(broke))
    }

    /// Source addresses that no step has used, for so many clients: connections of the steps before
    /// are still being forgotten, and steps differ in how many addresses they take.
    fn sources_of(&mut self, clients: u32) -> u32 {
        let first = self.next_source;
        // Addresses are taken modulo their number, so a wrap does no harm.
        self.next_source = first.wrapping_add(clients.div_ceil(CLIENTS_PER_SOURCE));
        first
    }

    fn cores(&self) -> Cores {
        let environment = &self.recording.record.environment;
        let all = environment.usable_cores.unwrap_or(1) as usize;
        let pinned = environment.pinning.as_ref();
        Cores {
            server: pinned.map_or(all, |p| p.server_cores.len()),
            fleet: pinned.map_or(all, |p| p.client_cores.len()),
        }
    }

    /// The point of `value`: one for each value, whichever transport was first to try it.
    fn point(&mut self, value: u64) -> Point {
        let known = self.values.iter().position(|&known| known == value);
        let index = known.unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        });
        let key = match self.options.of {
            LimitOf::Clients | LimitOf::Fanout => SweepKey::CLIENTS,
            LimitOf::Rate => SweepKey::RATE_PER_S,
        };
        Point::new(index as u32 + 1).with(key, value as f64)
    }
}

/// The scenario at one step.
fn scenario_at(scenario: &Scenario, of: LimitOf, value: u64) -> Scenario {
    let mut at = scenario.at(None);
    match of {
        LimitOf::Clients => at.clients.count = value.min(u32::MAX.into()) as u32,
        LimitOf::Fanout => {
            at.clients.count = value.min(u32::MAX.into()) as u32;
            at.channels.count = ChannelCount::Fixed(1);
        }
        LimitOf::Rate => {
            if let Some(publish) = &mut at.publish {
                publish.rate_per_s = value as f64;
            }
        }
    }
    at
}

/// How long a step takes where nothing is slow.
fn takes(at: &Scenario) -> Duration {
    let pace = at.clients.connect_per_s.unwrap_or(USUAL_CONNECTS_PER_S);
    let connecting = f64::from(at.clients.count) / pace;
    let phases = &at.phases;
    let waited = phases.settle_s + phases.warm_up_s + phases.measure_s;
    OVERHEAD + Duration::from_secs_f64((connecting + waited).clamp(0.0, 1e6))
}

/// What broke is what broke at the first bad value.
fn name_what_broke(limit: &mut Limit) {
    let step = limit.first_bad.and_then(|bad| limit.step(bad));
    let found: Option<(Option<Broke>, Option<String>)> =
        step.map(|step| (step.broke, step.evidence.clone()));
    (limit.broke, limit.evidence) = found.unwrap_or_default();
}

/// Waits until the memory of a step has been given back, so that the next one does not begin while
/// the kernel still closes sockets.
async fn rest(before: Option<u64>) {
    let Some(before) = before else { return };
    let deadline = Instant::now() + REST;
    let enough = (before as f64 * GIVEN_BACK) as u64;
    while available_bytes().is_some_and(|now| now < enough) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushbench_protocol::transport::{Profile, Transport};

    #[test]
    fn a_step_changes_what_is_grown_and_nothing_else() {
        let scenario = Scenario::load("quick").expect("built in");
        let clients = scenario_at(&scenario, LimitOf::Clients, 7);
        assert_eq!((clients.clients.count, clients.channel_count()), (7, 100));
        let fanout = scenario_at(&scenario, LimitOf::Fanout, 7);
        assert_eq!((fanout.clients.count, fanout.channel_count()), (7, 1));
        let rate = scenario_at(&scenario, LimitOf::Rate, 7);
        assert_eq!(rate.clients.count, scenario.clients.count);
        assert_eq!(rate.publish.expect("a table").rate_per_s, 7.0);
    }

    #[test]
    fn what_broke_is_what_broke_at_the_first_bad_value_when_it_was_last_tried() {
        let step = |value, broke: Option<Broke>| LimitStep {
            value,
            trial: 0,
            held: broke.is_none(),
            short_of: Vec::new(),
            broke,
            evidence: broke.map(|broke| format!("{} at {value}", broke.id())),
            server_cpu_share: None,
            harness_cpu_share: None,
            memory: Default::default(),
        };
        let side = (Transport::Sse, Profile::Tuned).into();
        let mut limit = Limit::new(side, LimitOf::Clients, String::new(), (1_000, 0.1));
        name_what_broke(&mut limit);
        assert_eq!((limit.broke, limit.evidence.take()), (None, None));
        limit.steps = vec![
            step(100, None),
            step(400, Some(Broke::Memory)),
            step(200, Some(Broke::Latency)),
            step(200, Some(Broke::ServerCpu)),
        ];
        limit.first_bad = Some(200);
        name_what_broke(&mut limit);
        assert_eq!(limit.broke, Some(Broke::ServerCpu));
        assert_eq!(limit.evidence.as_deref(), Some("server_cpu at 200"));
    }
}
