//! Every rule of a condition, with the key that it is about.

use crate::scenario::{Measure, Scenario};

const HEAD: &str = "summary = 's'\npurpose = 'p'\ncannot_show = 'c'\n";
const PUBLISH: &str = "[publish]\nrate_per_s = 10\npayload_bytes = 128\n";
const BACK: &str = "[reconnect]\n";

fn parse(rest: &str) -> Result<Scenario, String> {
    Scenario::parse("t.toml", &format!("{HEAD}{rest}")).map_err(|error| error.to_string())
}

#[test]
fn conditions_of_real_use_are_data_and_name_what_they_measure() {
    let storm = parse(&format!(
        "clients.count = 9\n{PUBLISH}{BACK}\
         [[faults]]\nkind = 'server_kill'\nat_s = 1\ndown_ms = 500\n"
    ))
    .expect("a storm");
    assert_eq!(storm.measures(), [Measure::Recovery]);
    assert_eq!(storm.faults[0].end_s(), 1.5);
    let chat = parse(
        "clients.count = 40\nchannels.members = 20\n\
         [upstream]\nrate_per_client_s = 1\npayload_bytes = 160\n",
    )
    .expect("rooms");
    assert_eq!(
        (chat.channel_count(), chat.measures()),
        (2, vec![Measure::RoundTrip])
    );
    assert_eq!(chat.offered_deliveries_per_s(), 800.0);
    let named = parse(&format!(
        "measures = ['over_time']\nclients.count = 9\n{PUBLISH}{BACK}"
    ))
    .expect("named");
    assert_eq!(named.measures(), [Measure::OverTime]);
}

#[test]
fn every_broken_rule_is_told_of_the_key_that_breaks_it() {
    let cases = include_str!("refused.txt").lines();
    for case in cases.filter(|line| !line.starts_with('#')) {
        let (rest, expected) = case.split_once(" => ").expect("a scenario and its error");
        let found = parse(&rest.replace("\\n", "\n")).expect_err(case);
        assert!(found.contains(expected), "{case}\n{found}");
    }
}

#[test]
fn clients_send_on_their_connection_where_every_transport_of_the_scenario_does() {
    let both = parse(
        "clients.count = 10\n[upstream]\nrate_per_client_s = 1\npayload_bytes = 160\n\
         via = 'connection'\n[run]\ntransports = ['websocket', 'tcp']\n",
    );
    assert!(both.is_ok());
}

/// Three clients that ask again and again, as a file with one part replaced.
fn token_stream(part: &str, by: &str) -> Result<Scenario, String> {
    let whole = "clients.count = 3\nchannels.count = 'per_client'\n\
                 [publish]\nrate_per_s = 50\npayload_bytes = 64\n\
                 [sessions]\nlength_ms = 6500\ngap_ms = 1500\n\
                 [streams]\nfirst_after_ms = 500\n";
    assert!(whole.contains(part), "{part}");
    parse(&whole.replacen(part, by, 1))
}

#[test]
fn streams_follow_from_sessions_and_rate_and_what_cannot_be_one_is_refused() {
    let scenario = token_stream("", "").expect("a good scenario");
    let streams = scenario.schedule_streams().expect("there are streams");
    assert_eq!(
        (streams.messages, streams.first_after_ns, streams.period_ns),
        (300, 500_000_000, 8_000_000_000)
    );
    assert_eq!(scenario.streams_per_s(), Some(0.375));
    assert_eq!(scenario.published_per_s(), 112.5);
    assert_eq!(scenario.offered_deliveries_per_s(), 112.5);
    assert_eq!(scenario.measures(), [Measure::Arrivals, Measure::Streams]);
    let (sessions, publish) = ("[sessions]\n", "[publish]\nrate_per_s = 50\n");
    for (part, by, expected) in [
        (
            "[sessions]\nlength_ms = 6500\ngap_ms = 1500\n",
            "",
            "'streams' needs [sessions]",
        ),
        (sessions, "[sessions]\nresume = true\n", "do not resume"),
        (
            sessions,
            "[sessions]\nspread = 'exponential'\n",
            "sessions that are all alike",
        ),
        (
            "'per_client'",
            "3",
            "'streams' needs a channel for each client",
        ),
        (
            publish,
            "[publish]\nburst = 2\nrate_per_s = 50\n",
            "at even distances",
        ),
        (
            publish,
            "[publish]\narrival = 'poisson'\nrate_per_s = 50\n",
            "at even distances",
        ),
        (
            "_ms = 500\n",
            "_ms = 6500\n",
            "'first_after_ms' is 6500, so no message at 50 a second fits",
        ),
        (
            "_ms = 500\n",
            "_ms = 99999\n",
            "into the rest of a session of 6500 ms",
        ),
        (
            "rate_per_s = 50",
            "rate_per_s = 1e6",
            "but a schedule holds at most 4194304 in all",
        ),
        (
            "[streams]",
            "[reconnect]\n[streams]",
            "'streams' cannot go with [reconnect]",
        ),
    ] {
        let found = token_stream(part, by).expect_err(expected);
        assert!(found.contains(expected), "{found}");
    }
}
