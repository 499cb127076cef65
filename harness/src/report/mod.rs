//! Reports: a record, drawn for a reader.
//!
//! Place on the data path: its end. In: a [`Record`], and the folder of its run, in which the
//! histogram logs are; nothing else, so that a report of an old run is the report that it had. Out:
//! text, one file a format. `tree` and `columns` name each figure by its key in the record, `rows`
//! and `view` say which trials are a row, `answer` puts the record's comparisons into words.
//!
//! Nothing is measured or judged here: verdicts and reasons are the record's.

mod answer;
mod claims;
mod columns;
pub mod csv;
mod distribution;
mod doubts;
pub mod hgrm;
mod html;
pub mod json;
mod limits;
mod markdown;
mod measures;
mod relation;
mod repeat;
mod scoreboard;
pub mod splice;
mod sweep;
pub mod table;
mod tree;
mod view;

pub use distribution::LogError;

use std::path::Path;

use crate::record::Record;
use view::View;

/// What the page beside a record is called.
pub const HTML_FILE: &str = "report.html";

/// Columns of a table for people, where no terminal says how many there are.
pub const DEFAULT_WIDTH: u16 = 120;

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Two tables for people: deliveries and latency, then cost.
    #[default]
    Table,
    /// One page with charts and every number.
    Html,
    /// GitHub-flavoured Markdown, for a pull request or a README.
    Md,
    /// One tidy table: a row a trial.
    Csv,
    /// The record itself.
    Json,
    /// Percentile distributions as HdrHistogram's own tools write them.
    Hgrm,
}

pushbench_protocol::ids! {
    Format, "a format":
    Table = "table", Html = "html", Md = "md", Csv = "csv", Json = "json", Hgrm = "hgrm"
}

/// Why a report cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A histogram log is missing or damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The record alone has no histograms.
    #[error(
        "'hgrm' is made from the logs of a run, and this record is not in the folder of one; keep \
         the run with '--out', then 'pushbench report RUN --format hgrm'"
    )]
    NoFolder,
}

impl Format {
    /// The report of `record`, ended by a line end. `folder` is that of its run, where it is kept in
    /// one. `width` is that of the terminal in columns; only the table cares.
    ///
    /// # Errors
    /// [`ReportError`], only of `hgrm`: other formats do without logs, and say so.
    pub fn render(
        self,
        record: &Record,
        folder: Option<&Path>,
        width: u16,
    ) -> Result<String, ReportError> {
        Ok(match self {
            Self::Table => table::render(record, width),
            Self::Html => html::render(&View::of(record), folder),
            Self::Md => markdown::render(&View::of(record)),
            Self::Csv => csv::render(record),
            Self::Json => json::render(record),
            Self::Hgrm => {
                let folder = folder.ok_or(ReportError::NoFolder)?;
                hgrm::render(record, folder)?
            }
        })
    }
}

#[cfg(test)]
mod tests;
