//! The doctor: how many clients this machine can hold, limit by limit, and what would raise each.
//!
//! Before the data path. In: a [`Machine`] and what a client costs in memory. Out: an
//! [`Examination`]: for each limit its value, how many clients it allows, whether it binds, the
//! command that raises it, and what the program does without that.
//!
//! Server and clients are on one machine, so that limits of the machine count each connection with
//! both its ends, and limits of a process with one. Nothing is measured here.

mod limits;
pub mod machine;
mod notes;
mod text;

pub use machine::Machine;
pub use text::render;

use serde::Serialize;

/// What a client costs in memory, by who holds it, and where the figures are from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryPerClient {
    /// User memory of the server.
    pub server_bytes: f64,
    /// User memory of the clients' process.
    pub harness_bytes: f64,
    /// Memory of the kernel, both ends.
    pub kernel_bytes: f64,
    /// Where the figures are from, in words.
    pub source: String,
}

impl MemoryPerClient {
    /// All three together.
    pub fn bytes(&self) -> f64 {
        self.server_bytes + self.harness_bytes + self.kernel_bytes
    }
}

/// What a limit does at the number of clients that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing: there is room.
    Free,
    /// By itself it would bind, but for what the program does.
    Avoided,
    /// So many can be held, but something becomes slower or cannot be told.
    Slows,
    /// So many cannot be held.
    Binds,
}

impl State {
    /// The word for tables.
    pub fn id(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Avoided => "avoided",
            Self::Slows => "slows",
            Self::Binds => "binds",
        }
    }
}

/// One limit of the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitFound {
    /// What is limited, by the name of the setting where it has one.
    pub limit: &'static str,
    /// Its value, as people write it; `unknown` where this platform does not tell.
    pub value: String,
    /// Clients that it allows by itself; `null` where it does not limit their number.
    pub alone: Option<u64>,
    /// Clients that it allows given what the program does; `null` where it does not limit them.
    pub allows: Option<u64>,
    /// What it does at the number asked for.
    pub state: State,
    /// The command that raises it; `null` where there is none.
    pub raise: Option<String>,
    /// What the program does without.
    pub instead: String,
}

/// What the machine can hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examination {
    /// The number of clients that the limits are held against.
    pub clients: u64,
    /// Whether it was asked for; otherwise it is the most that the machine can hold.
    pub asked: bool,
    /// Whether so many can be held.
    pub reachable: bool,
    /// The most that can be held …
    pub most: u64,
    /// … and the limit that it is set by.
    pub limited_by: &'static str,
    /// What a client costs in memory.
    pub memory_per_client: MemoryPerClient,
    /// Every limit.
    pub limits: Vec<LimitFound>,
}

/// Holds the limits of `machine` against `clients`, or, without such a number, against the most
/// that they allow together.
pub fn examine(machine: &Machine, memory: &MemoryPerClient, clients: Option<u32>) -> Examination {
    // What is allowed does not depend on how many are asked for.
    let unasked = limits::all(machine, memory, 1);
    let least = unasked.iter().filter_map(|l| Some((l.allows?, l.limit)));
    // The number of a client has 32 bits.
    let (most, limited_by) = least
        .min_by_key(|&(allows, _)| allows)
        .map_or((u64::from(u32::MAX), "the number of a client"), |least| {
            least
        });
    let wanted = clients.map_or(most, u64::from);
    Examination {
        clients: wanted,
        asked: clients.is_some(),
        reachable: wanted > 0 && wanted <= most,
        most,
        limited_by,
        memory_per_client: memory.clone(),
        limits: limits::all(machine, memory, wanted),
    }
}

#[cfg(test)]
mod tests;
