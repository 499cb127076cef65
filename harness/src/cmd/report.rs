//! `pushbench report`: draws a record that is kept, or puts tables of records into Markdown files.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::{Failure, Outcome, console_width, print, say, usage};
use crate::files;
use crate::record::Record;
use crate::report::{DEFAULT_WIDTH, Format, hgrm, splice};
use crate::store::RECORD_FILE;
use crate::text;

/// Where `run` keeps records by default.
pub(super) const LOCAL: &str = "results/local";

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Folder of a run, or its run.json [default: the newest run in results/local]
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// What to write: table, html, md, csv, json or hgrm [default: by the name in '--out', or table]
    #[arg(long)]
    format: Option<Format>,
    /// File to write to, or for hgrm a folder [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Renew the tables between the markers of Markdown files
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["run", "format", "out"])]
    splice: Option<Vec<PathBuf>>,
    /// With '--splice': change nothing, and exit with 1 where a table is not that of its record
    #[arg(long, requires = "splice")]
    check: bool,
}

/// Writes the report, or renews tables.
pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    if let Some(files) = &arguments.splice {
        return renew(files, arguments.check);
    }
    let run = match &arguments.run {
        Some(run) => run.clone(),
        None => newest(Path::new(LOCAL)).map_err(usage)?,
    };
    let record = Record::read(&run).map_err(usage)?;
    // Logs are next to the record, wherever it was found.
    let folder = if run.is_dir() {
        run.clone()
    } else {
        run.parent().map(Path::to_owned).unwrap_or_default()
    };
    let format = arguments.format()?;
    match &arguments.out {
        None => {
            let text = format.render(&record, Some(&folder), console_width());
            print(&text.map_err(usage)?)?;
        }
        Some(out) if format == Format::Hgrm => {
            // All of them before the first is written.
            let files = hgrm::files(&record, &folder).map_err(usage)?;
            std::fs::create_dir_all(out).map_err(|error| cannot_write(out, &error))?;
            for (name, text) in files {
                write(&out.join(name), &text)?;
            }
        }
        Some(out) => {
            if is_same_file(out, &folder.join(RECORD_FILE)) {
                return Err(usage(anyhow!(
                    "'--out' is '{}', which is the record itself; choose another file",
                    out.display()
                )));
            }
            let text = format.render(&record, Some(&folder), DEFAULT_WIDTH);
            write(out, &text.map_err(usage)?)?;
        }
    }
    Ok(Outcome::Good)
}

impl Arguments {
    fn format(&self) -> Result<Format, Failure> {
        match (self.format, &self.out) {
            (Some(format), _) => Ok(format),
            (None, None) => Ok(Format::Table),
            (None, Some(out)) => {
                let end = out.extension().and_then(|end| end.to_str()).unwrap_or("");
                let known = Format::ALL.into_iter().find(|format| format.id() == end);
                known.ok_or_else(|| {
                    usage(anyhow!(
                        "'--out' is '{}', whose name does not show the format; give \
                         '--format', or let it end in '.html', '.md', '.csv', '.json' or '.hgrm'",
                        out.display()
                    ))
                })
            }
        }
    }
}

/// The newest run in a folder of runs: their names begin with the time in UTC.
fn newest(folder: &Path) -> Result<PathBuf, anyhow::Error> {
    let runs = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let runs = runs.map(|entry| entry.path());
    runs.filter(|path| path.join(RECORD_FILE).is_file())
        .max_by_key(|path| path.file_name().map(ToOwned::to_owned))
        .ok_or_else(|| {
            anyhow!(
                "no run in '{}': name the folder of one, or make one with 'pushbench run'",
                folder.display()
            )
        })
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    usage(anyhow!(
        "cannot write '{}': {}; choose another place with '--out'",
        path.display(),
        text::io_reason(error)
    ))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    files::write(path, text).map_err(|error| cannot_write(path, &error))
}

/// Renews the tables of `files`, all or, where one cannot be, none.
fn renew(files: &[PathBuf], check: bool) -> Result<Outcome, Failure> {
    let mut renewed = Vec::new();
    for path in files {
        renewed.push((path, splice::renew(path).map_err(usage)?));
    }
    let mut outcome = Outcome::Good;
    for (path, found) in renewed {
        if found.stale.is_empty() {
            continue;
        }
        if check {
            for stale in &found.stale {
                say(&format!(
                    "pushbench: {}:{}: this is not '{}' as its record has it; renew it \
                     with 'pushbench report --splice {}'",
                    path.display(),
                    stale.line,
                    stale.what,
                    text::shell(&path.to_string_lossy())
                ));
            }
            outcome = Outcome::Bad;
        } else {
            files::write(path, &found.text).map_err(|error| {
                usage(anyhow!(
                    "cannot write '{}': {}",
                    path.display(),
                    text::io_reason(&error)
                ))
            })?;
            say(&format!(
                "{}: {} renewed",
                path.display(),
                found.stale.len()
            ));
        }
    }
    Ok(outcome)
}
