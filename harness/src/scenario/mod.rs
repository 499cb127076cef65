//! The scenario file: what a run does, as data.
//!
//! Place on the data path: before it. In: a name of the built-in scenarios or the path of a TOML
//! file, and the options of the command line that override it. Out: a [`Scenario`] in which every
//! value has been checked, so that nothing after it need doubt one; it goes into the record as it
//! ran.
//!
//! Not measured or decided here: whether this machine can do it (descriptors, ports, cores), which
//! is asked when the run begins.
//!
//! ```toml
//! summary = "one line"
//! purpose = "what it is for"
//! cannot_show = "what it cannot show"
//! [clients]
//! count = 1000
//! [publish]
//! rate_per_s = 300
//! payload_bytes = 128
//! ```

mod channels;
mod check;
mod condition;
/// A file for each condition of real use. See [`condition`].
pub(crate) mod conditions {
    /// Declares the files, and lists their kinds.
    macro_rules! conditions {
        ($($name:ident),*) => {
            $(pub(crate) mod $name;)*

            pub(super) const ALL: &[super::condition::Kind] = &[$($name::KIND),*];
        };
    }

    // In the order in which rules are checked and measures reported.
    conditions!(
        channels,
        reconnect,
        faults,
        slow_readers,
        upstream,
        sessions,
        streams,
        snapshot
    );

    #[cfg(test)]
    mod tests;
}
mod embedded;
mod error;
mod matters;
mod measure;
mod overrides;
mod parse;
mod sweep;
mod sweep_key;

pub use channels::ChannelCount;
pub use conditions::channels::Sizes;
pub use conditions::faults::{CutBy, Fault, FaultKind};
pub use conditions::reconnect::Reconnect;
pub use conditions::sessions::{Sessions, Spread};
pub use conditions::slow_readers::SlowReaders;
pub use conditions::streams::Streams;
pub use conditions::upstream::{Upstream, Via};
pub use embedded::EMBEDDED;
pub use error::ScenarioError;
pub use matters::{Matters, MattersValue};
pub use measure::Measure;
pub use overrides::Overrides;
pub use sweep::{MAX_POINTS, Point, Sweep};
pub use sweep_key::SweepKey;

use pushbench_os::allocator::Allocator;
use pushbench_protocol::overflow::Overflow;
use pushbench_protocol::payload::PayloadKind;
use pushbench_protocol::schedule::Arrival;
use pushbench_protocol::transport::{Profile, Transport};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A scenario: a workload, the phases of a trial, and what is to be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the file is called, without folder and extension. Not a key of the file.
    #[serde(default)]
    pub name: String,
    /// One line for lists.
    pub summary: String,
    /// What the scenario is for: a paragraph.
    pub purpose: String,
    /// What it cannot show, whatever the numbers look like: a paragraph.
    pub cannot_show: String,
    /// Who subscribes.
    pub clients: Clients,
    /// What they subscribe to. Default: one channel for all.
    #[serde(default)]
    pub channels: Channels,
    /// What is published. Without it nothing is, and only connections are measured.
    #[serde(default)]
    pub publish: Option<Publish>,
    /// How long each phase of a trial lasts.
    #[serde(default)]
    pub phases: Phases,
    /// Settings of the server that both profiles share.
    #[serde(default)]
    pub server: Server,
    /// Makes clients come and go. Without it they stay connected for the whole trial.
    #[serde(default)]
    pub sessions: Option<Sessions>,
    /// Gives each session a stream of its own. Without it all clients of a channel get the same.
    #[serde(default)]
    pub streams: Option<Streams>,
    /// How clients come back. Without it one whose connection ends is gone.
    #[serde(default)]
    pub reconnect: Option<Reconnect>,
    /// What is done to the server or to connections, in the order of time. Default: nothing.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Some clients read slowly, or not at all.
    #[serde(default)]
    pub slow_readers: Option<SlowReaders>,
    /// Clients send, too.
    #[serde(default)]
    pub upstream: Option<Upstream>,
    /// What is measured in addition to latency and cost. Default: all that the tables above give.
    #[serde(default)]
    pub measures: Option<Vec<Measure>>,
    /// The smallest differences that matter.
    #[serde(default)]
    pub matters: Matters,
    /// What varies from point to point. Without it there is one point: the values above.
    #[serde(default)]
    pub sweep: Option<Sweep>,
    /// What is run, and how often.
    #[serde(default)]
    pub run: Run,
}

