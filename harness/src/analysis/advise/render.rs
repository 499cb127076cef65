//! Advice as people read it: a table of predictions, a recommendation, rules; and the table of
//! prediction against measurement. Nothing is decided here.

use std::fmt::Write;

use super::check::{self, Row, TARGET, Twice};
use super::model::{Model, Prediction, TERM_NAMES};
use super::recommend::{Recommendation, key, limits};
use super::rules::{holds_a_request, rules};
use super::workload::{Audience, Workload};
use crate::analysis::compare::judge::percent;
use crate::text::figure::{NONE, count, three};
use crate::text::paragraph;
use crate::text::table::{self, bare};
use pushbench_protocol::transport::{Polls, Profile, Transport};

/// Width of the text: what a terminal shows without breaking a line.
const WIDTH: u16 = 100;

/// Everything that was asked for, in one place.
#[derive(Debug)]
pub struct Advice<'a> {
    /// What was asked.
    pub workload: &'a Workload,
    /// What it rests on.
    pub model: &'a Model,
    /// In which profile.
    pub profile: Profile,
    /// For each transport that the records know.
    pub predictions: &'a [Prediction],
    /// The answer.
    pub recommendation: &'a Recommendation,
    /// Where the records are from, and whether that is this machine.
    pub origin: &'a str,
}

/// The advice as text.
pub fn advice(a: &Advice<'_>) -> String {
    let mut out = String::new();
    wrap(&mut out, "", &sentence(a.workload));
    let _ = writeln!(out, "\npredicted for the profile '{}'\n", a.profile);
    out.push_str(&predictions(a));
    out.push('\n');
    let upstream = a.workload.upstream > 0.0;
    let note = format!(
        "Memory: of the server, its user memory and the kernel's for its ends. Busy: what publishing \
         holds beyond it. Bytes: payload of TCP, 52 more a segment on an Ethernet{}. Predictions, no \
         measurements: from {}.",
        if upstream {
            "; clients' own messages are in bytes and CPU, the connections for their POSTs in memory"
        } else {
            ""
        },
        a.origin
    );
    wrap(&mut out, "", &note);
    let said = a.predictions.iter().flat_map(|p| {
        let what = p.beyond.iter();
        what.map(|what| (what.clone(), p.transport.id().to_owned()))
    });
    for (what, who) in gathered(said) {
        wrap(
            &mut out,
            "",
            &format!("Beyond the records ({}): {what}.", who.join(", ")),
        );
    }
    for transport in Transport::ALL {
        if !a.predictions.iter().any(|p| p.transport == transport) {
            let text =
                format!("Not predicted: '{transport}', since no record has it in this profile.");
            wrap(&mut out, "", &text);
        }
    }
    out.push_str("\nthe limit on connections that binds first\n");
    for p in a.predictions {
        let limits = limits(a.workload, a.model, key(p.transport, a.profile));
        if let Some((n, what)) = limits.first() {
            wrap(
                &mut out,
                "  ",
                &format!("{}: {} clients, by {what}", p.transport, figure(*n)),
            );
        }
    }
    if a.workload.audience == Audience::Browser && !a.workload.http2 {
        let held = Transport::ALL.into_iter().filter(|&t| holds_a_request(t));
        let held: Vec<String> = held.map(|t| format!("'{t}'")).collect();
        let text = format!(
            "in each browser: six connections to a host over HTTP/1.1, for {} and all other requests \
             together",
            held.join(", ")
        );
        wrap(&mut out, "  ", &text);
    }
    let r = a.recommendation;
    let _ = writeln!(out, "\nrecommended: {}", r.transport);
    for reason in &r.reasons {
        wrap_item(&mut out, reason);
    }
    out.push_str("what would change it\n");
    for change in &r.would_change {
        wrap_item(&mut out, change);
    }
    out.push_str("\nwhat no measurement here decides\n");
    for rule in rules(a.workload) {
        let about = Transport::ALL.into_iter().filter(|&t| (rule.about)(t));
        let about: Vec<&str> = about.map(Transport::id).collect();
        wrap_item(
            &mut out,
            &format!("{}: {} ({})", about.join(", "), rule.text, rule.source),
        );
    }
    out
}

