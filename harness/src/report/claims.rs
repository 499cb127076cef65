//! `results/CLAIMS.md`: the usual advice, with a measured number next to each piece of it.
//!
//! In: the claims as data (`claims.toml`) and the reference records. Out: a table. The verdict on a
//! claim is that of the record's own comparison; a claim that no record settles names the scenario
//! that would.

use std::fmt::Write;

use serde::Deserialize;

use super::answer::less;
use super::relation::Relation;
use super::splice::Reference;
use super::view::View;
use crate::analysis::compare::{MIN_ROUNDS, Says};
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
    verdict: Option<Verdict>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    metric: String,
    of: Vec<Selector>,
    what: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    metric: String,
    of: Selector,
    against: Selector,
    expects: Expects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expects {
    Less,
    More,
    Same,
}

/// The table of all claims, over the records that there are.
pub(super) fn render(references: &[Reference]) -> String {
    // A test reads them, so there is nothing to refuse here.
    let claims = toml::from_str::<Claims>(CLAIMS).map_or_else(|_| Vec::new(), |c| c.claim);
    let mut out =
        "| the advice | what was measured | verdict | record |\n|---|---|---|---|\n".to_owned();
    for claim in &claims {
        let found = references
            .iter()
            .find(|reference| reference.record.scenario.name == claim.scenario);
        let (measured, holds, source) = match found {
            Some(reference) => {
                let view = View::of(&reference.record);
                (
                    figures(&view, claim),
                    holds(&view, claim),
                    format!("[{}]({}/{RECORD_FILE})", claim.scenario, reference.link),
                )
            }
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

/// What the record's comparison says of the claim.
fn holds(view: &View<'_>, claim: &Claim) -> String {
    let Some(verdict) = &claim.verdict else {
        return match claim.figures.len() {
            0 => unsettled(&claim.scenario),
            _ => "no statistical test recorded".to_owned(),
        };
    };
    let [of, against] = [verdict.of, verdict.against].map(|selector| row(view, selector));
    let found = of.zip(against).and_then(|(a, b)| {
        let (a, b) = (view.rows[a], view.rows[b]);
        let found = Relation::find(view.record, find(&verdict.metric)?.key, a, b)?;
        Some((a.transport, b.transport, found))
    });
    let Some((of, against, found)) = found else {
        if let Some(from) = view.record.converted_from {
            return format!("not settled: left out of a record of schema {from}; run it again");
        }
        return format!("not settled: the record has fewer than {MIN_ROUNDS} rounds to compare");
    };
    let turned = Relation {
        ratio: 1.0 / found.ratio,
        low: 1.0 / found.high,
        high: 1.0 / found.low,
        ..found
    };
    let told = if found.ratio < 1.0 {
        format!("{of} has {} than {against}", less(&found))
    } else {
        format!("{against} has {} than {of}", less(&turned))
    };
    let within = find(&verdict.metric).map(|metric| found.within(metric));
    let within = within.unwrap_or_default();
    let text = match (found.says, verdict.expects) {
        (Says::Undecided, _) => "inconclusive".to_owned(),
        (Says::Alike, Expects::Same) => format!("**yes**: alike {within}"),
        (Says::Alike, _) => format!("**alike** {within}"),
        (Says::Different, Expects::Less) if found.ratio < 1.0 => format!("**yes**: {told}"),
        (Says::Different, Expects::More) if found.ratio > 1.0 => format!("**yes**: {told}"),
        (Says::Different, _) => format!("**no**: {told}"),
    };
    text.replace('_', "\\_")
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
            if let Some(verdict) = &claim.verdict {
                let metric = find(&verdict.metric).expect(&verdict.metric);
                assert!(metric.is_compared(), "{}", verdict.metric);
            }
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
        assert!(text.contains("fewer than 5 rounds to compare"));
    }
}
