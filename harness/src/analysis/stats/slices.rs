//! Two trials that took turns. In: a number for each slice of either, paired by block. Out: their ratio.

/// Share of the pairs that is left out at each end.
const TRIMMED: f64 = 0.2;

/// Fewest pairs: of fewer, nothing is left out.
const MIN_PAIRS: usize = 4;

/// How many times as large `a` is as `b`, where slice `i` of both belongs to the same block: the
/// exponential of the trimmed mean of `ln(a[i] / b[i])`, with a fifth left out at each end (Tukey and
/// McLaughlin 1963, *Less Vulnerable Confidence and Significance Procedures for Location*, Sankhyā A 25). A
/// slice in which the machine was taken away for some ms is one of those left out, whichever side it hit.
///
/// A block in which either has no number above 0 is left out. `None` where the two differ in length, or
/// fewer than 4 blocks, or fewer than half of them, are left.
pub fn paired_slices(a: &[Option<f64>], b: &[Option<f64>]) -> Option<f64> {
    if a.len() != b.len() {
        return None;
    }
    let log = |value: &Option<f64>| value.filter(|v| v.is_finite() && *v > 0.0).map(f64::ln);
    let pairs = a.iter().zip(b);
    let mut logs: Vec<f64> = pairs.filter_map(|(a, b)| Some(log(a)? - log(b)?)).collect();
    if logs.len() < MIN_PAIRS || logs.len() * 2 < a.len() {
        return None;
    }
    logs.sort_unstable_by(f64::total_cmp);
    let cut = (logs.len() as f64 * TRIMMED) as usize;
    let kept = &logs[cut..logs.len() - cut];
    Some((kept.iter().sum::<f64>() / kept.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().copied().map(Some).collect()
    }

    #[test]
    fn the_ratio_of_slices_has_its_known_answer() {
        // scipy.stats.trim_mean(numpy.log(a / b), 0.2) under exp: of ten pairs two are cut at each end.
        let b = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];
        let ratios = [1.1, 1.2, 0.9, 1.0, 50.0, 1.15, 1.05, 0.01, 1.12, 1.08];
        let a: Vec<f64> = b.iter().zip(ratios).map(|(b, r)| b * r).collect();
        let middle: f64 = [1.0, 1.05, 1.08, 1.1, 1.12, 1.15].iter().product();
        let found = paired_slices(&some(&a), &some(&b)).expect("enough pairs");
        assert!((found - middle.powf(1.0 / 6.0)).abs() < 1e-12, "{found}");
    }

    #[test]
    fn what_both_slices_of_a_block_share_drops_out() {
        let noise = [1.0, 3.0, 0.5, 7.0, 2.0];
        let a: Vec<f64> = noise.iter().map(|n| n * 1.25).collect();
        let found = paired_slices(&some(&a), &some(&noise)).expect("enough pairs");
        assert!((found - 1.25).abs() < 1e-12);
    }

    #[test]
    fn blocks_without_a_number_are_left_out_and_too_few_give_no_ratio() {
        let b = some(&[1.0; 6]);
        let mut a = some(&[2.0; 6]);
        (a[0], a[1]) = (None, Some(0.0));
        assert_eq!(paired_slices(&a, &b), Some(2.0));
        a[2] = Some(f64::NAN);
        assert_eq!(paired_slices(&a, &b), None);
        assert_eq!(paired_slices(&b, &b[..5]), None);
        assert_eq!(paired_slices(&[], &[]), None);
    }
}
