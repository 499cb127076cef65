//! Records in the file system: a folder for each run, and a file that is never half written.
//!
//! Place on the data path: after the run, before whoever reads its record. In: a [`Record`], written anew
//! after each trial. Out: `run.json` in a folder of its own, and the record again, also one of an older
//! schema.

mod convert;
mod rescue;

use crate::files;
use crate::record::{Record, SCHEMA_VERSION};
use crate::text::{self, file_name, printable_json, utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The record's file in the folder of its run.
pub const RECORD_FILE: &str = "run.json";

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The folder cannot be made, or the file not written. Choose another folder.
    #[error(
        "cannot write the record to '{}': {}; choose another folder with '--out'",
        .path.display(), text::io_reason(.source)
    )]
    Write {
        /// Folder of the run.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file cannot be read. Check the path.
    #[error(
        "cannot read the record '{}': {}; expected the folder of a run, or the '{RECORD_FILE}' in \
         it",
        .path.display(), text::io_reason(.source)
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file ends in the middle: it was copied while it was written, or the disk was full.
    #[error(
        "'{}' is cut off in line {}: it ends where a record goes on; take it anew from where it came \
         from",
        .path.display(), .source.line()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        source: serde_json::Error,
    },
    /// The file holds no record, or a damaged one.
    #[error(
        "'{}' holds no record of pushbench: {}{source}; 'results/run.schema.json' says what one holds",
        .path.display(), in_field(.field)
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// The key that is wrong or misses one, such as `trials[0].latency_ns`; `.` for the whole.
        field: String,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// The record was written by a version that means other things by its keys.
    #[error(
        "'{}': 'schema_version' is {found}, but this pushbench reads versions 1 to {SCHEMA_VERSION}; {}",
        .path.display(), who_wrote(*.found)
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// Makes the folder of a run, `<out>/<UTC time>-<scenario>`; with `-2`, `-3` … behind it where that
/// is taken, so that no record is ever written over.
///
/// # Errors
/// [`RecordError::Write`] where the folder cannot be made, or nothing can be written into it. Call
/// it before the first trial: a run whose record has no place is not worth its time.
pub fn create_folder(
    out: &Path,
    started: SystemTime,
    scenario: &str,
) -> Result<PathBuf, RecordError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| RecordError::Write { path, source }
    };
    fs::create_dir_all(out).map_err(at(out))?;
    let name = format!("{}-{}", utc::compact(started), file_name(scenario));
    let mut folder = out.join(&name);
    let mut copy = 1;
    while let Err(error) = fs::create_dir(&folder) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(at(out)(error));
        }
        copy += 1;
        folder = out.join(format!("{name}-{copy}"));
    }
    Ok(folder)
}

impl Record {
    /// Writes the record as `run.json` into `folder`, in one step: a reader sees the old text or
    /// the new one, also when this process dies meanwhile.
    ///
    /// # Errors
    /// [`RecordError::Write`] where the file cannot be written; the one before is then intact.
    pub fn write(&self, folder: &Path) -> Result<(), RecordError> {
        files::write(&folder.join(RECORD_FILE), &self.to_json()).map_err(|source| {
            RecordError::Write {
                path: folder.to_owned(),
                source,
            }
        })
    }

    /// The record as the file holds it: JSON over several lines, with a line end at the last.
    pub fn to_json(&self) -> String {
        // Keys are strings and no type of the record refuses to be written, so this has no error.
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        json + "\n"
    }

    /// Reads the record at `path`, which is the file or the folder of its run.
    ///
    /// # Errors
    /// [`RecordError::Read`], [`RecordError::Version`] and [`RecordError::Parse`].
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let path = if path.is_dir() {
            path.join(RECORD_FILE)
        } else {
            path.to_owned()
        };
        let json = match files::read_text(&path, files::MAX_RECORD_BYTES) {
            Ok(json) => json,
            Err(source) => return Err(RecordError::Read { path, source }),
        };
        Self::from_json(&path, &json)
    }

    /// Reads a record from its text; `path` is what errors call it.
    ///
    /// # Errors
    /// [`RecordError::Version`] and [`RecordError::Parse`].
    pub fn from_json(path: &Path, json: &str) -> Result<Self, RecordError> {
        // Some editors put a byte order mark in front of UTF-8, which is not JSON (RFC 8259, section 8.1).
        let json = json.strip_prefix('\u{feff}').unwrap_or(json);
        let json = &*printable_json(json);
        // The version first: a record of another one would be called damaged otherwise.
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        match parse::<Version>(path, json)?.schema_version {
            SCHEMA_VERSION => parse(path, json),
            1 => {
                let converted = convert::from_schema_1(parse(path, json)?, parse(path, json)?);
                converted.map_err(|source| RecordError::Parse {
                    path: path.to_owned(),
                    field: ".".to_owned(),
                    source,
                })
            }
            found => Err(RecordError::Version {
                path: path.to_owned(),
                found,
            }),
        }
    }
}

/// Parses a record, or a part of it, and names the key at fault.
fn parse<T: DeserializeOwned>(path: &Path, json: &str) -> Result<T, RecordError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let parsed = serde_path_to_error::deserialize(&mut deserializer);
    let wrong = |field: String, source: serde_json::Error| {
        let path = path.to_owned();
        // In what is left out, a number that ends at its point is an invalid one to the parser; no record
        // ends there.
        let in_number = source.is_syntax() && json.ends_with(['.', '-', '+', 'e', 'E']);
        if source.is_eof() || in_number {
            RecordError::Truncated { path, source }
        } else {
            RecordError::Parse {
                path,
                field,
                source,
            }
        }
    };
    let value = parsed.map_err(|error| wrong(error.path().to_string(), error.into_inner()))?;
    let end = deserializer.end();
    end.map_err(|source| wrong(".".to_owned(), source))?;
    Ok(value)
}

fn in_field(field: &str) -> String {
    match field {
        "." => String::new(),
        field => format!("in '{field}', "),
    }
}

fn who_wrote(found: u32) -> String {
    if found > SCHEMA_VERSION {
        "a newer pushbench wrote it: read it with that one".to_owned()
    } else {
        "no pushbench wrote that version; take the record anew from where it came from".to_owned()
    }
}

#[cfg(test)]
mod tests;
