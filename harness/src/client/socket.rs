//! The one way to open a client's socket, and the one place where the receive time is read.
//!
//! Place on the data path: kernel → **socket** → client. In: what the kernel received. Out: bytes and
//! the time after the read that brought them; on probe clients also how long they had waited in the
//! kernel, which is the harness's share of a latency. Not measured here: anything else.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::socket::sockopt;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, TimestampingFlag, Timestamps, recvmsg, setsockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use pushbench_servers::sys::{bind_address_no_port, monotonic_ns};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

/// How clients connect; the same for every transport.
#[derive(Debug, Clone)]
pub struct Options {
    /// Congestion control; the system's where `None`.
    pub congestion: Option<String>,
    /// Added to the last octets of 127.0.0.1, so that each run of trials has ports of its own.
    pub first_source: u32,
}

/// Clients for each source address. A pair of addresses has 28,232 ports with Linux's default
/// range; 20,000 leaves room for connections that are still being forgotten (TIME_WAIT).
pub const CLIENTS_PER_SOURCE: u32 = 20_000;

impl Options {
    /// The address that client `index` connects from: one of 127.0.0.0/8 where the server is on
    /// IPv4 loopback, the system's choice elsewhere.
    pub fn source_of(&self, index: u32, server: SocketAddr) -> Option<IpAddr> {
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

/// Connects client `index` to `server`.
///
/// # Errors
/// Those of `socket(2)`, `bind(2)` and `connect(2)`.
pub async fn connect(index: u32, server: SocketAddr, options: &Options) -> io::Result<TcpStream> {
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
    if let Some(source) = options.source_of(index, server) {
        // The port is chosen at connect(2), where only the pair of addresses must be unique.
        bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into())
        .connect(server)
        .await
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
pub fn enable_stamps(stream: &TcpStream) -> bool {
    let flags = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
    setsockopt(stream, sockopt::Timestamping, &flags).is_ok()
}

/// Reads what has arrived into `space`.
pub fn poll_read(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<Arrived>> {
    let mut buffer = ReadBuf::new(space);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    let bytes = buffer.filled().len();
    Poll::Ready(Ok(Arrived {
        bytes,
        at_ns: monotonic_ns(),
        waited_ns: None,
    }))
}

/// As [`poll_read`], with the kernel's stamp.
pub fn poll_read_stamped(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<Arrived>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match stream.try_io(Interest::READABLE, || {
            receive_stamped(stream.as_raw_fd(), space)
        }) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            other => return Poll::Ready(other),
        }
    }
}

fn receive_stamped(fd: RawFd, space: &mut [u8]) -> io::Result<Arrived> {
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

    #[tokio::test]
    async fn a_stamped_read_says_how_long_the_bytes_had_waited() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let options = Options {
            congestion: None,
            first_source: 0,
        };
        let mut stream = connect(0, address, &options).await.expect("listening");
        assert!(enable_stamps(&stream));
        let (mut far, _) = listener.accept().expect("connected");
        let mut space = [0; 64];
        // The kernel switches its clock on a little later than it says, so the first segments may
        // come without a stamp.
        let mut found = None;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while found.is_none() && std::time::Instant::now() < deadline {
            far.write_all(b"x").expect("open");
            let read = std::future::poll_fn(|cx| poll_read_stamped(&mut stream, cx, &mut space));
            let arrived = read.await.expect("open");
            assert_eq!(arrived.bytes, 1);
            found = arrived.waited_ns;
        }
        assert!(found.is_some_and(|waited| waited >= 0), "{found:?}");
    }
}
