//! `pushbench limits` from outside: a record with every step, what broke, and nothing left behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use pushbench::record::{Broke, Ended, Limit, LimitStep, Record, Status};
use pushbench::run::limits::search::{Found, Search};
use tempfile::TempDir;

use crate::support::{Running, TINY, await_some, children, pushbench, scenario, send, text};

struct Bench {
    folder: TempDir,
    scenario: PathBuf,
}

impl Bench {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let scenario = scenario(folder.path(), "tiny", text);
        Self { folder, scenario }
    }

    fn command(&self, mut command: Command, arguments: &[&str]) -> Running {
        command.arg("limits").arg(&self.scenario).args(arguments);
        command.arg("--out").arg(self.folder.path().join("out"));
        Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    fn start(&self, arguments: &[&str]) -> Running {
        self.command(pushbench(), arguments)
    }

    fn kept(&self) -> Option<PathBuf> {
        let mut runs = std::fs::read_dir(self.folder.path().join("out")).ok()?;
        Some(runs.next()?.expect("readable").path())
    }

    /// The record, which must keep to the committed schema.
    fn record(&self, output: &Output) -> Record {
        let folder = self
            .kept()
            .unwrap_or_else(|| panic!("{}", text(&output.stderr)));
        keeps_to_the_schema(&folder);
        Record::read(&folder).expect("a record")
    }
}

fn keeps_to_the_schema(folder: &Path) {
    let schema = serde_json::from_str(include_str!("../../../results/run.schema.json"));
    let validator = jsonschema::validator_for(&schema.expect("JSON")).expect("a schema");
    let json = std::fs::read_to_string(folder.join("run.json")).expect("a record");
    let value = serde_json::from_str(&json).expect("JSON");
    let faults: Vec<String> = validator
        .iter_errors(&value)
        .map(|fault| format!("{}: {fault}", fault.instance_path))
        .collect();
    assert_eq!(faults, [""; 0]);
}

/// Whether a step holds depends on how busy the machine is; that the search goes where its steps
/// send it does not.
fn follows_the_search(limit: &Limit, start: u64) {
    let mut search = Search::new(start, limit.maximum, limit.resolution);
    for step in &limit.steps {
        assert_eq!(search.next(), Some(step.value), "{limit:?}");
        assert_eq!(step.held, step.broke.is_none());
        assert_eq!(step.broke.is_some(), step.evidence.is_some());
        search.enter(
            step.value,
            match step.broke {
                None => Found::Held,
                Some(broke) if broke.may_be_chance() => Found::BrokePerhaps,
                Some(_) => Found::Broke,
            },
        );
    }
    assert_eq!(
        (limit.last_good, limit.first_bad),
        (search.good(), search.bad())
    );
    if matches!(limit.ended, Ended::Resolved | Ended::Maximum) {
        assert_eq!(search.next(), None, "{limit:?}");
    }
}

#[test]
fn a_search_is_one_record_with_a_trial_for_each_step_and_a_sentence_for_each_transport() {
    let bench = Bench::new(TINY);
    let arguments = [
        "--transports",
        "tcp,sse",
        "--start",
        "8",
        "--max-clients",
        "32",
        "--resolution",
        "1",
        "--objective",
        "missing=0,connects=all",
    ];
    let output = bench.start(&arguments).output();
    let (table, told) = (text(&output.stdout), text(&output.stderr));
    let record = bench.record(&output);
    assert_eq!(record.status, Status::Complete, "{told}");
    let sides: Vec<_> = record.limits.iter().map(|l| l.transport.id()).collect();
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
            assert_eq!(trial.transport, limit.transport);
            assert_eq!(trial.clients.target, step.value);
            assert_eq!(trial.clients.connected, step.value);
            // 20 messages of the measure phase on each of 4 channels.
            assert_eq!(trial.deliveries.expected, 20 * step.value);
            assert_eq!(trial.deliveries.missing, 0);
            let clients = trial.point.and_then(|point| point.clients);
            assert_eq!(clients.map(u64::from), Some(step.value));
            let log = format!("latency/{}.hlog", trial.label_for_file());
            assert!(bench.kept().expect("kept").join(log).is_file());
        }
        let sentence = format!("{} tuned holds ", limit.transport);
        assert!(table.contains(&sentence), "{table}");
    }
    assert_eq!(trials.next(), None);
    let found = record.limits.iter().all(|limit| limit.last_good.is_some());
    assert_eq!(output.status.code(), Some(i32::from(!found)), "{told}");
}

