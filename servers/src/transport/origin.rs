//! Pages of other origins: who may read answers (WHATWG Fetch, section 3.2), and who may send.
//!
//! Place on the data path: before it. In: the `Origin` of a request, which only browsers send. Out:
//! fields of its answer, or a refusal.

use pushbench_protocol::control::is_local;
use pushbench_protocol::framing::http1::RequestHead;

use super::http::{Refusal, Shared};

/// Most origins that a server allows by name.
pub const MAX_ORIGINS: usize = 64;

/// An origin whose pages are allowed, or `*` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl std::str::FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = text.split_once("://").map_or("", |(_, host)| host);
        let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let is_http = text.starts_with("http://") || text.starts_with("https://");
        let is_origin = is_http && !host.is_empty() && host.bytes().all(is_host);
        if !is_origin && !["*", "null"].contains(&text) {
            return Err(format!(
                "'{text}' is not an origin; expected the scheme, host and port of a page, such as \
                 'https://example.org' or 'http://localhost:3000', 'null', or '*' for all"
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// Which of the allowed origins a request came from, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted(Option<std::num::NonZeroU8>);

/// What a preflight is answered with, in addition to the methods.
pub(crate) const PREFLIGHT: [(&str, &str); 2] = [
    (
        "access-control-allow-headers",
        "content-type, last-event-id",
    ),
    ("access-control-max-age", "600"),
];

/// Which of `allowed` has sent `origin`.
pub(crate) fn grant(allowed: &[Origin], origin: Option<&[u8]>) -> Granted {
    let number = origin.and_then(|origin| {
        let is_it = |o: &Origin| o.0 == "*" || o.0.as_bytes().eq_ignore_ascii_case(origin);
        allowed.iter().take(MAX_ORIGINS).position(is_it)
    });
    let number = number.and_then(|number| u8::try_from(number + 1).ok());
    Granted(number.and_then(std::num::NonZeroU8::new))
}

impl Granted {
    pub(crate) const NOBODY: Self = Self(None);

    pub(crate) fn is_some(self) -> bool {
        self.0.is_some()
    }

    /// What lets a page read the answer; nothing for other clients.
    pub(crate) fn fields(self, allowed: &[Origin]) -> Option<[(&'static str, &str); 3]> {
        let origin = allowed.get(usize::from(self.0?.get()) - 1)?;
        Some([
            ("access-control-allow-origin", &origin.0),
            ("access-control-expose-headers", "push-cursor"),
            ("vary", "origin"),
        ])
    }
}

/// Whether a request may send: always, unless it comes from a page of a foreign origin. The rule of
/// the same origin does not stop a WebSocket or a plain POST, so the server has to (RFC 6455, section
/// 10.2). A server on loopback takes pages for its own by its address or as `localhost`, and not by
/// another name, which anyone can make point to this machine.
pub(crate) fn may_send(
    shared: &Shared,
    origin: Option<&[u8]>,
    host: Option<&[u8]>,
) -> Result<(), Refusal> {
    let Some(origin) = origin else {
        return Ok(());
    };
    let is_name_of_its_own =
        |host: &[u8]| !shared.on_loopback || std::str::from_utf8(host).is_ok_and(is_local);
    let host = host.filter(|host| is_name_of_its_own(host));
    let own = [&b"http://"[..], b"https://"].iter().any(|scheme| {
        let authority = origin.strip_prefix(*scheme);
        authority
            .zip(host)
            .is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
    });
    if own || grant(&shared.origins, Some(origin)).is_some() {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(origin);
    Err(Refusal::Origin(shown.chars().take(100).collect()))
}

/// Whether it asks what a page of another origin may do.
pub(crate) fn is_preflight(head: &RequestHead<'_>) -> bool {
    head.method == "OPTIONS" && head.asks_for_method
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends_or_refused() {
        for good in ["*", "null", "https://example.org", "http://[::1]:80"] {
            assert_eq!(good.parse(), Ok(Origin(good.to_owned())));
        }
        assert_eq!("http://A.b".parse(), Ok(Origin("http://a.b".to_owned())));
        for bad in [
            "",
            "example.org",
            "http://",
            "http://a/",
            "http://a b",
            "ftp://a",
            "http://a\r\nx: y",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad:?}");
        }
    }
}
