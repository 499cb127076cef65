//! One trial: one transport in one profile, on a fresh server and a fresh fleet.
//!
//! Around the data path: starts both processes, takes them through the phases, reads the probes at
//! the right moments and puts together what each side counted. In: a [`Plan`]. Out: a row of the
//! record, also where the trial failed half-way, and the histograms behind it.
//!
//! | file | idea |
//! |---|---|
//! | `plan` | what is to be done, and what follows for both sides |
//! | `phases` | one phase after the other, and waiting |
//! | `connect` | the first phase and the last: clients are opened and closed |
//! | `faults` | what the scenario does to its server |
//! | `turns` | several trials at once, of which one has the load |
//! | `window` | the workload window: costs, and what they are divided by |
//! | `collect`, `measures` | from reports and readings to the record |
//! | `interfere` | what known answers do to a trial |
//! | `live` | what a person who watches is shown |
//!
//! Not measured here: nothing of the delivery path runs in this process.

use std::cell::Cell;
use std::time::SystemTime;

use hdrhistogram::Histogram;

use crate::environment::fleet::FleetProcess;
use crate::environment::host::ThisMachine;
use crate::environment::loopback;
use crate::environment::own::{OwnServer, Serve};
use crate::environment::process::ChildError;
use crate::environment::target::{Clocks, Fleet, Target};
use crate::record::Trial;
use crate::trial::interfere::Interfered;
use crate::trial::live::Live;

use phases::Running;

mod collect;
mod connect;
mod faults;
pub mod interfere;
pub mod live;
mod measures;
mod phases;
mod plan;
mod slices;
mod turns;
mod window;

pub use plan::Plan;
pub use turns::Turn;

/// Where a trial is, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Name of the phase.
    pub phase: &'static str,
    /// How far it has come …
    pub done: u64,
    /// … of so much.
    pub of: u64,
    /// What it looks like, once a second while messages are published.
    pub live: Option<Live>,
}

/// What lies behind the row of a trial that came to its end.
#[derive(Debug, Clone)]
pub struct Histograms {
    /// Delivery latency in ns.
    pub delivery: Histogram<u64>,
    /// Time to the last subscriber in ns.
    pub fanout: Histogram<u64>,
    /// Delivery latency by second of the measure phase.
    pub intervals: Vec<(u64, Histogram<u64>)>,
    /// When the measure phase began.
    pub measure_started: SystemTime,
    /// What was done to the trial on purpose.
    pub interfered: Interfered,
}

/// Why a trial did not come to its end.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error("{0}")]
    Histogram(String),
    #[error("{0} of the clients' shards panicked while they connected")]
    DeadShards(u64),
    #[error("the server was still running {grace_s} s after its drain over {over_ms} ms")]
    Undrained {
        /// What was asked for.
        over_ms: u64,
        /// How long it was waited for in addition.
        grace_s: u64,
    },
    #[error("cannot put what is planned between server and clients: {0}")]
    Layer(std::io::Error),
    #[error("cannot interfere as planned: {0}")]
    Interference(std::io::Error),
}

impl TrialError {
    fn remedy(&self) -> String {
        match self {
            Self::Child(ChildError::Died { .. }) => {
                "run it again; if it dies again, report what it printed".to_owned()
            }
            _ => "report this as a bug".to_owned(),
        }
    }
}

/// Runs one trial. A failure is a row too: void, with the reason, and what was measured before it.
pub async fn run(plan: &Plan<'_>, watch: &dyn Fn(Progress)) -> (Trial, Option<Histograms>) {
    let (trial, histograms, _) = run_until(plan, watch, std::future::pending()).await;
    (trial, histograms)
}

/// As [`run`], but ends early when `interrupted` does: a failure like any other, except that the
/// last value is `true`.
pub async fn run_until(
    plan: &Plan<'_>,
    watch: &dyn Fn(Progress),
    interrupted: impl Future<Output = ()>,
) -> (Trial, Option<Histograms>, bool) {
    let (target, fleet, host) = on_this_machine(plan);
    run_on(plan, (target, fleet, &host), watch, interrupted).await
}

