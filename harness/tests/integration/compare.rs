//! `pushbench compare` from outside: what it prints, its exit status, and every bad input.

use std::path::{Path, PathBuf};
use std::process::Command;

use pushbench::observe::environment::Environment;
use pushbench::record::{Record, Status, Trial};
use pushbench::scenario::Scenario;
use pushbench_protocol::transport::{Profile, Transport};

use crate::support::{answer, complaint, output, pushbench, read, refusal, text};

/// A record of six trials of `sse` and `websocket`, whose medians are about `p50_us`.
fn record(folder: &Path, name: &str, p50_us: u64) -> PathBuf {
    let scenario = Scenario::load("quick").expect("built in");
    let mut record = Record::new(scenario, 7, Environment::default());
    record.status = Status::Complete;
    for transport in [Transport::Sse, Transport::WebSocket] {
        for (index, spread) in (1..).zip([0, 3, 1, 4, 2, 5]) {
            let mut trial = Trial::new(transport, Profile::Tuned, index);
            trial.latency_ns.p50 = Some(p50_us * (1_000 + spread));
            trial.deliveries.expected = Some(1_000);
            trial.deliveries.received = 1_000;
            trial.deliveries.missing = Some(0);
            trial.server.cpu_ns_per_delivery = Some(9_000.0 + spread as f64);
            record.trials.push(trial);
        }
    }
    let folder = folder.join(name);
    std::fs::create_dir(&folder).expect("a new folder");
    record.write(&folder).expect("writable");
    folder
}

/// `pushbench compare` as it is outside of a job of GitHub.
fn compare(line: &str) -> Command {
    let mut command = pushbench(&format!("compare {line}"));
    command.env_remove("GITHUB_STEP_SUMMARY");
    command
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn every_record_of_reference_is_readable() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/reference");
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.join("run.json").is_file() {
            let record = Record::read(&path);
            assert!(record.is_ok(), "{}: {record:?}", path.display());
            read += 1;
        }
    }
    assert!(read > 10, "{read}");
}

#[test]
fn a_record_with_itself_is_the_same_throughout() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = record(folder.path(), "a", 100);
    let file = a.join("run.json");
    let gates = "--fail-on p50>+0% --fail-on missing>0";
    let line = format!("{} {} {gates}", shown(&a), shown(&file));
    let out = answer(&mut compare(&line));
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
    let line = format!("{} {} --fail-on p50@sse-tuned>+20%", shown(&a), shown(&b));
    let output = output(compare(&line).env("GITHUB_STEP_SUMMARY", &summary));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.starts_with(
        "pushbench: gate 'p50@sse-tuned>+20%' failed: sse tuned: p50 went from 100 µs to 150 µs"
    ));
    assert!(
        out.contains("worse in sse tuned median latency +50.0%; websocket tuned median"),
        "{out}"
    );
    let told = read(&summary);
    assert!(told.starts_with("before\n## pushbench compare\n"), "{told}");
    assert!(told.contains("**gate `p50@sse-tuned>+20%` failed**"));
    // Faster is not a failure.
    answer(&mut compare(&format!(
        "{} {} --fail-on p50>+1%",
        shown(&b),
        shown(&a)
    )));
}

#[test]
fn rows_are_chosen_with_an_option_or_behind_an_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = record(folder.path(), "a", 100);
    let one = answer(&mut compare(&format!(
        "{} --transports sse,websocket",
        shown(&a)
    )));
    assert!(
        one.contains("sse tuned → websocket tuned (6 rounds)"),
        "{one}"
    );
    let (a, b) = (shown(&a), record(folder.path(), "b", 110));
    let two = answer(&mut compare(&format!("{a}@sse-tuned {a}@websocket-tuned")));
    assert!(
        two.contains("sse tuned → websocket tuned (6 rounds)"),
        "{two}"
    );
    let rows = answer(&mut compare(&format!("{a} {} --transports sse", shown(&b))));
    assert!(rows.contains("sse tuned (6 trials against 6)"), "{rows}");
    assert!(!rows.contains("websocket"), "{rows}");
}

#[test]
fn bad_input_is_told_with_file_and_field_and_status_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = record(folder.path(), "a", 100);
    let good = read(&a.join("run.json"));
    let (kept, a) = (a.join("run.json"), shown(&a));
    let file = |name: &str, json: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, json).expect("writable");
        path
    };
    let truncated = file("truncated.json", &good[..good.len() / 2]);
    let newer = file(
        "newer.json",
        &good.replacen("\"schema_version\": 2", "\"schema_version\": 99", 1),
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
            "but this pushbench reads versions 1 to 2; a newer pushbench wrote it",
        ),
        (
            &damaged,
            "in 'trials[0].clients.connected', invalid type: string \"all\"",
        ),
    ] {
        let err = complaint(&mut compare(&format!("{a} {}", shown(path))));
        assert!(err.contains(told) && err.contains(shown(path)), "{err}");
    }
    for (arguments, told) in [
        (
            "--fail-on p9>+10%",
            "'p9>+10%' is not a gate: 'p9' is not a metric; did you mean 'p90'?",
        ),
        ("--fail-on p99>+10%", "gate 'p99>+10%': '"),
        (
            "--fail-on p50@tcp>1ms",
            "no 'tcp' is compared; the rows are sse tuned, websocket tuned",
        ),
    ] {
        let err = refusal(&mut compare(&format!("{a} {a} {arguments}")));
        assert!(err.contains(told), "{err}");
    }
    for (arguments, told) in [
        ("", "expected a second record, or '--transports' with two"),
        (
            "--transports sse",
            "'--transports' names 1; expected two with one record",
        ),
        (
            "--transports sse,tcp",
            "has no 'tcp'; its 'trials' hold sse tuned, websocket tuned",
        ),
    ] {
        let err = complaint(&mut compare(&format!("{a} {arguments}")));
        assert!(err.contains(told), "{err}");
    }
    let err = complaint(&mut compare(&format!("{a}@ssee {a}")));
    assert!(
        err.contains("behind '@', 'ssee' is not a transport"),
        "{err}"
    );
    assert_eq!(read(&kept), good);
}
