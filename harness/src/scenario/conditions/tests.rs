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
