//! The checks that give a trial its verdict.
//!
//! Place on the data path: after the trial, before the record. In: what was counted on both sides
//! and of the machine. Out: every check with what was found and where its limit lies, and for each
//! that did not pass a reason that says what helps. A number whose trial is `void` says nothing
//! about the server; one whose trial is `suspect` may have been bent by what the reason names.
//!
//! Not decided here: whether two transports differ.

use pushbench_protocol::schedule::Arrival;

use crate::analysis::stats::stationarity::STRICT;
use crate::analysis::stats::{Stationarity, exponential_gaps, stationarity};
use crate::load::FleetReport;
use crate::observe::network::NetworkCounters;
use crate::observe::run_queue::RunQueue;
use crate::record::{Check, Latency, Outcome, Quantiles, Reason, Trial, Verdict};

/// How far the achieved rate may lie from the offered one: 1%, or what a last message makes of it
/// that is late by no more than [`NEGLIGIBLE_LATENESS_NS`].
pub const MAX_RATE_ERROR: f64 = 0.01;

/// Share of the tail of delivery latency that the publisher's own lateness may make up. Beyond
/// half, p99 tells more of the publisher's thread than of server and transport.
pub const MAX_LAG_SHARE: f64 = 0.5;

/// Lateness of a thread that is never held against it, in ns: below 5 ms lies what the scheduler
/// of a machine, or of the hypervisor under it, does to any thread that sleeps.
pub const NEGLIGIBLE_LATENESS_NS: f64 = 5e6;

/// A wait in the kernel that is never held against the clients, in ns: below a millisecond, a
/// wake-up of an idle core is what is seen.
pub const NEGLIGIBLE_WAIT_NS: f64 = 1e6;

/// Share of its cores that the fleet may use. Queues grow without bound towards 1; at 0.8 a
/// message waits on average four service times for its client (M/M/1).
pub const MAX_HARNESS_CPU: f64 = 0.8;

/// Share of its cores beyond which the fleet itself was the bottleneck.
pub const VOID_HARNESS_CPU: f64 = 0.95;

/// Share of the time for which a side was ready to run that it may have waited for a core, because
/// other programs were on it. With 'quick' on two quiet cores it was 0.02 to 0.16; beside one busy
/// loop 0.47, two 0.56, four 0.67 to 0.72 (the clients').
pub const MAX_RUN_QUEUE_SHARE: f64 = 0.25;

/// The share beyond which a side lacked CPU: it waited longer than it ran.
pub const VOID_RUN_QUEUE_SHARE: f64 = 0.5;

/// Such a wait, as a share of the stretch over which it was read, that is never held against a
/// trial: if at most one in a hundred messages meets it, it moves no quantile up to p99.
pub const NEGLIGIBLE_RUN_QUEUE_SHARE: f64 = 0.01;

/// Share of delivery latency that may be spent between the kernel's receipt of a segment and the
/// client's read, on the probes: beyond half, the harness is what was measured.
pub const MAX_HARNESS_SHARE: f64 = 0.5;

/// Share of segments that may have been sent again.
pub const MAX_RETRANSMITTED: f64 = 0.001;

/// Share of the machine's time that a hypervisor may have given to others.
pub const MAX_STEAL: f64 = 0.1;

/// Share of the machine's time that may have gone to neither server nor fleet.
pub const MAX_OTHER_LOAD: f64 = 0.1;

/// Significance of the test of the arrival process: a good trial must not be called bad.
pub const ARRIVAL_LEVEL: f64 = 0.001;

/// Checks that void a trial for its timing: no reason to doubt what was delivered.
pub const TIMED_CHECKS: [&str; 5] = [
    "achieved_rate",
    "harness_cpu",
    "harness_share",
    "server_run_queue",
    "harness_run_queue",
];

