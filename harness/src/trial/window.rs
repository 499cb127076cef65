//! The workload window of a trial: every cost, and what it is divided by, read at the same two edges.
//!
//! Around the data path. In: the schedule, the clocks of both processes and of the machine, and the
//! counters of the fleet. Out: their differences. Latency, the ledger and rates have the other window,
//! the measure phase, by intended time.
//!
//! Nothing is published before the schedule's start or after the drain, so for streams and held
//! requests the edges lie there: nothing costs anything outside. A transport that polls at an interval
//! costs without messages too. Its window opens when every client has polled once since the schedule
//! began, holds whole intervals, and closes while messages are still published, so that its length
//! changes no figure per delivery.

use std::time::Duration;

use pushbench_protocol::transport::Polls;

use super::TrialError;
use super::phases::Running;
use crate::analysis::stats::slices::TRIMMED;
use crate::audit::Waited;
use crate::environment::target::{Fleet, Target};
use crate::load::Timing;
use crate::load::tally::{CounterId, Counters};
use crate::observe::groups::CpuQuota;
use crate::observe::machine::{MachineCpu, MachineUse};
use crate::observe::network::NetworkCounters;
use crate::observe::run_queue::{ProcessSchedstat, RunQueue};
use crate::record::{Trial, WorkloadWindow};

/// When the window of a transport that polls every `interval_ns` opens and closes, in ns of
/// `CLOCK_MONOTONIC`; `None` where the phases are too short for one interval.
fn polling_edges(timing: &Timing, interval_ns: u64) -> Option<(u64, u64)> {
    let first_ns = timing.schedule.start_ns.checked_add(interval_ns)?;
    let intervals = timing
        .measure_until_ns
        .checked_sub(first_ns)?
        .checked_div(interval_ns)?;
    (intervals > 0).then(|| (first_ns, first_ns + intervals * interval_ns))
}

/// Every clock and counter, read at one edge.
#[derive(Debug, Clone)]
struct Snapshot {
    /// In ns since the trial began.
    at_ns: u64,
    server_ns: Option<u64>,
    fleet_ns: Option<u64>,
    server_threads: Option<ProcessSchedstat>,
    fleet_threads: Option<ProcessSchedstat>,
    machine: Option<MachineCpu>,
    quota: Option<CpuQuota>,
    network: Option<NetworkCounters>,
    counters: Counters,
}

/// The moments of a slice at which clocks are read, those of the slice before first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Edge {
    /// Its load is over.
    Close,
    /// Its load begins.
    Open,
    /// The part that is measured begins.
    Body,
}

/// The clocks over one slice.
#[derive(Debug)]
struct SliceClocks {
    open: Snapshot,
    /// CPU time of server and fleet when the part began that is measured.
    body_ns: Option<[Option<u64>; 2]>,
    close: Option<Snapshot>,
}

/// The window as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Its slices, where it has some: then the clocks are read over these, and only counters of the fleet
    /// over the whole.
    slices: Vec<SliceClocks>,
    /// When it opens and closes, where the clock says so; otherwise it opens before the first message
    /// and closes after the drain.
    planned: Option<(u64, u64)>,
    first: Option<Snapshot>,
    last: Option<Snapshot>,
}

impl Window {
    /// When the next edge is due by the clock, in ns of `CLOCK_MONOTONIC`.
    fn due_ns(&self) -> Option<u64> {
        let (first_ns, last_ns) = self.planned?;
        match (&self.first, &self.last) {
            (None, _) => Some(first_ns),
            (Some(_), None) => Some(last_ns),
            _ => None,
        }
    }

