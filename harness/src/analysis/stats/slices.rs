//! Trials that took turns. In: for each round, how many times as large one thing is as another in each pair
//! of slices. Out: their ratio with an interval.

use super::ratio::{MIN_PAIRS, Ratio, of_logs};

/// Share of the pairs that is left out at each end at most. What disturbs a machine for some ms spoils the p99 of
/// one slice in four or five, on either side.
pub const TRIMMED: f64 = 0.3;

/// Least share.
const LEAST_TRIMMED: f64 = 0.1;

/// Fewest pairs of a round.
const MIN_SLICES: usize = 4;

/// `ln(a[i] / b[i])` of each block, where slice `i` of both belongs to the same one.
///
/// A block in which either has no number above 0 is left out. `None` where the two differ in length, or
/// fewer than 4 blocks, or fewer than half of them, are left.
pub fn paired_slices(a: &[Option<f64>], b: &[Option<f64>]) -> Option<Vec<f64>> {
    if a.len() != b.len() {
        return None;
    }
    let log = |value: &Option<f64>| value.filter(|v| v.is_finite() && *v > 0.0).map(f64::ln);
    let pairs = a.iter().zip(b);
    let logs: Vec<f64> = pairs.filter_map(|(a, b)| Some(log(a)? - log(b)?)).collect();
    (logs.len() >= MIN_SLICES && logs.len() * 2 >= a.len()).then_some(logs)
}

/// How many times as large one thing is as another, from the logarithms of the ratios of paired slices
/// in each of several rounds: the exponential of their mean with up to three tenths left out at each end, over
/// the slices of all rounds (the *trimmed mean*; Tukey and McLaughlin 1963, *Less Vulnerable Confidence and
/// Significance Procedures for Location*, Sankhyā A 25). A slice in which the machine was taken away for
/// some ms is one of those left out, whichever side it hit.
///
/// The slices of a round share their processes, so rounds are what the interval counts: the influence
/// of each slice on the trimmed mean (its Winsorised deviation over the share that is kept; Huber 1981,
/// *Robust Statistics*, section 3.3) is added up by round, and the spread of these sums gives a t-interval
/// with two degrees of freedom less than rounds (Liang and Zeger 1986, *Longitudinal Data Analysis Using
/// Generalized Linear Models*, Biometrika 73). Two and not one, as what is left out is estimated, too.
///
/// Where slices of a round resemble each other far more than those of others, what would be left out are
/// whole rounds: the more they do, the less is left out, down to a tenth.
///
/// `None` with fewer than 5 rounds, a round of fewer than 4 slices, or a `confidence` outside (0, 1).
pub fn ratio_of_slices(rounds: &[Vec<f64>], confidence: f64) -> Option<Ratio> {
    let is_short = |round: &Vec<f64>| round.len() < MIN_SLICES;
    if rounds.len() < MIN_PAIRS || rounds.iter().any(is_short) {
        return None;
    }
    let alike = trimmed(rounds, TRIMMED)?.alike;
    let Trimmed { mean, sd, .. } = trimmed(rounds, (TRIMMED * (1.0 - alike)).max(LEAST_TRIMMED))?;
    let freedom = rounds.len() as f64 - 2.0;
    of_logs(mean, sd, (rounds.len(), freedom), confidence)
}

/// A trimmed mean over the slices of rounds.
struct Trimmed {
    mean: f64,
    /// The error that it would have with a single round.
    sd: f64,
    /// How much more alike the slices of a round are than those of several: 0 where they are no more alike, 1
    /// where they are all the same (the intraclass correlation of Winsorised values, from the design
    /// effect; Kish 1965, *Survey Sampling*, section 5.4).
    alike: f64,
}

