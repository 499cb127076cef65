//! Raw TCP, one envelope a line: the floor under all other transports.
//!
//! Place on the data path: shard → **transport** → socket. In: lines behind a cursor. Out: one write
//! of all that is pending, straight from the ring. Upstream: `PUBLISH <channel> <payload>`.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::http::{Http, Shared, append};
use super::stream::{Closes, LINGER, linger};
use crate::hub::MAX_NAME_BYTES;
use crate::shard::{MAX_WRITE_BYTES, Ready, SubscribeError, Subscription, Written};
use pushbench_protocol::envelope;
use pushbench_protocol::framing::find;
use pushbench_protocol::transport::Framing;
use pushbench_protocol::transport::tcp::{self, Request};

/// Longest line of a client: a `PUBLISH` of the largest payload, with the longest channel name.
pub(crate) const MAX_LINE_BYTES: usize = envelope::MAX_BYTES + MAX_NAME_BYTES + 16;

/// Bytes taken from a socket at once, on the stack of the thread: idle connections hold none.
const READ_BYTES: usize = 4 << 10;

/// Serves one connection until it ends.
pub(crate) async fn serve(stream: TcpStream, http: Http) {
    let mut stream = Closes(stream);
    let mut line = Vec::new();
    match converse(&mut stream.0, &http).await {
        Ok(End::Gone) => return,
        Ok(End::Ended) => {}
        Err(refused) => tcp::encode_error(&refused.0, &mut line),
    }
    // Best effort: a client that is gone needs no explanation.
    let _ = tokio::time::timeout(LINGER, stream.0.write_all(&line)).await;
    linger(stream).await;
}

/// Who ended a connection.
enum End {
    /// The client.
    Gone,
    /// The server, which has said all.
    Ended,
}

/// Why a connection is ended with an `ERROR` line.
pub(crate) struct Refused(pub(crate) String);

impl Refused {
    /// No line came, or none that ended.
    pub(crate) fn too_slow(patience: Duration) -> Self {
        Self(format!(
            "no whole line within {} s; expected 'SUBSCRIBE <channel> [since | last=N]' or 'PUBLISH \
             <channel> <payload>'",
            patience.as_secs_f64()
        ))
    }

    /// A line beyond [`MAX_LINE_BYTES`].
    pub(crate) fn too_long() -> Self {
        Self(format!("a line has at most {MAX_LINE_BYTES} bytes"))
    }
}

impl From<SubscribeError> for Refused {
    fn from(error: SubscribeError) -> Self {
        Self(error.to_string())
    }
}

async fn converse(stream: &mut TcpStream, shared: &Shared) -> Result<End, Refused> {
    let mut upstream = Upstream::default();
    let mut subscription = None;
    let mut due = Instant::now() + shared.patience;
    // Until it subscribes, a client may publish.
    while subscription.is_none() {
        let read = std::future::poll_fn(|cx| upstream.poll_fill(stream, cx));
        match tokio::time::timeout_at(due, read).await {
            Err(_elapsed) => return Err(Refused::too_slow(shared.patience)),
            Ok(Ok(true)) => {
                let ran = upstream.run_commands(shared, None)?;
                subscription = ran.subscription;
                if ran.lines > 0 {
                    due = Instant::now() + shared.patience;
                }
            }
            Ok(_gone) => return Ok(End::Gone),
        }
    }
    let Some(mut subscription) = subscription else {
        return Ok(End::Gone);
    };
    let mut line = Vec::new();
    tcp::encode_subscribed(subscription.cursor(), &mut line);
    if stream.write_all(&line).await.is_err() {
        return Ok(End::Gone);
    }
    drop(line);
    subscription.watch(stream.as_raw_fd());
    follow(stream, shared, &mut upstream, &mut subscription).await
}

/// What woke the connection.
enum Step {
    Upstream(io::Result<bool>),
    Downstream(Ready),
    TooSlow,
}

