//! The server's side of HTTP/1.1: heads of requests in, heads of responses out.
//!
//! Place on the data path: under the HTTP transports of the `lean` profile; the other profiles
//! leave this to hyper. In: the bytes that a client sent. Out: what push needs to know of a
//! request, and the head of its answer. Heads are parsed by `httparse`.

use std::mem::MaybeUninit;

use super::{BodyLength, MAX_FIELDS, list};
use crate::framing::{Cursor, excerpt, parse_decimal, push_decimal};

/// Longest request head that is taken, in bytes: the buffer of the `tuned` profile, so that both
/// refuse alike. Browsers with their cookies stay far below.
pub const MAX_REQUEST_HEAD_BYTES: usize = 8 * 1024;

/// How a client of HTTP/2 begins, in the clear.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// What the head of a request says, as far as push needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// As it was sent; methods are case-sensitive (RFC 9110, section 9.1).
    pub method: &'a str,
    /// The target up to its query.
    pub path: &'a str,
    /// What follows the first `?`, without it.
    pub query: Option<&'a str>,
    /// Whether the client understands chunks and keeps connections by itself: not so in HTTP/1.0.
    pub is_http_1_1: bool,
    /// Whether the connection ends behind the answer (RFC 9112, section 9.3).
    pub close: bool,
    /// How the request's own body ends; never [`BodyLength::UntilClose`].
    pub body: BodyLength,
    /// Whether the client waits for `100 Continue` (RFC 9110, section 10.1.1).
    pub expects_continue: bool,
    /// The first `Last-Event-ID`, as it was sent.
    pub last_event_id: Option<&'a [u8]>,
    /// The host that was asked for, with its port: that of the target, or else `Host`.
    pub host: Option<&'a [u8]>,
    /// The origin of the page that a browser asks for.
    pub origin: Option<&'a [u8]>,
    /// Whether it has `Access-Control-Request-Method`, as preflights have.
    pub asks_for_method: bool,
    /// What is asked of a connection that is to become a WebSocket.
    pub upgrade: Upgrade<'a>,
}

/// The header fields of a WebSocket's opening handshake (RFC 6455, section 4.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upgrade<'a> {
    /// `Connection` has the item `Upgrade`.
    pub connection: bool,
    /// `Upgrade` has the item `websocket`.
    pub websocket: bool,
    /// `Sec-WebSocket-Version`.
    pub version: Option<&'a [u8]>,
    /// `Sec-WebSocket-Key`; empty where it is not text.
    pub key: Option<&'a str>,
    /// Whether version or key came more than once.
    pub repeated: bool,
}

impl<'a> Upgrade<'a> {
    /// Takes a header field, if it is one of these.
    pub fn read(&mut self, name: &str, value: &'a [u8]) {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected);
        let has = |expected: &[u8]| list(value).any(|item| item.eq_ignore_ascii_case(expected));
        if is("connection") {
            self.connection |= has(b"upgrade");
        } else if is("upgrade") {
            self.websocket |= has(b"websocket");
        } else if is("sec-websocket-version") {
            let before = self.version.replace(value.trim_ascii());
            self.repeated |= before.is_some();
        } else if is("sec-websocket-key") {
            let key = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
            let before = self.key.replace(key);
            self.repeated |= before.is_some();
        }
    }
}

/// Why the head of a request cannot be read. No request after it can be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More than [`MAX_REQUEST_HEAD_BYTES`], or too many fields: 431 (RFC 6585, section 5).
    #[error("a request head has at most {MAX_REQUEST_HEAD_BYTES} bytes and {MAX_FIELDS} fields")]
    TooLong,
    /// The preface of HTTP/2 (RFC 9113, section 3.4), whose clients understand no answer of HTTP/1.1.
    #[error("expected HTTP/1.1, got the preface of HTTP/2")]
    Preface,
    /// Not HTTP/1: 400.
    #[error("expected the head of an HTTP/1.1 request, got '{0}' ({1})")]
    Syntax(String, httparse::Error),
    /// A length of the body that is none, lengths that differ, or another transfer coding than
    /// `chunked` (RFC 9112, section 6.1): 400.
    #[error("expected one 'Content-Length' in decimal or 'Transfer-Encoding: chunked', got '{0}'")]
    Body(String),
    /// Neither a path nor an address: 400.
    #[error("expected the path or the address of what is asked for, got '{0}'")]
    Target(String),
    /// In HTTP/1.1 none, in any version two, or one that is not a host (RFC 9112, section 3.2): 400.
    #[error("expected one 'Host' with the name and port of this server")]
    Host,
}

