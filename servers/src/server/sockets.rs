//! Sockets that listen: their options, and what a machine lacks for them.
//!
//! In front of the data path. In: addresses and a [`Config`]. Out: bound sockets, whose options accepted
//! connections inherit.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::config::{Config, StartError};
use pushbench_protocol::transport::Profile;

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// How long a client may take nothing of what was sent to it: then the kernel ends the connection
/// (`TCP_USER_TIMEOUT`, RFC 5482), and a subscriber that has fallen off its ring meanwhile counts
/// as lagged. Between two keep-alives and the half minute that proxies wait.
const STUCK_WRITE: Duration = Duration::from_secs(20);

/// A bound socket with the options that accepted connections inherit. Shards share the port.
pub(super) fn bind(address: SocketAddr, config: &Config) -> io::Result<Socket> {
    let domain = if address.is_ipv6() {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_user_timeout(Some(STUCK_WRITE))?;
    // Every transport alike: no transport is favoured by the machine's default.
    if let Some(congestion) = &config.congestion {
        socket.set_tcp_congestion(congestion.as_bytes())?;
    }
    if let Some(bytes) = config.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if config.profile != Profile::Stock {
        socket.set_tcp_nodelay(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Asks for the congestion control on a socket of no other use, so that its absence is not told as
/// trouble with an address.
pub(super) fn check_congestion(config: &Config) -> Result<(), StartError> {
    let Some(name) = &config.congestion else {
        return Ok(());
    };
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| socket.set_tcp_congestion(name.as_bytes()))
        .map_err(|source| StartError::Congestion {
            name: name.clone(),
            source,
        })
}

/// Asks for the send buffer on a socket of no other use: the kernel gives less without saying so.
pub(super) fn check_send_buffer(config: &Config) -> Result<(), StartError> {
    let Some(asked) = config.send_buffer_bytes else {
        return Ok(());
    };
    let got = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).and_then(|socket| {
        socket.set_send_buffer_size(asked)?;
        socket.send_buffer_size()
    });
    // It reports twice what was asked for (socket(7)).
    match got.map(|bytes| bytes / 2) {
        Ok(most) if most < asked => Err(StartError::SendBuffer { asked, most }),
        // Any other trouble shows when the address is bound in earnest.
        _ => Ok(()),
    }
}

/// With `SO_REUSEPORT` the kernel lets two servers of one user share a port, and splits the
/// clients between them: so it is tried without, first.
pub(super) fn port_is_free(address: SocketAddr) -> bool {
    // Tells "in use" only; any other trouble shows when the address is bound in earnest.
    !matches!(
        std::net::TcpListener::bind(address),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse
    )
}

/// Whether an address is reachable from this machine only.
pub fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    }
}
