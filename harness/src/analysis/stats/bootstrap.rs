//! Intervals of quantiles within one trial: a bootstrap in blocks of one publish. In: latencies of
//! deliveries, each with its publish. Out: an interval for each quantile.
//!
//! The deliveries of one publish share its fate: where one is late because the server stalled, all
//! are. Drawing single deliveries would take a thousand subscribers of one late publish for a
//! thousand observations; so whole publishes are drawn (the cluster bootstrap: Davison and Hinkley
//! 1997, *Bootstrap Methods and their Application*, section 3.8; Field and Welsh 2007,
//! *Bootstrapping clustered data*, J. R. Statist. Soc. B 69). Publishes themselves are taken for
//! independent; where a stall spans many, intervals are too narrow still.

use pushbench_protocol::payload::SplitMix64;

/// How many publishes must be expected beyond a quantile for it to have an interval: 12 publishes
/// for p50, 570 for p99, 5,700 for p99.9. With fewer, the interval ends at the largest latency
/// seen, and a trial that happened to see no stall would vouch for there being none.
pub const MIN_PUBLISHES_BEYOND: f64 = 5.7;

/// Replicates walked through side by side: 16 weights of a byte are one load, and their sums two
/// vector registers.
const LANES: usize = 16;

/// Deliveries summed before the sums are looked at; 255 of the largest weight fit into 16 bits.
const CHUNK: usize = 255;

/// How a bootstrap is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Samples drawn. At least `2 / (1 - confidence) - 1` are needed for there to be intervals.
    pub replicates: u32,
    /// Confidence of the intervals, in (0, 1).
    pub confidence: f64,
    /// What the samples follow from.
    pub seed: u64,
}

impl Bootstrap {
    /// The usual: 95%, from 1,000 replicates (Efron and Tibshirani 1993, *An Introduction to the
    /// Bootstrap*, section 13.3, for percentile intervals).
    pub fn new(seed: u64) -> Self {
        Self {
            replicates: 1_000,
            confidence: 0.95,
            seed,
        }
    }
}

/// An interval of a quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntervalNs {
    /// Lower end; the latency of a delivery.
    pub low_ns: u64,
    /// Upper end; the latency of a delivery.
    pub high_ns: u64,
}

