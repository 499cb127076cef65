//! Who may command: not whoever gets a browser of this machine to send requests.
//!
//! On the data path: next to it. In: the fields of a request to a control interface, of a server or of
//! a fleet. Out: whether it is carried out. The interface listens on loopback only, but the pages that
//! somebody looks at on this machine reach it too: by its address, and, where their own name is made
//! to point here (DNS rebinding), as if it were their own server, so that they may read the answers.

use std::net::{IpAddr, SocketAddr};

/// The variable of the environment that has the token, of a server and of a fleet.
pub const TOKEN_VARIABLE: &str = "PUSHBENCH_CONTROL_TOKEN";

/// Shortest token: 16 characters.
const MIN_TOKEN: usize = 16;

/// Longest token: 256 characters.
const MAX_TOKEN: usize = 256;

/// What a request to a control interface has to be like.
#[derive(Clone, Default)]
pub struct Guard {
    token: Option<Box<str>>,
}

/// Why a request is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// It asks for another host, or for several, or for none: 421 (RFC 9110, section 15.5.20).
    #[error(
        "this is a control interface on loopback: expected '127.0.0.1', '[::1]' or 'localhost' as 'Host'"
    )]
    Host,
    /// It comes from a page: 403.
    #[error("pages may not command this process: expected no 'Origin'")]
    Origin,
    /// It has not the token: 401 (RFC 6750, section 3).
    #[error("expected 'Authorization: Bearer' with the token that this process was started with")]
    Token,
}

impl Stranger {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Host => 421,
            Self::Origin => 403,
            Self::Token => 401,
        }
    }
}

impl Guard {
    /// One that asks for a token, which is not to be on a command line, where every user reads it.
    ///
    /// # Errors
    /// A text that says so, where it has other characters than visible ones of ASCII, fewer than 16 or
    /// more than 256.
    pub fn with_token(token: &str) -> Result<Self, String> {
        let length = token.len();
        if !(MIN_TOKEN..=MAX_TOKEN).contains(&length)
            || !token.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(format!(
                "a token has {MIN_TOKEN} to {MAX_TOKEN} visible characters of ASCII; this one has \
                 {length} bytes; 'openssl rand -hex 16' makes one"
            ));
        }
        let token = Some(token.into());
        Ok(Self { token })
    }

    /// Whether a request is carried out. `authority` is the host of its target, where that has one.
    ///
    /// # Errors
    /// [`Stranger`].
    pub fn check<'a>(
        &self,
        authority: Option<&str>,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(), Stranger> {
        let (mut host, mut authorized) = (None, self.token.is_none());
        for (name, value) in fields {
            let is = |expected: &str| name.eq_ignore_ascii_case(expected);
            if is("host") {
                let text = std::str::from_utf8(value).unwrap_or_default().trim();
                if host.replace(text).is_some() {
                    return Err(Stranger::Host);
                }
            } else if is("origin") {
                return Err(Stranger::Origin);
            } else if is("authorization") {
                authorized |= self.is_token(value);
            }
        }
        let is_here = host.is_some_and(is_local) && authority.is_none_or(is_local);
        match (is_here, authorized) {
            (false, _) => Err(Stranger::Host),
            (true, false) => Err(Stranger::Token),
            (true, true) => Ok(()),
        }
    }

    /// Compares every byte, so that the time says nothing about the place of the first that differs.
    fn is_token(&self, value: &[u8]) -> bool {
        let scheme = value
            .get(..7)
            .is_some_and(|s| s.eq_ignore_ascii_case(b"bearer "));
        let given = value.get(7..).unwrap_or_default().trim_ascii();
        let token = self.token.as_deref().unwrap_or_default().as_bytes();
        let differ = given.iter().zip(token).fold(0, |all, (a, b)| all | (a ^ b));
        scheme && given.len() == token.len() && differ == 0
    }
}

/// Whether a host, with a port or without, is this machine whatever a name service says: an address of
/// loopback, or `localhost` (RFC 6761, section 6.3).
pub fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        match port.bytes().all(|b| b.is_ascii_digit()) {
            true => name,
            false => host,
        }
    });
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let in_brackets = |text: &str| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = host.parse().map(|address: SocketAddr| address.ip());
    let address = with_port
        .or_else(|_| host.parse())
        .ok()
        .or_else(|| in_brackets(host));
    address.is_some_and(|address| match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_literals_and_localhost_are_local_and_nothing_else() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.8.9.10",
            "[::1]",
            "[::1]:80",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "localhost.example",
            "localhost:x",
            "xlocalhost",
            "127.0.0.1.example:80",
            "example.org",
            "10.0.0.1:80",
            "[::2]",
            "[::1]x",
            "0.0.0.0",
            "127.1",
            "2130706433",
            "127.0.0.1@example.org",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    fn check(guard: &Guard, fields: &[(&str, &str)]) -> Result<(), Stranger> {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        guard.check(None, fields)
    }

    #[test]
    fn a_request_for_this_machine_that_no_page_sent_is_carried_out() {
        let guard = Guard::default();
        let here = ("host", "127.0.0.1:1");
        assert_eq!(check(&guard, &[here]), Ok(()));
        assert_eq!(check(&guard, &[("Host", "localhost")]), Ok(()));
        for fields in [&[][..], &[("host", "evil.example")], &[here, here]] {
            assert_eq!(check(&guard, fields), Err(Stranger::Host), "{fields:?}");
        }
        for origin in ["http://127.0.0.1:1", "null", ""] {
            assert_eq!(
                check(&guard, &[here, ("origin", origin)]),
                Err(Stranger::Origin)
            );
        }
        let host = [("host", &b"127.0.0.1"[..])];
        let check = |target| guard.check(Some(target), host.into_iter());
        assert_eq!(check("evil.example"), Err(Stranger::Host));
        assert_eq!(check("localhost:1"), Ok(()));
    }

    #[test]
    fn where_there_is_a_token_it_has_to_be_that_one() {
        let token = "0123456789abcdef";
        let guard = Guard::with_token(token).expect("a good one");
        let with = |value: &str| check(&guard, &[("host", "localhost"), ("authorization", value)]);
        assert_eq!(with("Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(with("bearer  0123456789abcdef "), Ok(()));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcde",
            "Basic 0123456789abcdef",
            token,
        ] {
            assert_eq!(with(wrong), Err(Stranger::Token), "{wrong}");
        }
        assert_eq!(
            check(&guard, &[("host", "localhost")]),
            Err(Stranger::Token)
        );
        // A stranger does not learn that there is one.
        assert_eq!(check(&guard, &[("host", "evil")]), Err(Stranger::Host));
        for bad in [
            "",
            "short",
            "0123456789 abcdef",
            &"x".repeat(257),
            "0123456789abcdefż",
        ] {
            assert!(Guard::with_token(bad).is_err(), "{bad}");
        }
    }
}
