//! The limits that the machine reports, in one reading that tests replace.
//!
//! In: `/proc`, `/sys` and the limits of this process. Out: a [`Machine`], in which a field is `None` if
//! this platform does not report it.

use crate::environment::loopback;
use crate::environment::rights::Rights;
use crate::observe::environment::Environment;
use crate::observe::{field_bytes, memory, read};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};
use pushbench_os::sys;
use serde::Serialize;

/// Limits of a machine and of this process, as read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Machine {
    /// Descriptors of a process, soft limit.
    pub nofile_soft: Option<u64>,
    /// Descriptors of a process, hard limit.
    pub nofile_hard: Option<u64>,
    /// The most to which that limit can be raised (`fs.nr_open`).
    pub nr_open: Option<u64>,
    /// Whether a thread may have its own descriptor table (`unshare(CLONE_FILES)`).
    pub own_tables: bool,
    /// Open files of the machine, at most (`fs.file-max`).
    pub file_max: Option<u64>,
    /// Open files of the machine now.
    pub files_open: Option<u64>,
    /// Descriptors that one user may register with epoll (`fs.epoll.max_user_watches`).
    pub epoll_watches: Option<u64>,
    /// Why nothing connects to 127.0.0.1; `None` if it works.
    pub loopback_fails: Option<String>,
    /// Why nothing connects to ::1; `None` if it works.
    pub ipv6_fails: Option<String>,
    /// First and last port of a client's connection.
    pub ports: Option<(u16, u16)>,
    /// Longest queue of a listener (`net.core.somaxconn`).
    pub somaxconn: Option<u64>,
    /// Most half-open connections of a listener (`net.ipv4.tcp_max_syn_backlog`).
    pub syn_backlog: Option<u64>,
    /// Pages of TCP memory: low, pressure, maximum.
    pub tcp_mem_pages: Option<[u64; 3]>,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Most connections in TIME_WAIT (`net.ipv4.tcp_max_tw_buckets`).
    pub time_wait_buckets: Option<u64>,
    /// Most connections that the firewall tracks; `None` if it tracks none now.
    pub conntrack_max: Option<u64>,
    /// Connections that it tracks now.
    pub conntrack_count: Option<u64>,
    /// Memory of the machine that can be used without swapping.
    pub available_bytes: Option<u64>,
    /// The same within the control group of this process, if that is less.
    pub group_available_bytes: Option<u64>,
    /// Threads of the machine, at most (`kernel.threads-max`).
    pub threads_max: Option<u64>,
    /// Numbers of processes and threads, at most (`kernel.pid_max`).
    pub pid_max: Option<u64>,
    /// Threads of the machine now.
    pub threads: Option<u64>,
    /// Processes and threads of this user, at most (`ulimit -u`).
    pub nproc: Option<u64>,
    /// Processes and threads of this control group, at most.
    pub group_pids: Option<u64>,
    /// Cores that this process may run on.
    pub usable_cores: usize,
    /// CPU time that control groups allow in a second, in ms; `None` if they have no quota.
    pub cpu_quota_ms_per_s: Option<u64>,
    /// Whether this process may choose the cores of its threads.
    pub pins: bool,
    /// Source of the kernel's clock.
    pub clock_source: Option<String>,
    /// How late a sleep may end by default, in ns.
    pub timer_slack_ns: Option<u64>,
    /// Congestion control that sockets get by default.
    pub congestion: Option<String>,
    /// Congestion controls that the kernel has loaded.
    pub congestions: Vec<String>,
    /// Those of them that this process may set on a socket.
    pub congestions_allowed: Vec<String>,
    /// Fraction of the time since boot that a hypervisor gave to others.
    pub steal_share: Option<f64>,
    /// Whether the kernel timestamps what a TCP socket receives (`SO_TIMESTAMPING`).
    pub stamps: Option<bool>,
}