impl RequestError {
    /// [`Self::Body`] with what was found.
    pub fn body(found: &[u8]) -> Self {
        Self::Body(excerpt(found))
    }
}

/// Whether a value of `Host` is one: empty, or a name or address with a port or without (RFC 9110,
/// section 7.2). What a name may consist of is not looked at, as far as nothing else may stand there.
pub fn is_host(value: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte);
    value.iter().all(is_part)
}

/// Whether a value of `Transfer-Encoding` is the one that is understood.
pub fn is_chunked(value: &[u8]) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// Reads the head of a request from the start of `bytes`. Returns it with the number of bytes that
/// it takes; `None` where it is not whole yet.
///
/// # Errors
/// [`RequestError`]; the connection is answered and closed then.
pub fn parse_request(bytes: &[u8]) -> Result<Option<(RequestHead<'_>, usize)>, RequestError> {
    let visible = &bytes[..bytes.len().min(MAX_REQUEST_HEAD_BYTES)];
    let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let consumed = match request.parse_with_uninit_headers(visible, &mut headers) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_REQUEST_HEAD_BYTES => {
            return Err(RequestError::TooLong);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooLong),
        Err(httparse::Error::Version) if bytes.starts_with(PREFACE) => {
            return Err(RequestError::Preface);
        }
        Err(error) => return Err(RequestError::Syntax(excerpt(bytes), error)),
    };
    // A complete head has all three.
    let is_http_1_1 = request.version == Some(1);
    let target = request.path.unwrap_or_default();
    let (host, path, query) = taken_apart(target);
    if path.is_empty() {
        return Err(RequestError::Target(excerpt(target.as_bytes())));
    }
    let mut head = RequestHead {
        method: request.method.unwrap_or_default(),
        path,
        query,
        is_http_1_1,
        close: !is_http_1_1,
        body: BodyLength::None,
        expects_continue: false,
        last_event_id: None,
        host: None,
        origin: None,
        asks_for_method: false,
        upgrade: Upgrade::default(),
    };
    for field in request.headers.iter() {
        head.read(field.name, field.value)?;
    }
    if is_http_1_1 && head.host.is_none() {
        return Err(RequestError::Host);
    }
    head.host = host.map(str::as_bytes).or(head.host);
    Ok(Some((head, consumed)))
}

/// Takes a target apart: host, path, query. A client of a proxy sends it with scheme and host, which
/// every server has to take (RFC 9112, section 3.2.2).
fn taken_apart(target: &str) -> (Option<&str>, &str, Option<&str>) {
    let (host, behind_host) = match target.split_once("://") {
        Some((scheme, rest))
            if ["http", "https"]
                .iter()
                .any(|s| scheme.eq_ignore_ascii_case(s)) =>
        {
            let (host, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            (Some(host), rest)
        }
        _ => (None, target),
    };
    // A fragment is not for servers, but some clients send it.
    let whole = behind_host.split('#').next().unwrap_or_default();
    let (path, query) = match whole.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (whole, None),
    };
    let is_origin = path.is_empty() && host.is_some();
    (host, if is_origin { "/" } else { path }, query)
}

impl<'a> RequestHead<'a> {
    fn read(&mut self, name: &str, value: &'a [u8]) -> Result<(), RequestError> {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected);
        if is("connection") {
            self.close |= list(value).any(|item| item.eq_ignore_ascii_case(b"close"));
        } else if is("content-length") {
            let length = parse_decimal(value.trim_ascii()).map(BodyLength::Length);
            let length = length.ok_or_else(|| RequestError::body(value))?;
            match self.body {
                BodyLength::None => self.body = length,
                BodyLength::Chunked => self.close = true,
                before if before == length => {}
                _ => return Err(RequestError::body(value)),
            }
        } else if is("transfer-encoding") {
            // A proxy that went by the other length would see other requests after this one: it is
            // the last of its connection (RFC 9112, section 6.1).
            self.close |= matches!(self.body, BodyLength::Length(_));
            if !self.is_http_1_1 || self.body == BodyLength::Chunked || !is_chunked(value) {
                return Err(RequestError::body(value));
            }
            self.body = BodyLength::Chunked;
        } else if is("expect") {
            self.expects_continue |= value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
        } else if is("last-event-id") {
            self.last_event_id.get_or_insert(value);
        } else if is("host") {
            let value = value.trim_ascii();
            if self.host.replace(value).is_some() || !is_host(value) {
                return Err(RequestError::Host);
            }
        } else if is("origin") {
            self.origin.get_or_insert(value.trim_ascii());
        } else if is("access-control-request-method") {
            self.asks_for_method = true;
        }
        self.upgrade.read(name, value);
        Ok(())
    }
}

