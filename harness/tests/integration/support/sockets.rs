//! Sockets as the kernel shows them: those of a process, and the table of all TCP connections.

use std::net::{IpAddr, SocketAddr};

/// States as the table writes them.
pub(crate) const ESTABLISHED: &str = "01";
pub(crate) const LISTENS: &str = "0A";

/// A row of `/proc/net/tcp` (proc_pid_net(5)). The kernel writes its table in pieces: it may show a
/// connection twice, or leave one out, while others come and go.
pub(crate) struct TcpSocket {
    /// Both ends as [`table_address`] writes them.
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) state: String,
    pub(crate) inode: String,
}

/// Every TCP socket of this machine's IPv4.
pub(crate) fn tcp_sockets() -> Vec<TcpSocket> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("procfs");
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |at: usize| words.get(at).map(|word| (*word).to_owned());
        Some(TcpSocket {
            local: word(1)?,
            remote: word(2)?,
            state: word(3)?,
            inode: word(9)?,
        })
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// An address as the table writes it, on any byte order.
pub(crate) fn table_address(address: SocketAddr) -> String {
    let IpAddr::V4(ip) = address.ip() else {
        panic!("{address} is not of IPv4");
    };
    let ip = u32::from_ne_bytes(ip.octets());
    format!("{ip:08X}:{:04X}", address.port())
}

/// Numbers of the sockets that a process has open; none where it has ended.
pub(crate) fn inodes(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let number = |target: std::path::PathBuf| {
        let number = target.to_str()?.strip_prefix("socket:[")?;
        Some(number.strip_suffix(']')?.to_owned())
    };
    let targets = entries.into_iter().flatten().flatten();
    targets
        .filter_map(|entry| number(std::fs::read_link(entry.path()).ok()?))
        .collect()
}