/// The subscribers of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScenarioClients")]
pub struct Clients {
    /// How many, at least 1. Client *j* subscribes to channel *j mod* `channels.count`.
    pub count: u32,
    /// Connections begun per second in the connect phase, above 0. Default: as fast as the server
    /// answers, with at most 2048 under way, so that the queue of a stock Linux (4096) never
    /// overflows.
    #[serde(default)]
    pub connect_per_s: Option<f64>,
    /// How often a `short_poll` client asks, in ms; each has a random phase. Default 1000.
    #[serde(default = "poll_interval_ms")]
    pub poll_interval_ms: u64,
    /// How many of the latest messages a client gets when it subscribes without a cursor, as the
    /// state from which it goes on; at most `server.ring_messages`. Default 0.
    #[serde(default)]
    pub snapshot_messages: u64,
}

/// The channels of a trial, declared before clients connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ScenarioChannels")]
pub struct Channels {
    /// How many, at least 1, or `"per_client"` for a private one each. Default 1. A channel above
    /// the number of clients is published to, but has no subscriber.
    pub count: ChannelCount,
    /// Channel *k*, from 0, is called `<prefix><k>`. Up to 32 letters, digits, `-` and `_`.
    /// Default `c`.
    pub prefix: String,
    /// Clients of each channel, instead of `count`: rooms. There are as many as the clients fill.
    pub members: Option<u32>,
    /// How clients are shared out: `even` (default) or `zipf`.
    pub sizes: Sizes,
    /// What becomes of a subscriber that falls off a channel's ring: `disconnect` (default),
    /// `drop-oldest` or `latest-only`; of a list, channel *k* has the one at *k mod* its length.
    #[schemars(schema_with = "overflow_schema")]
    pub overflow: Vec<Overflow>,
}

/// The open-loop workload: message *i* is due at `start + i / rate`, come what may.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScenarioPublish")]
pub struct Publish {
    /// Messages a second over all channels together, above 0; with \[streams\], of each stream.
    pub rate_per_s: f64,
    /// The whole envelope in bytes, 51 to 1,048,576. The head alone takes 51.
    pub payload_bytes: usize,
    /// What a payload looks like: `json` (default), `text` with multi-byte UTF-8, or `random`.
    #[serde(default)]
    #[schemars(schema_with = "payload_schema")]
    pub payload: PayloadKind,
    /// Messages that are due at the same moment on one channel, at least 1 (the default). The rate
    /// stays the same: bursts are the rarer, the larger they are.
    #[serde(default = "one")]
    pub burst: u32,
    /// How the times between ticks are distributed: `uniform` (default), `poisson` (exponential,
    /// from the seed of the run, as if many independent sources published), or `burst` (as uniform,
    /// with a `burst` above 1).
    #[serde(default)]
    #[schemars(schema_with = "arrival_schema")]
    pub arrival: Arrival,
}

/// The phases of a trial that are waited for; connect and disconnect take what they take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ScenarioPhases")]
pub struct Phases {
    /// After the last connect, before the first publish, in s. Default 1.
    pub settle_s: f64,
    /// Published to, but not counted, in s. Default 1.
    pub warm_up_s: f64,
    /// What the numbers are about, in s. Default 10.
    pub measure_s: f64,
    /// At most this long for what is still on its way, in s; ends early when nothing is. Default 3.
    pub drain_s: f64,
}

/// Settings of the server that are no matter of profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ScenarioServer")]
pub struct Server {
    /// Silence after which a stream gets a keep-alive, in s. Default 15 (WHATWG HTML, server-sent
    /// events, authoring notes: "every 15 seconds or so").
    pub keep_alive_s: f64,
    /// Silence after which a long poll is answered with 204, in s. Default 30 (RFC 6202,
    /// section 5.5).
    pub poll_timeout_s: f64,
    /// Messages that a channel remembers. Default 1024.
    pub ring_messages: usize,
    /// Bytes that a channel remembers, whichever bound is reached first. Default 1 MiB.
    pub ring_bytes: usize,
    /// Send buffer of each connection in bytes (SO_SNDBUF; the kernel doubles it), 4,096 to 64 MiB.
    /// Default: as the kernel tunes it.
    pub send_buffer_bytes: Option<u32>,
    /// Address space that the server process may have, in bytes (RLIMIT_AS), at least 256 MiB.
    /// Default: no limit.
    pub memory_limit_bytes: Option<u64>,
}

