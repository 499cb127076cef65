//! Made-up machines, and what the doctor reports about them.

use super::*;
use pushbench_protocol::payload::SplitMix64;

/// The machine of the project's own figures: two cores, 24 GiB, a hard limit of 20,000 descriptors.
fn machine() -> Machine {
    Machine {
        nofile_soft: Some(1_024),
        nofile_hard: Some(20_000),
        nr_open: Some(1 << 30),
        own_tables: true,
        file_max: Some(2_400_000),
        files_open: Some(1_000),
        epoll_watches: Some(5_000_000),
        loopback_fails: None,
        ipv6_fails: None,
        ports: Some((32_768, 60_999)),
        somaxconn: Some(4_096),
        syn_backlog: Some(2_048),
        tcp_mem_pages: Some([287_000, 383_000, 575_000]),
        page_bytes: 4_096,
        time_wait_buckets: Some(131_072),
        conntrack_max: None,
        conntrack_count: None,
        available_bytes: Some(20 << 30),
        group_available_bytes: None,
        threads_max: Some(192_000),
        pid_max: Some(32_768),
        threads: Some(100),
        nproc: Some(96_000),
        group_pids: None,
        usable_cores: 2,
        cpu_quota_ms_per_s: None,
        pins: true,
        clock_source: Some("tsc".to_owned()),
        timer_slack_ns: Some(50_000),
        congestion: Some("bbr".to_owned()),
        congestions: vec!["reno".to_owned(), "cubic".to_owned(), "bbr".to_owned()],
        congestions_allowed: vec!["reno".to_owned(), "cubic".to_owned(), "bbr".to_owned()],
        steal_share: Some(0.001),
        stamps: Some(true),
    }
}

fn memory(bytes: f64) -> MemoryPerClient {
    MemoryPerClient {
        server_bytes: 1_000.0,
        harness_bytes: 1_000.0,
        kernel_bytes: bytes - 2_000.0,
        source: "made up".to_owned(),
    }
}

fn found(machine: &Machine, clients: u32) -> Examination {
    examine(machine, &memory(10_000.0), Some(clients))
}

fn limit<'a>(found: &'a Examination, name: &str) -> &'a LimitFound {
    let of = found.limits.iter().find(|l| l.limit.starts_with(name));
    of.expect(name)
}

fn binding(found: &Examination) -> Vec<&str> {
    let binds = found.limits.iter().filter(|l| l.state == State::Binds);
    binds.map(|l| l.limit).collect()
}

#[test]
fn a_million_fits_into_this_machine_with_the_workarounds_named() {
    let found = found(&machine(), 1_000_000);
    assert!(found.reachable, "{:?}", binding(&found));
    // The files of both ends: (2,400,000 - 1,000 - 1,024) / 2.
    assert_eq!((found.most, found.limited_by), (1_198_988, "fs.file-max"));
    let descriptors = limit(&found, "RLIMIT_NOFILE");
    // 85% of 20,000 less 64, in each of 128 tables.
    assert_eq!(descriptors.alone, Some(16_936));
    assert_eq!(descriptors.allows, Some(16_936 * 128));
    assert_eq!(descriptors.state, State::Avoided);
    assert_eq!(descriptors.value, "1,024 soft, 20,000 hard");
    assert_eq!(
        descriptors.raise.as_deref(),
        Some("sudo prlimit --pid $$ --nofile=1176546:1176546")
    );
    assert!(
        descriptors.instead.contains("60 per side"),
        "{}",
        descriptors.instead
    );
    let ports = limit(&found, "net.ipv4.ip_local_port_range");
    assert_eq!((ports.alone, ports.state), (Some(28_232), State::Avoided));
    assert!(
        ports.instead.contains("it needs 125 here"),
        "{}",
        ports.instead
    );
    assert_eq!(limit(&found, "net.ipv4.tcp_mem").state, State::Slows);
    assert_eq!(limit(&found, "memory").allows, Some(1_825_361));
}

