//! `pushbench serve`: the servers by themselves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::builder::RangedU64ValueParser;
use pushbench_os::allocator;
use pushbench_os::sys;
use pushbench_protocol::control::{Addresses, PublishPlan};
use pushbench_protocol::envelope::{HEAD_BYTES, MAX_BYTES};
use pushbench_protocol::framing::Epoch;
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::payload::PayloadKind;
use pushbench_protocol::schedule::Schedule;
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::control;
use pushbench_servers::publisher::Publisher;
use pushbench_servers::ring::RingLimits;
use pushbench_servers::server::{Config, MAX_DRAIN, Server, StartError, is_loopback};
use pushbench_servers::transport::origin::{MAX_ORIGINS, Origin};

use crate::environment::loopback;
use crate::text;

use super::options::{Process, seconds, shards};
use super::{Failure, Outcome, end_of_input, failed, interrupt, pin, print, runtime, usage};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
// So that '--rate -1' is reported as a bad rate and not as an unknown option.
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    /// Transports to serve; all by default. HTTP transports share one port
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    transports: Vec<Transport>,
    /// How it is set up: stock, tuned or lean
    #[arg(long, default_value = "tuned")]
    profile: Profile,
    /// Where to listen; port 0 for any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where raw TCP listens next to HTTP transports [default: the same address, any port]
    #[arg(long, value_name = "ADDRESS")]
    tcp_listen: Option<SocketAddr>,
    /// A channel, or 'prefix*count' for many, with ':POLICY' for an overflow policy of its own; may
    /// be repeated
    #[arg(long = "channel", value_name = "NAME[:POLICY]", default_value = "news")]
    channels: Vec<Channel>,
    /// What becomes of a subscriber that fell off its ring: disconnect, drop-oldest or latest-only
    #[arg(long, value_name = "POLICY", default_value = "disconnect")]
    overflow: Overflow,
    /// Publish this plan, as 'POST /v1/publish' takes it, and start with what it had due before in
    /// the rings: a restarted server has the log of the one before it
    #[arg(
        long,
        value_name = "JSON",
        value_parser = publish_plan,
        conflicts_with_all = ["rate", "payload_bytes", "payload"]
    )]
    publish_plan: Option<PublishPlan>,
    /// What cursors begin with, which tells logs apart: four of 0 to 9 and a to z, or 'none' for plain
    /// numbers. Give it to servers that have the same log [default: that of the plan with
    /// '--publish-plan', otherwise drawn at each start]
    #[arg(long, value_name = "EPOCH|none")]
    epoch: Option<Epoch>,
    /// Messages a second over all channels; 0 publishes nothing by itself
    #[arg(long, value_name = "PER_S", default_value_t = 1.0, value_parser = rate)]
    rate: f64,
    /// Bytes of a whole envelope, 51 to 1048576
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = payload_bytes)]
    payload_bytes: usize,
    /// What payloads look like: json, text or random
    #[arg(long, value_name = "KIND", default_value = "json", value_parser = payload_kind)]
    payload: PayloadKind,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = shards())]
    shards: usize,
    /// Where the control interface listens: loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// A file with the token that requests to the control interface have to bring, as 'Authorization:
    /// Bearer TOKEN'; the environment's PUSHBENCH_CONTROL_TOKEN does the same
    #[arg(long, value_name = "FILE")]
    control_token_file: Option<PathBuf>,
    /// Silence before a keep-alive on a stream, in s
    #[arg(long, value_name = "S", default_value = "15", value_parser = seconds)]
    keep_alive_s: Duration,
    /// Longest wait of a long-poll, in s
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    poll_timeout_s: Duration,
    /// Longest wait for what a client began, in s: the head or the body of a request, a line of raw
    /// TCP; and for the next of them on an open connection
    #[arg(long, value_name = "S", default_value = "75", value_parser = seconds)]
    head_timeout_s: Duration,
    /// Messages that a channel keeps
    #[arg(long, value_name = "N", default_value_t = RingLimits::default().messages, value_parser = within(1, usize::MAX))]
    ring_messages: usize,
    /// Bytes that a channel keeps
    #[arg(long, value_name = "BYTES", default_value_t = RingLimits::default().bytes, value_parser = within(1, usize::MAX))]
    ring_bytes: usize,
    /// Congestion control of every connection
    #[arg(long)]
    congestion: Option<String>,
    /// Listen on a port that another server of yours has, to take over from it
    #[arg(long)]
    share_port: bool,
    /// At SIGINT or SIGTERM, send the clients away over this time, in ms; 0: all at once
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = milliseconds())]
    drain_ms: u64,
    /// How long an EventSource is told to wait before it reconnects, in ms
    #[arg(long, value_name = "MS", value_parser = milliseconds())]
    retry_ms: Option<u64>,
    /// An origin whose pages may read streams and polls, publish and open a WebSocket, such as
    /// `https://example.org`, or '*' for all; may be repeated
    #[arg(long = "allow-origin", value_name = "ORIGIN|*")]
    allow_origins: Vec<Origin>,
    /// Most address space of this process (RLIMIT_AS): an allocation beyond it aborts the server
    #[arg(long, value_name = "BYTES")]
    memory_limit_bytes: Option<u64>,
    /// Send buffer of every connection (SO_SNDBUF), 4096 to 67108864 [default: as the kernel sizes it]
    #[arg(long, value_name = "BYTES", value_parser = within(4096, 64 << 20))]
    send_buffer_bytes: Option<usize>,
    /// Give each shard a descriptor table of its own
    #[arg(long)]
    own_tables: bool,
    #[command(flatten)]
    process: Process,
    /// Declare no channel: a harness does
    #[arg(long, hide = true, conflicts_with = "channels")]
    no_channels: bool,
    /// End when standard input does
    #[arg(long)]
    end_with_input: bool,
}

