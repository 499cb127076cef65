//! The `pushbench` program. See the crate's library for what it is made of.

use std::process::ExitCode;

use pushbench_os::allocator::Switch;

/// The system's or jemalloc, by an environment variable: decided once, at the first allocation.
#[global_allocator]
static ALLOCATOR: Switch = Switch;

fn main() -> ExitCode {
    pushbench::cmd::main()
}
