//! When a run ends: after the trials that were asked for, or when all is decided or the budget is spent.
//!
//! Around the trials. In: the scenario, and the record after each round. Out: whether another follows, and
//! what the intervals of the record may use of the probability of an error.

use std::time::Duration;

use crate::analysis::compare::{MIN_ROUNDS, all_decided, spent_by};
use crate::record::{Record, Span, Trial};
use crate::scenario::Scenario;

use super::Spent;

/// Most rounds of a run that goes on until it is decided; beyond it, the budget was a slip.
const MAX_ROUNDS: u32 = 1_000;

/// Of a round, at least so much must fit into what is left of the budget.
const FITS: f64 = 0.5;

/// How many times the budget may be spent where it would end short of the rounds that a comparison needs.
const TO_COMPARE: f64 = 1.5;

/// Of the time spent, what trials may take that run by themselves while others take turns: they take longer,
/// and tell less.
const WHOLE: f64 = 1.0 / 3.0;

/// Shares of the budget after which the run looks whether all is decided. Few, since each has its own part of
/// the probability of an error.
const LOOKS: [f64; 3] = [0.125, 0.25, 0.5];

/// When a run ends.
pub(super) struct Stopping {
    trials: Option<u32>,
    budget: Duration,
    /// Spent on load, connecting left out.
    spent: Duration,
    /// What trials took of it that ran by themselves.
    whole: Duration,
    /// What the last round took of it.
    last: Duration,
    rounds: u32,
    /// Those of [`LOOKS`] that are over.
    looks: usize,
    /// What they used of the probability of an error.
    used: f64,
    decided: bool,
}

impl Stopping {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            // What has nothing to be compared with is decided at once.
            trials: scenario
                .run
                .trials
                .or((scenario.pairs().len() < 2).then_some(1)),
            budget: Duration::from_secs_f64(scenario.run.budget_s),
            spent: Duration::ZERO,
            whole: Duration::ZERO,
            last: Duration::ZERO,
            rounds: 0,
            looks: 0,
            used: 0.0,
            decided: false,
        }
    }

    /// Whether round `index`, counted from 1, is to be run.
    pub(super) fn goes_on(&self, index: u32) -> bool {
        match self.trials {
            Some(trials) => index <= trials,
            None => !self.decided && self.fits(index),
        }
    }

    /// Whether trials that run by themselves have their turn in the round to come, where others take turns.
    pub(super) fn has_whole(&self) -> bool {
        let is_early = self.rounds < MIN_ROUNDS as u32;
        self.trials.is_some() || is_early || self.whole <= self.spent.mul_f64(WHOLE)
    }

    fn fits(&self, index: u32) -> bool {
        let fits = self.spent + self.last.mul_f64(FITS) <= self.budget;
        let missing = (MIN_ROUNDS as u32).saturating_sub(self.rounds);
        let all = self.spent + self.last * missing;
        let compares = missing > 0 && all <= self.budget.mul_f64(TO_COMPARE);
        self.rounds == 0 || ((fits || compares) && index <= MAX_ROUNDS)
    }

    /// What the intervals of the record may use of the probability of an error, if the run ends here.
    pub(super) fn share(&self) -> f64 {
        match self.trials {
            Some(_) => 1.0,
            None => spent_by(self.over()) - self.used,
        }
    }

    /// How much of the budget is spent: all where no other round fits.
    fn over(&self) -> f64 {
        match self.fits(self.rounds + 1) {
            true => self.spent.as_secs_f64() / self.budget.as_secs_f64(),
            false => 1.0,
        }
    }

    /// A round is over, with so many trials, the last of the record.
    pub(super) fn ends_round(&mut self, record: &Record, trials: usize) {
        self.rounds += 1;
        let from = record.trials.len().saturating_sub(trials);
        let in_turns = |trial: &&Trial| !trial.slices.is_empty();
        let of_round = record.trials.iter().skip(from);
        let whole = of_round.clone().filter(|trial| !in_turns(trial));
        let whole = whole.map(|trial| spent(trial, trial.phase_ns.drain));
        // Those that took turns were loaded at the same time, and each slice was drained in its turn.
        let turns = of_round
            .filter(in_turns)
            .map(|trial| spent(trial, None))
            .max();
        let whole: Duration = whole.sum();
        self.last = whole + turns.unwrap_or_default();
        self.spent += self.last;
        self.whole += whole;
    }

    /// How far the run has come; `None` where its number of trials is fixed.
    pub(super) fn so_far(&self) -> Option<Spent> {
        self.trials.is_none().then_some(Spent {
            rounds: self.rounds,
            spent: self.spent,
            budget: self.budget,
        })
    }

    /// Looks whether all is decided, where that is due: the record has intervals for [`Self::share`].
    pub(super) fn look(&mut self, record: &Record) {
        let over = self.over();
        let due = LOOKS.iter().filter(|look| **look <= over).count();
        if due > self.looks && self.rounds >= MIN_ROUNDS as u32 {
            (self.looks, self.used) = (due, spent_by(over));
            self.decided = all_decided(&record.comparisons);
        }
    }
}

