//! Runs of one scenario in a folder of their own, and the records that they leave there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use nix::sys::signal::Signal;
use pushbench::record::{Record, Status};
use tempfile::TempDir;

use super::{
    Process, Running, await_end, await_some, output, pushbench, read, scenario, send, text,
};

/// A folder with the scenario `tiny.toml` in it, and `out` for its records.
pub(crate) struct Runs {
    folder: TempDir,
}

impl Runs {
    pub(crate) fn of(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        scenario(folder.path(), "tiny", text);
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder().join("out")
    }

    /// The program in this folder.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = pushbench(line);
        command.current_dir(self.folder());
        command
    }

    /// `run` or `limits`, whichever `line` begins with, of the scenario.
    pub(crate) fn of_tiny(&self, line: &str) -> Command {
        self.command(&format!("{line} tiny.toml --out out"))
    }

    pub(crate) fn start(&self, line: &str) -> Running {
        Running::piped(&mut self.of_tiny(line))
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        output(&mut self.of_tiny(line))
    }

    /// Interrupts it: status 1, none of `processes` is left, and the record says so.
    #[track_caller]
    pub(crate) fn interrupt(&self, run: Running, signal: Signal, processes: &[Process]) -> Output {
        send(run.pid(), signal);
        let output = run.output();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{signal}: {told}");
        await_end(processes);
        assert_eq!(self.record().status, Status::Interrupted);
        output
    }

    /// The folder of the only run.
    pub(crate) fn kept(&self) -> Option<PathBuf> {
        only(&self.out())
    }

    /// The record of the only run, which must keep to the committed schema.
    pub(crate) fn record(&self) -> Record {
        let run = self.kept().expect("a run");
        keeps_to_the_schema(&read(&run.join("run.json")))
    }

    /// Waits until so many trials are in the record.
    pub(crate) fn await_trials(&self, count: usize) {
        await_some("a trial in the record", || {
            let record = Record::read(&self.kept()?).ok()?;
            (record.trials.len() >= count).then_some(())
        });
    }
}

/// The only entry of a folder, where there is one.
pub(crate) fn only(folder: &Path) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(folder).ok()?;
    let entry = entries.next()?.expect("readable").path();
    assert!(entries.next().is_none(), "more than one run");
    Some(entry)
}

pub(crate) fn keeps_to_the_schema(json: &str) -> Record {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema = include_str!("../../../../results/run.schema.json");
        let schema = serde_json::from_str(schema).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    });
    let value = serde_json::from_str(json).expect("JSON");
    let faults = SCHEMA.iter_errors(&value);
    let faults = faults.map(|fault| format!("{}: {fault}", fault.instance_path));
    assert_eq!(faults.collect::<Vec<_>>(), [""; 0], "{json}");
    serde_json::from_str(json).expect("a record")
}
