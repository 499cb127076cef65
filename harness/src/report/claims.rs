//! `results/CLAIMS.md`: the usual advice, with a measured number beside each piece of it.
//!
//! In: the claims as data (`claims.toml`) and the reference records. Out: a table. What a record says
//! of a claim is what its own comparison says; a claim that no record settles says so, and names the
//! scenario that would.

use std::fmt::Write;
use std::path::Path;

use pushbench_protocol::transport::{Profile, Transport};
use serde::Deserialize;

use super::answer::less;
use super::markdown::escape;
use super::relation::Relation;
use super::splice::{Reference, SpliceError};
use super::view::View;
use crate::analysis::compare::{MIN_ROUNDS, Says};
use crate::analysis::stats::decision::SMALLEST_EFFECT;
use crate::record::RECORD_FILE;
use crate::record::Variant;
use crate::scenario::EMBEDDED;
use crate::text::figure::three;

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
    figure: Vec<Figure>,
    verdict: Option<Verdict>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    what: String,
    transport: Transport,
    profile: Profile,
    expression: String,
    over: f64,
    unit: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    metric: String,
    transport: Transport,
    against: Transport,
    profile: Profile,
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
///
/// # Errors
/// [`SpliceError::Field`] where a record lacks what a claim asks of it.
pub(super) fn render(references: &[Reference]) -> Result<String, SpliceError> {
    // A test reads them, so there is nothing to refuse here.
    let claims = toml::from_str::<Claims>(CLAIMS).map_or_else(|_| Vec::new(), |c| c.claim);
    let mut out =
        "| the advice | what was measured | does it hold? | record |\n|---|---|---|---|\n"
            .to_owned();
    for claim in &claims {
        let found = references
            .iter()
            .find(|reference| reference.record.scenario.name == claim.scenario);
        let (measured, holds, source) = match found {
            Some(reference) => {
                let view = View::of(&reference.record);
                (
                    figures(&view, claim, &reference.folder)?,
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
    Ok(out)
}

fn unsettled(scenario: &str) -> String {
    if EMBEDDED.iter().any(|(known, _)| *known == scenario) {
        format!("not settled: a record of `{scenario}` would settle it")
    } else {
        format!("not settled: a scenario `{scenario}` would settle it, which there is not yet")
    }
}

fn figures(view: &View<'_>, claim: &Claim, folder: &Path) -> Result<String, SpliceError> {
    let mut parts: Vec<String> = Vec::new();
    let mut before = "";
    for figure in &claim.figure {
        // The last point of a sweep, if there is one.
        let row = view
            .rows
            .iter()
            .rposition(|key| key.transport == figure.transport && key.profile == figure.profile);
        let value = match row {
            Some(row) => evaluate(view, row, &figure.expression, folder)?,
            None => None,
        };
        let value = match value {
            Some(value) => format!("{} {}", three(value / figure.over), figure.unit),
            None if row.is_none() => "not run".to_owned(),
            None => "not told".to_owned(),
        };
        // What is measured is said once for all transports that it is measured of.
        let what = if before == figure.what {
            String::new()
        } else {
            format!("{}: ", figure.what)
        };
        before = &figure.what;
        let side = format!("{} {}", figure.transport, figure.profile);
        parts.push(escape(&format!("{what}{side} {value}")));
    }
    Ok(if parts.is_empty() {
        "nothing yet".to_owned()
    } else {
        parts.join("; ")
    })
}

/// The value of `KEY` or `KEY / KEY`; `None` where the record has `null`, or would divide by zero.
fn evaluate(
    view: &View<'_>,
    row: usize,
    expression: &str,
    folder: &Path,
) -> Result<Option<f64>, SpliceError> {
    let mut terms = expression
        .split(" / ")
        .map(|key| term(view, row, key, folder));
    let Some(first) = terms.next().transpose()?.flatten() else {
        return Ok(None);
    };
    Ok(match terms.next().transpose()? {
        None => Some(first),
        Some(divisor) => divisor.filter(|&d| d != 0.0).map(|divisor| first / divisor),
    })
}

fn term(view: &View<'_>, row: usize, key: &str, folder: &Path) -> Result<Option<f64>, SpliceError> {
    let at = |place: String| match view.tree.at(&place) {
        Some(value) => Ok(value.number()),
        None => Err(SpliceError::Field {
            path: folder.join(RECORD_FILE),
            field: place.replace('/', "."),
        }),
    };
    // A named measure stands under its whole path, and only where the scenario names it.
    if let Some(path) = key.strip_prefix("measures.") {
        let measures = view.record.summary.get(row).map(|row| &row.measures);
        return Ok(measures.and_then(|measures| measures.get(path)).copied());
    }
    let Some(key) = key.strip_prefix("trials.") else {
        return at(format!("summary/{row}/{}", key.replace('.', "/")));
    };
    let mut sum = None;
    for trial in view.trials_of(&view.rows[row]) {
        let value = at(format!("trials/{trial}/{}", key.replace('.', "/")))?;
        sum = value.map(|value| sum.unwrap_or(0.0) + value).or(sum);
    }
    Ok(sum)
}

/// What the record's comparison says of the claim.
fn holds(view: &View<'_>, claim: &Claim) -> String {
    let Some(verdict) = &claim.verdict else {
        return match claim.figure.len() {
            0 => unsettled(&claim.scenario),
            _ => "judge by the numbers: the record compares nothing of the kind".to_owned(),
        };
    };
    // The last point of a sweep, if there is one.
    let key = |transport| -> Option<Variant> {
        let rows = view.rows.iter().rev();
        let mut rows = rows.filter(|key| key.profile == verdict.profile);
        rows.find(|key| key.transport == transport).copied()
    };
    let relation = key(verdict.transport)
        .zip(key(verdict.against))
        .and_then(|(a, b)| Relation::find(view.record, &verdict.metric, a, b));
    let Some(found) = relation else {
        if let Some(from) = view.record.converted_from {
            return format!("not settled: left out of a record of schema {from}; run it again");
        }
        return format!("not settled: the record has fewer than {MIN_ROUNDS} rounds to compare");
    };
    let (of, against) = (verdict.transport, verdict.against);
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
    let same = format!("the same, within {:.0}%", SMALLEST_EFFECT * 100.0);
    let text = match (found.says, verdict.expects) {
        (Says::Undecided, _) => "undecided: the trials do not tell".to_owned(),
        (Says::Same, Expects::Same) => format!("**yes**: {same}"),
        (Says::Same, _) => format!("**no**: {same}"),
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
        record.summary = crate::record::summarise(&record.trials, &Default::default());
        record.comparisons = compare_all(&record.trials);
        record
    }

    fn reference(record: Record) -> Reference {
        Reference {
            link: format!("reference/{}", record.scenario.name),
            folder: "results/reference/x".into(),
            record,
        }
    }

    #[test]
    fn every_claim_can_be_read_and_every_key_that_it_asks_for_exists() {
        let record = record("any");
        let view = View::of(&record);
        let claims = claims();
        assert!(claims.len() >= 12);
        for claim in &claims {
            for figure in &claim.figure {
                let expression = &figure.expression;
                let found = evaluate(&view, 0, expression, Path::new("x"));
                assert!(found.is_ok(), "{expression}");
                if expression.starts_with("measures.") {
                    let key = expression.replacen('.', "/", 1);
                    let tables = super::super::measures::TABLES.iter();
                    let mut keys = tables.flat_map(|table| table.columns).map(|c| c.key);
                    assert!(keys.any(|known| known == key), "{expression}");
                }
            }
            if let Some(verdict) = &claim.verdict {
                let compared = crate::analysis::compare::metric::find(&verdict.metric);
                assert!(compared.is_some(), "{}", verdict.metric);
            }
        }
    }

    #[test]
    fn without_records_every_claim_is_open_and_names_what_would_settle_it() {
        let text = render(&[]).expect("no record lacks anything");
        assert_eq!(text.lines().count(), 2 + claims().len());
        assert_eq!(text.matches("not settled: ").count(), claims().len());
        assert!(text.contains("a record of `notifications` would settle it"));
        assert!(text.contains("a scenario `proxies` would settle it, which there is not yet"));
    }

    #[test]
    fn a_record_settles_its_claims_by_its_own_comparison() {
        let text = render(&[reference(record("notifications"))]).expect("all is there");
        let line = text
            .lines()
            .find(|line| line.contains("little memory"))
            .expect("a row");
        assert!(
            line.contains(
                "server memory of a client that gets a message in 50 s: sse tuned 5.02 KB; websocket tuned 10.0 KB; \
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
        let text = render(&[reference(few)]).expect("all is there");
        assert!(text.contains("fewer than 5 rounds to compare"));
    }

    #[test]
    fn an_expression_over_what_a_record_lacks_names_file_and_field() {
        let record = record("notifications");
        let view = View::of(&record);
        let error = evaluate(&view, 0, "no_such.key", Path::new("here")).expect_err("missing");
        assert_eq!(
            error.to_string(),
            "'here/run.json' lacks 'summary.0.no_such.key', which a table asks for; it is of another \
             version of pushbench"
        );
        let sum = evaluate(&view, 0, "trials.wire.requests", Path::new("here")).expect("there");
        assert_eq!(sum, Some(0.0));
        let none = evaluate(
            &view,
            0,
            "trials.wire.empty_responses / trials.wire.requests",
            Path::new("here"),
        );
        assert_eq!(none.expect("there"), None, "nothing is divided by zero");
    }
}
