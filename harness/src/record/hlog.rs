//! Histograms: the bounds that all of them share, and latency by the second as an HdrHistogram interval
//! log that other tools of the family read.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};

use crate::files;

pub use pushbench_protocol::histogram::{DIGITS, MAX_NS as MAX_LATENCY_NS};

/// Length of an interval of the log, in ns of receive time.
pub const INTERVAL_NS: u64 = 1_000_000_000;

/// Values are ns; the log's column of maxima is in ms, as is the custom of these logs.
const NS_PER_MS: f64 = 1e6;

/// An empty histogram with the bounds that all of ours share, so that any two can be added.
pub fn histogram() -> Histogram<u64> {
    let mut histogram = pushbench_protocol::histogram::empty();
    histogram.auto(false);
    histogram
}

/// Writes the intervals of one trial (number and latencies in ns) as `path`. `started` is the
/// beginning of the measure phase.
///
/// # Errors
/// Those of creating and writing the file.
pub fn write_log(
    path: &Path,
    started: SystemTime,
    intervals: &[(u64, Histogram<u64>)],
) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    files::replace(path, |file| {
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        builder
            .add_comment("[pushbench: delivery latency, receive - intended, in ns]")
            .with_start_time(started)
            .with_base_time(started)
            .with_max_value_divisor(NS_PER_MS);
        let mut log = builder.begin_log_with(file, &mut serializer)?;
        for (number, histogram) in intervals {
            let start = Duration::from_nanos(number * INTERVAL_NS);
            log.write_histogram(histogram, start, Duration::from_nanos(INTERVAL_NS), None)
                .map_err(|error| match error {
                    IntervalLogWriterError::IoError(e) => e,
                    other => io::Error::other(format!("{other:?}")),
                })?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn a_log_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("latency/sse-tuned-1.hlog");
        let mut histogram = histogram();
        histogram.record(1_500_000).expect("in range");
        write_log(&path, SystemTime::UNIX_EPOCH, &[(2, histogram.clone())]).expect("written");
        let text = std::fs::read(&path).expect("the file");
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            if let LogEntry::Interval(interval) = entry.expect("a log") {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(interval.encoded_histogram())
                    .expect("base64");
                let back: Histogram<u64> = Deserializer::new()
                    .deserialize(&mut bytes.as_slice())
                    .expect("V2 deflate");
                assert_eq!(back, histogram);
                found.push((interval.start_timestamp(), interval.duration()));
            }
        }
        assert_eq!(found, [(Duration::from_secs(2), Duration::from_secs(1))]);
    }
}
