//! Every figure that HTML, Markdown and CSV show is read back and held against the record's; text
//! from outside stays text.

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
    record.scenario.run.trials = 6;
    record.scenario.run.profiles = vec![Profile::Stock, Profile::Tuned];
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
    record.comparisons = compare_all(&record.trials);
    record
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

/// Attributes of a tag, and what follows it up to the next tag.
struct Tag<'a> {
    name: &'a str,
    attributes: &'a str,
    text: String,
}

impl Tag<'_> {
    fn attribute(&self, name: &str) -> Option<String> {
        let (_, rest) = self.attributes.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    }
}

fn tags(html: &str) -> Vec<Tag<'_>> {
    let parts = html.split('<').skip(1);
    let parts = parts.filter_map(|part| part.split_once('>'));
    parts
        .map(|(tag, text)| {
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let text = text.replace("&lt;", "<").replace("&amp;", "&");
            Tag {
                name,
                attributes,
                text,
            }
        })
        .collect()
}

#[test]
fn every_number_of_the_page_is_the_records_own_and_rounded_as_the_terminal_rounds() {
    let record = rounds();
    let tree = Tree::of(&record);
    let page = html::render(&View::of(&record), None);
    let (mut heads, mut row, mut column, mut read) = (Vec::new(), String::new(), 0, 0);
    let mut keys = std::collections::BTreeSet::new();
    for tag in tags(&page) {
        match tag.name {
            "table" => heads.clear(),
            "tr" => (row, column) = (tag.attribute("data-at").unwrap_or_default(), 0),
            "th" => {
                if tag.attributes.contains("\"col\"") {
                    heads.push((tag.attribute("data-key"), tag.attribute("data-scale")));
                }
                column += 1;
            }
            "td" => {
                let (key, scale) = heads[column].clone();
                column += 1;
                let Some(shown) = tag.attribute("data-value") else {
                    continue;
                };
                let pointer = match &key {
                    Some(key) => format!("{row}/{key}"),
                    None => row.clone(),
                };
                let value = tree.at(&pointer).unwrap_or_else(|| panic!("no {pointer}"));
                assert_eq!(value.text().as_deref(), Some(&*shown), "{pointer}");
                let number = value.number().expect("a number");
                let rounded = match scale.as_deref() {
                    Some("count") => count(number as u64),
                    scale => three(number / scale.map_or(1.0, |s| s.parse().expect("a scale"))),
                };
                assert_eq!(tag.text, rounded, "{pointer}");
                read += 1;
                keys.insert(pointer);
            }
            _ => {}
        }
    }
    // All numbers of trials and summary but the phases of a few: nothing is left out in silence.
    let of_trials = tree.at("trials/0").expect("a trial").leaves("", '/');
    for (key, leaf) in of_trials {
        if matches!(leaf, Tree::Number(_)) && !key.starts_with("validity") {
            assert!(
                keys.contains(&format!("/trials/0/{key}")),
                "{key} is not on the page"
            );
        }
    }
    for (key, leaf) in tree.at("summary/0").expect("a row").leaves("", '/') {
        if matches!(leaf, Tree::Number(_)) {
            assert!(
                keys.contains(&format!("/summary/0/{key}")),
                "{key} is not on the page"
            );
        }
    }
    assert!(read > 10_000, "{read}");
}

