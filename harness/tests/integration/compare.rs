//! `pushbench compare` from outside: what it prints, its exit status, and every bad input.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use pushbench::observe::environment::Environment;
use pushbench::record::{Record, Status, Trial};
use pushbench::scenario::Scenario;
use pushbench_protocol::transport::{Profile, Transport};

use crate::support::{PATIENCE, text};

/// A record of six trials of `sse` and `websocket`, whose medians are about `p50_us`.
fn record(folder: &Path, name: &str, p50_us: u64) -> PathBuf {
    let scenario = Scenario::load("quick").expect("built in");
    let mut record = Record::new(scenario, 7, Environment::default());
    record.status = Status::Complete;
    for transport in [Transport::Sse, Transport::WebSocket] {
        for (index, spread) in (1..).zip([0, 3, 1, 4, 2, 5]) {
            let mut trial = Trial::new(transport, Profile::Tuned, index);
            trial.latency_ns.p50 = Some(p50_us * (1_000 + spread));
            trial.server.cpu_ns_per_delivery = Some(9_000.0 + spread as f64);
            record.trials.push(trial);
        }
    }
    let folder = folder.join(name);
    std::fs::create_dir(&folder).expect("a new folder");
    record.write(&folder).expect("writable");
    folder
}

/// Status, standard output and standard error.
fn compare(arguments: &[&str]) -> (i32, String, String) {
    compare_with(arguments, None)
}

fn compare_with(arguments: &[&str], summary: Option<&Path>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushbench"));
    command.timeout(PATIENCE).arg("compare").args(arguments);
    match summary {
        Some(path) => command.env("GITHUB_STEP_SUMMARY", path),
        None => command.env_remove("GITHUB_STEP_SUMMARY"),
    };
    let output = command.output().expect("the program runs");
    let code = output.status.code().expect("it ended by itself");
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| text(bytes).to_owned());
    (code, out, err)
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_record_with_itself_is_the_same_throughout() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = record(folder.path(), "a", 100);
    let file = a.join("run.json");
    let gates = ["--fail-on", "p50>+0%", "--fail-on", "missing>0"];
    let arguments = [&[shown(&a), shown(&file)][..], &gates].concat();
    let (code, out, err) = compare(&arguments);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("every line is the same by identity"), "{out}");
    for word in ["worse", "better", "undecided"] {
        assert!(!out.contains(word), "{word}: {out}");
    }
}

#[test]
fn a_slower_server_is_worse_and_fails_the_gate_with_status_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (
        record(folder.path(), "a", 100),
        record(folder.path(), "b", 150),
    );
    let summary = folder.path().join("summary.md");
    std::fs::write(&summary, "before\n").expect("writable");
    let arguments = [shown(&a), shown(&b), "--fail-on", "p50@sse-tuned>+20%"];
    let (code, out, err) = compare_with(&arguments, Some(&summary));
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.starts_with(
        "pushbench: gate 'p50@sse-tuned>+20%' failed: sse tuned: p50 went from 100 µs to 150 µs"
    ));
    assert!(
        out.contains("worse in sse tuned p50 +50.0%; websocket tuned p50 +50.0%"),
        "{out}"
    );
    let told = std::fs::read_to_string(&summary).expect("written");
    assert!(told.starts_with("before\n## pushbench compare\n"), "{told}");
    assert!(told.contains("**gate `p50@sse-tuned>+20%` failed**"));
    let (code, ..) = compare(&[shown(&b), shown(&a), "--fail-on", "p50>+1%"]);
    assert_eq!(code, 0, "faster is no failure");
}

#[test]
fn rows_are_chosen_with_an_option_or_behind_an_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = record(folder.path(), "a", 100);
    let one = compare(&[shown(&a), "--transports", "sse,websocket"]);
    assert_eq!(one.0, 0, "{}", one.2);
    assert!(
        one.1.contains("sse tuned → websocket tuned (6 rounds)"),
        "{}",
        one.1
    );
    let at = |id: &str| format!("{}@{id}", shown(&a));
    let two = compare(&[&at("sse-tuned"), &at("websocket-tuned")]);
    assert_eq!(two.0, 0, "{}", two.2);
    assert!(
        two.1.contains("sse tuned → websocket tuned (6 rounds)"),
        "{}",
        two.1
    );
    let b = record(folder.path(), "b", 110);
    let rows = compare(&[shown(&a), shown(&b), "--transports", "sse"]);
    assert!(
        rows.1.contains("sse tuned (6 trials against 6)"),
        "{}",
        rows.1
    );
    assert!(!rows.1.contains("websocket"), "{}", rows.1);
}

#[test]
fn bad_input_is_told_with_file_and_field_and_status_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = record(folder.path(), "a", 100);
    let good = std::fs::read_to_string(a.join("run.json")).expect("written");
    let file = |name: &str, json: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, json).expect("writable");
        path
    };
    let truncated = file("truncated.json", &good[..good.len() / 2]);
    let newer = file(
        "newer.json",
        &good.replacen("\"schema_version\": 1", "\"schema_version\": 99", 1),
    );
    let damaged = file(
        "damaged.json",
        &good.replacen("\"connected\": 0", "\"connected\": \"all\"", 1),
    );
    let missing = folder.path().join("missing");
    for (path, told) in [
        (
            &missing,
            "no such file or directory; expected the folder of a run",
        ),
        (&truncated, "is cut off in line"),
        (
            &newer,
            "but this pushbench reads version 1; it is from a newer one",
        ),
        (
            &damaged,
            "in 'trials[0].clients.connected', invalid type: string \"all\"",
        ),
    ] {
        let (code, out, err) = compare(&[shown(&a), shown(path)]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(told) && err.contains(shown(path)), "{err}");
    }
    for (arguments, told) in [
        (
            &["--fail-on", "p9>+10%"][..],
            "'p9>+10%' is no gate: 'p9' is no metric; did you mean 'p90'?",
        ),
        (&["--fail-on", "p99>+10%"], "gate 'p99>+10%': '"),
        (
            &["--fail-on", "p50@tcp>1ms"],
            "no 'tcp' is compared; the rows are sse tuned, websocket tuned",
        ),
    ] {
        let arguments = [&[shown(&a), shown(&a)][..], arguments].concat();
        let (code, out, err) = compare(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(told), "{err}");
    }
    for (arguments, told) in [
        (
            vec![],
            "expected a second record, or '--transports' with two",
        ),
        (
            vec!["--transports", "sse"],
            "'--transports' names 1; expected two with one record",
        ),
        (
            vec!["--transports", "sse,tcp"],
            "has no 'tcp'; its 'trials' hold sse tuned, websocket tuned",
        ),
    ] {
        let (code, _, err) = compare(&[&[shown(&a)][..], &arguments].concat());
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(told), "{err}");
    }
    let at = format!("{}@ssee", shown(&a));
    let (code, _, err) = compare(&[&at, shown(&a)]);
    assert_eq!(code, 2);
    assert!(err.contains("behind '@', 'ssee' is no transport"), "{err}");
    let unchanged = std::fs::read_to_string(a.join("run.json")).expect("still there");
    assert_eq!(unchanged, good);
}
