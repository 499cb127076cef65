//! Limits that are met in the middle of connecting: the trial ends in order and names them, every
//! socket is closed, and neither side is left with connections in TIME_WAIT.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use pushbench::environment::layout::Layout;
use pushbench::environment::process::ManagedProcess;
use pushbench::load::client::Family;
use pushbench::load::control::Connect;
use pushbench::load::{ChannelSizes, FleetReport, Setup, Status};
use pushbench::record::{Cause, Outcome, Trial, Verdict};
use pushbench::scenario::Scenario;
use pushbench::trial::{self, Plan};
use pushbench_os::allocator::Allocator;
use pushbench_protocol::transport::{Profile, Transport};
use serde_json::Value;

use crate::support::{PATIENCE, Served, TINY, await_some, pushbench};

/// Descriptors of a process that must run short: a server or a fleet needs some twenty itself.
const FEW: u32 = 60;

const CLIENTS: u32 = 120;

/// A program that is pushbench with few descriptors where it is started as `role`.
fn short_of_descriptors(folder: &Path, role: &str) -> PathBuf {
    let path = folder.join(format!("short-{role}"));
    let script = format!(
        "#!/bin/bash\nif [ \"$1\" = {role} ]; then ulimit -n {FEW}; fi\nexec '{}' \"$@\"\n",
        env!("CARGO_BIN_EXE_pushbench")
    );
    // Another process writes it: if this one did, a child that another test starts meanwhile could
    // hold the file open for writing, and the kernel runs no such file (ETXTBSY).
    let mut shell = Command::new("sh");
    shell.args(["-c", "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh"]);
    let status = shell.arg(script).arg(&path).status();
    assert!(status.expect("a shell").success(), "the folder is writable");
    path
}

async fn trial_with(program: &Path, transport: Transport) -> Trial {
    let text = TINY.replace("count = 40", &format!("count = {CLIENTS}"));
    let scenario = Scenario::parse("tiny.toml", &text).expect("a good scenario");
    let layout = Layout::plan(CLIENTS, Some(1)).expect("it fits");
    let plan = Plan {
        scenario: &scenario,
        transport,
        profile: Profile::Tuned,
        index: 1,
        family: Family::Lean,
        seed: 1,
        layout: &layout,
        congestion: None,
        check_payloads: false,
        probes: false,
        sources: &[],
        first_source: 0,
        allocator: Allocator::DEFAULT,
        program,
        relay: None,
        stalls: Vec::new(),
        starve: None,
    };
    let (trial, histograms) = trial::run(&plan, &|_| {}).await;
    assert!(histograms.is_none(), "nothing was measured");
    trial
}

/// The trial is a row that says what was met, and came to its end.
fn stopped_in_order(trial: &Trial, cause: Cause) {
    assert_eq!(trial.error, None);
    assert_eq!(trial.clients.stopped_by, Some(cause));
    let connected = trial.clients.connected;
    assert!((1..u64::from(CLIENTS)).contains(&connected), "{connected}");
    assert_eq!(trial.validity.verdict, Verdict::Void);
    let [check] = trial.validity.checks.as_slice() else {
        panic!("{:?}", trial.validity.checks);
    };
    assert_eq!(check.check, "clients_connected");
    assert_eq!(check.outcome, Outcome::Failed);
    let [reason] = trial.validity.reasons.as_slice() else {
        panic!("{:?}", trial.validity.reasons);
    };
    assert_eq!(reason.remedy, cause.remedy());
    assert!(reason.message.contains(cause.id()), "{}", reason.message);
    let phases = trial.phase_ns;
    assert!(phases.connect.is_some() && phases.disconnect.is_some());
    assert_eq!(phases.measure, None);
    let memory = &trial.server.memory;
    assert!(memory.after_disconnect_bytes.is_some() && !memory.points.is_empty());
}

