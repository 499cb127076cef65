//! The first phase of a trial and the last: clients are opened, and closed again.
//!
//! Around the data path. In: the fleet's status, the machine's and the processes' memory. Out: how
//! many clients are connected, memory at the pauses on the way, and, where a limit was met, its name.

use std::time::Duration;

use tokio::time::Instant;

use super::TrialError;
use super::phases::Running;
use crate::environment::guard::MemoryGuard;
use crate::environment::target::{Fleet, Target};
use crate::load::Status;
use crate::observe::kernel::{self, KernelMemory};
use crate::observe::network::NetworkCounters;
use crate::observe::process;
use crate::record::{Cause, Check, MemoryPoint, Outcome, Reason, Trial, Verdict};

/// How long memory is left to come to rest before it is read.
const MEMORY_REST: Duration = Duration::from_millis(50);

/// Most readings of the kernel's memory while it comes to rest after a trial before.
const REST_LOOKS: u32 = 20;

/// A change of the kernel's memory between two readings that counts as rest.
const REST_BYTES: u64 = 512 << 10;

/// Pauses of the connect phase at which memory is read …
const MEMORY_PAUSES: u32 = 4;

/// … and with as many clients as [`MANY`], whose connecting takes seconds anyway.
const MANY_PAUSES: u32 = 8;
const MANY: u32 = 20_000;

/// Growth that comes no further for so long has stalled; a SYN that was lost is sent again after
/// 1, 3, 7 and 15 s.
const STALL: Duration = Duration::from_secs(20);

/// Growth that comes no further for so long makes the run look at the server's descriptors.
const SUSPICION: Duration = Duration::from_secs(2);

/// Fewer than this a second on average, where no slower pace was asked for, is not growth.
const LEAST_PER_S: f64 = 100.0;

/// How often the phase looks.
const LOOK: Duration = Duration::from_millis(10);

/// Most time for the server to forget its clients, beside that for each of them.
const FORGET: Duration = Duration::from_secs(5);

/// Clients that even a slow server forgets in a second.
const FORGOTTEN_PER_S: f64 = 10_000.0;

/// Why the growth ended before all clients were connected.
struct Stop {
    cause: Cause,
    words: String,
}

