//! `pushbench run --reference`: records to be quoted, each in the place of the one before it.
//!
//! In: scenarios as their files say. Out: a folder for each, all of one revision of the program; what has ended
//! is in its place, whatever happens to the rest.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::{Failure, failed, say, usage};
use crate::record::{Record, Status, Tool};
use crate::run::Done;
use crate::scenario::Scenario;
use crate::text;

/// Where records go that are to be quoted.
pub(super) struct References {
    folder: PathBuf,
    revision: String,
}

impl References {
    /// Those below `folder`, of this program.
    ///
    /// # Errors
    /// A program of no revision, or of one that was changed: nobody could build it again.
    pub(super) fn below(folder: &Path) -> Result<Self, Failure> {
        let revision = Tool::this().revision;
        let told = revision.as_deref().unwrap_or("unknown").to_owned();
        match revision.filter(|revision| is_whole(revision)) {
            Some(revision) => Ok(Self {
                folder: folder.to_owned(),
                revision,
            }),
            None => Err(usage(anyhow!(
                "the revision of this program is '{told}', and a record to be quoted names one that can be built \
                 again; commit what was changed and build it"
            ))),
        }
    }

    /// Whether the record of a scenario is there, whole and of this revision: then it is not taken anew.
    pub(super) fn has(&self, scenario: &Scenario) -> bool {
        let found = Record::read(&self.folder.join(&scenario.name));
        found.is_ok_and(|record| {
            record.status == Status::Complete
                && record.tool.revision.as_deref() == Some(&*self.revision)
        })
    }

    /// Puts a record in its place, where it is whole.
    pub(super) fn keep(&self, scenario: &Scenario, done: &Done) -> Result<(), Failure> {
        let Some(folder) = &done.folder else {
            return Ok(());
        };
        let place = self.folder.join(&scenario.name);
        if done.record.status != Status::Complete {
            say(&format!(
                "pushbench: '{}' is as it was; the same command goes on with '{}'",
                place.display(),
                scenario.name
            ));
            return Ok(());
        }
        crate::files::replace_folder(folder, &place).map_err(|error| {
            failed(anyhow!(
                "cannot put '{}' in the place of '{}': {}; the record is whole where it is",
                folder.display(),
                place.display(),
                text::io_reason(&error)
            ))
        })?;
        say(&format!("recorded: {}", place.display()));
        Ok(())
    }
}

/// Whether a revision is that of a commit, without changes.
pub(crate) fn is_whole(revision: &str) -> bool {
    !revision.is_empty() && !revision.ends_with("-dirty")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    fn done(folder: &Path, status: Status) -> Done {
        let mut record = sample::record();
        record.status = status;
        record.tool.revision = Some("abc".to_owned());
        let from = folder.join("new");
        std::fs::create_dir(&from).expect("writable");
        record.write(&from).expect("writable");
        Done {
            record,
            folder: Some(from),
            unwritten: None,
        }
    }

    #[test]
    fn a_whole_record_takes_the_place_of_the_one_before_and_is_not_taken_twice() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let references = References {
            folder: folder.path().join("reference"),
            revision: "abc".to_owned(),
        };
        let scenario = Scenario::load("quick").expect("built in");
        assert!(!references.has(&scenario));
        let ended = done(folder.path(), Status::Complete);
        references.keep(&scenario, &ended).expect("kept");
        assert!(references.has(&scenario));
        let of_another = References {
            revision: "abd".to_owned(),
            ..references
        };
        assert!(!of_another.has(&scenario));
        let cut = done(folder.path(), Status::Interrupted);
        of_another.keep(&scenario, &cut).expect("left alone");
        assert!(cut.folder.expect("kept").exists(), "where it was made");
    }

    #[test]
    fn only_a_commit_without_changes_can_be_quoted() {
        assert!(is_whole("0123abc"));
        assert!(!is_whole("0123abc-dirty") && !is_whole(""));
    }
}
