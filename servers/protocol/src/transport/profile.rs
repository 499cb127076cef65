//! How a server is set up around its transport.
//!
//! On the data path: next to it.

use serde::{Deserialize, Serialize};

/// How a server is set up around its transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Library defaults for buffers, socket options and flushing.
    Stock,
    /// Buffers, socket options and flushing equalised over all transports.
    Tuned,
    /// No framework: one connection loop for all transports, straight from the ring to the socket.
    /// What the transport itself costs.
    Lean,
}

ids!(Profile, "a profile": Stock = "stock", Tuned = "tuned", Lean = "lean");
