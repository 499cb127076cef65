//! `pushbench serve` as those who operate it see it: restarted in the middle of a schedule, drained
//! for a rolling deploy, bounded in memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use nix::sys::signal::Signal;
use pushbench_os::sys::monotonic_ns;

use crate::support::{self, PATIENCE, Served, await_some, complaint, pushbench, send};

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
        .read_exact(&mut [0; "SUBSCRIBED k3f9-0\n".len()])
        .expect("an answer");
    stream
}

/// One request to the control interface; returns the whole answer.
fn control(server: &Served, request: &str, body: &str) -> String {
    control_with(server, request, "", body)
}

/// The same with more header fields.
fn control_with(server: &Served, request: &str, fields: &str, body: &str) -> String {
    let mut stream = connect(server.address("control"));
    let length = body.len();
    let request = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The arguments of a server on a plan, as JSON that has no single quote.
fn on_plan(plan: &str, more: &str) -> String {
    format!("--publish-plan '{plan}' {more}")
}

/// What the program says on bad arguments.
fn refused(line: &str) -> String {
    complaint(&mut pushbench(&format!(
        "serve --listen 127.0.0.1:0 {line}"
    )))
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
    let rings = "--ring-messages 1000000 --ring-bytes 100000000";
    let arguments = on_plan(&plan(), rings);
    let first = Served::start(&arguments);
    let (answer, before) = lines_behind(&first, 900, 300);
    assert!(answer.ends_with("-900"), "{answer}");
    // Dropped, it is killed.
    drop(first);
    let second = Served::start(&arguments);
    let (again, after) = lines_behind(&second, 900, 300);
    assert_eq!(again, answer, "the epoch is the plan's");
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
    let mut server = Served::start("--rate 0");
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
        let mut server =
            Served::start(&format!("--rate 0 --profile {profile} --drain-ms 86400000"));
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
    let mut first = Served::start("--transports tcp --rate 0");
    let address = first.address("tcp").to_owned();
    let second = Served::by(&mut pushbench(&format!(
        "serve --listen {address} --transports tcp --rate 0 --share-port"
    )));
    assert_eq!(second.address("tcp"), address);
    control(&first, "POST /v1/drain", r#"{"over_ms": 0}"#);
    assert_eq!(first.process.code(), Some(0));
    for _ in 0..4 {
        subscribe(&second);
    }
}

#[test]
fn an_event_stream_opens_with_the_time_to_reconnect_where_that_was_set() {
    let server = Served::start("--rate 0 --retry-ms 2500 --epoch k3f9");
    let mut stream = connect(server.address("http"));
    let request = b"GET /sse?channel=news HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).expect("open");
    let mut lines = BufReader::new(stream)
        .lines()
        .map(|line| line.expect("open"));
    lines
        .find(|line| line == "id: k3f9-0")
        .expect("the opening block");
    assert_eq!(lines.next().as_deref(), Some("retry: 2500"));
    assert_eq!(lines.next().as_deref(), Some(""));
}

#[test]
fn a_memory_limit_holds_a_server_that_fits_and_refuses_one_that_does_not() {
    let server = Served::start("--memory-limit-bytes 4000000000 --shards 2");
    subscribe(&server);
    let limits = format!("/proc/{}/limits", server.process.pid());
    let limits = std::fs::read_to_string(limits).expect("it runs");
    let line = limits.lines().find(|l| l.starts_with("Max address space"));
    assert!(line.expect("a line").contains(" 4000000000 "), "{limits}");

    for few in ["1000000", "0"] {
        let told = refused(&format!("--memory-limit-bytes {few}"));
        assert!(
            told.starts_with(&format!(
                "'--memory-limit-bytes' is {few}, but a server of 1 shards starts with "
            )),
            "{told}"
        );
    }
}

#[test]
fn an_epoch_is_given_or_drawn_at_each_start_and_one_of_another_shape_is_refused() {
    let of = |options: &str| {
        let server = Served::start(&format!("--rate 1000 {options}"));
        lines_behind(&server, 0, 1).0
    };
    assert_eq!(of("--epoch k3f9"), "SUBSCRIBED k3f9-0");
    assert_eq!(of("--epoch none"), "SUBSCRIBED 0");
    assert_ne!(of(""), of(""));
    let said = refused("--epoch K3F9");
    assert!(
        said.contains("'K3F9' is not an epoch; expected four of"),
        "{said}"
    );
}

#[test]
fn a_plan_of_other_channels_or_with_a_rate_is_refused() {
    let three = plan().replace("\"channels\":1", "\"channels\":3");
    let said = refused(&on_plan(&three, ""));
    assert!(said.contains("only 1 are declared"), "{said}");
    let said = refused(&on_plan(&three, "--rate 1"));
    assert!(said.contains("--rate"), "{said}");
}

#[test]
fn serve_runs_on_the_allocator_asked_for_in_the_same_process() {
    for allocator in ["system", "jemalloc"] {
        let server = Served::start(&format!("--rate 0 --allocator {allocator}"));
        assert_eq!(server.said["allocator"], allocator);
        assert_eq!(server.said["pid"], server.process.pid());
    }
    let mut command = pushbench("serve --listen 127.0.0.1:0 --rate 0");
    let named = Served::by(command.env("PUSHBENCH_ALLOCATOR", "jemalloc"));
    assert_eq!(named.said["allocator"], "jemalloc");
}

#[test]
fn serve_says_its_addresses_and_answers_over_each_transport() {
    let server = Served::start("--rate 100");
    assert_eq!(server.said["pid"], server.process.pid());
    assert_eq!(server.said["channels"], serde_json::json!(["news"]));
    let (answer, lines) = lines_behind(&server, 0, 1);
    assert!(answer.ends_with("-0"), "{answer}");
    assert!(lines[0].starts_with("0000000000000001:"), "{lines:?}");
    for (path, found) in [
        ("/sse?channel=news&since=0", "-1\ndata: 0000000000000001:"),
        ("/long-poll?channel=news&since=0", "0000000000000001:"),
        ("/poll?channel=news&since=0", "0000000000000001:"),
        ("/", "<title>pushbench server</title>"),
        ("/info", "\"channels\":[\"news\"]"),
    ] {
        let mut stream = connect(server.address("http"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("open");
        let (mut answer, mut space) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&answer).contains(found) {
            let read = stream.read(&mut space).expect("an answer in time");
            let so_far = String::from_utf8_lossy(&answer);
            assert!(read > 0, "{path}: no '{found}' in {so_far}");
            answer.extend_from_slice(&space[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{path}");
    }
}

#[test]
fn channels_of_serve_have_the_policies_that_they_are_given() {
    let server = Served::start(
        "--rate 0 --overflow latest-only --channel a --channel b*2:drop-oldest --send-buffer-bytes 16384",
    );
    assert_eq!(server.said["channels"], serde_json::json!(["a", "b*2"]));
    // Three messages that wait together: the newest alone, or all.
    for (channel, expected) in [("a", &["z"][..]), ("b1", &["x", "y", "z"])] {
        let mut stream = connect(server.address("tcp"));
        let lines = format!(
            "PUBLISH {channel} x\nPUBLISH {channel} y\nPUBLISH {channel} z\nSUBSCRIBE {channel} last=3\n"
        );
        stream.write_all(lines.as_bytes()).expect("it reads");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        assert!(line.ends_with("-0\n"), "{line}");
        let mut payloads = Vec::new();
        while payloads.last().map(String::as_str) != Some("z") {
            line.clear();
            reader.read_line(&mut line).expect("a message");
            payloads.extend(line.trim_end().rsplit(':').next().map(str::to_owned));
        }
        assert_eq!(payloads, expected);
    }
}

#[test]
fn serve_ends_with_status_0_at_a_signal_also_while_a_client_is_connected() {
    let all = ["", "--end-with-input", "--shards 2 --profile stock"];
    for signal in support::ENDING {
        let usual = matches!(signal, Signal::SIGINT | Signal::SIGTERM);
        for arguments in if usual { &all[..] } else { &all[..1] } {
            // An input that stays open, as a terminal's does.
            let mut command = pushbench(&format!("serve --listen 127.0.0.1:0 {arguments}"));
            let mut server = Served::by(command.stdin(Stdio::piped()));
            let mut client = subscribe(&server);
            send(server.process.pid(), signal);
            let code = server.process.code();
            assert_eq!(code, Some(0), "{signal} with {arguments}");
            // The client is told, not left waiting.
            client
                .read_to_end(&mut Vec::new())
                .expect("the end of the stream");
        }
    }
}

#[test]
fn serve_ends_when_its_input_does_where_that_was_asked_for() {
    let mut command = pushbench("serve --listen 127.0.0.1:0 --end-with-input");
    let mut server = Served::by(command.stdin(Stdio::piped()));
    let input = server.process.child().stdin.as_mut().expect("piped");
    input
        .write_all(b"what comes in does not matter\n")
        .expect("open");
    assert!(
        server
            .process
            .child()
            .try_wait()
            .expect("a child")
            .is_none()
    );
    drop(server.process.child().stdin.take());
    assert_eq!(server.process.code(), Some(0));
}

#[test]
fn serve_with_nothing_to_publish_waits_for_others_to_publish() {
    let server = Served::start("--rate 0 --transports long_poll");
    assert_eq!(server.said["transports"], serde_json::json!(["long_poll"]));
    assert!(
        server.said.get("tcp").is_none(),
        "nothing listens that was not asked for"
    );
    let mut stream = connect(server.address("http"));
    stream
        .write_all(
            b"POST /publish?channel=news HTTP/1.1\r\nHost: l\r\nContent-Length: \
                 5\r\nConnection: close\r\n\r\nhello",
        )
        .expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n1\n"),
        "{answer}"
    );
}

/// How often the threads of a process have gone to sleep so far.
fn sleeps(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let sleeps = threads.map(|thread| {
        let status = thread.expect("a thread").path().join("status");
        let status = std::fs::read_to_string(status).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.expect("the kernel's count")
            .trim()
            .parse::<u64>()
            .expect("a number")
    });
    sleeps.sum()
}

#[test]
fn a_server_without_clients_sleeps() {
    const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
    let profiles = ["stock", "tuned", "lean"];
    let mut servers = profiles.map(|profile| {
        let server = Served::start(&format!("--rate 0 --shards 2 --profile {profile}"));
        // It has had some, over both loops.
        drop(subscribe(&server));
        let mut poll = connect(server.address("http"));
        let request = b"GET /poll?channel=news HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        poll.write_all(request).expect("open");
        poll.read_to_string(&mut String::new()).expect("an answer");
        server
    });
    for (server, profile) in servers.iter_mut().zip(profiles) {
        let pid = server.process.child().id();
        // Those that waited for something to pass woke 110 times in each of these seconds.
        await_some(&format!("a second in which {profile} sleeps"), || {
            let before = sleeps(pid);
            std::thread::sleep(SECOND);
            (sleeps(pid) == before).then_some(())
        });
    }
}

#[test]
fn the_control_interface_asks_for_the_token_of_the_environment_or_of_a_file() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a writable folder");
    let by_file = format!("--control-token-file {}", file.display());
    for (line, variable) in [("", Some(TOKEN)), (&*by_file, None)] {
        let line = format!("serve --listen 127.0.0.1:0 --rate 0 {line}");
        let mut command = pushbench(&line);
        command.envs(variable.map(|token| ("PUSHBENCH_CONTROL_TOKEN", token)));
        let server = Served::by(&mut command);
        let answer = control(&server, "GET /v1/server", "");
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        let token = format!("Authorization: Bearer {TOKEN}\r\n");
        let answer = control_with(&server, "GET /v1/server", &token, "");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    std::fs::write(&file, "too short").expect("a writable folder");
    let complaint = refused(&by_file);
    assert!(
        complaint.contains("16 to 256 visible characters"),
        "{complaint}"
    );
    let complaint = refused("--control-token-file /nope/token");
    assert!(
        complaint.contains("cannot read '--control-token-file' /nope/token"),
        "{complaint}"
    );
}

#[test]
fn a_server_that_others_reach_says_so() {
    for (listen, is_open) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let mut command = pushbench(&format!("serve --rate 0 --listen {listen}"));
        let mut server = Served::by(command.stderr(Stdio::piped()));
        send(server.process.child().id(), Signal::SIGTERM);
        let mut said = String::new();
        let mut errors = server.process.child().stderr.take().expect("piped");
        errors.read_to_string(&mut said).expect("text");
        assert_eq!(
            said.contains("is not a loopback address"),
            is_open,
            "{said}"
        );
    }
}