    /// What it cost and what was done; `None` before it has closed.
    pub(super) fn found(&self) -> Option<Found> {
        let (first, last) = (self.first.as_ref()?, self.last.as_ref()?);
        let stretches: Vec<(&Snapshot, &Snapshot)> = match self.slices.is_empty() {
            true => vec![(first, last)],
            false => {
                let slices = self.slices.iter();
                let closed = slices.map(|slice| Some((&slice.open, slice.close.as_ref()?)));
                closed.collect::<Option<_>>()?
            }
        };
        let since = |f: fn(&Snapshot) -> Option<u64>| -> Option<u64> {
            let each = stretches
                .iter()
                .map(|(open, close)| Some(f(close)?.saturating_sub(f(open)?)));
            each.sum()
        };
        Some(Found {
            from_ns: first.at_ns,
            until_ns: last.at_ns,
            length_ns: since(|s| Some(s.at_ns))?,
            server_ns: since(|s| s.server_ns),
            fleet_ns: since(|s| s.fleet_ns),
            machine: total(&stretches, |s| s.machine, MachineCpu::since),
            throttled_ns: since(|s| Some(s.quota?.throttled_ns)),
            network: total(&stretches, |s| s.network, NetworkCounters::since),
            counters: last.counters.since(&first.counters),
        })
    }

    /// Forgets the slices after the first few, which were not to be the last.
    pub(super) fn cut(&mut self, slices: usize) {
        self.slices.truncate(slices);
    }

    /// CPU time of server and fleet over the measured part of each slice, in ns, in their order.
    pub(super) fn bodies_ns(&self) -> impl Iterator<Item = [Option<u64>; 2]> {
        self.slices.iter().map(|slice| {
            let close = slice.close.as_ref();
            let of = |side: usize, last: Option<u64>| {
                Some(last?.saturating_sub(slice.body_ns.and_then(|body| body[side])?))
            };
            [
                of(0, close.and_then(|c| c.server_ns)),
                of(1, close.and_then(|c| c.fleet_ns)),
            ]
        })
    }

    /// How long the threads of a side waited for a core, of which it has so many. Of slices, those that
    /// were disturbed most are left out: no more of them than a comparison leaves out at either end.
    fn waited(
        &self,
        cores: usize,
        of: fn(&Snapshot) -> &Option<ProcessSchedstat>,
    ) -> Option<RunQueue> {
        let between = |open: &Snapshot, close: &Snapshot| {
            Some(of(close).as_ref()?.since(of(open).as_ref()?, cores))
        };
        if self.slices.is_empty() {
            return between(self.first.as_ref()?, self.last.as_ref()?);
        }
        let slices = self.slices.iter();
        let slices = slices.map(|slice| between(&slice.open, slice.close.as_ref()?));
        let mut slices: Vec<RunQueue> = slices.collect::<Option<_>>()?;
        slices.sort_unstable_by(|a, b| a.share().total_cmp(&b.share()));
        slices.truncate(slices.len() - (slices.len() as f64 * TRIMMED) as usize);
        Some(slices.into_iter().sum())
    }
}

/// What a window held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    from_ns: u64,
    until_ns: u64,
    length_ns: u64,
    server_ns: Option<u64>,
    fleet_ns: Option<u64>,
    machine: Option<MachineUse>,
    throttled_ns: Option<u64>,
    pub(super) network: Option<NetworkCounters>,
    counters: Counters,
}

impl Found {
    /// Its length in ns; that of its slices, where it has some.
    pub(super) fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// A total of the window over a count of the window; `None` where nothing was counted.
    pub(super) fn per(&self, total: Option<u64>, of: CounterId) -> Option<f64> {
        let count = self.counters.get(of);
        total
            .filter(|_| count > 0)
            .map(|total| total as f64 / count as f64)
    }

    /// Whether the kernel counted anything on the sockets: deliveries without a byte are those of one that is
    /// too old to count them, or does not let this user ask (`TCP_INFO`).
    pub(super) fn tells_sockets(&self) -> bool {
        let count = |id| self.counters.get(id);
        count(CounterId::ReceivedBytes) > 0 || count(CounterId::Deliveries) == 0
    }

    /// A counter of the window over another.
    pub(super) fn ratio(&self, count: CounterId, of: CounterId) -> Option<f64> {
        self.per(Some(self.counters.get(count)), of)
    }

