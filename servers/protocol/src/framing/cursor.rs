//! Where a client stands in a log, and what it lost of it: a few bytes of text, the same on every
//! transport.
//!
//! Place on the data path: in the answer to a subscribe, in the id of every server-sent event, and in
//! what a client that comes back asks for. In: text. Out: an epoch, a sequence, a range.
//!
//! A sequence says where in a log, an [`Epoch`] in which log: a server that is started anew without the
//! log of the one before it counts from 1 again, and sequence 19 is another message then.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::{parse_decimal, push_decimal};

/// Which log a cursor is of: four of the characters `0` to `9` and `a` to `z`, or nothing.
///
/// Two logs have the same by chance once in 1,679,616 times. It is as short as that because an event
/// stream repeats it with each message, as the last id is all that an `EventSource` hands back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epoch([u8; 4]);

impl Epoch {
    /// Of a log that has no other: its cursors are plain numbers.
    pub const NONE: Self = Self([0; 4]);

    /// The spelling of [`Self::NONE`] where it is named by itself.
    const NONE_ID: &str = "none";

    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    /// One that follows from `number`, whose bits should be well mixed.
    pub const fn of(mut number: u64) -> Self {
        let mut text = [0; 4];
        let mut i = 0;
        while i < text.len() {
            text[i] = Self::DIGITS[(number % 36) as usize];
            number /= 36;
            i += 1;
        }
        Self(text)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text: [u8; 4] = text.try_into().ok()?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z');
        text.iter().all(is_digit).then_some(Self(text))
    }

    fn text(&self) -> &str {
        match *self {
            Self::NONE => Self::NONE_ID,
            // ASCII, as whatever makes one sees to it.
            _ => std::str::from_utf8(&self.0).unwrap_or_default(),
        }
    }
}

impl Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Epoch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::NONE_ID {
            return Ok(Self::NONE);
        }
        Self::parse(text.as_bytes()).ok_or_else(|| {
            format!(
                "'{text}' is not an epoch; expected four of '0' to '9' and 'a' to 'z', or '{}'",
                Self::NONE_ID
            )
        })
    }
}

/// Where a client stands: after this message of that log. On the wire `<epoch>-<sequence>`, the
/// sequence in decimal; a plain number where there is no epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which log. [`Epoch::NONE`] in what a client asks for: whichever the server has.
    pub epoch: Epoch,
    /// The last message before it; 0 at the beginning.
    pub sequence: u64,
}

impl From<u64> for Cursor {
    fn from(sequence: u64) -> Self {
        let epoch = Epoch::NONE;
        Self { epoch, sequence }
    }
}

impl Cursor {
    /// Appends it.
    #[inline]
    pub fn push(self, out: &mut Vec<u8>) {
        if self.epoch != Epoch::NONE {
            out.extend_from_slice(&self.epoch.0);
            out.push(b'-');
        }
        push_decimal(self.sequence, out);
    }

    /// Reads one. `None` where it has another shape.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (epoch, sequence) = match text.iter().position(|&byte| byte == b'-') {
            Some(at) => (Epoch::parse(&text[..at])?, &text[at + 1..]),
            None => (Epoch::NONE, text),
        };
        let sequence = parse_decimal(sequence)?;
        Some(Self { epoch, sequence })
    }
}

impl Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != Epoch::NONE {
            write!(f, "{}-", self.epoch)?;
        }
        self.sequence.fmt(f)
    }
}

/// What will not come to a client: the data of the `lagged` event of server-sent events, the reason of
/// WebSocket's close 4001, what follows `LAGGED` elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Messages that fell off the ring before they were read: `<first> <last>`. A client resumes after
    /// the last of them.
    Range {
        /// First sequence lost.
        from: u64,
        /// Last sequence lost.
        to: u64,
    },
    /// Nobody knows: `unknown`. The client's cursor is of another log, or beyond the end of this one. It
    /// resumes with the cursor that it was answered with, the beginning of what is remembered.
    Unknown,
}

impl Lost {
    const UNKNOWN: &str = "unknown";

    /// Appends it.
    pub fn push(self, out: &mut Vec<u8>) {
        match self {
            Self::Range { from, to } => {
                push_decimal(from, out);
                out.push(b' ');
                push_decimal(to, out);
            }
            Self::Unknown => out.extend_from_slice(Self::UNKNOWN.as_bytes()),
        }
    }

