//! System calls that no library in the tree wraps, and thin names for those that one does.
//!
//! With `allocator.rs` the only place of the project where `unsafe` is allowed; each use says why it
//! is sound.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sched::{CloneFlags, CpuSet};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::sys::socket::{UnixAddr, getsockname};
use nix::time::{ClockId, ClockNanosleepFlags};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Why an operation failed, in lower case and without the number of the error.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

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

/// The address space of this process, in bytes.
///
/// # Errors
/// Those of reading `/proc/self/statm`.
pub fn address_space_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().next().and_then(|n| n.parse().ok());
    let pages: u64 = pages.ok_or(io::ErrorKind::InvalidData)?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
    Ok(pages * page.map_or(4096, |bytes| bytes as u64))
}

/// Bounds the address space of this process (`RLIMIT_AS`): an allocation beyond it fails, and the
/// process aborts.
///
/// # Errors
/// `EPERM` above the limit that the process was started with.
pub fn limit_address_space(bytes: u64) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_AS, bytes, bytes)?)
}

/// Gives the calling thread a descriptor table of its own, and closes in it all but standard
/// input, output, error and `keep`.
///
/// The limit of open descriptors counts per table, so that a process can hold as many times the
/// limit as it has such threads. Must run before the thread opens anything, and whatever it opens
/// afterwards must be closed by the same thread: the number means another file elsewhere.
///
/// Signals are left to the other threads. tokio tells its runtimes of signals through one pair of
/// sockets for the whole process, by their numbers, and wakes the one that listens by a number
/// too. So that a runtime can be built on this thread and never takes part in that, those numbers
/// stand here for a socket from which nothing ever comes, and signals are blocked.
///
/// # Errors
/// Those of `unshare(2)`; `EMFILE` and `ENOMEM` are the likely ones.
pub fn own_descriptor_table(keep: &[RawFd]) -> io::Result<()> {
    // Makes tokio's pair now, in the table that is common to all: made here later, its numbers
    // would mean nothing elsewhere.
    drop(
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?,
    );
    SigSet::all().thread_block()?;
    nix::sched::unshare(CloneFlags::CLONE_FILES)?;
    let signal_sockets = unix_sockets(keep)?;
    let kept = keep.iter().chain(&signal_sockets);
    let mut keep: Vec<u32> = kept.map(|&fd| fd as u32).chain([0, 1, 2]).collect();
    keep.sort_unstable();
    let mut next = 0;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if next < fd {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            close_range(next, last)?;
        }
        next = fd.saturating_add(1);
    }
    if !signal_sockets.is_empty() {
        let (silent, peer) = UnixStream::pair()?;
        for fd in signal_sockets {
            replace(fd, &silent)?;
        }
        // Open for as long as the table is: without a peer the others would read an end.
        std::mem::forget(peer);
    }
    Ok(())
}

/// The Unix sockets of the calling thread's table, but for `except` and the standard streams.
fn unix_sockets(except: &[RawFd]) -> io::Result<Vec<RawFd>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/thread-self/fd")? {
        let name = entry?.file_name();
        let fd: Option<RawFd> = name.to_str().and_then(|name| name.parse().ok());
        found.extend(fd.filter(|fd| {
            // Fails for what is not a socket, or one of another family.
            *fd > 2 && !except.contains(fd) && getsockname::<UnixAddr>(*fd).is_ok()
        }));
    }
    Ok(found)
}

