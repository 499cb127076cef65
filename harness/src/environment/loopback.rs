//! Loopback, over which a trial's server and clients meet: in which family, and whether it works here.
//!
//! Before the data path. In: addresses that clients connect from. Out: where servers listen, or what is
//! missing. In a network namespace of its own, loopback is down until somebody brings it up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use pushbench_os::sys;
use socket2::{Domain, Protocol, Socket, Type};

/// Where servers listen, unless their clients have addresses of IPv6.
pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Where they listen then.
pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Nothing on the way can hold up a connection of a machine with itself, but where the address is not
/// one of this machine's, it may be routed to another one that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A loopback address to which nothing connects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot connect to {address} on this machine ({reason}), {}", remedy(.address))]
pub struct Unreachable {
    /// The address.
    pub address: IpAddr,
    /// What the system said.
    pub reason: String,
}

fn remedy(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => {
            "which server and clients need; bring loopback up with 'ip link set lo up', and if the \
             address is missing, add it with 'ip address add 127.0.0.1/8 dev lo'"
        }
        IpAddr::V6(_) => {
            "so IPv6 cannot be used; bring loopback up with 'ip link set lo up' and IPv6 with 'sysctl \
             -w net.ipv6.conf.lo.disable_ipv6=0', or use addresses of IPv4"
        }
    }
}

/// Where servers listen whose clients connect from `sources`: the address of the same family.
pub(crate) fn of(sources: &[IpAddr]) -> IpAddr {
    match sources.first() {
        Some(IpAddr::V6(_)) => V6,
        Some(IpAddr::V4(_)) | None => V4,
    }
}

/// Connects to `address`, one of loopback, once.
///
/// # Errors
/// [`Unreachable`] where nothing listens or connects there.
pub(crate) fn check(address: IpAddr) -> Result<(), Unreachable> {
    connect(address, None).map_err(|error| Unreachable {
        address,
        reason: sys::reason(&error),
    })
}

/// Connects to a listener of its own at `address` as a client would, from `source` where there is one.
///
/// # Errors
/// What the system refuses, or no answer within a second.
pub(crate) fn connect(address: IpAddr, source: Option<IpAddr>) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::new(address, 0))?;
    let server = listener.local_addr()?;
    let socket = Socket::new(
        Domain::for_address(server),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Neither end is to be remembered.
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&server.into(), PATIENCE)?;
    drop(TcpStream::from(socket));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_listen_in_the_family_that_clients_connect_from() {
        let of = |text: &str| super::of(&[text.parse().expect("an address")]);
        assert_eq!(super::of(&[]), V4);
        assert_eq!((of("10.0.0.2"), of("127.0.0.9")), (V4, V4));
        assert_eq!((of("::1"), of("2001:db8::2")), (V6, V6));
    }

    #[test]
    fn a_connection_shows_what_works_and_what_does_not_is_named_with_its_remedy() {
        assert_eq!(check(V4), Ok(()));
        // From a block reserved for documentation (RFC 5737), so nobody's.
        let nobodys = "192.0.2.1".parse().expect("an address");
        assert!(connect(V4, Some(nobodys)).is_err());
        let error = check(nobodys).expect_err("not this machine's").to_string();
        assert_eq!(
            error,
            "cannot connect to 192.0.2.1 on this machine (cannot assign requested address), which \
             server and clients need; bring loopback up with 'ip link set lo up', and if the address \
             is missing, add it with 'ip address add 127.0.0.1/8 dev lo'"
        );
    }
}
