//! A server that is started in the middle of a schedule has the log of one that has run since its
//! beginning: what a client reads behind a cursor does not tell them apart.
//!
//! What must come is worked out here from the plan, message by message, without the server's own
//! way to refill. Nothing depends on how fast anything is: schedules lie in the past, or end soon
//! and are waited for.

use std::time::Duration;

use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::control::PublishPlan;
use pushbench_protocol::envelope::{self, HEAD_BYTES};
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::payload::{self, PayloadKind};
use pushbench_protocol::schedule::{Arrival, Schedule, Streams, Timetable};
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::ring::RingLimits;
use pushbench_servers::server::{Config, Server, StartError};

use crate::support::bytes;
use crate::support::wire::Wire;
use crate::support::{address, config, eventually, for_each, subscribe_to};

const SECOND_NS: u64 = 1_000_000_000;

const SHARDS: usize = 3;

/// The four kinds of schedules over three channels, from `before_ns` ago until `behind_ns` from now, at
/// 600 messages a second.
fn plans(before_ns: u64, behind_ns: u64) -> [PublishPlan; 4] {
    let now = monotonic_ns();
    let plain = Schedule::uniform(now - before_ns..now + behind_ns, 600.0, 3);
    let of = |arrival, burst| Schedule {
        arrival,
        burst,
        seed: 11,
        ..plain
    };
    let streams = Schedule {
        streams: Some(Streams {
            messages: 30,
            first_after_ns: 10_000_000,
            period_ns: 70_000_000,
        }),
        ..plain
    };
    [
        of(Arrival::Uniform, 1),
        of(Arrival::Poisson, 1),
        of(Arrival::Burst, 5),
        streams,
    ]
    .map(|schedule| PublishPlan {
        schedule,
        payload: PayloadKind::Text,
        payload_bytes: 100,
        seed: 9,
        measure_from_ns: 0,
        measure_until_ns: u64::MAX,
    })
}

/// As in the past, however long ago this machine was started.
pub(crate) fn past_plans() -> [PublishPlan; 4] {
    let length_ns = SECOND_NS.min(monotonic_ns() / 2);
    plans(length_ns, 0)
}

pub(crate) fn start(plan: &PublishPlan, config: Config) -> Server {
    let config = Config {
        channels: vec![("c*4".into(), Overflow::Disconnect)],
        publish: Some(plan.clone()),
        ..config
    };
    Server::start(&config).expect("a free port on loopback")
}

/// Each message of channel `channel`: intended time and payload, by sequence from 1.
pub(crate) fn expected(plan: &PublishPlan, channel: u32) -> Vec<(u64, Vec<u8>)> {
    let timetable = Timetable::new(plan.schedule);
    let all = (0..timetable.len()).map(|index| timetable.message(index));
    let bytes = plan.payload_bytes - HEAD_BYTES;
    all.filter(|due| due.channel == channel)
        .map(|due| {
            let mut text = Vec::new();
            payload::write(plan.payload, 9, channel, due.sequence, bytes, &mut text);
            (due.intended_ns, text)
        })
        .collect()
}

fn subscribe(server: &Server, channel: u32, since: u64) -> Wire {
    subscribe_to(server, Transport::Tcp, &format!("c{channel}"), Some(since))
}

/// What comes behind `since` must be exactly the messages of `all` behind it. Returns their actual
/// times.
#[track_caller]
fn expect_behind(wire: &mut Wire, all: &[(u64, Vec<u8>)], since: u64) -> Vec<u64> {
    wire.expect(format!("SUBSCRIBED {since}\n"));
    let pending = all.iter().zip(1u64..).skip(since as usize);
    pending
        .map(|((intended_ns, text), sequence)| {
            let line = wire.until(b"\n");
            let message = envelope::decode(&line[..line.len() - 1]).expect("an envelope");
            assert_eq!(
                (message.sequence, message.intended_ns, message.payload),
                (sequence, *intended_ns, &text[..])
            );
            message.actual_ns
        })
        .collect()
}

