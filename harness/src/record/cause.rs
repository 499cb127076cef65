//! What ended the growth of a fleet before all its clients were connected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A limit that was met in the middle of connecting. The connect phase then ends in order: no more
/// clients are opened, all are closed again, and the record keeps what was measured so far.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The clients' process, or one of its threads with a table of its own, may open no more
    /// descriptors (`EMFILE`), or the machine none at all (`ENFILE`).
    ClientDescriptors,
    /// The same at the server: it leaves connections in its listener's queue.
    ServerDescriptors,
    /// A pair of addresses has no source port left (`EADDRNOTAVAIL`).
    SourcePorts,
    /// A listener's queue was full, and connects timed out over it.
    Backlog,
    /// The memory guard stopped the growth before the kernel would have ended a process, or the
    /// kernel itself refused memory (`ENOMEM`, `ENOBUFS`).
    Memory,
    /// The server refused connections, or answered a subscribe with something else than it must.
    Refused,
    /// Connecting came no further, or too slowly, and none of the others was found.
    Stalled,
}

pushbench_protocol::ids! {
    Cause, "a cause":
    ClientDescriptors = "client_descriptors", ServerDescriptors = "server_descriptors",
    SourcePorts = "source_ports", Backlog = "backlog", Memory = "memory", Refused = "refused",
    Stalled = "stalled"
}

impl Cause {
    /// Whether it stands in the way of every further client, so that growth ends at the first
    /// sign of it. The others show when all that were to come have come, or nothing moves.
    pub fn ends_growth(self) -> bool {
        !matches!(self, Self::Refused | Self::Backlog)
    }

    /// What a reader may do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::ClientDescriptors | Self::ServerDescriptors => {
                "use more shards with '--shards', or raise the limit with 'ulimit -n'"
            }
            Self::SourcePorts => {
                "give more addresses with '--source-addresses', or widen \
                 'net.ipv4.ip_local_port_range'"
            }
            Self::Backlog => {
                "connect more slowly with 'clients.connect_per_s', or raise 'net.core.somaxconn'"
            }
            Self::Memory => "use fewer clients with '--clients', or a machine with more memory",
            Self::Refused | Self::Stalled => {
                "use fewer clients with '--clients', or connect more slowly with \
                 'clients.connect_per_s'"
            }
        }
    }

    /// The cause behind an error of `socket(2)`, `bind(2)` or `connect(2)`; `None` for one that
    /// says nothing of a limit.
    pub fn of_connect(error: &std::io::Error) -> Option<Self> {
        use nix::errno::Errno;
        match Errno::from_raw(error.raw_os_error()?) {
            Errno::EMFILE | Errno::ENFILE => Some(Self::ClientDescriptors),
            Errno::EADDRNOTAVAIL => Some(Self::SourcePorts),
            Errno::ENOMEM | Errno::ENOBUFS => Some(Self::Memory),
            Errno::ETIMEDOUT => Some(Self::Backlog),
            Errno::ECONNREFUSED => Some(Self::Refused),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    #[test]
    fn ids_are_those_of_the_record() {
        for cause in Cause::ALL {
            let text = serde_json::to_string(&cause).expect("an enum of units");
            assert_eq!(text, format!("\"{}\"", cause.id()));
        }
    }

    #[test]
    fn errors_of_connect_name_the_limit_that_was_met() {
        let of = |code| Cause::of_connect(&Error::from_raw_os_error(code));
        assert_eq!(of(libc::EMFILE), Some(Cause::ClientDescriptors));
        assert_eq!(of(libc::EADDRNOTAVAIL), Some(Cause::SourcePorts));
        assert_eq!(of(libc::ENOBUFS), Some(Cause::Memory));
        assert_eq!(of(libc::ETIMEDOUT), Some(Cause::Backlog));
        assert_eq!(of(libc::EPIPE), None);
        assert_eq!(Cause::of_connect(&Error::other("made up")), None);
    }
}
