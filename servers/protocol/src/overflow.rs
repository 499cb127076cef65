//! What becomes of a subscriber that fell off the ring: a policy for each channel.
//!
//! Place on the data path: beside it. A shard asks for a subscriber's policy, one byte of its
//! channel, when there is something to hand out. In: the ids of control interface and command
//! line. Out: what the shards and the transports do.
//!
//! | policy | the subscriber gets | counted as |
//! |---|---|---|
//! | `disconnect` | the lost range, and the end of its stream | `lagged`, `lost_messages`; `cut_off` where it could not be told |
//! | `drop-oldest` | the lost range, then the oldest message remembered and all behind it | `lagged`, `lost_messages` |
//! | `latest-only` | the newest message only, whenever more than one is pending | `conflated_messages` |
//!
//! Whose cursor is of another log, or beyond the end of this one, has lost nobody knows what
//! ([`Lost::Unknown`](crate::framing::Lost::Unknown)), and gets that in the place of the range, on a
//! `latest-only` channel too.

use serde::{Deserialize, Serialize};

/// What becomes of a subscriber that fell behind.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Overflow {
    /// It is told the range that it lost, and its stream ends. One whose socket takes nothing can
    /// not be told: its connection is reset within about a second of falling off the ring.
    #[default]
    Disconnect,
    /// Its cursor jumps to the oldest message remembered; the loss is told within the stream, which
    /// goes on.
    DropOldest,
    /// Whenever more than one message is pending, only the newest is handed out. The sequences say
    /// what was left out; nothing else does.
    LatestOnly,
}

ids!(
    Overflow, "an overflow policy":
    Disconnect = "disconnect",
    DropOldest = "drop-oldest",
    LatestOnly = "latest-only"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_spelled_the_same_in_text_and_json() {
        for policy in Overflow::ALL {
            assert_eq!(policy.id().parse(), Ok(policy));
            assert_eq!(policy.to_string(), policy.id());
            let json = serde_json::to_value(policy).expect("a string");
            assert_eq!(json, policy.id());
            assert_eq!(serde_json::from_value::<Overflow>(json).ok(), Some(policy));
        }
        assert_eq!(
            "drop_oldest".parse::<Overflow>(),
            Err(
                "'drop_oldest' is not an overflow policy; expected one of disconnect, drop-oldest, \
                 latest-only"
                    .to_owned()
            )
        );
    }
}
