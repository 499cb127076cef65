//! `--allocator`: the allocator is decided at the first allocation of a process, which is before its
//! arguments are read. A process that has another one than was asked for starts itself anew in its
//! place, with the environment variable set: same process id, same standard streams.

use std::os::unix::process::CommandExt;

use anyhow::anyhow;
use pushbench_os::allocator::{Allocator, VARIABLE, in_use};

use super::options;
use super::{Failure, failed};
use crate::text;

/// Returns when this process has the allocator asked for. Call it first: nothing that was opened or
/// started before lasts.
pub(super) fn ensure(asked: Option<Allocator>) -> Result<(), Failure> {
    let Some(asked) = asked.filter(|&asked| asked != in_use()) else {
        return Ok(());
    };
    let name = VARIABLE.to_str().expect("the name is ASCII");
    if std::env::var_os(name).is_some_and(|value| value == asked.id()) {
        // Tried already: this program was built without the choice.
        return Err(failed(anyhow!(
            "'--allocator' is '{asked}', but this program runs on '{}' whatever is asked for",
            in_use()
        )));
    }
    // Hints about old spellings are not to be printed twice.
    let (arguments, _) = options::modern(std::env::args_os());
    let error = std::process::Command::new(super::program())
        .args(&arguments[1..])
        .env(name, asked.id())
        .exec();
    Err(failed(anyhow!(
        "cannot start anew with '--allocator {asked}': {}; set '{name}={asked}' instead",
        text::io_reason(&error)
    )))
}
