//! The comparison itself, compared with what is known.
//!
//! Runs like those that people make: trials that take turns, in many short rounds, in about the time of
//! `run quick`. A transport against itself must hardly ever be *different* (A/A); with 5% more subscribers
//! its CPU per publish must be, and behind a relay that holds bytes for 10.5 ms instead of 10 its median
//! latency. The rounds of A/A are then resampled into thousands of runs, since twenty say little of what is to
//! happen once in a hundred. Beside it what probes and audit cost: rounds with and without them.
//!
//! | file | idea |
//! |---|---|
//! | `sides` | rounds of subjects that take turns |
//! | `resampled` | runs put together from the rounds of others |
//! | `overhead` | what probes and audit cost |

mod overhead;
mod resampled;
mod sides;

use std::collections::BTreeMap;
use std::time::Duration;

use pushbench_protocol::transport::Transport;

use super::{Bench, Disturbance, Listener, Subject, word};
use crate::analysis::compare::{CONFIDENCE, compare_pair, of_slices};
use crate::analysis::stats::family::simultaneous;
use crate::analysis::stats::{Ratio, median, ratio_of_slices};
use crate::environment::layer::relay::RelayPlan;
use crate::record::{Comparison, MetricComparison, Says, Slice, Trial, Verdict};
use crate::run::RunError;
use crate::scenario::{Matters, Scenario};

/// A/A runs that may find a difference in any primary metric, of 20.
const MOST_FALSE: f64 = 1.0 / 20.0;

/// Runs that must find a difference of 5%, of 20.
const LEAST_FOUND: f64 = 18.0 / 20.0;

/// Rounds of a run: they take about as long as `run quick`.
const ROUNDS: u32 = 22;

/// Rounds of a run behind relays, which hold bytes for …
const RELAYED_ROUNDS: u32 = 12;
/// … so long.
const DELAYS: [Duration; 2] = [Duration::from_micros(10_500), Duration::from_millis(10)];

/// Messages a second to the few clients behind a relay.
const RELAYED_PER_S: f64 = 800.0;

/// Subscribers of the side that works more, of 1,000.
const MORE_CLIENTS: u32 = 1_050;

/// Every difference counts, however small.
const STRICT: Matters = Matters {
    relative: 0.0,
    latency_ms: 0.0,
    memory_bytes: 0.0,
    wire_bytes: 0.0,
};

/// Checks all and reports the counts: whether all of them hold.
///
/// # Errors
/// [`RunError`] where the machine does not allow a trial.
pub async fn run(runs: u32, bench: Bench, listener: &dyn Listener) -> Result<bool, RunError> {
    let mut runner = Runner { bench, listener };
    let turns = runner.same_and_more_work(runs).await?;
    let later = runner.later(runs).await?;
    let overhead = runner.overhead(&quick()).await?;
    Ok(turns && later && overhead)
}

/// `sse` with the workload of `quick`.
fn quick() -> Subject {
    let scenario = Scenario::load("quick").expect("a scenario that is built in");
    Subject::of(scenario, Transport::Sse)
}

struct Runner<'a> {
    bench: Bench,
    listener: &'a dyn Listener,
}

/// The rounds of one side.
type Rounds = Vec<Trial>;

