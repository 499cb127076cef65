//! The scenarios that are built into the binary, so that it works from any folder.

use super::error::ScenarioError;
use super::{Scenario, parse};
use crate::text;

/// Name and text of every file in `scenarios/`, the first one being what `run` runs by default.
pub const EMBEDDED: &[(&str, &str)] = &[
    ("quick", include_str!("../../../scenarios/quick.toml")),
    (
        "notifications",
        include_str!("../../../scenarios/notifications.toml"),
    ),
    (
        "dashboard",
        include_str!("../../../scenarios/dashboard.toml"),
    ),
    (
        "fanout-10k",
        include_str!("../../../scenarios/fanout-10k.toml"),
    ),
    ("idle", include_str!("../../../scenarios/idle.toml")),
    ("log-tail", include_str!("../../../scenarios/log-tail.toml")),
    (
        "job-progress",
        include_str!("../../../scenarios/job-progress.toml"),
    ),
    (
        "payload-sweep",
        include_str!("../../../scenarios/payload-sweep.toml"),
    ),
    (
        "hundred-k",
        include_str!("../../../scenarios/hundred-k.toml"),
    ),
    (
        "million-idle",
        include_str!("../../../scenarios/million-idle.toml"),
    ),
    (
        "clients-sweep",
        include_str!("../../../scenarios/clients-sweep.toml"),
    ),
];

/// See [`Scenario::load`].
pub(super) fn load(name_or_path: &str) -> Result<Scenario, ScenarioError> {
    if name_or_path.contains('/') || name_or_path.ends_with(".toml") {
        let source =
            std::fs::read_to_string(name_or_path).map_err(|error| ScenarioError::Read {
                path: name_or_path.to_owned(),
                reason: text::io_reason(&error),
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
