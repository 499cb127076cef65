//! Which trials of a round take turns, and how long a slice is.
//!
//! Before the trials. In: a scenario at one point. Out: the slices of those that can be sliced, and for
//! the others why they run whole.

use std::time::Duration;

use pushbench_protocol::schedule::Slices;
use pushbench_protocol::transport::{Polls, Transport};

use crate::record::{Side, Whole};
use crate::scenario::Scenario;
use crate::trial::Turn;

/// The measured part of a slice: some dozens of messages at usual rates. Short against what disturbs a
/// shared machine, which lasts for seconds, and so short that most slices escape what lasts for 1 ms.
const BODY: Duration = Duration::from_millis(80);

/// Load that brings code and data back into caches before anything is measured.
const HEAD: Duration = Duration::from_millis(15);

/// Messages, or bursts, of a measured part at least, …
const LEAST_TICKS: f64 = 4.0;

/// … unless fewer are so many deliveries.
const ENOUGH_DELIVERIES: f64 = 1_000.0;

/// Longest measured part: with a longer one, what disturbs the machine fits into a single slice.
const MOST: Duration = Duration::from_secs(2);

/// Silence after a part, in which clocks are read …
const SILENCE: Duration = Duration::from_millis(8);

/// … and, for each delivery of a message, the time that it may take; measured are some 10 µs.
const PER_DELIVERY: Duration = Duration::from_micros(20);

/// Measured slices of a round at least …
const LEAST_SLICES: u64 = 5;

/// … and at most, where the run goes on until it is decided: rather another round, as processes differ by
/// luck too, and a round's own cost, that of connecting, is some 6 slices.
const MOST_SLICES: u64 = 8;

/// Rounds that are to fit into the budget, if fewer slices make them fit: one more than a comparison needs.
const ROUNDS: f64 = 6.0;

/// Most connections of a round's trials together: some 2 GB of kernel memory.
const MOST_CONNECTIONS: u64 = 200_000;

/// A keep-alive or a poll's time-out must be so many times as long as a channel's silence.
const QUIET_TIMES: f64 = 2.0;

/// The trials of a round at one point.
#[derive(Debug, PartialEq)]
pub(super) struct Design {
    /// Those that take turns; none, or at least two.
    pub(super) in_turns: Vec<Side>,
    /// What all turns of a round share; `None` where nothing is sliced.
    pub(super) turn: Option<Turn>,
    /// Those that run by themselves, and why.
    pub(super) whole: Vec<(Side, Whole)>,
}

impl Design {
    /// That of `scenario`, which is at one point.
    pub(super) fn of(scenario: &Scenario) -> Self {
        let sides = scenario.pairs().into_iter();
        let sides = sides.map(|(transport, profile)| Side { transport, profile });
        let (mut in_turns, mut whole) = (Vec::new(), Vec::new());
        for side in sides {
            match stays_whole(scenario, side.transport) {
                Some(why) => whole.push((side, why)),
                None => in_turns.push(side),
            }
        }
        let turn = match in_turns.len() {
            0 => None,
            1 => {
                whole.extend(in_turns.drain(..).map(|side| (side, Whole::Alone)));
                None
            }
            of => match turn(scenario, of as u32, &whole) {
                Ok(turn) => Some(turn),
                Err(why) => {
                    whole.extend(in_turns.drain(..).map(|side| (side, why)));
                    None
                }
            },
        };
        Self {
            in_turns,
            turn,
            whole,
        }
    }
}

/// Why a trial of `transport` cannot be sliced, whatever the others are.
fn stays_whole(scenario: &Scenario, transport: Transport) -> Option<Whole> {
    let changes = scenario.disturbed().is_some()
        || scenario.needs_lean_clients().is_some()
        || scenario.sessions.is_some()
        || scenario.streams.is_some()
        || scenario.needs_samples();
    if !scenario.run.slices {
        Some(Whole::Asked)
    } else if scenario.upstream.is_some() {
        Some(Whole::ClientsSend)
    } else if changes {
        Some(Whole::Conditions)
    } else if scenario.publish.is_none() {
        Some(Whole::NothingPublished)
    } else if transport.polls() == Some(Polls::AtIntervals) {
        Some(Whole::PollsAtIntervals)
    } else {
        None
    }
}

