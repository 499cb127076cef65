//! The rules for conditions of real use.
//!
//! Before the data path. In: the tables of `conditions.rs` and what they depend on. Out: the first
//! rule that is broken, with the key it is about.

use pushbench_protocol::envelope;
use pushbench_protocol::transport::Transport;

use crate::load::conditions::upstream::{MAX_RATE_PER_CLIENT_S, MIN_PAYLOAD_BYTES};

use super::check::{Check, positive, refuse, wait_ms};
use super::conditions::{Fault, FaultKind, MAX_FAULTS, Reconnect, SlowReaders, Upstream, Via};
use super::{ChannelCount, Scenario, Sizes};

/// Most messages of a snapshot: what a `last=` of the servers takes.
const MAX_SNAPSHOT_MESSAGES: u64 = 1_000_000;

/// Receive buffers that the kernel gives: its own least, and more than its default most.
const RECEIVE_BUFFER_BYTES: std::ops::RangeInclusive<u32> = 2_304..=4 << 20;

/// Send buffers that the servers take.
const SEND_BUFFER_BYTES: std::ops::RangeInclusive<u32> = 4_096..=64 << 20;

/// The least that a server process starts in: its program, its threads' stacks and its allocator.
const MIN_MEMORY_LIMIT_BYTES: u64 = 256 << 20;

pub(super) fn check(scenario: &Scenario) -> Check {
    channels(scenario)?;
    server(scenario)?;
    if let Some(table) = &scenario.reconnect {
        reconnect(table)?;
    }
    faults(scenario)?;
    if let Some(table) = &scenario.slow_readers {
        slow_readers(table, scenario)?;
    }
    if let Some(table) = &scenario.upstream {
        upstream(table, scenario)?;
    }
    snapshot(scenario)?;
    measures(scenario)
}

fn channels(scenario: &Scenario) -> Check {
    let channels = &scenario.channels;
    let clients = scenario.clients.count;
    if let Some(members) = channels.members {
        if members == 0 {
            return refuse(
                "channels.members",
                "is 0, but a room has at least 1 client".to_owned(),
            );
        }
        if members > clients {
            return refuse(
                "channels.members",
                format!(
                    "is {members}, a room larger than the fleet of {clients} clients; make rooms \
                     smaller, or raise 'clients.count'"
                ),
            );
        }
        if channels.count != ChannelCount::Fixed(1) {
            return refuse(
                "channels.members",
                "says how large rooms are, and 'count' how many there are; give one of the two"
                    .to_owned(),
            );
        }
    }
    if channels.sizes == Sizes::Zipf && scenario.channel_count() < 2 {
        return refuse(
            "channels.sizes",
            "is 'zipf', but there is 1 channel; raise 'channels.count'".to_owned(),
        );
    }
    if channels.overflow.is_empty() {
        return refuse(
            "channels.overflow",
            "is empty; name a policy, or leave the key out for 'disconnect'".to_owned(),
        );
    }
    if channels.overflow.len() > scenario.channel_count() as usize {
        return refuse(
            "channels.overflow",
            format!(
                "has {} policies for {} channels; leave some out",
                channels.overflow.len(),
                scenario.channel_count()
            ),
        );
    }
    Ok(())
}

fn server(scenario: &Scenario) -> Check {
    let server = &scenario.server;
    if let Some(bytes) = server.send_buffer_bytes
        && !SEND_BUFFER_BYTES.contains(&bytes)
    {
        return refuse(
            "server.send_buffer_bytes",
            format!(
                "is {bytes}, but a send buffer has {} to {} bytes",
                SEND_BUFFER_BYTES.start(),
                SEND_BUFFER_BYTES.end()
            ),
        );
    }
    if let Some(bytes) = server.memory_limit_bytes
        && bytes < MIN_MEMORY_LIMIT_BYTES
    {
        return refuse(
            "server.memory_limit_bytes",
            format!(
                "is {bytes}, but a server needs {MIN_MEMORY_LIMIT_BYTES} bytes of address space to \
                 start"
            ),
        );
    }
    Ok(())
}

fn reconnect(reconnect: &Reconnect) -> Check {
    wait_ms("reconnect.delay_ms", reconnect.delay_ms)?;
    wait_ms("reconnect.max_delay_ms", reconnect.max_delay_ms)?;
    if reconnect.max_delay_ms < reconnect.delay_ms {
        return refuse(
            "reconnect.max_delay_ms",
            format!(
                "is {}, but the first wait is {} already; raise it, or lower 'delay_ms'",
                reconnect.max_delay_ms, reconnect.delay_ms
            ),
        );
    }
    if !(0.0..=10.0).contains(&reconnect.jitter) {
        return refuse(
            "reconnect.jitter",
            format!(
                "is {}, but it is a share of the wait, from 0 to 10",
                reconnect.jitter
            ),
        );
    }
    Ok(())
}

