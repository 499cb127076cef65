//! Limits that were searched for: the curve of every step, and a sentence for each transport.

use super::table::{LOST, LOST_AND_LAST, heading, lost, titled};
use crate::environment::readiness;
use crate::metrics::named;
use crate::record::{Broke, Ended, Limit, LimitOf, LimitStep, Record};
use crate::text::figure::{NONE, count, three};
use crate::text::paragraph;
use crate::text::table::bare;

/// The report of a record that holds limits, for a terminal of `width` columns.
pub(super) fn render(record: &Record, width: u16) -> String {
    let mut out = String::new();
    paragraph(&mut out, width, "", &headline(record));
    for limit in &record.limits {
        let title = limit.side.to_string();
        if limit.steps.is_empty() {
            out.push_str(&format!("\n{title}\n\n"));
        } else {
            titled(&mut out, &title, curve(record, limit));
            out.push('\n');
        }
        paragraph(&mut out, width, "", &sentence(record, limit));
    }
    if let Some(busy) = readiness::sentence(record.environment.before.as_ref()) {
        out.push('\n');
        paragraph(&mut out, width, "", &busy);
    }
    out.push('\n');
    paragraph(
        &mut out,
        width,
        "",
        &format!(
            "{LOST_AND_LAST} CPU: of the cores of that side. –: too few samples, or not measurable here."
        ),
    );
    out
}

fn headline(record: &Record) -> String {
    let status = record.status.ending();
    let (what, objective) = match record.limits.first() {
        Some(limit) => (
            format!("{}, ", grown(record, limit.of)),
            format!("objective '{}', ", limit.objective),
        ),
        None => Default::default(),
    };
    let seconds = record.scenario.phases.measure_s;
    format!(
        "{}: {what}{objective}{seconds} s measured a step, seed {}{status}",
        record.scenario.name, record.seed
    )
}

/// What is grown, and what stays.
fn grown(record: &Record, of: LimitOf) -> String {
    let scenario = &record.scenario;
    let publish = scenario.publish.as_ref();
    let rate = publish.map_or_else(
        || "nothing published".to_owned(),
        |p| {
            format!(
                "{} publishes/s of {} bytes",
                three(scenario.published_per_s()),
                p.payload_bytes
            )
        },
    );
    match of {
        LimitOf::Clients => format!("the most clients, {rate}"),
        LimitOf::Fanout => format!("the most subscribers of one channel, {rate}"),
        LimitOf::Rate => format!(
            "the highest publish rate to {} clients on {} channel(s)",
            count(scenario.clients.count.into()),
            count(scenario.channel_count().into())
        ),
    }
}

fn unit(of: LimitOf) -> &'static str {
    match of {
        LimitOf::Clients => "clients",
        LimitOf::Rate => "publishes/s",
        LimitOf::Fanout => "subscribers",
    }
}

fn curve(record: &Record, limit: &Limit) -> comfy_table::Table {
    let share = |share: Option<f64>| {
        share.map_or_else(|| NONE.to_owned(), |share| format!("{:.0}%", share * 100.0))
    };
    let metrics = || named(&["received", "p50", "p99", "max", "last_p50"]);
    let mut headings = vec![unit(limit.of).to_owned(), "connected".to_owned()];
    headings.extend(metrics().map(|metric| heading(metric.short, metric.unit.symbol())));
    headings.extend([LOST, "server\nCPU", "harness\nCPU", "objective"].map(str::to_owned));
    let mut table = bare(headings);
    for step in &limit.steps {
        let Some(trial) = record.trials.get(step.trial) else {
            continue;
        };
        let d = &trial.deliveries;
        let mut cells = vec![count(step.value), count(trial.clients.connected)];
        cells.extend(metrics().map(|metric| metric.figure((metric.read)(trial))));
        cells.extend([
            lost([d.missing, Some(d.duplicate), Some(d.out_of_order)]),
            share(step.server_cpu_share),
            share(step.harness_cpu_share),
            outcome(step),
        ]);
        table.add_row(cells);
    }
    table
}

fn outcome(step: &LimitStep) -> String {
    match step.broke {
        None => "held".to_owned(),
        Some(Broke::Machine) => "no answer".to_owned(),
        Some(broke) => broke.id().to_owned(),
    }
}

/// What was found, in a sentence for each limit.
pub(super) fn sentences(record: &Record) -> String {
    let limits = record.limits.iter();
    let sentences: Vec<String> = limits.map(|limit| sentence(record, limit)).collect();
    sentences.join(" ")
}

