//! The rules that every value of a scenario must keep. Each says what was found, what is expected,
//! and what to do.

use super::error::{Check, ensure};
use super::{ChannelCount, Channels, Phases, Publish, Scenario, Server, condition, sweep};
use crate::text::is_printable;
use pushbench_protocol::control::MAX_CHANNELS;
use pushbench_protocol::envelope;
use pushbench_protocol::schedule::{Arrival, MAX_POISSON_TICKS, MAX_RATE_PER_S};
use pushbench_protocol::transport::{Polls, Transport};

/// Longest wait of any kind, in s: one day. Longer is a slip of the unit, and a `Duration` made of
/// a number without bound would panic.
const MAX_WAIT_S: f64 = 86_400.0;

/// More trials than anyone has patience for; above it, the number is a slip.
const MAX_TRIALS: u32 = 1_000;

/// Send buffers that the servers take.
const SEND_BUFFER_BYTES: std::ops::RangeInclusive<u32> = 4_096..=64 << 20;

/// Poll intervals that the measure phase of `short_poll` holds at least.
const MIN_POLL_INTERVALS: f64 = 2.0;

/// The least that a server process starts in: its program, its threads' stacks and its allocator.
const MIN_MEMORY_LIMIT_BYTES: u64 = 256 << 20;

/// The first rule that `scenario` breaks.
pub(super) fn check(scenario: &Scenario) -> Check {
    prose(scenario)?;
    clients(scenario)?;
    channels(&scenario.channels)?;
    phases(&scenario.phases)?;
    server(&scenario.server)?;
    if let Some(publish_table) = &scenario.publish {
        publish(publish_table, scenario)?;
    }
    run(scenario)?;
    polls(scenario)?;
    condition::check(scenario)?;
    match &scenario.sweep {
        Some(sweep_table) => sweep::check(sweep_table, scenario),
        None => Ok(()),
    }
}

fn prose(scenario: &Scenario) -> Check {
    for (key, text) in [
        ("summary", &scenario.summary),
        ("purpose", &scenario.purpose),
        ("cannot_show", &scenario.cannot_show),
    ] {
        ensure!(
            !text.trim().is_empty(),
            key,
            "is empty; a reader of the results needs it"
        );
        let hidden = text.chars().find(|&c| !is_printable(c));
        ensure!(
            hidden.is_none(),
            key,
            "has a control character ({}), which would reach a reader's terminal; remove it",
            hidden.unwrap_or_default().escape_default()
        );
    }
    let lines = scenario.summary.trim().lines().count();
    ensure!(
        lines == 1,
        "summary",
        "has {lines} lines, but lists show one; shorten it"
    );
    Ok(())
}

fn clients(scenario: &Scenario) -> Check {
    let clients = &scenario.clients;
    let count = clients.count;
    ensure!(
        count > 0,
        "clients.count",
        "is 0, but a trial needs at least 1 client"
    );
    if let Some(per_s) = clients.connect_per_s {
        positive(
            "clients.connect_per_s",
            per_s,
            "clients would never connect; use a number above 0",
        )?;
        let connect_s = f64::from(count) / per_s;
        ensure!(
            connect_s <= MAX_WAIT_S,
            "clients.connect_per_s",
            "is {per_s}, so {count} clients would take {connect_s:.0} s to connect, but at most \
             {MAX_WAIT_S} s are allowed; raise it"
        );
    }
    wait_ms("clients.poll_interval_ms", clients.poll_interval_ms)
}

fn channels(channels: &Channels) -> Check {
    if let ChannelCount::Fixed(count) = channels.count {
        ensure!(
            count > 0,
            "channels.count",
            "is 0, but clients need at least 1 channel; use a number, or \"per_client\" for a \
             private one each"
        );
        ensure!(
            count <= MAX_CHANNELS,
            "channels.count",
            "is {count}, but a server keeps at most {MAX_CHANNELS} channels; use fewer"
        );
    }
    // It travels in a query, in a line, and in file names of reports: no escaping anywhere.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let prefix = &channels.prefix;
    ensure!(
        (1..=32).contains(&prefix.len()) && prefix.chars().all(plain),
        "channels.prefix",
        "is '{prefix}', but a channel name has 1 to 32 letters, digits, '-' or '_' before its \
         number"
    );
    Ok(())
}

