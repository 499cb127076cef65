//! Latency: by percentile, all rows on one axis; over time, a panel for each row.

use maud::{Markup, html};

use super::super::columns::{QUANTILES, intervals, of_rows};
use super::super::distribution::Distribution;
use super::super::tree::Tree;
use super::super::view::View;
use super::svg::{Frame, Scale, chart, marker, path, px};
use super::table::{class, fold, is_hollow, summary_rows, swatch, table, trial_rows};
use crate::record::Variant;
use crate::text::figure::{NONE, three};

const NS_PER_MS: f64 = 1e6;

/// The quantiles that have a name, a key in the record and, on trials, an interval.
const NAMED: [(f64, &str, &str); 4] = [
    (0.5, "p50", "p50"),
    (0.9, "p90", "p90"),
    (0.99, "p99", "p99"),
    (0.999, "p99.9", "p999"),
];

/// Factors of ten left beyond a quantile: the axis of percentiles.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The section on percentiles, one chart a point of the sweep.
pub(super) fn percentiles(view: &View<'_>, curves: &[Distribution]) -> Markup {
    if curves.iter().all(|curve| curve.points.is_empty()) {
        return html! { p { "No delivery was measured, so there is no latency to show." } };
    }
    let points = view.points();
    let coarse: Vec<(&Variant, &str)> = view
        .rows
        .iter()
        .zip(curves)
        .filter_map(|(row, curve)| Some((row, curve.coarse.as_deref()?)))
        .collect();
    html! {
        @if points.is_empty() {
            (percentile_chart(view, curves, "percentiles", None))
        } @else {
            @for point in points {
                h3 { "At " (point) }
                (percentile_chart(
                    view, curves, &format!("percentiles-{}", point.index), Some(point.index),
                ))
            }
        }
        p.note {
            "Delivery latency from the intended publish time, both axes logarithmic; to the right, each \
             step leaves a tenth of the deliveries. Curves end where fewer than 6 deliveries lie beyond. \
             Whiskers reach from the lowest to the highest end of the 95% intervals of the row's trials."
        }
        @if !coarse.is_empty() {
            p.note.warn {
                "Drawn from the record's quantiles alone, with straight lines between them: "
                @for (i, (row, why)) in coarse.iter().enumerate() {
                    @if i > 0 { "; " } (row.to_string()) " (" (why) ")"
                }
                "."
            }
        }
        (fold("The numbers of this chart", false, &html! {
            (table(view, "Delivery latency by percentile, over all trials", "transport",
                &summary_rows(view), &of_rows(QUANTILES)))
            (table(view, "95% intervals of percentiles, trial by trial", "trial",
                &trial_rows(view), &intervals()))
        }))
    }
}

fn percentile_chart(
    view: &View<'_>,
    curves: &[Distribution],
    id: &str,
    point: Option<u32>,
) -> Markup {
    let rows: Vec<usize> = (0..view.rows.len())
        .filter(|&row| view.rows[row].point.map(|p| p.index) == point)
        .collect();
    let text = describe(view, &rows);
    let draw = |size, variant: &str| {
        let inside = percentile_lines(view, curves, &rows, size);
        let id = format!("{id}-{variant}");
        chart(
            &id,
            variant,
            size,
            "Delivery latency by percentile",
            &text,
            &inside,
        )
    };
    html! {
        figure {
            ul.legend { @for &row in &rows {
                li { (swatch(&view.rows[row])) (view.rows[row].side) }
            } }
            (draw((960.0, 420.0), "wide"))
            (draw((420.0, 400.0), "narrow"))
        }
    }
}

/// What the chart shows, in words.
fn describe(view: &View<'_>, rows: &[usize]) -> String {
    let of = |row: usize| {
        let at = |key: &str| {
            let value = view.of_row(row, &format!("figures/latency_ns.{key}"));
            value.map_or_else(|| NONE.to_owned(), |ns| three(ns / NS_PER_MS))
        };
        format!(
            "{}: p50 {} ms, p99 {} ms",
            view.rows[row],
            at("p50"),
            at("p99")
        )
    };
    let rows: Vec<String> = rows.iter().map(|&row| of(row)).collect();
    format!("{}. All numbers are in the tables below.", rows.join("; "))
}

