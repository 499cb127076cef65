//! The transports: each drives a socket with the bytes of its framing.
//!
//! Place on the data path: shard → **transport** → socket. In: what is pending behind a cursor.
//! Out: writes. What they share is in `http`; a transport is one file here, one in
//! [`pushbench_protocol::framing`], and a row in the harness's registry.
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
pub(crate) mod lean;
pub(crate) mod long_poll;
mod query;
pub(crate) mod short_poll;
pub(crate) mod sse;
mod stalled;
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod websocket;

pub use stalled::stalled_bytes;
