//! Whether publishes arrived as a Poisson process: the Anderson–Darling test for exponential gaps.
//! In: the gaps between publishes. Out: a statistic and a p-value.
//!
//! The test looks at the distribution of the gaps, not at their order, and with a million gaps it
//! sees deviations that harm no measurement: read the p-value together with the statistic over `n`.

/// Fewer gaps are not tested: the published p-values are for larger samples (at 20 they are within
/// 10% of simulated ones), and fewer would hardly reject a regular process.
pub const MIN_GAPS: usize = 20;

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AndersonDarling {
    /// The statistic A², without any correction for `n`.
    pub statistic: f64,
    /// The probability of such a statistic or a larger one where gaps are exponential. From the
    /// rate given: to 1e-4 absolute; from the rate estimated: to 10% relative, and never below
    /// 1e-6.
    pub p_value: f64,
    /// Gaps.
    pub n: usize,
}

/// Tests whether `gaps` are exponential, as those of a Poisson process are (Anderson and Darling
/// 1954, *A Test of Goodness of Fit*, JASA 49).
///
/// `mean` is the expected gap, in the unit of the gaps, where the rate is known beforehand, as that
/// of a schedule is; then the p-value is that of Marsaglia and Marsaglia 2004 (*Evaluating the
/// Anderson–Darling Distribution*, J. Stat. Softw. 9(2)), for the "case 0" of D'Agostino and
/// Stephens 1986 (*Goodness-of-Fit Techniques*, table 4.2), and a wrong rate is found too. With
/// `None` the rate is estimated from the gaps, and the p-value is that of D'Agostino and Stephens
/// for A²(1 + 0.6/n) (section 4.9, beside table 4.14; first in Stephens 1974, *EDF Statistics for
/// Goodness of Fit and Some Comparisons*, JASA 69).
///
/// A gap of 0 is one below the resolution of the clock and counts as half the smallest other gap.
/// `None` for fewer than [`MIN_GAPS`] gaps, for a gap that is negative or not finite, where all
/// gaps are 0, and for a mean that is not finite and above 0.
pub fn exponential_gaps(gaps: &[f64], mean: Option<f64>) -> Option<AndersonDarling> {
    let n = gaps.len();
    if n < MIN_GAPS || !gaps.iter().all(|gap| gap.is_finite() && *gap >= 0.0) {
        return None;
    }
    let mut sorted = gaps.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let resolution = sorted.iter().copied().find(|gap| *gap > 0.0)? / 2.0;
    let scale = mean.unwrap_or(sorted.iter().sum::<f64>() / n as f64);
    if !(scale.is_finite() && scale > 0.0) {
        return None;
    }
    // Gaps of a size beyond all doubles give an infinite statistic, which no record can hold.
    let z = |gap: f64| (gap.max(resolution) / scale).clamp(f64::MIN_POSITIVE, 1e300);
    let sum: f64 = (sorted.iter().zip(sorted.iter().rev()).enumerate())
        .map(|(i, (low, high))| {
            // ln F(low) + ln(1 - F(high)), for F(z) = 1 - exp(-z).
            (2 * i + 1) as f64 * ((-(-z(*low)).exp_m1()).ln() - z(*high))
        })
        .sum();
    let statistic = -(n as f64) - sum / n as f64;
    let p_value = match mean {
        Some(_) => p_rate_known(statistic, n as f64),
        None => p_rate_estimated(statistic * (1.0 + 0.6 / n as f64)),
    };
    Some(AndersonDarling {
        statistic,
        p_value,
        n,
    })
}

/// Marsaglia and Marsaglia 2004: the limit distribution and the correction for `n`, in their
/// coefficients.
fn p_rate_known(a2: f64, n: f64) -> f64 {
    // Beyond 12 all that is left is the rounding of the correction.
    if a2 > 12.0 {
        return 0.0;
    }
    if a2 <= 0.0 {
        return 1.0;
    }
    let limit = if a2 < 2.0 {
        let terms = [
            2.000_12,
            0.247_105,
            -0.064_982_1,
            0.034_796_2,
            -0.011_672_0,
            0.001_686_91,
        ];
        (-1.233_714_1 / a2).exp() / a2.sqrt() * polynomial(&terms, a2)
    } else {
        let terms = [
            1.0776,
            -2.306_95,
            0.434_24,
            -0.082_433,
            0.008_056,
            -0.000_314_6,
        ];
        (-polynomial(&terms, a2).exp()).exp()
    };
    let kink = 0.012_65 + 0.1757 / n;
    let correction = if limit > 0.8 {
        let terms = [
            -130.2137, 745.2337, -1705.091, 1950.646, -1116.360, 255.7844,
        ];
        polynomial(&terms, limit)
    } else if limit < kink {
        let t = limit / kink;
        t.sqrt() * (1.0 - t) * (49.0 * t - 102.0) * (0.0037 / (n * n) + 0.000_78 / n + 0.000_06)
    } else {
        let t = (limit - kink) / (0.8 - kink);
        let terms = [-0.000_226_33, 6.540_34, -14.6538, 14.458, -8.259, 1.918_64];
        polynomial(&terms, t) * (0.042_13 + 0.013_65 / n)
    } / n;
    (1.0 - limit - correction).clamp(0.0, 1.0)
}

