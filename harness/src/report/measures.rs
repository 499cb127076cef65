//! Tables of the named measures: what a scenario measures beside latency and cost.
//!
//! Each measure has a table of its own with its own columns, on the terminal, in Markdown and on the
//! page; a row is a row of the summary. A measure that the record lacks has no table.

use super::answer::Metric;
use super::columns::{Column, over, whole};
use super::view::View;

const MS: f64 = 1e6;
const US: f64 = 1e3;
const KB: f64 = 1e3;
const MB: f64 = 1e6;

/// A measure's table.
#[derive(Debug)]
pub(super) struct Table {
    /// Key in `measures`, and in the page's addresses.
    pub(super) id: &'static str,
    /// Its title.
    pub(super) title: &'static str,
    /// What the columns mean, where their headings do not say it all.
    pub(super) note: &'static str,
    /// Its columns: keys of a row of the summary.
    pub(super) columns: &'static [Column],
    /// What the answer speaks of: the first of these that any row has.
    pub(super) foremost: &'static [Metric],
}

/// All tables, in the order of [`crate::scenario::Measure::ALL`].
pub(super) const TABLES: &[Table] = &[
    Table {
        id: "recovery",
        title: "Recovery",
        note: "lost: connections that ended when they were not to; back: clients that held a cursor \
               again. after fault: from the fault to the cursor, so p50 is the time until half were \
               back, and max that until all were; without a fault of the server, the columns of away \
               say it, from the loss of each connection. caught up: delivery latency of what was \
               published while its client was away. peak: most in one second. fell off: messages of \
               which the server said that its ring no longer had them. Counts are sums over trials.",
        columns: &[
            whole("measures/recovery.lost", "lost"),
            whole("measures/recovery.back", "back"),
            whole("measures/recovery.not_back", "not back"),
            over(
                "measures/recovery.after_fault_ns.p50",
                "after fault p50",
                "ms",
                MS,
            ),
            over(
                "measures/recovery.after_fault_ns.p90",
                "after fault p90",
                "ms",
                MS,
            ),
            over(
                "measures/recovery.after_fault_ns.p99",
                "after fault p99",
                "ms",
                MS,
            ),
            over(
                "measures/recovery.after_fault_ns.max",
                "after fault max",
                "ms",
                MS,
            ),
            over("measures/recovery.away_ns.p50", "away p50", "ms", MS),
            over("measures/recovery.away_ns.p99", "away p99", "ms", MS),
            over(
                "measures/recovery.peak_returns_per_s",
                "peak returns",
                "/s",
                1.0,
            ),
            over(
                "measures/recovery.peak_attempts_per_s",
                "peak attempts",
                "/s",
                1.0,
            ),
            whole("measures/recovery.failed_attempts", "failed attempts"),
            whole("measures/recovery.gave_up", "gave up"),
            over(
                "measures/recovery.caught_up_ns.p50",
                "caught up p50",
                "ms",
                MS,
            ),
            over(
                "measures/recovery.caught_up_ns.p99",
                "caught up p99",
                "ms",
                MS,
            ),
            whole("measures/recovery.lagged_messages", "fell off"),
            over(
                "measures/recovery.server_peak_bytes",
                "server peak",
                "MB",
                MB,
            ),
            over("measures/recovery.server_cpu_ns", "server CPU", "ms", MS),
        ],
        foremost: &[
            Metric {
                key: "measures.recovery.after_fault_ns.max",
                name: "time from the fault until all clients were back",
                in_summary: Some("measures/recovery.after_fault_ns.max"),
                unit: "ms",
                over: MS,
            },
            Metric {
                key: "measures.recovery.away_ns.p99",
                name: "p99 of the time from a loss of connection to the cursor",
                in_summary: Some("measures/recovery.away_ns.p99"),
                unit: "ms",
                over: MS,
            },
        ],
    },
    Table {
        id: "slow_readers",
        title: "Slow readers",
        note: "healthy p99: that of the clients that read, over the same without slow ones in the same \
               round; added: growth of memory in the measure phase beyond that without slow ones; both \
               medians over rounds. at most: the rings and what a transport may hold for a client that \
               takes nothing; for the kernel, both socket buffers as they were set, and a segment \
               beyond each. ended: slow readers whose connection the server ended. Counts are sums over \
               trials.",
        columns: &[
            whole("measures/slow_readers.clients", "slow"),
            over(
                "measures/slow_readers.healthy_p99_ratio",
                "healthy p99",
                "×",
                1.0,
            ),
            whole("measures/slow_readers.pairs", "pairs"),
            over(
                "measures/slow_readers.user_added_bytes",
                "server added",
                "MB",
                MB,
            ),
            over(
                "measures/slow_readers.user_bound_bytes",
                "at most",
                "MB",
                MB,
            ),
            over(
                "measures/slow_readers.kernel_added_bytes",
                "kernel added",
                "MB",
                MB,
            ),
            over(
                "measures/slow_readers.kernel_bound_bytes",
                "at most ",
                "MB",
                MB,
            ),
            whole("measures/slow_readers.received", "read"),
            whole("measures/slow_readers.lagged_clients", "told of loss"),
            whole("measures/slow_readers.ended", "ended"),
            whole("measures/slow_readers.attached", "attached"),
        ],
        foremost: &[Metric {
            key: "measures.slow_readers.healthy_p99_ratio",
            name: "p99 of the clients that read, beside slow ones over without",
            in_summary: Some("measures/slow_readers.healthy_p99_ratio"),
            unit: "×",
            over: 1.0,
        }],
    },
    Table {
        id: "overflow",
        title: "Overflow, as the server counted",
        note: "lagged: times that a subscriber fell off its ring; lost: messages that it did not get; \
               conflated: messages left out for a newer one; cut off: subscribers that could not even \
               be told. Over all phases and clients; sums over trials.",
        columns: &[
            whole("measures/overflow.lagged", "lagged"),
            whole("measures/overflow.lost_messages", "lost"),
            whole("measures/overflow.conflated_messages", "conflated"),
            whole("measures/overflow.cut_off", "cut off"),
        ],
        foremost: &[Metric {
            key: "measures.overflow.lost_messages",
            name: "messages lost by falling off a ring",
            in_summary: Some("measures/overflow.lost_messages"),
            unit: "",
            over: 1.0,
        }],
    },
    Table {
        id: "round_trip",
        title: "Round trips",
        note: "From the time at which a client was to send a message until the same client received \
               it, on its own clock. due, sent, back: messages of the measure phase; lost and twice \
               are counted for each sender. answer: from a POST to its answer. Bytes on all \
               connections and server CPU are per message sent, its fan-out included.",
        columns: &[
            whole("measures/round_trip.due", "due"),
            whole("measures/round_trip.returned", "back"),
            whole("measures/round_trip.lost", "lost"),
            whole("measures/round_trip.doubled", "twice"),
            over("measures/round_trip.round_trip_ns.p50", "p50", "ms", MS),
            over("measures/round_trip.round_trip_ns.p99", "p99", "ms", MS),
            over(
                "measures/round_trip.acknowledge_ns.p50",
                "answer p50",
                "ms",
                MS,
            ),
            over(
                "measures/round_trip.connections_per_client",
                "connections",
                "/client",
                1.0,
            ),
            over(
                "measures/round_trip.up_bytes_per_message",
                "up",
                "B/message",
                1.0,
            ),
            over(
                "measures/round_trip.down_bytes_per_message",
                "down",
                "B/message",
                1.0,
            ),
            over(
                "measures/round_trip.server_cpu_ns_per_message",
                "server CPU",
                "µs/message",
                US,
            ),
            over("user_bytes_per_client", "server memory", "KB/client", KB),
        ],
        foremost: &[Metric {
            key: "measures.round_trip.round_trip_ns.p50",
            name: "median round trip",
            in_summary: Some("measures/round_trip.round_trip_ns.p50"),
            unit: "ms",
            over: MS,
        }],
    },
    Table {
        id: "arrivals",
        title: "Arrivals",
        note: "Sessions begun in the measure phase. set-up: from the start of a connect to the cursor. \
               CPU per arrival has the deliveries of the phase in it. memory: a third into the phase \
               and at its end. Counts of failures are sums over trials.",
        columns: &[
            whole("measures/arrivals.arrivals", "arrivals"),
            over("measures/arrivals.achieved_per_s", "arrivals", "/s", 1.0),
            whole("measures/arrivals.failed", "failed"),
            over("measures/arrivals.set_up_ns.p50", "set-up p50", "ms", MS),
            over("measures/arrivals.set_up_ns.p99", "set-up p99", "ms", MS),
            over("measures/arrivals.set_up_ns.max", "set-up max", "ms", MS),
            over(
                "measures/arrivals.server_cpu_ns_per_arrival",
                "server CPU",
                "µs/arrival",
                US,
            ),
            over("measures/arrivals.early_bytes", "memory early", "MB", MB),
            over("measures/arrivals.late_bytes", "late", "MB", MB),
            over("measures/arrivals.growth", "growth", "×", 1.0),
        ],
        foremost: &[Metric {
            key: "measures.arrivals.set_up_ns.p50",
            name: "median set-up of an arrival",
            in_summary: Some("measures/arrivals.set_up_ns.p50"),
            unit: "ms",
            over: MS,
        }],
    },
    Table {
        id: "snapshot",
        title: "Snapshot",
        note: "From the start of the connect to the last message of the state that a new subscriber \
               gets first.",
        columns: &[
            whole("measures/snapshot.messages", "messages"),
            over("measures/snapshot.complete_ns.p50", "p50", "ms", MS),
            over("measures/snapshot.complete_ns.p90", "p90", "ms", MS),
            over("measures/snapshot.complete_ns.p99", "p99", "ms", MS),
            over("measures/snapshot.complete_ns.max", "max", "ms", MS),
        ],
        foremost: &[Metric {
            key: "measures.snapshot.complete_ns.p50",
            name: "median time to a whole snapshot",
            in_summary: Some("measures/snapshot.complete_ns.p50"),
            unit: "ms",
            over: MS,
        }],
    },
];

