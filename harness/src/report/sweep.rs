//! What a table shows of a sweep: a column for what varies, the growth of each curve, both ends of it
//! in the headline.

use super::table::{Column, aligned, bare};
use crate::record::{Growth, SummaryRow};
use crate::scenario::{Point, Scenario, Sweep, SweepKey};
use crate::text::figure::{NONE, count, in_unit, three};
use comfy_table::Table;

/// `columns` with one after the first for each key that varies, but for `without`.
pub(super) fn with_point(
    columns: &[Column],
    scenario: &Scenario,
    without: Option<SweepKey>,
) -> Vec<Column> {
    // A column is a function, which knows a key by its place among those of a point.
    const NTH: [fn(&SummaryRow) -> String; 5] = [nth::<0>, nth::<1>, nth::<2>, nth::<3>, nth::<4>];
    let keys = scenario.sweep.iter().flat_map(Sweep::lists);
    let of = keys.zip(NTH).filter(|((key, _), _)| Some(*key) != without);
    let mut all = columns.to_vec();
    all.splice(1..1, of.map(|((key, _), cell)| (title(key), cell)));
    all
}

fn title(key: SweepKey) -> &'static str {
    match key {
        SweepKey::PAYLOAD_BYTES => "payload\nbytes",
        SweepKey::RATE_PER_S => "offered\npubl./s",
        SweepKey::SLOW_SHARE => "slow\nshare",
        _ => key.id(),
    }
}

fn nth<const N: usize>(row: &SummaryRow) -> String {
    let found = row.variant.point.and_then(|point| point.values().nth(N));
    found.map_or_else(|| NONE.to_owned(), |(key, value)| plain(key, value))
}

/// A value of a sweep as it was given: a count in full, a rate to three digits.
fn plain(key: SweepKey, value: f64) -> String {
    match key {
        SweepKey::RATE_PER_S | SweepKey::SLOW_SHARE => three(value),
        _ if value.fract() == 0.0 => count(value as u64),
        _ => three(value),
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