/// What was found, in a sentence.
fn sentence(record: &Record, limit: &Limit) -> String {
    let unit = unit(limit.of);
    let side = limit.side.to_string();
    let ended = match limit.ended {
        Ended::TimeBudget => {
            "; the time budget ended the search, so raise '--time-budget' to come \
                              closer"
        }
        Ended::Interrupted => "; the search was interrupted",
        Ended::Running => "; the search was not finished",
        Ended::Resolved | Ended::Maximum | Ended::NoAnswer => "",
    };
    let open = no_answer(limit);
    let broke = limit.broke.map_or("something", |broke| broke.in_words());
    let evidence = limit
        .evidence
        .as_deref()
        .unwrap_or("nothing is known of it");
    match (limit.last_good, limit.first_bad, open) {
        (Some(good), Some(bad), open) => {
            let held = held(record, limit, good);
            let between = open.map(|open| format!(" In between, {open}."));
            format!(
                "{side} holds {} {unit}{held}. At {} {broke} broke: {evidence}{ended}.{}",
                count(good),
                count(bad),
                between.unwrap_or_default()
            )
        }
        (Some(good), None, Some(open)) => {
            let held = held(record, limit, good);
            format!("{side} holds {} {unit}{held}. Beyond, {open}.", count(good))
        }
        (Some(good), None, None) => {
            let maximum = match limit.ended {
                Ended::Maximum => ", the maximum that was asked for: nothing broke",
                _ => "; nothing broke",
            };
            format!("{side} holds {} {unit}{maximum}{ended}.", count(good))
        }
        (None, Some(bad), Some(open)) => {
            format!(
                "{side}: {open}. At {} {broke} broke: {evidence}.",
                count(bad)
            )
        }
        (None, Some(bad), None) => {
            format!(
                "{side} holds none: at {} {unit} {broke} broke: {evidence}{ended}.",
                count(bad)
            )
        }
        (None, None, Some(open)) => format!("{side}: {open}."),
        (None, None, None) => format!("{side}: no step was done{ended}."),
    }
}

/// Where the machine spoiled the search, and how; `None` where it did not.
fn no_answer(limit: &Limit) -> Option<String> {
    let value = limit.unanswered?;
    let evidence = limit.step(value).and_then(|step| step.evidence.as_deref());
    Some(format!(
        "no answer: at {} {} {}; search again on a quieter machine",
        count(value),
        unit(limit.of),
        evidence.unwrap_or("other programs had the cores")
    ))
}

/// What the last good step delivered, where anything was.
fn held(record: &Record, limit: &Limit, good: u64) -> String {
    let trial = limit
        .step(good)
        .and_then(|step| record.trials.get(step.trial));
    match trial.and_then(|trial| trial.throughput.received_per_s) {
        Some(received) => format!(" ({} deliveries/s)", three(received)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;
    use crate::report::tests::golden;

    #[test]
    fn the_curve_of_each_limit_is_followed_by_its_sentence() {
        let text = render(&sample::limits(), 110);
        golden("sample-limits.txt", &text);
    }

    #[test]
    fn every_end_of_a_search_has_its_sentence() {
        let record = sample::limits();
        let mut limit = record.limits[0].clone();
        let mut told = |good, bad, ended| {
            (limit.last_good, limit.first_bad, limit.ended) = (good, bad, ended);
            limit.broke = bad.map(|_| Broke::Memory);
            limit.evidence = bad.map(|_| "the kernel held most, 15 MiB".to_owned());
            sentence(&record, &limit)
        };
        assert_eq!(
            told(Some(2_000), None, Ended::Maximum),
            "sse tuned holds 2,000 clients, the maximum that was asked for: nothing broke."
        );
        assert_eq!(
            told(Some(2_000), None, Ended::TimeBudget),
            "sse tuned holds 2,000 clients; nothing broke; the time budget ended the search, so \
             raise '--time-budget' to come closer."
        );
        assert_eq!(
            told(None, Some(1), Ended::Resolved),
            "sse tuned holds none: at 1 clients memory broke: the kernel held most, 15 MiB."
        );
        assert_eq!(
            told(None, None, Ended::Interrupted),
            "sse tuned: no step was done; the search was interrupted."
        );
    }

    #[test]
    fn a_search_that_the_machine_spoiled_has_no_answer_rather_than_none() {
        let record = sample::limits();
        let mut limit = record.limits[0].clone();
        let mut told = |good, bad, open| {
            (limit.last_good, limit.first_bad, limit.ended) = (good, bad, Ended::NoAnswer);
            limit.unanswered = Some(open);
            limit.broke = bad.map(|_| Broke::Loss);
            limit.evidence = bad.map(|_| "7 were lost".to_owned());
            let step = limit.steps.iter_mut().find(|step| step.value == open);
            let step = step.expect("a step of it");
            step.broke = Some(Broke::Machine);
            step.evidence = Some("other programs had the cores (it waited for 60%)".to_owned());
            assert_eq!(outcome(step), "no answer");
            sentence(&record, &limit)
        };
        assert_eq!(
            told(None, None, 1_000),
            "sse tuned: no answer: at 1,000 clients other programs had the cores (it waited for \
             60%); search again on a quieter machine."
        );
        assert_eq!(
            told(Some(2_000), None, 4_000),
            "sse tuned holds 2,000 clients (3,000 deliveries/s). Beyond, no answer: at 4,000 \
             clients other programs had the cores (it waited for 60%); search again on a quieter \
             machine."
        );
        assert_eq!(
            told(Some(2_000), Some(4_000), 3_000),
            "sse tuned holds 2,000 clients (3,000 deliveries/s). At 4,000 loss broke: 7 were lost. \
             In between, no answer: at 3,000 clients other programs had the cores (it waited for \
             60%); search again on a quieter machine."
        );
        assert_eq!(
            told(None, Some(2_000), 1_000),
            "sse tuned: no answer: at 1,000 clients other programs had the cores (it waited for \
             60%); search again on a quieter machine. At 2,000 loss broke: 7 were lost."
        );
    }
}