/// What is compared, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ScenarioRun")]
pub struct Run {
    /// Transports, each once. Default: all.
    #[schemars(schema_with = "transports_schema")]
    pub transports: Vec<Transport>,
    /// Profiles, each once. Default: `tuned`. `tcp` always runs as `tuned`.
    #[schemars(schema_with = "profiles_schema")]
    pub profiles: Vec<Profile>,
    /// Trials of each transport and profile, 1 to 1000. Default: as many as it takes until every primary
    /// comparison is decided, at least one, within `budget_s`.
    pub trials: Option<u32>,
    /// Time that trials may take until all is decided, in s, that of connecting left out. Default 60.
    pub budget_s: f64,
    /// Whether trials that can take turns do: all their servers and clients are alive at once, and have
    /// the load in slices of some 100 ms. Default: yes.
    pub slices: bool,
    /// Seed of payloads, phases and the order of trials. Without it the run picks one; either way
    /// it is recorded.
    pub seed: Option<u64>,
    /// Allocator of server and fleet: `system` or `jemalloc`. Default: `jemalloc`.
    #[schemars(schema_with = "allocator_schema")]
    pub allocator: Allocator,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            count: ChannelCount::Fixed(1),
            prefix: "c".to_owned(),
            members: None,
            sizes: Sizes::Even,
            overflow: vec![Overflow::default()],
        }
    }
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            settle_s: 1.0,
            warm_up_s: 1.0,
            measure_s: 10.0,
            drain_s: 3.0,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            keep_alive_s: 15.0,
            poll_timeout_s: 30.0,
            ring_messages: 1024,
            ring_bytes: 1 << 20,
            send_buffer_bytes: None,
            memory_limit_bytes: None,
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            transports: Transport::ALL.to_vec(),
            profiles: vec![Profile::Tuned],
            trials: None,
            budget_s: 60.0,
            slices: true,
            seed: None,
            allocator: Allocator::DEFAULT,
        }
    }
}

fn poll_interval_ms() -> u64 {
    1_000
}

fn one() -> u32 {
    1
}

impl Scenario {
    /// Reads a scenario from `source`; `path_label` is what errors call the file, and its stem is
    /// the name.
    ///
    /// # Errors
    /// [`ScenarioError::File`] with the line of the key, where the text is not TOML, a key is
    /// unknown or missing, or a value has the wrong type or is out of range.
    pub fn parse(path_label: &str, source: &str) -> Result<Self, ScenarioError> {
        parse::parse(path_label, source)
    }

    /// The plainest: `clients` clients on one channel, and everything else by default.
    pub fn of_clients(clients: u32) -> Self {
        Self {
            name: String::new(),
            summary: "clients that wait".to_owned(),
            purpose: "a start for other workloads".to_owned(),
            cannot_show: "anything by itself".to_owned(),
            clients: Clients {
                count: clients,
                connect_per_s: None,
                poll_interval_ms: poll_interval_ms(),
                snapshot_messages: 0,
            },
            channels: Channels::default(),
            publish: None,
            phases: Phases::default(),
            server: Server::default(),
            sessions: None,
            streams: None,
            reconnect: None,
            faults: Vec::new(),
            slow_readers: None,
            upstream: None,
            measures: None,
            matters: Matters::default(),
            sweep: None,
            run: Run::default(),
        }
    }

    /// Checks every rule.
    ///
    /// # Errors
    /// The first that is broken: the key, what was found, what is expected, what to do.
    pub fn check(&self) -> Result<(), String> {
        check::check(self).map_err(|problem| format!("'{}' {}", problem.key, problem.message))
    }

    /// Loads a built-in scenario by name, or a file where the argument holds a `/` or ends in
    /// `.toml`.
    ///
    /// # Errors
    /// [`ScenarioError::Unknown`] for a name that is not built in, [`ScenarioError::Read`] for a
    /// file that cannot be read, and those of [`parse`](Self::parse).
    pub fn load(name_or_path: &str) -> Result<Self, ScenarioError> {
        embedded::load(name_or_path)
    }

