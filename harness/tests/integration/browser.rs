//! A browser's own EventSource, WebSocket and fetch against `pushbench serve`, through the page at
//! `/`: what a person sees there, read and clicked over the browser's debugging protocol.
//!
//! Needs Chromium: see `support/browser.rs`.

use serde_json::json;

use crate::support::browser::{Browser, Page};
use crate::support::{Served, await_some, pushbench};

/// The sequences in the list of what arrived, oldest first.
fn sequences(page: &mut Page<'_>) -> Vec<u64> {
    let rows = page.value("[...document.querySelectorAll('#log li')].map(li => li.textContent)");
    let rows = rows.as_array().expect("a list").iter().rev();
    rows.map(|row| {
        let first = row.as_str().and_then(|row| row.split_whitespace().next());
        first
            .and_then(|first| first.parse().ok())
            .expect("a row of a message")
    })
    .collect()
}

fn server() -> Served {
    Served::start("--rate 100")
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
    let sequences = sequences(&mut page);
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
fn a_browser_that_fetches_a_stream_receives_every_message() {
    a_browser_receives_every_message_over("http_stream");
}

#[test]
fn the_page_subscribes_stops_and_publishes_at_the_click_of_a_button() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let server = Served::start("--rate 0 --channel team-*3");
    let mut page = browser.open(&format!("http://{}/", server.address("http")));
    await_some("the page's script", || {
        let channel = page.value("document.getElementById('channel')?.value ?? ''");
        (channel == "team-0").then_some(())
    });
    let transports =
        page.value("[...document.getElementById('transport')?.options].map(o => o.value)");
    assert_eq!(
        transports,
        json!(["sse", "websocket", "long_poll", "short_poll", "http_stream"])
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
fn an_eventsource_comes_back_to_a_server_that_has_lost_its_log_and_the_page_says_so() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let options = "--transports sse --rate 20 --retry-ms 50";
    let first = Served::start(options);
    let http = first.address("http").to_owned();
    let link = format!("http://{http}/?transport=sse&channel=news&since=0");
    let mut page = browser.open(&link);
    await_some("ten messages in the browser", || {
        page.number("count").filter(|&count| count >= 10)
    });
    drop(first);
    let _second = Served::by(&mut pushbench(&format!("serve --listen {http} {options}")));
    await_some("the loss in the browser", || {
        let log = page.text("log");
        log.contains("lagged: lost unknown").then_some(())
    });
    let before = page.number("count");
    await_some("messages of the second", || {
        (page.number("count") > before).then_some(())
    });
    assert_eq!(
        (page.text("state"), page.text("gaps")),
        ("open".into(), "0".into())
    );
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