/// A channel as it is declared on the command line.
#[derive(Debug, Clone)]
struct Channel {
    /// A name, or `prefix*count`.
    spec: String,
    /// That of `--overflow` where `None`.
    overflow: Option<Overflow>,
}

impl std::str::FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (spec, overflow) = match text.split_once(':') {
            None => (text, None),
            Some((spec, policy)) => (spec, Some(policy.parse()?)),
        };
        Ok(Self {
            spec: spec.to_owned(),
            overflow,
        })
    }
}

fn payload_kind(text: &str) -> Result<PayloadKind, String> {
    match text {
        "json" => Ok(PayloadKind::Json),
        "text" => Ok(PayloadKind::Text),
        "random" => Ok(PayloadKind::Random),
        _ => Err(format!(
            "'{text}' is not a kind of payload; expected one of json, text, random"
        )),
    }
}

/// Parses a [`PublishPlan`]. What its values must be is checked against the channels, when it is started.
fn publish_plan(text: &str) -> Result<PublishPlan, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("{error}; expected the JSON that 'POST /v1/publish' of the control interface takes")
    })
}

/// Parses a time in ms, of those over which a server drains.
fn milliseconds() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(..=MAX_DRAIN.as_millis() as u64)
}

/// Parses a number from `least` to `most`.
fn within(least: usize, most: usize) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least as u64..=most as u64)
}

/// Parses the size of an envelope.
fn payload_bytes(text: &str) -> Result<usize, String> {
    let bytes = text
        .parse()
        .ok()
        .filter(|bytes| (HEAD_BYTES..=MAX_BYTES).contains(bytes));
    bytes.ok_or_else(|| {
        format!(
            "but an envelope has {HEAD_BYTES} (16 each for sequence, intended and actual time, 3 \
             separators) to {MAX_BYTES} bytes"
        )
    })
}

