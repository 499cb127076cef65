//! Every rule of a condition, with the key that it is about.

use crate::scenario::{Measure, Scenario};

const HEAD: &str = "summary = 's'\npurpose = 'p'\ncannot_show = 'c'\n";
const PUBLISH: &str = "[publish]\nrate_per_s = 10\npayload_bytes = 128\n";
const BACK: &str = "[reconnect]\n";

fn parse(rest: &str) -> Result<Scenario, String> {
    Scenario::parse("t.toml", &format!("{HEAD}{rest}")).map_err(|error| error.to_string())
}

fn told(rest: &str) -> String {
    parse(rest).expect_err("a broken rule")
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
fn a_share_a_policy_or_a_room_that_cannot_be_is_refused_before_anything_starts() {
    for (rest, expected) in [
        (
            "clients.count = 10\n[slow_readers]\nshare = 1.1\n",
            "t.toml:6: 'share' is 1.1, but it is a share of the clients, from 0 to 1",
        ),
        (
            "clients.count = 10\n[slow_readers]\nshare = 1.0\n",
            "so none of 10 clients reads as it should",
        ),
        (
            "clients.count = 10\nchannels.overflow = ['drop-newest']\n",
            "'overflow' has 'drop-newest'; did you mean 'drop-oldest'?; expected one of 'disconnect', \
             'drop-oldest', 'latest-only'",
        ),
        (
            "clients.count = 10\nchannels.overflow = []\n",
            "'overflow' is empty",
        ),
        (
            "clients.count = 10\nchannels.members = 20\n",
            "'members' is 20, a room larger than the fleet of 10 clients",
        ),
        (
            "clients.count = 10\nchannels = { members = 2, count = 3 }\n",
            "give one of the two",
        ),
        (
            "clients.count = 10\nchannels.sizes = 'zipf'\n",
            "'sizes' is 'zipf', but there is 1 channel",
        ),
    ] {
        let found = told(rest);
        assert!(found.contains(expected), "{rest}\n{found}");
    }
}

#[test]
fn upstream_is_refused_of_a_transport_that_has_none() {
    let upstream = |more: &str| {
        format!(
            "clients.count = 10\n[upstream]\nrate_per_client_s = 1\npayload_bytes = 160\n{more}"
        )
    };
    for (rest, expected) in [
        (
            upstream("via = 'connection'\n[run]\ntransports = ['websocket', 'sse']\n"),
            "'via' is 'connection', but sse goes one way",
        ),
        (
            upstream("via = 'post'\n[run]\ntransports = ['sse', 'websocket']\n"),
            "'via' is 'post', but websocket sends on its own connection",
        ),
        (
            upstream(PUBLISH),
            "'upstream' cannot go with [publish]: what a client is owed follows from what clients send; \
             use two scenarios",
        ),
        (
            "clients.count = 10\n[upstream]\nrate_per_client_s = 1\npayload_bytes = 85\n".into(),
            "an envelope with its sender needs at least 86",
        ),
        (
            "clients.count = 10\n[upstream]\nrate_per_client_s = 0\npayload_bytes = 90\n".into(),
            "nothing would ever be sent",
        ),
        (
            "clients.count = 10\n[upstream]\nrate_per_client_s = 20000\npayload_bytes = 90\n"
                .into(),
            "'rate_per_client_s' is 20000, but a client sends at most 10000 messages a second",
        ),
    ] {
        let found = told(&rest);
        assert!(found.contains(expected), "{rest}\n{found}");
    }
    let both = upstream("via = 'connection'\n[run]\ntransports = ['websocket', 'tcp']\n");
    assert!(parse(&both).is_ok());
}

#[test]
fn faults_must_lie_within_the_phase_one_after_another_with_what_they_need() {
    let faults = |text: &str| format!("clients.count = 10\n{PUBLISH}{BACK}{text}");
    let kill = |at: f64| format!("[[faults]]\nkind = 'server_kill'\nat_s = {at}\ndown_ms = 500\n");
    for (rest, expected) in [
        (faults(&kill(9.6)), "within the 10 s of 'measure_s'"),
        (
            faults(&(kill(3.0) + &kill(3.2))),
            "before the 'server_kill' at 3 s is over",
        ),
        (
            faults("[[faults]]\nkind = 'server_kill'\nat_s = 1\n"),
            "has a 'server_kill' (number 1) without 'down_ms'; add it",
        ),
        (
            faults("[[faults]]\nkind = 'server_stall'\nat_s = 1\nfor_ms = 5\ndown_ms = 1\n"),
            "with 'down_ms', which means nothing there",
        ),
        (
            format!("clients.count = 10\n{PUBLISH}{}", kill(1.0)),
            "but clients that do not come back; add [reconnect]",
        ),
        (
            faults("[[faults]]\nkind = 'server_crash'\nat_s = 1\n"),
            "'server_crash'",
        ),
        (
            faults("[[faults]]\nkind = 'connection_cuts'\nat_s = 1\nfor_ms = 5\nmean_s = 0\n"),
            "a client is cut every 0.01 s at the most",
        ),
        (
            format!("clients.count = 10\n{PUBLISH}[reconnect]\ndelay_ms = 10\nmax_delay_ms = 5\n"),
            "'max_delay_ms' is 5, but the first wait is 10 already",
        ),
        (
            format!("clients.count = 10\n{PUBLISH}[reconnect]\njitter = -1\n"),
            "'jitter' is -1, but it is a share of the wait",
        ),
    ] {
        let found = told(&rest);
        assert!(found.contains(expected), "{rest}\n{found}");
    }
}

#[test]
fn a_measure_needs_the_table_that_it_is_about() {
    for (rest, expected) in [
        (
            "measures = ['recovery']\nclients.count = 10\n",
            "'measures' names 'recovery', which needs [reconnect]",
        ),
        (
            "measures = ['over_time', 'over_time']\nclients.count = 10\n",
            "names 'over_time' twice",
        ),
        (
            "measures = ['speed']\nclients.count = 10\n",
            "'measures' has 'speed'",
        ),
        (
            "clients = { count = 10, snapshot_messages = 5 }\n",
            "'snapshot_messages' asks for messages, but nothing is published",
        ),
        (
            "clients.count = 10\nserver.memory_limit_bytes = 1000\n",
            "a server needs 268435456 bytes of address space to start",
        ),
        (
            "clients.count = 10\nserver.send_buffer_bytes = 10\n",
            "'send_buffer_bytes' is 10, but a send buffer has 4096 to",
        ),
    ] {
        let found = told(rest);
        assert!(found.contains(expected), "{rest}\n{found}");
    }
}