fn faults(scenario: &Scenario) -> Check {
    let faults = &scenario.faults;
    if faults.len() > MAX_FAULTS {
        return refuse(
            "faults",
            format!("has {}, but at most {MAX_FAULTS} are allowed", faults.len()),
        );
    }
    for (index, fault) in faults.iter().enumerate() {
        if let Err(message) = fault_rules(fault, scenario) {
            let name = format!("has a '{}' (number {}) {message}", fault.kind, index + 1);
            return refuse("faults", name);
        }
    }
    let cuts = faults
        .iter()
        .filter(|f| f.kind == FaultKind::ConnectionCuts);
    if cuts.count() > 1 {
        return refuse(
            "faults",
            "has 'connection_cuts' more than once; one stretch of them is enough".to_owned(),
        );
    }
    let of_server: Vec<&Fault> = faults
        .iter()
        .filter(|f| f.kind != FaultKind::ConnectionCuts)
        .collect();
    for pair in of_server.windows(2) {
        let [first, second] = pair else { continue };
        if second.at_s < first.end_s() {
            return refuse(
                "faults",
                format!(
                    "has a '{}' at {} s, before the '{}' at {} s is over; order them in time, apart",
                    second.kind, second.at_s, first.kind, first.at_s
                ),
            );
        }
    }
    Ok(())
}

fn fault_rules(fault: &Fault, scenario: &Scenario) -> Result<(), String> {
    let given = [
        ("down_ms", fault.down_ms.is_some()),
        ("over_ms", fault.over_ms.is_some()),
        ("for_ms", fault.for_ms.is_some()),
        ("mean_s", fault.mean_s.is_some()),
        ("how", fault.how.is_some()),
    ];
    let (needed, may): (&[&str], &[&str]) = match fault.kind {
        FaultKind::ServerKill => (&["down_ms"], &["down_ms"]),
        FaultKind::ServerDrain => (&["over_ms"], &["over_ms"]),
        FaultKind::ServerStall => (&["for_ms"], &["for_ms"]),
        FaultKind::ConnectionCuts => (&["for_ms", "mean_s"], &["for_ms", "mean_s", "how"]),
        FaultKind::ShardPanic => (&[], &[]),
    };
    for (key, is_given) in given {
        if needed.contains(&key) && !is_given {
            return Err(format!("without '{key}'; add it"));
        }
        if is_given && !may.contains(&key) {
            return Err(format!(
                "with '{key}', which means nothing there; remove it"
            ));
        }
    }
    let measure_s = scenario.phases.measure_s;
    if !(fault.at_s.is_finite() && fault.at_s >= 0.0 && fault.end_s() < measure_s) {
        return Err(format!(
            "from {} s to {} s, but it must lie within the {measure_s} s of 'measure_s'",
            fault.at_s,
            fault.end_s()
        ));
    }
    if let Some(mean_s) = fault.mean_s
        && !(mean_s.is_finite() && mean_s >= 0.01)
    {
        return Err(format!(
            "with 'mean_s' {mean_s}, but a client is cut every 0.01 s at the most"
        ));
    }
    let of_server = matches!(fault.kind, FaultKind::ServerKill | FaultKind::ServerDrain);
    if of_server && scenario.channels.overflow.len() > 1 {
        return Err(
            "beside several policies in 'channels.overflow', of which a server that takes over has \
             one; name one"
                .to_owned(),
        );
    }
    let ends_connections = !matches!(fault.kind, FaultKind::ServerStall | FaultKind::ShardPanic);
    if ends_connections && scenario.reconnect.is_none() {
        return Err("but clients that do not come back; add [reconnect]".to_owned());
    }
    if ends_connections && scenario.sessions.is_some() {
        return Err(
            "beside [sessions], whose clients come and go by themselves; leave one out".to_owned(),
        );
    }
    Ok(())
}

fn slow_readers(slow: &SlowReaders, scenario: &Scenario) -> Check {
    if !(0.0..=1.0).contains(&slow.share) {
        return refuse(
            "slow_readers.share",
            format!(
                "is {}, but it is a share of the clients, from 0 to 1",
                slow.share
            ),
        );
    }
    let clients = scenario.clients.count;
    if slow.of(clients) >= clients {
        return refuse(
            "slow_readers.share",
            format!(
                "is {}, so none of {clients} clients reads as it should; lower it",
                slow.share
            ),
        );
    }
    if !RECEIVE_BUFFER_BYTES.contains(&slow.receive_buffer_bytes) {
        return refuse(
            "slow_readers.receive_buffer_bytes",
            format!(
                "is {}, but a receive buffer has {} to {} bytes",
                slow.receive_buffer_bytes,
                RECEIVE_BUFFER_BYTES.start(),
                RECEIVE_BUFFER_BYTES.end()
            ),
        );
    }
    for (given, what) in [
        (scenario.reconnect.is_some(), "[reconnect]"),
        (scenario.sessions.is_some(), "[sessions]"),
        (scenario.upstream.is_some(), "[upstream]"),
    ] {
        if given {
            return refuse(
                "slow_readers",
                format!(
                    "stands beside {what}, and what became of a client would have two reasons; \
                         use two scenarios"
                ),
            );
        }
    }
    Ok(())
}

