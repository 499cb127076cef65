//! The one way to open a client's socket, and the one place where the receive time is read.
//!
//! Place on the data path: kernel → **socket** → client. In: what the kernel received. Out: bytes and
//! the time after the read that brought them. Not measured here: how long they had waited in the
//! kernel; that is part of delivery latency as an application sees it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pushbench_servers::sys::{bind_address_no_port, monotonic_ns};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, ReadBuf};
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

/// Reads what has arrived into `space`: how many bytes (0: the peer has closed), and the time on
/// `CLOCK_MONOTONIC` after the read.
pub fn poll_read(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<(usize, u64)>> {
    let mut buffer = ReadBuf::new(space);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok((buffer.filled().len(), monotonic_ns())))
}