#[test]
fn no_command_lowers_a_limit_that_has_room() {
    let found = found(&machine(), 100);
    let commands = found.limits.iter().filter_map(|l| l.raise.as_deref());
    // The queue of half-open connections is shorter than that of the listener.
    assert_eq!(
        commands.collect::<Vec<_>>(),
        ["sudo sysctl -w net.ipv4.tcp_max_syn_backlog=4096"]
    );
}

#[test]
fn without_a_number_the_most_is_computed_and_named() {
    let found = examine(&machine(), &memory(30_000.0), None);
    // 85% of 20 GiB at 30,000 bytes each.
    assert_eq!((found.most, found.limited_by), (608_453, "memory"));
    assert_eq!(
        (found.clients, found.asked, found.reachable),
        (608_453, false, true)
    );
    assert_eq!(binding(&found), [""; 0]);
}

#[test]
fn one_more_than_the_most_cannot_be_held_and_the_limit_binds() {
    let most = examine(&machine(), &memory(30_000.0), None).most;
    let at = |clients| examine(&machine(), &memory(30_000.0), Some(clients));
    assert!(at(most as u32).reachable);
    let beyond = at(most as u32 + 1);
    assert!(!beyond.reachable);
    assert_eq!(binding(&beyond), ["memory"]);
}

#[test]
fn a_limit_above_another_is_raised_after_it() {
    let machine = Machine {
        nr_open: Some(1 << 20),
        ..machine()
    };
    assert_eq!(
        limit(&found(&machine, 1_000_000), "RLIMIT_NOFILE")
            .raise
            .as_deref(),
        Some("sudo sysctl -w fs.nr_open=1176546 && sudo prlimit --pid $$ --nofile=1176546:1176546")
    );
}

#[test]
fn without_further_tables_one_must_be_enough() {
    let machine = Machine {
        own_tables: false,
        nr_open: Some(10_000),
        ..machine()
    };
    let found = found(&machine, 16_000);
    assert_eq!(binding(&found), ["fs.nr_open"]);
    let found = examine(&machine, &memory(10_000.0), Some(20_000));
    assert_eq!(binding(&found), ["RLIMIT_NOFILE (ulimit -n)", "fs.nr_open"]);
    assert_eq!(
        limit(&found, "fs.nr_open").raise.as_deref(),
        Some("sudo sysctl -w fs.nr_open=23605")
    );
}

#[test]
fn every_limit_that_counts_clients_can_bind_and_names_the_command_that_raises_it() {
    let with = |change: &dyn Fn(&mut Machine)| {
        let mut machine = machine();
        change(&mut machine);
        machine
    };
    for (name, machine, command) in [
        (
            "fs.file-max",
            with(&|m| m.file_max = Some(100_000)),
            "sudo sysctl -w fs.file-max=202024",
        ),
        (
            "fs.epoll.max_user_watches",
            with(&|m| m.epoll_watches = Some(100_000)),
            "sudo sysctl -w fs.epoll.max_user_watches=201024",
        ),
        (
            "net.ipv4.ip_local_port_range",
            with(&|m| m.ports = Some((54_000, 60_999))),
            "sudo sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
        ),
        (
            "net.netfilter.nf_conntrack_max",
            with(&|m| (m.conntrack_max, m.conntrack_count) = (Some(65_536), Some(10))),
            "sudo sysctl -w net.netfilter.nf_conntrack_max=101034",
        ),
        (
            "kernel.threads-max",
            with(&|m| m.threads_max = Some(140)),
            "sudo sysctl -w kernel.threads-max=676",
        ),
        (
            "pids of the control group",
            with(&|m| m.group_pids = Some(40)),
            "sudo systemctl set-property --runtime \"$(ps -o unit= -p $$)\" TasksMax=616",
        ),
        (
            "memory of the control group",
            with(&|m| m.group_available_bytes = Some(500 << 20)),
            "sudo systemctl set-property --runtime \"$(ps -o unit= -p $$)\" MemoryMax=1176470589",
        ),
    ] {
        let found = found(&machine, 100_000);
        assert!(!found.reachable, "{name}");
        assert_eq!(binding(&found).len(), 1, "{name}: {:?}", binding(&found));
        let bound = limit(&found, name);
        assert_eq!(bound.state, State::Binds, "{name}");
        assert_eq!(bound.raise.as_deref(), Some(command), "{name}");
        assert!(found.limited_by.starts_with(name), "{name}");
    }
}