impl<T: Target, F: Fleet> Running<'_, T, F> {
    /// Opens the clients, with pauses on the way at which memory is read. `false`: a limit was met,
    /// and the trial is to end.
    pub(super) async fn connect(&mut self, trial: &mut Trial) -> Result<bool, TrialError> {
        let start = self.now();
        let clients = self.plan.scenario.clients.count;
        let network = NetworkCounters::read();
        let reads_memory = self.plan.reads_memory;
        if reads_memory {
            let base = self.kernel_at_rest().await;
            let memory = &mut trial.server.memory;
            memory.method = format!(
                "user: PSS of server and fleet, /proc/PID/smaps_rollup; {}",
                kernel::METHOD
            );
            memory.base_bytes = process::pss_bytes(self.server());
            memory.kernel_base_bytes = base.map(|k| k.bytes());
            memory.time_wait = base.map(|k| k.time_wait);
        }
        let guard = MemoryGuard::of_this_machine();
        // Where there is no slope, memory is read once and waited for nowhere.
        let (pauses, rest) = match clients {
            _ if self.plan.is_small() => (1, Duration::ZERO),
            ..MANY => (MEMORY_PAUSES, MEMORY_REST),
            _ => (MANY_PAUSES, MEMORY_REST),
        };
        let mut stop = None;
        let mut connecting_ns = 0;
        for pause in 1..=pauses {
            let up_to = (u64::from(clients) * u64::from(pause) / u64::from(pauses)) as u32;
            let began_ns = self.clocks.now_ns();
            self.fleet.connect(up_to).await?;
            let (status, stopped) = self.await_connected(up_to, &guard, network).await?;
            connecting_ns += status.last_connected_ns.saturating_sub(began_ns);
            trial.clients.connected = status.connected;
            trial.clients.refused = status.refused;
            trial.clients.disconnected = status.disconnected;
            if stopped.is_some() {
                // Those under way may still come; no others.
                self.fleet.connect(0).await?;
            }
            if reads_memory {
                tokio::time::sleep(rest).await;
                trial.server.memory.points.push(MemoryPoint {
                    clients: status.connected,
                    user_bytes: process::pss_bytes(self.server()),
                    fleet_bytes: process::pss_bytes(self.fleet.process()),
                    kernel_bytes: KernelMemory::read().map(|k| k.bytes()),
                });
            }
            if stopped.is_some() {
                stop = stopped;
                break;
            }
        }
        let connected = trial.clients.connected as f64;
        trial.clients.connected_per_s =
            (connecting_ns > 0).then(|| connected * 1e9 / connecting_ns as f64);
        trial.server.memory.fit();
        trial.harness.memory_fit = trial.server.memory.fleet_fit();
        trial.harness.memory_bytes_per_client =
            trial.harness.memory_fit.map(|fit| fit.bytes_per_client);
        trial.server.threads = process::threads(self.server());
        self.connecting = since(network);
        trial.phase_ns.connect = self.since(start);
        let Some(stop) = stop else {
            return Ok(true);
        };
        enter(trial, stop);
        Ok(false)
    }

    /// Waits until so many clients have come, one way or the other, or a limit is met.
    async fn await_connected(
        &mut self,
        up_to: u32,
        guard: &MemoryGuard,
        network: Option<NetworkCounters>,
    ) -> Result<(Status, Option<Stop>), TrialError> {
        let target = u64::from(up_to);
        let asked = self.plan.scenario.clients.connect_per_s;
        let pace = asked.map_or(LEAST_PER_S, |per_s| per_s.min(LEAST_PER_S));
        let deadline = Instant::now() + STALL + Duration::from_secs_f64(f64::from(up_to) / pace);
        let (mut progressed, mut came) = (Instant::now(), 0);
        let mut suspected = false;
        loop {
            self.target.check()?;
            let status = self.fleet.status().await?;
            if status.dead_shards > 0 {
                return Err(TrialError::DeadShards(status.dead_shards));
            }
            let all = u64::from(self.plan.scenario.clients.count);
            self.show("connect", status.connected, all);
            let said = || status.errors.first().cloned().unwrap_or_default();
            let stop = |cause, words: String| Some(Stop { cause, words });
            let now = status.connected + status.refused + status.disconnected;
            if now >= target {
                // Refused, and none of the reasons that the kernel names: the server's own.
                let cause = status.stopped_by.unwrap_or(Cause::Refused);
                let stop = (status.refused > 0).then(|| Stop {
                    cause,
                    words: said(),
                });
                return Ok((status, stop));
            }
            if let Some(cause) = status.stopped_by
                && cause.ends_growth()
            {
                let words = said();
                return Ok((status, stop(cause, words)));
            }
            if let Some(pressure) = guard.look() {
                return Ok((status, stop(Cause::Memory, pressure.to_string())));
            }
            if now > came {
                (progressed, came, suspected) = (Instant::now(), now, false);
            }
            if progressed.elapsed() > SUSPICION
                && !std::mem::replace(&mut suspected, true)
                && let Some((open, limit)) = process::full_table(self.server())
            {
                let words = format!("the server has {open} of {limit} descriptors open");
                return Ok((status, stop(Cause::ServerDescriptors, words)));
            }
            if progressed.elapsed() > STALL || Instant::now() > deadline {
                let lost = since(network).map_or(0, |counted| counted.listen_overflows);
                let found = if lost > 0 {
                    let words = format!("a listener's queue was full {lost} times");
                    stop(Cause::Backlog, words)
                } else {
                    let words = format!("{} s without a further client", STALL.as_secs());
                    stop(Cause::Stalled, words)
                };
                return Ok((status, found));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Closes the clients and reads what the server and the kernel keep.
    pub(super) async fn disconnect(&mut self, trial: &mut Trial) -> Result<(), TrialError> {
        let start = self.now();
        self.show("disconnect", 0, 1);
        self.fleet.close().await?;
        let each = Duration::from_secs_f64(trial.clients.connected as f64 / FORGOTTEN_PER_S);
        let deadline = Instant::now() + FORGET + each;
        loop {
            let stats = self.target.stats().await?;
            if stats.subscribers == 0 || Instant::now() > deadline {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        if self.plan.reads_memory {
            let kernel = self.kernel_at_rest().await;
            let memory = &mut trial.server.memory;
            memory.after_disconnect_bytes = process::pss_bytes(self.server());
            memory.kernel_after_disconnect_bytes = kernel.map(|k| k.bytes());
            memory.give_back();
        }
        trial.phase_ns.disconnect = self.since(start);
        self.show("disconnect", 1, 1);
        Ok(())
    }

    /// Reads the kernel's memory once it has come to rest: sockets of the trial before are freed
    /// late. At once where there are too few clients for it to matter.
    async fn kernel_at_rest(&self) -> Option<KernelMemory> {
        let mut before = KernelMemory::read();
        if self.plan.is_small() {
            return before;
        }
        for _ in 0..REST_LOOKS {
            tokio::time::sleep(MEMORY_REST).await;
            let now = KernelMemory::read();
            let moved = now?.bytes().abs_diff(before?.bytes());
            before = now;
            if moved <= REST_BYTES {
                break;
            }
        }
        before
    }
}

/// What the kernel counted since then.
fn since(before: Option<NetworkCounters>) -> Option<NetworkCounters> {
    Some(NetworkCounters::read()?.since(&before?))
}

/// Enters that the growth ended early: the trial says nothing of the workload.
fn enter(trial: &mut Trial, stop: Stop) {
    let (connected, target) = (trial.clients.connected, trial.clients.target);
    trial.clients.stopped_by = Some(stop.cause);
    let check = "clients_connected".to_owned();
    trial.validity.checks.push(Check {
        check: check.clone(),
        outcome: Outcome::Failed,
        measured: Some(connected as f64),
        limit: Some(target as f64),
        not_tested: None,
    });
    let reason = Reason {
        check,
        measured: Some(connected as f64),
        limit: Some(target as f64),
        remedy: stop.cause.remedy().to_owned(),
        message: format!(
            "{connected} of {target} clients connected, then a limit was met: {} ({})",
            stop.cause, stop.words
        ),
    };
    trial.validity.raise(Verdict::Void, reason);
}
