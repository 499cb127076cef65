//! The transports: each drives a socket with the bytes of its framing.
//!
//! Place on the data path: shard → **transport** → socket. In: what is pending behind a cursor.
//! Out: writes. There is one file for each kind of [`Delivery`], which serves every transport that
//! has it; what those over HTTP share is in `http`.
//!
//! [`Delivery`]: pushbench_protocol::transport::Delivery
//!
//! | transport | subscribe | profile `tuned` | profile `stock` |
//! |---|---|---|---|
//! | `tcp` | line `SUBSCRIBE` | one write of all pending, from the ring | – |
//! | `sse` | `GET /sse` | one body frame of all pending | one a message |
//! | `websocket` | `GET /websocket` | small buffers, one flush | library buffers, a flush a message |
//! | `long_poll` | `GET /long-poll` | small buffers | library buffers |
//! | `short_poll` | `GET /poll` | small buffers | library buffers |
//!
//! In profile `lean` all of them are driven by one loop without a framework, in `lean`.

pub(crate) mod http;
pub(crate) mod library;
pub mod origin;
mod poll;
mod query;
mod stalled;
pub(crate) mod stream;
mod streamed;
pub(crate) mod tcp;
pub(crate) mod websocket;

pub use stalled::stalled_bytes;
