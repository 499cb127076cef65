//! `pushbench fleet`: the process that holds a trial's clients. Started by a run, not by people.

use anyhow::anyhow;
use pushbench_servers::sys;

use super::{Failure, Outcome, end_of_input, failed, interrupt, print, runtime, usage};

/// Arguments of `fleet`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Cores to run on, such as '1,3'
    #[arg(long, value_delimiter = ',', value_parser = super::cpu)]
    cpus: Vec<usize>,
}

/// Obeys its control interface until standard input ends.
pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    sys::raise_descriptor_limit();
    if !arguments.cpus.is_empty() {
        sys::pin_to(&arguments.cpus).map_err(|e| usage(anyhow!("'--cpus': {e}")))?;
    }
    runtime()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        print(&format!("{}\n", serde_json::json!({ "control": address })))?;
        tokio::select! {
            served = axum::serve(listener, crate::fleet::control::router()) => served.map_err(failed)?,
            () = end_of_input() => {}
            () = interrupt() => {}
        }
        Ok(Outcome::Good)
    })
}
