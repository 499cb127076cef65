//! Latencies of a row as a curve: from the histogram logs beside the record, or, where these are
//! missing or say something else than the record, from the record's own quantiles.
//!
//! In: `latency/*.hlog` in the folder of a run. Out: histograms of one trial or of a row, and points
//! of a curve. A log that is not whole is an error that names the file, never a shorter curve.

use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use pushbench_protocol::histogram::decode;

use super::view::View;
use crate::files;
use crate::record::MIN_BEYOND;
use crate::record::histogram;
use crate::text;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be read. Without it, only what the record has can be drawn.
    #[error(
        "cannot read '{}': {}; the logs belong into the folder 'latency' beside 'run.json'",
        .path.display(), text::io_reason(.source)
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is damaged, or no log.
    #[error(
        "'{}' is no HdrHistogram log, or a damaged one: {what}; take it anew from where the record \
         came from",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file and the record are not of the same trial.
    #[error(
        "'{}' holds {found} deliveries, but the record has {expected} for '{row}'; file and record \
         are not of one run",
        .path.display()
    )]
    Other {
        /// The file, or the last of several.
        path: PathBuf,
        /// Deliveries in the files.
        found: u64,
        /// Deliveries in the record.
        expected: u64,
        /// The row or trial.
        row: String,
    },
}

/// Reads a log and adds up its intervals.
///
/// # Errors
/// [`LogError::Read`] and [`LogError::Damaged`].
pub(super) fn read_log(path: &Path) -> Result<Histogram<u64>, LogError> {
    let damaged = |what: String| LogError::Damaged {
        path: path.to_owned(),
        what,
    };
    let text =
        files::read_text(path, files::MAX_RECORD_BYTES).map_err(|source| LogError::Read {
            path: path.to_owned(),
            source,
        })?;
    let mut whole = histogram();
    for (number, entry) in IntervalLogIterator::new(text.as_bytes()).enumerate() {
        let entry = entry.map_err(|error| damaged(format!("entry {}: {error:?}", number + 1)))?;
        let LogEntry::Interval(interval) = entry else {
            continue;
        };
        let part = decode(interval.encoded_histogram())
            .map_err(|error| damaged(format!("entry {}: {error}", number + 1)))?;
        whole
            .add(&part)
            .map_err(|error| damaged(format!("entry {}: {error:?}", number + 1)))?;
    }
    Ok(whole)
}

/// Where the log of a trial is.
pub(super) fn path_of(view: &View<'_>, folder: &Path, trial: usize) -> PathBuf {
    let label = view.record.trials[trial].label_for_file();
    folder.join("latency").join(format!("{label}.hlog"))
}

/// The latencies of one trial.
///
/// # Errors
/// [`LogError`].
pub(super) fn of_trial(
    view: &View<'_>,
    folder: &Path,
    trial: usize,
) -> Result<Histogram<u64>, LogError> {
    let path = path_of(view, folder, trial);
    let found = read_log(&path)?;
    let expected = view.record.trials[trial].latency_ns.count;
    if found.len() == expected {
        Ok(found)
    } else {
        Err(LogError::Other {
            path,
            found: found.len(),
            expected,
            row: view.record.trials[trial].label(),
        })
    }
}

/// The latencies of a row, all its trials together; `None` where it has none.
///
/// # Errors
/// [`LogError`].
pub(super) fn of_row(
    view: &View<'_>,
    folder: &Path,
    row: usize,
) -> Result<Option<Histogram<u64>>, LogError> {
    let mut whole = histogram();
    // A trial that ended before it had measured anything has no log.
    let measured = |trial: &usize| view.record.trials[*trial].latency_ns.count > 0;
    for trial in view.trials_of(&view.rows[row]).filter(measured) {
        let part = of_trial(view, folder, trial)?;
        // All our histograms have the same bounds, and `read_log` made this one.
        whole += &part;
    }
    Ok((!whole.is_empty()).then_some(whole))
}

/// The curve of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Distribution {
    /// Quantile in [0, 1) and latency in ns, ascending. Ends where fewer than 6 deliveries lie
    /// beyond.
    pub(super) points: Vec<(f64, f64)>,
    /// Why only the record's quantiles are in it; `None` where it comes from the logs.
    pub(super) coarse: Option<String>,
}

/// Steps of a curve for each factor of ten that is left beyond the quantile: fine enough that
/// straight lines between them look like the steps of the histogram.
const STEPS_PER_DECADE: u32 = 30;

