//! A sweep: one scenario at several points, so that a record holds a curve.
//!
//! Before the data path. In: the lists of `[sweep]`, or of `--sweep`, each for a number of the
//! scenario by its path, such as `server.ring_messages`. Out: [`Point`]s, and the scenario as it is
//! at each. Nothing is measured here.
//!
//! Lists go together value by value, as the columns of a table do: `clients.count = [100, 1000]`
//! with `publish.rate_per_s = [40, 4]` are two points with the same number of deliveries, not four.

use super::error::{Check, Problem, ensure};
use super::sweep_key::SweepKey;
use super::{Scenario, check};
use crate::text::{self, figure::count};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;

/// Most points of a sweep. Every round runs every transport at each: with five transports and ten
/// seconds a trial, this many already take most of an hour.
pub const MAX_POINTS: usize = 50;

/// Most keys that vary together: a point has room for them wherever a row is named by it.
const MAX_KEYS: usize = 5;

/// What varies: at least one list, and all of one length.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sweep {
    /// In the order of keys.
    lists: Vec<(SweepKey, Vec<f64>)>,
}

/// Where in a sweep a trial lies: the values of the keys that vary.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Which point of the sweep, from 1.
    pub index: u32,
    pub(crate) values: [Option<(SweepKey, f64)>; MAX_KEYS],
}

impl Point {
    /// Point `index`, with nothing that varies yet.
    pub fn new(index: u32) -> Self {
        Self {
            index,
            ..Self::default()
        }
    }

    /// The same where `key` has `value`.
    #[must_use]
    pub fn with(mut self, key: SweepKey, value: f64) -> Self {
        if let Some(free) = self.values.iter_mut().find(|value| value.is_none()) {
            *free = Some((key, value));
        }
        self
    }

    /// What varies here, in the order of keys.
    pub fn values(&self) -> impl Iterator<Item = (SweepKey, f64)> {
        self.values.into_iter().flatten()
    }

    /// The value of `key` at this point; `None` where it does not vary.
    pub fn value(&self, key: SweepKey) -> Option<f64> {
        let mut values = self.values();
        values.find_map(|(varying, value)| (varying == key).then_some(value))
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
    /// A sweep of one key.
    pub fn of(key: SweepKey, values: &[f64]) -> Self {
        Self {
            lists: vec![(key, values.to_vec())],
        }
    }

    /// Every point, in the order of the lists.
    pub fn points(&self) -> Vec<Point> {
        let length = self.lists.iter().map(|(_, list)| list.len()).max();
        let point = |i: usize| {
            let values = self
                .lists
                .iter()
                .filter_map(|(key, l)| Some((*key, *l.get(i)?)));
            values.fold(Point::new(i as u32 + 1), |p, (key, value)| {
                p.with(key, value)
            })
        };
        (0..length.unwrap_or(0)).map(point).collect()
    }

    /// The keys that vary, each with its values.
    pub fn lists(&self) -> impl Iterator<Item = (SweepKey, &[f64])> {
        self.lists.iter().map(|(key, list)| (*key, list.as_slice()))
    }

    /// Whether `key` varies.
    pub fn varies(&self, key: SweepKey) -> bool {
        self.lists().any(|(varying, _)| varying == key)
    }

    /// Adds the lists of another `--sweep`.
    ///
    /// # Errors
    /// In words, where both have a list of the same key.
    pub fn join(mut self, other: Self) -> Result<Self, String> {
        for (key, list) in other.lists {
            self.add(key, list)?;
        }
        Ok(self)
    }

    fn add(&mut self, key: SweepKey, list: Vec<f64>) -> Result<(), String> {
        if self.varies(key) {
            return Err(format!(
                "'--sweep' has '{}' twice; put all values into one list",
                key.id()
            ));
        }
        self.lists.push((key, list));
        self.lists.sort_by_key(|(key, _)| *key);
        Ok(())
    }

    /// Adds the lists of a tree, whose keys are paths or parts of them.
    fn add_all(&mut self, path: &str, tree: Map<String, Value>) -> Result<(), String> {
        for (part, value) in tree {
            let path = match path {
                "" => part,
                _ => format!("{path}.{part}"),
            };
            match value {
                // A record of old has every key.
                Value::Null => {}
                Value::Object(inner) => self.add_all(&path, inner)?,
                list => {
                    let key = SweepKey::named(&path);
                    let key = key.ok_or_else(|| format!("'{path}' cannot be swept"))?;
                    let list = serde_json::from_value(list);
                    self.add(key, list.map_err(|e| format!("'{path}': {e}"))?)?;
                }
            }
        }
        Ok(())
    }
}

/// `clients=100,1000,10000`, as `--sweep` takes it.
impl std::str::FromStr for Sweep {
    type Err = String;