/// Percentile intervals (Efron and Tibshirani 1993, section 13.3) of `quantiles` over all
/// deliveries, where delivery `i` took `latency_ns[i]` and belongs to publish `publish[i]` (any
/// number, so long as it is one for each message of a channel). A quantile is the smallest latency
/// that at least this share of the deliveries does not exceed (Hyndman and Fan 1996, definition 1),
/// as in the histograms.
///
/// An interval is `None` where fewer than [`MIN_PUBLISHES_BEYOND`] publishes are expected on the
/// shorter side of the quantile, or fewer than the confidence needs (beyond 99.3%). The publishes
/// that count are the effective ones, (Σ size)² / Σ size² (Kish 1965, *Survey Sampling*), so that
/// many publishes to empty channels do not vouch for a full one. All are `None` where the columns
/// differ in length or are empty, the replicates are too few or the confidence is not in (0, 1).
///
/// An interval of 95% covers the truth 93% to 95% of the time in simulations; 90% to 93% where
/// publishes are only just enough. Drawing single deliveries covered 35% to 45% for publishes of
/// 20 deliveries with a correlation of 0.9.
///
/// Takes 8 bytes a delivery and 17 a publish beside the columns. A replicate draws as many
/// publishes as there were (multinomial weights) and reads all its quantiles in one walk over the
/// sorted deliveries, sixteen replicates at once.
pub fn quantile_intervals(
    latency_ns: &[u64],
    publish: &[u32],
    quantiles: &[f64],
    how: &Bootstrap,
) -> Vec<Option<IntervalNs>> {
    let mut intervals = vec![None; quantiles.len()];
    if latency_ns.len() != publish.len() || !(how.confidence > 0.0 && how.confidence < 1.0) {
        return intervals;
    }
    let Ok(deliveries) = u32::try_from(publish.len()) else {
        return intervals;
    };
    let alpha = 1.0 - how.confidence;
    // The k-th smallest and largest of the replicates; 1e-9 because 0.05 is not a double.
    let k = ((f64::from(how.replicates) + 1.0) * alpha / 2.0 + 1e-9) as usize;
    let mut order: Vec<u32> = (0..deliveries).collect();
    let (mut block, sizes) = blocks(publish, &mut order);
    let effective = effective_publishes(&sizes);
    // The largest of n publishes lies below the quantile q with a probability of qⁿ, about
    // exp(-n(1-q)); that must be at most half of alpha.
    let beyond = MIN_PUBLISHES_BEYOND.max((2.0 / alpha).ln());
    let mut wanted: Vec<usize> = (0..quantiles.len())
        .filter(|&index| effective * quantiles[index].min(1.0 - quantiles[index]) >= beyond - 1e-6)
        .collect();
    if k == 0 || wanted.is_empty() {
        return intervals;
    }
    wanted.sort_unstable_by(|a, b| quantiles[*a].total_cmp(&quantiles[*b]));
    let ascending: Vec<f64> = wanted.iter().map(|&index| quantiles[index]).collect();

    order.sort_unstable_by_key(|&delivery| latency_ns[delivery as usize]);
    block = order.iter().map(|&d| block[d as usize]).collect();

    let found = replicates(&block, &sizes, &ascending, how);
    for (index, mut positions) in wanted.into_iter().zip(found) {
        positions.sort_unstable();
        let at = |rank: usize| latency_ns[order[positions[rank] as usize] as usize];
        intervals[index] = Some(IntervalNs {
            low_ns: at(k - 1),
            high_ns: at(positions.len() - k),
        });
    }
    intervals
}

/// Numbers the publishes from 0: for each delivery its block, and the size of each block. `order`
/// is working space.
fn blocks(publish: &[u32], order: &mut [u32]) -> (Vec<u32>, Vec<u32>) {
    order.sort_unstable_by_key(|&delivery| publish[delivery as usize]);
    let mut block = vec![0; publish.len()];
    let mut sizes: Vec<u32> = Vec::new();
    let mut last = None;
    for &delivery in order.iter() {
        let delivery = delivery as usize;
        if last != Some(publish[delivery]) {
            last = Some(publish[delivery]);
            sizes.push(0);
        }
        block[delivery] = sizes.len() as u32 - 1;
        if let Some(size) = sizes.last_mut() {
            *size += 1;
        }
    }
    (block, sizes)
}

fn effective_publishes(sizes: &[u32]) -> f64 {
    let sum: f64 = sizes.iter().map(|&size| f64::from(size)).sum();
    let squares: f64 = sizes.iter().map(|&size| f64::from(size).powi(2)).sum();
    if squares > 0.0 {
        sum * sum / squares
    } else {
        0.0
    }
}

/// For each of the `ascending` quantiles its position among the sorted deliveries, in every
/// replicate.
fn replicates(block: &[u32], sizes: &[u32], ascending: &[f64], how: &Bootstrap) -> Vec<Vec<u32>> {
    let mut random = SplitMix64::new(how.seed);
    let mut found = vec![Vec::new(); ascending.len()];
    let mut weights = vec![[0u8; LANES]; sizes.len()];
    let mut drawn = vec![0u8; sizes.len()];
    let mut left = how.replicates as usize;
    while left > 0 {
        let lanes = left.min(LANES);
        left -= lanes;
        let mut ranks = vec![[0u64; LANES]; ascending.len()];
        for lane in 0..lanes {
            draw(&mut random, &mut drawn);
            let mut total = 0;
            for ((weights, &drawn), &size) in weights.iter_mut().zip(&drawn).zip(sizes) {
                weights[lane] = drawn;
                total += u64::from(drawn) * u64::from(size);
            }
            for (rank, q) in ranks.iter_mut().zip(ascending) {
                // Less 1e-12, because 0.07 * 100 is a little above 7.
                let share = (q * total as f64 * (1.0 - 1e-12)).ceil() as u64;
                rank[lane] = share.clamp(1, total);
            }
        }
        walk(block, &weights, &ranks, lanes, &mut found);
    }
    found
}

