//! What this system lets the run do, tried once before the first trial: an ordinary user, a container or
//! a sandbox may be refused what the program asks of the kernel.
//!
//! What can be done without is left out, and the record shows it: nothing is pinned, each side has one
//! descriptor table, congestion control is the machine's own (`observe::environment`). What every
//! connection needs is an error that names it.

use std::io;
use std::time::Duration;

use pushbench_os::sys;
use socket2::{Domain, Protocol, Socket, Type};

/// What can be done without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    /// To choose the cores of a thread (`sched_setaffinity(2)`).
    pub(crate) pin: bool,
    /// To give a thread its own descriptor table (`unshare(2)`).
    pub(crate) own_tables: bool,
}

impl Rights {
    /// Tries both, on a thread that ends right after, and its table with it.
    pub(crate) fn of_this_process() -> Self {
        let tried = std::thread::spawn(|| Self {
            pin: sys::pin_to(&sys::allowed_cpus()).is_ok(),
            own_tables: sys::own_descriptor_table(&[]).is_ok(),
        });
        tried.join().unwrap_or(Self {
            pin: false,
            own_tables: false,
        })
    }
}

type Try = fn(&Socket) -> io::Result<()>;

/// What server and clients set on each of their sockets.
const NEEDED: [(&str, Try); 6] = [
    ("SO_REUSEADDR", |s| s.set_reuse_address(true)),
    ("SO_REUSEPORT", |s| s.set_reuse_port(true)),
    ("SO_LINGER", |s| s.set_linger(Some(Duration::ZERO))),
    ("TCP_NODELAY", |s| s.set_tcp_nodelay(true)),
    ("TCP_USER_TIMEOUT", |s| {
        s.set_tcp_user_timeout(Some(Duration::from_secs(1)))
    }),
    ("IP_BIND_ADDRESS_NO_PORT", |s| sys::bind_address_no_port(s)),
];

/// Sets what every connection needs on a socket of no other use.
///
/// # Errors
/// The name of what the system refuses, and what it said.
pub(crate) fn check_sockets() -> Result<(), (&'static str, String)> {
    refused(&NEEDED)
}

fn refused(needed: &[(&'static str, Try)]) -> Result<(), (&'static str, String)> {
    let of = |name| move |error| (name, sys::reason(&error));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
    let socket = socket.map_err(of("socket"))?;
    for (name, set) in needed {
        set(&socket).map_err(of(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_system_refuses_nothing_and_what_one_refuses_is_named() {
        assert_eq!(check_sockets(), Ok(()));
        let no: Try = |_| Err(io::Error::from_raw_os_error(1));
        assert_eq!(
            refused(&[NEEDED[0], ("TCP_FASTER", no), NEEDED[1]]),
            Err(("TCP_FASTER", "operation not permitted".to_owned()))
        );
    }

    #[test]
    fn trying_leaves_this_thread_its_cores_and_its_files() {
        let before = sys::allowed_cpus();
        let file = tempfile::tempfile().expect("a file");
        assert!(Rights::of_this_process().own_tables);
        assert_eq!(sys::allowed_cpus(), before);
        assert!(file.metadata().is_ok());
    }
}