#[test]
fn more_clients_than_descriptors_break_for_the_clients_descriptors_and_the_search_goes_on() {
    let bench = Bench::new(TINY);
    // 85% of 256 less 64: a table holds 153 clients, and there is one shard.
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#"ulimit -n 256 && exec "$0" "$@""#,
        env!("CARGO_BIN_EXE_pushbench"),
    ]);
    shell.stdin(Stdio::null());
    let arguments = [
        "--transport",
        "tcp",
        "--shards",
        "1",
        "--start",
        "128",
        "--max-clients",
        "200",
        "--resolution",
        "0.5",
        "--objective",
        "missing=0,connects=all",
    ];
    let output = bench.command(shell, &arguments).output();
    let record = bench.record(&output);
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
    let bench = Bench::new(TINY);
    let arguments = [
        "--transports",
        "sse",
        "--start",
        "4",
        "--max-clients",
        "1000000",
    ];
    let run = bench.start(&[&arguments[..], &["--objective", "missing=0"]].concat());
    let steps = || {
        let record = Record::read(&bench.kept()?).ok()?;
        (!record.limits.first()?.steps.is_empty()).then_some(())
    };
    await_some("a step in the record", steps);
    let under_way = await_some("a step under way", || {
        let children = children(run.pid());
        (!children.is_empty()).then_some(children)
    });
    send(run.pid(), Signal::SIGINT);
    let output = run.output();
    assert_eq!(output.status.code(), Some(1));
    await_some("the end of server and fleet", || {
        under_way
            .iter()
            .all(|process| !process.is_alive())
            .then_some(())
    });
    let record = bench.record(&output);
    assert_eq!(record.status, Status::Interrupted);
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
    let bench = Bench::new(TINY);
    let output = bench
        .start(&[
            "--transports",
            "tcp",
            "--time-budget",
            "0.5",
            "--objective",
            "missing=0",
        ])
        .output();
    let record = bench.record(&output);
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

#[test]
fn bad_options_are_refused_in_one_line_and_nothing_runs() {
    let bench = Bench::new(TINY);
    for (arguments, told) in [
        (
            &["--objective", "p99<=1s,mising=0"][..],
            "'--objective': 'p99<=1s,mising=0' asks for 'mising'; did you mean 'missing'?; \
             expected one of 'p50', 'p90', 'p99', 'p999', 'max', 'missing', 'connects'",
        ),
        (
            &["--of", "client"],
            "'--of' is 'client'; did you mean 'clients'?; expected one of 'clients', 'rate', \
             'fanout'",
        ),
        (
            &["--resolution", "0"],
            "'--resolution' is 0, expected a share above 0 and up to 1",
        ),
        (
            &["--time-budget", "-1"],
            "'--time-budget' is -1, expected seconds above 0 and up to 86400",
        ),
        (
            &["--clients", "5"],
            "'--clients' is 5, but that is what '--of clients' grows; use '--start' and \
             '--max-clients'",
        ),
        (
            &["--of", "rate", "--rate", "5"],
            "'--rate' is 5, but that is what '--of rate' grows; use '--start' and '--max-rate'",
        ),
        (
            &["--max-clients", "0"],
            "'--max-clients' is '0', expected 1 to 4294967295",
        ),
        (&["--shards", "0"], "'--shards' is 0, expected 1 to 128"),
    ] {
        let output = bench.start(arguments).output();
        assert_eq!(text(&output.stderr), format!("pushbench: {told}\n"));
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]));
        assert_eq!(bench.kept(), None, "nothing is left");
    }
    let mut idle = pushbench();
    let idle = idle
        .args(["limits", "idle"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = Running::start(idle).output();
    assert_eq!(
        text(&output.stderr),
        "pushbench: '--objective' is 'p99<=1s,missing=0,connects=all', but scenario 'idle' \
         publishes nothing; choose another scenario, or an objective without a latency\n"
    );
    assert_eq!(output.status.code(), Some(2));
}
