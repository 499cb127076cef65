//! The phases of a trial, one after the other.
//!
//! Around the data path. In: a plan, a target, a fleet, clocks. Out: a trial's row, filled in as the
//! phases go by, so that one which fails half-way keeps what was measured.

use std::time::{Duration, SystemTime};

use pushbench_protocol::control::Stats;

use super::faults::Faults;
use super::interfere::Interference;
use super::live::{Live, LiveSampler};
use super::window::Window;
use super::{Histograms, Plan, Progress, TrialError};
use crate::environment::layer::Placed;
use crate::environment::target::{Clocks, Fleet, Target};
use crate::load::{MeasurePhase, Setup};
use crate::observe::kernel::KernelMemory;
use crate::observe::network::NetworkCounters;
use crate::observe::process;
use crate::record::{Moment, Span, Trial};

/// How often the phases look whether the processes live.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// How often the drain looks whether everything has arrived.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// A trial under way.
pub(super) struct Running<'a, T, F> {
    pub(super) plan: &'a Plan<'a>,
    /// Before the processes, so that they end before those do.
    pub(super) interference: Interference,
    pub(super) layers: Vec<Box<dyn Placed>>,
    pub(super) target: T,
    pub(super) fleet: F,
    pub(super) clocks: &'a dyn Clocks,
    pub(super) started_ns: u64,
    watch: &'a dyn Fn(Progress),
    pub(super) window: Window,
    /// The kernel's counters over the connect phase.
    pub(super) connecting: Option<NetworkCounters>,
    pub(super) gaps_ns: Vec<u64>,
    pub(super) sampler: LiveSampler,
    pub(super) faults: Faults,
    /// What the fleet was told, from which follows what is due.
    pub(super) setup: Option<Setup>,
    /// When the measure phase begins, in ns of `CLOCK_MONOTONIC`; 0 before that is known.
    pub(super) measure_from_ns: u64,
    /// The same by the wall clock, once it has begun.
    pub(super) measure_started: Option<SystemTime>,
    /// Whether it was interrupted in its turns: what was due since is in no count.
    pub(super) was_cut: bool,
    pub(super) moments: Vec<Moment>,
    pub(super) cpu_at_start_ns: Option<u64>,
    /// Memory of the server and of the kernel before the first message.
    pub(super) before_bytes: (Option<u64>, Option<u64>),
    /// Whether the kernel's peak of the server's memory is that of the measure phase.
    pub(super) peak_is_fresh: bool,
    /// The server's counters at the end.
    pub(super) stats: Stats,
}

impl<'a, T: Target, F: Fleet> Running<'a, T, F> {
    pub(super) fn new(
        plan: &'a Plan<'a>,
        target: T,
        fleet: F,
        clocks: &'a dyn Clocks,
        watch: &'a dyn Fn(Progress),
    ) -> Self {
        Self {
            plan,
            interference: Interference::default(),
            layers: Vec::new(),
            target,
            fleet,
            clocks,
            started_ns: clocks.now_ns(),
            watch,
            window: Window::default(),
            connecting: None,
            gaps_ns: Vec::new(),
            sampler: LiveSampler::default(),
            faults: Faults::default(),
            setup: None,
            measure_from_ns: 0,
            measure_started: None,
            was_cut: false,
            moments: Vec::new(),
            cpu_at_start_ns: None,
            before_bytes: (None, None),
            peak_is_fresh: false,
            stats: Stats::default(),
        }
    }

    /// All phases. `None`: a limit was met while clients connected, and the trial ended there.
    pub(super) async fn through(
        mut self,
        trial: &mut Trial,
    ) -> Result<Option<Histograms>, TrialError> {
        if !self.prepare(trial).await? {
            self.stop().await;
            return Ok(None);
        }
        let lead_ns = self.plan.lead(1).as_nanos() as u64;
        let phase = self.begin(self.clocks.now_ns() + lead_ns).await?;
        self.measure(trial, &phase).await?;
        let histograms = self.settle_accounts(trial, &phase).await?;
        Ok(Some(histograms))
    }

    /// Starts both sides and connects every client. `false`: a limit was met, and all are closed again.
    pub(super) async fn prepare(&mut self, trial: &mut Trial) -> Result<bool, TrialError> {
        self.show("start", 0, 1);
        self.set_up(trial).await?;
        if self.connect(trial).await? {
            self.settle(trial).await?;
            return Ok(true);
        }
        self.disconnect(trial).await?;
        Ok(false)
    }

    /// From the end of the measure phase to that of the trial.
    pub(super) async fn settle_accounts(
        mut self,
        trial: &mut Trial,
        phase: &MeasurePhase,
    ) -> Result<Histograms, TrialError> {
        if self.was_cut {
            self.close_window().await?;
        } else {
            self.drain(trial).await?;
        }
        let report = self.finish(trial, phase).await?;
        let histograms = self.collect(trial, &report, phase);
        self.disconnect(trial).await?;
        self.judge(trial, &report);
        self.stop().await;
        Ok(histograms)
    }

    /// Ends both sides.
    pub(super) async fn stop(&mut self) {
        self.target.stop().await;
        self.fleet.stop().await;
    }

    /// Time since the trial began, in ns.
    pub(super) fn now(&self) -> u64 {
        self.clocks.now_ns() - self.started_ns
    }

    /// A phase that began at `start` and ends now.
    pub(super) fn since(&self, start: u64) -> Option<Span> {
        let end = self.now();
        Some(Span { start, end })
    }

    /// The process that publishes; 0 where there is none.
    pub(super) fn server(&self) -> u32 {
        self.target.processes().first().copied().unwrap_or(0)
    }