/// What the checks look at beside the row itself.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// What the fleet counted.
    pub report: &'a FleetReport,
    /// Length of the stretch over which CPU was read, in ns.
    pub window_ns: u64,
    /// Cores that the fleet may use.
    pub fleet_cores: usize,
    /// Cores of the machine.
    pub cores: usize,
    /// The kernel's counters over the connect phase.
    pub connecting: Option<NetworkCounters>,
    /// The kernel's counters over that stretch.
    pub measuring: Option<NetworkCounters>,
    /// How long either side waited for a core over that stretch.
    pub waited: Waited,
    /// How arrivals were to be distributed.
    pub arrival: Arrival,
    /// Times between actual publishes, in ns.
    pub gaps_ns: &'a [u64],
    /// What the scenario does to the trial on purpose, in words; `None` where it leaves it alone.
    pub disturbed: Option<&'a str>,
    /// Whether the server that publishes is not the one that began.
    pub server_replaced: bool,
    /// Deliveries that the server said it would not make: to subscribers that fell off the ring, or
    /// that were to have the newest only.
    pub told_lost: u64,
}

/// How long the threads of either side waited for a core.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waited {
    /// The server's.
    pub server: Option<RunQueue>,
    /// The clients'.
    pub fleet: Option<RunQueue>,
}

/// Makes every check and enters it.
pub fn audit(trial: &mut Trial, evidence: &Evidence<'_>) {
    let mut findings = Findings {
        trial,
        said: Vec::new(),
    };
    shards(&mut findings, evidence.report);
    clients(&mut findings, evidence);
    limits(&mut findings, evidence);
    ledger(&mut findings, evidence);
    publisher(&mut findings, evidence);
    harness(&mut findings, evidence);
    network(&mut findings, evidence);
    machine(&mut findings, evidence);
    let (waited, window) = (evidence.waited, evidence.window_ns);
    let server = waited.server;
    run_queue(
        &mut findings,
        "server_run_queue",
        "the server",
        server,
        window,
    );
    let fleet = waited.fleet;
    run_queue(
        &mut findings,
        "harness_run_queue",
        "the clients",
        fleet,
        window,
    );
    clock(&mut findings, evidence.report);
    match evidence.disturbed {
        None => stationary(&mut findings, evidence.report),
        Some(why) => findings.not_tested("stationary", why),
    }
    returned(&mut findings, evidence.report);
    samples(&mut findings);
    let Findings { trial, said } = findings;
    trial.validity.checks = said;
}

/// Where checks are entered.
struct Findings<'a> {
    trial: &'a mut Trial,
    said: Vec<Check>,
}

/// What a check says when it does not pass.
struct Failure {
    message: String,
    remedy: &'static str,
}

impl Findings<'_> {
    fn enter(
        &mut self,
        check: &str,
        measured: f64,
        limit: f64,
        verdict: Verdict,
        complaint: impl FnOnce() -> Failure,
    ) {
        let outcome = match verdict {
            Verdict::Valid => Outcome::Passed,
            Verdict::Suspect => Outcome::Doubtful,
            Verdict::Void => Outcome::Failed,
        };
        self.said.push(Check {
            check: check.to_owned(),
            outcome,
            measured: Some(measured),
            limit: Some(limit),
            not_tested: None,
        });
        if verdict != Verdict::Valid {
            let Failure { message, remedy } = complaint();
            let reason = Reason {
                check: check.to_owned(),
                measured: Some(measured),
                limit: Some(limit),
                remedy: remedy.to_owned(),
                message,
            };
            self.trial.validity.raise(verdict, reason);
        }
    }

    fn not_tested(&mut self, check: &str, why: impl Into<String>) {
        self.said.push(Check {
            check: check.to_owned(),
            outcome: Outcome::NotTested,
            measured: None,
            limit: None,
            not_tested: Some(why.into()),
        });
    }
}