fn sentence(w: &Workload) -> String {
    let group = match w.group {
        1 => "of its own".to_owned(),
        n if n == w.clients => "the same for all".to_owned(),
        n => format!("shared by {}", count(n.into())),
    };
    let mut text = format!(
        "{} {} clients, each with {} messages/s of {} bytes, {group}",
        count(w.clients.into()),
        match w.audience {
            Audience::Browser => "browser",
            Audience::Native => "native",
        },
        three(w.rate),
        three(w.payload)
    );
    if w.burst > 1.0 {
        let _ = write!(text, ", {} at a time", three(w.burst));
    }
    if w.upstream > 0.0 {
        let _ = write!(text, ", and {} messages/s from each", three(w.upstream));
    }
    for (is, word) in [
        (w.binary, "binary"),
        (w.proxy, "behind a proxy"),
        (w.http2, "over HTTP/2"),
        (w.mobile, "with phones"),
    ] {
        if is {
            let _ = write!(text, ", {word}");
        }
    }
    let _ = write!(
        text,
        "; {} reconnects an hour each; short_poll asks every {} s.",
        three(w.reconnects_per_s * 3_600.0),
        three(w.poll_interval_s)
    );
    text
}

fn predictions(a: &Advice<'_>) -> String {
    let w = a.workload;
    let priced = w.price_per_gb.is_some() || w.price_per_core.is_some();
    let mut head = vec![
        "transport",
        "user\nmemory",
        "kernel\nmemory",
        "busy",
        "cores",
        "down\nMB/s",
        "up\nMB/s",
        "req.\n/s",
        "clients\n/GB",
        "clients\n/core",
        "delay",
    ];
    if priced {
        head.push("price");
    }
    let mut table = bare(head);
    for p in a.predictions {
        let n = f64::from(w.clients);
        let memory = p.user_bytes.zip(p.kernel_bytes).map(|(u, k)| u + k);
        let mark = if p.beyond.is_empty() { "" } else { " !" };
        let mut row = vec![
            format!("{}{mark}", p.transport),
            bytes(p.user_bytes),
            bytes(p.kernel_bytes),
            bytes(p.busy_bytes),
            p.cores.map_or_else(|| NONE.to_owned(), three),
            three(p.down_bytes_per_s / 1e6),
            three(p.up_bytes_per_s / 1e6),
            figure(p.requests_per_s),
            memory.map_or_else(|| NONE.to_owned(), |m| figure(n * 1e9 / m)),
            p.cores
                .filter(|c| *c > 0.0)
                .map_or_else(|| NONE.to_owned(), |c| figure(n / c)),
            match p.transport.polls() {
                Some(Polls::AtIntervals) => format!("{} s", three(w.poll_interval_s / 2.0)),
                Some(Polls::Held) | None => "at once".to_owned(),
            },
        ];
        if priced {
            let price = memory.zip(p.cores).map(|(memory, cores)| {
                w.price_per_gb.unwrap_or(0.0) * memory / 1e9
                    + w.price_per_core.unwrap_or(0.0) * cores
            });
            row.push(price.map_or_else(|| NONE.to_owned(), three));
        }
        table.add_row(row);
    }
    lines(table)
}

fn lines(table: comfy_table::Table) -> String {
    let mut out = String::new();
    table::lines(&mut out, table, 1, usize::MAX);
    out
}

fn bytes(value: Option<f64>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(v) if v >= 1e9 => format!("{} GB", three(v / 1e9)),
        Some(v) => format!("{} MB", three(v / 1e6)),
    }
}

/// A number of which the first two digits are worth reading.
fn figure(value: f64) -> String {
    if value >= 1_000.0 {
        let unit = 10f64.powf(value.log10().floor() - 1.0);
        count(((value / unit).round() * unit) as u64)
    } else {
        three(value)
    }
}

