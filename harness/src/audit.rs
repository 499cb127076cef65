//! The checks that give a trial its verdict.
//!
//! Place on the data path: after the trial, before the record. In: what was counted. Out: reasons,
//! each with what was found, where the limit lies and what helps. A number whose trial is `void`
//! says nothing about the server.

use crate::fleet::FleetReport;
use crate::results::{Reason, Trial, Verdict};

/// How far the achieved rate may lie from the offered one: 1%.
pub const MAX_RATE_ERROR: f64 = 0.01;

/// Enters every check of `trial` that does not pass.
pub fn audit(trial: &mut Trial, report: &FleetReport) {
    clients(trial, report);
    ledger(trial, report);
    rate(trial);
    clock(trial, report);
}

fn void(trial: &mut Trial, check: &str, measured: f64, limit: f64, message: String, remedy: &str) {
    let reason = Reason {
        check: check.to_owned(),
        measured: Some(measured),
        limit: Some(limit),
        remedy: remedy.to_owned(),
        message,
    };
    trial.validity.raise(Verdict::Void, reason);
}

fn clients(trial: &mut Trial, report: &FleetReport) {
    let said = report
        .errors
        .first()
        .map(|e| format!(" ({e})"))
        .unwrap_or_default();
    let (connected, target) = (trial.clients.connected, trial.clients.target);
    if connected < target {
        let message = format!("{connected} of {target} clients connected{said}");
        let remedy = "use fewer clients with '--clients', or connect more slowly with \
                      'clients.connect_per_s'";
        void(
            trial,
            "clients_connected",
            connected as f64,
            target as f64,
            message,
            remedy,
        );
    }
    let disconnected = trial.clients.disconnected;
    if disconnected > 0 {
        let message = format!("{disconnected} clients were disconnected before the end{said}");
        let remedy = "a client that falls off the ring is disconnected: use a lower rate, or a \
                      larger 'server.ring_messages'";
        void(
            trial,
            "clients_stayed",
            disconnected as f64,
            0.0,
            message,
            remedy,
        );
    }
}

fn ledger(trial: &mut Trial, report: &FleetReport) {
    let d = trial.deliveries;
    let first = report.first_missing.as_ref();
    let first = first
        .map(|f| format!("; the first is {f}"))
        .unwrap_or_default();
    if d.missing > 0 {
        let message = format!(
            "expected {} deliveries, got {}{first}",
            d.expected, d.received
        );
        let remedy = "lower the rate with '--rate', or wait longer with 'phases.drain_s'";
        void(
            trial,
            "ledger_missing",
            d.missing as f64,
            0.0,
            message,
            remedy,
        );
    }
    if d.duplicate > 0 {
        let message = format!("{} messages came twice", d.duplicate);
        void(
            trial,
            "ledger_duplicate",
            d.duplicate as f64,
            0.0,
            message,
            "report this as a bug",
        );
    }
    if d.out_of_order > 0 {
        let message = format!("{} messages came behind a later one", d.out_of_order);
        let measured = d.out_of_order as f64;
        void(
            trial,
            "ledger_order",
            measured,
            0.0,
            message,
            "report this as a bug",
        );
    }
    if report.ledger_overflowed {
        let message = "a client had more gaps than its ledger holds".to_owned();
        let remedy = "lower the rate with '--rate' until less is lost";
        void(trial, "ledger_overflow", 1.0, 0.0, message, remedy);
    }
    if report.corrupt > 0 {
        let first = report.first_corrupt.as_ref();
        let first = first
            .map(|f| format!("; the first is {f}"))
            .unwrap_or_default();
        let message = format!(
            "{} messages are not what was published{first}",
            report.corrupt
        );
        void(
            trial,
            "payload",
            report.corrupt as f64,
            0.0,
            message,
            "report this as a bug",
        );
    }
}

fn rate(trial: &mut Trial) {
    let offered = trial.publish.offered_per_s;
    let achieved = trial.publish.achieved_per_s.unwrap_or(0.0);
    if offered > 0.0 && (achieved / offered - 1.0).abs() > MAX_RATE_ERROR {
        let message =
            format!("{offered:.1} messages a second were offered, {achieved:.1} published");
        let remedy = "the publisher was starved: lower the rate with '--rate', or use more cores";
        void(trial, "achieved_rate", achieved, offered, message, remedy);
    }
}

fn clock(trial: &mut Trial, report: &FleetReport) {
    let negative = report.negative_latencies;
    if negative > 0 {
        let message = format!("{negative} messages were received before they were published");
        let remedy = "server and clients must read one clock: run both on one host";
        void(trial, "clock", negative as f64, 0.0, message, remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushbench_servers::transport::{Profile, Transport};

    /// A trial in which everything is as it should be.
    fn good() -> (Trial, FleetReport) {
        let mut trial = Trial::new(Transport::Sse, Profile::Tuned, 1);
        trial.clients.target = 10;
        trial.clients.connected = 10;
        trial.deliveries.expected = 100;
        trial.deliveries.received = 100;
        trial.publish.offered_per_s = 10.0;
        trial.publish.achieved_per_s = Some(10.05);
        (trial, FleetReport::default())
    }

    fn fired(change: impl FnOnce(&mut Trial, &mut FleetReport)) -> Vec<String> {
        let (mut trial, mut report) = good();
        change(&mut trial, &mut report);
        audit(&mut trial, &report);
        let verdict = trial.validity.verdict;
        assert_eq!(verdict == Verdict::Void, !trial.validity.reasons.is_empty());
        trial
            .validity
            .reasons
            .into_iter()
            .map(|r| r.check)
            .collect()
    }

    #[test]
    fn a_good_trial_is_valid() {
        assert_eq!(fired(|_, _| {}), [""; 0]);
    }

    #[test]
    fn every_check_fires_on_what_it_is_for() {
        assert_eq!(fired(|t, _| t.clients.connected = 9), ["clients_connected"]);
        assert_eq!(fired(|t, _| t.clients.disconnected = 1), ["clients_stayed"]);
        assert_eq!(fired(|t, _| t.deliveries.missing = 1), ["ledger_missing"]);
        assert_eq!(
            fired(|t, _| t.deliveries.duplicate = 1),
            ["ledger_duplicate"]
        );
        assert_eq!(
            fired(|t, _| t.deliveries.out_of_order = 1),
            ["ledger_order"]
        );
        assert_eq!(
            fired(|_, r| r.ledger_overflowed = true),
            ["ledger_overflow"]
        );
        assert_eq!(fired(|_, r| r.corrupt = 1), ["payload"]);
        assert_eq!(
            fired(|t, _| t.publish.achieved_per_s = Some(9.89)),
            ["achieved_rate"]
        );
        assert_eq!(
            fired(|t, _| t.publish.achieved_per_s = None),
            ["achieved_rate"]
        );
        assert_eq!(fired(|_, r| r.negative_latencies = 1), ["clock"]);
    }

    #[test]
    fn nothing_published_is_no_missed_rate() {
        let nothing = |t: &mut Trial, _: &mut FleetReport| {
            t.publish.offered_per_s = 0.0;
            t.publish.achieved_per_s = None;
        };
        assert_eq!(fired(nothing), [""; 0]);
    }
}
