//! Cost and where time goes: bars against the floor, a dot for each trial.

use maud::{Markup, html};

use super::super::columns::{CONNECT, SPLIT, of_rows, of_trials};
use super::super::view::View;
use super::svg::{Scale, chart, marker, path, px};
use super::table::{class, fold, is_hollow, summary_rows, table, trial_rows};
use crate::metrics::{Metric, find, named};
use crate::record::Variant;
use crate::text::figure::{NONE, three};

/// Width of a chart of this page that is not the widest.
const WIDTH: f64 = 470.0;
/// Size of a chart of curves.
pub(super) const SIZE: (f64, f64) = (WIDTH, 270.0);
/// Height of a row of bars or dots.
const LINE: f64 = 27.0;
/// Where bars begin: behind the longest name.
const LEFT: f64 = 130.0;

/// A chart of bars: for each row one or two parts, end to end.
#[derive(Debug)]
pub(in super::super) struct Bars {
    id: &'static str,
    title: &'static str,
    /// Ids of the parts.
    parts: &'static [&'static str],
    /// Whether the row of `tcp` is drawn as a floor under all others.
    floor: bool,
    note: &'static str,
    /// Ids of the columns of its table.
    pub(in super::super) columns: &'static [&'static str],
}

/// The charts of cost.
pub(in super::super) const BARS: [Bars; 3] = [
    Bars {
        id: "memory",
        title: "Memory per client",
        parts: &["user_memory", "kernel_memory"],
        floor: false,
        note: "Slope over the number of clients while they connect. KB: 1,000 bytes. Kernel memory \
               counts both ends of a connection, since both are on this machine.",
        columns: &["user_memory", "kernel_memory", "harness_memory"],
    },
    Bars {
        id: "cpu",
        title: "Server CPU per delivery",
        parts: &["cpu"],
        floor: true,
        note: "CPU time of the server process over deliveries received, median of trials.",
        columns: &["cpu", "cpu_multiple", "harness_cpu", "other_cpu"],
    },
    Bars {
        id: "bytes",
        title: "Bytes on the wire per delivery",
        parts: &["down", "up"],
        floor: true,
        note: "Payload of TCP by the kernel's counters, keep-alives and empty answers included; \
               median of trials.",
        columns: &["down", "up", "segments"],
    },
];

/// The charts of cost.
pub(super) fn section(view: &View<'_>) -> Markup {
    html! { div.pair { @for what in &BARS { (bars(view, what)) } } }
}

