//! What a scenario does to its server and to connections. The server's faults are carried out by
//! `trial/faults.rs`, cuts of connections by `load/conditions/cuts.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;
use crate::scenario::condition::{Condition, Kind};
use crate::scenario::error::{Check, ensure};

pub(in crate::scenario) const KIND: Kind = Kind {
    name: "[[faults]]",
    measure: None,
    of: |scenario| {
        let faults = &scenario.faults;
        (!faults.is_empty()).then_some(faults as &dyn Condition)
    },
};

/// Most faults of one scenario.
pub(in crate::scenario) const MAX_FAULTS: usize = 16;

/// What is done to the server or to connections, and when.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScenarioFault")]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// When, in s from the start of the measure phase.
    pub at_s: f64,
    /// `server_kill`: how long until a new server listens on the same port, in ms from the kill.
    pub down_ms: Option<u64>,
    /// `server_drain`: over how long the old server's connections are closed, in ms.
    pub over_ms: Option<u64>,
    /// `server_stall`, `connection_cuts`: for how long, in ms.
    pub for_ms: Option<u64>,
    /// `connection_cuts`: mean time between two cuts of one client, in s, exponentially distributed.
    pub mean_s: Option<f64>,
    /// `connection_cuts`: by `rst`, `fin`, or `both` at random (the default).
    pub how: Option<CutBy>,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The server is killed (SIGKILL), and a new one refills its log and takes the port.
    ServerKill,
    /// A second server takes the port, and the first ends its connections in their transport's polite
    /// way: a rolling deploy.
    ServerDrain,
    /// The server is stopped (SIGSTOP) and continued.
    ServerStall,
    /// Connections are cut at random times by their clients.
    ConnectionCuts,
    /// A thread of the clients panics: no condition of real use, but a test of the run itself.
    ShardPanic,
}

/// What is known of a kind of fault.
struct Facts {
    id: &'static str,
    /// Keys that it must have …
    needed: &'static [&'static str],
    /// … and may have.
    optional: &'static [&'static str],
    replaces_server: bool,
    ends_connections: bool,
}

impl FaultKind {
    fn facts(self) -> Facts {
        let facts = |id, needed, optional, replaces_server, ends_connections| Facts {
            id,
            needed,
            optional,
            replaces_server,
            ends_connections,
        };
        match self {
            Self::ServerKill => facts("server_kill", &["down_ms"], &[], true, true),
            Self::ServerDrain => facts("server_drain", &["over_ms"], &[], true, true),
            Self::ServerStall => facts("server_stall", &["for_ms"], &[], false, false),
            Self::ConnectionCuts => facts(
                "connection_cuts",
                &["for_ms", "mean_s"],
                &["how"],
                false,
                true,
            ),
            Self::ShardPanic => facts("shard_panic", &[], &[], false, false),
        }
    }

    /// The id, as it is spelled everywhere.
    pub fn id(self) -> &'static str {
        self.facts().id
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.id())
    }
}

/// How a connection is cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CutBy {
    /// With a reset, as when a middlebox forgets it.
    Rst,
    /// In order, as when an application closes it.
    Fin,
    /// Either, at random.
    #[default]
    Both,
}

impl Fault {
    /// Cuts of connections from `at_s` on, for `for_ms`.
    pub fn cuts(at_s: f64, for_ms: u64, mean_s: f64, how: CutBy) -> Self {
        Self {
            kind: FaultKind::ConnectionCuts,
            at_s,
            down_ms: None,
            over_ms: None,
            for_ms: Some(for_ms),
            mean_s: Some(mean_s),
            how: Some(how),
        }
    }

    /// When it is over, in s from the start of the measure phase.
    pub fn end_s(&self) -> f64 {
        let ms = [self.down_ms, self.over_ms, self.for_ms];
        self.at_s + ms.into_iter().flatten().max().unwrap_or(0) as f64 / 1e3
    }

