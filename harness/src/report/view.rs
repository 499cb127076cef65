//! A record made ready for drawing: its tree, its rows, and the trials of each.

use std::path::Path;

use super::distribution::{self, Distribution};
use super::rows::{Key, Pair};
use super::tree::Tree;
use crate::record::Record;

/// All that a report may look at.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The record.
    pub(super) record: &'a Record,
    /// The same as keys and values.
    pub(super) tree: Tree,
    /// What identifies each row of the summary, in its order.
    pub(super) rows: Vec<Key>,
    /// What identifies the row that each trial is in, in the order of trials.
    pub(super) trials: Vec<Key>,
    /// What the record compares.
    pub(super) pairs: Vec<Pair>,
}

impl<'a> View<'a> {
    /// Of a record.
    pub(super) fn of(record: &'a Record) -> Self {
        Self::with(record, Tree::of(record))
    }

    /// Of a record whose tree is at hand.
    fn with(record: &'a Record, tree: Tree) -> Self {
        Self {
            rows: Key::all(&tree, "summary"),
            trials: Key::all(&tree, "trials"),
            pairs: Pair::all(record, &tree),
            record,
            tree,
        }
    }

    /// Places in the record of the trials that make up a row.
    pub(super) fn trials_of<'b>(&'b self, row: &'b Key) -> impl Iterator<Item = usize> + 'b {
        let trials = self.trials.iter().enumerate();
        trials
            .filter(move |(_, of)| *of == row)
            .map(|(index, _)| index)
    }

    /// A number of row `row` of the summary.
    pub(super) fn of_row(&self, row: usize, key: &str) -> Option<f64> {
        self.tree.at(&format!("summary/{row}/{key}"))?.number()
    }

    /// A number of trial `trial`.
    pub(super) fn of_trial(&self, trial: usize, key: &str) -> Option<f64> {
        self.tree.at(&format!("trials/{trial}/{key}"))?.number()
    }

    /// `sse tuned, trial 2`.
    pub(super) fn trial_name(&self, trial: usize) -> String {
        match (self.trials.get(trial), self.record.trials.get(trial)) {
            (Some(key), Some(trial)) => format!("{}, trial {}", key.name(), trial.index),
            _ => format!("trial {trial}"),
        }
    }

    /// Latencies of each row: from the logs in the folder of the run, or what the record has.
    pub(super) fn distributions(&self, folder: Option<&Path>) -> Vec<Distribution> {
        distribution::of_rows(self, folder)
    }

    /// The points of a sweep, in order; none without one.
    pub(super) fn points(&self) -> Vec<&super::rows::Point> {
        let mut points: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| row.point.as_ref())
            .collect();
        points.sort_by_key(|point| point.index);
        points.dedup_by_key(|point| point.index);
        points
    }
}

#[cfg(test)]
impl<'a> View<'a> {
    /// As [`of`](Self::of), of a record that has more than this version's: `change` adds it.
    pub(super) fn changed(record: &'a Record, change: impl FnOnce(&mut serde_json::Value)) -> Self {
        let mut json = serde_json::to_value(record).expect("a record");
        change(&mut json);
        Self::with(record, Tree::of(&json))
    }
}
