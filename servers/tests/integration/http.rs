//! What HTTP/1.1 lets a client send: every transport in every profile answers alike. The rows are in
//! `http/requests.txt`, and `readme.rs` makes them tables of `servers/README.md`.

use pushbench_protocol::transport::{Delivery, Profile, Transport};
use pushbench_servers::server::{Config, Server};

use crate::support::{
    ask, await_subscribers, config, deliveries, for_each_http, publish, settle, start,
};

/// The rows, and what their file says of them.
const REQUESTS: &str = include_str!("http/requests.txt");

/// What stands for what in [`REQUESTS`].
pub(crate) const WORDS: [(&str, &str); 8] = [
    ("here", "no Host; Host: localhost:8080"),
    ("upgrade", "Connection: Upgrade; Upgrade: websocket"),
    ("version", "Sec-WebSocket-Version: 13"),
    ("key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    ("allowed", "Origin: https://a.example"),
    ("foreign", "Origin: https://b.example"),
    ("preflight", "Access-Control-Request-Method: POST"),
    (
        "readable",
        "access-control-allow-origin: https://a.example; access-control-expose-headers: \
         push-cursor; vary: origin",
    ),
];

/// One request and how it is answered, as the file has it.
pub(crate) struct Row {
    pub(crate) of: &'static str,
    pub(crate) request: &'static str,
    pub(crate) fields: &'static str,
    pub(crate) body: &'static str,
    pub(crate) status: &'static str,
    pub(crate) answer: &'static str,
    pub(crate) connection: &'static str,
}

/// Rows under a title.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<Row>,
}

pub(crate) fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in REQUESTS.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let rows = Vec::new();
            sections.push(Section { title, rows });
        } else if !line.is_empty() && !line.starts_with('#') {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [of, request, fields, body, status, answer, connection] = cells[..] else {
                panic!("{line}");
            };
            sections.last_mut().expect("a title").rows.push(Row {
                of,
                request,
                fields,
                body,
                status,
                answer,
                connection,
            });
        }
    }
    sections
}

/// Puts the bytes in the place of words, repetitions and escapes.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}').expect("a '}'");
        out += before;
        match inside.rsplit_once('*') {
            Some((text, count)) => out += &text.repeat(count.parse().expect("a count")),
            None => {
                let word = WORDS.iter().find(|(word, _)| *word == inside);
                out += word.unwrap_or_else(|| panic!("'{inside}' is unknown")).1;
            }
        }
        rest = after;
    }
    out += rest;
    out.replace("\\r", "\r")
        .replace("\\n", "\n")
        .replace("\\x01", "\x01")
}

/// The fields of a list.
fn fields(list: &str) -> Vec<String> {
    let list = expand(list);
    let fields = list
        .split(';')
        .map(str::trim)
        .filter(|field| !field.is_empty());
    // 'text/plain; charset=utf-8' is one value.
    fields.fold(Vec::new(), |mut fields: Vec<String>, field| {
        match fields.last_mut() {
            Some(last) if !field.contains(':') && field.contains('=') => {
                *last = format!("{last}; {field}");
            }
            _ => fields.push(field.to_owned()),
        }
        fields
    })
}

impl Row {
    fn is_for(&self, transport: Transport) -> bool {
        match self.of {
            "any" => true,
            "stream" => matches!(transport.info().delivery, Delivery::Response(_)),
            "poll" => matches!(transport.info().delivery, Delivery::Poll(_)),
            "websocket" => matches!(transport.info().delivery, Delivery::WebSocket),
            other => panic!("'{other}' is not a kind of transport"),
        }
    }

    fn method(&self) -> &str {
        self.request.split(' ').next().unwrap_or_default()
    }

    fn bytes(&self, transport: Transport) -> String {
        let path = transport.info().path.expect("HTTP");
        let mut request = expand(&self.request.replace("{path}", path));
        if !request.to_ascii_uppercase().contains(" HTTP/") {
            request += " HTTP/1.1";
        }
        let mut lines = fields(self.fields);
        match lines.iter().position(|line| line == "no Host") {
            Some(at) => drop(lines.remove(at)),
            None => lines.insert(0, "Host: test".into()),
        }
        let head = lines.iter().map(|line| format!("{line}\r\n"));
        format!(
            "{request}\r\n{}\r\n{}",
            head.collect::<String>(),
            expand(self.body)
        )
    }