fn trimmed(rounds: &[Vec<f64>], share: f64) -> Option<Trimmed> {
    let mut all: Vec<f64> = rounds.concat();
    all.sort_unstable_by(f64::total_cmp);
    let cut = (all.len() as f64 * share) as usize;
    let kept = &all[cut..all.len() - cut];
    let (least, most) = (*kept.first()?, *kept.last()?);
    let winsorised = |round: &[f64]| -> Vec<f64> {
        let round = round.iter();
        // Not 'clamp', which panics where a bound is no number.
        round.map(|log| log.max(least).min(most)).collect()
    };
    let rounds: Vec<Vec<f64>> = rounds.iter().map(|round| winsorised(round)).collect();
    let (n, slices) = (rounds.len() as f64, all.len() as f64);
    let middle = rounds.iter().flatten().sum::<f64>() / slices;
    let sum_of = |round: &Vec<f64>| round.iter().map(|log| log - middle).sum::<f64>();
    let by_round: f64 = rounds.iter().map(|round| sum_of(round).powi(2)).sum();
    let by_slice: f64 = rounds
        .iter()
        .flatten()
        .map(|log| (log - middle).powi(2))
        .sum();
    let of_round = slices / n;
    let alike = match by_slice > 0.0 {
        true => (by_round / by_slice - 1.0) / (of_round - 1.0),
        false => 0.0,
    };
    Some(Trimmed {
        mean: kept.iter().sum::<f64>() / kept.len() as f64,
        // So that the mean of the rounds' influences is the error of the trimmed mean.
        sd: n / kept.len() as f64 * (by_round / (n - 1.0)).sqrt(),
        alike: alike.clamp(0.0, 1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::stats::simulate::normal;
    use pushbench_protocol::payload::SplitMix64;

    fn some(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().copied().map(Some).collect()
    }

    #[test]
    fn blocks_without_a_number_are_left_out_and_too_few_are_no_round() {
        let b = some(&[1.0; 6]);
        let mut a = some(&[2.0; 6]);
        (a[0], a[1]) = (None, Some(0.0));
        assert_eq!(paired_slices(&a, &b), Some(vec![2.0_f64.ln(); 4]));
        a[2] = Some(f64::NAN);
        assert_eq!(paired_slices(&a, &b), None);
        assert_eq!(paired_slices(&b, &b[..5]), None);
        assert_eq!(paired_slices(&[], &[]), None);
    }

    #[test]
    fn what_both_slices_of_a_block_share_drops_out() {
        let noise = [1.0, 3.0, 0.5, 7.0, 2.0];
        let a: Vec<f64> = noise.iter().map(|n| n * 1.25).collect();
        let logs = paired_slices(&some(&a), &some(&noise)).expect("enough pairs");
        let found = ratio_of_slices(&vec![logs; 5], 0.99).expect("five rounds");
        assert!((found.ratio - 1.25).abs() < 1e-12 && found.high - found.low < 1e-12);
    }

    #[test]
    fn the_ratio_of_slices_has_its_known_answer() {
        // scipy.stats.trim_mean(x, 0.3) under exp; the spread by hand, with
        // scipy.stats.mstats.winsorize(x, (0.3, 0.3)): sums of its rounds less their mean, times 5 / 8,
        // and numpy's std of them with ddof = 1.
        let rounds = [
            vec![0.10, 0.12, 0.11, 0.90],
            vec![0.09, 0.13, 0.08, 0.12],
            vec![0.15, 0.10, 0.14, 0.11],
            vec![0.07, 0.12, -2.0, 0.10],
            vec![0.13, 0.11, 0.12, 0.16],
        ];
        let found = ratio_of_slices(&rounds, 0.95).expect("five rounds");
        assert!(
            (found.ratio.ln() - MEAN).abs() < 1e-12,
            "{}",
            found.ratio.ln()
        );
        assert!((found.sd_log - SPREAD).abs() < 1e-12, "{}", found.sd_log);
        assert_eq!(found.n, 5);
        assert_eq!(ratio_of_slices(&rounds[..4], 0.95), None);
        assert_eq!(ratio_of_slices(&rounds, 1.0), None);
        let mut short = rounds.to_vec();
        short[2].pop();
        assert_eq!(ratio_of_slices(&short, 0.95), None);
    }

    const MEAN: f64 = 0.113_75;
    const SPREAD: f64 = 0.011_353_688_827_865_588;

    /// Slices that share the luck of their round, of which some were disturbed by far more than what is to
    /// be told apart.
    #[test]
    fn intervals_of_rounds_of_disturbed_slices_cover_the_truth_as_often_as_they_say() {
        let mut random = SplitMix64::new(7);
        let runs = 2_000;
        for (rounds, slices, luck_sd, slice_sd, disturbed_of_10) in [
            (5, 8, 0.04, 0.1, 2),
            (12, 8, 0.04, 0.1, 2),
            (12, 4, 0.04, 0.1, 2),
            (12, 8, 0.0, 0.15, 4),
            (12, 8, 0.1, 0.02, 0),
            (5, 8, 0.1, 0.02, 0),
        ] {
            let mut covered = 0;
            for _ in 0..runs {
                let all: Vec<Vec<f64>> = (0..rounds)
                    .map(|_| {
                        let luck = luck_sd * normal(&mut random);
                        let mut slice = || {
                            let disturbed = match random.below(10) {
                                n if n >= disturbed_of_10 => 0.0,
                                n if n % 2 == 0 => 1.5,
                                _ => -1.5,
                            };
                            0.1 + luck + slice_sd * normal(&mut random) + disturbed
                        };
                        (0..slices).map(|_| slice()).collect()
                    })
                    .collect();
                let found = ratio_of_slices(&all, 0.95).expect("enough rounds");
                let truth = 0.1_f64.exp();
                covered += u32::from(found.low <= truth && truth <= found.high);
            }
            // Three standard errors of a proportion over 2,000 runs are 0.015; above, few rounds are on the
            // safe side, as they have one degree of freedom less.
            let share = f64::from(covered) / f64::from(runs);
            assert!(
                (0.935..=0.99).contains(&share),
                "{rounds}×{slices}: {share}"
            );
        }
    }
}
