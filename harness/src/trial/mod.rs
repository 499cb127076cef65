//! One trial: one transport in one profile, on a fresh server and a fresh fleet.
//!
//! Around the data path: starts both processes, takes them through the phases, reads the probes at
//! the right moments and puts together what each side counted. In: a [`Plan`]. Out: a row of the
//! record, also where the trial failed half-way, and the histograms behind it.
//!
//! Not measured here: nothing of the delivery path runs in this process.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use pushbench_os::allocator::Allocator;
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::control::Addresses;
use pushbench_protocol::control::{Declare, Stats};
use pushbench_protocol::control::{PublishPlan, PublishReport};
use pushbench_protocol::envelope;
use pushbench_protocol::histogram;
use pushbench_protocol::schedule::{Arrival, Schedule};
use pushbench_protocol::transport::{Profile, Transport};
use serde_json::Value;

use crate::audit::{Evidence, Waited, audit};
use crate::environment::layout::Layout;
use crate::environment::process::{ChildError, ManagedProcess};
use crate::environment::relay::RelayPlan;
use crate::load::{self, FleetReport, MeasurePhase, PayloadCheck, Status, Timing};
use crate::observe::kernel::KernelMemory;
use crate::observe::network::NetworkCounters;
use crate::observe::process;
use crate::record::Family;
use crate::record::{
    IntervalNs, Latency, LatencyIntervals, MIN_CLIENTS_FOR_SLOPE, Moment, Probe, Quantiles, Span,
    Trial,
};
use crate::scenario::Scenario;
use crate::trial::interfere::{Interfered, Interference, Stall, Starve};
use crate::trial::live::{Live, LiveSampler};

use faults::Servers;
use window::{Window, moment_of};

mod connect;
mod faults;
pub mod interfere;
pub mod live;
mod measures;
mod window;

/// Between the moment at which both sides are told the schedule and its start; a small fleet is
/// ready at once …
const LEAD: Duration = Duration::from_millis(150);
const SMALL_LEAD: Duration = Duration::from_millis(50);

/// … and for each client, whose counters the fleet reads in that time: some 2 µs.
const LEAD_PER_CLIENT: Duration = Duration::from_micros(2);

/// How often the phases look whether the children live.
const LOOK: Duration = Duration::from_millis(250);

/// How often the drain looks whether everything has arrived.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// What a trial is to do.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The workload.
    pub scenario: &'a Scenario,
    /// Over this transport …
    pub transport: Transport,
    /// … in this profile.
    pub profile: Profile,
    /// Which trial of the two, from 1.
    pub index: u32,
    /// With these clients.
    pub family: Family,
    /// Of payloads and phases.
    pub seed: u64,
    /// Where everything runs.
    pub layout: &'a Layout,
    /// Congestion control of every socket.
    pub congestion: Option<&'a str>,
    /// Compare every payload, byte for byte. Costs the fleet CPU: not for timing.
    pub check_payloads: bool,
    /// Whether the fleet keeps what only the audit looks at: stamps of the kernel on some clients
    /// (probes), latency over time, and deliveries one by one.
    pub probes: bool,
    /// Addresses that clients connect from; those of loopback where empty.
    pub sources: &'a [IpAddr],
    /// Source addresses of trials must not meet while connections are being forgotten.
    pub first_source: u32,
    /// Allocator of server and fleet.
    pub allocator: Allocator,
    /// This program.
    pub program: &'a Path,
    /// A relay between server and clients; for known answers, as what follows.
    pub relay: Option<RelayPlan>,
    /// When the server process is stopped.
    pub stalls: Vec<Stall>,
    /// Threads that take the fleet's cores from it.
    pub starve: Option<Starve>,
}

/// Where a trial is, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Name of the phase.
    pub phase: &'static str,
    /// How far it has come …
    pub done: u64,
    /// … of so much.
    pub of: u64,
    /// What it looks like, once a second while messages are published.
    pub live: Option<Live>,
}

