//! User memory and CPU of one process: of the server, of the fleet.
//!
//! In: a process id. Out: PSS and its peak in bytes, CPU in ns, threads. Memory that the kernel
//! holds for the process's sockets is not in it (see [`kernel`](super::kernel)).

use super::{field, field_bytes, read};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// User memory of a process, in bytes: its proportional set size, in which pages that several
/// processes share (the text of the binary, which all our processes are) count by their share.
///
/// Walks the page tables: a millisecond for a process of a few hundred MB, so not for a hot loop.
pub fn pss_bytes(pid: u32) -> Option<u64> {
    field_bytes(&read(&format!("/proc/{pid}/smaps_rollup"))?, "Pss")
}

/// The most memory that a process was resident in so far, in bytes (`VmHWM`). Resident, not
/// proportional: the kernel keeps no peak of that.
pub fn peak_bytes(pid: u32) -> Option<u64> {
    field_bytes(&read(&format!("/proc/{pid}/status"))?, "VmHWM")
}

/// Has [`peak_bytes`] begin anew at what is resident now. `false` where that is not allowed.
pub fn forget_peak(pid: u32) -> bool {
    // proc_pid_clear_refs(5): 5 resets the peak and nothing else.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

/// Descriptors that are open and may be, in a descriptor table of the process that has room for no
/// more than a few: each thread may have one of its own. `None` where none is full.
///
/// Lists descriptors one by one: milliseconds for thousands, so only where growth has come to a
/// stop.
pub fn full_table(pid: u32) -> Option<(u64, u64)> {
    let limits = read(&format!("/proc/{pid}/limits"))?;
    let limit = soft_limit(&limits, "Max open files")?;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let open = threads
        .filter_map(|thread| {
            Some(
                std::fs::read_dir(thread.ok()?.path().join("fd"))
                    .ok()?
                    .count(),
            )
        })
        .max()? as u64;
    (open + FEW >= limit).then_some((open, limit))
}

/// Descriptors below the limit at which a table counts as full.
const FEW: u64 = 4;

/// The soft limit in a line `name  soft  hard  unit` of `/proc/PID/limits`.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Resident memory of a process, in bytes: shared pages in full, and so more than
/// [`pss_bytes`], but a counter that the kernel keeps anyway (proc(5), `statm`).
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let pages: u64 = read(&format!("/proc/{pid}/statm"))?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(u64::try_from(page).ok()?)
}

/// Number of threads of a process.
pub fn threads(pid: u32) -> Option<u32> {
    field(&read(&format!("/proc/{pid}/status"))?, "Threads")?
        .try_into()
        .ok()
}

/// CPU time of a process since it began, user and system, all threads, in ns.
///
/// Its own clock (`clock_getcpuclockid`), which counts in ns; `/proc/PID/stat` counts in ticks of
/// 10 ms. `None` once the process has been reaped.
pub fn cpu_ns(pid: u32) -> Option<u64> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    let time = clock_gettime(ClockId::pid_cpu_clock_id(pid).ok()?).ok()?;
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportional_memory_and_its_peak_are_read_from_their_lines() {
        let rollup = "55d0c0000000-7ffd00000000 ---p 00000000 00:00 0    [rollup]\n\
                      Rss:                9936 kB\nPss:                4021 kB\n\
                      Pss_Dirty:          1500 kB\n";
        assert_eq!(field_bytes(rollup, "Pss"), Some(4021 * 1024));
        let status = "Name:\tserver\nVmHWM:\t   12345 kB\nThreads:\t3\n";
        assert_eq!(field_bytes(status, "VmHWM"), Some(12_641_280));
        assert_eq!(field(status, "Threads"), Some(3));
        assert_eq!(field(status, "VmPeak"), None);
    }

    #[test]
    fn this_process_has_memory_threads_and_a_clock_that_goes_on() {
        let pid = std::process::id();
        let before = cpu_ns(pid).expect("a clock");
        assert!(pss_bytes(pid).expect("PSS") > 100_000);
        assert!(peak_bytes(pid).expect("VmHWM") > 100_000);
        assert!(threads(pid).expect("threads") >= 1);
        // Work until it shows: no time is asserted.
        while cpu_ns(pid).expect("a clock") <= before {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn the_soft_limit_of_descriptors_is_read_from_its_line() {
        let limits = "Limit        Soft Limit  Hard Limit  Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
        assert_eq!(soft_limit(limits, "Max processes"), None);
    }

    #[test]
    fn a_table_with_room_is_not_full() {
        assert_eq!(full_table(std::process::id()), None);
        assert_eq!(full_table(1 << 23), None);
    }

    #[test]
    fn a_process_that_is_not_there_has_nothing() {
        // Above the highest pid that Linux gives (2^22).
        let pid = 1 << 23;
        assert_eq!(
            (pss_bytes(pid), peak_bytes(pid), threads(pid)),
            (None, None, None)
        );
        assert_eq!((cpu_ns(pid), cpu_ns(u32::MAX)), (None, None));
    }
}