async fn follow(
    stream: &mut TcpStream,
    shared: &Shared,
    upstream: &mut Upstream,
    subscription: &mut Subscription,
) -> Result<End, Refused> {
    // Set while a line is unfinished: a subscriber may be silent for as long as it likes.
    let mut late: Option<Pin<Box<Sleep>>> = None;
    loop {
        if upstream.line.is_empty() {
            late = None;
        } else if late.is_none() {
            late = Some(Box::pin(tokio::time::sleep(shared.patience)));
        }
        let step = std::future::poll_fn(|cx| {
            if let Poll::Ready(read) = upstream.poll_fill(stream, cx) {
                return Poll::Ready(Step::Upstream(read));
            }
            if let Some(late) = &mut late
                && late.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Step::TooSlow);
            }
            subscription.poll_ready(cx).map(Step::Downstream)
        })
        .await;
        let sent = match step {
            Step::Upstream(Ok(true)) => {
                let ran = upstream.run_commands(shared, Some(&*subscription))?;
                if ran.lines > 0 {
                    late = None;
                }
                Ok(())
            }
            Step::TooSlow => return Err(Refused::too_slow(shared.patience)),
            Step::Upstream(ended) => {
                // One that asked and hung up gets what there was.
                if matches!(ended, Ok(false)) && subscription.ready_now() == Some(Ready::Pending) {
                    let _ = send_pending(stream, subscription).await;
                }
                return Ok(End::Gone);
            }
            Step::Downstream(Ready::Pending) => send_pending(stream, subscription).await,
            Step::Downstream(Ready::Quiet) => stream.write_all(b"\n").await,
            Step::Downstream(Ready::Skipped(lost)) => {
                let mut line = Vec::new();
                tcp::encode_lagged(lost, &mut line);
                stream.write_all(&line).await
            }
            Step::Downstream(Ready::Lagged(lost)) => {
                let mut line = Vec::new();
                tcp::encode_lagged(lost, &mut line);
                let _ = tokio::time::timeout(LINGER, stream.write_all(&line)).await;
                return Ok(End::Ended);
            }
            Step::Downstream(Ready::Closing) => return Ok(End::Ended),
        };
        if sent.is_err() {
            return Ok(End::Gone);
        }
    }
}

/// Writes all that is pending in one system call, straight from the ring; what a full socket
/// leaves of one message is written before anything else.
async fn send_pending(stream: &mut TcpStream, subscription: &mut Subscription) -> io::Result<()> {
    let written = subscription.write(MAX_WRITE_BYTES, |head, tail| {
        let written = if tail.is_empty() {
            stream.try_write(head)
        } else {
            stream.try_write_vectored(&[io::IoSlice::new(head), io::IoSlice::new(tail)])
        };
        match written {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    })?;
    match written {
        Written::Short(rest) => {
            stream.write_all(&rest).await?;
            stream.writable().await
        }
        Written::All => Ok(()),
    }
}

/// What a client has sent and not yet finished: empty but while a line is under way.
#[derive(Default)]
struct Upstream {
    line: Vec<u8>,
    /// Bytes of `line` known to have no LF, so that a long one is not searched again at each read.
    searched: usize,
}

impl Upstream {
    /// Reads what has arrived. `false`: the client is gone.
    fn poll_fill(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut space = [std::mem::MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        std::task::ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        self.line.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(!buffer.filled().is_empty()))
    }

    /// Carries out the complete lines.
    fn run_commands(
        &mut self,
        shared: &Shared,
        open: Option<&Subscription>,
    ) -> Result<Ran, Refused> {
        let mut ran = Ran::default();
        while let Some(at) = find(&self.line[self.searched..], |byte| byte == b'\n') {
            let end = self.searched + at;
            let line: Vec<u8> = self.line.drain(..=end).collect();
            self.searched = 0;
            ran.lines += 1;
            let subscribed = open.is_some() || ran.subscription.is_some();
            if let Some(opened) = run_command(shared, subscribed, &line[..end])? {
                ran.subscription = Some(opened);
            }
        }
        self.searched = self.line.len();
        if self.line.len() > MAX_LINE_BYTES {
            return Err(Refused::too_long());
        }
        if self.line.is_empty() {
            // An idle connection holds no buffer.
            self.line = Vec::new();
        }
        Ok(ran)
    }
}

/// What complete lines came to.
#[derive(Default)]
struct Ran {
    lines: usize,
    /// What one of them asked for.
    subscription: Option<Subscription>,
}

/// Carries out one line of a client. Returns the subscription that it asked for.
pub(crate) fn run_command(
    shared: &Shared,
    subscribed: bool,
    line: &[u8],
) -> Result<Option<Subscription>, Refused> {
    match Request::parse(line).map_err(|e| Refused(e.to_string()))? {
        Request::Subscribe { .. } if subscribed => {
            Err(Refused("this connection is subscribed already".into()))
        }
        Request::Subscribe { channel, start } => Ok(Some(Subscription::open(
            channel,
            start,
            Framing::Line,
            shared.keep_alive,
        )?)),
        Request::Publish { channel, payload } => {
            let number = shared
                .hub
                .channel(channel)
                .ok_or_else(|| SubscribeError::UnknownChannel(channel.into()))?;
            append(&shared.hub, number, payload).map_err(|e| Refused(e.to_string()))?;
            Ok(None)
        }
    }
}
