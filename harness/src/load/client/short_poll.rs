//! Plain polling: a request every so often, whether or not there is anything.
//!
//! Place on the data path: socket → **client** → sink. Not measured here: anything.

use pushbench_protocol::transport::short_poll as framing;

use super::long_poll::Answers;
use super::{ClientError, Next, Protocol, Sink, Target};

/// The client of the `short_poll` transport.
#[derive(Debug, Default)]
pub struct ShortPoll {
    answers: Answers,
}

impl Protocol for ShortPoll {
    const RECONNECTS: bool = true;

    fn open(
        &mut self,
        target: Target<'_>,
        since: Option<u64>,
        sink: &mut impl Sink,
        out: &mut Vec<u8>,
    ) {
        self.answers = Answers::resuming(since.is_some());
        sink.request();
        let start = target.start(since);
        framing::encode_request(target.host, &target.channel_name(), start, out);
    }

    fn receive(
        &mut self,
        bytes: &mut [u8],
        _target: Target<'_>,
        sink: &mut impl Sink,
        _out: &mut Vec<u8>,
    ) -> Result<Next, ClientError> {
        Ok(if self.answers.receive(bytes, sink)? {
            Next::Pause
        } else {
            Next::Read
        })
    }

    fn poll(&mut self, target: Target<'_>, sink: &mut impl Sink, out: &mut Vec<u8>) {
        sink.request();
        framing::encode_request(
            target.host,
            &target.channel_name(),
            Some(sink.cursor()),
            out,
        );
    }

    fn is_between_answers(&self) -> bool {
        self.answers.is_between()
    }
}
