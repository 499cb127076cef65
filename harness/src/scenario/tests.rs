//! What a file gives, every error by its exact text, and the built-in scenarios.

use super::*;

mod options;
mod sweep;

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

/// The least that a scenario has, and what follows.
fn least(rest: &str) -> Result<Scenario, ScenarioError> {
    let source = format!("summary = 's'\npurpose = 'p'\ncannot_show = 'c'\n{rest}");
    Scenario::parse("x.toml", &source)
}

#[test]
fn every_error_is_reported_with_the_line_of_its_key() {
    for case in include_str!("tests/refused.txt")
        .lines()
        .filter(|l| !l.starts_with('#'))
    {
        let parts: Vec<String> = case
            .split(" => ")
            .map(|part| part.replace("\\n", "\n"))
            .collect();
        let [old, new, expected] = &parts[..] else {
            panic!("'{case}' has not three parts");
        };
        assert_eq!(
            GOOD.matches(&**old).count(),
            1,
            "'{old}' must stand in the file once"
        );
        let error = Scenario::parse("scenarios/chat.toml", &GOOD.replace(&**old, new));
        let error = error.expect_err(new).to_string();
        assert_eq!(error, format!("scenarios/chat.toml:{expected}"), "{case}");
    }
    for (rest, expected) in [
        (
            "clients = 4\n",
            "x.toml:4: 'clients' is 4, but a table is expected",
        ),
        (
            "[clients]\ncount = 1\n\n[server]\nring_bytes = 60\n\
             [publish]\nrate_per_s = 1\npayload_bytes = 100\n",
            "x.toml:9: 'burst' is 1, which makes 100 bytes with 'payload_bytes' 100, but a channel \
             remembers only 60; raise 'ring_bytes' in [server], or shorten the burst",
        ),
    ] {
        let error = least(rest).expect_err(rest).to_string();
        assert_eq!(error, expected);
    }
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
    assert_eq!((scenario.run.trials, scenario.run.seed), (None, None));
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
        format!("'fanout' is not a scenario; did you mean 'fanout-10k'?; {known}")
    );
    assert_eq!(
        Scenario::load("weather")
            .expect_err("not built in")
            .to_string(),
        format!("'weather' is not a scenario; {known}")
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
