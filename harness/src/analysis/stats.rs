//! The statistics of the project: pure functions, one file an idea.
//!
//! In: numbers of trials, of deliveries or of publishes. Out: a number, an interval or a decision.
//! Nothing here reads a file or a clock, and what is random follows from a seed. No function
//! panics, whatever it is given; what cannot be answered is `None` (or says that it was not
//! tested), never a guess.
//!
//! - [`describe`]: the median, the slope and the spread of a few numbers;
//! - [`student`]: Student's t distribution;
//! - [`ratio`]: two transports over interleaved trials, as a ratio with an interval;
//! - [`slices`]: the same over the slices of trials that took turns;
//! - [`mod@welch`]: two sets of trials that have nothing to do with each other;
//! - [`mod@family`]: several such ratios at once, corrected for their number;
//! - [`decision`]: *different*, *same* or *undecided*, and how many more trials would help;
//! - [`bootstrap`]: intervals of quantiles within one trial;
//! - [`mod@stationarity`]: whether a measure phase drifted;
//! - [`arrivals`]: whether publishes arrived as a Poisson process.
//!
//! Not here: percentiles, which are taken from merged histograms and never averaged.

pub mod arrivals;
pub mod bootstrap;
pub mod decision;
pub mod describe;
pub mod family;
pub mod nnls;
pub mod ratio;
pub mod slices;
pub mod stationarity;
pub mod student;
pub mod welch;

#[cfg(test)]
mod simulate;

pub use arrivals::{AndersonDarling, exponential_gaps};
pub use bootstrap::{Bootstrap, IntervalNs, quantile_intervals};
pub use decision::{Decision, decide};
pub use describe::{Line, line, mean_interval, median, slope, spread};
pub use family::{Member, family, holm};
pub use ratio::{Ratio, paired_log_ratio};
pub use slices::{paired_slices, ratio_of_slices};
pub use stationarity::{Stationarity, stationarity};
pub use welch::{UnpairedRatio, Welch, decide_unpaired, unpaired_log_ratio, welch};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::num::f64::ANY;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn no_number_makes_a_statistic_panic(
            a in vec(ANY, 0..120),
            b in vec(ANY, 0..120),
            (x, y) in (ANY, ANY),
            n in any::<u32>(),
        ) {
            let _ = (median(a.iter().copied()), spread(&a), stationarity(&a), mean_interval(&a, x));
            let _ = (student::two_sided_p(x, y), student::quantile(x, y));
            let _ = (exponential_gaps(&a, None), exponential_gaps(&a, Some(x)));
            let positive: Vec<f64> = a.iter().map(|v| v.abs()).collect();
            let _ = (exponential_gaps(&positive, None), exponential_gaps(&positive, Some(x)));
            let _ = (paired_log_ratio(&a, &b, 0.95), paired_log_ratio(&positive, &positive, x));
            let _ = holm(&a.iter().copied().map(Some).collect::<Vec<_>>());
            let ratio = |of: usize, level| paired_log_ratio(&a, if of == 0 { &a } else { &b }, level);
            let _ = (family(2, x, ratio), family::simultaneous(x, n as usize));
            let rounds: Vec<Vec<f64>> = a.chunks(5).map(<[f64]>::to_vec).collect();
            let _ = (ratio_of_slices(&rounds, 0.95), ratio_of_slices(&rounds, x));
            let _ = (welch(&a, &b, 0.95), welch(&positive, &b, x));
            if let Some(found) = unpaired_log_ratio(&positive, &positive, 0.95) {
                let _ = (decide_unpaired(&found, 0.05), decide_unpaired(&found, x));
            }
            let any = Ratio {
                ratio: x, low: y, high: x, confidence: y, p_value: x, n, freedom: x,
                sd_log: y,
            };
            let usual = Ratio { ratio: 1.0, low: 0.9, high: 1.1, confidence: 0.95, ..any };
            let _ = (any.at(0.9), usual.at(x), decide(&any, 0.05), decide(&usual, x));
        }

        #[test]
        fn no_deliveries_make_a_bootstrap_panic(
            deliveries in vec((any::<u64>(), 0..40u32), 0..300),
            quantiles in vec(0.0..=1.0, 0..4),
            replicates in 0..80u32,
            confidence in 0.0..1.0,
            seed in any::<u64>(),
        ) {
            let (latency, publish): (Vec<u64>, Vec<u32>) = deliveries.into_iter().unzip();
            let how = Bootstrap { replicates, confidence, seed };
            for interval in quantile_intervals(&latency, &publish, &quantiles, &how).into_iter().flatten() {
                prop_assert!(interval.low_ns <= interval.high_ns);
            }
        }
    }
}
