//! The server over the measure phase: memory and CPU as curves, with what was done to it marked.
//!
//! Only where the scenario names the measure `over_time`.

use maud::{Markup, html};

use super::super::columns::Show;
use super::super::tree::Tree;
use super::super::view::View;
use super::cost::SIZE;
use super::svg::{Frame, Scale, chart, path, px};
use super::table::{Row, boxed, cell, class, fold, swatch, trial_rows};
use crate::record::Variant;
use crate::text::figure::three;

const NS_PER_S: f64 = 1e9;
const MB: f64 = 1e6;

/// What is drawn: key of a moment, title of its chart.
const CURVES: [(&str, &str); 2] = [
    ("server_bytes", "Resident memory of the server"),
    (
        "kernel_bytes",
        "Slab and socket memory of the kernel, whole machine",
    ),
];

/// The moments of a trial: when, and the value of `key`, in s and MB.
fn moments(view: &View<'_>, trial: usize, key: &str) -> Vec<(f64, f64)> {
    let place = format!("trials/{trial}/measures/over_time/points");
    let Some(Tree::List(points)) = view.tree.at(&place) else {
        return Vec::new();
    };
    let number = |point: &Tree, key: &str| point.at(key)?.number();
    let both = |point| Some((number(point, "at_ns")? / NS_PER_S, number(point, key)? / MB));
    points.iter().filter_map(both).collect()
}

/// The section; nothing where no trial was sampled.
pub(super) fn section(view: &View<'_>) -> Option<Markup> {
    let any = (0..view.trials.len()).any(|trial| !moments(view, trial, CURVES[0].0).is_empty());
    any.then(|| {
        html! {
            ul.legend { @for key in &view.rows { li { (swatch(key)) (key.to_string()) } } }
            div.pair { @for (key, title) in CURVES { (curves(view, key, title)) } }
            p.note {
                "Each line is a trial, a sample some four times a second. Dotted lines are what was done \
                 to the server. Where there are two servers for a while, both count."
            }
            (fold("The numbers of these charts", false, &numbers(view)))
        }
    })
}

fn curves(view: &View<'_>, key: &str, title: &str) -> Markup {
    let frame = Frame {
        size: SIZE,
        along: "s into the measure phase",
        unit: "MB",
    };
    let of: Vec<(&Variant, Vec<(f64, f64)>)> = view
        .rows
        .iter()
        .flat_map(|row| {
            view.trials_of(row)
                .map(move |trial| (row, moments(view, trial, key)))
        })
        .collect();
    let all = || of.iter().flat_map(|(_, points)| points);
    let last = all().map(|point| point.0).fold(0.0, f64::max);
    let most = all().map(|point| point.1).fold(0.0, f64::max);
    let x = Scale::exact(0.0, last, frame.across());
    let y = Scale::linear(most, frame.up());
    let described: Vec<String> = of
        .iter()
        .filter_map(|(row, points)| {
            let (first, last) = (points.first()?, points.last()?);
            let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
            Some(format!(
                "{}: from {} to {} MB, {} MB at the most",
                row,
                three(first.1),
                three(last.1),
                three(most)
            ))
        })
        .collect();
    let inside = html! {
        (frame.axes(x.places(), &y))
        @for at in faults(view) {
            line.fault x1=(px(x.at(at))) x2=(px(x.at(at))) y1=(px(frame.up().1)) y2=(px(frame.up().0)) {}
        }
        @for (row, points) in &of {
            g class=(class(row)) {
                path.line.thin d=(path(points.iter().map(|(at, value)| Some((x.at(*at), y.at(*value)))))) {}
            }
        }
    };
    html! {
        figure {
            h3 { (title) }
            (chart(&format!("moments-{key}"), "bars", SIZE, title,
                &format!("{}.", described.join("; ")), &inside))
        }
    }
}

/// When something was done to a server, in s: those of the first trial, since all have the same plan.
fn faults(view: &View<'_>) -> Vec<f64> {
    let trials = 0..view.trials.len();
    let of = |trial| match view
        .tree
        .at(&format!("trials/{trial}/measures/recovery/faults"))
    {
        Some(Tree::List(faults)) if !faults.is_empty() => Some(faults),
        _ => None,
    };
    let found = trials.into_iter().find_map(of);
    let at = |fault: &Tree| Some(fault.at("at_ns")?.number()? / NS_PER_S);
    found.into_iter().flatten().filter_map(at).collect()
}

fn numbers(view: &View<'_>) -> Markup {
    let rows: Vec<Row> = trial_rows(view);
    let length = |row: &Row| match view
        .tree
        .at(&format!("{}/measures/over_time/points", row.place))
    {
        Some(Tree::List(points)) => points.len(),
        _ => 0,
    };
    html! { @for row in &rows {
        @let count = length(row);
        @if count > 0 {
            (boxed(&format!("{}: samples over time", row.name), &html! {
                thead { tr {
                    th.n scope="col" data-key="at_ns" data-scale=(NS_PER_S) { "at " small { "s" } }
                    @for (key, name) in [("server_bytes", "server"), ("kernel_bytes", "kernel")] {
                        th.n scope="col" data-key=(key) data-scale=(MB) { (name) " " small { "MB" } }
                    }
                    th.n scope="col" data-key="server_cpu_ns" data-scale="1000000" {
                        "server CPU so far " small { "ms" }
                    }
                } }
                tbody { @for index in 0..count {
                    @let place = format!("{}/measures/over_time/points/{index}", row.place);
                    @let at = |key: &str| view.tree.at(&format!("{place}/{key}"));
                    tr data-at=(place) {
                        (cell(at("at_ns"), Show::Over(NS_PER_S)))
                        (cell(at("server_bytes"), Show::Over(MB)))
                        (cell(at("kernel_bytes"), Show::Over(MB)))
                        (cell(at("server_cpu_ns"), Show::Over(1e6)))
                    }
                } }
            }))
        }
    } }
}