    pub(super) fn show(&self, phase: &'static str, done: u64, of: u64) {
        let live: Option<Live> = self.sampler.live();
        (self.watch)(Progress {
            phase,
            done,
            of,
            live,
        });
    }

    async fn set_up(&mut self, trial: &mut Trial) -> Result<(), TrialError> {
        let mut address = self.target.start().await?;
        self.fleet.start().await?;
        trial.server.allocator = self.target.allocator();
        trial.harness.allocator = self.fleet.allocator();
        let plan = self.plan;
        for layer in &plan.layers {
            let placed = layer.put(address, plan.layout).map_err(TrialError::Layer)?;
            address = placed.address();
            self.layers.push(placed);
        }
        let setup = plan.setup(address);
        self.fleet.set_up(&setup).await?;
        self.setup = Some(setup);
        Ok(())
    }

    async fn settle(&mut self, trial: &mut Trial) -> Result<(), TrialError> {
        if !self.plan.reads_memory {
            return Ok(());
        }
        let start = self.now();
        let settle_ns = self.plan.scenario.phases.settle().as_nanos() as u64;
        self.wait("settle", self.clocks.now_ns() + settle_ns)
            .await?;
        let memory = &mut trial.server.memory;
        memory.settled_bytes = process::pss_bytes(self.server());
        memory.kernel_settled_bytes = KernelMemory::read().map(|k| k.bytes());
        self.before_bytes = (self.server_resident_bytes(), memory.kernel_settled_bytes);
        trial.phase_ns.settle = self.since(start);
        Ok(())
    }

    /// Waits until a time of `CLOCK_MONOTONIC`, looks whether the processes live, and keeps what is
    /// kept over time.
    pub(super) async fn wait(
        &mut self,
        phase: &'static str,
        until_ns: u64,
    ) -> Result<(), TrialError> {
        let start_ns = self.clocks.now_ns();
        let ms = |ns: u64| ns / 1_000_000;
        loop {
            let now_ns = self.clocks.now_ns();
            let whole_ns = until_ns.saturating_sub(start_ns);
            self.show(phase, ms((now_ns - start_ns).min(whole_ns)), ms(whole_ns));
            let left = Duration::from_nanos(until_ns.saturating_sub(now_ns));
            // An edge of the window may be due at the very end.
            self.take_due_edge().await?;
            if left.is_zero() {
                return Ok(());
            }
            let edge = self.until_edge().unwrap_or(LOOK);
            tokio::time::sleep(left.min(LOOK).min(edge)).await;
            self.target.check()?;
            self.fleet.check()?;
            self.look_over_time();
            // Never so late that an answer would hold up the end of the phase.
            if until_ns.saturating_sub(self.clocks.now_ns()) > LOOK.as_nanos() as u64 {
                let offered_per_s = self.plan.scenario.offered_deliveries_per_s();
                let server = self.server();
                self.sampler
                    .sample(server, &mut self.fleet, self.clocks, offered_per_s)
                    .await;
            }
        }
    }

    /// Tells both sides the schedule, which starts at `start_ns`.
    pub(super) async fn begin(&mut self, start_ns: u64) -> Result<MeasurePhase, TrialError> {
        let plan = self.plan;
        let timing = plan.timing(start_ns);
        self.measure_from_ns = timing.measure_from_ns;
        for layer in &self.layers {
            layer.measure(timing.measure_from_ns, timing.measure_until_ns);
        }
        self.interference
            .begin(
                &timing,
                (&plan.stalls, self.server()),
                (plan.starve, &plan.layout.fleet.cpus),
            )
            .map_err(TrialError::Interference)?;
        self.fleet.begin(&timing).await?;
        if let Some(publish) = plan.publish_plan(&timing) {
            self.target.publish(&publish).await?;
        }
        Ok(match &self.setup {
            Some(setup) => MeasurePhase::of_fleet(timing, setup),
            None => MeasurePhase::new(timing),
        })
    }

    /// Warm-up and measure phase.
    async fn measure(&mut self, trial: &mut Trial, phase: &MeasurePhase) -> Result<(), TrialError> {
        let start = self.now();
        self.plan_window(&phase.timing).await?;
        self.wait("warm-up", phase.timing.measure_from_ns).await?;
        trial.phase_ns.warm_up = self.since(start);
        self.starts_to_measure(trial);
        let start = self.now();
        self.look_over_time();
        self.through_faults(phase.timing.measure_until_ns).await?;
        self.look_over_time();
        trial.phase_ns.measure = self.since(start);
        // Cheap to read, and now is when buffers are at their fullest.
        let memory = &mut trial.server.memory;
        memory.kernel_loaded_bytes = KernelMemory::read().map(|k| k.bytes());
        Ok(())
    }

    /// The measure phase begins.
    pub(super) fn starts_to_measure(&mut self, trial: &mut Trial) {
        if self.measure_started.is_some() {
            return;
        }
        // What was resident before belongs to the trial's peak, not to the phase's.
        let memory = &mut trial.server.memory;
        memory.peak_bytes = process::peak_bytes(self.server());
        self.peak_is_fresh = process::forget_peak(self.server());
        self.measure_started = Some(SystemTime::now());
    }

    /// Waits until everything expected has arrived, or the time is over, and closes the workload
    /// window.
    async fn drain(&mut self, trial: &mut Trial) -> Result<(), TrialError> {
        let start = self.now();
        let most = self.plan.scenario.phases.drain().as_nanos() as u64;
        loop {
            self.target.check()?;
            let status = self.fleet.status().await?;
            let all = status.received + status.outstanding;
            self.show("drain", status.received, all);
            let is_over = status.outstanding == 0 && status.away == 0;
            if is_over || self.now() - start >= most {
                break;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        self.look_over_time();
        self.close_window().await?;
        trial.phase_ns.drain = self.since(start);
        Ok(())
    }
}
