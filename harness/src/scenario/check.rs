//! The rules that every value of a scenario must keep. Each says what was found, what is expected,
//! and what to do.

use super::error::Problem;
use super::{
    ChannelCount, Channels, Phases, Publish, Scenario, Server, Sessions, check_conditions, sweep,
};
use pushbench_protocol::control::MAX_CHANNELS;
use pushbench_protocol::envelope;
use pushbench_protocol::schedule::{Arrival, MAX_POISSON_TICKS};

/// Longest wait of any kind, in s: one day. Longer is a slip of the unit, and a `Duration` made of
/// a number without bound would panic.
const MAX_WAIT_S: f64 = 86_400.0;

/// Highest rate, in messages a second: one publisher thread stamps and appends a message in
/// hundreds of nanoseconds, so nothing above can be held, and intended times stay apart in ns.
const MAX_RATE_PER_S: f64 = 10_000_000.0;

/// More trials than anyone has patience for; above it, the number is a slip.
const MAX_TRIALS: u32 = 1_000;

pub(super) type Check = Result<(), Problem>;

pub(super) fn refuse(key: &'static str, message: String) -> Check {
    Err(Problem { key, message })
}

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
    if let Some(sessions_table) = &scenario.sessions {
        sessions(sessions_table)?;
    }
    run(scenario)?;
    check_conditions::check(scenario)?;
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
        if text.trim().is_empty() {
            return refuse(key, "is empty; a reader of the results needs it".to_owned());
        }
    }
    if scenario.summary.trim().contains('\n') {
        let lines = scenario.summary.trim().lines().count();
        return refuse(
            "summary",
            format!("has {lines} lines, but lists show one; shorten it"),
        );
    }
    Ok(())
}

fn clients(scenario: &Scenario) -> Check {
    let clients = &scenario.clients;
    if clients.count == 0 {
        return refuse(
            "clients.count",
            "is 0, but a trial needs at least 1 client".to_owned(),
        );
    }
    if let Some(per_s) = clients.connect_per_s {
        positive(
            "clients.connect_per_s",
            per_s,
            "clients would never connect; use a number above 0",
        )?;
        let connect_s = f64::from(clients.count) / per_s;
        if connect_s > MAX_WAIT_S {
            return refuse(
                "clients.connect_per_s",
                format!(
                    "is {per_s}, so {} clients would take {connect_s:.0} s to connect, but at most \
                     {MAX_WAIT_S} s are allowed; raise it",
                    clients.count
                ),
            );
        }
    }
    wait_ms("clients.poll_interval_ms", clients.poll_interval_ms)
}

fn channels(channels: &Channels) -> Check {
    if channels.count == ChannelCount::Fixed(0) {
        return refuse(
            "channels.count",
            "is 0, but clients need at least 1 channel; use a number, or \"per_client\" for a \
             private one each"
                .to_owned(),
        );
    }
    if let ChannelCount::Fixed(count) = channels.count
        && count > MAX_CHANNELS
    {
        return refuse(
            "channels.count",
            format!("is {count}, but a server keeps at most {MAX_CHANNELS} channels; use fewer"),
        );
    }
    // It travels in a query, in a line, and in file names of reports: no escaping anywhere.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !(1..=32).contains(&channels.prefix.len()) || !channels.prefix.chars().all(plain) {
        return refuse(
            "channels.prefix",
            format!(
                "is '{}', but a channel name has 1 to 32 letters, digits, '-' or '_' before its \
                 number",
                channels.prefix
            ),
        );
    }
    Ok(())
}

fn phases(phases: &Phases) -> Check {
    wait_s("phases.settle_s", phases.settle_s)?;
    wait_s("phases.warm_up_s", phases.warm_up_s)?;
    wait_s("phases.measure_s", phases.measure_s)?;
    wait_s("phases.drain_s", phases.drain_s)
}

fn server(server: &Server) -> Check {
    wait_s("server.keep_alive_s", server.keep_alive_s)?;
    wait_s("server.poll_timeout_s", server.poll_timeout_s)?;
    if server.ring_messages == 0 {
        return refuse(
            "server.ring_messages",
            "is 0, but a channel must remember at least 1 message to deliver it".to_owned(),
        );
    }
    if server.ring_bytes < envelope::HEAD_BYTES {
        return refuse(
            "server.ring_bytes",
            format!(
                "is {}, but a channel must remember at least 1 message, and an envelope has at \
                 least {} bytes",
                server.ring_bytes,
                envelope::HEAD_BYTES
            ),
        );
    }
    Ok(())
}

