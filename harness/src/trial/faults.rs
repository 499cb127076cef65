//! What a scenario does to its server while messages are published: kills and restarts it, lets a
//! second one take over, stops it for a while.
//!
//! Around the data path. In: the faults of the scenario. Out: a server that goes on, and when each
//! fault began and was over. The publish schedule stands for a durable log upstream: whoever takes
//! over knows it, refills its rings from it and goes on where it stands.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::control::PublishPlan;
use serde_json::{Value, json};

use super::{Running, TrialError, server_arguments};
use crate::environment::process::ManagedProcess;
use crate::observe::process;
use crate::record::FaultDone;
use crate::scenario::{Fault, FaultKind};

/// How long beyond its `over_ms` a draining server may take to end.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How often a server that drains is looked at: what it used in the last stretch is not seen.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// What the trial knows of its servers, of which there may be several one after another.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// What every one of them publishes.
    pub(super) publish: Option<PublishPlan>,
    /// CPU time of those that have ended.
    pub(super) ended_cpu_ns: u64,
    /// Whether the last has ended and the next is not there yet.
    pub(super) is_down: bool,
    /// How many have ended.
    pub(super) ended: u32,
    /// The one that drains, beside the one that took over.
    pub(super) draining: Option<u32>,
    /// What was done.
    pub(super) faults: Vec<FaultDone>,
}

impl Running<'_> {
    /// CPU time of all servers so far.
    pub(super) fn server_cpu_ns(&self) -> Option<u64> {
        let now = if self.servers.is_down {
            0
        } else {
            process::cpu_ns(self.server.pid)?
        };
        let draining = self.servers.draining.and_then(process::cpu_ns);
        Some(now + draining.unwrap_or(0) + self.servers.ended_cpu_ns)
    }

    /// Resident memory of all servers that there are.
    pub(super) fn server_resident_bytes(&self) -> Option<u64> {
        let now = process::resident_bytes(self.server.pid);
        let draining = self.servers.draining.and_then(process::resident_bytes);
        match (now, draining) {
            (None, None) => None,
            (now, draining) => Some(now.unwrap_or(0) + draining.unwrap_or(0)),
        }
    }

    /// The measure phase: waits for its end, and does to the server what the scenario says.
    pub(super) async fn through_faults(
        &mut self,
        measure_from: Instant,
        until: Instant,
    ) -> Result<(), TrialError> {
        let faults = self.plan.scenario.faults.clone();
        for fault in faults.iter().filter(|f| f.is_of_the_run()) {
            self.wait(
                "measure",
                measure_from + Duration::from_secs_f64(fault.at_s),
            )
            .await?;
            let began_ns = monotonic_ns();
            match fault.kind {
                FaultKind::ServerKill => self.kill_and_restart(fault, began_ns).await?,
                FaultKind::ServerDrain => self.hand_over(fault).await?,
                FaultKind::ServerStall => self.stall(fault).await?,
                FaultKind::ConnectionCuts => {}
                FaultKind::ShardPanic => {
                    let _: Value = self.fleet.post("/v1/fleet/panic", &Value::Null).await?;
                }
            }
            let from_ns = self.measure_from_ns;
            self.servers.faults.push(FaultDone {
                kind: fault.kind,
                at_ns: began_ns.saturating_sub(from_ns),
                over_ns: monotonic_ns().saturating_sub(from_ns),
            });
        }
        self.wait("measure", until).await
    }

    async fn kill_and_restart(&mut self, fault: &Fault, began_ns: u64) -> Result<(), TrialError> {
        // Its clock ends with it.
        let used = self.server_cpu_ns();
        self.server.kill().await;
        self.servers.ended_cpu_ns = used.unwrap_or(self.servers.ended_cpu_ns);
        self.servers.is_down = true;
        self.servers.ended += 1;
        let down = Duration::from_millis(fault.down_ms.unwrap_or(0));
        let back =
            Instant::now() + down.saturating_sub(Duration::from_nanos(monotonic_ns() - began_ns));
        self.pass("down", back).await?;
        self.server = self.successor(false).await?;
        self.servers.is_down = false;
        Ok(())
    }

    async fn hand_over(&mut self, fault: &Fault) -> Result<(), TrialError> {
        let next = self.successor(true).await?;
        let mut old = std::mem::replace(&mut self.server, next);
        self.servers.draining = Some(old.pid);
        let over_ms = fault.over_ms.unwrap_or(0);
        let _: Value = old
            .post("/v1/drain", &json!({ "over_ms": over_ms }))
            .await?;
        let deadline = Instant::now() + Duration::from_millis(over_ms) + DRAIN_GRACE;
        let mut used = 0;
        while old.check().is_ok() {
            used = process::cpu_ns(old.pid).unwrap_or(used);
            if Instant::now() > deadline {
                return Err(TrialError::Undrained(over_ms));
            }
            self.pass("drain", Instant::now() + DRAIN_LOOK).await?;
        }
        self.servers.draining = None;
        self.servers.ended_cpu_ns += used;
        self.servers.ended += 1;
        old.end().await;
        Ok(())
    }

    async fn stall(&mut self, fault: &Fault) -> Result<(), TrialError> {
        let pid = Pid::from_raw(self.server.pid as i32);
        let signal = |signal| kill(pid, signal).map_err(|e| TrialError::Interference(e.into()));
        signal(Signal::SIGSTOP)?;
        let until = Instant::now() + Duration::from_millis(fault.for_ms.unwrap_or(0));
        let passed = self.pass("stopped", until).await;
        // Also where all is to end: a process that is stopped does not end by itself.
        signal(Signal::SIGCONT)?;
        passed
    }

    /// A server that takes the port of the one before, with the log refilled.
    async fn successor(&self, beside: bool) -> Result<ManagedProcess, TrialError> {
        let plan = self.plan;
        let mut arguments = server_arguments(plan, Some(self.address));
        let channels = format!(
            "{}*{}",
            plan.scenario.channels.prefix,
            plan.scenario.channel_count()
        );
        let policy = plan.scenario.channels.overflow[0];
        arguments.extend(["--channel".to_owned(), format!("{channels}:{policy}")]);
        if let Some(publish) = &self.servers.publish {
            let publish = serde_json::to_string(publish).unwrap_or_default();
            arguments.extend(["--publish-plan".to_owned(), publish]);
        }
        if beside {
            arguments.push("--share-port".to_owned());
        }
        Ok(ManagedProcess::start("server", plan.program, &arguments).await?)
    }

    /// Lets time pass while there may be no server; the fleet is looked after, and what is kept over
    /// time is kept.
    async fn pass(&mut self, phase: &'static str, until: Instant) -> Result<(), TrialError> {
        loop {
            self.show(phase, 0, 1);
            self.look_over_time();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.nap(left).await?;
            self.fleet.check()?;
        }
    }
}

/// Where a server is to listen; any port where it is the first.
pub(super) fn listen(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "127.0.0.1:0".to_owned(), |a| a.to_string())
}
