//! System calls that no library in the tree wraps, and thin names for those that one does.
//!
//! The only place of the project where `unsafe` is allowed; each use says why it is sound.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::sched::{CloneFlags, CpuSet};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, ClockNanosleepFlags};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The time on `CLOCK_MONOTONIC`, in ns. All processes of one host read the same clock.
pub fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("every Linux kernel has CLOCK_MONOTONIC");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Sleeps until `time_ns` on `CLOCK_MONOTONIC`; returns early where a signal interrupts.
///
/// An absolute sleep: time lost between reading the clock and sleeping is not added, and the
/// resolution is the kernel's, not the millisecond of a runtime's timer.
pub fn sleep_until_ns(time_ns: u64) {
    let until = nix::sys::time::TimeSpec::new(
        (time_ns / 1_000_000_000) as i64,
        (time_ns % 1_000_000_000) as i64,
    );
    let _ = nix::time::clock_nanosleep(
        ClockId::CLOCK_MONOTONIC,
        ClockNanosleepFlags::TIMER_ABSTIME,
        &until,
    );
}

/// Lets the calling thread's sleeps end within 1 ns of slack instead of the default 50 µs.
pub fn sharpen_sleeps() {
    // Failure leaves the default slack, which the publish-lag histogram then shows.
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// CPU time that process `pid` has used in all its threads, in ns.
///
/// # Errors
/// `ESRCH`/`EINVAL` where there is no such process.
pub fn process_cpu_ns(pid: u32) -> io::Result<u64> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32))?;
    let time = nix::time::clock_gettime(clock)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Restricts the calling thread, and those it starts later, to `cpus`.
///
/// # Errors
/// `EINVAL` where none of them may be used.
pub fn pin_to(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu)?;
    }
    nix::sched::sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(())
}

/// The CPUs that the calling thread may run on, ascending.
pub fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = nix::sched::sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect()
}

/// Raises the soft limit of open descriptors to the hard limit and returns it.
pub fn raise_descriptor_limit() -> u64 {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => {
            if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
                hard
            } else {
                soft
            }
        }
        Ok((soft, _)) => soft,
        Err(_) => 1024,
    }
}

/// Gives the calling thread a descriptor table of its own, and closes in it all but standard
/// input, output, error and `keep`.
///
/// The limit of open descriptors counts per table, so that a process can hold as many times the
/// limit as it has such threads. Must run before the thread opens anything, and whatever it opens
/// afterwards must be closed by the same thread: the number means another file elsewhere.
///
/// # Errors
/// Those of `unshare(2)`; `EMFILE` and `ENOMEM` are the likely ones.
pub fn own_descriptor_table(keep: &[RawFd]) -> io::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_FILES)?;
    let mut keep: Vec<u32> = keep.iter().map(|&fd| fd as u32).chain([0, 1, 2]).collect();
    keep.sort_unstable();
    let mut next = 0;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if next < fd {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            close_range(next, last)?;
        }
        next = fd.saturating_add(1);
    }
    Ok(())
}

/// Registers a descriptor that is never closed with the calling thread's runtime, for reading.
///
/// # Errors
/// Those of `epoll_ctl(2)`.
#[allow(unsafe_code)]
pub(crate) fn watch(fd: BorrowedFd<'static>) -> io::Result<AsyncFd<BorrowedFd<'static>>> {
    // SAFETY: the borrow lasts to the end of the process, so the descriptor stays open and the
    // same for as long as the registration; `BorrowedFd` always gives the same number.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

#[allow(unsafe_code)]
fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: takes two numbers and no pointers. The caller has just made this table by copying:
    // no value of this thread owns a descriptor in it yet, so nothing is closed twice.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets `bind(2)` to port 0 leave the choice of the port to `connect(2)`, where only the whole
/// connection must be unique (`IP_BIND_ADDRESS_NO_PORT`): a port can then serve many servers.
///
/// # Errors
/// Those of `setsockopt(2)`.
#[allow(unsafe_code)]
pub fn bind_address_no_port(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` is readable for the length given, and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// What the kernel counted on one TCP connection, from `TCP_INFO`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// Payload bytes received, in order, without retransmissions.
    pub bytes_received: u64,
    /// Payload bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Segments received that carried payload.
    pub data_segments_in: u64,
    /// Segments sent that carried payload.
    pub data_segments_out: u64,
    /// Payload bytes that were sent again.
    pub bytes_retransmitted: u64,
}

impl std::ops::AddAssign for TcpCounters {
    fn add_assign(&mut self, other: Self) {
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.data_segments_in += other.data_segments_in;
        self.data_segments_out += other.data_segments_out;
        self.bytes_retransmitted += other.bytes_retransmitted;
    }
}

/// Reads `TCP_INFO` of a connected socket.
///
/// # Errors
/// Those of `getsockopt(2)`; an older kernel's shorter answer leaves the later fields 0.
#[allow(unsafe_code)]
pub fn tcp_counters(socket: &impl AsRawFd) -> io::Result<TcpCounters> {
    // SAFETY: `tcp_info` is plain integers, for which all zeroes is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is writable for `length` bytes, the kernel writes at most that many, and
    // both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpCounters {
        bytes_received: info.tcpi_bytes_received,
        bytes_sent: info.tcpi_bytes_sent,
        data_segments_in: u64::from(info.tcpi_data_segs_in),
        data_segments_out: u64::from(info.tcpi_data_segs_out),
        bytes_retransmitted: info.tcpi_bytes_retrans,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn tcp_counters_count_the_payload_of_both_ends() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut near = std::net::TcpStream::connect(address).expect("listening");
        let (mut far, _) = listener.accept().expect("connected");
        near.write_all(b"twelve bytes").expect("open");
        far.read_exact(&mut [0; 12]).expect("sent");
        let near = tcp_counters(&near).expect("connected");
        let far = tcp_counters(&far).expect("connected");
        assert_eq!((near.bytes_sent, near.bytes_received), (12, 0));
        assert_eq!((far.bytes_received, far.data_segments_in), (12, 1));
    }

    #[test]
    fn a_thread_with_its_own_table_leaves_the_others_descriptors_open() {
        let (kept, mut writer) = std::io::pipe().expect("a pipe");
        let number = kept.as_raw_fd();
        let inside = std::thread::spawn(move || {
            own_descriptor_table(&[number]).expect("unshare is allowed to everyone");
            let open = std::fs::read_dir("/proc/thread-self/fd").expect("procfs");
            let mut open: Vec<RawFd> = open
                .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
                .filter(|&fd| fd > 2)
                .collect();
            open.sort_unstable();
            open
        })
        .join()
        .expect("no panic");
        // The listing itself holds one descriptor while it is read.
        assert!(inside.contains(&number) && inside.len() <= 2, "{inside:?}");
        writer
            .write_all(b"x")
            .expect("the reader is still open here");
    }

    #[test]
    fn own_cpu_time_never_goes_back() {
        let before = process_cpu_ns(std::process::id()).expect("own process");
        let after = process_cpu_ns(std::process::id()).expect("own process");
        assert!(after >= before && after > 0);
    }
}
