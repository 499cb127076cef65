//! The transports and profiles: their ids, and what each transport can do.
//!
//! On the data path: next to it. Everything that asks "which transports are there, and what can this
//! one do" asks here, so that a new transport is described once.

use serde::{Deserialize, Serialize};

/// A way to push messages to a client. The ids are spelled the same in code, files, the command
/// line and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Raw TCP, one envelope a line: the floor that the others are held against.
    Tcp,
    /// Server-sent events over HTTP/1.1 (WHATWG HTML, section 9.2).
    Sse,
    /// WebSocket over HTTP/1.1 (RFC 6455).
    #[serde(rename = "websocket")]
    WebSocket,
    /// Long-polling over HTTP/1.1 (RFC 6202).
    LongPoll,
    /// Plain polling over HTTP/1.1, answered at once.
    ShortPoll,
}

impl Transport {
    /// All transports, baseline first.
    pub const ALL: [Self; 5] = [
        Self::Tcp,
        Self::Sse,
        Self::WebSocket,
        Self::LongPoll,
        Self::ShortPoll,
    ];

    /// The id, as it is spelled everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
            Self::LongPoll => "long_poll",
            Self::ShortPoll => "short_poll",
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.id())
    }
}

impl std::str::FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|t| t.id() == text)
            .ok_or_else(|| {
                let ids = Self::ALL.map(Self::id).join(", ");
                format!("'{text}' is no transport; expected one of {ids}")
            })
    }
}

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

    /// The profile that the baseline is run in beside this one: it has no library to compare, so
    /// `stock` is `tuned` there, but a floor has to stand on the same loop.
    #[must_use]
    pub fn of_baseline(self) -> Self {
        match self {
            Self::Stock | Self::Tuned => Self::Tuned,
            Self::Lean => Self::Lean,
        }
    }

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
                format!("'{text}' is no profile; expected one of {ids}")
            })
    }
}
