//! Every error by its exact text, and the built-in scenarios.

use super::*;

const GOOD: &str = r#"summary = "a test"
purpose = "to test"
cannot_show = "anything else"

[clients]
count = 10
connect_per_s = 100.0

[channels]
count = 2

[publish]
rate_per_s = 10
payload_bytes = 128
burst = 2

[phases]
settle_s = 1
warm_up_s = 1
measure_s = 3
drain_s = 1

[server]
keep_alive_s = 15
ring_messages = 64

[sessions]
length_ms = 100
gap_ms = 50

[run]
transports = ["tcp", "sse"]
profiles = ["stock", "tuned"]
trials = 2
"#;

fn good() -> Scenario {
    Scenario::parse("scenarios/chat.toml", GOOD).expect("a good scenario")
}

/// The error of the good scenario with one piece of it replaced.
fn error_of(old: &str, new: &str) -> String {
    assert_eq!(
        GOOD.matches(old).count(),
        1,
        "'{old}' must stand in the file once"
    );
    let source = GOOD.replace(old, new);
    Scenario::parse("scenarios/chat.toml", &source)
        .expect_err(new)
        .to_string()
}

fn override_error(overrides: Overrides) -> String {
    let mut scenario = good();
    let error = scenario
        .apply(&overrides)
        .expect_err("a bad option")
        .to_string();
    assert_eq!(scenario, good(), "a refused option changes nothing");
    error
}

#[test]
fn a_scenario_gives_what_its_file_says() {
    let scenario = good();
    assert_eq!(scenario.name, "chat");
    assert_eq!(scenario.publish.as_ref().expect("a table").rate_per_s, 10.0);
    assert_eq!(scenario.channel_count(), 2);
    assert_eq!(
        (scenario.channel_of(4), scenario.channel_name(1)),
        (0, "c1".to_owned())
    );
    assert_eq!(scenario.phases.measure(), Duration::from_secs(3));
    assert_eq!(
        scenario.pairs(),
        [
            (Transport::Tcp, Profile::Tuned),
            (Transport::Sse, Profile::Stock),
            (Transport::Sse, Profile::Tuned)
        ]
    );
}

#[test]
fn what_a_file_leaves_out_has_the_documented_default() {
    let source = "summary = 's'\npurpose = 'p'\ncannot_show = 'c'\nclients.count = 3\n";
    let scenario = Scenario::parse("least.toml", source).expect("the least scenario");
    assert_eq!(scenario.name, "least");
    assert_eq!(
        scenario.clients,
        Clients {
            count: 3,
            connect_per_s: None,
            poll_interval_ms: 1_000,
            snapshot_messages: 0,
        }
    );
    assert_eq!(
        scenario.channels,
        Channels {
            count: ChannelCount::Fixed(1),
            ..Channels::default()
        }
    );
    assert_eq!(scenario.publish, None);
    assert_eq!(
        scenario.phases,
        Phases {
            settle_s: 1.0,
            warm_up_s: 1.0,
            measure_s: 10.0,
            drain_s: 3.0
        }
    );
    assert_eq!(scenario.server.keep_alive(), Duration::from_secs(15));
    assert_eq!(scenario.server.poll_timeout(), Duration::from_secs(30));
    assert_eq!(
        (scenario.server.ring_messages, scenario.server.ring_bytes),
        (1024, 1_048_576)
    );
    assert_eq!(scenario.sessions, None);
    assert_eq!(scenario.run.transports, Transport::ALL);
    assert_eq!(scenario.run.profiles, [Profile::Tuned]);
    assert_eq!((scenario.run.trials, scenario.run.seed), (1, None));
}

#[test]
fn per_client_channels_follow_the_number_of_clients() {
    let source = GOOD.replace("count = 2\n", "count = \"per_client\"\n");
    let mut scenario = Scenario::parse("chat.toml", &source).expect("per_client is a count");
    assert_eq!(scenario.channel_count(), 10);
    let overrides = Overrides {
        clients: Some(4),
        ..Overrides::default()
    };
    scenario
        .apply(&overrides)
        .expect("4 is a number of clients");
    assert_eq!(scenario.channel_count(), 4);
}

