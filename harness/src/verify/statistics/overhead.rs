//! What probes and audit cost: rounds with and without them, in turns.

use std::time::Duration;

use super::{Runner, Subject, ratio_over_slices, word};
use crate::analysis::stats::Ratio;
use crate::record::Slice;
use crate::run::RunError;

/// Rounds of either.
const ROUNDS: u32 = 30;

/// Confidence of the interval.
const CONFIDENCE: f64 = 0.95;

/// What probes and audit may cost, of the CPU per delivery on both sides: the interval's upper end.
const MOST: f64 = 1.03;

impl Runner<'_> {
    /// What probes and audit cost, on both sides together.
    pub(super) async fn overhead(&mut self, with: &Subject) -> Result<bool, RunError> {
        let without = Subject {
            probes: false,
            ..with.clone()
        };
        let sides = self
            .rounds(&[with, &without], ROUNDS, Duration::ZERO)
            .await?;
        let found = ratio_over_slices(&sides[0], &sides[1], both_sides, CONFIDENCE);
        let Some(Ratio {
            ratio, low, high, ..
        }) = found
        else {
            self.listener
                .result("overhead: too few trials came to their end: FAILED");
            return Ok(false);
        };
        let holds = high <= MOST;
        self.listener.result(&format!(
            "overhead: CPU per delivery on both sides, with probes and audit over without, {ROUNDS} \
             rounds: × {ratio:.3} ({low:.3}–{high:.3}, 95%), the upper end at most × {MOST} allowed: {}",
            word(holds)
        ));
        Ok(holds)
    }
}

/// CPU time of server and fleet together for each delivery.
fn both_sides(slice: &Slice) -> Option<f64> {
    slice.per_delivery(Some(slice.server_cpu_ns? + slice.harness_cpu_ns?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_delivery_is_that_of_both_sides() {
        let slice = Slice {
            server_cpu_ns: Some(300),
            harness_cpu_ns: Some(100),
            deliveries: 4,
            ..Slice::default()
        };
        assert_eq!(both_sides(&slice), Some(100.0));
        let unread = Slice {
            harness_cpu_ns: None,
            ..slice
        };
        assert_eq!(both_sides(&unread), None);
    }
}
