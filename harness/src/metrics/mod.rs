//! What is measured, metric by metric.
//!
//! Place on the data path: between a record and whoever reads it. [`METRICS`](table) has a row for
//! each metric: what it is called, where the record has it, its unit, how trials add up to a row,
//! whether and how it is compared. Columns, charts, sentences, comparisons, gates, objectives and
//! claims are lists of ids of that table, so that a metric is described once. [`aggregate`] adds
//! trials up by it.
//!
//! To add a metric: the line that measures it, a field in a type of `record`, and a row in a file of
//! `table/`. It is then in the summary of a run, in comparisons of two records, in gates and in the
//! page's list of all numbers; a report's table shows it once its id is in the list of that table.

pub mod aggregate;
pub mod table;
pub mod unit;

pub use aggregate::{growth, summarise};
pub use table::{all, find, named};
pub use unit::{Per, Quantity, Unit};

use serde::{Serialize, Serializer};

use crate::record::{Capability, Slice, SummaryRow, Trial};
use crate::scenario::Matters;

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
}

/// Whether a metric is compared, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// By its ratio; corrected for the number of such comparisons. What decides.
    Primary,
    /// By its ratio; not corrected.
    Secondary,
    /// As a secondary metric, but only of two records: within a run, another metric that says nearly
    /// the same is enough.
    Detail,
    /// As a count over all trials, void ones too: what is counted needs no statistics.
    Count,
    /// Not compared: it is shown next to metrics that are.
    Context,
}

/// When a metric is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// While clients connect.
    Connect,
    /// The measure phase, by the intended time of each message.
    Measure,
    /// From the start of the load to the end of the drain.
    Workload,
    /// The whole trial.
    Trial,
}

/// How the trials of a row add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// To their median.
    Median,
    /// To their sum, failed trials included: one loss in one trial must not vanish in a median.
    Sum,
    /// To the least of them.
    Min,
    /// To the greatest of them.
    Max,
    /// By one histogram over all trials, since percentiles cannot be averaged.
    Histogram,
    /// Of the row as a whole; single trials do not have it.
    Row,
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// What gates, objectives and claims call it.
    pub id: &'static str,
    /// Its key in a trial of the record. Where no trial has it as such, what it would be.
    pub key: &'static str,
    /// Its name in a sentence, on a chart and in a comparison.
    pub title: &'static str,
    /// Its name in a table's head.
    pub short: &'static str,
    /// What it counts in.
    pub unit: Unit,
    /// What it is measured against.
    pub per: Per,
    /// Which way it gets better.
    pub better: Better,
    /// Whether it is compared.
    pub role: Role,
    /// When it is measured.
    pub window: Window,
    /// How trials add up.
    pub pool: Pool,
    /// What it is counted out of: the id of a metric. Where that is 0, this one says nothing.
    pub out_of: Option<&'static str>,
    /// What a target must be able to do for it; a trial of one that cannot does not have it.
    pub capability: Option<Capability>,
    /// Its value in a trial; `None` where the trial does not have it.
    pub read: fn(&Trial) -> Option<f64>,
    /// Its value in a slice, for trials that took turns: their ratio is that of paired slices.
    pub in_slice: Option<fn(&Slice) -> Option<f64>>,
}

/// Begins the key of every metric that only some scenarios have.
const OF_MEASURES: &str = "measures.";

impl Metric {
    /// What a scenario must measure for it: the key in `measures` of a trial. `None` where every
    /// trial has it.
    pub fn needs(&self) -> Option<&'static str> {
        let path = self.key.strip_prefix(OF_MEASURES)?;
        path.split('.').next()
    }

    /// Whether people are shown its comparison before they ask for everything: it decides, or the
    /// scenario asked for it.
    pub fn is_headline(&self) -> bool {
        self.role == Role::Primary || self.needs().is_some()
    }

    /// The smallest difference of it that matters, in its unit; `None` where only a share counts.
    pub fn matters(&self, matters: &Matters) -> Option<f64> {
        match (self.unit, self.per) {
            (Unit::Ms, _) => Some(matters.latency_ms * 1e6),
            (Unit::KB, Per::Client) => Some(matters.memory_bytes),
            (Unit::B, Per::Delivery | Per::Message) => Some(matters.wire_bytes),
            _ => None,
        }
    }

    /// Whether it is compared at all.
    pub fn is_compared(&self) -> bool {
        self.role != Role::Context
    }

    /// Where a row of the summary has it, as steps of a JSON pointer.
    pub fn in_row(&self) -> String {
        format!("figures/{}", self.key)
    }

    /// Where a trial has it, as steps of a JSON pointer.
    pub fn in_trial(&self) -> String {
        self.key.replace('.', "/")
    }

    /// The unit of its columns: `µs/delivery`.
    pub fn unit_text(&self) -> String {
        format!("{}{}", self.unit.symbol(), self.per.symbol())
    }

    /// What it is and when it is measured, for those who point at its column.
    pub fn about(&self) -> String {
        let window = match self.window {
            Window::Connect => "while clients connect",
            Window::Measure => "in the measure phase",
            Window::Workload => "from the start of the load to the end of the drain",
            Window::Trial => "over the whole trial",
        };
        let better = match (self.is_compared(), self.better) {
            (false, _) => "",
            (true, Better::Lower) => "; less is better",
            (true, Better::Higher) => "; more is better",
        };
        format!("{}, {window}{better}", self.title)
    }

    /// `value` in the unit of its columns, without the unit.
    pub fn figure(&self, value: Option<f64>) -> String {
        self.unit.figure(value)
    }

    /// `value` in the unit that people read best, with three significant digits.
    pub fn show(&self, value: Option<f64>) -> String {
        self.unit.show(value)
    }
}

impl SummaryRow {
    /// The metric `id`; `None` where no trial has it.
    pub fn figure(&self, id: &str) -> Option<f64> {
        self.figures.get(find(id)?.key).copied()
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.key)
    }
}

/// A metric as a row of the table begins: shown but not compared, the median of trials, less is
/// better. The methods below say what is different.
const fn metric(
    window: Window,
    id: &'static str,
    (key, read): (&'static str, fn(&Trial) -> Option<f64>),
    title: &'static str,
    short: &'static str,
    unit: Unit,
) -> Metric {
    Metric {
        id,
        key,
        title,
        short,
        unit,
        per: Per::Nothing,
        better: Better::Lower,
        role: Role::Context,
        window,
        pool: Pool::Median,
        out_of: None,
        capability: None,
        read,
        in_slice: None,
    }
}

impl Metric {
    const fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    const fn primary(self) -> Self {
        self.role(Role::Primary)
    }

    const fn secondary(self) -> Self {
        self.role(Role::Secondary)
    }

    const fn detail(self) -> Self {
        self.role(Role::Detail)
    }

    /// A count, out of those of the metric `of`.
    const fn count(self, of: &'static str) -> Self {
        self.role(Role::Count).pool(Pool::Sum).out_of(of)
    }

    const fn out_of(self, of: &'static str) -> Self {
        let out_of = Some(of);
        Self { out_of, ..self }
    }

    const fn higher(self) -> Self {
        let better = Better::Higher;
        Self { better, ..self }
    }

    const fn per(self, per: Per) -> Self {
        Self { per, ..self }
    }

    const fn of_target(self, capability: Capability) -> Self {
        let capability = Some(capability);
        Self { capability, ..self }
    }

    const fn in_slice(self, read: fn(&Slice) -> Option<f64>) -> Self {
        let in_slice = Some(read);
        Self { in_slice, ..self }
    }

    const fn pool(self, pool: Pool) -> Self {
        Self { pool, ..self }
    }
}
