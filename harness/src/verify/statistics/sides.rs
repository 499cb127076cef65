//! Rounds of subjects that take turns: fresh processes each, as in a run.

use std::time::Duration;

use super::{Rounds, Runner, Subject};
use crate::run::{RunError, turn_of};

impl Runner<'_> {
    /// So many rounds of each of `sides`, whose messages take `delay` longer than usual.
    pub(super) async fn rounds(
        &mut self,
        sides: &[&Subject],
        rounds: u32,
        delay: Duration,
    ) -> Result<Vec<Rounds>, RunError> {
        let turn = turn_of(&sides[0].scenario, sides.len() as u32);
        let mut turn = turn.expect("a scenario that can be sliced, as a test checks");
        let delay_ns = delay.as_nanos() as u64;
        turn.slices.pause_ns += delay_ns;
        turn.slices.gap_ns += delay_ns;
        let mut all = vec![Vec::new(); sides.len()];
        for index in 1..=rounds {
            let trials = self.bench.in_turns(sides, turn, index).await?;
            for (side, trial) in all.iter_mut().zip(trials) {
                side.push(trial);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use pushbench_protocol::transport::Transport;

    #[test]
    fn what_is_compared_can_be_sliced() {
        let quick = Scenario::load("quick").expect("built in");
        let mut few = Subject::undisturbed(Transport::Sse);
        few.rate(super::super::RELAYED_PER_S);
        for scenario in [quick, few.scenario] {
            let turn = turn_of(&scenario, 2).expect("it can");
            assert_eq!(turn.slices.blocks - turn.warm_up_blocks, 8);
        }
    }
}
