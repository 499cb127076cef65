//! The one value of a scenario that is a number or a word: how many channels there are.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;

/// How many channels a trial has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelCount {
    /// This many, whatever the number of clients.
    Fixed(u32),
    /// `"per_client"`: one for each client, also where `--clients` overrides their number.
    PerClient,
}

const PER_CLIENT: &str = "per_client";

impl Serialize for ChannelCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Fixed(count) => serializer.serialize_u32(count),
            Self::PerClient => serializer.serialize_str(PER_CLIENT),
        }
    }
}

// By hand: the error of an untagged enum would not say what is expected.
impl<'de> Deserialize<'de> for ChannelCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ChannelCount;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number, 0 or more, or \"per_client\"")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<ChannelCount, E> {
                u32::try_from(count)
                    .map(ChannelCount::Fixed)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<ChannelCount, E> {
                u32::try_from(count)
                    .map(ChannelCount::Fixed)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(count), &self))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<ChannelCount, E> {
                match word {
                    PER_CLIENT => Ok(ChannelCount::PerClient),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ChannelCount {
    fn schema_name() -> Cow<'static, str> {
        "ChannelCount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How many channels a trial has, or one for each client.",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": u32::MAX },
                { "const": PER_CLIENT },
            ],
        })
    }
}
