//! Server-sent events: what an event stream brings, taken apart as WHATWG HTML says.
//!
//! Place on the data path: socket → **client** → sink.

use pushbench_protocol::framing::Lost;
use pushbench_protocol::transport::{Transport, sse};

use super::streamed::Messages;
use super::{ClientError, Next, Outcome, Sink};

impl Messages for sse::Decoder {
    const TRANSPORT: Transport = Transport::Sse;

    fn feed_to(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), ClientError> {
        let mut outcome = Outcome::default();
        let fed = self.feed(bytes, |block| {
            outcome.take(|| {
                if let Some(ms) = block.retry_ms {
                    sink.retry(ms);
                }
                let Some(data) = &block.data else {
                    return Ok(Next::Read);
                };
                // Whether the stream goes on after it is the channel's policy.
                if block.event == sse::LAGGED_EVENT {
                    Lost::parse(data).map_or(Ok(()), |lost| sink.lagged(lost))?;
                } else {
                    sink.envelope(data)?;
                }
                Ok(Next::Read)
            });
        });
        outcome.after(fed).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::client::{Protocol, Streamed, Target};
    use pushbench_protocol::framing::Cursor;

    type Sse = Streamed<sse::Decoder>;

    #[derive(Default)]
    struct Heard(Vec<String>);

    impl Sink for Heard {
        fn subscribed(&mut self, cursor: Cursor) {
            self.0.push(format!("subscribed {cursor}"));
        }
        fn envelope(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
            self.0.push(String::from_utf8_lossy(bytes).into_owned());
            Ok(())
        }
        fn lagged(&mut self, lost: Lost) -> Result<(), ClientError> {
            self.0.push(format!("lagged {lost}"));
            Ok(())
        }
        fn request(&mut self) {}
        fn empty_response(&mut self) {}
        fn cursor(&self) -> Cursor {
            9.into()
        }
        fn retry(&mut self, ms: u64) {
            self.0.push(format!("retry {ms}"));
        }
    }

    const TARGET: Target<'static> = Target {
        server: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80),
        host: "h",
        prefix: "c",
        channel: 0,
        snapshot_messages: 0,
    };

    fn receive(text: &str) -> (Vec<String>, Result<Next, ClientError>) {
        let (mut heard, mut client) = (Heard::default(), Sse::default());
        let mut bytes = text.as_bytes().to_vec();
        let result = client.receive(&mut bytes, TARGET, &mut heard, &mut Vec::new());
        (heard.0, result)
    }

    #[test]
    fn the_reconnection_time_is_handed_on_with_and_without_data() {
        let (heard, result) = receive(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nPush-Cursor: 4\r\n\r\n\
             retry: 750\n\nretry: 90\ndata: x\n\n",
        );
        assert_eq!(heard, ["subscribed 4", "retry 750", "retry 90", "x"]);
        assert_eq!(result.expect("a good stream"), Next::Read);
    }

    #[test]
    fn another_status_or_type_is_final_and_what_the_network_does_is_not() {
        for (text, is_final) in [
            ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            (
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nPush-Cursor: 4\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 what\r\n\r\n", false),
        ] {
            let error = receive(text).1.expect_err("no stream");
            assert_eq!(error.is_final(Transport::Sse), is_final, "{text}");
        }
        assert!(!ClientError::Eof("without saying why").is_final(Transport::Sse));
    }

    #[test]
    fn a_reconnect_names_its_cursor_as_last_event_id() {
        let mut out = Vec::new();
        Sse::default().open(TARGET, Some(7.into()), &mut Heard::default(), &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert!(text.starts_with("GET /sse?channel=c0 HTTP/1.1\r\n"));
        assert!(text.contains("\r\nLast-Event-ID: 7\r\n"), "{text}");
    }
}
