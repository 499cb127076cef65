//! Limits that are met in the middle of connecting: the trial ends in order and names them, every
//! socket is closed, and neither side is left with connections in TIME_WAIT.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushbench::environment::layout::Layout;
use pushbench::load::Setup;
use pushbench::record::{Cause, Outcome, Trial, Verdict};
use pushbench::scenario::Scenario;
use pushbench::trial::{self, Plan};
use pushbench_protocol::transport::{Profile, Transport};

use crate::fleets::Fleet;
use crate::support::{
    LISTENS, Served, TINY, TcpSocket, await_some, pushbench, table_address, tcp_sockets,
};

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
        probes: false,
        ..Plan::new(&scenario, (transport, Profile::Tuned), &layout, program)
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

/// Connections to a listener in the kernel's table, both ends, whatever their state.
fn connections(listener: SocketAddr) -> usize {
    let end = table_address(listener);
    let ours = |socket: &TcpSocket| {
        (socket.local == end || socket.remote == end) && socket.state != LISTENS
    };
    let sockets = tcp_sockets().into_iter().filter(ours);
    let ends: HashSet<_> = sockets
        .map(|socket| (socket.local, socket.remote))
        .collect();
    ends.len()
}

#[tokio::test]
async fn a_fleet_that_closes_leaves_nothing_in_time_wait_on_any_transport() {
    for transport in Transport::ALL {
        let id = transport.id();
        // An address that no client of any test connects from.
        let arguments = format!("--transports {id} --channel news0 --rate 0");
        let server = Served::by(&mut pushbench(&format!(
            "serve --listen 127.90.2.1:0 {arguments}"
        )));
        let kind = if transport == Transport::Tcp {
            "tcp"
        } else {
            "http"
        };
        let address: SocketAddr = server.address(kind).parse().expect("an address");
        let mut scenario = Scenario::of_clients(CLIENTS);
        scenario.channels.prefix = "news".to_owned();
        let mut fleet = Fleet::start(Setup {
            shards: 3,
            own_tables: true,
            ..Setup::new(transport, address, scenario)
        })
        .await;
        fleet.connect().await;
        await_some("both ends of every connection", || {
            (connections(address) == 2 * CLIENTS as usize).then_some(())
        });
        let report = fleet.report().await;
        assert_eq!((report.refused, report.disconnected), (0, 0), "{id}");
        fleet.close().await;
        await_some("the kernel to forget every connection", || {
            (connections(address) == 0).then_some(())
        });
        fleet.end().await;
    }
}
