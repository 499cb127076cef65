//! The CSV is read back and held against the record.

use super::*;
use crate::report::csv;

/// Fields of a line without quoted ones.
fn fields(line: &str) -> Vec<&str> {
    line.split(',').collect()
}

#[test]
fn the_csv_has_a_row_for_each_trial_and_every_number_of_it_unrounded() {
    let mut record = rounds();
    // Commas would need a parser here; `csv_fields_are_quoted` looks at these.
    record.environment.cpu_model = Some("Example".to_owned());
    for trial in &mut record.trials {
        trial.server.memory.method.clear();
    }
    let tree = Tree::of(&record);
    let text = csv::render(&record);
    let mut lines = text.lines();
    let head = fields(lines.next().expect("a head"));
    for known in [
        "transport",
        "latency_ns.p50",
        "seed",
        "environment.cores",
        "scenario.clients.count",
    ] {
        assert!(head.contains(&known), "{known}");
    }
    let mut rows = 0;
    for (place, line) in lines.enumerate() {
        let row = fields(line);
        assert_eq!(row.len(), head.len());
        let mut seen = 0;
        for (key, value) in head.iter().zip(&row) {
            let key = key.replace('.', "/");
            let of_trial = tree.at(&format!("trials/{place}/{key}"));
            if let Some(expected) = of_trial.or_else(|| tree.at(&key)).and_then(Tree::text) {
                assert_eq!(*value, expected, "{key}");
                seen += 1;
            }
        }
        let trial = tree.at(&format!("trials/{place}")).expect("a trial");
        let numbers = trial.leaves("", '/').into_iter();
        let numbers = numbers.filter(|(_, leaf)| matches!(leaf, Tree::Number(_)));
        assert!(seen > numbers.count());
        rows += 1;
    }
    assert_eq!(rows, record.trials.len());
}

#[test]
fn csv_fields_are_quoted_and_parts_that_a_trial_lacks_are_empty() {
    let mut record = sample::record();
    record.environment.cpu_model = Some("A, \"B\"".to_owned());
    record.trials[0].probe = Some(Probe {
        reads: 5,
        ..Probe::default()
    });
    let text = csv::render(&record);
    let head = fields(text.lines().next().expect("a head"));
    assert!(
        head.contains(&"probe.reads") && !head.contains(&"probe"),
        "{head:?}"
    );
    assert_eq!(text.matches("\"A, \"\"B\"\"\"").count(), 3);
    record.environment.cpu_model = Some("=1+1".to_owned());
    assert_eq!(
        csv::render(&record).matches(",'=1+1,").count(),
        3,
        "not a formula to a spreadsheet"
    );
    assert!(text.contains("expected 9000 deliveries, got 8998"));
}
