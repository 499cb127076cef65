//! The doctor: how many clients this machine can hold, limit by limit, and how to raise each limit.
//!
//! Before the data path. In: a [`Machine`] and the memory of one client. Out: an [`Examination`]: for
//! each limit its value, how many clients it allows, whether it binds, the command that raises it, and
//! how the program works around it.
//!
//! Server and clients share one machine, so limits of the machine count both ends of each connection,
//! and limits of a process count one.

mod limits;
pub mod machine;
mod notes;
mod text;

pub use machine::Machine;
pub use text::render;

use serde::Serialize;

/// The memory of one client, by who holds it, and the source of the figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryPerClient {
    /// User memory of the server.
    pub server_bytes: f64,
    /// User memory of the clients' process.
    pub harness_bytes: f64,
    /// Kernel memory of both ends.
    pub kernel_bytes: f64,
    /// Source of the figures, in words.
    pub source: String,
}

/// The memory of a client if nothing was measured: server, clients and kernel, for an idle `sse` client
/// in `tuned` on a 2-core machine with Linux 6.18, from `results/reference/fanout-10k`.
const REFERENCE: [f64; 3] = [7_760.0, 192.0, 6_170.0];

impl MemoryPerClient {
    /// Reference values, used because of `why`.
    pub fn reference(why: &str) -> Self {
        let [server_bytes, harness_bytes, kernel_bytes] = REFERENCE;
        Self {
            server_bytes,
            harness_bytes,
            kernel_bytes,
            source: format!("reference values of sse tuned, because {why}"),
        }
    }

    /// All three together.
    pub fn bytes(&self) -> f64 {
        self.server_bytes + self.harness_bytes + self.kernel_bytes
    }
}

/// What a limit does at the requested number of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing: there is room for more.
    Free,
    /// It would bind on its own, but the program works around it.
    Avoided,
    /// It allows this number, but slows something down or prevents a measurement.
    Slows,
    /// It does not allow this number.
    Binds,
}

pushbench_protocol::ids! {
    State, "a state":
    Free = "free", Avoided = "avoided", Slows = "slows", Binds = "binds"
}

/// One limit of the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitFound {
    /// What is limited, by the name of its setting if it has one.
    pub limit: &'static str,
    /// Its value, formatted for people; `unknown` if this platform does not report it.
    pub value: String,
    /// Clients that it allows on its own; `null` if it does not limit their number.
    pub alone: Option<u64>,
    /// Clients that it allows with the program's workaround; `null` if it does not limit them.
    pub allows: Option<u64>,
    /// What it does at the requested number.
    pub state: State,
    /// The command that raises it; `null` if there is none, or no need for it.
    pub raise: Option<String>,
    /// How the program works around it; follows "pushbench" in a sentence.
    pub instead: String,
}

/// What the machine can hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examination {
    /// The number of clients that the limits are compared with.
    pub clients: u64,
    /// Whether it was requested; otherwise it is the most that the machine can hold.
    pub asked: bool,
    /// Whether the machine can hold that many.
    pub reachable: bool,
    /// The most that the machine can hold.
    pub most: u64,
    /// The limit that sets this maximum.
    pub limited_by: &'static str,
    /// The memory of one client.
    pub memory_per_client: MemoryPerClient,
    /// Every limit.
    pub limits: Vec<LimitFound>,
}

/// Compares the limits of `machine` with `clients` or, without such a number, with the most that they
/// allow together.
pub fn examine(machine: &Machine, memory: &MemoryPerClient, clients: Option<u32>) -> Examination {
    // What the limits allow does not depend on the requested number.
    let unasked = limits::all(machine, memory, 1);
    let least = unasked.iter().filter_map(|l| Some((l.allows?, l.limit)));
    // Clients are numbered with 32 bits.
    let (most, limited_by) = least.min_by_key(|&(allows, _)| allows).map_or(
        (u64::from(u32::MAX), "the 32-bit number of a client"),
        |least| least,
    );
    // Where not one fits, that is what binds.
    let wanted = clients.map_or(most.max(1), u64::from);
    Examination {
        clients: wanted,
        asked: clients.is_some(),
        reachable: wanted <= most,
        most,
        limited_by,
        memory_per_client: memory.clone(),
        limits: limits::all(machine, memory, wanted),
    }
}

#[cfg(test)]
mod tests;
