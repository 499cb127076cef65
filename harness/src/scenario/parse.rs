//! From TOML text to a checked scenario, and from an error to the line it stands on.

use super::error::{Problem, ScenarioError};
use super::{Scenario, SweepKey, check};
use crate::text;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// See [`Scenario::parse`].
pub(super) fn parse(path: &str, source: &str) -> Result<Scenario, ScenarioError> {
    let file = File { path, source };
    // Twice over the same text: once for where things stand, once for what they are.
    let document = DeTable::parse(source).map_err(|error| file.syntax(&error))?;
    let table = document.get_ref();
    if let Some((key, _)) = table.iter().find(|(key, _)| key.get_ref() == "name") {
        let message = "unknown key 'name': a scenario is named after its file; remove it";
        return Err(file.at(key.span().start, message.to_owned()));
    }
    if let Some((_, sweep)) = table.iter().find(|(key, _)| key.get_ref() == "sweep")
        && let DeValue::Table(lists) = sweep.get_ref()
    {
        file.sweep(lists, "")?;
    }
    let mut scenario: Scenario =
        toml::from_str(source).map_err(|error| file.wrong_value(table, &error))?;
    scenario.name = text::printable(stem(path)).into_owned();
    check::check(&scenario).map_err(|problem| file.broken_rule(table, &problem))?;
    Ok(scenario)
}

/// `chat` for `scenarios/chat.toml`.
fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.strip_suffix(".toml").unwrap_or(file)
}

struct File<'a> {
    path: &'a str,
    source: &'a str,
}

impl File<'_> {
    fn at(&self, offset: usize, message: String) -> ScenarioError {
        let before = &self.source.as_bytes()[..offset.min(self.source.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        ScenarioError::File {
            path: self.path.to_owned(),
            line,
            message,
        }
    }

    fn syntax(&self, error: &toml::de::Error) -> ScenarioError {
        let span = error.span().unwrap_or_default();
        let found = self.source.get(span.clone()).unwrap_or_default();
        let message = match error.message() {
            "duplicate key" => format!("'{found}' stands here a second time; remove one"),
            message => format!("this is not TOML: {}", message.replace('`', "'")),
        };
        self.at(span.start, message)
    }

    /// A key that is unknown or missing, or a value of the wrong type, as serde says it; told in
    /// our words. The tests hold the wording of both sides fast.
    fn wrong_value(&self, table: &DeTable<'_>, error: &toml::de::Error) -> ScenarioError {
        let span = error.span().unwrap_or_default();
        let message = error.message();
        let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let place = enclosing(table, &span);
        let key = place.last().copied().unwrap_or("the file");
        let told = if let (true, [name, allowed @ ..]) =
            (message.starts_with("unknown field"), names.as_slice())
        {
            let allowed = allowed.iter().copied().filter(|&known| known != "name");
            let hint = text::hint(name, allowed.clone());
            format!(
                "unknown key '{name}'{hint}; known here: {}",
                text::quoted(allowed)
            )
        } else if let (true, [name, allowed @ ..]) =
            (message.starts_with("unknown variant"), names.as_slice())
        {
            let hint = text::hint(name, allowed.iter().copied());
            let allowed = text::quoted(allowed.iter().copied());
            format!("'{key}' has '{name}'{hint}; expected one of {allowed}")
        } else if let (true, [name]) = (message.starts_with("missing field"), names.as_slice()) {
            match place.last() {
                Some(_) => format!("'{name}' is missing from [{}]; add it", place.join(".")),
                None => format!("'{name}' is missing; add it at the top"),
            }
        } else if let Some((_, expected)) = message.rsplit_once(", expected ") {
            let found = self.source.get(span.clone()).unwrap_or_default();
            format!("'{key}' is {found}, but {} is expected", in_words(expected))
        } else {
            format!("'{key}': {}", message.replace('`', "'"))
        };
        self.at(span.start, told)
    }

    /// Looks for keys of `[sweep]` that are paths of no number, and for values that are not lists of
    /// numbers: it is a tree of any depth, whose errors serde reports without their line.
    fn sweep(&self, table: &DeTable<'_>, above: &str) -> Result<(), ScenarioError> {
        for (key, value) in table {
            let name = key.get_ref();
            let path = match above {
                "" => name.to_string(),
                _ => format!("{above}.{name}"),
            };
            let expected = |value: &Spanned<DeValue<'_>>, what: &str| {
                let found = self.source.get(value.span()).unwrap_or_default();
                let message = format!("'{name}' is {found}, but {what} is expected");
                self.at(value.span().start, message)
            };
            let list = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.sweep(inner, &path)?;
                    continue;
                }
                list => list,
            };
            match SweepKey::named(&path) {
                Some(swept) if swept.path() == path => {}
                found => return Err(self.at(key.span().start, unknown_swept(&path, found))),
            }
            let DeValue::Array(items) = list else {
                return Err(expected(value, "a list"));
            };
            let is_number = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::Integer(_) => true,
                DeValue::Float(float) => float.as_str().parse().is_ok_and(f64::is_finite),
                _ => false,
            };
            if let Some(item) = items.iter().find(|item| !is_number(item)) {
                return Err(expected(item, "a number"));
            }
        }
        Ok(())
    }

    fn broken_rule(&self, table: &DeTable<'_>, problem: &Problem) -> ScenarioError {
        let message = format!("'{}' {}", problem.short_key(), problem.message);
        self.at(offset_of(table, problem.key), message)
    }
}

/// The error for a key that a sweep does not know, or knows by its path.
fn unknown_swept(word: &str, found: Option<SweepKey>) -> String {
    if let Some(key) = found {
        return format!(
            "unknown key '{word}' in [sweep]: it is '{}' now",
            key.path()
        );
    }
    format!(
        "unknown key '{word}' in [sweep]{}; expected the path of a number, such as \
         'server.ring_messages'",
        text::hint(word, SweepKey::all().map(SweepKey::path))
    )
}

/// What serde expects, for one who does not read Rust.
fn in_words(expected: &str) -> &str {
    match expected {
        "u32" | "u64" | "usize" => "a whole number, 0 or more,",
        "f64" => "a number",
        "a string" | "a borrowed string" => "a text in quotes",
        "a sequence" => "a list",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    }
}

/// The keys, outermost first, of the innermost entry whose value covers `span`; empty where it is
/// the whole file.
fn enclosing<'a>(table: &'a DeTable<'_>, span: &Range<usize>) -> Vec<&'a str> {
    for (key, value) in table {
        if let DeValue::Table(inner) = value.get_ref() {
            let deeper = enclosing(inner, span);
            if !deeper.is_empty() {
                return [vec![&**key.get_ref()], deeper].concat();
            }
        }
        // The span of a [table] is its header, and those of its keys lie outside it.
        if covers(value, span) {
            return vec![&**key.get_ref()];
        }
    }
    Vec::new()
}

fn covers(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let outer = value.span();
    outer.start <= span.start && span.end <= outer.end && !span.is_empty()
}

/// Where `key` (such as `publish.burst`) stands: the offset of the key itself, or of its table
/// where the file leaves it to its default, or of the start.
fn offset_of(table: &DeTable<'_>, key: &str) -> usize {
    let (mut table, mut offset) = (table, 0);
    for part in key.split('.') {
        let Some((key, value)) = table.iter().find(|(key, _)| &**key.get_ref() == part) else {
            break;
        };
        offset = key.span().start;
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    offset
}
