//! Sweeps from outside: a record with a point each, and rows and files that do not meet.

use std::collections::BTreeSet;

use pushbench::record::Record;
use pushbench::scenario::SweepKey;
use pushbench_protocol::transport::Transport;

use crate::support::{Runs, TINY, text};

#[test]
fn a_sweep_is_one_record_with_a_row_and_a_log_for_each_point_of_each_transport() {
    let sweep = "\n[sweep]\nclients.count = [4, 40]\npublish.rate_per_s = [400, 200]\n";
    let runs = Runs::of(&format!("{TINY}{sweep}"));
    let output = runs.run("run --transports tcp,sse --trials 2");
    let (table, progress) = (text(&output.stdout), text(&output.stderr));
    let kept = runs.kept().expect(progress);
    let record = Record::read(&kept).expect("a record");
    assert_eq!((record.trials.len(), record.summary.len()), (8, 4));
    // Interleaved: everything once, before anything runs again.
    let indices: Vec<u32> = record.trials.iter().map(|trial| trial.index).collect();
    assert_eq!(indices, [1, 1, 1, 1, 2, 2, 2, 2]);
    // The schedule says what is owed: 160 messages in 0.4 s to a client on each of 4 channels, or
    // 80 messages to ten.
    for trial in &record.trials {
        let point = trial.variant.point.expect("a point");
        let (clients, owed) = [(4u32, 160), (40, 800)][point.index as usize - 1];
        assert_eq!(
            point.value(SweepKey::CLIENTS),
            Some(f64::from(clients)),
            "{}",
            trial.label()
        );
        assert_eq!(
            trial.clients.connected,
            u64::from(clients),
            "{}",
            trial.label()
        );
        let found = trial.deliveries;
        assert_eq!(
            (found.expected, found.received),
            (Some(owed), owed),
            "{}",
            trial.label()
        );
    }
    let labels: BTreeSet<String> = record.trials.iter().map(|t| t.label_for_file()).collect();
    assert_eq!(labels.len(), 8);
    for label in &labels {
        let log = kept.join(format!("latency/{label}.hlog"));
        assert!(log.is_file(), "{}", log.display());
    }
    let rows: Vec<_> = record
        .summary
        .iter()
        .map(|row| {
            (
                row.variant.transport,
                row.variant.point.and_then(|p| p.value(SweepKey::CLIENTS)),
                row.figure("delivered"),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            (Transport::Tcp, Some(4.0), Some(320.0)),
            (Transport::Tcp, Some(40.0), Some(1_600.0)),
            (Transport::Sse, Some(4.0), Some(320.0)),
            (Transport::Sse, Some(40.0), Some(1_600.0)),
        ]
    );
    let growing: Vec<_> = record.growth.iter().map(|g| g.side.transport).collect();
    assert_eq!(growing, [Transport::Tcp, Transport::Sse]);
    assert_eq!(record.growth[0].growth_over_tcp, Some(1.0));
    assert!(
        table.starts_with("tiny: 4 to 40 clients, 4 channels, 400 to 200 publ"),
        "{table}"
    );
    assert!(
        table.contains("\ngrowth of server CPU per delivery"),
        "{table}"
    );
    assert!(
        progress.contains("sse tuned at clients 40, rate_per_s 200, trial 2: "),
        "{progress}"
    );
}

#[test]
fn a_sweep_of_the_command_line_takes_the_place_of_the_files() {
    let runs = Runs::of(&format!("{TINY}\n[sweep]\nclients.count = [4, 40]\n"));
    let output = runs.run("run --transports tcp --sweep payload_bytes=64,4096");
    let (progress, record) = (text(&output.stderr), runs.record());
    let mut sizes: Vec<_> = record
        .trials
        .iter()
        .map(|trial| {
            let point = trial.variant.point.expect("swept");
            let bytes = point.value(SweepKey::PAYLOAD_BYTES).expect("swept") as usize;
            (bytes, trial.clients.target, trial.deliveries.received)
        })
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [(64, 40, 800), (4_096, 40, 800)], "{progress}");
}
