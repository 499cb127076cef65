//! How a trial is laid out on this machine: cores, threads, descriptor tables.
//!
//! Before the data path. In: how many clients are asked for, what this machine allows. Out: a
//! [`Layout`] for server and fleet, or why there is none. Nothing is measured here.

use pushbench_os::sys;

use super::loopback;
use super::rights::{Rights, check_sockets};
use crate::observe::environment::Environment;

/// Share of a descriptor table that is used: `SO_REUSEPORT` spreads connections by hash, so some
/// shard gets more than its share.
pub(crate) const FILL: f64 = 0.85;

/// Most threads on either side: at the usual limit of 20,000 descriptors, over a million clients.
pub const MAX_SHARDS: usize = 128;

/// Cores, threads and descriptor tables of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Cores to run on; all where empty.
    pub cpus: Vec<usize>,
    /// Threads.
    pub shards: usize,
    /// Whether each thread has a descriptor table of its own.
    pub own_tables: bool,
}

/// Where a trial's processes run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The server.
    pub server: Side,
    /// The clients.
    pub fleet: Side,
}

/// Why so many clients cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// More clients than the threads asked for have descriptors.
    #[error(
        "cannot open client {} of {clients}: {shards} shard(s) may open {} descriptors each; use \
         '--shards {needed}', or raise the limit with 'ulimit -n {}'",
        .shards * .per_shard + 1, .limit, (*.clients as f64 / FILL / *.shards as f64).ceil()
    )]
    Descriptors {
        /// How many were asked for.
        clients: u32,
        /// Threads asked for.
        shards: usize,
        /// Clients that fit into one.
        per_shard: usize,
        /// Descriptors of one table.
        limit: u64,
        /// Threads that would do.
        needed: usize,
    },
    /// More clients than any number of threads would hold.
    #[error(
        "cannot open {clients} clients: with {limit} descriptors in a table, {MAX_SHARDS} shards \
         hold {most}; raise the limit with 'ulimit -n', or use fewer clients"
    )]
    Most {
        /// How many were asked for.
        clients: u32,
        /// Descriptors of one table.
        limit: u64,
        /// How many fit.
        most: u64,
    },
    /// More clients than one descriptor table holds, where there cannot be another.
    #[error(
        "cannot open client {} of {clients}: a descriptor table holds {limit}, and this system refuses \
         another one for each shard ('unshare'); raise the limit with 'ulimit -n {}', or use fewer \
         clients", .most + 1, ((f64::from(*.clients) + 64.0) / FILL).ceil()
    )]
    OneTable {
        /// How many were asked for.
        clients: u32,
        /// Descriptors of a table.
        limit: u64,
        /// Clients that fit into one.
        most: usize,
    },
    /// What every connection needs is not allowed.
    #[error(
        "this system refuses '{what}', which every connection needs ({reason}); allow it to this user, \
         or run outside of the container or sandbox"
    )]
    Refused {
        /// The option of a socket.
        what: &'static str,
        /// What the system said.
        reason: String,
    },
    /// Server, clients and control do not meet.
    #[error(transparent)]
    Loopback(#[from] loopback::Unreachable),
    /// More clients than the addresses given have ports.
    #[error(
        "cannot open client {} of {clients}: an address has {ports} ports to connect from; give \
         {needed} with '--source-addresses', or widen 'net.ipv4.ip_local_port_range'", .most + 1
    )]
    Ports {
        /// How many were asked for.
        clients: u32,
        /// How many find a port.
        most: u64,
        /// Ports of one address.
        ports: u32,
        /// Addresses that would do.
        needed: u32,
    },
}

/// Checks that `clients` find a source port each, with `sources` addresses to connect from. Without
/// any given, the 16 million of loopback suffice.
///
/// # Errors
/// [`LayoutError::Ports`].
pub fn check_ports(clients: u32, sources: usize) -> Result<(), LayoutError> {
    let (first, last) = port_range();
    let ports = u32::from(last.saturating_sub(first)) + 1;
    match sources as u64 * u64::from(ports) {
        0 => Ok(()),
        most if u64::from(clients) <= most => Ok(()),
        most => Err(LayoutError::Ports {
            clients,
            most,
            ports,
            needed: clients.div_ceil(ports),
        }),
    }
}

/// The ports that connections may get; Linux's default where the kernel does not tell.
fn port_range() -> (u16, u16) {
    let environment = Environment::read();
    match (environment.port_first, environment.port_last) {
        (Some(first), Some(last)) => (first, last),
        _ => (32_768, 60_999),
    }
}

/// Clients that fit into a descriptor table of `limit` descriptors.
pub(crate) fn per_table(limit: u64) -> u64 {
    // 64 for what a process has open beside its connections.
    ((limit as f64 * FILL) as u64).saturating_sub(64).max(1)
}

impl Layout {
    /// Plans for `clients` clients on this machine. `shards` is what the user asked for.
    ///
    /// # Errors
    /// [`LayoutError`] where descriptors do not suffice, or the system refuses what every trial needs.
    pub fn plan(clients: u32, shards: Option<usize>) -> Result<Self, LayoutError> {
        check_sockets().map_err(|(what, reason)| LayoutError::Refused { what, reason })?;
        // Both processes are controlled over it, whatever clients connect from.
        loopback::check(loopback::V4)?;
        let limit = sys::raise_descriptor_limit();
        let rights = Rights::of_this_process();
        Self::plan_for(clients, shards, limit, &sys::allowed_cpus(), rights)
    }

