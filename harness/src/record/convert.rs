//! Records of schema 1, as they are read today.
//!
//! After the data path. In: a record of schema 1 in today's types. Out: one of this schema, marked as
//! converted. In schema 1, CPU was read from the start of the measure phase to the end of the drain,
//! and bytes and requests from the warm-up on. For streams and held requests a figure per delivery
//! means the same today. A transport that polls at an interval went on polling through the drain, when
//! nothing was published any more, so that its figures depended on how long the phases were: they are
//! left out, never misread.

use pushbench_protocol::transport::{Polls, Transport};

use super::{Record, SCHEMA_VERSION, SummaryRow, Trial, WorkloadWindow};

/// Figures of transports that poll at an interval that are left out, as keys of a trial.
const LEFT_OUT: [&str; 11] = [
    "server.cpu_ns_per_delivery",
    "harness.cpu_ns_per_delivery",
    "wire.server_to_client_bytes_per_delivery",
    "wire.client_to_server_bytes_per_delivery",
    "wire.segments_per_delivery",
    "wire.requests",
    "wire.empty_responses",
    "measures.round_trip.up_bytes_per_message",
    "measures.round_trip.down_bytes_per_message",
    "measures.round_trip.server_cpu_ns_per_message",
    "measures.arrivals.server_cpu_ns_per_arrival",
];

fn polls(transport: Transport) -> bool {
    transport.polls() == Some(Polls::AtIntervals)
}

/// Turns a record of schema 1 into one of today's.
pub(super) fn from_schema_1(mut record: Record) -> Record {
    record.schema_version = SCHEMA_VERSION;
    record.converted_from = Some(1);
    record.trials.iter_mut().for_each(trial);
    let of_polls = record
        .summary
        .iter_mut()
        .filter(|row| polls(row.variant.transport));
    of_polls.for_each(row);
    record.growth.retain(|growth| !polls(growth.side.transport));
    for comparison in &mut record.comparisons {
        if polls(comparison.pair.a.transport) || polls(comparison.pair.b.transport) {
            let kept = |metric: &str| !LEFT_OUT.contains(&metric);
            comparison.metrics.retain(|of| kept(&of.metric));
        }
    }
    record
}

fn trial(trial: &mut Trial) {
    let phases = trial.phase_ns;
    let polls = polls(trial.variant.transport);
    if let (Some(measure), Some(drain)) = (phases.measure, phases.drain) {
        trial.workload = Some(WorkloadWindow {
            from_ns: measure.start,
            until_ns: drain.end,
            deliveries: (!polls).then_some(trial.deliveries.received),
            sent: None,
            arrivals: None,
        });
    }
    if !polls {
        return;
    }
    trial.server.cpu_ns_per_delivery = None;
    trial.harness.cpu_ns_per_delivery = None;
    trial.wire = super::Wire::default();
    if let Some(trips) = &mut trial.measures.round_trip {
        trips.up_bytes_per_message = None;
        trips.down_bytes_per_message = None;
        trips.server_cpu_ns_per_message = None;
    }
    if let Some(arrivals) = &mut trial.measures.arrivals {
        arrivals.server_cpu_ns_per_arrival = None;
    }
}

fn row(row: &mut SummaryRow) {
    row.server_cpu_ns_per_delivery = None;
    row.cpu_multiple_of_tcp = None;
    row.harness_cpu_ns_per_delivery = None;
    row.unattributed_cpu_ns_per_delivery = None;
    row.server_to_client_bytes_per_delivery = None;
    row.client_to_server_bytes_per_delivery = None;
    row.segments_per_delivery = None;
    for key in LEFT_OUT {
        if let Some(path) = key.strip_prefix("measures.") {
            row.measures.remove(path);
        }
    }
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
    use crate::record::sample;
    use serde_json::{Value, json};
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
        let again = read(&record.to_json());
        assert_eq!(again, record, "written, it stays marked");
    }

    #[test]
    fn what_changed_its_meaning_is_left_out_of_polls_and_named() {
        let json = of_schema_1(|record| {
            record.trials[0].variant.side.transport = Transport::ShortPoll;
            record.trials[0].server.cpu_ns_per_delivery = Some(1_333_000.0);
            record.trials[0].measures.round_trip = Some(super::super::RoundTrip {
                up_bytes_per_message: Some(100.0),
                ..Default::default()
            });
            record.summary = crate::metrics::summarise(&record.trials, &Default::default());
        });
        let record = read(&json);
        let json = serde_json::to_value(&record.trials[0]).expect("serialisable");
        for key in LEFT_OUT {
            let found = json.pointer(&format!("/{}", key.replace('.', "/")));
            assert!(found.is_none_or(Value::is_null), "{key}: {found:?}");
        }
        // CPU itself has a window that is known, so it stays.
        assert!(record.trials[0].server.cpu_ns.is_some());
        let polls = |row: &&SummaryRow| row.variant.transport == Transport::ShortPoll;
        let row = record.summary.iter().find(polls).expect("a row");
        assert_eq!(row.server_cpu_ns_per_delivery, None);
        assert!(!row.measures.contains_key("round_trip.up_bytes_per_message"));
        let note = record.conversion_note().expect("something is left out");
        assert!(
            note.contains("is of schema 1") && note.contains("short_poll"),
            "{note}"
        );
    }
}
