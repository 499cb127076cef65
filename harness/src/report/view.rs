//! A record made ready for drawing: its tree, its rows, and the trials of each.

use std::path::Path;

use super::distribution::{self, Distribution};
use super::tree::Tree;
use crate::metrics::Metric;
use crate::record::{Record, Variant, Verdict};
use crate::scenario::Point;

/// All that a report may look at.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The record.
    pub(super) record: &'a Record,
    /// The same as keys and values.
    pub(super) tree: Tree,
    /// What identifies each row of the summary, in its order.
    pub(super) rows: Vec<Variant>,
    /// What identifies the row that each trial is in, in the order of trials.
    pub(super) trials: Vec<Variant>,
}

impl<'a> View<'a> {
    /// Of a record.
    pub(super) fn of(record: &'a Record) -> Self {
        Self {
            rows: record.summary.iter().map(|row| row.variant).collect(),
            trials: record.trials.iter().map(|trial| trial.variant).collect(),
            tree: Tree::of(record),
            record,
        }
    }

    /// Places in the record of the trials that make up a row.
    pub(super) fn trials_of(&self, row: &Variant) -> impl Iterator<Item = usize> {
        let row = *row;
        let trials = self.trials.iter().enumerate();
        trials
            .filter(move |(_, of)| **of == row)
            .map(|(index, _)| index)
    }

    /// A number of row `row` of the summary.
    pub(super) fn of_row(&self, row: usize, key: &str) -> Option<f64> {
        self.tree.at(&format!("summary/{row}/{key}"))?.number()
    }

    /// Whether row `row` has `metric`.
    pub(super) fn has(&self, row: usize, metric: &Metric) -> bool {
        self.of_row(row, &metric.in_row()).is_some()
    }

    /// Whether words may be made of the figures of row `row`: none of its trials is void, or the record
    /// itself compares it, by the rounds that are not.
    pub(super) fn is_witness(&self, row: usize) -> bool {
        let compared = || {
            let pairs = self.record.comparisons.iter().map(|found| found.pair);
            pairs
                .flat_map(|pair| pair.variants())
                .any(|of| of == self.rows[row])
        };
        self.record.summary[row].verdict != Verdict::Void || compared()
    }

    /// `metric` of row `row` in the unit of its columns: `8.94 µs`.
    pub(super) fn figure(&self, row: usize, metric: &Metric) -> Option<String> {
        let figure = metric.figure(Some(self.of_row(row, &metric.in_row())?));
        Some(match metric.unit.symbol() {
            "" => figure,
            unit => format!("{figure} {unit}"),
        })
    }

    /// A number of trial `trial`.
    pub(super) fn of_trial(&self, trial: usize, key: &str) -> Option<f64> {
        self.tree.at(&format!("trials/{trial}/{key}"))?.number()
    }

    /// Latencies of each row: from the logs in the folder of the run, or what the record has.
    pub(super) fn distributions(&self, folder: Option<&Path>) -> Vec<Distribution> {
        distribution::of_rows(self, folder)
    }

    /// The points of a sweep, in order; none without one.
    pub(super) fn points(&self) -> Vec<Point> {
        let mut points: Vec<Point> = self.rows.iter().filter_map(|row| row.point).collect();
        points.sort_by_key(|point| point.index);
        points.dedup_by_key(|point| point.index);
        points
    }
}
