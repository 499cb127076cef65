//! Sweeps and searches for limits on the page.

use super::*;

#[test]
fn a_sweep_has_growth_curves_and_a_chart_of_percentiles_for_each_point() {
    let mut record = rounds();
    record.trials.retain(|trial| trial.index <= 2);
    record.comparisons.clear();
    record.summary = [record.summary.clone(), record.summary.clone()].concat();
    let half = record.summary.len() / 2;
    let point =
        |index: u32| Some(Point::new(index).with(SweepKey::CLIENTS, f64::from(100 * index)));
    for (place, row) in record.summary.iter_mut().enumerate() {
        row.variant.point = point(1 + (place / half) as u32);
    }
    for trial in &mut record.trials {
        trial.variant.point = point(trial.index);
    }
    let view = View::of(&record);
    let page = html::render(&view, None);
    assert!(page.contains("<h3>At clients 100</h3>") && page.contains("<h3>At clients 200</h3>"));
    assert!(page.contains("id=\"growth-cpu\""));
    assert!(
        page.contains("sse tuned: 9.48 µs at 100, 9.48 µs at 200"),
        "in words"
    );
    assert!(page.contains("at 2 points of a sweep"));
    assert_eq!(
        view.trials_of(&view.rows[0]).count(),
        1,
        "a trial is at one point"
    );
}

#[test]
fn a_search_for_limits_has_its_steps_as_curves_and_its_ends_in_words() {
    let mut record = rounds();
    record.trials.truncate(4);
    record.summary.clear();
    record.comparisons.clear();
    let step = |value, trial, broke: Option<Broke>| LimitStep {
        value,
        trial,
        held: broke.is_none(),
        short_of: Vec::new(),
        broke,
        evidence: broke.map(|_| "the server used 99% of its core".to_owned()),
        server_cpu_share: Some(0.25),
        harness_cpu_share: None,
        memory: Default::default(),
    };
    let side = (Transport::Sse, Profile::Tuned).into();
    let mut limit = Limit::new(side, LimitOf::Clients, "p99<=1s".to_owned(), (100_000, 0.5));
    (limit.last_good, limit.first_bad) = (Some(2_000), Some(4_000));
    (limit.ended, limit.broke) = (Ended::Resolved, Some(Broke::ServerCpu));
    limit.evidence = Some("the server used 99% of its core".to_owned());
    limit.steps = vec![
        step(1_000, 0, None),
        step(4_000, 2, limit.broke),
        step(2_000, 1, None),
    ];
    record.limits = vec![limit];
    let view = View::of(&record);
    let page = html::render(&view, None);
    for (part, why) in [
        (
            "sse tuned holds 2,000 clients (3,000 deliveries/s). At 4,000 server CPU broke: the server \
             used 99% of its core.",
            "the answer",
        ),
        ("id=\"limits-p50\"", "a chart"),
        ("at 1,000, ", "in the order of values"),
        (" at 4,000.", "in the order of values"),
        ("the server used 99% of its core", "the evidence"),
        ("data-at=\"/limits/0/steps/2\"", "every step"),
        ("data-at=\"/trials/3\"", "every trial"),
    ] {
        assert!(page.contains(part), "{why}: {part}");
    }
    assert!(page.contains(
        "pushbench limits ./quick.toml --transports sse --profiles tuned --of clients --objective \
         'p99&lt;=1s' --start 1000 --max-clients 100000 --resolution 0.5 --seed 7"
    ));
}