/// D'Agostino and Stephens 1986, p-values for the exponential with its rate estimated.
fn p_rate_estimated(a2: f64) -> f64 {
    // The parabola turns beyond 10, where the p-value is below 1e-6.
    let a = a2.clamp(0.0, 9.0);
    let p = if a < 0.26 {
        1.0 - (-12.2204 + 67.459 * a - 110.3 * a * a).exp()
    } else if a < 0.51 {
        1.0 - (-6.1327 + 20.218 * a - 18.663 * a * a).exp()
    } else if a < 0.95 {
        (0.9209 - 3.353 * a + 0.300 * a * a).exp()
    } else {
        (0.731 - 3.009 * a + 0.15 * a * a).exp()
    };
    p.clamp(0.0, 1.0)
}

/// `terms[0] + terms[1] x + terms[2] x² + …`
fn polynomial(terms: &[f64], x: f64) -> f64 {
    terms.iter().rev().fold(0.0, |sum, term| sum * x + term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::stats::simulate::{exponential, park_miller, uniform};
    use pushbench_protocol::payload::SplitMix64;

    /// Fifty gaps with the mean 3: `x = -numpy.log(u[:50]) * 3`.
    fn gaps() -> Vec<f64> {
        park_miller(50).iter().map(|u| -u.ln() * 3.0).collect()
    }

    #[test]
    fn statistics_have_their_known_answers() {
        // SciPy 1.17: scipy.stats.anderson(x, dist="expon").statistic for the rate estimated;
        // goodness_of_fit(expon, x, known_params={"loc": 0, "scale": mean}, statistic="ad")
        // .statistic for the rate known.
        let x = gaps();
        let bent: Vec<f64> = x.iter().map(|x| x.powf(1.25)).collect();
        let even: Vec<f64> = park_miller(50).iter().map(|u| 1.0 + u).collect();
        for (gaps, mean, expected) in [
            (&x, None, 1.324_237_607_990_518_5),
            (&x, Some(3.0), 0.753_107_119_869_419_3),
            (&x, Some(2.0), 4.594_422_522_529_683),
            (&bent, None, 5.466_273_832_285_665),
            (&even, None, 14.785_088_673_077_269),
        ] {
            let found = exponential_gaps(gaps, mean).expect("fifty gaps");
            assert!(
                (found.statistic - expected).abs() < 1e-9,
                "{found:?} {expected}"
            );
            assert_eq!(found.n, 50);
        }
    }

    #[test]
    fn p_values_with_the_rate_known_agree_with_table_and_simulation() {
        // Percentage points of D'Agostino and Stephens 1986, table 4.2, case 0.
        for (a2, p) in [
            (1.248, 0.25),
            (1.610, 0.15),
            (1.933, 0.10),
            (2.492, 0.05),
            (3.070, 0.025),
            (3.880, 0.01),
            (4.5, 0.005),
            (6.0, 0.001),
        ] {
            let found = p_rate_known(a2, 1e6);
            assert!((found - p).abs() < 0.04 * p, "{a2}: {found}");
        }
        // goodness_of_fit as above with 200,000 samples: .pvalue.
        let p = |mean| exponential_gaps(&gaps(), Some(mean)).map(|found| found.p_value);
        assert!((p(3.0).expect("fifty gaps") - 0.514_96).abs() < 0.005);
        assert!((p(2.0).expect("fifty gaps") - 0.004_63).abs() < 0.0005);
    }

    #[test]
    fn p_values_with_the_rate_estimated_agree_with_table_and_simulation() {
        // Percentage points of D'Agostino and Stephens 1986, table 4.14.
        for (a2, p) in [
            (0.736, 0.25),
            (0.916, 0.15),
            (1.062, 0.10),
            (1.321, 0.05),
            (1.591, 0.025),
            (1.959, 0.01),
            (2.244, 0.005),
            (2.534, 0.0025),
        ] {
            let found = p_rate_estimated(a2);
            assert!((found - p).abs() < 0.07 * p, "{a2}: {found}");
        }
        // The share of 200,000 samples of 200 (NumPy 2.4, default_rng(2)) above each value.
        for (a2, p) in [
            (0.3, 0.826),
            (0.5, 0.495),
            (0.9, 0.157),
            (1.959, 0.010_48),
            (3.0, 0.000_935),
        ] {
            assert!((p_rate_estimated(a2) - p).abs() < 0.06 * p, "{a2}");
        }
    }

    #[test]
    fn p_values_fall_as_the_statistic_grows() {
        for p in [|a2| p_rate_known(a2, 50.0), p_rate_estimated] {
            let mut last = 1.0;
            for step in 0..4_000 {
                let now = p(f64::from(step) * 0.01);
                // The pieces of both approximations meet only to some digits.
                assert!(now <= last + 2e-3 && (0.0..=1.0).contains(&now), "{step}");
                last = now;
            }
            assert!(last < 2e-6);
        }
    }

    #[test]
    fn what_cannot_be_tested_is_none() {
        let good = gaps();
        assert_eq!(exponential_gaps(&[], None), None);
        assert_eq!(exponential_gaps(&good[..19], None), None);
        assert_eq!(exponential_gaps(&[0.0; 30], None), None);
        assert_eq!(exponential_gaps(&[f64::MAX; 30], None), None);
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            let mut gaps = good.clone();
            gaps[7] = bad;
            assert_eq!(exponential_gaps(&gaps, None), None);
            assert_eq!(exponential_gaps(&good, Some(bad)), None);
        }
        assert_eq!(exponential_gaps(&good, Some(0.0)), None);
        for mean in [f64::MIN_POSITIVE / 4.0, f64::MAX] {
            let found = exponential_gaps(&good, Some(mean)).expect("fifty gaps");
            assert!(found.statistic.is_finite() && found.p_value == 0.0);
        }
    }

    #[test]
    fn exponential_gaps_pass_as_often_as_they_should() {
        let mut random = SplitMix64::new(4);
        let runs = 2_000;
        let mut rejected = [0; 2];
        for _ in 0..runs {
            let gaps: Vec<f64> = (0..60).map(|_| 5e6 * exponential(&mut random)).collect();
            for (mean, rejected) in [None, Some(5e6)].into_iter().zip(&mut rejected) {
                let found = exponential_gaps(&gaps, mean).expect("sixty gaps");
                *rejected += usize::from(found.p_value < 0.05);
            }
        }
        for rejected in rejected {
            // Three standard errors of a proportion over 2,000 runs: 0.015.
            assert!((rejected as f64 / runs as f64 - 0.05).abs() < 0.015);
        }
    }

    #[test]
    fn regular_uniform_and_bursty_gaps_fail_with_and_without_a_rate() {
        let mut random = SplitMix64::new(5);
        let n = 200;
        let regular = vec![1.0; n];
        let even: Vec<f64> = (0..n).map(|_| 2.0 * uniform(&mut random)).collect();
        // Ten at once, then a pause of ten.
        let bursts: Vec<f64> = (0..n)
            .map(|i| [10.0, 0.0][usize::from(i % 10 > 0)])
            .collect();
        let clumped: Vec<f64> = (0..n)
            .map(|i| [0.1, 5.5][usize::from(i % 6 == 0)] * exponential(&mut random))
            .collect();
        for gaps in [regular, even, bursts, clumped] {
            for mean in [None, Some(1.0)] {
                let found = exponential_gaps(&gaps, mean).expect("enough gaps");
                assert!(found.p_value < 0.001, "{found:?}");
            }
        }
        let fast: Vec<f64> = (0..n).map(|_| 0.7 * exponential(&mut random)).collect();
        assert!(exponential_gaps(&fast, Some(1.0)).is_some_and(|found| found.p_value < 0.001));
        assert!(exponential_gaps(&fast, None).is_some_and(|found| found.p_value > 0.01));
    }

    #[test]
    fn a_few_gaps_below_the_clocks_resolution_do_not_fail_the_rest() {
        let mut random = SplitMix64::new(6);
        let gaps: Vec<f64> = (0..100_000)
            .map(|_| (10_000.0 * exponential(&mut random)).floor())
            .collect();
        assert!(gaps.contains(&0.0));
        let found = exponential_gaps(&gaps, Some(10_000.0)).expect("enough gaps");
        assert!(found.p_value > 0.01, "{found:?}");
    }
}