fn phases(phases: &Phases) -> Check {
    wait_s("phases.settle_s", phases.settle_s)?;
    wait_s("phases.warm_up_s", phases.warm_up_s)?;
    wait_s("phases.measure_s", phases.measure_s)?;
    wait_s("phases.drain_s", phases.drain_s)
}

/// Polls cost without messages, so their cost is read over whole intervals: one passes before the
/// first, and one is held.
fn polls(scenario: &Scenario) -> Check {
    let (measure_s, interval_ms) = (scenario.phases.measure_s, scenario.clients.poll_interval_ms);
    let at_intervals = |of: &&Transport| of.polls() == Some(Polls::AtIntervals);
    let polls = scenario.run.transports.iter().find(at_intervals);
    let least_s = MIN_POLL_INTERVALS * interval_ms as f64 / 1e3;
    // Where nothing is delivered, there is no cost of a delivery.
    let is_idle = scenario.publish.is_none() && scenario.upstream.is_none();
    ensure!(
        measure_s >= least_s || polls.is_none() || is_idle,
        "phases.measure_s",
        "is {measure_s}, but '{id}' needs at least {least_s} s: two poll intervals of {interval_ms} \
         ms; measure longer ('--duration'), lower 'clients.poll_interval_ms', or leave '{id}' out \
         ('--transports')",
        id = polls.map_or("", |of| of.id())
    );
    Ok(())
}

fn server(server: &Server) -> Check {
    wait_s("server.keep_alive_s", server.keep_alive_s)?;
    wait_s("server.poll_timeout_s", server.poll_timeout_s)?;
    ensure!(
        server.ring_messages > 0,
        "server.ring_messages",
        "is 0, but a channel must remember at least 1 message to deliver it"
    );
    ensure!(
        server.ring_bytes >= envelope::HEAD_BYTES,
        "server.ring_bytes",
        "is {}, but a channel must remember at least 1 message, and an envelope has at least {} \
         bytes",
        server.ring_bytes,
        envelope::HEAD_BYTES
    );
    if let Some(bytes) = server.send_buffer_bytes {
        ensure!(
            SEND_BUFFER_BYTES.contains(&bytes),
            "server.send_buffer_bytes",
            "is {bytes}, but a send buffer has {} to {} bytes",
            SEND_BUFFER_BYTES.start(),
            SEND_BUFFER_BYTES.end()
        );
    }
    if let Some(bytes) = server.memory_limit_bytes {
        ensure!(
            bytes >= MIN_MEMORY_LIMIT_BYTES,
            "server.memory_limit_bytes",
            "is {bytes}, but a server needs {MIN_MEMORY_LIMIT_BYTES} bytes of address space to \
             start"
        );
    }
    Ok(())
}

fn publish(publish: &Publish, scenario: &Scenario) -> Check {
    let rate = publish.rate_per_s;
    positive(
        "publish.rate_per_s",
        rate,
        "nothing would ever be due; use a number above 0, or a scenario without [publish]",
    )?;
    let in_all = rate.max(scenario.published_per_s());
    ensure!(
        in_all <= MAX_RATE_PER_S,
        "publish.rate_per_s",
        "is {in_all}, but one publisher holds at most {MAX_RATE_PER_S} messages a second"
    );
    payload_bytes(publish.payload_bytes)?;
    burst(publish, &scenario.server)?;
    arrival(publish, scenario)?;
    let what = match publish.burst {
        1 => "message".to_owned(),
        burst => format!("burst of {burst}"),
    };
    let measure_s = scenario.phases.measure_s;
    ensure!(
        rate * measure_s >= f64::from(publish.burst),
        "publish.rate_per_s",
        "is {rate}, so less than one {what} is due in the {measure_s} s of 'measure_s'; raise \
         either"
    );
    Ok(())
}

fn payload_bytes(bytes: usize) -> Check {
    ensure!(
        bytes >= envelope::HEAD_BYTES,
        "publish.payload_bytes",
        "is {bytes}, but an envelope needs at least {} (16 each for sequence, intended and actual \
         time, 3 separators)",
        envelope::HEAD_BYTES
    );
    ensure!(
        bytes <= envelope::MAX_BYTES,
        "publish.payload_bytes",
        "is {bytes}, but servers accept and clients read at most {} (1 MiB)",
        envelope::MAX_BYTES
    );
    Ok(())
}