/// Writes the head of a response, field by field.
#[derive(Debug)]
pub struct ResponseWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> ResponseWriter<'a> {
    /// Appends the status line. `reason` is for people (RFC 9112, section 4).
    pub fn start(status: u16, reason: &str, out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(u64::from(status), out);
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        Self { out }
    }

    /// Appends a field. Neither part may contain line ends.
    #[must_use]
    pub fn field(self, name: &str, value: &str) -> Self {
        for part in [name, ": ", value, "\r\n"] {
            self.out.extend_from_slice(part.as_bytes());
        }
        self
    }

    /// Appends a field whose value is a number.
    #[must_use]
    pub fn number(self, name: &str, value: u64) -> Self {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        push_decimal(value, self.out);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Appends `Push-Cursor`.
    #[must_use]
    pub fn cursor(self, cursor: Cursor) -> Self {
        self.out.extend_from_slice(b"push-cursor: ");
        cursor.push(self.out);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Appends `Date`, which a server with a clock must send (RFC 9110, section 6.6.1), and the
    /// blank line.
    pub fn end(self, date: &str) {
        self.field("date", date).out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::testing::feeds_of;

    fn parse(text: &str) -> Result<RequestHead<'_>, RequestError> {
        let parsed = parse_request(text.as_bytes())?;
        let (head, consumed) = parsed.expect("a whole head");
        assert_eq!(consumed, text.len());
        Ok(head)
    }

    #[test]
    fn the_head_of_a_subscribe_says_what_push_needs() {
        let head = parse(
            "GET /sse?channel=a%20b&since=3 HTTP/1.1\r\nHost: h\r\nlast-event-id: 9 \r\n\
             Last-Event-ID: 10\r\n\r\n",
        );
        assert_eq!(
            head,
            Ok(RequestHead {
                method: "GET",
                path: "/sse",
                query: Some("channel=a%20b&since=3"),
                is_http_1_1: true,
                close: false,
                body: BodyLength::None,
                expects_continue: false,
                last_event_id: Some(b"9"),
                host: Some(b"h"),
                origin: None,
                asks_for_method: false,
                upgrade: Upgrade::default(),
            })
        );
    }

    #[test]
    fn targets_may_have_scheme_and_host() {
        for (target, expected) in [
            ("/sse?a", ("/sse", Some("a"))),
            ("http://h/sse?a", ("/sse", Some("a"))),
            ("HTTPS://h:80/?b", ("/", Some("b"))),
            ("http://h", ("/", None)),
            ("http://h?a/b", ("/", Some("a/b"))),
            ("/x#y?z", ("/x", None)),
            ("/x?u=http://h/y", ("/x", Some("u=http://h/y"))),
            ("*", ("*", None)),
            ("?a", ("", Some("a"))),
        ] {
            let (_, path, query) = taken_apart(target);
            assert_eq!((path, query), expected, "{target}");
        }
    }

    #[test]
    fn the_fields_of_an_upgrade_are_found_in_any_case() {
        let text = "GET /websocket HTTP/1.1\r\nHost: h\r\nCONNECTION: keep-alive, UPGRADE\r\n\
                    upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k==\r\n\r\n";
        let head = parse(text).expect("a head");
        let expected = Upgrade {
            connection: true,
            websocket: true,
            version: Some(b"13"),
            key: Some("k=="),
            repeated: false,
        };
        assert_eq!((head.upgrade, head.query), (expected, None));
    }

    #[test]
    fn connections_close_where_the_client_says_so_or_speaks_http_1_0() {
        for (text, close) in [
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", false),
            (
                "GET / HTTP/1.1\r\nHost:\r\nConnection: foo, Close\r\n\r\n",
                true,
            ),
            ("GET / HTTP/1.0\r\n\r\n", true),
        ] {
            assert_eq!(parse(text).expect("a head").close, close, "{text}");
        }
    }

    #[test]
    fn bodies_have_one_length_or_are_refused() {
        let body = |fields: &str| {
            let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let head = parse(&text)?;
            assert_eq!(
                head.close,
                fields.contains("5") && fields.contains("chunked")
            );
            Ok(head.body)
        };
        assert_eq!(body(""), Ok(BodyLength::None));
        assert_eq!(body("Content-Length: 0\r\n"), Ok(BodyLength::Length(0)));
        assert_eq!(
            body("Content-Length: 5\r\ncontent-length: 5\r\n"),
            Ok(BodyLength::Length(5))
        );
        assert_eq!(
            body("Transfer-Encoding: Chunked\r\n"),
            Ok(BodyLength::Chunked)
        );
        // The coding wins, and the connection ends.
        for both in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        ] {
            assert_eq!(body(both), Ok(BodyLength::Chunked));
        }
        for bad in [
            "Content-Length: x\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert!(matches!(body(bad), Err(RequestError::Body(_))), "{bad}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        for (fields, host) in [
            ("Host: h:80\r\n", Some("h:80")),
            ("Host: [::1]:80\r\n", Some("[::1]:80")),
            ("Host:\r\n", Some("")),
            ("", None),
            ("Host: h\r\nHost: h\r\n", None),
            ("Host: a b\r\n", None),
            ("Host: a/b\r\n", None),
            ("Host: a@b\r\n", None),
        ] {
            let text = format!("GET / HTTP/1.1\r\n{fields}\r\n");
            let found = parse(&text).map(|head| head.host);
            let expected = host.map(|host| Some(host.as_bytes()));
            assert_eq!(found, expected.ok_or(RequestError::Host), "{text}");
        }
        // That of the target wins (RFC 9112, section 3.2.2).
        let head = parse("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n").expect("a head");
        assert_eq!(head.host, Some(&b"a"[..]));
    }

    #[test]
    fn a_target_that_is_only_a_query_is_refused() {
        let error = parse("GET ?a HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(error, Err(RequestError::Target("?a".into())));
    }

    #[test]
    fn a_head_is_whole_at_its_last_byte_and_no_sooner() {
        let text = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse_request(&text[..end]), Ok(None), "{end} bytes");
        }
        let two = [&text[..], b"GET /info"].concat();
        let (_, consumed) = parse_request(&two).expect("a head").expect("whole");
        assert_eq!(consumed, text.len());
    }

    #[test]
    fn a_head_that_never_ends_is_refused_at_the_bound() {
        let mut text = b"GET / HTTP/1.1\r\nX: ".to_vec();
        text.resize(MAX_REQUEST_HEAD_BYTES - 1, b'x');
        assert_eq!(parse_request(&text), Ok(None));
        text.push(b'x');
        assert_eq!(parse_request(&text), Err(RequestError::TooLong));
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_FIELDS + 1)
        );
        assert_eq!(parse_request(many.as_bytes()), Err(RequestError::TooLong));
    }

    #[test]
    fn responses_have_the_documented_bytes() {
        let mut out = Vec::new();
        ResponseWriter::start(204, "No Content", &mut out)
            .number("push-cursor", 7)
            .field("cache-control", "no-store")
            .end("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            String::from_utf8(out).expect("ASCII"),
            "HTTP/1.1 204 No Content\r\npush-cursor: 7\r\ncache-control: no-store\r\n\
             date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_head_an_error_or_to_be_continued(bytes in feeds_of(&[
            b"GET ", b"/a?b", b" HTTP/1.1\r\n", b"Content-Length: ", b"7", b"\r\n", b"\r\n\r\n",
            b"\0", b"Connection: close",
        ])) {
            let bytes = bytes.concat();
            if let Ok(Some((head, consumed))) = parse_request(&bytes) {
                proptest::prop_assert!(consumed <= bytes.len() && !head.method.is_empty());
            }
        }
    }
}
