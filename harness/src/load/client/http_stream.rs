//! Lines in an HTTP response that does not end.
//!
//! Place on the data path: socket → **client** → sink, in both families: on the socket itself, and as an
//! application would with reqwest.

use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::transport::Transport;
use pushbench_protocol::transport::http_stream::{self, Decoder};

use super::library::{self, LibraryClient};
use super::streamed::{Messages, Streamed};
use super::{ClientError, Next, Protocol, Sink, Target};
use crate::load::tasks::Session;

/// The client of the `http_stream` transport.
#[derive(Debug, Default)]
pub struct HttpStream {
    stream: Streamed<Decoder>,
}

impl Protocol for HttpStream {
    fn open(
        &mut self,
        target: Target<'_>,
        since: Option<u64>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) {
        sink.request();
        let start = target.start(since);
        http_stream::encode_request(target.host, &target.channel_name(), start, out);
    }

    fn receive(
        &mut self,
        bytes: &mut [u8],
        _target: Target<'_>,
        sink: &mut impl Sink,
        _out: &mut Vec<u8>,
    ) -> Result<Next, ClientError> {
        self.stream.receive(Transport::HttpStream, bytes, sink)
    }
}

/// The client of a library.
pub(super) const LIBRARY: LibraryClient =
    LibraryClient::of_reqwest(|session| Box::pin(follow(session)));

/// Follows the stream through reqwest, which hands over what has arrived, cut anywhere.
async fn follow(session: &Session) -> Result<(), ClientError> {
    let answer = library::subscribe(session, None).await?;
    let mut pieces = answer.bytes_stream();
    let mut departure = session.departure();
    let mut lines = Decoder::default();
    while let Some(piece) = library::next(session, &mut departure, &mut pieces).await? {
        let piece = piece.map_err(|e| library::connect_error(session, e))?;
        session.receive_at(monotonic_ns(), |_, sink| lines.feed_to(&piece, sink))?;
    }
    Ok(())
}
