//! Whether a measure phase drifted: the KPSS test. In: one number an interval of the phase (the
//! median latency of each, say), in order. Out: stationary, drifting, or not tested.
//!
//! A good trial must not be called bad: *drifting* needs both a statistic that a stationary series
//! exceeds once in a thousand and a drift that matters.

use super::median;

/// Critical values of the level-stationarity test, as (level, value). The first four are those of
/// Kwiatkowski et al. 1992, table 1; the last is that of the same limit distribution, the integral
/// of a squared Brownian bridge (Cramér–von Mises; Anderson and Darling 1952, *Asymptotic Theory of
/// Certain "Goodness of Fit" Criteria*, Ann. Math. Statist. 23, section 4), from its series.
pub const CRITICAL: [(f64, f64); 5] = [
    (0.1, 0.347),
    (0.05, 0.463),
    (0.025, 0.574),
    (0.01, 0.739),
    (0.001, 1.167_858),
];

/// The level at which a series counts as drifting: the last of [`CRITICAL`].
pub const STRICT: f64 = CRITICAL[4].1;

/// The least change from the first third to the last that counts as a drift: 10%.
pub const MIN_DRIFT: f64 = 0.1;

/// Shorter series are not tested. The statistic of a short series is bounded: a step halfway
/// through, with no noise at all, reaches [`STRICT`] only from 80 values on, so "stationary" would
/// be said of whatever came.
pub const MIN_VALUES: usize = 80;

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stationarity {
    /// Fewer values than the test can reject with.
    NotTested {
        /// Finite values in the series.
        values: usize,
        /// How many it takes: [`MIN_VALUES`].
        needed: usize,
    },
    /// No drift that is both beyond chance and above [`MIN_DRIFT`].
    Stationary {
        /// The KPSS statistic; 0 for a constant series.
        statistic: f64,
        /// See [`Stationarity::Drifting`].
        drift: f64,
    },
    /// The series drifts.
    Drifting {
        /// The KPSS statistic.
        statistic: f64,
        /// The value that it exceeds: [`STRICT`].
        critical: f64,
        /// The median of the last third less that of the first, over the latter's absolute value;
        /// 0.2 reads "20% higher at the end". Over the last third's where the first is 0.
        drift: f64,
    },
}

/// Tests whether `series` keeps its level (Kwiatkowski, Phillips, Schmidt and Shin 1992, *Testing
/// the Null Hypothesis of Stationarity Against the Alternative of a Unit Root*, J. Econometrics 54,
/// the statistic η_μ). The long-run variance is that of Newey and West 1987 (Bartlett weights), its
/// lags chosen from the data by the rule of Newey and West 1994, as put for this test by Hobijn,
/// Franses and Ooms 2004 (*Generalizations of the KPSS-test for Stationarity*, Statistica
/// Neerlandica 58).
///
/// Values that are not finite (intervals in which nothing arrived) are left out. Neighbours may be
/// correlated up to some 0.8; nearer to 1, wandering and drifting become the same thing, and false
/// alarms rise above 0.5%. A change within the first tenth or so passes: that is for the warm-up.
pub fn stationarity(series: &[f64]) -> Stationarity {
    let mut series: Vec<f64> = series.iter().copied().filter(|v| v.is_finite()).collect();
    if series.len() < MIN_VALUES {
        return Stationarity::NotTested {
            values: series.len(),
            needed: MIN_VALUES,
        };
    }
    // Neither statistic nor drift has a unit; at most 1, nothing overflows.
    let scale = series.iter().fold(0.0_f64, |max, v| max.max(v.abs()));
    if scale > 0.0 {
        series.iter_mut().for_each(|value| *value /= scale);
    }
    let statistic = kpss(&series, automatic_lags(&series));
    let drift = drift(&series);
    if statistic > STRICT && drift.abs() > MIN_DRIFT {
        Stationarity::Drifting {
            statistic,
            critical: STRICT,
            drift,
        }
    } else {
        Stationarity::Stationary { statistic, drift }
    }
}

fn drift(series: &[f64]) -> f64 {
    let third = series.len() / 3;
    let first = median(series[..third].iter().copied()).unwrap_or(0.0);
    let last = median(series[series.len() - third..].iter().copied()).unwrap_or(0.0);
    let over = if first == 0.0 { last } else { first }.abs();
    if over == 0.0 {
        return 0.0;
    }
    ((last - first) / over).clamp(-f64::MAX, f64::MAX)
}

/// The residuals of the mean.
fn residuals(series: &[f64]) -> Vec<f64> {
    let mean = series.iter().sum::<f64>() / series.len() as f64;
    series.iter().map(|value| value - mean).collect()
}

/// The sum of products of values that are `lag` apart.
fn products(residuals: &[f64], lag: usize) -> f64 {
    residuals
        .iter()
        .zip(&residuals[lag..])
        .map(|(a, b)| a * b)
        .sum()
}

