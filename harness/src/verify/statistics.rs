//! The comparison itself, compared with what is known.
//!
//! A transport against itself must hardly ever be *different* (A/A); against itself with a relay
//! that holds its bytes for 11 ms instead of 10, it must be, and by 10% (A/B). Beside it what probes
//! and audit cost: paired trials with and without them.
//!
//! Noise comes in spells of seconds, in which a neighbour or another program has the cores. What
//! helps against it is many short pairs rather than few long ones: the two of a pair are then close
//! in time, and the interval narrows with their number. That number is fixed beforehand.

use std::collections::BTreeMap;
use std::time::Duration;

use pushbench_protocol::transport::Transport;

use super::{Bench, Disturbance, Listener, Subject, word};
use crate::analysis::compare::compare_pair;
use crate::analysis::stats::{Ratio, median, paired_log_ratio};
use crate::audit::MAX_STEAL;
use crate::environment::layer::relay::RelayPlan;
use crate::record::{Comparison, MIN_CLIENTS_FOR_SLOPE, MetricComparison, Says, Trial, Verdict};
use crate::run::RunError;
use crate::scenario::Matters;

/// A/A runs that may find a difference in any primary metric, of 20.
const MOST_FALSE: f64 = 1.0 / 20.0;

/// A/B runs that must find the difference, of 20.
const LEAST_FOUND: f64 = 18.0 / 20.0;

/// What the relays of A/B hold bytes for.
const DELAYS: [Duration; 2] = [Duration::from_millis(11), Duration::from_millis(10)];

/// The difference that A/B must find.
const DIFFERENCE: f64 = 1.1;

/// What delivery takes in addition to the delay, some 0.3 ms, is in both medians and makes +10% a little
/// less, +9.7%: so an interval must hold what is +10% when it is rounded to a whole percent.
const ROUNDING: f64 = 0.005;

/// Pairs of trials of one run. With 99% for three metrics together, the interval's half width is
/// 2.8 standard deviations of a pair with 5 pairs, 1.3 with 10 and 0.9 with 15: so 15 tell 10%
/// apart where pairs vary by some 7%, 5 only where they vary by 2%.
const PAIRS: usize = 15;

/// Rounds of one run at the most, void and disturbed ones included.
const MOST_ROUNDS: u32 = 24;

/// Length of the measure phase of their trials, in s, and messages a second: 200 publishes, and the
/// 600 deliveries to four clients that a p99 needs.
const MEASURE_S: f64 = 0.25;
const RATE_PER_S: f64 = 800.0;

/// Pairs of trials with and without probes and audit.
const OVERHEAD_PAIRS: u32 = 60;

/// Their clients: as many as there can be without pauses for memory.
const OVERHEAD_CLIENTS: u32 = MIN_CLIENTS_FOR_SLOPE as u32 - 1;

/// What probes and audit may cost, of the CPU per delivery on both sides: the interval's upper end.
const MOST_OVERHEAD: f64 = 1.03;

/// Checks all three and reports the counts: whether all of them hold.
///
/// # Errors
/// [`RunError`] where the machine does not allow a trial.
pub async fn run(runs: u32, bench: Bench, listener: &dyn Listener) -> Result<bool, RunError> {
    let mut runner = Runner { bench, listener };
    let mut plain = Subject::undisturbed(Transport::Sse);
    plain.scenario.phases.settle_s = 0.0;
    plain.scenario.phases.warm_up_s = 0.05;
    plain.scenario.phases.measure_s = MEASURE_S;
    plain.rate(RATE_PER_S);
    let same = runner.same(&plain, runs).await?;
    let different = runner.different(&plain, runs).await?;
    let overhead = runner.overhead(plain).await?;
    Ok(same && different && overhead)
}

struct Runner<'a> {
    bench: Bench,
    listener: &'a dyn Listener,
}

