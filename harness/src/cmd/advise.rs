//! `pushbench advise`: what a workload would cost on each transport, and which one to take.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use pushbench_protocol::transport::{Profile, Transport};

use super::options::{Printed, renamed};
use super::{Failure, Outcome, print, say, usage};
use crate::analysis::advise::observe::{Observation, observe};
use crate::analysis::advise::recommend::{key, recommend};
use crate::analysis::advise::render::{self, Advice};
use crate::analysis::advise::workload::{RENAMED_KEYS, WorkloadArgs};
use crate::analysis::advise::{Model, Prediction, check};
use crate::files;
use crate::observe::environment::Environment;
use crate::record::Record;
use crate::text::io_reason;

/// The reference records of the project: name and text of each, built in by `build.rs`.
const REFERENCE: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/reference.rs"));

/// What they are called.
const REFERENCE_NAME: &str = "the reference record";

/// Arguments of `advise`.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    /// The workload as a TOML file with the options below as keys (with '_' for '-'); options take precedence
    #[arg(value_name = "FILE")]
    workload: Option<PathBuf>,
    #[command(flatten)]
    asked: WorkloadArgs,
    /// Records to predict from: runs, or folders of runs; repeatable [default: the reference record
    /// of the project, which is built in]
    #[arg(long, value_name = "RUN")]
    from: Vec<PathBuf>,
    /// Predict for servers in this profile
    #[arg(long, value_name = "ID", default_value_t = Profile::Tuned)]
    profile: Profile,
    /// Leave these scenarios out of the fit, one after the other, and compare predictions with what
    /// was measured; without names each scenario of the records
    #[arg(long, value_name = "SCENARIOS", value_delimiter = ',', num_args = 0..)]
    check: Option<Vec<String>>,
    /// Print the costs that were fitted as well
    #[arg(long)]
    costs: bool,
    /// How to write it
    #[arg(long, value_enum, default_value_t)]
    format: Printed,
}

/// Predicts, recommends and prints.
pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let json = arguments.format == Printed::Json;
    let records = records(&arguments.from)?;
    let observations: Vec<Observation> = records
        .iter()
        .enumerate()
        .flat_map(|(number, (_, record))| observe(record, number))
        .collect();
    let from: Vec<String> = arguments
        .from
        .iter()
        .map(|p| format!("'{}'", p.display()))
        .collect();
    let from = match from.as_slice() {
        [] => REFERENCE_NAME.to_owned(),
        from => from.join(", "),
    };
    if observations.is_empty() {
        return Err(usage(anyhow!(
            "{from} has no usable trial: expected at least one that came to its measure phase and \
             is not void; record some with 'pushbench run fanout-10k'"
        )));
    }
    if let Some(names) = &arguments.check {
        return checked(&observations, names, &from, json);
    }
    let workload = asked(arguments.workload.as_deref(), arguments.asked)?;
    let model = Model::fit(&observations);
    let predictions: Vec<Prediction> = Transport::ALL
        .iter()
        .filter_map(|t| model.predict(&workload, key(*t, arguments.profile)))
        .collect();
    let recommendation = recommend(&workload, &predictions);
    if json {
        let json = serde_json::json!({
            "workload": workload,
            "profile": arguments.profile,
            "records": from,
            "scenarios": model.scenarios,
            "predictions": predictions,
            "recommendation": recommendation,
        });
        print(&format!("{json:#}\n"))?;
        return Ok(Outcome::Good);
    }
    let origin = origin(&records, &model, &from);
    let mut text = render::advice(&Advice {
        workload: &workload,
        model: &model,
        profile: arguments.profile,
        predictions: &predictions,
        recommendation: &recommendation,
        origin: &origin,
    });
    if arguments.costs {
        text += &format!("\n{}", render::costs(&model));
    }
    print(&text)?;
    Ok(Outcome::Good)
}

