//! The workload that is asked about, and what it comes to in a second.
//!
//! In: flags of the command line over a small TOML file. Out: a [`Workload`] whose values were
//! checked, and its [`Load`] on a transport.

use clap::ValueEnum;
use pushbench_protocol::transport::{Polls, Transport};
use serde::{Deserialize, Serialize};

/// Keys that a file may spell as the release before did, and what they are now.
pub const RENAMED_KEYS: [(&str, &str); 2] =
    [("rate", "rate_per_client"), ("payload", "payload_bytes")];

/// Who listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Audience {
    #[default]
    Browser,
    Native,
}

/// How many get one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Group {
    /// Each client has messages of its own.
    #[default]
    One,
    /// So many share a message.
    Of(u32),
    /// Everyone gets every message.
    All,
}

impl std::str::FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "1" => Ok(Self::One),
            _ => match text.parse() {
                Ok(n) if n > 0 => Ok(Self::Of(n)),
                _ => Err(format!(
                    "'{text}' is not a number of clients; expected 1 or more, or 'all'"
                )),
            },
        }
    }
}

impl TryFrom<toml::Value> for Group {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::String(text) => text.parse(),
            toml::Value::Integer(n) => n.to_string().parse(),
            other => Err(format!(
                "'{other}' is neither a number of clients nor 'all'"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        <Self as TryFrom<toml::Value>>::try_from(value).map_err(serde::de::Error::custom)
    }
}

/// What is asked about. Every key may be in a file, and every key is an option. `rate` and `payload`
/// are spellings of the release before ([`RENAMED_KEYS`]).
#[derive(Debug, Clone, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct WorkloadArgs {
    /// Clients connected at once [default: 1000]
    #[arg(long, value_name = "N")]
    pub clients: Option<u32>,
    /// Messages a second that each client receives [default: 1]
    #[arg(long, value_name = "PER_S")]
    #[serde(alias = "rate")]
    pub rate_per_client: Option<f64>,
    /// Clients that get the same message: 1, a number, or 'all' (a broadcast) [default: 1]
    #[arg(long, value_name = "N|all")]
    pub group: Option<Group>,
    /// Bytes of a message [default: 200]
    #[arg(long, value_name = "BYTES")]
    #[serde(alias = "payload")]
    pub payload_bytes: Option<u32>,
    /// Messages that are due together [default: 1]
    #[arg(long, value_name = "N")]
    pub burst: Option<u32>,
    /// Messages a second that each client sends [default: 0]
    #[arg(long, value_name = "PER_S")]
    pub upstream: Option<f64>,
    /// Time between the requests of short_poll, in ms [default: 1000]
    #[arg(long, value_name = "MS")]
    pub poll_interval_ms: Option<f64>,
    /// How often each client connects anew in an hour [default: 1]
    #[arg(long, value_name = "PER_HOUR")]
    pub reconnects: Option<f64>,
    /// Who listens [default: browser]
    #[arg(long, value_enum)]
    pub audience: Option<Audience>,
    /// Messages are binary, and not text
    #[arg(long)]
    #[serde(default)]
    pub binary: bool,
    /// A proxy, load balancer or CDN stands between
    #[arg(long)]
    #[serde(default)]
    pub proxy: bool,
    /// HTTP/2 reaches the client
    #[arg(long)]
    #[serde(default)]
    pub http2: bool,
    /// Phones are among the clients
    #[arg(long)]
    #[serde(default)]
    pub mobile: bool,
    /// Price of a GB of memory, in any currency and time
    #[arg(long, value_name = "PRICE")]
    pub price_per_gb: Option<f64>,
    /// Price of a core, in the same
    #[arg(long, value_name = "PRICE")]
    pub price_per_core: Option<f64>,
}

