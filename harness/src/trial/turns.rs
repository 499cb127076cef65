//! Trials that take turns: all servers and fleets are alive, and one after the other has the load.
//!
//! Around the data path. In: the plans of a round. Out: a row each, with every slice. What disturbs the
//! machine for longer than a slice disturbs all of them alike, and so drops out of their ratios (*duet
//! benchmarking*: Bulej, Horký, Tůma et al. 2020, *Duet Benchmarking: Improving Measurement Accuracy in
//! the Cloud*, ICPE; *randomized multiple interleaved trials*: Abedi and Brecht 2017, ICPE).

use std::cell::Cell;
use std::time::Duration;

use pushbench_protocol::schedule::Slices;

use super::phases::Running;
use super::window::Edge;
use super::{Histograms, Progress, TrialError};
use crate::environment::target::{Fleet, Target};
use crate::load::MeasurePhase;
use crate::record::Trial;

/// When a trial has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its slices in a round.
    pub slices: Slices,
    /// How many of them, from the first, are warm-up.
    pub warm_up_blocks: u32,
}

impl Turn {
    /// The turn of the trial at `place`, in an order that follows from `seed`.
    #[must_use]
    pub fn at(mut self, place: u32, seed: u64) -> Self {
        (self.slices.place, self.slices.seed) = (place, seed);
        self
    }

    /// How long warm-up and measure phase take by the clock, in ns.
    pub(super) fn phases_ns(&self) -> (u64, u64) {
        let warm_up = u64::from(self.warm_up_blocks) * self.slices.block_ns();
        let all = u64::from(self.slices.blocks) * self.slices.block_ns();
        (warm_up, all - warm_up)
    }
}

/// One of the trials of a round.
struct Member<'a, T, F> {
    trial: Trial,
    histograms: Option<Histograms>,
    /// Connected, and the schedule is known; `None` once it has ended, one way or the other.
    ready: Option<Box<(Running<'a, T, F>, MeasurePhase)>>,
}

impl<T, F> Member<'_, T, F> {
    /// Enters why it did not come to its end; its processes are killed.
    fn fails(&mut self, error: &TrialError) {
        let trial = std::mem::take(&mut self.trial);
        self.trial = super::failed(trial, error);
        self.ready = None;
    }
}

/// When a clock is to be read, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    at_ns: u64,
    edge: Edge,
    member: usize,
    block: u32,
}

/// Takes the trials of a round through all phases: each connects by itself, then they take turns, then
/// each settles its accounts.
///
/// Where `interrupted` ends while they take turns, they keep what they measured in whole blocks: then the
/// last value is `true`. `None` where it ends before that, and nothing was measured.
pub(super) async fn through_all<'a, T: Target, F: Fleet>(
    running: Vec<(Trial, Running<'a, T, F>)>,
    watch: &dyn Fn(Progress),
    interrupted: impl Future<Output = ()>,
) -> Option<(Vec<(Trial, Option<Histograms>)>, bool)> {
    let mut interrupted = std::pin::pin!(interrupted);
    let mut members = tokio::select! {
        members = connect_all(running) => members,
        () = &mut interrupted => return None,
    };
    let blocks = Cell::new(0);
    let was_interrupted = tokio::select! {
        () = take_turns(&mut members, watch, &blocks) => false,
        () = interrupted => true,
    };
    if was_interrupted && !cut(&mut members, blocks.get()) {
        return None;
    }
    for member in &mut members {
        if let Some(ready) = member.ready.take() {
            let (running, phase) = *ready;
            match running.settle_accounts(&mut member.trial, &phase).await {
                Ok(histograms) => member.histograms = Some(histograms),
                Err(error) => member.fails(&error),
            }
        }
    }
    let ended = members.into_iter();
    let ended = ended.map(|member| (member.trial, member.histograms));
    Some((ended.collect(), was_interrupted))
}