#[track_caller]
fn await_end_of_schedule(server: &Server) {
    eventually("the schedule is over", || {
        server.report().is_some_and(|report| report.finished)
    });
}

#[test]
fn a_restarted_server_sends_exactly_what_its_clients_have_missed() {
    for profile in [Profile::Tuned, Profile::Lean] {
        for plan in plans(SECOND_NS / 2, SECOND_NS / 4) {
            let shards = || Config {
                shards: SHARDS,
                own_tables: true,
                ..config(Transport::Tcp, profile)
            };
            let first = start(&plan, shards());
            await_end_of_schedule(&first);
            let report = first.report().expect("it publishes");
            let length = Timetable::new(plan.schedule).len();
            assert_eq!(report.refilled + report.published, length);
            assert_eq!(report.published, report.measured);
            for channel in 0..3 {
                let all = expected(&plan, channel);
                // Refilled and published, without a seam.
                expect_behind(&mut subscribe(&first, channel, 0), &all, 0);
            }
            drop(first);

            let second = start(&plan, shards());
            await_end_of_schedule(&second);
            let report = second.report().expect("it publishes");
            assert_eq!((report.refilled, report.published), (length, 0));
            for channel in 0..3 {
                let all = expected(&plan, channel);
                let tail = all.len() as u64;
                for since in [0, tail / 2, tail - 1] {
                    // Several times: the kernel chooses the shard.
                    for _ in 0..SHARDS {
                        let mut wire = subscribe(&second, channel, since);
                        let mut actual = expect_behind(&mut wire, &all, since);
                        actual.dedup();
                        assert_eq!(actual.len(), 1, "one time for all that was refilled");
                    }
                }
                // Nothing is doubled, and nothing can come that another server does not have.
                let mut wire = subscribe(&second, channel, tail);
                wire.expect(format!("SUBSCRIBED {tail}\n"));
                wire.send(format!("PUBLISH c{channel} next\n"));
                wire.expect("ERROR the log of this channel is that of a plan");
            }
            // A channel that the schedule does not have is empty, and its clients'.
            let mut wire = subscribe(&second, 3, 0);
            wire.send("PUBLISH c3 next\n");
            wire.expect("SUBSCRIBED 0\n");
            assert_eq!(bytes::sequences(&wire.until(b":next\n")), [1]);
        }
    }
}

#[test]
fn every_transport_is_refilled() {
    for_each(|transport, profile| {
        let [plan, ..] = past_plans();
        let server = start(&plan, config(transport, profile));
        let tail = expected(&plan, 1).len() as u64;
        let mut wire = subscribe_to(&server, transport, "c1", Some(tail - 3));
        let read = wire.sequences(3);
        assert_eq!(read, [tail - 2, tail - 1, tail]);
    });
}

#[test]
fn who_was_away_for_longer_than_a_ring_keeps_is_told_exactly_what_fell_off() {
    for plan in past_plans() {
        for (ring, kept) in [
            (
                RingLimits {
                    messages: 7,
                    bytes: 1 << 20,
                },
                7,
            ),
            // A line has one byte more than its envelope.
            (
                RingLimits {
                    messages: 100,
                    bytes: 101 * 4 + 100,
                },
                4,
            ),
            (
                RingLimits {
                    messages: 100,
                    bytes: 1,
                },
                1,
            ),
        ] {
            let server = start(
                &plan,
                Config {
                    ring,
                    shards: SHARDS,
                    ..config(Transport::Tcp, Profile::Tuned)
                },
            );
            let all = expected(&plan, 2);
            let tail = all.len() as u64;
            let mut wire = subscribe(&server, 2, 3);
            wire.expect(format!("SUBSCRIBED 3\nLAGGED 4 {}\n", tail - kept));
            wire.expect_end();
            expect_behind(&mut subscribe(&server, 2, tail - kept), &all, tail - kept);
        }
    }
}

