//! The page is read back: its numbers and charts are the record's, and it is complete in itself.

use std::collections::BTreeSet;

use super::*;

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
    let mut keys = BTreeSet::new();
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
    for of in ["trials/0", "summary/0"] {
        for (key, leaf) in tree.at(of).expect("one of each").leaves("", '/') {
            let shown = !matches!(leaf, Tree::Number(_))
                || key.starts_with("validity")
                || keys.contains(&format!("/{of}/{key}"));
            assert!(shown, "{of}/{key} is not on the page");
        }
    }
    assert!(read > 10_000, "{read}");
}

#[test]
fn every_number_of_a_bar_or_a_sentence_stands_in_a_table_too() {
    let record = rounds();
    let page = html::render(&View::of(&record), None);
    let values: BTreeSet<String> = tags(&page)
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