impl WorkloadArgs {
    /// `self` where it says something, else `file`.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        Self {
            clients: self.clients.or(file.clients),
            rate_per_client: self.rate_per_client.or(file.rate_per_client),
            group: self.group.or(file.group),
            payload_bytes: self.payload_bytes.or(file.payload_bytes),
            burst: self.burst.or(file.burst),
            upstream: self.upstream.or(file.upstream),
            poll_interval_ms: self.poll_interval_ms.or(file.poll_interval_ms),
            reconnects: self.reconnects.or(file.reconnects),
            audience: self.audience.or(file.audience),
            binary: self.binary || file.binary,
            proxy: self.proxy || file.proxy,
            http2: self.http2 || file.http2,
            mobile: self.mobile || file.mobile,
            price_per_gb: self.price_per_gb.or(file.price_per_gb),
            price_per_core: self.price_per_core.or(file.price_per_core),
        }
    }

    /// The workload, every value checked.
    ///
    /// # Errors
    /// The key that is wrong, what it is and what was expected.
    pub fn check(self) -> Result<Workload, String> {
        let number = |key: &str, value: Option<f64>, default: f64, above: bool| {
            let value = value.unwrap_or(default);
            let good = value.is_finite()
                && value <= 1e12
                && if above { value > 0.0 } else { value >= 0.0 };
            let expected = if above { "above 0" } else { "0 or more" };
            good.then_some(value)
                .ok_or_else(|| format!("'{key}' is {value}, expected a number {expected}"))
        };
        let clients = self.clients.unwrap_or(1_000);
        if clients == 0 {
            return Err("'clients' is 0, expected 1 or more".to_owned());
        }
        let group = match self.group.unwrap_or_default() {
            Group::One => 1,
            Group::All => clients,
            Group::Of(n) if n <= clients => n,
            Group::Of(n) => {
                return Err(format!(
                    "'group' is {n}, but there are {clients} clients; expected at most as many, or \
                     'all'"
                ));
            }
        };
        let rate = number("rate_per_client", self.rate_per_client, 1.0, false)?;
        let payload = self.payload_bytes.unwrap_or(200);
        if !(1..=1 << 20).contains(&payload) {
            return Err(format!(
                "'payload_bytes' is {payload}, expected 1 to 1048576 bytes"
            ));
        }
        Ok(Workload {
            clients,
            rate,
            group,
            payload: f64::from(payload),
            burst: f64::from(self.burst.unwrap_or(1).max(1)),
            upstream: number("upstream", self.upstream, 0.0, false)?,
            poll_interval_s: number("poll_interval_ms", self.poll_interval_ms, 1_000.0, true)?
                / 1e3,
            reconnects_per_s: number("reconnects", self.reconnects, 1.0, false)? / 3_600.0,
            keep_alive_s: 15.0,
            poll_timeout_s: 30.0,
            even: false,
            audience: self.audience.unwrap_or_default(),
            binary: self.binary,
            proxy: self.proxy,
            http2: self.http2,
            mobile: self.mobile,
            price_per_gb: self
                .price_per_gb
                .map(|p| number("price_per_gb", Some(p), 0.0, false))
                .transpose()?,
            price_per_core: self
                .price_per_core
                .map(|p| number("price_per_core", Some(p), 0.0, false))
                .transpose()?,
        })
    }
}

/// A workload: checked, and complete.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workload {
    /// Clients connected at once.
    pub clients: u32,
    /// Messages a second that each client receives.
    pub rate: f64,
    /// Clients that get the same message.
    pub group: u32,
    /// Bytes of a message.
    pub payload: f64,
    /// Messages that are due together.
    pub burst: f64,
    /// Messages a second that each client sends.
    pub upstream: f64,
    /// Time between the requests of a `short_poll` client.
    pub poll_interval_s: f64,
    /// Connects of a client a second.
    pub reconnects_per_s: f64,
    /// Silence after which a stream gets a keep-alive.
    pub keep_alive_s: f64,
    /// Silence after which a long poll is answered.
    pub poll_timeout_s: f64,
    /// Whether messages come at regular intervals, and not at random.
    pub even: bool,
    /// Who listens.
    pub audience: Audience,
    /// Binary messages.
    pub binary: bool,
    /// A proxy stands between.
    pub proxy: bool,
    /// HTTP/2 reaches the client.
    pub http2: bool,
    /// Phones are among the clients.
    pub mobile: bool,
    /// Price of a GB.
    pub price_per_gb: Option<f64>,
    /// Price of a core.
    pub price_per_core: Option<f64>,
}

/// What a server has to do in a second: the terms in which CPU is fitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Load {
    /// Deliveries.
    pub deliveries: f64,
    /// Times at which the server has something new to do: publishes that are not due together, and
    /// requests that come at moments of their own. Each finds it asleep or busy.
    pub wake_ups: f64,
    /// Writes to a client: of messages that are due together, of keep-alives; on polls, answers.
    pub writes: f64,
    /// Answers and keep-alives without a message.
    pub empty: f64,
    /// Connects.
    pub connects: f64,
    /// Bytes of envelopes.
    pub bytes: f64,
    /// Messages that clients send.
    pub sends: f64,
}

impl Load {
    /// Messages in one write that carries any; 0 where nothing is delivered.
    pub fn batch(&self) -> f64 {
        let carrying = self.writes - self.empty;
        if carrying > 0.0 {
            self.deliveries / carrying
        } else {
            0.0
        }
    }
}