#[test]
fn every_number_of_a_bar_or_a_sentence_stands_in_a_table_too() {
    let record = rounds();
    let page = html::render(&View::of(&record), None);
    let values: std::collections::BTreeSet<String> = tags(&page)
        .iter()
        .filter(|tag| tag.name == "td")
        .map(|tag| tag.text.clone())
        .collect();
    let mut bars = 0;
    for tag in tags(&page) {
        if tag.name == "text" && tag.attributes.contains("class=\"value\"") {
            for part in tag.text.split(" + ") {
                assert!(values.contains(part), "{part}");
                bars += 1;
            }
        }
    }
    assert!(bars >= 27, "{bars}");
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

/// A scenario and a machine that would take over a page.
fn hostile() -> Record {
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
    record
}

#[test]
fn text_from_scenario_and_environment_is_never_markup() {
    let record = hostile();
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
fn the_page_asks_no_other_host_for_anything() {
    let page = html::render(&View::of(&rounds()), None);
    for tag in tags(&page) {
        for name in ["src", "href", "xlink:href", "action", "data"] {
            if let Some(target) = tag.attribute(&format!(" {name}")).or(tag.attribute(name)) {
                let inner = tag.name == "a" && target.starts_with('#');
                assert!(inner || name == "data", "{} {name}={target}", tag.name);
            }
        }
    }
    assert!(!page.contains("url(") && !page.contains("@import"));
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_chart_has_a_name_a_description_and_a_table_behind_it() {
    let page = html::render(&View::of(&rounds()), None);
    let all = tags(&page);
    let charts: Vec<&Tag<'_>> = all
        .iter()
        .filter(|tag| tag.name == "svg" && tag.attributes.contains("role=\"img\""))
        .collect();
    // Percentiles twice, eleven panels, split, three costs, connects.
    assert_eq!(charts.len(), 2 + 11 + 1 + 3 + 1);
    let mut ids: Vec<String> = all.iter().filter_map(|tag| tag.attribute("id")).collect();
    for chart in &charts {
        let names = chart.attribute("aria-labelledby").expect("a name");
        for id in names.split(' ') {
            let named = all
                .iter()
                .find(|tag| tag.attribute("id").as_deref() == Some(id));
            assert!(named.is_some_and(|tag| tag.text.len() > 3), "{id}");
        }
    }
    let before = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), before, "an id twice");
    // Whiskers and their intervals.
    assert!(page.contains("class=\"whisker t1 p-tuned\""));
    assert_eq!(page.matches("The numbers of this chart").count(), 6);
}

#[test]
fn the_page_of_a_large_run_stays_below_two_megabytes() {
    let mut record = rounds();
    record.trials.retain(|trial| trial.index <= 5);
    // As many checks as a real trial has.
    for trial in &mut record.trials {
        trial.validity.checks = (0..25)
            .map(|check| crate::record::Check {
                check: format!("check_number_{check}"),
                outcome: crate::record::Outcome::Passed,
                measured: Some(0.010_292_633_703_329_97),
                limit: Some(0.001),
                not_tested: None,
            })
            .collect();
    }
    let page = html::render(&View::of(&record), None);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
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
fn a_sweep_has_growth_curves_and_a_chart_of_percentiles_for_each_point() {
    let mut record = rounds();
    record.trials.retain(|trial| trial.index <= 2);
    record.comparisons.clear();
    record.summary = [record.summary.clone(), record.summary.clone()].concat();
    let half = record.summary.len() / 2;
    let point =
        |index: u32| Some(Point::new(index).with(SweepKey::CLIENTS, f64::from(100 * index)));
    for (place, row) in record.summary.iter_mut().enumerate() {
        row.variant.point = point(1 + (place / half) as u32);
    }
    for trial in &mut record.trials {
        trial.variant.point = point(trial.index);
    }
    let view = View::of(&record);
    let page = html::render(&view, None);
    assert!(page.contains("<h3>At clients 100</h3>") && page.contains("<h3>At clients 200</h3>"));
    assert!(page.contains("id=\"growth-cpu\""));
    assert!(
        page.contains("sse tuned: 9.48 µs at 100, 9.48 µs at 200"),
        "in words"
    );
    assert!(page.contains("at 2 points of a sweep"));
    assert_eq!(
        view.trials_of(&view.rows[0]).count(),
        1,
        "a trial is at one point"
    );
}

#[test]
fn a_search_for_limits_has_its_steps_as_curves_and_its_ends_in_words() {
    let mut record = rounds();
    record.trials.truncate(4);
    record.summary.clear();
    record.comparisons.clear();
    let step = |value, trial, broke: Option<Broke>| LimitStep {
        value,
        trial,
        held: broke.is_none(),
        short_of: Vec::new(),
        broke,
        evidence: broke.map(|_| "the server used 99% of its core".to_owned()),
        server_cpu_share: Some(0.25),
        harness_cpu_share: None,
        memory: Default::default(),
    };
    let side = (Transport::Sse, Profile::Tuned).into();
    let mut limit = Limit::new(side, LimitOf::Clients, "p99<=1s".to_owned(), (100_000, 0.5));
    (limit.last_good, limit.first_bad) = (Some(2_000), Some(4_000));
    (limit.ended, limit.broke) = (Ended::Resolved, Some(Broke::ServerCpu));
    limit.steps = vec![
        step(1_000, 0, None),
        step(4_000, 2, limit.broke),
        step(2_000, 1, None),
    ];
    record.limits = vec![limit];
    let view = View::of(&record);
    let page = html::render(&view, None);
    assert!(
        page.contains("Limits: sse tuned held 2,000 (clients) and broke at 4,000: server_cpu."),
        "the answer"
    );
    assert!(page.contains("id=\"limits-p50\""));
    assert!(
        page.contains("at 1,000, ") && page.contains(" at 4,000."),
        "in the order of values"
    );
    assert!(page.contains("the server used 99% of its core"));
    assert!(
        page.contains("data-at=\"/limits/0/steps/2\"") && page.contains("data-at=\"/trials/3\"")
    );
    assert!(page.contains(
        "pushbench limits ./quick.toml --transports sse --profiles tuned --of clients --objective \
         &#39;p99&lt;=1s&#39; --start 1000 --max-clients 100000 --resolution 0.5 --seed 7"
    ) || page.contains(
        "pushbench limits ./quick.toml --transports sse --profiles tuned --of clients --objective \
         'p99&lt;=1s' --start 1000 --max-clients 100000 --resolution 0.5 --seed 7"
    ));
}
