//! What broke in a step: the first of the things that may, in a fixed order, with its evidence.
//!
//! In: the trial of the step, the terms of the objective that it fell short of, the cores of either
//! side. Out: a [`Broke`] and a sentence. What stopped the connecting comes before anything that
//! was measured after it; a harness without CPU comes before the server, of which then nothing is
//! known; what was full comes before what followed from it (loss, latency).

use super::objective::seconds;
use crate::audit::{MAX_HARNESS_CPU, VOID_HARNESS_CPU};
use crate::record::{Broke, Cause, HeldMemory, Outcome, Trial, Verdict};

/// Share of its cores at which the server counts as having had no more: at 95% whatever is left is
/// the gap between two wake-ups.
const FULL_SERVER_CPU: f64 = 0.95;

/// Share of the time to the last subscriber that the CPU of one side for one message makes up, from
/// which on that CPU is what the message waited for. Below half, something else took longer.
const SWEEP_SHARE: f64 = 0.5;

/// Cores of both sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    pub(super) server: usize,
    pub(super) fleet: usize,
}

/// CPU of server and fleet over that of their cores, in the workload window.
pub(super) fn cpu_shares(trial: &Trial, cores: Cores) -> (Option<f64>, Option<f64>) {
    let window = trial.workload.map(|window| window.length_ns());
    let share = |cpu_ns: Option<u64>, cores: usize| {
        let available = window? as f64 * cores.max(1) as f64;
        (available > 0.0).then(|| cpu_ns.map(|ns| ns as f64 / available))?
    };
    (
        share(trial.server.cpu_ns, cores.server),
        share(trial.harness.cpu_ns, cores.fleet),
    )
}

/// Who held how much memory while the clients were connected.
pub(super) fn held_memory(trial: &Trial) -> HeldMemory {
    let memory = &trial.server.memory;
    let last = memory.points.last();
    let beyond = |last: Option<u64>, base: Option<u64>| Some(last?.saturating_sub(base?));
    HeldMemory {
        server_bytes: beyond(last.and_then(|p| p.user_bytes), memory.base_bytes),
        harness_bytes: last.and_then(|point| point.fleet_bytes),
        kernel_bytes: beyond(last.and_then(|p| p.kernel_bytes), memory.kernel_base_bytes),
    }
}

/// Why the audit voids `trial`, but for what the objective speaks of itself.
pub(super) fn voided<'a>(
    trial: &'a Trial,
    covered: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = &'a str> {
    let failed = trial.validity.checks.iter();
    let failed = failed.filter(|check| check.outcome == Outcome::Failed);
    failed
        .map(|check| check.check.as_str())
        .filter(move |check| !covered(check))
}

/// Checks that find out who else had the cores, and who that was.
const OF_MACHINE: [(&str, &str); 5] = [
    ("steal", "the hypervisor gave the cores to others"),
    ("throttled", "the CPU quota kept threads from the cores"),
    ("server_run_queue", "other programs had the cores"),
    ("harness_run_queue", "other programs had the cores"),
    ("other_load", "other programs had the cores"),
];

/// Who had the cores instead of server and clients, where a step that did not hold says nothing for it: not
/// where one of the two had its cores all the same.
pub(super) fn spoiled(trial: &Trial, cores: Cores) -> Option<String> {
    let (server, harness) = cpu_shares(trial, cores);
    if server >= Some(FULL_SERVER_CPU) || harness > Some(VOID_HARNESS_CPU) {
        return None;
    }
    let (check, who) = OF_MACHINE
        .into_iter()
        .find(|(check, _)| doubted(trial, check))?;
    let mut reasons = trial.validity.reasons.iter();
    let reason = reasons.find(|reason| reason.check == check);
    Some(match reason {
        Some(reason) => format!("{who} ({})", reason.message),
        None => who.to_owned(),
    })
}

