//! What the tests of the program share: starting it, what it answers, and how it complains.

pub(crate) mod browser;
mod process;
mod runs;
mod sockets;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

pub(crate) use process::{Process, Running, Served, await_end, children, send};
pub(crate) use runs::{Runs, keeps_to_the_schema, only};
pub(crate) use sockets::{ESTABLISHED, LISTENS, TcpSocket, inodes, table_address, tcp_sockets};

/// Long enough for a machine that does other things as well; only a failure waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A workload of 800 deliveries in a trial of a second: 40 clients on 4 channels, and 20 messages
/// of the measure phase on each.
pub(crate) const TINY: &str = r#"summary = "40 clients on 4 channels, for tests"
purpose = "Small enough to run in every test."
cannot_show = "Anything about speed."

[clients]
count = 40
poll_interval_ms = 50

[channels]
count = 4

[publish]
rate_per_s = 200
payload_bytes = 96

[phases]
settle_s = 0.05
warm_up_s = 0.1
measure_s = 0.4
drain_s = 20

[run]
trials = 1
"#;

/// The program with the arguments of `line` and nothing on its standard input. Arguments stand
/// between spaces, or whole between single quotes.
pub(crate) fn pushbench(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushbench"));
    for (number, piece) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            command.arg(piece);
        } else {
            command.args(piece.split_whitespace());
        }
    }
    command.stdin(Stdio::null());
    command
}

/// `command` from a shell that runs `script` first, such as `ulimit -n 256`.
pub(crate) fn after(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{script} && exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell.stdin(Stdio::null());
    shell
}

/// Runs it to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    Running::piped(command).output()
}

/// What is asked for, from standard output alone.
#[track_caller]
pub(crate) fn answer(command: &mut Command) -> String {
    let output = output(command);
    let (code, told) = (output.status.code(), text(&output.stderr));
    assert_eq!((code, told), (Some(0), ""), "{command:?}");
    text(&output.stdout).to_owned()
}

/// What it says of bad input, with status 2, on standard error alone, without the program's name.
#[track_caller]
pub(crate) fn refusal(command: &mut Command) -> String {
    let output = output(command);
    let (code, told) = (output.status.code(), text(&output.stderr));
    let found = (code, text(&output.stdout));
    assert_eq!(found, (Some(2), ""), "{command:?}: {told}");
    let told = told
        .strip_prefix("pushbench: ")
        .and_then(|told| told.strip_suffix('\n'));
    told.expect("the program's name and a line").to_owned()
}

/// A [`refusal`] of one line.
#[track_caller]
pub(crate) fn complaint(command: &mut Command) -> String {
    let line = refusal(command);
    let is_one = !line.contains('\n') && !line.contains("os error");
    assert!(is_one, "{command:?}: {line}");
    line
}

/// Signals that end a process unless it catches them: all that the program does.
pub(crate) const ENDING: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPWR,
];

/// Writes a scenario file into `folder`.
pub(crate) fn scenario(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(format!("{name}.toml"));
    std::fs::write(&path, text).expect("the folder is writable");
    path
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the program writes UTF-8")
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Looks until `look` finds something, and fails after [`PATIENCE`].
pub(crate) fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