    fn from_str(argument: &str) -> Result<Self, String> {
        let Some((word, list)) = argument.split_once('=') else {
            return Err(format!(
                "'{argument}' has no '='; expected a key and its values, such as \
                 'clients=100,1000'"
            ));
        };
        let Some(key) = SweepKey::named(word) else {
            return Err(format!(
                "'{argument}' sweeps '{word}'{}; expected {}, or the path of a number, such as \
                 'server.ring_messages'",
                text::hint(word, SweepKey::all().map(SweepKey::id)),
                text::quoted(SweepKey::short())
            ));
        };
        let number = |word: &str| {
            let expected = || format!("'{argument}' has '{word}', but a number is expected there");
            word.trim().parse().map_err(|_| expected())
        };
        let list: Result<Vec<f64>, String> = list.split(',').map(number).collect();
        Ok(Self::of(key, &list?))
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
        let plain = Self {
            sweep: None,
            ..self.clone()
        };
        // `check` refuses a sweep with a point that cannot be.
        match point {
            Some(point) => plain.with(&point).unwrap_or(plain),
            None => plain,
        }
    }

    fn with(&self, point: &Point) -> Result<Self, Problem> {
        let mut scenario = self.clone();
        for (key, value) in point.values() {
            scenario = scenario.with_value(key, value)?;
        }
        Ok(scenario)
    }

    /// The same with one number changed.
    fn with_value(&self, key: SweepKey, value: f64) -> Result<Self, Problem> {
        let mut tree = serde_json::to_value(self).unwrap_or_default();
        let (table, name) = key.path().rsplit_once('.').unwrap_or(("", key.path()));
        let pointer = format!("/{}", table.replace('.', "/"));
        let place = tree.pointer_mut(&pointer).and_then(Value::as_object_mut);
        let Some(place) = place else {
            ensure!(
                false,
                key.place(),
                "varies a value of [{table}], which the scenario does not have; add that table, or \
                 remove the key"
            );
            return Ok(self.clone());
        };
        place.insert(name.to_owned(), number(value));
        serde_json::from_value(tree).map_err(|_| Problem {
            key: key.place(),
            message: format!("is {value}, but a whole number, 0 or more, is expected"),
        })
    }

