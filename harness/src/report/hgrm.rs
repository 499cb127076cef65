//! `--format hgrm`: percentile distributions of delivery latency as HdrHistogram's own tools write
//! them, for their plotters. Values are in ms, as is the custom of such files.
//!
//! In: the histogram logs of a run. Out: on standard output a block for each row, after a line with
//! its name; in a folder a file for each row and for each trial, without that line.

use std::fmt::Write;
use std::path::Path;

use hdrhistogram::Histogram;

use super::LogError;
use super::distribution::{of_row, of_trial};
use super::view::View;
use crate::record::DIGITS;
use crate::record::Record;

const NS_PER_MS: f64 = 1e6;

/// Lines for each halving of what is left beyond the percentile: the default of HdrHistogram's own
/// `outputPercentileDistribution`.
const TICKS_PER_HALF: u32 = 5;

/// One block for each row, all its trials together.
///
/// # Errors
/// [`LogError`] for a log that is missing, damaged or of another run.
pub fn render(record: &Record, folder: &Path) -> Result<String, LogError> {
    let view = View::of(record);
    let mut out = String::new();
    for (place, row) in view.rows.iter().enumerate() {
        let Some(histogram) = of_row(&view, folder, place)? else {
            continue;
        };
        if !out.is_empty() {
            out.push('\n');
        }
        let trials = view.trials_of(row).count();
        let _ = writeln!(out, "#[{}, delivery latency in ms, {trials} trial(s)]", row);
        out += &distribution(&histogram);
    }
    Ok(out)
}

/// Name and text of a file for each row, and for each trial.
///
/// # Errors
/// [`LogError`] as of [`render`].
pub fn files(record: &Record, folder: &Path) -> Result<Vec<(String, String)>, LogError> {
    let view = View::of(record);
    let mut out = Vec::new();
    for (place, row) in view.rows.iter().enumerate() {
        if let Some(histogram) = of_row(&view, folder, place)? {
            out.push((
                format!("{}.hgrm", row.file_name()),
                distribution(&histogram),
            ));
        }
        for trial in view.trials_of(row) {
            if record.trials[trial].latency_ns.count > 0 {
                let histogram = of_trial(&view, folder, trial)?;
                let label = record.trials[trial].label_for_file();
                out.push((format!("{label}.hgrm"), distribution(&histogram)));
            }
        }
    }
    Ok(out)
}

/// The text of a distribution.
fn distribution(histogram: &Histogram<u64>) -> String {
    let digits = usize::from(DIGITS);
    let mut out = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / NS_PER_MS;
        let quantile = step.quantile_iterated_to();
        let _ = write!(out, "{value:12.digits$} {quantile:2.12} {total:10}");
        // Nothing lies beyond the last one.
        let _ = if quantile < 1.0 {
            writeln!(out, " {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(out)
        };
    }
    let ms = |value: f64| value / NS_PER_MS;
    let _ = writeln!(
        out,
        "#[Mean    = {:12.digits$}, StdDeviation   = {:12.digits$}]",
        ms(histogram.mean()),
        ms(histogram.stdev())
    );
    let _ = writeln!(
        out,
        "#[Max     = {:12.digits$}, Total count    = {:12}]",
        ms(histogram.max() as f64),
        histogram.len()
    );
    let _ = writeln!(
        out,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        // Of so many digits, each power of two above 2 × 10^digits is cut into as many values.
        (2 * 10u64.pow(u32::from(DIGITS))).next_power_of_two()
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::histogram;
    use crate::record::{sample, write_log};
    use std::time::SystemTime;

    #[test]
    fn a_distribution_reads_as_hdrhistograms_own_tools_write_it() {
        let mut histogram = histogram();
        for ms in 1..=7u64 {
            histogram.record(ms * 1_000_000).expect("in range");
        }
        // Written by another program, after the percentile iterator and the formats of HdrHistogram's
        // `outputPercentileDistribution`, with a ratio of 1e6.
        assert_eq!(distribution(&histogram), include_str!("hgrm.txt"));
    }

    #[test]
    fn a_run_has_a_file_for_each_row_and_each_trial() {
        let record = sample::record();
        let folder = tempfile::tempdir().expect("a temporary folder");
        for label in ["tcp-tuned-1", "sse-tuned-1"] {
            let mut one = histogram();
            one.record_n(84_000, 9_000).expect("in range");
            let path = folder.path().join(format!("latency/{label}.hlog"));
            write_log(&path, SystemTime::UNIX_EPOCH, &[(0, one)]).expect("written");
        }
        let files = files(&record, folder.path()).expect("all logs are there");
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "tcp-tuned.hgrm",
                "tcp-tuned-1.hgrm",
                "sse-tuned.hgrm",
                "sse-tuned-1.hgrm"
            ]
        );
        let text = render(&record, folder.path()).expect("all logs are there");
        assert_eq!(
            text.matches("delivery latency in ms, 1 trial(s)]").count(),
            2
        );
        assert_eq!(text.matches("Total count    =         9000]").count(), 2);
        std::fs::remove_file(folder.path().join("latency/sse-tuned-1.hlog")).expect("there");
        let error = render(&record, folder.path())
            .expect_err("one is missing")
            .to_string();
        assert!(
            error.contains("latency/sse-tuned-1.hlog': no such file"),
            "{error}"
        );
    }
}