/// Parses a rate of the server's own publisher.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1e7).contains(rate));
    rate.ok_or("expected 0 (nothing is published) to 10000000 messages a second".to_owned())
}

impl Arguments {
    fn config(&self) -> Result<Config, Failure> {
        let transports = if self.transports.is_empty() {
            Transport::ALL.to_vec()
        } else {
            self.transports.clone()
        };
        control::check_address(self.control).map_err(|e| usage(anyhow!(e)))?;
        // In a network namespace whose loopback is down, it can be listened on, and nobody connects.
        let addresses = [Some(self.listen), self.tcp_listen, Some(self.control)];
        for ip in addresses.iter().flatten().map(SocketAddr::ip) {
            if ip.is_loopback() {
                loopback::check(ip).map_err(usage)?;
            }
        }
        if self.allow_origins.len() > MAX_ORIGINS {
            return Err(usage(anyhow!(
                "{} times '--allow-origin', but at most {MAX_ORIGINS} origins can be named; '*' \
                 allows all",
                self.allow_origins.len()
            )));
        }
        Ok(Config {
            transports,
            profile: self.profile,
            tcp_listen: self
                .tcp_listen
                .unwrap_or_else(|| SocketAddr::new(self.listen.ip(), 0)),
            shards: self.shards,
            cpus: self.process.cpus.clone(),
            own_tables: self.own_tables,
            ring: RingLimits {
                messages: self.ring_messages,
                bytes: self.ring_bytes,
            },
            keep_alive: self.keep_alive_s,
            poll_timeout: self.poll_timeout_s,
            head_timeout: self.head_timeout_s,
            congestion: self.congestion.clone(),
            share_port: self.share_port,
            channels: if self.no_channels {
                Vec::new()
            } else {
                let channels = self.channels.iter();
                let overflow = |c: &Channel| c.overflow.unwrap_or(self.overflow);
                channels.map(|c| (c.spec.clone(), overflow(c))).collect()
            },
            publish: self.publish_plan.clone(),
            epoch: self.epoch,
            allow_origins: self.allow_origins.clone(),
            retry: self.retry_ms.map(Duration::from_millis),
            send_buffer_bytes: self.send_buffer_bytes,
            ..Config::new(self.listen)
        })
    }

    /// What the server publishes by itself: an endless schedule, or nothing.
    fn plan(&self, channels: u32) -> Option<PublishPlan> {
        if self.no_channels || self.publish_plan.is_some() || self.rate == 0.0 {
            return None;
        }
        let start_ns = sys::monotonic_ns();
        // For as long as it runs.
        let schedule = Schedule::uniform(start_ns..u64::MAX, self.rate, channels);
        Some(PublishPlan {
            schedule,
            payload: self.payload,
            payload_bytes: self.payload_bytes,
            seed: 0,
            measure_from_ns: start_ns,
            measure_until_ns: start_ns,
        })
    }
}

/// Serves until a signal, or the end of input where asked for.
pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let config = arguments.config()?;
    let drain = Duration::from_millis(arguments.drain_ms);
    super::allocator::ensure(arguments.process.allocator)?;
    if let Some(bytes) = arguments.memory_limit_bytes {
        limit_memory(bytes, config.shards)?;
    }
    sys::raise_descriptor_limit();
    // Everything of this process, the publisher's thread too.
    pin(&config.cpus)?;
    let server = Server::start(&config).map_err(|error| match error {
        StartError::Listen { .. }
        | StartError::Congestion { .. }
        | StartError::SendBuffer { .. }
        | StartError::Declare(_)
        | StartError::Plan(_) => usage(error),
        other => failed(other),
    })?;
    let plan = arguments.plan(server.hub.channel_count());
    let server = Arc::new(server);
    let runtime = runtime()?;
    runtime.block_on(serve(&arguments, &config, &server, plan, drain))?;
    drop(runtime);
    // The control interface has gone with the runtime, so this is the last handle.
    if let Some(mut server) = Arc::into_inner(server) {
        server.stop();
    }
    Ok(Outcome::Good)
}

