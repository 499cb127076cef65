//! Every figure that HTML, Markdown and CSV show is read back and held against the record's; text
//! from outside stays text.

mod csv;
mod growth;
mod page;

use std::path::Path;

use super::columns::{COST, Column, DELIVERY, LEDGER, Show, of_rows};
use super::tree::Tree;
use super::view::View;
use super::*;
use crate::analysis::compare::compare_all;
use crate::metrics::summarise;
use crate::record::{
    Broke, Ended, IntervalNs, Limit, LimitOf, LimitStep, Merged, Probe, Reason, Side, Trial,
    Verdict, sample,
};
use crate::scenario::{Point, SweepKey};
use crate::text::figure::{count, three};
use pushbench_protocol::transport::{Profile, Transport};

/// Holds a text against a file of `src/report`; `PUSHBENCH_RENEW=1 cargo test` writes the file first.
pub(super) fn golden(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report");
    let path = folder.join(name);
    if std::env::var_os("PUSHBENCH_RENEW").is_some() {
        std::fs::write(&path, text).expect("writable");
    }
    let expected = std::fs::read_to_string(&path).expect(name);
    assert_eq!(text, expected, "'{name}'; PUSHBENCH_RENEW=1 writes it");
}

/// Six rounds of every transport in both profiles, all of whose numbers differ.
pub(super) fn rounds() -> Record {
    let mut record = sample::record();
    let model = record.trials[0].clone();
    record.trials.clear();
    for index in 1..=6 {
        for (place, transport) in Transport::ALL.into_iter().enumerate() {
            for profile in [Profile::Stock, Profile::Tuned] {
                if transport == Transport::Tcp && profile == Profile::Stock {
                    continue;
                }
                let factor =
                    1.0 + place as f64 * 0.31 + f64::from(u8::from(profile == Profile::Stock));
                let noise = 1.0 + f64::from(index * (place as u32 + 1) % 7) / 1_000.0;
                record
                    .trials
                    .push(trial(&model, transport, profile, index, factor * noise));
            }
        }
    }
    // Their latencies are far below 1 ms, and only shares are to count.
    let matters = &mut record.scenario.matters;
    (matters.latency_ms, matters.memory_bytes, matters.wire_bytes) = (0.0, 0.0, 0.0);
    record.scenario.run.trials = Some(6);
    record.scenario.run.profiles = vec![Profile::Stock, Profile::Tuned];
    sum_up(&mut record);
    record
}

/// Makes summary and comparisons of the trials.
pub(super) fn sum_up(record: &mut Record) {
    // In place of merged histograms: what the first round has.
    let first = record.trials.iter().filter(|trial| trial.index == 1);
    let merged = first.map(|trial| {
        let (latency_ns, fanout_ns) = (trial.latency_ns, trial.fanout_ns);
        let merged = Merged {
            latency_ns,
            fanout_ns,
        };
        (trial.variant, merged)
    });
    record.summary = summarise(&record.trials, &merged.collect());
    record.comparisons = compare_all(&record.trials, &record.scenario.matters, 1.0);
}

fn trial(model: &Trial, transport: Transport, profile: Profile, index: u32, by: f64) -> Trial {
    let mut trial = model.clone();
    trial.variant = Side { transport, profile }.at(None);
    trial.index = index;
    let times = |ns: Option<u64>| ns.map(|ns| (ns as f64 * by) as u64);
    let latency = &mut trial.latency_ns;
    (latency.p50, latency.p99) = (times(latency.p50), times(latency.p99));
    let around = |ns: Option<u64>| {
        ns.map(|ns| IntervalNs {
            low: ns - ns / 10,
            high: ns + ns / 10,
        })
    };
    trial.latency_interval_ns.p50 = around(latency.p50);
    trial.latency_interval_ns.p99 = around(latency.p99);
    trial.latency_over_time_ns = (0..100)
        .map(|slice| (slice != 50).then_some(84_000.5 * by + f64::from(slice)))
        .collect();
    trial.probe = Some(Probe {
        reads: 78,
        harness_ns: trial.clients.connect_ns,
        server_and_network_ns: trial.fanout_ns,
    });
    trial.server.cpu_ns_per_delivery = Some(7_210.0 * by);
    let memory = &mut trial.server.memory;
    memory.user_bytes_per_client = memory.user_bytes_per_client.map(|bytes| bytes * by);
    trial
}