    /// Enters it. `knows_sockets`: whether the kernel's counters are those of all connections.
    pub(super) fn enter(&self, trial: &mut Trial, knows_sockets: bool) {
        let count = |id| Some(self.counters.get(id));
        trial.workload = Some(WorkloadWindow {
            from_ns: self.from_ns,
            until_ns: self.until_ns,
            slices_ns: (self.length_ns != self.until_ns - self.from_ns).then_some(self.length_ns),
            deliveries: count(CounterId::Deliveries),
            sent: count(CounterId::Sent),
            arrivals: count(CounterId::Arrivals),
        });
        trial.server.cpu_ns = self.server_ns;
        trial.server.cpu_ns_per_delivery = self.per(self.server_ns, CounterId::Deliveries);
        trial.harness.cpu_ns = self.fleet_ns;
        trial.harness.cpu_ns_per_delivery = self.per(self.fleet_ns, CounterId::Deliveries);
        if let Some(used) = self.machine {
            let charged = self.server_ns.unwrap_or(0) + self.fleet_ns.unwrap_or(0);
            trial.machine.unattributed_cpu_ns = Some(used.busy_ns() as i64 - charged as i64);
            trial.machine.steal_ns = Some(used.steal_ns);
        }
        trial.machine.throttled_ns = self.throttled_ns;
        let wire = &mut trial.wire;
        wire.requests = count(CounterId::Requests);
        wire.empty_responses = count(CounterId::EmptyResponses);
        if knows_sockets && self.tells_sockets() {
            let per_delivery = |id| self.ratio(id, CounterId::Deliveries);
            wire.server_to_client_bytes_per_delivery = per_delivery(CounterId::ReceivedBytes);
            wire.client_to_server_bytes_per_delivery = per_delivery(CounterId::SentBytes);
            wire.segments_per_delivery = per_delivery(CounterId::ReceivedSegments);
            wire.client_to_server_segments_per_delivery = per_delivery(CounterId::SentSegments);
            wire.retransmitted_bytes = count(CounterId::RetransmittedBytes);
        }
    }
}

