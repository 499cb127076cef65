//! `pushbench compare`: two records, or two transports of one, and gates for continuous integration.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use pushbench_protocol::transport::{Profile, Transport};

use super::{Failure, Outcome, failed, print, say, usage};
use crate::analysis::compare::gate::Gate;
use crate::analysis::compare::records::{Report, Source, compare_records};
use crate::analysis::compare::render::Form;
use crate::files;
use crate::record::{Record, Selector};
use crate::text;

/// Where GitHub Actions wants the summary of a job, in Markdown.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What is compared with: the folder of a run or its 'run.json'; behind an '@' one transport
    /// of it, such as 'results/local/RUN@sse-tuned'
    #[arg(value_name = "A")]
    a: String,
    /// What is compared: a change of +10% says that B has 10% more [default: A, with '--transports']
    #[arg(value_name = "B")]
    b: Option<String>,
    /// Two transports of one record, such as 'sse,websocket' or 'sse-stock,sse-tuned'; with two
    /// records, the rows to look at
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    transports: Option<Vec<Selector>>,
    /// Exit with 1 if so: 'METRIC[@TRANSPORT[-PROFILE]]>[+]N[%|unit]', such as 'p99>+10%' (worse by
    /// more than 10%, for sure), 'missing>0' or 'p50@sse-tuned>5ms' (the value of B); repeatable
    #[arg(long, value_name = "GATE")]
    fail_on: Vec<Gate>,
    /// How to write it
    #[arg(long, value_enum, default_value_t)]
    format: Form,
}

/// Compares, prints and asks the gates.
pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let a = Side::parse(&arguments.a).map_err(usage)?;
    let b = match &arguments.b {
        Some(b) => Side::parse(b).map_err(usage)?,
        None => a.clone(),
    };
    let two = arguments.b.is_some() || a.only.is_some();
    let (only_a, only_b) = match (arguments.transports.as_deref(), two) {
        (Some([first, second]), false) => (Some(*first), Some(*second)),
        (Some([one]), true) if a.only.is_none() && b.only.is_none() => (Some(*one), Some(*one)),
        (None, _) if arguments.b.is_some() => (a.only, b.only),
        (None, _) => {
            return Err(usage(anyhow!(
                "there is only '{}'; expected a second record, or '--transports' with two \
                 transports of this one, such as '--transports sse,websocket'",
                arguments.a
            )));
        }
        (Some(ids), _) => {
            return Err(usage(anyhow!(
                "'--transports' names {}; expected two with one record, one with two records, and \
                 none where '@' chooses",
                ids.len()
            )));
        }
    };
    let record_a = Record::read(&a.path).map_err(usage)?;
    let record_b = Record::read(&b.path).map_err(usage)?;
    let (label_a, label_b) = (a.label(), b.label());
    let source_a = Source {
        label: &label_a,
        record: &record_a,
        only: only_a,
    };
    let source_b = Source {
        label: &label_b,
        record: &record_b,
        only: only_b,
    };
    let report = compare_records(&source_a, &source_b, &arguments.fail_on).map_err(usage)?;
    print(&arguments.format.render(&report))?;
    if let Some(summary) = std::env::var_os(STEP_SUMMARY).filter(|path| !path.is_empty()) {
        append(Path::new(&summary), &Form::Md.render(&report))?;
    }
    Ok(outcome(&report))
}

/// Says what failed, also where the comparison went to a file.
fn outcome(report: &Report) -> Outcome {
    for gate in &report.gates {
        for failure in &gate.failures {
            say(&format!(
                "pushbench: gate '{}' failed: {failure}",
                gate.gate
            ));
        }
    }
    if report.holds() {
        Outcome::Good
    } else {
        Outcome::Bad
    }
}

fn append(path: &Path, markdown: &str) -> Result<(), Failure> {
    let written = files::append(path, markdown);
    written.map_err(|error| {
        failed(anyhow!(
            "cannot append the summary to '{}', which {STEP_SUMMARY} names: {}; unset the variable, \
             or name a file that can be written",
            path.display(),
            text::io_reason(&error)
        ))
    })
}

/// A record, and which of its rows.
#[derive(Debug, Clone)]
struct Side {
    path: PathBuf,
    only: Option<Selector>,
}

impl Side {
    /// `PATH` or `PATH@TRANSPORT[-PROFILE]`. A file that is really called so is itself.
    fn parse(argument: &str) -> Result<Self, anyhow::Error> {
        let whole = || Self {
            path: PathBuf::from(argument),
            only: None,
        };
        let Some((path, selector)) = argument.rsplit_once('@') else {
            return Ok(whole());
        };
        if Path::new(argument).exists() {
            return Ok(whole());
        }
        let only = selector.parse().map_err(|error| {
            let ids = |ids: Vec<&str>| ids.join(", ");
            anyhow!(
                "'{argument}': behind '@', {error}; expected RECORD@TRANSPORT[-PROFILE] with a \
                 transport of {} and a profile of {}",
                ids(Transport::ALL.iter().map(|t| t.id()).collect()),
                ids(Profile::ALL.iter().map(|p| p.id()).collect())
            )
        })?;
        Ok(Self {
            path: PathBuf::from(path),
            only: Some(only),
        })
    }

    fn label(&self) -> String {
        self.path.display().to_string()
    }
}
