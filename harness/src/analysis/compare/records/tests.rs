//! Two records against each other, with made-up trials.

use super::*;
use crate::analysis::compare::render::{Form, answer};
use crate::record::{RoundTrip, sample};
use pushbench_protocol::transport::{Profile, Transport};

const BASE: [u64; 6] = [1_000_000, 1_030_000, 980_000, 1_010_000, 990_000, 1_000_000];

/// A record whose trials of `sse tuned` and `tcp tuned` have these medians.
fn record(p50: &[u64]) -> Record {
    let mut record = sample::record();
    let template = record.trials[0].clone();
    record.trials.clear();
    for transport in [Transport::Tcp, Transport::Sse] {
        for (index, &ns) in (1..).zip(p50) {
            let mut trial = template.clone();
            trial.variant.side.transport = transport;
            trial.index = index;
            trial.latency_ns.p50 = Some(ns);
            trial.latency_ns.p99 = Some(ns * 5);
            record.trials.push(trial);
        }
    }
    record
}

fn scaled(factor: f64) -> Record {
    record(&BASE.map(|ns| (ns as f64 * factor) as u64))
}

fn against(a: &Record, b: &Record, gates: &[&str]) -> Result<Report, CompareError> {
    let gates: Vec<Gate> = gates.iter().map(|g| g.parse().expect(g)).collect();
    let source = |label, record| Source {
        label,
        record,
        only: None,
    };
    compare_records(&source("a", a), &source("b", b), &gates)
}

fn line<'a>(report: &'a Report, row: usize, name: &str) -> &'a Line {
    let lines = &report.rows[row].lines;
    lines.iter().find(|l| l.metric.id == name).expect(name)
}

#[test]
fn a_record_against_itself_is_the_same_throughout_without_statistics() {
    for record in [record(&BASE), record(&BASE[..1]), sample::record()] {
        let report = against(
            &record,
            &record.clone(),
            &["p50>+0%", "cpu>+0ns", "missing>+0"],
        );
        let report = report.expect("rows in common");
        assert!(report.identical && report.holds() && !report.different_machines);
        assert_eq!(report.differences, []);
        let lines = report.rows.iter().flat_map(|row| &row.lines);
        assert!(lines.clone().count() > 20);
        for line in lines {
            assert_eq!(
                (line.says, line.low, line.p_value),
                (Says::Same, None, None)
            );
            assert_eq!(line.a, line.b);
        }
        assert!(answer(&report).contains("same by identity"));
    }
}

#[test]
fn a_slower_run_is_worse_and_fails_the_gate_and_the_other_way_round_it_is_better() {
    let (base, slow) = (scaled(1.0), scaled(1.5));
    let report = against(&base, &slow, &["p50>+20%", "p50>+60%", "cpu>+1%"]).expect("rows");
    for row in 0..2 {
        let p50 = line(&report, row, "p50");
        assert_eq!((p50.says, p50.primary), (Says::Worse, true));
        assert!((p50.change.expect("both tell") - 0.5).abs() < 1e-6);
        assert!(p50.low.expect("six trials") > 0.3 && p50.high.expect("six trials") < 0.7);
        assert_eq!(line(&report, row, "cpu").says, Says::Same);
    }
    let failures: Vec<usize> = report.gates.iter().map(|g| g.failures.len()).collect();
    assert_eq!(failures, [2, 0, 0]);
    assert!(!report.holds());
    assert!(report.gates[0].failures[1].starts_with("sse tuned: p50 went from 1.00 ms to 1.50 ms"));
    let back = against(&slow, &base, &["p50>+1%"]).expect("rows");
    assert_eq!(line(&back, 0, "p50").says, Says::Better);
    assert!(back.holds());
}

#[test]
fn a_relative_gate_believes_only_the_near_end_of_the_interval() {
    // 12% more in the middle, but trials that differ by far more than that.
    let a = record(&[1_000_000, 1_400_000, 700_000, 1_200_000, 800_000]);
    let b = record(&[1_120_000, 1_600_000, 800_000, 1_300_000, 880_000]);
    let report = against(&a, &b, &["p50>+10%"]).expect("rows");
    let p50 = line(&report, 0, "p50");
    assert!(p50.change.expect("both tell") > 0.1);
    assert_eq!(p50.says, Says::Undecided);
    assert!(p50.more_trials.is_some_and(|n| n > 5), "{p50:?}");
    assert!(report.holds());
}