    /// Reads what [`Self::push`] appended. `None` where it has another shape, or the end of a range is
    /// before its start.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text == Self::UNKNOWN.as_bytes() {
            return Some(Self::Unknown);
        }
        let space = text.iter().position(|&byte| byte == b' ')?;
        let from = parse_decimal(&text[..space])?;
        let to = parse_decimal(&text[space + 1..])?;
        (from <= to).then_some(Self::Range { from, to })
    }

    /// How many messages they are, as far as it is known.
    pub fn messages(self) -> u64 {
        match self {
            Self::Range { from, to } => to.saturating_add(1).saturating_sub(from),
            Self::Unknown => 0,
        }
    }
}

impl Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { from, to } => write!(f, "{from} {to}"),
            Self::Unknown => f.write_str(Self::UNKNOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(cursor: Cursor) -> String {
        let mut out = Vec::new();
        cursor.push(&mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert_eq!(text, cursor.to_string());
        text
    }

    #[test]
    fn a_cursor_is_its_epoch_and_sequence_or_a_plain_number() {
        assert_eq!(pushed(Cursor::from(19)), "19");
        assert_eq!(Cursor::parse(b"19"), Some(Cursor::from(19)));
        let epoch = "k3f9".parse().expect("an epoch");
        let cursor = Cursor {
            epoch,
            sequence: 19,
        };
        assert_eq!(pushed(cursor), "k3f9-19");
        assert_eq!(Cursor::parse(b"k3f9-19"), Some(cursor));
        for bad in [
            "",
            "-",
            "-1",
            "k3f9",
            "k3f9-",
            "k3f-1",
            "k3f9a-1",
            "K3f9-1",
            "k3f9-+1",
            "k3f9--1",
            "k3f9-1 ",
            "k3f9-18446744073709551616",
            "k3\u{17c}-1",
            "1-1",
        ] {
            assert_eq!(Cursor::parse(bad.as_bytes()), None, "'{bad}'");
        }
    }

    #[test]
    fn an_epoch_is_four_digits_or_letters_and_has_a_word_for_none() {
        assert_eq!("none".parse(), Ok(Epoch::NONE));
        assert_eq!(Epoch::NONE.to_string(), "none");
        for number in [0, 1, 35, 36, 12_345_678, u64::MAX] {
            let epoch = Epoch::of(number);
            assert_eq!(epoch.to_string().parse(), Ok(epoch));
        }
        for bad in ["", "abc", "abcde", "ab c", "ABCD", "ab-c"] {
            assert_eq!(
                bad.parse::<Epoch>(),
                Err(format!(
                    "'{bad}' is not an epoch; expected four of '0' to '9' and 'a' to 'z', or 'none'"
                ))
            );
        }
    }

    #[test]
    fn losses_are_two_decimals_in_order_or_unknown() {
        for (text, lost, messages) in [
            ("7 12", Lost::Range { from: 7, to: 12 }, 6),
            ("7 7", Lost::Range { from: 7, to: 7 }, 1),
            ("unknown", Lost::Unknown, 0),
        ] {
            let mut out = Vec::new();
            lost.push(&mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(lost.to_string(), text);
            assert_eq!(Lost::parse(&out), Some(lost));
            assert_eq!(lost.messages(), messages);
        }
        for bad in [
            "", "7", "7 ", " 7", "7  12", "12 7", "7 12\n", "a b", "unknown ",
        ] {
            assert_eq!(Lost::parse(bad.as_bytes()), None, "'{bad}'");
        }
    }

    proptest::proptest! {
        #[test]
        fn cursors_read_back_as_written(number: u64, sequence: u64, plain: bool) {
            let epoch = if plain { Epoch::NONE } else { Epoch::of(number) };
            let cursor = Cursor { epoch, sequence };
            proptest::prop_assert_eq!(Cursor::parse(pushed(cursor).as_bytes()), Some(cursor));
        }

        #[test]
        fn any_bytes_are_a_cursor_or_none(bytes in proptest::collection::vec(0u8..128, 0..30)) {
            if let Some(cursor) = Cursor::parse(&bytes) {
                // But for leading zeros of the sequence.
                proptest::prop_assert_eq!(Cursor::parse(pushed(cursor).as_bytes()), Some(cursor));
            }
        }
    }
}
