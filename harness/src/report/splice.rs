//! Tables of records in Markdown files, between markers, so that no figure is copied by hand.
//!
//! ```text
//! <!-- pushbench: results/reference/quick summary -->
//! …
//! <!-- /pushbench -->
//! ```
//!
//! In: a file; its markers name a record, or a folder of records, relative to the file, and a table.
//! Out: the file with the tables that the records have now, and which of them were stale. Markers
//! within fenced code are text about markers and left alone.

use std::path::{Path, PathBuf};

use super::columns::{COST, DELIVERY, LEDGER, of_rows};
use super::markdown;
use super::view::View;
use super::{answer, claims, table};
use crate::files;
use crate::record::Record;
use crate::store::{RECORD_FILE, RecordError};
use crate::text;

const BEGIN: &str = "<!-- pushbench:";
const END: &str = "<!-- /pushbench -->";

/// Width of a `terminal` table's prose: what a README shows without a scroll bar.
const TERMINAL_WIDTH: u16 = 110;

/// Why a file cannot be renewed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SpliceError {
    /// The Markdown file cannot be read.
    #[error("cannot read '{}': {}; expected a Markdown file", .path.display(), text::io_reason(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A marker is wrong, or there is none.
    #[error("{}:{line}: {what}", .path.display())]
    Marker {
        /// The file.
        path: PathBuf,
        /// Line of the marker.
        line: usize,
        /// What is wrong, what was expected, and what helps.
        what: String,
    },
    /// A marker's record cannot be read.
    #[error("{}:{line}: {source}", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Line of the marker.
        line: usize,
        /// Why not.
        source: Box<RecordError>,
    },
}

/// What a file should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// Its whole text.
    pub text: String,
    /// The tables that were not what their records say.
    pub stale: Vec<Stale>,
}

/// A table that is not what its record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Line of its marker.
    pub line: usize,
    /// What the marker names.
    pub what: String,
}

/// A record of a folder of records.
#[derive(Debug)]
pub(super) struct Reference {
    /// The folder of the run, as the Markdown file may link to it.
    pub(super) link: String,
    /// What is in it.
    pub(super) record: Record,
}

/// Tables of one record.
const OF_ONE: [&str; 10] = [
    "summary",
    "measures",
    "delivery",
    "cost",
    "ledger",
    "differences",
    "verdicts",
    "environment",
    "answer",
    "command",
];
/// The closing table of a run, as the terminal shows it.
const TERMINAL: &str = "terminal";
/// Tables of a folder of records.
const OF_MANY: [&str; 2] = ["index", "claims"];

/// Reads `path` and renews what stands between its markers.
///
/// # Errors
/// [`SpliceError`].
pub fn renew(path: &Path) -> Result<Renewed, SpliceError> {
    let text =
        files::read_text(path, files::MAX_TEXT_BYTES).map_err(|source| SpliceError::Read {
            path: path.to_owned(),
            source,
        })?;
    let marker = |line: usize, what: String| SpliceError::Marker {
        path: path.to_owned(),
        line,
        what,
    };
    let mut out = String::with_capacity(text.len());
    let mut stale = Vec::new();
    let mut markers = 0;
    let mut code = Code::default();
    let mut lines = text.split_inclusive('\n').enumerate();
    while let Some((number, line)) = lines.next() {
        let (number, bare) = (number + 1, line.trim());
        out.push_str(line);
        if code.holds(bare) {
            continue;
        }
        if bare == END {
            return Err(marker(number, format!("'{END}' ends nothing; take it out")));
        }
        let Some(what) = bare.strip_prefix(BEGIN) else {
            continue;
        };
        let what = what.trim_end_matches("-->").trim();
        markers += 1;
        if !line.ends_with('\n') {
            out.push('\n');
        }
        let mut old = String::new();
        // What a table holds as code is text, and ends nothing.
        let mut code = Code::default();
        loop {
            match lines.next() {
                Some((_, line)) if code.holds(line.trim()) => old.push_str(line),
                Some((_, line)) if line.trim() == END => break,
                Some((next, line)) if line.trim().starts_with(BEGIN) => {
                    let what = format!(
                        "another marker begins in line {} before this one ended; expected '{END}' \
                         first",
                        next + 1
                    );
                    return Err(marker(number, what));
                }
                Some((_, line)) => old.push_str(line),
                None => {
                    return Err(marker(
                        number,
                        format!("expected '{END}' behind this marker"),
                    ));
                }
            }
        }
        let new = format!("\n{}\n", block(path, number, what)?);
        if new != old {
            stale.push(Stale {
                line: number,
                what: what.to_owned(),
            });
        }
        out.push_str(&new);
        out.push_str(END);
        out.push('\n');
    }
    if markers == 0 {
        let what = format!("there is no marker; expected a line '{BEGIN} RECORD TABLE -->'");
        return Err(marker(1, what));
    }
    if !text.ends_with('\n') && text.trim_end().ends_with(END) {
        out.pop();
    }
    Ok(Renewed { text: out, stale })
}

