//! What the seeded simulations of the tests draw from.

use pushbench_protocol::payload::SplitMix64;

/// Uniform, above 0 and at most 1.
pub(super) fn uniform(random: &mut SplitMix64) -> f64 {
    ((random.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Exponential with the mean 1, by inversion.
pub(super) fn exponential(random: &mut SplitMix64) -> f64 {
    -uniform(random).ln()
}

/// Standard normal (Box and Muller 1958).
pub(super) fn normal(random: &mut SplitMix64) -> f64 {
    let radius = (2.0 * exponential(random)).sqrt();
    radius * (std::f64::consts::TAU * uniform(random)).cos()
}

/// The "minimal standard" generator (Park and Miller 1988) from the seed 1, in (0, 1): short enough
/// to be written again in the language that gave an expected value.
///
/// In Python: `s = 1`, then n times `s = s * 16807 % 2147483647; yield s / 2147483647`.
pub(super) fn park_miller(n: usize) -> Vec<f64> {
    let mut state = 1u64;
    (0..n)
        .map(|_| {
            state = state * 16_807 % 2_147_483_647;
            state as f64 / 2_147_483_647.0
        })
        .collect()
}
