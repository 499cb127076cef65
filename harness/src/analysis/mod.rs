//! What can be concluded from records: statistics, comparisons, predictions.
//!
//! Away from the data path. In: trials and records. Out: intervals, verdicts on differences, advice.
//! Nothing is measured here.

pub mod advise;
pub mod compare;
pub mod stats;
