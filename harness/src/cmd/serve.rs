//! `pushbench serve`: the servers by themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use pushbench_os::allocator::{self, Allocator};
use pushbench_os::sys;
use pushbench_protocol::control::PublishPlan;
use pushbench_protocol::envelope::{HEAD_BYTES, MAX_BYTES};
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::payload::PayloadKind;
use pushbench_protocol::schedule::{Arrival, Schedule};
use pushbench_protocol::transport::{Profile, Transport};
use pushbench_servers::control;
use pushbench_servers::listen::{Config, MAX_DRAIN, Server, StartError};
use pushbench_servers::publisher::Publisher;
use pushbench_servers::ring::RingLimits;

use crate::text;

use super::{Failure, Outcome, end_of_input, failed, interrupt, pin, print, runtime, usage};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
// So that '--rate -1' is told as a bad rate and not as an unknown option.
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    /// What to serve; all transports by default. HTTP transports share one port
    #[arg(long = "transport", value_name = "ID", value_delimiter = ',')]
    transports: Vec<Transport>,
    /// How it is set up: stock, tuned or lean
    #[arg(long, default_value = "tuned")]
    profile: Profile,
    /// Where to listen; port 0 for any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where raw TCP listens beside HTTP transports [default: the same address, any port]
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
    /// Messages a second over all channels; 0 publishes nothing by itself
    #[arg(long, value_name = "PER_S", default_value_t = 1.0)]
    rate: f64,
    /// Bytes of a whole envelope, 51 to 1048576
    #[arg(long, default_value_t = 128)]
    payload_bytes: usize,
    /// What payloads look like: json, text or random
    #[arg(long, value_name = "KIND", default_value = "json", value_parser = payload_kind)]
    payload: PayloadKind,
    /// Threads
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Where the control interface listens: loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Silence before a keep-alive on a stream, in s
    #[arg(long, value_name = "S", default_value_t = 15.0)]
    keep_alive_s: f64,
    /// Longest wait of a long-poll, in s
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    poll_timeout_s: f64,
    /// Longest wait for the head of a request, in s
    #[arg(long, value_name = "S", default_value_t = 75.0)]
    head_timeout_s: f64,
    /// Messages that a channel keeps
    #[arg(long, default_value_t = RingLimits::default().messages)]
    ring_messages: usize,
    /// Bytes that a channel keeps
    #[arg(long, default_value_t = RingLimits::default().bytes)]
    ring_bytes: usize,
    /// Cores to run on, such as '0,2'
    #[arg(long, value_delimiter = ',', value_parser = super::cpu)]
    cpus: Vec<usize>,
    /// Congestion control of every connection
    #[arg(long)]
    congestion: Option<String>,
    /// Listen on a port that another server of yours has, to take over from it
    #[arg(long)]
    share_port: bool,
    /// At SIGINT or SIGTERM, send the clients away over this time, in ms; 0: all at once
    #[arg(long, value_name = "MS", default_value_t = 0)]
    drain_ms: u64,
    /// How long an EventSource is told to wait before it reconnects, in ms
    #[arg(long, value_name = "MS")]
    retry_ms: Option<u64>,
    /// Most address space of this process (RLIMIT_AS): an allocation beyond it aborts the server
    #[arg(long, value_name = "BYTES")]
    memory_limit_bytes: Option<u64>,
    /// Send buffer of every connection (SO_SNDBUF), 4096 to 67108864 [default: as the kernel sizes it]
    #[arg(long, value_name = "BYTES")]
    send_buffer_bytes: Option<usize>,
    /// Give each shard a descriptor table of its own
    #[arg(long)]
    own_tables: bool,
    /// Allocator of this process: system or jemalloc
    #[arg(long, value_name = "ID")]
    allocator: Option<Allocator>,
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

/// Sizes of send buffers that may be asked for: from what the kernel gives at least, about, to more
/// than a path of 10 Gbit/s and 50 ms holds.
const SEND_BUFFER_BYTES: std::ops::RangeInclusive<usize> = 4096..=64 << 20;

fn payload_kind(text: &str) -> Result<PayloadKind, String> {
    match text {
        "json" => Ok(PayloadKind::Json),
        "text" => Ok(PayloadKind::Text),
        "random" => Ok(PayloadKind::Random),
        _ => Err(format!(
            "'{text}' is no kind of payload; expected one of json, text, random"
        )),
    }
}

/// Parses a [`PublishPlan`]. What its values must be is checked against the channels, when it is started.
fn publish_plan(text: &str) -> Result<PublishPlan, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("{error}; expected the JSON that 'POST /v1/publish' of the control interface takes")
    })
}

fn milliseconds(option: &str, value: u64) -> Result<Duration, Failure> {
    let duration = Duration::from_millis(value);
    if duration <= MAX_DRAIN {
        Ok(duration)
    } else {
        let most = MAX_DRAIN.as_millis();
        let problem = format!("'{option}' is {value}, expected at most {most} milliseconds");
        Err(usage(anyhow!(problem)))
    }
}