/// Starts and connects every trial, one after the other, and tells all of them the schedule.
async fn connect_all<'a, T: Target, F: Fleet>(
    running: Vec<(Trial, Running<'a, T, F>)>,
) -> Vec<Member<'a, T, F>> {
    let mut members = Vec::new();
    let lead = running
        .first()
        .map_or(Duration::ZERO, |(_, of)| of.plan.lead(running.len()));
    let mut connected = Vec::new();
    for (mut trial, mut running) in running {
        let ready = running.prepare(&mut trial).await;
        connected.push((trial, running, ready));
    }
    let now_ns = connected
        .first()
        .map_or(0, |(_, running, _)| running.clocks.now_ns());
    let start_ns = now_ns + lead.as_nanos() as u64;
    for (trial, running, ready) in connected {
        let mut member = Member {
            trial,
            histograms: None,
            ready: None,
        };
        match begin(running, ready, start_ns).await {
            Ok(ready) => member.ready = ready.map(Box::new),
            Err(error) => member.fails(&error),
        }
        members.push(member);
    }
    members
}

/// Ends every trial after so many blocks. `false` where none of them is of the measure phase.
fn cut<T: Target, F: Fleet>(members: &mut [Member<'_, T, F>], blocks: u32) -> bool {
    let mut keeps = false;
    for (running, phase) in members.iter_mut().filter_map(|m| m.ready.as_deref_mut()) {
        let Some(turn) = running
            .plan
            .turn
            .filter(|turn| turn.warm_up_blocks < blocks)
        else {
            continue;
        };
        let length_ns = u64::from(blocks) * turn.slices.block_ns();
        *phase = phase.until(phase.timing.schedule.start_ns + length_ns);
        running.window.cut(blocks as usize);
        running.was_cut = true;
        keeps = true;
    }
    keeps
}

/// Tells both sides of a trial the schedule. `None` where a limit was met and nothing is to be measured.
async fn begin<'a, T: Target, F: Fleet>(
    mut running: Running<'a, T, F>,
    ready: Result<bool, TrialError>,
    start_ns: u64,
) -> Result<Option<(Running<'a, T, F>, MeasurePhase)>, TrialError> {
    if !ready? {
        running.stop().await;
        return Ok(None);
    }
    let phase = running.begin(start_ns).await?;
    running.open_window().await?;
    Ok(Some((running, phase)))
}

/// When which clocks are to be read, in the order of time.
fn readings<T: Target, F: Fleet>(members: &[Member<'_, T, F>]) -> Vec<Reading> {
    let mut readings = Vec::new();
    for (member, of) in members.iter().enumerate() {
        let Some((_, phase)) = of.ready.as_deref() else {
            continue;
        };
        let Some(turns) = phase.timetable.turns() else {
            continue;
        };
        let slices = turns.slices();
        let start_ns = phase.timing.schedule.start_ns;
        for (block, start) in (0..).zip(turns.starts()) {
            let start = start_ns + start;
            let body_ns = start + slices.head_ns + slices.pause_ns;
            // In silence, and as long after the last message as can be.
            for (edge, at_ns) in [
                (Edge::Open, start - slices.gap_ns / 3),
                (Edge::Body, body_ns - slices.pause_ns / 3),
                (Edge::Close, start + slices.slice_ns() - slices.gap_ns / 3),
            ] {
                readings.push(Reading {
                    at_ns,
                    edge,
                    member,
                    block,
                });
            }
        }
    }
    readings.sort_unstable();
    readings
}

/// Reads every clock when it is due, and counts the blocks that are over. A trial whose processes end is
/// over, and the others go on.
async fn take_turns<T: Target, F: Fleet>(
    members: &mut [Member<'_, T, F>],
    watch: &dyn Fn(Progress),
    blocks: &Cell<u32>,
) {
    let readings = readings(members);
    let of = readings.len() as u64;
    for (done, reading) in readings.into_iter().enumerate() {
        let member = &mut members[reading.member];
        let Some((running, _)) = member.ready.as_deref_mut() else {
            continue;
        };
        // Those of the block before are all done when the first of this one is due.
        blocks.set(blocks.get().max(reading.block));
        let wait_ns = reading.at_ns.saturating_sub(running.clocks.now_ns());
        tokio::time::sleep(Duration::from_nanos(wait_ns)).await;
        let warm_up = running.plan.turn.map_or(0, |turn| turn.warm_up_blocks);
        if reading.block >= warm_up {
            running.starts_to_measure(&mut member.trial);
        }
        if let Err(error) = running.read_edge(reading.edge) {
            member.fails(&error);
        }
        if reading.edge == Edge::Close {
            watch(Progress {
                phase: "in turns",
                done: done as u64 + 1,
                of,
                live: None,
            });
        }
    }
}