/// What broke, and how that was seen. `subscribers` get each message.
pub(super) fn what_broke(
    trial: &Trial,
    short_of: &[String],
    cores: Cores,
    subscribers: f64,
) -> (Broke, String) {
    let said = |broke: Broke| (broke, evidence(trial, short_of, broke));
    if let Some(cause) = trial.clients.stopped_by {
        return said(of_cause(cause));
    }
    if let Some(error) = &trial.error {
        let broke = if trial.killed {
            Broke::Memory
        } else {
            Broke::Process
        };
        return (broke, error.clone());
    }
    if failed(trial, "descriptors") {
        return said(Broke::ClientDescriptors);
    }
    if failed(trial, "ports") {
        return said(Broke::SourcePorts);
    }
    let clients = &trial.clients;
    if clients.connected < clients.target {
        return said(if doubted(trial, "backlog") {
            Broke::Backlog
        } else if clients.refused > 0 {
            Broke::Refused
        } else {
            Broke::Stalled
        });
    }
    let percent = |share: f64| format!("{:.0}%", share * 100.0);
    let (server, harness) = cpu_shares(trial, cores);
    let of_server = |share| {
        let cores = cores.server;
        format!("the server used {} of its {cores} core(s)", percent(share))
    };
    let of_harness = |share| {
        let cores = cores.fleet;
        format!(
            "the clients used {} of their {cores} core(s)",
            percent(share)
        )
    };
    let with = |evidence: String| match short_of {
        [] => evidence,
        terms => format!("{}; {evidence}", terms.join(", ")),
    };
    match (server, harness) {
        (_, Some(harness)) if harness > VOID_HARNESS_CPU => {
            return (Broke::HarnessCpu, with(of_harness(harness)));
        }
        (Some(server), _) if server >= FULL_SERVER_CPU => {
            return (Broke::ServerCpu, with(of_server(server)));
        }
        (_, Some(harness)) if harness > MAX_HARNESS_CPU => {
            return (Broke::HarnessCpu, with(of_harness(harness)));
        }
        _ => {}
    }
    if failed(trial, "harness_share") {
        // Messages lay in the kernel while their clients were busy elsewhere.
        return said(Broke::HarnessCpu);
    }
    let lost = trial.deliveries;
    if lost.missing.unwrap_or(0) + lost.duplicate + lost.out_of_order + clients.disconnected > 0 {
        return said(Broke::Loss);
    }
    if short_of.is_empty() {
        return said(Broke::Audit);
    }
    match sweep(trial, cores, subscribers) {
        Some((broke, evidence)) => (broke, with(evidence)),
        None => said(Broke::Latency),
    }
}

/// A broadcast to many is one long piece of work and then silence: the cores are idle on average,
/// and full for as long as the message is on its way.
fn sweep(trial: &Trial, cores: Cores, subscribers: f64) -> Option<(Broke, String)> {
    let whole = trial.fanout_ns.p50.or(trial.latency_ns.max)? as f64;
    let one =
        |cost: Option<f64>, cores: usize| cost.map(|ns| ns * subscribers / cores.max(1) as f64);
    let server = one(trial.server.cpu_ns_per_delivery, cores.server);
    let harness = one(trial.harness.cpu_ns_per_delivery, cores.fleet);
    let (broke, who, ns, cores) = if harness > server {
        (Broke::HarnessCpu, "the clients", harness?, cores.fleet)
    } else {
        (Broke::ServerCpu, "the server", server?, cores.server)
    };
    (ns >= SWEEP_SHARE * whole).then(|| {
        let evidence = format!(
            "one message to {subscribers:.0} subscribers takes {who} {} of CPU on {cores} core(s), \
             of {} until the last has it",
            seconds(ns as u64),
            seconds(whole as u64)
        );
        (broke, evidence)
    })
}

fn of_cause(cause: Cause) -> Broke {
    match cause {
        Cause::ClientDescriptors => Broke::ClientDescriptors,
        Cause::ServerDescriptors => Broke::ServerDescriptors,
        Cause::SourcePorts => Broke::SourcePorts,
        Cause::Backlog => Broke::Backlog,
        Cause::Memory => Broke::Memory,
        Cause::Refused => Broke::Refused,
        Cause::Stalled => Broke::Stalled,
    }
}

fn outcome(trial: &Trial, name: &str) -> Option<Outcome> {
    let check = trial.validity.checks.iter().find(|c| c.check == name);
    check.map(|check| check.outcome)
}

fn failed(trial: &Trial, name: &str) -> bool {
    outcome(trial, name) == Some(Outcome::Failed)
}

fn doubted(trial: &Trial, name: &str) -> bool {
    matches!(
        outcome(trial, name),
        Some(Outcome::Failed | Outcome::Doubtful)
    )
}

