//! `--format html`, and the `report.html` beside every record: one file with everything in it, for
//! screen, phone and paper.
//!
//! In: a record, and the logs of its run where they are there. Out: a page that asks no other host
//! for anything, works without its script, and holds the exact value of every number that it shows.
//! All text is escaped by `maud`; what is not (style and script) is of our own writing.

mod cost;
mod growth;
mod latency;
mod moments;
mod page;
mod svg;
mod table;

#[cfg(test)]
pub(super) use cost::BARS;
pub(super) use page::render;
