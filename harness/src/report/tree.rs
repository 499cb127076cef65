//! A record as a tree of keys and values, in the record's own order.
//!
//! Between a record and its reports. In: anything that serialises. Out: values by JSON pointer
//! (RFC 6901), so that a report names a figure by the key that the record has for it and cannot
//! show another. Numbers keep the text that the record has for them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serialize;
use serde_json::Number;

/// A value of the record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    /// Keys in the order in which they were written; a map of `serde_json` would sort them.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// The tree of `value`; `Null` for what cannot be JSON, which no part of a record is.
    pub(super) fn of(value: &impl Serialize) -> Self {
        serde_json::to_string(value)
            .and_then(|text| serde_json::from_str(&text))
            .unwrap_or(Self::Null)
    }

    /// The value at a JSON pointer, with or without its first `/`; the whole for an empty one.
    pub(super) fn at(&self, pointer: &str) -> Option<&Self> {
        let mut here = self;
        for step in pointer.split('/').filter(|step| !step.is_empty()) {
            here = match here {
                Self::Map(entries) => &entries.iter().find(|(key, _)| key == step)?.1,
                Self::List(items) => items.get(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(here)
    }

    /// The number, where it is one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// The value as the record writes it, but text without quotes and nothing for `null`. `None`
    /// for a list or a map.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Null => Some(String::new()),
            Self::Bool(value) => Some(value.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::Text(text) => Some(text.clone()),
            Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Everything that is neither list nor map, with its path below `prefix`, in order.
    pub(super) fn leaves<'a>(&'a self, prefix: &str, separator: char) -> Vec<(String, &'a Self)> {
        let mut found = Vec::new();
        self.gather(prefix, separator, &mut found);
        found
    }

    fn gather<'a>(&'a self, path: &str, separator: char, found: &mut Vec<(String, &'a Self)>) {
        let below = |key: &str| match path {
            "" => key.to_owned(),
            path => format!("{path}{separator}{key}"),
        };
        match self {
            Self::Map(entries) => {
                for (key, value) in entries {
                    value.gather(&below(key), separator, found);
                }
            }
            Self::List(items) => {
                for (index, value) in items.iter().enumerate() {
                    value.gather(&below(&index.to_string()), separator, found);
                }
            }
            leaf => found.push((path.to_owned(), leaf)),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Number(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Tree::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Tree::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(json: &str) -> Tree {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn a_tree_keeps_order_and_the_text_of_numbers() {
        let tree = tree(r#"{"z":{"b":148.0,"a":[1,null,"x"]},"m":-3,"k":true}"#);
        let leaves: Vec<(String, String)> = tree
            .leaves("", '.')
            .into_iter()
            .map(|(path, leaf)| (path, leaf.text().expect("a leaf")))
            .collect();
        let expected = [
            ("z.b", "148.0"),
            ("z.a.0", "1"),
            ("z.a.1", ""),
            ("z.a.2", "x"),
            ("m", "-3"),
            ("k", "true"),
        ];
        assert_eq!(leaves, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_pointer_finds_what_is_there_and_nothing_else() {
        let tree = tree(r#"{"a":[{"b":7}]}"#);
        assert_eq!(tree.at("/a/0/b").and_then(Tree::number), Some(7.0));
        assert_eq!(tree.at("a/0/b").and_then(Tree::number), Some(7.0));
        for missing in ["a/1/b", "a/x", "b", "a/0/b/c"] {
            assert_eq!(tree.at(missing), None, "{missing}");
        }
    }
}
