//! Two-way traffic where the server takes no messages, and setups that no fleet can send with: what
//! is refused, forgotten or cut off is counted, and nothing is sent twice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pushbench::load::conditions::upstream::Messages;
use pushbench::load::{FleetReport, Setup};
use pushbench::record::Family;
use pushbench::record::HistogramId;
use pushbench::scenario::{ChannelCount, Sessions, Spread, Upstream, Via};
use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::transport::Transport;
use serde_json::Value;

use crate::fleets::{Fleet, with};
use crate::upstream::{CLIENTS, begin, connected, expected_in_all, sent_in_all, setup, trips};

/// What a server that takes no messages does with a POST.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Answers, and keeps the connection.
    Refuses,
    /// Answers 200, appends nothing, and closes the connection as it has said.
    Forgets,
    /// Closes the connection without a word.
    HangsUp,
}

/// Serves subscribes of `sse` with nothing but their start, and POSTs in its manner. Counts those.
fn unwilling(manner: Manner) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let posts = Arc::new(AtomicU64::new(0));
    let counter = posts.clone();
    std::thread::spawn(move || {
        // Ends with the test's process; each thread when its client closes.
        for stream in listener.incoming().flatten() {
            let counter = counter.clone();
            std::thread::spawn(move || _ = serve_unwillingly(&stream, manner, &counter));
        }
    });
    (address, posts)
}

fn serve_unwillingly(
    mut stream: &TcpStream,
    manner: Manner,
    posts: &AtomicU64,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap_or(0);
            }
            if first.is_empty() {
                first.clone_from(&line);
            }
            line.clear();
        }
        if first.starts_with("GET") {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\npush-cursor: 0\r\n\
                  transfer-encoding: chunked\r\n\r\n",
            )?;
            continue;
        }
        if first.is_empty() {
            return Ok(());
        }
        reader.read_exact(&mut vec![0; length])?;
        posts.fetch_add(1, Ordering::SeqCst);
        let answer: &[u8] = match manner {
            Manner::Refuses => b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nno\n",
            Manner::Forgets => b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            Manner::HangsUp => return Ok(()),
        };
        stream.write_all(answer)?;
        if matches!(manner, Manner::Forgets) {
            return Ok(());
        }
    }
}

/// What the fleet reports of such a server, what was due, and how many POSTs came.
async fn unheard(manner: Manner) -> (FleetReport, Messages, u64) {
    let (address, posts) = unwilling(manner);
    let mut fleet = connected(Transport::Sse, address).await;
    let messages = begin(&mut fleet).await;
    let end_ns = messages.schedule().end_ns();
    let report = fleet
        .report_when("every answer", |report| {
            let trips = trips(report);
            let settled = trips.acknowledged.unwrap_or(0) + trips.refused;
            let over = match manner {
                // With every connection that ends the client waits for its next message.
                Manner::HangsUp => monotonic_ns() > end_ns && settled == trips.sent,
                _ => settled == messages.due(),
            };
            over && trips.sent == settled
        })
        .await;
    // A message is not sent again, so the server is asked as often as there are messages.
    let (asked, in_all) = (posts.load(Ordering::SeqCst), sent_in_all(&messages));
    assert!(asked <= in_all, "{manner:?}: {asked} of {in_all}");
    assert_eq!(report.disconnected, 0, "{manner:?}: {:?}", report.errors);
    // Each report settles the accounts anew, and adds.
    let counts = report.counts;
    let none = (0, counts.expected);
    assert_eq!((counts.received, counts.missing), none, "{manner:?}");
    assert!(counts.expected > 0 && counts.expected % expected_in_all(&messages) == 0);
    let trips = trips(&report);
    assert_eq!((trips.returned, trips.doubled), (0, 0), "{manner:?}");
    assert_eq!(trips.lost, messages.due(), "{manner:?}");
    assert_eq!(
        report.histograms.count(HistogramId::RoundTrip),
        0,
        "{manner:?}"
    );
    assert_eq!(trips.connections, 2 * u64::from(CLIENTS), "{manner:?}");
    fleet.end().await;
    (report, messages, asked)
}

#[track_caller]
fn assert_error(errors: &[String], text: &str) {
    assert!(errors[0].contains(text), "{errors:?}");
}

