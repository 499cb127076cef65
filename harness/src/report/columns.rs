//! What the tables of Markdown, HTML and the terminal hold: for each column the record's key, a
//! heading, the unit and how the number is written. No figure comes from anywhere but its key.
//!
//! Columns of figures are lists of ids of [`crate::metrics`]; what is not a figure (verdicts,
//! checks, comparisons) is written out here.

use std::borrow::Cow;

use super::tree::Tree;
use crate::metrics::{self, Metric, Unit};
use crate::text::figure::{NONE, count, three};

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Where the value is below a row's own place in the record, as steps of a JSON pointer.
    pub(super) key: Cow<'static, str>,
    /// What it is, without the unit.
    pub(super) heading: Cow<'static, str>,
    /// Its unit; empty for a count.
    pub(super) unit: Cow<'static, str>,
    /// How it is written.
    pub(super) show: Show,
    /// What it is and when it was measured, for those who ask.
    pub(super) about: Option<String>,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Show {
    /// A whole number.
    Count,
    /// Over this many of the record's units, with three digits.
    Over(f64),
    /// As it is.
    Text,
}

impl Show {
    /// The value as people read it; `–` for one that there is not.
    pub(super) fn text(self, value: Option<&Tree>) -> String {
        let number = value.and_then(Tree::number);
        match (self, value, number) {
            (Self::Text, Some(value), _) => value.text().unwrap_or_default(),
            (Self::Over(unit), _, Some(number)) => three(number / unit),
            (Self::Count, _, Some(number)) if number.fract() == 0.0 => count(number as u64),
            (Self::Count, _, Some(number)) => three(number),
            _ => NONE.to_owned(),
        }
    }
}

impl Column {
    fn of(metric: &'static Metric, key: Cow<'static, str>) -> Self {
        Self {
            key,
            heading: metric.short.into(),
            unit: metric.unit_text().into(),
            show: match metric.unit {
                Unit::Count => Show::Count,
                unit => Show::Over(unit.over()),
            },
            about: Some(metric.about()),
        }
    }

    /// Heading with unit: `p50, ms`.
    pub(super) fn title(&self) -> String {
        match &*self.unit {
            "" => self.heading.to_string(),
            unit => format!("{}, {unit}", self.heading),
        }
    }

    /// Whether its values are numbers.
    pub(super) fn is_number(&self) -> bool {
        self.show != Show::Text
    }
}

/// Columns over rows of the summary: of each metric, or of what else a row has.
pub(super) fn of_rows(ids: &[&'static str]) -> Vec<Column> {
    let own = |id: &'static str| match id {
        "verdict" => word(id, id),
        id => whole(id, id),
    };
    let of =
        |&id: &_| metrics::find(id).map_or_else(|| own(id), |m| Column::of(m, m.in_row().into()));
    ids.iter().map(of).collect()
}