fn publish(publish: &Publish, scenario: &Scenario) -> Check {
    positive(
        "publish.rate_per_s",
        publish.rate_per_s,
        "nothing would ever be due; use a number above 0, or a scenario without [publish]",
    )?;
    if publish.rate_per_s > MAX_RATE_PER_S {
        return refuse(
            "publish.rate_per_s",
            format!(
                "is {}, but one publisher holds at most {MAX_RATE_PER_S} messages a second",
                publish.rate_per_s
            ),
        );
    }
    payload_bytes(publish.payload_bytes)?;
    burst(publish, &scenario.server)?;
    arrival(publish, scenario)?;
    let due = publish.rate_per_s * scenario.phases.measure_s;
    if due < f64::from(publish.burst) {
        let what = match publish.burst {
            1 => "message".to_owned(),
            burst => format!("burst of {burst}"),
        };
        return refuse(
            "publish.rate_per_s",
            format!(
                "is {}, so less than one {what} is due in the {} s of 'measure_s'; raise either",
                publish.rate_per_s, scenario.phases.measure_s
            ),
        );
    }
    Ok(())
}

fn payload_bytes(bytes: usize) -> Check {
    if bytes < envelope::HEAD_BYTES {
        return refuse(
            "publish.payload_bytes",
            format!(
                "is {bytes}, but an envelope needs at least {} (16 each for sequence, intended \
                 and actual time, 3 separators)",
                envelope::HEAD_BYTES
            ),
        );
    }
    if bytes > envelope::MAX_BYTES {
        return refuse(
            "publish.payload_bytes",
            format!(
                "is {bytes}, but servers accept and clients read at most {} (1 MiB)",
                envelope::MAX_BYTES
            ),
        );
    }
    Ok(())
}

/// The times of random arrivals are kept in memory, so there is a most.
fn arrival(publish: &Publish, scenario: &Scenario) -> Check {
    if publish.arrival == Arrival::Burst && publish.burst == 1 {
        return refuse(
            "publish.arrival",
            "is 'burst', but 'burst' is 1; set it to the messages of a burst".to_owned(),
        );
    }
    let seconds = scenario.phases.warm_up_s + scenario.phases.measure_s;
    let arrivals = publish.rate_per_s / f64::from(publish.burst.max(1)) * seconds;
    // Room for a random number of them: over a hundred standard deviations.
    let most = 0.9 * MAX_POISSON_TICKS as f64;
    if publish.arrival == Arrival::Poisson && arrivals > most {
        return refuse(
            "publish.arrival",
            format!(
                "is 'poisson', which makes some {arrivals:.0} arrivals in warm-up and measure \
                 phase, but at most {most:.0} are kept; lower 'rate_per_s' or 'measure_s'"
            ),
        );
    }
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
    if burst == 0 {
        return refuse(
            "publish.burst",
            "is 0, but each tick publishes at least 1 message".to_owned(),
        );
    }
    if burst as usize > server.ring_messages {
        return refuse(
            "publish.burst",
            format!(
                "is {burst}, but a channel remembers only {} messages; raise 'ring_messages' in \
                 [server], or shorten the burst",
                server.ring_messages
            ),
        );
    }
    let bytes = burst as usize * payload_bytes;
    if bytes > server.ring_bytes {
        return refuse(
            "publish.burst",
            format!(
                "is {burst}, which makes {bytes} bytes with 'payload_bytes' {payload_bytes}, but a \
                 channel remembers only {}; raise 'ring_bytes' in [server], or shorten the burst",
                server.ring_bytes
            ),
        );
    }
    Ok(())
}

fn sessions(sessions: &Sessions) -> Check {
    wait_ms("sessions.length_ms", sessions.length_ms)?;
    wait_ms("sessions.gap_ms", sessions.gap_ms)
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
    if !(1..=MAX_TRIALS).contains(&run.trials) {
        return refuse(
            "run.trials",
            format!("is {}, but must be from 1 to {MAX_TRIALS}", run.trials),
        );
    }
    Ok(())
}

fn distinct(key: &'static str, words: &[&str], remedy: &str) -> Check {
    if words.is_empty() {
        return refuse(key, format!("is empty, but something must run; {remedy}"));
    }
    match words
        .iter()
        .enumerate()
        .find(|(i, word)| words[..*i].contains(word))
    {
        Some((_, word)) => refuse(
            key,
            format!("names '{word}' twice; use 'trials' to repeat, and name it once"),
        ),
        None => Ok(()),
    }
}

pub(super) fn positive(key: &'static str, value: f64, consequence: &str) -> Check {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    refuse(key, format!("is {value}: {consequence}"))
}

fn wait_s(key: &'static str, value: f64) -> Check {
    // Below a microsecond a wait rounds to nothing, which is a slip as well.
    if value.is_finite() && (1e-6..=MAX_WAIT_S).contains(&value) {
        return Ok(());
    }
    refuse(
        key,
        format!("is {value}, but a wait is above 0 and at most {MAX_WAIT_S} s; seconds are meant"),
    )
}

pub(super) fn wait_ms(key: &'static str, value: u64) -> Check {
    let most = (MAX_WAIT_S * 1e3) as u64;
    if (1..=most).contains(&value) {
        return Ok(());
    }
    refuse(
        key,
        format!("is {value}, but a wait is above 0 and at most {most} ms; milliseconds are meant"),
    )
}
