//! `pushbench advise`, `completions` and `man` from outside: what they print, and every bad input.

use std::path::Path;

use pushbench::observe::environment::Environment;
use pushbench::record::{Record, Span, Status, Trial, WorkloadWindow};
use pushbench::scenario::Scenario;
use pushbench_protocol::transport::{Profile, Transport};
use tempfile::TempDir;

use crate::support::{answer, complaint, output, pushbench, text};

/// A record of `scenario` in which a wake-up costs 120 µs and a write 12 µs (tcp) or 15 µs.
fn record(folder: &Path, scenario: &str) {
    let scenario = Scenario::load(scenario).expect("built in");
    let publish = scenario.publish.clone().expect("it publishes");
    let clients = scenario.clients.count;
    let name = scenario.name.clone();
    let deliveries_per_s = scenario.offered_deliveries_per_s();
    let mut record = Record::new(scenario, 7, Environment::default());
    record.status = Status::Complete;
    for (transport, write, slope) in [
        (Transport::Tcp, 12e-6, 1_400.0),
        (Transport::Sse, 15e-6, 11_900.0),
        (Transport::WebSocket, 15e-6, 5_400.0),
    ] {
        let mut trial = Trial::new(transport, Profile::Tuned, 1);
        let second = |s: u64| s * 1_000_000_000;
        trial.phase_ns.measure = Some(Span {
            start: second(5),
            end: second(15),
        });
        trial.workload = Some(WorkloadWindow {
            from_ns: second(5),
            until_ns: second(15),
            ..WorkloadWindow::default()
        });
        trial.clients.connected = clients.into();
        trial.deliveries.received = (deliveries_per_s * 10.0) as u64;
        trial.deliveries.expected = Some(trial.deliveries.received);
        trial.publish.achieved_per_s = Some(publish.rate_per_s);
        trial.throughput.received_per_s = Some(deliveries_per_s);
        trial.throughput.received_bytes_per_s =
            Some(deliveries_per_s * publish.payload_bytes as f64);
        trial.wire.segments_per_delivery = Some(1.0);
        let (work, wake) = (deliveries_per_s * write, publish.rate_per_s * 120e-6);
        let cores = (work + wake) / (1.0 + wake);
        trial.server.cpu_ns = Some((cores * 10e9) as u64);
        let memory = &mut trial.server.memory;
        memory.base_bytes = Some(2_700_000);
        memory.settled_bytes = Some(2_700_000 + (slope * f64::from(clients)) as u64);
        memory.peak_bytes = memory.settled_bytes.map(|b| b + 5_000_000);
        memory.user_bytes_per_client = Some(slope);
        memory.kernel_bytes_per_client = Some(6_000.0);
        record.trials.push(trial);
    }
    let folder = folder.join(name);
    std::fs::create_dir(&folder).expect("a new folder");
    record.write(&folder).expect("writable");
}

/// What is answered in `folder`.
#[track_caller]
fn answer_in(folder: &TempDir, line: &str) -> String {
    answer(pushbench(line).current_dir(folder.path()))
}

fn set() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for scenario in ["quick", "dashboard", "fanout-10k"] {
        record(folder.path(), scenario);
    }
    folder
}

#[test]
fn a_workload_is_predicted_and_a_transport_recommended_with_reasons() {
    let folder = set();
    let file = folder.path().join("mine.toml");
    std::fs::write(
        &file,
        "clients = 5000\nrate_per_client = 1.0\ngroup = 100\nproxy = true\n",
    )
    .expect("writable");
    let out = answer_in(
        &folder,
        "advise mine.toml --from . --http2 --payload-bytes 128",
    );
    for line in out.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    for told in [
        "5,000 browser clients, each with 1.00 messages/s of 128 bytes, shared by 100, behind a proxy",
        "recommended: sse",
        "then 'websocket'",
        "RFC 6455",
        "Not predicted: 'long_poll', since no record has it in this profile.",
    ] {
        let flat = out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(told), "{told}: {out}");
    }
    let out = answer_in(
        &folder,
        "advise --from . --clients 10000 --upstream 1 --format json",
    );
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["recommendation"]["transport"], "websocket");
    let memory = json["predictions"][1]["user_bytes"]
        .as_f64()
        .expect("a number");
    assert_eq!(
        (json["predictions"][1]["transport"].as_str(), memory),
        (Some("sse"), 121_700_000.0)
    );
}