    /// Asks over a connection of its own, and checks all that the row says.
    fn check(&self, server: &Server, transport: Transport) {
        let request = self.bytes(transport);
        let mut wire = ask(server, transport, &request);
        if self.status == "none" {
            assert_eq!(wire.rest(), b"", "{request}");
            return;
        }
        let head = String::from_utf8(wire.until(b"\r\n\r\n")).expect("a head is ASCII");
        let shown = || {
            let request: String = request.chars().take(600).collect();
            format!("{request}\n----\n{head}")
        };
        let status = head.split(' ').nth(1);
        assert_eq!(status, Some(self.status), "{}", shown());
        let lines: Vec<String> = head.lines().map(str::to_ascii_lowercase).collect();
        for field in fields(self.answer) {
            let (name, value) = field.split_once(": ").expect("a field");
            let mut found = lines.iter().filter_map(|line| line.split_once(": "));
            let is_it = |(n, v): (&str, &str)| {
                n == name
                    && (v.eq_ignore_ascii_case(value) || name == "connection" && v.contains(value))
            };
            assert!(found.any(is_it), "no '{field}': {}", shown());
        }
        // Who may read an answer is said to whom it is said, and to nobody else.
        let readable = self.answer.contains("{readable}");
        for start in ["access-control-allow-origin: ", "vary: origin"] {
            let is_there = lines.iter().any(|line| line.starts_with(start));
            assert_eq!(is_there, readable, "{start}: {}", shown());
        }
        let length = lines
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        let has_body = self.method() != "HEAD" && self.status != "204";
        match self.connection {
            "streams" | "frames" => return,
            "closes" => {}
            // The next request is answered next.
            "stays" => {
                assert!(!lines.contains(&"connection: close".into()), "{}", shown());
                wire.send("GET /nope HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            }
            other => panic!("'{other}' is not what becomes of a connection"),
        }
        let rest = wire.rest();
        let rest = &rest[if has_body { length } else { 0 }..];
        let rest = String::from_utf8_lossy(rest);
        match self.connection {
            "closes" => assert_eq!(rest, "", "{}", shown()),
            _ => assert!(rest.starts_with("HTTP/1.1 404 "), "{rest}: {}", shown()),
        }
    }
}

#[test]
fn what_http_lets_a_client_send_is_answered_alike_by_every_transport_and_profile() {
    let sections = sections();
    for_each_http(|transport, profile| {
        for section in &sections {
            let allowed = section.title.split("--allow-origin ").skip(1);
            let allowed = allowed.map(|rest| rest.split([' ', '\'']).next().unwrap_or_default());
            let server = start(&Config {
                allow_origins: allowed.map(|o| o.parse().expect("an origin")).collect(),
                ..config(transport, profile)
            });
            publish(&server, 0, &["a"]);
            settle(&server, transport, 1);
            for row in section.rows.iter().filter(|row| row.is_for(transport)) {
                row.check(&server, transport);
            }
            assert_eq!(deliveries(&server), 0);
        }
    });
}

#[test]
fn a_page_of_an_allowed_origin_reads_what_a_poll_was_held_for() {
    for profile in Profile::ALL {
        let server = start(&Config {
            allow_origins: vec!["https://a.example".parse().expect("an origin")],
            ..config(Transport::LongPoll, profile)
        });
        let request = "GET /long-poll?channel=news&since=0 HTTP/1.1\r\nHost: test\r\n\
                       Origin: https://a.example\r\n\r\n";
        let mut wire = ask(&server, Transport::LongPoll, request);
        await_subscribers(&server, 1);
        publish(&server, 0, &["b"]);
        let (status, head, _) = wire.response();
        assert_eq!(status, 200);
        for field in fields("{readable}") {
            assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
        }
    }
}

#[test]
fn any_page_may_open_a_websocket_where_all_may() {
    for profile in Profile::ALL {
        for (allowed, origin) in [("*", "https://b.example"), ("null", "null")] {
            let server = start(&Config {
                allow_origins: vec![allowed.parse().expect("an origin")],
                ..config(Transport::WebSocket, profile)
            });
            let fields = fields("{upgrade}; {version}; {key}").join("\r\n");
            let request = format!(
                "GET /websocket?channel=news HTTP/1.1\r\nHost: test\r\n{fields}\r\nOrigin: {origin}\r\n\r\n"
            );
            let mut wire = ask(&server, Transport::WebSocket, request);
            assert_eq!(wire.response().0, 101);
        }
    }
}
