//! The last resort for a record that its own folder has no room for: a folder for temporary files.
//!
//! After the data path. In: a record, the folder that all users share. Out: the folder that it is in now.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::unistd::getuid;

use super::{RecordError, create_folder};
use crate::record::Record;
use crate::text;

impl Record {
    /// Writes the record into a new folder below `temporary`.
    ///
    /// # Errors
    /// The folder that it was to be in, and what the operating system said.
    pub fn rescue(&self, temporary: &Path) -> Result<PathBuf, (PathBuf, String)> {
        // Of this user alone: a folder that all users share belongs to the first of them.
        let own = temporary.join(format!("pushbench-{}", getuid()));
        let kept = || -> Result<PathBuf, RecordError> {
            own_folder(&own).map_err(|source| RecordError::Write {
                path: own.clone(),
                source,
            })?;
            let folder = create_folder(&own, SystemTime::now(), &self.scenario.name)?;
            self.write(&folder).map(|()| folder)
        };
        kept().map_err(|error| {
            let reason = match &error {
                RecordError::Write { source, .. } => text::io_reason(source),
                other => other.to_string(),
            };
            (own.clone(), reason)
        })
    }
}

/// Makes a folder that only this user may enter, or checks that it is one.
fn own_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = std::fs::symlink_metadata(path)?;
            if found.is_dir() && found.uid() == getuid().as_raw() {
                return Ok(());
            }
            Err(io::Error::other("it is not a folder of this user"))
        }
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn a_record_is_kept_only_in_a_folder_of_this_user() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = temporary.path().join("own");
        assert!(own_folder(&folder).is_ok(), "made");
        assert!(own_folder(&folder).is_ok(), "found");
        let link = temporary.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).expect("a link");
        let error = own_folder(&link).expect_err("somebody else's, for all we know");
        assert_eq!(text::io_reason(&error), "it is not a folder of this user");
        let file = temporary.path().join("file");
        std::fs::write(&file, "").expect("a file");
        assert!(own_folder(&file).is_err());
    }

    #[test]
    fn a_rescued_record_is_whole_and_a_refused_one_has_a_reason() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let record = sample::record();
        let folder = record.rescue(temporary.path()).expect("room");
        assert_eq!(Record::read(&folder).expect("a record"), record);
        let missing = temporary.path().join("no");
        let (own, reason) = record.rescue(&missing).expect_err("no parent");
        assert!(own.starts_with(&missing));
        assert_eq!(reason, "no such file or directory");
    }
}
