//! What becomes of a subscriber that is too slow for its channel.

use serde::{Deserialize, Serialize};

/// What becomes of a subscriber whose cursor falls off the ring of its channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// It is told, and its stream ends.
    #[default]
    Disconnect,
    /// It is told, and goes on with the oldest.
    DropOldest,
    /// It gets the newest alone.
    LatestOnly,
}

impl Overflow {
    /// All.
    pub const ALL: [Self; 3] = [Self::Disconnect, Self::DropOldest, Self::LatestOnly];

    /// The id.
    pub fn id(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::DropOldest => "drop-oldest",
            Self::LatestOnly => "latest-only",
        }
    }
}