/// What the audit said of it, else the objective, with who held the memory where that is what broke.
fn evidence(trial: &Trial, short_of: &[String], broke: Broke) -> String {
    let voids = trial.validity.verdict == Verdict::Void;
    let first = trial.validity.reasons.first().filter(|_| voids);
    let mut text = match (first, short_of) {
        (Some(reason), _) => reason.message.clone(),
        (None, []) => "nothing was seen to be full".to_owned(),
        (None, terms) => terms.join(", "),
    };
    if let (Broke::Memory, Some((who, bytes))) = (broke, held_memory(trial).most()) {
        text += &format!("; {who} held most, {} MiB", bytes >> 20);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Check, MemoryPoint, Reason, WorkloadWindow};
    use pushbench_protocol::transport::{Profile, Transport};

    const CORES: Cores = Cores {
        server: 1,
        fleet: 1,
    };

    /// A trial that measured for a second, in which both sides were half busy.
    fn trial() -> Trial {
        let mut trial = Trial::new(Transport::Sse, Profile::Tuned, 1);
        (trial.clients.target, trial.clients.connected) = (2_000, 2_000);
        trial.workload = Some(WorkloadWindow {
            from_ns: 0,
            until_ns: 1_000_000_000,
            ..WorkloadWindow::default()
        });
        trial.server.cpu_ns = Some(500_000_000);
        trial.harness.cpu_ns = Some(500_000_000);
        trial
    }

    fn with_check(mut trial: Trial, check: &str, outcome: Outcome) -> Trial {
        trial.validity.checks.push(Check {
            check: check.to_owned(),
            outcome,
            measured: None,
            limit: None,
            not_tested: None,
        });
        let reason = Reason {
            check: check.to_owned(),
            measured: None,
            limit: None,
            remedy: String::new(),
            message: format!("{check} did not pass"),
        };
        trial.validity.raise(Verdict::Void, reason);
        trial
    }

    fn broke(trial: &Trial) -> (Broke, String) {
        what_broke(trial, &["p99 was 2.00 s".to_owned()], CORES, 2_000.0)
    }

    #[test]
    fn what_stopped_the_connecting_is_named_before_all_else() {
        for (cause, expected) in [
            (Cause::ServerDescriptors, Broke::ServerDescriptors),
            (Cause::ClientDescriptors, Broke::ClientDescriptors),
            (Cause::SourcePorts, Broke::SourcePorts),
            (Cause::Backlog, Broke::Backlog),
            (Cause::Memory, Broke::Memory),
            (Cause::Refused, Broke::Refused),
            (Cause::Stalled, Broke::Stalled),
        ] {
            let mut trial = with_check(trial(), "clients_connected", Outcome::Failed);
            trial.server.cpu_ns = Some(1_000_000_000);
            trial.clients.stopped_by = Some(cause);
            assert_eq!(
                broke(&trial),
                (expected, "clients_connected did not pass".to_owned())
            );
        }
    }

    #[test]
    fn memory_is_told_with_who_held_it() {
        let mut trial = trial();
        trial.clients.stopped_by = Some(Cause::Memory);
        trial.server.memory.base_bytes = Some(1 << 20);
        trial.server.memory.kernel_base_bytes = Some(100 << 20);
        trial.server.memory.points = vec![MemoryPoint {
            clients: 2_000,
            user_bytes: Some(9 << 20),
            fleet_bytes: Some(2 << 20),
            kernel_bytes: Some(115 << 20),
        }];
        assert_eq!(
            broke(&trial),
            (
                Broke::Memory,
                "p99 was 2.00 s; the kernel held most, 15 MiB".to_owned()
            )
        );
        let held = held_memory(&trial);
        assert_eq!(
            (held.server_bytes, held.harness_bytes),
            (Some(8 << 20), Some(2 << 20))
        );
    }

    #[test]
    fn a_process_that_was_killed_was_killed_for_memory_and_another_died_by_itself() {
        let error = "the server died in the middle of the trial (signal: 9 (SIGKILL))";
        let mut killed = trial().failed(error.to_owned(), String::new());
        killed.killed = true;
        assert_eq!(broke(&killed), (Broke::Memory, error.to_owned()));
        let error = "the fleet died in the middle of the trial (exit status: 101)";
        let died = trial().failed(error.to_owned(), String::new());
        assert_eq!(broke(&died), (Broke::Process, error.to_owned()));
    }

    #[test]
    fn without_a_cause_of_the_fleet_the_checks_name_one() {
        for (check, outcome, refused, expected) in [
            ("descriptors", Outcome::Failed, 5, Broke::ClientDescriptors),
            ("ports", Outcome::Failed, 5, Broke::SourcePorts),
            ("backlog", Outcome::Doubtful, 5, Broke::Backlog),
            ("clients_connected", Outcome::Failed, 5, Broke::Refused),
            ("clients_connected", Outcome::Failed, 0, Broke::Stalled),
        ] {
            let mut trial = with_check(trial(), check, outcome);
            (trial.clients.connected, trial.clients.refused) = (1_995, refused);
            assert_eq!(broke(&trial).0, expected, "{check}");
        }
    }

    #[test]
    fn a_harness_without_cpu_is_named_before_the_server_and_the_server_before_loss() {
        let mut trial = trial();
        trial.deliveries.missing = Some(7);
        trial.server.cpu_ns = Some(990_000_000);
        assert_eq!(
            broke(&trial),
            (
                Broke::ServerCpu,
                "p99 was 2.00 s; the server used 99% of its 1 core(s)".to_owned()
            )
        );
        trial.harness.cpu_ns = Some(960_000_000);
        assert_eq!(broke(&trial).0, Broke::HarnessCpu);
        trial.server.cpu_ns = Some(500_000_000);
        trial.harness.cpu_ns = Some(850_000_000);
        assert_eq!(broke(&trial).0, Broke::HarnessCpu);
    }

    #[test]
    fn without_a_full_core_the_check_that_failed_names_the_cause() {
        for (check, missing, short_of, expected) in [
            // Messages that waited for their clients.
            ("harness_share", 0, None, Broke::HarnessCpu),
            ("ledger_missing", 7, Some("p99 was 2.00 s"), Broke::Loss),
            // The objective was kept.
            ("achieved_rate", 0, None, Broke::Audit),
        ] {
            let mut trial = with_check(trial(), check, Outcome::Failed);
            trial.deliveries.missing = Some(missing);
            let short_of: Vec<String> = short_of.into_iter().map(str::to_owned).collect();
            let found = what_broke(&trial, &short_of, CORES, 2_000.0);
            assert_eq!(found, (expected, format!("{check} did not pass")));
        }
    }

    #[test]
    fn a_broadcast_that_fills_a_core_for_as_long_as_it_lasts_broke_for_cpu() {
        let mut trial = trial();
        trial.fanout_ns.p50 = Some(40_000_000);
        trial.server.cpu_ns_per_delivery = Some(15_000.0);
        trial.harness.cpu_ns_per_delivery = Some(9_000.0);
        assert_eq!(
            broke(&trial),
            (
                Broke::ServerCpu,
                "p99 was 2.00 s; one message to 2000 subscribers takes the server 30.000 ms of CPU \
                 on 1 core(s), of 40.000 ms until the last has it"
                    .to_owned()
            )
        );
        trial.harness.cpu_ns_per_delivery = Some(16_000.0);
        assert_eq!(broke(&trial).0, Broke::HarnessCpu);
        // Half a second in which nobody had that much to do: something else made it wait.
        trial.fanout_ns.p50 = Some(500_000_000);
        assert_eq!(broke(&trial), (Broke::Latency, "p99 was 2.00 s".to_owned()));
    }

    #[test]
    fn a_step_whose_cores_others_had_is_spoiled_but_not_one_that_had_them_all_the_same() {
        for (check, outcome, who) in [
            (
                "steal",
                Outcome::Doubtful,
                "the hypervisor gave the cores to others",
            ),
            (
                "throttled",
                Outcome::Doubtful,
                "the CPU quota kept threads from the cores",
            ),
            (
                "server_run_queue",
                Outcome::Failed,
                "other programs had the cores",
            ),
            (
                "harness_run_queue",
                Outcome::Doubtful,
                "other programs had the cores",
            ),
            (
                "other_load",
                Outcome::Doubtful,
                "other programs had the cores",
            ),
        ] {
            let mut trial = with_check(trial(), check, outcome);
            let told = format!("{who} ({check} did not pass)");
            assert_eq!(spoiled(&trial, CORES), Some(told));
            trial.server.cpu_ns = Some(960_000_000);
            assert_eq!(spoiled(&trial, CORES), None, "{check}: the server was full");
        }
        let passed = with_check(trial(), "steal", Outcome::Passed);
        assert_eq!(spoiled(&passed, CORES), None);
        let other = with_check(trial(), "ledger_missing", Outcome::Failed);
        assert_eq!(spoiled(&other, CORES), None);
    }

    #[test]
    fn a_check_that_the_objective_covers_voids_no_step() {
        let trial = with_check(trial(), "achieved_rate", Outcome::Failed);
        let voids: Vec<&str> = voided(&trial, |check| check == "ledger_missing").collect();
        assert_eq!(voids, ["achieved_rate"]);
        assert_eq!(voided(&trial, |check| check == "achieved_rate").count(), 0);
    }
}
