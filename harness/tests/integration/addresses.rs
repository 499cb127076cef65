//! Addresses: everything over IPv6, and network namespaces in which nothing connects to anything.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use pushbench_protocol::transport::Transport;

use crate::support::{Runs, Served, TINY, complaint, output, pushbench, text};

/// Whether this machine has `::1`. Says so where it has not, because a test then shows nothing.
fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        // Where the machine has the address, and it cannot be bound, nothing is skipped.
        let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        let it = format!("{:032x} ", Ipv6Addr::LOCALHOST.to_bits());
        assert!(!table.contains(&it), "::1 is there: {table}");
        eprintln!("SKIPPED: this machine has no ::1");
    }
    has
}

#[test]
fn every_transport_delivers_everything_over_ipv6_with_either_family_of_clients() {
    if !has_ipv6() {
        return;
    }
    for family in ["lean", "library"] {
        let runs = Runs::of(TINY);
        let line = "run --source-addresses ::1 --profiles tuned,lean --client-family";
        let told = runs.run(&format!("{line} {family}"));
        let record = runs.record();
        let of = |transport| {
            move |t: &&_| -> bool {
                let t: &pushbench::record::Trial = t;
                t.variant.transport == transport
            }
        };
        for transport in Transport::ALL {
            assert!(
                record.trials.iter().any(|t| of(transport)(&t)),
                "{transport}"
            );
        }
        for trial in &record.trials {
            let told = text(&told.stderr);
            assert_eq!(trial.error, None, "{}: {told}", trial.label());
            let found = trial.deliveries;
            let counts = (found.received, found.missing, found.duplicate);
            assert_eq!(counts, (800, Some(0), 0), "{}: {told}", trial.label());
        }
    }
}

#[test]
fn a_server_listens_on_ipv6_and_answers_there() {
    if !has_ipv6() {
        return;
    }
    let server = Served::by(&mut pushbench("serve --listen [::1]:0 --profile lean"));
    for key in ["http", "tcp"] {
        let address: SocketAddr = server.address(key).parse().expect("an address");
        assert!(address.is_ipv6() && address.ip().is_loopback(), "{address}");
    }
    let mut stream = TcpStream::connect(server.address("http")).expect("it listens");
    let host = server.address("http");
    write!(
        stream,
        "GET /poll?channel=news HTTP/1.1\r\nHost: {host}\r\n\r\n"
    )
    .expect("open");
    let mut status = [0; 15];
    stream.read_exact(&mut status).expect("an answer");
    assert_eq!(text(&status), "HTTP/1.1 204 No");
}

/// `command` in a network namespace of its own, prepared by `script`; `None` where this system allows
/// none, which it says.
fn apart(script: &str, command: &Command) -> Option<Command> {
    let mut apart = Command::new("unshare");
    apart.args(["-rn", "sh", "-c", &format!("{script} && exec \"$@\""), "sh"]);
    let mut trial = Command::new("unshare");
    trial.args(["-rn", "sh", "-c", script]);
    let possible = trial.output().is_ok_and(|output| output.status.success());
    if !possible {
        eprintln!("SKIPPED: this system allows no network namespace, or not '{script}' in one");
        return None;
    }
    apart.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        apart.current_dir(folder);
    }
    Some(apart)
}

/// Every command that starts a server or clients.
const COMMANDS: [&str; 6] = [
    "run tiny.toml --out out",
    "limits tiny.toml --out out",
    "verify",
    "verify --known-answers",
    "serve",
    "serve --listen [::]:0",
];

#[test]
fn a_namespace_whose_loopback_is_down_gets_one_message_before_the_first_trial() {
    let runs = Runs::of(TINY);
    for line in COMMANDS {
        let Some(mut command) = apart("true", &runs.command(line)) else {
            return;
        };
        assert_eq!(
            complaint(&mut command),
            "cannot connect to 127.0.0.1 on this machine (network is unreachable), which server and \
             clients need; bring loopback up with 'ip link set lo up', and if the address is missing, \
             add it with 'ip address add 127.0.0.1/8 dev lo'",
            "{line}"
        );
    }
    let named = "run tiny.toml --out out --source-addresses ::1";
    let mut command = apart("true", &runs.command(named)).expect("as before");
    let found = complaint(&mut command);
    assert!(
        found.starts_with("'--source-addresses': cannot connect to ::1 on this machine ("),
        "{found}"
    );
    assert!(!runs.out().exists(), "no record of a run without a trial");
}

#[test]
fn a_namespace_without_an_address_of_loopback_is_refused_with_the_command_that_adds_it() {
    let runs = Runs::of(TINY);
    let without = "ip link set lo up && ip address del 127.0.0.1/8 dev lo";
    let Some(mut command) = apart(without, &runs.of_tiny("run")) else {
        return;
    };
    let found = complaint(&mut command);
    assert!(
        found.contains("'ip address add 127.0.0.1/8 dev lo'"),
        "{found}"
    );
}

#[test]
fn without_ipv6_its_addresses_are_refused_by_name_and_all_else_works() {
    let runs = Runs::of(TINY);
    let without = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6";
    let line = "run --source-addresses ::1";
    let Some(mut command) = apart(without, &runs.of_tiny(line)) else {
        return;
    };
    let found = complaint(&mut command);
    assert_eq!(
        found,
        "'--source-addresses': cannot connect to ::1 on this machine (cannot assign requested \
         address), so IPv6 cannot be used; bring loopback up with 'ip link set lo up' and IPv6 with \
         'sysctl -w net.ipv6.conf.lo.disable_ipv6=0', or use addresses of IPv4"
    );
    let command = runs.of_tiny("run --transports tcp");
    let ran = output(&mut apart(without, &command).expect("as before"));
    let trial = &runs.record().trials[0];
    assert_eq!(trial.deliveries.received, 800, "{}", text(&ran.stderr));
}

#[test]
fn the_doctor_names_a_loopback_that_is_down() {
    let doctor = pushbench("doctor --no-measure --clients 10");
    let Some(mut command) = apart("true", &doctor) else {
        return;
    };
    let output = output(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let printed = text(&output.stdout);
    assert!(
        printed.starts_with(
            "This machine cannot hold 10 clients: the maximum is 0, set by loopback\n"
        ),
        "{printed}"
    );
    assert!(printed.contains("sudo ip link set lo up"), "{printed}");
}
