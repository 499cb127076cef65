//! Runs whose outcome is known beforehand: what they show is whether the harness can be believed.
//!
//! Above the trials. [`bytes`]: every transport delivers exactly what was published. [`answers`]:
//! something is done to a trial on purpose, and its record must show exactly that. [`statistics`]:
//! equal transports are not called different, and different ones are. In: what to check. Out: what
//! held, reported to a [`Listener`] as soon as it is known.

use std::path::PathBuf;

use pushbench_protocol::payload::SplitMix64;
use pushbench_protocol::transport::{Profile, Transport};

use crate::environment::layer::Layer;
use crate::environment::layer::relay::RelayPlan;
use crate::environment::layout::Layout;
use crate::observe::environment::Environment;
use crate::record::Trial;
use crate::run::{RunError, Watch, congestion};
use crate::scenario::Scenario;
use crate::trial::interfere::{Stall, Starve};
use crate::trial::{self, Histograms, Progress, Turn};

pub mod answers;
pub mod bytes;
pub mod statistics;

/// Workload of [`answers`] and [`statistics`], before either changes it.
const FEW_CLIENTS: (&str, &str) = ("known-answers.toml", include_str!("known-answers.toml"));

/// Trials whose source addresses must differ, as connections of those before are being forgotten.
const REMEMBERED_TRIALS: u32 = 64;

/// Where results are reported.
pub trait Listener {
    /// A result.
    fn result(&self, text: &str);
    /// How far the verification has come.
    fn progress(&self, text: &str);
    /// Who watches the trials until it is dropped.
    fn watch(&self) -> Box<dyn Watch>;
}

/// What is done to a trial on purpose.
#[derive(Debug, Clone, Default)]
struct Disturbance {
    relay: Option<RelayPlan>,
    stalls: Vec<Stall>,
    starve: Option<Starve>,
}

impl Disturbance {
    fn none() -> Self {
        Self::default()
    }

    fn relay(plan: RelayPlan) -> Self {
        Self {
            relay: Some(plan),
            ..Self::none()
        }
    }
}

/// One trial: its workload, and what is done to it.
#[derive(Debug, Clone)]
struct Subject {
    scenario: Scenario,
    transport: Transport,
    /// Which of several, from 1.
    index: u32,
    probes: bool,
    disturbance: Disturbance,
}

impl Subject {
    /// A trial of a few clients to which nothing is done.
    fn undisturbed(transport: Transport) -> Self {
        let (name, source) = FEW_CLIENTS;
        let mut scenario = built_in(name, source);
        // The rules of others, such as two intervals of polls, do not bind it.
        scenario.run.transports = vec![transport];
        Self {
            scenario,
            transport,
            index: 1,
            probes: true,
            disturbance: Disturbance::none(),
        }
    }

    /// A trial of a scenario to which nothing is done.
    fn of(mut scenario: Scenario, transport: Transport) -> Self {
        scenario.run.transports = vec![transport];
        Self {
            scenario,
            ..Self::undisturbed(transport)
        }
    }

    fn rate(&mut self, rate_per_s: f64) {
        if let Some(publish) = &mut self.scenario.publish {
            publish.rate_per_s = rate_per_s;
        }
    }
}

fn built_in(name: &str, source: &str) -> Scenario {
    Scenario::parse(name, source).expect("a scenario that is built in, as a test checks")
}

/// What runs the trials of one verification, one at a time.
#[derive(Debug)]
pub struct Bench {
    program: PathBuf,
    congestion: Option<String>,
    done: u32,
}

impl Bench {
    /// Trials of `program`.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            congestion: congestion(&Environment::read()),
            done: 0,
        }
    }

    async fn trial(
        &mut self,
        subject: &Subject,
        progress: &dyn Fn(Progress),
    ) -> Result<(Trial, Option<Histograms>), RunError> {
        let layout = Layout::plan(subject.scenario.clients.count, None)?;
        self.done += 1;
        let plan = self.plan(subject, &layout, self.done);
        Ok(trial::run(&plan, progress).await)
    }

    /// Round `index` of subjects that take turns.
    async fn in_turns(
        &mut self,
        subjects: &[&Subject],
        turn: Turn,
        index: u32,
    ) -> Result<Vec<Trial>, RunError> {
        let mut layouts = Vec::new();
        for subject in subjects {
            layouts.push(Layout::plan(subject.scenario.clients.count, None)?);
        }
        let first = self.done + 1;
        self.done += subjects.len() as u32;
        let mut plans = Vec::new();
        for (place, (subject, layout)) in (0..).zip(subjects.iter().zip(&layouts)) {
            plans.push(trial::Plan {
                index,
                reads_memory: false,
                turn: Some(turn.at(place, SplitMix64::new(u64::from(index)).next())),
                ..self.plan(subject, layout, first + place)
            });
        }
        let (ended, _) = trial::run_in_turns(&plans, &|_| {}, std::future::pending()).await;
        Ok(ended.into_iter().map(|(trial, _)| trial).collect())
    }

    /// What trial `number` of the verification is to do.
    fn plan<'a>(
        &'a self,
        subject: &'a Subject,
        layout: &'a Layout,
        number: u32,
    ) -> trial::Plan<'a> {
        let disturbance = &subject.disturbance;
        let relay = disturbance.relay.iter().map(|relay| relay as &dyn Layer);
        let side = (subject.transport, Profile::Tuned);
        trial::Plan {
            index: subject.index,
            congestion: self.congestion.as_deref(),
            probes: subject.probes,
            first_source: number % REMEMBERED_TRIALS,
            layers: relay.collect(),
            stalls: disturbance.stalls.clone(),
            starve: disturbance.starve,
            ..trial::Plan::new(&subject.scenario, side, layout, &self.program)
        }
    }
}

fn word(holds: bool) -> &'static str {
    if holds { "ok" } else { "FAILED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workloads_are_scenarios() {
        assert_eq!(
            Subject::undisturbed(Transport::Sse).scenario.run.seed,
            Some(1)
        );
        for (name, source) in bytes::WORKLOADS {
            assert!(!built_in(name, source).summary.is_empty());
        }
    }
}
