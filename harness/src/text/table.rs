//! Tables without lines, as terminals show them: the first column at the margin, the others to the right.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

/// A table with this head.
pub(crate) fn bare<T: Into<Cell>>(headings: impl IntoIterator<Item = T>) -> Table {
    let mut table = Table::new();
    let headings: Vec<Cell> = headings.into_iter().map(Into::into).collect();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings);
    table
}

/// The lines of `table`: `gap` spaces in front of every column but the first, and all columns but the first
/// and those from `left` on to the right.
pub(crate) fn lines(out: &mut String, mut table: Table, gap: u16, left: usize) {
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if i > 0 { gap } else { 0 }, 0));
        if (1..left).contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
}
