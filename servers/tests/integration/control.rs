//! The control protocol as a foreign harness would speak it: requests by hand over a socket, and
//! the JSON that comes back.
//!
//! Every row of the table in `control.rs` with its answer, and every error. Schedules lie in the
//! past (all due at once) or in a far future (never due), so nothing here depends on the clock.

use std::net::SocketAddr;
use std::time::Duration;

use pushbench_protocol::control::Guard;
use pushbench_protocol::framing::Epoch;
use pushbench_protocol::histogram;
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::control;
use pushbench_servers::hub::AppendError;
use serde_json::{Value, json};

use crate::support::controlled::{Controlled, expect_error};
use crate::support::wire::Wire;
use crate::support::{bytes, eventually};

/// `messages` messages, all of them long due, over the first `channels` channels.
fn overdue(messages: u64, channels: u32) -> Value {
    json!({
        "schedule": {
            "start_ns": 1_000,
            "end_ns": 1_000 + messages * 1_000_000,
            "rate_per_s": 1000.0,
            "burst": 1,
            "channels": channels,
        },
        "payload": "json",
        "payload_bytes": 128,
        "seed": 7,
        "measure_from_ns": 0,
        "measure_until_ns": u64::MAX,
    })
}

/// A schedule that is not due before the machine is gone.
fn far_away() -> Value {
    let mut plan = overdue(1, 1);
    plan["schedule"]["start_ns"] = json!(u64::MAX - 1);
    plan["schedule"]["end_ns"] = json!(u64::MAX);
    plan
}

#[test]
fn a_server_says_who_it_is() {
    let mut control = Controlled::start();
    control.declare(&["news", "c*10"]);
    let (status, info) = control.get("/v1/server");
    assert_eq!(status, 200);
    assert_eq!(
        info,
        json!({
            "protocol": 1,
            "server": "pushbench",
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "transports": Transport::ALL.map(Transport::id),
            "profile": Profile::Tuned.id(),
            "threads": 2,
            "addresses": {
                "http": control.server.addresses.http,
                "tcp": control.server.addresses.tcp,
            },
            "channels": ["news", "c*10"],
        })
    );
}

#[test]
fn channels_are_declared_in_order_and_counted_over_all_requests() {
    let mut control = Controlled::start();
    assert_eq!(
        control.declare(&["news", "c*100"]),
        (200, json!({ "channels": 101 }))
    );
    assert_eq!(control.declare(&[]), (200, json!({ "channels": 101 })));
    assert_eq!(control.declare(&["d"]), (200, json!({ "channels": 102 })));
    for (name, number) in [("news", 0), ("c0", 1), ("c99", 100), ("d", 101)] {
        assert_eq!(control.server.hub.channel(name), Some(number), "{name}");
    }
}