/// Runs the trials of a round in turns, a row for each of `plans`, which have a [`Plan::turn`] each. Ends
/// early when `interrupted` does, with what was measured until then: the last value is `true`.
pub async fn run_in_turns(
    plans: &[Plan<'_>],
    watch: &dyn Fn(Progress),
    interrupted: impl Future<Output = ()>,
) -> (Vec<(Trial, Option<Histograms>)>, bool) {
    let mut running = Vec::new();
    let hosts: Vec<_> = plans.iter().map(on_this_machine).collect();
    let clocks: Vec<ThisMachine<'_>> = hosts.iter().map(|(_, _, host)| *host).collect();
    for ((plan, (target, fleet, _)), clocks) in plans.iter().zip(hosts).zip(&clocks) {
        let trial = row(plan, &target);
        running.push((trial, Running::new(plan, target, fleet, clocks, watch)));
    }
    let rows: Vec<Trial> = running.iter().map(|(trial, _)| trial.clone()).collect();
    // Where there is nothing to keep, dropping the rest of the trials has killed their children.
    let nothing_kept = || {
        let end = |trial: Trial| {
            let error = "interrupted before a whole block of slices was measured".to_owned();
            (trial.failed(error, "run it again".to_owned()), None)
        };
        (rows.into_iter().map(end).collect(), true)
    };
    let ended = turns::through_all(running, watch, interrupted).await;
    ended.unwrap_or_else(nothing_kept)
}

/// Both sides of a trial as processes of this machine.
fn on_this_machine<'a>(plan: &'a Plan<'a>) -> (OwnServer<'a>, FleetProcess<'a>, ThisMachine<'a>) {
    let host = ThisMachine {
        program: plan.program,
        allocator: plan.scenario.run.allocator,
    };
    let target = OwnServer::new(Serve {
        host,
        listen: loopback::of(plan.sources),
        transport: plan.transport,
        profile: plan.profile,
        scenario: plan.scenario,
        side: &plan.layout.server,
        congestion: plan.congestion,
    });
    (target, FleetProcess::new(host, &plan.layout.fleet), host)
}

/// The row of a trial that has measured nothing yet.
fn row(plan: &Plan<'_>, target: &impl Target) -> Trial {
    let mut trial = Trial::new(plan.transport, plan.profile, plan.index);
    trial.lacks = target.lacks();
    trial.harness.client = plan.family.of_clients(plan.transport);
    trial.clients.target = u64::from(plan.scenario.clients.count);
    trial
}

/// Runs one trial of `target` with `fleet`, by `clocks`.
async fn run_on(
    plan: &Plan<'_>,
    (target, fleet, clocks): (impl Target, impl Fleet, &dyn Clocks),
    watch: &dyn Fn(Progress),
    interrupted: impl Future<Output = ()>,
) -> (Trial, Option<Histograms>, bool) {
    let mut trial = row(plan, &target);
    let phase = Cell::new("start");
    let noting = |progress: Progress| {
        phase.set(progress.phase);
        watch(progress);
    };
    let running = Running::new(plan, target, fleet, clocks, &noting);
    let ended = tokio::select! {
        ended = running.through(&mut trial) => ended,
        // Dropping the rest of the trial kills its children.
        () = interrupted => {
            let error = format!("interrupted in phase '{}'", phase.get());
            let remedy = "run it again".to_owned();
            return (trial.failed(error, remedy), None, true);
        }
    };
    match ended {
        Ok(histograms) => (trial, histograms, false),
        Err(error) => (failed(trial, &error), None, false),
    }
}

/// Enters why a trial did not come to its end.
fn failed(mut trial: Trial, error: &TrialError) -> Trial {
    trial.killed = matches!(error, TrialError::Child(child) if child.is_killed());
    trial.failed(error.to_string(), error.remedy())
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