#[test]
fn fewer_than_five_trials_are_undecided_and_a_gate_on_them_fails_as_one_that_cannot_be_judged() {
    let (a, b) = (record(&BASE[..3]), record(&BASE));
    let report = against(&a, &b, &["p50>+10%", "p50>5ms", "p50>1us"]).expect("rows");
    let p50 = line(&report, 0, "p50");
    assert_eq!((p50.says, p50.more_trials), (Says::Undecided, Some(2)));
    assert_eq!(p50.low, None);
    let failures: Vec<usize> = report.gates.iter().map(|g| g.failures.len()).collect();
    assert_eq!(failures, [2, 0, 2]);
    assert!(report.gates[0].failures[0].contains("cannot be judged: 3 of 5 trials of A"));
    assert!(report.gates[2].failures[0].ends_with("is 1.00 ms, above 1us"));
}

#[test]
fn void_trials_are_no_witnesses_but_what_they_lost_counts() {
    let (a, mut b) = (scaled(1.0), scaled(1.0));
    b.trials[0] = b.trials[0]
        .clone()
        .failed("it died".to_owned(), String::new());
    b.trials[0].latency_ns.p50 = Some(u64::MAX);
    b.trials[0].deliveries.missing = Some(12);
    let report = against(&a, &b, &["missing>0", "missing@sse>0"]).expect("rows");
    assert_eq!(
        (report.rows[0].trials, report.rows[0].void),
        ([6, 5], [0, 1])
    );
    assert!(line(&report, 0, "p50").b.expect("five trials") < 1.1e6);
    let missing = line(&report, 0, "missing");
    assert_eq!((missing.says, missing.b), (Says::Worse, Some(12.0)));
    assert_eq!(
        report.gates[0].failures,
        ["tcp tuned: missing is 12, above 0"]
    );
    assert!(report.gates[1].failures.is_empty());
}

/// Puts `value` in the place of what `trial` has as `metric`; `false` where its type does not allow it.
fn put(trial: &mut Trial, metric: &Metric, value: serde_json::Value) -> bool {
    let mut tree = serde_json::to_value(&*trial).expect("serialisable");
    let Some(place) = tree.pointer_mut(&format!("/{}", metric.in_trial())) else {
        return false;
    };
    *place = value;
    let put = serde_json::from_value(tree).map(|changed| *trial = changed);
    put.is_ok()
}

/// What makes a row one of which something is not known.
type Spoil = fn(&mut Record);

/// What may be wrong with a row, whatever the metric: what a gate then says, and how that comes about.
const OF_ROWS: [(&str, Spoil); 4] = [
    ("no trial of ", |record| {
        let trials = record.trials.iter_mut();
        trials.for_each(|trial| trial.validity.verdict = Verdict::Void);
    }),
    ("1 of 6 trials of ", |record| {
        record.trials[7].validity.verdict = Verdict::Void;
    }),
    ("1 of 6 trials of ", |record| {
        let last = record.trials.pop().expect("a trial");
        let last = last.failed("interrupted in phase 'measure'".to_owned(), String::new());
        record.trials.push(last);
    }),
    ("is only in ", |record| record.trials.truncate(6)),
];

/// Gates that hold on anything good, of every metric of `trial`: on the value, and on the change.
fn generous(trial: &Trial) -> Vec<(&'static Metric, [String; 2])> {
    let told = compared().filter(|metric| (metric.read)(trial).is_some());
    let gates = told.map(|metric| {
        let id = metric.id;
        let mut units = crate::metrics::unit::UNITS.iter();
        let unit = units.find(|(_, of, _)| *of == metric.unit.quantity());
        let unit = unit.map_or("", |(name, ..)| name);
        let gates = match metric.better {
            Better::Lower => [
                format!("{id}>999999999999999{unit}"),
                format!("{id}>+999999999%"),
            ],
            Better::Higher => [format!("{id}<0{unit}"), format!("{id}<-999999999%")],
        };
        (metric, gates)
    });
    gates.collect()
}

#[test]
fn no_gate_holds_on_a_row_of_which_something_is_not_known() {
    let mut good = scaled(1.0);
    for trial in &mut good.trials {
        let (variant, index) = (trial.variant, trial.index);
        *trial = sample::measured();
        (trial.variant, trial.index) = (variant, index);
        // What a good trial has none of is what is counted, and not out of what.
        trial.deliveries.expected = Some(9_000);
    }
    let mut other = good.clone();
    other.environment.started_utc = "later".to_owned();
    let fails = |(a, b): (&Record, &Record), gates: &[&str], why: &str| {
        let Ok(report) = against(a, b, gates) else {
            return; // No row has a number: an error in place of a report.
        };
        for gate in &report.gates {
            let said = gate.failures.join("; ");
            assert!(said.contains(why), "{} where {why}: '{said}'", gate.gate);
        }
    };
    let gates = generous(&good.trials[0]);
    assert!(gates.len() > 50, "{}", gates.len());
    let [values, changes] = [0, 1].map(|kind: usize| {
        let of_kind = gates.iter().map(|(_, texts)| texts[kind].as_str());
        of_kind.collect::<Vec<_>>()
    });
    let all = [&values[..], &changes].concat();
    assert!(against(&good, &other, &all).expect("rows").holds());
    for (why, spoil) in OF_ROWS {
        let mut bad = other.clone();
        spoil(&mut bad);
        fails((&good, &bad), &all, why);
        fails((&bad, &good), &changes, why);
    }
    let mut counted = 0;
    for (metric, [value, change]) in &gates {
        let mut null = other.clone();
        if put(&mut null.trials[8], metric, serde_json::Value::Null) {
            fails(
                (&good, &null),
                &[value, change],
                "5 of 6 trials of B tell it",
            );
            fails((&null, &good), &[change], "5 of 6 trials of A tell it");
        }
        let Some(of) = metric.out_of.and_then(find) else {
            continue;
        };
        let mut nothing = other.clone();
        for trial in &mut nothing.trials {
            assert!(put(trial, of, 0.into()), "{}", of.id);
        }
        fails((&good, &nothing), &[value, change], "it is counted out of ");
        fails((&nothing, &good), &[change], "it is counted out of ");
        counted += 1;
    }
    assert!(counted > 14, "{counted}");
}