#[test]
fn a_declaration_that_is_wrong_is_refused_with_the_reason() {
    let mut control = Controlled::start();
    control.declare(&["news", "c*100"]);
    for (spec, text) in [
        ("a b", "channel 'a b': expected a name of"),
        ("", "channel '': expected a name of"),
        ("e*0", "channel 'e*0': expected a name of"),
        (
            "news",
            "channel 'news' overlaps with 'news', which is declared already",
        ),
        ("c7", "channel 'c7' overlaps with 'c*100'"),
        ("d*4000000", "would make more than 4000000 channels"),
    ] {
        expect_error(control.declare(&[spec]), 400, text);
    }
    for (body, status, text) in [
        ("{", 400, "Failed to parse the request body as JSON"),
        ("", 400, "Failed to parse the request body as JSON"),
        ("{}", 422, "missing field `declare`"),
        (r#"{"declare": "news"}"#, 422, "invalid type"),
        (r#"{"declare": [], "more": 1}"#, 422, "unknown field `more`"),
        (
            r#"{"declare": ["e"], "overflow": ["drop_oldest"]}"#,
            422,
            "unknown variant `drop_oldest`, expected one of `disconnect`, `drop-oldest`, \
             `latest-only`",
        ),
        (
            r#"{"declare": ["e"], "overflow": "latest-only"}"#,
            422,
            "invalid type",
        ),
    ] {
        expect_error(
            control.ask_raw("POST", "/v1/channels", "application/json", Some(body)),
            status,
            text,
        );
    }
    expect_error(
        control.ask_raw("POST", "/v1/channels", "text/plain", Some("{}")),
        415,
        "Content-Type: application/json",
    );
    let (_, info) = control.get("/v1/server");
    assert_eq!(info["channels"], json!(["news", "c*100"]));
}

#[test]
fn channels_have_the_policies_that_they_are_declared_with() {
    use Overflow::{Disconnect, DropOldest, LatestOnly};
    let mut control = Controlled::start();
    control.declare(&["news"]);
    let with = |declare: &str, overflow: Value| json!({"declare": [declare], "overflow": overflow});
    let policies = json!(["latest-only", "drop-oldest", "disconnect"]);
    for (body, channels) in [(with("c*4", policies), 5), (with("d", json!([])), 6)] {
        assert_eq!(
            control.post("/v1/channels", &body),
            (200, json!({ "channels": channels }))
        );
    }
    let found: Vec<Overflow> = (0..6).map(|c| control.server.hub.overflow(c)).collect();
    assert_eq!(
        found,
        [
            Disconnect, LatestOnly, DropOldest, Disconnect, LatestOnly, Disconnect
        ]
    );
}

#[test]
fn channels_are_declared_all_or_none() {
    let mut control = Controlled::start();
    control.declare(&["first"]);
    expect_error(
        control.declare(&["a", "b*2", "no name", "c"]),
        400,
        "channel 'no name'",
    );
    let again = control.declare(&["a", "b*2", "c"]);
    assert_eq!(again.1["channels"], 5, "none of them was declared before");
    control.publish(&overdue(10, 5));
    assert_eq!(control.published()["published"], 10);
}

#[test]
fn a_schedule_is_published_to_its_subscribers_and_reported() {
    const MESSAGES: u64 = 20;
    let mut control = Controlled::start();
    control.declare(&["c*2"]);
    let http = control.server.addresses.http.expect("serves HTTP");
    let mut subscriber = Wire::open(http, bytes::subscribe(Transport::Sse, "c1", Some(0)));
    subscriber.expect(bytes::at_tail(Transport::Sse, control.start_cursor()));

    control.publish(&overdue(MESSAGES, 2));
    // Ten of them went to 'c1', as the schedule goes round.
    assert_eq!(
        subscriber.sequences(10),
        (1..=MESSAGES / 2).collect::<Vec<u64>>()
    );

    let report = control.published();
    let fields = report.as_object().expect("an object").keys();
    let mut fields: Vec<&str> = fields.map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "finished",
            "first_actual_ns",
            "gaps_ns",
            "lag_histogram",
            "last_actual_ns",
            "measured",
            "published",
            "refilled",
        ]
    );
    assert_eq!(
        (&report["published"], &report["measured"]),
        (&json!(MESSAGES), &json!(MESSAGES))
    );
    assert_eq!(report["refilled"], 0);
    let times = ["first_actual_ns", "last_actual_ns"].map(|f| report[f].as_u64());
    assert!(times[0] > Some(0) && times[0] <= times[1], "{times:?}");
    let lag = report["lag_histogram"].as_str().expect("a text");
    assert_eq!(histogram::decode(lag).expect("a histogram").len(), MESSAGES);

    // Stopping what is over changes nothing, and another may follow.
    assert_eq!(
        control.ask("DELETE", "/v1/publish", None),
        (200, report.clone())
    );
    control.publish(&overdue(2, 1));
    assert_eq!(control.published()["published"], 2);
}

