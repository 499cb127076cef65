//! Clients that ask for the last messages of their channel when they subscribe. How long that takes
//! is counted in `load/conditions/snapshot.rs`.

use crate::scenario::condition::{Condition, Kind};
use crate::scenario::error::{Check, ensure};
use crate::scenario::{Clients, Measure, Scenario};

pub(in crate::scenario) const KIND: Kind = Kind {
    name: "'clients.snapshot_messages'",
    measure: Some(Measure::Snapshot),
    of: |scenario| {
        let clients = &scenario.clients;
        (clients.snapshot_messages > 0).then_some(clients as &dyn Condition)
    },
};

/// What `last=` of a server takes at the most.
const MAX_SNAPSHOT_MESSAGES: u64 = pushbench_protocol::framing::MAX_LAST;

impl Condition for Clients {
    fn check(&self, scenario: &Scenario) -> Check {
        let (key, messages) = ("clients.snapshot_messages", self.snapshot_messages);
        let remembered = scenario.server.ring_messages;
        ensure!(
            messages <= MAX_SNAPSHOT_MESSAGES,
            key,
            "is {messages}, but a snapshot has at most {MAX_SNAPSHOT_MESSAGES}"
        );
        ensure!(
            messages <= remembered as u64,
            key,
            "is {messages}, but a channel remembers only {remembered}; raise 'ring_messages' in \
             [server]"
        );
        ensure!(
            scenario.publish.is_some(),
            key,
            "asks for messages, but nothing is published; add a [publish] table"
        );
        Ok(())
    }

    fn lean_only(&self) -> Option<&'static str> {
        Some(KIND.name)
    }

    fn sentence(&self) -> Option<String> {
        Some(match self.snapshot_messages {
            1 => "A client first gets the latest message.".to_owned(),
            messages => format!("A client first gets the latest {messages} messages."),
        })
    }
}
