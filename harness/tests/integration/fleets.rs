//! A fleet process against a server in the test's own process, with a proxy in between that can cut.

mod proxy;

use std::fmt::{Debug, Display};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use pushbench::environment::process::ManagedProcess;
use pushbench::load::control::Connect;
use pushbench::load::tally::Counters;
use pushbench::load::{FleetReport, Setup, Status, Timing};
use pushbench::record::Deliveries;
use pushbench::scenario::{Reconnect, Scenario};
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::control::PublishPlan;
use pushbench_protocol::payload::PayloadKind;
use pushbench_protocol::schedule::Schedule;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::publisher::Publisher;
use pushbench_servers::ring::RingLimits;
use pushbench_servers::server::{Config, Server};
use serde_json::Value;
use tokio::task::{JoinSet, LocalSet};

use crate::support::PATIENCE;
pub(crate) use proxy::{Mode, Proxy};

/// Messages a second, over all channels.
const RATE_PER_S: f64 = 200.0;

/// Messages of the measure phase; the schedule has no others.
pub(crate) const MESSAGES: u64 = 80;

/// More clients than this connect without the proxy, which needs two threads for each.
const MOST_PROXIED: u32 = 100;

const PHASE_NS: u64 = 400_000_000;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Comes back quickly.
pub(crate) const SOON: Reconnect = Reconnect {
    delay_ms: 10,
    max_delay_ms: 40,
    jitter: 0.5,
};

/// A setup of lean clients on one channel in two threads; a [`Bench`] fills in its server.
pub(crate) fn setup(transport: Transport, clients: u32) -> Setup {
    let mut scenario = Scenario::of_clients(clients);
    scenario.clients.poll_interval_ms = 20;
    Setup {
        seed: 7,
        shards: 2,
        ..Setup::new(transport, SocketAddr::from(([127, 0, 0, 1], 0)), scenario)
    }
}

/// The same with a condition, or several.
pub(crate) fn with(mut setup: Setup, change: impl FnOnce(&mut Scenario)) -> Setup {
    change(&mut setup.scenario);
    setup
}

/// Looks until `look` finds something, and fails with what it saw instead after [`PATIENCE`].
async fn eventually<T, S: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, S>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "waited for {what}: {seen:?}"),
        }
        tokio::time::sleep(2 * MS).await;
    }
}

/// Runs a test over each of `transports`, side by side, as each does little but wait for its schedule.
pub(crate) async fn on_each<F: Future<Output = ()> + 'static>(
    transports: impl IntoIterator<Item = Transport>,
    test: impl Fn(Transport) -> F,
) {
    let (here, mut tests) = (LocalSet::new(), JoinSet::new());
    for transport in transports {
        tests.spawn_local_on(test(transport), &here);
    }
    here.run_until(async {
        while let Some(ended) = tests.join_next().await {
            ended.expect("a test that passes");
        }
    })
    .await;
}

/// A server with `channels` channels of `prefix`, and its address.
pub(crate) fn server(config: Config, prefix: &str, channels: u32) -> (Server, SocketAddr) {
    let server = Server::start(&config).expect("a free port on loopback");
    let channels = format!("{prefix}*{channels}");
    server.hub.declare(&[channels]).expect("a good name");
    let addresses = server.addresses;
    let address = addresses.http.or(addresses.tcp).expect("it listens");
    (server, address)
}

