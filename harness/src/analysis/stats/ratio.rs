//! Two transports over interleaved trials. In: one number for each trial of either, paired by
//! round. Out: their ratio with an interval.

use super::student;

/// Fewer pairs give no interval: with 2 degrees of freedom a t-interval is wider than any
/// difference of interest, and a bootstrap of 3 undercovers.
pub const MIN_PAIRS: usize = 5;

/// How many times as large one thing is as another, with an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The geometric mean of the ratios of the pairs; 1.1 reads "10% more".
    pub ratio: f64,
    /// Lower end of the interval, above 0.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Confidence of the interval, in (0, 1).
    pub confidence: f64,
    /// Two-sided p-value of "the ratio is 1", corrected for nothing.
    pub p_value: f64,
    /// Pairs.
    pub n: u32,
    /// Degrees of freedom of the interval.
    pub freedom: f64,
    /// Standard deviation (n - 1) of the natural logarithms of the pairs' ratios.
    pub sd_log: f64,
}

impl Ratio {
    /// The same ratio with an interval of another confidence, in (0, 1); `None` for a confidence
    /// that has no interval.
    pub fn at(self, confidence: f64) -> Option<Self> {
        if !(confidence > 0.0 && confidence < 1.0) {
            return None;
        }
        let n = f64::from(self.n);
        let half = student::critical(1.0 - confidence, self.freedom)? * self.sd_log / n.sqrt();
        let mean = self.ratio.ln();
        Some(Self {
            low: positive((mean - half).exp()),
            high: positive((mean + half).exp()),
            confidence,
            ..self
        })
    }
}

/// A ratio beyond all doubles is the last of them, so that a record can hold it.
pub(super) fn positive(ratio: f64) -> f64 {
    ratio.clamp(f64::MIN_POSITIVE, f64::MAX)
}

/// How many times as large `a` is as `b`, where `a[i]` and `b[i]` were measured next to each other:
/// the paired t-test on the logarithms of `a[i] / b[i]` (Student 1908, *The Probable Error of a
/// Mean*, Biometrika 6, section IX; for ratios of benchmarks on the log scale, Fleming and Wallace
/// 1986, *How not to lie with statistics*, CACM 29). The unit of the values cancels.
///
/// `None` where the two differ in length, have fewer than [`MIN_PAIRS`] values or hold a value that
/// is not finite and above 0 (a pair is never dropped in silence: who calls must say which trials
/// are left out), or where `confidence` is not in (0, 1). Where all pairs have one ratio, the
/// interval has no width, and the p-value is 1 for a ratio of exactly 1, else 0.
pub fn paired_log_ratio(a: &[f64], b: &[f64], confidence: f64) -> Option<Ratio> {
    let usable = |values: &[f64]| values.iter().all(|v| v.is_finite() && *v > 0.0);
    if a.len() != b.len() || a.len() < MIN_PAIRS || !usable(a) || !usable(b) {
        return None;
    }
    // A difference of logarithms, because the ratio itself may overflow.
    let logs: Vec<f64> = a.iter().zip(b).map(|(a, b)| a.ln() - b.ln()).collect();
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let square: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    let sd_log = (square / (n - 1.0)).sqrt();
    of_logs(mean, sd_log, (logs.len(), n - 1.0), confidence)
}

