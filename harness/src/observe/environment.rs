//! Where a run took place: what another reader needs to judge its numbers, and nothing that tells
//! whose machine it is (no host name, no user, no paths, no addresses).
//!
//! In: `/proc` and `/sys`. Out: an [`Environment`] for the record, each field `None` where this
//! platform does not tell.

use super::before::Before;
use super::groups::CpuQuota;
use super::{field_bytes, read};
use crate::text::utc;
use nix::sys::resource::{Resource, getrlimit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use std::time::SystemTime;

/// The machine and its settings as a run found them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// When the run began, RFC 3339 in UTC.
    pub started_utc: String,
    /// Operating system and architecture the binary was built for, such as `linux x86_64`.
    pub platform: String,
    /// Release of the kernel.
    pub kernel_release: Option<String>,
    /// Name of the processor.
    pub cpu_model: Option<String>,
    /// Cores that are online.
    pub cores: Option<u32>,
    /// Cores that this process may run on: fewer in a container or under `taskset`.
    pub usable_cores: Option<u32>,
    /// CPU time that control groups allow the run in a second, in ms; `None` where they have no quota.
    #[serde(default)]
    pub cpu_quota_ms_per_s: Option<u64>,
    /// Cores that server and clients were pinned to; `None` where they were not.
    pub pinning: Option<Pinning>,
    /// How the frequency of the first core is governed.
    pub frequency_governor: Option<String>,
    /// Vendor of the virtual machine; `None` on bare metal, or where it does not show.
    pub hypervisor: Option<String>,
    /// Memory of the machine.
    pub memory_bytes: Option<u64>,
    /// Congestion control that sockets get by default.
    pub congestion_control: Option<String>,
    /// Congestion control that every socket of this run had.
    pub congestion_control_used: Option<String>,
    /// Congestion controls that the kernel has loaded.
    pub congestion_controls_available: Option<Vec<String>>,
    /// Those of them that this process may set on a socket, found by setting each: without
    /// CAP_NET_ADMIN the kernel allows only `net.ipv4.tcp_allowed_congestion_control`.
    #[serde(default)]
    pub congestion_controls_allowed: Option<Vec<String>>,
    /// Descriptors that a process may open, soft limit.
    pub nofile_soft: Option<u64>,
    /// Descriptors that a process may raise its limit to.
    pub nofile_hard: Option<u64>,
    /// First port that a client's connection may get.
    pub port_first: Option<u16>,
    /// Last port that a client's connection may get.
    pub port_last: Option<u16>,
    /// Longest queue of connections that wait to be accepted.
    pub somaxconn: Option<u64>,
    /// Pages that TCP may hold before it economises, before it is pressed, and at most.
    pub tcp_mem_pages: Option<[u64; 3]>,
    /// Allocator of server and harness.
    pub allocator: String,
    /// What the machine did in the moments before the run; `null` where nobody looked.
    #[serde(default)]
    pub before: Option<Before>,
}

/// Which cores the processes of a trial were confined to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pinning {
    /// Cores of the server, from 0.
    pub server_cores: Vec<u32>,
    /// Cores of the clients, from 0.
    pub client_cores: Vec<u32>,
}

impl Environment {
    /// Reads the machine. Pinning is left for the run to fill in.
    pub fn read() -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let limits = getrlimit(Resource::RLIMIT_NOFILE).ok();
        let ports = line("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| pair(&text));
        let available = line("/proc/sys/net/ipv4/tcp_available_congestion_control");
        let available: Option<Vec<String>> =
            available.map(|text| text.split_whitespace().map(str::to_owned).collect());
        Self {
            started_utc: utc::rfc3339(SystemTime::now()),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernel_release: line("/proc/sys/kernel/osrelease"),
            cpu_model: cpu_model(&cpuinfo),
            cores: line("/sys/devices/system/cpu/online").and_then(|text| count_cores(&text)),
            usable_cores: std::thread::available_parallelism()
                .ok()
                .and_then(|cores| u32::try_from(cores.get()).ok()),
            cpu_quota_ms_per_s: CpuQuota::read().map(|quota| quota.ms_per_s),
            pinning: None,
            frequency_governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            hypervisor: if is_virtual(&cpuinfo) {
                line("/sys/class/dmi/id/sys_vendor").or(Some("unnamed".to_owned()))
            } else {
                None
            },
            memory_bytes: field_bytes(&read("/proc/meminfo").unwrap_or_default(), "MemTotal"),
            congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
            congestion_control_used: None,
            congestion_controls_allowed: available.as_deref().map(allowed),
            congestion_controls_available: available,
            nofile_soft: limits.map(|(soft, _)| soft),
            nofile_hard: limits.map(|(_, hard)| hard),
            port_first: ports.map(|(first, _)| first),
            port_last: ports.map(|(_, last)| last),
            somaxconn: line("/proc/sys/net/core/somaxconn").and_then(|text| text.parse().ok()),
            tcp_mem_pages: line("/proc/sys/net/ipv4/tcp_mem").and_then(|text| triple(&text)),
            allocator: "system".to_owned(),
            before: None,
        }
    }
}

