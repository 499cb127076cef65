//! Tables of the named measures: what a scenario measures besides latency and cost.
//!
//! Each measure has a table of its own, on the terminal, in Markdown and on the page: a list of
//! metrics and a note. A row is a row of the summary. A measure that the record lacks has no table.

use super::columns::{Column, of_rows};
use super::view::View;
use crate::metrics::{Metric, find, named};
use crate::text::capitalised;

/// A measure's table.
#[derive(Debug)]
pub(super) struct Table {
    /// Key in `measures`, and in the page's addresses.
    pub(super) id: &'static str,
    /// Its title.
    pub(super) title: &'static str,
    /// What the columns mean, where their headings do not say it all.
    pub(super) note: &'static str,
    /// Its columns: ids of metrics.
    pub(super) columns: &'static [&'static str],
    /// What the answer mentions: the first of these metrics that any row has.
    pub(super) foremost: &'static [&'static str],
}

/// All tables, in the order of `Measure::ALL`.
#[rustfmt::skip]
pub(super) const TABLES: &[Table] = &[
    Table {
        id: "recovery",
        title: "Recovery",
        note: "lost: unexpected disconnects; back: clients that held a cursor again. after fault: from \
               the fault to the cursor, so p50 is the time until half were back, and max until all \
               were; without a fault of the server see the away columns, from the loss of each \
               connection. caught up: delivery latency of what was published while its client was \
               away. peak: most in one second. ring overflow: messages evicted from the server's \
               buffer. Counts are sums over trials.",
        columns: &[
            "connections_lost", "returns", "never_returned", "back_p50", "back_p90", "back_p99", "back_all",
            "away_p50", "away_p99", "peak_returns", "peak_attempts", "failed_attempts", "stopped_retrying",
            "caught_up_p50", "caught_up_p99", "ring_overflow", "recovery_memory", "recovery_cpu",
        ],
        foremost: &["back_all", "away_p99"],
    },
    Table {
        id: "slow_readers",
        title: "Slow readers",
        note: "healthy p99: of the clients that read, over the same without slow readers in the same \
               round; added: growth of memory in the measure phase beyond that without slow readers; \
               both medians over rounds. at most: the rings and what a transport may hold for a client \
               that takes nothing; for the kernel, both socket buffers as they were set, and a segment \
               beyond each. ended: slow readers whose connection the server ended. Counts are sums over \
               trials.",
        columns: &[
            "slow_clients", "healthy_p99", "slow_pairs", "slow_memory_added", "slow_memory_bound",
            "slow_kernel_added", "slow_kernel_bound", "slow_received", "slow_notified", "slow_ended",
            "slow_attached",
        ],
        foremost: &["healthy_p99"],
    },
    Table {
        id: "overflow",
        title: "Overflow, as counted by the server",
        note: "lagged: times that a subscriber fell off its ring; lost: messages that it did not get; \
               conflated: messages left out for a newer one; cut off: subscribers that could not even \
               be notified. Over all phases and clients; sums over trials.",
        columns: &["overflow_lagged", "overflow_lost", "overflow_conflated", "overflow_cut_off"],
        foremost: &["overflow_lost"],
    },
    Table {
        id: "round_trip",
        title: "Round trips",
        note: "From the time at which a client was to send a message until the same client received \
               it, on its own clock. due, back: messages of the measure phase; lost and twice are \
               counted for each sender. answer: from a POST to its answer. Bytes on all connections \
               and server CPU are per message sent, its fan-out included.",
        columns: &[
            "trips_due", "trips_returned", "trips_lost", "trips_doubled", "round_trip_p50",
            "round_trip_p99", "answer_p50", "connections", "message_up", "message_down",
            "message_cpu", "user_memory",
        ],
        foremost: &["round_trip_p50"],
    },
    Table {
        id: "arrivals",
        title: "Arrivals",
        note: "Sessions begun in the measure phase. set-up: from the start of a connect to the cursor. \
               CPU per arrival includes the deliveries of the phase. memory: a third into the phase \
               and at its end. Counts of failures are sums over trials.",
        columns: &[
            "arrivals", "arrival_rate", "failed_arrivals", "set_up_p50", "set_up_p99", "set_up_max",
            "arrival_cpu", "early_memory", "late_memory", "memory_growth",
        ],
        foremost: &["set_up_p50"],
    },
    Table {
        id: "streams",
        title: "Streams",
        note: "first message: from the start of a session's connect, so the time until it is due is in \
               it. jitter: of the time between two receipts, beyond or below that between their intended \
               times. complete: streams of which every message came in one session. first to last: the \
               time between those messages of a complete stream.",
        columns: &[
            "first_message_p50", "first_message_p99", "gap_jitter_p50", "gap_jitter_p99", "down", "up",
            "cpu", "streams_offered", "streams", "stream_p50", "stream_p99",
        ],
        foremost: &["first_message_p50"],
    },
    Table {
        id: "snapshot",
        title: "Snapshot",
        note: "From the start of the connect to the last message of the state that a new subscriber \
               gets first.",
        columns: &["snapshot_messages", "snapshot_p50", "snapshot_p90", "snapshot_p99", "snapshot_max"],
        foremost: &["snapshot_p50"],
    },
];

impl Table {
    /// Whether any row of the record has the measure.
    pub(super) fn is_in(&self, view: &View<'_>) -> bool {
        let prefix = format!("measures.{}.", self.id);
        let rows = view.record.summary.iter();
        rows.flat_map(|row| row.figures.keys())
            .any(|key| key.starts_with(&prefix))
    }

    /// The metric that matters most, if any row has it of which words may be made.
    pub(super) fn foremost_in(&self, view: &View<'_>) -> Option<&'static Metric> {
        let has = |metric: &&Metric| {
            (0..view.rows.len()).any(|row| view.is_witness(row) && view.has(row, metric))
        };
        named(self.foremost).find(has)
    }

    /// The columns in which any row has a figure.
    pub(super) fn columns_in(&self, view: &View<'_>) -> Vec<Column> {
        let has = |column: &Column| {
            (0..view.rows.len()).any(|row| view.of_row(row, &column.key).is_some())
        };
        of_rows(self.columns).into_iter().filter(has).collect()
    }
}

/// `metric` of each row that has it and is not void, as the beginning of a sentence.
pub(super) fn in_words(view: &View<'_>, metric: &Metric) -> String {
    let rows = view.rows.iter().enumerate();
    let rows = rows.filter(|&(row, _)| view.is_witness(row));
    let figures = rows.filter_map(|(row, name)| {
        let figure = view.figure(row, metric)?;
        Some(format!("{figure} ({name})"))
    });
    let figures: Vec<String> = figures.collect();
    format!("{}: {}", capitalised(metric.title), figures.join(", "))
}

/// The tables that `view` has figures for.
pub(super) fn tables<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'static Table> + 'a {
    TABLES.iter().filter(|table| table.is_in(view))
}

/// Whether the answer mentions what the record's comparisons call `key`.
pub(super) fn is_spoken_of(key: &str) -> bool {
    let mut spoken = TABLES.iter().flat_map(|table| table.foremost);
    find(key).is_some_and(|metric| spoken.any(|&id| id == metric.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_answer_says_of_a_measure_is_a_column_of_its_table() {
        for table in TABLES {
            for id in table.foremost {
                assert!(table.columns.contains(id), "{id} of {}", table.id);
                let needs = find(id).expect(id).needs();
                assert!(needs.is_none_or(|needs| needs == table.id), "{id}");
            }
        }
    }
}
