//! The integration tests of the servers, in one program: every transport in every profile over real
//! sockets, and the control interface. Servers run in this process; clients are bare sockets. A
//! single module runs with `cargo test -p pushbench-servers --test integration NAME::`.
//!
//! The tests share one process, so each looks only at its own server and its own connections.

mod support;

mod conformance;
mod control;
mod cursors;
mod drain;
mod endings;
mod http;
mod overflow;
mod patience;
mod protocols;
mod readme;
mod refill;
mod refused;
mod snapshot;
mod stalled;
mod upstream;
