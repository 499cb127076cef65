//! The language that servers and clients of pushbench both speak, without any I/O.
//!
//! - [`envelope`] is what travels: sequence, intended and actual time, payload;
//! - [`schedule`] says when each message is due, [`payload`] what it contains: pure functions, so
//!   that both sides know what to expect;
//! - [`framing`] turns envelopes into the bytes of a protocol, and back;
//! - [`transport`] lists the transports and what each can do, [`overflow`] the policies for
//!   subscribers that fall behind;
//! - [`control`] are the messages between harness and server, with [`histogram`]s as text.

/// Gives an enum of units the ids by which its variants are spelled everywhere: `ALL`, `id`, and both
/// ways between text and variant. `$what` is what an id names, for the error.
#[macro_export]
macro_rules! ids {
    ($name:ident, $what:literal: $($variant:ident = $id:literal),+) => {
        impl $name {
            /// All of them, in this order.
            pub const ALL: [Self; [$($id),+].len()] = [$(Self::$variant),+];

            /// The id, as it is spelled everywhere.
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$variant => $id),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.id())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.into_iter().find(|value| value.id() == text);
                found.ok_or_else(|| {
                    let ids = Self::ALL.map(Self::id).join(", ");
                    format!("'{text}' is not {}; expected one of {ids}", $what)
                })
            }
        }
    };
}

pub mod control;
pub mod envelope;
pub mod framing;
pub mod histogram;
pub mod overflow;
pub mod payload;
pub mod schedule;
pub mod transport;