    /// Puts the options of the command line into effect and checks everything again. On an error
    /// the scenario is as it was.
    ///
    /// # Errors
    /// [`ScenarioError::Option`], which names the option.
    pub fn apply(&mut self, overrides: &Overrides) -> Result<(), ScenarioError> {
        overrides::apply(self, overrides)
    }

    /// Number of channels.
    pub fn channel_count(&self) -> u32 {
        if let Some(members) = self.channels.members {
            return self.clients.count.div_ceil(members.max(1));
        }
        match self.channels.count {
            ChannelCount::Fixed(count) => count,
            ChannelCount::PerClient => self.clients.count,
        }
    }

    /// The channel, from 0, of client `client`, from 0.
    pub fn channel_of(&self, client: u32) -> u32 {
        client % self.channel_count()
    }

    /// Deliveries a second that are owed while all clients are there; 0 where nothing is published.
    pub fn offered_deliveries_per_s(&self) -> f64 {
        let subscribers = f64::from(self.clients.count) / f64::from(self.channel_count());
        let published = match (&self.publish, &self.upstream) {
            (Some(_), _) => self.published_per_s(),
            (None, Some(upstream)) => upstream.rate_per_client_s * f64::from(self.clients.count),
            (None, None) => 0.0,
        };
        published * subscribers
    }

    /// Connections of all clients at the most.
    pub fn connections(&self) -> u32 {
        let transports = &self.run.transports;
        let each = self
            .conditions()
            .map(|c| c.connections_per_client(transports));
        self.clients.count.saturating_mul(each.max().unwrap_or(1))
    }

    /// The name of channel `channel`, from 0.
    pub fn channel_name(&self, channel: u32) -> String {
        format!("{}{channel}", self.channels.prefix)
    }

    /// What is compared: every transport in every profile that it runs in
    /// ([`Transport::profile_for`]).
    pub fn pairs(&self) -> Vec<(Transport, Profile)> {
        self.run
            .transports
            .iter()
            .flat_map(|&transport| {
                let mut profiles = Vec::new();
                for &profile in &self.run.profiles {
                    let profile = transport.profile_for(profile);
                    if !profiles.contains(&profile) {
                        profiles.push(profile);
                    }
                }
                profiles
                    .into_iter()
                    .map(move |profile| (transport, profile))
            })
            .collect()
    }
}

impl Phases {
    /// [`settle_s`](Self::settle_s) as a duration.
    pub fn settle(&self) -> Duration {
        Duration::from_secs_f64(self.settle_s)
    }

    /// [`warm_up_s`](Self::warm_up_s) as a duration.
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up_s)
    }

    /// [`measure_s`](Self::measure_s) as a duration.
    pub fn measure(&self) -> Duration {
        Duration::from_secs_f64(self.measure_s)
    }

    /// [`drain_s`](Self::drain_s) as a duration.
    pub fn drain(&self) -> Duration {
        Duration::from_secs_f64(self.drain_s)
    }
}

impl Server {
    /// [`keep_alive_s`](Self::keep_alive_s) as a duration.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_secs_f64(self.keep_alive_s)
    }

    /// [`poll_timeout_s`](Self::poll_timeout_s) as a duration.
    pub fn poll_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.poll_timeout_s)
    }
}

/// The schema of a transport id: the servers crate, whose type it is, knows nothing of schemas.
pub(crate) fn transport_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Transport::ALL.map(Transport::id) })
}

/// The schema of a list of overflow policies.
fn overflow_schema(_: &mut SchemaGenerator) -> Schema {
    let policy = json_schema!({ "type": "string", "enum": Overflow::ALL.map(Overflow::id) });
    json_schema!({ "type": "array", "items": policy, "minItems": 1 })
}

/// The schema of an allocator's id.
pub(crate) fn allocator_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Allocator::ALL.map(Allocator::id) })
}

/// The same where it may be unknown.
pub(crate) fn known_allocator_schema(_: &mut SchemaGenerator) -> Schema {
    let ids = Allocator::ALL.map(|a| Some(a.id()));
    json_schema!({ "type": ["string", "null"], "enum": [ids[0], ids[1], null] })
}

/// The schema of a profile id.
pub(crate) fn profile_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Profile::ALL.map(Profile::id) })
}

fn transports_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": transport_schema(generator) })
}

fn profiles_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": profile_schema(generator) })
}

fn arrival_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["uniform", "poisson", "burst"] })
}

fn payload_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["json", "text", "random"] })
}

#[cfg(test)]
mod tests;
