//! What is said of a run under way, in words: trials that ended, and how far its intervals have closed.
//!
//! In: the rows of a record, and its comparisons. Out: lines. Which of two is better is in none of them:
//! nobody shall end a run because of what it looks like so far.

use std::collections::BTreeMap;

use pushbench_protocol::transport::Profile;

use crate::metrics::find;
use crate::record::{Comparison, Record, Trial, Verdict};
use crate::run::Spent;
use crate::text::figure::{NONE, count};

/// Beyond this, a width says only that the interval is still open.
const OPEN: f64 = 9.99;

/// Trials that ended together: those of a round that took turns, or one by itself.
pub(super) fn ended(trials: &[Trial]) -> Option<String> {
    let sum = |of: fn(&Trial) -> u64| count(trials.iter().map(of).sum());
    let owed: Option<u64> = trials.iter().map(|trial| trial.deliveries.expected).sum();
    let deliveries = format!(
        "{} of {} deliveries",
        sum(|trial| trial.deliveries.received),
        owed.map_or_else(|| NONE.to_owned(), count)
    );
    let connected = sum(|trial| trial.clients.connected);
    let target = sum(|trial| trial.clients.target);
    let clients = format!("{connected} of {target} clients");
    match trials {
        [] => None,
        [trial] => Some(format!(
            "{}: {}; {clients}, {deliveries}",
            trial.label(),
            verdict(trial)
        )),
        [first, ..] => {
            let at = first.variant.point.map(|point| format!(" at {point}"));
            let clients = match connected == target {
                true => String::new(),
                false => format!("{clients}, "),
            };
            Some(format!(
                "round {}{}: {}; {clients}{deliveries}",
                first.index,
                at.unwrap_or_default(),
                verdicts(trials)
            ))
        }
    }
}

