//! How clients are shared out over channels, and what becomes of those that fall behind. Which
//! client has which channel is in `load/channels.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::condition::{Condition, Kind};
use crate::scenario::error::{Check, ensure};
use crate::scenario::{ChannelCount, Channels, Scenario};

pub(in crate::scenario) const KIND: Kind = Kind {
    name: "[channels]",
    measure: None,
    of: |scenario| Some(&scenario.channels),
};

/// How clients are shared out over channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sizes {
    /// Evenly: client *j* has channel *j mod* `count`.
    #[default]
    Even,
    /// Channel *k*, from 1, has clients in proportion to 1 / *k*, and at least one where there are
    /// enough: a few channels have most of them (Zipf's law with exponent 1).
    Zipf,
}

impl Condition for Channels {
    fn check(&self, scenario: &Scenario) -> Check {
        let (clients, count) = (scenario.clients.count, scenario.channel_count());
        if let Some(members) = self.members {
            ensure!(
                members > 0,
                "channels.members",
                "is 0, but a room has at least 1 client"
            );
            ensure!(
                members <= clients,
                "channels.members",
                "is {members}, a room larger than the fleet of {clients} clients; make rooms \
                 smaller, or raise 'clients.count'"
            );
            ensure!(
                self.count == ChannelCount::Fixed(1),
                "channels.members",
                "says how large rooms are, and 'count' how many there are; give one of the two"
            );
        }
        ensure!(
            self.sizes == Sizes::Even || count > 1,
            "channels.sizes",
            "is 'zipf', but there is 1 channel; raise 'channels.count'"
        );
        ensure!(
            !self.overflow.is_empty(),
            "channels.overflow",
            "is empty; name a policy, or leave the key out for 'disconnect'"
        );
        ensure!(
            self.overflow.len() <= count as usize,
            "channels.overflow",
            "has {} policies for {count} channels; leave some out",
            self.overflow.len()
        );
        Ok(())
    }
}