#[tokio::test]
async fn a_fleet_out_of_descriptors_ends_the_trial_in_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = short_of_descriptors(folder.path(), "fleet");
    let trial = trial_with(&program, Transport::Sse).await;
    stopped_in_order(&trial, Cause::ClientDescriptors);
}

#[tokio::test]
async fn a_server_out_of_descriptors_ends_the_trial_in_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = short_of_descriptors(folder.path(), "serve");
    let trial = trial_with(&program, Transport::Tcp).await;
    stopped_in_order(&trial, Cause::ServerDescriptors);
}

fn setup(transport: Transport, server: SocketAddr) -> Setup {
    Setup {
        transport,
        family: Family::Lean,
        server,
        clients: CLIENTS,
        channels: 1,
        channel_prefix: "news".to_owned(),
        connect_per_s: None,
        poll_interval_ms: 1_000.0,
        sessions: None,
        seed: 1,
        shards: 3,
        cpus: Vec::new(),
        own_tables: true,
        sources: Vec::new(),
        first_source: 0,
        congestion: None,
        probes: false,
        check_payload: None,
        upstream: None,
        reconnect: None,
        cuts: None,
        slow: None,
        receive_buffer_bytes: None,
        snapshot_messages: 0,
        channel_sizes: ChannelSizes::Even,
    }
}

/// Connections to a listener in the kernel's table, both ends, whatever their state.
fn connections(listener: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("procfs");
    let IpAddr::V4(address) = listener.ip() else {
        panic!("{listener} is not of IPv4");
    };
    // As the table writes it, on any byte order.
    let address = u32::from_ne_bytes(address.octets());
    let end = format!("{address:08X}:{:04X}", listener.port());
    let ours = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // 0A is the listener itself.
        words.len() > 3 && (words[1] == end || words[2] == end) && words[3] != "0A"
    };
    // The kernel tells its table in pieces, and may tell a connection twice while others come and go.
    let ends = |line: &str| -> Vec<String> {
        line.split_whitespace()
            .skip(1)
            .take(2)
            .map(str::to_owned)
            .collect()
    };
    let ours: HashSet<Vec<String>> = table.lines().skip(1).filter(ours).map(ends).collect();
    ours.len()
}

#[tokio::test]
async fn a_fleet_that_closes_leaves_nothing_in_time_wait_on_any_transport() {
    for transport in Transport::ALL {
        let id = transport.id();
        // An address that no client of any test connects from.
        let server = Served::start_with(
            pushbench().args(["serve", "--listen", "127.90.2.1:0"]),
            &["--transport", id, "--channel", "news0", "--rate", "0"],
        );
        let kind = if transport == Transport::Tcp {
            "tcp"
        } else {
            "http"
        };
        let address: SocketAddr = server.address(kind).parse().expect("an address");
        let program = Path::new(env!("CARGO_BIN_EXE_pushbench"));
        let mut fleet = ManagedProcess::start("fleet", program, &["fleet".to_owned()])
            .await
            .expect("it starts");
        let _: Value = fleet
            .post("/v1/fleet", &setup(transport, address))
            .await
            .expect(id);
        let all = Connect { up_to: CLIENTS };
        let _: Value = fleet.post("/v1/fleet/connect", &all).await.expect(id);
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let status: Status = fleet.get("/v1/fleet").await.expect(id);
            assert_eq!(status.refused, 0, "{id}: {:?}", status.errors);
            if status.connected == u64::from(CLIENTS) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{id}: {status:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        await_some("both ends of every connection", || {
            (connections(address) == 2 * CLIENTS as usize).then_some(())
        });
        let report: FleetReport = fleet
            .post("/v1/fleet/finish", &Value::Null)
            .await
            .expect(id);
        assert_eq!((report.refused, report.disconnected), (0, 0), "{id}");
        let _: Value = fleet.delete("/v1/fleet").await.expect(id);
        await_some("the kernel to forget every connection", || {
            (connections(address) == 0).then_some(())
        });
        fleet.end().await;
    }
}