/// Makes `fd` another number of `by`'s file, in the table that [`own_descriptor_table`] has just
/// made.
#[allow(unsafe_code)]
fn replace(fd: RawFd, by: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: takes numbers and no pointers. What `fd` stood for was inherited with the table: no
    // value of this thread owns it, so none is deceived.
    let result = unsafe { libc::dup3(by.as_raw_fd(), fd, libc::O_CLOEXEC) };
    if result == fd {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Registers a descriptor that is never closed with the calling thread's runtime, for reading.
///
/// # Errors
/// Those of `epoll_ctl(2)`.
#[allow(unsafe_code)]
pub fn watch(fd: BorrowedFd<'static>) -> io::Result<AsyncFd<BorrowedFd<'static>>> {
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
pub fn tcp_counters(socket: &impl AsRawFd) -> io::Result<TcpCounters> {
    let info = tcp_info(socket)?;
    Ok(TcpCounters {
        bytes_received: info.tcpi_bytes_received,
        bytes_sent: info.tcpi_bytes_sent,
        data_segments_in: u64::from(info.tcpi_data_segs_in),
        data_segments_out: u64::from(info.tcpi_data_segs_out),
        bytes_retransmitted: info.tcpi_bytes_retrans,
    })
}

/// How far the other end of a TCP connection has taken what was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpProgress {
    /// Bytes that the other end has acknowledged, since the connection began.
    pub acknowledged_bytes: u64,
    /// Whether more than those was written.
    pub unfinished: bool,
}

/// Reads [`TcpProgress`] from `TCP_INFO`.
///
/// # Errors
/// Those of `getsockopt(2)`.
pub fn tcp_progress(socket: &impl AsRawFd) -> io::Result<TcpProgress> {
    let info = tcp_info(socket)?;
    Ok(TcpProgress {
        acknowledged_bytes: info.tcpi_bytes_acked,
        unfinished: info.tcpi_notsent_bytes > 0 || info.tcpi_unacked > 0,
    })
}

/// Gives a connection up: it is reset at once (RFC 9293, section 3.10.5), the kernel frees what it
/// holds for it, and whoever waits for it is woken with an error. Its descriptor stays open.
///
/// # Errors
/// Those of `connect(2)`, which ends an association where it is given no address family.
#[allow(unsafe_code)]
pub fn give_up(socket: &impl AsRawFd) -> io::Result<()> {
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    // SAFETY: `nowhere` is readable for the length given, and outlives the call.
    let result = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            &raw const nowhere,
            size_of::<libc::sockaddr>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[allow(unsafe_code)]
fn tcp_info(socket: &impl AsRawFd) -> io::Result<libc::tcp_info> {
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
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_reason_is_told_in_lower_case() {
        let error = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(reason(&error), "permission denied");
        assert_eq!(reason(&io::Error::other("made up")), "made up");
    }

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
                // Those stand for tokio's, and are silent.
                .filter(|&fd| getsockname::<UnixAddr>(fd).is_err())
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
    fn runtimes_work_in_tables_of_their_own_and_signals_go_to_the_other_threads() {
        // Several, and one in the common table beside them: tokio shares one pair of sockets.
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().expect("a runtime")
        };
        let before = runtime();
        let threads = [(); 3].map(|()| {
            std::thread::spawn(move || {
                own_descriptor_table(&[]).expect("unshare is allowed to everyone");
                let mask = SigSet::thread_get_mask().expect("a mask");
                assert!(mask.contains(nix::sys::signal::SIGTERM));
                runtime().block_on(async {
                    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                    let client = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
                    let (server, _) = listener.accept().await?;
                    server.writable().await?;
                    server.try_write(b"x")?;
                    client.readable().await?;
                    client.try_read(&mut [0; 2])
                })
            })
        });
        for thread in threads {
            assert_eq!(thread.join().expect("no panic").expect("no error"), 1);
        }
        let after = runtime();
        let heard = after.block_on(async {
            let mut signals =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())?;
            nix::sys::signal::raise(nix::sys::signal::SIGWINCH)?;
            std::io::Result::Ok(signals.recv().await)
        });
        assert_eq!(heard.expect("no error"), Some(()));
        drop(before);
    }

    #[test]
    fn own_cpu_time_never_goes_back() {
        let before = process_cpu_ns(std::process::id()).expect("own process");
        let after = process_cpu_ns(std::process::id()).expect("own process");
        assert!(after >= before && after > 0);
    }
}