impl Machine {
    /// Reads this machine.
    pub fn read() -> Self {
        let environment = Environment::read();
        let rights = Rights::of_this_process();
        let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
        let available = field_bytes(&read("/proc/meminfo").unwrap_or_default(), "MemAvailable");
        let group = memory::group_available_bytes().filter(|&group| Some(group) < available);
        let tracked = number("/proc/sys/net/netfilter/nf_conntrack_count");
        Self {
            nofile_soft: environment.nofile_soft,
            nofile_hard: environment.nofile_hard,
            nr_open: number("/proc/sys/fs/nr_open"),
            own_tables: rights.own_tables,
            pins: rights.pin,
            file_max: number("/proc/sys/fs/file-max"),
            files_open: read("/proc/sys/fs/file-nr").and_then(|text| first(&text)),
            epoll_watches: number("/proc/sys/fs/epoll/max_user_watches"),
            loopback_fails: fails(loopback::V4),
            ipv6_fails: fails(loopback::V6),
            ports: environment.port_first.zip(environment.port_last),
            somaxconn: environment.somaxconn,
            syn_backlog: number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
            tcp_mem_pages: environment.tcp_mem_pages,
            page_bytes: page_bytes(),
            time_wait_buckets: number("/proc/sys/net/ipv4/tcp_max_tw_buckets"),
            // The files exist if the module is loaded, even if no rule uses it: then nothing is
            // tracked although there are connections.
            conntrack_max: number("/proc/sys/net/netfilter/nf_conntrack_max")
                .filter(|_| tracked > Some(0)),
            conntrack_count: tracked.filter(|&count| count > 0),
            available_bytes: available,
            group_available_bytes: group,
            threads_max: number("/proc/sys/kernel/threads-max"),
            pid_max: number("/proc/sys/kernel/pid_max"),
            threads: read("/proc/loadavg").and_then(|text| threads(&text)),
            nproc: getrlimit(Resource::RLIMIT_NPROC)
                .ok()
                .map(|(soft, _)| soft)
                .filter(|&soft| soft != u64::MAX),
            group_pids: crate::observe::groups::pids_max(),
            usable_cores: sys::allowed_cpus().len(),
            cpu_quota_ms_per_s: environment.cpu_quota_ms_per_s,
            clock_source: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            timer_slack_ns: number("/proc/self/timerslack_ns"),
            congestion: environment.congestion_control,
            congestions: environment
                .congestion_controls_available
                .unwrap_or_default(),
            congestions_allowed: environment.congestion_controls_allowed.unwrap_or_default(),
            steal_share: read("/proc/stat").and_then(|text| steal_share(&text)),
            stamps: stamps(),
        }
    }
}

fn word(path: &str) -> Option<String> {
    Some(read(path)?.trim().to_owned()).filter(|text| !text.is_empty())
}

fn first<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.split_whitespace().next()?.parse().ok()
}

/// The second part of `3/512`, the fourth field of `/proc/loadavg`: all threads.
fn threads(loadavg: &str) -> Option<u64> {
    let (_, all) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

fn page_bytes() -> u64 {
    let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096)
}

/// Why nothing connects to `address`, where that is so.
fn fails(address: std::net::IpAddr) -> Option<String> {
    Some(loopback::check(address).err()?.reason)
}

/// Requests timestamps on a socket that is connected to this process.
fn stamps() -> Option<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .ok()?;
    runtime.block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
        let address = listener.local_addr().ok()?;
        let stream = tokio::net::TcpStream::connect(address).await.ok()?;
        Some(crate::load::client::socket::enable_stamps(&stream))
    })
}

/// `cpu  user nice system idle iowait irq softirq steal …`, the first line of `/proc/stat`.
fn steal_share(stat: &str) -> Option<f64> {
    let columns = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = columns
        .split_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let all: f64 = ticks.iter().sum();
    (all > 0.0).then_some(ticks.get(7)? / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_reports_its_limits() {
        let machine = Machine::read();
        assert!(machine.nofile_hard >= machine.nofile_soft && machine.nofile_soft > Some(0));
        assert!(
            machine.own_tables,
            "unshare(CLONE_FILES) needs no privilege"
        );
        assert!(machine.usable_cores > 0 && machine.page_bytes >= 4_096);
        assert!(machine.available_bytes > Some(1 << 20));
        assert!(machine.threads_max > machine.threads);
        assert_eq!(machine.stamps, Some(true));
        assert_eq!(machine.loopback_fails, None);
    }

    #[test]
    fn threads_are_read_from_the_line_of_the_load() {
        assert_eq!(threads("0.20 0.18 0.12 1/80 11206\n"), Some(80));
        assert_eq!(threads(""), None);
        assert_eq!(first::<u64>("761\t0\t2466186\n"), Some(761));
    }

    #[test]
    fn steal_is_a_share_of_all_time() {
        let stat = "cpu  10 0 20 60 0 0 0 10 5 0\ncpu0 1 2 3\n";
        assert_eq!(steal_share(stat), Some(0.1));
        assert_eq!(steal_share("cpu  0 0 0 0 0 0 0 0\n"), None);
        assert_eq!(steal_share("cpu  1 2 3\n"), None);
    }
}
