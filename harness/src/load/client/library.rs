//! Clients as an application would write them: reqwest for SSE and polling, tokio-tungstenite for
//! WebSocket, with the libraries' own buffers and parsers.
//!
//! Place on the data path: socket → library → **client** → sink. The receive time is read when the
//! library hands the message over: that is when an application has it. Not measured here: bytes on
//! the wire of reqwest's connections, which it keeps to itself.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use eventsource_stream::Eventsource;
use futures_util::future::LocalBoxFuture;
use futures_util::{SinkExt, Stream};
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::framing::{Cursor, Lost};
use pushbench_protocol::transport::tcp::parse_subscribed;
use pushbench_protocol::transport::websocket::CLOSE_LAGGED;
use pushbench_protocol::transport::{Polls, poll as framing};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::polled::bounded;
use super::streamed::Messages;
use super::{ClientError, Next, Outcome, Sink, socket};
use crate::load::tasks::{Departure, Session};

/// A client of libraries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LibraryClient {
    /// Runs one session. Boxed: each task is as large as its own client, no larger.
    pub(crate) run: fn(&Session) -> LocalBoxFuture<'_, Result<(), ClientError>>,
    /// Whether its socket is ours, so that bytes on the wire are counted.
    pub(crate) counts_bytes: bool,
}

impl LibraryClient {
    pub(super) const OF_EVENTS: Self = Self::of_reqwest(|session| Box::pin(sse(session)));
    pub(super) const OF_POLLS: Self = Self::of_reqwest(|session| Box::pin(poll(session)));
    pub(super) const OF_WEB_SOCKETS: Self = Self {
        run: |session| Box::pin(websocket(session)),
        counts_bytes: true,
    };

    /// A response that does not end, taken apart by the decoder of its transport.
    pub(super) const fn of_messages<M: Messages + 'static>() -> Self {
        Self::of_reqwest(|session| Box::pin(messages::<M>(session)))
    }

    /// One through reqwest, which keeps its sockets to itself.
    const fn of_reqwest(run: fn(&Session) -> LocalBoxFuture<'_, Result<(), ClientError>>) -> Self {
        Self {
            run,
            counts_bytes: false,
        }
    }
}

/// Server-sent events through reqwest and eventsource-stream.
async fn sse(session: &Session) -> Result<(), ClientError> {
    let answer = subscribe(session, Some("text/event-stream")).await?;
    let mut events = answer.bytes_stream().eventsource();
    let mut departure = session.departure();
    while let Some(event) = next(session, &mut departure, &mut events).await? {
        let event = event.map_err(|e| ClientError::Protocol(e.to_string()))?;
        if event.event == "lagged" {
            // Whether the stream goes on after it is the channel's policy.
            lagged(session, &event.data)?;
            continue;
        }
        session.receive_at(monotonic_ns(), |_, sink| {
            sink.envelope(event.data.as_bytes())
        })?;
    }
    Ok(())
}

/// A response that does not end, through reqwest, which hands over what has arrived, cut anywhere.
async fn messages<M: Messages>(session: &Session) -> Result<(), ClientError> {
    let answer = subscribe(session, None).await?;
    let mut pieces = answer.bytes_stream();
    let mut departure = session.departure();
    let mut decoder = M::default();
    while let Some(piece) = next(session, &mut departure, &mut pieces).await? {
        let piece = piece.map_err(|e| connect_error(session, e))?;
        session.receive_at(monotonic_ns(), |_, sink| decoder.feed_to(&piece, sink))?;
    }
    Ok(())
}

/// Asks for a response that does not end, and reads its head.
async fn subscribe(
    session: &Session,
    accept: Option<&str>,
) -> Result<reqwest::Response, ClientError> {
    session.with_sink(|_, sink| sink.request());
    let request = http_client(session)?.get(url(session, None));
    let request = match accept {
        Some(accept) => request.header("accept", accept),
        None => request,
    };
    let answer = request.send().await;
    let answer = answer.map_err(|e| connect_error(session, e))?;
    subscribed(session, cursor_of(&answer, &[200])?);
    Ok(answer)
}

/// WebSocket through tokio-tungstenite.
async fn websocket(session: &Session) -> Result<(), ClientError> {
    let server = session.server();
    let stream = socket::connect(session.index(), server, session.options())
        .await
        .map_err(|e| ClientError::Connect(server, e))?;
    let url = url(session, None).replacen("http", "ws", 1);
    let request = url
        .into_client_request()
        .map_err(|e| ClientError::Protocol(format!("not a WebSocket address: {e}")))?;
    session.opened(&stream);
    let stream = Counted { stream, session };
    session.with_sink(|_, sink| sink.request());
    let (mut socket, answer) = tokio_tungstenite::client_async(request, stream)
        .await
        .map_err(|e| ClientError::Protocol(e.to_string()))?;
    let cursor = answer
        .headers()
        .get("push-cursor")
        .and_then(|c| Cursor::parse(c.as_bytes()));
    subscribed(session, cursor.ok_or_else(no_cursor)?);
    let mut departure = session.departure();
    while let Some(message) = next(session, &mut departure, &mut socket).await? {
        match message.map_err(|e| ClientError::Protocol(e.to_string()))? {
            Message::Text(text) => {
                let bytes = text.as_bytes();
                if let Some(lost) = framing::parse_lagged(bytes) {
                    session.with_sink(|_, sink| sink.lagged(lost))?;
                    continue;
                }
                if parse_subscribed(bytes).is_some() {
                    // For pages, which have not seen the head.
                    continue;
                }
                session.receive_at(monotonic_ns(), |_, sink| sink.envelope(bytes))?;
            }
            // tungstenite has queued the pong; it goes out with the next write.
            Message::Ping(_) => {
                socket
                    .flush()
                    .await
                    .map_err(|e| ClientError::Protocol(e.to_string()))?;
            }
            Message::Close(frame) => {
                if let Some(frame) = frame
                    && u16::from(frame.code) == CLOSE_LAGGED
                {
                    lagged(session, &frame.reason)?;
                }
                return Err(ClientError::Eof("after saying why"));
            }
            Message::Pong(_) | Message::Frame(_) => {}
            Message::Binary(_) => {
                return Err(ClientError::Protocol(
                    "expected text messages, got a binary".into(),
                ));
            }
        }
    }
    Ok(())
}

