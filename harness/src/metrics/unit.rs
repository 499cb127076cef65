//! What a metric counts in, how tables write it, and how people write it in gates.

use crate::text::figure::{NONE, count, in_unit, three};

/// The unit of a metric's columns. The record is always in ns, bytes and plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Bytes.
    B,
    /// 1,000 bytes.
    KB,
    /// 1,000,000 bytes.
    MB,
    /// A number a second.
    PerS,
    /// A ratio.
    Times,
    /// A share.
    Percent,
    /// A number that need not be whole.
    Number,
    /// A whole number.
    Count,
}

/// What a metric is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // each is what its name says
pub enum Per {
    Nothing,
    Delivery,
    Client,
    Message,
    Arrival,
}

/// What kind of thing a unit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Quantity {
    Time,
    Bytes,
    Rate,
    Number,
}

/// Units as people write them, largest first within a quantity where `Unit::show` chooses them.
pub const UNITS: [(&str, Quantity, f64); 15] = [
    ("s", Quantity::Time, 1e9),
    ("ms", Quantity::Time, 1e6),
    ("µs", Quantity::Time, 1e3),
    ("ns", Quantity::Time, 1.0),
    ("us", Quantity::Time, 1e3),
    ("GB", Quantity::Bytes, 1e9),
    ("MB", Quantity::Bytes, 1e6),
    ("KB", Quantity::Bytes, 1e3),
    ("B", Quantity::Bytes, 1.0),
    ("kB", Quantity::Bytes, 1e3),
    ("KiB", Quantity::Bytes, 1024.0),
    ("MiB", Quantity::Bytes, 1024.0 * 1024.0),
    ("GiB", Quantity::Bytes, 1024.0 * 1024.0 * 1024.0),
    ("/s", Quantity::Rate, 1.0),
    ("", Quantity::Number, 1.0),
];

impl Unit {
    /// Its sign behind a number; empty for plain numbers.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::Us => "µs",
            Self::B => "B",
            Self::KB => "KB",
            Self::MB => "MB",
            Self::PerS => "/s",
            Self::Times => "×",
            Self::Percent => "%",
            Self::Number | Self::Count => "",
        }
    }

    /// The record's units in one of it.
    pub fn over(self) -> f64 {
        match self {
            Self::Ms | Self::MB => 1e6,
            Self::Us | Self::KB => 1e3,
            Self::B | Self::PerS | Self::Times | Self::Number | Self::Count => 1.0,
            Self::Percent => 0.01,
        }
    }

    /// What it counts.
    pub fn quantity(self) -> Quantity {
        match self {
            Self::Ms | Self::Us => Quantity::Time,
            Self::B | Self::KB | Self::MB => Quantity::Bytes,
            Self::PerS => Quantity::Rate,
            Self::Times | Self::Percent | Self::Number | Self::Count => Quantity::Number,
        }
    }

    /// `value` in this unit, without its sign.
    pub(super) fn figure(self, value: Option<f64>) -> String {
        match (self, value) {
            (Self::Count, Some(value)) if value.fract() == 0.0 => count(value as u64),
            _ => in_unit(value, self.over()),
        }
    }

    /// `value` in the unit of the same quantity that people read best, with its sign.
    pub(super) fn show(self, value: Option<f64>) -> String {
        let Some(value) = value else {
            return NONE.to_owned();
        };
        let known = UNITS.iter().filter(|unit| unit.1 == self.quantity());
        match self.quantity() {
            Quantity::Number => self.figure(Some(value)),
            Quantity::Rate => format!("{} /s", three(value)),
            Quantity::Time | Quantity::Bytes => {
                let fitting = known
                    .take(4)
                    .filter(|unit| value.abs() >= unit.2 || unit.2 == 1.0);
                let (name, _, over) = fitting.take(1).next().unwrap_or(&UNITS[3]);
                format!("{} {name}", three(value / over))
            }
        }
    }
}

impl Per {
    /// How a unit is written against it.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Delivery => "/delivery",
            Self::Client => "/client",
            Self::Message => "/message",
            Self::Arrival => "/arrival",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_the_unit_that_people_read() {
        for (unit, value, text) in [
            (Unit::Ms, 271_300.0, "271 µs"),
            (Unit::Us, 2_620_000.0, "2.62 ms"),
            (Unit::Ms, 12.0, "12.0 ns"),
            (Unit::Ms, 0.0, "0 ns"),
            (Unit::KB, 11_900.0, "11.9 KB"),
            (Unit::B, 129.0, "129 B"),
            (Unit::PerS, 2_999.7, "3,000 /s"),
            (Unit::Count, 12_345.0, "12,345"),
            (Unit::Number, 0.3771, "0.377"),
        ] {
            assert_eq!(unit.show(Some(value)), text);
        }
        assert_eq!(Unit::Ms.show(None), "–");
    }

    #[test]
    fn a_column_has_one_unit() {
        assert_eq!(Unit::Ms.figure(Some(84_000.0)), "0.0840");
        assert_eq!(Unit::Count.figure(Some(12_345.0)), "12,345");
        assert_eq!(Unit::Count.figure(Some(2.5)), "2.50", "a median of counts");
        assert_eq!(Unit::Percent.figure(Some(0.984)), "98.4");
    }
}
