//! Equivalent push servers over SSE, WebSocket, long-polling, short polling and raw TCP.
//!
//! One hub behind every transport, so that a measured difference is the transport's and not the
//! server author's. The data path, in the order of the modules that it runs through:
//!
//! - [`publisher`] walks a [`schedule`](pushbench_protocol::schedule) and gives each message its [`payload`](pushbench_protocol::payload);
//! - [`hub`] puts it into its channel as an encoded [`envelope`](pushbench_protocol::envelope) and wakes the shards;
//! - [`refill`] puts there what was due before a server that was restarted;
//! - [`shard`] keeps it, framed once, in a [`ring`], and wakes the subscribers behind it;
//! - [`transport`] writes what is pending behind a subscriber's cursor to its socket, in the bytes
//!   that [`framing`](pushbench_protocol::framing) defines.
//!
//! Around it, [`server`] opens the sockets and threads, and [`control`] answers a harness. What
//! servers and clients both need to know is in `pushbench-protocol`; what needs the operating system
//! is in `pushbench-os`.

pub mod control;
pub mod hub;
mod lean;
mod pending_writes;
pub mod publisher;
pub mod refill;
pub mod ring;
pub mod server;
pub mod shard;
mod slab;
mod stall;
pub mod transport;
mod wheel;
