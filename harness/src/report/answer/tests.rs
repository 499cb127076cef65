use super::*;
use crate::analysis::compare::compare_all;
use crate::metrics::summarise;
use crate::record::{Capability, Reason, Record, RoundTrip, Status, Trial, Verdict, sample};
use crate::report::Format;
use crate::report::tests::rounds;
use pushbench_protocol::transport::{Profile, Transport};

fn of(record: &Record) -> Answer {
    answer(&View::of(record))
}

fn metric(name: &str) -> usize {
    let place = DECISIVE.iter().position(|&id| id == name);
    place.expect("a metric")
}

#[test]
fn a_winner_is_named_where_every_interval_says_so_and_held_against_the_nearest() {
    let record = rounds();
    let found = of(&record);
    let names: Vec<String> = found
        .candidates
        .iter()
        .map(|&row| View::of(&record).rows[row].to_string())
        .collect();
    assert_eq!(
        names,
        [
            "sse tuned",
            "websocket tuned",
            "long_poll tuned",
            "short_poll tuned",
            "http_stream tuned"
        ]
    );
    let Finding::Wins { relation, .. } = &found.findings[metric("p50")] else {
        panic!("{found:?}");
    };
    // 1.31 against 1.62, give or take the noise.
    assert!((relation.ratio - 1.31 / 1.62).abs() < 0.01, "{relation:?}");
    let sentence = &found.sentences[0];
    assert!(
        sentence.starts_with("Latency (tuned): sse wins on median latency with 0.110 ms, 19."),
        "{sentence}"
    );
    assert!(
        sentence.contains("% less (") && sentence.contains(") than websocket;"),
        "{sentence}"
    );
    let certainty = found.certainty.expect("it is compared");
    assert!(certainty.contains("over 6 paired trials"), "{certainty}");
    assert!(
        certainty.ends_with("all 66 trials are valid."),
        "{certainty}"
    );
}

#[test]
fn what_a_scenario_measures_by_name_comes_first_and_is_judged_like_the_rest() {
    let mut record = rounds();
    for trial in &mut record.trials {
        let mut trips = RoundTrip::default();
        trips.round_trip_ns.p50 = trial.latency_ns.p50.map(|ns| 10 * ns);
        trial.measures.round_trip = Some(trips);
    }
    let without = of(&rounds()).sentences;
    record.summary = summarise(&record.trials, &Default::default());
    record.comparisons = compare_all(&record.trials, &record.scenario.matters, 1.0);
    let found = of(&record);
    assert_eq!(found.sentences.len(), without.len() + 1);
    let sentence = &found.sentences[0];
    assert!(
        sentence.starts_with("Median round trip: ") && sentence.contains(" ms (sse stock)"),
        "{sentence}"
    );
    assert!(
        sentence.contains("; sse wins on median round trip with ")
            && sentence.contains("% less (")
            && sentence.ends_with(") than websocket."),
        "{sentence}"
    );
    let (metric, finding) = found.board().next().expect("a board");
    assert_eq!(metric.title, "median round trip");
    assert!(matches!(finding, Finding::Wins { .. }), "{finding:?}");
    assert_eq!(found.board().count(), DECISIVE.len() + 1);
    // Of too few rounds only the figures are said.
    record.comparisons.clear();
    let found = of(&record);
    assert!(!found.sentences[0].contains(';'), "{}", found.sentences[0]);
    assert_eq!(found.board().count(), DECISIVE.len());
}

#[test]
fn what_is_alike_and_what_is_undecided_is_said_plainly() {
    let record = rounds();
    let found = of(&record);
    // All of them send 129 bytes.
    let same = &found.findings[metric("down")];
    assert!(
        matches!(same, Finding::Same { rows } if rows.len() == 5),
        "{same:?}"
    );
    assert!(
        found.sentences[1].contains(
            "sse, websocket, long_poll, short_poll and http_stream are alike within 5% on bytes sent per delivery"
        ),
        "{}",
        found.sentences[1]
    );
    let mut record = record;
    // Noise that swallows the difference between two of them.
    for trial in &mut record.trials {
        let off = [0.4, 2.1, 0.7, 1.6, 0.5, 1.9][trial.index as usize - 1];
        if trial.variant.transport == Transport::Sse {
            trial.latency_ns.p50 = trial.latency_ns.p50.map(|ns| (ns as f64 * off) as u64);
        }
    }
    record.comparisons = compare_all(&record.trials, &record.scenario.matters, 1.0);
    let found = of(&record);
    let Finding::Undecided { rows, .. } = &found.findings[metric("p50")] else {
        panic!("{found:?}");
    };
    assert!(rows.len() >= 2);
    assert!(
        found.sentences[0].contains("median latency is undecided between sse and "),
        "{}",
        found.sentences[0]
    );
}

#[test]
fn one_trial_each_names_no_winner() {
    let record = sample::record();
    let found = of(&record);
    assert!(
        found
            .findings
            .iter()
            .all(|found| *found == Finding::NotCompared)
    );
    assert_eq!(
        found.sentences[0],
        "No winner is named: one trial of each cannot separate a difference from noise; the budget of \
         60 s ends before 5 rounds: raise '--budget'."
    );
    // Both that are not the baseline are void, and void rows are no witness.
    assert_eq!(found.sentences[1], "No valid rows to compare.");
    assert_eq!(
        found.sentences[2],
        "Of 3 trials, 1 is valid and 2 are void (they say nothing about the server)."
    );
    let mut record = rounds();
    record.trials.retain(|trial| trial.index == 1);
    record.summary = crate::metrics::summarise(&record.trials, &Default::default());
    record.comparisons = compare_all(&record.trials, &record.scenario.matters, 1.0);
    let seen = of(&record).sentences[1].clone();
    assert!(
        seen.starts_with("Lowest (tuned), which may be chance: median latency (sse, 0.110 ms)"),
        "{seen}"
    );
    assert!(
        !seen.contains("wins") && !seen.contains("bytes sent"),
        "{seen}"
    );
}