    /// The most connections of any point.
    pub fn most_connections(&self) -> u32 {
        let points = self.points();
        let connections = points.iter().map(|point| self.at(*point).connections());
        connections.max().unwrap_or(self.clients.count)
    }
}

/// A whole number as one, so that it can take the place of one.
fn number(value: f64) -> Value {
    const EXACT: f64 = (1u64 << 53) as f64;
    if value.fract() == 0.0 && (0.0..=EXACT).contains(&value) {
        return Value::from(value as u64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// The first rule that the sweep breaks, or that a scenario breaks at one of its points.
pub(super) fn check(sweep: &Sweep, scenario: &Scenario) -> Check {
    let Some((leading, first)) = sweep.lists().next() else {
        ensure!(
            false,
            "sweep",
            "has no list, but something must vary; add one, such as 'clients.count', or remove \
             [sweep]"
        );
        return Ok(());
    };
    ensure!(
        sweep.lists.len() <= MAX_KEYS,
        "sweep",
        "has {} lists, but at most {MAX_KEYS} keys vary together; remove some",
        sweep.lists.len()
    );
    for (key, list) in sweep.lists() {
        let (place, values, length) = (key.place(), list.len(), first.len());
        ensure!(
            values > 0,
            place,
            "is empty, but something must run; add values, or remove the key"
        );
        ensure!(
            values == length,
            place,
            "has {values} values, but '{}' has {length}; lists go together value by value, so give \
             them the same length, or keep one",
            leading.id()
        );
        ensure!(
            list.iter().all(|value| value.is_finite()),
            place,
            "is NaN or infinite, but a number is expected"
        );
        ensure!(
            values <= MAX_POINTS,
            place,
            "has {values} values, but a sweep has at most {MAX_POINTS} points; leave some out, or \
             run two scenarios"
        );
    }
    let points = sweep.points();
    for (i, point) in points.iter().enumerate() {
        if let Some(same) = points[..i].iter().find(|p| p.values == point.values) {
            ensure!(
                false,
                leading.place(),
                "has {point} at points {} and {}; use 'trials' to repeat, and name it once",
                same.index,
                point.index
            );
        }
        let mut at = scenario.with(point)?;
        at.sweep = None;
        check::check(&at).map_err(|problem| {
            let swept = point.values().find(|(key, _)| key.path() == problem.key);
            match swept {
                Some((key, _)) => Problem {
                    key: key.place(),
                    message: problem.message,
                },
                // A value that was good until the point changed what it depends on.
                None => Problem {
                    key: leading.place(),
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

impl Serialize for Sweep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = |list: &[f64]| -> Vec<Value> { list.iter().map(|v| number(*v)).collect() };
        serializer.collect_map(self.lists().map(|(key, values)| (key.id(), list(values))))
    }
}

impl<'de> Deserialize<'de> for Sweep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut sweep = Self::default();
        let tree = Map::deserialize(deserializer)?;
        sweep.add_all("", tree).map_err(de::Error::custom)?;
        Ok(sweep)
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("index", &self.index)?;
        for (key, value) in self.values() {
            map.serialize_entry(key.id(), &number(value))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut tree = Map::deserialize(deserializer)?;
        let index = tree.remove("index").and_then(|index| index.as_u64());
        let index = index.ok_or_else(|| de::Error::missing_field("index"))?;
        let mut values = Vec::new();
        for (key, value) in &tree {
            // A record of old has every key, and null where it does not vary.
            if let Some(value) = value.as_f64() {
                let expected = || de::Error::custom(format!("'{key}' cannot be swept"));
                values.push((SweepKey::named(key).ok_or_else(expected)?, value));
            }
        }
        values.sort_by_key(|(key, _)| *key);
        let point = Self::new(u32::try_from(index).map_err(de::Error::custom)?);
        Ok(values
            .into_iter()
            .fold(point, |p, (key, value)| p.with(key, value)))
    }
}

impl JsonSchema for Sweep {
    fn schema_name() -> Cow<'static, str> {
        "ScenarioSweep".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "What varies: a list of numbers for each key, all of one length. A key is \
                            the path of a number in the scenario, such as 'server.ring_messages'; \
                            'clients', 'payload_bytes', 'channels', 'rate_per_s' and 'slow_share' \
                            are short for the commonest.",
            "additionalProperties": { "type": ["array", "null"], "items": { "type": "number" } },
        })
    }
}

impl JsonSchema for Point {
    fn schema_name() -> Cow<'static, str> {
        "SweepPoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Where in a sweep a trial lies: its place, from 1, and the values of the \
                            keys that vary.",
            "properties": { "index": { "type": "integer", "minimum": 1, "maximum": u32::MAX } },
            "required": ["index"],
            "additionalProperties": { "type": ["number", "null"] },
        })
    }
}
