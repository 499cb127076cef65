//! A target and a fleet without a process, on a clock that tokio's tests set: a trial of seconds is
//! over in milliseconds, and every count follows from the time at which it is asked for.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;

use nix::sys::signal::Signal;
use pushbench_os::allocator::Allocator;
use pushbench_protocol::control::{PublishPlan, PublishReport, Stats};
use pushbench_protocol::histogram;
use tokio::time::Instant;

use crate::environment::process::ChildError;
use crate::environment::target::{Clocks, Fleet, Target};
use crate::load::tally::{CounterId, Counters, Histograms, Tally};
use crate::load::{FleetReport, MeasurePhase, Setup, Status, Timing};
use crate::record::{Capability, Cause, HistogramId};

/// Above the highest pid that Linux gives (2^22): nothing can be read of these.
const FIRST_SERVER: u32 = 1 << 23;
const FLEET: u32 = (1 << 23) - 1;

/// A server uses a core for this share of the time, a fleet half of it.
pub(super) const SERVER_SHARE: f64 = 0.2;

/// When the clock of a test begins, in ns: any time but 0.
const EPOCH_NS: u64 = 1_000_000_000_000;

pub(super) const MS: u64 = 1_000_000;

/// A paused clock, and what was asked of target and fleet.
#[derive(Clone)]
pub(super) struct World {
    began: Instant,
    pub(super) calls: Rc<RefCell<Vec<&'static str>>>,
}

impl World {
    /// Call it in a test whose clock is paused.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            calls: Rc::default(),
        }
    }

    fn call(&self, name: &'static str) {
        self.calls.borrow_mut().push(name);
    }
}

impl Clocks for World {
    fn now_ns(&self) -> u64 {
        EPOCH_NS + self.began.elapsed().as_nanos() as u64
    }

    fn cpu_ns(&self, process: u32) -> Option<u64> {
        let share = if process == FLEET {
            SERVER_SHARE / 2.0
        } else {
            SERVER_SHARE
        };
        Some((self.began.elapsed().as_nanos() as f64 * share) as u64)
    }
}

/// A server that does what it is asked for at once.
pub(super) struct FakeTarget {
    world: World,
    pub(super) lacks: Vec<Capability>,
    /// After how long it dies by itself, in ns.
    pub(super) dies_after_ns: Option<u64>,
    /// Processes so far, and whether the last runs.
    started: u32,
    runs: bool,
    publishes: Option<PublishPlan>,
}

impl FakeTarget {
    pub(super) fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            lacks: Vec::new(),
            dies_after_ns: None,
            started: 0,
            runs: false,
            publishes: None,
        }
    }

    fn starts(&mut self) {
        self.started += 1;
        self.runs = true;
    }
}

impl Target for FakeTarget {
    fn lacks(&self) -> Vec<Capability> {
        self.lacks.clone()
    }

    async fn start(&mut self) -> Result<SocketAddr, ChildError> {
        self.starts();
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn processes(&self) -> Vec<u32> {
        let last = FIRST_SERVER + self.started;
        self.runs.then_some(last).into_iter().collect()
    }

    fn allocator(&self) -> Option<Allocator> {
        None
    }

    fn check(&mut self) -> Result<(), ChildError> {
        let lived_ns = self.world.now_ns() - EPOCH_NS;
        match self.dies_after_ns {
            Some(after_ns) if lived_ns >= after_ns => Err(ChildError::Died {
                role: "server",
                how: ExitStatus::from_raw(1 << 8),
            }),
            _ => Ok(()),
        }
    }

    async fn publish(&mut self, plan: &PublishPlan) -> Result<(), ChildError> {
        self.world.call("publish");
        self.publishes = Some(plan.clone());
        Ok(())
    }

    async fn end_publishing(&mut self) -> Result<PublishReport, ChildError> {
        self.world.call("end publishing");
        let plan = self.publishes.as_ref().expect("it publishes");
        let timing = MeasurePhase::new(Timing {
            schedule: plan.schedule,
            measure_from_ns: plan.measure_from_ns,
            measure_until_ns: plan.measure_until_ns,
            linger_ms: 0.0,
            faults_ns: Vec::new(),
        });
        let last = timing.first_message() + timing.messages() - 1;
        let mut lag = crate::record::histogram();
        lag.record_n(1_000, timing.messages())
            .expect("within its bounds");
        Ok(PublishReport {
            measured: timing.messages(),
            last_actual_ns: timing.timetable.message(last).intended_ns,
            lag_histogram: histogram::encode(&lag),
            ..PublishReport::default()
        })
    }

    async fn stats(&mut self) -> Result<Stats, ChildError> {
        Ok(Stats::default())
    }

    fn signal(&mut self, signal: Signal) -> std::io::Result<()> {
        self.world.call(signal.as_str());
        Ok(())
    }

    async fn kill(&mut self) {
        self.world.call("kill");
        self.runs = false;
    }

    async fn restart(&mut self) -> Result<(), ChildError> {
        self.world.call("restart");
        self.starts();
        Ok(())
    }

    async fn hand_over(&mut self, _over_ms: u64) -> Result<(), ChildError> {
        self.world.call("hand over");
        self.starts();
        Ok(())
    }

    async fn has_handed_over(&mut self) -> bool {
        true
    }

    fn stalled_bytes(&self, envelope_bytes: usize) -> u64 {
        envelope_bytes as u64
    }

    async fn stop(&mut self) {
        self.world.call("stop");
    }
}

/// Clients that are connected at once and receive every message when it is due.
pub(super) struct FakeFleet {
    world: World,
    /// How many connect before a limit is met.
    pub(super) limit: Option<(u64, Cause)>,
    /// How long after the measure phase the last delivery comes, in ns; `None` for never.
    pub(super) last_after_ns: Option<u64>,
    setup: Option<Setup>,
    phase: Option<MeasurePhase>,
    up_to: u64,
}

impl FakeFleet {
    pub(super) fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            limit: None,
            last_after_ns: Some(0),
            setup: None,
            phase: None,
            up_to: 0,
        }
    }

    fn clients(&self) -> u64 {
        self.limit
            .map_or(self.up_to, |(most, _)| self.up_to.min(most))
    }

    /// Deliveries of the measure phase that are expected.
    fn expected(&self) -> u64 {
        self.phase
            .as_ref()
            .map_or(0, |p| p.messages() * self.clients())
    }

    /// Whether the last delivery has come.
    fn is_complete(&self) -> bool {
        let until_ns = self.phase.as_ref().map(|p| p.timing.measure_until_ns);
        let due_ns = until_ns.zip(self.last_after_ns).map(|(a, b)| a + b);
        due_ns.is_some_and(|due_ns| self.world.now_ns() >= due_ns)
    }

    fn missing(&self) -> u64 {
        u64::from(!self.is_complete())
    }

    /// What was received in the measured part of each slice.
    fn by_slice(&self) -> Vec<(u64, Histograms)> {
        let phase = self.phase.as_ref().expect("it has begun");
        let Some(turns) = phase.timetable.turns() else {
            return Vec::new();
        };
        let slices = turns.slices();
        let starts = turns.starts().iter();
        let starts = starts.map(|start| phase.timing.schedule.start_ns + start);
        let measured = starts.filter(|start| *start >= phase.timing.measure_from_ns);
        let of_slice = |start: u64| {
            let before = |at_ns| phase.timetable.messages_before(at_ns);
            let body_ns = start + slices.head_ns + slices.pause_ns;
            let due = before(start + slices.slice_ns()) - before(body_ns);
            let mut latency = crate::record::histogram();
            let received = due * self.clients();
            latency.record_n(MS, received).expect("within its bounds");
            Histograms::of(HistogramId::Delivery, latency)
        };
        let all = measured.map(of_slice).enumerate();
        all.map(|(number, of)| (number as u64, of)).collect()
    }
}

