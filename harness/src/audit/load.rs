//! Whether every client connected, stayed and came back, and which limits were met on the way.

use super::Evidence;
use super::findings::{Found, Row, row};
use crate::record::{Cause, Verdict};

const NOBODY_CONNECTED: &str = "no client connected";

pub(super) const CONNECTED: &[Row] = &[
    row(
        "fleet_shards",
        |_, evidence| {
            let dead = evidence.report.dead_shards;
            Found::count(
                dead,
                format!("{dead} shards of clients panicked: their clients are in no count"),
            )
        },
        "report this as a bug, with what was printed, unless the scenario asks for it",
    ),
    row(
        "clients_connected",
        |trial, evidence| {
            let (connected, target) = (trial.clients.connected, trial.clients.target);
            if target == 0 {
                return Found::not_tested("no client was to connect");
            }
            let verdict = if connected < target {
                Verdict::Void
            } else {
                Verdict::Valid
            };
            let why = first_error(evidence);
            let message = format!("{connected} of {target} clients connected{why}");
            Found::Measured(connected as f64, target as f64, verdict, message)
        },
        "use fewer clients with '--clients', or connect more slowly with 'clients.connect_per_s'",
    ),
    row(
        "clients_refused",
        |trial, evidence| {
            // Those that never connected are counted above; here are those that came back in vain.
            let refused = if trial.clients.connected < trial.clients.target {
                0
            } else {
                trial.clients.refused
            };
            let why = first_error(evidence);
            Found::count_of(
                (refused, trial.clients.connected),
                NOBODY_CONNECTED,
                format!("{refused} connects failed or were refused{why}"),
            )
        },
        "make clients come and go more slowly with 'sessions.gap_ms'",
    ),
    row(
        "clients_stayed",
        |trial, evidence| {
            let gone = trial.clients.disconnected;
            let why = first_error(evidence);
            Found::count_of(
                (gone, trial.clients.connected),
                NOBODY_CONNECTED,
                format!("{gone} clients were disconnected before the end{why}"),
            )
        },
        "a client that falls off the ring is disconnected: use a lower rate, or a larger \
         'server.ring_messages'",
    ),
    row(
        "descriptors",
        |_, evidence| {
            met(
                evidence,
                Cause::ClientDescriptors,
                "the clients' process ran out of descriptors",
            )
        },
        "use more shards with '--shards', or raise the limit with 'ulimit -n'",
    ),
    row(
        "ports",
        |_, evidence| {
            met(
                evidence,
                Cause::SourcePorts,
                "the clients ran out of source ports",
            )
        },
        "widen 'net.ipv4.ip_local_port_range', or use fewer clients with '--clients'",
    ),
    row(
        "backlog",
        |_, evidence| match evidence.connecting {
            None => Found::not_tested("the kernel's counters cannot be read"),
            Some(counted) => {
                let overflows = counted.listen_overflows;
                let message = format!("a listener's queue was full {overflows} times");
                Found::above(overflows as f64, 0.0, Verdict::Suspect, message)
            }
        },
        "connect more slowly with 'clients.connect_per_s', or raise 'net.core.somaxconn'",
    ),
];

/// Clients that were cut off and have not come back; unasked disconnects are counted by the check of
/// clients that stayed.
pub(super) const RETURNED: &[Row] = &[row(
    "clients_returned",
    |_, evidence| match &evidence.report.measures.recovery {
        // Clients of most scenarios do not reconnect.
        None => Found::Absent,
        Some(found) => Found::count_of(
            (found.not_back + found.gave_up, found.lost + found.cut),
            "no client lost its connection",
            format!(
                "{} clients had not returned by the end, and {} had stopped retrying",
                found.not_back, found.gave_up
            ),
        ),
    },
    "wait longer with 'phases.drain_s', or shorten 'reconnect.max_delay_ms'",
)];

/// The first error of a client, in brackets.
fn first_error(evidence: &Evidence<'_>) -> String {
    let first = evidence.report.errors.first();
    first.map(|error| format!(" ({error})")).unwrap_or_default()
}

/// How often a connect met a limit.
fn met(evidence: &Evidence<'_>, cause: Cause, message: &str) -> Found {
    let met = evidence.report.limits_met.get(&cause);
    Found::count(met.copied().unwrap_or(0), message.to_owned())
}
