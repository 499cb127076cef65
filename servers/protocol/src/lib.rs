//! The language that servers and clients of pushbench both speak, without any I/O.
//!
//! - [`envelope`] is what travels: sequence, intended and actual time, payload;
//! - [`schedule`] says when each message is due, [`payload`] what it contains: pure functions, so
//!   that both sides know what to expect;
//! - [`framing`] turns envelopes into the bytes of a protocol, and back;
//! - [`transport`] lists the transports and what each can do, [`overflow`] the policies for
//!   subscribers that fall behind;
//! - [`control`] are the messages between harness and server, with [`histogram`]s as text.

pub mod control;
pub mod envelope;
pub mod framing;
pub mod histogram;
pub mod overflow;
pub mod payload;
pub mod schedule;
pub mod transport;
