//! A sweep: one scenario at several points, so that a record holds a curve.
//!
//! Before the data path. In: the lists of `[sweep]`, or of `--sweep`. Out: [`Point`]s, and the
//! scenario as it is at each. Nothing is measured here.
//!
//! Lists go together value by value, as the columns of a table do: `clients = [100, 1000]` with
//! `rate_per_s = [40, 4]` are two points with the same number of deliveries, not four.

use super::error::Problem;
use super::{ChannelCount, Scenario, check};
use crate::text::{self, figure::count};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most points of a sweep. Every round runs every transport at each: with five transports and ten
/// seconds a trial, this many already take most of an hour.
pub const MAX_POINTS: usize = 50;

/// What varies: at least one list, and all of one length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ScenarioSweep")]
pub struct Sweep {
    /// In place of `clients.count`.
    pub clients: Option<Vec<u32>>,
    /// In place of `publish.payload_bytes`.
    pub payload_bytes: Option<Vec<usize>>,
    /// In place of `channels.count`.
    pub channels: Option<Vec<u32>>,
    /// In place of `publish.rate_per_s`.
    pub rate_per_s: Option<Vec<f64>>,
    /// In place of `slow_readers.share`.
    pub slow_share: Option<Vec<f64>>,
}

/// A key that a sweep may vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SweepKey {
    /// `clients.count`.
    Clients,
    /// `publish.payload_bytes`.
    PayloadBytes,
    /// `channels.count`.
    Channels,
    /// `publish.rate_per_s`.
    RatePerS,
    /// `slow_readers.share`.
    SlowShare,
}

impl SweepKey {
    /// All keys. Where a point has several, the first of them names it.
    pub const ALL: [Self; 5] = [
        Self::Clients,
        Self::PayloadBytes,
        Self::Channels,
        Self::RatePerS,
        Self::SlowShare,
    ];

    /// The key in `[sweep]`, and in a [`Point`] of the record.
    pub fn id(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::PayloadBytes => "payload_bytes",
            Self::Channels => "channels",
            Self::RatePerS => "rate_per_s",
            Self::SlowShare => "slow_share",
        }
    }

    /// The option that gives its list, and the key that errors point at.
    pub(super) fn option(self) -> (&'static str, &'static str) {
        let option = match self {
            Self::Clients => "--sweep clients",
            Self::PayloadBytes => "--sweep payload_bytes",
            Self::Channels => "--sweep channels",
            Self::RatePerS => "--sweep rate_per_s",
            Self::SlowShare => "--sweep slow_share",
        };
        (option, self.stands_for().1)
    }

    /// The key whose place it takes, and the key that errors point at.
    fn stands_for(self) -> (&'static str, &'static str) {
        match self {
            Self::Clients => ("clients.count", "sweep.clients"),
            Self::PayloadBytes => ("publish.payload_bytes", "sweep.payload_bytes"),
            Self::Channels => ("channels.count", "sweep.channels"),
            Self::RatePerS => ("publish.rate_per_s", "sweep.rate_per_s"),
            Self::SlowShare => ("slow_readers.share", "sweep.slow_share"),
        }
    }
}

/// Where in a sweep a trial lies: the values of the keys that vary, `null` for those that do not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SweepPoint")]
pub struct Point {
    /// Which point of the sweep, from 1.
    pub index: u32,
    /// Number of clients.
    pub clients: Option<u32>,
    /// Bytes of an envelope.
    pub payload_bytes: Option<usize>,
    /// Number of channels.
    pub channels: Option<u32>,
    /// Messages a second over all channels.
    pub rate_per_s: Option<f64>,
    /// Share of the clients that read slowly.
    #[serde(default)]
    pub slow_share: Option<f64>,
}

impl Point {
    /// What varies here, in the order of [`SweepKey::ALL`].
    pub fn values(&self) -> impl Iterator<Item = (SweepKey, f64)> {
        SweepKey::ALL
            .into_iter()
            .filter_map(|key| Some((key, self.value(key)?)))
    }

    /// The value of `key` at this point; `None` where it does not vary.
    pub fn value(&self, key: SweepKey) -> Option<f64> {
        match key {
            SweepKey::Clients => self.clients.map(f64::from),
            SweepKey::PayloadBytes => self.payload_bytes.map(|bytes| bytes as f64),
            SweepKey::Channels => self.channels.map(f64::from),
            SweepKey::RatePerS => self.rate_per_s,
            SweepKey::SlowShare => self.slow_share,
        }
    }