/// `worse` where `found` lies beyond `limit`.
fn beyond(found: f64, limit: f64, worse: Verdict) -> Verdict {
    if found > limit { worse } else { Verdict::Valid }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn ms(ns: f64) -> String {
    format!("{:.2} ms", ns / 1e6)
}

/// The same quantile of a lag and of delivery latency, in ns: the highest that both tell.
fn highest_told(lag: &Quantiles, latency: &Latency) -> Option<(f64, f64, &'static str)> {
    let pairs = [
        (lag.p99, latency.p99, "p99"),
        (lag.p90, latency.p90, "p90"),
        (lag.p50, latency.p50, "p50"),
    ];
    pairs
        .into_iter()
        .find_map(|(l, t, q)| Some((l? as f64, t? as f64, q)))
}

fn shards(findings: &mut Findings<'_>, report: &FleetReport) {
    let dead = report.dead_shards as f64;
    let verdict = beyond(dead, 0.0, Verdict::Void);
    findings.enter("fleet_shards", dead, 0.0, verdict, || Failure {
        message: format!(
            "{} of the clients' shards panicked: their clients are in no count",
            report.dead_shards
        ),
        remedy: "report this as a bug, with what was printed, unless the scenario asks for it",
    });
}

fn clients(findings: &mut Findings<'_>, evidence: &Evidence<'_>) {
    let said = evidence
        .report
        .errors
        .first()
        .map(|e| format!(" ({e})"))
        .unwrap_or_default();
    let (connected, target) = (
        findings.trial.clients.connected,
        findings.trial.clients.target,
    );
    let verdict = if connected < target {
        Verdict::Void
    } else {
        Verdict::Valid
    };
    findings.enter(
        "clients_connected",
        connected as f64,
        target as f64,
        verdict,
        || Failure {
            message: format!("{connected} of {target} clients connected{said}"),
            remedy: "use fewer clients with '--clients', or connect more slowly with \
                 'clients.connect_per_s'",
        },
    );
    // Those that never connected are counted above; here are those that came back in vain.
    let refused = if connected < target {
        0
    } else {
        findings.trial.clients.refused
    };
    let verdict = beyond(refused as f64, 0.0, Verdict::Void);
    findings.enter("clients_refused", refused as f64, 0.0, verdict, || {
        Failure {
            message: format!("{refused} connects failed or were refused{said}"),
            remedy: "make clients come and go more slowly with 'sessions.gap_ms'",
        }
    });
    let gone = findings.trial.clients.disconnected;
    let verdict = beyond(gone as f64, 0.0, Verdict::Void);
    findings.enter("clients_stayed", gone as f64, 0.0, verdict, || Failure {
        message: format!("{gone} clients were disconnected before the end{said}"),
        remedy: "a client that falls off the ring is disconnected: use a lower rate, or a larger \
                 'server.ring_messages'",
    });
}

fn limits(findings: &mut Findings<'_>, evidence: &Evidence<'_>) {
    let met = |words: &str| {
        evidence
            .report
            .errors
            .iter()
            .filter(|e| e.contains(words))
            .count()
    };
    let descriptors = met("oo many open files") as f64;
    let verdict = beyond(descriptors, 0.0, Verdict::Void);
    findings.enter("descriptors", descriptors, 0.0, verdict, || Failure {
        message: "the clients' process ran out of descriptors".to_owned(),
        remedy: "use more shards with '--shards', or raise the limit with 'ulimit -n'",
    });
    let ports = met("annot assign requested address") as f64;
    let verdict = beyond(ports, 0.0, Verdict::Void);
    findings.enter("ports", ports, 0.0, verdict, || Failure {
        message: "the clients ran out of source ports".to_owned(),
        remedy: "widen 'net.ipv4.ip_local_port_range', or use fewer clients with '--clients'",
    });
    match evidence.connecting {
        None => findings.not_tested("backlog", "the kernel's counters cannot be read"),
        Some(counted) => {
            let overflows = counted.listen_overflows as f64;
            let verdict = beyond(overflows, 0.0, Verdict::Suspect);
            findings.enter("backlog", overflows, 0.0, verdict, || Failure {
                message: format!("a listener's queue was full {overflows} times"),
                remedy: "connect more slowly with 'clients.connect_per_s', or raise \
                         'net.core.somaxconn'",
            });
        }
    }
}

/// Clients that were cut off and have not come back; connections that ended unasked are counted by
/// the check of clients that stayed.
fn returned(findings: &mut Findings<'_>, report: &FleetReport) {
    // Clients of most scenarios do not reconnect, and there is nothing to check.
    let Some(found) = &report.recovery else {
        return;
    };
    let away = found.not_back + found.gave_up;
    let verdict = beyond(away as f64, 0.0, Verdict::Void);
    findings.enter("clients_returned", away as f64, 0.0, verdict, || Failure {
        message: format!(
            "{} clients were still away at the end, and {} had given up",
            found.not_back, found.gave_up
        ),
        remedy: "wait longer with 'phases.drain_s', or shorten 'reconnect.max_delay_ms'",
    });
}

fn ledger(findings: &mut Findings<'_>, evidence: &Evidence<'_>) {
    let report = evidence.report;
    let d = findings.trial.deliveries;
    // A loss of which the server has told is what the scenario asks about, and no doubt about it.
    let unexplained = d.missing.saturating_sub(evidence.told_lost);
    let first = |f: &Option<String>| {
        f.as_ref()
            .map(|f| format!("; the first is {f}"))
            .unwrap_or_default()
    };
    let mut count = |check: &str, found: u64, message: String, remedy: &'static str| {
        let verdict = beyond(found as f64, 0.0, Verdict::Void);
        findings.enter(check, found as f64, 0.0, verdict, || Failure {
            message,
            remedy,
        });
    };
    let bug = "report this as a bug";
    count(
        "ledger_missing",
        unexplained,
        format!(
            "expected {} deliveries, got {}{}{}",
            d.expected,
            d.received,
            match evidence.told_lost {
                0 => String::new(),
                told => format!(", and the server told of {told} lost"),
            },
            first(&report.first_missing)
        ),
        "lower the rate with '--rate', or wait longer with 'phases.drain_s'",
    );
    let message = format!("{} messages came twice", d.duplicate);
    count("ledger_duplicate", d.duplicate, message, bug);
    let message = format!("{} messages came behind a later one", d.out_of_order);
    count("ledger_order", d.out_of_order, message, bug);
    count(
        "ledger_overflow",
        u64::from(report.ledger_overflowed),
        "a client had more gaps than its ledger holds".to_owned(),
        "lower the rate with '--rate' until less is lost",
    );
    let balance = d.expected.abs_diff(d.received + d.missing);
    let message = format!(
        "expected {} deliveries, but received and missing make {}",
        d.expected,
        d.received + d.missing
    );
    count("ledger_balance", balance, message, bug);
    let corrupt = report.corrupt;
    let message = format!(
        "{corrupt} messages are not what was published{}",
        first(&report.first_corrupt)
    );
    count("payload", corrupt, message, bug);
}