/// The ratio whose logarithm is estimated by `mean`, from `rounds` of which each alone has an error of
/// `sd_log`: with a t-interval of so many degrees of freedom. `None` where `confidence` is not in (0, 1).
pub(super) fn of_logs(
    mean: f64,
    sd_log: f64,
    (rounds, freedom): (usize, f64),
    confidence: f64,
) -> Option<Ratio> {
    let n = rounds as f64;
    let p_value = if sd_log > 0.0 {
        student::two_sided_p(mean / (sd_log / n.sqrt()), freedom)?
    } else {
        f64::from(mean == 0.0)
    };
    let ratio = Ratio {
        ratio: positive(mean.exp()),
        low: f64::NAN,
        high: f64::NAN,
        confidence,
        p_value,
        n: u32::try_from(rounds).ok()?,
        freedom,
        sd_log,
    };
    ratio.at(confidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::stats::simulate::normal;
    use pushbench_protocol::payload::SplitMix64;

    const A: [f64; 6] = [10.2, 11.1, 9.8, 10.7, 10.4, 11.5];
    const B: [f64; 6] = [9.9, 10.2, 9.9, 9.8, 10.1, 10.3];

    #[test]
    fn paired_ratios_have_their_known_answers() {
        // scipy.stats.ttest_rel(numpy.log(A), numpy.log(B)), its confidence_interval(c) under exp,
        // and numpy.std(log(A / B), ddof=1); SciPy 1.17.
        for (confidence, low, high) in [
            (0.95, 1.007_108_634_611_929_1, 1.108_987_531_477_114_7),
            (
                1.0 - 0.05 / 3.0,
                0.989_083_498_187_573_7,
                1.129_197_808_551_208,
            ),
        ] {
            let found = paired_log_ratio(&A, &B, confidence).expect("six pairs");
            assert!((found.ratio - 1.056_821_138_427_676_9).abs() < 1e-12);
            assert!((found.low - low).abs() < 1e-10);
            assert!((found.high - high).abs() < 1e-10);
            assert!((found.p_value - 0.031_940_902_090_813_086).abs() < 1e-10);
            assert!((found.sd_log - 0.045_912_285_725_604_49).abs() < 1e-12);
            assert_eq!((found.n, found.confidence), (6, confidence));
        }
    }

    #[test]
    fn what_is_no_pair_of_positive_numbers_gives_no_ratio() {
        assert_eq!(paired_log_ratio(&[], &[], 0.95), None);
        assert_eq!(paired_log_ratio(&A[..4], &B[..4], 0.95), None);
        assert_eq!(paired_log_ratio(&A, &B[..5], 0.95), None);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut b = B;
            b[3] = bad;
            assert_eq!(paired_log_ratio(&A, &b, 0.95), None, "{bad}");
            assert_eq!(paired_log_ratio(&A, &B, bad), None, "{bad}");
        }
        assert_eq!(paired_log_ratio(&A, &B, 1.0), None);
    }

    #[test]
    fn equal_pairs_give_an_interval_without_width() {
        let same = paired_log_ratio(&A, &A, 0.95).expect("six pairs");
        assert_eq!((same.low, same.high, same.p_value), (1.0, 1.0, 1.0));
        let double = paired_log_ratio(&[2.0; 5], &[1.0; 5], 0.95).expect("five pairs");
        assert_eq!((double.low, double.high), (double.ratio, double.ratio));
        assert_eq!(double.p_value, 0.0);
        // The ratio of the largest and the smallest number is beyond a double; its logarithm is not.
        let huge = paired_log_ratio(&[f64::MAX; 5], &[f64::MIN_POSITIVE; 5], 0.95);
        assert_eq!(huge.map(|ratio| ratio.ratio), Some(f64::MAX));
    }

    #[test]
    fn intervals_of_five_pairs_cover_the_truth_as_often_as_they_say() {
        let mut random = SplitMix64::new(3);
        let runs = 2_000;
        let (mut covered, mut rejected) = (0, 0);
        for _ in 0..runs {
            // Noise that both of a pair share cancels; what is left has a sd of 7%.
            let (mut a, mut b) = ([0.0; 5], [0.0; 5]);
            for (a, b) in a.iter_mut().zip(&mut b) {
                let shared = 0.5 * normal(&mut random);
                *a = 1.1 * (shared + 0.05 * normal(&mut random)).exp();
                *b = (shared + 0.05 * normal(&mut random)).exp();
            }
            let found = paired_log_ratio(&a, &b, 0.95).expect("five pairs");
            covered += usize::from(found.low <= 1.1 && 1.1 <= found.high);
            let b: Vec<f64> = b.iter().map(|b| b * 1.1).collect();
            let null = paired_log_ratio(&a, &b, 0.95).expect("five pairs");
            rejected += usize::from(null.p_value < 0.05);
            assert_eq!(null.p_value < 0.05, null.low > 1.0 || null.high < 1.0);
        }
        // Three standard errors of a proportion over 2,000 runs: 0.015.
        assert!((covered as f64 / runs as f64 - 0.95).abs() < 0.015);
        assert!((rejected as f64 / runs as f64 - 0.05).abs() < 0.015);
    }
}