/// Those of `names` that can be set on a socket of this process.
fn allowed(names: &[String]) -> Vec<String> {
    let settable = |name: &&String| {
        Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
            .and_then(|socket| socket.set_tcp_congestion(name.as_bytes()))
            .is_ok()
    };
    names.iter().filter(settable).cloned().collect()
}

/// A file of one line, without its end; `None` where it is missing or empty.
fn line(path: &str) -> Option<String> {
    read(path)
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

/// `model name` on x86; other architectures name their parts by number, which says little.
fn cpu_model(cpuinfo: &str) -> Option<String> {
    value(cpuinfo, "model name").map(str::to_owned)
}

/// The flag that hypervisors set on x86 (CPUID leaf 1, ECX bit 31).
fn is_virtual(cpuinfo: &str) -> bool {
    value(cpuinfo, "flags")
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

fn value<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

/// Cores in a list of ranges such as `0-3,8`.
fn count_cores(ranges: &str) -> Option<u32> {
    ranges
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.checked_sub(first)? + 1)
        })
        .sum()
}

fn pair(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn triple(text: &str) -> Option<[u64; 3]> {
    let numbers: Vec<u64> = text
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\n\
        model name\t: Intel(R) Xeon(R) CPU @ 2.20GHz\nflags\t\t: fpu vme hypervisor lahf_lm\n\n\
        processor\t: 1\nmodel name\t: another\n";

    #[test]
    fn the_processor_is_named_by_its_first_core() {
        assert_eq!(
            cpu_model(CPUINFO).as_deref(),
            Some("Intel(R) Xeon(R) CPU @ 2.20GHz")
        );
        assert_eq!(cpu_model("CPU part\t: 0xd0c\n"), None);
    }

    #[test]
    fn a_hypervisor_shows_by_its_flag() {
        assert!(is_virtual(CPUINFO));
        assert!(!is_virtual("flags\t\t: fpu vme hypervisors\n"));
    }

    #[test]
    fn ranges_of_cores_are_counted() {
        assert_eq!(count_cores("0-3,8"), Some(5));
        assert_eq!(count_cores("0"), Some(1));
        assert_eq!(count_cores("3-1"), None);
        assert_eq!(count_cores("all"), None);
    }

    #[test]
    fn settings_of_several_numbers_are_split() {
        assert_eq!(pair("32768\t60999"), Some((32_768, 60_999)));
        assert_eq!(
            triple("190000 253000\t380000"),
            Some([190_000, 253_000, 380_000])
        );
        assert_eq!(triple("1 2"), None);
    }

    #[test]
    fn this_machine_says_where_it_is_but_not_whose() {
        let environment = Environment::read();
        assert!(environment.kernel_release.is_some());
        assert!(environment.cores >= Some(1) && environment.usable_cores >= Some(1));
        assert!(environment.memory_bytes > Some(1 << 20));
        assert!(environment.nofile_soft <= environment.nofile_hard);
        assert!(environment.port_first < environment.port_last);
        let json = serde_json::to_value(&environment).expect("serialisable");
        for (key, _) in json.as_object().expect("an object") {
            assert!(!key.contains("host") && !key.contains("user"), "{key}");
        }
    }
}
