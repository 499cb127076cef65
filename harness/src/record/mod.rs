//! The record of a run: everything that was done and found, for people and programs.
//!
//! Place on the data path: after the trials, before the reports, which are drawn from a record and
//! from nothing else. In: trials as they end. Out: what `store` writes as `run.json`, and its JSON
//! schema.
//!
//! Nothing is measured here. A number that could not be measured is `null`, never a guess; a trial
//! that failed is a row with an error, never a missing row. Every key of the record is always
//! there.

mod cause;
mod comparison;
mod family;
mod growth;
mod hlog;
mod limits;
mod measures;
mod memory;
mod quantiles;
mod slices;
mod summary;
mod trial;
mod variant;

pub use cause::Cause;
pub use comparison::{Comparison, MetricComparison, Says};
pub use family::Family;
pub use growth::Growth;
pub use hlog::{DIGITS, INTERVAL_NS, MAX_LATENCY_NS, histogram, write_log};
pub use limits::{Broke, Ended, HeldMemory, Limit, LimitOf, LimitStep};
pub use measures::{
    Arrivals, FaultDone, Measures, Merge, Moment, OverTime, Overflow, Recovery, RoundTrip,
    SlowReaders, Snapshot, Streams,
};
pub use memory::{Fit, MIN_CLIENTS_FOR_SLOPE, Memory, MemoryPoint};
pub use quantiles::{MIN_BEYOND, Quantiles};
pub use slices::{Slice, Whole};
pub use summary::{Figures, Merged, SummaryRow};
pub use trial::{
    Capability, Check, Clients, Deliveries, HarnessCost, HistogramId, IntervalNs, LatencyIntervals,
    Machine, Outcome, Phases, Probe, Publish, Reason, ServerCost, Span, Throughput, Trial,
    Validity, Verdict, Wire, WorkloadWindow,
};
pub use variant::{Pair, Selector, Side, Variant};

use crate::observe::environment::Environment;
use crate::scenario::Scenario;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the shape of the record. Raised when a key changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 2;

/// A run: all trials of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "pushbench run")]
pub struct Record {
    /// Version of the shape of this record.
    pub schema_version: u32,
    /// The version in which it was written, where that was an older one: figures whose meaning has
    /// changed since are `null`. `null` in any other record.
    #[serde(default)]
    pub converted_from: Option<u32>,
    /// What made the record.
    pub tool: Tool,
    /// Where it was made.
    pub environment: Environment,
    /// The scenario as it ran, options of the command line included.
    pub scenario: Scenario,
    /// What payloads, phases and the order of trials were derived from.
    pub seed: u64,
    /// Whether the run came to its end.
    pub status: Status,
    /// Every trial in the order in which they ran, failed ones too.
    pub trials: Vec<Trial>,
    /// A row for each transport, profile and point of the sweep, over its trials.
    pub summary: Vec<SummaryRow>,
    /// How the cost of each transport and profile grows from the first point of the sweep to the
    /// last; empty without one.
    #[serde(default)]
    pub growth: Vec<Growth>,
    /// What a search for limits found; empty in an ordinary run.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// Every pair of transport and profile at one point, from five trials each on.
    pub comparisons: Vec<Comparison>,
}

/// The program that made a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `pushbench`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its revision: the commit that it was built from, with `-dirty` where the source differed from
    /// that, or what `PUSHBENCH_REVISION` was then; `null` where it was not built from a repository.
    pub revision: Option<String>,
}

impl Tool {
    /// This program.
    pub fn this() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: option_env!("PUSHBENCH_REVISION").map(str::to_owned),
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Trials are still to come; found in a finished record, the run was killed.
    Running,
    /// All trials ran, whatever their verdict.
    Complete,
    /// Someone interrupted the run; the trials that were done are here.
    Interrupted,
    /// The run could not go on.
    Failed,
}

impl Status {
    /// What a headline adds of a run that is not complete.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Complete => "",
            Self::Running => "; not finished",
            Self::Interrupted => "; interrupted",
            Self::Failed => "; failed",
        }
    }
}

impl Record {
    /// A record without trials yet.
    pub fn new(scenario: Scenario, seed: u64, environment: Environment) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            converted_from: None,
            tool: Tool::this(),
            environment,
            scenario,
            seed,
            status: Status::Running,
            trials: Vec::new(),
            summary: Vec::new(),
            growth: Vec::new(),
            limits: Vec::new(),
            comparisons: Vec::new(),
        }
    }

    /// The worst verdict of all trials; `void` where there is no trial at all.
    pub fn verdict(&self) -> Verdict {
        self.trials
            .iter()
            .map(|trial| trial.validity.verdict)
            .max()
            .unwrap_or(Verdict::Void)
    }
}

/// The JSON schema of a [`Record`] (draft 2020-12), as `results/run.schema.json` holds it.
pub fn schema() -> serde_json::Value {
    // Of what is written, not of what is accepted: so every key is required, null or not.
    schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Record>()
        .to_value()
}

/// [`schema`] as text, with the line end that a file has.
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