#[test]
fn what_was_left_out_is_predicted_within_a_quarter() {
    let folder = set();
    let out = answer_in(&folder, "advise --from . --check --format json");
    let rows: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), 9);
    for row in rows {
        let twice = |what: &str| {
            let of = |key: &str| row[what][key].as_f64();
            of("predicted")
                .zip(of("measured"))
                .map(|(p, m)| (p / m - 1.0).abs())
        };
        assert!(twice("memory").expect("predicted") < 0.02, "{row}");
        if row["transport"] != "tcp" {
            assert!(twice("cpu").expect("predicted") < 0.25, "{row}");
        }
    }
    let out = answer_in(&folder, "advise --from quick --format json");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["predictions"][1]["cores"], serde_json::Value::Null);
    let beyond = json["predictions"][1]["beyond"].to_string();
    assert!(beyond.contains("CPU: not predicted"), "{beyond}");
}

#[test]
fn bad_input_of_advise_is_told_with_status_2() {
    let folder = set();
    for (name, toml) in [
        ("bad.toml", "clients = 5\ncliens = 6\n"),
        ("type.toml", "rate_per_client = \"x\"\n"),
    ] {
        std::fs::write(folder.path().join(name), toml).expect("writable");
    }
    std::fs::create_dir(folder.path().join("empty")).expect("a new folder");
    for (arguments, told) in [
        (
            "--from nowhere",
            "cannot read records from 'nowhere': no such file or directory",
        ),
        ("--from empty", "'empty' has no runs"),
        ("--from . bad.toml", "bad.toml:2: unknown field `cliens`"),
        ("--from . type.toml", "type.toml:1: "),
        ("--from . no.toml", "cannot read the workload 'no.toml'"),
        (
            "--from . --rate-per-client -1",
            "'rate_per_client' is -1, expected a number 0 or more",
        ),
        (
            "--from . --check chat",
            "no record in '.' is of scenario 'chat'",
        ),
        (
            "--from quick --check",
            "'quick' holds one scenario, 'quick'",
        ),
    ] {
        let line = format!("advise {arguments}");
        let found = complaint(pushbench(&line).current_dir(folder.path()));
        assert!(found.contains(told), "{arguments}: {found}");
    }
}

#[test]
fn old_spellings_work_with_a_hint() {
    let folder = set();
    std::fs::write(folder.path().join("old.toml"), "rate = 3\n").expect("writable");
    let mut command = pushbench("advise old.toml --from . --payload 128 --json");
    let output = output(command.current_dir(folder.path()));
    assert_eq!(
        text(&output.stderr),
        "pushbench: '--payload' is now '--payload-bytes'; the old spelling goes away in 0.3\n\
         pushbench: '--json' is now '--format json'; the old spelling goes away in 0.3\n\
         pushbench: old.toml: 'rate' is now 'rate_per_client'; the old spelling goes away in 0.3\n"
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let asked = (&json["workload"]["rate"], &json["workload"]["payload"]);
    assert_eq!(asked, (&3.0.into(), &128.0.into()));
}

#[test]
fn shells_and_man_learn_every_command() {
    let answer = |line: &str| answer(&mut pushbench(line));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let out = answer(&format!("completions {shell}"));
        assert!(
            out.contains("compare") && out.contains("fail-on"),
            "{shell}"
        );
    }
    let page = answer("man");
    assert!(
        page.contains(".TH pushbench 1") && page.contains("compare"),
        "{page}"
    );
    let page = answer("man run");
    assert!(
        page.contains(".TH pushbench-run 1") && page.contains("transports"),
        "{page}"
    );
    let found = complaint(&mut pushbench("man rum"));
    assert!(
        found.starts_with("unknown command 'rum'; expected one of 'run'"),
        "{found}"
    );
}