#[test]
fn logs_that_another_server_is_to_have_are_those_of_one_plan_alone() {
    let of_one_plan = "the logs of these channels are to be those of one plan, and have messages \
                       already; publish another plan with another server";
    let mut control = Controlled::start_with(Some(Epoch::NONE), Guard::default());
    control.declare(&["a", "b", "c"]);
    // Until there is a plan, and where it does not go, they are the clients'.
    assert_eq!(control.server.hub.append(2, None, b"x"), Ok(1));
    control.publish(&overdue(2, 2));
    assert_eq!(control.published()["published"], 2);
    for channel in [0, 1] {
        let refused = control.server.hub.append(channel, None, b"x");
        assert_eq!(refused, Err(AppendError::Planned));
    }
    assert_eq!(control.server.hub.append(2, None, b"x"), Ok(2));
    expect_error(
        control.post("/v1/publish", &overdue(1, 1)),
        409,
        of_one_plan,
    );
    assert_eq!(control.server.hub.epoch(0), Epoch::NONE);

    let mut control = Controlled::start_with(Some(Epoch::NONE), Guard::default());
    control.declare(&["a"]);
    assert_eq!(control.server.hub.append(0, None, b"x"), Ok(1));
    expect_error(
        control.post("/v1/publish", &overdue(1, 1)),
        409,
        of_one_plan,
    );
}

#[test]
fn one_schedule_runs_at_a_time_and_can_be_stopped() {
    let mut control = Controlled::start();
    control.declare(&["news"]);
    let none = "no schedule was started";
    expect_error(control.get("/v1/publish"), 404, none);
    expect_error(control.ask("DELETE", "/v1/publish", None), 404, none);

    control.publish(&far_away());
    let (status, report) = control.get("/v1/publish");
    assert_eq!((status, &report["finished"]), (200, &json!(false)));
    expect_error(
        control.post("/v1/publish", &overdue(1, 1)),
        409,
        "a schedule is running; wait for it, or stop it with 'DELETE /v1/publish'",
    );
    let (status, report) = control.ask("DELETE", "/v1/publish", None);
    assert_eq!(status, 200);
    assert_eq!(
        (&report["finished"], &report["published"]),
        (&json!(true), &json!(0))
    );
    control.publish(&overdue(1, 1));
}

#[test]
fn a_schedule_that_cannot_be_held_is_refused_with_the_field() {
    let mut control = Controlled::start();
    control.declare(&["news", "other"]);
    let with = |path: &str, value: Value| {
        let mut plan = overdue(1, 1);
        *plan.pointer_mut(path).expect("a field") = value;
        plan
    };
    let streams = |value| {
        let mut plan = overdue(1, 1);
        plan["schedule"]["streams"] = value;
        plan
    };
    for (plan, status, text) in [
        (
            with("/schedule/rate_per_s", json!(0.0)),
            400,
            "'rate_per_s' is 0, expected a number above 0",
        ),
        (
            with("/schedule/rate_per_s", json!(-1)),
            400,
            "'rate_per_s' is -1, expected a number above 0",
        ),
        (
            with("/schedule/rate_per_s", json!(1e21)),
            400,
            "'rate_per_s' is 1000000000000000000000, expected a number above 0 and at most 10000000",
        ),
        (
            with("/schedule/rate_per_s", json!(1e308)),
            400,
            "expected a number above 0 and at most 10000000",
        ),
        (
            with("/schedule/burst", json!(u32::MAX)),
            400,
            "'burst' is 4294967295, expected at most 16777216",
        ),
        (
            with("/schedule/burst", json!(0)),
            400,
            "'burst' and 'channels' must be at least 1",
        ),
        (
            with("/schedule/channels", json!(0)),
            400,
            "'burst' and 'channels' must be at least 1",
        ),
        (
            with("/schedule/channels", json!(3)),
            400,
            "'channels' is 3, but only 2 are declared; declare them first",
        ),
        (
            streams(json!({ "messages": 0, "first_after_ns": 0, "period_ns": 1 })),
            400,
            "'streams' has 0 messages in each of 1 channels",
        ),
        (
            streams(json!({ "messages": 2, "first_after_ns": u64::MAX, "period_ns": 9 })),
            400,
            "expected at most its 'period_ns' of 9",
        ),
        (
            with("/payload_bytes", json!(50)),
            400,
            "'payload_bytes' is 50, expected 51 to 1048576",
        ),
        (
            with("/payload_bytes", json!((1 << 20) + 1)),
            400,
            "'payload_bytes' is 1048577, expected 51 to 1048576",
        ),
        (with("/payload", json!("gif")), 422, "unknown variant `gif`"),
        (with("/seed", json!(-1)), 422, "seed"),
        (json!({}), 422, "missing field `schedule`"),
    ] {
        expect_error(control.post("/v1/publish", &plan), status, text);
    }
    // None of them was started.
    expect_error(control.get("/v1/publish"), 404, "no schedule was started");
}