#[test]
fn what_is_not_counted_out_of_deliveries_is_judged_without_any() {
    let mut idle = scaled(1.0);
    let trials = idle.trials.iter_mut();
    trials.for_each(|trial| trial.deliveries.expected = Some(0));
    let report = against(&scaled(1.0), &idle, &["cpu>+50%"]).expect("rows");
    assert!(report.holds());
}

#[test]
fn two_transports_of_one_run_are_paired_by_round() {
    let mut record = scaled(1.0);
    // The machine was slow in some rounds, for both; one of them is 10% slower than the other.
    for (trial, factor) in record
        .trials
        .iter_mut()
        .zip([1.0, 3.0, 1.5, 2.0, 1.0, 4.0].repeat(2))
    {
        let own = if trial.variant.transport == Transport::Sse {
            1.1
        } else {
            1.0
        };
        trial.latency_ns.p50 = Some((1e6 * factor * own) as u64);
    }
    let side = |transport| Source {
        label: "a",
        record: &record,
        only: Some(Selector {
            transport: Some(transport),
            profile: None,
        }),
    };
    let report = compare_records(&side(Transport::Tcp), &side(Transport::Sse), &[]).expect("rows");
    assert_eq!(report.rows.len(), 1);
    assert!(report.rows[0].paired && !report.identical);
    assert_eq!(report.rows[0].pair.to_string(), "tcp tuned → sse tuned");
    let p50 = line(&report, 0, "p50");
    assert_eq!(p50.says, Says::Worse);
    assert!(p50.low.expect("paired") > 0.09 && p50.high.expect("paired") < 0.11);
}

/// A record in which round trips take so long, and every trial has lost so many.
fn with_round_trips(factor: f64, lost: u64) -> Record {
    let mut record = scaled(1.0);
    for trial in &mut record.trials {
        let p50 = trial.latency_ns.p50.map(|ns| (ns as f64 * factor) as u64);
        let mut trips = RoundTrip::default();
        (trips.round_trip_ns.p50, trips.lost) = (p50, lost);
        trial.measures.round_trip = Some(trips);
    }
    record
}

#[test]
fn named_measures_are_compared_and_held_against_gates() {
    let (base, worse) = (with_round_trips(1.0, 0), with_round_trips(1.4, 2));
    let gates = ["round_trip_p50>+20%", "round_trip_p50>+60%", "trips_lost>0"];
    let report = against(&base, &worse, &gates).expect("rows");
    let trip = line(&report, 0, "round_trip_p50");
    assert_eq!((trip.says, trip.primary), (Says::Worse, false));
    let lost = line(&report, 0, "trips_lost");
    assert_eq!(
        (lost.says, lost.a, lost.b),
        (Says::Worse, Some(0.0), Some(12.0))
    );
    let failed = |gate: usize| !report.gates[gate].failures.is_empty();
    assert_eq!([0, 1, 2].map(failed), [true, false, true]);
}

#[test]
fn a_measure_that_only_one_record_has_is_undecided_and_one_that_none_has_is_no_line() {
    let (plain, with) = (scaled(1.0), with_round_trips(1.0, 0));
    let report = against(&plain, &with, &[]).expect("rows");
    let lost = line(&report, 0, "trips_lost");
    assert_eq!(
        (lost.says, lost.a, lost.b),
        (Says::Undecided, None, Some(0.0))
    );
    assert_eq!(lost.why.as_deref(), Some("no trial of A tells it"));
    let named = |m: &Line| m.metric.id.starts_with("set_up");
    assert!(!report.rows[0].lines.iter().any(named));
    let told = against(&with, &plain, &["trips_lost>0"]).expect_err("not measured");
    let told = told.to_string();
    assert!(
        told.starts_with("gate 'trips_lost>0': 'b' has no 'measures.round_trip.lost' for"),
        "{told}"
    );
}

