//! What a comparison says. In: a ratio with its interval and the smallest effect that matters. Out:
//! *different*, *same* or *undecided*.
//!
//! *Not different* is not *same*: both are claims, each needs its own test, and where neither can
//! be made the answer is *undecided*.

use super::ratio::Ratio;
use super::student;

/// The effect below which a difference is of no use to anybody, unless a scenario says otherwise.
pub const SMALLEST_EFFECT: f64 = 0.05;

/// More pairs of trials than this are no advice: at a minute a trial, they take more than a day.
pub const MAX_MORE_TRIALS: u32 = 1_000;

/// How likely the trials advised are to decide.
pub const POWER: f64 = 0.8;

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The interval excludes 1 and is not [`Decision::Same`].
    Different {
        /// The whole interval lies beyond the smallest effect that matters, so the difference is
        /// not only there but surely large enough to matter.
        beyond_smallest_effect: bool,
    },
    /// The whole interval lies within the smallest effect that matters, on either side.
    Same {
        /// The interval nevertheless excludes 1: there is a difference, and it does not matter.
        differs: bool,
    },
    /// The interval holds 1 and also an effect that matters.
    Undecided {
        /// How many more pairs of trials would decide with a probability of about [`POWER`], if
        /// ratio and spread are as seen so far; `None` above [`MAX_MORE_TRIALS`].
        more_trials: Option<u32>,
    },
}

/// Decides on `ratio`, whose interval is already corrected for the number of comparisons.
/// `smallest_effect` is relative and above 0 (0.05: 5%); for any other nothing is ever the same.
///
/// *Different* is the two-sided test of "the ratio is 1" at `1 - ratio.confidence`. *Same* is the
/// two one-sided tests procedure (Schuirmann 1987, *A comparison of the two one-sided tests
/// procedure and the power approach*, J. Pharmacokinet. Biopharm. 15) of "the ratio lies outside
/// [1/(1+d), 1+d]"; that procedure would be content with an interval of the confidence `1 - 2α`,
/// and one interval of `1 - α` for both claims is the stricter. Where both hold the answer is
/// *same*: no difference that matters.
///
/// The number of more trials follows Julious 2004 (*Sample sizes for clinical trials with normal
/// data*, Statist. Med. 23, sections 2 and 5), with t quantiles in place of normal ones. A ratio
/// that is not finite is undecided.
pub fn decide(ratio: &Ratio, smallest_effect: f64) -> Decision {
    by_interval(ratio.low, ratio.high, smallest_effect).unwrap_or_else(|| Decision::Undecided {
        more_trials: more_trials(ratio, margin(smallest_effect).ln_1p()),
    })
}

fn margin(smallest_effect: f64) -> f64 {
    if smallest_effect.is_finite() {
        smallest_effect.max(0.0)
    } else {
        0.0
    }
}

/// What an interval of a ratio says by where it lies; `None` where that is nothing.
pub(super) fn by_interval(low: f64, high: f64, smallest_effect: f64) -> Option<Decision> {
    let d = margin(smallest_effect);
    let (least, most) = (1.0 / (1.0 + d), 1.0 + d);
    let differs = low > 1.0 || high < 1.0;
    if low > least && high < most {
        Some(Decision::Same { differs })
    } else if differs {
        Some(Decision::Different {
            beyond_smallest_effect: low > most || high < least,
        })
    } else {
        None
    }
}