impl Runner<'_> {
    /// A/A, and 5% more work, by the same runs: of three sides that take turns two are equal, and one has
    /// more subscribers.
    async fn same_and_more_work(&mut self, runs: u32) -> Result<bool, RunError> {
        let plain = quick();
        let mut more = plain.clone();
        more.scenario.clients.count = MORE_CLIENTS;
        let (mut same, mut work, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for run in 1..=runs {
            let sides = self
                .rounds(&[&plain, &plain, &more], ROUNDS, Duration::ZERO)
                .await?;
            let found = compare_pair(&sides[0], &sides[1], &STRICT);
            let cost = per_publish(&sides[2], &sides[0]);
            self.listener.progress(&format!(
                "run {run} of {runs}: A/A {}; CPU per publish with 5% more subscribers {}",
                found
                    .as_ref()
                    .map_or_else(|| "not comparable".to_owned(), words),
                cost.map_or_else(|| "not comparable".to_owned(), |ratio| interval(&ratio)),
            ));
            same.extend(found);
            work.extend(cost);
            all.extend(sides[0].iter().cloned().zip(sides[1].iter().cloned()));
        }
        let same = self.tell_same(&same, runs);
        let work = self.tell_found("+5% subscribers: CPU per publish of sse", &work, runs);
        let resampled = self.resampled(&all);
        Ok(same && work && resampled)
    }

    /// 5% more latency.
    async fn later(&mut self, runs: u32) -> Result<bool, RunError> {
        let mut plain = Subject::undisturbed(Transport::Sse);
        plain.rate(RELAYED_PER_S);
        let sides = DELAYS.map(|delay| Subject {
            disturbance: Disturbance::relay(RelayPlan {
                delay,
                faults: None,
            }),
            ..plain.clone()
        });
        let mut ratios = Vec::new();
        for run in 1..=runs {
            let sides = [&sides[0], &sides[1]];
            let rounds = self.rounds(&sides, RELAYED_ROUNDS, DELAYS[0]).await?;
            let found = compare_pair(&rounds[0], &rounds[1], &STRICT);
            let p50 = found.as_ref().and_then(|found| {
                let mut metrics = found.metrics.iter();
                metrics.find(|m| m.metric == "latency_ns.p50").map(ratio_of)
            });
            self.listener.progress(&format!(
                "run {run} of {runs}: 10.5 ms against 10 ms of delay, p50 {}",
                p50.map_or_else(|| "not comparable".to_owned(), |ratio| interval(&ratio)),
            ));
            ratios.extend(p50);
        }
        Ok(self.tell_found(
            "+5% delay (10.5 ms against 10 ms): p50 of sse",
            &ratios,
            runs,
        ))
    }

    /// Counts the runs in which some primary metric is different.
    fn tell_same(&self, all: &[Comparison], runs: u32) -> bool {
        let mut wrong = 0;
        let mut by_metric: BTreeMap<&str, u32> = BTreeMap::new();
        for found in all {
            let different = || primary(found).filter(|m| m.says == Says::Different);
            wrong += different().count().min(1);
            different().for_each(|m| *by_metric.entry(&m.metric).or_default() += 1);
        }
        let most = (f64::from(runs) * MOST_FALSE).floor() as usize;
        let holds = all.len() == runs as usize && wrong <= most;
        let which: Vec<String> = by_metric.iter().map(|(m, n)| format!("{m} {n}")).collect();
        let which = match which.is_empty() {
            true => String::new(),
            false => format!(" ({})", which.join(", ")),
        };
        self.listener.result(&format!(
            "A/A: sse against itself, {runs} runs of {ROUNDS} rounds: different in {wrong} of {}{which}, at \
             most {most} allowed: {}",
            all.len(),
            word(holds)
        ));
        holds
    }

    /// Counts the runs that found more.
    fn tell_found(&self, what: &str, ratios: &[Ratio], runs: u32) -> bool {
        let found = ratios.iter().filter(|ratio| ratio.low > 1.0).count();
        let least = (f64::from(runs) * LEAST_FOUND).ceil() as usize;
        let holds = found >= least;
        let half = |r: &Ratio| (r.high / r.low).sqrt() - 1.0;
        self.listener.result(&format!(
            "{what}: more in {found} of {runs} runs, median ratio {:.3} (median half width {:.1}%), at \
             least {least} asked: {}",
            median(ratios.iter().map(|r| r.ratio)).unwrap_or(f64::NAN),
            median(ratios.iter().map(half)).unwrap_or(f64::NAN) * 100.0,
            word(holds)
        ));
        holds
    }
}

/// How many times the server's CPU for a publish is in `a` what it is in `b`, which published the same:
/// with the interval of one of three primary metrics.
fn per_publish(a: &[Trial], b: &[Trial]) -> Option<Ratio> {
    let cpu = |slice: &Slice| Some(slice.server_cpu_ns? as f64);
    ratio_over_slices(a, b, cpu, simultaneous(CONFIDENCE, 3))
}

/// How many times what `read` finds in the slices of `a` is what it finds in those of `b`.
fn ratio_over_slices(
    a: &[Trial],
    b: &[Trial],
    read: fn(&Slice) -> Option<f64>,
    confidence: f64,
) -> Option<Ratio> {
    let kept = a.iter().zip(b).filter(|(a, b)| are_witnesses(a, b));
    let rounds: Option<Vec<Vec<f64>>> = kept.map(|(a, b)| of_slices(a, b, read)).collect();
    ratio_of_slices(&rounds?, confidence)
}

fn are_witnesses(a: &Trial, b: &Trial) -> bool {
    [a, b]
        .iter()
        .all(|trial| trial.validity.verdict != Verdict::Void)
}

fn primary(found: &Comparison) -> impl Iterator<Item = &MetricComparison> {
    found.metrics.iter().filter(|m| m.primary)
}

fn words(found: &Comparison) -> String {
    let each = primary(found).map(|m| format!("{} {}", m.metric, interval(&ratio_of(m))));
    each.collect::<Vec<_>>().join(", ")
}

fn interval(ratio: &Ratio) -> String {
    let Ratio {
        ratio, low, high, ..
    } = ratio;
    format!("× {ratio:.3} ({low:.3}–{high:.3})")
}

fn ratio_of(found: &MetricComparison) -> Ratio {
    Ratio {
        ratio: found.ratio,
        low: found.low,
        high: found.high,
        confidence: found.confidence,
        p_value: found.p_value,
        n: 0,
        freedom: 0.0,
        sd_log: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushbench_protocol::transport::Profile;

    fn trial(index: u32, cpu_ns: u64) -> Trial {
        let mut trial = Trial::new(Transport::Sse, Profile::Tuned, index);
        trial.validity.verdict = Verdict::Valid;
        let slice = |block: u64| Slice {
            server_cpu_ns: Some(cpu_ns * (block + 1)),
            deliveries: 100,
            ..Slice::default()
        };
        trial.slices = (0..8).map(slice).collect();
        trial
    }

    #[test]
    fn cpu_per_publish_is_compared_by_slices_of_rounds_that_are_not_void() {
        let rounds = |cpu_ns: u64| -> Rounds { (1..=6).map(|i| trial(i, cpu_ns)).collect() };
        let (mut a, b) = (rounds(1_050), rounds(1_000));
        a[2] = trial(3, 9_000);
        a[2].validity.verdict = Verdict::Void;
        let found = per_publish(&a, &b).expect("five rounds");
        assert_eq!(found.n, 5);
        assert!((found.ratio - 1.05).abs() < 1e-9 && found.low > 1.049);
        a[3].validity.verdict = Verdict::Void;
        assert_eq!(per_publish(&a, &b), None);
    }
}
