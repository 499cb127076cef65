//! Options of the command line in place of a file's values.

use super::*;

pub(super) fn override_error(overrides: Overrides) -> String {
    let mut scenario = good();
    let error = scenario
        .apply(&overrides)
        .expect_err("a bad option")
        .to_string();
    assert_eq!(scenario, good(), "a refused option changes nothing");
    error
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
        trials: Some(Some(3)),
        budget_s: Some(20.0),
        matters: vec!["latency_ms=0.2".parse().expect("a value")],
        whole_trials: true,
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
        (Some(3), Some(u64::MAX))
    );
    assert_eq!(scenario.run.allocator, Allocator::Jemalloc);
}

#[test]
fn an_option_that_another_value_does_not_allow_is_named_and_changes_nothing() {
    let none = Overrides::default;
    for (overrides, expected) in [
        (
            Overrides {
                duration_s: Some(f64::NAN),
                ..none()
            },
            "'--duration' is NaN, but a wait is above 0 and at most 86400 s; seconds are meant",
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
}
