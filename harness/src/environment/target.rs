//! What a trial measures, and what it measures it with, as the trial sees them.
//!
//! Around the data path. A [`Target`] is a server: our own (`own.rs`), or one of a test. A [`Fleet`] is
//! the process with the clients. [`Clocks`] are those that a trial goes by. Tests have all three without a
//! process, on a clock that they set.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use pushbench_os::allocator::Allocator;
use pushbench_protocol::control::{PublishPlan, PublishReport, Stats};

use super::process::ChildError;
use crate::load::tally::Counters;
use crate::load::{FleetReport, Setup, Status, Timing};
use crate::record::Capability;

/// A server that is measured.
pub(crate) trait Target {
    /// What it cannot do: the metrics and checks that go by it are not tested.
    fn lacks(&self) -> Vec<Capability>;

    /// Starts it with its channels; where clients connect.
    async fn start(&mut self) -> Result<SocketAddr, ChildError>;

    /// Its processes, the one that publishes first; more than one while one takes over from another,
    /// none between a kill and a restart.
    fn processes(&self) -> Vec<u32>;

    /// Its allocator, where it says so.
    fn allocator(&self) -> Option<Allocator>;

    /// Whether what should run does.
    fn check(&mut self) -> Result<(), ChildError>;

    /// Has it publish, now and after each restart.
    async fn publish(&mut self, plan: &PublishPlan) -> Result<(), ChildError>;

    /// Ends publishing: what is not published by now is missing.
    async fn end_publishing(&mut self) -> Result<PublishReport, ChildError>;

    /// Its counters.
    async fn stats(&mut self) -> Result<Stats, ChildError>;

    /// Sends a signal to the process that publishes.
    fn signal(&mut self, signal: Signal) -> std::io::Result<()>;

    /// Kills it (SIGKILL).
    async fn kill(&mut self);

    /// Starts it again where it was, after a kill.
    async fn restart(&mut self) -> Result<(), ChildError>;

    /// Starts its successor alongside it, then has it send its clients away over so much time.
    async fn hand_over(&mut self, over_ms: u64) -> Result<(), ChildError>;

    /// Whether the one that handed over has ended.
    async fn has_handed_over(&mut self) -> bool;

    /// User memory that a connection may hold beyond an idle one while its client reads nothing.
    fn stalled_bytes(&self, envelope_bytes: usize) -> u64;

    /// Ends it.
    async fn stop(&mut self);
}

/// The process with the clients.
pub(crate) trait Fleet {
    /// Starts it, without clients.
    async fn start(&mut self) -> Result<(), ChildError>;

    /// Its process.
    fn process(&self) -> u32;

    /// Its allocator, where it says so.
    fn allocator(&self) -> Option<Allocator>;

    /// Whether it runs.
    fn check(&mut self) -> Result<(), ChildError>;

    /// What its clients are to do.
    async fn set_up(&mut self, setup: &Setup) -> Result<(), ChildError>;

    /// Opens clients until so many are open; opens no more where it is 0.
    async fn connect(&mut self, up_to: u32) -> Result<(), ChildError>;

    /// How far it has come.
    async fn status(&mut self) -> Result<Status, ChildError>;

    /// The schedule is known.
    async fn begin(&mut self, timing: &Timing) -> Result<(), ChildError>;

    /// Everything counted so far.
    async fn sample(&mut self) -> Result<Counters, ChildError>;

    /// Settles every account, of what was due before a time of `CLOCK_MONOTONIC`, in ns.
    async fn finish(&mut self, due_before_ns: u64) -> Result<FleetReport, ChildError>;

    /// Has one of its threads panic.
    async fn panic(&mut self) -> Result<(), ChildError>;

    /// Closes every client.
    async fn close(&mut self) -> Result<(), ChildError>;

    /// Ends it.
    async fn stop(&mut self);
}

/// The clocks of a trial.
pub(crate) trait Clocks {
    /// `CLOCK_MONOTONIC`, which tokio's timers go by too.
    fn now_ns(&self) -> u64;

    /// CPU time of a process since it began; `None` where it is not there.
    fn cpu_ns(&self, process: u32) -> Option<u64>;
}
