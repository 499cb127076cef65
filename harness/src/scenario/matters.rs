//! What difference matters: below it two transports are alike, however surely they differ.
//!
//! Before the data path. In: the table `[matters]`. Out: for each kind of figure, the smallest difference that
//! somebody would notice. Comparisons go by it (equivalence: Schuirmann 1987).

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The smallest difference that matters. Two figures are alike where they differ by less than either: the
/// share, or the amount of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Matters {
    /// Of anything, as a share of the smaller figure: 0 to 1. Default 0.05.
    pub relative: f64,
    /// Of latencies and other times, in ms. Default 1: less than a frame of any screen, or a round trip.
    pub latency_ms: f64,
    /// Of memory per client, in bytes. Default 1,000.
    pub memory_bytes: f64,
    /// Of bytes per delivery or message. Default 16.
    pub wire_bytes: f64,
}

impl Default for Matters {
    fn default() -> Self {
        Self {
            relative: 0.05,
            latency_ms: 1.0,
            memory_bytes: 1_000.0,
            wire_bytes: 16.0,
        }
    }
}

impl Matters {
    /// Its values by the names of their keys.
    fn values(&mut self) -> [(&'static str, &mut f64); 4] {
        [
            ("relative", &mut self.relative),
            ("latency_ms", &mut self.latency_ms),
            ("memory_bytes", &mut self.memory_bytes),
            ("wire_bytes", &mut self.wire_bytes),
        ]
    }

    /// The first value that cannot be: its key, and what is wrong with it.
    pub(super) fn problem(mut self) -> Option<(&'static str, String)> {
        let mut values = self.values().into_iter();
        values.find_map(|(key, value)| {
            let most = if key == "relative" { 1.0 } else { 1e9 };
            let is_good = (0.0..=most).contains(value);
            let place = match key {
                "relative" => "matters.relative",
                "latency_ms" => "matters.latency_ms",
                "memory_bytes" => "matters.memory_bytes",
                _ => "matters.wire_bytes",
            };
            (!is_good).then(|| {
                let expected =
                    format!("is {value}, but the smallest difference that matters is 0 to {most}");
                (place, expected)
            })
        })
    }
}

/// One value of [`Matters`], as an option gives it: `latency_ms=0.1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MattersValue {
    key: &'static str,
    value: f64,
}

impl MattersValue {
    /// Puts it in its place.
    pub(super) fn enter(self, matters: &mut Matters) {
        for (key, value) in matters.values() {
            if key == self.key {
                *value = self.value;
            }
        }
    }
}

impl std::fmt::Display for MattersValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl FromStr for MattersValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "'{text}' is not KEY=NUMBER with one of relative, latency_ms, memory_bytes, wire_bytes"
            )
        };
        let (key, value) = text.split_once('=').ok_or_else(bad)?;
        let value: f64 = value.parse().map_err(|_| bad())?;
        let mut all = Matters::default();
        let known = all.values().into_iter().map(|(known, _)| known);
        let key = { known }.find(|known| *known == key).ok_or_else(bad)?;
        let given = Self { key, value };
        given.enter(&mut all);
        match all.problem() {
            Some((_, problem)) => Err(format!("'{text}': {key} {problem}")),
            None => Ok(given),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_given_by_name_and_bad_ones_refused() {
        let mut matters = Matters::default();
        for text in ["latency_ms=0.1", "relative=0"] {
            text.parse::<MattersValue>()
                .expect(text)
                .enter(&mut matters);
        }
        assert_eq!((matters.latency_ms, matters.relative), (0.1, 0.0));
        for bad in [
            "latency_ms",
            "latency=1",
            "relative=1.5",
            "wire_bytes=-1",
            "wire_bytes=NaN",
            "=",
            "",
        ] {
            assert!(bad.parse::<MattersValue>().is_err(), "{bad}");
        }
    }
}