/// How often each publish is in a sample of as many publishes, drawn with replacement.
fn draw(random: &mut SplitMix64, drawn: &mut [u8]) {
    drawn.fill(0);
    for _ in 0..drawn.len() {
        let publish = random.below(drawn.len() as u64) as usize;
        // More than 255 of one publish: less likely than 1 in 10^500.
        drawn[publish] = drawn[publish].saturating_add(1);
    }
}

/// Enters the position at which the weights of each lane add up to each of its ranks.
fn walk(
    block: &[u32],
    weights: &[[u8; LANES]],
    ranks: &[[u64; LANES]],
    lanes: usize,
    found: &mut [Vec<u32>],
) {
    let mut before = [0u64; LANES];
    let mut next = [0; LANES];
    for (index, chunk) in block.chunks(CHUNK).enumerate() {
        let mut sums = [0u16; LANES];
        for &block in chunk {
            for (sum, &weight) in sums.iter_mut().zip(&weights[block as usize]) {
                *sum += u16::from(weight);
            }
        }
        for lane in 0..lanes {
            let after = before[lane] + u64::from(sums[lane]);
            while next[lane] < ranks.len() && ranks[next[lane]][lane] <= after {
                let mut sum = before[lane];
                let within = chunk.iter().position(|&block| {
                    sum += u64::from(weights[block as usize][lane]);
                    sum >= ranks[next[lane]][lane]
                });
                found[next[lane]].push((index * CHUNK + within.unwrap_or(0)) as u32);
                next[lane] += 1;
            }
            before[lane] = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::stats::simulate::{normal, park_miller};

    const ALL: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

    fn how(replicates: u32, seed: u64) -> Bootstrap {
        Bootstrap {
            replicates,
            confidence: 0.95,
            seed,
        }
    }

    /// One delivery a publish: the k-th smallest of n resampled values has a known distribution.
    #[test]
    fn intervals_of_single_deliveries_have_their_known_answer() {
        // The percentile interval of the k-th of n = 200 values ends at the values whose ranks are
        // the 0.025 and 0.975 quantiles of that distribution. P(rank <= r) is the probability that
        // at least k of n draws are among the first r: scipy.stats.binom.sf(k - 1, 200, r / 200)
        // is first >= 0.025 at r = 86 and >= 0.975 at r = 114 for k = 100; at 170 and 187 for
        // k = 180 (SciPy 1.17).
        let latency: Vec<u64> = (1..=200).map(|rank| rank * 1_000).collect();
        let publish: Vec<u32> = (0..200).map(|i| i * 7 % 200 + 4_000_000_000).collect();
        let found = quantile_intervals(&latency, &publish, &[0.9, 0.5], &how(8_000, 1));
        let near = |found: Option<IntervalNs>, low: u64, high: u64| {
            let found = found.expect("200 publishes");
            // A rank either way, for 8,000 replicates are not all there are.
            found.low_ns.abs_diff(low * 1_000) <= 1_000
                && found.high_ns.abs_diff(high * 1_000) <= 1_000
        };
        assert!(near(found[0], 170, 187), "{found:?}");
        assert!(near(found[1], 86, 114), "{found:?}");
    }

    #[test]
    fn a_walk_finds_what_counting_every_copy_finds() {
        let u = park_miller(1_500);
        let latency: Vec<u64> = u.iter().map(|u| (u * 300.0) as u64).collect();
        let publish: Vec<u32> = (0..1_500).map(|i| i * i % 611).collect();
        let mut order: Vec<u32> = (0..1_500).collect();
        let (block, sizes) = blocks(&publish, &mut order);
        assert_eq!(sizes.iter().sum::<u32>(), 1_500);
        order.sort_unstable_by_key(|&d| latency[d as usize]);
        let sorted: Vec<u32> = order.iter().map(|&d| block[d as usize]).collect();
        let mut found: Vec<Vec<u64>> = replicates(&sorted, &sizes, &ALL, &how(21, 5))
            .into_iter()
            .map(|at| {
                at.into_iter()
                    .map(|p| latency[order[p as usize] as usize])
                    .collect()
            })
            .collect();
        found.iter_mut().for_each(|found| found.sort_unstable());

        let (mut random, mut drawn) = (SplitMix64::new(5), vec![0; sizes.len()]);
        let mut expected = vec![Vec::new(); ALL.len()];
        for _ in 0..21 {
            draw(&mut random, &mut drawn);
            let publishes: usize = drawn.iter().map(|&times| usize::from(times)).sum();
            assert_eq!(publishes, sizes.len());
            let mut copies = Vec::new();
            for (&latency, &block) in latency.iter().zip(&block) {
                let times = usize::from(drawn[block as usize]);
                copies.extend(std::iter::repeat_n(latency, times));
            }
            copies.sort_unstable();
            for (expected, q) in expected.iter_mut().zip(ALL) {
                let rank = (q * copies.len() as f64 - 1e-9).ceil() as usize;
                expected.push(copies[rank - 1]);
            }
        }
        expected
            .iter_mut()
            .for_each(|expected| expected.sort_unstable());
        assert_eq!(found, expected);
    }

    #[test]
    fn too_few_publishes_beyond_a_quantile_give_no_interval() {
        let publishes = |n: u32, fan_out: u32| {
            let publish: Vec<u32> = (0..n * fan_out).map(|i| i / fan_out).collect();
            let latency: Vec<u64> = publish.iter().map(|&p| u64::from(p)).collect();
            let found = quantile_intervals(&latency, &publish, &ALL, &how(100, 1));
            found.iter().flatten().count()
        };
        // However many deliveries a publish has.
        for fan_out in [1, 30] {
            assert_eq!(publishes(11, fan_out), 0);
            assert_eq!(publishes(12, fan_out), 1);
            assert_eq!(publishes(56, fan_out), 1);
            assert_eq!(publishes(57, fan_out), 2);
            assert_eq!(publishes(569, fan_out), 2);
            assert_eq!(publishes(570, fan_out), 3);
        }
        assert_eq!(publishes(5_699, 1), 3);
        assert_eq!(publishes(5_700, 1), 4);
        // 99.9% needs 7.6 publishes beyond: 15 do for p50 no more.
        let latency: Vec<u64> = (0..16).collect();
        let publish: Vec<u32> = (0..16).collect();
        let strict = Bootstrap {
            confidence: 0.999,
            ..how(4_000, 1)
        };
        let found = |n| quantile_intervals(&latency[..n], &publish[..n], &[0.5], &strict);
        assert_eq!(found(15), [None]);
        assert!(found(16)[0].is_some());
        // A thousand deliveries of one publish and one each of twenty are no 21 publishes.
        let publish: Vec<u32> = (0..1_020u32).map(|i| i.saturating_sub(999)).collect();
        assert_eq!(
            quantile_intervals(&[5; 1_020], &publish, &[0.5], &how(100, 1)),
            [None]
        );
    }

    #[test]
    fn what_has_no_interval_is_none() {
        let latency: Vec<u64> = (0..100).collect();
        let publish: Vec<u32> = (0..100).collect();
        let usual = how(100, 1);
        assert_eq!(quantile_intervals(&[], &[], &ALL, &usual), [None; 4]);
        assert_eq!(
            quantile_intervals(&latency, &publish[1..], &ALL, &usual),
            [None; 4]
        );
        assert_eq!(quantile_intervals(&latency, &publish, &[], &usual), []);
        let odd = [0.0, 1.0, -1.0, 7.0, f64::NAN, f64::INFINITY];
        assert_eq!(
            quantile_intervals(&latency, &publish, &odd, &usual),
            [None; 6]
        );
        for confidence in [0.0, 1.0, -1.0, f64::NAN, f64::INFINITY] {
            let how = Bootstrap {
                confidence,
                ..usual
            };
            assert_eq!(quantile_intervals(&latency, &publish, &[0.5], &how), [None]);
        }
        // 39 replicates are just enough for 95%.
        let found = |replicates| {
            quantile_intervals(&latency, &publish, &[0.5], &how(replicates, 1))[0].is_some()
        };
        assert_eq!((found(0), found(38), found(39)), (false, false, true));
        let equal = quantile_intervals(&[u64::MAX; 100], &publish, &[0.5], &usual);
        let (low_ns, high_ns) = (u64::MAX, u64::MAX);
        assert_eq!(equal, [Some(IntervalNs { low_ns, high_ns })]);
    }

    #[test]
    fn one_seed_gives_one_answer() {
        let latency: Vec<u64> = park_miller(900).iter().map(|u| (u * 1e9) as u64).collect();
        let publish: Vec<u32> = (0..900).map(|i| i / 3).collect();
        let found = |seed| quantile_intervals(&latency, &publish, &ALL, &how(200, seed));
        assert_eq!(found(1), found(1));
        assert_ne!(found(1), found(2));
    }

    /// Share of trials in which the interval of each quantile holds the true one, for publishes
    /// whose deliveries have a correlation of 0.9 in the logarithm of their latency; in blocks of
    /// one publish, and as if every delivery stood alone.
    #[test]
    fn blocks_cover_the_truth_where_single_deliveries_do_not() {
        const QUANTILES: [f64; 2] = [0.5, 0.9];
        // Standard normal quantiles.
        const Z: [f64; 2] = [0.0, 1.281_551_565_544_6];
        let (publishes, fan_out, trials) = (160, 4, 200);
        let shared_sd = 0.9_f64.sqrt();
        let own_sd = 0.1_f64.sqrt();
        let mut random = SplitMix64::new(11);
        let (mut blocked, mut naive) = ([0; 2], [0; 2]);
        for trial in 0..trials {
            let (mut latency, mut publish) = (Vec::new(), Vec::new());
            for number in 0..publishes {
                let shared = shared_sd * normal(&mut random);
                for _ in 0..fan_out {
                    let own = own_sd * normal(&mut random);
                    latency.push((1e6 * (shared + own).exp()) as u64);
                    publish.push(number);
                }
            }
            let alone: Vec<u32> = (0..latency.len() as u32).collect();
            for (publish, covered) in [(&publish, &mut blocked), (&alone, &mut naive)] {
                let found = quantile_intervals(&latency, publish, &QUANTILES, &how(119, trial));
                for ((found, z), covered) in found.into_iter().zip(Z).zip(covered) {
                    let found = found.expect("160 publishes");
                    let truth = (1e6 * f64::exp(z)) as u64;
                    *covered += usize::from((found.low_ns..=found.high_ns).contains(&truth));
                }
            }
        }
        let share = |covered: [usize; 2]| covered.map(|c| c as f64 / trials as f64);
        let (blocked, naive) = (share(blocked), share(naive));
        // Three standard errors of 0.95 over 200 trials: 0.046.
        assert!(
            blocked.iter().all(|c| (c - 0.95).abs() < 0.046),
            "{blocked:?}"
        );
        assert!(naive.iter().all(|c| *c < 0.85), "{naive:?}");
    }
}
