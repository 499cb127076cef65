//! Whole runs of a tiny scenario: the record, the closing table, both families of clients, and what
//! remains when a run, its server or its fleet ends before its time.

use std::path::{Path, PathBuf};

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use nix::sys::signal::Signal;
use pushbench::record::{Outcome, Record, Status, Trial, Verdict};
use pushbench_protocol::histogram;
use pushbench_protocol::transport::{Profile, Transport};

use crate::support::{
    Process, Running, Runs, TINY, await_end, await_some, children, keeps_to_the_schema, read, send,
    text,
};

/// What every trial of the tiny scenario owes: 200 a second for 0.4 s over 4 channels, each with 10
/// of the 40 clients.
const DELIVERIES: u64 = 800;

/// Checks of what is counted, which no lack of time excuses.
const COUNTED_CHECKS: [&str; 8] = [
    "clients_connected",
    "clients_refused",
    "clients_stayed",
    "ledger_missing",
    "ledger_duplicate",
    "ledger_order",
    "ledger_overflow",
    "ledger_balance",
];

/// Every transport in every profile, the baseline in two.
const PAIRS: usize = 17;

/// Everything owed has arrived, once and in order. The verdict is not asserted: it also speaks of
/// time, and a machine that is busy elsewhere rightly makes it 'void'.
fn balances(trial: &Trial) {
    let label = trial.label();
    assert_eq!(trial.error, None, "{label}");
    assert_eq!(trial.clients.connected, trial.clients.target, "{label}");
    assert_eq!(
        (trial.clients.refused, trial.clients.disconnected),
        (0, 0),
        "{label}"
    );
    let found = trial.deliveries;
    assert_eq!(Some(found.received), found.expected, "{label}");
    let lost = [
        found.missing.expect("it has a cursor"),
        found.duplicate,
        found.out_of_order,
    ];
    assert_eq!(lost, [0; 3], "{label}");
    for name in COUNTED_CHECKS {
        let check = trial.validity.checks.iter().find(|c| c.check == name);
        let check = check.unwrap_or_else(|| panic!("{label}: no {name}"));
        // Of nothing that was owed, nothing can be said.
        let untested = check.not_tested.as_deref().unwrap_or_default();
        match check.outcome {
            Outcome::Passed => {}
            _ if found.expected == Some(0) && untested.starts_with("no delivery was ") => {}
            _ => panic!("{label}: {check:?}"),
        }
    }
}

/// How many latencies an interval log holds.
fn logged(path: &Path) -> u64 {
    let text = std::fs::read(path).expect("a log of latencies");
    let mut logged = 0;
    for entry in IntervalLogIterator::new(&text) {
        if let LogEntry::Interval(interval) = entry.expect("an interval log") {
            let latencies = histogram::decode(interval.encoded_histogram());
            logged += latencies.expect("a histogram").len();
        }
    }
    logged
}

/// How often lines of progress name a trial: on a line of its own, or on that of a round
/// ('round 1: tcp, sse tuned: valid; tcp lean: valid; …').
fn named(progress: &str, transport: Transport, profile: Profile) -> usize {
    let alone = format!("{transport} {profile}, trial 1: ");
    let of_round = |line: &str| {
        let parts = line.strip_prefix("round 1: ")?.split("; ");
        let groups = parts.filter_map(|part| part.split_once(": ")?.0.rsplit_once(' '));
        let mut groups = groups.filter(|(_, of)| *of == profile.id());
        let found = groups.any(|(names, _)| names.split(", ").any(|name| name == transport.id()));
        found.then_some(())
    };
    let lines = progress.lines();
    lines
        .filter(|line| line.starts_with(&alone) || of_round(line).is_some())
        .count()
}

/// The exit status that the record asks for.
fn status_of(record: &Record) -> Option<i32> {
    Some(i32::from(record.verdict() == Verdict::Void))
}

/// Both processes of the trial under way, server first, once every client is connected.
fn trial_under_way(run: &Running) -> (Process, Process) {
    await_some("a server with clients", || {
        let children = children(run.pid());
        let of = |command| children.iter().find(|child| child.runs(command)).cloned();
        let (server, fleet) = (of("serve")?, of("fleet")?);
        (server.sockets() > 40).then_some((server, fleet))
    })
}

/// Measures so long that whatever a test does comes in the middle of a trial.
fn slow(text: &str) -> String {
    text.replace("measure_s = 0.4", "measure_s = 2.0")
}