/// The slices of so many trials of a scenario that take turns; `None` where it cannot be sliced.
pub(crate) fn turn_of(scenario: &Scenario, of: u32) -> Option<Turn> {
    turn(scenario, of, &[]).ok()
}

/// A scenario for trials that run by themselves beside others that take turns. Where rounds are short, so are
/// these: as many intervals of polls as their window needs, and one more.
pub(super) fn beside_turns(scenario: &Scenario) -> Scenario {
    let mut beside = scenario.clone();
    let interval_s = scenario.clients.poll_interval_ms as f64 / 1e3;
    let phases = &mut beside.phases;
    if scenario.run.trials.is_none() {
        phases.warm_up_s = phases.warm_up_s.min(interval_s);
        phases.measure_s = phases.measure_s.min(2.0 * interval_s);
    }
    beside
}

/// The slices of `of` trials, with place 0 and seed 0, beside trials that run by themselves.
fn turn(scenario: &Scenario, of: u32, whole: &[(Side, Whole)]) -> Result<Turn, Whole> {
    let publish = scenario.publish.as_ref().ok_or(Whole::NothingPublished)?;
    let tick_s = f64::from(publish.burst) / publish.rate_per_s;
    let ticks = |least: Duration, fewest: f64| (least.as_secs_f64() / tick_s).ceil().max(fewest);
    let deliveries = scenario.offered_deliveries_per_s() * tick_s;
    let fewest = (ENOUGH_DELIVERIES / deliveries)
        .ceil()
        .clamp(1.0, LEAST_TICKS);
    let (head, body) = (ticks(HEAD, 1.0), ticks(BODY, fewest));
    if body * tick_s > MOST.as_secs_f64() {
        return Err(Whole::FewMessages);
    }
    if u64::from(of) * u64::from(scenario.connections()) > MOST_CONNECTIONS {
        return Err(Whole::ManyConnections);
    }
    let ns = |s: f64| (s * 1e9) as u64;
    // A ns short, so that rounding never leaves a message on the wrong side of an edge.
    let head_ns = ns(head * tick_s) - 1;
    let load_ns = ns((head + body) * tick_s) - 1;
    let silence_ns = ns(SILENCE.as_secs_f64() + deliveries * PER_DELIVERY.as_secs_f64());
    let phases = &scenario.phases;
    let (mut warm_up_ns, mut measured) = (
        phases.warm_up().as_nanos() as u64,
        phases.measure().as_nanos() as u64 / load_ns,
    );
    if measured < LEAST_SLICES {
        return Err(Whole::ShortPhase);
    }
    if scenario.run.trials.is_none() {
        // Once over all channels, so that nothing is measured for the first time.
        warm_up_ns = warm_up_ns.min(ns(f64::from(scenario.channel_count()) * tick_s));
    }
    let warm_up = match warm_up_ns {
        0 => 0,
        some => (some / load_ns).max(1),
    };
    if scenario.run.trials.is_none() {
        let phases = beside_turns(scenario).phases;
        let interval_s = scenario.clients.poll_interval_ms as f64 / 1e3;
        let each_s = phases.warm_up_s + phases.measure_s + interval_s;
        let round_s = scenario.run.budget_s / ROUNDS - each_s * whole.len() as f64;
        let block_s = f64::from(of) * (load_ns + 2 * silence_ns) as f64 / 1e9;
        let room = (round_s / block_s) as u64;
        measured = measured.min(
            room.saturating_sub(warm_up)
                .clamp(LEAST_SLICES, MOST_SLICES),
        );
    }
    let slices = Slices {
        of,
        place: 0,
        blocks: u32::try_from(warm_up + measured).map_err(|_| Whole::FewMessages)?,
        head_ns,
        pause_ns: silence_ns,
        body_ns: load_ns - head_ns,
        gap_ns: silence_ns,
        seed: 0,
    };
    let server = &scenario.server;
    let silent_s =
        f64::from(scenario.channel_count()) * tick_s + slices.block_ns() as f64 / 1e9 * 2.0;
    if QUIET_TIMES * silent_s > server.keep_alive_s.min(server.poll_timeout_s) {
        return Err(Whole::QuietChannels);
    }
    Ok(Turn {
        slices,
        warm_up_blocks: warm_up as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, change: impl FnOnce(&mut Scenario)) -> Design {
        let mut scenario = Scenario::load(name).expect("built in");
        change(&mut scenario);
        Design::of(&scenario)
    }

    /// Why all that could otherwise take turns in `quick` do not.
    fn why_whole(change: impl FnOnce(&mut Scenario)) -> Option<Whole> {
        let design = of("quick", change);
        let mut whys: Vec<Whole> = design.whole.iter().map(|(_, why)| *why).collect();
        whys.retain(|why| *why != Whole::PollsAtIntervals);
        whys.dedup();
        assert!(whys.len() <= 1 && (whys.is_empty() || design.turn.is_none()));
        whys.pop()
    }

    #[test]
    fn a_slice_holds_whole_messages_and_is_silent_before_and_after() {
        let design = of("quick", |_| ());
        assert_eq!(design.in_turns.len(), 4);
        let Turn {
            slices,
            warm_up_blocks,
        } = design.turn.expect("they take turns");
        // At 1,000 messages a second, 15 in a head and 80 in a body.
        assert_eq!((slices.head_ns, slices.body_ns), (14_999_999, 80_000_000));
        // A message is 10 deliveries.
        assert_eq!((slices.pause_ns, slices.gap_ns), (8_200_000, 8_200_000));
        assert_eq!((warm_up_blocks, slices.blocks), (1, 9));
    }

    #[test]
    fn a_slice_holds_four_messages_or_a_thousand_deliveries() {
        let messages = |clients: u32| {
            let design = of("dashboard", |s| s.clients.count = clients);
            design.turn.expect("they take turns").slices.body_ns / 100_000_000
        };
        // Ten messages a second, to everyone.
        assert_eq!([1_000, 999, 300, 10].map(messages), [1, 2, 4, 4]);
    }

    #[test]
    fn rounds_are_so_short_that_enough_of_them_fit_into_the_budget() {
        let slices = |budget_s| {
            let design = of("dashboard", |s| s.run.budget_s = budget_s);
            let turn = design.turn.expect("they take turns");
            turn.slices.blocks - turn.warm_up_blocks
        };
        // Blocks of 1.28 s, one of them warm-up, beside 4 s of a trial of polls.
        assert_eq!([30.0, 60.0, 66.0, 90.0, 300.0].map(slices), [5, 5, 5, 7, 8]);
        let short = beside_turns(&Scenario::load("dashboard").expect("built in")).phases;
        assert_eq!((short.warm_up_s, short.measure_s), (1.0, 2.0));
    }

    #[test]
    fn rounds_are_short_unless_their_number_is_given() {
        let blocks = |trials| {
            let design = of("quick", |s| s.run.trials = trials);
            let turn = design.turn.expect("they take turns");
            (turn.warm_up_blocks, turn.slices.blocks)
        };
        // 0.1 s of load for 100 channels, and 8 slices; 0.15 and 2 s of it.
        assert_eq!((blocks(None), blocks(Some(3))), ((1, 9), (1, 22)));
    }

    #[test]
    fn what_cannot_be_sliced_runs_whole_and_says_why() {
        type Change = fn(&mut Scenario);
        let publish = |s: &mut Scenario, rate: f64| {
            s.publish.as_mut().expect("it publishes").rate_per_s = rate;
        };
        let cases: [(Change, Option<Whole>); 7] = [
            (|_| (), None),
            (|s| s.run.slices = false, Some(Whole::Asked)),
            (|s| s.publish = None, Some(Whole::NothingPublished)),
            (
                |s| s.run.transports.retain(|t| *t == Transport::Sse),
                Some(Whole::Alone),
            ),
            (|s| s.phases.measure_s = 0.3, Some(Whole::ShortPhase)),
            (|s| s.clients.count = 60_000, Some(Whole::ManyConnections)),
            (|s| s.server.keep_alive_s = 1.0, Some(Whole::QuietChannels)),
        ];
        for (change, expected) in cases {
            assert_eq!(why_whole(change), expected);
        }
        assert_eq!(why_whole(|s| publish(s, 1.0)), Some(Whole::FewMessages));
        for (name, expected) in [
            ("chat", Whole::ClientsSend),
            ("idle", Whole::NothingPublished),
            ("reconnect-storm", Whole::Conditions),
            ("slow-consumers", Whole::Conditions),
        ] {
            let whys = of(name, |_| ()).whole;
            let streams: Vec<Whole> = whys.into_iter().map(|(_, why)| why).collect();
            assert!(streams.contains(&expected), "{name}: {streams:?}");
        }
    }
}