impl<T: Target, F: Fleet> Running<'_, T, F> {
    /// The schedule is known, and nothing is published yet: opens the window, or plans its edges.
    pub(super) async fn plan_window(&mut self, timing: &Timing) -> Result<(), TrialError> {
        if self.plan.transport.polls() == Some(Polls::AtIntervals) {
            let interval_ms = self.plan.scenario.clients.poll_interval_ms;
            self.window.planned = polling_edges(timing, interval_ms.saturating_mul(1_000_000));
        }
        if self.window.planned.is_none() {
            self.open_window().await?;
        }
        Ok(())
    }

    /// How long until the next edge is due by the clock.
    pub(super) fn until_edge(&self) -> Option<Duration> {
        let now_ns = self.clocks.now_ns();
        let due_ns = self.window.due_ns()?;
        Some(Duration::from_nanos(due_ns.saturating_sub(now_ns)))
    }

    /// Takes the edge that is due by the clock, where one is.
    pub(super) async fn take_due_edge(&mut self) -> Result<(), TrialError> {
        let now_ns = self.clocks.now_ns();
        if self.window.due_ns().is_none_or(|due_ns| now_ns < due_ns) {
            return Ok(());
        }
        match self.window.first {
            None => self.open_window().await,
            Some(_) => self.close_window().await,
        }
    }

    // The fleet makes a system call for each socket to answer. Its counters are read before the clocks
    // at the first edge and after them at the last, so that those calls are in no cost.

    pub(super) async fn open_window(&mut self) -> Result<(), TrialError> {
        let counters = self.fleet.sample().await?;
        self.window.first = Some(self.snapshot(counters));
        Ok(())
    }

    /// The drain is over: closes the window, unless the clock did.
    pub(super) async fn close_window(&mut self) -> Result<(), TrialError> {
        if self.window.last.is_none() {
            let clocks = self.snapshot(Counters::default());
            let counters = self.fleet.sample().await?;
            self.window.last = Some(Snapshot { counters, ..clocks });
        }
        Ok(())
    }

    /// Reads the clocks at a moment of a slice.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) fn read_edge(&mut self, edge: Edge) -> Result<(), TrialError> {
        match edge {
            Edge::Open => {
                self.target.check()?;
                self.fleet.check()?;
                let open = self.snapshot(Counters::default());
                self.window.slices.push(SliceClocks {
                    open,
                    body_ns: None,
                    close: None,
                });
            }
            Edge::Body => {
                let body_ns = [
                    self.server_cpu_ns(),
                    self.clocks.cpu_ns(self.fleet.process()),
                ];
                if let Some(slice) = self.window.slices.last_mut() {
                    slice.body_ns = Some(body_ns);
                }
            }
            Edge::Close => {
                let close = self.snapshot(Counters::default());
                if let Some(slice) = self.window.slices.last_mut() {
                    slice.close = Some(close);
                }
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, counters: Counters) -> Snapshot {
        let (server, fleet) = (self.server(), self.fleet.process());
        Snapshot {
            at_ns: self.now(),
            server_ns: self.server_cpu_ns(),
            fleet_ns: self.clocks.cpu_ns(fleet),
            server_threads: ProcessSchedstat::read(server),
            fleet_threads: ProcessSchedstat::read(fleet),
            machine: MachineCpu::read(),
            quota: CpuQuota::read(),
            network: NetworkCounters::read(),
            counters,
        }
    }

    /// How long the threads of either side waited for a core.
    pub(super) fn waited(&self) -> Waited {
        let all = pushbench_os::sys::allowed_cpus().len().max(1);
        let cores = |cpus: &[usize]| if cpus.is_empty() { all } else { cpus.len() };
        let (layout, window) = (self.plan.layout, &self.window);
        Waited {
            // The threads of two processes have nothing to do with each other.
            server: window
                .waited(cores(&layout.server.cpus), |s| &s.server_threads)
                .filter(|_| self.faults.ended == 0),
            fleet: window.waited(cores(&layout.fleet.cpus), |s| &s.fleet_threads),
        }
    }
}

