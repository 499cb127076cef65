//! The one way to open a client's socket, and the one place where the receive time is read.
//!
//! Place on the data path: kernel → **socket** → client. In: what the kernel received. Out: bytes and
//! the time after the read that brought them; on probe clients also how long they had waited in the
//! kernel, which is the harness's share of a latency. Not measured here: anything else.

use std::io::{self, IoSliceMut, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::socket::sockopt;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, TimestampingFlag, Timestamps, recvmsg, setsockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use pushbench_os::sys::{bind_address_no_port, monotonic_ns};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpSocket;

use crate::scenario::SlowReaders;

/// How clients connect; the same for every transport.
#[derive(Debug, Clone)]
pub struct Options {
    /// Congestion control; the system's where `None`.
    pub congestion: Option<String>,
    /// Addresses that clients connect from, in turn. Where empty: 127.0.0.1 and those after it
    /// where the server is on IPv4 loopback, the system's choice elsewhere.
    pub sources: Vec<IpAddr>,
    /// Added to the last octets of 127.0.0.1, so that each run of trials has ports of its own.
    pub first_source: u32,
    /// Whether a close resets the connection (`SO_LINGER` of 0 s), however it comes about, so that
    /// neither end keeps it in TIME_WAIT. For clients that stay to the end of the trial.
    pub reset_on_close: bool,
    /// Which clients have a receive buffer of their own size (`SO_RCVBUF`).
    pub slow: Option<SlowReaders>,
}

/// Clients for each source address of 127.0.0.0/8. A pair of addresses has 28,232 ports with
/// Linux's default range, of which `connect(2)` tries every second one first; while half of those
/// are free it finds one in a few steps, and near the end it looks at thousands.
pub const CLIENTS_PER_SOURCE: u32 = 8_000;

impl Options {
    /// The address that client `index` connects from; `None` for the system's choice.
    pub fn source_of(&self, index: u32, server: SocketAddr) -> Option<IpAddr> {
        if !self.sources.is_empty() {
            let offset = self.first_source as usize + index as usize;
            return Some(self.sources[offset % self.sources.len()]);
        }
        let IpAddr::V4(server) = server.ip() else {
            return None;
        };
        if !server.is_loopback() {
            return None;
        }
        // 127.0.0.1 upwards; the network has 16 million addresses.
        let offset = self.first_source + index / CLIENTS_PER_SOURCE;
        Some(IpAddr::V4(Ipv4Addr::from_bits(
            0x7f00_0001 + offset % 0x00ff_fff0,
        )))
    }
}

/// A socket of client `index`, about to connect to `server`.
fn socket(index: u32, server: SocketAddr, options: &Options) -> io::Result<Socket> {
    let domain = if server.is_ipv6() {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(congestion) = &options.congestion {
        socket.set_tcp_congestion(congestion.as_bytes())?;
    }
    // Requests are single small writes: they must not wait for an acknowledgement.
    socket.set_tcp_nodelay(true)?;
    if options.reset_on_close {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    if let Some(plan) = options.slow
        && plan.is_slow(index)
    {
        // Before the connect, which announces the window's scale.
        socket.set_recv_buffer_size(plan.receive_buffer_bytes as usize)?;
    }
    if let Some(source) = options.source_of(index, server) {
        // The port is chosen at connect(2), where only the pair of addresses must be unique.
        bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// Connects client `index` to `server`.
///
/// # Errors
/// Those of `socket(2)`, `bind(2)` and `connect(2)`.
pub async fn connect(
    index: u32,
    server: SocketAddr,
    options: &Options,
) -> io::Result<tokio::net::TcpStream> {
    let socket = socket(index, server, options)?;
    TcpSocket::from_std_stream(socket.into())
        .connect(server)
        .await
}

/// Begins to connect client `index` to `server`, and does not wait for it: the first read or write
/// that succeeds shows that the connection stands, one that fails why it does not.
///
/// # Errors
/// Those of `socket(2)`, `bind(2)` and `connect(2)`.
pub fn begin_connect(
    index: u32,
    server: SocketAddr,
    options: &Options,
) -> io::Result<std::net::TcpStream> {
    let socket = socket(index, server, options)?;
    match socket.connect(&server.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
        Err(e) => return Err(e),
    }
    Ok(socket.into())
}

/// Closes a connection in order, whatever its options say. `true` where the kernel resets it all the
/// same: something has arrived that was not read (RFC 2525, section 2.17).
pub fn close_in_order(stream: std::net::TcpStream) -> bool {
    let _ = SockRef::from(&stream).set_linger(None);
    matches!(stream.peek(&mut [0]), Ok(1..))
}

/// Closes a connection with a reset: both ends forget it at once.
pub fn close_with_reset(stream: std::net::TcpStream) {
    // Where it fails, the close is an ordinary one.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// How many bytes; 0: the peer has closed.
    pub bytes: usize,
    /// `CLOCK_MONOTONIC` after the read, in ns.
    pub at_ns: u64,
    /// How long the last segment had waited in the kernel for this read, in ns: the wall clock
    /// after the read minus the kernel's stamp of the segment, both `CLOCK_REALTIME`. `None` for
    /// clients that are no probes, and where the kernel gave no stamp. Negative where somebody set
    /// the clock in between.
    pub waited_ns: Option<i64>,
}

/// Has the kernel stamp what it receives on a socket (`SO_TIMESTAMPING`, software). `false` where
/// this platform does not.
pub fn enable_stamps(stream: &impl AsFd) -> bool {
    let flags = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
    setsockopt(stream, sockopt::Timestamping, &flags).is_ok()
}

/// Reads what has arrived into `space`; with the kernel's stamp where `stamped`.
///
/// # Errors
/// Those of `recv(2)`; `WouldBlock` where nothing has arrived.
pub fn read(
    mut stream: &std::net::TcpStream,
    stamped: bool,
    space: &mut [u8],
) -> io::Result<Arrived> {
    if stamped {
        return receive_stamped(stream.as_raw_fd(), space);
    }
    let bytes = stream.read(space)?;
    Ok(Arrived {
        bytes,
        at_ns: monotonic_ns(),
        waited_ns: None,
    })
}

/// Reads what has arrived, with the kernel's stamp; waits where the descriptor does.
///
/// # Errors
/// Those of `recvmsg(2)`.
pub(crate) fn receive_stamped(fd: RawFd, space: &mut [u8]) -> io::Result<Arrived> {
    let mut control = nix::cmsg_space!(Timestamps);
    let mut into = [IoSliceMut::new(space)];
    let message = recvmsg::<()>(fd, &mut into, Some(&mut control), MsgFlags::empty())?;
    let at_ns = monotonic_ns();
    let stamp = message.cmsgs()?.find_map(|control| match control {
        // Zero where the segment came before stamps were asked for.
        ControlMessageOwned::ScmTimestampsns(stamps) => {
            Some(ns(stamps.system)).filter(|&stamp| stamp > 0)
        }
        _ => None,
    });
    let waited_ns = match stamp {
        Some(stamp) => Some(ns(clock_gettime(ClockId::CLOCK_REALTIME)?) - stamp),
        None => None,
    };
    Ok(Arrived {
        bytes: message.bytes,
        at_ns,
        waited_ns,
    })
}

fn ns(time: TimeSpec) -> i64 {
    time.tv_sec() * 1_000_000_000 + time.tv_nsec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Instant;

    fn options() -> Options {
        Options {
            congestion: None,
            sources: Vec::new(),
            first_source: 0,
            reset_on_close: false,
            slow: None,
        }
    }

    #[test]
    fn a_stamped_read_says_how_long_the_bytes_had_waited() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stream = begin_connect(0, address, &options()).expect("listening");
        assert!(enable_stamps(&stream));
        let (mut far, _) = listener.accept().expect("connected");
        stream.set_nonblocking(false).expect("a socket");
        let mut space = [0; 64];
        // The kernel switches its clock on a little later than it says, so the first segments may
        // come without a stamp.
        let mut found = None;
        let deadline = Instant::now() + Duration::from_secs(10);
        while found.is_none() && Instant::now() < deadline {
            far.write_all(b"x").expect("open");
            let arrived = read(&stream, true, &mut space).expect("open");
            assert_eq!(arrived.bytes, 1);
            found = arrived.waited_ns;
        }
        assert!(found.is_some_and(|waited| waited >= 0), "{found:?}");
    }

    #[test]
    fn clients_spread_over_loopback_addresses_or_take_those_given_in_turn() {
        let server = "127.0.0.1:80".parse().expect("an address");
        let of = |options: &Options, index| options.source_of(index, server).map(|a| a.to_string());
        let own = Options {
            first_source: 2,
            ..options()
        };
        assert_eq!(of(&own, 7_999).as_deref(), Some("127.0.0.3"));
        assert_eq!(of(&own, 8_000).as_deref(), Some("127.0.0.4"));
        // A million clients need 125 addresses.
        assert_eq!(of(&options(), 999_999).as_deref(), Some("127.0.0.125"));
        let given = Options {
            sources: ["127.9.9.1", "127.9.9.2"]
                .map(|a| a.parse().expect("an address"))
                .into(),
            ..options()
        };
        assert_eq!(of(&given, 4).as_deref(), Some("127.9.9.1"));
        assert_eq!(of(&given, 5).as_deref(), Some("127.9.9.2"));
        let elsewhere = "192.0.2.1:80".parse().expect("an address");
        assert_eq!(options().source_of(0, elsewhere), None);
    }

    /// States of the connections to a listener in the kernel's table, `/proc/net/tcp`, both ends.
    /// The listener has an address that no client of any test connects from.
    fn states(listener: SocketAddr) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("procfs");
        let IpAddr::V4(address) = listener.ip() else {
            panic!("{listener} is not of IPv4");
        };
        // As the table writes it, on any byte order.
        let address = u32::from_ne_bytes(address.octets());
        let end = format!("{address:08X}:{:04X}", listener.port());
        let listens = "0A";
        let rows = table.lines().skip(1).filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ours = words[1] == end || words[2] == end;
            (ours && words[3] != listens).then(|| words[3].to_owned())
        });
        let mut states: Vec<String> = rows.collect();
        states.sort();
        states
    }

    /// Looks until the kernel's table is as expected, which on loopback it is at once unless the
    /// machine is very busy. One reading must do: the table is not a snapshot, and a row may be there twice
    /// while others come and go.
    fn assert_states(listener: SocketAddr, expected: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut seen = states(listener);
        while seen != expected && Instant::now() < deadline {
            std::thread::yield_now();
            seen = states(listener);
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_reset_leaves_nothing_in_time_wait_where_a_close_does() {
        let established = "01";
        let time_wait = "06";
        for (reset_on_close, left) in [(true, vec![]), (false, vec![time_wait; 3])] {
            let listener = TcpListener::bind("127.90.1.1:0").expect("a free port");
            let address = listener.local_addr().expect("bound");
            let options = Options {
                reset_on_close,
                ..options()
            };
            let near: Vec<_> = (0..3)
                .map(|_| begin_connect(0, address, &options).expect("listening"))
                .collect();
            let far: Vec<_> = (0..3)
                .map(|_| listener.accept().expect("connected").0)
                .collect();
            assert_states(address, &[established; 6]);
            drop(near);
            drop(far);
            assert_states(address, &left);
        }
    }

    #[test]
    fn a_connection_that_was_opened_to_be_closed_in_order_can_be_reset_too() {
        let listener = TcpListener::bind("127.90.1.2:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let near = begin_connect(0, address, &options()).expect("listening");
        let (far, _) = listener.accept().expect("connected");
        close_with_reset(near);
        drop(far);
        assert_states(address, &[]);
    }
}
