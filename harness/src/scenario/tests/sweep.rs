//! Sweeps of files and of the command line.

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
    let faults = format!(
        "{}\n[[faults]]\nkind = 'server_stall'\nat_s = 1\nfor_ms = 10\n\
         [sweep]\nfaults.0.for_ms = [10, 200]\n",
        GOOD
    );
    let faults = Scenario::parse("scenarios/chat.toml", &faults).expect("a fault that varies");
    let at = faults.at(faults.points()[1]);
    assert_eq!(at.faults[0].for_ms, Some(200));
    let error = swept("faults.1.for_ms = [10]").expect_err("no fault");
    assert!(
        error.contains("'for_ms' varies a value of [faults.1], which"),
        "{error}"
    );
    for scenario in [
        scenario,
        faults,
        swept("clients.count = [1, 2]").expect("a sweep"),
    ] {
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
}