#[test]
fn a_limit_that_only_slows_does_not_refuse() {
    let slow = Machine {
        somaxconn: Some(128),
        syn_backlog: Some(128),
        usable_cores: 1,
        cpu_quota_ms_per_s: Some(500),
        clock_source: Some("hpet".to_owned()),
        congestions: vec!["bbr".to_owned()],
        congestions_allowed: vec!["bbr".to_owned()],
        steal_share: Some(0.3),
        stamps: Some(false),
        ..machine()
    };
    let found = found(&slow, 100_000);
    assert!(found.reachable);
    let slows = found.limits.iter().filter(|l| l.state == State::Slows);
    assert_eq!(
        slows.map(|l| l.limit).collect::<Vec<_>>(),
        [
            "net.core.somaxconn",
            "net.ipv4.tcp_max_syn_backlog",
            "usable cores",
            "CPU quota of the control group",
            "clock source",
            "congestion control",
            "steal",
            "SO_TIMESTAMPING"
        ]
    );
}

#[test]
fn a_congestion_control_that_is_loaded_but_not_allowed_is_named_with_what_allows_it() {
    let unprivileged = Machine {
        congestions_allowed: vec!["reno".to_owned(), "bbr".to_owned()],
        ..machine()
    };
    let found = found(&unprivileged, 100_000);
    let limit = limit(&found, "congestion control");
    assert_eq!((limit.value.as_str(), limit.state), ("bbr", State::Slows));
    assert_eq!(
        limit.raise.as_deref(),
        Some("sudo sysctl -w net.ipv4.tcp_allowed_congestion_control='reno cubic bbr'")
    );
    assert!(
        limit.instead.contains("may not set cubic"),
        "{}",
        limit.instead
    );
    assert!(found.reachable);
}

/// Every number that a command sets, with the number in force.
fn settings(machine: &Machine, raise: &str) -> Vec<(u64, Option<u64>)> {
    let [_, pressure, most] = machine
        .tcp_mem_pages
        .map_or([None; 3], |pages| pages.map(Some));
    let now = [
        ("fs.nr_open=", machine.nr_open),
        ("--nofile=", machine.nofile_hard),
        ("fs.file-max=", machine.file_max),
        ("fs.epoll.max_user_watches=", machine.epoll_watches),
        ("net.core.somaxconn=", machine.somaxconn),
        ("net.ipv4.tcp_max_syn_backlog=", machine.syn_backlog),
        ("net.ipv4.tcp_max_tw_buckets=", machine.time_wait_buckets),
        ("net.netfilter.nf_conntrack_max=", machine.conntrack_max),
        ("kernel.threads-max=", machine.threads_max),
        ("kernel.pid_max=", machine.pid_max),
        ("ulimit -u ", machine.nproc),
        ("TasksMax=", machine.group_pids),
        ("MemoryMax=", machine.group_available_bytes),
    ];
    let digits = |text: &str| -> Option<u64> {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        text[..end].parse().ok()
    };
    let mut found: Vec<(u64, Option<u64>)> = Vec::new();
    for (key, now) in now {
        let at = raise.find(key).map(|at| &raise[at + key.len()..]);
        found.extend(at.map(|rest| (digits(rest).expect("a number"), now)));
    }
    if let Some(rest) = raise.split("net.ipv4.tcp_mem='").nth(1) {
        let pages = rest
            .trim_end_matches('\'')
            .split(' ')
            .map(|n| n.parse().expect("pages"));
        found.extend(pages.skip(1).zip([pressure, most]));
    }
    found
}

