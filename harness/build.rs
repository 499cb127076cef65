//! Builds every file of `scenarios/` into the program, so that a new one needs no change of code, the
//! reference records, so that `advise` works from any folder, and the revision, so that a record says
//! what made it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The scenario that runs when none is named: it leads every list.
const FIRST: &str = "quick";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    scenarios()?;
    revision();
    references()
}

/// `PUSHBENCH_REVISION`, or the commit of the repository that this folder belongs to, with `-dirty` where
/// a tracked file that goes into the program differs from it. Nothing outside a repository of its own:
/// a revision of somebody else's says nothing.
fn revision() {
    println!("cargo::rerun-if-env-changed=PUSHBENCH_REVISION");
    if std::env::var_os("PUSHBENCH_REVISION").is_some() {
        return;
    }
    let Ok(root) = Path::new("..").canonicalize() else {
        return;
    };
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        let output = command.arg("-C").arg(&root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let top = git(&["rev-parse", "--show-toplevel"]).map(PathBuf::from);
    if top.is_none_or(|top| top != root) {
        return;
    }
    // What moves when another commit is checked out or made. Not the index, which each look touches.
    for of_git in ["HEAD", "packed-refs", "refs/heads"] {
        if let Some(path) = git(&["rev-parse", "--git-path", of_git]).map(|path| root.join(path))
            && path.exists()
        {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let parts = [
        "harness",
        "servers",
        "scenarios",
        "Cargo.toml",
        "Cargo.lock",
    ];
    for source in ["build.rs", "src", "../servers/src", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return;
    };
    let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--"];
    status.extend(parts);
    let dirty = git(&status).is_some_and(|changed| !changed.is_empty());
    let mark = if dirty { "-dirty" } else { "" };
    println!("cargo::rustc-env=PUSHBENCH_REVISION={commit}{mark}");
}

fn references() -> Result<(), Failure> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../results/reference");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut records = Vec::new();
    for run in std::fs::read_dir(&folder)? {
        let record = run?.path().join("run.json");
        if record.exists() {
            records.push(record.canonicalize()?);
        }
    }
    records.sort_unstable();
    write_list(
        "reference.rs",
        records.iter().map(|path| {
            let run = path.parent().and_then(Path::file_name).unwrap_or_default();
            (run.to_string_lossy().into_owned(), path.as_path())
        }),
    )
}

fn scenarios() -> Result<(), Failure> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../scenarios");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let name = entry?
            .file_name()
            .into_string()
            .map_err(|name| format!("scenarios/{}: a file's name must be UTF-8", name.display()))?;
        if let Some(stem) = name.strip_suffix(".toml") {
            names.push(stem.to_owned());
        }
    }
    names.sort_unstable_by_key(|name| (name != FIRST, name.clone()));
    let paths: Vec<_> = names
        .iter()
        .map(|name| folder.join(format!("{name}.toml")).canonicalize())
        .collect::<Result<_, _>>()?;
    write_list(
        "embedded.rs",
        names
            .into_iter()
            .zip(paths.iter().map(|path| path.as_path())),
    )
}

/// A slice of names and texts, as source to include.
fn write_list<'a>(
    file: &str,
    entries: impl Iterator<Item = (String, &'a Path)>,
) -> Result<(), Failure> {
    let mut list = String::from("&[\n");
    for (name, path) in entries {
        println!("cargo::rerun-if-changed={}", path.display());
        writeln!(
            list,
            "    ({name:?}, include_str!({:?})),",
            path.to_string_lossy()
        )?;
    }
    list.push_str("]\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join(file), list)?;
    Ok(())
}