    /// The key that names the point, with its value; what an axis of a curve shows.
    pub fn leading(&self) -> Option<(SweepKey, f64)> {
        self.values().next()
    }
}

/// `clients 1,000, rate_per_s 40`.
impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (key, value)) in self.values().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            let value = match value.fract() {
                0.0 => count(value as u64),
                _ => value.to_string(),
            };
            write!(f, "{comma}{} {value}", key.id())?;
        }
        Ok(())
    }
}

impl Sweep {
    /// Every point, in the order of the lists.
    pub fn points(&self) -> Vec<Point> {
        let length = self.lengths().map(|(_, length)| length).max().unwrap_or(0);
        (0..length)
            .map(|i| Point {
                index: i as u32 + 1,
                clients: self.clients.as_ref().and_then(|l| l.get(i).copied()),
                payload_bytes: self.payload_bytes.as_ref().and_then(|l| l.get(i).copied()),
                channels: self.channels.as_ref().and_then(|l| l.get(i).copied()),
                rate_per_s: self.rate_per_s.as_ref().and_then(|l| l.get(i).copied()),
                slow_share: self.slow_share.as_ref().and_then(|l| l.get(i).copied()),
            })
            .collect()
    }

    /// The keys that vary, each with the length of its list.
    fn lengths(&self) -> impl Iterator<Item = (SweepKey, usize)> {
        let lengths = [
            self.clients.as_ref().map(Vec::len),
            self.payload_bytes.as_ref().map(Vec::len),
            self.channels.as_ref().map(Vec::len),
            self.rate_per_s.as_ref().map(Vec::len),
            self.slow_share.as_ref().map(Vec::len),
        ];
        SweepKey::ALL
            .into_iter()
            .zip(lengths)
            .filter_map(|(key, length)| Some((key, length?)))
    }

    /// Whether `key` varies.
    pub fn varies(&self, key: SweepKey) -> bool {
        self.lengths().any(|(varying, _)| varying == key)
    }

    /// Adds the list of another `--sweep`.
    ///
    /// # Errors
    /// In words, where both have a list of the same key.
    pub fn join(self, other: Self) -> Result<Self, String> {
        if let Some((key, _)) = self.lengths().find(|&(key, _)| other.varies(key)) {
            return Err(format!(
                "'--sweep' has '{}' twice; put all values into one list",
                key.id()
            ));
        }
        Ok(Self {
            clients: self.clients.or(other.clients),
            payload_bytes: self.payload_bytes.or(other.payload_bytes),
            channels: self.channels.or(other.channels),
            rate_per_s: self.rate_per_s.or(other.rate_per_s),
            slow_share: self.slow_share.or(other.slow_share),
        })
    }
}

/// `clients=100,1000,10000`, as `--sweep` takes it.
impl std::str::FromStr for Sweep {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let known = SweepKey::ALL.map(SweepKey::id);
        let Some((word, list)) = argument.split_once('=') else {
            return Err(format!(
                "'{argument}' has no '='; expected a key and its values, such as \
                 'clients=100,1000'"
            ));
        };
        let Some(key) = SweepKey::ALL.into_iter().find(|key| key.id() == word) else {
            let hint = match text::nearest(word, known) {
                Some(near) => format!("; did you mean '{near}'?"),
                None => String::new(),
            };
            return Err(format!(
                "'{argument}' sweeps '{word}'{hint}; expected one of {}",
                text::quoted(known)
            ));
        };
        fn values<T: std::str::FromStr>(
            argument: &str,
            list: &str,
            expected: &str,
        ) -> Result<Option<Vec<T>>, String> {
            let value = |word: &str| {
                word.trim().parse().map_err(|_| {
                    format!("'{argument}' has '{word}', but {expected} is expected there")
                })
            };
            list.split(',')
                .map(value)
                .collect::<Result<_, _>>()
                .map(Some)
        }
        let whole = "a whole number, 0 or more,";
        let mut sweep = Self::default();
        match key {
            SweepKey::Clients => sweep.clients = values(argument, list, whole)?,
            SweepKey::PayloadBytes => sweep.payload_bytes = values(argument, list, whole)?,
            SweepKey::Channels => sweep.channels = values(argument, list, whole)?,
            SweepKey::RatePerS => sweep.rate_per_s = values(argument, list, "a number")?,
            SweepKey::SlowShare => sweep.slow_share = values(argument, list, "a number")?,
        }
        Ok(sweep)
    }
}