/// From the start of a trial's load to the end of its measure phase, or of its drain where that counts.
fn spent(trial: &Trial, drain: Option<Span>) -> Duration {
    let spans = [trial.phase_ns.warm_up, trial.phase_ns.measure, drain];
    let start = spans.iter().flatten().map(|span| span.start).min();
    let end = spans.iter().flatten().map(|span| span.end).max();
    Duration::from_nanos(end.unwrap_or(0).saturating_sub(start.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Slice, sample};
    use pushbench_protocol::transport::Transport;

    /// A record with one trial that had the load for so many seconds.
    fn record(load_s: u64, in_turns: bool) -> Record {
        let mut record = sample::record();
        record.comparisons.clear();
        record.trials.truncate(1);
        let trial = &mut record.trials[0];
        trial.phase_ns = Default::default();
        trial.phase_ns.measure = Some(Span {
            start: 5_000_000_000,
            end: (5 + load_s) * 1_000_000_000,
        });
        trial.slices = vec![Slice::default(); usize::from(in_turns)];
        record
    }

    fn rounds(trials: Option<u32>, record: &Record, in_round: usize) -> u32 {
        let mut scenario = record.scenario.clone();
        scenario.run.trials = trials;
        let mut stopping = Stopping::new(&scenario);
        let mut index = 1;
        while stopping.goes_on(index) {
            stopping.ends_round(record, in_round);
            stopping.look(record);
            index += 1;
        }
        index - 1
    }

    #[test]
    fn a_number_of_trials_is_kept_whatever_it_takes() {
        assert_eq!(rounds(Some(3), &record(100, false), 1), 3);
    }

    #[test]
    fn without_a_number_rounds_go_on_while_more_than_half_of_one_fits_into_the_budget() {
        assert_eq!(rounds(None, &record(10, true), 1), 6);
        assert_eq!(rounds(None, &record(12, true), 1), 5);
        // Four would be no comparison, and a fifth is over within half of the budget more.
        assert_eq!(rounds(None, &record(18, true), 1), 5);
        assert_eq!(rounds(None, &record(19, true), 1), 3);
        // One is always run.
        assert_eq!(rounds(None, &record(500, false), 1), 1);
        let twice = |in_turns| {
            let mut record = record(10, in_turns);
            record.trials.push(record.trials[0].clone());
            rounds(None, &record, 2)
        };
        assert_eq!((twice(true), twice(false)), (6, 3));
        assert_eq!(TO_COMPARE, 1.5, "as METHODOLOGY says");
    }

    #[test]
    fn trials_by_themselves_have_five_rounds_and_then_a_third_of_the_time() {
        let mut record = record(4, true);
        let mut alone = record.trials[0].clone();
        alone.slices.clear();
        let mut stopping = Stopping::new(&record.scenario);
        let mut rounds = Vec::new();
        while stopping.goes_on(stopping.rounds + 1) {
            let round = stopping.rounds + 1;
            record.trials.truncate(1);
            if stopping.has_whole() {
                record.trials.push(alone.clone());
                rounds.push(round);
            }
            stopping.ends_round(&record, record.trials.len());
        }
        assert_eq!((rounds, stopping.rounds), (vec![1, 2, 3, 4, 5], 10));
        stopping.spent = Duration::from_secs(60);
        assert!(stopping.has_whole());
    }

    #[test]
    fn what_is_compared_with_nothing_has_one_trial() {
        let mut record = record(1, false);
        record.scenario.run.transports = vec![Transport::Sse];
        assert_eq!(rounds(None, &record, 1), 1);
    }

    #[test]
    fn looks_at_an_eighth_a_quarter_half_and_the_end_use_up_the_error_together() {
        let record = record(5, true);
        let mut stopping = Stopping::new(&record.scenario);
        let mut used = Vec::new();
        while stopping.goes_on(stopping.rounds + 1) {
            stopping.ends_round(&record, 1);
            let (share, looks) = (stopping.share(), stopping.looks);
            stopping.look(&record);
            if stopping.looks > looks || !stopping.goes_on(stopping.rounds + 1) {
                used.push((stopping.rounds, (share * 1e4).round()));
            }
        }
        // 5 s of 60 a round: an eighth is over after the second, but a comparison needs five.
        assert_eq!(used, [(5, 723.0), (6, 527.0), (12, 8_750.0)]);
    }

    #[test]
    fn an_end_at_any_time_has_what_the_looks_before_it_left() {
        let record = record(5, true);
        let mut stopping = Stopping::new(&record.scenario);
        let mut used = 0.0;
        for _ in 0..8 {
            stopping.ends_round(&record, 1);
            let share = stopping.share();
            assert!(share > 0.0 && used + share <= spent_by(stopping.over()) + 1e-12);
            let looks = stopping.looks;
            stopping.look(&record);
            used += if stopping.looks > looks { share } else { 0.0 };
            assert_eq!(stopping.share() > 0.0, stopping.looks == looks, "used up");
        }
        assert_eq!(Stopping::new(&fixed(3)).share(), 1.0);
    }

    #[test]
    fn how_far_it_has_come_is_told_where_the_number_of_trials_is_open() {
        let record = record(5, true);
        let mut stopping = Stopping::new(&record.scenario);
        stopping.ends_round(&record, 1);
        stopping.ends_round(&record, 1);
        let so_far = Spent {
            rounds: 2,
            spent: Duration::from_secs(10),
            budget: Duration::from_secs(60),
        };
        assert_eq!(stopping.so_far(), Some(so_far));
        assert_eq!(Stopping::new(&fixed(3)).so_far(), None);
    }

    fn fixed(trials: u32) -> Scenario {
        let mut scenario = sample::record().scenario;
        scenario.run.trials = Some(trials);
        scenario
    }
}