/// A stream whose kernel counters are kept when it is closed.
struct Counted<'a> {
    stream: TcpStream,
    session: &'a Session,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.session.closing(&self.stream);
    }
}

impl AsyncRead for Counted<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Polling through reqwest.
async fn poll(session: &Session) -> Result<(), ClientError> {
    let client = http_client(session)?;
    let mut departure = session.departure();
    let mut since = None;
    loop {
        session.with_sink(|_, sink| sink.request());
        let request = client.get(url(session, since)).send();
        let Some(answer) = or_departure(session, &mut departure, request).await else {
            return Ok(());
        };
        let mut answer = answer.map_err(|e| connect_error(session, e))?;
        let cursor = cursor_of(&answer, &[200, 204, 410])?;
        match answer.status().as_u16() {
            204 if since.is_none() => subscribed(session, cursor),
            204 => session.with_sink(|_, sink| sink.empty_response()),
            status => {
                let mut body = Vec::new();
                loop {
                    let piece = answer.chunk().await;
                    match piece.map_err(|e| connect_error(session, e))? {
                        Some(piece) => body = bounded(body, &piece)?,
                        None => break,
                    }
                }
                if status == 410 {
                    if let Some(lost) = framing::parse_lagged(&body) {
                        session.with_sink(|_, sink| sink.lagged(lost))?;
                    }
                } else {
                    let at_ns = monotonic_ns();
                    let mut outcome = Outcome::default();
                    framing::lines(&body, |line| {
                        outcome.take(|| {
                            session.receive_at(at_ns, |_, sink| sink.envelope(line))?;
                            Ok(Next::Read)
                        });
                    });
                    outcome.0?;
                }
            }
        }
        since = Some(session.cursor());
        if session.transport().polls() == Some(Polls::AtIntervals) {
            let pause = tokio::time::sleep(session.until_next_poll());
            if or_departure(session, &mut departure, pause).await.is_none() {
                return Ok(());
            }
        }
    }
}

/// A reqwest client of this simulated client's own, as each application has its own.
fn http_client(session: &Session) -> Result<reqwest::Client, ClientError> {
    let source = session
        .options()
        .source_of(session.index(), session.server());
    reqwest::Client::builder()
        .no_proxy()
        .local_address(source)
        .build()
        .map_err(|e| ClientError::Protocol(format!("cannot set up reqwest: {e}")))
}

fn url(session: &Session, since: Option<Cursor>) -> String {
    let target = session.target();
    let path = session.transport().info().path.unwrap_or_default();
    let since = since
        .map(|since| format!("&since={since}"))
        .unwrap_or_default();
    format!(
        "http://{}{path}?channel={}{since}",
        target.host,
        target.channel_name()
    )
}

fn cursor_of(answer: &reqwest::Response, expected: &[u16]) -> Result<Cursor, ClientError> {
    let got = answer.status().as_u16();
    if !expected.contains(&got) {
        return Err(ClientError::Status {
            expected: expected[0],
            got,
        });
    }
    let cursor = answer.headers().get("push-cursor");
    cursor
        .and_then(|c| Cursor::parse(c.as_bytes()))
        .ok_or_else(no_cursor)
}

fn no_cursor() -> ClientError {
    ClientError::Protocol("the answer has no 'Push-Cursor' header".into())
}

fn subscribed(session: &Session, cursor: Cursor) {
    session.with_sink(|_, sink| sink.subscribed(cursor));
    session.connected();
}

fn lagged(session: &Session, lost: &str) -> Result<(), ClientError> {
    let lost = Lost::parse(lost.as_bytes());
    lost.map_or(Ok(()), |lost| {
        session.with_sink(|_, sink| sink.lagged(lost))
    })
}

fn connect_error(session: &Session, error: reqwest::Error) -> ClientError {
    let source = std::error::Error::source(&error);
    let text = source.map_or(error.to_string(), |source| source.to_string());
    if !error.is_connect() {
        return ClientError::Protocol(text);
    }
    // What the system said lies somewhere under what the library made of it.
    let code = std::iter::successors(source, |error| error.source())
        .find_map(|error| error.downcast_ref::<std::io::Error>()?.raw_os_error());
    let error = match code {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::other(text),
    };
    ClientError::Connect(session.server(), error)
}

/// What `future` gives, or `None` when the client departs first.
async fn or_departure<F: Future>(
    session: &Session,
    departure: &mut Departure,
    future: F,
) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => departure.poll(session, cx).map(|()| None),
    })
    .await
}

/// The next item of a stream; `None` when the client departs, an error when the server ends it.
async fn next<S: Stream + Unpin>(
    session: &Session,
    departure: &mut Departure,
    stream: &mut S,
) -> Result<Option<S::Item>, ClientError> {
    let item = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx));
    match or_departure(session, departure, item).await {
        None => Ok(None),
        Some(Some(item)) => Ok(Some(item)),
        Some(None) => Err(ClientError::Eof("without saying why")),
    }
}