#[test]
fn a_plan_with_an_unknown_key_is_refused() {
    let mut control = Controlled::start();
    control.declare(&["news"]);
    let mut more = overdue(1, 1);
    more["more"] = json!(1);
    expect_error(
        control.post("/v1/publish", &more),
        422,
        "unknown field `more`",
    );
    let mut more = overdue(1, 1);
    more["schedule"]["jitter"] = json!(1);
    expect_error(
        control.post("/v1/publish", &more),
        422,
        "unknown field `jitter`",
    );
    expect_error(
        control.ask_raw("POST", "/v1/publish", "application/json", Some("nonsense")),
        400,
        "Failed to parse the request body as JSON",
    );
    // None of them was started.
    expect_error(control.get("/v1/publish"), 404, "no schedule was started");
}

#[test]
fn counters_are_summed_over_all_shards() {
    const SUBSCRIBERS: u64 = 6;
    let mut control = Controlled::start();
    control.declare(&["news"]);
    let stats = |subscribers: u64, deliveries: u64| {
        json!({
            "subscribers": subscribers,
            "deliveries": deliveries,
            "keep_alives": 0,
            "lagged": 0,
            "lost_messages": 0,
            "closed_politely": 0,
            "conflated_messages": 0,
            "cut_off": 0,
        })
    };
    assert_eq!(control.get("/v1/stats"), (200, stats(0, 0)));
    let subscribe = |_| control.subscriber("news");
    let wires: Vec<Wire> = (0..SUBSCRIBERS).map(subscribe).collect();
    assert_eq!(control.get("/v1/stats"), (200, stats(SUBSCRIBERS, 0)));
    control.post("/v1/publish", &overdue(5, 1));
    eventually("all deliveries are counted", || {
        control.get("/v1/stats").1 == stats(SUBSCRIBERS, 5 * SUBSCRIBERS)
    });
    drop(wires);
    eventually("nobody is left", || {
        control.get("/v1/stats").1 == stats(0, 5 * SUBSCRIBERS)
    });
}

#[test]
fn a_server_that_drains_answers_over_control_to_its_end() {
    let mut control = Controlled::start();
    control.declare(&["news"]);
    let mut wire = control.subscriber("news");
    for (body, status, text) in [
        (json!({}), 422, "missing field `over_ms`"),
        (json!({ "over_ms": -1 }), 422, "over_ms"),
        (
            json!({ "over_ms": 0, "more": 1 }),
            422,
            "unknown field `more`",
        ),
        (
            json!({ "over_ms": 86_400_001 }),
            400,
            "'over_ms' is 86400001, expected at most 86400000",
        ),
    ] {
        expect_error(control.post("/v1/drain", &body), status, text);
    }
    let over = json!({ "over_ms": 86_400_000 });
    assert_eq!(control.post("/v1/drain", &over), (202, Value::Null));
    expect_error(
        control.post("/v1/drain", &over),
        409,
        "the server drains already",
    );
    // It goes on for who is there.
    control.post("/v1/publish", &overdue(3, 1));
    for sequence in 1..=3 {
        assert_eq!(bytes::sequences(&wire.until(b"\n")), [sequence]);
    }
    assert_eq!(control.get("/v1/server").0, 200);
    let (status, stats) = control.get("/v1/stats");
    assert_eq!((status, &stats["subscribers"]), (200, &json!(1)));
    assert_eq!(stats["closed_politely"], 0);
    assert!(!control.server.is_drained());
}