/// Columns over trials.
pub(super) fn of_trials(ids: &[&'static str]) -> Vec<Column> {
    let of = |metric: &'static Metric| Column::of(metric, metric.in_trial().into());
    metrics::named(ids).map(of).collect()
}

/// The ends of the intervals of quantiles, over trials.
pub(super) fn intervals() -> Vec<Column> {
    let quantiles = metrics::named(&["p50", "p90", "p99", "p999"]);
    let ends = quantiles.flat_map(|metric| {
        [("low", "from"), ("high", "to")].map(|(end, word)| Column {
            heading: format!("{} {word}", metric.short).into(),
            ..Column::of(
                metric,
                format!("latency_interval_ns/{}/{end}", metric.id).into(),
            )
        })
    });
    ends.collect()
}

const fn column(
    key: &'static str,
    heading: &'static str,
    unit: &'static str,
    show: Show,
) -> Column {
    Column {
        key: Cow::Borrowed(key),
        heading: Cow::Borrowed(heading),
        unit: Cow::Borrowed(unit),
        show,
        about: None,
    }
}

const fn plain(key: &'static str, heading: &'static str) -> Column {
    column(key, heading, "", Show::Over(1.0))
}

const fn whole(key: &'static str, heading: &'static str) -> Column {
    column(key, heading, "", Show::Count)
}

const fn word(key: &'static str, heading: &'static str) -> Column {
    column(key, heading, "", Show::Text)
}

/// Rows of the summary: what was delivered, and how late.
#[rustfmt::skip]
pub(super) const DELIVERY: &[&str] = &[
    "connected", "achieved", "received", "p50", "p90", "p99", "p999", "max", "last_p50", "last_p99",
    "verdict",
];

/// Rows of the summary: what it cost.
#[rustfmt::skip]
pub(super) const COST: &[&str] = &[
    "cpu", "cpu_multiple", "harness_cpu", "other_cpu", "user_memory", "kernel_memory", "down", "up",
    "segments",
];

/// Rows of the summary: the ledgers of all clients and trials.
#[rustfmt::skip]
pub(super) const LEDGER: &[&str] = &[
    "trials", "failed", "target", "connected", "expected", "delivered", "missing", "duplicate",
    "out_of_order", "verdict",
];

/// Rows of the trials: the ledger of each.
#[rustfmt::skip]
pub(super) const TRIAL_LEDGER: &[&str] = &[
    "target", "connected", "refused", "disconnected", "expected", "delivered", "missing",
    "duplicate", "out_of_order",
];

/// Rows of the summary: quantiles, for the chart of them.
pub(super) const QUANTILES: &[&str] = &["latencies", "min", "p50", "p90", "p99", "p999", "max"];

/// Rows of the trials: where the time went.
#[rustfmt::skip]
pub(super) const SPLIT: &[&str] = &[
    "probe_reads", "probe_harness_p50", "probe_harness_p90", "probe_harness_p99",
    "probe_server_p50", "probe_server_p90", "probe_server_p99", "publish_lag_p50",
    "publish_lag_p90",
];

/// Rows of the trials: connecting.
#[rustfmt::skip]
pub(super) const CONNECT: &[&str] = &[
    "connects", "connect_min", "connect_p50", "connect_p90", "connect_p99", "connect_max",
    "first_message_p50", "first_message_p99",
];

/// Metrics of a comparison.
pub(super) const DIFFERENCE: &[Column] = &[
    word("metric", "metric"),
    word("says", "verdict"),
    plain("ratio", "ratio"),
    plain("low", "from"),
    plain("high", "to"),
    plain("confidence", "confidence"),
    plain("p_value", "p-value"),
    whole("more_trials", "more trials to decide"),
];

/// Checks of a trial.
pub(super) const CHECK: &[Column] = &[
    word("check", "check"),
    word("outcome", "outcome"),
    plain("measured", "found"),
    plain("limit", "limit"),
    word("not_tested", "why not tested"),
];

/// What searches for limits found.
pub(super) const LIMIT: &[Column] = &[
    word("of", "of"),
    word("objective", "objective"),
    whole("last_good", "held at most"),
    whole("first_bad", "broke at"),
    whole("unanswered", "no answer at"),
    word("broke", "what broke"),
    word("ended", "search"),
];

/// Steps of a search for limits.
pub(super) const STEP: &[Column] = &[
    whole("value", "value"),
    word("held", "held"),
    word("broke", "what broke"),
    word("evidence", "evidence"),
    column(
        "server_cpu_share",
        "server CPU",
        "% of its cores",
        Show::Over(0.01),
    ),
    column(
        "harness_cpu_share",
        "harness CPU",
        "% of its cores",
        Show::Over(0.01),
    ),
];

/// Readings of memory while clients connected.
pub(super) const MEMORY_POINT: &[Column] = &[
    whole("clients", "clients"),
    whole("user_bytes", "user_bytes"),
    whole("fleet_bytes", "fleet_bytes"),
    whole("kernel_bytes", "kernel_bytes"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::compare::compare_all;
    use crate::metrics::summarise;
    use crate::record::{IntervalNs, Side, sample};
    use crate::report::{html, measures};

    #[test]
    fn every_column_is_a_key_of_the_record() {
        let mut record = sample::record();
        let mut trial = sample::measured();
        let interval = Some(IntervalNs { low: 1, high: 2 });
        trial.probe = Some(Default::default());
        trial.server.cpu_ns_per_delivery = Some(9_000.0);
        let of_trial = &mut trial.latency_interval_ns;
        (of_trial.p50, of_trial.p90) = (interval, interval);
        (of_trial.p99, of_trial.p999) = (interval, interval);
        record.trials.clear();
        for index in 1..=6 {
            trial.index = index;
            for transport in pushbench_protocol::transport::Transport::ALL {
                let profile = trial.variant.profile;
                trial.variant = Side { transport, profile }.at(None);
                record.trials.push(trial.clone());
            }
        }
        // One trial of each, so that rows have its percentiles.
        let round = &record.trials[..record.trials.len() / 6];
        record.summary = summarise(round, &Default::default());
        record.comparisons = compare_all(&record.trials, &record.scenario.matters, 1.0);
        let tree = Tree::of(&record);
        let has = |place: &str, columns: &[Column]| {
            for column in columns {
                let found = tree.at(&format!("{place}/{}", column.key));
                assert!(found.is_some(), "{place}/{}", column.key);
            }
        };
        for ids in [DELIVERY, COST, LEDGER, QUANTILES] {
            has("summary/0", &of_rows(ids));
        }
        for ids in html::BARS.iter().map(|bars| bars.columns) {
            has("summary/0", &of_rows(ids));
        }
        for table in measures::TABLES {
            // What is known only with and without slow readers is not in this record.
            let ids = table.columns.iter().copied();
            let ids: Vec<_> = ids
                .filter(|id| metrics::find(id).expect(id).pool != metrics::Pool::Row)
                .collect();
            has("summary/0", &of_rows(&ids));
        }
        for ids in [TRIAL_LEDGER, SPLIT, CONNECT] {
            assert_eq!(of_trials(ids).len(), ids.len(), "{ids:?}");
            has("trials/0", &of_trials(ids));
        }
        has("trials/0", &intervals());
        has("comparisons/0/metrics/0", DIFFERENCE);
    }
}
