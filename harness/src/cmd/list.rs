//! `pushbench list`: what there is to run.

use std::path::Path;

use pushbench_protocol::transport::TRANSPORTS;

use super::{Failure, Outcome, print, usage};
use crate::scenario::{EMBEDDED, Scenario};
use crate::{files, record};

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print the whole text of one scenario, as a start for one's own
    #[arg(long, value_name = "NAME", conflicts_with = "schema")]
    show: Option<String>,
    /// Print the JSON schema of a record
    #[arg(long)]
    schema: bool,
}

/// Prints it.
pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let text = if arguments.schema {
        record::schema_text()
    } else if let Some(name) = &arguments.show {
        Scenario::load(name).map_err(usage)?;
        // By what was asked for, not by the scenario's name: a file may be called like one of ours.
        match EMBEDDED.iter().find(|(known, _)| known == name) {
            Some((_, text)) => (*text).to_owned(),
            None => files::read_text(Path::new(name), files::MAX_TEXT_BYTES).map_err(usage)?,
        }
    } else {
        overview()?
    };
    print(&text)?;
    Ok(Outcome::Good)
}

fn overview() -> Result<String, Failure> {
    let mut text = String::from("Scenarios (pushbench run NAME; 'list --show NAME' prints one):\n");
    for (name, _) in EMBEDDED {
        let scenario = Scenario::load(name).map_err(usage)?;
        text += &format!("  {name:14} {}\n", scenario.summary);
        for sentence in scenario.sentences() {
            text += &format!("  {:14} {sentence}\n", "");
        }
    }
    text += "\nTransports:\n";
    for row in TRANSPORTS {
        let transport = row.transport;
        text += &format!("  {:14} {}\n", row.id, row.summary);
        text += &format!(
            "  {:14} {}; upstream: {}\n",
            "",
            transport.subscribe(),
            transport.upstream()
        );
        text += &format!("  {:14} {}\n", "", row.specification);
    }
    text += "\nProfiles:\n";
    text += "  stock          library defaults for buffers, socket options and flushing\n";
    text += "  tuned          all of these equalised over the transports\n";
    text += "  lean           no library: one connection loop of our own for every transport\n";
    Ok(text)
}
