//! A fleet process against a server in the test's own process, with a proxy in between that can cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pushbench::environment::process::ManagedProcess;
use pushbench::load::client::Family;
use pushbench::load::control::Connect;
use pushbench::load::{ChannelSizes, FleetReport, ReconnectPlan, Setup, Status, Timing};
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::control::PublishPlan;
use pushbench_protocol::payload::PayloadKind;
use pushbench_protocol::schedule::{Arrival, Schedule};
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::listen::{Config, Server};
use pushbench_servers::publisher::Publisher;
use pushbench_servers::ring::RingLimits;
use serde_json::Value;

use crate::support::PATIENCE;

/// Messages a second, over all channels.
pub(crate) const RATE_PER_S: f64 = 200.0;

/// Messages of the measure phase; the schedule has no others.
pub(crate) const MESSAGES: u64 = 80;

const MOST_PROXIED: u32 = 100;

const PHASE_NS: u64 = 400_000_000;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Comes back quickly.
pub(crate) const SOON: ReconnectPlan = ReconnectPlan {
    delay_ms: 10.0,
    max_delay_ms: 40.0,
    jitter: 0.5,
};

/// A setup of lean clients on one channel, with nothing on.
pub(crate) fn setup(transport: Transport, clients: u32) -> Setup {
    Setup {
        transport,
        family: Family::Lean,
        server: SocketAddr::from(([127, 0, 0, 1], 0)),
        clients,
        channels: 1,
        channel_prefix: "c".to_owned(),
        connect_per_s: None,
        poll_interval_ms: 20.0,
        sessions: None,
        seed: 7,
        shards: 2,
        cpus: Vec::new(),
        own_tables: false,
        sources: Vec::new(),
        first_source: 0,
        congestion: None,
        probes: false,
        check_payload: None,
        reconnect: None,
        cuts: None,
        slow: None,
        receive_buffer_bytes: None,
        snapshot_messages: 0,
        channel_sizes: ChannelSizes::Even,
        upstream: None,
    }
}

/// A server, a proxy in front of it, and a fleet.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) timing: Option<Timing>,
    setup: Setup,
    payload_bytes: usize,
    fleet: ManagedProcess,
    publisher: Option<Publisher>,
}

impl Bench {
    /// Everything is there, and every client is connected.
    pub(crate) async fn connected(
        setup: Setup,
        ring_messages: usize,
        payload_bytes: usize,
    ) -> Self {
        let mut bench = Self::ready(setup, ring_messages, payload_bytes).await;
        bench.connect().await;
        bench
    }

    /// Everything is there, and no client.
    pub(crate) async fn ready(
        mut setup: Setup,
        ring_messages: usize,
        payload_bytes: usize,
    ) -> Self {
        let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.transports = vec![setup.transport];
        config.profile = Profile::Lean;
        config.ring = RingLimits {
            messages: ring_messages,
            bytes: 1 << 20,
        };
        let server = Server::start(&config).expect("it starts");
        let channels = format!("{}*{}", setup.channel_prefix, setup.channels);
        server.hub.declare(&[channels]).expect("a good name");
        let addresses = server.addresses;
        let address = addresses.http.or(addresses.tcp).expect("it listens");
        let proxy = Proxy::start(address);
        // Many clients come without the proxy: it takes two threads for each.
        setup.server = if setup.clients > MOST_PROXIED {
            address
        } else {
            proxy.address
        };
        let program = Path::new(env!("CARGO_BIN_EXE_pushbench"));
        let mut fleet = ManagedProcess::start("fleet", program, &["fleet".to_owned()])
            .await
            .expect("it starts");
        let _: Value = fleet.post("/v1/fleet", &setup).await.expect("a good setup");
        fleet.check().expect("it runs");
        Self {
            server,
            proxy,
            timing: None,
            setup,
            payload_bytes,
            fleet,
            publisher: None,
        }
    }

    /// Opens all clients.
    pub(crate) async fn connect(&mut self) {
        let all = Connect {
            up_to: self.setup.clients,
        };
        let _: Value = self
            .fleet
            .post("/v1/fleet/connect", &all)
            .await
            .expect("it runs");
        let clients = u64::from(self.setup.clients);
        self.until("every client is there", |status| {
            assert_eq!(status.refused, 0, "{:?}", status.errors);
            status.connected == clients
        })
        .await;
    }

    /// Publishes messages before the schedule.
    pub(crate) fn publish_before(&self, messages: u64) {
        let text = "x".repeat(self.payload_bytes - 51);
        for _ in 0..messages {
            self.server
                .hub
                .append(0, None, text.as_bytes())
                .expect("there is room");
        }
    }

    pub(crate) async fn status(&mut self) -> Status {
        self.fleet.get("/v1/fleet").await.expect("it runs")
    }

