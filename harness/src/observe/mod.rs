//! What the machine, the kernel and a process say about themselves.
//!
//! Place on the data path: beside it. A trial reads these at the edges of its phases. In: a process
//! id. Out: bytes and nanoseconds, each `None` where this platform does not tell.
//!
//! Not measured here: anything per message or per socket (wire bytes come from the kernel's TCP
//! counters, which the clients read).
//!
//! The files of `/proc` are parsed by pure functions from text, so that tests hold them against
//! known answers.

pub mod before;
pub mod environment;
pub mod groups;
pub mod kernel;
pub mod machine;
pub mod memory;
pub mod network;
pub mod process;
pub mod run_queue;

/// The text of a file of `/proc` or `/sys`; `None` where it cannot be read.
pub(crate) fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The number after `key:` in a text of `Key:  123 kB` lines, as it stands.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == key)
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .and_then(|value| value.parse().ok())
}

/// [`field`] in bytes, where `/proc` gives KiB (and writes kB).
pub(crate) fn field_bytes(text: &str, key: &str) -> Option<u64> {
    field(text, key).map(|kib| kib * 1024)
}