/// Any port of loopback, for one transport.
pub(crate) fn config(transport: Transport, profile: Profile) -> Config {
    Config {
        transports: vec![transport],
        profile,
        ..Config::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

/// A fleet process, and what it was set up with.
pub(crate) struct Fleet {
    process: ManagedProcess,
    pub(crate) setup: Setup,
}

impl Fleet {
    /// A process that has no setup yet.
    pub(crate) async fn process() -> ManagedProcess {
        let program = Path::new(env!("CARGO_BIN_EXE_pushbench"));
        let fleet = ManagedProcess::start("fleet", program, &["fleet".to_owned()]).await;
        fleet.expect("it starts")
    }

    pub(crate) async fn start(setup: Setup) -> Self {
        let mut process = Self::process().await;
        let answer = process.post::<Value>("/v1/fleet", &setup).await;
        answer.expect("a good setup");
        Self { process, setup }
    }

    async fn post(&mut self, path: &str, body: &impl serde::Serialize) {
        let answer = self.process.post::<Value>(path, body).await;
        answer.expect(path);
    }

    /// Has it open all clients.
    pub(crate) async fn open(&mut self) {
        let all = Connect {
            up_to: self.setup.clients(),
        };
        self.post("/v1/fleet/connect", &all).await;
    }

    /// Opens all clients and waits for them.
    pub(crate) async fn connect(&mut self) {
        self.open().await;
        let clients = u64::from(self.setup.clients());
        self.until("every client", |status| {
            assert_eq!(status.refused, 0, "{:?}", status.errors);
            status.connected == clients
        })
        .await;
    }

    pub(crate) async fn begin(&mut self, timing: &Timing) {
        self.post("/v1/fleet/begin", timing).await;
    }

    /// Waits until its status is as wanted.
    pub(crate) async fn until(&mut self, what: &str, so: impl Fn(&Status) -> bool) -> Status {
        eventually(what, async || {
            let status: Status = self.process.get("/v1/fleet").await.expect("it runs");
            if so(&status) { Ok(status) } else { Err(status) }
        })
        .await
    }

    /// Everything counted so far.
    pub(crate) async fn sample(&mut self) -> Counters {
        let counters = self.process.post("/v1/fleet/sample", &Value::Null).await;
        counters.expect("it runs")
    }

    /// Settles, and reports. Each time settles anew, and adds.
    pub(crate) async fn report(&mut self) -> FleetReport {
        let report = self
            .process
            .post(
                "/v1/fleet/finish",
                &serde_json::json!({ "due_before_ns": u64::MAX }),
            )
            .await;
        report.expect("it runs")
    }

    /// Reports again and again until a report is as wanted.
    pub(crate) async fn report_when(
        &mut self,
        what: &str,
        so: impl Fn(&FleetReport) -> bool,
    ) -> FleetReport {
        eventually(what, async || {
            let report = self.report().await;
            if so(&report) { Ok(report) } else { Err(report) }
        })
        .await
    }

    /// Closes every connection.
    pub(crate) async fn close(&mut self) {
        let answer = self.process.delete::<Value>("/v1/fleet").await;
        answer.expect("it runs");
    }

    /// Closes every connection, and ends.
    pub(crate) async fn end(mut self) {
        self.close().await;
        self.process.end().await;
    }
}

/// A server, a proxy in front of it, and a fleet.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) fleet: Fleet,
    /// When the schedule began.
    start_ns: u64,
    payload_bytes: usize,
    publisher: Option<Publisher>,
}

impl Bench {
    /// Everything is there, and no client.
    pub(crate) async fn ready(setup: Setup) -> Self {
        Self::with(setup, 1_024, 96).await
    }

    /// Everything is there, and every client is connected.
    pub(crate) async fn connected(setup: Setup) -> Self {
        Self::connected_with(setup, 1_024, 96).await
    }

    /// As [`Self::connected`], with so many messages remembered, and of such a size.
    pub(crate) async fn connected_with(
        setup: Setup,
        ring_messages: usize,
        payload_bytes: usize,
    ) -> Self {
        let mut bench = Self::with(setup, ring_messages, payload_bytes).await;
        bench.fleet.connect().await;
        bench
    }

    async fn with(mut setup: Setup, messages: usize, payload_bytes: usize) -> Self {
        let config = Config {
            ring: RingLimits {
                messages,
                bytes: 1 << 20,
            },
            ..config(setup.transport, Profile::Lean)
        };
        let (server, address) = server(
            config,
            &setup.scenario.channels.prefix,
            setup.scenario.channel_count(),
        );
        let proxy = Proxy::start(address);
        setup.server = if setup.clients() > MOST_PROXIED {
            address
        } else {
            proxy.address
        };
        Self {
            server,
            proxy,
            fleet: Fleet::start(setup).await,
            start_ns: 0,
            payload_bytes,
            publisher: None,
        }
    }

    /// Publishes messages before the schedule.
    pub(crate) fn publish_before(&self, messages: u64) {
        let text = "x".repeat(self.payload_bytes - 51);
        for _ in 0..messages {
            let appended = self.server.hub.append(0, None, text.as_bytes());
            appended.expect("there is room");
        }
    }

    /// The schedule begins; all of it is measured. `fault_ms` after its start a fault is noted.
    pub(crate) async fn begin(&mut self, fault_ms: Option<u64>) {
        let start_ns = monotonic_ns() + 60_000_000;
        let channels = self.fleet.setup.scenario.channel_count();
        let timing = Timing {
            schedule: Schedule {
                streams: self.fleet.setup.scenario.schedule_streams(),
                ..Schedule::uniform(start_ns..start_ns + PHASE_NS, RATE_PER_S, channels)
            },
            measure_from_ns: start_ns,
            measure_until_ns: start_ns + PHASE_NS,
            linger_ms: 20_000.0,
            faults_ns: Vec::from_iter(fault_ms.map(|ms| start_ns + ms * 1_000_000)),
        };
        self.fleet.begin(&timing).await;
        let plan = PublishPlan {
            schedule: timing.schedule,
            payload: PayloadKind::Text,
            payload_bytes: self.payload_bytes,
            seed: 1,
            measure_from_ns: timing.measure_from_ns,
            measure_until_ns: timing.measure_until_ns,
        };
        plan.check(channels).expect("a good plan");
        let publisher = Publisher::start(self.server.hub.clone(), plan).expect("a thread");
        self.publisher = Some(publisher);
        self.start_ns = start_ns;
    }

    /// Time since the start of the schedule.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(monotonic_ns().saturating_sub(self.start_ns))
    }

    /// Waits until so many ms after the start of the schedule.
    pub(crate) async fn at_ms(&self, ms: u64) {
        let wait_ns = (self.start_ns + ms * 1_000_000).saturating_sub(monotonic_ns());
        tokio::time::sleep(Duration::from_nanos(wait_ns)).await;
    }

    /// Waits until all has been published.
    pub(crate) async fn published(&self) {
        self.at_ms(PHASE_NS / 1_000_000).await;
        let publisher = self.publisher.as_ref().expect("it began");
        eventually("the end of the schedule", async || {
            publisher.report().finished.then_some(()).ok_or(())
        })
        .await;
    }

    /// Waits until nothing is owed and nobody is away, and settles.
    pub(crate) async fn drained(mut self) -> FleetReport {
        self.published().await;
        self.fleet
            .until("all that is owed", |s| s.outstanding == 0 && s.away == 0)
            .await;
        self.finish().await
    }

    /// Settles.
    pub(crate) async fn finish(mut self) -> FleetReport {
        let report = self.fleet.report().await;
        self.fleet.end().await;
        report
    }
}

/// A whole schedule with every client connected from before its start.
pub(crate) async fn whole_schedule(setup: Setup) -> FleetReport {
    let mut bench = Bench::connected(setup).await;
    bench.begin(None).await;
    bench.drained().await
}

/// All that was owed to the clients of `whom` has come, once and in order.
#[track_caller]
pub(crate) fn assert_received(whom: impl Display, report: &FleetReport, owed: u64) {
    let answer = Deliveries {
        expected: owed,
        received: owed,
        ..Deliveries::default()
    };
    let missing = &report.first_missing;
    assert_eq!(report.counts, answer, "{whom}: {missing:?}");
}
