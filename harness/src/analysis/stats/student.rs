//! Student's t distribution. In: a t value or a probability, and degrees of freedom. Out: the
//! other one. The incomplete beta function is that of `statrs`.
//!
//! Quantiles are found by bisection of [`two_sided_p`] and not by the library's inverse, which has
//! known faults in the tails (statrs issue 435); so a p-value and an interval always agree.

use statrs::function::beta::checked_beta_reg;

/// Above this many degrees of freedom the answer is that for this many: the t distribution is then
/// the normal one to 7 digits, and the incomplete beta function keeps its accuracy.
const MAX_FREEDOM: f64 = 1e7;

/// The probability that a t value with `freedom` degrees of freedom lies at least as far from 0 as
/// `t`, on either side (Abramowitz and Stegun 1964, 26.7.1 and 26.5.27). `None` where `t` is not a
/// number or `freedom` is below 1; 0 for an infinite `t`.
pub fn two_sided_p(t: f64, freedom: f64) -> Option<f64> {
    if t.is_nan() || freedom.is_nan() || freedom < 1.0 {
        return None;
    }
    let freedom = freedom.min(MAX_FREEDOM);
    // The square of a t above 1e150 overflows; the probability is 0 long before, unless `freedom`
    // is 1, where it is then below 1e-150.
    let x = freedom / (freedom + t * t);
    checked_beta_reg(freedom / 2.0, 0.5, x).ok()
}

/// The t value that is exceeded, on either side together, with the probability `alpha`: half the
/// width of an interval of the confidence `1 - alpha`, in standard errors. `None` unless
/// 1e-15 <= `alpha` <= 1 and `freedom` >= 1.
pub fn critical(alpha: f64, freedom: f64) -> Option<f64> {
    if !(1e-15..=1.0).contains(&alpha) {
        return None;
    }
    let mut high = 1.0;
    while two_sided_p(high, freedom)? > alpha {
        high *= 2.0;
    }
    let mut low = 0.0;
    loop {
        let middle = low + (high - low) / 2.0;
        // No double lies between the two.
        if middle <= low || middle >= high {
            return Some(middle);
        }
        if two_sided_p(middle, freedom)? > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// The quantile `p` of the t distribution. `None` unless `p` lies strictly between 0 and 1 (to
/// 1e-15 of either) and `freedom` >= 1.
pub fn quantile(p: f64, freedom: f64) -> Option<f64> {
    if p < 0.5 {
        critical(2.0 * p, freedom).map(|t| -t)
    } else {
        critical(2.0 * (1.0 - p), freedom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: Option<f64>, expected: f64, relative: f64) {
        let found = found.expect("an answer");
        assert!(
            (found - expected).abs() <= relative * expected.abs(),
            "found {found}, expected {expected}"
        );
    }

    #[test]
    fn quantiles_have_their_known_answers() {
        // scipy.stats.t.ppf(p, freedom), SciPy 1.17.
        for (p, freedom, expected) in [
            (0.975, 4.0, 2.776_445_105_197_793_4),
            (0.975, 9.0, 2.262_157_162_798_205),
            (0.8, 2.0, 1.060_660_171_779_821_4),
            (0.995, 4.0, 4.604_094_871_349_992),
            (1.0 - 0.05 / 3.0 / 20.0, 4.0, 7.528_671_412_986_053_5),
            (0.975, 1.0, 12.706_204_736_174_694),
            (0.6, 30.0, 0.255_605_364_951_912_8),
            (0.975, 999.0, 1.962_341_461_133_449_3),
            (1e-6, 7.0, -14.241_469_651_981_445),
            (0.9, 1e6, 1.281_552_412_129_939),
        ] {
            assert_close(quantile(p, freedom), expected, 1e-9);
        }
        assert_eq!(quantile(0.5, 3.0).map(|t| t < 1e-9), Some(true));
    }

    #[test]
    fn p_values_have_their_known_answers() {
        // 2 * scipy.stats.t.sf(abs(t), freedom), SciPy 1.17.
        for (t, freedom, expected) in [
            (2.5, 4.0, 0.066_766_544_811_988_14),
            (-1.0, 9.0, 0.343_436_396_137_913_6),
            (12.0, 6.0, 2.030_740_619_537_319_2e-5),
            (0.0, 3.0, 1.0),
            (50.0, 20.0, 1.753_338_044_924_227_5e-22),
            (1e-3, 5.0, 0.999_240_786_772_197_6),
            (3.0, 1e6, 0.002_699_862_541_421_8),
        ] {
            assert_close(two_sided_p(t, freedom), expected, 1e-9);
        }
    }

    #[test]
    fn what_has_no_answer_is_none() {
        for p in [0.0, 1.0, -1.0, 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(quantile(p, 4.0), None, "{p}");
        }
        for freedom in [0.0, -3.0, f64::NAN] {
            assert_eq!(quantile(0.975, freedom), None);
            assert_eq!(two_sided_p(1.0, freedom), None);
        }
        assert_eq!(two_sided_p(f64::NAN, 4.0), None);
        assert_eq!(two_sided_p(f64::INFINITY, 4.0), Some(0.0));
        assert_eq!(two_sided_p(f64::MAX, 4.0), Some(0.0));
        assert!(critical(1e-15, 1.0).is_some());
        assert!(critical(1e-15, 1e9).is_some());
        // The normal distribution.
        assert_close(quantile(0.975, f64::INFINITY), 1.959_963_984_540_054, 1e-6);
    }
}
