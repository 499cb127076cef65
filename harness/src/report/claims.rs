//! `results/CLAIMS.md`: the usual advice, with a measured number next to each piece of it.
//!
//! In: the claims as data (`claims.toml`) and the reference records. Out: a table. The verdict on a
//! claim is that of the record's own comparison; a claim that no record settles names the scenario
//! that would.

mod verdict;

use std::fmt::Write;

use serde::Deserialize;

use self::verdict::Verdict;
use super::splice::Reference;
use super::view::View;
use crate::metrics::find;
use crate::record::Selector;
use crate::scenario::EMBEDDED;
use crate::store::RECORD_FILE;
use crate::text::markdown as escape;

const CLAIMS: &str = include_str!("claims.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    claim: Vec<Claim>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    says: String,
    source: String,
    scenario: String,
    #[serde(default)]
    figures: Vec<Figure>,
    #[serde(default)]
    verdict: Vec<Verdict>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    metric: String,
    of: Vec<Selector>,
    what: Option<String>,
}

/// The table of all claims, over the records that there are.
pub(super) fn render(references: &[Reference]) -> String {
    // A test reads them, so there is nothing to refuse here.
    let claims = toml::from_str::<Claims>(CLAIMS).map_or_else(|_| Vec::new(), |c| c.claim);
    let mut out =
        "| the advice | what was measured | verdict | record |\n|---|---|---|---|\n".to_owned();
    for claim in &claims {
        let (measured, holds, source) = match of_scenario(references, &claim.scenario) {
            Some(reference) => (
                figures(&View::of(&reference.record), claim),
                holds(references, claim),
                format!("[{}]({}/{RECORD_FILE})", claim.scenario, reference.link),
            ),
            None => (
                "nothing yet".to_owned(),
                unsettled(&claim.scenario),
                "–".to_owned(),
            ),
        };
        let _ = writeln!(
            out,
            "| {} ({}) | {measured} | {holds} | {source} |",
            escape(&claim.says),
            escape(&claim.source)
        );
    }
    out
}

fn unsettled(scenario: &str) -> String {
    if EMBEDDED.iter().any(|(known, _)| *known == scenario) {
        format!("not settled: needs a record of `{scenario}`")
    } else {
        format!("not settled: needs scenario `{scenario}` (planned)")
    }
}

/// The row that a claim means: at the last point of a sweep, if there is one.
fn row(view: &View<'_>, selector: Selector) -> Option<usize> {
    view.rows.iter().rposition(|row| selector.takes(row.side))
}

fn figures(view: &View<'_>, claim: &Claim) -> String {
    let of = |figure: &Figure| {
        let metric = find(&figure.metric)?;
        let value = |&selector: &Selector| match row(view, selector) {
            Some(row) => {
                let figure = view.figure(row, metric);
                let figure = figure.unwrap_or_else(|| "not measured".to_owned());
                format!("{} {figure}", view.rows[row].side)
            }
            None => format!("{} not run", selector.to_string().replace('-', " ")),
        };
        let values: Vec<String> = figure.of.iter().map(value).collect();
        let what = figure.what.as_deref().unwrap_or(metric.title);
        Some(escape(&format!("{what}: {}", values.join("; "))))
    };
    let parts: Vec<String> = claim.figures.iter().filter_map(of).collect();
    match parts.as_slice() {
        [] => "nothing yet".to_owned(),
        parts => parts.join("; "),
    }
}

/// What the records say of the claim, that of its scenario first.
fn holds(references: &[Reference], claim: &Claim) -> String {
    if claim.verdict.is_empty() {
        return unsettled(&claim.scenario);
    }
    let each = claim.verdict.iter().map(|verdict| {
        let scenario = verdict.scenario.as_ref().unwrap_or(&claim.scenario);
        match of_scenario(references, scenario) {
            Some(reference) => verdict.tell(&View::of(&reference.record)),
            None => unsettled(scenario),
        }
    });
    each.collect::<Vec<_>>().join("; ")
}

fn of_scenario<'a>(references: &'a [Reference], scenario: &str) -> Option<&'a Reference> {
    let mut all = references.iter();
    all.find(|reference| reference.record.scenario.name == scenario)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::compare::compare_all;
    use crate::record::{Record, sample};
    use pushbench_protocol::transport::Transport;

    fn claims() -> Vec<Claim> {
        toml::from_str::<Claims>(CLAIMS).expect("claims.toml").claim
    }

    /// Six rounds of sse and websocket on a scenario, in which sse has half the memory.
    fn record(scenario: &str) -> Record {
        let mut record = sample::record();
        record.scenario.name = scenario.to_owned();
        let trial = record.trials[0].clone();
        record.trials = (1..=6)
            .flat_map(|index| {
                let of = |transport, bytes: f64| {
                    let mut trial = trial.clone();
                    trial.index = index;
                    trial.variant.side.transport = transport;
                    let noise = 1.0 + f64::from(index) / 1_000.0;
                    trial.server.memory.user_bytes_per_client = Some(bytes * noise);
                    trial
                };
                [
                    of(Transport::Sse, 5_000.0),
                    of(Transport::WebSocket, 10_000.0),
                ]
            })
            .collect();
        record.summary = crate::metrics::summarise(&record.trials, &Default::default());
        record.comparisons = compare_all(&record.trials, &record.scenario.matters, 1.0);
        record
    }

    fn reference(record: Record) -> Reference {
        Reference {
            link: format!("reference/{}", record.scenario.name),
            record,
        }
    }

    #[test]
    fn every_claim_can_be_read_and_every_metric_that_it_asks_for_exists() {
        let claims = claims();
        assert!(claims.len() >= 12);
        for claim in &claims {
            for figure in &claim.figures {
                assert!(find(&figure.metric).is_some(), "{}", figure.metric);
            }
            for verdict in &claim.verdict {
                let metric = find(&verdict.metric).expect(&verdict.metric);
                let compares = verdict.against.is_some() || verdict.points;
                assert_ne!(compares, verdict.bound.is_some(), "{}", claim.says);
                assert!(!compares || metric.is_compared(), "{}", verdict.metric);
            }
            // What a record can say something of is decided by it.
            assert_eq!(
                claim.figures.is_empty(),
                claim.verdict.is_empty(),
                "{}",
                claim.says
            );
        }
    }

    #[test]
    fn without_records_every_claim_is_open_and_names_what_would_settle_it() {
        let text = render(&[]);
        assert_eq!(text.lines().count(), 2 + claims().len());
        assert_eq!(text.matches("not settled: ").count(), claims().len());
        assert!(text.contains("needs a record of `notifications`"));
        assert!(text.contains("needs scenario `proxies` (planned)"));
    }

    #[test]
    fn a_record_settles_its_claims_by_its_own_comparison() {
        let text = render(&[reference(record("notifications"))]);
        let line = text
            .lines()
            .find(|line| line.contains("little memory"))
            .expect("a row");
        assert!(
            line.contains(
                "server memory of a client that gets a message every 50 s: sse tuned 5.02 KB; websocket tuned 10.0 KB; \
                 long\\_poll tuned not run"
            ),
            "{line}"
        );
        assert!(line.contains("**yes**: sse has "), "{line}");
        assert!(
            line.contains("[notifications](reference/notifications/run.json)"),
            "{line}"
        );
        let mut few = record("notifications");
        few.comparisons.clear();
        let text = render(&[reference(few)]);
        assert!(text.contains("**undecided**: 6 of the 5 rounds"), "{text}");
    }
}
