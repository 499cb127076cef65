//! What push needs of HTTP/1.1 ([RFC 9112](https://www.rfc-editor.org/rfc/rfc9112)): requests out,
//! response heads and bodies in, and the same from the server's side.
//!
//! Place on the data path: under SSE, the polls and the WebSocket handshake on the client. In: a
//! channel and a cursor, later the bytes of a response. Out: the bytes of a request, a
//! [`ResponseHead`], and the body without its chunks. Heads are parsed by `httparse`.

mod body;
mod request;

pub use body::{Body, BodyError, Progress};
pub use request::{
    MAX_REQUEST_HEAD_BYTES, RequestError, RequestHead, ResponseWriter, Upgrade, is_chunked,
    is_host, parse_request,
};

use super::{Cursor, Start, excerpt, parse_decimal, push_decimal};
use crate::transport::Transport;

/// Most header fields of a request, and most trailers of a body: hyper's own bound.
const MAX_FIELDS: usize = 100;

/// Longest response head that is read, in bytes. A tenth of it is plenty for the servers of this
/// suite; proxies in between add their own.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Most header fields in a response. As with the bytes: several times what is usual.
const MAX_HEADERS: usize = 64;

/// Appends the request that publishes one message, `POST /publish?channel=C`.
pub fn encode_publish(host: &str, channel: &str, payload: &[u8], out: &mut Vec<u8>) {
    push_request_line("POST", "/publish", channel, Start::Tail, host, out);
    out.extend_from_slice(b"Content-Length: ");
    push_decimal(payload.len() as u64, out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(payload);
}

/// Appends one chunk of a body (RFC 9112, section 7.1) with what `data` appends. The size is in
/// capitals, as hyper writes it. One of no bytes would end the body: it is left out.
pub fn encode_chunk(out: &mut Vec<u8>, data: impl FnOnce(&mut Vec<u8>)) {
    // Sizes have few digits; the data moves down over what is too much of them.
    const MOST_DIGITS: usize = 16;
    let start = out.len();
    out.resize(start + MOST_DIGITS + 2, 0);
    let begin = out.len();
    data(out);
    let bytes = out.len() - begin;
    if bytes == 0 {
        return out.truncate(start);
    }
    let digits = (bytes.ilog2() / 4 + 1) as usize;
    for i in 0..digits {
        let nibble = bytes >> (4 * (digits - 1 - i)) & 15;
        out[start + i] = b"0123456789ABCDEF"[nibble];
    }
    out[start + digits..start + digits + 2].copy_from_slice(b"\r\n");
    out.copy_within(begin.., start + digits + 2);
    out.truncate(start + digits + 2 + bytes);
    out.extend_from_slice(b"\r\n");
}

/// The chunk that ends a body, without trailers (RFC 9112, section 7.1).
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends the target of a request that subscribes, `<path>?channel=C[&since=N | &last=N]`. What must not
/// stand in a query is percent-encoded.
fn push_target(path: &str, channel: &str, start: Start, out: &mut Vec<u8>) {
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b"?channel=");
    for byte in channel.bytes() {
        // The unreserved characters (RFC 3986, section 2.3) mean themselves everywhere.
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble & 15)];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte)]);
        }
    }
    match start {
        Start::Tail => {}
        Start::Since(since) => {
            out.extend_from_slice(b"&since=");
            since.push(out);
        }
        Start::Last(count) => {
            out.extend_from_slice(b"&last=");
            push_decimal(count, out);
        }
    }
}

/// Appends request line and Host.
pub(crate) fn push_request_line(
    method: &str,
    path: &str,
    channel: &str,
    start: Start,
    host: &str,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    push_target(path, channel, start, out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    push_header("Host", host, out);
}

pub(crate) fn push_header(name: &str, value: &str, out: &mut Vec<u8>) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// How the body of a response ends (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none: status 1xx, 204 or 304.
    None,
    /// After this many bytes; 0 is usual for errors.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What the head of a response says, as far as push needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100 to 999. Statuses 1xx but 101 are followed by the head of the real response.
    pub status: u16,
    /// How the body ends.
    pub body: BodyLength,
    /// `Push-Cursor`: the first message to come is the one after it.
    pub push_cursor: Option<Cursor>,
    /// The transport that streams with this content type, with any parameters.
    pub streams: Option<Transport>,
    /// Whether the connection ends with this response (RFC 9112, section 9.3).
    pub close: bool,
    /// Whether both `Connection: Upgrade` and `Upgrade: websocket` are there.
    pub upgrade: bool,
    /// `Sec-WebSocket-Accept`, where it has the length that a SHA-1 has in base64.
    pub accept: Option<[u8; 28]>,
}

