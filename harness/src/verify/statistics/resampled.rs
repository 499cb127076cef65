//! Thousands of runs put together from the rounds of a transport against itself.

use pushbench_protocol::payload::SplitMix64;

use super::{Runner, are_witnesses, word};
use crate::analysis::compare::{CONFIDENCE, of_slices};
use crate::analysis::stats::family::simultaneous;
use crate::analysis::stats::ratio_of_slices;
use crate::metrics::{self, Role};
use crate::record::Trial;

/// Runs put together.
const RUNS: u32 = 10_000;

/// Rounds of each: those of `run quick`, with five transports on two cores.
const ROUNDS: usize = 11;

/// Share of them that may find a difference in any primary metric.
const MOST_DIFFERENT: f64 = 1.0 - CONFIDENCE;

/// The logarithms of the ratios of paired slices of one round, a list for each primary metric.
type Round = Vec<Vec<f64>>;

impl Runner<'_> {
    /// Resamples rounds in which both sides were equal. Which side is which is drawn anew in each, so
    /// that neither is larger, whatever the twenty runs came to.
    pub(super) fn resampled(&self, rounds: &[(Trial, Trial)]) -> bool {
        let kept = rounds.iter().filter(|(a, b)| are_witnesses(a, b));
        let rounds: Vec<Round> = kept.filter_map(|(a, b)| slices(a, b)).collect();
        let different = different(&rounds, RUNS, 1);
        let share = f64::from(different) / f64::from(RUNS);
        let holds = rounds.len() >= ROUNDS && share <= MOST_DIFFERENT;
        self.listener.result(&format!(
            "A/A resampled: {RUNS} runs of {ROUNDS} rounds out of {}: different in {different} ({:.2}%), at \
             most {:.0}% allowed: {}",
            rounds.len(),
            share * 100.0,
            MOST_DIFFERENT * 100.0,
            word(holds)
        ));
        holds
    }
}

fn slices(a: &Trial, b: &Trial) -> Option<Round> {
    let primary = metrics::all().filter(|metric| metric.role == Role::Primary);
    primary
        .map(|metric| of_slices(a, b, metric.in_slice?))
        .collect()
}

/// How many of `runs` find a difference in some metric.
fn different(rounds: &[Round], runs: u32, seed: u64) -> u32 {
    let Some(metrics) = rounds.first().map(Vec::len) else {
        return 0;
    };
    let mut random = SplitMix64::new(seed);
    let level = simultaneous(CONFIDENCE, metrics);
    let mut different = 0;
    for _ in 0..runs {
        let drawn: Vec<(&Round, f64)> = (0..ROUNDS)
            .map(|_| {
                let round = &rounds[random.below(rounds.len() as u64) as usize];
                (round, if random.below(2) == 0 { 1.0 } else { -1.0 })
            })
            .collect();
        let excludes = |metric: usize| {
            let rounds = drawn.iter().map(|(round, sign)| -> Vec<f64> {
                round[metric].iter().map(|log| log * sign).collect()
            });
            let rounds: Vec<Vec<f64>> = rounds.collect();
            ratio_of_slices(&rounds, level).is_some_and(|r| r.low > 1.0 || r.high < 1.0)
        };
        different += u32::from((0..metrics).any(excludes));
    }
    different
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sides_are_seldom_different_and_noise_alone_is_not_taken_for_a_difference() {
        let mut random = SplitMix64::new(5);
        let mut noise = || random.below(1_000) as f64 / 1e4 - 0.05;
        let rounds: Vec<Round> = (0..60)
            .map(|_| vec![(0..8).map(|_| noise()).collect()])
            .collect();
        let found = different(&rounds, 2_000, 3);
        assert!(found <= 40, "{found}");
        assert_eq!(different(&[], 10, 1), 0);
    }

    #[test]
    fn a_side_that_is_always_larger_does_not_make_them_different_as_sides_are_drawn() {
        let round: Round = vec![vec![0.1; 8]];
        let found = different(&vec![round; 30], 2_000, 3);
        // Ten or all of eleven signs alike: 24 in 2,048.
        assert!(found < 40, "{found}");
    }
}
