//! What a trial is to do, and what follows from it for both sides.
//!
//! Before the data path. In: a scenario at one point, a side, a layout. Out: the fleet's setup, the
//! timing of the phases, what is published. Nothing is measured here.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use pushbench_protocol::control::PublishPlan;
use pushbench_protocol::envelope;
use pushbench_protocol::schedule::{Arrival, Schedule};
use pushbench_protocol::transport::{Profile, Transport};

use super::interfere::{Stall, Starve};
use super::turns::Turn;
use crate::environment::layer::Layer;
use crate::environment::layout::Layout;
use crate::load::{PayloadCheck, Setup, Timing};
use crate::record::{Family, MIN_CLIENTS_FOR_SLOPE, Side};
use crate::scenario::Scenario;

/// Between the moment at which both sides are told the schedule and its start; a small fleet is
/// ready at once …
const LEAD: Duration = Duration::from_millis(150);
const SMALL_LEAD: Duration = Duration::from_millis(50);

/// … and for each client, whose counters the fleet reads in that time: some 2 µs.
const LEAD_PER_CLIENT: Duration = Duration::from_micros(2);

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
    /// Whether memory is waited for and read while clients connect and after they have gone.
    pub reads_memory: bool,
    /// Its turn, where it takes turns with the trials of others; the whole time without.
    pub turn: Option<Turn>,
    /// Addresses that clients connect from; those of loopback where empty.
    pub sources: &'a [IpAddr],
    /// Source addresses of trials must not meet while connections are being forgotten.
    pub first_source: u32,
    /// This program.
    pub program: &'a Path,
    /// What is put between server and clients, the nearest to the server first.
    pub layers: Vec<&'a dyn Layer>,
    /// When the server process is stopped; for known answers, as what follows.
    pub stalls: Vec<Stall>,
    /// Threads that take the fleet's cores from it.
    pub starve: Option<Starve>,
}

impl<'a> Plan<'a> {
    /// The first trial of a scenario on one side, with lean clients, seed 1 and nothing done to it.
    pub fn new(
        scenario: &'a Scenario,
        side: impl Into<Side>,
        layout: &'a Layout,
        program: &'a Path,
    ) -> Self {
        let Side { transport, profile } = side.into();
        Self {
            scenario,
            transport,
            profile,
            index: 1,
            family: Family::Lean,
            seed: 1,
            layout,
            congestion: None,
            check_payloads: false,
            probes: true,
            reads_memory: true,
            turn: None,
            sources: &[],
            first_source: 0,
            program,
            layers: Vec::new(),
            stalls: Vec::new(),
            starve: None,
        }
    }

    /// Whether there are too few clients for memory per client.
    pub(super) fn is_small(&self) -> bool {
        u64::from(self.scenario.clients.count) < MIN_CLIENTS_FOR_SLOPE
    }

    /// Time for both sides to take in the schedule, where `trials` like this one are told it.
    pub(super) fn lead(&self, trials: usize) -> Duration {
        let lead = if self.is_small() { SMALL_LEAD } else { LEAD };
        lead + LEAD_PER_CLIENT * self.scenario.connections() * trials as u32
    }

    /// What the fleet is to do with a server at `server`.
    pub(super) fn setup(&self, server: SocketAddr) -> Setup {
        let side = &self.layout.fleet;
        let publish = self.scenario.publish.as_ref();
        Setup {
            transport: self.transport,
            family: self.family,
            server,
            scenario: self.scenario.clone(),
            sources: self.sources.to_vec(),
            seed: self.seed,
            shards: side.shards,
            cpus: side.cpus.clone(),
            own_tables: side.own_tables,
            first_source: self.first_source,
            congestion: self.congestion.map(str::to_owned),
            probes: self.probes,
            check_payload: publish
                .filter(|_| self.check_payloads)
                .map(|p| PayloadCheck {
                    kind: p.payload,
                    seed: self.seed,
                    payload_bytes: p.payload_bytes,
                }),
        }
    }

    /// When what happens, with a schedule that starts at `start_ns`.
    pub(super) fn timing(&self, start_ns: u64) -> Timing {
        let (scenario, phases) = (self.scenario, &self.scenario.phases);
        let (warm_up_ns, measure_ns) = match &self.turn {
            Some(turn) => turn.phases_ns(),
            None => (
                phases.warm_up().as_nanos() as u64,
                phases.measure().as_nanos() as u64,
            ),
        };
        let measure_from_ns = start_ns + warm_up_ns;
        let measure_until_ns = measure_from_ns + measure_ns;
        let publish = scenario.publish.as_ref();
        let is_due = publish.is_some() || scenario.upstream.is_some();
        let faults = scenario.faults.iter().filter(|f| f.is_of_the_run());
        Timing {
            schedule: Schedule {
                start_ns,
                // Nothing is due where nothing is published.
                end_ns: if is_due { measure_until_ns } else { start_ns },
                rate_per_s: publish.map_or(1.0, |p| p.rate_per_s),
                burst: publish.map_or(1, |p| p.burst),
                channels: scenario.channel_count(),
                arrival: publish.map_or(Arrival::Uniform, |p| p.arrival),
                seed: self.seed ^ u64::from(self.index),
                streams: scenario.schedule_streams(),
                slices: self.turn.map(|turn| turn.slices),
            },
            measure_from_ns,
            measure_until_ns,
            linger_ms: phases.drain().as_secs_f64() * 1e3,
            faults_ns: faults
                .map(|f| measure_from_ns + (f.at_s * 1e9) as u64)
                .collect(),
        }
    }

    /// What the target publishes; `None` where it does not.
    pub(super) fn publish_plan(&self, timing: &Timing) -> Option<PublishPlan> {
        let publish = self.scenario.publish.as_ref()?;
        Some(PublishPlan {
            schedule: timing.schedule,
            payload: publish.payload,
            payload_bytes: publish.payload_bytes.max(envelope::HEAD_BYTES),
            seed: self.seed,
            measure_from_ns: timing.measure_from_ns,
            measure_until_ns: timing.measure_until_ns,
        })
    }
}