fn bars(view: &View<'_>, what: &Bars) -> Markup {
    let metrics: Vec<&Metric> = named(what.parts).collect();
    let unit = metrics[0].unit.symbol();
    let values: Vec<Vec<Option<f64>>> = (0..view.rows.len())
        .map(|row| {
            let part = |m: &&Metric| Some(view.of_row(row, &m.in_row())? / m.unit.over());
            metrics.iter().map(part).collect()
        })
        .collect();
    let total = |row: &Vec<Option<f64>>| row.iter().flatten().sum::<f64>();
    let most = values.iter().map(total).fold(0.0, f64::max);
    let height = 34.0 + LINE * view.rows.len() as f64;
    let x = Scale::linear(most, (LEFT, WIDTH - 92.0));
    // The baseline at each point of a sweep; without one, of the run.
    let floor = |row: &Variant| {
        let tcp = |of: &Variant| of.is_baseline() && of.point == row.point;
        let tcp = view.rows.iter().position(tcp).filter(|_| what.floor)?;
        values[tcp]
            .iter()
            .any(Option::is_some)
            .then(|| total(&values[tcp]))
    };
    let label = |row: &Vec<Option<f64>>| match row[..] {
        _ if row.iter().all(Option::is_none) => NONE.to_owned(),
        [Some(only)] => three(only),
        _ => {
            let parts = row.iter();
            let parts = parts.map(|part| part.map_or_else(|| NONE.to_owned(), three));
            parts.collect::<Vec<_>>().join(" + ")
        }
    };
    let described: Vec<String> = view
        .rows
        .iter()
        .zip(&values)
        .map(|(key, row)| format!("{} {} {}", key, label(row), unit))
        .collect();
    let inside = html! {
        @for (value, text) in x.ticks() {
            line.grid x1=(px(x.at(value))) x2=(px(x.at(value))) y1="4" y2=(px(height - 28.0)) {}
            text.tick.middle x=(px(x.at(value))) y=(px(height - 13.0)) { (text) }
        }
        text.axis.end x=(px(WIDTH - 4.0)) y=(px(height - 13.0)) { (unit) }
        @for (place, (key, row)) in view.rows.iter().zip(&values).enumerate() {
            @let y = 6.0 + LINE * place as f64;
            text.name.end x=(px(LEFT - 8.0)) y=(px(y + 14.0)) { (key.side) }
            g class=(class(key)) {
                @for (part, value) in row.iter().enumerate() {
                    @if let Some(value) = value {
                        @let before: f64 = row[..part].iter().flatten().sum();
                        rect class=(format!("bar part{part}")) x=(px(x.at(before))) y=(px(y))
                            width=(px(x.at(before + value) - x.at(before))) height=(px(LINE - 9.0)) {}
                    }
                }
                @if let Some(floor) = floor(key) {
                    line.floor x1=(px(x.at(floor))) x2=(px(x.at(floor))) y1=(px(y - 4.0))
                        y2=(px(y + LINE - 5.0)) {}
                }
            }
            text.value x=(px(x.at(total(row)) + 7.0)) y=(px(y + 14.0)) { (label(row)) }
        }
    };
    let title = format!("{}, {}", what.title, unit);
    let has_floor = view.rows.iter().any(|row| floor(row).is_some());
    html! {
        figure {
            h3 { (what.title) }
            (parts(&metrics, has_floor))
            (chart(what.id, "bars", (WIDTH, height), &title,
                &format!("{}. All numbers are in the table below.", described.join("; ")), &inside))
            p.note { (what.note) }
            (fold("The numbers of this chart", false, &table(
                view, &title, "transport", &summary_rows(view), &of_rows(what.columns),
            )))
        }
    }
}

/// The legend of bars: their parts where there are several, and the floor.
fn parts(metrics: &[&Metric], has_floor: bool) -> Markup {
    let several = metrics.iter().enumerate().filter(|_| metrics.len() > 1);
    let swatch = |inside: &Markup| {
        html! { svg.swatch aria-hidden="true" viewBox="0 0 14 12" width="14" height="12" { (inside) } }
    };
    html! {
        @if metrics.len() > 1 || has_floor {
            ul.legend {
                @for (part, metric) in several {
                    li { (swatch(&html! {
                        rect class=(format!("bar part{part}")) x="1" y="1" width="12" height="10" {}
                    })) (metric.short) }
                }
                @if has_floor {
                    li { (swatch(&html! { line.floor x1="7" x2="7" y1="0" y2="12" {} })) "raw TCP, the floor" }
                }
            }
        }
    }
}

/// One series of a chart of dots: the quantiles between which a trial's line goes, dot at the first.
struct Series<'a> {
    name: &'a str,
    /// Ids of its metrics.
    from: &'a str,
    to: &'a str,
    /// Drawn in ink rather than the transport's colour.
    plain: bool,
}

/// Where the time of a delivery went.
pub(super) fn split(view: &View<'_>) -> Markup {
    let any = view.record.trials.iter().any(|trial| trial.probe.is_some());
    if !any {
        return html! { p { "No trial has probes: the kernel stamped nothing, or nothing was received." } };
    }
    let series = [
        Series {
            name: "server and network",
            from: "probe_server_p50",
            to: "probe_server_p90",
            plain: false,
        },
        Series {
            name: "harness",
            from: "probe_harness_p50",
            to: "probe_harness_p90",
            plain: true,
        },
    ];
    html! {
        div.pair { (dots(view, "chart-split", "Where the time went, by probes", &series)) p.note {
            "Delivery latency of a few clients, taken apart by the kernel's stamp of each segment: from \
             the intended time to the stamp, server and network; from the stamp to the read, the \
             harness. A dot is the median of a trial, its line goes to p90. On one host the network is \
             the kernel's loopback and is not told from the server. Medians need not add up."
        } }
        (fold("The numbers of this chart", false, &table(
            view, "Probes: where the time of a delivery went", "trial", &trial_rows(view), &of_trials(SPLIT),
        )))
    }
}

