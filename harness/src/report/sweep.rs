//! What a table shows of a sweep: a column for what varies, the growth of each curve, both ends of it
//! in the headline.

use super::table::{Column, aligned, bare};
use crate::record::Growth;
use crate::scenario::{Point, Scenario, SweepKey};
use crate::text::figure::{NONE, count, in_unit, three};
use comfy_table::Table;

/// The keys that the sweep of `scenario` varies.
pub(super) fn varying(scenario: &Scenario) -> Vec<SweepKey> {
    let sweep = scenario.sweep.iter();
    sweep
        .flat_map(|sweep| SweepKey::ALL.into_iter().filter(|&key| sweep.varies(key)))
        .collect()
}

/// `columns` with one behind the first for each of `keys`.
pub(super) fn with_point(columns: &[Column], keys: impl Iterator<Item = SweepKey>) -> Vec<Column> {
    let of = |key| -> Column {
        match key {
            SweepKey::Clients => ("clients", |row| {
                in_a_point(row.variant.point, SweepKey::Clients)
            }),
            SweepKey::PayloadBytes => ("payload\nbytes", |row| {
                in_a_point(row.variant.point, SweepKey::PayloadBytes)
            }),
            SweepKey::Channels => ("channels", |row| {
                in_a_point(row.variant.point, SweepKey::Channels)
            }),
            SweepKey::RatePerS => ("offered\npubl./s", |row| {
                in_a_point(row.variant.point, SweepKey::RatePerS)
            }),
            SweepKey::SlowShare => ("slow\nshare", |row| {
                in_a_point(row.variant.point, SweepKey::SlowShare)
            }),
        }
    };
    let mut all = columns.to_vec();
    all.splice(1..1, keys.map(of));
    all
}

fn in_a_point(point: Option<Point>, key: SweepKey) -> String {
    let value = point.and_then(|point| point.value(key));
    value.map_or_else(|| NONE.to_owned(), |value| plain(key, value))
}

/// A value of a sweep as it was given: a count in full, a rate to three digits.
fn plain(key: SweepKey, value: f64) -> String {
    match key {
        SweepKey::RatePerS | SweepKey::SlowShare => three(value),
        _ => count(value as u64),
    }
}

/// A row for each transport and profile: first, last, and what lies between.
pub(super) fn growth(rows: &[Growth]) -> Table {
    let value = |point: &Point| match point.leading() {
        Some((key, value)) => plain(key, value),
        None => NONE.to_owned(),
    };
    let leading = rows.first().and_then(|row| row.from.leading());
    let key = leading.map_or("point", |(key, _)| key.id());
    let headings = [
        "transport".to_owned(),
        format!("from\n{key}"),
        format!("to\n{key}"),
        "first\nµs/delivery".to_owned(),
        "last\nµs/delivery".to_owned(),
        "growth\n×".to_owned(),
        "over that\nof tcp ×".to_owned(),
    ];
    let mut table = bare(headings);
    for row in rows {
        table.add_row([
            row.side.to_string(),
            value(&row.from),
            value(&row.to),
            in_unit(Some(row.from_cpu_ns_per_delivery), 1e3),
            in_unit(Some(row.to_cpu_ns_per_delivery), 1e3),
            three(row.growth),
            in_unit(row.growth_over_tcp, 1.0),
        ]);
    }
    aligned(table)
}

/// `100 to 100,000`: the first and the last value of `key` in the sweep; `None` where it does not
/// vary.
pub(super) fn ends(scenario: &Scenario, key: SweepKey) -> Option<String> {
    let points = scenario.sweep.as_ref()?.points();
    let value = |point: &Point| Some(plain(key, point.value(key)?));
    Some(format!(
        "{} to {}",
        value(points.first()?)?,
        value(points.last()?)?
    ))
}