/// The statistic η_μ of `series`, which is not empty, with `lags` below its length.
fn kpss(series: &[f64], lags: usize) -> f64 {
    let n = series.len() as f64;
    let residuals = residuals(series);
    let variance = products(&residuals, 0);
    // A constant series has residuals that are rounding only: nothing to find there.
    if variance <= n * 1e-30 {
        return 0.0;
    }
    let mut sum = 0.0;
    let squares: f64 = residuals
        .iter()
        .map(|residual| {
            sum += residual;
            sum * sum
        })
        .sum();
    let weighted: f64 = (1..=lags)
        .map(|lag| (1.0 - lag as f64 / (lags as f64 + 1.0)) * products(&residuals, lag))
        .sum();
    // Bartlett's weights keep the sum from being negative, but not rounding from making it 0.
    let long_run = (variance + 2.0 * weighted).max(variance * 1e-12);
    squares / n / long_run
}

/// The lags for [`kpss`], by the rule of Newey and West 1994 for Bartlett weights.
fn automatic_lags(series: &[f64]) -> usize {
    let n = series.len() as f64;
    let residuals = residuals(series);
    let mut zeroth = products(&residuals, 0) / n;
    let mut first = 0.0;
    for lag in 1..=n.powf(2.0 / 9.0) as usize {
        let product = products(&residuals, lag) / (n / 2.0);
        zeroth += product;
        first += lag as f64 * product;
    }
    let rate = 1.1447 * (first / zeroth).powi(2).cbrt();
    // A negative or no variance at all makes the rate anything; the lags stay within the series.
    ((rate * n.cbrt()) as usize).min(series.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::stats::simulate::{normal, park_miller};
    use pushbench_protocol::payload::SplitMix64;
    use std::f64::consts::PI;

    fn ramp(u: &[f64]) -> Vec<f64> {
        u.iter()
            .enumerate()
            .map(|(i, u)| 100.0 + i as f64 + 20.0 * u)
            .collect()
    }

    fn step(u: &[f64]) -> Vec<f64> {
        let half = u.len() / 2;
        u.iter()
            .enumerate()
            .map(|(i, u)| [100.0, 130.0][usize::from(i >= half)] + 10.0 * u)
            .collect()
    }

    #[test]
    fn statistics_and_lags_have_their_known_answers() {
        // statsmodels.tsa.stattools.kpss(x, regression="c", nlags="auto" | 4 | 0), statsmodels
        // 0.15: its lags, and the three statistics.
        let u = park_miller(120);
        let mut last = 0.0;
        let correlated: Vec<f64> = u
            .iter()
            .map(|u| {
                last = 0.6 * last + u;
                last
            })
            .collect();
        let noise: Vec<f64> = u.iter().map(|u| 1.0 + u).collect();
        let noise_100 = noise[..100].to_vec();
        for (series, lags, automatic, four, none) in [
            (
                noise_100,
                4,
                0.213_089_642_905_228_05,
                0.213_089_642_905_228_05,
                0.171_933_370_157_352_16,
            ),
            (
                noise,
                3,
                0.111_016_181_467_130_16,
                0.114_707_006_542_584_95,
                0.100_884_583_358_214_65,
            ),
            (
                ramp(&u[..100]),
                5,
                1.760_278_613_167_357_3,
                2.086_284_905_799_805_4,
                9.592_990_534_021_986,
            ),
            (
                step(&u),
                6,
                1.521_019_180_369_245_9,
                2.087_270_354_913_649_8,
                9.684_181_768_194_598,
            ),
            (
                correlated,
                4,
                0.320_542_325_557_841_9,
                0.320_542_325_557_841_9,
                0.747_923_956_179_741_1,
            ),
        ] {
            assert_eq!(automatic_lags(&series), lags);
            for (lags, expected) in [(lags, automatic), (4, four), (0, none)] {
                let found = kpss(&series, lags);
                assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            }
        }
    }

    /// The limit distribution by another way than the series of Anderson and Darling: the integral
    /// of Smirnov 1936, in u = √y: P(> x) = 2/π Σ (-1)^(j-1) ∫ e^(-x u²/2) √(-u / sin u) / u du
    /// over u from (2j-1)π to 2jπ. From the second term on it is below 1e-13 for x >= 0.7.
    #[test]
    fn the_strict_critical_value_is_that_of_the_limit_distribution() {
        let beyond = |x: f64| {
            let steps = 20_000;
            // u = 1.5π + 0.5π sin θ takes the poles at both ends away.
            let sum: f64 = (0..steps)
                .map(|step| {
                    let theta = PI * ((f64::from(step) + 0.5) / f64::from(steps) - 0.5);
                    let u = PI * (1.5 + 0.5 * theta.sin());
                    (-x * u * u / 2.0).exp() * (-u / u.sin()).sqrt() / u * theta.cos()
                })
                .sum();
            2.0 / PI * sum * (PI / f64::from(steps)) * 0.5 * PI
        };
        assert!((beyond(STRICT) - 0.001).abs() < 1e-8, "{}", beyond(STRICT));
        // The 1% point of the same distribution is 0.743; Kwiatkowski et al. simulated 0.739.
        assert!((beyond(0.743_459) - 0.01).abs() < 1e-7);
        assert!((beyond(CRITICAL[3].1) - 0.01).abs() < 0.0005);
    }

    #[test]
    fn a_ramp_and_a_step_drift_and_noise_does_not() {
        let u = park_miller(120);
        let Stationarity::Drifting {
            statistic,
            critical,
            drift,
        } = stationarity(&step(&u))
        else {
            panic!("a step of 30% is a drift");
        };
        assert!((statistic - 1.521_019_180_369_245_9).abs() < 1e-9);
        assert_eq!(critical, STRICT);
        assert!((drift - 0.29).abs() < 0.05, "{drift}");
        assert!(matches!(
            stationarity(&ramp(&u)),
            Stationarity::Drifting { drift, .. } if (drift - 0.6).abs() < 0.3
        ));
        let noise: Vec<f64> = u.iter().map(|u| 1.0 + u).collect();
        assert!(matches!(
            stationarity(&noise),
            Stationarity::Stationary { .. }
        ));
        // Beyond chance, and of no importance: 3%.
        let small: Vec<f64> = step(&u).iter().map(|v| 900.0 + v).collect();
        assert!(matches!(
            stationarity(&small),
            Stationarity::Stationary { statistic, drift } if statistic > STRICT && drift < 0.1
        ));
        // Latency that falls drifts too.
        let falling: Vec<f64> = step(&u).into_iter().rev().collect();
        assert!(matches!(
            stationarity(&falling),
            Stationarity::Drifting { drift, .. } if drift < -0.1
        ));
    }

    /// Why shorter series are not tested.
    #[test]
    fn a_step_can_be_found_in_the_shortest_series_tested_and_in_none_shorter() {
        let found = |n: usize| {
            let series: Vec<f64> = (0..n).map(|i| f64::from(u8::from(2 * i >= n))).collect();
            kpss(&series, automatic_lags(&series)) > STRICT
        };
        assert!((80..600).all(found));
        assert!(!(2..76).any(found));
    }

    #[test]
    fn what_cannot_be_tested_says_how_short_it_is() {
        let not_tested = |values| Stationarity::NotTested { values, needed: 80 };
        assert_eq!(stationarity(&[]), not_tested(0));
        assert_eq!(stationarity(&[1.0; 79]), not_tested(79));
        let mut holes = vec![1.0; 90];
        holes[10..30].fill(f64::NAN);
        assert_eq!(stationarity(&holes), not_tested(70));
        assert_eq!(stationarity(&[f64::INFINITY; 200]), not_tested(0));
        let (statistic, drift) = (0.0, 0.0);
        for constant in [0.0, 0.1, 1e9 + 0.1, f64::MAX, -f64::MAX, 5e-324] {
            assert_eq!(
                stationarity(&[constant; 100]),
                Stationarity::Stationary { statistic, drift },
                "{constant}"
            );
        }
        let wild: Vec<f64> = (0..100)
            .map(|i| [f64::MAX, -f64::MAX][usize::from(i < 50)])
            .collect();
        assert!(matches!(
            stationarity(&wild),
            Stationarity::Drifting { drift: 2.0, .. }
        ));
        let from_nothing: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i >= 50))).collect();
        assert!(matches!(
            stationarity(&from_nothing),
            Stationarity::Drifting { drift: 1.0, .. }
        ));
        let alternating: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        assert!(matches!(
            stationarity(&alternating),
            Stationarity::Stationary { .. }
        ));
    }

    fn alarms(correlation: f64, sd: f64, runs: usize, seed: u64) -> usize {
        let mut random = SplitMix64::new(seed);
        let innovation = (1.0 - correlation * correlation).sqrt();
        (0..runs)
            .filter(|run| {
                let mut noise = normal(&mut random);
                let series: Vec<f64> = (0..80 + run % 161)
                    .map(|_| {
                        noise = correlation * noise + innovation * normal(&mut random);
                        1.0 + sd * noise
                    })
                    .collect();
                matches!(stationarity(&series), Stationarity::Drifting { .. })
            })
            .count()
    }

    /// Series of 80 to 240 intervals, first-order autoregressive.
    #[test]
    fn stationary_series_give_next_to_no_false_alarm() {
        for (correlation, at_most) in [(0.0, 2), (0.3, 4), (0.5, 4), (0.7, 8)] {
            let found = alarms(correlation, 0.3, 2_000, 7);
            assert!(found <= at_most, "{correlation}: {found} of 2000");
        }
        // Where noise is small, the rule for the drift allows none at all.
        assert_eq!(alarms(0.7, 0.05, 1_000, 8), 0);
    }

    #[test]
    fn a_drift_of_a_quarter_under_noise_is_found() {
        let mut random = SplitMix64::new(9);
        let found = (0..200)
            .filter(|_| {
                let series: Vec<f64> = (0..100)
                    .map(|i| 1.0 + 0.004 * f64::from(i) + 0.05 * normal(&mut random))
                    .collect();
                matches!(stationarity(&series), Stationarity::Drifting { .. })
            })
            .count();
        assert!(found >= 190, "{found}");
    }
}
