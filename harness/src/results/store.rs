//! Records in the file system: a folder for each run, and a file that is never half written.

use super::{Record, SCHEMA_VERSION};
use crate::{text, utc};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{self, Write};
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
    /// The file holds no record, or a damaged one.
    #[error(
        "'{}' holds no record of pushbench: {}{source}; {}",
        .path.display(),
        if field.is_empty() { String::new() } else { format!("in '{field}', ") },
        if source.is_eof() {
            "it is cut short: take it from where it was copied from, or record the run again"
        } else {
            "'results/run.schema.json' says what one holds"
        }
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// The key in which something is wrong, such as `trials[2].latency_ns`; empty at the top.
        field: String,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// The record was written by a version that means other things by its keys.
    #[error(
        "'{}' has 'schema_version' {found}, which is {}; this pushbench reads version \
         {SCHEMA_VERSION}: read it with the pushbench that wrote it",
        .path.display(), if *found > SCHEMA_VERSION { "newer" } else { "older" }
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
    let name = format!("{}-{scenario}", utc::compact(started));
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
        write_atomically(&folder.join(RECORD_FILE), &self.to_json()).map_err(|source| {
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
        let json = match fs::read_to_string(&path) {
            Ok(json) => json,
            Err(source) => return Err(RecordError::Read { path, source }),
        };
        // The version first: a record of another one would be called damaged otherwise.
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        match serde_json::from_str::<Version>(&json) {
            Ok(Version {
                schema_version: SCHEMA_VERSION,
            }) => {}
            Ok(Version {
                schema_version: found,
            }) => {
                return Err(RecordError::Version { path, found });
            }
            Err(source) => {
                let field = String::new();
                return Err(RecordError::Parse {
                    path,
                    field,
                    source,
                });
            }
        }
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&json)).map_err(
            |error| {
                let field = match error.path().to_string() {
                    top if top == "." => String::new(),
                    field => field,
                };
                RecordError::Parse {
                    path,
                    field,
                    source: error.into_inner(),
                }
            },
        )
    }
}

fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("json.tmp");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        // Otherwise the name may reach the disk before the bytes do.
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // It is of no use to anyone, and the error that counts is the one above.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}
