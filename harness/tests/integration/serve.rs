//! `pushbench serve` as those who operate it see it: restarted in the middle of a schedule, drained
//! for a rolling deploy, bounded in memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use nix::sys::signal::Signal;
use pushbench_os::sys::monotonic_ns;

use crate::support::{PATIENCE, Running, Served, await_some, pushbench, send, text};

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream
}

/// Subscribes to `news` over raw TCP and returns the connection behind the answer.
fn subscribe(server: &Served) -> TcpStream {
    let mut stream = connect(server.address("tcp"));
    stream.write_all(b"SUBSCRIBE news\n").expect("open");
    stream
        .read_exact(&mut [0; "SUBSCRIBED 0\n".len()])
        .expect("an answer");
    stream
}

/// One request to the control interface; returns the whole answer.
fn control(server: &Served, request: &str, body: &str) -> String {
    let mut stream = connect(server.address("control"));
    let length = body.len();
    let request = format!(
        "{request} HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// What the program says on bad arguments, and its exit status.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = pushbench();
    let command = command.args(["serve", "--listen", "127.0.0.1:0"]);
    let command = command.args(arguments).stderr(Stdio::piped());
    let output = Running::start(command.stdout(Stdio::piped())).output();
    assert_eq!(text(&output.stdout), "");
    (output.status.code(), text(&output.stderr).to_owned())
}

/// A plan that is due from 1 s before now on, 1,000 messages a second on one channel.
fn plan() -> String {
    serde_json::json!({
        "schedule": {
            "start_ns": monotonic_ns() - 1_000_000_000,
            "end_ns": u64::MAX,
            "rate_per_s": 1000.0,
            "burst": 1,
            "channels": 1,
        },
        "payload": "json",
        "payload_bytes": 128,
        "seed": 7,
        "measure_from_ns": 0,
        "measure_until_ns": 0,
    })
    .to_string()
}

/// The first `count` lines behind `since`, and the answer before them.
fn lines_behind(server: &Served, since: u64, count: usize) -> (String, Vec<String>) {
    let mut stream = connect(server.address("tcp"));
    let request = format!("SUBSCRIBE news {since}\n");
    stream.write_all(request.as_bytes()).expect("open");
    let mut lines = BufReader::new(stream)
        .lines()
        .map(|line| line.expect("open"));
    let answer = lines.next().expect("an answer");
    (answer, lines.take(count).collect())
}

/// An envelope without its actual time, the third field.
fn without_actual(line: &str) -> (&str, &str) {
    (&line[..34], &line[51..])
}

#[test]
fn a_killed_server_that_is_started_again_on_its_plan_sends_the_same_bytes() {
    let plan = plan();
    let arguments = ["--publish-plan", &plan, "--ring-messages", "1000000"];
    let bytes = ["--ring-bytes", "100000000"];
    let arguments = [&arguments[..], &bytes[..]].concat();
    let first = Served::start(&arguments);
    let (answer, before) = lines_behind(&first, 900, 300);
    assert_eq!(answer, "SUBSCRIBED 900");
    // Dropped, it is killed.
    drop(first);
    let second = Served::start(&arguments);
    let (answer, after) = lines_behind(&second, 900, 300);
    assert_eq!(answer, "SUBSCRIBED 900");
    assert_eq!(before.len(), 300);
    for ((before, after), sequence) in before.iter().zip(&after).zip(901..) {
        assert!(before.starts_with(&format!("{sequence:016x}:")), "{before}");
        assert_eq!(without_actual(before), without_actual(after));
    }
    let report = control(&second, "DELETE /v1/publish", "");
    assert!(report.contains("\"finished\":true"), "{report}");
    let refilled = report.split("\"refilled\":").nth(1).expect("a field");
    let refilled = refilled.split(',').next().expect("a number");
    assert!(
        refilled.parse::<u64>().expect("a number") >= 1_000,
        "{report}"
    );
}

#[test]
fn a_drain_over_control_ends_the_process_with_status_0() {
    let mut server = Served::start(&["--rate", "0"]);
    let mut client = subscribe(&server);
    let answer = control(&server, "POST /v1/drain", r#"{"over_ms": 1}"#);
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"");
    assert_eq!(server.process.code(), Some(0));
}

#[test]
fn a_signal_drains_and_a_second_one_ends_the_drain() {
    for profile in ["stock", "tuned", "lean"] {
        let arguments = [
            "--rate",
            "0",
            "--profile",
            profile,
            "--drain-ms",
            "86400000",
        ];
        let mut server = Served::start(&arguments);
        let mut client = subscribe(&server);
        send(server.process.pid(), Signal::SIGTERM);
        let address = server.address("tcp").to_owned();
        await_some("the listener's end", || {
            TcpStream::connect(&address).is_err().then_some(())
        });
        // Control goes on meanwhile, and so does the subscriber.
        let stats = control(&server, "GET /v1/stats", "");
        assert!(stats.contains("\"subscribers\":1"), "{stats}");
        send(server.process.pid(), Signal::SIGTERM);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("the end");
        assert_eq!(rest, b"");
        assert_eq!(server.process.code(), Some(0), "{profile}");
    }
}

#[test]
fn a_second_process_takes_the_port_over() {
    let mut first = Served::start(&["--transport", "tcp", "--rate", "0"]);
    let address = first.address("tcp").to_owned();
    let arguments = ["serve", "--listen", &address, "--transport", "tcp"];
    let mut command = pushbench();
    let second = Served::start_with(command.args(arguments), &["--rate", "0", "--share-port"]);
    assert_eq!(second.address("tcp"), address);
    control(&first, "POST /v1/drain", r#"{"over_ms": 0}"#);
    assert_eq!(first.process.code(), Some(0));
    for _ in 0..4 {
        subscribe(&second);
    }
}

#[test]
fn an_event_stream_opens_with_the_time_to_reconnect_where_that_was_set() {
    let server = Served::start(&["--rate", "0", "--retry-ms", "2500"]);
    let mut stream = connect(server.address("http"));
    let request = b"GET /sse?channel=news HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).expect("open");
    let mut lines = BufReader::new(stream)
        .lines()
        .map(|line| line.expect("open"));
    lines
        .find(|line| line == "id: 0")
        .expect("the opening block");
    assert_eq!(lines.next().as_deref(), Some("retry: 2500"));
    assert_eq!(lines.next().as_deref(), Some(""));
}

#[test]
fn a_memory_limit_holds_a_server_that_fits_and_refuses_one_that_does_not() {
    let server = Served::start(&["--memory-limit-bytes", "4000000000", "--shards", "2"]);
    subscribe(&server);
    let limits = format!("/proc/{}/limits", server.process.pid());
    let limits = std::fs::read_to_string(limits).expect("it runs");
    let line = limits.lines().find(|l| l.starts_with("Max address space"));
    assert!(line.expect("a line").contains(" 4000000000 "), "{limits}");

    for few in ["1000000", "0"] {
        let (code, told) = refused(&["--memory-limit-bytes", few]);
        assert_eq!(code, Some(2), "{told}");
        assert!(
            told.starts_with(&format!(
                "pushbench: '--memory-limit-bytes' is {few}, but a server of 1 shards starts with "
            )),
            "{told}"
        );
    }
}

#[test]
fn a_server_that_meets_its_memory_limit_aborts() {
    // Rings that the schedule fills beyond the limit: 1 MiB a message.
    let plan = plan().replace("\"payload_bytes\":128", "\"payload_bytes\":1048576");
    let mut command = pushbench();
    let command = command.args(["serve", "--listen", "127.0.0.1:0", "--publish-plan", &plan]);
    let arguments = [
        "--memory-limit-bytes",
        "300000000",
        "--ring-bytes",
        "4000000000",
    ];
    let command = command.args(arguments).stderr(Stdio::piped());
    let output = Running::start(command.stdout(Stdio::piped())).output();
    assert_eq!(output.status.code(), None, "a signal ends it");
    let told = text(&output.stderr);
    assert!(told.contains("memory allocation of "), "{told}");
}

#[test]
fn impossible_values_are_refused_by_name() {
    for (arguments, told) in [
        (
            &["--publish-plan", "{"][..],
            "'--publish-plan' is '{', EOF while parsing",
        ),
        (&["--publish-plan", "{}"], "missing field `schedule`"),
        (
            &["--publish-plan", "{}", "--rate", "1"],
            "missing field `schedule`",
        ),
        (&["--drain-ms", "86400001"], "'--drain-ms' is 86400001"),
        (&["--retry-ms", "86400001"], "'--retry-ms' is 86400001"),
        (&["--retry-ms", "-1"], "--retry-ms"),
    ] {
        let (code, said) = refused(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
    let three = plan().replace("\"channels\":1", "\"channels\":3");
    let (code, said) = refused(&["--publish-plan", &three]);
    assert_eq!(code, Some(2));
    assert!(said.contains("only 1 are declared"), "{said}");
    let (code, said) = refused(&["--publish-plan", &three, "--rate", "1"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--rate"), "{said}");
}
