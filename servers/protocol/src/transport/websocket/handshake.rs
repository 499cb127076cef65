//! The opening handshake (RFC 6455, section 4).
//!
//! Place on the data path: before it, once a connection. In: a key, a channel, a response head.
//! Out: the request that upgrades, its answer, and whether the answer is right.

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::framing::http1::{self, ResponseHead, Upgrade};

/// What the server must answer to `Sec-WebSocket-Key: key`: 28 characters of base64 (section
/// 4.2.2, item 5.4).
pub fn accept_key(key: &str) -> String {
    derive_accept_key(key.as_bytes())
}

/// The version of the protocol (section 4.1).
pub const VERSION: &str = "13";

/// Why a request does not open a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// It does not ask for one, or in HTTP/1.0, which cannot: 426 (RFC 9110, section 15.5.22).
    #[error("expected 'Connection: Upgrade' and 'Upgrade: websocket' in HTTP/1.1")]
    NoUpgrade,
    /// Another version of the protocol than 13: 426, with the version that is spoken here (section 4.4).
    #[error("expected 'Sec-WebSocket-Version: 13'")]
    Version,
    /// The key is not 16 bytes in base64 (section 4.2.1): 400.
    #[error("expected 16 bytes in base64 as 'Sec-WebSocket-Key'")]
    Key,
    /// Two versions or two keys (sections 11.3.1 and 11.3.5): 400.
    #[error("expected 'Sec-WebSocket-Key' and 'Sec-WebSocket-Version' once each")]
    Repeated,
    /// A body, whose bytes would be taken for frames: 400.
    #[error("expected a request without a body, because what follows it are frames")]
    Body,
}

impl OpeningError {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::NoUpgrade | Self::Version => 426,
            Self::Key | Self::Repeated | Self::Body => 400,
        }
    }

    /// The fields that the answer has because of it.
    pub fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::NoUpgrade | Self::Version => &[
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("sec-websocket-version", VERSION),
            ],
            Self::Key | Self::Repeated | Self::Body => &[],
        }
    }
}

/// The key of a request that asks for a WebSocket as a server must require it (section 4.2.1).
///
/// # Errors
/// [`OpeningError`], in this order.
pub fn check_opening<'a>(
    upgrade: &Upgrade<'a>,
    is_http_1_1: bool,
    has_body: bool,
) -> Result<&'a str, OpeningError> {
    // A server ignores the field in HTTP/1.0 (RFC 9110, section 7.8).
    if !is_http_1_1 || !upgrade.connection || !upgrade.websocket {
        return Err(OpeningError::NoUpgrade);
    }
    if upgrade.repeated {
        return Err(OpeningError::Repeated);
    }
    if upgrade.version != Some(VERSION.as_bytes()) {
        return Err(OpeningError::Version);
    }
    let is_key = |key: &&str| {
        let mut bytes = [0; 18];
        key.len() == 24 && STANDARD.decode_slice(key, &mut bytes) == Ok(16)
    };
    let key = upgrade.key.filter(is_key).ok_or(OpeningError::Key)?;
    if has_body {
        return Err(OpeningError::Body);
    }
    Ok(key)
}

/// The key of our clients. It proves that the server read it, and is not a secret (section 1.3); one
/// key for all spares each of them 16 random bytes.
pub const CLIENT_KEY: &str = "cHVzaGJlbmNoIGNsaWVudA==";

/// Appends the header fields that ask for an upgrade (section 4.1), but for the line that ends the head.
/// `key` is the base64 form of 16 bytes.
pub fn push_upgrade(key: &str, out: &mut Vec<u8>) {
    for (name, value) in [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", VERSION),
        ("Sec-WebSocket-Key", key),
    ] {
        http1::push_header(name, value, out);
    }
}