fn seconds(option: &str, value: f64) -> Result<Duration, Failure> {
    if value > 0.0 && value <= 86_400.0 {
        Ok(Duration::from_secs_f64(value))
    } else {
        let problem = format!("'{option}' is {value}, expected seconds above 0 and up to 86400");
        Err(usage(anyhow!(problem)))
    }
}

impl Arguments {
    fn config(&self) -> Result<Config, Failure> {
        let transports = if self.transports.is_empty() {
            Transport::ALL.to_vec()
        } else {
            self.transports.clone()
        };
        if self.shards == 0 || self.shards > crate::environment::layout::MAX_SHARDS {
            let most = crate::environment::layout::MAX_SHARDS;
            return Err(usage(anyhow!(
                "'--shards' is {}, expected 1 to {most}",
                self.shards
            )));
        }
        if self.ring_messages == 0 || self.ring_bytes == 0 {
            return Err(usage(anyhow!(
                "'--ring-messages' and '--ring-bytes' must be at least 1"
            )));
        }
        if let Some(bytes) = self.send_buffer_bytes
            && !SEND_BUFFER_BYTES.contains(&bytes)
        {
            let (least, most) = (SEND_BUFFER_BYTES.start(), SEND_BUFFER_BYTES.end());
            return Err(usage(anyhow!(
                "'--send-buffer-bytes' is {bytes}, expected {least} to {most}"
            )));
        }
        control::check_address(self.control).map_err(|e| usage(anyhow!(e)))?;
        Ok(Config {
            transports,
            profile: self.profile,
            tcp_listen: self
                .tcp_listen
                .unwrap_or_else(|| SocketAddr::new(self.listen.ip(), 0)),
            shards: self.shards,
            cpus: self.cpus.clone(),
            own_tables: self.own_tables,
            ring: RingLimits {
                messages: self.ring_messages,
                bytes: self.ring_bytes,
            },
            keep_alive: seconds("--keep-alive-s", self.keep_alive_s)?,
            poll_timeout: seconds("--poll-timeout-s", self.poll_timeout_s)?,
            head_timeout: seconds("--head-timeout-s", self.head_timeout_s)?,
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
            retry: self
                .retry_ms
                .map(|ms| milliseconds("--retry-ms", ms))
                .transpose()?,
            send_buffer_bytes: self.send_buffer_bytes,
            ..Config::new(self.listen)
        })
    }

    /// What the server publishes by itself: an endless schedule, or nothing.
    fn plan(&self, channels: u32) -> Result<Option<PublishPlan>, Failure> {
        if self.no_channels || self.publish_plan.is_some() || self.rate == 0.0 {
            return Ok(None);
        }
        if !(HEAD_BYTES..=MAX_BYTES).contains(&self.payload_bytes) {
            return Err(usage(anyhow!(
                "'--payload-bytes' is {}, but an envelope has {HEAD_BYTES} (16 each for sequence, \
                 intended and actual time, 3 separators) to {MAX_BYTES}",
                self.payload_bytes
            )));
        }
        if !(self.rate > 0.0 && self.rate <= 1e7) {
            let problem = "expected 0 (nothing is published) to 10000000 messages a second";
            return Err(usage(anyhow!("'--rate' is {}, {problem}", self.rate)));
        }
        let start_ns = sys::monotonic_ns();
        let schedule = Schedule {
            start_ns,
            // For as long as it runs.
            end_ns: u64::MAX,
            rate_per_s: self.rate,
            burst: 1,
            channels,
            arrival: Arrival::Uniform,
            seed: 0,
        };
        Ok(Some(PublishPlan {
            schedule,
            payload: self.payload,
            payload_bytes: self.payload_bytes,
            seed: 0,
            measure_from_ns: start_ns,
            measure_until_ns: start_ns,
        }))
    }
}

/// Serves until a signal, or the end of input where asked for.
pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let config = arguments.config()?;
    let drain = milliseconds("--drain-ms", arguments.drain_ms)?;
    super::allocator::ensure(arguments.allocator)?;
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
    let plan = arguments.plan(server.hub.channel_count())?;
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

/// What a server needs at its start beside the address space that it has by then.
const START_BYTES: u64 = 32 << 20;

/// And for each thread: its stack, and what its allocations begin with.
const THREAD_BYTES: u64 = 4 << 20;

/// Bounds the address space of this process, where a server fits into it at all.
fn limit_memory(bytes: u64, shards: usize) -> Result<(), Failure> {
    let used = sys::address_space_bytes().map_err(failed)?;
    // The publisher and the one that reads the input, beside the shards.
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
    let control = control::router(server.clone(), &config.transports, config.profile);
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
    // Whoever reads the line below may signal at once.
    let interrupted = interrupt();
    let publisher = plan.map(|plan| Publisher::start(server.hub.clone(), plan));
    let publisher = publisher.transpose().map_err(failed)?;
    print(&format!("{line}\n"))?;
    tokio::select! {
        () = interrupted => {
            // Goes on with the one that was asked for over the control interface, if any.
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
