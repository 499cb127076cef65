//! Memory that the kernel holds for sockets, which no process is charged with.
//!
//! In: nothing. Out: bytes of the whole machine, so only differences between two readings mean
//! anything, and only while nothing else opens sockets. Client and server of a trial are on one
//! machine: a connection counts with both ends.
//!
//! `/proc/slabinfo` would name the caches, but is for root; these two files are for all.

use super::{field_bytes, read};

/// How the kernel's part of the memory is found, for the record.
pub const METHOD: &str = "SUnreclaim of /proc/meminfo plus TCP mem of /proc/net/sockstat, machine \
                          wide, both ends of each connection";

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelMemory {
    /// Slab that cannot be reclaimed (`SUnreclaim`): sockets, files, epoll entries, in bytes.
    pub slab_bytes: u64,
    /// Pages in TCP send and receive queues, in bytes.
    pub tcp_bytes: u64,
    /// Connections in TIME_WAIT: those of the trial before shift the base.
    pub time_wait: u64,
}

impl KernelMemory {
    /// Reads the machine; `None` where either file is missing.
    pub fn read() -> Option<Self> {
        let (tcp_pages, time_wait) = parse_sockstat(&read("/proc/net/sockstat")?)?;
        Some(Self {
            slab_bytes: field_bytes(&read("/proc/meminfo")?, "SUnreclaim")?,
            tcp_bytes: tcp_pages * page_bytes(),
            time_wait,
        })
    }

    /// Slab and TCP queues together.
    pub fn bytes(&self) -> u64 {
        self.slab_bytes + self.tcp_bytes
    }
}

/// Bytes of a page: 4096 on most machines, 16 or 64 KiB on some of ARM.
fn page_bytes() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096)
}

/// Pages in TCP queues and connections in TIME_WAIT.
fn parse_sockstat(text: &str) -> Option<(u64, u64)> {
    let tcp = text.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let words: Vec<&str> = tcp.split_whitespace().collect();
    let value = |name: &str| -> Option<u64> {
        words.chunks_exact(2).find(|pair| pair[0] == name)?[1]
            .parse()
            .ok()
    };
    Some((value("mem")?, value("tw")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_pages_and_time_wait_are_read_from_the_tcp_line() {
        let text = "sockets: used 291\nTCP: inuse 5 orphan 0 tw 12 alloc 7 mem 31\n\
                    UDP: inuse 4 mem 2\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n";
        assert_eq!(parse_sockstat(text), Some((31, 12)));
        assert_eq!(parse_sockstat("UDP: inuse 4 mem 2\n"), None);
    }

    #[test]
    fn unreclaimable_slab_is_read_from_its_line() {
        let text = "Slab:             226460 kB\nSReclaimable:     150160 kB\n\
                    SUnreclaim:        76300 kB\n";
        assert_eq!(field_bytes(text, "SUnreclaim"), Some(76_300 * 1024));
    }

    #[test]
    fn this_machine_has_kernel_memory() {
        let memory = KernelMemory::read().expect("a Linux with /proc");
        assert!(memory.bytes() >= memory.slab_bytes && memory.slab_bytes > 0);
    }
}
