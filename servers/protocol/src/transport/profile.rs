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

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 3] = [Self::Stock, Self::Tuned, Self::Lean];

    /// The id, as it is spelled everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Tuned => "tuned",
            Self::Lean => "lean",
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.id())
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.id() == text)
            .ok_or_else(|| {
                let ids = Self::ALL.map(Self::id).join(", ");
                format!("'{text}' is not a profile; expected one of {ids}")
            })
    }
}
