//! `--format json`: the record itself, as `run.json` holds it.

use crate::record::Record;

/// The record as JSON, ended by a line end.
pub fn render(record: &Record) -> String {
    record.to_json()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn the_json_report_is_the_record() {
        let record = sample::record();
        let back: Record = serde_json::from_str(&render(&record)).expect("its own text");
        assert_eq!(back, record);
        assert!(render(&record).ends_with("}\n"));
    }
}