/// What lies behind the row of a trial that came to its end.
#[derive(Debug, Clone)]
pub struct Histograms {
    /// Delivery latency in ns.
    pub delivery: Histogram<u64>,
    /// Time to the last subscriber in ns.
    pub fanout: Histogram<u64>,
    /// Delivery latency by second of the measure phase.
    pub intervals: Vec<(u64, Histogram<u64>)>,
    /// When the measure phase began.
    pub measure_started: SystemTime,
    /// What was done to the trial on purpose.
    pub interfered: Interfered,
}

/// Why a trial did not come to its end.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error("the server did not say where it listens for {0}")]
    NoAddress(Transport),
    #[error("{0}")]
    Histogram(String),
    #[error("{0} of the clients' shards panicked while they connected")]
    DeadShards(u64),
    #[error("the server that drains over {0} ms did not end; it was to end by itself")]
    Undrained(u64),
    #[error("cannot interfere as planned: {0}")]
    Interference(std::io::Error),
}

impl TrialError {
    fn remedy(&self) -> String {
        match self {
            Self::Child(ChildError::Died { .. }) => {
                "run it again; if it dies again, report what it printed".to_owned()
            }
            _ => "report this as a bug".to_owned(),
        }
    }
}

/// Runs one trial. A failure is a row too: void, with the reason, and what was measured before it.
pub async fn run(plan: &Plan<'_>, watch: &dyn Fn(Progress)) -> (Trial, Option<Histograms>) {
    let (trial, histograms, _) = run_until(plan, watch, std::future::pending()).await;
    (trial, histograms)
}

/// As [`run`], but ends early when `interrupted` does: a failure like any other, except that the
/// last value is `true`.
pub async fn run_until(
    plan: &Plan<'_>,
    watch: &dyn Fn(Progress),
    interrupted: impl Future<Output = ()>,
) -> (Trial, Option<Histograms>, bool) {
    let mut trial = Trial::new(plan.transport, plan.profile, plan.index);
    trial.harness.client = plan.family.of_clients(plan.transport);
    trial.clients.target = u64::from(plan.scenario.clients.count);
    let phase = Cell::new("start");
    let noting = |progress: Progress| {
        phase.set(progress.phase);
        watch(progress);
    };
    let ended = tokio::select! {
        ended = Running::through(plan, &mut trial, &noting) => ended,
        // Dropping the rest of the trial kills its children.
        () = interrupted => {
            let error = format!("interrupted in phase '{}'", phase.get());
            let remedy = "run it again".to_owned();
            return (trial.failed(error, remedy), None, true);
        }
    };
    match ended {
        Ok(histograms) => (trial, histograms, false),
        Err(error) => {
            trial.killed = matches!(&error, TrialError::Child(child) if child.is_killed());
            let remedy = error.remedy();
            (trial.failed(error.to_string(), remedy), None, false)
        }
    }
}

/// A trial under way.
struct Running<'a> {
    plan: &'a Plan<'a>,
    /// Before the processes, so that it ends before they do.
    interference: Interference,
    server: ManagedProcess,
    fleet: ManagedProcess,
    started: Instant,
    watch: &'a dyn Fn(Progress),
    /// What is kept for the audit.
    window: Window,
    connecting: Option<NetworkCounters>,
    gaps_ns: Vec<u64>,
    sampler: LiveSampler,
    /// Where clients connect, and whoever takes over listens.
    address: SocketAddr,
    servers: Servers,
    /// What the fleet was told, from which follows what is due.
    setup: Option<load::Setup>,
    /// When the measure phase begins, in ns of `CLOCK_MONOTONIC`; 0 before that is known.
    measure_from_ns: u64,
    moments: Vec<Moment>,
    cpu_at_start_ns: Option<u64>,
    /// Memory of the server and of the kernel before the first message.
    before_bytes: (Option<u64>, Option<u64>),
    /// Messages that the server left out for newer ones.
    conflated: u64,
}

