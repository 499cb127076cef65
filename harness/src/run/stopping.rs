//! When a run ends: after the trials that were asked for, or when all is decided or the budget is spent.
//!
//! Around the trials. In: the scenario, and the record after each round. Out: whether another follows, and
//! how often the record has been looked at by then.

use std::time::Duration;

use crate::analysis::compare::{all_decided, looks};
use crate::record::{Record, Span, Trial};
use crate::scenario::Scenario;

/// Most rounds of a run that goes on until it is decided; beyond it, the budget was a slip.
const MAX_ROUNDS: u32 = 1_000;

/// Of a round, at least so much must fit into what is left of the budget.
const FITS: f64 = 0.5;

/// When a run ends.
pub(super) struct Stopping {
    trials: Option<u32>,
    budget: Duration,
    /// Spent on load, connecting left out.
    spent: Duration,
    /// What the last round took of it.
    last: Duration,
    rounds: u32,
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
            last: Duration::ZERO,
            rounds: 0,
        }
    }

    /// Whether round `index`, counted from 1, is to be run.
    pub(super) fn goes_on(&self, index: u32, record: &Record) -> bool {
        if let Some(trials) = self.trials {
            return index <= trials;
        }
        let fits = self.spent + self.last.mul_f64(FITS) <= self.budget;
        // Decided is what was so at a look, and the record holds the intervals of the last.
        let is_look = looks(self.rounds) > looks(self.rounds.saturating_sub(1));
        let decided = is_look && all_decided(&record.comparisons);
        self.rounds == 0 || (fits && !decided && index <= MAX_ROUNDS)
    }

    /// The look that intervals are for after the round under way, from 1; `None` where the number of trials is fixed.
    pub(super) fn look(&self) -> Option<u32> {
        let round = self.rounds + 1;
        // Should the run end between two looks, that end is a look of its own, and spends what the next
        // one would have.
        let is_between = looks(round) == looks(self.rounds);
        let look = looks(round) + u32::from(is_between);
        self.trials.is_none().then_some(look)
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
        self.last = whole.sum::<Duration>() + turns.unwrap_or_default();
        self.spent += self.last;
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
        while stopping.goes_on(index, record) {
            stopping.ends_round(record, in_round);
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
        assert_eq!(rounds(None, &record(12, true), 1), 5);
        assert_eq!(rounds(None, &record(13, true), 1), 5);
        // One is always run.
        assert_eq!(rounds(None, &record(500, false), 1), 1);
        let twice = |in_turns| {
            let mut record = record(10, in_turns);
            record.trials.push(record.trials[0].clone());
            rounds(None, &record, 2)
        };
        assert_eq!((twice(true), twice(false)), (6, 3));
    }

    #[test]
    fn what_is_compared_with_nothing_has_one_trial() {
        let mut record = record(1, false);
        record.scenario.run.transports = vec![Transport::Sse];
        assert_eq!(rounds(None, &record, 1), 1);
    }

    #[test]
    fn intervals_are_those_of_the_looks_so_far() {
        let mut stopping = Stopping::new(&record(1, true).scenario);
        let mut looks = Vec::new();
        for _ in 0..11 {
            looks.push(stopping.look().expect("no number was asked for"));
            stopping.ends_round(&record(1, true), 1);
        }
        // Round 5 is the first look and 10 the second.
        assert_eq!(looks, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]);
    }
}
