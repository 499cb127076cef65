//! A headless Chromium, driven over its debugging protocol.
//!
//! `/usr/bin/chromium`, or what the environment's `CHROMIUM` says. Where there is none the tests say
//! so and pass, but with `CI=true` they fail.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::{PATIENCE, Running, await_some};

/// A headless browser with an empty profile. It is closed when dropped.
pub(crate) struct Browser {
    process: Running,
    protocol: WebSocket<TcpStream>,
    asked: u64,
    _profile: TempDir,
}

/// A page of it.
pub(crate) struct Page<'a> {
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
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("--headless")
    }

    /// Starts it with another argument.
    pub(crate) fn start_with(argument: &str) -> Option<Self> {
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
            .args([argument, "--remote-debugging-port=0", "about:blank"])
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

    pub(crate) fn open(&mut self, address: &str) -> Page<'_> {
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
    /// Asks for something of this page, by the browser's protocol.
    pub(crate) fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.browser.ask(Some(&self.session), method, parameters)
    }

    /// The value of an expression of JavaScript, awaited where it is a promise.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let how = json!({
            "expression": expression,
            "returnByValue": true,
            "awaitPromise": true,
        });
        let answer = self.ask("Runtime.evaluate", how);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// The text of the element with this id; empty as long as there is none.
    pub(crate) fn text(&mut self, id: &str) -> String {
        let text = self.value(&format!(
            "document.getElementById('{id}')?.textContent ?? ''"
        ));
        text.as_str().expect("a string").to_owned()
    }

    pub(crate) fn number(&mut self, id: &str) -> Option<u64> {
        self.text(id).parse().ok()
    }

    pub(crate) fn click(&mut self, selector: &str) {
        self.value(&format!("document.querySelector('{selector}').click()"));
    }
}
