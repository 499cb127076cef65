//! What a figure belongs to: the transport, its profile, and the point of the sweep.
//!
//! Place on the data path: the identity of a trial, from the run that starts it to the report that
//! names it. Names, file names, order and JSON of that identity are here and nowhere else, so that
//! one more thing that tells rows apart is one more field of [`Variant`].

use crate::scenario::{Point, SweepKey, profile_schema, transport_schema};
use pushbench_protocol::transport::{Profile, Transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// What is measured, at whichever point of a sweep.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Side {
    /// The transport.
    #[schemars(schema_with = "transport_schema")]
    pub transport: Transport,
    /// The profile of its server.
    #[schemars(schema_with = "profile_schema")]
    pub profile: Profile,
}

/// What is measured, at a point of the sweep: all trials of one variant are one row.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct Variant {
    /// What is measured.
    #[serde(flatten)]
    pub side: Side,
    /// Where in the sweep; `null` where the scenario has none.
    pub point: Option<Point>,
}

impl Side {
    /// The baseline that this one is compared with: the one that stands on the same loop.
    #[must_use]
    pub fn baseline(self) -> Self {
        Self {
            transport: Transport::BASELINE,
            profile: Transport::BASELINE.profile_for(self.profile),
        }
    }

    /// Whether it is the baseline itself, in whichever profile.
    pub fn is_baseline(self) -> bool {
        self.transport == Transport::BASELINE
    }

    /// The same at a point of a sweep.
    pub fn at(self, point: Option<Point>) -> Variant {
        Variant { side: self, point }
    }
}

impl Default for Side {
    fn default() -> Self {
        (Transport::BASELINE, Profile::Tuned).into()
    }
}

impl From<(Transport, Profile)> for Side {
    fn from((transport, profile): (Transport, Profile)) -> Self {
        Self { transport, profile }
    }
}

/// `sse tuned`.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.profile)
    }
}

impl Variant {
    /// The same, to be found in another record: a point is then known by what varies and not by its
    /// place, since the third point of one sweep may be the first of another.
    #[must_use]
    pub fn in_any_sweep(self) -> Self {
        let point = self.point.map(|point| Point { index: 0, ..point });
        self.side.at(point)
    }

    /// The row of `tcp` that this one is compared with: at the same point, on the same loop.
    #[must_use]
    pub fn baseline(self) -> Self {
        self.side.baseline().at(self.point)
    }

    /// `sse-tuned`, or `sse-tuned-point3` in a sweep: what its files are called.
    pub fn file_name(self) -> String {
        let point = self.point.map(|point| format!("-point{}", point.index));
        let point = point.unwrap_or_default();
        format!("{}-{}{point}", self.transport, self.profile)
    }

    fn order(&self) -> impl Ord + use<> {
        // Bits of numbers that are not negative are ordered as the numbers are.
        let values = self.point.iter().flat_map(Point::values);
        let values: Vec<(SweepKey, u64)> = values.map(|(key, n)| (key, n.to_bits())).collect();
        (self.side, self.point.map(|point| point.index), values)
    }
}

impl std::ops::Deref for Variant {
    type Target = Side;

    fn deref(&self) -> &Side {
        &self.side
    }
}

impl Ord for Variant {
    /// In the order of [`Transport::ALL`], of [`Profile::ALL`] and of the sweep.
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Variant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Variant {}

/// `sse tuned`, or `sse tuned at clients 1,000`.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.side.fmt(f)?;
        self.point.map_or(Ok(()), |point| write!(f, " at {point}"))
    }
}

/// Any part of a variant: what is not named may be anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Selector {
    /// The transport.
    pub transport: Option<Transport>,
    /// The profile.
    pub profile: Option<Profile>,
}

impl Selector {
    /// Whether `side` is meant.
    pub fn takes(self, side: Side) -> bool {
        self.over(side) == side
    }

    /// `side`, but for what is named here.
    #[must_use]
    pub fn over(self, side: Side) -> Side {
        Side {
            transport: self.transport.unwrap_or(side.transport),
            profile: self.profile.unwrap_or(side.profile),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.transport.map(Transport::id),
            self.profile.map(Profile::id),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("-"))
    }
}

impl std::str::FromStr for Selector {
    type Err = String;

    /// `sse`, `sse-tuned`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, profile) = match text.split_once('-') {
            Some((transport, profile)) => (transport, Some(profile.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            transport: Some(transport.parse()?),
            profile,
        })
    }
}

impl TryFrom<String> for Selector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Two sides that are compared, at one point of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// What is compared …
    pub a: Side,
    /// … with this: a ratio of 1.1 says that `a` has 10% more.
    pub b: Side,
    /// At which point of the sweep; `null` where the scenario has none.
    pub point: Option<Point>,
}

impl Pair {
    /// Both variants.
    pub fn variants(&self) -> [Variant; 2] {
        [self.a, self.b].map(|side| side.at(self.point))
    }
}

/// `sse tuned`, `sse tuned → websocket tuned`, or either `at clients 1,000`.
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.a != self.b {
            write!(f, "{} → ", self.a)?;
        }
        self.b.at(self.point).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSE: Side = Side {
        transport: Transport::Sse,
        profile: Profile::Tuned,
    };

    fn at(index: u32, clients: u32) -> Variant {
        SSE.at(Some(
            Point::new(index)
                .with(SweepKey::CLIENTS, f64::from(clients))
                .with(SweepKey::RATE_PER_S, 4.5),
        ))
    }

    #[test]
    fn a_variant_is_named_by_all_that_identifies_it() {
        let plain = SSE.at(None);
        assert_eq!(plain.to_string(), "sse tuned");
        assert_eq!(plain.file_name(), "sse-tuned");
        let swept = at(3, 1_000);
        assert_eq!(
            swept.to_string(),
            "sse tuned at clients 1,000, rate_per_s 4.5"
        );
        assert_eq!(swept.file_name(), "sse-tuned-point3");
    }

    #[test]
    fn variants_are_in_the_order_of_the_sweep_and_a_point_is_found_in_another() {
        // From many to few: by place, and not by value.
        assert!(at(1, 1_000) < at(2, 100));
        assert!(SSE.at(None) < at(1, 1) && at(1, 1).baseline() < at(1, 1));
        assert_ne!(at(1, 1_000), at(3, 1_000));
        assert_eq!(at(1, 1_000).in_any_sweep(), at(3, 1_000).in_any_sweep());
        assert_ne!(at(1, 1_000).in_any_sweep(), at(1, 100).in_any_sweep());
    }

    #[test]
    fn a_selector_takes_what_it_names_and_replaces_nothing_else() {
        let selector: Selector = "websocket".parse().expect("a transport");
        let websocket = selector.over(SSE);
        assert!(selector.takes(websocket) && !selector.takes(SSE));
        assert_eq!(websocket, (Transport::WebSocket, Profile::Tuned).into());
        assert!(Selector::default().takes(websocket));
        let lean: Selector = "sse-lean".parse().expect("both");
        assert_eq!(
            (lean.to_string(), lean.takes(SSE)),
            ("sse-lean".to_owned(), false)
        );
        assert!("sse-best".parse::<Selector>().is_err());
    }

    #[test]
    fn a_pair_is_named_by_both_and_by_their_point() {
        let Variant { side, point } = at(2, 10);
        let (a, b) = (side, side.baseline());
        let pair = Pair { a, b, point };
        assert_eq!(
            pair.to_string(),
            "sse tuned → tcp tuned at clients 10, rate_per_s 4.5"
        );
        let itself = Pair {
            a,
            b: a,
            point: None,
        };
        assert_eq!(itself.to_string(), "sse tuned");
    }
}
