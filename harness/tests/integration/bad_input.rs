//! Bad input on the command line: one clear line on standard error, nothing on standard output,
//! status 2, and nothing left behind.

use std::net::TcpListener;
use std::path::Path;

use crate::support::{self, Runs, Served, TINY, pushbench, scenario};

#[track_caller]
fn complaint(line: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = support::complaint(pushbench(line).current_dir(folder.path()));
    let left = std::fs::read_dir(folder.path()).expect("it is still there");
    assert_eq!(left.count(), 0, "'{line}' leaves something behind");
    told
}

const TRANSPORTS: &str = "tcp, sse, websocket, long_poll, short_poll";

/// Names of the files in `scenarios/`, as they are listed.
fn scenarios() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = std::fs::read_dir(folder).expect("a folder of scenarios");
    let names = files.filter_map(|file| {
        let name = file
            .expect("readable")
            .file_name()
            .into_string()
            .expect("UTF-8");
        Some(format!("'{}'", name.strip_suffix(".toml")?))
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable_by_key(|name| (name != "'quick'", name.clone()));
    names.join(", ")
}

#[test]
fn a_bad_option_of_run_is_told_in_one_line() {
    for (arguments, told) in [
        (
            "qick",
            format!(
                "'qick' is no scenario; did you mean 'quick'?; the built-in ones are {}; give a \
                 file as a path that ends in '.toml'",
                scenarios()
            )
            .as_str(),
        ),
        (
            "no/such.toml",
            "cannot read scenario 'no/such.toml': no such file or directory; \
                 'pushbench list' shows the scenarios that are built in",
        ),
        (
            "quick --transports sse,webscket",
            &format!("'--transports': 'webscket' is not a transport; expected one of {TRANSPORTS}"),
        ),
        (
            "quick --transports ''",
            &format!("'--transports': '' is not a transport; expected one of {TRANSPORTS}"),
        ),
        (
            "quick --profiles fast",
            "'--profiles': 'fast' is not a profile; expected one of stock, tuned, lean",
        ),
        (
            "quick --rate 0",
            "'--rate' is 0: nothing would ever be due; use a number above 0, or a \
                 scenario without [publish]",
        ),
        (
            "quick --rate -1",
            "'--rate' is -1: nothing would ever be due; use a number above 0, or a \
                 scenario without [publish]",
        ),
        ("quick --rate fast", "'--rate' is 'fast', expected a number"),
        (
            "idle --rate 5",
            "'--rate' is 5, but scenario 'idle' publishes nothing; leave the option \
                 out, or choose a scenario with a [publish] table",
        ),
        (
            "quick --clients 0",
            "'--clients' is 0, but a trial needs at least 1 client",
        ),
        (
            "quick --clients -5",
            "'--clients' is '-5', expected 0 to 4294967295",
        ),
        (
            "quick --clients many",
            "'--clients' is 'many', expected a whole number, 0 or more",
        ),
        (
            "quick --duration 0",
            "'--duration' is 0, but a wait is above 0 and at most 86400 s; seconds are meant",
        ),
        (
            "quick --duration nan",
            "'--duration' is NaN, but a wait is above 0 and at most 86400 s; seconds are meant",
        ),
        (
            "quick --duration 0.001",
            "scenario 'quick' with '--duration 0.001': 'publish.rate_per_s' is 300, \
                 so less than one message is due in the 0.001 s of 'measure_s'; raise \
                 either",
        ),
        (
            "quick --trials 0",
            "'--trials' is 0, but must be from 1 to 1000",
        ),
        (
            "quick --seed -1",
            "'--seed' is '-1', expected a whole number, 0 or more",
        ),
        ("quick --shards 0", "'--shards' is '0', expected 1 to 128"),
        (
            "quick --shards 129",
            "'--shards' is '129', expected 1 to 128",
        ),
        (
            "quick --format xml",
            "'--format': 'xml' is no format; expected one of table, html, md, csv, json, \
                 hgrm",
        ),
        (
            "quick --client-family fat",
            "'--client-family' is 'fat'; expected one of 'lean', 'library'",
        ),
        (
            "quick --clints 5",
            "unexpected '--clints'; did you mean '--clients'?; 'pushbench run \
                 --help' lists all options",
        ),
        ("quick --rate", "'--rate' needs a value"),
    ] {
        assert_eq!(complaint(&format!("run {arguments}")), told, "{arguments}");
    }
    let twice = complaint("run quick --transports sse,sse");
    assert!(
        twice.starts_with("'--transports' names 'sse' twice"),
        "{twice}"
    );
}

#[test]
fn a_bad_option_of_serve_is_told_in_one_line() {
    for (arguments, told) in [
        (
            "--transports udp",
            &*format!("'--transports': 'udp' is not a transport; expected one of {TRANSPORTS}"),
        ),
        (
            "--profile fast",
            "'--profile': 'fast' is not a profile; expected one of stock, tuned, lean",
        ),
        (
            "--listen here",
            "'--listen' is 'here', expected an address with a port, such as '127.0.0.1:8080'",
        ),
        (
            "--listen 192.0.2.1:8080",
            "cannot listen on 192.0.2.1:8080: cannot assign requested address; this \
                 machine has no such address: use '--listen 127.0.0.1:0'",
        ),
        (
            "--control 0.0.0.0:0",
            "control address '0.0.0.0:0' is not a loopback address, and whoever \
                 reaches it commands the server; use '127.0.0.1:0'",
        ),
        (
            "--control [::]:0",
            "control address '[::]:0' is not a loopback address, and whoever reaches \
                 it commands the server; use '127.0.0.1:0'",
        ),
        (
            "--channel 'two words'",
            "channel 'two words': expected a name of letters, digits, '-', '_' or \
                 '.', at most 64 bytes, or 'prefix*count' with a count of at least 1",
        ),
        (
            "--channel c*0",
            "channel 'c*0': expected a name of letters, digits, '-', '_' or '.', at \
                 most 64 bytes, or 'prefix*count' with a count of at least 1",
        ),
        (
            "--channel c*5000000",
            "channel 'c*5000000' would make more than 4000000 channels; declare fewer",
        ),
        (
            "--channel a:newest",
            "'--channel' is 'a:newest', 'newest' is no overflow policy; expected one of disconnect, \
                 drop-oldest, latest-only",
        ),
        (
            "--overflow none",
            "'--overflow': 'none' is no overflow policy; expected one of disconnect, drop-oldest, \
                 latest-only",
        ),
        (
            "--send-buffer-bytes 4095",
            "'--send-buffer-bytes' is '4095', expected 4096 to 67108864",
        ),
        (
            "--rate -1",
            "'--rate' is '-1', expected 0 (nothing is published) to 10000000 messages a second",
        ),
        (
            "--rate nan",
            "'--rate' is 'nan', expected 0 (nothing is published) to 10000000 messages a second",
        ),
        (
            "--payload-bytes 50",
            "'--payload-bytes' is '50', but an envelope has 51 (16 each for sequence, \
                 intended and actual time, 3 separators) to 1048576 bytes",
        ),
        (
            "--payload-bytes 1048577",
            "'--payload-bytes' is '1048577', but an envelope has 51 (16 each for \
                 sequence, intended and actual time, 3 separators) to 1048576 bytes",
        ),
        (
            "--payload xml",
            "'--payload': 'xml' is not a kind of payload; expected one of json, text, random",
        ),
        ("--shards 0", "'--shards' is '0', expected 1 to 128"),
        ("--shards 129", "'--shards' is '129', expected 1 to 128"),
        (
            "--keep-alive-s 0",
            "'--keep-alive-s' is '0', expected seconds above 0 and up to 86400",
        ),
        (
            "--poll-timeout-s -3",
            "'--poll-timeout-s' is '-3', expected seconds above 0 and up to 86400",
        ),
        (
            "--head-timeout-s inf",
            "'--head-timeout-s' is 'inf', expected seconds above 0 and up to 86400",
        ),
        (
            "--ring-messages 0",
            "'--ring-messages' is '0', expected 1 or more",
        ),
        ("--cpus one", "'--cpus': 'one' is not the number of a core"),
        (
            "--congestion telepathy",
            "'--congestion' is 'telepathy', which this machine does not have (no \
                 such file or directory); \
                 '/proc/sys/net/ipv4/tcp_available_congestion_control' lists what it has",
        ),
        (
            "news",
            "unexpected 'news'; 'pushbench serve --help' lists all options",
        ),
    ] {
        let line = match arguments.starts_with("--listen ") {
            true => format!("serve {arguments}"),
            false => format!("serve --listen 127.0.0.1:0 {arguments}"),
        };
        assert_eq!(complaint(&line), told, "{arguments}");
    }
    let told = complaint("serve --listen 127.0.0.1:0 --cpus 1023");
    assert!(told.starts_with("'--cpus' is '1023': invalid argument; this process may run on '"));
}

#[test]
fn a_bad_option_of_the_other_commands_is_told_in_one_line() {
    for (arguments, told) in [
        (
            "--frobnicate",
            "unexpected '--frobnicate'; 'pushbench --help' lists all options",
        ),
        (
            "list everything",
            "unexpected 'everything'; 'pushbench list --help' lists all options",
        ),
        ("list --show", "'--show' needs a value"),
        (
            "list --show quick --schema",
            "'--show' and '--schema' exclude each other; leave one out",
        ),
        (
            "verify --transports udp",
            &format!("'--transports': 'udp' is not a transport; expected one of {TRANSPORTS}"),
        ),
        (
            "verify --client-family fat",
            "'--client-family' is 'fat'; expected one of 'lean', 'library'",
        ),
    ] {
        assert_eq!(complaint(arguments), told, "{arguments}");
    }
    let unknown = complaint("rnu");
    assert!(
        unknown.starts_with("unknown command 'rnu'; did you mean 'run'?; expected one of 'run', "),
        "{unknown}"
    );
    let unknown = complaint("list --show qick");
    assert!(
        unknown.starts_with("'qick' is no scenario; did you mean 'quick'?"),
        "{unknown}"
    );
}

#[test]
fn a_bad_scenario_file_is_told_with_its_line() {
    let runs = Runs::of(TINY);
    for (good, bad, told) in [
        (
            "count = 40",
            "count = 40\ncolour = 3",
            "bad.toml:7: unknown key 'colour'; known here: 'count', 'connect_per_s', \
                 'poll_interval_ms'",
        ),
        (
            "[publish]",
            "[pubish]",
            "bad.toml:12: unknown key 'pubish'; did you mean 'publish'?; known here: ",
        ),
        (
            "rate_per_s = 200",
            "rate_per_s = 0",
            "bad.toml:13: 'rate_per_s' is 0: nothing would ever be due; use a number \
                 above 0, or a scenario without [publish]",
        ),
        (
            "rate_per_s = 200",
            "rate_per_s = '200'",
            "bad.toml:13: 'rate_per_s' is '200', but a number is expected",
        ),
        (
            "payload_bytes = 96",
            "payload_bytes = 12",
            "bad.toml:14: 'payload_bytes' is 12, but an envelope needs at least 51 \
                 (16 each for sequence, intended and actual time, 3 separators)",
        ),
        (
            "count = 4\n",
            "count = 5000000\n",
            "bad.toml:10: 'count' is 5000000, but a server keeps at most 4000000 \
                 channels; use fewer",
        ),
        (
            "[phases]",
            "[run]\ntransports = ['udp']\n[phases]",
            "bad.toml:17: 'transports' has 'udp'; expected one of 'tcp', 'sse', \
                 'websocket', 'long_poll', 'short_poll'",
        ),
        (
            "[phases]",
            "[run]\nprofiles = ['fast']\n[phases]",
            "bad.toml:17: 'profiles' has 'fast'; expected one of 'stock', 'tuned', 'lean'",
        ),
        ("[phases]", "[phases", "bad.toml:16: this is no TOML: "),
    ] {
        assert_eq!(TINY.matches(good).count(), 1, "{good}");
        scenario(runs.folder(), "bad", &TINY.replace(good, bad));
        for line in ["run bad.toml", "list --show bad.toml"] {
            let found = support::complaint(&mut runs.command(line));
            assert!(found.starts_with(told), "{bad}: {found}");
        }
    }
    let left = std::fs::read_dir(runs.folder()).expect("it is still there");
    assert_eq!(left.count(), 2, "no folder for a record");
}

#[test]
fn the_third_scenario_is_checked_before_the_first_one_runs() {
    let found = complaint("run quick idle nosuch --duration 60");
    assert!(found.starts_with("'nosuch' is no scenario"), "{found}");
}

#[test]
fn more_clients_than_descriptors_are_refused_with_what_would_help() {
    let found = complaint("run quick --clients 4000000 --shards 1");
    assert!(found.starts_with("cannot open client "), "{found}");
    assert!(
        found.contains(" of 4000000: 1 shard(s) may open "),
        "{found}"
    );
    assert!(
        found.contains("raise the limit with 'ulimit -n "),
        "{found}"
    );
    // More than any number of shards would hold, wherever the limit lies.
    let found = complaint("run quick --clients 4294967295 --rate 300");
    assert!(found.contains("4294967295"), "{found}");
}

#[test]
fn a_record_that_cannot_be_written_is_told_before_the_first_trial() {
    let runs = Runs::of(TINY);
    std::fs::write(runs.folder().join("file"), "").expect("writable");
    for (out, told) in [
        (
            "file",
            "cannot write the record to 'file': file exists; choose another folder with '--out'",
        ),
        (
            "file/below",
            "cannot write the record to 'file/below': not a directory; choose \
                 another folder with '--out'",
        ),
        // Where nobody may make a folder, not even root.
        (
            "/proc/pushbench",
            "cannot write the record to '/proc/pushbench': no such file or \
                 directory; choose another folder with '--out'",
        ),
    ] {
        let mut command = runs.command(&format!("run tiny.toml --out {out}"));
        assert_eq!(support::complaint(&mut command), told);
    }
}

#[test]
fn a_port_in_use_is_told_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let remedy = "another program has it: choose another port with '--listen' or \
                 '--tcp-listen', or 0 for any; '--share-port' takes over from a server of your own";
    assert_eq!(
        complaint(&format!("serve --listen {address}")),
        format!("cannot listen on {address}: address in use; {remedy}")
    );
    let anywhere = "serve --listen 127.0.0.1:0";
    assert_eq!(
        complaint(&format!("{anywhere} --tcp-listen {address}")),
        format!("cannot listen on {address}: address in use; {remedy}")
    );
    assert_eq!(
        complaint(&format!("{anywhere} --control {address}")),
        format!(
            "cannot listen on {address} for control: address already in use; use \
                 '--control 127.0.0.1:0'"
        )
    );
    // A second server of the same user must not share the port of a first one either.
    let server = Served::start("");
    let address = server.address("http");
    assert_eq!(
        complaint(&format!("serve --listen {address}")),
        format!("cannot listen on {address}: address in use; {remedy}")
    );
}
