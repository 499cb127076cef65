//! Small inputs of every kind, in every command that takes them: each works or is refused in one line.
//! Every call ends in something that is always refused, after everything that is looked at before a
//! trial, so that nothing is ever run.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::support::{pushbench, refusal, text};

/// Commands with numbers, what is refused in the end, and the word by which that is known.
const COMMANDS: [(&str, &str, &str); 6] = [
    ("run", "quick --out file/below", "'file/below'"),
    ("limits", "--out file/below", "'file/below'"),
    ("serve", "--listen 192.0.2.1:80", "192.0.2.1:80"),
    (
        "verify",
        "--statistics --client-family x",
        "'--client-family'",
    ),
    ("doctor", "--from file", "'file'"),
    ("advise", "--from file", "'file'"),
];

/// What stands for a number in '--help', and what its value may begin with.
const NUMBERS: [(&str, &str); 13] = [
    ("N", ""),
    ("S", ""),
    ("MS", ""),
    ("BYTES", ""),
    ("PER_S", ""),
    ("PER_HOUR", ""),
    ("PRICE", ""),
    ("SEED", ""),
    ("SHARE", ""),
    ("RUNS", ""),
    ("N|all", ""),
    ("KEY=VALUE", "latency_ms="),
    ("KEY=VALUES", "clients.count="),
];

/// What stands for something else.
const OTHERS: [&str; 21] = [
    "IDS",
    "ID",
    "FAMILY",
    "FOLDER",
    "FORMAT",
    "LIST",
    "OF",
    "TERMS",
    "PROFILE",
    "ADDRESS",
    "POLICY",
    "NAME[:POLICY]",
    "JSON",
    "EPOCH|none",
    "KIND",
    "FILE",
    "CONGESTION",
    "ORIGIN|*",
    "NAMES",
    "RUN",
    "AUDIENCE",
];

const VALUES: [&str; 21] = [
    "0",
    "1",
    "-1",
    "-0.5",
    "0.0000001",
    "1e-320",
    "1e308",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "",
    " 1",
    "0x10",
    "1,5",
    "1k",
    "5s",
    "10%",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
];

/// The options of a command that take a value, and what '--help' says stands for it.
fn options(command: &str) -> Vec<(String, String)> {
    let help = pushbench(&format!("{command} --help"))
        .output()
        .expect("it runs");
    let options = text(&help.stdout).lines().filter_map(|line| {
        let (before, after) = line.split_once("--")?;
        let is_option = before.trim().is_empty() || before.trim_start().starts_with('-');
        let (name, value) = after.split_once(" <")?;
        let (value, _) = value.split_once('>')?;
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        (is_option && is_name).then(|| (format!("--{name}"), value.to_owned()))
    });
    options.collect()
}

#[test]
fn every_number_in_every_command_works_or_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("file"), "").expect("writable");
    let mut tried = 0;
    for (command, end, word) in COMMANDS {
        for (option, stands_for) in options(command) {
            let number = NUMBERS.iter().find(|(name, _)| *name == stands_for);
            let Some((_, prefix)) = number else {
                let is_known = OTHERS.contains(&stands_for.as_str());
                assert!(
                    is_known,
                    "is '{option} <{stands_for}>' of {command} a number?"
                );
                continue;
            };
            for value in VALUES {
                let mut call = pushbench(command);
                call.arg(format!("{option}={prefix}{value}"));
                call.args(end.split(' ')).current_dir(folder.path());
                let told = refusal(&mut call);
                assert!(
                    !told.contains('\n') && !told.contains("panicked"),
                    "{call:?}: {told}"
                );
                assert!(
                    told.contains(&option) || told.contains(word),
                    "{call:?}: {told}"
                );
                tried += 1;
            }
        }
    }
    assert!(
        tried > 40 * VALUES.len(),
        "only {tried}: is '--help' still read right?"
    );
    let left = std::fs::read_dir(folder.path()).expect("it is still there");
    assert_eq!(left.count(), 1, "something was left behind");
}

/// A name that is no text.
const ODD: &[u8] = b"a\xffb";

/// A command line in which `@` is replaced by [`ODD`].
fn with_odd_name(line: &str) -> Command {
    let mut command = pushbench("");
    for word in line.split(' ') {
        let bytes: Vec<u8> = word
            .bytes()
            .flat_map(|byte| {
                if byte == b'@' {
                    ODD.to_vec()
                } else {
                    vec![byte]
                }
            })
            .collect();
        command.arg(OsStr::from_bytes(&bytes));
    }
    command
}

#[test]
fn a_path_of_any_bytes_works_or_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |suffix: &str| {
        folder
            .path()
            .join(OsStr::from_bytes(&[ODD, suffix.as_bytes()].concat()))
    };
    let record = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../results/reference/dashboard/run.json"
    );
    std::fs::create_dir(path("")).expect("writable");
    std::fs::copy(record, path("").join("run.json")).expect("writable");
    std::fs::copy(record, path(".json")).expect("writable");
    for suffix in [".toml", ".md"] {
        std::fs::write(path(suffix), "nothing = 1\n").expect("writable");
    }
    for line in [
        "report @.json --format csv",
        "report @ --format md --out @-2.md",
        "advise --from @",
        "doctor --from @",
    ] {
        let ran = with_odd_name(line)
            .current_dir(folder.path())
            .output()
            .expect("it runs");
        assert!(ran.status.success(), "{line}: {}", text(&ran.stderr));
    }
    assert!(path("-2.md").exists(), "written under its own name");
    for line in [
        "@",
        "run @.toml",
        "run tiny --transports @",
        "run quick --out @.json/below",
        "limits @.toml",
        "list --show @.toml",
        "report no@",
        "report --splice @.md",
        "compare @ @",
        "advise @.toml",
        "serve --publish-plan @",
        "serve --control-token-file @",
        "serve --channel @",
    ] {
        let mut command = with_odd_name(line);
        let told = refusal(command.current_dir(folder.path()));
        // The byte that is no text is shown as U+FFFD.
        let names = !told.contains('\n') && told.contains("a\u{fffd}b");
        assert!(names, "{line}: {told}");
    }
}