impl Workload {
    /// What it comes to in a second on `transport`.
    pub fn load(&self, transport: Transport) -> Load {
        let n = f64::from(self.clients);
        let deliveries = n * self.rate;
        let publishes = deliveries / f64::from(self.group) / self.burst;
        // A client's share: bursts that it gets in a second.
        let ticks = self.rate / self.burst;
        let connects = n * self.reconnects_per_s;
        let sends = n * self.upstream;
        // What clients send comes at moments of its own. What is published is that, as far as it goes.
        let news = publishes.max(sends);
        let silent = |period_s: f64| n / period_s * self.silence(ticks * period_s);
        let (wake_ups, writes, empty) = match transport.polls() {
            Some(Polls::Held) => {
                let empty = silent(self.poll_timeout_s);
                // The next requests come when the answers have been read: once more from sleep.
                (news + publishes, n * ticks + empty, empty)
            }
            Some(Polls::AtIntervals) => {
                let polls = n / self.poll_interval_s;
                let empty = polls * self.silence(ticks * self.poll_interval_s);
                (news + polls, polls, empty)
            }
            None => {
                let empty = silent(self.keep_alive_s);
                (news, n * ticks + empty, empty)
            }
        };
        Load {
            deliveries,
            wake_ups,
            writes,
            empty,
            connects,
            bytes: deliveries * self.payload,
            sends,
        }
    }

    /// Share of the periods in which nothing comes, of those with `expected` bursts on average.
    fn silence(&self, expected: f64) -> f64 {
        if self.even {
            (1.0 - expected).max(0.0)
        } else {
            (-expected).exp()
        }
    }

    /// Messages that share a write.
    pub fn batch(&self, transport: Transport) -> f64 {
        let load = self.load(transport);
        let full = load.writes - load.empty;
        if full > 0.0 {
            (load.deliveries / full).max(1.0)
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(asked: WorkloadArgs) -> Workload {
        asked.check().expect("good")
    }

    #[test]
    fn a_broadcast_wakes_the_server_once_and_writes_to_everyone() {
        let broadcast = workload(WorkloadArgs {
            clients: Some(1_000),
            rate_per_client: Some(10.0),
            group: Some(Group::All),
            payload_bytes: Some(512),
            ..WorkloadArgs::default()
        });
        let load = broadcast.load(Transport::Sse);
        assert_eq!((load.deliveries, load.wake_ups), (10_000.0, 10.0));
        assert!((load.writes - 10_000.0).abs() < 1e-6 && load.empty < 1e-6);
        assert_eq!(load.bytes, 5_120_000.0);
        let polls = broadcast.load(Transport::ShortPoll);
        assert_eq!((polls.wake_ups, polls.writes), (1_010.0, 1_000.0));
        assert!((broadcast.batch(Transport::ShortPoll) - 10.0).abs() < 0.01);
    }

    #[test]
    fn silence_costs_keep_alives_and_empty_answers() {
        let rare = Workload {
            even: true,
            ..workload(WorkloadArgs {
                clients: Some(2_000),
                rate_per_client: Some(0.02),
                poll_interval_ms: Some(5_000.0),
                ..WorkloadArgs::default()
            })
        };
        let load = rare.load(Transport::Sse);
        assert!((load.empty - 2_000.0 / 15.0 * (1.0 - 0.3)).abs() < 1e-9);
        let polls = rare.load(Transport::ShortPoll);
        assert!((polls.writes - 400.0).abs() < 1e-9);
        assert!((polls.empty - 360.0).abs() < 1e-9);
        assert!((rare.batch(Transport::ShortPoll) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn bad_values_are_told_by_their_key() {
        for (asked, told) in [
            (
                WorkloadArgs {
                    clients: Some(0),
                    ..WorkloadArgs::default()
                },
                "'clients' is 0, expected 1 or more",
            ),
            (
                WorkloadArgs {
                    rate_per_client: Some(-1.0),
                    ..WorkloadArgs::default()
                },
                "'rate_per_client' is -1, expected a number 0 or more",
            ),
            (
                WorkloadArgs {
                    group: Some(Group::Of(5_000)),
                    ..WorkloadArgs::default()
                },
                "'group' is 5000, but there are 1000 clients; expected at most as many, or 'all'",
            ),
            (
                WorkloadArgs {
                    poll_interval_ms: Some(0.0),
                    ..WorkloadArgs::default()
                },
                "'poll_interval_ms' is 0, expected a number above 0",
            ),
        ] {
            assert_eq!(asked.check().expect_err(told), told);
        }
    }

    #[test]
    fn flags_go_over_the_file() {
        let file: WorkloadArgs =
            toml::from_str("clients = 50\ngroup = \"all\"\nproxy = true\n").expect("TOML");
        let flags = WorkloadArgs {
            clients: Some(70),
            ..WorkloadArgs::default()
        };
        let both = workload(flags.over(file));
        assert_eq!((both.clients, both.group, both.proxy), (70, 70, true));
        assert!(toml::from_str::<WorkloadArgs>("cliens = 5").is_err());
        assert!(toml::from_str::<WorkloadArgs>("group = \"few\"").is_err());
    }
}
