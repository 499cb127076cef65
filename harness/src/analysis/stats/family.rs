//! Several comparisons at once, corrected for their number. In: p-values, or the pairs of trials of
//! every metric. Out: p-values and intervals that hold for all of them together.
//!
//! The correction is for the comparisons that were planned: one that could not be made still
//! counts, so that the outcome of one cannot loosen the others.

use super::ratio::Ratio;

/// One comparison of a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// The ratio; its interval is at the level of the family (see [`simultaneous`]), its p-value is
    /// its own.
    pub ratio: Ratio,
    /// The p-value after [`holm`].
    pub p_adjusted: f64,
}

/// Holm's adjusted p-values (Holm 1979, *A Simple Sequentially Rejective Multiple Test Procedure*,
/// Scand. J. Statist. 6): rejecting all that are at most α rejects a true hypothesis anywhere in
/// the family with a probability of at most α, whatever their dependence. A `None`, or what is no
/// probability, stays `None` and counts as a test that does not reject.
pub fn holm(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let probability = |p: &Option<f64>| p.filter(|p| (0.0..=1.0).contains(p));
    let mut ascending: Vec<(usize, f64)> = p_values
        .iter()
        .enumerate()
        .filter_map(|(index, p)| Some((index, probability(p)?)))
        .collect();
    ascending.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut adjusted = vec![None; p_values.len()];
    let mut at_least = 0.0_f64;
    for (rank, (index, p)) in ascending.into_iter().enumerate() {
        at_least = at_least.max(p * (p_values.len() - rank) as f64).min(1.0);
        adjusted[index] = Some(at_least);
    }
    adjusted
}

/// The confidence at which each of `members` intervals must be taken for all of them together to
/// hold with `confidence` (Bonferroni; Dunn 1961, *Multiple Comparisons Among Means*, JASA 56).
pub fn simultaneous(confidence: f64, members: usize) -> f64 {
    1.0 - (1.0 - confidence) / members.max(1) as f64
}

/// The ratios of so many comparisons, each of which `ratio` gives at a confidence, with intervals that hold
/// together with `confidence` and p-values after [`holm`]. `None` where a comparison has no ratio.
///
/// An interval may hold 1 although the adjusted p-value is below `1 - confidence`: Holm's procedure
/// rejects a little more than Bonferroni's intervals. Decisions go by the interval.
pub fn family(
    members: usize,
    confidence: f64,
    ratio: impl Fn(usize, f64) -> Option<Ratio>,
) -> Vec<Option<Member>> {
    let each = simultaneous(confidence, members);
    let ratios: Vec<Option<Ratio>> = (0..members).map(|member| ratio(member, each)).collect();
    let p_values: Vec<Option<f64>> = ratios.iter().map(|r| r.map(|r| r.p_value)).collect();
    let adjusted = holm(&p_values);
    ratios
        .into_iter()
        .zip(adjusted)
        .map(|(ratio, p)| {
            Some(Member {
                ratio: ratio?,
                p_adjusted: p?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::stats::decision::{Decision, decide};
    use crate::analysis::stats::ratio::paired_log_ratio;
    use crate::analysis::stats::simulate::normal;
    use pushbench_protocol::payload::SplitMix64;

    #[test]
    fn holm_has_its_known_answers() {
        // statsmodels.stats.multitest.multipletests(p, method="holm")[1], statsmodels 0.15.
        for (p, expected) in [
            (vec![0.01, 0.04, 0.03, 0.005], vec![0.03, 0.06, 0.06, 0.02]),
            (vec![0.02, 0.2, 0.01], vec![0.04, 0.2, 0.03]),
            (vec![0.5, 0.6, 0.9], vec![1.0, 1.0, 1.0]),
        ] {
            let p: Vec<Option<f64>> = p.into_iter().map(Some).collect();
            for (found, expected) in holm(&p).into_iter().zip(expected) {
                assert!((found.expect("a p-value") - expected).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_test_that_could_not_be_made_still_counts() {
        let found = holm(&[Some(0.01), None, Some(f64::NAN), Some(2.0)]);
        assert_eq!(found, [Some(0.04), None, None, None]);
        assert_eq!(holm(&[]), []);
        assert!((simultaneous(0.95, 3) - (1.0 - 0.05 / 3.0)).abs() < 1e-15);
        assert_eq!(simultaneous(0.95, 0), simultaneous(0.95, 1));
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.5], [1.1, 2.0, 2.9, 4.1, 5.0]);
        let pairs = [(&a[..], &b[..]), (&a[..], &b[..3])];
        let ratio = |of: usize, level| paired_log_ratio(pairs[of].0, pairs[of].1, level);
        let found = family(2, 0.95, ratio);
        let first = found[0].expect("five pairs");
        assert_eq!(paired_log_ratio(&a, &b, 0.975), Some(first.ratio));
        assert_eq!(first.p_adjusted, (2.0 * first.ratio.p_value).min(1.0));
        assert_eq!(found[1], None);
        assert_eq!(family(0, 0.95, ratio), []);
        assert_eq!(family(1, f64::NAN, ratio), [None]);
    }

    /// Three metrics of a transport against itself, correlated as p50 and p99 of a trial are.
    #[test]
    fn a_family_that_is_all_the_same_errs_no_more_often_than_it_says() {
        let mut random = SplitMix64::new(9);
        let runs = 2_000;
        let (mut outside, mut rejected, mut different) = (0, 0, 0);
        for _ in 0..runs {
            let mut columns = vec![(vec![], vec![]); 3];
            for _ in 0..5 {
                let (x, y) = (normal(&mut random), normal(&mut random));
                for (a, b) in &mut columns {
                    a.push((0.05 * (x + normal(&mut random))).exp());
                    b.push((0.05 * (y + normal(&mut random))).exp());
                }
            }
            let ratio = |of: usize, level| paired_log_ratio(&columns[of].0, &columns[of].1, level);
            let found: Vec<Member> = family(3, 0.95, ratio).into_iter().flatten().collect();
            assert_eq!(found.len(), 3);
            let excludes = |m: &Member| m.ratio.low > 1.0 || m.ratio.high < 1.0;
            outside += usize::from(found.iter().any(excludes));
            rejected += usize::from(found.iter().any(|m| m.p_adjusted < 0.05));
            let decided = |m: &Member| matches!(decide(&m.ratio, 0.05), Decision::Different { .. });
            different += usize::from(found.iter().any(|m| excludes(m) && decided(m)));
        }
        assert_eq!(outside, rejected);
        assert!(outside as f64 / runs as f64 <= 0.06, "{outside}");
        assert!(different <= outside);
    }
}