impl Table {
    /// Whether any row of the record has the measure.
    pub(super) fn is_in(&self, view: &View<'_>) -> bool {
        let prefix = format!("{}.", self.id);
        let rows = view.record.summary.iter();
        rows.flat_map(|row| row.measures.keys())
            .any(|key| key.starts_with(&prefix))
    }

    /// The figure that matters most, if any row has it.
    pub(super) fn foremost_in(&self, view: &View<'_>) -> Option<&'static Metric> {
        let has = |metric: &&Metric| {
            let key = metric.in_summary.unwrap_or(metric.key);
            (0..view.rows.len()).any(|row| view.of_row(row, key).is_some())
        };
        self.foremost.iter().find(has)
    }

    /// That figure of each row that has it, as the beginning of a sentence.
    pub(super) fn in_words(&self, view: &View<'_>, metric: &Metric) -> Option<String> {
        let key = metric.in_summary?;
        let column = self.columns.iter().find(|column| column.key == key)?;
        let told = view.rows.iter().enumerate().filter_map(|(row, name)| {
            let value = view.tree.at(&format!("summary/{row}/{key}"))?;
            value.number()?;
            let unit = match column.unit {
                "" => String::new(),
                unit => format!(" {unit}"),
            };
            Some(format!(
                "{}{unit} ({})",
                column.show.text(Some(value)),
                name
            ))
        });
        let told: Vec<String> = told.collect();
        let mut name = metric.name.chars();
        let begins: String = name.next()?.to_uppercase().chain(name).collect();
        (!told.is_empty()).then(|| format!("{begins}: {}", told.join(", ")))
    }

    /// The columns in which any row has a figure.
    pub(super) fn columns_in(&self, view: &View<'_>) -> Vec<Column> {
        let has = |column: &&Column| {
            (0..view.rows.len()).any(|row| {
                let place = format!("summary/{row}/{}", column.key);
                view.tree
                    .at(&place)
                    .is_some_and(|value| value.number().is_some())
            })
        };
        self.columns.iter().filter(has).copied().collect()
    }
}

/// The tables that `view` has figures for.
pub(super) fn tables<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'static Table> + 'a {
    TABLES.iter().filter(|table| table.is_in(view))
}

/// Whether the answer speaks of what the record's comparisons call `key`.
pub(super) fn is_spoken_of(key: &str) -> bool {
    let mut spoken = TABLES.iter().flat_map(|table| table.foremost);
    spoken.any(|metric| metric.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_answer_says_of_a_measure_is_a_column_of_its_table() {
        for table in TABLES {
            for metric in table.foremost {
                let found = table.columns.iter().find(|column| {
                    let same = |key: &str| key == column.key;
                    metric.in_summary.is_some_and(same) && metric.unit == column.unit
                });
                assert!(found.is_some(), "{} of {}", metric.key, table.id);
            }
        }
    }
}
