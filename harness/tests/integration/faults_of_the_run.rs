//! Faults in the run itself: interrupts in every phase, a server that is killed at any moment, a disk
//! that is full, memory that ends, a thread of the clients that panics. Whatever happens, the record
//! keeps what was measured and says what happened, and nothing is left running.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pushbench::record::{Record, Status, Verdict};
use pushbench_protocol::payload::SplitMix64;

use crate::support::{
    LISTENS, Process, Running, Runs, TINY, TcpSocket, after, await_end, await_some, children,
    inodes, only, output, tcp_sockets, text,
};

/// Servers that are killed, one in each run.
const KILLS: u64 = 20;

/// The children of a run once it has started so many.
fn started(run: &Running, count: usize) -> Vec<Process> {
    await_some("the processes of a trial", || {
        let found = children(run.pid());
        (found.len() >= count).then_some(found)
    })
}

/// The server of a run, once it is one: between its fork and its exec, a child looks like its parent.
fn server_of(run: &Running) -> Process {
    await_some("the server of a trial", || {
        let mut found = children(run.pid()).into_iter();
        found.find(|process| process.runs("serve"))
    })
}

/// A drain in which clients that were cut come back after half a minute.
const LOST: &str = r#"drain_s = 20

[reconnect]
delay_ms = 30000
max_delay_ms = 30000

[[faults]]
kind = "connection_cuts"
at_s = 0.0
for_ms = 300
mean_s = 0.2
how = "fin"
"#;

/// Ends a run in one phase, which lasts until then.
fn interrupted(change: (&str, &str), phases: &[&str], signal: Signal) {
    let runs = Runs::of(&TINY.replace(change.0, change.1));
    let run = runs.start("run --transports short_poll");
    let processes = started(&run, 2);
    // Long enough to come to the phase on any machine that is not far too slow; where it is, the
    // signal falls into an earlier one, of which the same holds.
    std::thread::sleep(Duration::from_millis(1_500));
    let output = runs.interrupt(run, signal, &processes);
    let record = runs.record();
    let [trial] = &record.trials[..] else {
        panic!("one trial: {}", record.trials.len());
    };
    let why = trial.error.as_deref().expect("it was interrupted");
    let named = phases
        .iter()
        .any(|phase| *why == format!("interrupted in phase '{phase}'"));
    assert!(named, "{why}");
    assert_eq!(trial.validity.verdict, Verdict::Void);
    assert!(
        text(&output.stdout).contains(why),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn an_interrupt_in_any_phase_keeps_what_was_measured_and_says_in_which() {
    let phases = [
        ("count = 40\n", "count = 40\nconnect_per_s = 2\n", "connect"),
        ("settle_s = 0.05", "settle_s = 30", "settle"),
        ("warm_up_s = 0.1", "warm_up_s = 30", "warm-up"),
        ("measure_s = 0.4", "measure_s = 30", "measure"),
        // The drain waits for clients that have lost their connection and are not back.
        ("drain_s = 20\n", LOST, "drain"),
    ];
    let order = ["start", "connect", "settle", "warm-up", "measure", "drain"];
    std::thread::scope(|scope| {
        for (index, (old, new, phase)) in phases.into_iter().enumerate() {
            let signal = [
                Signal::SIGINT,
                Signal::SIGTERM,
                Signal::SIGHUP,
                Signal::SIGQUIT,
                Signal::SIGUSR1,
            ][index];
            let until = order
                .iter()
                .position(|name| *name == phase)
                .expect("a phase");
            scope.spawn(move || interrupted((old, new), &order[..=until], signal));
        }
    });
}

/// Ports that a process listens on.
fn listens_on(process: &Process) -> Vec<u16> {
    let own = inodes(process.pid);
    let listeners = tcp_sockets()
        .into_iter()
        .filter(|s| s.state == LISTENS && own.contains(&s.inode));
    let port = |socket: TcpSocket| u16::from_str_radix(socket.local.split_once(':')?.1, 16).ok();
    listeners.filter_map(port).collect()
}

/// A subscriber of a run's server that is none of the run's clients, once the channel is there.
fn stranger(server: &Process) -> BufReader<TcpStream> {
    await_some("a subscription", || {
        // The other one is the control interface, which takes this for a bad request.
        listens_on(server).into_iter().find_map(|port| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.write_all(b"SUBSCRIBE c0\n").ok()?;
            let mut reader = BufReader::new(stream);
            let mut answer = String::new();
            reader.read_line(&mut answer).ok()?;
            answer.starts_with("SUBSCRIBED 0").then_some(reader)
        })
    })
}

#[test]
fn an_interrupt_while_the_server_still_has_a_client_keeps_the_whole_measure_phase() {
    let slow_start = TINY.replace("settle_s = 0.05", "settle_s = 1");
    let runs = Runs::of(&slow_start);
    let run = runs.start("run --transports tcp");
    let processes = started(&run, 2);
    // The phase in which clients go lasts while the server has any.
    let mut reader = stranger(&server_of(&run));
    // 200 a second for 0.5 s on 4 channels: the last of this one.
    for _ in 0..25 {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a message");
        assert!(line.starts_with("00000000000000"), "{line}");
    }
    std::thread::sleep(Duration::from_millis(700));
    runs.interrupt(run, Signal::SIGTERM, &processes);
    let trial = &runs.record().trials[0];
    let why = trial.error.as_deref().expect("it was interrupted");
    // Earlier only where the machine is far too slow.
    let phases = ["measure", "drain", "disconnect"];
    let of = |phase: &&str| *why == format!("interrupted in phase '{phase}'");
    assert!(phases.iter().any(of), "{why}");
    if of(&"disconnect") {
        let d = trial.deliveries;
        assert_eq!((d.expected, d.received), (Some(800), 800));
    }
}

#[test]
fn an_interrupt_before_the_processes_answer_leaves_none_of_them() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let runs = Runs::of(TINY);
        let run = runs.start("run --transports tcp");
        let processes = started(&run, 1);
        runs.interrupt(run, signal, &processes);
    }
}

