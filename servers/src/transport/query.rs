//! The query of a subscribe and of `POST /publish`, one reading for all profiles.
//!
//! Place on the data path: before it. In: what stands behind the `?` of a target, percent-encoded
//! as a form (WHATWG URL, section 5). Out: a channel and a cursor.

use std::borrow::Cow;

use pushbench_protocol::framing::{Cursor, MAX_LAST, Start, parse_last};

/// What a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    /// Name of the channel.
    pub(crate) channel: Cow<'a, str>,
    /// Where to start; at the tail where nothing is said.
    pub(crate) start: Start,
}

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("missing field `channel`")]
    NoChannel,
    #[error("duplicate field `{0}`")]
    Duplicate(&'static str),
    #[error("since: expected a cursor such as '19' or 'k3f9-19', got '{0}'")]
    Since(String),
    #[error("last: expected a count of 0 to {MAX_LAST}, got '{0}'")]
    Last(String),
    #[error("both `since` and `last`: one place to start is enough")]
    TwoStarts,
}

/// Most characters of a wrong value that are shown.
const MOST_SHOWN: usize = 40;

impl<'a> Query<'a> {
    /// Reads a query; fields that it does not know are ignored.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) fn parse(query: Option<&'a str>) -> Result<Self, QueryError> {
        let (mut channel, mut since, mut last) = (None, None, None);
        let shown = |value: &str| value.chars().take(MOST_SHOWN).collect();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "channel" if channel.is_some() => return Err(QueryError::Duplicate("channel")),
                "channel" => channel = Some(value),
                "since" if since.is_some() => return Err(QueryError::Duplicate("since")),
                "since" => {
                    let cursor = Cursor::parse(value.as_bytes());
                    since = Some(cursor.ok_or_else(|| QueryError::Since(shown(&value)))?);
                }
                "last" if last.is_some() => return Err(QueryError::Duplicate("last")),
                "last" => {
                    let count = parse_last(value.as_bytes());
                    last = Some(count.ok_or_else(|| QueryError::Last(shown(&value)))?);
                }
                _ => {}
            }
        }
        let channel = channel.ok_or(QueryError::NoChannel)?;
        let start = match (since, last) {
            (Some(_), Some(_)) => return Err(QueryError::TwoStarts),
            (since, None) => since.into(),
            (None, Some(count)) => Start::Last(count),
        };
        Ok(Self { channel, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<(String, Start), String> {
        let parsed = Query::parse(Some(query)).map_err(|e| e.to_string())?;
        Ok((parsed.channel.into_owned(), parsed.start))
    }

    #[test]
    fn channels_and_cursors_are_read_as_a_form() {
        assert_eq!(parse("channel=news"), Ok(("news".into(), Start::Tail)));
        assert_eq!(
            parse("since=18446744073709551615&x=y&channel=a%20b+c%C5%BC"),
            Ok(("a b cż".into(), Start::Since(u64::MAX.into())))
        );
        assert_eq!(parse("channel"), Ok((String::new(), Start::Tail)));
        assert_eq!(Query::parse(None), Err(QueryError::NoChannel));
    }

    #[test]
    fn what_is_missing_double_or_no_number_is_named() {
        for (query, complaint) in [
            ("", "missing field `channel`"),
            ("since=1", "missing field `channel`"),
            ("channel=a&channel=a", "duplicate field `channel`"),
            ("channel=a&since=1&since=1", "duplicate field `since`"),
            ("channel=a&last=1&last=1", "duplicate field `last`"),
            (
                "channel=a&last=1&since=1",
                "both `since` and `last`: one place to start is enough",
            ),
            (
                "channel=a&last=",
                "last: expected a count of 0 to 1000000, got ''",
            ),
            (
                "channel=a&last=1000001",
                "last: expected a count of 0 to 1000000, got '1000001'",
            ),
            (
                "channel=a&since=",
                "since: expected a cursor such as '19' or 'k3f9-19', got ''",
            ),
            (
                "channel=a&since=%2B7",
                "since: expected a cursor such as '19' or 'k3f9-19', got '+7'",
            ),
            (
                "channel=a&since=18446744073709551616",
                "since: expected a cursor such as '19' or 'k3f9-19', got '18446744073709551616'",
            ),
        ] {
            assert_eq!(parse(query), Err(complaint.to_owned()), "{query}");
        }
    }
}
