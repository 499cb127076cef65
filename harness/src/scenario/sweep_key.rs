//! What a sweep may vary: any number of a scenario, by its path.
//!
//! Before the data path. In: the schema of a scenario, so that a number that is added to one can be
//! swept at once. Out: a key for each.

use super::Scenario;
use super::conditions::faults::MAX_FAULTS;
use serde_json::Value;
use std::sync::LazyLock;

/// Keys with a short name, by which records and options know them.
const SHORT: [(&str, &str); 5] = [
    ("clients", "clients.count"),
    ("payload_bytes", "publish.payload_bytes"),
    ("channels", "channels.count"),
    ("rate_per_s", "publish.rate_per_s"),
    ("slow_share", "slow_readers.share"),
];

/// `sweep.` and the path of every number, those with a short name first.
static PLACES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let schema = schemars::schema_for!(Scenario).to_value();
    let mut paths = SHORT.map(|(_, path)| path.to_owned()).to_vec();
    numbers(&schema, &schema, "", &mut paths);
    // How often a point is run is not a place on a curve.
    paths.retain(|path| !path.starts_with("run."));
    paths.iter().map(|path| format!("sweep.{path}")).collect()
});

/// Appends the paths of all numbers in the tables of `schema`.
fn numbers(schema: &Value, root: &Value, path: &str, paths: &mut Vec<String>) {
    let variants = schema["anyOf"].as_array().into_iter().flatten();
    for variant in std::iter::once(schema).chain(variants) {
        let reference = variant["$ref"].as_str();
        let target = reference.and_then(|at| root.pointer(at.trim_start_matches('#')));
        let variant = target.unwrap_or(variant);
        let types = match &variant["type"] {
            Value::Array(types) => types.as_slice(),
            one => std::slice::from_ref(one),
        };
        let is_number = types.iter().any(|t| t == "integer" || t == "number");
        if is_number && !paths.iter().any(|known| known == path) {
            paths.push(path.to_owned());
        }
        for (key, inner) in variant["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                key
            } else {
                &format!("{path}.{key}")
            };
            numbers(inner, root, path, paths);
        }
        // Of a list of tables, such as 'faults.0.at_s'.
        if let Some(items) = variant.get("items") {
            (0..MAX_FAULTS).for_each(|i| numbers(items, root, &format!("{path}.{i}"), paths));
        }
    }
}

/// A key that a sweep may vary. Where a point has several, the least of them names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SweepKey(u8);

impl SweepKey {
    /// `clients.count`.
    pub const CLIENTS: Self = Self(0);
    /// `publish.payload_bytes`.
    pub const PAYLOAD_BYTES: Self = Self(1);
    /// `channels.count`.
    pub const CHANNELS: Self = Self(2);
    /// `publish.rate_per_s`.
    pub const RATE_PER_S: Self = Self(3);
    /// `slow_readers.share`.
    pub const SLOW_SHARE: Self = Self(4);

    /// All keys.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PLACES.len()).map(|index| Self(index as u8))
    }

    /// The short names that there are.
    pub(super) fn short() -> [&'static str; SHORT.len()] {
        SHORT.map(|(short, _)| short)
    }

    /// The key of that path or short name.
    pub fn named(word: &str) -> Option<Self> {
        Self::all().find(|key| key.id() == word || key.path() == word)
    }

    /// The path in a scenario, such as `clients.count`.
    pub fn path(self) -> &'static str {
        self.place().strip_prefix("sweep.").unwrap_or_default()
    }

    /// The short name where it has one, and the path elsewhere: as a [`Point`](super::Point) of the
    /// record has it.
    pub fn id(self) -> &'static str {
        let short = SHORT.get(usize::from(self.0));
        short.map_or(self.path(), |(short, _)| short)
    }

    /// The key in a scenario file, which errors point at.
    pub(super) fn place(self) -> &'static str {
        PLACES.get(usize::from(self.0)).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_a_scenario_is_a_key_and_nothing_else() {
        let paths: Vec<&str> = SweepKey::all().map(SweepKey::path).collect();
        for path in [
            "clients.poll_interval_ms",
            "channels.members",
            "publish.burst",
            "phases.warm_up_s",
            "server.ring_messages",
            "server.send_buffer_bytes",
            "sessions.gap_ms",
            "reconnect.jitter",
            "slow_readers.read_bytes_per_s",
            "upstream.rate_per_client_s",
            "faults.0.at_s",
            "faults.15.mean_s",
        ] {
            assert!(paths.contains(&path), "{path}");
        }
        for (index, path) in paths.iter().enumerate() {
            let parts = if path.starts_with("faults.") { 3 } else { 2 };
            assert_eq!(path.split('.').count(), parts, "{path}");
            assert!(!paths[..index].contains(path), "{path} is there twice");
        }
        assert!(!paths.iter().any(|path| path.starts_with("run.")));
        assert!(paths.len() < 256);
    }

    #[test]
    fn a_key_has_a_path_and_the_commonest_a_short_name() {
        let key = SweepKey::named("slow_share").expect("a short name");
        assert_eq!(key, SweepKey::SLOW_SHARE);
        assert_eq!(SweepKey::named("slow_readers.share"), Some(key));
        assert_eq!((key.id(), key.path()), ("slow_share", "slow_readers.share"));
        let other = SweepKey::named("server.ring_messages").expect("a path");
        assert_eq!(other.id(), "server.ring_messages");
        assert_eq!(SweepKey::named("server"), None);
    }
}
