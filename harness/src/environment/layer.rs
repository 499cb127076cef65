//! What a trial puts between its target and its clients: one file for each kind of layer.
//!
//! Next to the data path: clients connect to the layer instead of the server, and neither side has a
//! hook for it. In: a planned [`Layer`]. Out: where clients connect, and what it did to the bytes.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use hdrhistogram::Histogram;

use super::layout::Layout;

pub mod relay;

/// A layer as it is planned.
pub trait Layer: Debug {
    /// Puts it in front of whatever listens at `behind`, on this machine.
    ///
    /// # Errors
    /// What the system refuses.
    fn put(&self, behind: SocketAddr, layout: &Layout) -> io::Result<Box<dyn Placed>>;
}

/// A layer that runs. Dropped, it closes every connection through it.
pub trait Placed: Debug {
    /// Where clients connect.
    fn address(&self) -> SocketAddr;

    /// Messages intended in `from_ns..until_ns` (`CLOCK_MONOTONIC`) are those of the measure phase.
    /// Called once, before the first of them is published.
    fn measure(&self, from_ns: u64, until_ns: u64);

    /// What it has done.
    fn passed(&self) -> Passed;
}

/// What a layer did to the bytes of the server.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Faults in messages of the measure phase.
    pub injected: relay::Injected,
    /// How long bytes were held, in ns: from their arrival, by the kernel's stamp where there is
    /// one, to the write that passed them on.
    pub held: Histogram<u64>,
}
