//! Sweeps of files and of the command line.

use super::options::override_error;
use super::*;

/// The good scenario followed by a sweep.
fn swept(table: &str) -> Result<Scenario, String> {
    let source = format!("{GOOD}\n[sweep]\n{table}\n");
    Scenario::parse("scenarios/chat.toml", &source).map_err(|error| error.to_string())
}

#[test]
fn lists_of_a_sweep_go_together_value_by_value() {
    let scenario =
        swept("clients.count = [10, 100]\npublish.rate_per_s = [40, 4.5]").expect("a good sweep");
    let points = scenario.points();
    assert_eq!(points.len(), 2);
    let second = points[1].expect("a point");
    assert_eq!(second.to_string(), "clients 100, rate_per_s 4.5");
    assert_eq!(second.leading(), Some((SweepKey::CLIENTS, 100.0)));
    let at = scenario.at(points[1]);
    assert_eq!((at.clients.count, at.sweep.is_none()), (100, true));
    assert_eq!(at.publish.expect("a table").rate_per_s, 4.5);
    assert_eq!(scenario.most_connections(), 100);
    let scenario = swept("channels.count = [1, 5]\npublish.payload_bytes = [64, 65536]")
        .expect("a good sweep");
    let at = scenario.at(scenario.points()[1]);
    assert_eq!(at.channel_count(), 5);
    assert_eq!(at.publish.expect("a table").payload_bytes, 65_536);
    assert_eq!((good().points(), good().at(None)), (vec![None], good()));
}

/// Lists of a sweep, the line of the fault after the head of the table, and what is said of it.
const BAD: &[(&str, usize, &str)] = &[
    (
        "",
        0,
        "'sweep' has no list, but something must vary; add one, such as 'clients.count', or \
         remove [sweep]",
    ),
    (
        "clients = [1]",
        1,
        "unknown key 'clients' in [sweep]: it is 'clients.count' now",
    ),
    (
        "client.count = [1]",
        1,
        "unknown key 'client.count' in [sweep]; did you mean 'clients.count'?; expected the \
         path of a number, such as 'server.ring_messages'",
    ),
    (
        "slow_share = [0, 1]",
        1,
        "unknown key 'slow_share' in [sweep]: it is 'slow_readers.share' now",
    ),
    (
        "clients.count = 5",
        1,
        "'count' is 5, but a list is expected",
    ),
    (
        "clients.count = [1, 'two']",
        1,
        "'count' is 'two', but a number is expected",
    ),
    (
        "clients.count = [1, 2.5]",
        1,
        "'count' is 2.5, but a whole number, 0 or more, is expected",
    ),
    (
        "clients.count = []",
        1,
        "'count' is empty, but something must run; add values, or remove the key",
    ),
    (
        "clients.count = [1, 2]\npublish.rate_per_s = [10]",
        2,
        "'rate_per_s' has 1 values, but 'clients' has 2; lists go together value by value, so \
         give them the same length, or keep one",
    ),
    (
        "clients.count = [10, 0]",
        1,
        "'count' is 0, but a trial needs at least 1 client",
    ),
    (
        "publish.payload_bytes = [64, 12]",
        1,
        "'payload_bytes' is 12, but an envelope needs at least 51 (16 each for sequence, \
         intended and actual time, 3 separators)",
    ),
    (
        "publish.payload_bytes = [64, 1000000]",
        1,
        "'payload_bytes' has a point (payload_bytes 1,000,000) at which 'burst' is 2, which \
         makes 2000000 bytes with 'payload_bytes' 1000000, but a channel remembers only \
         1048576; raise 'ring_bytes' in [server], or shorten the burst",
    ),
    (
        "publish.rate_per_s = [10, -1]",
        1,
        "'rate_per_s' is -1: nothing would ever be due; use a number above 0, or a scenario \
         without [publish]",
    ),
    (
        "publish.rate_per_s = [10, nan]",
        1,
        "'rate_per_s' is nan, but a number is expected",
    ),
    (
        "clients.count = [10, 20, 10]",
        1,
        "'count' has clients 10 at points 1 and 3; use 'trials' to repeat, and name it once",
    ),
    (
        "server.ring_messages = [64, 1]",
        1,
        "'ring_messages' has a point (server.ring_messages 1) at which 'burst' is 2, but a \
         channel remembers only 1 messages; raise 'ring_messages' in [server], or shorten the \
         burst",
    ),
    (
        "upstream.rate_per_client_s = [1, 2]",
        1,
        "'rate_per_client_s' varies a value of [upstream], which the scenario does not have; \
         add that table, or remove the key",
    ),
];

#[test]
fn a_bad_sweep_is_reported_with_its_line() {
    let head = 1 + GOOD.lines().count() + 1;
    let many: Vec<String> = (1..=51).map(|n| n.to_string()).collect();
    let too_many = format!("channels.count = [{}]", many.join(", "));
    let too_many = (
        &*too_many,
        1,
        "'count' has 51 values, but a sweep has at most 50 points; leave some out, or run two \
         scenarios",
    );
    for &(table, after, expected) in BAD.iter().chain([&too_many]) {
        let error = swept(table).expect_err(table);
        let at = head + after;
        let expected = format!("scenarios/chat.toml:{at}: {expected}");
        assert_eq!(error, expected, "{table}");
    }
}

#[test]
fn any_number_of_a_scenario_can_be_swept_and_survives_the_record() {
    let scenario = swept("server.ring_messages = [8, 64]\nphases.warm_up_s = [0.5, 2]");
    let scenario = scenario.expect("a good sweep");
    let at = scenario.at(scenario.points()[0]);
    assert_eq!((at.server.ring_messages, at.phases.warm_up_s), (8, 0.5));
    let point = scenario.points()[1].expect("a point");
    assert_eq!(
        point.to_string(),
        "phases.warm_up_s 2, server.ring_messages 64"
    );
    for scenario in [scenario, swept("clients.count = [1, 2]").expect("a sweep")] {
        let json = serde_json::to_string(&scenario).expect("serialisable");
        assert_eq!(
            serde_json::from_str::<Scenario>(&json).expect("its own"),
            scenario
        );
    }
    let json = serde_json::to_string(&point).expect("serialisable");
    assert_eq!(
        json,
        "{\"index\":2,\"phases.warm_up_s\":2,\"server.ring_messages\":64}"
    );
    assert_eq!(
        serde_json::from_str::<Point>(&json).expect("its own"),
        point
    );
    // As records of the first schema have it.
    let old = "{\"index\":1,\"clients\":100,\"payload_bytes\":null,\"rate_per_s\":4.5}";
    let old: Point = serde_json::from_str(old).expect("a point of old");
    assert_eq!(old.to_string(), "clients 100, rate_per_s 4.5");
    let old = "{\"clients\":null,\"slow_share\":[0.0,0.5]}";
    let old: Sweep = serde_json::from_str(old).expect("a sweep of old");
    assert_eq!(old, Sweep::of(SweepKey::SLOW_SHARE, &[0.0, 0.5]));
}

#[test]
fn a_sweep_of_the_command_line_takes_the_place_of_the_files() {
    let list = |text: &str| text.parse::<Sweep>();
    let mut scenario = swept("clients.count = [1, 2]").expect("a good sweep");
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
            "'client=5' sweeps 'client'; did you mean 'clients'?; expected 'clients', \
             'payload_bytes', 'channels', 'rate_per_s', 'slow_share', or the path of a number, \
             such as 'server.ring_messages'",
        ),
        (
            "clients=5,many",
            "'clients=5,many' has 'many', but a number is expected there",
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