    /// Whether the run does it, at one moment; clients cut connections by themselves.
    pub fn is_of_the_run(&self) -> bool {
        self.kind != FaultKind::ConnectionCuts
    }

    fn check(&self, scenario: &Scenario) -> Result<(), String> {
        let facts = self.kind.facts();
        for (key, given) in [
            ("down_ms", self.down_ms.is_some()),
            ("over_ms", self.over_ms.is_some()),
            ("for_ms", self.for_ms.is_some()),
            ("mean_s", self.mean_s.is_some()),
            ("how", self.how.is_some()),
        ] {
            let needed = facts.needed.contains(&key);
            if needed && !given {
                return Err(format!("without '{key}'; add it"));
            }
            if given && !needed && !facts.optional.contains(&key) {
                return Err(format!(
                    "with '{key}', which means nothing there; remove it"
                ));
            }
        }
        let (from_s, until_s) = (self.at_s, self.end_s());
        let measure_s = scenario.phases.measure_s;
        if !(from_s.is_finite() && from_s >= 0.0 && until_s < measure_s) {
            return Err(format!(
                "from {from_s} s to {until_s} s, but it must lie within the {measure_s} s of \
                 'measure_s'"
            ));
        }
        if let Some(mean_s) = self.mean_s
            && !(mean_s.is_finite() && mean_s >= 0.01)
        {
            return Err(format!(
                "with 'mean_s' {mean_s}, but a client is cut every 0.01 s at the most"
            ));
        }
        let refused = [
            (
                facts.replaces_server && scenario.channels.overflow.len() > 1,
                "and several policies in 'channels.overflow', of which a server that takes over \
                 has one; name one",
            ),
            (
                facts.ends_connections && scenario.reconnect.is_none(),
                "but clients that do not come back; add [reconnect]",
            ),
            (
                facts.ends_connections && scenario.sessions.is_some(),
                "and [sessions], whose clients come and go by themselves; leave one out",
            ),
        ];
        match refused.into_iter().find(|(refused, _)| *refused) {
            Some((_, message)) => Err(message.to_owned()),
            None => Ok(()),
        }
    }
}

impl Scenario {
    /// The cuts of connections that clients make, where there are any.
    pub fn cuts(&self) -> Option<Fault> {
        self.faults.iter().copied().find(|f| !f.is_of_the_run())
    }
}

impl Condition for Vec<Fault> {
    fn check(&self, scenario: &Scenario) -> Check {
        let key = "faults";
        ensure!(
            self.len() <= MAX_FAULTS,
            key,
            "has {}, but at most {MAX_FAULTS} are allowed",
            self.len()
        );
        for (index, fault) in self.iter().enumerate() {
            if let Err(message) = fault.check(scenario) {
                let number = index + 1;
                ensure!(
                    false,
                    key,
                    "has a '{}' (number {number}) {message}",
                    fault.kind
                );
            }
        }
        let of_the_run: Vec<&Fault> = self.iter().filter(|f| f.is_of_the_run()).collect();
        ensure!(
            self.len() - of_the_run.len() <= 1,
            key,
            "has 'connection_cuts' more than once; one stretch of them is enough"
        );
        for pair in of_the_run.windows(2) {
            ensure!(
                pair[1].at_s >= pair[0].end_s(),
                key,
                "has a '{}' at {} s, before the '{}' at {} s is over; order them in time, apart",
                pair[1].kind,
                pair[1].at_s,
                pair[0].kind,
                pair[0].at_s
            );
        }
        Ok(())
    }

    fn disturbs(&self) -> Option<&'static str> {
        Some("the scenario disturbs the trial on purpose")
    }

    fn sentence(&self) -> Option<String> {
        let what = self.iter().map(|f| format!("{} at {} s", f.kind, f.at_s));
        let what: Vec<String> = what.collect();
        Some(format!("Faults: {}.", what.join(", ")))
    }
}
