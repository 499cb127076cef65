//! `pushbench completions` and `pushbench man`: shell completions and manual pages, generated from the
//! same definitions as the help.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure, Outcome, failed, print};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a script for the shell to source.
pub(super) fn completions(arguments: &Completions) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "pushbench",
        &mut script,
    );
    print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Good)
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Command whose page is printed, such as 'run' [default: the program's own page]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Prints a page in the format of `man` (roff).
pub(super) fn man(arguments: &Man) -> Result<Outcome, Failure> {
    let mut cli = Cli::command();
    // So that the usage line of a command includes the program, as in its help.
    cli.build();
    let command = match &arguments.command {
        None => cli,
        Some(name) => {
            let commands = || cli.get_subcommands().filter(|c| !c.is_hide_set());
            let Some(command) = commands().find(|c| c.get_name() == name) else {
                let known = crate::text::quoted(commands().map(clap::Command::get_name));
                return Err(super::usage(anyhow::anyhow!(
                    "unknown command '{name}'; expected one of {known}"
                )));
            };
            let page: &'static str = format!("pushbench-{name}").leak();
            command
                .clone()
                .name(page)
                .version(env!("CARGO_PKG_VERSION"))
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(failed)?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Outcome::Good)
}