fn publisher(findings: &mut Findings<'_>, evidence: &Evidence<'_>) {
    let offered = findings.trial.publish.offered_per_s;
    if offered <= 0.0 {
        for check in ["achieved_rate", "publish_lag", "arrivals"] {
            findings.not_tested(check, "nothing was published");
        }
        return;
    }
    if evidence.server_replaced {
        for check in ["achieved_rate", "publish_lag", "arrivals"] {
            findings.not_tested(
                check,
                "the publisher ended with its server, and another went on",
            );
        }
        return;
    }
    let achieved = findings.trial.publish.achieved_per_s.unwrap_or(0.0);
    let error = (achieved / offered - 1.0).abs();
    // A short phase is stretched by much where its last message is late by no more than any may be.
    let phase = findings.trial.phase_ns.measure;
    let phase_ns = phase.map_or(f64::INFINITY, |p| (p.end.saturating_sub(p.start)) as f64);
    let limit = MAX_RATE_ERROR.max(NEGLIGIBLE_LATENESS_NS / phase_ns.max(1.0));
    let verdict = beyond(error, limit, Verdict::Void);
    findings.enter("achieved_rate", achieved, offered, verdict, || Failure {
        message: format!("{offered:.1} messages a second were offered, {achieved:.1} published"),
        remedy: "the publisher was starved: lower the rate with '--rate', or use more cores",
    });
    let (lag, tail) = (findings.trial.publish.lag_ns, findings.trial.latency_ns);
    match highest_told(&lag, &tail) {
        None => findings.not_tested("publish_lag", "too few messages for a quantile"),
        Some((lag, tail, q)) => {
            let limit = (tail * MAX_LAG_SHARE).max(NEGLIGIBLE_LATENESS_NS);
            let verdict = beyond(lag, limit, Verdict::Suspect);
            findings.enter("publish_lag", lag, limit, verdict, || Failure {
                message: format!(
                    "the publisher was late by {} at {q}, where delivery took {}",
                    ms(lag),
                    ms(tail)
                ),
                remedy: "the tail is the publisher's own: run on a quieter machine, or with more \
                         cores",
            });
        }
    }
    if evidence.arrival != Arrival::Poisson {
        findings.not_tested("arrivals", "arrivals are not random");
        return;
    }
    let gaps: Vec<f64> = evidence.gaps_ns.iter().map(|&ns| ns as f64).collect();
    match exponential_gaps(&gaps, None) {
        None => findings.not_tested("arrivals", format!("{} gaps are too few", gaps.len())),
        Some(test) => {
            let rejected = test.p_value < ARRIVAL_LEVEL;
            let verdict = if rejected {
                Verdict::Suspect
            } else {
                Verdict::Valid
            };
            findings.enter("arrivals", test.p_value, ARRIVAL_LEVEL, verdict, || Failure {
                message: format!(
                    "the times between publishes are not exponential (Anderson–Darling, A² = \
                     {:.2})",
                    test.statistic
                ),
                remedy: "the publisher was starved: lower the rate with '--rate', or use more cores",
            });
        }
    }
}