#[test]
fn a_cursor_that_is_due_in_a_moment_is_waited_for_and_one_of_the_far_future_is_a_loss() {
    for_each(|transport, profile| {
        let [mut plan, ..] = plans(SECOND_NS / 10, 0);
        // Twenty messages a second on each channel: the fifth is due 0.1 s from now.
        plan.schedule.rate_per_s = 60.0;
        plan.schedule.end_ns = u64::MAX;
        let server = start(&plan, config(transport, profile));
        let mut wire = subscribe_to(&server, transport, "c0", Some(5));
        let cursor = bytes::at_tail(transport, 5);
        wire.expect(match transport {
            Transport::LongPoll => Vec::new(),
            Transport::ShortPoll => cursor[..9].to_vec(),
            Transport::Tcp | Transport::Sse | Transport::HttpStream | Transport::WebSocket => {
                cursor
            }
        });
        if transport == Transport::ShortPoll {
            // 204, or 200 where this took longer: not 410 in any case.
            wire.expect(b"20");
            return;
        }
        let read = wire.sequences(1);
        assert_eq!(read[0], 6);

        // A channel that the schedule does not have is due nothing.
        for (channel, since) in [("c0", 1_000_000), ("c3", 1)] {
            let mut wire = subscribe_to(&server, transport, channel, Some(since));
            wire.expect(bytes::lost(transport, 0, "unknown", 0));
        }
    });
}

#[test]
fn a_schedule_of_years_is_no_long_start() {
    let now = monotonic_ns();
    let [mut plan, ..] = plans(0, 0);
    // A million messages a second since the machine began, on one channel.
    plan.schedule.start_ns = 0;
    plan.schedule.end_ns = now;
    plan.schedule.rate_per_s = 1e6;
    plan.schedule.channels = 1;
    let server = start(&plan, config(Transport::Tcp, Profile::Lean));
    let tail = Timetable::new(plan.schedule).len();
    await_end_of_schedule(&server);
    assert_eq!(server.report().expect("it publishes").refilled, tail);
    let mut wire = subscribe(&server, 0, tail - 1);
    wire.expect(format!("SUBSCRIBED {}\n", tail - 1));
    assert_eq!(bytes::sequences(&wire.until(b"\n")), [tail]);
}

#[test]
fn a_plan_or_channels_that_cannot_be_are_refused_before_anything_listens() {
    let [plan, ..] = past_plans();
    let few = Config {
        channels: vec![("c".into(), Overflow::Disconnect)],
        publish: Some(plan),
        ..config(Transport::Tcp, Profile::Lean)
    };
    let error = Server::start(&few).expect_err("refused");
    assert!(matches!(error, StartError::Plan(_)));
    assert_eq!(
        error.to_string(),
        "the plan to publish: 'channels' is 3, but only 1 are declared; declare them first"
    );
    let bad = Config {
        channels: vec![("a b".into(), Overflow::Disconnect)],
        ..few
    };
    let error = Server::start(&bad).expect_err("refused");
    assert!(matches!(error, StartError::Declare(_)), "{error}");
}

#[test]
fn a_drained_server_and_its_heir_on_the_same_schedule_leave_no_gap() {
    for profile in Profile::ALL {
        let [mut plan, ..] = plans(SECOND_NS / 10, 0);
        plan.schedule.end_ns = u64::MAX;
        let first = start(&plan, config(Transport::Sse, profile));
        let place = address(&first, Transport::Sse);
        let request = bytes::subscribe(Transport::Sse, "c0", Some(0));
        let mut wire = Wire::open(place, request);
        let mut received = wire.some();
        let second = start(
            &plan,
            Config {
                listen: place,
                share_port: true,
                ..config(Transport::Sse, profile)
            },
        );
        assert!(first.drain(Duration::ZERO));
        received.extend(wire.rest());
        let last = bytes::sequences(&received).last().copied().unwrap_or(0);
        eventually("the first is gone", || first.is_drained());
        // It may have been ahead of the second, which is not a reason to refuse its clients.
        let mut wire = subscribe_to(&second, Transport::Sse, "c0", Some(last));
        let read = wire.sequences(2);
        assert_eq!(read[..2], [last + 1, last + 2]);
    }
}
