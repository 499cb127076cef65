//! The `pushbench` program. See the crate's library for what it is made of.

use std::process::ExitCode;

fn main() -> ExitCode {
    pushbench::cmd::main()
}
