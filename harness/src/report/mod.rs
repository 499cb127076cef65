//! Reports: a record, drawn for a reader.
//!
//! Place on the data path: its end. In: a [`Record`], and nothing else, so that a report of an old
//! run is the report that it had. Out: text for standard output, one file a format.
//!
//! Nothing is measured or judged here: verdicts and reasons are the record's.

pub(crate) mod figure;
pub mod json;
mod limits;
mod sweep;
pub mod table;

use crate::results::Record;

/// How the closing report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Two tables for people: deliveries and latency, then cost.
    #[default]
    Table,
    /// The record itself.
    Json,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Table, Self::Json];

    /// The id, as `--format` takes it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
        }
    }

    /// The report of `record`, ended by a line end. `width` is that of the terminal in columns;
    /// only the table cares.
    pub fn render(self, record: &Record, width: u16) -> String {
        match self {
            Self::Table => table::render(record, width),
            Self::Json => json::render(record),
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.id())
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.id() == text)
            .ok_or_else(|| format!("'{text}' is no format; expected one of table, json"))
    }
}