/// What makes a trial one that no words are made of.
type Spoil = fn(Trial) -> Option<Trial>;

#[test]
fn words_are_made_of_two_rows_that_can_be_compared_or_of_none() {
    let interrupted: Spoil = |trial| {
        let (error, remedy) = ("interrupted in phase 'measure'", "run it again");
        Some(trial.failed(error.to_owned(), remedy.to_owned()))
    };
    let void: Spoil = |mut trial| {
        let reason = Reason {
            check: "ledger".to_owned(),
            measured: None,
            limit: None,
            remedy: String::new(),
            message: String::new(),
        };
        trial.validity.raise(Verdict::Void, reason);
        Some(trial)
    };
    let absent: Spoil = |_| None;
    let all = [
        Transport::Sse,
        Transport::WebSocket,
        Transport::LongPoll,
        Transport::ShortPoll,
        Transport::HttpStream,
    ];
    for spoil in [interrupted, void, absent] {
        for left in 0..all.len() {
            let mut record = rounds();
            record
                .trials
                .retain(|trial| trial.index == 1 && trial.variant.side.profile == Profile::Tuned);
            for trial in &mut record.trials {
                let trips = RoundTrip {
                    round_trip_ns: trial.latency_ns,
                    ..RoundTrip::default()
                };
                trial.measures.round_trip = Some(trips);
            }
            let trials = record.trials.into_iter().filter_map(|trial| {
                let good = all[all.len() - left..].contains(&trial.variant.side.transport);
                if good { Some(trial) } else { spoil(trial) }
            });
            record.trials = trials.collect();
            record.summary = summarise(&record.trials, &Default::default());
            record.comparisons = compare_all(&record.trials, &record.scenario.matters, 1.0);
            let sentences = of(&record).sentences;
            let spoken = |begins: &str| sentences.iter().find(|text| text.starts_with(begins));
            let (lowest, trips) = (spoken("Lowest"), spoken("Median round trip"));
            assert_eq!(lowest.is_some(), left >= 2, "{left} left: {sentences:?}");
            assert_eq!(trips.is_some(), left >= 1, "{left} left: {sentences:?}");
            for bad in &all[..all.len() - left] {
                for spoken in [lowest, trips].into_iter().flatten() {
                    let praise = spoken.split(';').next().expect("a part");
                    assert!(!praise.contains(bad.id()), "{bad} in '{spoken}'");
                }
            }
        }
    }
}

#[test]
fn a_rate_that_looks_like_a_loss_where_nothing_is_missing_is_explained() {
    let mut record = rounds();
    record.scenario.phases.measure_s = 3.0;
    for trial in &mut record.trials {
        trial.deliveries.received = 9_000;
        trial.deliveries.missing = Some(0);
        let polls = trial.variant.transport == Transport::ShortPoll;
        let rate = if polls { 2_264.0 } else { 2_990.0 };
        trial.throughput.received_per_s = Some(rate);
    }
    let told = |record: &Record| {
        let sentences = of(record).sentences.into_iter();
        sentences
            .filter(|text| text.starts_with("All that was owed"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&record),
        [
            "All that was owed to short_poll stock and short_poll tuned arrived, the last of it up to 0.975 s \
          after the measure phase; the rate received is over that time, too."
        ]
    );
    // Where something is missing, the ledger says so, and nothing is explained away.
    for trial in &mut record.trials {
        trial.deliveries.missing = Some(1);
    }
    assert_eq!(told(&record), [""; 0]);
}

#[test]
fn figures_of_what_a_target_lacks_are_dashes_and_a_sentence_says_why() {
    let mut record = sample::record();
    for trial in &mut record.trials {
        trial.lacks = vec![Capability::Cursor];
        trial.deliveries.expected = None;
        trial.deliveries.missing = None;
    }
    record.summary = summarise(&record.trials, &Default::default());
    let why = "Deliveries owed, missing deliveries: not tested: this target has no cursor.";
    assert!(of(&record).sentences.iter().any(|text| text == why));
    let text = Format::Table.render(&record, None, 200).expect("no logs");
    assert!(text.contains(why) && text.contains("–/0/0"), "{text}");
}

#[test]
fn the_scenario_is_a_sentence() {
    assert_eq!(
        of(&sample::record()).scenario,
        "1,000 clients on 100 channels are sent 1,000 messages a second in all, of 128 bytes each; 3 s \
         are measured, in one trial of each transport and profile."
    );
    let mut record = sample::record();
    record.scenario = crate::scenario::Scenario::load("job-progress").expect("built in");
    record.status = Status::Interrupted;
    let text = of(&record).scenario;
    assert!(
        text.starts_with("500 clients on a channel each are sent"),
        "{text}"
    );
    assert!(
        text.ends_with(
            "; the run was interrupted. Each client stays 2,000 ms and is away for 500 ms."
        ),
        "{text}"
    );
}
