//! The scenarios that are built into the binary, so that it works from any folder.

use std::path::Path;

use super::error::ScenarioError;
use super::{Scenario, parse};
use crate::{files, text};

/// Name and text of every file in `scenarios/`, in the order of names behind the one that `run` runs
/// by default. Whoever adds a file adds a scenario: `build.rs` makes the list.
pub const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// See [`Scenario::load`].
pub(super) fn load(name_or_path: &str) -> Result<Scenario, ScenarioError> {
    if name_or_path.contains('/') || name_or_path.ends_with(".toml") {
        let source =
            files::read_text(Path::new(name_or_path), files::MAX_TEXT_BYTES).map_err(|error| {
                ScenarioError::Read {
                    path: name_or_path.to_owned(),
                    reason: text::io_reason(&error),
                }
            })?;
        return parse::parse(name_or_path, &source);
    }
    let names = EMBEDDED.iter().map(|&(name, _)| name);
    match EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
        Some((name, source)) => parse::parse(&format!("scenarios/{name}.toml"), source),
        None => Err(ScenarioError::Unknown {
            name: name_or_path.to_owned(),
            hint: match text::nearest(name_or_path, names.clone()) {
                Some(near) => format!("; did you mean '{near}'?"),
                None => String::new(),
            },
            known: text::quoted(names),
        }),
    }
}