    fn plan_for(
        clients: u32,
        asked: Option<usize>,
        limit: u64,
        cpus: &[usize],
        rights: Rights,
    ) -> Result<Self, LayoutError> {
        // One core cannot be divided; the record then says that nothing was pinned.
        let (server_cpus, fleet_cpus) = if cpus.len() < 2 || !rights.pin {
            (&[][..], &[][..])
        } else {
            cpus.split_at(cpus.len() / 2)
        };
        let per_shard = per_table(limit) as usize;
        let needed = (clients as usize).div_ceil(per_shard);
        if needed > 1 && !rights.own_tables {
            return Err(LayoutError::OneTable {
                clients,
                limit,
                most: per_shard,
            });
        }
        let side = |cpus: &[usize]| {
            let shards = asked.unwrap_or_else(|| cpus.len().max(1).max(needed));
            if shards > MAX_SHARDS {
                let most = (MAX_SHARDS * per_shard) as u64;
                return Err(LayoutError::Most {
                    clients,
                    limit,
                    most,
                });
            }
            if shards < needed {
                return Err(LayoutError::Descriptors {
                    clients,
                    shards,
                    per_shard,
                    limit,
                    needed,
                });
            }
            Ok(Side {
                cpus: cpus.to_vec(),
                shards,
                own_tables: needed > 1,
            })
        };
        Ok(Self {
            server: side(server_cpus)?,
            fleet: side(fleet_cpus)?,
        })
    }
}

#[cfg(test)]
impl Layout {
    /// A thread for each side, on any core.
    pub(crate) fn anywhere() -> Self {
        let side = Side {
            cpus: Vec::new(),
            shards: 1,
            own_tables: false,
        };
        Self {
            server: side.clone(),
            fleet: side,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(
        clients: u32,
        shards: Option<usize>,
        limit: u64,
        cpus: &[usize],
    ) -> Result<Layout, LayoutError> {
        let rights = Rights {
            pin: true,
            own_tables: true,
        };
        Layout::plan_for(clients, shards, limit, cpus, rights)
    }

    #[test]
    fn what_a_system_refuses_is_done_without_or_named() {
        let with = |clients, pin, own_tables| {
            let rights = Rights { pin, own_tables };
            Layout::plan_for(clients, None, 20_000, &[0, 1], rights)
        };
        let unpinned = with(10_000, false, false).expect("fits into a table");
        assert!(unpinned.server.cpus.is_empty() && unpinned.fleet.cpus.is_empty());
        let error = with(20_000, true, false).expect_err("one table");
        assert_eq!(
            error.to_string(),
            "cannot open client 16937 of 20000: a descriptor table holds 20000, and this system \
             refuses another one for each shard ('unshare'); raise the limit with 'ulimit -n 23605', \
             or use fewer clients"
        );
    }

    #[test]
    fn ten_thousand_clients_fit_into_one_table_of_twenty_thousand() {
        let layout = plan(10_000, None, 20_000, &[0, 1]).expect("fits");
        let side = |cpu| Side {
            cpus: vec![cpu],
            shards: 1,
            own_tables: false,
        };
        assert_eq!(
            layout,
            Layout {
                server: side(0),
                fleet: side(1)
            }
        );
    }

    #[test]
    fn more_clients_than_a_table_holds_get_tables_of_their_own() {
        let layout = plan(100_000, None, 20_000, &[0, 1]).expect("fits");
        assert_eq!((layout.server.shards, layout.server.own_tables), (6, true));
        let layout = plan(1_000_000, None, 20_000, &[0, 1]).expect("fits");
        assert_eq!(layout.fleet.shards, 60);
    }

    #[test]
    fn too_few_shards_are_refused_with_the_number_that_would_do() {
        let error = plan(50_000, Some(1), 20_000, &[0, 1]).expect_err("too few");
        assert_eq!(
            error.to_string(),
            "cannot open client 16937 of 50000: 1 shard(s) may open 20000 descriptors each; use \
             '--shards 3', or raise the limit with 'ulimit -n 58824'"
        );
        assert!(plan(50_000, Some(3), 20_000, &[0, 1]).is_ok());
        let error = plan(u32::MAX, None, 20_000, &[0, 1]).expect_err("too many");
        assert!(
            error
                .to_string()
                .starts_with("cannot open 4294967295 clients"),
            "{error}"
        );
    }

    #[test]
    fn addresses_without_a_port_for_each_client_are_refused_with_the_number_that_would_do() {
        let (first, last) = port_range();
        let ports = u32::from(last - first) + 1;
        assert_eq!(check_ports(2 * ports, 2), Ok(()));
        assert_eq!(check_ports(u32::MAX, 0), Ok(()), "all of loopback");
        let error = check_ports(2 * ports + 1, 2).expect_err("too few");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot open client {} of {}: an address has {ports} ports to connect from; give 3 \
                 with '--source-addresses', or widen 'net.ipv4.ip_local_port_range'",
                2 * ports + 1,
                2 * ports + 1
            )
        );
    }

    #[test]
    fn one_core_is_shared_and_nothing_is_pinned() {
        let layout = plan(100, None, 1024, &[0]).expect("fits");
        assert_eq!(layout.server, layout.fleet);
        assert!(layout.server.cpus.is_empty());
    }
}
