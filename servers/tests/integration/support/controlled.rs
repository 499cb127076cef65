//! A server under control: requests by hand over a socket, and the JSON that comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use pushbench_protocol::control::Guard;
use pushbench_protocol::framing::Epoch;
use pushbench_protocol::transport::Transport;
use pushbench_servers::control;
use pushbench_servers::server::{Config, Server};
use serde_json::{Value, json};

use super::wire::Wire;
use super::{bytes, eventually};

/// A server with its control interface on a loopback port of its own.
pub(crate) struct Controlled {
    pub(crate) server: Arc<Server>,
    wire: Wire,
    pub(crate) address: SocketAddr,
    /// Dropped at the end: the interface stops then.
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Controlled {
    pub(crate) fn start() -> Self {
        Self::start_with(None, Guard::default())
    }

    /// One whose logs have this epoch, for those whom `guard` lets in.
    pub(crate) fn start_with(epoch: Option<Epoch>, guard: Guard) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config {
            shards: 2,
            epoch,
            ..Config::new(any)
        };
        let server = Arc::new(Server::start(&config).expect("a free port on loopback"));
        let router = control::router(server.clone(), &config.transports, config.profile, guard);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (bound, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(any).await;
                let listener = listener.expect("a free port on loopback");
                let address = listener.local_addr().expect("a bound address");
                bound.send(address).expect("the test waits for it");
                tokio::select! {
                    ended = axum::serve(listener, router) => ended.expect("never ends"),
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().expect("the interface listens");
        Self {
            server,
            wire: Wire::connect(address),
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// One request on the one connection. Every answer but an empty one is JSON.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string);
        self.ask_raw(method, path, "application/json", body.as_deref())
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> (u16, Value) {
        self.ask("GET", path, None)
    }

    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", path, Some(body))
    }

    /// Has a schedule published.
    #[track_caller]
    pub(crate) fn publish(&mut self, plan: &Value) {
        assert_eq!(self.post("/v1/publish", plan), (202, Value::Null));
    }

    /// What was published, once the schedule is over.
    pub(crate) fn published(&mut self) -> Value {
        eventually("the schedule is over", || {
            self.get("/v1/publish").1["finished"] == true
        });
        let (status, report) = self.get("/v1/publish");
        assert_eq!(status, 200);
        report
    }

    /// A subscriber of `channel` over raw TCP, past its answer.
    pub(crate) fn subscriber(&self, channel: &str) -> Wire {
        let tcp = self.server.addresses.tcp.expect("serves raw TCP");
        let mut wire = Wire::open(tcp, bytes::subscribe(Transport::Tcp, channel, None));
        wire.expect(bytes::at_tail(Transport::Tcp, self.start_cursor()));
        wire
    }

    /// Of a log without a message.
    pub(crate) fn start_cursor(&self) -> String {
        format!("{}-0", self.server.hub.epoch(0))
    }

    #[track_caller]
    pub(crate) fn ask_raw(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&str>,
    ) -> (u16, Value) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        if let Some(body) = body {
            let length = body.len();
            request.push_str(&format!(
                "Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        } else {
            request.push_str("\r\n");
        }
        self.wire.send(request);
        let (status, head, body) = self.wire.response();
        if body.is_empty() {
            return (status, Value::Null);
        }
        assert!(
            head.contains("\r\ncontent-type: application/json\r\n"),
            "{head}"
        );
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    pub(crate) fn declare(&mut self, specs: &[&str]) -> (u16, Value) {
        self.ask("POST", "/v1/channels", Some(&json!({ "declare": specs })))
    }
}

impl Drop for Controlled {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// An error is its status and `{"error": "…"}`, nothing else.
#[track_caller]
pub(crate) fn expect_error(answer: (u16, Value), status: u16, text: &str) {
    let (got, body) = answer;
    assert_eq!(got, status, "{body}");
    let error = body["error"].as_str().expect("an error is a text");
    assert!(error.contains(text), "'{error}' lacks '{text}'");
    assert_eq!(body, json!({ "error": error }));
}
