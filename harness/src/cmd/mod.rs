//! The command line: one file a subcommand.
//!
//! Results go to standard output, everything else to standard error. Exit status: 0 valid, or
//! suspect with a warning; 1 void, failed, or short of a gate; 2 wrong usage or bad input.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod fleet;
mod list;
mod progress;
mod run;
mod serve;
mod verify;

/// Settles "SSE, WebSocket or polling?" with measurements.
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
    /// Serve channels, to look at with curl, a browser or clients of your own
    Serve(serve::Arguments),
    /// List scenarios and transports, or print the schema of records
    List(list::Arguments),
    /// Check that every transport delivers exactly what was published, byte for byte
    Verify(verify::Arguments),
    /// Hold the clients of a trial (started by 'run')
    #[command(hide = true)]
    Fleet(fleet::Arguments),
}

/// How a command that did not fail has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Good,
    /// Void, short of a gate, or interrupted. What there is to say has been said.
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

/// Marks an error as the user's to mend.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Usage(error.into())
}

/// Marks an error as the machine's, or ours.
pub(crate) fn failed(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Failed(error.into())
}

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Fleet(arguments) => fleet::run(&arguments),
    };
    let (code, error) = match result {
        Ok(Outcome::Good) => return ExitCode::SUCCESS,
        Ok(Outcome::Bad) => return ExitCode::from(1),
        Err(Failure::Usage(error)) => (2, error),
        Err(Failure::Failed(error)) => (1, error),
    };
    eprintln!("pushbench: {error:#}");
    ExitCode::from(code)
}

/// The runtime of a command. It drives no clients and no server: one thread is plenty.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)
}

/// Writes to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Ends at SIGINT or SIGTERM.
pub(crate) async fn interrupt() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without handlers the signals end the process by themselves, and with it the children.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

/// Ends when standard input does.
pub(crate) async fn end_of_input() {
    use tokio::io::AsyncReadExt;
    let mut input = tokio::io::stdin();
    let mut space = [0; 64];
    while matches!(input.read(&mut space).await, Ok(1..)) {}
}

/// Parses `0,2,3`.
pub(crate) fn cpu(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is no number of a core"))
}
