//! Where a trial runs: this machine's cores and limits, the processes of both sides, and what stands
//! between them.
//!
//! Around the data path. In: what a run asks for and what the machine allows. Out: processes that are
//! started, pinned and reaped.

pub mod doctor;
pub(crate) mod fleet;
pub mod guard;
pub(crate) mod host;
pub mod layer;
pub mod layout;
pub(crate) mod loopback;
pub(crate) mod own;
pub mod process;
pub mod readiness;
pub(crate) mod rights;
pub(crate) mod target;
