//! What was not the same when two records were made: machine, workload, program.
//!
//! Both are compared as JSON, key by key, so that a key that is new to one of them is seen too.

use serde::Serialize;
use serde_json::Value;

use crate::record::{Record, Status};

/// One key in which two records differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key in the record.
    pub key: String,
    /// Its value in A.
    pub a: String,
    /// Its value in B.
    pub b: String,
}

/// Memory of two machines that are alike may differ by what their kernels keep for themselves.
const MEMORY_TOLERANCE: f64 = 0.02;

/// What makes a machine another one. Kernel, limits and settings may change on the same machine,
/// and are differences of their own.
const MACHINE: [&str; 4] = ["platform", "cpu_model", "cores", "hypervisor"];

/// Keys that differ from run to run and mean nothing, or that are said elsewhere.
const IGNORED: [&str; 8] = [
    "environment.started_utc",
    "environment.memory_bytes",
    "environment.congestion_control",
    "environment.congestion_controls_available",
    "scenario.purpose",
    "scenario.cannot_show",
    "scenario.summary",
    "scenario.run.seed",
];

/// What the machine did before a run never is the same twice.
const BEFORE: &str = "environment.before";

/// Whether the two were made on machines that cannot be the same.
pub(super) fn different_machines(a: &Record, b: &Record) -> bool {
    let (a, b) = (&a.environment, &b.environment);
    let (json_a, json_b) = (json(a), json(b));
    let memory = match (a.memory_bytes, b.memory_bytes) {
        (Some(a), Some(b)) => (a as f64 / b as f64 - 1.0).abs() > MEMORY_TOLERANCE,
        (a, b) => a != b,
    };
    memory || MACHINE.iter().any(|key| json_a[key] != json_b[key])
}

/// Every key of environment, scenario and program in which the two differ.
pub(super) fn differences(a: &Record, b: &Record) -> Vec<Difference> {
    let mut found = Vec::new();
    let memory_differs = different_memory(a, b);
    walk(
        "environment",
        &json(&a.environment),
        &json(&b.environment),
        &mut found,
    );
    walk(
        "scenario",
        &json(&a.scenario),
        &json(&b.scenario),
        &mut found,
    );
    walk("tool", &json(&a.tool), &json(&b.tool), &mut found);
    found.retain(|d| !IGNORED.contains(&d.key.as_str()) && !d.key.starts_with(BEFORE));
    if memory_differs {
        let bytes = |r: &Record| show(&json(&r.environment.memory_bytes));
        push(&mut found, "environment.memory_bytes", bytes(a), bytes(b));
    }
    let family = |r: &Record| {
        let families = r.trials.iter().map(|t| t.harness.client);
        // The baseline always has lean clients: the others tell.
        let told = families.map(|f| f.to_string()).max();
        told.unwrap_or_else(|| "none".to_owned())
    };
    if family(a) != family(b) {
        push(&mut found, "harness.client", family(a), family(b));
    }
    if a.converted_from.or(b.converted_from).is_some() {
        let schema = |r: &Record| r.converted_from.unwrap_or(r.schema_version).to_string();
        push(&mut found, "schema_version", schema(a), schema(b));
    }
    if a.status != b.status || a.status != Status::Complete {
        let status = |r: &Record| show(&json(&r.status));
        push(&mut found, "status", status(a), status(b));
    }
    found
}

fn push(found: &mut Vec<Difference>, key: &str, a: String, b: String) {
    let key = key.to_owned();
    found.push(Difference { key, a, b });
}

fn different_memory(a: &Record, b: &Record) -> bool {
    let bytes = |r: &Record| r.environment.memory_bytes.unwrap_or(0) as f64;
    (bytes(a) - bytes(b)).abs() > MEMORY_TOLERANCE * bytes(a).max(bytes(b))
}

fn json(value: &impl Serialize) -> Value {
    // The types of a record all have a form in JSON.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn walk(path: &str, a: &Value, b: &Value, found: &mut Vec<Difference>) {
    match (a, b) {
        (Value::Object(of_a), Value::Object(of_b)) => {
            let mut keys: Vec<&String> = of_a.keys().chain(of_b.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let (a, b) = (of_a.get(key), of_b.get(key));
                let path = format!("{path}.{key}");
                walk(
                    &path,
                    a.unwrap_or(&Value::Null),
                    b.unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        _ if a != b => push(found, path, show(a), show(b)),
        _ => {}
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "not told".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn another_processor_is_another_machine_and_another_kernel_is_not() {
        let a = sample::record();
        let mut b = sample::record();
        assert!(!different_machines(&a, &b));
        assert_eq!(differences(&a, &b), []);
        b.environment.kernel_release = Some("6.19.1".to_owned());
        b.environment.memory_bytes = b.environment.memory_bytes.map(|n| n - (1 << 20));
        assert!(!different_machines(&a, &b));
        let expected = Difference {
            key: "environment.kernel_release".to_owned(),
            a: "6.18.0".to_owned(),
            b: "6.19.1".to_owned(),
        };
        assert_eq!(differences(&a, &b), [expected]);
        b.environment.cpu_model = Some("Another CPU".to_owned());
        assert!(different_machines(&a, &b));
        let mut c = sample::record();
        c.environment.memory_bytes = Some(8 << 30);
        assert!(different_machines(&a, &c));
        assert_eq!(differences(&a, &c)[0].key, "environment.memory_bytes");
    }

    #[test]
    fn another_workload_and_an_unfinished_run_are_named() {
        let a = sample::record();
        let mut b = sample::record();
        b.scenario.clients.count = 2_000;
        b.scenario.purpose = "in other words".to_owned();
        b.status = Status::Interrupted;
        let keys: Vec<String> = differences(&a, &b).into_iter().map(|d| d.key).collect();
        assert_eq!(keys, ["scenario.clients.count", "status"]);
    }
}