/// The times of random arrivals are kept in memory, so there is a most.
fn arrival(publish: &Publish, scenario: &Scenario) -> Check {
    ensure!(
        publish.arrival != Arrival::Burst || publish.burst != 1,
        "publish.arrival",
        "is 'burst', but 'burst' is 1; set it to the messages of a burst"
    );
    let seconds = scenario.phases.warm_up_s + scenario.phases.measure_s;
    let arrivals = publish.rate_per_s / f64::from(publish.burst.max(1)) * seconds;
    // Room for a random number of them: over a hundred standard deviations.
    let most = 0.9 * MAX_POISSON_TICKS as f64;
    ensure!(
        publish.arrival != Arrival::Poisson || arrivals <= most,
        "publish.arrival",
        "is 'poisson', which makes some {arrivals:.0} arrivals in warm-up and measure phase, but \
         at most {most:.0} are kept; lower 'rate_per_s' or 'measure_s'"
    );
    Ok(())
}

/// A burst is appended at once: were it larger than the ring, its first messages would be gone
/// before any subscriber could read them.
fn burst(publish: &Publish, server: &Server) -> Check {
    let Publish {
        burst,
        payload_bytes,
        ..
    } = *publish;
    let bytes = burst as usize * payload_bytes;
    ensure!(
        burst > 0,
        "publish.burst",
        "is 0, but each tick publishes at least 1 message"
    );
    ensure!(
        burst as usize <= server.ring_messages,
        "publish.burst",
        "is {burst}, but a channel remembers only {} messages; raise 'ring_messages' in [server], \
         or shorten the burst",
        server.ring_messages
    );
    ensure!(
        bytes <= server.ring_bytes,
        "publish.burst",
        "is {burst}, which makes {bytes} bytes with 'payload_bytes' {payload_bytes}, but a channel \
         remembers only {}; raise 'ring_bytes' in [server], or shorten the burst",
        server.ring_bytes
    );
    Ok(())
}

fn run(scenario: &Scenario) -> Check {
    let run = &scenario.run;
    let transports: Vec<&str> = run.transports.iter().map(|t| t.id()).collect();
    distinct("run.transports", &transports, "leave it out to run all")?;
    let profiles: Vec<&str> = run.profiles.iter().map(|p| p.id()).collect();
    distinct(
        "run.profiles",
        &profiles,
        "name some of 'stock', 'tuned' and 'lean'",
    )?;
    let trials = run.trials.unwrap_or(1);
    ensure!(
        (1..=MAX_TRIALS).contains(&trials),
        "run.trials",
        "is {trials}, but must be from 1 to {MAX_TRIALS}"
    );
    wait_s("run.budget_s", run.budget_s)?;
    match scenario.matters.problem() {
        Some((key, message)) => Err(super::error::Problem { key, message }),
        None => Ok(()),
    }
}

fn distinct(key: &'static str, words: &[&str], remedy: &str) -> Check {
    ensure!(
        !words.is_empty(),
        key,
        "is empty, but something must run; {remedy}"
    );
    let mut pairs = words.iter().enumerate();
    if let Some((_, word)) = pairs.find(|(i, word)| words[..*i].contains(word)) {
        ensure!(
            false,
            key,
            "names '{word}' twice; use 'trials' to repeat, and name it once"
        );
    }
    Ok(())
}

pub(super) fn positive(key: &'static str, value: f64, consequence: &str) -> Check {
    ensure!(
        value.is_finite() && value > 0.0,
        key,
        "is {value}: {consequence}"
    );
    Ok(())
}

fn wait_s(key: &'static str, value: f64) -> Check {
    // Below a microsecond a wait rounds to nothing, which is a slip as well.
    ensure!(
        value.is_finite() && (1e-6..=MAX_WAIT_S).contains(&value),
        key,
        "is {value}, but a wait is above 0 and at most {MAX_WAIT_S} s; seconds are meant"
    );
    Ok(())
}

pub(super) fn wait_ms(key: &'static str, value: u64) -> Check {
    let most = (MAX_WAIT_S * 1e3) as u64;
    ensure!(
        (1..=most).contains(&value),
        key,
        "is {value}, but a wait is above 0 and at most {most} ms; milliseconds are meant"
    );
    Ok(())
}
