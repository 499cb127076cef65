//! Two independent sets of trials. In: one number for each trial of either, in no relation to each
//! other (two runs, made at different times). Out: their difference or ratio with an interval.
//!
//! Where trials ran next to each other, [`ratio`](super::ratio) pairs them, which is the sharper
//! tool: what changed for both drops out there, and is noise here.

use super::decision::{Decision, MAX_MORE_TRIALS, POWER, by_interval};
use super::ratio::positive;
use super::student;

/// Fewer values on a side give no interval; the same bound as for pairs.
pub const MIN_TRIALS: usize = super::ratio::MIN_PAIRS;

/// Two means held against each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Welch {
    /// Mean of `a` less mean of `b`.
    pub difference: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
    /// Confidence of the interval, in (0, 1).
    pub confidence: f64,
    /// Two-sided p-value of "the means are equal", corrected for nothing.
    pub p_value: f64,
    /// Trials of either side.
    pub n: [u32; 2],
    /// Standard deviation (n - 1) of either side.
    pub sd: [f64; 2],
}

/// Standard error and degrees of freedom of a difference of means (Welch 1947, *The Generalization
/// of "Student's" Problem when Several Different Population Variances are Involved*, Biometrika 34;
/// the degrees after Satterthwaite 1946). A spread of 0 on both sides has as many degrees as the
/// pooled test would.
fn error(sd: [f64; 2], n: [f64; 2]) -> (f64, f64) {
    let part = [sd[0] * sd[0] / n[0], sd[1] * sd[1] / n[1]];
    let sum = part[0] + part[1];
    let below = part[0] * part[0] / (n[0] - 1.0) + part[1] * part[1] / (n[1] - 1.0);
    let freedom = sum * sum / below;
    let freedom = if freedom.is_finite() {
        freedom
    } else {
        n[0] + n[1] - 2.0
    };
    (sum.sqrt(), freedom)
}

/// Welch's t-test of two independent sets of values.
///
/// `None` where either has fewer than [`MIN_TRIALS`] values or one that is not finite, or where
/// `confidence` is not in (0, 1). Where neither side varies, the interval has no width, and the
/// p-value is 1 for equal means, else 0.
pub fn welch(a: &[f64], b: &[f64], confidence: f64) -> Option<Welch> {
    let usable = |v: &[f64]| v.len() >= MIN_TRIALS && v.iter().all(|v| v.is_finite());
    let level = confidence > 0.0 && confidence < 1.0;
    if !(usable(a) && usable(b) && level) {
        return None;
    }
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let square: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (mean, (square / (n - 1.0)).sqrt())
    };
    let ((mean_a, sd_a), (mean_b, sd_b)) = (moments(a), moments(b));
    let (difference, sd) = (mean_a - mean_b, [sd_a, sd_b]);
    let (error, freedom) = error(sd, [a.len() as f64, b.len() as f64]);
    let p_value = if error > 0.0 {
        student::two_sided_p(difference / error, freedom)?
    } else {
        f64::from(difference == 0.0)
    };
    let half = student::critical(1.0 - confidence, freedom)? * error;
    let found = Welch {
        difference,
        low: difference - half,
        high: difference + half,
        confidence,
        p_value,
        n: [u32::try_from(a.len()).ok()?, u32::try_from(b.len()).ok()?],
        sd,
    };
    // Values near the end of all doubles have no sum.
    (found.low.is_finite() && found.high.is_finite()).then_some(found)
}

/// How many times as large one thing is as another, from independent trials.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnpairedRatio {
    /// Ratio of the geometric means; 1.1 reads "10% more".
    pub ratio: f64,
    /// Lower end of its interval, above 0.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
    /// What it was drawn from: the natural logarithms.
    pub logs: Welch,
}

/// How many times as large `a` is as `b`: [`welch`] on the logarithms (for ratios of benchmarks on
/// the log scale, Fleming and Wallace 1986, CACM 29). The unit of the values cancels.
///
/// `None` where [`welch`] has none, or for a value that is not above 0.
pub fn unpaired_log_ratio(a: &[f64], b: &[f64], confidence: f64) -> Option<UnpairedRatio> {
    let logs = |values: &[f64]| -> Option<Vec<f64>> {
        let log = |v: &f64| (v.is_finite() && *v > 0.0).then(|| v.ln());
        values.iter().map(log).collect()
    };
    let logs = welch(&logs(a)?, &logs(b)?, confidence)?;
    Some(UnpairedRatio {
        ratio: positive(logs.difference.exp()),
        low: positive(logs.low.exp()),
        high: positive(logs.high.exp()),
        logs,
    })
}

/// [`decide`](super::decide) for independent trials: the same two tests, with the standard error of
/// two sides. `more_trials` is the number that *each* side would need beyond what it has.
pub fn decide_unpaired(ratio: &UnpairedRatio, smallest_effect: f64) -> Decision {
    by_interval(ratio.low, ratio.high, smallest_effect).unwrap_or_else(|| Decision::Undecided {
        more_trials: more_trials(&ratio.logs, smallest_effect),
    })
}

