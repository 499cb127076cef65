//! `pushbench limits` from outside: a record with every step, what broke, and nothing left behind.

use nix::sys::signal::Signal;
use pushbench::record::{Broke, Ended, Limit, LimitStep, Record, Status};
use pushbench::run::limits::search::{Found, Search};
use pushbench::scenario::SweepKey;

use crate::support::{Runs, TINY, after, await_some, children, output, text};

/// Whether a step holds depends on how busy the machine is; that the search goes where its steps
/// send it does not.
fn follows_the_search(limit: &Limit, start: u64) {
    let mut search = Search::new(start, limit.maximum, limit.resolution);
    for step in &limit.steps {
        assert_eq!(search.next(), Some(step.value), "{limit:?}");
        assert_eq!(step.held, step.broke.is_none());
        assert_eq!(step.broke.is_some(), step.evidence.is_some());
        search.enter(step.value, Found::of(step.broke));
    }
    assert_eq!(
        (limit.last_good, limit.first_bad),
        (search.good(), search.bad())
    );
    assert_eq!(limit.unanswered, search.unanswered());
    assert_eq!(limit.unanswered.is_some(), limit.ended == Ended::NoAnswer);
    if matches!(
        limit.ended,
        Ended::Resolved | Ended::Maximum | Ended::NoAnswer
    ) {
        assert_eq!(search.next(), None, "{limit:?}");
    }
}

#[test]
fn a_search_is_one_record_with_a_trial_for_each_step_and_a_sentence_for_each_transport() {
    let runs = Runs::of(TINY);
    let output = runs.run(
        "limits --transports tcp,sse --start 8 --max-clients 32 --resolution 1 \
         --objective missing=0,connects=all",
    );
    let (table, told) = (text(&output.stdout), text(&output.stderr));
    let record = runs.record();
    assert_eq!(record.status, Status::Complete, "{told}");
    let sides: Vec<_> = record
        .limits
        .iter()
        .map(|l| l.side.transport.id())
        .collect();
    assert_eq!(sides, ["tcp", "sse"]);
    let mut trials = 0..record.trials.len();
    for limit in &record.limits {
        follows_the_search(limit, 8);
        for step in &limit.steps {
            assert_eq!(
                Some(step.trial),
                trials.next(),
                "a trial for each step, in order"
            );
            let trial = &record.trials[step.trial];
            assert_eq!(trial.variant.side, limit.side);
            assert_eq!(trial.clients.target, step.value);
            assert_eq!(trial.clients.connected, step.value);
            // 20 messages of the measure phase on each of 4 channels.
            assert_eq!(trial.deliveries.expected, Some(20 * step.value));
            assert_eq!(trial.deliveries.missing, Some(0));
            let clients = trial.variant.point.and_then(|p| p.value(SweepKey::CLIENTS));
            assert_eq!(clients, Some(step.value as f64));
            let log = format!("latency/{}.hlog", trial.label_for_file());
            assert!(runs.kept().expect("kept").join(log).is_file());
        }
        let [holds, no_answer] = ["holds ", "no answer"].map(|says| match says {
            "no answer" => format!("{}: no answer", limit.side),
            says => format!("{} {says}", limit.side),
        });
        assert!(
            table.contains(&holds) || table.contains(&no_answer),
            "{table}"
        );
    }
    assert_eq!(trials.next(), None);
    let found = record.limits.iter().all(|limit| limit.last_good.is_some());
    assert_eq!(output.status.code(), Some(i32::from(!found)), "{told}");
}

#[test]
fn more_clients_than_descriptors_break_for_the_clients_descriptors_and_the_search_goes_on() {
    let runs = Runs::of(TINY);
    // 85% of 256 less 64: a table holds 153 clients, and there is one shard.
    let search = runs.of_tiny(
        "limits --transports tcp --shards 1 --start 128 --max-clients 200 --resolution 0.5 \
         --objective missing=0,connects=all",
    );
    let output = output(&mut after("ulimit -n 256", &search));
    let record = runs.record();
    let [limit] = &record.limits[..] else {
        panic!("one transport: {}", text(&output.stderr));
    };
    follows_the_search(limit, 128);
    let beyond: Vec<_> = limit.steps.iter().filter(|step| step.value > 153).collect();
    for step in &beyond {
        assert_eq!(step.broke, Some(Broke::ClientDescriptors));
        let evidence = step.evidence.as_deref().unwrap_or_default();
        assert!(
            evidence.starts_with(&format!(
                "cannot open client 154 of {}: 1 shard(s) may open 256 descriptors each; use \
                 '--shards 2'",
                step.value
            )),
            "{evidence}"
        );
        assert!(
            record.trials[step.trial].error.is_some(),
            "a failed trial is a row too"
        );
    }
    // The first step of 128 fits; a machine too busy for it would have halved instead.
    let fits = |step: &LimitStep| step.held && step.value >= 128;
    assert_eq!(beyond.is_empty(), !limit.steps.iter().any(fits));
}

#[test]
fn an_interrupted_search_keeps_its_steps_and_leaves_no_process() {
    std::thread::scope(|scope| {
        for signal in [
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGUSR2,
            Signal::SIGPWR,
        ] {
            scope.spawn(move || interrupted_search(signal));
        }
    });
}

fn interrupted_search(signal: Signal) {
    let runs = Runs::of(TINY);
    let run =
        runs.start("limits --transports sse --start 4 --max-clients 1000000 --objective missing=0");
    let steps = || {
        let record = Record::read(&runs.kept()?).ok()?;
        (!record.limits.first()?.steps.is_empty()).then_some(())
    };
    await_some("a step in the record", steps);
    let under_way = await_some("a step under way", || {
        let children = children(run.pid());
        (!children.is_empty()).then_some(children)
    });
    let output = runs.interrupt(run, signal, &under_way);
    let record = runs.record();
    assert_eq!(record.limits[0].ended, Ended::Interrupted);
    assert_eq!(record.limits[0].steps.len(), record.trials.len());
    follows_the_search(&record.limits[0], 4);
    let told = text(&output.stderr);
    assert!(
        told.contains("pushbench: interrupted; the steps that were done are kept\n"),
        "{told}"
    );
}

#[test]
fn a_budget_too_small_for_a_step_ends_the_search_without_one() {
    let runs = Runs::of(TINY);
    let output = runs.run("limits --transports tcp --time-budget 0.5 --objective missing=0");
    let record = runs.record();
    assert_eq!(output.status.code(), Some(1), "nothing was found");
    assert_eq!(
        (record.trials.len(), record.limits[0].ended),
        (0, Ended::TimeBudget)
    );
    let table = text(&output.stdout);
    assert!(
        table.contains("tcp tuned: no step was done; the time budget ended the search"),
        "{table}"
    );
}
