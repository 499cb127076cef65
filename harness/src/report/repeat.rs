//! The command that repeats a run, from what its record says.

use std::borrow::Cow;
use std::fmt::Write;

use super::tree::Tree;
use super::view::View;
use crate::record::Family;
use crate::record::Record;
use crate::scenario::{EMBEDDED, Overrides, Scenario};
use crate::text::{file_name, shell};

/// How a run is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeat {
    /// The command line.
    pub(super) command: String,
    /// The scenario as a file, where no built-in one with options is the one that ran.
    pub(super) file: Option<(String, String)>,
}

/// Of a record.
pub(super) fn repeat(view: &View<'_>) -> Repeat {
    let record = view.record;
    let ran = &record.scenario;
    if let Some(options) = search(view) {
        return from_file(record, "limits", &options);
    }
    let known = EMBEDDED.iter().any(|(name, _)| *name == ran.name);
    let built_in = known.then(|| Scenario::load(&ran.name).ok()).flatten();
    if let Some(mut scenario) = built_in {
        let (overrides, options) = difference(&scenario, ran);
        let changed = overrides != Overrides::default();
        if (!changed || scenario.apply(&overrides).is_ok()) && is_same(&scenario, ran) {
            let name = shell(&ran.name);
            let command = format!("pushbench run {name}{options}{}", tail(record));
            return Repeat {
                command,
                file: None,
            };
        }
    }
    from_file(record, "run", "")
}

fn from_file(record: &Record, command: &str, options: &str) -> Repeat {
    let mut text = toml::Table::try_from(&record.scenario).unwrap_or_default();
    // What the file is called is its name.
    text.remove("name");
    let name = &record.scenario.name;
    // A name that is a path would be one in another folder.
    let is_a_path = name.is_empty() || name.contains(['/', '\0']);
    let name: Cow<'_, str> = match is_a_path {
        true => file_name(name).into(),
        false => name.into(),
    };
    let file = format!("{name}.toml");
    let path = format!("./{file}");
    Repeat {
        command: format!(
            "pushbench {command} {}{options}{}",
            shell(&path),
            tail(record)
        ),
        file: Some((file, text.to_string())),
    }
}

/// The options of a search for limits; `None` where the record is of a run.
fn search(view: &View<'_>) -> Option<String> {
    let Some(Tree::List(limits)) = view.tree.at("limits") else {
        return None;
    };
    let word = |key: &str| limits.first()?.at(key)?.text();
    // Each once, in the order in which they were searched.
    let list = |key: &str| {
        let mut ids: Vec<String> = Vec::new();
        for id in limits.iter().filter_map(|limit| limit.at(key)?.text()) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids.join(",")
    };
    let of = word("of")?;
    let maximum = if of == "rate" {
        "--max-rate"
    } else {
        "--max-clients"
    };
    let start = word("steps/0/value").map(|value| format!(" --start {value}"));
    Some(format!(
        " --transports {} --profiles {} --of {of} --objective {}{} {maximum} {} --resolution {}",
        list("transport"),
        list("profile"),
        shell(&word("objective")?),
        start.unwrap_or_default(),
        word("maximum")?,
        word("resolution")?,
    ))
}

/// The same but for the seed, which the command gives anyway.
fn is_same(a: &Scenario, b: &Scenario) -> bool {
    let without_seed = |scenario: &Scenario| {
        let mut scenario = scenario.clone();
        scenario.run.seed = None;
        scenario
    };
    without_seed(a) == without_seed(b)
}

/// Seed and clients of the run.
fn tail(record: &Record) -> String {
    let mut out = format!(" --seed {}", record.seed);
    let family = record.trials.iter().map(|trial| trial.harness.client);
    if family.clone().any(|family| family != Family::default()) {
        out.push_str(" --client-family library");
    }
    out
}