/// Appends the answer that upgrades, status 101 (section 4.2.2). `key` is the client's.
pub fn encode_upgrade_response(key: &str, extra_headers: &[(&str, &str)], out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    );
    http1::push_header("Sec-WebSocket-Accept", &accept_key(key), out);
    for (name, value) in extra_headers {
        http1::push_header(name, value, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Why an answer does not upgrade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Another status than 101.
    #[error("expected status 101 to the request for a WebSocket, got {0}")]
    Status(u16),
    /// Not both of `Connection: Upgrade` and `Upgrade: websocket`.
    #[error("expected 'Connection: Upgrade' and 'Upgrade: websocket' with status 101")]
    NoUpgrade,
    /// The accept key is not the one that belongs to the request's key.
    #[error("expected 'Sec-WebSocket-Accept: {expected}', got '{found}'")]
    Accept {
        /// What belongs to the request's key.
        expected: String,
        /// What came; empty where nothing of the right length did.
        found: String,
    },
}

/// Checks a server's answer as a client must (section 4.1, what follows the request). `key` is the
/// one that the request carried.
///
/// # Errors
/// [`HandshakeError`], one variant a check.
pub fn check_upgrade(head: &ResponseHead, key: &str) -> Result<(), HandshakeError> {
    if head.status != 101 {
        return Err(HandshakeError::Status(head.status));
    }
    if !head.upgrade {
        return Err(HandshakeError::NoUpgrade);
    }
    let expected = accept_key(key);
    let found = head.accept.as_ref().map_or(&b""[..], |accept| accept);
    if found != expected.as_bytes() {
        let found = String::from_utf8_lossy(found).into_owned();
        return Err(HandshakeError::Accept { expected, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and accept key of the example in section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn check(response: &str) -> Result<(), HandshakeError> {
        let (head, consumed) = http1::parse_head(response.as_bytes())
            .expect("a head")
            .expect("a whole head");
        assert_eq!(consumed, response.len());
        check_upgrade(&head, KEY)
    }

    #[test]
    fn the_accept_key_is_the_one_of_the_specification() {
        assert_eq!(accept_key(KEY), ACCEPT);
    }

    #[test]
    fn a_request_opens_a_websocket_or_is_refused_with_the_first_reason() {
        let right = Upgrade {
            connection: true,
            websocket: true,
            version: Some(b"13"),
            key: Some(KEY),
            repeated: false,
        };
        let check = |upgrade: Upgrade<'static>| check_opening(&upgrade, true, false);
        assert_eq!(check(right), Ok(KEY));
        assert_eq!(
            check_opening(&right, false, false),
            Err(OpeningError::NoUpgrade)
        );
        assert_eq!(check_opening(&right, true, true), Err(OpeningError::Body));
        let with = |name: &str, value: &'static str| {
            let mut upgrade = Upgrade {
                version: None,
                key: None,
                ..right
            };
            match name {
                "version" => upgrade.key = right.key,
                _ => upgrade.version = right.version,
            }
            upgrade.read(&format!("sec-websocket-{name}"), value.as_bytes());
            upgrade
        };
        let but = |connection, websocket, repeated| Upgrade {
            connection,
            websocket,
            repeated,
            ..right
        };
        for (wrong, error) in [
            (but(false, true, false), OpeningError::NoUpgrade),
            (but(true, false, false), OpeningError::NoUpgrade),
            (but(true, true, true), OpeningError::Repeated),
            (with("version", "8"), OpeningError::Version),
            (with("version", ""), OpeningError::Version),
            (with("other", ""), OpeningError::Key),
            (with("key", "abc"), OpeningError::Key),
            (with("key", "dGhlIHNhbXBsZSBub25j"), OpeningError::Key),
            (with("key", "dGhlIHNhbXBsZSBub25jZWQ="), OpeningError::Key),
            (with("key", "dGhlIHNhbXBsZSBub25j!!=="), OpeningError::Key),
        ] {
            assert_eq!(check(wrong), Err(error));
        }
    }

    #[test]
    fn the_answer_has_the_documented_bytes_and_passes_the_client() {
        let mut out = Vec::new();
        encode_upgrade_response(KEY, &[("Push-Cursor", "12")], &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert_eq!(
            text,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nPush-Cursor: 12\r\n\r\n"
        );
        assert_eq!(check(&text), Ok(()));
        let (head, _) = http1::parse_head(text.as_bytes())
            .expect("a head")
            .expect("whole");
        assert_eq!(head.push_cursor, Some(12.into()));
    }

    #[test]
    fn an_answer_of_any_letter_case_passes() {
        let response = format!(
            "HTTP/1.1 101 OK\r\nCONNECTION: keep-alive, UPGRADE\r\nupgrade: WebSocket\r\n\
             sec-websocket-accept: {ACCEPT}\r\n\r\n"
        );
        assert_eq!(check(&response), Ok(()));
    }

    #[test]
    fn an_answer_that_does_not_upgrade_is_refused() {
        assert_eq!(
            check("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
            Err(HandshakeError::Status(400))
        );
        assert_eq!(
            check(&format!(
                "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
            )),
            Err(HandshakeError::NoUpgrade)
        );
        let upgrade = "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        for (header, found) in [
            ("", ""),
            ("Sec-WebSocket-Accept: short\r\n", ""),
            (
                "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
                "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            ),
        ] {
            assert_eq!(
                check(&format!("{upgrade}{header}\r\n")),
                Err(HandshakeError::Accept {
                    expected: ACCEPT.into(),
                    found: found.into()
                })
            );
        }
    }
}
