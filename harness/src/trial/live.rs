//! What a trial under way looks like, once a second: for a person who watches, and for nobody else.
//!
//! Beside the data path. In: the fleet's status over its control interface, the CPU clocks and the
//! resident memory of both processes. Out: [`Live`] figures. None of them goes into the record:
//! memory here is resident and not proportional, since reading that walks the page tables of a
//! server at work; quantiles are those of one second, in the shard where they are largest.
//!
//! The question costs the fleet's control thread one request a second. It is asked whether anybody
//! watches or not, so that a run on a terminal measures what a run in a script does.

use std::time::Duration;

use tokio::time::Instant;

use crate::environment::target::{Clocks, Fleet};
use crate::load::Status;
use crate::observe::process;

/// How often it is asked.
const PERIOD: Duration = Duration::from_secs(1);

/// How long an answer is waited for: a fleet that is starved must not hold up the phase.
const PATIENCE: Duration = Duration::from_millis(100);

/// Figures of a trial under way.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Live {
    /// Clients that hold a cursor.
    pub connected: u64,
    /// Deliveries a second that are owed.
    pub offered_per_s: f64,
    /// Deliveries a second received since the last look; `None` before the measure phase.
    pub received_per_s: Option<f64>,
    /// Quantile 0.5 of delivery latency in the last second, in ns.
    pub p50_ns: Option<u64>,
    /// Quantile 0.99.
    pub p99_ns: Option<u64>,
    /// Cores that the server used since the last look.
    pub server_cores: Option<f64>,
    /// Cores that the fleet used.
    pub fleet_cores: Option<f64>,
    /// Resident memory of the server, in bytes.
    pub server_bytes: Option<u64>,
    /// Resident memory of the fleet.
    pub fleet_bytes: Option<u64>,
}

/// Looks at a trial now and then.
#[derive(Debug, Default)]
pub(crate) struct LiveSampler {
    last: Option<Reading>,
    live: Option<Live>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    received: u64,
    server_ns: Option<u64>,
    fleet_ns: Option<u64>,
}

impl LiveSampler {
    /// What was seen last.
    pub(crate) fn live(&self) -> Option<Live> {
        self.live
    }

    /// Looks again where the last time is long enough ago. What cannot be seen is left out: this is
    /// no reason to end a trial, whose phases look themselves whether its processes live.
    pub(crate) async fn sample(
        &mut self,
        server: u32,
        fleet: &mut impl Fleet,
        clocks: &dyn Clocks,
        offered_per_s: f64,
    ) {
        let before = self.last;
        if before.is_some_and(|last| last.at.elapsed() < PERIOD) {
            return;
        }
        let answer = tokio::time::timeout(PATIENCE, fleet.status()).await;
        let Ok(Ok(status)) = answer else {
            return;
        };
        let now = Reading {
            at: Instant::now(),
            received: status.received,
            server_ns: clocks.cpu_ns(server),
            fleet_ns: clocks.cpu_ns(fleet.process()),
        };
        self.live = Some(Live {
            server_bytes: process::resident_bytes(server),
            fleet_bytes: process::resident_bytes(fleet.process()),
            ..figures(before, now, &status, offered_per_s)
        });
        self.last = Some(now);
    }
}

fn figures(before: Option<Reading>, now: Reading, status: &Status, offered_per_s: f64) -> Live {
    let seconds = before.map(|b| now.at.duration_since(b.at).as_secs_f64());
    let seconds = seconds.filter(|s| *s > 0.0);
    let cores = |f: fn(&Reading) -> Option<u64>| {
        let used_ns = f(&now)?.checked_sub(f(&before?)?)?;
        Some(used_ns as f64 / 1e9 / seconds?)
    };
    let received = before.map(|b| now.received.saturating_sub(b.received));
    let told = |ns: u64| (ns > 0).then_some(ns);
    Live {
        connected: status.connected,
        offered_per_s,
        received_per_s: received
            .zip(seconds)
            // A look that saw none yet may lie before the phase, and its rate would be too low.
            .filter(|_| before.is_some_and(|b| b.received > 0))
            .map(|(received, seconds)| received as f64 / seconds),
        p50_ns: told(status.p50_ns),
        p99_ns: told(status.p99_ns),
        server_cores: cores(|r| r.server_ns),
        fleet_cores: cores(|r| r.fleet_ns),
        server_bytes: None,
        fleet_bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_cores_are_those_since_the_last_look() {
        let start = Instant::now();
        let reading = |at_s: u64, received, ns| Reading {
            at: start + Duration::from_secs(at_s),
            received,
            server_ns: Some(ns),
            fleet_ns: None,
        };
        let status = Status {
            connected: 1_000,
            p50_ns: 300_000,
            ..Status::default()
        };
        let (first, second) = (
            reading(0, 500, 1_000_000_000),
            reading(2, 6_500, 1_500_000_000),
        );
        let live = figures(Some(first), second, &status, 3_000.0);
        assert_eq!(live.received_per_s, Some(3_000.0));
        let early = figures(Some(reading(0, 0, 0)), second, &status, 3_000.0);
        assert_eq!(
            early.received_per_s, None,
            "the phase began somewhere between"
        );
        assert_eq!((live.server_cores, live.fleet_cores), (Some(0.25), None));
        assert_eq!((live.p50_ns, live.p99_ns), (Some(300_000), None));
        let live = figures(None, first, &status, 3_000.0);
        assert_eq!(
            (live.connected, live.received_per_s, live.server_cores),
            (1_000, None, None)
        );
    }
}