/// The options that make `ran` of `scenario`, as far as options can.
fn difference(scenario: &Scenario, ran: &Scenario) -> (Overrides, String) {
    let mut overrides = Overrides::default();
    let mut options = String::new();
    let ids = |ids: Vec<&'static str>| ids.join(",");
    if scenario.run.transports != ran.run.transports {
        let list = ids(ran.run.transports.iter().map(|t| t.id()).collect());
        let _ = write!(options, " --transports {list}");
        overrides.transports = Some(ran.run.transports.clone());
    }
    if scenario.run.profiles != ran.run.profiles {
        let list = ids(ran.run.profiles.iter().map(|p| p.id()).collect());
        let _ = write!(options, " --profiles {list}");
        overrides.profiles = Some(ran.run.profiles.clone());
    }
    if scenario.clients.count != ran.clients.count {
        let _ = write!(options, " --clients {}", ran.clients.count);
        overrides.clients = Some(ran.clients.count);
    }
    let rate = |scenario: &Scenario| scenario.publish.as_ref().map(|p| p.rate_per_s);
    if let (true, Some(rate)) = (rate(scenario) != rate(ran), rate(ran)) {
        let _ = write!(options, " --rate {rate}");
        overrides.rate = Some(rate);
    }
    if scenario.phases.measure_s != ran.phases.measure_s {
        let _ = write!(options, " --duration {}", ran.phases.measure_s);
        overrides.duration_s = Some(ran.phases.measure_s);
    }
    if scenario.run.trials != ran.run.trials {
        let trials = ran.run.trials.map(|trials| trials.to_string());
        let _ = write!(options, " --trials {}", trials.as_deref().unwrap_or("auto"));
        overrides.trials = Some(ran.run.trials);
    }
    if scenario.run.budget_s != ran.run.budget_s {
        let _ = write!(options, " --budget {}", ran.run.budget_s);
        overrides.budget_s = Some(ran.run.budget_s);
    }
    if scenario.run.slices && !ran.run.slices {
        options.push_str(" --whole-trials");
        overrides.whole_trials = true;
    }
    (overrides, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;
    use pushbench_protocol::transport::{Profile, Transport};

    #[test]
    fn a_built_in_scenario_is_repeated_by_name_and_options() {
        let mut record = sample::record();
        assert_eq!(
            repeat(&View::of(&record)).command,
            "pushbench run quick --duration 3 --seed 7"
        );
        let ran = &mut record.scenario;
        ran.run.transports = vec![Transport::Sse, Transport::WebSocket];
        ran.run.profiles = vec![Profile::Stock, Profile::Tuned];
        ran.clients.count = 200;
        ran.publish.as_mut().expect("it publishes").rate_per_s = 50.5;
        ran.phases.measure_s = 4.0;
        ran.run.trials = Some(5);
        ran.run.budget_s = 30.0;
        ran.run.slices = false;
        ran.run.seed = Some(9);
        let found = repeat(&View::of(&record));
        assert_eq!(
            found.command,
            "pushbench run quick --transports sse,websocket --profiles stock,tuned --clients 200 \
             --rate 50.5 --duration 4 --trials 5 --budget 30 --whole-trials --seed 7"
        );
        assert_eq!(found.file, None);
    }

    #[test]
    fn any_other_scenario_is_repeated_from_a_file_that_is_given() {
        let mut record = sample::record();
        record.scenario.clients.poll_interval_ms = 77;
        let found = repeat(&View::of(&record));
        assert_eq!(found.command, "pushbench run ./quick.toml --seed 7");
        let (name, text) = found.file.expect("a file");
        let back = Scenario::parse(&name, &text).expect("a scenario");
        assert_eq!(back, record.scenario);
    }

    #[test]
    fn a_hostile_name_is_one_word_of_the_command_and_ends_no_block_of_markdown() {
        for name in [
            "$(touch x)",
            "it's",
            "\"a\" `b`",
            "a\n```\nb",
            "../../x",
            "a\n<!-- /pushbench -->\nb",
        ] {
            let mut record = sample::record();
            record.scenario.name = name.to_owned();
            let found = repeat(&View::of(&record));
            let (file, _) = found.file.expect("a file");
            assert!(!file.contains('/'), "{file}");
            // What a shell makes of it, in a folder where nothing can be touched.
            let script = found.command.replacen("pushbench", "printf '%s\\0'", 1);
            let folder = tempfile::tempdir().expect("a folder");
            let mut shell = std::process::Command::new("sh");
            let output = shell.args(["-c", &script]).current_dir(&folder).output();
            let words = output.expect("a shell").stdout;
            let words = String::from_utf8(words).expect("UTF-8");
            let words: Vec<&str> = words.split_terminator('\0').collect();
            assert_eq!(words, ["run", &format!("./{file}"), "--seed", "7"]);
            assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 0);
        }
    }
}