/// 'tcp, sse tuned: valid; websocket tuned: suspect (steal)'.
fn verdicts(trials: &[Trial]) -> String {
    let mut groups: BTreeMap<(Verdict, String, Profile), Vec<&str>> = BTreeMap::new();
    for trial in trials {
        let side = trial.variant.side;
        let key = (trial.validity.verdict, verdict(trial), side.profile);
        groups.entry(key).or_default().push(side.transport.id());
    }
    let parts = groups.iter().map(|((_, verdict, profile), transports)| {
        format!("{} {profile}: {verdict}", transports.join(", "))
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// A verdict, with the checks that it is for. Their reasons are in the report, each once.
fn verdict(trial: &Trial) -> String {
    let mut checks: Vec<&str> = Vec::new();
    for reason in &trial.validity.reasons {
        if !checks.contains(&&*reason.check) {
            checks.push(&reason.check);
        }
    }
    let verdict = trial.validity.verdict;
    match checks.is_empty() {
        true => verdict.to_string(),
        false => format!("{verdict} ({})", checks.join(", ")),
    }
}

/// How wide the widest interval of each primary metric is, over all pairs of candidates; `None` where
/// nothing is compared yet.
pub(super) fn widths(record: &Record, so_far: &Spent) -> Option<String> {
    let all = record.comparisons.iter();
    let with_baseline = |of: &&Comparison| of.pair.a.is_baseline() || of.pair.b.is_baseline();
    let mut pairs: Vec<&Comparison> = all.clone().filter(|of| !with_baseline(of)).collect();
    if pairs.is_empty() {
        // One candidate has only the baseline to be compared with.
        pairs = all.collect();
    }
    let mut widest: Vec<(&str, f64)> = Vec::new();
    let metrics = pairs.iter().flat_map(|of| &of.metrics);
    for metric in metrics.filter(|metric| metric.primary) {
        let half = ((metric.high / metric.low).ln() / 2.0).exp() - 1.0;
        match widest.iter_mut().find(|(known, _)| *known == metric.metric) {
            Some((_, most)) => *most = most.max(half),
            None => widest.push((&metric.metric, half)),
        }
    }
    let parts = widest.iter().map(|&(key, half)| {
        let name = find(key).map_or(key, |metric| metric.short);
        format!("{} {name}", percent(half))
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| {
        format!(
            "after {} rounds, {:.0} of {:.0} s: intervals {}",
            so_far.rounds,
            so_far.spent.as_secs_f64(),
            so_far.budget.as_secs_f64(),
            parts.join(", ")
        )
    })
}

fn percent(half: f64) -> String {
    let percent = half * 100.0;
    if !(0.0..OPEN).contains(&half) {
        format!("more than ± {:.0}%", OPEN * 100.0)
    } else if percent < 9.95 {
        format!("± {percent:.1}%")
    } else {
        format!("± {percent:.0}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{MetricComparison, Pair, Reason, Says, sample};
    use pushbench_protocol::transport::Transport;
    use std::time::Duration;

    fn trial(transport: Transport, profile: Profile) -> Trial {
        let mut trial = Trial::new(transport, profile, 9);
        (trial.clients.target, trial.clients.connected) = (1_000, 1_000);
        (trial.deliveries.received, trial.deliveries.expected) = (7_600, Some(7_600));
        trial
    }

    fn doubt(trial: &mut Trial, verdict: Verdict, check: &str) {
        let reason = Reason {
            check: check.to_owned(),
            measured: None,
            limit: None,
            remedy: "wait".to_owned(),
            message: "a long story".to_owned(),
        };
        trial.validity.raise(verdict, reason);
    }

    #[test]
    fn a_round_of_valid_trials_is_one_short_line() {
        let of = [
            Transport::Tcp,
            Transport::Sse,
            Transport::WebSocket,
            Transport::LongPoll,
        ];
        let trials = of.map(|transport| trial(transport, Profile::Tuned));
        assert_eq!(
            ended(&trials).as_deref(),
            Some(
                "round 9: tcp, sse, websocket, long_poll tuned: valid; 30,400 of 30,400 deliveries"
            )
        );
        assert_eq!(
            ended(&trials[1..2]).as_deref(),
            Some("sse tuned, trial 9: valid; 1,000 of 1,000 clients, 7,600 of 7,600 deliveries")
        );
        assert_eq!(ended(&[]), None);
    }

    #[test]
    fn what_is_not_valid_is_named_with_its_checks_and_no_story() {
        let mut trials = [
            trial(Transport::Tcp, Profile::Tuned),
            trial(Transport::Sse, Profile::Stock),
            trial(Transport::Sse, Profile::Tuned),
            trial(Transport::WebSocket, Profile::Tuned),
        ];
        for check in ["steal", "server_run_queue", "steal"] {
            doubt(&mut trials[2], Verdict::Suspect, check);
        }
        doubt(&mut trials[3], Verdict::Void, "clients_connected");
        trials[3].clients.connected = 998;
        trials[3].deliveries.expected = None;
        assert_eq!(
            ended(&trials).as_deref(),
            Some(
                "round 9: sse stock: valid; tcp tuned: valid; sse tuned: suspect (steal, \
                 server_run_queue); websocket tuned: void (clients_connected); 3,998 of 4,000 \
                 clients, 30,400 of – deliveries"
            )
        );
    }

    /// A record in which two sides differ in p50, p99 and CPU by intervals of these factors.
    fn compared(pairs: &[(Transport, Transport, [f64; 3])]) -> Record {
        let mut record = sample::record();
        let keys = [
            "latency_ns.p50",
            "latency_ns.p99",
            "server.cpu_ns_per_delivery",
        ];
        let of = |&(a, b, factors): &(Transport, Transport, [f64; 3])| {
            let metric = |(key, factor): (&str, f64)| MetricComparison {
                metric: key.to_owned(),
                primary: true,
                says: Says::Undecided,
                ratio: 2.0,
                low: 2.0 / factor,
                high: 2.0 * factor,
                confidence: 0.99,
                p_value: 0.5,
                matters: 0.05,
                matters_amount: None,
                more_trials: None,
            };
            let [a, b] = [a, b].map(|transport| (transport, Profile::Tuned).into());
            Comparison {
                pair: Pair { a, b, point: None },
                rounds: 7,
                left_out: 0,
                metrics: keys.into_iter().zip(factors).map(metric).collect(),
            }
        };
        record.comparisons = pairs.iter().map(of).collect();
        record
    }

    const SO_FAR: Spent = Spent {
        rounds: 7,
        spent: Duration::from_millis(41_300),
        budget: Duration::from_secs(60),
    };

    #[test]
    fn the_widest_interval_of_each_primary_metric_is_told_without_who_is_better() {
        use Transport::{LongPoll, Sse, Tcp, WebSocket};
        let record = compared(&[
            (Tcp, Sse, [3.0, 3.0, 3.0]),
            (Sse, WebSocket, [1.06, 1.21, 1.02]),
            (Sse, LongPoll, [1.01, 1.1, 1.09]),
        ]);
        let told = widths(&record, &SO_FAR);
        assert_eq!(
            told.as_deref(),
            Some("after 7 rounds, 41 of 60 s: intervals ± 6.0% p50, ± 21% p99, ± 9.0% server CPU")
        );
        let turned = compared(&[
            (WebSocket, Sse, [1.06, 1.21, 1.02]),
            (LongPoll, Sse, [1.01, 1.1, 1.09]),
        ]);
        assert_eq!(widths(&turned, &SO_FAR), told);
    }

    #[test]
    fn one_candidate_is_held_against_the_baseline_and_an_open_interval_has_no_figure() {
        let mut record = compared(&[(Transport::Tcp, Transport::Sse, [11.0, 10.0, 1.0])]);
        record.comparisons[0].metrics[1].low = 0.0;
        assert_eq!(
            widths(&record, &SO_FAR).as_deref(),
            Some(
                "after 7 rounds, 41 of 60 s: intervals more than ± 999% p50, more than ± 999% p99, \
                 ± 0.0% server CPU"
            )
        );
        record.comparisons.clear();
        assert_eq!(widths(&record, &SO_FAR), None);
    }
}