impl<'a> Running<'a> {
    async fn through(
        plan: &'a Plan<'a>,
        trial: &mut Trial,
        watch: &'a dyn Fn(Progress),
    ) -> Result<Option<Histograms>, TrialError> {
        watch(Progress {
            phase: "start",
            done: 0,
            of: 1,
            live: None,
        });
        let server =
            ManagedProcess::start("server", plan.program, &server_arguments(plan, None)).await?;
        let fleet = ManagedProcess::start("fleet", plan.program, &fleet_arguments(plan)).await?;
        let mut running = Self {
            plan,
            interference: Interference::default(),
            server,
            fleet,
            started: Instant::now(),
            watch,
            window: Window::default(),
            connecting: None,
            gaps_ns: Vec::new(),
            sampler: LiveSampler::default(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            servers: Servers::default(),
            setup: None,
            measure_from_ns: 0,
            moments: Vec::new(),
            cpu_at_start_ns: None,
            before_bytes: (None, None),
            conflated: 0,
        };
        trial.server.allocator = allocator_of(&running.server);
        trial.harness.allocator = allocator_of(&running.fleet);
        running.set_up().await?;
        let histograms = if running.connect(trial).await? {
            running.settle(trial).await?;
            let (histograms, report) = running.measure(trial).await?;
            running.disconnect(trial).await?;
            running.judge(trial, &report);
            Some(histograms)
        } else {
            running.disconnect(trial).await?;
            None
        };
        running.server.end().await;
        running.fleet.end().await;
        Ok(histograms)
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Whether there are too few clients for memory to be told of each.
    fn is_small(&self) -> bool {
        u64::from(self.plan.scenario.clients.count) < MIN_CLIENTS_FOR_SLOPE
    }

    fn show(&self, phase: &'static str, done: u64, of: u64) {
        let live = self.sampler.live();
        (self.watch)(Progress {
            phase,
            done,
            of,
            live,
        });
    }

    async fn set_up(&mut self) -> Result<(), TrialError> {
        let plan = self.plan;
        let scenario = plan.scenario;
        let prefix = &scenario.channels.prefix;
        let declare = Declare {
            declare: vec![format!("{prefix}*{}", scenario.channel_count())],
            overflow: scenario.channels.overflow.clone(),
        };
        let _: Value = self.server.post("/v1/channels", &declare).await?;
        let addresses: Addresses =
            serde_json::from_value(self.server.greeting.clone()).unwrap_or_default();
        let address = addresses.of(plan.transport);
        let address = address.ok_or(TrialError::NoAddress(plan.transport))?;
        self.address = address;
        let address = self
            .interference
            .relay(plan.relay, plan.transport, address, plan.layout)
            .map_err(TrialError::Interference)?;
        let setup = load::Setup {
            transport: plan.transport,
            family: plan.family,
            server: address,
            scenario: scenario.clone(),
            sources: plan.sources.to_vec(),
            seed: plan.seed,
            shards: plan.layout.fleet.shards,
            cpus: plan.layout.fleet.cpus.clone(),
            own_tables: plan.layout.fleet.own_tables,
            first_source: plan.first_source,
            congestion: plan.congestion.map(str::to_owned),
            probes: plan.probes,
            check_payload: scenario
                .publish
                .as_ref()
                .filter(|_| plan.check_payloads)
                .map(|p| PayloadCheck {
                    kind: p.payload,
                    seed: plan.seed,
                    payload_bytes: p.payload_bytes,
                }),
        };
        let _: Value = self.fleet.post("/v1/fleet", &setup).await?;
        self.setup = Some(setup);
        Ok(())
    }

    async fn settle(&mut self, trial: &mut Trial) -> Result<(), TrialError> {
        let start = self.now();
        self.wait(
            "settle",
            Instant::now() + self.plan.scenario.phases.settle(),
        )
        .await?;
        trial.server.memory.settled_bytes = process::pss_bytes(self.server.pid);
        trial.server.memory.kernel_settled_bytes = KernelMemory::read().map(|k| k.bytes());
        let kernel_bytes = trial.server.memory.kernel_settled_bytes;
        self.before_bytes = (self.server_resident_bytes(), kernel_bytes);
        trial.phase_ns.settle = Some(Span {
            start,
            end: self.now(),
        });
        Ok(())
    }

    /// Waits for the end of a phase, and looks whether the children live.
    async fn wait(&mut self, phase: &'static str, until: Instant) -> Result<(), TrialError> {
        let start = Instant::now();
        let of = until.saturating_duration_since(start).as_millis() as u64;
        loop {
            let now = Instant::now();
            self.show(
                phase,
                (now.saturating_duration_since(start).as_millis() as u64).min(of),
                of,
            );
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                return Ok(());
            }
            self.nap(left).await?;
            self.server.check()?;
            self.fleet.check()?;
            self.look_over_time();
            // Never so late that an answer would hold up the end of the phase.
            if until.saturating_duration_since(Instant::now()) > LOOK {
                let offered_per_s = self.plan.scenario.offered_deliveries_per_s();
                self.sampler
                    .sample(&self.server, &mut self.fleet, offered_per_s)
                    .await;
            }
        }
    }

    /// Sleeps for a while, at most until the next look or the next edge of the window, which it takes.
    async fn nap(&mut self, left: Duration) -> Result<(), TrialError> {
        let edge = self.window.until_due().unwrap_or(LOOK);
        tokio::time::sleep(left.min(LOOK).min(edge)).await;
        self.take_due_edge().await
    }

    /// Warm-up, measure and drain.
    async fn measure(
        &mut self,
        trial: &mut Trial,
    ) -> Result<(Histograms, FleetReport), TrialError> {
        let scenario = self.plan.scenario;
        let phase = self.begin().await?;
        let start = self.now();
        self.plan_window(&phase.timing).await?;
        let measure_from = moment_of(phase.timing.measure_from_ns);
        self.wait("warm-up", measure_from).await?;
        trial.phase_ns.warm_up = Some(Span {
            start,
            end: self.now(),
        });
        // What was resident before belongs to the trial's peak, not to the phase's.
        let peak_before = process::peak_bytes(self.server.pid);
        let peak_is_fresh = process::forget_peak(self.server.pid);
        let measure_started = SystemTime::now();
        let start = self.now();
        self.look_over_time();
        self.through_faults(measure_from, measure_from + scenario.phases.measure())
            .await?;
        self.take_due_edge().await?;
        self.look_over_time();
        trial.phase_ns.measure = Some(Span {
            start,
            end: self.now(),
        });
        // Cheap to read, and now is when buffers are at their fullest.
        trial.server.memory.kernel_loaded_bytes = KernelMemory::read().map(|k| k.bytes());
        let start = self.now();
        self.drain().await?;
        self.look_over_time();
        self.close_window().await?;
        trial.phase_ns.drain = Some(Span {
            start,
            end: self.now(),
        });
        self.publishing(trial, &phase).await?;
        let memory = &mut trial.server.memory;
        let peak = process::peak_bytes(self.server.pid);
        // Another process has another peak.
        let is_the_same = self.servers.ended == 0;
        memory.measure_peak_bytes = peak.filter(|_| peak_is_fresh && is_the_same);
        memory.peak_bytes = peak.max(peak_before);
        // Walks the page tables of the process: after the clocks, so that nothing is charged.
        memory.loaded_bytes = process::pss_bytes(self.server.pid);
        memory.load(trial.clients.connected);
        let report: FleetReport = self.fleet.post("/v1/fleet/finish", &Value::Null).await?;
        if let Some(found) = self.window.found() {
            let knows_sockets = self.setup.as_ref().is_some_and(load::Setup::knows_sockets);
            found.enter(trial, knows_sockets);
        }
        let waited = self.waited();
        trial.server.run_queue_wait_ns = waited.server.map(|w| w.waited_ns);
        trial.harness.run_queue_wait_ns = waited.fleet.map(|w| w.waited_ns);
        let stats: Stats = self.server.get("/v1/stats").await?;
        self.conflated = stats.conflated_messages;
        let interfered = self.interference.end(phase.timing.clone());
        let histograms = account(trial, &report, &phase, (measure_started, interfered))?;
        self.enter_measures(trial, &report, stats)?;
        Ok((histograms, report))
    }

    /// Time for both sides to take in the schedule.
    fn lead(&self) -> Duration {
        let lead = if self.is_small() { SMALL_LEAD } else { LEAD };
        lead + LEAD_PER_CLIENT * self.plan.scenario.connections()
    }

    /// Tells both sides the schedule.
    async fn begin(&mut self) -> Result<MeasurePhase, TrialError> {
        let plan = self.plan;
        let (scenario, phases) = (plan.scenario, &plan.scenario.phases);
        let start_ns = monotonic_ns() + self.lead().as_nanos() as u64;
        let measure_from_ns = start_ns + phases.warm_up().as_nanos() as u64;
        self.measure_from_ns = measure_from_ns;
        let measure_until_ns = measure_from_ns + phases.measure().as_nanos() as u64;
        let publish = scenario.publish.as_ref();
        let timing = Timing {
            schedule: Schedule {
                start_ns,
                // Nothing is due where nothing is published.
                end_ns: if publish.is_some() || scenario.upstream.is_some() {
                    measure_until_ns
                } else {
                    start_ns
                },
                rate_per_s: publish.map_or(1.0, |p| p.rate_per_s),
                burst: publish.map_or(1, |p| p.burst),
                channels: scenario.channel_count(),
                arrival: publish.map_or(Arrival::Uniform, |p| p.arrival),
                seed: plan.seed ^ u64::from(plan.index),
            },
            measure_from_ns,
            measure_until_ns,
            linger_ms: phases.drain().as_secs_f64() * 1e3,
            faults_ns: scenario
                .faults
                .iter()
                .filter(|f| f.is_of_the_run())
                .map(|f| measure_from_ns + (f.at_s * 1e9) as u64)
                .collect(),
        };
        self.interference
            .begin(
                &timing,
                (&plan.stalls, self.server.pid),
                (plan.starve, &plan.layout.fleet.cpus),
            )
            .map_err(TrialError::Interference)?;
        let _: Value = self.fleet.post("/v1/fleet/begin", &timing).await?;
        if let Some(publish) = publish {
            let plan = PublishPlan {
                schedule: timing.schedule,
                payload: publish.payload,
                payload_bytes: publish.payload_bytes.max(envelope::HEAD_BYTES),
                seed: plan.seed,
                measure_from_ns,
                measure_until_ns,
            };
            let _: Value = self.server.post("/v1/publish", &plan).await?;
            self.servers.publish = Some(plan);
        }
        Ok(match &self.setup {
            Some(setup) => MeasurePhase::of_fleet(timing, setup),
            None => MeasurePhase::new(timing),
        })
    }

    /// Waits until everything expected has arrived, or the drain is over.
    async fn drain(&mut self) -> Result<(), TrialError> {
        let start = Instant::now();
        let most = self.plan.scenario.phases.drain();
        loop {
            self.server.check()?;
            let status: Status = self.fleet.get("/v1/fleet").await?;
            self.show(
                "drain",
                status.received,
                status.received + status.outstanding,
            );
            let is_over = status.outstanding == 0 && status.away == 0;
            if is_over || start.elapsed() >= most {
                return Ok(());
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    async fn publishing(
        &mut self,
        trial: &mut Trial,
        phase: &MeasurePhase,
    ) -> Result<(), TrialError> {
        if phase.timetable.is_empty() || self.plan.scenario.publish.is_none() {
            return Ok(());
        }
        // A publisher that is still behind is stopped: what it did not do is missing.
        let report: PublishReport = self.server.delete("/v1/publish").await?;
        let offered = phase.messages();
        let is_whole = self.servers.ended == 0;
        let phase_ns = phase.timing.measure_until_ns - phase.timing.measure_from_ns;
        trial.publish.offered_per_s = offered as f64 * 1e9 / phase_ns as f64;
        // What a publisher reported that has ended is not known, nor how late it was.
        if !is_whole {
            return Ok(());
        }
        // The last message's lateness stretches the time in which they all were published.
        let last = phase.first_message() + report.measured.max(1) - 1;
        let late_ns = report
            .last_actual_ns
            .saturating_sub(phase.timetable.message(last).intended_ns);
        trial.publish.achieved_per_s =
            Some(report.measured as f64 * 1e9 / (phase_ns + late_ns) as f64);
        self.gaps_ns = report.gaps_ns;
        let lag = histogram::decode(&report.lag_histogram).map_err(TrialError::Histogram)?;
        trial.publish.lag_ns = Quantiles::from_histogram(&lag);
        Ok(())
    }
}

impl Running<'_> {
    /// Has the audit look at everything.
    fn judge(&self, trial: &mut Trial, report: &FleetReport) {
        let cores = pushbench_os::sys::allowed_cpus().len().max(1);
        let fleet_cores = self.plan.layout.fleet.cpus.len();
        let publish = self.plan.scenario.publish.as_ref();
        let window = self.window.found();
        let evidence = Evidence {
            report,
            window_ns: window.map_or(0, |found| found.length_ns()),
            fleet_cores: if fleet_cores == 0 { cores } else { fleet_cores },
            cores,
            connecting: self.connecting,
            measuring: window.and_then(|found| found.network),
            // A relay is on the same cores, and no stranger.
            waited: match self.plan.relay {
                None => self.waited(),
                Some(_) => Waited::default(),
            },
            arrival: publish.map_or(Arrival::Uniform, |p| p.arrival),
            gaps_ns: &self.gaps_ns,
            disturbed: self.plan.scenario.disturbed(),
            server_replaced: self.servers.ended > 0,
            told_lost: report.lagged_messages + self.conflated,
        };
        audit(trial, &evidence);
    }
}

fn network_since(
    before: Option<NetworkCounters>,
    after: Option<NetworkCounters>,
) -> Option<NetworkCounters> {
    Some(after?.since(&before?))
}

/// Enters what the fleet counted.
fn account(
    trial: &mut Trial,
    report: &FleetReport,
    phase: &MeasurePhase,
    (measure_started, interfered): (SystemTime, Interfered),
) -> Result<Histograms, TrialError> {
    let histogram = |text: &str| histogram::decode(text).map_err(TrialError::Histogram);
    let counts = report.counts;
    trial.clients.disconnected = report.disconnected;
    trial.clients.refused = report.refused;
    trial.clients.connect_ns = Quantiles::from_histogram(&histogram(&report.connect)?);
    let deliveries = &mut trial.deliveries;
    deliveries.expected = counts.expected;
    deliveries.received = counts.received;
    deliveries.missing = counts.missing;
    deliveries.duplicate = counts.duplicate;
    deliveries.out_of_order = counts.out_of_order;
    let timing = &phase.timing;
    let end_ns = report.last_received_ns.max(timing.measure_until_ns);
    let seconds = (end_ns - timing.measure_from_ns) as f64 / 1e9;
    if !phase.timetable.is_empty() {
        trial.throughput.received_per_s = Some(counts.received as f64 / seconds);
        trial.throughput.received_bytes_per_s = Some(report.received_bytes as f64 / seconds);
    }
    let delivery = histogram(&report.delivery)?;
    let fanout = histogram(&report.fanout)?;
    trial.latency_ns = Latency::from_histogram(&delivery);
    trial.service_ns = Latency::from_histogram(&histogram(&report.service)?);
    let interval = |i: Option<(u64, u64)>| i.map(|(low, high)| IntervalNs { low, high });
    let of = report.intervals_of_quantiles;
    trial.latency_interval_ns = LatencyIntervals {
        p50: interval(of.p50),
        p90: interval(of.p90),
        p99: interval(of.p99),
        p999: interval(of.p999),
    };
    trial.latency_over_time_ns.clone_from(&report.series);
    if report.probes.reads > 0 {
        trial.probe = Some(Probe {
            reads: report.probes.reads,
            harness_ns: Quantiles::from_histogram(&histogram(&report.probes.waited)?),
            server_and_network_ns: Quantiles::from_histogram(&histogram(&report.probes.rest)?),
        });
    }
    trial.fanout_ns = Quantiles::from_histogram(&fanout);
    trial.harness.scheduler_lag_ns = Quantiles::from_histogram(&histogram(&report.scheduler_lag)?);
    let intervals = report.intervals.iter();
    let intervals = intervals.map(|(number, text)| Ok((*number, histogram(text)?)));
    Ok(Histograms {
        delivery,
        fanout,
        intervals: intervals.collect::<Result<_, TrialError>>()?,
        measure_started,
        interfered,
    })
}

/// What a child said of its allocator.
fn allocator_of(child: &ManagedProcess) -> Option<Allocator> {
    serde_json::from_value(child.greeting["allocator"].clone()).ok()
}

fn cpu_list(cpus: &[usize]) -> Option<String> {
    let list: Vec<String> = cpus.iter().map(usize::to_string).collect();
    (!list.is_empty()).then(|| list.join(","))
}

fn server_arguments(plan: &Plan<'_>, address: Option<SocketAddr>) -> Vec<String> {
    let side = &plan.layout.server;
    let server = &plan.scenario.server;
    // A kept-alive connection must outlive the silence between two polls.
    let head_timeout_s =
        (plan.scenario.clients.poll_interval_ms as f64 / 500.0).clamp(75.0, 86_400.0);
    let mut arguments: Vec<String> = [
        "serve",
        "--transports",
        plan.transport.id(),
        "--profile",
        plan.profile.id(),
        "--control",
        "127.0.0.1:0",
        "--end-with-input",
    ]
    .map(str::to_owned)
    .into();
    // One that takes over has its channels from the start, as it must know them to refill its log.
    if address.is_none() {
        arguments.push("--no-channels".to_owned());
    }
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    option("--listen", faults::listen(address));
    for (name, value) in plan.scenario.server_options() {
        option(name, value);
    }
    if let Some(bytes) = server.send_buffer_bytes {
        option("--send-buffer-bytes", bytes.to_string());
    }
    if let Some(bytes) = server.memory_limit_bytes {
        option("--memory-limit-bytes", bytes.to_string());
    }
    option("--shards", side.shards.to_string());
    option("--keep-alive-s", server.keep_alive_s.to_string());
    option("--poll-timeout-s", server.poll_timeout_s.to_string());
    option("--head-timeout-s", head_timeout_s.to_string());
    option("--ring-messages", server.ring_messages.to_string());
    option("--ring-bytes", server.ring_bytes.to_string());
    option("--allocator", plan.allocator.to_string());
    if let Some(cpus) = cpu_list(&side.cpus) {
        option("--cpus", cpus);
    }
    if let Some(congestion) = plan.congestion {
        option("--congestion", congestion.to_owned());
    }
    if side.own_tables {
        arguments.push("--own-tables".to_owned());
    }
    arguments
}

fn fleet_arguments(plan: &Plan<'_>) -> Vec<String> {
    let allocator = plan.allocator.to_string();
    let mut arguments = vec!["fleet".to_owned(), "--allocator".to_owned(), allocator];
    if let Some(cpus) = cpu_list(&plan.layout.fleet.cpus) {
        arguments.extend(["--cpus".to_owned(), cpus]);
    }
    arguments
}