#[test]
fn every_figure_of_the_markdown_is_the_records() {
    let record = rounds();
    let view = View::of(&record);
    let text = markdown::render(&view);
    for ids in [DELIVERY, COST, LEDGER] {
        let columns = of_rows(ids);
        let head: Vec<String> = columns.iter().map(Column::title).collect();
        let head = format!("| transport | {} |", head.join(" | "));
        let (_, rest) = text.split_once(&head).expect("the table");
        for (place, line) in rest.lines().skip(2).take(view.rows.len()).enumerate() {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells[0].replace('\\', ""), view.rows[place].to_string());
            for (column, cell) in columns.iter().zip(&cells[1..]) {
                let value = view.tree.at(&format!("summary/{place}/{}", column.key));
                let expected = match (column.show, value.and_then(Tree::number)) {
                    (Show::Over(unit), Some(number)) => three(number / unit),
                    (Show::Count, Some(number)) => count(number as u64),
                    (Show::Text, _) => value.and_then(Tree::text).unwrap_or_default(),
                    (_, None) => "–".to_owned(),
                };
                assert_eq!(*cell, expected, "{place} {}", column.key);
            }
        }
    }
}

#[test]
fn text_from_scenario_and_environment_is_never_markup() {
    let mut record = rounds();
    let evil = "<script>alert(1)</script>\"'&|`";
    record.scenario.name = format!("x{evil}");
    record.scenario.summary = evil.to_owned();
    record.scenario.purpose = evil.to_owned();
    record.scenario.cannot_show = evil.to_owned();
    record.environment.cpu_model = Some(evil.to_owned());
    record.tool.revision = Some(evil.to_owned());
    record.trials[3].validity.raise(
        Verdict::Suspect,
        Reason {
            check: evil.to_owned(),
            measured: None,
            limit: None,
            remedy: evil.to_owned(),
            message: evil.to_owned(),
        },
    );
    let view = View::of(&record);
    let page = html::render(&view, None);
    assert_eq!(page.matches("<script>").count(), 1, "our own");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let text = markdown::render(&view);
    let (prose, code) = text.split_once("## To repeat this run").expect("a command");
    assert!(!prose.contains("<script>"), "{prose}");
    // Within a fence it is text; the fence must not end before the file does.
    assert!(code.contains("```toml") && code.trim_end().ends_with("```"));
}

#[test]
fn a_record_without_anything_is_drawn_all_the_same() {
    let mut record = sample::record();
    record.trials.clear();
    record.summary.clear();
    for format in [
        Format::Table,
        Format::Html,
        Format::Md,
        Format::Csv,
        Format::Json,
    ] {
        let text = format
            .render(&record, None, 80)
            .expect("no logs are needed");
        assert!(
            text.ends_with('\n') || text.ends_with("</html>"),
            "{format}"
        );
    }
    let error = Format::Hgrm
        .render(&record, None, 80)
        .expect_err("no folder");
    assert!(
        error
            .to_string()
            .starts_with("'hgrm' is made from the logs"),
        "{error}"
    );
}

#[test]
fn formats_are_known_by_their_ids() {
    for format in Format::ALL {
        assert_eq!(format.id().parse(), Ok(format));
    }
    assert_eq!(
        "xml".parse::<Format>(),
        Err("'xml' is not a format; expected one of table, html, md, csv, json, hgrm".to_owned())
    );
}

#[test]
fn a_trial_of_any_number_takes_one_column() {
    let mut record = rounds();
    record.trials[0].index = u32::MAX;
    let page = Format::Html.render(&record, None, 120).expect("no logs");
    assert_eq!(page.matches(">trial ").count(), 7);
    assert!(page.contains(">trial 4294967295<"));
}