#[tokio::test]
async fn posts_that_are_refused_are_counted_and_end_no_session() {
    let (report, messages, asked) = unheard(Manner::Refuses).await;
    assert_eq!(asked, sent_in_all(&messages));
    let trips = trips(&report);
    assert_eq!((trips.sent, trips.refused), (messages.due(), trips.due));
    assert_eq!((trips.acknowledged, trips.reopened), (Some(0), 0));
    assert_error(&report.errors, "expected status 200, got 404");
    let first = report.first_missing.expect("everything is missing");
    assert!(first.contains(": 0 of "), "{first}");
}

#[tokio::test]
async fn a_connection_that_ends_with_its_answer_is_opened_again_for_the_next_post() {
    let (report, messages, asked) = unheard(Manner::Forgets).await;
    let in_all = sent_in_all(&messages);
    assert_eq!(asked, in_all);
    let trips = trips(&report);
    assert_eq!(trips.acknowledged, Some(messages.due()));
    assert_eq!((trips.sent, trips.refused), (messages.due(), 0));
    assert!(trips.reopened >= in_all - u64::from(CLIENTS), "{trips:?}");
    assert!(trips.reopened <= in_all, "{trips:?}");
}

#[tokio::test]
async fn a_post_that_nobody_answers_is_refused_and_not_sent_again() {
    let (report, messages, _) = unheard(Manner::HangsUp).await;
    let trips = trips(&report);
    assert_eq!((trips.acknowledged, trips.refused), (Some(0), trips.sent));
    assert!((1..=messages.due()).contains(&trips.sent), "{trips:?}");
    assert!(trips.reopened > 0);
    assert_error(&report.errors, "the connection for POSTs");
}

#[tokio::test]
async fn a_client_whose_connection_for_posts_is_refused_is_refused_and_asks_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        drop(listener);
        let mut reader = BufReader::new(stream.try_clone().expect("open"));
        let mut line = String::new();
        while reader.read_line(&mut line).expect("a request") > 2 {
            line.clear();
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\npush-cursor: 0\r\n\r\n")
            .expect("open");
        // To the end, which is a reset.
        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest);
    });
    let mut one = with(setup(Transport::ShortPoll, address), |s| {
        s.clients.count = 1;
        s.clients.poll_interval_ms = 1;
        s.channels.count = ChannelCount::Fixed(1);
    });
    one.shards = 1;
    let mut fleet = Fleet::start(one).await;
    fleet.open().await;
    let status = fleet.until("the refusal", |s| s.refused > 0).await;
    assert_eq!((status.connected, status.refused), (0, 1));
    assert_error(&status.errors, "cannot connect");
    // The server ends with the client's connection. Polls may have come before the refusal did; a
    // client that went on polling behind it would fail once more, and be noted.
    server.join().expect("no panic");
    let status = fleet.until("its state", |_| true).await;
    assert_eq!((status.connected, status.refused), (0, 1));
    assert_eq!(status.errors.len(), 1, "{:?}", status.errors);
    fleet.end().await;
}

#[tokio::test]
async fn a_fleet_that_cannot_send_says_so_when_it_is_set_up() {
    let good = setup(Transport::Sse, "127.0.0.1:9".parse().expect("an address"));
    let sending = |rate_per_client_s, payload_bytes| {
        with(good.clone(), |s| {
            s.upstream = Some(Upstream {
                rate_per_client_s,
                payload_bytes,
                via: Via::Transport,
            });
        })
    };
    let library = Setup {
        family: Family::Library,
        ..good.clone()
    };
    let coming_and_going = with(good.clone(), |s| {
        s.sessions = Some(Sessions {
            length_ms: 1,
            gap_ms: 1,
            resume: false,
            spread: Spread::Fixed,
        });
    });
    let mut process = Fleet::process().await;
    for (setup, text) in [
        (sending(0.0, 100), "'upstream.rate_per_client_s' is 0"),
        (
            sending(1.0, 85),
            "'upstream.payload_bytes' is 85, but an envelope with its sender needs at least 86",
        ),
        (library, "[upstream] needs lean clients"),
        (coming_and_going, "'upstream' cannot go with [sessions]"),
    ] {
        let answer = process.post::<Value>("/v1/fleet", &setup).await;
        let error = answer.expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    }
    process.end().await;
}
