//! The record as it is described.

use super::*;
use crate::metrics::summarise;
use pushbench_protocol::transport::{Profile, Transport};

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&schema()).expect("a valid schema")
}

fn errors(json: &serde_json::Value) -> Vec<String> {
    validator()
        .iter_errors(json)
        .map(|e| format!("{}: {e}", e.instance_path))
        .collect()
}

#[test]
fn the_committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../results/run.schema.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    // By value: the order of keys is not a part of it.
    assert!(
        serde_json::from_str(&committed).ok() == Some(schema()),
        "results/run.schema.json is not what the types say; regenerate it with 'cargo run -- list \
         --schema > results/run.schema.json'"
    );
}

#[test]
fn a_full_record_keeps_to_the_schema() {
    let json = serde_json::to_value(sample::record()).expect("serialisable");
    assert_eq!(errors(&json), Vec::<String>::new());
}

#[test]
fn a_record_of_a_sweep_keeps_to_the_schema_and_its_files_differ() {
    let record = sample::sweep();
    let json = serde_json::to_value(&record).expect("serialisable");
    assert_eq!(errors(&json), Vec::<String>::new());
    assert_eq!(json["trials"][2]["point"]["clients"], 1_000);
    assert_eq!(json["growth"][1]["to"]["index"], 3);
    let labels: Vec<String> = record.trials.iter().map(Trial::label_for_file).collect();
    assert_eq!(&labels[..2], ["tcp-tuned-point1-1", "sse-tuned-point1-1"]);
    let distinct: std::collections::BTreeSet<&String> = labels.iter().collect();
    assert_eq!(distinct.len(), labels.len());
    assert_eq!(
        record.trials[5].label(),
        "sse tuned at clients 10,000, rate_per_s 30, trial 1"
    );
}

#[test]
fn a_record_of_limits_keeps_to_the_schema() {
    let json = serde_json::to_value(sample::limits()).expect("serialisable");
    assert_eq!(errors(&json), Vec::<String>::new());
    assert_eq!(json["limits"][0]["broke"], "server_cpu");
}

#[test]
fn a_record_of_nulls_keeps_to_the_schema() {
    let mut record = sample::record();
    record.trials.truncate(1);
    record.trials[0] = Trial::new(Transport::Tcp, Profile::Tuned, 1);
    record.environment = Default::default();
    record.scenario.publish = None;
    record.summary = summarise(&record.trials, &Default::default());
    let json = serde_json::to_value(record).expect("serialisable");
    assert_eq!(errors(&json), Vec::<String>::new());
}

#[test]
fn the_schema_refuses_what_is_no_record() {
    let good = serde_json::to_value(sample::record()).expect("serialisable");
    for (pointer, value) in [
        ("/trials/0/transport", serde_json::json!("carrier_pigeon")),
        ("/trials/0/latency_ns/p50", serde_json::json!("84 µs")),
        ("/trials/0/validity/verdict", serde_json::json!("fine")),
        ("/scenario/channels/count", serde_json::json!("many")),
        ("/seed", serde_json::json!(-1)),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value;
        assert_eq!(errors(&bad).len(), 1, "{pointer}");
    }
    let mut bad = good;
    bad["trials"][0]["deliveries"]
        .as_object_mut()
        .expect("an object")
        .remove("missing");
    assert_eq!(errors(&bad).len(), 1, "every key is required");
}

/// Objects of a record, by their pointer, and their keys.
const KEYS: &[(&str, &str)] = &[
    (
        "",
        "schema_version converted_from tool environment scenario seed status trials summary growth limits \
         comparisons",
    ),
    (
        "/trials/0",
        "transport profile point index error lacks phase_ns clients publish deliveries throughput \
         latency_ns latency_interval_ns latency_over_time_ns probe fanout_ns service_ns \
         server harness machine wire workload whole slices spilled measures validity",
    ),
    (
        "/trials/0/clients",
        "target connected refused disconnected stopped_by connected_per_s connect_ns \
         first_message_ns",
    ),
    (
        "/trials/0/publish",
        "offered_per_s achieved_per_s channels_without_subscriber lag_ns",
    ),
    (
        "/trials/0/deliveries",
        "expected received missing duplicate out_of_order",
    ),
    (
        "/trials/0/throughput",
        "received_per_s received_bytes_per_s",
    ),
    ("/trials/0/fanout_ns", "count min mean p50 p90 p99 p999 max"),
    (
        "/trials/0/server",
        "cpu_ns cpu_ns_per_delivery run_queue_wait_ns threads allocator memory",
    ),
    (
        "/trials/0/server/memory",
        "base_bytes settled_bytes loaded_bytes peak_bytes measure_peak_bytes \
         after_disconnect_bytes given_back user_bytes_per_client user_fit \
         loaded_user_bytes_per_client kernel_base_bytes time_wait kernel_settled_bytes \
         kernel_loaded_bytes kernel_after_disconnect_bytes kernel_bytes_per_client kernel_fit \
         loaded_kernel_bytes_per_client method points",
    ),
    (
        "/trials/0/server/memory/user_fit",
        "bytes_per_client intercept_bytes r_squared largest_residual_bytes points",
    ),
    (
        "/trials/0/server/memory/points/0",
        "clients user_bytes fleet_bytes kernel_bytes",
    ),
    (
        "/trials/0/harness",
        "client cpu_ns cpu_ns_per_delivery run_queue_wait_ns memory_bytes_per_client \
         memory_fit allocator scheduler_lag_ns",
    ),
    (
        "/trials/0/machine",
        "unattributed_cpu_ns steal_ns throttled_ns",
    ),
    (
        "/trials/0/wire",
        "server_to_client_bytes_per_delivery client_to_server_bytes_per_delivery \
         segments_per_delivery client_to_server_segments_per_delivery retransmitted_bytes \
         requests empty_responses",
    ),
    (
        "/trials/0/workload",
        "from_ns until_ns slices_ns deliveries sent arrivals",
    ),
    ("/trials/0/validity", "verdict reasons checks"),
    (
        "/trials/1/validity/reasons/0",
        "check measured limit remedy message",
    ),
];

#[test]
fn the_record_has_the_documented_keys() {
    let json = serde_json::to_value(sample::record()).expect("serialisable");
    let keys = |pointer: &str| -> Vec<String> {
        let object = json
            .pointer(pointer)
            .and_then(|v| v.as_object())
            .expect(pointer);
        object.keys().cloned().collect()
    };
    let sorted = |words: &str| {
        let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    for &(pointer, expected) in KEYS {
        let mut found = keys(pointer);
        found.sort_unstable();
        assert_eq!(found, sorted(expected), "{pointer}");
    }
}

#[test]
fn the_verdict_of_a_run_is_its_worst() {
    let mut record = sample::record();
    assert_eq!(record.verdict(), Verdict::Void);
    record.trials.truncate(1);
    assert_eq!(record.verdict(), Verdict::Valid);
    record.trials.clear();
    assert_eq!(record.verdict(), Verdict::Void, "nothing was shown");
}