/// Whether a line is in a block of code, from the fences before it.
#[derive(Debug, Default)]
struct Code {
    /// Length of the fence that began the block.
    fence: Option<usize>,
}

impl Code {
    /// Takes the next line, without spaces around it; whether it is one of code, or a fence.
    fn holds(&mut self, line: &str) -> bool {
        let length = line.bytes().take_while(|&byte| byte == b'`').count();
        match self.fence {
            None if length >= 3 => self.fence = Some(length),
            None => return false,
            // A fence that ends a block is as long, and nothing follows it (CommonMark, section 4.5).
            Some(fence) if length >= fence && line.len() == length => self.fence = None,
            Some(_) => {}
        }
        true
    }
}

/// What belongs behind the marker `what`, ended by a line end.
fn block(path: &Path, line: usize, what: &str) -> Result<String, SpliceError> {
    let (source, table) = match what.rsplit_once(char::is_whitespace) {
        Some((source, table)) => (source.trim(), table),
        None => ("", what),
    };
    let base = path.parent().unwrap_or(Path::new(""));
    if OF_MANY.contains(&table) && !source.is_empty() {
        let references = references(path, line, base, source)?;
        return Ok(match table {
            "claims" => claims::render(&references),
            _ => index(&references),
        });
    }
    if source.is_empty() || !(OF_ONE.contains(&table) || table == TERMINAL) {
        let known = OF_ONE.iter().chain([&TERMINAL]).chain(&OF_MANY);
        return Err(SpliceError::Marker {
            path: path.to_owned(),
            line,
            what: format!(
                "'{what}' names no record and table; expected a path and one of {}",
                text::quoted(known.copied())
            ),
        });
    }
    let record = read(path, line, &base.join(source))?;
    let view = View::of(&record);
    Ok(match table {
        "summary" => format!(
            "{}\n{}",
            markdown::summary(&view, &of_rows(DELIVERY)),
            markdown::summary(&view, &of_rows(COST))
        ),
        "measures" => markdown::named(&view),
        "delivery" => markdown::summary(&view, &of_rows(DELIVERY)),
        "cost" => markdown::summary(&view, &of_rows(COST)),
        "ledger" => markdown::summary(&view, &of_rows(LEDGER)),
        "differences" => markdown::differences(&view),
        "verdicts" => markdown::verdicts(&view),
        "environment" => markdown::environment(&view),
        "answer" => markdown::in_words(&view, &answer::answer(&view)),
        "command" => markdown::command(&view),
        _ => text::code_block("", &table::render(&record, TERMINAL_WIDTH)),
    })
}

fn read(path: &Path, line: usize, record: &Path) -> Result<Record, SpliceError> {
    Record::read(record).map_err(|source| SpliceError::Record {
        path: path.to_owned(),
        line,
        source: Box::new(source),
    })
}

/// Every record in a folder of records, by the names of their folders. A folder that is not there has
/// none.
fn references(
    path: &Path,
    line: usize,
    base: &Path,
    source: &str,
) -> Result<Vec<Reference>, SpliceError> {
    let entries = std::fs::read_dir(base.join(source)).into_iter().flatten();
    let names = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let folder = base.join(source).join(&name);
        if folder.join(RECORD_FILE).is_file() {
            found.push(Reference {
                link: format!("{source}/{name}"),
                record: read(path, line, &folder)?,
            });
        }
    }
    Ok(found)
}

/// One row for each record of a folder.
fn index(references: &[Reference]) -> String {
    if references.is_empty() {
        return "There is no record here yet.\n".to_owned();
    }
    let mut out =
        "| scenario | what it is | recorded | trials | verdict |\n|---|---|---|---:|---|\n"
            .to_owned();
    for Reference { link, record, .. } in references {
        let name = text::markdown(&record.scenario.name);
        let summary = text::markdown(&record.scenario.summary);
        let when = text::markdown(&record.environment.started_utc);
        out += &format!(
            "| [{name}]({link}/{RECORD_FILE}) | {summary} | {when} | {} | {} |\n",
            record.trials.len(),
            record.verdict()
        );
    }
    out
}

#[cfg(test)]
mod tests;