/// What a server needs at its start in addition to the address space that it has by then.
const START_BYTES: u64 = 32 << 20;

/// And for each thread: its stack, and what its allocations begin with.
const THREAD_BYTES: u64 = 4 << 20;

/// Bounds the address space of this process, where a server fits into it at all.
fn limit_memory(bytes: u64, shards: usize) -> Result<(), Failure> {
    let used = sys::address_space_bytes().map_err(failed)?;
    // The publisher and the thread that reads the input, in addition to the shards.
    let least = used + START_BYTES + THREAD_BYTES * (shards as u64 + 2);
    if bytes < least {
        return Err(usage(anyhow!(
            "'--memory-limit-bytes' is {bytes}, but a server of {shards} shards starts with {least} \
             bytes of address space; raise it, or use fewer '--shards'"
        )));
    }
    sys::limit_address_space(bytes).map_err(|error| {
        usage(anyhow!(
            "cannot set '--memory-limit-bytes' to {bytes}: {}; 'ulimit -v' shows the limit that \
             this process was started with, in KiB",
            text::io_reason(&error)
        ))
    })
}

/// What an operator should know of addresses that other machines reach.
fn exposed(addresses: Addresses) -> Option<String> {
    let all = [addresses.http, addresses.tcp].into_iter().flatten();
    let open: Vec<String> = all
        .filter(|address| !is_loopback(address.ip()))
        .map(|address| format!("'{address}'"))
        .collect();
    (!open.is_empty()).then(|| {
        format!(
            "warning: {} is not a loopback address: whoever reaches it may subscribe and publish, \
             without encryption; use '--listen 127.0.0.1:8080' unless that is what you want",
            open.join(" and ")
        )
    })
}

async fn serve(
    arguments: &Arguments,
    config: &Config,
    server: &Arc<Server>,
    plan: Option<PublishPlan>,
    drain: Duration,
) -> Result<(), Failure> {
    let address = arguments.control;
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|e| {
        usage(anyhow!(
            "cannot listen on {address} for control: {}; use '--control 127.0.0.1:0'",
            text::io_reason(&e)
        ))
    })?;
    let control_address = listener.local_addr().map_err(failed)?;
    let guard = super::guard(arguments.control_token_file.as_deref())?;
    let control = control::router(server.clone(), &config.transports, config.profile, guard);
    tokio::spawn(async move { axum::serve(listener, control).await });
    let ids: Vec<&str> = config.transports.iter().map(|t| t.id()).collect();
    let mut line = serde_json::json!({
        "pid": std::process::id(),
        "transports": ids,
        "profile": config.profile.id(),
        "allocator": allocator::in_use(),
        "channels": server.hub.declared(),
        "control": control_address,
    });
    if let Some(http) = server.addresses.http {
        line["http"] = serde_json::json!(http);
    }
    if let Some(tcp) = server.addresses.tcp {
        line["tcp"] = serde_json::json!(tcp);
    }
    if let Some(warning) = exposed(server.addresses) {
        eprintln!("{warning}");
    }
    // Whoever reads the line below may signal at once.
    let interrupted = interrupt();
    let publisher = plan.map(|plan| Publisher::start(server.hub.clone(), plan));
    let publisher = publisher.transpose().map_err(failed)?;
    print(&format!("{line}\n"))?;
    tokio::select! {
        () = interrupted => {
            // Continues a drain that was asked for over the control interface, if any.
            server.drain(drain);
            tokio::select! {
                () = server.drained() => {}
                // Asked twice: at once.
                () = interrupt() => {}
                () = end_of_input(), if arguments.end_with_input => {}
            }
        }
        () = server.drained() => {}
        () = end_of_input(), if arguments.end_with_input => {}
    }
    drop(publisher);
    Ok(())
}