/// Prediction against measurement; status 1 where not everything is as near as it is meant to be.
fn checked(
    observations: &[Observation],
    names: &[String],
    from: &str,
    json: bool,
) -> Result<Outcome, Failure> {
    let mut known: Vec<&str> = observations.iter().map(|o| o.scenario.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    if let Some(unknown) = names.iter().find(|n| !known.contains(&n.as_str())) {
        return Err(usage(anyhow!(
            "no record in {from} is of scenario '{unknown}'; there are {}",
            crate::text::quoted(known)
        )));
    }
    if known.len() < 2 {
        return Err(usage(anyhow!(
            "{from} holds one scenario, {}; leaving it out leaves nothing to predict from: record \
             another",
            crate::text::quoted(known)
        )));
    }
    let rows = check::leave_out(observations, names);
    if json {
        let rows = serde_json::json!(rows);
        print(&format!("{rows:#}\n"))?;
    } else {
        print(&render::check_table(&rows, from))?;
    }
    let (near, all) = check::score(&rows);
    Ok(if near == all {
        Outcome::Good
    } else {
        Outcome::Bad
    })
}

fn asked(
    path: Option<&Path>,
    flags: WorkloadArgs,
) -> Result<crate::analysis::advise::Workload, Failure> {
    let file = match path {
        None => WorkloadArgs::default(),
        Some(path) => {
            let text = files::read_text(path, files::MAX_TEXT_BYTES).map_err(|error| {
                usage(anyhow!(
                    "cannot read the workload '{}': {}; expected a TOML file with keys such as \
                     'clients' and 'group'",
                    path.display(),
                    io_reason(&error)
                ))
            })?;
            let file = toml::from_str(&text).map_err(|error| {
                let before = error.span().and_then(|span| text.get(..span.start));
                let line = before.map_or(1, |before| before.matches('\n').count() + 1);
                let message = error
                    .message()
                    .split('\n')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                usage(anyhow!("{}:{line}: {message}", path.display()))
            })?;
            for (old, new) in old_keys(&text) {
                let hint = renamed(old, new);
                say(&format!("pushbench: {}: {hint}", path.display()));
            }
            file
        }
    };
    flags
        .over(file)
        .check()
        .map_err(|error| usage(anyhow!(error)))
}

/// Keys of a workload, which has been parsed, that are spelled as the release before did, and what
/// they are now.
fn old_keys(text: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let table: toml::Table = toml::from_str(text).unwrap_or_default();
    let old = RENAMED_KEYS.into_iter();
    old.filter(move |(old, _)| table.contains_key(*old))
}

/// Every record that is named, or lies in a folder that is.
fn records(from: &[PathBuf]) -> Result<Vec<(PathBuf, Record)>, Failure> {
    if from.is_empty() {
        return REFERENCE
            .iter()
            .map(|(name, json)| {
                let path = PathBuf::from(format!("results/reference/{name}/run.json"));
                let record = Record::from_json(&path, json).map_err(usage)?;
                Ok((path, record))
            })
            .collect();
    }
    let mut found = Vec::new();
    for path in from {
        let is_run = path.is_file() || path.join(crate::store::RECORD_FILE).exists();
        if is_run {
            found.push(path.clone());
            continue;
        }
        let runs = std::fs::read_dir(path).map_err(|error| {
            usage(anyhow!(
                "cannot read records from '{}': {}; name a run, or a folder of runs, with '--from', such \
                 as 'results/local'",
                path.display(),
                io_reason(&error)
            ))
        })?;
        let mut runs: Vec<PathBuf> = runs
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join(crate::store::RECORD_FILE).exists())
            .collect();
        if runs.is_empty() {
            return Err(usage(anyhow!(
                "'{}' has no runs: expected folders with a '{}'; record some with 'pushbench run', and \
                 name their folder with '--from'",
                path.display(),
                crate::store::RECORD_FILE
            )));
        }
        runs.sort_unstable();
        found.extend(runs);
    }
    found
        .into_iter()
        .map(|path| {
            Record::read(&path)
                .map(|record| (path, record))
                .map_err(usage)
        })
        .collect()
}

/// From what the predictions come, and whether it was this machine.
fn origin(records: &[(PathBuf, Record)], model: &Model, from: &str) -> String {
    let here = Environment::read();
    let other = records.iter().any(|(_, r)| {
        (&r.environment.cpu_model, r.environment.cores) != (&here.cpu_model, here.cores)
    });
    let n = records.len();
    let mut text = format!(
        "{n} record{} in {from} ({})",
        if n == 1 { "" } else { "s" },
        model.scenarios.join(", ")
    );
    if other {
        text += ", made on another machine than this one: memory and bytes carry over, CPU is that \
                 machine's";
    }
    let notes = records.iter().filter_map(|(_, r)| r.conversion_note());
    let converted = notes.count();
    if converted > 0 {
        text += &format!(
            "; {converted} of them converted from an older schema, which leaves out the bytes and requests \
             of short_poll"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn records_of_an_older_schema_are_counted_with_what_they_leave_out() {
        let mut old = sample::record();
        old.converted_from = Some(1);
        let records = [sample::record(), old].map(|record| (PathBuf::new(), record));
        let text = origin(&records, &Model::default(), "two");
        let note = "; 1 of them converted from an older schema, which leaves out the bytes and \
                    requests of short_poll";
        assert!(text.ends_with(note), "{text}");
    }
}
