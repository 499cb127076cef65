//! `pushbench fleet`: the process that holds a trial's clients. Started by a run, not by people.

use pushbench_os::allocator;
use pushbench_os::sys;

use super::options::Process;
use super::{Failure, Outcome, end_of_input, failed, interrupt, pin, print, runtime};

/// Arguments of `fleet`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    process: Process,
}

/// Carries out the commands of its control interface until standard input ends.
pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    super::allocator::ensure(arguments.process.allocator)?;
    sys::raise_descriptor_limit();
    pin(&arguments.process.cpus)?;
    runtime()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let interrupted = interrupt();
        let control = crate::load::control::router(super::guard(None)?);
        let line = serde_json::json!({ "control": address, "allocator": allocator::in_use() });
        print(&format!("{line}\n"))?;
        tokio::select! {
            served = axum::serve(listener, control) => served.map_err(failed)?,
            () = end_of_input() => {}
            () = interrupted => {}
        }
        Ok(Outcome::Good)
    })
}
