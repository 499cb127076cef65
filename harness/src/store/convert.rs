//! Records of schema 1, as they are read today.
//!
//! After the data path. In: a record of schema 1 in today's types. Out: one of this schema, marked as
//! converted. In schema 1, CPU was read from the start of the measure phase to the end of the drain,
//! and bytes and requests from the warm-up on. For streams and held requests a figure per delivery
//! means the same today. A transport that polls at an interval went on polling through the drain, when
//! nothing was published any more, so that its figures depended on how long the phases were: they are
//! left out, never misread.

use pushbench_protocol::transport::{Polls, Transport};

use serde::Deserialize;
use serde_json::Value;

use crate::metrics::{Metric, find, named, summarise};
use crate::record::{Merged, Record, SCHEMA_VERSION, Trial, Variant, WorkloadWindow};

/// Metrics of transports that poll at an interval that are left out.
const LEFT_OUT: [&str; 11] = [
    "cpu",
    "harness_cpu",
    "down",
    "up",
    "segments",
    "requests",
    "empty_responses",
    "message_up",
    "message_down",
    "message_cpu",
    "arrival_cpu",
];

/// What the rows of schema 1 have that is not in their trials: percentiles of merged histograms. The
/// figures of a row are worked out anew.
#[derive(Debug, Deserialize)]
pub(super) struct Percentiles {
    summary: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    #[serde(flatten)]
    variant: Variant,
    #[serde(flatten)]
    merged: Merged,
}

fn polls(transport: Transport) -> bool {
    transport.polls() == Some(Polls::AtIntervals)
}

/// Turns a record of schema 1 into one of today's.
///
/// # Errors
/// Those of reading a trial again.
pub(super) fn from_schema_1(
    mut record: Record,
    rows: Percentiles,
) -> Result<Record, serde_json::Error> {
    record.schema_version = SCHEMA_VERSION;
    record.converted_from = Some(1);
    for of in &mut record.trials {
        trial(of)?;
    }
    let merged = rows.summary.into_iter();
    let merged = merged.map(|row| (row.variant, row.merged)).collect();
    record.summary = summarise(&record.trials, &merged);
    record.growth.retain(|growth| !polls(growth.side.transport));
    for comparison in &mut record.comparisons {
        if polls(comparison.pair.a.transport) || polls(comparison.pair.b.transport) {
            let id = |key: &str| find(key).map_or("", |metric| metric.id);
            let kept = |key: &str| !LEFT_OUT.contains(&id(key));
            comparison.metrics.retain(|of| kept(&of.metric));
        }
    }
    Ok(record)
}

fn trial(trial: &mut Trial) -> Result<(), serde_json::Error> {
    let phases = trial.phase_ns;
    let polls = polls(trial.variant.transport);
    if let (Some(measure), Some(drain)) = (phases.measure, phases.drain) {
        trial.workload = Some(WorkloadWindow {
            slices_ns: None,
            from_ns: measure.start,
            until_ns: drain.end,
            deliveries: (!polls).then_some(trial.deliveries.received),
            sent: None,
            arrivals: None,
        });
    }
    if polls {
        let mut tree = serde_json::to_value(&*trial)?;
        for place in named(&LEFT_OUT).map(Metric::in_trial) {
            if let Some(figure) = tree.pointer_mut(&format!("/{place}")) {
                *figure = Value::Null;
            }
        }
        *trial = serde_json::from_value(tree)?;
    }
    Ok(())
}

impl Record {
    /// What a reader of a converted record must know, in a sentence; `None` for any other, and where
    /// nothing is left out.
    pub fn conversion_note(&self) -> Option<String> {
        let from = self.converted_from?;
        let mut of = self.trials.iter().map(|trial| trial.variant.transport);
        of.any(polls).then(|| {
            format!(
                "This record is of schema {from}, in which the costs of short_poll were read over \
                 another window than its deliveries: its CPU, bytes, segments and requests are left \
                 out; run the scenario again to have them."
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RoundTrip, SummaryRow, sample};
    use serde_json::json;
    use std::path::Path;

    /// The sample as a program of schema 1 wrote it: without the keys that are new.
    fn of_schema_1(edit: impl Fn(&mut Record)) -> String {
        let mut record = sample::record();
        edit(&mut record);
        let mut json: Value = serde_json::to_value(&record).expect("serialisable");
        json["schema_version"] = json!(1);
        let object = json.as_object_mut().expect("an object");
        object.remove("converted_from");
        for trial in json["trials"].as_array_mut().expect("trials") {
            trial.as_object_mut().expect("an object").remove("workload");
        }
        for row in json["summary"].as_array_mut().expect("rows") {
            let percentiles = &record.trials[0];
            row["latency_ns"] = json!(percentiles.latency_ns);
            row["fanout_ns"] = json!(percentiles.fanout_ns);
            row.as_object_mut().expect("an object").remove("figures");
        }
        json.to_string()
    }

    fn read(json: &str) -> Record {
        Record::from_json(Path::new("old.json"), json).expect("it is read")
    }

    #[test]
    fn a_record_of_schema_1_is_read_with_the_window_of_its_cpu() {
        let streams = |record: &mut Record| {
            record
                .trials
                .retain(|trial| !polls(trial.variant.transport))
        };
        let record = read(&of_schema_1(streams));
        assert_eq!(
            (record.schema_version, record.converted_from),
            (SCHEMA_VERSION, Some(1))
        );
        let trial = &record.trials[0];
        let window = trial.workload.expect("it has its phases");
        assert_eq!(
            (window.from_ns, window.until_ns),
            (1_550_000_000, 4_560_000_000)
        );
        assert_eq!(window.deliveries, Some(trial.deliveries.received));
        assert_eq!(window.sent, None);
        // Streams keep what they cost.
        assert!(trial.server.cpu_ns_per_delivery.is_some());
        assert_eq!(record.conversion_note(), None, "nothing is left out");
        // Rows have their percentiles still, and what trials add up to.
        let p50 = trial.latency_ns.p50.map(|ns| ns as f64);
        assert_eq!(record.summary[0].figure("p50"), p50);
        let received = trial.deliveries.received as f64;
        assert_eq!(record.summary[0].figure("delivered"), Some(received));
        let again = read(&record.to_json());
        assert_eq!(again, record, "written, it stays marked");
    }

    #[test]
    fn what_changed_its_meaning_is_left_out_of_polls_and_named() {
        let json = of_schema_1(|record| {
            record.trials[0].variant.side.transport = Transport::ShortPoll;
            record.trials[0].server.cpu_ns_per_delivery = Some(1_333_000.0);
            record.trials[0].measures.round_trip = Some(RoundTrip {
                up_bytes_per_message: Some(100.0),
                ..Default::default()
            });
            record.summary = summarise(&record.trials, &Default::default());
        });
        let record = read(&json);
        let json = serde_json::to_value(&record.trials[0]).expect("serialisable");
        for metric in named(&LEFT_OUT) {
            let found = json.pointer(&format!("/{}", metric.in_trial()));
            assert!(found.is_none_or(Value::is_null), "{}: {found:?}", metric.id);
        }
        // CPU itself has a window that is known, so it stays.
        assert!(record.trials[0].server.cpu_ns.is_some());
        let polls = |row: &&SummaryRow| row.variant.transport == Transport::ShortPoll;
        let row = record.summary.iter().find(polls).expect("a row");
        assert_eq!((row.figure("cpu"), row.figure("message_up")), (None, None));
        let note = record.conversion_note().expect("something is left out");
        assert!(
            note.contains("is of schema 1") && note.contains("short_poll"),
            "{note}"
        );
    }
}