#[test]
fn a_scenario_survives_the_record() {
    for scenario in [good(), Scenario::load("notifications").expect("built in")] {
        let json = serde_json::to_string(&scenario).expect("serialisable");
        assert_eq!(
            serde_json::from_str::<Scenario>(&json).expect("its own text"),
            scenario
        );
    }
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_line() {
    assert_eq!(
        error_of("count = 2\n", "count = \n"),
        "scenarios/chat.toml:10: this is no TOML: string values must be quoted, expected literal \
         string"
    );
    assert_eq!(
        error_of("burst = 2", "burst = 2\nburst = 3"),
        "scenarios/chat.toml:16: 'burst' stands here a second time; remove one"
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_known_ones() {
    assert_eq!(
        error_of("payload_bytes", "payload_byte"),
        "scenarios/chat.toml:14: unknown key 'payload_byte'; did you mean 'payload_bytes'?; known \
         here: 'rate_per_s', 'payload_bytes', 'payload', 'burst', 'arrival'"
    );
    assert_eq!(
        error_of("[sessions]", "[visits]"),
        "scenarios/chat.toml:27: unknown key 'visits'; known here: 'summary', 'purpose', \
         'cannot_show', 'clients', 'channels', 'publish', 'phases', 'server', 'sessions', \
         'reconnect', 'faults', 'slow_readers', 'upstream', 'measures', 'sweep', 'run'"
    );
    assert_eq!(
        error_of("purpose =", "name = 'x'\npurpose ="),
        "scenarios/chat.toml:2: unknown key 'name': a scenario is named after its file; remove it"
    );
}

#[test]
fn a_missing_key_is_named_with_its_table() {
    assert_eq!(
        error_of("rate_per_s = 10\n", ""),
        "scenarios/chat.toml:12: 'rate_per_s' is missing from [publish]; add it"
    );
    assert_eq!(
        error_of("purpose = \"to test\"\n", ""),
        "scenarios/chat.toml:1: 'purpose' is missing; add it at the top"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_shown_beside_what_is_expected() {
    for (old, new, expected) in [
        (
            "count = 10",
            "count = \"many\"",
            "6: 'count' is \"many\", but a whole number, 0 or more, is expected",
        ),
        (
            "count = 10",
            "count = -1",
            "6: 'count' is -1, but a whole number, 0 or more, is expected",
        ),
        (
            "trials = 2",
            "trials = 1.5",
            "34: 'trials' is 1.5, but a whole number, 0 or more, is expected",
        ),
        (
            "count = 2\n",
            "count = \"each\"\n",
            "10: 'count' is \"each\", but a whole number, 0 or more, or \"per_client\" is expected",
        ),
        (
            "count = 2\n",
            "count = -2\n",
            "10: 'count' is -2, but a whole number, 0 or more, or \"per_client\" is expected",
        ),
        (
            "rate_per_s = 10",
            "rate_per_s = \"fast\"",
            "13: 'rate_per_s' is \"fast\", but a number is expected",
        ),
        (
            "purpose = \"to test\"",
            "purpose = 3",
            "2: 'purpose' is 3, but a text in quotes is expected",
        ),
        (
            "profiles = [\"stock\", \"tuned\"]",
            "profiles = \"stock\"",
            "33: 'profiles' is \"stock\", but a list is expected",
        ),
        (
            "[\"tcp\", \"sse\"]",
            "[\"tcp\",\n\"websockets\"]",
            "33: 'transports' has 'websockets'; did you mean 'websocket'?; expected one of 'tcp', \
             'sse', 'websocket', 'long_poll', 'short_poll'",
        ),
        (
            "[\"stock\", \"tuned\"]",
            "[\"fast\"]",
            "33: 'profiles' has 'fast'; expected one of 'stock', 'tuned', 'lean'",
        ),
        (
            "burst = 2",
            "payload = \"xml\"",
            "15: 'payload' has 'xml'; expected one of 'json', 'text', 'random'",
        ),
    ] {
        assert_eq!(
            error_of(old, new),
            format!("scenarios/chat.toml:{expected}")
        );
    }
    let flat = "summary = 's'\npurpose = 'p'\ncannot_show = 'c'\nclients = 4\n";
    assert_eq!(
        Scenario::parse("flat.toml", flat)
            .expect_err("no table")
            .to_string(),
        "flat.toml:4: 'clients' is 4, but a table is expected"
    );
}

#[test]
fn a_payload_without_room_for_an_envelope_is_refused() {
    assert_eq!(
        error_of("payload_bytes = 128", "payload_bytes = 12"),
        "scenarios/chat.toml:14: 'payload_bytes' is 12, but an envelope needs at least 51 (16 each \
         for sequence, intended and actual time, 3 separators)"
    );
    assert_eq!(
        error_of("payload_bytes = 128", "payload_bytes = 1048577"),
        "scenarios/chat.toml:14: 'payload_bytes' is 1048577, but servers accept and clients read \
         at most 1048576 (1 MiB)"
    );
}

#[test]
fn every_rule_is_told_with_the_line_of_its_key() {
    for (old, new, expected) in [
        (
            "\"a test\"",
            "\" \"",
            "1: 'summary' is empty; a reader of the results needs it",
        ),
        (
            "\"a test\"",
            "\"a\\nb\"",
            "1: 'summary' has 2 lines, but lists show one; shorten it",
        ),
        (
            "\"anything else\"",
            "''",
            "3: 'cannot_show' is empty; a reader of the results needs it",
        ),
        (
            "count = 10",
            "count = 0",
            "6: 'count' is 0, but a trial needs at least 1 client",
        ),
        (
            "connect_per_s = 100.0",
            "connect_per_s = -1",
            "7: 'connect_per_s' is -1: clients would never connect; use a number above 0",
        ),
        (
            "connect_per_s = 100.0",
            "connect_per_s = 1e-4",
            "7: 'connect_per_s' is 0.0001, so 10 clients would take 100000 s to connect, but at \
             most 86400 s are allowed; raise it",
        ),
        (
            "connect_per_s = 100.0",
            "poll_interval_ms = 0",
            "7: 'poll_interval_ms' is 0, but a wait is above 0 and at most 86400000 ms; \
             milliseconds are meant",
        ),
        (
            "count = 2\n",
            "count = 0\n",
            "10: 'count' is 0, but clients need at least 1 channel; use a number, or \
             \"per_client\" for a private one each",
        ),
        (
            "count = 2\n",
            "count = 4000001\n",
            "10: 'count' is 4000001, but a server keeps at most 4000000 channels; use fewer",
        ),
        (
            "count = 2\n",
            "prefix = 'a b'\n",
            "10: 'prefix' is 'a b', but a channel name has 1 to 32 letters, digits, '-' or '_' \
             before its number",
        ),
        (
            "rate_per_s = 10",
            "rate_per_s = 0",
            "13: 'rate_per_s' is 0: nothing would ever be due; use a number above 0, or a scenario \
             without [publish]",
        ),
        (
            "rate_per_s = 10",
            "rate_per_s = nan",
            "13: 'rate_per_s' is NaN: nothing would ever be due; use a number above 0, or a \
             scenario without [publish]",
        ),
        (
            "rate_per_s = 10",
            "rate_per_s = 1e9",
            "13: 'rate_per_s' is 1000000000, but one publisher holds at most 10000000 messages a \
             second",
        ),
        (
            "rate_per_s = 10",
            "rate_per_s = 0.5",
            "13: 'rate_per_s' is 0.5, so less than one burst of 2 is due in the 3 s of \
             'measure_s'; raise either",
        ),
        (
            "burst = 2",
            "burst = 0",
            "15: 'burst' is 0, but each tick publishes at least 1 message",
        ),
        (
            "burst = 2",
            "burst = 65",
            "15: 'burst' is 65, but a channel remembers only 64 messages; raise 'ring_messages' in \
             [server], or shorten the burst",
        ),
        (
            "ring_messages = 64",
            "ring_bytes = 200",
            "15: 'burst' is 2, which makes 256 bytes with 'payload_bytes' 128, but a channel \
             remembers only 200; raise 'ring_bytes' in [server], or shorten the burst",
        ),
        (
            "settle_s = 1\n",
            "settle_s = 0\n",
            "18: 'settle_s' is 0, but a wait is above 0 and at most 86400 s; seconds are meant",
        ),
        (
            "measure_s = 3",
            "measure_s = inf",
            "20: 'measure_s' is inf, but a wait is above 0 and at most 86400 s; seconds are meant",
        ),
        (
            "keep_alive_s = 15",
            "keep_alive_s = 15000000",
            "24: 'keep_alive_s' is 15000000, but a wait is above 0 and at most 86400 s; seconds \
             are meant",
        ),
        (
            "keep_alive_s = 15",
            "poll_timeout_s = -1",
            "24: 'poll_timeout_s' is -1, but a wait is above 0 and at most 86400 s; seconds are \
             meant",
        ),
        (
            "ring_messages = 64",
            "ring_messages = 0",
            "25: 'ring_messages' is 0, but a channel must remember at least 1 message to deliver it",
        ),
        (
            "ring_messages = 64",
            "ring_bytes = 50",
            "25: 'ring_bytes' is 50, but a channel must remember at least 1 message, and an \
             envelope has at least 51 bytes",
        ),
        (
            "length_ms = 100",
            "length_ms = 0",
            "28: 'length_ms' is 0, but a wait is above 0 and at most 86400000 ms; milliseconds are \
             meant",
        ),
        (
            "gap_ms = 50",
            "gap_ms = 0",
            "29: 'gap_ms' is 0, but a wait is above 0 and at most 86400000 ms; milliseconds are \
             meant",
        ),
        (
            "[\"tcp\", \"sse\"]",
            "[]",
            "32: 'transports' is empty, but something must run; leave it out to run all",
        ),
        (
            "[\"tcp\", \"sse\"]",
            "[\"tcp\", \"sse\", \"tcp\"]",
            "32: 'transports' names 'tcp' twice; use 'trials' to repeat, and name it once",
        ),
        (
            "[\"stock\", \"tuned\"]",
            "['tuned', 'tuned']",
            "33: 'profiles' names 'tuned' twice; use 'trials' to repeat, and name it once",
        ),
        (
            "trials = 2",
            "trials = 0",
            "34: 'trials' is 0, but must be from 1 to 1000",
        ),
    ] {
        assert_eq!(
            error_of(old, new),
            format!("scenarios/chat.toml:{expected}")
        );
    }
}

#[test]
fn a_rule_broken_by_a_default_points_at_its_table() {
    assert_eq!(
        error_of(
            "rate_per_s = 10\npayload_bytes = 128\nburst = 2",
            "rate_per_s = 0.1\npayload_bytes = 60"
        ),
        "scenarios/chat.toml:13: 'rate_per_s' is 0.1, so less than one message is due in the 3 s \
         of 'measure_s'; raise either"
    );
    let source = "summary = 's'\npurpose = 'p'\ncannot_show = 'c'\n[clients]\ncount = 1\n\n\
        [server]\nring_bytes = 60\n[publish]\nrate_per_s = 1\npayload_bytes = 100\n";
    assert_eq!(
        Scenario::parse("x.toml", source)
            .expect_err("a ring too small")
            .to_string(),
        "x.toml:9: 'burst' is 1, which makes 100 bytes with 'payload_bytes' 100, but a channel \
         remembers only 60; raise 'ring_bytes' in [server], or shorten the burst"
    );
}

#[test]
fn options_take_the_place_of_the_file() {
    let mut scenario = good();
    let overrides = Overrides {
        transports: Some(vec![Transport::LongPoll]),
        profiles: Some(vec![Profile::Stock]),
        clients: Some(7),
        rate: Some(50.0),
        duration_s: Some(1.5),
        trials: Some(3),
        sweep: None,
        seed: Some(u64::MAX),
        allocator: Some(Allocator::Jemalloc),
    };
    scenario.apply(&overrides).expect("good options");
    assert_eq!(scenario.pairs(), [(Transport::LongPoll, Profile::Stock)]);
    assert_eq!((scenario.clients.count, scenario.channel_count()), (7, 2));
    assert_eq!(scenario.publish.expect("a table").rate_per_s, 50.0);
    assert_eq!(scenario.phases.measure(), Duration::from_millis(1_500));
    assert_eq!(
        (scenario.run.trials, scenario.run.seed),
        (3, Some(u64::MAX))
    );
    assert_eq!(scenario.run.allocator, Allocator::Jemalloc);
}

#[test]
fn a_bad_option_is_named() {
    let none = Overrides::default;
    for (overrides, expected) in [
        (
            Overrides {
                rate: Some(0.0),
                ..none()
            },
            "'--rate' is 0: nothing would ever be due; use a number above 0, or a scenario without \
             [publish]",
        ),
        (
            Overrides {
                clients: Some(0),
                ..none()
            },
            "'--clients' is 0, but a trial needs at least 1 client",
        ),
        (
            Overrides {
                duration_s: Some(f64::NAN),
                ..none()
            },
            "'--duration' is NaN, but a wait is above 0 and at most 86400 s; seconds are meant",
        ),
        (
            Overrides {
                trials: Some(0),
                ..none()
            },
            "'--trials' is 0, but must be from 1 to 1000",
        ),
        (
            Overrides {
                transports: Some(vec![Transport::Sse, Transport::Sse]),
                ..none()
            },
            "'--transports' names 'sse' twice; use 'trials' to repeat, and name it once",
        ),
        (
            Overrides {
                profiles: Some(vec![]),
                ..none()
            },
            "'--profiles' is empty, but something must run; name some of 'stock', 'tuned' and 'lean'",
        ),
        (
            Overrides {
                duration_s: Some(0.01),
                seed: Some(1),
                ..none()
            },
            "scenario 'chat' with '--duration 0.01': 'publish.rate_per_s' is 10, so less than one \
             burst of 2 is due in the 0.01 s of 'measure_s'; raise either",
        ),
        (
            Overrides {
                clients: Some(4_000_000_000),
                ..none()
            },
            "scenario 'chat' with '--clients 4000000000': 'clients.connect_per_s' is 100, so \
             4000000000 clients would take 40000000 s to connect, but at most 86400 s are allowed; \
             raise it",
        ),
    ] {
        assert_eq!(override_error(overrides), expected);
    }
    let mut idle = Scenario::load("idle").expect("built in");
    assert_eq!(
        idle.apply(&Overrides {
            rate: Some(5.0),
            ..none()
        })
        .expect_err("no table")
        .to_string(),
        "'--rate' is 5, but scenario 'idle' publishes nothing; leave the option out, or choose a \
         scenario with a [publish] table"
    );
}

/// The good scenario with a sweep behind it.
fn swept(table: &str) -> Result<Scenario, String> {
    let source = format!("{GOOD}\n[sweep]\n{table}\n");
    Scenario::parse("scenarios/chat.toml", &source).map_err(|error| error.to_string())
}

#[test]
fn lists_of_a_sweep_go_together_value_by_value() {
    let scenario = swept("clients = [10, 100]\nrate_per_s = [40, 4.5]").expect("a good sweep");
    let points = scenario.points();
    assert_eq!(points.len(), 2);
    let second = points[1].expect("a point");
    assert_eq!(second.to_string(), "clients 100, rate_per_s 4.5");
    assert_eq!(second.leading(), Some((SweepKey::Clients, 100.0)));
    let at = scenario.at(points[1]);
    assert_eq!((at.clients.count, at.sweep.is_none()), (100, true));
    assert_eq!(at.publish.expect("a table").rate_per_s, 4.5);
    assert_eq!(scenario.most_connections(), 100);
    let scenario = swept("channels = [1, 5]\npayload_bytes = [64, 65536]").expect("a good sweep");
    let at = scenario.at(scenario.points()[1]);
    assert_eq!(at.channel_count(), 5);
    assert_eq!(at.publish.expect("a table").payload_bytes, 65_536);
    assert_eq!((good().points(), good().at(None)), (vec![None], good()));
}

#[test]
fn a_bad_sweep_is_told_with_its_line() {
    let line = 1 + GOOD.lines().count() + 1;
    let many: Vec<String> = (1..=51).map(|n| n.to_string()).collect();
    for (table, at, told) in [
        (
            "",
            line,
            "'sweep' has no list, but something must vary; add one of 'clients', \
             'payload_bytes', 'channels', 'rate_per_s', 'slow_share', or remove [sweep]",
        ),
        (
            "client = [1]",
            line + 1,
            "unknown key 'client'; did you mean 'clients'?; known here: 'clients', \
             'payload_bytes', 'channels', 'rate_per_s', 'slow_share'",
        ),
        (
            "clients = 5",
            line + 1,
            "'clients' is 5, but a list is expected",
        ),
        (
            "clients = [1, 'two']",
            line + 1,
            "'clients' is 'two', but a whole number, 0 or more, is expected",
        ),
        (
            "clients = []",
            line + 1,
            "'clients' is empty, but something must run; add values, or remove the key",
        ),
        (
            "clients = [1, 2]\nrate_per_s = [10]",
            line + 2,
            "'rate_per_s' has 1 values, but 'clients' has 2; lists go together value by value, \
             so give them the same length, or keep one",
        ),
        (
            &format!("channels = [{}]", many.join(", ")),
            line + 1,
            "'channels' has 51 values, but a sweep has at most 50 points; leave some out, or run \
             two scenarios",
        ),
        (
            "clients = [10, 0]",
            line + 1,
            "'clients' is 0, but a trial needs at least 1 client",
        ),
        (
            "payload_bytes = [64, 12]",
            line + 1,
            "'payload_bytes' is 12, but an envelope needs at least 51 (16 each for sequence, \
             intended and actual time, 3 separators)",
        ),
        (
            "payload_bytes = [64, 1000000]",
            line + 1,
            "'payload_bytes' has a point (payload_bytes 1,000,000) at which 'burst' is 2, which \
             makes 2000000 bytes with 'payload_bytes' 1000000, but a channel remembers only \
             1048576; raise 'ring_bytes' in [server], or shorten the burst",
        ),
        (
            "rate_per_s = [10, -1]",
            line + 1,
            "'rate_per_s' is -1: nothing would ever be due; use a number above 0, or a scenario \
             without [publish]",
        ),
        (
            "clients = [10, 20, 10]",
            line + 1,
            "'clients' has clients 10 at points 1 and 3; use 'trials' to repeat, and name it once",
        ),
    ] {
        let error = swept(table).expect_err(table);
        assert_eq!(
            error,
            format!("scenarios/chat.toml:{at}: {told}"),
            "{table}"
        );
    }
    let source = "summary = 's'\npurpose = 'p'\ncannot_show = 'c'\nclients.count = 3\n\
                  sweep.rate_per_s = [1]\n";
    assert_eq!(
        Scenario::parse("least.toml", source)
            .expect_err("nothing is published")
            .to_string(),
        "least.toml:5: 'rate_per_s' varies what is published, but nothing is; add a [publish] \
         table, or remove the key"
    );
}

#[test]
fn a_sweep_of_the_command_line_takes_the_place_of_the_files() {
    let list = |text: &str| text.parse::<Sweep>();
    let mut scenario = swept("clients = [1, 2]").expect("a good sweep");
    let both = list("payload_bytes=64,128").expect("a list");
    let both = both.join(list("rate_per_s=10,2.5").expect("a list"));
    let overrides = Overrides {
        sweep: Some(both.expect("two keys")),
        clients: Some(7),
        ..Overrides::default()
    };
    scenario.apply(&overrides).expect("good options");
    let told: Vec<String> = scenario
        .points()
        .iter()
        .flatten()
        .map(Point::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "payload_bytes 64, rate_per_s 10",
            "payload_bytes 128, rate_per_s 2.5"
        ]
    );
    assert_eq!(scenario.clients.count, 7);
    for (argument, told) in [
        (
            "clients",
            "'clients' has no '='; expected a key and its values, such as 'clients=100,1000'",
        ),
        (
            "client=5",
            "'client=5' sweeps 'client'; did you mean 'clients'?; expected one of 'clients', \
             'payload_bytes', 'channels', 'rate_per_s', 'slow_share'",
        ),
        (
            "clients=5,many",
            "'clients=5,many' has 'many', but a whole number, 0 or more, is expected there",
        ),
        (
            "rate_per_s=",
            "'rate_per_s=' has '', but a number is expected there",
        ),
    ] {
        assert_eq!(list(argument).expect_err(argument), told);
    }
    let twice = list("clients=5").expect("a list");
    assert_eq!(
        twice.clone().join(twice).expect_err("the same key"),
        "'--sweep' has 'clients' twice; put all values into one list"
    );
    assert_eq!(
        override_error(Overrides {
            sweep: Some(list("payload_bytes=64,12").expect("a list")),
            ..Overrides::default()
        }),
        "'--sweep payload_bytes' is 12, but an envelope needs at least 51 (16 each for sequence, \
         intended and actual time, 3 separators)"
    );
    assert_eq!(
        override_error(Overrides {
            sweep: Some(list("clients=64,12").expect("a list")),
            clients: Some(5),
            ..Overrides::default()
        }),
        "'--clients' is 5, but scenario 'chat' sweeps 'clients'; give the points with \
         '--sweep clients=5'"
    );
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let names = EMBEDDED.iter().map(|&(name, _)| name);
    let known = format!(
        "the built-in ones are {}; give a file as a path that ends in '.toml'",
        crate::text::quoted(names)
    );
    assert!(
        known.starts_with("the built-in ones are 'quick', "),
        "{known}"
    );
    assert_eq!(
        Scenario::load("fanout")
            .expect_err("not built in")
            .to_string(),
        format!("'fanout' is no scenario; did you mean 'fanout-10k'?; {known}")
    );
    assert_eq!(
        Scenario::load("weather")
            .expect_err("not built in")
            .to_string(),
        format!("'weather' is no scenario; {known}")
    );
}

#[test]
fn a_path_is_read_and_errors_keep_its_name() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("mine.toml");
    let path = path.to_str().expect("UTF-8");
    assert_eq!(
        Scenario::load(path).expect_err("not there").to_string(),
        format!(
            "cannot read scenario '{path}': no such file or directory; 'pushbench list' shows the \
             scenarios that are built in"
        )
    );
    std::fs::write(path, GOOD).expect("written");
    assert_eq!(Scenario::load(path).expect("a good file").name, "mine");
    std::fs::write(path, GOOD.replace("count = 10", "count = 0")).expect("written");
    assert_eq!(
        Scenario::load(path).expect_err("no client").to_string(),
        format!("{path}:6: 'count' is 0, but a trial needs at least 1 client")
    );
}

#[test]
fn every_file_in_scenarios_is_built_in_and_says_what_it_is_for() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder of scenarios")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|file| file.ends_with(".toml"))
        .collect();
    files.sort_unstable();
    let mut names: Vec<String> = EMBEDDED
        .iter()
        .map(|(name, _)| format!("{name}.toml"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, files, "EMBEDDED must list every file");
    for (name, _) in EMBEDDED {
        let scenario = Scenario::load(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scenario.name, *name);
        assert!(
            scenario.summary.len() <= 90,
            "the summary of '{name}' does not fit a line"
        );
        for text in [&scenario.purpose, &scenario.cannot_show] {
            assert!(
                text.len() >= 200,
                "'{name}' needs a paragraph, not '{text}'"
            );
        }
    }
}
