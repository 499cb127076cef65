//! The few numbers that describe a summary. In: one number for each trial. Out: one number.

use super::ratio::MIN_PAIRS;
use super::student;

/// The median (Hyndman and Fan 1996, *Sample Quantiles in Statistical Packages*, definition 2: the
/// mean of the two in the middle where their number is even). `None` without values; values that
/// are no number are left out.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values
        .into_iter()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The interval of the mean of a few values with this confidence (Student 1908, *The Probable Error of a
/// Mean*, Biometrika 6). `None` with fewer than 5 values, one that is no number, or a `confidence` outside
/// (0, 1).
pub fn mean_interval(values: &[f64], confidence: f64) -> Option<(f64, f64)> {
    if values.len() < MIN_PAIRS || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (square / (n - 1.0) / n).sqrt();
    let half = student::critical(1.0 - confidence, n - 1.0)? * error;
    Some((mean - half, mean + half))
}

/// A least-squares line, and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Its slope.
    pub slope: f64,
    /// Its value at x = 0.
    pub intercept: f64,
    /// The coefficient of determination: 1 less the residual sum of squares over the total one; 1
    /// where all y are equal and lie on the line.
    pub r_squared: f64,
    /// The largest distance of a point from the line, in y.
    pub largest_residual: f64,
}

/// The least-squares line through `points` (x, y). `None` where fewer than two different x are
/// given.
pub fn line(points: &[(f64, f64)]) -> Option<Line> {
    let slope = slope(points)?;
    let n = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let intercept = mean_y - slope * mean_x;
    let residual = |&(x, y): &(f64, f64)| y - (intercept + slope * x);
    let left: f64 = points.iter().map(|p| residual(p).powi(2)).sum();
    let total: f64 = points.iter().map(|(_, y)| (y - mean_y).powi(2)).sum();
    Some(Line {
        slope,
        intercept,
        r_squared: if total > 0.0 { 1.0 - left / total } else { 1.0 },
        largest_residual: points.iter().map(|p| residual(p).abs()).fold(0.0, f64::max),
    })
}

/// The slope of the least-squares line through `points` (x, y). `None` where fewer than two
/// different x are given.
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let square: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let product: f64 = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum();
    (square > 0.0).then(|| product / square)
}

/// The spread of `values` relative to their middle: the median absolute deviation from the median,
/// times 1.4826 so that it estimates the standard deviation of normal values, over the absolute
/// median (Rousseeuw and Croux 1993, *Alternatives to the Median Absolute Deviation*, JASA 88,
/// section 1). One wild trial of five hardly moves it, as it would a coefficient of variation.
///
/// 0.02 reads as "trials differ by some 2%". `None` for fewer than two values or a median of 0;
/// values that are no number are left out.
pub fn spread(values: &[f64]) -> Option<f64> {
    /// 1 over the 0.75 quantile of the standard normal distribution.
    const NORMAL: f64 = 1.482_602_218_505_602;
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    if finite().count() < 2 {
        return None;
    }
    let middle = median(finite())?;
    let deviation = median(finite().map(|value| (value - middle).abs()))?;
    let spread = NORMAL * deviation / middle.abs();
    spread.is_finite().then_some(spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_have_their_known_answers() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median([9.0, 1.0, 4.0, 5.0]), Some(4.5));
        assert_eq!(median([f64::NAN, 2.0, f64::INFINITY]), Some(2.0));
    }

    #[test]
    fn intervals_of_means_have_their_known_answers() {
        // scipy.stats.t.interval(0.99, 4, loc=numpy.mean(x), scale=scipy.stats.sem(x)): the t value is 4.6041.
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        let (low, high) = mean_interval(&x, 0.99).expect("five values");
        let half = 4.604_094_871_415_897 * (2.5_f64 / 5.0).sqrt();
        assert!((low - (3.0 - half)).abs() < 1e-9 && (high - (3.0 + half)).abs() < 1e-9);
        assert_eq!(mean_interval(&x[..4], 0.99), None);
        assert_eq!(mean_interval(&[1.0, 2.0, 3.0, 4.0, f64::NAN], 0.99), None);
        assert_eq!(mean_interval(&x, 1.0), None);
        assert_eq!(mean_interval(&[2.0; 5], 0.99), Some((2.0, 2.0)));
    }

    #[test]
    fn slopes_have_their_known_answers() {
        assert_eq!(slope(&[(0.0, 5.0), (10.0, 25.0)]), Some(2.0));
        // Anscombe's first data set (1973): slope 0.500.
        let (x, y) = (
            [10., 8., 13., 9., 11., 14., 6., 4., 12., 7., 5.],
            [
                8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68,
            ],
        );
        let points: Vec<(f64, f64)> = x.into_iter().zip(y).collect();
        assert!((slope(&points).expect("eleven points") - 0.500).abs() < 0.001);
        // The same: y = 3.00 + 0.500 x, R² 0.67; (13, 7.58) lies furthest away, at 1.92.
        let line = line(&points).expect("eleven points");
        assert!((line.intercept - 3.00).abs() < 0.01);
        assert!((line.r_squared - 0.67).abs() < 0.01);
        assert!((line.largest_residual - 1.92).abs() < 0.01);
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 5.0), (1.0, 7.0)]), None);
    }

    #[test]
    fn spreads_have_their_known_answers() {
        // scipy.stats.median_abs_deviation([10, 11, 12, 15, 30], scale="normal") / 12, SciPy 1.17.
        let found = spread(&[10.0, 11.0, 12.0, 15.0, 30.0]).expect("five values");
        assert!((found - 0.247_100_369_750_933_66).abs() < 1e-12);
        assert_eq!(spread(&[7.0, 7.0, 7.0]), Some(0.0));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7.0]), None);
        assert_eq!(spread(&[7.0, f64::NAN]), None);
        assert_eq!(spread(&[-1.0, 0.0, 1.0]), None);
        assert_eq!(spread(&[f64::MAX, -f64::MAX, f64::MAX]), Some(0.0));
    }
}
