//! How connections end: nothing that was said is lost because one side has hung up, or because more is
//! on its way that nobody wants.

use pushbench_protocol::transport::{Profile, Transport};

use crate::support::bytes::opcode::{BINARY, CLOSE, TEXT};
use crate::support::bytes::{self, client_frame, close_payload, masked_frame, server_frame};
use crate::support::{
    ask, assert_serves, await_subscribers, config, for_each, for_each_http, publish, settle, start,
    subscribe,
};
use crate::upstream::MAX_PAYLOAD_BYTES;

/// A reset overtakes an answer now and then: often enough that so many tries meet it.
const TRIES: usize = 100;

#[test]
fn a_close_frame_arrives_however_much_is_under_way() {
    let large = (MAX_PAYLOAD_BYTES as u64 + 1).to_be_bytes();
    let half = vec![b'x'; MAX_PAYLOAD_BYTES / 2 + 1];
    let size = (1009, "the message is too large");
    let cases = [
        ([&[0x81, 0xff][..], &large, &[0; 4]].concat(), size),
        (
            [masked_frame(TEXT, &half), masked_frame(0x80, &half)].concat(),
            size,
        ),
        (
            masked_frame(0xc1, b"x"),
            (1002, "the frame does not follow RFC 6455"),
        ),
        (
            client_frame(BINARY, b"x"),
            (1003, "expected text messages, got a binary one"),
        ),
        (
            client_frame(TEXT, b"\xc3\x28"),
            (1007, "the text is not UTF-8"),
        ),
    ];
    let transport = Transport::WebSocket;
    for profile in Profile::ALL {
        let server = start(&config(transport, profile));
        for (frames, (code, reason)) in &cases {
            let sent = [frames, &vec![0; 256 << 10][..]].concat();
            let tries = if *code == 1009 { TRIES } else { TRIES / 10 };
            for _ in 0..tries {
                let mut wire = subscribe(&server, transport, Some(0));
                wire.expect(bytes::at_tail(transport, 0));
                wire.send(&sent);
                wire.expect(server_frame(CLOSE, &close_payload(*code, reason)));
                // Neither more bytes nor a reset.
                wire.send_what_may_be_refused(client_frame(CLOSE, &code.to_be_bytes()));
                wire.finish_sending();
                wire.expect_end();
            }
        }
        await_subscribers(&server, 0);
        assert_serves(&server, transport, profile, 0);
    }
}

#[test]
fn an_answer_arrives_though_more_is_under_way_than_the_server_wants() {
    for_each_http(|transport, profile| {
        let server = start(&config(transport, profile));
        for (request, status) in [
            (
                "POST /publish?channel=news HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000\r\n\r\n",
                413,
            ),
            (
                "POST /nope HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000\r\n\r\n",
                404,
            ),
            ("GET /info HTTP/1.1\r\n\r\n", 400),
        ] {
            for _ in 0..TRIES / 10 {
                let mut wire = ask(&server, transport, request);
                wire.send_what_may_be_refused(vec![b'x'; 1 << 20]);
                assert_eq!(wire.response().0, status, "{request}");
                wire.finish_sending();
                wire.expect_end();
            }
        }
    });
}

#[test]
fn who_hangs_up_after_a_request_gets_the_answer() {
    for_each(|transport, profile| {
        let server = start(&config(transport, profile));
        let messages = publish(&server, 0, &["a", "b"]);
        settle(&server, transport, 2);
        for _ in 0..TRIES {
            if transport != Transport::WebSocket {
                let mut wire = subscribe(&server, transport, Some(0));
                wire.finish_sending();
                wire.expect(bytes::behind(transport, profile, 0, &messages));
                wire.expect_end();
            }
            if transport.is_http() {
                let mut wire = ask(
                    &server,
                    transport,
                    "GET /info HTTP/1.1\r\nHost: test\r\n\r\n",
                );
                wire.finish_sending();
                assert_eq!(wire.response().0, 200);
                wire.expect_end();
                let mut wire = ask(&server, transport, bytes::post("other", b"x"));
                wire.finish_sending();
                assert_eq!(wire.response().0, 200);
                wire.expect_end();
            }
        }
        // They are not waited for.
        await_subscribers(&server, 0);
    });
}