fn upstream(upstream: &Upstream, scenario: &Scenario) -> Check {
    positive(
        "upstream.rate_per_client_s",
        upstream.rate_per_client_s,
        "nothing would ever be sent; use a number above 0, or leave [upstream] out",
    )?;
    if upstream.rate_per_client_s > MAX_RATE_PER_CLIENT_S {
        return refuse(
            "upstream.rate_per_client_s",
            format!(
                "is {}, but a client sends at most {MAX_RATE_PER_CLIENT_S} messages a second",
                upstream.rate_per_client_s
            ),
        );
    }
    if upstream.payload_bytes < MIN_PAYLOAD_BYTES {
        return refuse(
            "upstream.payload_bytes",
            format!(
                "is {}, but an envelope with its sender needs at least {MIN_PAYLOAD_BYTES}",
                upstream.payload_bytes
            ),
        );
    }
    if upstream.payload_bytes > envelope::MAX_BYTES {
        return refuse(
            "upstream.payload_bytes",
            format!(
                "is {}, but servers accept and clients read at most {} (1 MiB)",
                upstream.payload_bytes,
                envelope::MAX_BYTES
            ),
        );
    }
    for (given, what) in [
        (scenario.publish.is_some(), "[publish]"),
        (scenario.sessions.is_some(), "[sessions]"),
        (scenario.reconnect.is_some(), "[reconnect]"),
        (
            scenario.clients.snapshot_messages > 0,
            "'clients.snapshot_messages'",
        ),
    ] {
        if given {
            return refuse(
                "upstream",
                format!(
                    "stands beside {what}, but what a client is owed follows from what clients send; \
                     use two scenarios"
                ),
            );
        }
    }
    if scenario.channels.sizes != Sizes::Even {
        return refuse(
            "channels.sizes",
            "is 'zipf', but rooms in which clients send are of even size; leave one out".to_owned(),
        );
    }
    for &transport in &scenario.run.transports {
        if upstream.via == Via::Connection && !goes_both_ways(transport) {
            return refuse(
                "upstream.via",
                format!(
                    "is 'connection', but {transport} goes one way: the server has nothing to read on \
                     it; use 'transport' or 'post', or leave {transport} out of 'run.transports'"
                ),
            );
        }
        if upstream.via == Via::Post && goes_both_ways(transport) {
            return refuse(
                "upstream.via",
                format!(
                    "is 'post', but {transport} sends on its own connection; use 'transport', or \
                     leave {transport} out of 'run.transports'"
                ),
            );
        }
    }
    Ok(())
}

/// Whether a client of `transport` can send on the connection on which it receives.
pub(crate) fn goes_both_ways(transport: Transport) -> bool {
    matches!(transport, Transport::Tcp | Transport::WebSocket)
}

fn snapshot(scenario: &Scenario) -> Check {
    let messages = scenario.clients.snapshot_messages;
    if messages > MAX_SNAPSHOT_MESSAGES {
        return refuse(
            "clients.snapshot_messages",
            format!("is {messages}, but a snapshot has at most {MAX_SNAPSHOT_MESSAGES}"),
        );
    }
    if messages > scenario.server.ring_messages as u64 {
        return refuse(
            "clients.snapshot_messages",
            format!(
                "is {messages}, but a channel remembers only {}; raise 'ring_messages' in [server]",
                scenario.server.ring_messages
            ),
        );
    }
    if messages > 0 && scenario.publish.is_none() {
        return refuse(
            "clients.snapshot_messages",
            "asks for messages, but nothing is published; add a [publish] table".to_owned(),
        );
    }
    Ok(())
}

fn measures(scenario: &Scenario) -> Check {
    for (index, measure) in scenario.measures.iter().flatten().enumerate() {
        if let (Some(needs), false) = (measure.needs(), measure.fits(scenario)) {
            return refuse(
                "measures",
                format!(
                    "names '{}', which needs {needs}; add that, or remove it",
                    measure.id()
                ),
            );
        }
        let before = scenario.measures.iter().flatten().take(index);
        if before.clone().any(|other| other == measure) {
            return refuse("measures", format!("names '{}' twice", measure.id()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
