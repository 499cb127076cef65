//! The command line: one file a subcommand.
//!
//! Results go to standard output, everything else to standard error. Exit status: 0 valid, or
//! suspect with a warning; 1 void, failed, or short of a gate; 2 wrong usage or bad input.

use std::path::Path;
use std::process::ExitCode;
use std::task::Poll;

use anyhow::anyhow;
use clap::{Parser, Subcommand};
use nix::sys::signal::Signal;

use pushbench_os::sys;
use pushbench_protocol::control::{Guard, TOKEN_VARIABLE};

use crate::report::DEFAULT_WIDTH;
use crate::text;

mod addresses;
mod advise;
mod allocator;
mod compare;
mod doctor;
mod fleet;
mod limits;
mod list;
mod options;
mod progress;
mod reference;
mod report;
mod run;
mod serve;
mod shell;
mod usage;
mod verify;

/// Benchmarks SSE, WebSocket and polling, and tells you which to use.
#[derive(Debug, Parser)]
#[command(name = "pushbench", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare transports on a scenario, and keep a record
    Run(run::Arguments),
    /// Serve channels, to try with curl, a browser or clients of your own
    Serve(Box<serve::Arguments>),
    /// List scenarios and transports, or print the schema of records
    List(list::Arguments),
    /// Compare two records, or two transports of one, and check them against gates
    Compare(compare::Arguments),
    /// Grow clients, rate or fan-out until an objective breaks, and name what broke
    Limits(limits::Arguments),
    /// Report how many clients this machine can hold, limit by limit, and what would raise each
    Doctor(doctor::Arguments),
    /// Render a record as a page, Markdown, CSV, JSON or percentile distributions
    Report(report::Arguments),
    /// Predict what a workload would cost on each transport, and recommend one
    Advise(Box<advise::Arguments>),
    /// Check that every transport delivers exactly what was published, byte for byte
    Verify(verify::Arguments),
    /// Print a script that completes commands and options in a shell
    Completions(shell::Completions),
    /// Print the manual page, to be read with 'man -l -'
    Man(shell::Man),
    /// Hold the clients of a trial (started by 'run')
    #[command(hide = true)]
    Fleet(fleet::Arguments),
}

/// How a command that did not fail has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Good,
    /// Void, short of a gate, or interrupted. Everything about it has been printed.
    Bad,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or bad input: exit status 2.
    Usage(anyhow::Error),
    /// Anything else: exit status 1.
    Failed(anyhow::Error),
}

/// Marks an error as one for the user to fix.
/// Who may command this process: whoever has the token of `file` or of the environment, or, where there
/// is none, any process of this machine.
fn guard(file: Option<&Path>) -> Result<Guard, Failure> {
    let (token, place) = match (file, std::env::var(TOKEN_VARIABLE)) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                usage(anyhow!(
                    "cannot read '--control-token-file' {}: {}",
                    file.display(),
                    text::io_reason(&error)
                ))
            })?;
            (text, format!("'--control-token-file' {}", file.display()))
        }
        (None, Ok(token)) => (token, TOKEN_VARIABLE.to_owned()),
        (None, Err(std::env::VarError::NotPresent)) => return Ok(Guard::default()),
        (None, Err(error)) => return Err(usage(anyhow!("{TOKEN_VARIABLE}: {error}"))),
    };
    Guard::with_token(token.trim()).map_err(|error| usage(anyhow!("{place}: {error}")))
}

pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Usage(error.into())
}

