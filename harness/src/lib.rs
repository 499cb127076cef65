//! pushbench: settles "SSE, WebSocket or polling?" with measurements.
//!
//! The harness. The data path, in the order of the modules that it runs through (the servers'
//! half of it is in `pushbench-servers`):
//!
//! - [`client`] reads messages from a socket, one file a transport;
//! - [`fleet`] holds thousands of clients, enters each message into the client's [`ledger`] and,
//!   for the measure phase, into its shard's [`recorder`];
//! - [`trial`] takes one server and one fleet through the phases and reads the [`probe`]s;
//!   [`audit`] gives the verdict, and [`interfere`], with the [`relay`], does what its numbers must
//!   show ([`known`] answers);
//! - [`run`] interleaves trials, [`compare`]s what they found with [`stats`], and writes the record
//!   ([`results`]); [`limits`] grows them until something breaks;
//! - [`report`] draws it.
//!   ([`results`]);
//! - [`report`] draws it; [`advise`] predicts from it.
//!
//! Around it: [`scenario`] says what is to be done, [`registry`] which transports there are,
//! [`layout`] where it runs on this machine, [`doctor`] how many clients that can hold, [`guard`]
//! when memory gets short, [`child`] starts and
//! reaps the processes, and [`cmd`] is the command line.

pub mod advise;
pub mod audit;
pub mod child;
pub mod client;
pub mod cmd;
pub mod compare;
pub mod doctor;
pub mod fleet;
pub mod guard;
pub mod interfere;
pub mod known;
pub mod layout;
pub mod ledger;
pub mod limits;
pub mod live;
pub mod probe;
pub mod recorder;
pub mod registry;
pub mod relay;
pub mod report;
pub mod results;
pub mod run;
pub mod scenario;
pub mod stats;
mod text;
pub mod trial;
mod utc;
