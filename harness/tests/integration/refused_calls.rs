//! What the program asks of the kernel and a sandbox may refuse (seccomp of a container, a hardened
//! kernel, an old one): each time it works, or does without and says so in the record, or is refused
//! before the first trial. Never a void trial that is "a bug".

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use nix::libc::{self, ENOSYS, EPERM};
use pushbench::record::Record;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::support::{Runs, TINY, text};

/// What becomes of a run.
enum Then {
    /// Nothing is missing: it does without.
    Works,
    /// Something is missing in the record, which says so.
    Records(fn(&Record) -> bool),
    /// It is refused with status 2, in a line that holds this.
    Refused(&'static str),
}
use Then::{Records, Refused, Works};

/// A call, the option that must be asked for where only that is refused, with which error, and what then.
type Case = (&'static str, i64, Option<(i32, i32)>, i32, Then);

const SOCKET: i32 = libc::SOL_SOCKET;
const TCP: i32 = libc::IPPROTO_TCP;

const NEEDED: Then = Refused("which every connection needs (operation not permitted)");

const CASES: [Case; 19] = [
    set(
        TCP,
        "TCP_CONGESTION",
        libc::TCP_CONGESTION,
        Records(no_congestion_control),
    ),
    set(
        SOCKET,
        "SO_TIMESTAMPING",
        libc::SO_TIMESTAMPING,
        Records(no_probes),
    ),
    set(SOCKET, "SO_LINGER", libc::SO_LINGER, NEEDED),
    set(SOCKET, "SO_KEEPALIVE", libc::SO_KEEPALIVE, Works),
    set(SOCKET, "SO_REUSEADDR", libc::SO_REUSEADDR, NEEDED),
    set(SOCKET, "SO_REUSEPORT", libc::SO_REUSEPORT, NEEDED),
    set(TCP, "TCP_KEEPIDLE", libc::TCP_KEEPIDLE, Works),
    set(TCP, "TCP_KEEPINTVL", libc::TCP_KEEPINTVL, Works),
    set(TCP, "TCP_KEEPCNT", libc::TCP_KEEPCNT, Works),
    set(TCP, "TCP_USER_TIMEOUT", libc::TCP_USER_TIMEOUT, NEEDED),
    set(TCP, "TCP_NODELAY", libc::TCP_NODELAY, NEEDED),
    set(
        libc::IPPROTO_IP,
        "IP_BIND_ADDRESS_NO_PORT",
        libc::IP_BIND_ADDRESS_NO_PORT,
        NEEDED,
    ),
    (
        "TCP_INFO",
        libc::SYS_getsockopt,
        Some((TCP, libc::TCP_INFO)),
        EPERM,
        Records(no_bytes),
    ),
    ("prctl", libc::SYS_prctl, None, EPERM, Works),
    (
        "sched_setaffinity",
        libc::SYS_sched_setaffinity,
        None,
        EPERM,
        Records(no_pinning),
    ),
    ("unshare", libc::SYS_unshare, None, EPERM, Works),
    ("close_range", libc::SYS_close_range, None, ENOSYS, Works),
    ("pidfd_open", libc::SYS_pidfd_open, None, ENOSYS, Works),
    ("getrandom", libc::SYS_getrandom, None, ENOSYS, Works),
];

const fn set(level: i32, name: &'static str, option: i32, then: Then) -> Case {
    let call = libc::SYS_setsockopt;
    (name, call, Some((level, option)), EPERM, then)
}

fn no_congestion_control(record: &Record) -> bool {
    let environment = &record.environment;
    environment.congestion_control_used == environment.congestion_control
}

fn no_probes(record: &Record) -> bool {
    record.trials.iter().all(|trial| trial.probe.is_none())
}

fn no_bytes(record: &Record) -> bool {
    let mut wires = record.trials.iter().map(|trial| &trial.wire);
    wires.all(|wire| wire.server_to_client_bytes_per_delivery.is_none())
}

fn no_pinning(record: &Record) -> bool {
    record.environment.pinning.is_none()
}

fn filter(call: i64, option: Option<(i32, i32)>, error: i32) -> BpfProgram {
    let equals = |index, value: i32| {
        let value = value as u64;
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let rules: Vec<SeccompRule> = option
        .iter()
        .map(|(level, option)| {
            let both = [equals(1, *level), equals(2, *option)].map(|c| c.expect("a condition"));
            SeccompRule::new(both.to_vec()).expect("a rule")
        })
        .collect();
    let arch: TargetArch = std::env::consts::ARCH
        .try_into()
        .expect("one that it knows");
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(error as u32),
        arch,
    );
    filter.expect("a filter").try_into().expect("a program")
}

/// A run of the small scenario whose every process has `filter`.
fn run(runs: &Runs, filter: &BpfProgram) -> Output {
    let mut command = runs.of_tiny("run --transports tcp,sse,websocket --trials 1");
    std::thread::scope(|scope| {
        // A filter is inherited by what its thread starts, and ends with the thread.
        let thread = scope.spawn(|| {
            seccompiler::apply_filter(filter).expect("seccomp");
            command.output().expect("it starts")
        });
        thread.join().expect("it ends")
    })
}

#[test]
fn a_call_that_is_refused_costs_no_more_than_what_it_is_for() {
    for (name, call, option, error, then) in CASES {
        let runs = Runs::of(TINY);
        let output = run(&runs, &filter(call, option, error));
        let told = text(&output.stderr);
        if let Refused(expected) = then {
            assert_eq!(output.status.code(), Some(2), "{name}: {told}");
            let is_told = told.contains(name) && told.contains(expected);
            assert!(is_told, "{name}: {told}");
            assert!(runs.kept().is_none(), "{name}: before the first trial");
            continue;
        }
        let record = delivers_all(&runs, &output, name);
        if let Records(says_so) = then {
            assert!(says_so(&record), "{name}: the record does not say so");
        }
    }
}

/// The record of a run that ended whole, whatever else the machine did meanwhile.
#[track_caller]
fn delivers_all(runs: &Runs, output: &Output, name: &str) -> Record {
    let told = text(&output.stderr);
    assert!(runs.kept().is_some(), "{name}: {told}");
    let record = runs.record();
    assert_eq!(record.trials.len(), 3, "{name}: {told}");
    for trial in &record.trials {
        assert_eq!(
            (&trial.error, trial.deliveries.received),
            (&None, 800),
            "{name}: {told}"
        );
        let remedies = trial.validity.reasons.iter().map(|reason| &reason.remedy);
        let bugs = remedies.filter(|remedy| remedy.contains("report this as a bug"));
        assert_eq!(bugs.count(), 0, "{name}: {told}");
    }
    record
}

/// Those that a container has by default (the OCI runtime's list, as Docker and Podman give it).
const OF_CONTAINERS: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                             +net_bind_service,+sys_chroot,+setfcap";

#[test]
fn an_ordinary_user_and_a_container_can_run_all_that_root_can() {
    // Otherwise all tests are run as an ordinary user.
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run as others");
        return;
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        let in_ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!in_ci, "CI has setpriv of util-linux");
        eprintln!("SKIPPED: there is no setpriv of util-linux");
        return;
    }
    for rights in [
        "--reuid=65534 --regid=65534 --clear-groups --inh-caps=-all",
        &format!("--bounding-set={OF_CONTAINERS} --inh-caps=-all"),
    ] {
        let runs = Runs::of(TINY);
        let everyone = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(runs.folder(), everyone).expect("it is ours");
        let line = runs.of_tiny("run --transports tcp,sse,websocket --trials 1");
        let mut command = Command::new("setpriv");
        command
            .args(rights.split(' '))
            .arg("--no-new-privs")
            .arg("--");
        // A copy, as folders above that of the build may be closed to others.
        let program = runs.folder().join("pushbench");
        std::fs::copy(line.get_program(), &program).expect("readable");
        command.arg(&program).args(line.get_args());
        let output = command
            .current_dir(runs.folder())
            .output()
            .expect("it starts");
        let record = delivers_all(&runs, &output, rights);
        assert!(
            record.trials.iter().all(|trial| trial.probe.is_some()),
            "{rights}"
        );
    }
}