/// The fewest more trials at which either test would reject with a probability of [`POWER`].
fn more_trials(ratio: &Ratio, margin: f64) -> Option<u32> {
    let mean = ratio.ratio.ln().abs();
    let decides = |trials: u32| -> Option<bool> {
        let error = ratio.sd_log / f64::from(trials).sqrt();
        let freedom = f64::from(trials) - 1.0;
        let level = student::critical(1.0 - ratio.confidence, freedom)?;
        let different = level + student::quantile(POWER, freedom)?;
        // Both of the one-sided tests must reject, so each may fail half as often.
        let same = level + student::quantile(1.0 - (1.0 - POWER) / 2.0, freedom)?;
        Some(mean >= different * error || margin - mean >= same * error)
    };
    let most = ratio.n.checked_add(MAX_MORE_TRIALS)?;
    if !decides(most)? {
        return None;
    }
    // More trials always decide better, so bisect.
    let (mut too_few, mut enough) = (ratio.n, most);
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if decides(middle)? {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Some(enough - ratio.n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::stats::ratio::paired_log_ratio;
    use crate::analysis::stats::simulate::normal;
    use pushbench_protocol::payload::SplitMix64;

    fn interval(low: f64, high: f64) -> Ratio {
        Ratio {
            ratio: (low * high).sqrt(),
            low,
            high,
            confidence: 0.95,
            p_value: 0.5,
            n: 5,
            freedom: 4.0,
            sd_log: 0.05,
        }
    }

    #[test]
    fn an_interval_decides_by_where_it_lies() {
        let different = |beyond_smallest_effect| Decision::Different {
            beyond_smallest_effect,
        };
        for (low, high, expected) in [
            (1.08, 1.12, different(true)),
            (0.80, 0.90, different(true)),
            (1.02, 1.12, different(false)),
            (0.90, 0.99, different(false)),
            (0.97, 1.04, Decision::Same { differs: false }),
            (1.01, 1.04, Decision::Same { differs: true }),
            (0.96, 0.99, Decision::Same { differs: true }),
            (1.00, 1.00, Decision::Same { differs: false }),
        ] {
            assert_eq!(
                decide(&interval(low, high), 0.05),
                expected,
                "[{low}, {high}]"
            );
        }
        // 1/1.05 is 0.9524, so 0.9523 is outside and 0.9525 is inside.
        let undecided = |ratio| matches!(decide(&ratio, 0.05), Decision::Undecided { .. });
        assert!(undecided(interval(0.9523, 1.01)));
        assert!(!undecided(interval(0.9525, 1.01)));
        assert!(undecided(interval(0.99, 1.0501)));
    }

    #[test]
    fn the_number_of_more_trials_has_its_known_answers() {
        // The smallest N above n, found by counting up with scipy.stats.t.ppf (SciPy 1.17), with
        // |m| >= (t[1-α/2] + t[0.8]) sd/√N or ln(1.05) - |m| >= (t[1-α/2] + t[0.9]) sd/√N, less n.
        for (mean, sd_log, n, confidence, expected) in [
            (0.04, 0.05, 5, 0.95, Some(10)),
            (0.0, 0.05, 5, 0.95, Some(9)),
            (0.024, 0.1, 10, 0.95, Some(129)),
            (-0.0244, 0.2, 10, 0.95, Some(520)),
            (0.1, 0.2, 5, 1.0 - 0.05 / 3.0, Some(40)),
            (0.0244, 0.8, 10, 0.95, None),
        ] {
            let ratio = Ratio {
                ratio: f64::exp(mean),
                n,
                freedom: f64::from(n) - 1.0,
                sd_log,
                ..interval(0.9, 1.2)
            };
            let ratio = ratio.at(confidence).expect("an interval");
            let more_trials = expected;
            assert_eq!(decide(&ratio, 0.05), Decision::Undecided { more_trials });
        }
    }

    #[test]
    fn what_is_no_number_is_undecided_or_never_the_same() {
        let none = Decision::Undecided { more_trials: None };
        assert_eq!(decide(&interval(f64::NAN, f64::NAN), 0.05), none);
        assert_eq!(decide(&interval(0.0, f64::INFINITY), 0.05), none);
        for smallest in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let found = decide(&interval(0.99, 1.01), smallest);
            assert!(matches!(found, Decision::Undecided { .. }), "{smallest}");
            let found = decide(&interval(1.02, 1.03), smallest);
            assert!(matches!(found, Decision::Different { .. }), "{smallest}");
        }
        let odd = Ratio {
            n: u32::MAX,
            ..interval(0.9, 1.1)
        };
        assert_eq!(decide(&odd, 0.05), none);
        let odd = Ratio {
            n: 0,
            confidence: 7.0,
            ..interval(0.9, 1.1)
        };
        assert_eq!(decide(&odd, 0.05), none);
    }

    fn decisions(ratio: f64, sd: f64, pairs: usize, runs: usize, seed: u64) -> [usize; 3] {
        let mut random = SplitMix64::new(seed);
        let mut counts = [0; 3];
        for _ in 0..runs {
            let a: Vec<f64> = (0..pairs)
                .map(|_| ratio * (sd * normal(&mut random)).exp())
                .collect();
            let found = paired_log_ratio(&a, &vec![1.0; pairs], 0.95).expect("enough pairs");
            counts[match decide(&found, 0.05) {
                Decision::Different { .. } => 0,
                Decision::Same { .. } => 1,
                Decision::Undecided { .. } => 2,
            }] += 1;
        }
        counts
    }

    #[test]
    fn the_trials_advised_decide_four_times_in_five() {
        // The first two known answers above: 5 and 10 more, 5 and 9 more.
        let [different, same, undecided] = decisions(f64::exp(0.04), 0.05, 15, 600, 1);
        assert!((450..=540).contains(&different), "{different} {same}");
        assert!(undecided < 150);
        let [different, same, _] = decisions(1.0, 0.05, 14, 600, 2);
        assert!((430..=540).contains(&same), "{same}");
        assert!(different <= 30, "{different}");
    }

    #[test]
    fn an_effect_at_the_margin_is_seldom_called_the_same() {
        let [_, same, _] = decisions(1.05, 0.02, 8, 2_000, 3);
        // TOST with a 95% interval errs at most 2.5% of the time; three standard errors are 1%.
        assert!(same <= 70, "{same}");
    }
}