/// The least and greatest end of the intervals that the trials of a row have for a quantile.
fn whisker(view: &View<'_>, row: &Variant, key: &str) -> Option<(f64, f64)> {
    let ends = view.trials_of(row).filter_map(|trial| {
        let end = |end: &str| view.of_trial(trial, &format!("latency_interval_ns/{key}/{end}"));
        Some((end("low")?, end("high")?))
    });
    ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn percentile_lines(
    view: &View<'_>,
    curves: &[Distribution],
    rows: &[usize],
    size: (f64, f64),
) -> Markup {
    let frame = Frame {
        size,
        along: "percentile of deliveries",
        unit: "latency, ms",
    };
    let (left, right) = frame.across();
    let shown = || rows.iter().flat_map(|&row| curves[row].points.iter());
    let most = shown().map(|(q, _)| nines(*q)).fold(1.0, f64::max);
    let x = Scale::exact(0.0, most, (left, right));
    let whiskers: Vec<(usize, usize, f64, f64)> = rows
        .iter()
        .enumerate()
        .flat_map(|(place, &row)| {
            NAMED.iter().filter_map(move |(quantile, _, key)| {
                let (low, high) = whisker(view, &view.rows[row], key)?;
                Some((place, row, *quantile, low, high))
            })
        })
        .filter(|(_, row, quantile, ..)| {
            curves[*row]
                .points
                .last()
                .is_some_and(|(q, _)| q >= quantile)
        })
        .flat_map(|(place, row, quantile, low, high)| {
            [(place, row, quantile, low), (place, row, quantile, high)]
        })
        .collect();
    let y = Scale::log(
        shown()
            .map(|(_, ns)| ns / NS_PER_MS)
            .chain(whiskers.iter().map(|(.., ns)| ns / NS_PER_MS)),
        frame.up(),
    );
    let named = std::iter::once((0.0, "min"))
        .chain(NAMED.iter().map(|(quantile, name, _)| (*quantile, *name)))
        .chain([
            (0.9999, "p99.99"),
            (0.99999, "p99.999"),
            (0.999_999, "p99.9999"),
        ])
        .filter(|(quantile, _)| nines(*quantile) <= most + 1e-9)
        .map(|(quantile, name)| (x.at(nines(quantile)), name.to_owned()));
    // Whiskers of different rows stand side by side around their quantile.
    let aside = |place: usize| (place as f64 - (rows.len() as f64 - 1.0) / 2.0) * 3.0;
    html! {
        (frame.axes(named, &y))
        @for ends in whiskers.chunks(2) {
            @let (place, row, quantile, low) = ends[0];
            @let (.., high) = ends[1];
            @let at = (x.at(nines(quantile)) + aside(place)).clamp(left, right);
            path class=(format!("whisker {}", class(&view.rows[row]))) d=(path([
                Some((at - 2.5, y.at(low / NS_PER_MS))), Some((at + 2.5, y.at(low / NS_PER_MS))), None,
                Some((at, y.at(low / NS_PER_MS))), Some((at, y.at(high / NS_PER_MS))), None,
                Some((at - 2.5, y.at(high / NS_PER_MS))), Some((at + 2.5, y.at(high / NS_PER_MS))),
            ])) {}
        }
        @for &row in rows {
            @let key = &view.rows[row];
            @let points = &curves[row].points;
            g class=(class(key)) {
                path.line d=(path(points.iter().map(|(q, ns)| {
                    Some((x.at(nines(*q)), y.at(ns / NS_PER_MS)))
                }))) {}
                @for (quantile, _, name) in NAMED {
                    @if points.last().is_some_and(|(last, _)| *last >= quantile) {
                        @if let Some(ns) = view.of_row(row, &format!("figures/latency_ns.{name}")) {
                            (marker(key.transport as usize, is_hollow(key), x.at(nines(quantile)),
                                y.at(ns / NS_PER_MS)))
                        }
                    }
                }
            }
        }
    }
}

/// Size of a panel of latency over time, and of the plot within.
const PANEL: (f64, f64) = (330.0, 168.0);
const PLOT: (f64, f64, f64, f64) = (48.0, 8.0, 272.0, 122.0);
/// Width of the plot in its own units, so that zooming is a change of its `viewBox`.
const SPAN: f64 = 1_000.0;

/// The section on latency over time.
pub(super) fn over_time(view: &View<'_>) -> Markup {
    let slices = |trial: usize| -> Vec<Option<f64>> {
        match view
            .tree
            .at(&format!("trials/{trial}/latency_over_time_ns"))
        {
            Some(Tree::List(slices)) => slices.iter().map(Tree::number).collect(),
            _ => Vec::new(),
        }
    };
    let of: Vec<Vec<Option<f64>>> = (0..view.trials.len()).map(slices).collect();
    let all = || of.iter().flatten().flatten().map(|ns| ns / NS_PER_MS);
    if all().next().is_none() {
        return html! { p { "No trial has latency over time." } };
    }
    let y = Scale::log(all(), (PLOT.3, 0.0));
    let seconds = view.record.scenario.phases.measure_s;
    let columns = of.iter().map(Vec::len).max().unwrap_or(0);
    html! {
        div.zoom hidden role="group" aria-label="Zoom of the charts over time" {
            button type="button" data-zoom="in" { "Zoom in" }
            button type="button" data-zoom="out" { "Zoom out" }
            button type="button" data-zoom="left" { "Earlier" }
            button type="button" data-zoom="right" { "Later" }
            button type="button" data-zoom="all" { "Whole phase" }
            span.note { "or draw over a stretch of any chart" }
        }
        div.panels data-seconds=(seconds) {
            @for (row, key) in view.rows.iter().enumerate() {
                figure {
                    figcaption { (swatch(key)) (key.to_string()) }
                    (panel(view, row, &of, &y, seconds))
                }
            }
        }
        p.note {
            "Each line is a trial: the geometric mean of delivery latency in each hundredth of the \
             measure phase, by intended time. All panels share their axes."
        }
        (fold("The numbers of these charts", false, &slice_table(view, columns)))
    }
}

fn panel(view: &View<'_>, row: usize, of: &[Vec<Option<f64>>], y: &Scale, seconds: f64) -> Markup {
    let key = &view.rows[row];
    let trials: Vec<usize> = view.trials_of(key).collect();
    let values = || trials.iter().flat_map(|&trial| of[trial].iter().flatten());
    let least = values().copied().reduce(f64::min);
    let most = values().copied().reduce(f64::max);
    let description = match (least, most) {
        (Some(least), Some(most)) => format!(
            "{} trials; between {} and {} ms. All numbers are in the table below.",
            trials.len(),
            three(least / NS_PER_MS),
            three(most / NS_PER_MS)
        ),
        _ => "No deliveries.".to_owned(),
    };
    let (left, top, width, height) = PLOT;
    let inside = html! {
        @for (value, text) in y.ticks() {
            @let at = top + y.at(value);
            line.grid x1=(px(left)) x2=(px(left + width)) y1=(px(at)) y2=(px(at)) {}
            text.tick.end x=(px(left - 6.0)) y=(px(at + 4.0)) { (text) }
        }
        svg.plot x=(px(left)) y=(px(top)) width=(px(width)) height=(px(height))
            viewBox=(format!("0 0 {} {}", px(SPAN), px(height))) preserveAspectRatio="none" {
            g class=(class(key)) { @for &trial in &trials {
                @let slices = &of[trial];
                @let step = SPAN / slices.len().max(1) as f64;
                path.line.thin d=(path(slices.iter().enumerate().map(|(i, ns)| {
                    Some(((i as f64 + 0.5) * step, y.at((*ns)? / NS_PER_MS)))
                }))) {}
            } }
        }
        @for (share, place) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
            text class=(format!("tick x {place}")) data-share=(share)
                x=(px(left + share * width)) y=(px(top + height + 16.0)) {
                (super::svg::tick(share * seconds))
            }
        }
        text.axis.middle x=(px(left + width / 2.0)) y=(px(PANEL.1 - 6.0)) { "s into the measure phase" }
        text.axis.middle transform=(format!("translate(10 {}) rotate(-90)", px(top + height / 2.0))) {
            "ms"
        }
    };
    let title = format!("Latency over time, {}", key);
    chart(
        &format!("time-{}", key.file_name()),
        "panel",
        PANEL,
        &title,
        &description,
        &inside,
    )
}

fn slice_table(view: &View<'_>, columns: usize) -> Markup {
    let caption = "Geometric mean of delivery latency in each slice of the measure phase, ms";
    super::table::boxed(
        caption,
        &html! {
            thead { tr {
                th scope="col" { "trial" }
                @for slice in 0..columns {
                    th.n scope="col" data-key=(slice) data-scale=(NS_PER_MS) { (slice + 1) }
                }
            } }
            tbody { @for row in trial_rows(view) {
                @let place = format!("{}/latency_over_time_ns", row.place);
                tr data-at=(place) {
                    th scope="row" { (row.name) }
                    @for slice in 0..columns {
                        (super::table::cell(
                            view.tree.at(&format!("{place}/{slice}")),
                            super::super::columns::Show::Over(NS_PER_MS),
                        ))
                    }
                }
            } }
        },
    )
}