/// How long connecting took.
pub(super) fn connects(view: &View<'_>) -> Markup {
    let series = [Series {
        name: "connect to cursor",
        from: "connect_p50",
        to: "connect_p99",
        plain: false,
    }];
    html! {
        div.pair { (dots(view, "chart-connects", "Connection set-up", &series)) p.note {
            "From the start of a connect to the subscription's cursor. A dot is the median of a trial, \
             its line goes to p99 where there are enough connections."
        } }
        (fold("The numbers of this chart", false, &table(
            view, "Connection set-up, ms", "trial", &trial_rows(view), &of_trials(CONNECT),
        )))
    }
}

fn dots(view: &View<'_>, id: &str, title: &str, series: &[Series<'_>]) -> Markup {
    let read = |trial: usize, id: &str| {
        let metric = find(id)?;
        Some((metric.read)(&view.record.trials[trial])? / metric.unit.over())
    };
    let all = (0..view.trials.len()).flat_map(|trial| {
        let ids = series.iter().flat_map(|s| [s.from, s.to]);
        ids.filter_map(move |id| read(trial, id))
    });
    let line = if series.len() > 1 { 38.0 } else { 27.0 };
    let height = 36.0 + line * view.rows.len() as f64;
    let x = Scale::log(all, (LEFT, WIDTH - 14.0));
    let described: Vec<String> = view
        .rows
        .iter()
        .map(|key| {
            let parts: Vec<String> = series
                .iter()
                .map(|s| {
                    let medians = view.trials_of(key).filter_map(|trial| read(trial, s.from));
                    let range = medians.fold(None, |range: Option<(f64, f64)>, v| {
                        Some(range.map_or((v, v), |(a, b)| (a.min(v), b.max(v))))
                    });
                    match range {
                        Some((a, b)) if a < b => {
                            format!("{} {} to {} ms", s.name, three(a), three(b))
                        }
                        Some((a, _)) => format!("{} {} ms", s.name, three(a)),
                        None => format!("{} not measured", s.name),
                    }
                })
                .collect();
            format!("{}: medians of trials, {}", key, parts.join(", "))
        })
        .collect();
    let inside = html! {
        @for (value, text) in x.ticks() {
            line.grid x1=(px(x.at(value))) x2=(px(x.at(value))) y1="2" y2=(px(height - 30.0)) {}
            text.tick.middle x=(px(x.at(value))) y=(px(height - 15.0)) { (text) }
        }
        text.axis.end x=(px(LEFT - 8.0)) y=(px(height - 15.0)) { "ms, log" }
        @for (place, key) in view.rows.iter().enumerate() {
            @let top = 4.0 + line * place as f64;
            @if place > 0 { line.rule x1="0" x2=(px(WIDTH)) y1=(px(top - 2.0)) y2=(px(top - 2.0)) {} }
            text.name.end x=(px(LEFT - 8.0)) y=(px(top + line / 2.0 + 2.0)) { (key.side) }
            @for (nth, s) in series.iter().enumerate() {
                @let trials: Vec<usize> = view.trials_of(key).collect();
                @let band = (line - 8.0) / series.len() as f64;
                g class=(if s.plain { "ink".to_owned() } else { class(key) }) {
                    @for (i, &trial) in trials.iter().enumerate() {
                        // Trials lie one under the other within the row, so that none hides another.
                        @let share = (i as f64 + 0.5) / trials.len() as f64;
                        @let y = top + band * (nth as f64 + share) + 2.0;
                        @if let Some(from) = read(trial, s.from) {
                            @if let Some(to) = read(trial, s.to) {
                                path.line.thin d=(path([
                                    Some((x.at(from), y)), Some((x.at(to), y)),
                                ])) {}
                            }
                            @if s.plain {
                                circle.m.hollow cx=(px(x.at(from))) cy=(px(y)) r="3" {}
                            } @else {
                                (marker(key.transport as usize, is_hollow(key), x.at(from), y))
                            }
                        }
                    }
                }
            }
        }
    };
    html! {
        figure {
            @if series.len() > 1 { ul.legend {
                li { "● in colour: " (series[0].name) }
                li { "○ grey: " (series[1].name) }
            } }
            (chart(id, "bars", (WIDTH, height), title,
                &format!("{}. All numbers are in the table below.", described.join("; ")), &inside))
        }
    }
}