fn harness(findings: &mut Findings<'_>, evidence: &Evidence<'_>) {
    let available = evidence.window_ns as f64 * evidence.fleet_cores as f64;
    match findings.trial.harness.cpu_ns {
        None => findings.not_tested("harness_cpu", "the fleet's CPU clock cannot be read"),
        Some(used) => {
            let used = used as f64 / available.max(1.0);
            let (verdict, limit) = if used > VOID_HARNESS_CPU {
                (Verdict::Void, VOID_HARNESS_CPU)
            } else {
                (
                    beyond(used, MAX_HARNESS_CPU, Verdict::Suspect),
                    MAX_HARNESS_CPU,
                )
            };
            findings.enter("harness_cpu", used, limit, verdict, || Failure {
                message: format!("the clients used {} of their cores", percent(used)),
                remedy: "the clients were the bottleneck: lower '--clients' or '--rate', or give \
                         them more cores",
            });
        }
    }
    let (lag, tail) = (
        findings.trial.harness.scheduler_lag_ns,
        findings.trial.latency_ns,
    );
    match highest_told(&lag, &tail) {
        None => findings.not_tested(
            "scheduler_lag",
            "too few ticks or deliveries for a quantile",
        ),
        Some((lag, tail, q)) => {
            let limit = (tail * MAX_HARNESS_SHARE).max(NEGLIGIBLE_LATENESS_NS);
            let verdict = beyond(lag, limit, Verdict::Suspect);
            findings.enter("scheduler_lag", lag, limit, verdict, || Failure {
                message: format!(
                    "the clients' timers were late by {} at {q}, where delivery took {}",
                    ms(lag),
                    ms(tail)
                ),
                remedy: "the clients did not get their cores in time: run on a quieter machine, or \
                         lower '--clients' or '--rate'",
            });
        }
    }
    harness_share(findings);
}