#[test]
fn what_the_protocol_does_not_have_is_refused_in_its_own_form() {
    let mut control = Controlled::start();
    for path in ["/", "/v1", "/v1/nope", "/v2/server", "/v1/server/"] {
        expect_error(control.get(path), 404, "no such path");
    }
    for (method, path) in [
        ("POST", "/v1/server"),
        ("GET", "/v1/channels"),
        ("DELETE", "/v1/stats"),
        ("PUT", "/v1/publish"),
    ] {
        expect_error(
            control.ask(method, path, None),
            405,
            "does not take this method",
        );
    }
    // It goes on, on the same connection and for others.
    assert_eq!(control.get("/v1/server").0, 200);
    let mut other = Wire::open(
        control.address,
        "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!(other.response().0, 200);
}

#[test]
fn only_loopback_may_be_told_to_listen_for_control() {
    for good in [
        "127.0.0.1:0",
        "127.9.9.9:1",
        "[::1]:0",
        "[::ffff:127.0.0.1]:0",
    ] {
        let address = good.parse().expect("an address");
        assert_eq!(control::check_address(address), Ok(()), "{good}");
    }
    for bad in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0", "[2001:db8::1]:0"] {
        let address: SocketAddr = bad.parse().expect("an address");
        assert_eq!(
            control::check_address(address),
            Err(format!(
                "control address '{address}' is not a loopback address, and whoever reaches it \
                 commands the server; use '127.0.0.1:0'"
            ))
        );
    }
}

#[test]
fn who_may_not_command_is_refused_and_nothing_happens() {
    let drain = "Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"over_ms\": 0}";
    let token = "0123456789abcdef";
    let ours = format!("Authorization: Bearer {token}\r\n");
    for (token, fields, expected) in [
        (None, "Host: 127.0.0.1\r\n", 200),
        (None, "Host: [::1]:80\r\n", 200),
        (None, "Host: rebound.example\r\n", 421),
        (None, "Host: localhost\r\nHost: localhost\r\n", 421),
        (None, "", 421),
        (None, "Host: localhost\r\nOrigin: http://localhost\r\n", 403),
        (None, "Host: localhost\r\nOrigin: null\r\n", 403),
        (Some(token), "Host: localhost\r\n", 401),
        (
            Some(token),
            "Host: localhost\r\nAuthorization: Bearer x\r\n",
            401,
        ),
        (Some(token), &*format!("Host: localhost\r\n{ours}"), 200),
        (
            Some(token),
            &*format!("Host: rebound.example\r\n{ours}"),
            421,
        ),
    ] {
        let guard = token.map_or(Ok(Guard::default()), Guard::with_token);
        let control = Controlled::start_with(None, guard.expect("a good token"));
        let request = format!("GET /v1/server HTTP/1.1\r\n{fields}\r\n");
        let (status, head, _) = Wire::open(control.address, request).response();
        assert_eq!(status, expected, "{fields}");
        assert!(!head.contains("access-control"), "{head}");
        if expected == 200 {
            continue;
        }
        for request in [
            format!("POST /v1/drain HTTP/1.1\r\n{fields}{drain}"),
            format!("DELETE /v1/publish HTTP/1.1\r\n{fields}\r\n"),
            format!("OPTIONS /v1/publish HTTP/1.1\r\n{fields}\r\n"),
            format!("GET /nope HTTP/1.1\r\n{fields}\r\n"),
        ] {
            let (status, _, _) = Wire::open(control.address, &request).response();
            assert_eq!(status, expected, "{request}");
        }
        assert!(!control.server.is_drained());
        assert!(control.server.drain(Duration::ZERO), "it drained before");
    }
}