/// A run whose server is killed so long after its start.
fn killed_after(wait: Duration, transport: &str) {
    let runs = Runs::of(TINY);
    let run = runs.start(&format!("run --transports {transport}"));
    let server = server_of(&run);
    std::thread::sleep(wait);
    // It may have done its work already.
    let _ = kill(Pid::from_raw(server.pid as i32), Signal::SIGKILL);
    let output = run.output();
    let record = runs.record();
    let [trial] = &record.trials[..] else {
        panic!("a row for the trial: {}", record.trials.len());
    };
    let is_void = trial.validity.verdict == Verdict::Void;
    assert_eq!(output.status.code(), Some(i32::from(is_void)), "{wait:?}");
    if let Some(error) = &trial.error {
        assert!(is_void && error.contains("server"), "{error}");
    } else {
        let d = trial.deliveries;
        assert_eq!(d.expected, d.missing.map(|missing| d.received + missing));
    }
    await_end(&[server]);
}

#[test]
fn a_server_that_is_killed_at_any_of_twenty_moments_leaves_twenty_readable_records() {
    let mut random = SplitMix64::new(20);
    let waits: Vec<Duration> = (0..KILLS)
        .map(|_| Duration::from_millis(random.below(900)))
        .collect();
    std::thread::scope(|scope| {
        for (lane, waits) in waits.chunks(5).enumerate() {
            let transport = ["tcp", "sse", "websocket", "long_poll"][lane % 4];
            scope.spawn(move || waits.iter().for_each(|wait| killed_after(*wait, transport)));
        }
    });
}

#[test]
fn a_program_that_is_rebuilt_or_removed_under_its_run_goes_on_as_it_was() {
    let runs = Runs::of(TINY);
    let copy = runs.folder().join("copy");
    let run = runs.of_tiny("run --transports tcp,sse");
    std::fs::copy(run.get_program(), &copy).expect("a copy of the program");
    let mut command = Command::new(&copy);
    command.args(run.get_args()).current_dir(runs.folder());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = command.spawn().expect("a program");
    // As a build does: another file by the same name, which is not even a program.
    std::fs::remove_file(&copy).expect("the copy");
    std::fs::write(&copy, "#!/bin/false\n").expect("another file");
    let output = started.wait_with_output().expect("its output");
    let told = text(&output.stderr);
    let kept = runs.record();
    assert_eq!(kept.trials.len(), 2, "{told}");
    for trial in &kept.trials {
        assert_eq!(trial.clients.connected, trial.clients.target, "{told}");
        assert_eq!(trial.deliveries.missing, Some(0), "{told}");
    }
}

/// Four trials, as many as it takes to fill what little room there is for their record.
const FOUR: &str = "run --transports tcp,sse,websocket,long_poll";

/// What was written before is whole, and one more was printed: the one that there was no room for.
fn printed_beyond(output: &Output, reason: &str, kept: &Record) {
    let (table, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("cannot write the record to"), "{told}");
    assert!(told.contains(reason), "{told}");
    assert!(!kept.trials.is_empty(), "a trial was written");
    let (deliveries, _) = table.split_once("\ncost\n").expect("two tables");
    let printed = deliveries.lines().filter(|line| line.contains(" tuned "));
    assert_eq!(printed.count(), kept.trials.len() + 1, "{table}");
    for trial in &kept.trials {
        let row = trial.variant.to_string();
        assert!(deliveries.contains(&row), "{row}: {table}");
    }
}