    /// Waits until the fleet's status is as wanted.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut so: impl FnMut(&Status) -> bool,
    ) -> Status {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await;
            if so(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited for: {what}: {status:?}");
            tokio::time::sleep(2 * MS).await;
        }
    }

    /// The schedule begins; all of it is measured. `fault_ms` after its start a fault is noted.
    pub(crate) async fn begin(&mut self, fault_ms: Option<u64>) {
        let start_ns = monotonic_ns() + 60_000_000;
        let schedule = Schedule {
            start_ns,
            end_ns: start_ns + PHASE_NS,
            rate_per_s: RATE_PER_S,
            burst: 1,
            channels: self.setup.channels,
            arrival: Arrival::Uniform,
            seed: 1,
        };
        let timing = Timing {
            schedule,
            measure_from_ns: start_ns,
            measure_until_ns: start_ns + PHASE_NS,
            linger_ms: 20_000.0,
            faults_ns: fault_ms
                .map(|ms| start_ns + ms * 1_000_000)
                .into_iter()
                .collect(),
        };
        let _: Value = self
            .fleet
            .post("/v1/fleet/begin", &timing)
            .await
            .expect("it runs");
        let plan = PublishPlan {
            schedule,
            payload: PayloadKind::Text,
            payload_bytes: self.payload_bytes,
            seed: 1,
            measure_from_ns: timing.measure_from_ns,
            measure_until_ns: timing.measure_until_ns,
        };
        plan.check(self.setup.channels).expect("a good plan");
        let publisher = Publisher::start(self.server.hub.clone(), plan).expect("a thread");
        self.publisher = Some(publisher);
        self.timing = Some(timing);
    }

    /// Waits until so many ms after the start of the schedule.
    pub(crate) async fn at_ms(&self, ms: u64) {
        let start_ns = self.timing.as_ref().expect("it began").schedule.start_ns;
        let wait_ns = (start_ns + ms * 1_000_000).saturating_sub(monotonic_ns());
        tokio::time::sleep(Duration::from_nanos(wait_ns)).await;
    }

    /// Waits until all has been published.
    pub(crate) async fn published(&self) {
        self.at_ms(PHASE_NS / 1_000_000).await;
        let deadline = Instant::now() + PATIENCE;
        let publisher = self.publisher.as_ref().expect("it began");
        while !publisher.report().finished {
            assert!(Instant::now() < deadline, "the publisher does not finish");
            tokio::time::sleep(2 * MS).await;
        }
    }

    /// Waits until nothing is owed and nobody is away, and settles.
    pub(crate) async fn drained(mut self) -> FleetReport {
        self.published().await;
        self.until("all is received", |status| {
            status.outstanding == 0 && status.away == 0
        })
        .await;
        self.finish().await
    }

    /// What is counted so far. Settling twice would count twice, so only without a schedule.
    pub(crate) async fn report_so_far(&mut self) -> FleetReport {
        assert!(self.timing.is_none(), "there is something to settle");
        let report = self.fleet.post("/v1/fleet/finish", &Value::Null).await;
        report.expect("it runs")
    }

    /// Settles.
    pub(crate) async fn finish(mut self) -> FleetReport {
        let report = self.fleet.post("/v1/fleet/finish", &Value::Null).await;
        let _: Value = self.fleet.delete("/v1/fleet").await.expect("it runs");
        self.fleet.end().await;
        report.expect("it runs")
    }
}

/// Number of entries of a histogram as it travels.
pub(crate) fn entries(histogram: &str) -> u64 {
    if histogram.is_empty() {
        return 0;
    }
    pushbench_protocol::histogram::decode(histogram)
        .expect("a histogram")
        .len()
}

/// Connections of clients to `address` that stand, as the kernel's table says.
pub(crate) fn standing(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("procfs");
    let std::net::IpAddr::V4(ip) = address.ip() else {
        panic!("{address} is not of IPv4");
    };
    // As the table writes it, on any byte order; 01 is an established connection.
    let end = format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(ip.octets()),
        address.port()
    );
    let rows = table.lines().skip(1).filter(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() > 3 && words[2] == end && words[3] == "01"
    });
    rows.count()
}

/// How a proxy treats who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Hands on.
    Open,
    /// Accepts, and resets at once.
    Down,
    /// Answers 503 to everything.
    Unavailable,
}

/// A proxy on threads.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    mode: Arc<AtomicU8>,
    near: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mode = Arc::new(AtomicU8::new(Mode::Open as u8));
        let near = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (its_mode, its_near) = (mode.clone(), near.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mode = its_mode.load(Ordering::SeqCst);
                if mode == Mode::Down as u8 {
                    reset(&stream);
                    continue;
                }
                if mode == Mode::Unavailable as u8 {
                    let _ = stream.read(&mut [0; 2_048]);
                    let _ = stream.write_all(
                        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
                    );
                    continue;
                }
                let Ok(far) = TcpStream::connect(server) else {
                    continue;
                };
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                its_near.lock().expect("no panic").push(clone(&stream));
                let (near, back) = (clone(&stream), clone(&far));
                std::thread::spawn(move || hand_on(stream, far));
                std::thread::spawn(move || hand_on(back, near));
            }
        });
        Self {
            address,
            mode,
            near,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Hands on again after a while.
    pub(crate) fn open_after(&self, wait: Duration) {
        let mode = self.mode.clone();
        std::thread::spawn(move || {
            std::thread::sleep(wait);
            mode.store(Mode::Open as u8, Ordering::SeqCst);
        });
    }

    /// Ends all connections, by resets or in order; how many there were.
    pub(crate) fn cut(&self, by_reset: bool) -> usize {
        let streams = std::mem::take(&mut *self.near.lock().expect("no panic"));
        for stream in &streams {
            if by_reset {
                reset(stream);
            }
            let _ = stream.shutdown(Shutdown::Both);
        }
        streams.len()
    }
}

/// The next close of the stream, however many descriptors it has, is a reset.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn hand_on(mut from: TcpStream, mut to: TcpStream) {
    let mut space = [0; 16 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut space) {
        if to.write_all(&space[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
