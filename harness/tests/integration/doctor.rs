//! `pushbench doctor` from outside: its text, its JSON and its exit status.

use std::process::Output;

use serde_json::Value;

use crate::support::{after, output, pushbench, text};

fn doctor(line: &str) -> Output {
    output(&mut pushbench(&format!("doctor {line}")))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_number_that_fits_is_status_0_and_each_limit_has_its_block() {
    let output = doctor("--clients 100 --no-measure");
    let printed = text(&output.stdout);
    assert_eq!(
        (output.status.code(), &*output.stderr),
        (Some(0), &b""[..]),
        "{printed}"
    );
    assert!(
        printed.starts_with("This machine can hold 100 clients; the maximum is "),
        "{printed}"
    );
    let found = json(&doctor("--clients 100 --no-measure --format json"));
    let limits = found["limits"].as_array().expect("a list");
    assert!(limits.len() > 15, "{limits:?}");
    for limit in limits {
        let limit = limit["limit"].as_str().expect("a name");
        assert!(
            printed.contains(&format!("\n{limit}  ")),
            "no row of {limit}: {printed}"
        );
        assert!(
            printed.contains(&format!("\n{limit}: ")),
            "no block of {limit}: {printed}"
        );
    }
}

#[test]
fn a_number_that_no_machine_holds_is_status_1_and_names_what_binds() {
    let output = doctor("--clients 4294967295 --no-measure --format json");
    assert_eq!(output.status.code(), Some(1));
    let found = json(&output);
    assert_eq!(
        (&found["reachable"], &found["asked"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    let limits = found["limits"].as_array().expect("a list");
    let of = |name: &str| limits.iter().find(|l| l["limit"] == name).expect("there");
    assert_eq!(of("memory")["state"], "binds");
    let least = limits.iter().filter_map(|l| l["allows"].as_u64()).min();
    assert_eq!(
        found["most"].as_u64(),
        least,
        "the most is what the tightest limit allows"
    );
    let by = found["limited_by"].as_str().expect("a name");
    assert_eq!(of(by)["allows"].as_u64(), least);
}

#[test]
fn a_low_limit_of_descriptors_is_reported_with_the_tables_that_avoid_it() {
    let doctor = pushbench("doctor --no-measure --format json --clients 1000000");
    let output = output(&mut after("ulimit -n 256", &doctor));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let found = json(&output);
    let descriptors = &found["limits"][0];
    // 85% of 256 less 64, and that in each of 128 tables.
    assert_eq!(
        (&descriptors["alone"], &descriptors["allows"]),
        (&153.into(), &19_584.into())
    );
    assert_eq!(
        (&descriptors["state"], &found["most"]),
        (&"binds".into(), &19_584.into())
    );
    let raise = descriptors["raise"].as_str().expect("a command");
    // Where fs.nr_open is lower than that, it is raised first.
    assert!(
        raise.ends_with("sudo prlimit --pid $$ --nofile=1176546:1176546"),
        "{raise}"
    );
}

#[test]
fn memory_per_client_is_measured_and_its_source_is_reported() {
    let output = doctor("--clients 10 --transport tcp --format json");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let memory = &json(&output)["memory_per_client"];
    assert_eq!(
        memory["source"],
        "measured now with 4000 idle clients of tcp tuned"
    );
    assert!(
        memory["server_bytes"]
            .as_f64()
            .is_some_and(|bytes| bytes >= 0.0)
    );
}