/// Marks an error as one of the machine, or of this program.
pub(crate) fn failed(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Failed(error.into())
}

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    let (arguments, hints) = options::modern(std::env::args_os());
    for hint in hints {
        say(&format!("pushbench: {hint}"));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage::refuse(&error),
    };
    let result = match cli.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Serve(arguments) => serve::run(*arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Limits(arguments) => limits::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Advise(arguments) => advise::run(*arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Completions(arguments) => shell::completions(&arguments),
        Command::Man(arguments) => shell::man(&arguments),
        Command::Fleet(arguments) => fleet::run(&arguments),
    };
    let (code, error) = match result {
        Ok(Outcome::Good) => return ExitCode::SUCCESS,
        Ok(Outcome::Bad) => return ExitCode::from(1),
        Err(Failure::Usage(error)) => (2, error),
        Err(Failure::Failed(error)) => (1, error),
    };
    // Every error says in its own text what caused it.
    say(&format!("pushbench: {error}"));
    ExitCode::from(code)
}

/// This program, as it was when this process began: the kernel keeps it under this name though a build
/// has put another in its place, or none is there any more.
pub(crate) fn program() -> std::path::PathBuf {
    "/proc/self/exe".into()
}

/// The runtime of a command. It drives neither clients nor a server: one thread is plenty.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)
}

/// Writes a line to standard error. Where nobody reads it any more (`2>&1 | head`), it is lost and
/// the run goes on: it has a record to finish.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let _ = std::io::stderr()
        .lock()
        .write_all(format!("{}\n", text::printable(line)).as_bytes());
}

/// Writes to standard output. A reader that has gone away (`| head`) is not an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    match output
        .write_all(text::printable(text).as_bytes())
        .and_then(|()| output.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(failed(anyhow!(
            "cannot write to standard output: {}; send it elsewhere, or free some space",
            text::io_reason(&error)
        ))),
        _ => Ok(()),
    }
}

/// Width of the terminal in columns.
pub(crate) fn console_width() -> u16 {
    let size = console::Term::stdout().size_checked();
    size.map_or(DEFAULT_WIDTH, |(_, columns)| columns)
}

/// Ends at a signal of [`ENDING`], counted from the call: none is lost before the first poll.
///
/// # Panics
/// Outside of a runtime.
pub(crate) fn interrupt() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let ignored = ignored_signals();
    let caught = ENDING.into_iter().filter(|&kind| {
        // 'nohup' and shells have a program ignore what it is not to be ended by.
        matches!(kind, Signal::SIGINT | Signal::SIGTERM) || ignored & (1 << (kind as u32 - 1)) == 0
    });
    // One without a handler ends the process by itself, and with it the children.
    let mut signals: Vec<_> = caught
        .filter_map(|kind| signal(SignalKind::from_raw(kind as i32)).ok())
        .collect();
    std::future::poll_fn(move |context| {
        let came = signals.iter_mut().any(|s| s.poll_recv(context).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
}

/// Signals that end a process unless it catches them, as people and other programs send them.
const ENDING: [Signal; 11] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGXCPU,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGPWR,
];

/// The signals that this process was started to ignore, one bit each, from signal 1 on (proc(5));
/// none where the kernel does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Ends when standard input does.
pub(crate) async fn end_of_input() {
    let (ended, end) = tokio::sync::oneshot::channel();
    // On a thread that nobody waits for: a runtime would not end before its own read does, and so
    // a signal would not end the process.
    let reader = move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    };
    let thread = std::thread::Builder::new().name("input".into());
    // Where it does not start, this ends at once: a child that cannot tell when its run ends must
    // not outlive it.
    if thread.spawn(reader).is_ok() {
        let _ = end.await;
    }
}

/// Restricts this process to the cores of `--cpus`, where any are given.
pub(crate) fn pin(cpus: &[usize]) -> Result<(), Failure> {
    if cpus.is_empty() {
        return Ok(());
    }
    let allowed = sys::allowed_cpus();
    sys::pin_to(cpus).map_err(|error| {
        let list = |cpus: &[usize]| {
            let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
            cpus.join(",")
        };
        usage(anyhow!(
            "'--cpus' is '{}': {}; this process may run on '{}'",
            list(cpus),
            text::io_reason(&error),
            list(&allowed)
        ))
    })
}
