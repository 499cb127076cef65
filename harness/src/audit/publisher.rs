//! Whether the publisher kept to its schedule.

use pushbench_protocol::schedule::Arrival;

use super::findings::{Found, Row, ms, row, timed};
use super::{Evidence, NEGLIGIBLE_LATENESS_NS, highest_known};
use crate::analysis::stats::exponential_gaps;
use crate::record::Capability::PublishReport;
use crate::record::{Trial, Verdict};

/// How far the achieved rate may lie from the offered one: 1%, or the effect of a last message that
/// is late by no more than [`NEGLIGIBLE_LATENESS_NS`].
pub const MAX_RATE_ERROR: f64 = 0.01;

/// Share of the tail of delivery latency that the publisher's own lateness may make up. Above half,
/// p99 describes the publisher's thread more than server and transport.
pub const MAX_LAG_SHARE: f64 = 0.5;

/// Significance of the test of the arrival process: a good trial must not be called bad.
pub const ARRIVAL_LEVEL: f64 = 0.001;

/// Share of the channels that may be published to in vain: about as much is added to CPU per delivery.
const MAX_UNHEARD: f64 = 0.05;

const STARVED: &str = "the publisher was starved: lower the rate with '--rate', or use more cores";

pub(super) const CHECKS: &[Row] = &[
    timed("achieved_rate", achieved_rate, STARVED).needs(PublishReport),
    row(
        "publish_lag",
        publish_lag,
        "the tail is the publisher's own: run on a quieter machine, or with more cores",
    )
    .needs(PublishReport),
    row("arrivals", arrivals, STARVED).needs(PublishReport),
    row(
        "subscribers",
        subscribers,
        "use at least as many clients as channels ('--clients'), or fewer channels \
         ('channels.count')",
    ),
];

/// Why nothing can be said about a publisher.
fn unknown(trial: &Trial, evidence: &Evidence<'_>) -> Option<Found> {
    if trial.publish.offered_per_s <= 0.0 {
        return Some(Found::not_tested("nothing was published"));
    }
    let why = "the publisher ended with its server, and another continued";
    evidence.server_replaced.then(|| Found::not_tested(why))
}

fn achieved_rate(trial: &Trial, evidence: &Evidence<'_>) -> Found {
    if let Some(unknown) = unknown(trial, evidence) {
        return unknown;
    }
    let offered = trial.publish.offered_per_s;
    let achieved = trial.publish.achieved_per_s.unwrap_or(0.0);
    let error = (achieved / offered - 1.0).abs();
    // A last message that is only negligibly late stretches a short phase a lot.
    let phase = trial.phase_ns.measure;
    let phase_ns = phase.map_or(f64::INFINITY, |p| (p.end.saturating_sub(p.start)) as f64);
    let limit = MAX_RATE_ERROR.max(NEGLIGIBLE_LATENESS_NS / phase_ns.max(1.0));
    let verdict = if error > limit {
        Verdict::Void
    } else {
        Verdict::Valid
    };
    let message = format!("{offered:.1} messages a second were offered, {achieved:.1} published");
    Found::Measured(achieved, offered, verdict, message)
}

/// Publishing to a channel that nobody subscribes to costs the server CPU, which its figures then
/// charge to the deliveries of the others.
fn subscribers(trial: &Trial, evidence: &Evidence<'_>) -> Found {
    if trial.publish.offered_per_s <= 0.0 {
        return Found::Absent;
    }
    let (of, alone) = (evidence.channels, trial.publish.channels_without_subscriber);
    let share = f64::from(alone) / f64::from(of.max(1));
    if trial.deliveries.expected == Some(0) && trial.clients.connected > 0 {
        // Without a subscriber, or too few messages for every channel to get one.
        let message = "messages were published, but no client was owed one";
        return Found::Measured(share, 0.0, Verdict::Void, message.to_owned());
    }
    let message = format!("{alone} of {of} channels had no subscriber");
    Found::above(share, MAX_UNHEARD, Verdict::Suspect, message)
}

fn publish_lag(trial: &Trial, evidence: &Evidence<'_>) -> Found {
    if let Some(unknown) = unknown(trial, evidence) {
        return unknown;
    }
    match highest_known(&trial.publish.lag_ns, &trial.latency_ns) {
        None => Found::not_tested("too few messages for a quantile"),
        Some((lag, tail, q)) => Found::above(
            lag,
            (tail * MAX_LAG_SHARE).max(NEGLIGIBLE_LATENESS_NS),
            Verdict::Suspect,
            format!(
                "the publisher was {} late at {q}, where delivery took {}",
                ms(lag),
                ms(tail)
            ),
        ),
    }
}

fn arrivals(trial: &Trial, evidence: &Evidence<'_>) -> Found {
    if let Some(unknown) = unknown(trial, evidence) {
        return unknown;
    }
    if evidence.arrival != Arrival::Poisson {
        return Found::not_tested("arrivals are not random");
    }
    let gaps: Vec<f64> = evidence.gaps_ns.iter().map(|&ns| ns as f64).collect();
    match exponential_gaps(&gaps, None) {
        None => Found::not_tested(format!("{} gaps are too few", gaps.len())),
        Some(test) => {
            let verdict = if test.p_value < ARRIVAL_LEVEL {
                Verdict::Suspect
            } else {
                Verdict::Valid
            };
            let message = format!(
                "the times between publishes are not exponential (Anderson–Darling, A² = {:.2})",
                test.statistic
            );
            Found::Measured(test.p_value, ARRIVAL_LEVEL, verdict, message)
        }
    }
}
