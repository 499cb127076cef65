//! The names of channels: their numbers, their policies, and how they are declared.
//!
//! Place on the data path: before it; a subscribe or a publish looks its channel up once.

use std::sync::Arc;

use pushbench_protocol::control::MAX_CHANNELS;
use pushbench_protocol::overflow::Overflow;

/// Longest name of a channel: a prefix of 64 bytes and the digits of a number.
pub const MAX_NAME_BYTES: usize = 64 + 10;

/// Why channels were not declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// Not a name, or `prefix*count` with a count that is not a number from 1.
    #[error(
        "channel '{0}': expected a name of letters, digits, '-', '_' or '.', at most 64 bytes, or \
         'prefix*count' with a count of at least 1"
    )]
    Malformed(String),
    /// The same name twice, alone or within a `prefix*count`.
    #[error("channel '{0}' overlaps with '{1}', which is declared already; use another name")]
    Overlap(String, String),
    /// Beyond [`MAX_CHANNELS`].
    #[error("channel '{0}' would make more than {MAX_CHANNELS} channels; declare fewer")]
    TooMany(String),
}

/// One declaration: a name, or `prefix0` … `prefix(count-1)`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    prefix: String,
    /// `None` for a plain name.
    count: Option<u32>,
    first: u32,
    /// Channel `k` of the group has policy `k % len`; the default where empty.
    overflow: Arc<[Overflow]>,
}

impl Group {
    /// The policy of the channel with this number, which is one of the group's.
    fn overflow_of(&self, channel: u32) -> Overflow {
        let cycle = self.overflow.len().max(1);
        let index = (channel - self.first) as usize % cycle;
        self.overflow.get(index).copied().unwrap_or_default()
    }

    fn spec(&self) -> String {
        match self.count {
            Some(count) => format!("{}*{count}", self.prefix),
            None => self.prefix.clone(),
        }
    }

    fn find(&self, name: &str) -> Option<u32> {
        let Some(count) = self.count else {
            return (name == self.prefix).then_some(self.first);
        };
        let digits = name.strip_prefix(self.prefix.as_str())?;
        // One spelling a channel: "c007" is not "c7".
        if digits.len() > 1 && digits.starts_with('0')
            || !digits.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let index: u32 = digits.parse().ok()?;
        (index < count).then(|| self.first + index)
    }
}

/// The names of all channels. Numbers are given in the order of declaration, from 0.
#[derive(Debug, Default)]
pub(super) struct Names {
    groups: Vec<Group>,
    len: u32,
}

impl Names {
    /// Makes all declarations or, where one is refused, none.
    pub(super) fn declare<S: AsRef<str>>(
        &mut self,
        specs: &[S],
        overflow: &[Overflow],
    ) -> Result<(), DeclareError> {
        let before = (self.groups.len(), self.len);
        let overflow = Arc::from(overflow);
        let mut specs = specs.iter();
        let declared = specs.try_for_each(|spec| self.declare_one(spec.as_ref(), &overflow));
        if declared.is_err() {
            self.groups.truncate(before.0);
            self.len = before.1;
        }
        declared
    }

    /// How many channels there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The number of the channel called `name`.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.groups.iter().find_map(|g| g.find(name))
    }

    /// The declarations, as they were made.
    pub(super) fn declared(&self) -> Vec<String> {
        self.groups.iter().map(Group::spec).collect()
    }

    /// Calls `each` with the policies of all channels from number `from` on, in order, until it
    /// says `false`.
    pub(super) fn each_overflow(&self, from: u32, mut each: impl FnMut(Overflow) -> bool) {
        let past = self.groups.partition_point(|g| g.first <= from);
        let mut next = from;
        for (i, group) in self.groups.iter().enumerate().skip(past.max(1) - 1) {
            let end = self.groups.get(i + 1).map_or(self.len, |g| g.first);
            while next < end {
                if !each(group.overflow_of(next)) {
                    return;
                }
                next += 1;
            }
        }
    }

    fn declare_one(&mut self, spec: &str, overflow: &Arc<[Overflow]>) -> Result<(), DeclareError> {
        let malformed = || DeclareError::Malformed(spec.to_owned());
        let (prefix, count) = match spec.split_once('*') {
            None => (spec, None),
            Some((prefix, count)) => {
                let count: u32 = count.parse().map_err(|_| malformed())?;
                (
                    prefix,
                    Some(count).filter(|&c| c > 0).ok_or_else(malformed)?.into(),
                )
            }
        };
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(legal) {
            return Err(malformed());
        }
        let count: Option<u32> = count;
        let total = self
            .len
            .checked_add(count.unwrap_or(1))
            .filter(|&n| n <= MAX_CHANNELS);
        let total = total.ok_or_else(|| DeclareError::TooMany(spec.to_owned()))?;
        let group = Group {
            prefix: prefix.to_owned(),
            count,
            first: self.len,
            overflow: overflow.clone(),
        };
        if let Some(other) = self.groups.iter().find(|g| overlap(g, &group)) {
            return Err(DeclareError::Overlap(spec.to_owned(), other.spec()));
        }
        self.groups.push(group);
        self.len = total;
        Ok(())
    }
}

/// Whether two declarations may share a name. Two numbered groups share one only if one prefix is
/// the other plus digits; that is refused as a whole, since such names would confuse people too.
fn overlap(a: &Group, b: &Group) -> bool {
    match (a.count, b.count) {
        (None, None) => a.prefix == b.prefix,
        (Some(_), None) => a.find(&b.prefix).is_some(),
        (None, Some(_)) => b.find(&a.prefix).is_some(),
        (Some(_), Some(_)) => {
            let (short, long) = if a.prefix.len() <= b.prefix.len() {
                (a, b)
            } else {
                (b, a)
            };
            long.prefix
                .strip_prefix(short.prefix.as_str())
                .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
        }
    }
}
