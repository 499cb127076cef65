//! Equivalent push servers over SSE, WebSocket, long-polling, short polling and raw TCP.
//!
//! One hub behind every transport, so that a measured difference is the transport's and not the
//! server author's. The data path, in the order of the modules that it runs through:
//!
//! - [`publisher`] walks a [`schedule`] and gives each message its [`payload`];
//! - [`hub`] puts it into its channel as an encoded [`envelope`] and wakes the shards;
//! - [`refill`] puts there what was due before a server that was restarted;
//! - [`shard`] keeps it, framed once, in a [`ring`], and wakes the subscribers behind it;
//! - [`transport`] writes what is pending behind a subscriber's cursor to its socket, in the bytes
//!   that [`framing`] defines.
//!
//! Around it, [`listen`] opens the sockets and threads, [`control`] is what a harness asks, and
//! [`sys`] and [`wake`] hold what is needed of the operating system.

pub mod allocator;
pub mod control;
mod door;
mod ending;
pub mod envelope;
pub mod framing;
pub mod hub;
pub mod listen;
pub mod overflow;
mod pages;
pub mod payload;
pub mod publisher;
pub mod refill;
pub mod ring;
pub mod schedule;
pub mod shard;
mod stall;
pub mod sys;
pub mod transport;
mod unwritten;
pub mod wake;
mod wheel;