#[test]
fn a_record_that_there_is_no_room_for_is_printed_and_the_one_before_stays() {
    let runs = Runs::of(TINY);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    // Files of so many blocks of 512 bytes only: as on a full disk, a write fails. The signal for it
    // would end the process; what the shell starts inherits that it is ignored.
    let script = "trap '' XFSZ; ulimit -f 64";
    let output = output(after(script, &runs.of_tiny(FOUR)).env("TMPDIR", temporary.path()));
    printed_beyond(&output, "file too large", &runs.record());
    let told = text(&output.stderr);
    for part in [
        "what was measured is what was printed: it cannot be kept in",
        "either (file too large)",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

/// What runs a program where it may mount a file system that only its own processes see, if anything
/// does. Where nothing does, the test says so and passes, but with `CI=true` it fails.
fn mounter() -> Option<&'static [&'static str]> {
    let known: [&[&str]; 2] = [&["unshare", "-m"], &["sudo", "-n", "unshare", "-m"]];
    let works = |with: &&&[&str]| {
        let mut probe = Command::new(with[0]);
        probe.args(&with[1..]).arg("true").stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    let found = known.iter().find(works).copied();
    if found.is_none() {
        let missing = "nobody here may mount a file system ('unshare -m')";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        eprintln!("SKIPPED, nothing was tested: {missing}");
    }
    found
}

#[test]
fn a_file_system_that_is_full_leaves_the_record_before_and_what_was_printed() {
    let Some(mounter) = mounter() else {
        return;
    };
    let runs = Runs::of(TINY);
    let kept = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(runs.out()).expect("a new folder");
    // The mount ends with its processes, so what lies there is taken out before.
    let script = "mount -t tmpfs -o size=100k tmpfs \"$1\" || exit 99; out=$1; to=$2; shift 2; \
                  \"$@\"; code=$?; cp -r \"$out/.\" \"$to\"; exit $code";
    let run = runs.of_tiny(FOUR);
    let mut command = Command::new(mounter[0]);
    command.args(&mounter[1..]).args(["sh", "-c", script, "sh"]);
    command.arg(runs.out()).arg(kept.path());
    command.arg(run.get_program()).args(run.get_args());
    command.current_dir(runs.folder()).stdin(Stdio::null());
    let output = output(&mut command);
    let before = Record::read(&only(kept.path()).expect("a run")).expect("a readable record");
    printed_beyond(&output, "no space left on device", &before);
}

#[test]
fn a_server_that_meets_its_memory_limit_is_a_void_row_that_says_how_it_ended() {
    // A ring of 1 GiB in a process that may have half of that.
    let greedy = TINY
        .replace("count = 4\n", "count = 1\n")
        .replace(
            "rate_per_s = 200\npayload_bytes = 96",
            "rate_per_s = 400\npayload_bytes = 1048576",
        )
        .replace("measure_s = 0.4", "measure_s = 20")
        .replace("count = 40", "count = 1")
        + "[server]\nring_messages = 4096\nring_bytes = 4294967296\nmemory_limit_bytes = 536870912\n";
    let runs = Runs::of(&greedy);
    let output = runs.run("run --transports tcp --allocator system");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("memory allocation of "), "{told}");
    let record = runs.record();
    let error = record.trials[0].error.as_deref().expect("the server ended");
    assert!(
        error.contains("the server died") && error.contains("SIGABRT"),
        "{error}"
    );
    assert_eq!(
        record.trials[0].clients.connected, 1,
        "what was measured is kept"
    );
}

#[test]
fn a_thread_of_the_clients_that_panics_voids_its_trial_and_the_others_report() {
    let panics = TINY.to_owned() + "[[faults]]\nkind = \"shard_panic\"\nat_s = 0.2\n";
    let runs = Runs::of(&panics);
    let run = runs.start("run --transports sse --shards 2 --trials 1");
    let processes = started(&run, 2);
    let output = run.output();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("because the scenario says so"), "{told}");
    await_end(&processes);
    let record = runs.record();
    let trial = &record.trials[0];
    assert_eq!(
        (record.status, trial.error.as_deref()),
        (Status::Complete, None)
    );
    let reason = trial
        .validity
        .reasons
        .iter()
        .find(|r| r.check == "fleet_shards");
    assert_eq!(reason.expect("a reason").measured, Some(1.0));
    // 20 of the 40 clients are the other thread's; each is owed 20 messages.
    assert_eq!(trial.deliveries.expected, Some(400));
    assert_eq!(trial.deliveries.received, 400);
}