impl Fleet for FakeFleet {
    async fn start(&mut self) -> Result<(), ChildError> {
        Ok(())
    }

    fn process(&self) -> u32 {
        FLEET
    }

    fn allocator(&self) -> Option<Allocator> {
        None
    }

    fn check(&mut self) -> Result<(), ChildError> {
        Ok(())
    }

    async fn set_up(&mut self, setup: &Setup) -> Result<(), ChildError> {
        self.world.call("set up");
        self.setup = Some(setup.clone());
        Ok(())
    }

    async fn connect(&mut self, up_to: u32) -> Result<(), ChildError> {
        self.world.call("connect");
        self.up_to = self.up_to.max(up_to.into());
        Ok(())
    }

    async fn status(&mut self) -> Result<Status, ChildError> {
        let missing = self.missing().min(self.expected());
        let refused = self.up_to - self.clients();
        Ok(Status {
            connected: self.clients(),
            refused,
            stopped_by: self.limit.filter(|_| refused > 0).map(|(_, cause)| cause),
            received: self.expected() - missing,
            outstanding: missing,
            ..Status::default()
        })
    }

    async fn begin(&mut self, timing: &Timing) -> Result<(), ChildError> {
        self.world.call("begin");
        self.phase = Some(MeasurePhase::new(timing.clone()));
        Ok(())
    }

    /// Every message is delivered when it is due; a client of a transport that polls asks once an
    /// interval, whether there is anything or not.
    async fn sample(&mut self) -> Result<Counters, ChildError> {
        self.world.call("sample");
        let (Some(phase), Some(setup)) = (&self.phase, &self.setup) else {
            return Ok(Counters::default());
        };
        let now_ns = self.world.now_ns();
        let messages = phase.timetable.messages_before(now_ns);
        let intervals = (now_ns - EPOCH_NS) / (setup.scenario.clients.poll_interval_ms * MS);
        Ok(Counters::default()
            .with(CounterId::Deliveries, messages * self.clients())
            .with(CounterId::Requests, intervals * self.clients())
            .with(CounterId::ReceivedBytes, messages * self.clients() * 129))
    }

    async fn finish(&mut self, due_before_ns: u64) -> Result<FleetReport, ChildError> {
        self.world.call("finish");
        if let Some(phase) = &mut self.phase {
            *phase = phase.until(due_before_ns);
        }
        let (expected, missing) = (self.expected(), self.missing());
        let received = expected - missing;
        let mut report = FleetReport::default();
        let tally = Tally::default();
        for (id, count) in [
            (HistogramId::Delivery, received),
            (HistogramId::Service, received),
            (HistogramId::Fanout, received / self.clients().max(1)),
            (HistogramId::Connect, self.clients()),
            (HistogramId::SchedulerLag, 100),
        ] {
            (0..count).for_each(|_| tally.record(id, MS));
        }
        report.histograms = tally.histograms();
        report.intervals = self.by_slice();
        report.counts.expected = expected;
        report.counts.received = received;
        report.counts.missing = missing;
        Ok(report)
    }

    async fn panic(&mut self) -> Result<(), ChildError> {
        self.world.call("panic");
        Ok(())
    }

    async fn close(&mut self) -> Result<(), ChildError> {
        self.world.call("close");
        Ok(())
    }

    async fn stop(&mut self) {}
}