fn every_transport_in_every_profile(family: &str) {
    let runs = Runs::of(TINY);
    let output = runs.run(&format!(
        "run --profiles stock,tuned,lean --client-family {family}"
    ));
    let (table, progress) = (text(&output.stdout), text(&output.stderr));
    let record = runs.record();
    assert_eq!(output.status.code(), status_of(&record), "{progress}");
    assert_eq!(record.status, Status::Complete);
    assert_eq!((record.trials.len(), record.summary.len()), (PAIRS, PAIRS));
    let folder = runs.kept().expect("a run");
    for trial in &record.trials {
        balances(trial);
        // The same number for every transport and either family: it follows from the schedule.
        assert_eq!(
            trial.deliveries.expected,
            Some(DELIVERIES),
            "{}",
            trial.label()
        );
        assert_eq!(trial.latency_ns.count, DELIVERIES, "{}", trial.label());
        let lean = trial.variant.transport == Transport::Tcp;
        let used = if lean { "lean" } else { family };
        assert_eq!(trial.harness.client.id(), used, "{}", trial.label());
        let log = format!("latency/{}.hlog", trial.label_for_file());
        assert_eq!(logged(&folder.join(log)), DELIVERIES, "{}", trial.label());
    }
    // Prose before and after may begin a line with any row's name.
    let (_, tables) = table
        .split_once("\ndeliveries and latency\n")
        .expect("tables");
    let (tables, _) = tables.split_once("\nlost/dup/reordered: ").expect("a note");
    for transport in Transport::ALL {
        for profile in Profile::ALL {
            let rows = usize::from(transport.profile_for(profile) == profile);
            let row = format!("{transport} {profile} ");
            // One in the table of deliveries and one in that of costs.
            let found = tables.lines().filter(|line| line.starts_with(&row)).count();
            assert_eq!(found, 2 * rows, "{row}:\n{table}");
            let found = named(progress, transport, profile);
            assert_eq!(found, rows, "{transport} {profile}:\n{progress}");
        }
    }
    assert!(
        progress.ends_with(&format!(
            "record: {0}\nreport: {0}/report.html\n",
            folder.strip_prefix(runs.folder()).expect("below").display()
        )),
        "{progress}"
    );
    assert!(
        !table.contains('\u{1b}') && !progress.contains('\u{1b}'),
        "no terminal, no colours"
    );
}

#[test]
fn lean_clients_account_for_every_delivery_of_every_transport_in_every_profile() {
    every_transport_in_every_profile("lean");
}

#[test]
fn library_clients_account_for_every_delivery_of_every_transport_in_every_profile() {
    every_transport_in_every_profile("library");
}

#[test]
fn clients_that_come_and_go_get_what_they_are_owed() {
    let sessions = "\n[sessions]\nlength_ms = 150\ngap_ms = 50\n";
    for family in ["lean", "library"] {
        let runs = Runs::of(&format!("{TINY}{sessions}"));
        let output = runs.run(&format!("run --client-family {family}"));
        let record = runs.record();
        assert_eq!(
            output.status.code(),
            status_of(&record),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(record.trials.len(), Transport::ALL.len());
        for trial in &record.trials {
            balances(trial);
            let expected = trial.deliveries.expected.expect("it has a cursor");
            // Away for a quarter of the time: less than everything, but something.
            assert!(
                (1..DELIVERIES).contains(&expected),
                "{}: {expected}",
                trial.label()
            );
        }
    }
}

#[test]
fn a_run_that_publishes_nothing_has_nothing_to_miss() {
    let (before, rest) = TINY.split_once("[publish]").expect("a table");
    let (_, after) = rest.split_once("[phases]").expect("a table");
    let runs = Runs::of(&format!("{before}[phases]{after}"));
    let output = runs.run("run --transports sse,short_poll");
    let record = runs.record();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), status_of(&record), "{told}");
    for trial in &record.trials {
        balances(trial);
        assert_eq!(trial.deliveries.expected, Some(0));
        assert_eq!(trial.publish.achieved_per_s, None);
    }
}

#[test]
fn options_take_the_place_of_the_files_values_and_json_is_the_record_that_says_so() {
    let runs = Runs::of(TINY);
    let options = "--clients 8 --rate 80 --duration 0.5 --seed 3";
    let line = format!("run --transports sse --profiles stock --format json {options}");
    let output = runs.run(&line);
    // What goes to standard output is the record, to the byte.
    let record = keeps_to_the_schema(text(&output.stdout));
    let kept = runs.kept().expect("a run").join("run.json");
    assert_eq!(read(&kept), text(&output.stdout));
    assert_eq!(output.status.code(), status_of(&record));
    assert_eq!(record.scenario.name, "tiny");
    assert_eq!((record.scenario.clients.count, record.seed), (8, 3));
    let [trial] = &record.trials[..] else {
        panic!("one transport in one profile");
    };
    assert_eq!(
        (trial.variant.transport, trial.variant.profile),
        (Transport::Sse, Profile::Stock)
    );
    balances(trial);
    // 40 messages, 10 on each of the 4 channels, with 2 clients each.
    assert_eq!(
        (trial.clients.target, trial.deliveries.expected),
        (8, Some(80))
    );
}