/// Prediction against measurement.
pub fn check_table(rows: &[Row], model_of: &str) -> String {
    let mut out =
        format!("prediction against measurement, each from the other scenarios of {model_of}\n\n");
    let mut table = bare([
        "left out",
        "transport",
        "clients",
        "bytes",
        "memory MB\npred./meas.",
        "off",
        "CPU cores\npred./meas.",
        "off",
        "down B/del.\npred./meas.",
        "off",
    ]);
    for row in rows {
        let pair = |t: Option<Twice>, unit: f64| match t {
            Some(t) => format!("{}/{}", three(t.predicted / unit), three(t.measured / unit)),
            None => NONE.to_owned(),
        };
        let off = |t: Option<Twice>| match t {
            Some(t) if t.near() => percent(t.error()),
            Some(t) => format!("{} !", percent(t.error())),
            None => NONE.to_owned(),
        };
        table.add_row([
            row.scenario.clone(),
            format!("{} {}", row.transport, row.profile),
            count(row.clients.into()),
            three(row.payload),
            pair(row.memory, 1e6),
            off(row.memory),
            pair(row.cpu, 1.0),
            off(row.cpu),
            pair(row.bytes, 1.0),
            off(row.bytes),
        ]);
    }
    out.push_str(&lines(table));
    let (near, all) = check::score(rows);
    let _ = writeln!(
        out,
        "\n{near} of {all} within {}%; '!' marks the others.",
        TARGET * 100.0
    );
    let missing = rows.iter().flat_map(|r| {
        let who = format!("{} {}", r.transport, r.profile);
        let why = r.missing.iter();
        why.map(move |why| ((r.scenario.clone(), why.clone()), who.clone()))
    });
    for ((scenario, why), who) in gathered(missing) {
        let text = format!("Not predicted ({scenario}: {}): {why}.", who.join(", "));
        wrap(&mut out, "", &text);
    }
    wrap(
        &mut out,
        "",
        "CPU is predicted for the speed that the machine had in the hour of the record, as its tcp \
         baseline shows it; the CPU of tcp itself is therefore no check.",
    );
    out
}

/// What is said once for all of whom it is said, in the order in which it first was.
fn gathered<T: PartialEq>(said: impl Iterator<Item = (T, String)>) -> Vec<(T, Vec<String>)> {
    let mut all: Vec<(T, Vec<String>)> = Vec::new();
    for (what, of) in said {
        match all.iter_mut().find(|(known, _)| *known == what) {
            Some((_, who)) if who.contains(&of) => {}
            Some((_, who)) => who.push(of),
            None => all.push((what, vec![of])),
        }
    }
    all
}

/// The costs that were fitted, for who wants to see them.
pub fn costs(model: &Model) -> String {
    let mut head = vec![
        "fitted".to_owned(),
        "base MB".to_owned(),
        "user B\n/client".to_owned(),
        "kernel B\n/client".to_owned(),
    ];
    head.extend(TERM_NAMES.iter().map(|name| match *name {
        "byte" => "ns\n/byte".to_owned(),
        name => format!("µs\n/{name}"),
    }));
    head.push("trials".to_owned());
    let mut table = bare(head);
    for ((transport, profile), f) in &model.fitted {
        let told =
            |v: Option<f64>, unit: f64| v.map_or_else(|| NONE.to_owned(), |v| three(v / unit));
        let mut row = vec![
            format!("{transport} {profile}"),
            told(f.base_bytes, 1e6),
            told(f.user_slope, 1.0),
            told(f.kernel_slope, 1.0),
        ];
        for (i, name) in TERM_NAMES.iter().enumerate() {
            let unit = if *name == "byte" { 1e-9 } else { 1e-6 };
            row.push(told(f.costs.map(|c| c[i]), unit));
        }
        row.push(count(f.trials as u64));
        table.add_row(row);
    }
    lines(table)
}

fn wrap(out: &mut String, indent: &str, text: &str) {
    paragraph(out, WIDTH, indent, text);
}

/// A paragraph whose first line begins with a dash.
fn wrap_item(out: &mut String, text: &str) {
    let begin = out.len();
    wrap(out, "    ", text);
    out.replace_range(begin..begin + 4, "  - ");
}
