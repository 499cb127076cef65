//! The record of a run or a search while it grows: what all of its trials share, and how each is kept.
//!
//! Around the trials. In: trials with their histograms. Out: a [`Record`], and its folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use hdrhistogram::Histogram;
use pushbench_protocol::payload::SplitMix64;

use super::{Done, Options, RunError, Watch};
use crate::environment::layout::Layout;
use crate::environment::readiness;
use crate::metrics::summarise;
use crate::observe::before::Before;
use crate::observe::environment::{Environment, Pinning};
use crate::record::{
    Merged, Quantiles, Record, Side, Status, Trial, Variant, histogram, write_log,
};
use crate::scenario::Scenario;
use crate::store::create_folder;
use crate::trial::{Histograms, Plan};

/// Congestion control of every socket of a run where the machine has it. A machine's default may
/// be one that paces (BBR), and whether it helps or harms is not a matter of transport; `cubic` is
/// Linux's own default.
const CONGESTION: &str = "cubic";

/// A record under way.
pub(super) struct Recording<'a> {
    options: &'a Options,
    congestion: Option<String>,
    folder: Option<PathBuf>,
    pub(super) record: Record,
    merged: BTreeMap<Variant, (Histogram<u64>, Histogram<u64>)>,
}

impl<'a> Recording<'a> {
    /// Makes the folder of the record. `layout` is that of any trial: cores are the same in all.
    pub(super) fn start(
        scenario: &Scenario,
        options: &'a Options,
        layout: &Layout,
    ) -> Result<Self, RunError> {
        let mut environment = environment(layout);
        environment.allocator = scenario.run.allocator.id().to_owned();
        let congestion = congestion(&environment);
        let folder = options.out.as_ref();
        let folder = folder.map(|out| create_folder(out, SystemTime::now(), &scenario.name));
        let seed = scenario.run.seed.unwrap_or_else(fresh_seed);
        Ok(Self {
            options,
            congestion,
            folder: folder.transpose()?,
            record: Record::new(scenario.clone(), seed, environment),
            merged: BTreeMap::new(),
        })
    }

    /// Watches the machine, where that is asked for, before a run with so many connections at a time. Not
    /// sooner: who asks for what is refused waits for nothing.
    pub(super) fn look_around(&mut self, connections: u64, watch: &dyn Watch) {
        if self.options.looks_around {
            let before = Before::watch(readiness::memory_of(connections));
            watch.before(&before);
            self.record.environment.before = Some(before);
        }
    }

    /// What trial `index` of a side is to do.
    pub(super) fn plan<'p>(
        &'p self,
        at: &'p Scenario,
        side: Side,
        layout: &'p Layout,
        (index, first_source): (u32, u32),
    ) -> Plan<'p> {
        Plan {
            index,
            family: self.options.family,
            seed: self.record.seed,
            congestion: self.congestion.as_deref(),
            check_payloads: self.options.check_payloads,
            sources: &self.options.sources,
            first_source,
            ..Plan::new(at, side, layout, &self.options.program)
        }
    }

    /// Keeps a trial: its histograms at once, its row with the next [`Self::write`].
    pub(super) fn enter(
        &mut self,
        trial: Trial,
        histograms: Option<&Histograms>,
    ) -> Result<(), RunError> {
        let (variant, label) = (trial.variant, trial.label_for_file());
        self.record.trials.push(trial);
        if let Some(found) = histograms {
            let empty = || (histogram(), histogram());
            let (delivery, fanout) = self.merged.entry(variant).or_insert_with(empty);
            for (all, one) in [(delivery, &found.delivery), (fanout, &found.fanout)] {
                all.add(one).expect("all histograms have the same bounds");
            }
        }
        let merged = self.merged.iter().map(|(variant, (delivery, fanout))| {
            let merged = Merged {
                latency_ns: Quantiles::from_histogram(delivery),
                fanout_ns: Quantiles::from_histogram(fanout),
            };
            (*variant, merged)
        });
        self.record.summary = summarise(&self.record.trials, &merged.collect());
        let (Some(folder), Some(found)) = (&self.folder, histograms) else {
            return Ok(());
        };
        let path = folder.join("latency").join(format!("{label}.hlog"));
        write_log(&path, found.measure_started, &found.intervals)
            .map_err(|source| RunError::Log { path, source })
    }

    /// Writes the record, which names nothing that is not there.
    pub(super) fn write(&self) -> Result<(), RunError> {
        match &self.folder {
            Some(folder) => Ok(self.record.write(folder)?),
            None => Ok(()),
        }
    }

    /// The record as it ended; `unwritten` says why the last of it is not in the folder.
    pub(super) fn done(mut self, mut unwritten: Option<RunError>) -> Done {
        if self.record.status == Status::Running {
            self.record.status = Status::Complete;
        }
        if unwritten.is_none() {
            unwritten = self.write().err();
        }
        Done {
            record: self.record,
            folder: self.folder,
            unwritten,
        }
    }
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // 53 bits: a JSON reader that holds numbers as doubles reads it exactly.
    SplitMix64::new(now.as_nanos() as u64 ^ u64::from(std::process::id())).next() >> 11
}

fn environment(layout: &Layout) -> Environment {
    let mut environment = Environment::read();
    let cores = |cpus: &[usize]| cpus.iter().map(|&cpu| cpu as u32).collect();
    environment.pinning = (!layout.server.cpus.is_empty()).then(|| Pinning {
        server_cores: cores(&layout.server.cpus),
        client_cores: cores(&layout.fleet.cpus),
    });
    environment.congestion_control_used =
        congestion(&environment).or_else(|| environment.congestion_control.clone());
    environment
}

/// Congestion control that the trials of a run in `environment` use.
pub(crate) fn congestion(environment: &Environment) -> Option<String> {
    let allowed = environment.congestion_controls_allowed.as_ref()?;
    allowed.iter().find(|name| *name == CONGESTION).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cubic_is_used_only_where_this_user_may_set_it() {
        let with = |allowed: &[&str]| {
            let names = |names: &[&str]| Some(names.iter().map(|&n| n.to_owned()).collect());
            congestion(&Environment {
                congestion_controls_available: names(&["reno", "cubic"]),
                congestion_controls_allowed: names(allowed),
                ..Environment::default()
            })
        };
        assert_eq!(with(&["reno", "cubic"]).as_deref(), Some("cubic"));
        assert_eq!(with(&["reno"]), None);
        assert_eq!(congestion(&Environment::default()), None);
    }
}
