//! Tables of the page. Each says where in the record its rows and columns stand, and each cell holds
//! the exact value beside the rounded one, so that figures can be read back, sorted and checked.

use maud::{Markup, html};

use super::super::columns::{Column, Show};
use super::super::tree::Tree;
use super::super::view::View;
use crate::record::Variant;

/// A row: its name, and its place in the record as a JSON pointer.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: String,
    /// For colour and marker, where the row is a transport's.
    pub(super) key: Option<Variant>,
    pub(super) place: String,
}

/// The rows of the summary.
pub(super) fn summary_rows(view: &View<'_>) -> Vec<Row> {
    let rows = view.rows.iter().enumerate();
    rows.map(|(index, key)| Row {
        name: key.to_string(),
        key: Some(*key),
        place: format!("/summary/{index}"),
    })
    .collect()
}

/// The trials, row by row of the summary; those that no row adds up come behind.
pub(super) fn trial_rows(view: &View<'_>) -> Vec<Row> {
    let in_rows = view.rows.iter().flat_map(|key| view.trials_of(key));
    let others = view.trials.iter().enumerate();
    let others = others.filter(|(_, key)| !view.rows.contains(key));
    in_rows
        .chain(others.map(|(trial, _)| trial))
        .map(|trial| Row {
            name: view.record.trials[trial].label(),
            key: Some(view.trials[trial]),
            place: format!("/trials/{trial}"),
        })
        .collect()
}

/// A table of `rows` with `columns`, in a box that scrolls where it is wider than the page.
pub(super) fn table(
    view: &View<'_>,
    caption: &str,
    first: &str,
    rows: &[Row],
    columns: &[Column],
) -> Markup {
    boxed(
        caption,
        &html! {
            thead { tr {
                th scope="col" { (first) }
                @for column in columns { (heading(column)) }
            } }
            tbody { @for row in rows {
                tr data-at=(row.place) {
                    th scope="row" { (name(row)) }
                    @for column in columns {
                        (cell(view.tree.at(&format!("{}/{}", row.place, column.key)), column.show))
                    }
                }
            } }
        },
    )
}

/// The box around a table; it can be reached with the keyboard, to scroll it.
pub(super) fn boxed(caption: &str, inside: &Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table.sortable {
                caption { (caption) }
                (inside)
            }
        }
    }
}

fn heading(column: &Column) -> Markup {
    let scale = match column.show {
        Show::Over(scale) => Some(scale.to_string()),
        Show::Count => Some("count".to_owned()),
        Show::Text => None,
    };
    html! {
        th.n[column.is_number()] scope="col" data-key=(column.key) data-scale=[scale]
            title=[column.about.as_deref()] {
            (column.heading)
            @if !column.unit.is_empty() { " " small { (column.unit) } }
        }
    }
}

/// A cell with its exact value.
pub(super) fn cell(value: Option<&Tree>, show: Show) -> Markup {
    let text = show.text(value);
    match (show, value) {
        (Show::Text, _) if ["valid", "suspect", "void"].contains(&&*text) => {
            html! { td { (verdict(&text)) } }
        }
        (Show::Text, _) => html! { td { (text) } },
        (_, Some(Tree::Number(number))) => {
            html! { td.n data-value=(number.to_string()) { (text) } }
        }
        _ => html! { td.n.none { (text) } },
    }
}

/// A verdict as a badge: a sign, a word and a colour.
pub(super) fn verdict(word: &str) -> Markup {
    let sign = match word {
        "valid" => "✓",
        "suspect" => "?",
        _ => "✕",
    };
    html! { span class=(format!("verdict {word}")) { span aria-hidden="true" { (sign) } " " (word) } }
}

fn name(row: &Row) -> Markup {
    html! {
        @if let Some(key) = &row.key { (swatch(key)) }
        (row.name)
    }
}

/// Colour, dash and marker of a row, for legends and tables; its name stands beside it.
pub(super) fn swatch(key: &Variant) -> Markup {
    let class = format!("swatch {}", class(key));
    html! {
        svg class=(class) aria-hidden="true" viewBox="0 0 30 12" width="30" height="12" {
            path.line d="M1 6L29 6" {}
            (super::svg::marker(key.transport as usize, is_hollow(key), 15.0, 6.0))
        }
    }
}

/// Classes that give a row its colour and dash.
pub(super) fn class(key: &Variant) -> String {
    format!("t{} p-{}", key.transport as usize % 8, key.profile)
}

/// Whether markers of a row are hollow: all profiles but `tuned`, in which every transport runs.
pub(super) fn is_hollow(key: &Variant) -> bool {
    key.profile != pushbench_protocol::transport::Profile::Tuned
}

/// A fold with a table in it.
pub(super) fn fold(summary: &str, open: bool, inside: &Markup) -> Markup {
    html! { details open[open] { summary { (summary) } (inside) } }
}
