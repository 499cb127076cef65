//! Holds records against `results/run.schema.json`: `cargo run --example validate-record -- FILE…`.
//! Exit status 1 where one does not keep to it, or a delivery is unaccounted for, with a line for
//! each fault.

use std::error::Error;
use std::process::ExitCode;

use pushbench::record::Record;

const SCHEMA: &str = include_str!("../../results/run.schema.json");

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let schema = serde_json::from_str(SCHEMA)?;
    let validator = jsonschema::validator_for(&schema)?;
    let paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        eprintln!("usage: validate-record FILE…");
        return Ok(ExitCode::from(2));
    }
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        let json = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        let faults: Vec<_> = validator.iter_errors(&json).collect();
        for fault in &faults {
            eprintln!("{path}: {}: {fault}", fault.instance_path);
        }
        if !faults.is_empty() {
            code = ExitCode::from(1);
            continue;
        }
        // What keeps to the schema must be readable, too, and nothing may be unaccounted for.
        let record = Record::read(path.as_ref())?;
        let trials = record.trials.len();
        for trial in &record.trials {
            let d = trial.deliveries;
            let owed = d.expected == Some(d.received) && d.missing == Some(0);
            let exact = owed && d.duplicate + d.out_of_order == 0;
            if !exact || trial.error.is_some() {
                eprintln!("{path}: {}: {d:?}, error {:?}", trial.label(), trial.error);
                code = ExitCode::from(1);
            }
        }
        eprintln!("{path}: a record of {trials} trials that keeps to the schema");
    }
    Ok(code)
}