/// The fewest more trials of each side at which either test would reject with a probability of
/// [`POWER`] (Julious 2004, sections 2 and 5, with Satterthwaite's degrees of freedom).
fn more_trials(logs: &Welch, smallest_effect: f64) -> Option<u32> {
    let (mean, margin) = (logs.difference.abs(), smallest_effect.max(0.0).ln_1p());
    let decides = |more: u32| -> Option<bool> {
        let n = logs.n.map(|n| f64::from(n) + f64::from(more));
        let (error, freedom) = error(logs.sd, n);
        let level = student::critical(1.0 - logs.confidence, freedom)?;
        let different = level + student::quantile(POWER, freedom)?;
        let same = level + student::quantile(1.0 - (1.0 - POWER) / 2.0, freedom)?;
        Some(mean >= different * error || margin - mean >= same * error)
    };
    if !decides(MAX_MORE_TRIALS)? {
        return None;
    }
    let (mut too_few, mut enough) = (0, MAX_MORE_TRIALS);
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if decides(middle)? {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Some(enough)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::stats::simulate::normal;
    use pushbench_protocol::payload::SplitMix64;

    const A: [f64; 6] = [10.2, 11.1, 9.8, 10.7, 10.4, 11.5];
    const B: [f64; 7] = [9.9, 10.2, 9.9, 9.8, 10.1, 10.3, 9.5];

    #[test]
    fn means_of_independent_trials_have_their_known_answers() {
        // scipy.stats.ttest_ind(A, B, equal_var=False) and its confidence_interval; SciPy 1.17.
        let found = welch(&A, &B, 0.95).expect("enough values");
        assert!((found.difference - 0.659_523_809_523_808_1).abs() < 1e-12);
        assert!((found.p_value - 0.047_769_542_201_153_585).abs() < 1e-10);
        assert!((found.low - 0.008_679_991_524_773_834).abs() < 1e-10);
        assert!((found.high - 1.310_367_627_522_842_4).abs() < 1e-10);
    }

    #[test]
    fn unpaired_ratios_have_their_known_answers() {
        // The same on numpy.log of both, the interval under exp.
        for (confidence, low, high) in [
            (0.95, 1.001_688_027_612_933_2, 1.132_474_131_459_694_9),
            (
                1.0 - 0.05 / 3.0,
                0.981_906_211_686_583_2,
                1.155_289_339_819_981_3,
            ),
        ] {
            let found = unpaired_log_ratio(&A, &B, confidence).expect("enough values");
            assert!((found.ratio - 1.065_075_480_454_099_8).abs() < 1e-12);
            assert!((found.low - low).abs() < 1e-10, "{}", found.low);
            assert!((found.high - high).abs() < 1e-10, "{}", found.high);
            assert!((found.logs.p_value - 0.045_470_123_729_210_21).abs() < 1e-10);
            assert_eq!(found.logs.n, [6, 7]);
        }
    }

    #[test]
    fn the_number_of_more_trials_has_its_known_answers() {
        // The smallest k by counting up with scipy.stats.t.ppf: k more on each side.
        for (mean, sd, n, confidence, expected) in [
            (0.04, [0.05, 0.03], [5, 5], 0.95, Some(13)),
            (0.0, [0.05, 0.05], [5, 7], 0.95, Some(18)),
            (-0.03, [0.1, 0.02], [10, 6], 1.0 - 0.01 / 3.0, Some(159)),
            (0.0244, [0.8, 0.1], [10, 10], 0.95, None),
        ] {
            let logs = Welch {
                difference: mean,
                low: f64::NAN,
                high: f64::NAN,
                confidence,
                p_value: 0.5,
                n,
                sd,
            };
            let ratio = UnpairedRatio {
                ratio: f64::exp(mean),
                low: 0.9,
                high: 1.2,
                logs,
            };
            let more_trials = expected;
            let found = decide_unpaired(&ratio, 0.05);
            assert_eq!(found, Decision::Undecided { more_trials }, "{mean} {sd:?}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_few_gives_no_answer() {
        assert_eq!(welch(&A[..4], &B, 0.95), None);
        assert_eq!(welch(&A, &B[..4], 0.95), None);
        for bad in [f64::NAN, f64::INFINITY] {
            let mut a = A;
            a[2] = bad;
            assert_eq!(welch(&a, &B, 0.95), None);
            assert_eq!(welch(&A, &B, bad), None);
        }
        assert_eq!(welch(&[f64::MAX; 5], &[-f64::MAX; 5], 0.95), None);
        let zero = [0.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(unpaired_log_ratio(&zero, &A, 0.95), None);
    }

    #[test]
    fn values_that_do_not_vary_give_an_interval_without_width() {
        let same = unpaired_log_ratio(&[2.0; 5], &[2.0; 6], 0.99).expect("enough values");
        assert_eq!((same.low, same.high, same.logs.p_value), (1.0, 1.0, 1.0));
        assert_eq!(
            decide_unpaired(&same, 0.05),
            Decision::Same { differs: false }
        );
        let more = unpaired_log_ratio(&[3.0; 5], &[2.0; 5], 0.99).expect("enough values");
        assert_eq!((more.low, more.high), (more.ratio, more.ratio));
        assert_eq!(more.logs.p_value, 0.0);
    }

    #[test]
    fn intervals_of_sides_that_vary_differently_cover_the_truth_as_often_as_they_say() {
        let mut random = SplitMix64::new(5);
        let runs = 2_000;
        let mut covered = 0;
        for _ in 0..runs {
            let mut draw = |n: usize, factor: f64, sd: f64| -> Vec<f64> {
                (0..n)
                    .map(|_| factor * (sd * normal(&mut random)).exp())
                    .collect()
            };
            let (a, b) = (draw(5, 1.1, 0.15), draw(8, 1.0, 0.03));
            let found = unpaired_log_ratio(&a, &b, 0.95).expect("enough values");
            covered += usize::from(found.low <= 1.1 && 1.1 <= found.high);
        }
        // Three standard errors of a proportion over 2,000 runs: 0.015.
        assert!((f64::from(covered as u32) / f64::from(runs) - 0.95).abs() < 0.015);
    }
}
