//! What a scenario does to its server while messages are published: kills and restarts it, lets a
//! second one take over, stops it for a while.
//!
//! Around the data path. In: the faults of the scenario. Out: a server that goes on, and when each
//! fault began and was over. The publish schedule stands for a durable log upstream: whoever takes
//! over knows it, refills its rings from it and goes on where it stands.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::TrialError;
use super::phases::Running;
use crate::environment::target::{Fleet, Target};
use crate::observe::process;
use crate::record::FaultDone;
use crate::scenario::{Fault, FaultKind};

/// How long beyond its `over_ms` a draining server may take to end.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How often a server that drains is looked at: what it used in the last stretch is not seen.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// What was done to the servers of a trial, of which there may be several one after another.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// CPU time of each process of the target, as last read: the clock of one that has ended is gone.
    cpu_ns: BTreeMap<u32, u64>,
    /// How many have ended.
    pub(super) ended: u32,
    /// What was done.
    pub(super) done: Vec<FaultDone>,
}

impl<T: Target, F: Fleet> Running<'_, T, F> {
    /// CPU time of all servers so far.
    pub(super) fn server_cpu_ns(&mut self) -> Option<u64> {
        for process in self.target.processes() {
            let used_ns = self.clocks.cpu_ns(process)?;
            self.faults.cpu_ns.insert(process, used_ns);
        }
        Some(self.faults.cpu_ns.values().sum())
    }

    /// Resident memory of all servers that there are.
    pub(super) fn server_resident_bytes(&self) -> Option<u64> {
        let processes = self.target.processes().into_iter();
        processes
            .filter_map(process::resident_bytes)
            .reduce(|a, b| a + b)
    }

    /// The measure phase: waits for its end, and does to the server what the scenario says.
    pub(super) async fn through_faults(&mut self, until_ns: u64) -> Result<(), TrialError> {
        let scenario = self.plan.scenario;
        for fault in scenario.faults.iter().filter(|f| f.is_of_the_run()) {
            let from_ns = self.measure_from_ns;
            self.wait("measure", from_ns + (fault.at_s * 1e9) as u64)
                .await?;
            let began_ns = self.clocks.now_ns();
            match fault.kind {
                FaultKind::ServerKill => self.kill_and_restart(fault, began_ns).await?,
                FaultKind::ServerDrain => self.hand_over(fault).await?,
                FaultKind::ServerStall => self.stall(fault).await?,
                FaultKind::ConnectionCuts => {}
                FaultKind::ShardPanic => self.fleet.panic().await?,
            }
            self.faults.done.push(FaultDone {
                kind: fault.kind,
                at_ns: began_ns.saturating_sub(from_ns),
                over_ns: self.clocks.now_ns().saturating_sub(from_ns),
            });
        }
        self.wait("measure", until_ns).await
    }

    async fn kill_and_restart(&mut self, fault: &Fault, began_ns: u64) -> Result<(), TrialError> {
        // Its clock ends with it.
        let _ = self.server_cpu_ns();
        self.target.kill().await;
        self.faults.ended += 1;
        self.wait("down", began_ns + ns(fault.down_ms)).await?;
        Ok(self.target.restart().await?)
    }

    async fn hand_over(&mut self, fault: &Fault) -> Result<(), TrialError> {
        let over_ms = fault.over_ms.unwrap_or(0);
        self.target.hand_over(over_ms).await?;
        let deadline_ns = self.clocks.now_ns() + ns(fault.over_ms) + DRAIN_GRACE.as_nanos() as u64;
        loop {
            let _ = self.server_cpu_ns();
            if self.target.has_handed_over().await {
                break;
            }
            let now_ns = self.clocks.now_ns();
            if now_ns > deadline_ns {
                return Err(TrialError::Undrained {
                    over_ms,
                    grace_s: DRAIN_GRACE.as_secs(),
                });
            }
            self.wait("drain", now_ns + DRAIN_LOOK.as_nanos() as u64)
                .await?;
        }
        self.faults.ended += 1;
        Ok(())
    }

    async fn stall(&mut self, fault: &Fault) -> Result<(), TrialError> {
        let signal = |target: &mut T, signal| {
            let sent = target.signal(signal);
            sent.map_err(TrialError::Interference)
        };
        signal(&mut self.target, Signal::SIGSTOP)?;
        let until_ns = self.clocks.now_ns() + ns(fault.for_ms);
        let passed = self.wait("stopped", until_ns).await;
        // Also where all is to end: a process that is stopped does not end by itself.
        signal(&mut self.target, Signal::SIGCONT)?;
        passed
    }
}

fn ns(ms: Option<u64>) -> u64 {
    ms.unwrap_or(0).saturating_mul(1_000_000)
}
