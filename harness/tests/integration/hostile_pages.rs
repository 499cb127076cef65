//! What a page that somebody looks at can do to a server on the same machine: a page of another origin,
//! one whose name was made to point here, and a beacon, in a real browser.
//!
//! Needs Chromium: see `support/browser.rs`.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::support::browser::{Browser, Page};
use crate::support::{PATIENCE, Served, await_some};

/// A name that the browser takes for this machine, as one whose owner rebound it.
const REBOUND: &str = "rebound.example";

fn start_browser() -> Option<Browser> {
    Browser::start_with(&format!("--host-resolver-rules=MAP {REBOUND} 127.0.0.1"))
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("a port").1
}

/// How many messages `news` has had.
fn published(server: &Served) -> u64 {
    let mut stream = TcpStream::connect(server.address("http")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let request = "GET /poll?channel=news HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let cursor = answer
        .lines()
        .find_map(|line| line.strip_prefix("push-cursor: "));
    let sequence = cursor.and_then(|cursor| cursor.rsplit('-').next()?.trim().parse().ok());
    sequence.expect("a cursor")
}

/// Opens a page, and waits until it is that one: before, it is an empty one of no origin.
fn open<'a>(browser: &'a mut Browser, host: &str, path: &str) -> Page<'a> {
    let mut page = browser.open(&format!("http://{host}{path}"));
    await_some("the page", || {
        let is_there = "document.readyState === 'complete' && location.host";
        (page.value(is_there) == host).then_some(())
    });
    page
}

/// A WebSocket that opens, or does not.
fn websocket(address: &str) -> String {
    format!(
        "new Promise(done => {{
            const socket = new WebSocket('ws://{address}/websocket?channel=news');
            socket.onopen = () => {{ socket.send('by a page'); done('open'); }};
            socket.onerror = () => done('failed');
        }})"
    )
}

/// An event stream that opens, or does not.
fn events(address: &str) -> String {
    format!(
        "new Promise(done => {{
            const events = new EventSource('http://{address}/sse?channel=news');
            events.onopen = () => done('open');
            events.onerror = () => {{ events.close(); done('failed'); }};
        }})"
    )
}

/// A request whose answer the page reads, or does not.
fn fetch(address: &str, path: &str, how: &str) -> String {
    format!("fetch('http://{address}{path}', {how}).then(answer => answer.status, () => 'failed')")
}

const POST: &str = "{ method: 'POST', body: 'by a page' }";
const BLIND_POST: &str = "{ method: 'POST', body: 'by a page', mode: 'no-cors' }";
const JSON_POST: &str = "{ method: 'POST', body: '{\"over_ms\": 0}', \
                         headers: { 'Content-Type': 'application/json' } }";
const BLIND_JSON: &str = "{ method: 'POST', body: '{\"over_ms\": 0}', mode: 'no-cors' }";

/// Whether the server runs on, and has not been told to drain.
fn serves(server: &mut Served) -> bool {
    let runs = server
        .process
        .child()
        .try_wait()
        .expect("a child")
        .is_none();
    runs && TcpStream::connect(server.address("http")).is_ok()
}

#[test]
fn a_page_of_another_origin_reads_nothing_and_sends_nothing() {
    let Some(mut browser) = start_browser() else {
        return;
    };
    for profile in ["stock", "tuned", "lean"] {
        let mut server = Served::start(&format!("--rate 0 --profile {profile}"));
        let (http, control) = (
            server.address("http").to_owned(),
            server.address("control").to_owned(),
        );
        // Another program of a developer, whose pages are of another origin.
        let other = Served::start("--rate 0");
        let mut page = open(&mut browser, other.address("http"), "/info");
        for (attempt, outcome) in [
            (events(&http), json!("failed")),
            (fetch(&http, "/poll?channel=news", "{}"), json!("failed")),
            (fetch(&http, "/publish?channel=news", POST), json!("failed")),
            // It is sent, and the page learns nothing of the refusal.
            (fetch(&http, "/publish?channel=news", BLIND_POST), json!(0)),
            (websocket(&http), json!("failed")),
            (fetch(&control, "/v1/server", "{}"), json!("failed")),
            (fetch(&control, "/v1/drain", JSON_POST), json!("failed")),
            (fetch(&control, "/v1/drain", BLIND_JSON), json!(0)),
            (
                fetch(&control, "/v1/publish", "{ method: 'DELETE' }"),
                json!("failed"),
            ),
        ] {
            assert_eq!(page.value(&attempt), outcome, "{profile}: {attempt}");
        }
        let beacon =
            format!("navigator.sendBeacon('http://{http}/publish?channel=news', 'by a beacon')");
        assert_eq!(page.value(&beacon), json!(true), "it is on its way");
        // What the page asks for after it is answered after it, or at the same time at most.
        for _ in 0..10 {
            page.value(&fetch(&http, "/publish?channel=news", BLIND_POST));
        }
        assert_eq!(published(&server), 0, "{profile}");
        assert!(serves(&mut server), "{profile}");
    }
}

#[test]
fn a_page_of_an_allowed_origin_does_all_of_it() {
    let Some(mut browser) = start_browser() else {
        return;
    };
    let other = Served::start("--rate 0");
    let origin = format!("http://{}", other.address("http"));
    let server = Served::start(&format!("--rate 0 --allow-origin {origin}"));
    let http = server.address("http").to_owned();
    let mut page = open(&mut browser, other.address("http"), "/info");
    for (attempt, outcome) in [
        (events(&http), json!("open")),
        (fetch(&http, "/poll?channel=news", "{}"), json!(204)),
        (fetch(&http, "/publish?channel=news", POST), json!(200)),
        (websocket(&http), json!("open")),
    ] {
        assert_eq!(page.value(&attempt), outcome, "{attempt}");
    }
    let beacon =
        format!("navigator.sendBeacon('http://{http}/publish?channel=news', 'by a beacon')");
    assert_eq!(page.value(&beacon), json!(true));
    await_some("the POST, the frame and the beacon", || {
        (published(&server) == 3).then_some(())
    });
}

#[test]
fn a_page_whose_name_points_here_commands_nothing_and_sends_nothing() {
    let Some(mut browser) = start_browser() else {
        return;
    };
    for profile in ["stock", "tuned", "lean"] {
        let mut server = Served::start(&format!("--rate 0 --profile {profile}"));
        let http = format!("{REBOUND}:{}", port(server.address("http")));
        let control = format!("{REBOUND}:{}", port(server.address("control")));
        // The same origin for the browser, which therefore lets the page read every answer.
        let mut page = open(&mut browser, &http, "/info");
        for (attempt, outcome) in [
            (fetch(&http, "/publish?channel=news", POST), json!(403)),
            (websocket(&http), json!("failed")),
        ] {
            assert_eq!(page.value(&attempt), outcome, "{profile}: {attempt}");
        }
        let mut page = open(&mut browser, &control, "/v1/server");
        for (attempt, outcome) in [
            (fetch(&control, "/v1/server", "{}"), json!(421)),
            (fetch(&control, "/v1/drain", JSON_POST), json!([421, 403])),
            (
                fetch(&control, "/v1/publish", "{ method: 'DELETE' }"),
                json!([421, 403]),
            ),
        ] {
            let got = page.value(&attempt);
            let is_one = outcome.as_array().is_some_and(|all| all.contains(&got));
            assert!(is_one || got == outcome, "{profile}: {attempt}: {got}");
        }
        assert_eq!(published(&server), 0, "{profile}");
        assert!(serves(&mut server), "{profile}");
    }
}
