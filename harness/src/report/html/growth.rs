//! Growth: curves over the points of a sweep, and over the steps of a search for limits.
//!
//! Both are read from the record's tree, so that a record without them has no such section.

use maud::{Markup, html};

use super::super::columns::{LIMIT, STEP};
use super::super::tree::Tree;
use super::super::view::View;
use super::cost::SIZE;
use super::svg::{Frame, Scale, chart, marker, path};
use super::table::{Row, class, fold, is_hollow, swatch, table};
use crate::metrics::{Metric, named};
use crate::record::Variant;
use crate::text::capitalised;
use crate::text::figure::three;

/// What is drawn over the points of a sweep.
const GROWTH: [&str; 6] = ["p50", "p99", "last_p50", "cpu", "user_memory", "down"];

/// The section of growth; nothing without a sweep or a search for limits.
pub(super) fn growth(view: &View<'_>) -> Option<Markup> {
    match (sweep(view), limits(view)) {
        (None, None) => None,
        (sweep, limits) => Some(html! {
            @if let Some(sweep) = sweep { (sweep) }
            @if let Some(limits) = limits { (limits) }
        }),
    }
}

/// The curves of a sweep.
fn sweep(view: &View<'_>) -> Option<Markup> {
    let points = view.points();
    if points.len() < 2 {
        return None;
    }
    let along = points.first()?.leading()?.0.id();
    let mut sides: Vec<&Variant> = Vec::new();
    for key in &view.rows {
        if !sides.iter().any(|known| known.side == key.side) {
            sides.push(key);
        }
    }
    let drawn: Vec<Markup> = named(&GROWTH)
        .filter_map(|metric| growth_chart(view, &sides, along, metric))
        .collect();
    Some(html! {
        ul.legend { @for key in &sides { li { (swatch(key)) (key.side) } } }
        div.pair { @for drawn in drawn { (drawn) } }
        p.note { "A point of the sweep each, both axes logarithmic. The numbers are those of the \
                  tables of latency and cost, a row for each point." }
    })
}

fn growth_chart(
    view: &View<'_>,
    sides: &[&Variant],
    along: &str,
    metric: &Metric,
) -> Option<Markup> {
    let curve = |side: &Variant| -> Vec<(f64, f64)> {
        let rows = view.rows.iter().enumerate();
        rows.filter(|(_, row)| row.side == side.side)
            .filter_map(|(place, row)| {
                let at = row.point?.leading()?.1;
                let value = view.of_row(place, &metric.in_row())?;
                Some((at, value / metric.unit.over()))
            })
            .collect()
    };
    let curves: Vec<Vec<(f64, f64)>> = sides.iter().map(|side| curve(side)).collect();
    if curves.iter().all(|curve| curve.len() < 2) {
        return None;
    }
    Some(lines(
        &format!("growth-{}", metric.id),
        metric,
        along,
        sides,
        &curves,
    ))
}

/// Curves over something that grows, both axes logarithmic.
fn lines(
    id: &str,
    metric: &Metric,
    along: &str,
    sides: &[&Variant],
    curves: &[Vec<(f64, f64)>],
) -> Markup {
    let (title, unit) = (capitalised(metric.title), metric.unit.symbol());
    let frame = Frame {
        size: SIZE,
        along,
        unit,
    };
    let all = || curves.iter().flatten();
    let x = Scale::log(all().map(|point| point.0), frame.across());
    let y = Scale::log(all().map(|point| point.1), frame.up());
    let described: Vec<String> = sides
        .iter()
        .zip(curves)
        .filter_map(|(side, curve)| {
            let (first, last) = (curve.first()?, curve.last()?);
            Some(format!(
                "{}: {} {unit} at {}, {} {unit} at {}",
                side.side,
                three(first.1),
                three(first.0),
                three(last.1),
                three(last.0)
            ))
        })
        .collect();
    let inside = html! {
        (frame.axes(x.places(), &y))
        @for (side, curve) in sides.iter().zip(curves) {
            g class=(class(side)) {
                path.line d=(path(curve.iter().map(|(at, value)| Some((x.at(*at), y.at(*value)))))) {}
                @for (at, value) in curve {
                    (marker(side.transport as usize, is_hollow(side), x.at(*at), y.at(*value)))
                }
            }
        }
    };
    html! {
        figure {
            h3 { (&title) }
            (chart(id, "bars", SIZE, &format!("{title} over {along}"),
                &format!("{}.", described.join("; ")), &inside))
        }
    }
}

/// What is drawn over the steps of a search.
const STEPS: [&str; 5] = ["p50", "p99", "cpu", "settled_memory", "received"];

/// What was searched for limits, in the order of the record.
fn searched(view: &View<'_>) -> Vec<Variant> {
    let limits = view.record.limits.iter();
    limits.map(|limit| limit.side.at(None)).collect()
}

/// The searches of a record for limits, with the curve of every step.
fn limits(view: &View<'_>) -> Option<Markup> {
    let Some(Tree::List(found)) = view.tree.at("limits") else {
        return None;
    };
    let keys = searched(view);
    if keys.is_empty() {
        return None;
    }
    let of = found[0].at("of").and_then(Tree::text).unwrap_or_default();
    let rows: Vec<Row> = keys
        .iter()
        .enumerate()
        .map(|(place, key)| Row {
            name: key.to_string(),
            key: Some(*key),
            place: format!("/limits/{place}"),
        })
        .collect();
    let steps = |place: usize| match found[place].at("steps") {
        Some(Tree::List(steps)) => steps.len(),
        _ => 0,
    };
    let step_rows: Vec<Row> = rows
        .iter()
        .enumerate()
        .flat_map(|(place, row)| {
            (0..steps(place)).map(move |step| Row {
                place: format!("{}/steps/{step}", row.place),
                ..row.clone()
            })
        })
        .collect();
    let sides: Vec<&Variant> = keys.iter().collect();
    let curve = |place: usize, metric: &Metric| -> Vec<(f64, f64)> {
        let at = |step: usize| {
            let step = view.record.limits[place].steps.get(step)?;
            let trial = view.record.trials.get(step.trial)?;
            Some((
                step.value as f64,
                (metric.read)(trial)? / metric.unit.over(),
            ))
        };
        let mut curve: Vec<(f64, f64)> = (0..steps(place)).filter_map(at).collect();
        curve.sort_by(|a, b| a.0.total_cmp(&b.0));
        curve
    };
    let charts: Vec<Markup> = named(&STEPS)
        .filter_map(|metric| {
            let curves: Vec<_> = (0..keys.len()).map(|place| curve(place, metric)).collect();
            let any = curves.iter().any(|curve| curve.len() > 1);
            let id = format!("limits-{}", metric.id);
            any.then(|| lines(&id, metric, &of, &sides, &curves))
        })
        .collect();
    Some(html! {
        (table(view, "Limits found", "transport", &rows, LIMIT))
        @if !charts.is_empty() {
            ul.legend { @for key in &sides { li { (swatch(key)) (key.side) } } }
            div.pair { @for chart in charts { (chart) } }
            p.note { "A step of the search each, both axes logarithmic." }
        }
        (fold("Every step", false, &table(view, "Steps of the searches", "transport", &step_rows, STEP)))
    })
}
