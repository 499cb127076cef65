//! What is wrong with a command line, reported as every other error is: in one line that says where,
//! what was found, what was expected.

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::{Cli, say};
use crate::text::{nearest, quoted};

/// Prints the help that was asked for, or why nothing can be done.
pub(super) fn refuse(error: &Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has gone away has read what it wanted.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(2)
        }
        _ => {
            say(&format!("pushbench: {}", explain(error)));
            ExitCode::from(2)
        }
    }
}

/// The first argument that is not UTF-8, as far as it can be shown.
fn not_text(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let mut arguments = arguments.filter(|argument| argument.to_str().is_none());
    Some(arguments.next()?.to_string_lossy().into_owned())
}

/// The error in one line.
fn explain(error: &Error) -> String {
    let one = |kind| strings(error, kind).into_iter().next();
    let option = one(ContextKind::InvalidArg).map(|arg| bare(&arg).to_owned());
    let value = one(ContextKind::InvalidValue).unwrap_or_default();
    let help = help_of(error);
    match (error.kind(), option) {
        (ErrorKind::InvalidSubcommand, _) => {
            let found = one(ContextKind::InvalidSubcommand).unwrap_or_default();
            let cli = Cli::command();
            let known = cli.get_subcommands().filter(|c| !c.is_hide_set());
            let known: Vec<&str> = known.map(clap::Command::get_name).collect();
            let hint = did_you_mean(nearest(&found, known.iter().copied()));
            let known = quoted(known);
            format!("unknown command '{found}'{hint}; expected one of {known}")
        }
        (ErrorKind::UnknownArgument, Some(option)) => {
            let hint = did_you_mean(one(ContextKind::SuggestedArg).as_deref());
            format!("unexpected '{option}'{hint}; '{help}' lists all options")
        }
        (ErrorKind::InvalidValue, Some(option)) if value.is_empty() => {
            format!("'{option}' needs a value")
        }
        (ErrorKind::InvalidValue, Some(option)) => {
            let hint = did_you_mean(one(ContextKind::SuggestedValue).as_deref());
            let known = strings(error, ContextKind::ValidValue);
            let known = quoted(known.iter().map(String::as_str));
            format!("'{option}' is '{value}'{hint}; expected one of {known}")
        }
        (ErrorKind::ValueValidation, Some(option)) => {
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            // Our own parsers quote what they found; those of the library do not.
            if cause.starts_with(&format!("'{value}'")) {
                format!("'{option}': {cause}")
            } else {
                format!("'{option}' is '{value}', {}", in_words(&cause))
            }
        }
        (ErrorKind::ArgumentConflict, Some(option)) => {
            match one(ContextKind::PriorArg).as_deref().map(bare) {
                Some(other) if other != option => {
                    format!("'{option}' and '{other}' exclude each other; leave one out")
                }
                _ => format!("'{option}' is given twice; leave one out"),
            }
        }
        (ErrorKind::InvalidUtf8, _) => match not_text(std::env::args_os()) {
            Some(found) => {
                format!("'{found}' is not UTF-8; give a name of text, such as a link to it")
            }
            None => format!("an argument is not UTF-8; see '{help}'"),
        },
        _ => {
            // Rare kinds, in clap's words: its first paragraph.
            let whole = error.to_string();
            let first = whole.split("\n\n").next().unwrap_or_default();
            let first = first.trim_start_matches("error: ");
            let words: Vec<&str> = first.split_whitespace().collect();
            format!("{}; see '{help}'", words.join(" "))
        }
    }
}

fn strings(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// `--rate` of `--rate <PER_S>`.
fn bare(argument: &str) -> &str {
    argument.split([' ', '=']).next().unwrap_or(argument)
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean '{}'?", bare(near)))
        .unwrap_or_default()
}

/// What a parser of the standard library or of clap says, as what it expects.
fn in_words(cause: &str) -> String {
    match cause {
        "invalid float literal" | "cannot parse float from empty string" => {
            "expected a number".to_owned()
        }
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number, 0 or more".to_owned()
        }
        "number too large to fit in target type" => "expected a smaller number".to_owned(),
        "invalid socket address syntax" => {
            "expected an address with a port, such as '127.0.0.1:8080'".to_owned()
        }
        _ => match cause.rsplit_once(" is not in ") {
            Some((_, range)) => match range.strip_suffix(&format!("..={}", u64::MAX)) {
                Some(least) => format!("expected {least} or more"),
                None => format!("expected {}", range.replacen("..=", " to ", 1)),
            },
            None => cause.to_owned(),
        },
    }
}

/// `pushbench run --help`, for an error in the arguments of `run`.
fn help_of(error: &Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let words = usage.trim_start_matches("Usage:").split_whitespace();
    let command: Vec<&str> = words
        .take_while(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()))
        .collect();
    match command[..] {
        [] => "pushbench --help".to_owned(),
        _ => format!("{} --help", command.join(" ")),
    }
}
