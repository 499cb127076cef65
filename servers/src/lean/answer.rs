//! An answer with the fields that those of the other profiles have: its head, and how that ends.
//!
//! Place on the data path: before it for streams, on it for polls. In: status, fields, body. Out: bytes in
//! the shard's buffer, and what the connection becomes.

use axum::http::StatusCode;
use pushbench_protocol::framing::http1::{BodyLength, RequestHead, ResponseWriter};

use super::Common;
use super::http::Next;
use crate::transport::http::{Refusal, Shared};
use crate::transport::origin::{Granted, grant};

pub(super) const NO_STORE: (&str, &str) = ("cache-control", "no-store");
pub(super) const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");

/// Whether the connection ends behind the answer: also where the request has a body that nobody
/// wants, so that none has to be read.
fn closes(head: &RequestHead<'_>) -> bool {
    head.close || has_body(head)
}

/// Whether a request has a body.
pub(super) fn has_body(head: &RequestHead<'_>) -> bool {
    !matches!(head.body, BodyLength::None | BodyLength::Length(0))
}

/// How the head of an answer ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Whether the connection ends behind the answer.
    pub(super) close: bool,
    /// For the page of which origin it is.
    origin: Granted,
}

impl End {
    pub(super) const CLOSE: Self = Self {
        close: true,
        origin: Granted::NOBODY,
    };

    pub(super) fn of(head: &RequestHead<'_>, common: &Common) -> Self {
        Self {
            close: closes(head) || common.drains,
            origin: grant(&common.shared.origins, head.origin),
        }
    }

    /// The same, on a connection that ends after the answer or does not.
    pub(super) fn closing(self, close: bool) -> Self {
        Self { close, ..self }
    }

    /// Ends the head.
    pub(super) fn write(self, mut writer: ResponseWriter<'_>, shared: &Shared, date: &str) {
        for (name, value) in self.origin.fields(&shared.origins).into_iter().flatten() {
            writer = writer.field(name, value);
        }
        if self.close {
            writer = writer.field("connection", "close");
        }
        writer.end(date);
    }
}

/// An answer under way, in the shard's buffer.
pub(super) struct Answer<'a> {
    common: &'a mut Common,
    end: End,
    /// Without its body, which HEAD does not get.
    head_only: bool,
}

impl<'a> Answer<'a> {
    pub(super) fn new(common: &'a mut Common, mut end: End) -> Self {
        end.close |= common.drains;
        Self {
            common,
            end,
            head_only: false,
        }
    }

    pub(super) fn to(head: &RequestHead<'_>, common: &'a mut Common) -> Self {
        let (head_only, end) = (head.method == "HEAD", End::of(head, common));
        Self {
            head_only,
            ..Self::new(common, end)
        }
    }

    pub(super) fn head(
        &mut self,
        status: StatusCode,
        fields: &[(&str, &str)],
        length: Option<usize>,
    ) -> Next {
        let Common {
            out, shared, date, ..
        } = &mut *self.common;
        let reason = status.canonical_reason().unwrap_or_default();
        let mut writer = ResponseWriter::start(status.as_u16(), reason, out);
        for (name, value) in fields {
            writer = writer.field(name, value);
        }
        if let Some(length) = length {
            writer = writer.number("content-length", length as u64);
        }
        self.end.write(writer, shared, date);
        Next::behind_the_answer(self.end.close)
    }

    /// Writes the head and, but for HEAD, the body.
    pub(super) fn body(
        &mut self,
        status: StatusCode,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Next {
        let next = self.head(status, fields, Some(body.len()));
        if !self.head_only {
            self.common.out.extend_from_slice(body);
        }
        next
    }

    /// Says why a request is refused; the connection ends where that is so because of it.
    pub(super) fn refusal(&mut self, refusal: &Refusal) -> Next {
        let mut fields = vec![TEXT, NO_STORE];
        fields.extend(refusal.fields());
        let close = ("connection", "close");
        fields.retain(|field| *field != close);
        self.end.close |= refusal.fields().contains(&close);
        self.body(refusal.status(), &fields, format!("{refusal}\n").as_bytes())
    }
}