/// Why the head of a response cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// More than [`MAX_HEAD_BYTES`].
    #[error("expected a response head of at most {MAX_HEAD_BYTES} bytes, got one that is longer")]
    TooLong,
    /// Not HTTP/1; `.1` says what the parser missed.
    #[error("expected the head of an HTTP/1.1 response, got '{0}' ({1})")]
    Syntax(String, httparse::Error),
    /// No decimal number, or several that differ (RFC 9112, section 6.3, item 5).
    #[error("expected one 'Content-Length' in decimal, got '{0}'")]
    ContentLength(String),
    /// A transfer coding that was not asked for (RFC 9112, section 7).
    #[error("expected no 'Transfer-Encoding' but 'chunked', got '{0}'")]
    TransferEncoding(String),
    /// It is not a cursor.
    #[error("expected a 'Push-Cursor' such as '19' or 'k3f9-19', got '{0}'")]
    PushCursor(String),
}

/// Reads the head of a response from the start of `bytes`. Returns it with the number of bytes
/// that it takes; `None` where it is not whole yet.
///
/// Keep the bytes and call again with more; a head comes in one read nearly always.
///
/// # Errors
/// [`HeadError`] says what was expected in the place of what was found. Nothing of a body can be
/// read then, as its end is not known.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>, HeadError> {
    // Without the bound, a peer that never ends its head would make the caller collect for ever.
    let visible = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let consumed = match response.parse(visible) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD_BYTES => {
            return Err(HeadError::TooLong);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(HeadError::Syntax(excerpt(bytes), error)),
    };
    // A complete head has both.
    let status = response.code.unwrap_or_default();
    let is_http_1_0 = response.version == Some(0);

    let mut fields = Fields::default();
    for header in response.headers.iter() {
        fields.read(header.name, header.value)?;
    }
    let body = match status {
        100..=199 | 204 | 304 => BodyLength::None,
        _ if fields.is_chunked => BodyLength::Chunked,
        _ => fields
            .content_length
            .map_or(BodyLength::UntilClose, BodyLength::Length),
    };
    let head = ResponseHead {
        status,
        body,
        push_cursor: fields.push_cursor,
        streams: fields.streams,
        close: fields.close
            || (is_http_1_0 && !fields.keep_alive)
            || body == BodyLength::UntilClose,
        upgrade: fields.connection_upgrade && fields.upgrade_websocket,
        accept: fields.accept,
    };
    Ok(Some((head, consumed)))
}

/// The header fields that matter, before they are weighed against each other.
#[derive(Debug, Default)]
struct Fields {
    content_length: Option<u64>,
    is_chunked: bool,
    push_cursor: Option<Cursor>,
    streams: Option<Transport>,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade_websocket: bool,
    accept: Option<[u8; 28]>,
}

impl Fields {
    fn read(&mut self, name: &str, value: &[u8]) -> Result<(), HeadError> {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected);
        if is("content-length") {
            // A list of the same number comes from proxies that merge fields.
            for item in list(value) {
                let length = parse_decimal(item)
                    .filter(|length| self.content_length.is_none_or(|before| before == *length))
                    .ok_or_else(|| HeadError::ContentLength(excerpt(value)))?;
                self.content_length = Some(length);
            }
        } else if is("transfer-encoding") {
            // Wins over Content-Length (RFC 9112, section 6.3, item 3). A coding below it would
            // have to be decoded, and no request of ours allows one.
            for item in list(value) {
                if self.is_chunked || !item.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::TransferEncoding(excerpt(value)));
                }
                self.is_chunked = true;
            }
        } else if is("push-cursor") {
            let cursor = Cursor::parse(value.trim_ascii());
            self.push_cursor = Some(cursor.ok_or_else(|| HeadError::PushCursor(excerpt(value)))?);
        } else if is("content-type") {
            let essence = value.split(|&byte| byte == b';').next().unwrap_or_default();
            self.streams = Transport::that_streams(essence.trim_ascii());
        } else if is("connection") {
            for item in list(value) {
                self.close |= item.eq_ignore_ascii_case(b"close");
                self.keep_alive |= item.eq_ignore_ascii_case(b"keep-alive");
                self.connection_upgrade |= item.eq_ignore_ascii_case(b"upgrade");
            }
        } else if is("upgrade") {
            self.upgrade_websocket |=
                list(value).any(|item| item.eq_ignore_ascii_case(b"websocket"));
        } else if is("sec-websocket-accept") {
            self.accept = value.trim_ascii().try_into().ok();
        }
        Ok(())
    }
}

/// The items of a list (RFC 9110, section 5.6.1); empty ones do not count.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests;
