//! Requests and their answers: subscribes, polls, upstream messages, what people look at.
//!
//! Place on the data path: before it for streams, on it for polls. In: the bytes of requests. Out:
//! answers with the same status, fields and text as those of the other profiles, and what the
//! connection becomes.

use std::io;

use axum::http::StatusCode;

use super::Common;
use super::answer::{self, Answer, End, NO_STORE, TEXT};
use super::connection::Step;
use super::frames::Frames;
use super::socket::Socket;
use super::streamed::Streamed;
use crate::shard::{MAX_WRITE_BYTES, Ready, SubscribeError, Subscription};
use crate::transport::http::{PAGE, PAGE_FIELDS, Refusal, append, publish_to, subscribe};
use crate::transport::origin::{self, PREFLIGHT, grant, may_send};
use pushbench_protocol::envelope::MAX_PAYLOAD_BYTES;
use pushbench_protocol::framing::Epoch;
use pushbench_protocol::framing::http1::{
    Body, BodyLength, RequestError, RequestHead, ResponseWriter, parse_request,
};
use pushbench_protocol::transport::websocket::{self, check_opening};
use pushbench_protocol::transport::{Delivery, Polls, Profile, Transport, poll};

/// What the connection is to become.
pub(super) enum Next {
    /// What it was: more bytes are needed.
    Unfinished,
    /// Between two requests.
    Request,
    Upload(Box<Upload>),
    Streamed(Streamed),
    Frames(Frames),
    /// A long-poll, which may have something pending already.
    Poll {
        subscription: Subscription,
        end: End,
    },
    /// Ended, once all is written.
    Close,
}

impl Next {
    /// After an answer.
    pub(super) fn behind_the_answer(close: bool) -> Self {
        if close { Self::Close } else { Self::Request }
    }
}

/// Answers the first request in `bytes`.
pub(super) fn request(
    bytes: &[u8],
    socket: &mut Socket,
    common: &mut Common,
) -> io::Result<(Step, Next)> {
    common.out.clear();
    let (head, consumed) = match parse_request(bytes) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Ok((Step::Wait, Next::Unfinished)),
        // As hyper does it.
        Err(RequestError::Preface) => return Ok((Step::Took(bytes.len()), Next::Close)),
        Err(error) => {
            Answer::new(common, End::CLOSE).refusal(&error.into());
            socket.send([&common.out, &[], &[]])?;
            return Ok((Step::Took(bytes.len()), Next::Close));
        }
    };
    let next = match routed(&head, common) {
        Some(Route::Publish) => upload(&head, common),
        Some(Route::Subscribe(transport)) => subscribed(&head, transport, socket, common)?,
        Some(Route::Page) => {
            Answer::to(&head, common).body(StatusCode::OK, &PAGE_FIELDS, PAGE.as_bytes())
        }
        Some(Route::Info) => {
            let info = common.shared.info().to_string();
            let fields = [("content-type", "application/json"), NO_STORE];
            Answer::to(&head, common).body(StatusCode::OK, &fields, info.as_bytes())
        }
        Some(Route::OtherMethod(allowed)) => {
            if origin::is_preflight(&head) && grant(&common.shared.origins, head.origin).is_some() {
                let methods = ("access-control-allow-methods", allowed);
                let [headers, age] = PREFLIGHT;
                Answer::to(&head, common).head(
                    StatusCode::NO_CONTENT,
                    &[methods, headers, age],
                    None,
                )
            } else {
                let fields = [("allow", allowed)];
                Answer::to(&head, common).body(StatusCode::METHOD_NOT_ALLOWED, &fields, &[])
            }
        }
        None => Answer::to(&head, common).body(StatusCode::NOT_FOUND, &[], &[]),
    };
    if !common.out.is_empty() {
        socket.send([&common.out, &[], &[]])?;
    }
    Ok((Step::Took(consumed), next))
}

