//! A browser's own EventSource, WebSocket and fetch against `pushbench serve`, through the page at
//! `/`: what a person sees there, read and clicked over the browser's debugging protocol.
//!
//! Needs Chromium: `/usr/bin/chromium`, or what the environment's `CHROMIUM` says. Where there is
//! none the tests say so and pass, but with `CI=true` they fail.

mod support;

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{PATIENCE, Running, Served, await_some};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// A headless browser with an empty profile. It is closed when dropped.
struct Browser {
    process: Running,
    protocol: WebSocket<TcpStream>,
    asked: u64,
    _profile: TempDir,
}

/// A page of it.
struct Page<'a> {
    browser: &'a mut Browser,
    session: String,
}

fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let path = named.unwrap_or_else(|| "/usr/bin/chromium".into());
    if path.is_file() {
        return Some(path);
    }
    let missing = format!(
        "no Chromium at '{}': install it, or set CHROMIUM",
        path.display()
    );
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
    eprintln!("SKIPPED, nothing was tested: {missing}");
    None
}

impl Browser {
    /// Starts it; `None` where there is none.
    fn start() -> Option<Self> {
        let mut command = Command::new(chromium()?);
        let profile = tempfile::tempdir().expect("a temporary folder");
        command
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // The only page that it opens is our own, and root may not use the sandbox.
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            // It is to speak to nobody but the server under test.
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args([
                "--disable-sync",
                "--disable-quic",
                "--no-first-run",
                "--no-proxy-server",
            ])
            .args(["--remote-debugging-port=0", "about:blank"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        // It writes there, in two lines, the port and the path of its debugging protocol.
        let file = profile.path().join("DevToolsActivePort");
        let (port, path) = await_some("the browser's debugging port", || {
            let ended = process.child().try_wait().expect("a child");
            assert_eq!(ended, None, "the browser ended at once");
            let text = std::fs::read_to_string(&file).ok()?;
            let (port, path) = text.split_once('\n')?;
            Some((port.parse::<u16>().ok()?, path.trim().to_owned()))
        });
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let address = format!("ws://127.0.0.1:{port}{path}");
        let (protocol, _) = tungstenite::client(address, stream).expect("its protocol");
        Some(Self {
            process,
            protocol,
            asked: 0,
            _profile: profile,
        })
    }

    /// Asks for something and waits for the answer; events on the way are of no interest.
    fn ask(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut request = json!({ "id": self.asked, "method": method, "params": parameters });
        if let Some(session) = session {
            request["sessionId"] = json!(session);
        }
        let request = Message::text(request.to_string());
        self.protocol.send(request).expect("the browser listens");
        loop {
            let message = self.protocol.read().expect("an answer in time");
            let Message::Text(text) = message else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            if answer["id"] == self.asked {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
        }
    }

    fn open(&mut self, address: &str) -> Page<'_> {
        let target = self.ask(None, "Target.createTarget", json!({ "url": address }));
        let how = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.ask(None, "Target.attachToTarget", how);
        let session = attached["sessionId"].as_str().expect("an id").to_owned();
        Page {
            browser: self,
            session,
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its many processes end with it, and its profile can be removed.
        let _ = self.protocol.send(Message::text(
            json!({ "id": 0, "method": "Browser.close" }).to_string(),
        ));
        let _ = self.process.code();
    }
}

impl Page<'_> {
    /// The value of an expression of JavaScript.
    fn value(&mut self, expression: &str) -> Value {
        let how = json!({ "expression": expression, "returnByValue": true });
        let answer = self
            .browser
            .ask(Some(&self.session), "Runtime.evaluate", how);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// The text of the element with this id; empty as long as there is none.
    fn text(&mut self, id: &str) -> String {
        let text = self.value(&format!(
            "document.getElementById('{id}')?.textContent ?? ''"
        ));
        text.as_str().expect("a string").to_owned()
    }

    fn number(&mut self, id: &str) -> Option<u64> {
        self.text(id).parse().ok()
    }

    fn click(&mut self, selector: &str) {
        self.value(&format!("document.querySelector('{selector}').click()"));
    }

    /// The sequences in the list of what arrived, oldest first.
    fn sequences(&mut self) -> Vec<u64> {
        let rows =
            self.value("[...document.querySelectorAll('#log li')].map(li => li.textContent)");
        let rows = rows.as_array().expect("a list").iter().rev();
        rows.map(|row| {
            let first = row.as_str().and_then(|row| row.split_whitespace().next());
            first
                .and_then(|first| first.parse().ok())
                .expect("a row of a message")
        })
        .collect()
    }
}

fn server() -> Served {
    Served::start(&["--rate", "100"])
}

/// Follows a link to a subscription until it has brought 100 messages.
fn a_browser_receives_every_message_over(transport: &str) {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let server = server();
    let http = server.address("http");
    let link = format!("http://{http}/?transport={transport}&channel=news&since=0");
    let mut page = browser.open(&link);
    await_some("100 messages in the browser", || {
        page.number("count").filter(|&count| count >= 100)
    });
    assert_eq!(
        (page.text("state"), page.text("gaps")),
        ("open".into(), "0".into())
    );
    page.click("#stop");
    assert_eq!(page.text("state"), "idle");
    // From the first message on, and none left out.
    let (count, last) = (page.number("count"), page.number("last"));
    assert_eq!(count, last);
    let sequences = page.sequences();
    let first = count.unwrap_or(0) + 1 - sequences.len() as u64;
    assert!(
        sequences.iter().copied().eq(first..=count.unwrap_or(0)),
        "{sequences:?}"
    );
}

#[test]
fn a_browsers_eventsource_receives_every_message() {
    a_browser_receives_every_message_over("sse");
}

#[test]
fn a_browsers_websocket_receives_every_message() {
    a_browser_receives_every_message_over("websocket");
}

#[test]
fn a_browser_that_polls_and_waits_receives_every_message() {
    a_browser_receives_every_message_over("long_poll");
}

#[test]
fn a_browser_that_polls_once_a_second_receives_every_message() {
    a_browser_receives_every_message_over("short_poll");
}

#[test]
fn the_page_subscribes_stops_and_publishes_at_the_click_of_a_button() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let server = Served::start(&["--rate", "0", "--channel", "team-*3"]);
    let mut page = browser.open(&format!("http://{}/", server.address("http")));
    await_some("the page's script", || {
        let channel = page.value("document.getElementById('channel')?.value ?? ''");
        (channel == "team-0").then_some(())
    });
    let transports =
        page.value("[...document.getElementById('transport')?.options].map(o => o.value)");
    assert_eq!(
        transports,
        json!(["sse", "websocket", "long_poll", "short_poll"])
    );
    page.click("#subscribe");
    await_some("the subscription", || {
        (page.text("state") == "open").then_some(())
    });
    let link = page.value("location.search");
    assert_eq!(link, "?transport=sse&channel=team-0");
    page.value("document.getElementById('payload').value = 'héllo, 你好'");
    page.click("#publish button");
    await_some("the message", || (page.text("count") == "1").then_some(()));
    assert_eq!(page.text("log"), "1 héllo, 你好");
    page.click("#stop");
    assert_eq!(page.text("state"), "idle");
}

#[test]
fn the_page_says_why_a_subscription_was_refused() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let server = server();
    let http = server.address("http");
    for transport in ["sse", "websocket", "long_poll"] {
        let link = format!("http://{http}/?transport={transport}&channel=nowhere");
        let mut page = browser.open(&link);
        await_some("the refusal", || {
            let state = page.text("state");
            assert_ne!(state, "open", "{transport}");
            matches!(&*state, "failed" | "closed").then_some(())
        });
    }
}
