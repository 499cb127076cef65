//! pushbench: benchmarks SSE, WebSocket, long-polling and polling against raw TCP.
//!
//! The harness. The data path, in the order of the modules that it runs through (the servers' half of
//! it is in `pushbench-servers`, what both sides speak in `pushbench-protocol`):
//!
//! - [`scenario`] describes the workload, [`environment`] where it runs;
//! - [`load`] holds thousands of clients: each message is read by a client, entered into its ledger
//!   and, for the measure phase, into its shard's recorder;
//! - [`trial`] takes one server and one fleet of clients through the phases, with readings of
//!   [`observe`]; [`audit`] gives the verdict;
//! - [`run`] interleaves trials and writes the [`record`];
//! - [`metrics`] is the table of what is measured; [`analysis`] compares, predicts and finds what grows;
//! - [`report`] renders a record for people and programs.
//!
//! Around it: [`verify`] runs trials whose answer is known, [`text`] has numbers and words as people
//! read them, and [`cmd`] is the command line.

pub mod analysis;
pub mod audit;
pub mod cmd;
pub mod environment;
pub(crate) mod files;
pub mod load;
pub mod metrics;
pub mod observe;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod store;
pub mod text;
pub mod trial;
pub mod verify;