fn harness_share(findings: &mut Findings<'_>) {
    let Some(probe) = findings.trial.probe else {
        findings.not_tested(
            "harness_share",
            "no kernel stamps: no probe client, or no such platform",
        );
        return;
    };
    // Of the same reads: where one brings several messages, the first of them waited longer.
    let whole = |share: u64, rest: Option<u64>| Some((share + rest?) as f64);
    let (share, rest) = (probe.harness_ns, probe.server_and_network_ns);
    let middle = share
        .p50
        .and_then(|ns| Some((ns as f64, whole(ns, rest.p50)?)));
    let Some((share_p50, whole_p50)) = middle else {
        findings.not_tested("harness_share", "too few stamped reads for a quantile");
        return;
    };
    let limit = (whole_p50 * MAX_HARNESS_SHARE).max(NEGLIGIBLE_WAIT_NS);
    let middle = beyond(share_p50, limit, Verdict::Void);
    let tail = share
        .p99
        .and_then(|ns| Some((ns as f64, whole(ns, rest.p99)?)));
    let tail = match tail {
        Some((share, whole)) => {
            let limit = (whole * MAX_HARNESS_SHARE).max(NEGLIGIBLE_LATENESS_NS);
            (share, limit, beyond(share, limit, Verdict::Suspect), "p99")
        }
        None => (share_p50, limit, Verdict::Valid, "p50"),
    };
    let (found, limit, verdict, q) = if middle == Verdict::Void {
        (share_p50, limit, middle, "p50")
    } else {
        tail
    };
    findings.enter("harness_share", found, limit, verdict, || Failure {
        message: format!(
            "messages waited {} at {q} in the kernel for their client to read them",
            ms(found)
        ),
        remedy: "the clients were slow, not the server: lower '--clients' or '--rate', or give them \
                 more cores",
    });
}

fn network(findings: &mut Findings<'_>, evidence: &Evidence<'_>) {
    match evidence.measuring {
        None => findings.not_tested("retransmissions", "the kernel's counters cannot be read"),
        Some(counted) => {
            let share = counted.segments_retransmitted as f64 / counted.segments_out.max(1) as f64;
            let verdict = beyond(share, MAX_RETRANSMITTED, Verdict::Suspect);
            findings.enter("retransmissions", share, MAX_RETRANSMITTED, verdict, || Failure {
                message: format!("{} of all segments were sent again", percent(share)),
                remedy: "something on the way loses segments: look at 'nstat -az TcpRetransSegs'",
            });
        }
    }
}

fn machine(findings: &mut Findings<'_>, evidence: &Evidence<'_>) {
    let available = evidence.window_ns as f64 * evidence.cores as f64;
    match findings.trial.machine.steal_ns {
        None => findings.not_tested("steal", "this machine does not tell"),
        Some(steal) => {
            let share = steal as f64 / available.max(1.0);
            let verdict = beyond(share, MAX_STEAL, Verdict::Suspect);
            findings.enter("steal", share, MAX_STEAL, verdict, || Failure {
                message: format!(
                    "the hypervisor gave {} of the machine to others",
                    percent(share)
                ),
                remedy: "run on a machine of its own, or use more trials with '--trials'",
            });
        }
    }
    match findings.trial.machine.unattributed_cpu_ns {
        None => findings.not_tested("other_load", "this machine does not tell"),
        Some(other) => {
            let share = other as f64 / available.max(1.0);
            let verdict = beyond(share, MAX_OTHER_LOAD, Verdict::Suspect);
            findings.enter("other_load", share, MAX_OTHER_LOAD, verdict, || Failure {
                message: format!("{} of the machine went to other programs", percent(share)),
                remedy: "end what else runs on this machine",
            });
        }
    }
}