/// The differences of a reading over several stretches, added up; `None` where one is missing.
fn total<R: Copy, D: std::iter::Sum>(
    stretches: &[(&Snapshot, &Snapshot)],
    of: fn(&Snapshot) -> Option<R>,
    since: fn(&R, &R) -> D,
) -> Option<D> {
    let each = stretches
        .iter()
        .map(|(open, close)| Some(since(&of(close)?, &of(open)?)));
    each.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushbench_protocol::schedule::Schedule;
    use pushbench_protocol::transport::{Profile, Transport};

    const S: u64 = 1_000_000_000;

    fn timing(start_s: u64, measure_from_s: u64, measure_until_s: u64) -> Timing {
        Timing {
            schedule: Schedule::uniform(start_s * S..measure_until_s * S, 1.0, 1),
            measure_from_ns: measure_from_s * S,
            measure_until_ns: measure_until_s * S,
            linger_ms: 0.0,
            faults_ns: Vec::new(),
        }
    }

    #[test]
    fn a_polling_window_opens_an_interval_after_the_start_and_holds_whole_intervals() {
        let edges = |timing: Timing, interval_s: u64| {
            polling_edges(&timing, interval_s * S).map(|(first, last)| (first / S, last / S))
        };
        assert_eq!(edges(timing(100, 105, 125), 5), Some((105, 125)));
        assert_eq!(edges(timing(100, 101, 122), 5), Some((105, 120)));
        // Two intervals of the phase hold one of the window, however short the warm-up.
        assert_eq!(edges(timing(100, 100, 110), 5), Some((105, 110)));
        assert_eq!(edges(timing(100, 101, 108), 5), None);
        assert_eq!(edges(timing(100, 101, 103), 5), None);
        assert_eq!(polling_edges(&timing(100, 101, 103), 0), None);
    }

    fn snapshot(at_s: u64, cpu_s: u64, deliveries: u64) -> Snapshot {
        Snapshot {
            at_ns: at_s * S,
            server_ns: Some(cpu_s * S),
            fleet_ns: None,
            server_threads: None,
            fleet_threads: None,
            machine: None,
            quota: None,
            network: None,
            counters: Counters::default().with(CounterId::Deliveries, deliveries),
        }
    }

    #[test]
    fn costs_are_the_differences_of_two_edges_over_the_deliveries_between_them() {
        let window = Window {
            slices: Vec::new(),
            planned: None,
            first: Some(snapshot(10, 3, 500)),
            last: Some(snapshot(14, 5, 1_500)),
        };
        let found = window.found().expect("both edges");
        assert_eq!(found.length_ns(), 4 * S);
        let mut trial = Trial::new(Transport::Sse, Profile::Lean, 1);
        found.enter(&mut trial, false);
        assert_eq!(trial.server.cpu_ns, Some(2 * S));
        assert_eq!(trial.server.cpu_ns_per_delivery, Some(2e6));
        assert_eq!(
            trial.harness.cpu_ns_per_delivery, None,
            "that clock was not read"
        );
        assert_eq!(trial.workload.map(|w| w.deliveries), Some(Some(1_000)));
        assert_eq!(
            trial.wire.segments_per_delivery, None,
            "sockets are not known"
        );
        assert_eq!(
            found.ratio(CounterId::SentBytes, CounterId::Sent),
            None,
            "nothing was sent"
        );
    }

    #[test]
    fn of_slices_the_few_that_waited_most_are_left_out() {
        let thread = |ran_ms: u64, waited_ms: u64| {
            let ms = |ms: u64| ms * 1_000_000;
            Some(ProcessSchedstat::of_thread(ms(ran_ms), ms(waited_ms)))
        };
        // Each ran for 10 ms; every fourth waited for 50.
        let slice = |n: u64| {
            let at = |n: u64| Snapshot {
                server_threads: thread(10 * n, 50 * n.div_ceil(4)),
                ..snapshot(n, 0, 0)
            };
            SliceClocks {
                open: at(n),
                body_ns: None,
                close: Some(at(n + 1)),
            }
        };
        let window = Window {
            slices: (0..8).map(slice).collect(),
            ..Window::default()
        };
        let waited = window.waited(1, |s| &s.server_threads).expect("all closed");
        assert_eq!((waited.ran_ns, waited.displaced_ns), (60_000_000, 0));
    }

    #[test]
    fn deliveries_without_a_byte_are_those_of_a_kernel_that_does_not_count() {
        let wire = |bytes| {
            let mut last = snapshot(14, 5, 1_500);
            last.counters = last.counters.with(CounterId::ReceivedBytes, bytes);
            let window = Window {
                first: Some(snapshot(10, 3, 500)),
                last: Some(last),
                ..Window::default()
            };
            let mut trial = Trial::new(Transport::Sse, Profile::Lean, 1);
            window.found().expect("both edges").enter(&mut trial, true);
            let wire = trial.wire;
            (
                wire.server_to_client_bytes_per_delivery,
                wire.client_to_server_bytes_per_delivery,
                wire.retransmitted_bytes,
            )
        };
        assert_eq!(wire(0), (None, None, None));
        assert_eq!(wire(128_000), (Some(128.0), Some(0.0), Some(0)));
    }

    #[test]
    fn edges_are_due_by_the_clock_one_after_the_other_where_they_are_planned() {
        let mut window = Window::default();
        assert_eq!(window.due_ns(), None);
        window.planned = Some((7, 9));
        assert_eq!(window.due_ns(), Some(7));
        window.first = Some(snapshot(7, 0, 0));
        assert_eq!(window.due_ns(), Some(9));
        assert!(window.found().is_none(), "it is still open");
        window.last = Some(snapshot(9, 0, 0));
        assert_eq!(window.due_ns(), None);
    }
}
