//! Which clients made the load of a trial.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who wrote the client.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// The built-in load generator, on the socket itself.
    #[default]
    Lean,
    /// reqwest for SSE and polling, tokio-tungstenite for WebSocket: what an application would
    /// use. `tcp` has no library and is lean in both.
    Library,
}

pushbench_protocol::ids! {
    Family, "a family of clients":
    Lean = "lean", Library = "library"
}