#[test]
fn what_is_not_there_is_named() {
    let (a, mut b) = (scaled(1.0), scaled(1.0));
    let error = |b: &Record, gates: &[&str]| against(&a, b, gates).expect_err("wrong").to_string();
    assert_eq!(
        error(&b, &["p50@websocket>1ms"]),
        "gate 'p50@websocket>1ms': no 'websocket' is compared; the rows are tcp tuned, sse tuned"
    );
    for trial in &mut b.trials {
        trial.latency_ns.p99 = None;
        trial.variant.side.profile = Profile::Tuned;
    }
    let told = error(&b, &["p99>+10%"]);
    assert!(told.starts_with(
        "gate 'p99>+10%': 'b' has no 'latency_ns.p99' for tcp tuned, sse tuned; it is null"
    ));
    b.trials.retain(|t| t.variant.transport == Transport::Sse);
    let report = against(&a, &b, &[]).expect("a row in common");
    assert_eq!(report.left_out, ["tcp tuned is only in 'a'"]);
    let mut c = scaled(1.0);
    c.trials.retain(|t| t.variant.transport == Transport::Tcp);
    let told = against(&b, &c, &[])
        .expect_err("nothing in common")
        .to_string();
    assert!(
        told.starts_with("'a' and 'b' have no row in common: 'a' holds sse tuned, 'b' holds tcp")
    );
}

#[test]
fn what_a_person_reads_fits_a_terminal_and_says_machines_first() {
    let (a, mut b) = (scaled(1.0), scaled(1.5));
    b.environment.cpu_model = Some("Another | CPU".to_owned());
    let report = against(&a, &b, &["p50@sse-tuned>+20%", "missing>0"]).expect("rows");
    let text = Form::Text.render(&report);
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(place("Different machines") < place("not the same"));
    assert!(place("Example CPU @ 2.20GHz → Another | CPU") < place("tcp tuned (6 trials"));
    assert!(place("p50@sse-tuned>+20%: FAILED") < place("missing>0: holds"));
    let markdown = Form::Md.render(&report);
    assert!(markdown.contains("**gate `p50@sse-tuned>+20%` failed**"));
    assert!(markdown.contains("Another \\| CPU"));
    assert!(markdown.contains("| **worse** |"));
    let json: serde_json::Value =
        serde_json::from_str(&Form::Json.render(&report)).expect("valid JSON");
    assert_eq!(json["rows"][1]["a"]["transport"], "sse");
    assert_eq!(json["rows"][1]["lines"][0]["metric"], "latency_ns.p50");
    assert_eq!(json["rows"][1]["lines"][0]["says"], "worse");
    assert_eq!(json["different_machines"], true);
}

#[test]
fn two_sweeps_are_compared_point_by_point_whatever_place_a_point_has_in_its_sweep() {
    let swept = |factor: f64, clients: &[u32]| {
        let mut record = scaled(1.0);
        let plain = record.trials.clone();
        record.trials.clear();
        for (index, &clients) in (1..).zip(clients) {
            for trial in &plain {
                let mut trial = trial.clone();
                trial.variant.point = Some(
                    crate::scenario::Point::new(index)
                        .with(crate::scenario::SweepKey::CLIENTS, f64::from(clients)),
                );
                // Only the larger point is slower.
                if clients == 1_000 {
                    let p50 = trial.latency_ns.p50.expect("told") as f64 * factor;
                    trial.latency_ns.p50 = Some(p50 as u64);
                }
                record.trials.push(trial);
            }
        }
        record
    };
    let (a, b) = (swept(1.0, &[100, 1_000]), swept(1.5, &[10, 100, 1_000]));
    let report = against(&a, &b, &["p50@sse>+20%"]).expect("points in common");
    let names: Vec<String> = report.rows.iter().map(|row| row.pair.to_string()).collect();
    assert_eq!(
        names,
        [
            "tcp tuned at clients 100",
            "tcp tuned at clients 1,000",
            "sse tuned at clients 100",
            "sse tuned at clients 1,000"
        ]
    );
    let says = |row: usize| line(&report, row, "p50").says;
    assert_eq!((says(2), says(3)), (Says::Same, Says::Worse));
    let failures = &report.gates[0].failures;
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].starts_with("sse tuned at clients 1,000: p50 went"));
    assert_eq!(
        failures[1],
        "sse tuned at clients 10: p50 cannot be judged: it is only in 'b'"
    );
    assert_eq!(
        report.left_out,
        [
            "tcp tuned at clients 10 is only in 'b'",
            "sse tuned at clients 10 is only in 'b'"
        ]
    );
}
