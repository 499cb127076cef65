//! What a table shows of a sweep: a column for what varies, the growth of each curve, both ends of it
//! in the headline.

use super::table::{Shown, heading};
use crate::record::{Growth, Record};
use crate::scenario::{Point, Scenario, Sweep, SweepKey};
use crate::text::figure::{NONE, count, in_unit, three};
use crate::text::table::bare;
use comfy_table::Table;

/// A column over the rows of `record` for each key that varies, but for `without`.
pub(super) fn points(record: &Record, without: Option<SweepKey>) -> Vec<Shown> {
    let keys = record.scenario.sweep.iter().flat_map(Sweep::lists);
    let of = |key: SweepKey| {
        let rows = record.summary.iter();
        let cells = rows.map(|row| {
            let value = row.variant.point.and_then(|point| point.value(key));
            value.map_or_else(|| NONE.to_owned(), |value| plain(key, value))
        });
        // The path of a key is too wide for a heading.
        let name = key.id().rsplit('.').next().unwrap_or_default();
        let (word, unit) = name.split_once('_').unwrap_or((name, ""));
        Shown::new(&heading(word, &unit.replace("per_", "/")), cells)
    };
    let shown = keys.map(|(key, _)| key).filter(|key| Some(*key) != without);
    shown.map(of).collect()
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
    table
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
