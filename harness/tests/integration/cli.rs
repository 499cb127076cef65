//! What the program answers where nothing is wrong with its input: on standard output, through pipes
//! and to signals.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use pushbench::scenario::EMBEDDED;
use pushbench_protocol::transport::{Profile, Transport};

use crate::support::{
    self, Running, Runs, TINY, answer, await_end, await_some, children, output, pushbench, read,
    scenario, send, text,
};

#[test]
fn list_shows_scenarios_transports_and_profiles() {
    let list = answer(&mut pushbench("list"));
    let scenarios = EMBEDDED.iter().map(|(name, _)| *name);
    let transports = Transport::ALL.map(Transport::id);
    let profiles = Profile::ALL.map(Profile::id);
    for word in scenarios.chain(transports).chain(profiles) {
        let listed = |line: &str| line.split_whitespace().next() == Some(word);
        assert!(list.lines().any(listed), "{word} is missing from:\n{list}");
    }
}

#[test]
fn list_shows_a_scenario_as_its_file_has_it() {
    let file = include_str!("../../../scenarios/quick.toml");
    assert_eq!(answer(&mut pushbench("list --show quick")), file);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = scenario(folder.path(), "tiny", TINY);
    assert_eq!(answer(pushbench("list --show").arg(path)), TINY);
}

#[test]
fn a_file_that_is_called_like_a_built_in_scenario_is_shown_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = scenario(folder.path(), "quick", TINY);
    assert_eq!(answer(pushbench("list --show").arg(path)), TINY);
}

#[test]
fn list_prints_the_committed_schema() {
    let committed = include_str!("../../../results/run.schema.json");
    assert_eq!(answer(&mut pushbench("list --schema")), committed);
}

#[test]
fn every_command_has_a_help_and_the_program_a_version() {
    for (command, word) in [
        ("", "Usage: pushbench <COMMAND>"),
        ("run", "--transports <IDS>"),
        ("serve", "--keep-alive-s <S>"),
        ("list", "--schema"),
        ("limits", "--objective <TERMS>"),
        ("doctor", "--from <RUN>"),
        ("verify", "--client-family <FAMILY>"),
        ("compare", "--fail-on <GATE>"),
        ("advise", "--price-per-gb <PRICE>"),
        ("completions", "bash"),
        ("man", "[COMMAND]"),
    ] {
        let help = answer(&mut pushbench(&format!("{command} --help")));
        assert!(help.contains(word), "{command}: {help}");
        assert!(
            !help.contains('\u{1b}'),
            "no colours where there is no terminal"
        );
    }
    let version = format!("pushbench {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(answer(&mut pushbench("--version")), version);
    // Without a command there is nothing to do: the help, but as an error.
    let output = output(&mut pushbench(""));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
    assert!(text(&output.stderr).contains("Usage: pushbench <COMMAND>"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let runs = Runs::of(TINY);
    let program = env!("CARGO_BIN_EXE_pushbench");
    for (command, status) in [
        ("list | true", "0 0"),
        ("list --schema | head -n 1 >/dev/null", "0 0"),
        ("run --help | true", "0 0"),
        // Progress, too, which goes on after the reader has gone; the record is finished.
        (
            "run tiny.toml --transports tcp,sse --out out 2>&1 | true",
            "0 0",
        ),
        ("run nosuch 2>&1 | true", "2 0"),
    ] {
        let script = format!("'{program}' {command}; echo \"${{PIPESTATUS[@]}}\"");
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(runs.folder());
        let found = answer(&mut bash);
        let found = found.trim_end();
        // On a machine that is busy elsewhere the publisher may be late, and the trial void.
        let late = command.starts_with("run tiny") && found == "1 0";
        assert!(found == status || late, "{command}: {found}");
    }
    let record = read(&runs.kept().expect("a run").join("run.json"));
    assert!(record.contains("\"status\": \"complete\""), "{record}");
}

#[test]
fn a_full_disk_under_standard_output_is_told() {
    let full = std::fs::File::create("/dev/full").expect("a Linux with /dev/full");
    let mut command = pushbench("list");
    let output = Running::start(command.stdout(full).stderr(Stdio::piped())).output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "pushbench: cannot write to standard output: no space left on device; send it elsewhere, \
         or free some space\n"
    );
}

#[test]
fn verify_says_what_it_checked() {
    let verify = "verify --transports tcp --client-family lean";
    let output = output(&mut pushbench(verify));
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).starts_with("verified: 4 trials, "),
        "{output:?}"
    );
    assert_eq!(text(&output.stderr).lines().count(), 4, "a line a trial");
    let quiet = answer(&mut pushbench(&format!("{verify} --quiet")));
    assert_eq!(quiet, "");
}

#[test]
fn an_interrupted_verify_is_no_success_and_leaves_no_process() {
    let modes = ["--transports tcp", "--known-answers", "--statistics"];
    std::thread::scope(|scope| {
        for (index, signal) in support::ENDING.into_iter().enumerate() {
            let mode = modes[index % modes.len()];
            scope.spawn(move || interrupted_verify(mode, signal));
        }
    });
}

fn interrupted_verify(mode: &str, signal: Signal) {
    let process = Running::piped(&mut pushbench(&format!("verify {mode}")));
    let pid = process.pid();
    let under_way = await_some("its children", || {
        let children = children(pid);
        (children.len() >= 2).then_some(children)
    });
    send(pid, signal);
    let output = process.output();
    assert_eq!(output.status.code(), Some(1), "{signal}");
    await_end(&under_way);
    assert!(
        text(&output.stderr).ends_with("pushbench: interrupted\n"),
        "{output:?}"
    );
    assert_eq!(text(&output.stdout), "");
}