#[test]
fn no_command_sets_a_value_below_the_one_in_force() {
    let mut random = SplitMix64::new(7);
    let mut checked = 0;
    for _ in 0..2_000 {
        // From far below what a hundred clients need to far above what a million do.
        let mut any = || Some(1 << (4 + random.below(28)) | random.below(16));
        let pages = [any(), any(), any()].map(Option::unwrap_or_default);
        let mut machine = Machine {
            nofile_hard: any(),
            nr_open: any(),
            file_max: any(),
            files_open: any(),
            epoll_watches: any(),
            somaxconn: any(),
            syn_backlog: any(),
            tcp_mem_pages: Some(pages),
            time_wait_buckets: any(),
            conntrack_max: any(),
            conntrack_count: any(),
            available_bytes: any(),
            group_available_bytes: any(),
            threads_max: any(),
            pid_max: any(),
            threads: any(),
            nproc: any(),
            group_pids: any(),
            ..machine()
        };
        machine.own_tables = random.below(2) == 0;
        let clients = 1 + random.below(2_000_000);
        for limit in examine(&machine, &memory(10_000.0), Some(clients as u32)).limits {
            for (set, now) in settings(&machine, limit.raise.as_deref().unwrap_or_default()) {
                checked += 1;
                assert!(
                    Some(set) >= now,
                    "{limit:?}, {now:?} now, {clients} clients"
                );
            }
        }
    }
    assert!(checked > 2_000, "{checked}");
}

#[test]
fn a_platform_that_reports_nothing_is_not_guessed_at() {
    let found = examine(&Machine::default(), &memory(10_000.0), Some(1_000));
    assert!(found.reachable);
    assert_eq!(found.limited_by, "the 32-bit number of a client");
    assert_eq!(limit(&found, "memory").value, "unknown");
}

#[test]
fn the_text_has_the_verdict_first_and_commands_on_lines_of_their_own() {
    let text = render(&found(&machine(), 1_000_000));
    assert!(
        text.starts_with(
            "This machine can hold 1,000,000 clients; the maximum is 1,198,988, set by \
             fs.file-max\n\nlimit"
        ),
        "{text}"
    );
    assert!(
        text.contains("\n    sudo prlimit --pid $$ --nofile=1176546:1176546\n"),
        "{text}"
    );
    let text = render(&found(&machine(), 4_000_000));
    assert!(
        text.starts_with(
            "This machine cannot hold 4,000,000 clients: the maximum is 1,198,988, set by \
             fs.file-max\n"
        ),
        "{text}"
    );
    let text = render(&examine(&machine(), &memory(30_000.0), None));
    assert!(
        text.starts_with("This machine can hold at most 608,453 clients, set by memory\n"),
        "{text}"
    );
}

#[test]
fn a_namespace_without_loopback_holds_no_client_and_the_command_brings_it_up() {
    let down = Machine {
        loopback_fails: Some("network is unreachable".to_owned()),
        ipv6_fails: Some("cannot assign requested address".to_owned()),
        ..machine()
    };
    for clients in [None, Some(10)] {
        let found = examine(&down, &memory(10_000.0), clients);
        assert!(!found.reachable);
        assert_eq!((found.most, found.limited_by), (0, "loopback"));
        let row = limit(&found, "loopback");
        assert_eq!(row.state, State::Binds);
        assert_eq!(row.raise.as_deref(), Some("sudo ip link set lo up"));
        assert_eq!(
            row.value,
            "127.0.0.1: network is unreachable, ::1: cannot assign requested address"
        );
    }
    // Without IPv6, it is as large as any.
    let old = Machine {
        loopback_fails: None,
        ..down
    };
    let found = found(&old, 10);
    let row = limit(&found, "loopback");
    assert!(found.reachable && row.state == State::Free && row.raise.is_none());
    assert_eq!(row.instead, "refuses '--source-addresses' of IPv6");
}