impl Runner<'_> {
    /// What each of `runs` comparisons of two trials says, those left out that have too few witnesses.
    async fn comparisons(
        &mut self,
        name: &str,
        sides: [&Subject; 2],
        runs: u32,
    ) -> Result<Vec<Comparison>, RunError> {
        let mut all = Vec::new();
        for run in 1..=runs {
            let found = self.compare(sides).await?;
            let words = found.as_ref().map_or_else(
                || "too many trials were void".to_owned(),
                |found| primary(found).map(told).collect::<Vec<_>>().join(", "),
            );
            self.listener
                .progress(&format!("{name} run {run} of {runs}: {words}"));
            all.extend(found);
        }
        Ok(all)
    }

    /// A/A: counts the runs in which some primary metric is different.
    async fn same(&mut self, plain: &Subject, runs: u32) -> Result<bool, RunError> {
        let all = self.comparisons("A/A", [plain, plain], runs).await?;
        let mut wrong = 0;
        let mut by_metric: BTreeMap<&str, u32> = BTreeMap::new();
        for found in &all {
            let different = || primary(found).filter(|m| m.says == Says::Different);
            wrong += different().count().min(1);
            different().for_each(|m| *by_metric.entry(&m.metric).or_default() += 1);
        }
        let compared = all.len();
        let most = (f64::from(runs) * MOST_FALSE).floor() as usize;
        let holds = compared == runs as usize && wrong <= most;
        let which: Vec<String> = by_metric.iter().map(|(m, n)| format!("{m} {n}")).collect();
        let which = match which.is_empty() {
            true => String::new(),
            false => format!(" ({})", which.join(", ")),
        };
        self.listener.result(&format!(
            "A/A: sse against itself, {runs} runs of {PAIRS} paired trials: different in {wrong} of \
             {compared}{which}, at most {most} allowed: {}",
            word(holds)
        ));
        Ok(holds)
    }

    /// A/B: counts the runs in which the median is different, and sized right.
    async fn different(&mut self, plain: &Subject, runs: u32) -> Result<bool, RunError> {
        let [one, other] = DELAYS.map(|delay| Subject {
            disturbance: Disturbance::relay(RelayPlan {
                delay,
                faults: None,
            }),
            ..plain.clone()
        });
        let all = self.comparisons("A/B", [&one, &other], runs).await?;
        let metrics = all.iter().flat_map(|found| &found.metrics);
        let p50 = metrics.filter(|m| m.metric == "latency_ns.p50" && m.says == Says::Different);
        let p50: Vec<&MetricComparison> = p50.collect();
        let ratios: Vec<f64> = p50.iter().map(|m| m.ratio).collect();
        let within = |tolerance| {
            let sized = p50.iter().filter(|m| holds_difference(m, tolerance));
            sized.count() as u32
        };
        let (found, sized, exact) = (p50.len() as u32, within(ROUNDING), within(0.0));
        let least = (f64::from(runs) * LEAST_FOUND).ceil() as u32;
        let holds = found >= least && sized >= least;
        self.listener.result(&format!(
            "A/B: 11 ms against 10 ms of delay, {runs} runs of {PAIRS} paired trials: p50 different \
             in {found}, +10% (in whole percent) within the interval in {sized}, +10.0% in {exact}, \
             median ratio {:.3}; at least {least} asked of the first two: {}",
            median(ratios).unwrap_or(f64::NAN),
            word(holds)
        ));
        Ok(holds)
    }

    /// What probes and audit cost, on both sides together.
    async fn overhead(&mut self, mut with: Subject) -> Result<bool, RunError> {
        with.scenario.clients.count = OVERHEAD_CLIENTS;
        with.scenario.phases.warm_up_s = 0.1;
        with.scenario.phases.measure_s = 1.0;
        with.rate(30.0);
        let without = Subject {
            probes: false,
            ..with.clone()
        };
        let cost = |t: &Trial| {
            let server = t.server.cpu_ns_per_delivery?;
            Some(server + t.harness.cpu_ns_per_delivery?)
        };
        let (mut on, mut off) = (Vec::new(), Vec::new());
        for round in 0..OVERHEAD_PAIRS {
            let (a, b) = self.pair([&with, &without], round).await?;
            if let (Some(a), Some(b)) = (cost(&a), cost(&b)) {
                on.push(a);
                off.push(b);
            }
            if (round + 1).is_multiple_of(10) {
                let pairs = round + 1;
                self.listener
                    .progress(&format!("overhead: {pairs} of {OVERHEAD_PAIRS} pairs"));
            }
        }
        let Some(Ratio {
            ratio,
            low,
            high,
            n,
            ..
        }) = paired_log_ratio(&on, &off, 0.95)
        else {
            self.listener
                .result("overhead: too few trials came to their end: FAILED");
            return Ok(false);
        };
        let holds = high <= MOST_OVERHEAD;
        self.listener.result(&format!(
            "overhead: CPU per delivery on both sides, with probes and audit over without, {n} \
             pairs: × {ratio:.3} ({low:.3}–{high:.3}, 95%), the upper end at most × {MOST_OVERHEAD} \
             allowed: {}",
            word(holds)
        ));
        Ok(holds)
    }

    /// One run: paired trials, and what they come to.
    async fn compare(&mut self, sides: [&Subject; 2]) -> Result<Option<Comparison>, RunError> {
        let mut rounds = Vec::new();
        // A void trial is not a witness, and one whose cores a hypervisor took is a poor one: such
        // rounds are run again, a bounded number of times. No latency is looked at for that.
        for round in 0..MOST_ROUNDS {
            let (one, other) = self.pair(sides, round).await?;
            let witnesses = [&one, &other]
                .iter()
                .all(|trial| trial.validity.verdict != Verdict::Void);
            if witnesses {
                rounds.push((steal(&one).max(steal(&other)), one, other));
            }
            let calm = rounds.iter().filter(|(steal, ..)| *steal <= MAX_STEAL);
            if calm.count() == PAIRS {
                break;
            }
        }
        if rounds.len() < PAIRS {
            return Ok(None);
        }
        rounds.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
        rounds.truncate(PAIRS);
        let (of_a, of_b): (Vec<Trial>, Vec<Trial>) =
            rounds.into_iter().map(|(_, a, b)| (a, b)).unzip();
        // A difference is there or is not: a tenth of 10 ms is what is to be found.
        let matters = Matters {
            latency_ms: 0.0,
            ..Matters::default()
        };
        Ok(compare_pair(&of_a, &of_b, &matters))
    }

    /// Two trials, one after the other, in turns first.
    async fn pair(&mut self, sides: [&Subject; 2], round: u32) -> Result<(Trial, Trial), RunError> {
        let turn = round as usize % 2;
        let first = self.trial(sides[turn], round).await?;
        let second = self.trial(sides[1 - turn], round).await?;
        Ok(match turn {
            0 => (first, second),
            _ => (second, first),
        })
    }

    async fn trial(&mut self, subject: &Subject, round: u32) -> Result<Trial, RunError> {
        let subject = Subject {
            index: round + 1,
            ..subject.clone()
        };
        let (trial, _) = self.bench.trial(&subject, &|_| {}).await?;
        Ok(trial)
    }
}

