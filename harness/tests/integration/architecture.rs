//! Modules form layers, and none imports one above its own: the paths of every source file say so.

use std::path::Path;

/// From the lowest to the highest. Modules of one layer are folders or files of `src`; a longer path
/// is a layer of its own.
const LAYERS: [&str; 17] = [
    "text",
    "files",
    "scenario",
    "analysis::stats",
    "observe",
    "record",
    "metrics",
    "store",
    "analysis",
    "load",
    "audit",
    "environment",
    "trial",
    "run",
    "verify",
    "report",
    "cmd",
];

/// The files that may know our own server: the one that starts it as a target, and the command.
const KNOW_THE_SERVER: [&str; 2] = ["cmd/serve.rs", "environment/own.rs"];

/// Every source file but those of tests alone: its path under `src`, and its code without comments
/// and without the tests at its end.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs")
                // The sample is a record for tests.
                && !["tests.rs", "sample.rs"].iter().any(|name| path.ends_with(name))
            {
                let code = std::fs::read_to_string(&path).expect("UTF-8");
                let code = code.split("#[cfg(test)]\nmod tests {").next();
                let lines = code.unwrap_or_default().lines();
                let code = lines.map(|line| line.split("//").next().unwrap_or_default());
                let path = path.strip_prefix(&root).expect("under src");
                let name = path.to_str().expect("UTF-8").to_owned();
                found.push((name, code.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    found
}

/// Where the layer of `path` (`analysis::stats::welch`) stands; `None` for what is in no layer.
fn layer(path: &str) -> Option<usize> {
    let under = |layer: &str| {
        path.strip_prefix(layer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let layers = LAYERS.iter().enumerate().filter(|(_, layer)| under(layer));
    layers
        .max_by_key(|(_, layer)| layer.len())
        .map(|(at, _)| at)
}

/// The paths after `crate::`, also of each item of a group in braces.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let end = |text: &str| {
            let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            text[..end.unwrap_or(text.len())].to_owned()
        };
        let path = end(rest);
        match rest[path.len()..].strip_prefix('{') {
            None => found.push(path),
            Some(group) => {
                let group = group.split('}').next().unwrap_or_default();
                let items = group
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                found.extend(items.map(|item| format!("{path}{}", end(item))));
            }
        }
    }
    found
}

#[test]
fn no_module_imports_one_of_a_higher_layer() {
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        let module = file.trim_end_matches(".rs").replace('/', "::");
        let Some(own) = layer(&module) else {
            assert!(
                ["lib.rs", "main.rs"].contains(&file.as_str()),
                "{file} is in no layer"
            );
            continue;
        };
        for import in imports(&code) {
            if layer(&import).is_some_and(|other| other > own) {
                wrong.push(format!("{file} imports 'crate::{import}'"));
            }
        }
    }
    assert!(wrong.is_empty(), "these point upwards: {wrong:#?}");
}

#[test]
fn two_places_know_our_own_server() {
    let sources = sources().into_iter();
    let mut found: Vec<String> = sources
        .filter(|(_, code)| code.contains("pushbench_servers"))
        .map(|(file, _)| file)
        .collect();
    found.sort_unstable();
    assert_eq!(found, KNOW_THE_SERVER);
}

#[test]
fn imports_are_read_from_paths_and_groups() {
    assert_eq!(
        imports(
            "use crate::record::Trial;\nuse crate::{text, analysis::stats::{a}};\nf(crate::load::x())"
        ),
        ["record::Trial", "text", "analysis::stats::", "load::x"]
    );
    assert!(layer("analysis::stats::welch") < layer("analysis::compare"));
    assert_eq!(layer("textual"), None);
}

/// What writes a file, or makes another one of it.
const WRITERS: [&str; 7] = [
    "fs::write(",
    "fs::copy(",
    "fs::rename(",
    "File::create",
    "File::options",
    "OpenOptions",
    "tokio::fs",
];

#[test]
fn files_are_written_in_one_place() {
    let mut found = Vec::new();
    for (path, code) in sources() {
        for writer in WRITERS {
            if path != "files.rs" && code.contains(writer) {
                found.push((path.clone(), writer));
            }
        }
    }
    // A switch of the kernel, which is not a file.
    assert_eq!(found, [("observe/process.rs".to_owned(), "fs::write(")]);
}