impl Scenario {
    /// The points at which trials run: `None` alone where there is no sweep.
    pub fn points(&self) -> Vec<Option<Point>> {
        match &self.sweep {
            Some(sweep) => sweep.points().into_iter().map(Some).collect(),
            None => vec![None],
        }
    }

    /// The scenario as it is at `point`: without a sweep, and with the point's values.
    pub fn at(&self, point: Option<Point>) -> Self {
        let mut scenario = self.clone();
        scenario.sweep = None;
        let point = point.unwrap_or_default();
        if let Some(clients) = point.clients {
            scenario.clients.count = clients;
        }
        if let Some(channels) = point.channels {
            scenario.channels.count = ChannelCount::Fixed(channels);
        }
        if let (Some(slow), Some(share)) = (&mut scenario.slow_readers, point.slow_share) {
            slow.share = share;
        }
        if let Some(publish) = &mut scenario.publish {
            if let Some(bytes) = point.payload_bytes {
                publish.payload_bytes = bytes;
            }
            if let Some(rate) = point.rate_per_s {
                publish.rate_per_s = rate;
            }
        }
        scenario
    }

    /// The most connections of any point.
    pub fn most_connections(&self) -> u32 {
        let points = self.points();
        let connections = points.iter().map(|point| self.at(*point).connections());
        connections.max().unwrap_or(self.clients.count)
    }
}

/// The first rule that the sweep breaks, or that a scenario breaks at one of its points.
pub(super) fn check(sweep: &Sweep, scenario: &Scenario) -> Result<(), Problem> {
    let refuse = |key, message| Err(Problem { key, message });
    let Some((leading, length)) = sweep.lengths().next() else {
        return refuse(
            "sweep",
            format!(
                "has no list, but something must vary; add one of {}, or remove [sweep]",
                text::quoted(SweepKey::ALL.map(SweepKey::id))
            ),
        );
    };
    for (key, values) in sweep.lengths() {
        let place = key.stands_for().1;
        if values == 0 {
            let message = "is empty, but something must run; add values, or remove the key";
            return refuse(place, message.to_owned());
        }
        if values != length {
            return refuse(
                place,
                format!(
                    "has {values} values, but '{}' has {length}; lists go together value by \
                     value, so give them the same length, or keep one",
                    leading.id()
                ),
            );
        }
        if values > MAX_POINTS {
            return refuse(
                place,
                format!(
                    "has {values} values, but a sweep has at most {MAX_POINTS} points; leave \
                     some out, or run two scenarios"
                ),
            );
        }
        let published = matches!(key, SweepKey::PayloadBytes | SweepKey::RatePerS);
        if published && scenario.publish.is_none() {
            let message = "varies what is published, but nothing is; add a [publish] table, or \
                           remove the key";
            return refuse(place, message.to_owned());
        }
        if key == SweepKey::SlowShare && scenario.slow_readers.is_none() {
            let message = "varies slow readers, but there are none; add a [slow_readers] table, or \
                           remove the key";
            return refuse(place, message.to_owned());
        }
    }
    let points = sweep.points();
    for (i, point) in points.iter().enumerate() {
        let same = |other: &&Point| {
            Point {
                index: point.index,
                ..**other
            } == *point
        };
        if let Some(first) = points[..i].iter().find(same) {
            return refuse(
                leading.stands_for().1,
                format!(
                    "has {point} at points {} and {}; use 'trials' to repeat, and name it once",
                    first.index, point.index
                ),
            );
        }
        check::check(&scenario.at(Some(*point))).map_err(|problem| {
            let swept = point
                .values()
                .map(|(key, _)| key.stands_for())
                .find(|(stands_for, _)| *stands_for == problem.key);
            match swept {
                Some((_, place)) => Problem {
                    key: place,
                    message: problem.message,
                },
                // A value that was good until the point changed what it depends on.
                None => Problem {
                    key: leading.stands_for().1,
                    message: format!(
                        "has a point ({point}) at which '{}' {}",
                        problem.short_key(),
                        problem.message
                    ),
                },
            }
        })?;
    }
    Ok(())
}