pub(super) fn of_rows(view: &View<'_>, folder: Option<&Path>) -> Vec<Distribution> {
    (0..view.rows.len())
        .map(|row| match folder.map(|folder| of_row(view, folder, row)) {
            Some(Ok(Some(histogram))) => Distribution {
                points: curve(&histogram),
                coarse: None,
            },
            Some(Ok(None)) => Distribution {
                points: Vec::new(),
                coarse: None,
            },
            Some(Err(error)) => coarse(view, row, error.to_string()),
            None => coarse(view, row, "the record came without its logs".to_owned()),
        })
        .collect()
}

fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let samples = histogram.len() as f64;
    let decades = (samples / MIN_BEYOND as f64).log10();
    if decades <= 0.0 {
        return Vec::new();
    }
    let steps = (decades * f64::from(STEPS_PER_DECADE)).floor() as u32;
    (0..=steps)
        .map(|step| 1.0 - 10f64.powf(-f64::from(step) / f64::from(STEPS_PER_DECADE)))
        .map(|quantile| (quantile, histogram.value_at_quantile(quantile) as f64))
        .collect()
}

fn coarse(view: &View<'_>, row: usize, why: String) -> Distribution {
    let quantiles = [
        (0.0, "min"),
        (0.5, "p50"),
        (0.9, "p90"),
        (0.99, "p99"),
        (0.999, "p999"),
    ];
    let told = |(quantile, key)| {
        let value = view.of_row(row, &format!("figures/latency_ns.{key}"))?;
        Some((quantile, value))
    };
    Distribution {
        points: quantiles.into_iter().filter_map(told).collect(),
        coarse: Some(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{sample, write_log};
    use std::time::SystemTime;

    /// The logs that the trials of the sample record have: as many deliveries as it says.
    fn folder_with_logs(counts: &[(&str, u64)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (label, count) in counts {
            let mut one = histogram();
            one.record_n(84_000, count / 2).expect("in range");
            let mut two = histogram();
            two.record_n(168_000, count - count / 2).expect("in range");
            let path = folder.path().join(format!("latency/{label}.hlog"));
            write_log(&path, SystemTime::UNIX_EPOCH, &[(0, one), (1, two)]).expect("written");
        }
        folder
    }

    #[test]
    fn a_curve_comes_from_the_logs_and_ends_where_the_tail_is_luck() {
        let record = sample::record();
        let view = View::of(&record);
        let folder = folder_with_logs(&[("tcp-tuned-1", 9_000), ("sse-tuned-1", 9_000)]);
        let found = view.distributions(Some(folder.path()));
        assert_eq!(found[0].coarse, None);
        let (last, _) = *found[0].points.last().expect("a curve");
        // 6 of 9,000 lie beyond 0.99933.
        assert!((0.9992..=1.0 - 6.0 / 9_000.0).contains(&last), "{last}");
        assert!(found[0].points[0].1 < 85_000.0);
        assert!(found[2].points.is_empty(), "a trial that failed has none");
    }

    #[test]
    fn without_logs_or_with_those_of_another_run_the_records_quantiles_are_drawn() {
        let record = sample::record();
        let view = View::of(&record);
        let folder = folder_with_logs(&[("tcp-tuned-1", 10)]);
        let found = view.distributions(Some(folder.path()));
        let why = found[0].coarse.as_deref().expect("another run's");
        assert!(
            why.contains("holds 10 deliveries, but the record has 9000"),
            "{why}"
        );
        let why = found[1].coarse.as_deref().expect("missing");
        assert!(why.starts_with("cannot read '"), "{why}");
        assert_eq!(found[0].points[1], (0.5, 84_000.0));
        assert_eq!(found[0].points.len(), 5);
    }

    #[test]
    fn a_damaged_log_is_an_error_that_names_the_file() {
        let folder = folder_with_logs(&[("tcp-tuned-1", 9_000)]);
        let path = folder.path().join("latency/tcp-tuned-1.hlog");
        let text = std::fs::read_to_string(&path).expect("a log");
        for damaged in [
            text.replace("HIST", "HI!T"),
            text[..text.len() - 20].to_owned(),
            text.replace("0.000,1.000", "0.000"),
        ] {
            std::fs::write(&path, damaged).expect("written");
            let told = read_log(&path).expect_err("damaged").to_string();
            assert!(
                told.contains("tcp-tuned-1.hlog' is no HdrHistogram log"),
                "{told}"
            );
        }
    }
}
