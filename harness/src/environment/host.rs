//! This machine as the host of a trial: where its processes are started, and the clock that it goes by.
//!
//! Next to the data path. In: a role, arguments, the cores of its side. Out: a child of this program,
//! always reaped. A trial of another machine needs another of these.

use std::path::Path;

use pushbench_os::allocator::Allocator;
use pushbench_os::sys::monotonic_ns;

use super::layout::Side;
use super::process::{ChildError, ManagedProcess};
use super::target::Clocks;
use crate::observe::process;

/// This machine, with what all processes of a trial have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThisMachine<'a> {
    /// This program.
    pub(crate) program: &'a Path,
    pub(crate) allocator: Allocator,
}

impl ThisMachine<'_> {
    /// Starts this program with `arguments` on the cores of `side`.
    pub(crate) async fn spawn(
        &self,
        role: &'static str,
        mut arguments: Vec<String>,
        side: &Side,
    ) -> Result<ManagedProcess, ChildError> {
        arguments.extend(["--allocator".to_owned(), self.allocator.to_string()]);
        if !side.cpus.is_empty() {
            let cpus: Vec<String> = side.cpus.iter().map(usize::to_string).collect();
            arguments.extend(["--cpus".to_owned(), cpus.join(",")]);
        }
        ManagedProcess::start(role, self.program, &arguments).await
    }
}

impl Clocks for ThisMachine<'_> {
    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn cpu_ns(&self, pid: u32) -> Option<u64> {
        process::cpu_ns(pid)
    }
}