fn primary(found: &Comparison) -> impl Iterator<Item = &MetricComparison> {
    found.metrics.iter().filter(|m| m.primary)
}

/// A metric of a run in short: `latency_ns.p50 × 1.002 (0.98–1.03) undecided`.
fn told(found: &MetricComparison) -> String {
    let says = match found.says {
        Says::Different => "different",
        Says::Alike => "same",
        Says::Undecided => "undecided",
    };
    let MetricComparison {
        metric,
        ratio,
        low,
        high,
        ..
    } = found;
    format!("{metric} × {ratio:.3} ({low:.3}–{high:.3}) {says}")
}

/// Whether an interval holds the difference, give or take `tolerance`.
fn holds_difference(found: &MetricComparison, tolerance: f64) -> bool {
    found.low <= DIFFERENCE + tolerance && DIFFERENCE - tolerance <= found.high
}

/// Share of the machine that a hypervisor took during a trial; 0 where it is not known.
fn steal(trial: &Trial) -> f64 {
    let mut checks = trial.validity.checks.iter();
    let check = checks.find(|check| check.check == "steal");
    check.and_then(|check| check.measured).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_percent_of_the_delay_is_a_little_less_of_the_latency_and_no_more() {
        let interval = |low, high| MetricComparison {
            metric: "latency_ns.p50".to_owned(),
            primary: true,
            says: Says::Different,
            ratio: 1.0,
            low,
            high,
            confidence: 0.99,
            p_value: 0.0,
            matters: 0.05,
            matters_amount: None,
            more_trials: None,
        };
        assert!(holds_difference(&interval(1.08, 1.12), 0.0));
        // 11.4 ms over 10.4 ms.
        assert!(holds_difference(&interval(1.094, 1.098), ROUNDING));
        assert!(!holds_difference(&interval(1.094, 1.098), 0.0));
        assert!(!holds_difference(&interval(1.05, 1.09), ROUNDING));
        assert!(!holds_difference(&interval(1.11, 1.2), ROUNDING));
    }
}