/// Cores that other programs took: the CPU clocks of both sides cannot see them.
fn run_queue(
    findings: &mut Findings<'_>,
    check: &str,
    side: &str,
    waited: Option<RunQueue>,
    window: u64,
) {
    let Some(waited) = waited else {
        let why = "the kernel does not tell how long threads wait, or a relay has the same cores";
        return findings.not_tested(check, why);
    };
    let share = waited.share();
    let negligible = waited.displaced_ns as f64 <= NEGLIGIBLE_RUN_QUEUE_SHARE * window as f64;
    let (verdict, limit) = if share > VOID_RUN_QUEUE_SHARE && !negligible {
        (Verdict::Void, VOID_RUN_QUEUE_SHARE)
    } else if share > MAX_RUN_QUEUE_SHARE && !negligible {
        (Verdict::Suspect, MAX_RUN_QUEUE_SHARE)
    } else {
        (Verdict::Valid, MAX_RUN_QUEUE_SHARE)
    };
    findings.enter(check, share, limit, verdict, || Failure {
        message: format!(
            "{side} lacked CPU: of the time for which {} ready to run, {} was spent waiting for a \
             core that other programs had ({} against {} of running)",
            if side.ends_with('s') {
                "they were"
            } else {
                "it was"
            },
            percent(share),
            ms(waited.displaced_ns as f64),
            ms(waited.ran_ns as f64)
        ),
        remedy: "end what else runs on this machine",
    });
}

fn clock(findings: &mut Findings<'_>, report: &FleetReport) {
    let negative = report.negative_latencies;
    let verdict = beyond(negative as f64, 0.0, Verdict::Void);
    findings.enter("clock", negative as f64, 0.0, verdict, || Failure {
        message: format!("{negative} messages were received before they were published"),
        remedy: "server and clients must read one clock: run both on one host",
    });
    let (impossible, reads) = (report.probes.impossible, report.probes.reads);
    let share = impossible as f64 / (impossible + reads).max(1) as f64;
    // A stamp may belong to a segment behind the message; a clock that was set spoils them all.
    let verdict = beyond(share, 0.01, Verdict::Suspect);
    findings.enter("wall_clock", share, 0.01, verdict, || Failure {
        message: format!("{} of the kernel's stamps cannot be", percent(share)),
        remedy: "the wall clock was set during the trial: run it again",
    });
}

fn stationary(findings: &mut Findings<'_>, report: &FleetReport) {
    let series: Vec<f64> = report.series.iter().flatten().copied().collect();
    match stationarity(&series) {
        Stationarity::NotTested { values, needed } => {
            let why = format!("{values} slices of the phase hold a delivery, {needed} are needed");
            findings.not_tested("stationary", why);
        }
        Stationarity::Stationary { statistic, .. } => {
            findings.enter("stationary", statistic, STRICT, Verdict::Valid, || {
                Failure {
                    message: String::new(),
                    remedy: "",
                }
            });
        }
        Stationarity::Drifting {
            statistic,
            critical,
            drift,
        } => {
            findings.enter("stationary", statistic, critical, Verdict::Suspect, || Failure {
                message: format!(
                    "latency changed by {} from the first third of the measure phase to the last \
                     (KPSS {statistic:.2})",
                    percent(drift)
                ),
                remedy: "the warm-up was too short or something builds up: lengthen \
                         'phases.warm_up_s', or lower '--rate'",
            });
        }
    }
}

fn samples(findings: &mut Findings<'_>) {
    let latency = findings.trial.latency_ns;
    if findings.trial.deliveries.expected == 0 {
        findings.not_tested("samples", "no delivery was expected");
        return;
    }
    let verdict = if latency.p50.is_none() {
        Verdict::Suspect
    } else {
        Verdict::Valid
    };
    findings.enter("samples", latency.count as f64, 12.0, verdict, || Failure {
        message: format!("{} deliveries are too few for a median", latency.count),
        remedy: "measure longer with '--duration', or raise '--rate'",
    });
}

#[cfg(test)]
mod tests;