/// What a target stands for.
enum Route {
    Page,
    Info,
    Publish,
    Subscribe(Transport),
    /// It has other methods than this.
    OtherMethod(&'static str),
}

fn routed(head: &RequestHead<'_>, common: &Common) -> Option<Route> {
    let route = match head.path {
        "/" => Route::Page,
        "/info" => Route::Info,
        "/publish" => Route::Publish,
        path => {
            let mut served = common.shared.transports.iter();
            Route::Subscribe(*served.find(|t| t.info().path == Some(path))?)
        }
    };
    let allowed = match route {
        Route::Publish => "POST",
        // An upgrade is asked for with GET (RFC 6455, section 4.1).
        Route::Subscribe(Transport::WebSocket) => "GET",
        _ => "GET,HEAD",
    };
    let is_allowed = allowed.split(',').any(|method| method == head.method);
    Some(if is_allowed {
        route
    } else {
        Route::OtherMethod(allowed)
    })
}

fn subscribed(
    head: &RequestHead<'_>,
    transport: Transport,
    socket: &mut Socket,
    common: &mut Common,
) -> io::Result<Next> {
    let end = End::of(head, common);
    let delivery = transport.info().delivery;
    let mut key = "";
    if matches!(delivery, Delivery::WebSocket) {
        let opens = may_send(&common.shared, head.origin, head.host).and_then(|()| {
            let key = check_opening(&head.upgrade, head.is_http_1_1, answer::has_body(head));
            Ok(key?)
        });
        key = match opens {
            Ok(key) => key,
            Err(refusal) => return Ok(Answer::to(head, common).refusal(&refusal)),
        };
    }
    let shared = &common.shared;
    let quiet = match transport.polls() {
        Some(_) => shared.poll_timeout,
        None => shared.keep_alive,
    };
    let by_event_source = transport.streamed().is_some_and(|r| r.event_source);
    let resumed_by = head.last_event_id.filter(|_| by_event_source);
    let framing = transport.framing(Profile::Lean);
    let (mut subscription, resumed) = match subscribe(head.query, resumed_by, framing, quiet) {
        Ok(subscribed) => subscribed,
        // An EventSource gives up for good at any status but 200 (WHATWG HTML, section 9.2.2), but
        // tries again where the connection ends without an answer.
        Err(Refusal::Subscribe(SubscribeError::Closing)) if by_event_source => {
            return Ok(Next::Close);
        }
        Err(refusal) => return Ok(Answer::to(head, common).refusal(&refusal)),
    };
    let head_only = head.method == "HEAD";
    Ok(match delivery {
        Delivery::Response(response) if head_only => {
            let streamed = Streamed::new(subscription, transport, false, end.close);
            streamed.write_head(response, end, common);
            Next::behind_the_answer(end.close)
        }
        Delivery::Response(response) => {
            let chunked = head.is_http_1_1;
            let streamed = Streamed::new(subscription, transport, chunked, end.close);
            streamed.open(response, end, common);
            Next::Streamed(streamed)
        }
        Delivery::WebSocket => {
            let accept = websocket::accept_key(key);
            ResponseWriter::start(101, "Switching Protocols", &mut common.out)
                .field("connection", "upgrade")
                .field("upgrade", "websocket")
                .field("sec-websocket-accept", &accept)
                .cursor(subscription.cursor())
                .end(&common.date);
            if subscription.cursor().epoch != Epoch::NONE {
                websocket::encode_subscribed_text(subscription.cursor(), &mut common.out);
            }
            Next::Frames(Frames::new(subscription))
        }
        Delivery::Poll(Polls::Held) if resumed && !head_only => Next::Poll { subscription, end },
        Delivery::Poll(_) | Delivery::Lines => {
            // Nobody will wait, so nobody is woken. Without a cursor, the answer is one. HEAD takes
            // no message.
            let ready = match resumed && !head_only {
                true => subscription.ready_now().unwrap_or(Ready::Quiet),
                false => Ready::Quiet,
            };
            answer_poll(subscription, ready, end, socket, common)?;
            Next::behind_the_answer(end.close)
        }
    })
}

/// Answers a poll that found `ready`, with all that is pending. A client that has the answer
/// is not a subscriber any more, so the bytes are copied first and sent last.
pub(super) fn answer_poll(
    mut subscription: Subscription,
    ready: Ready,
    end: End,
    socket: &mut Socket,
    common: &mut Common,
) -> io::Result<()> {
    let Common {
        out, shared, date, ..
    } = common;
    out.clear();
    if ready == Ready::Pending {
        let answered =
            subscription.hand_out::<io::Error>(MAX_WRITE_BYTES, |first, second, last| {
                let writer = ResponseWriter::start(200, "OK", out)
                    .cursor(last)
                    .field(NO_STORE.0, NO_STORE.1)
                    .field(TEXT.0, TEXT.1)
                    .number("content-length", (first.len() + second.len()) as u64);
                end.write(writer, shared, date);
                out.extend_from_slice(first);
                out.extend_from_slice(second);
                Ok(())
            })?;
        if answered {
            drop(subscription);
            socket.send([out, &[], &[]])?;
            out.clear();
            return Ok(());
        }
    }
    match ready {
        Ready::Lagged(lost) | Ready::Skipped(lost) => {
            let mut body = Vec::new();
            poll::encode_lagged(lost, &mut body);
            let writer = ResponseWriter::start(410, "Gone", out)
                .cursor(subscription.cursor())
                .field(NO_STORE.0, NO_STORE.1)
                .number("content-length", body.len() as u64);
            end.write(writer, shared, date);
            out.extend_from_slice(&body);
        }
        // A server that closes answers as at a time-out; the next poll finds it gone.
        Ready::Pending | Ready::Quiet | Ready::Closing => {
            let writer = ResponseWriter::start(204, "No Content", out)
                .cursor(subscription.cursor())
                .field(NO_STORE.0, NO_STORE.1);
            end.write(writer, shared, date);
        }
    }
    drop(subscription);
    socket.send([out, &[], &[]])?;
    out.clear();
    Ok(())
}

/// A `POST /publish` whose body is on its way.
pub(super) struct Upload {
    /// Where it goes, or why not.
    channel: Result<u32, Refusal>,
    body: Body,
    payload: Vec<u8>,
    end: End,
}

fn upload(head: &RequestHead<'_>, common: &mut Common) -> Next {
    let end = End::of(head, common).closing(head.close);
    let upload = Box::new(Upload {
        channel: may_send(&common.shared, head.origin, head.host)
            .and_then(|()| publish_to(&common.shared.hub, head.query)),
        body: Body::new(head.body),
        payload: Vec::new(),
        end,
    });
    if matches!(head.body, BodyLength::Length(bytes) if bytes > MAX_PAYLOAD_BYTES as u64) {
        return Answer::new(common, end).refusal(&Refusal::TooLarge);
    }
    if upload.body.is_finished() {
        return upload.finish(common);
    }
    if head.expects_continue && head.is_http_1_1 {
        common
            .out
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    Next::Upload(upload)
}

impl Upload {
    /// Takes bytes of the body, and answers behind the last.
    pub(super) fn take(
        &mut self,
        bytes: &mut [u8],
        socket: &mut Socket,
        common: &mut Common,
    ) -> io::Result<(Step, Next)> {
        common.out.clear();
        let (step, next) = match self.body.decode(bytes) {
            Err(error) => {
                let refusal = Refusal::Body(error.to_string());
                let answer = Answer::new(common, self.end).refusal(&refusal);
                (Step::Took(bytes.len()), answer)
            }
            Ok(progress) => {
                self.payload
                    .extend_from_slice(&bytes[..progress.payload_len]);
                let step = Step::Took(progress.consumed);
                if self.payload.len() > MAX_PAYLOAD_BYTES {
                    (
                        step,
                        Answer::new(common, self.end).refusal(&Refusal::TooLarge),
                    )
                } else if progress.finished {
                    (step, self.finish(common))
                } else {
                    (step, Next::Unfinished)
                }
            }
        };
        if !common.out.is_empty() {
            socket.send([&common.out, &[], &[]])?;
        }
        Ok((step, next))
    }

    /// Answers a client whose body did not come in time.
    pub(super) fn time_out(&self, socket: &mut Socket, common: &mut Common) -> io::Result<()> {
        common.out.clear();
        let refusal = Refusal::TooSlow(common.shared.patience);
        Answer::new(common, self.end).refusal(&refusal);
        socket.send([&common.out, &[], &[]])
    }

    fn finish(&self, common: &mut Common) -> Next {
        let appended = match &self.channel {
            Ok(channel) => append(&common.shared.hub, *channel, &self.payload),
            Err(refusal) => return Answer::new(common, self.end).refusal(refusal),
        };
        let cursor = match appended {
            Ok(cursor) => cursor,
            Err(refusal) => return Answer::new(common, self.end).refusal(&refusal),
        };
        let body = format!("{}\n", cursor.sequence);
        let writer = ResponseWriter::start(200, "OK", &mut common.out)
            .cursor(cursor)
            .field(NO_STORE.0, NO_STORE.1)
            .number("content-length", body.len() as u64);
        let close = self.end.close || common.drains;
        self.end
            .closing(close)
            .write(writer, &common.shared, &common.date);
        common.out.extend_from_slice(body.as_bytes());
        Next::behind_the_answer(close)
    }
}