#[test]
fn a_run_that_is_interrupted_keeps_the_trials_that_were_done_and_leaves_no_process() {
    let runs = Runs::of(&slow(TINY));
    let run = runs.start("run --whole-trials --transports tcp,sse,websocket");
    runs.await_trials(1);
    let (server, fleet) = trial_under_way(&run);
    // A terminal interrupts a whole process group: the children are in groups of their own.
    let group = |pid: u32| nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid as i32)));
    let [of_run, of_server, of_fleet] = [run.pid(), server.pid, fleet.pid].map(group);
    assert!(of_run != of_server && of_run != of_fleet, "{of_run:?}");
    let output = runs.interrupt(run, Signal::SIGINT, &[server, fleet]);
    let record = runs.record();
    let [done, under_way] = &record.trials[..] else {
        panic!("one that was done, one under way: {}", record.trials.len());
    };
    balances(done);
    let why = under_way.error.as_deref().expect("it was interrupted");
    assert!(why.starts_with("interrupted in phase '"), "{why}");
    assert_eq!(under_way.validity.verdict, Verdict::Void);
    let log = format!("latency/{}.hlog", done.label_for_file());
    assert!(runs.kept().expect("a run").join(log).is_file());
    let (table, told) = (text(&output.stdout), text(&output.stderr));
    assert!(table.contains("interrupted"), "{table}");
    let kept = "pushbench: interrupted; what was measured is kept\n";
    assert!(told.contains(kept), "{told}");
}

#[test]
fn a_run_that_is_interrupted_in_turns_keeps_the_slices_that_were_done_on_all_sides() {
    // Slices of 0.2 s for two trials, so that a second is over long before the phase is.
    let runs = Runs::of(&TINY.replace("measure_s = 0.4", "measure_s = 60.0"));
    let run = runs.start("run --transports sse,websocket");
    let (server, fleet) = trial_under_way(&run);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let output = runs.interrupt(run, Signal::SIGINT, &[server, fleet]);
    let record = runs.record();
    let [a, b] = &record.trials[..] else {
        panic!("both took turns: {}", record.trials.len());
    };
    balances(a);
    balances(b);
    assert_eq!((&a.error, &b.error), (&None, &None));
    assert!(!a.slices.is_empty() && a.slices.len() == b.slices.len());
    assert_eq!(a.deliveries.expected, b.deliveries.expected);
    assert!(text(&output.stdout).contains("interrupted"));
}

#[test]
fn a_process_that_dies_in_the_middle_of_a_trial_makes_a_void_row_and_the_run_goes_on() {
    let runs = Runs::of(&slow(TINY));
    let run = runs.start("run --transports sse --trials 3");
    for child in ["serve", "fleet"] {
        let (server, fleet) = trial_under_way(&run);
        let victim = if child == "serve" { &server } else { &fleet };
        send(victim.pid, Signal::SIGKILL);
        await_end(&[server, fleet]);
    }
    let output = run.output();
    let (table, progress) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{progress}");
    let record = runs.record();
    assert_eq!((record.status, record.trials.len()), (Status::Complete, 3));
    for (trial, child) in record.trials.iter().zip(["server", "fleet"]) {
        let why = format!("the {child} died in the middle of the trial (signal: 9 (SIGKILL))");
        assert_eq!(trial.error.as_deref(), Some(&*why));
        assert_eq!(trial.validity.verdict, Verdict::Void);
        // Where it dies while clients connect, that they could not is a reason as well.
        let reason = trial.validity.reasons.last().expect("a reason");
        assert_eq!((&*reason.check, &*reason.message), ("completed", &*why));
        assert!(!reason.remedy.is_empty());
        let row = format!("\nvoid: sse tuned, trial {}\n", trial.index);
        assert!(table.contains(&row) && table.contains(&why), "{table}");
        let line = format!("sse tuned, trial {}: void (", trial.index);
        assert!(progress.contains(&line), "{progress}");
    }
    balances(&record.trials[2]);
    assert_eq!(record.trials[2].index, 3);
}

#[test]
fn a_run_that_is_killed_leaves_no_process_and_a_record_of_what_was_done() {
    let runs = Runs::of(&slow(TINY));
    let run = runs.start("run --whole-trials --transports tcp,sse");
    runs.await_trials(1);
    let (server, fleet) = trial_under_way(&run);
    send(run.pid(), Signal::SIGKILL);
    assert_eq!(run.output().status.code(), None);
    // Nobody is left to end them: their standard input is.
    await_end(&[server, fleet]);
    let record = runs.record();
    assert_eq!((record.status, record.trials.len()), (Status::Running, 1));
}

#[test]
fn two_quiet_runs_at_once_print_their_results_alone_and_keep_records_of_their_own() {
    let runs = Runs::of(TINY);
    let start = || runs.start("run --transports sse --quiet");
    for run in [start(), start()] {
        let output = run.output();
        let table = text(&output.stdout);
        assert!(
            table.starts_with("tiny: 40 clients, 4 channels, "),
            "{table}"
        );
        assert_eq!(text(&output.stderr), "", "quiet");
    }
    let kept = std::fs::read_dir(runs.out()).expect("records");
    let kept: Vec<PathBuf> = kept.map(|run| run.expect("readable").path()).collect();
    assert_eq!(kept.len(), 2, "a folder each");
    for run in &kept {
        let record = Record::read(run).expect("a record");
        assert_eq!(record.trials[0].deliveries.received, DELIVERIES);
    }
}
