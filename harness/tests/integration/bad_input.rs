//! Bad input on the command line: one clear line on standard error, nothing on standard output,
//! status 2, and nothing left behind.

use std::net::TcpListener;
use std::path::Path;

use crate::support::{self, Runs, Served, TINY, pushbench, scenario};

#[track_caller]
fn complaint(line: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = support::complaint(pushbench(line).current_dir(folder.path()));
    let left = std::fs::read_dir(folder.path()).expect("it is still there");
    assert_eq!(left.count(), 0, "'{line}' leaves something behind");
    told
}

/// Names of the files in `scenarios/`, as they are listed.
fn scenarios() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = std::fs::read_dir(folder).expect("a folder of scenarios");
    let names = files.filter_map(|file| {
        let name = file
            .expect("readable")
            .file_name()
            .into_string()
            .expect("UTF-8");
        Some(format!("'{}'", name.strip_suffix(".toml")?))
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable_by_key(|name| (name != "'quick'", name.clone()));
    names.join(", ")
}

/// Command lines and their answers.
const REFUSALS: &str = include_str!("refusals.txt");

#[test]
fn every_bad_option_is_told_in_one_line() {
    let lines = REFUSALS.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    assert!(lines.len() > 100, "the file is whole");
    let mut wrong = String::new();
    for pair in lines.chunks(2) {
        let [command, expected] = pair else {
            panic!("a line without its answer: {pair:?}");
        };
        let found = complaint(command.strip_prefix("$ ").expect("a command line"));
        let fits = match expected.strip_suffix('…') {
            Some(start) => found.starts_with(start),
            None => found == *expected,
        };
        if !fits {
            wrong += &format!("{command}\n{found}\n");
        }
    }
    assert_eq!(wrong, "", "not what refusals.txt has");
}

#[test]
fn an_unknown_scenario_is_told_with_all_that_are_built_in() {
    assert_eq!(
        complaint("run qick"),
        format!(
            "'qick' is not a scenario; did you mean 'quick'?; the built-in ones are {}; give a file \
             as a path that ends in '.toml'",
            scenarios()
        )
    );
}

#[test]
fn a_bad_scenario_file_is_told_with_its_line() {
    let runs = Runs::of(TINY);
    for (good, bad, told) in [
        (
            "[publish]",
            "[pubish]",
            "bad.toml:12: unknown key 'pubish'; did you mean 'publish'?; known here: ",
        ),
        ("[phases]", "[phases", "bad.toml:16: this is not TOML: "),
    ] {
        assert_eq!(TINY.matches(good).count(), 1, "{good}");
        scenario(runs.folder(), "bad", &TINY.replace(good, bad));
        for line in ["run bad.toml", "list --show bad.toml"] {
            let found = support::complaint(&mut runs.command(line));
            assert!(found.starts_with(told), "{bad}: {found}");
        }
    }
    let left = std::fs::read_dir(runs.folder()).expect("it is still there");
    assert_eq!(left.count(), 2, "no folder for a record");
}

#[test]
fn the_third_scenario_is_checked_before_the_first_one_runs() {
    let found = complaint("run quick idle nosuch --duration 60");
    assert!(found.starts_with("'nosuch' is not a scenario"), "{found}");
}

#[test]
fn more_clients_than_descriptors_are_refused_with_what_would_help() {
    let found = complaint("run quick --clients 4000000 --shards 1");
    assert!(found.starts_with("cannot open client "), "{found}");
    assert!(
        found.contains(" of 4000000: 1 shard(s) may open "),
        "{found}"
    );
    assert!(
        found.contains("raise the limit with 'ulimit -n "),
        "{found}"
    );
    // More than any number of shards would hold, wherever the limit lies.
    let found = complaint("run quick --clients 4294967295 --rate 300");
    assert!(found.contains("4294967295"), "{found}");
}

#[test]
fn a_record_that_cannot_be_written_is_told_before_the_first_trial() {
    let runs = Runs::of(TINY);
    std::fs::write(runs.folder().join("file"), "").expect("writable");
    for (out, told) in [
        (
            "file",
            "cannot write the record to 'file': file exists; choose another folder with '--out'",
        ),
        (
            "file/below",
            "cannot write the record to 'file/below': not a directory; choose \
                 another folder with '--out'",
        ),
        // Where nobody may make a folder, not even root.
        (
            "/proc/pushbench",
            "cannot write the record to '/proc/pushbench': no such file or \
                 directory; choose another folder with '--out'",
        ),
    ] {
        let mut command = runs.command(&format!("run tiny.toml --out {out}"));
        assert_eq!(support::complaint(&mut command), told);
    }
}

#[test]
fn a_port_in_use_is_told_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let remedy = "another program has it: choose another port with '--listen' or \
                 '--tcp-listen', or 0 for any; '--share-port' takes over from a server of your own";
    assert_eq!(
        complaint(&format!("serve --listen {address}")),
        format!("cannot listen on {address}: address in use; {remedy}")
    );
    let anywhere = "serve --listen 127.0.0.1:0";
    assert_eq!(
        complaint(&format!("{anywhere} --tcp-listen {address}")),
        format!("cannot listen on {address}: address in use; {remedy}")
    );
    assert_eq!(
        complaint(&format!("{anywhere} --control {address}")),
        format!(
            "cannot listen on {address} for control: address already in use; use \
                 '--control 127.0.0.1:0'"
        )
    );
    // A second server of the same user must not share the port of a first one either.
    let server = Served::start("");
    let address = server.address("http");
    assert_eq!(
        complaint(&format!("serve --listen {address}")),
        format!("cannot listen on {address}: address in use; {remedy}")
    );
}
