//! Our own server as a target: `pushbench serve` as a child, under its control interface.
//!
//! Around the data path. In: what a trial asks for. Out: processes that serve, publish and take over
//! from each other. The publish schedule stands for a durable log upstream: whoever takes over knows
//! it, refills its rings from it and goes on from there.

use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pushbench_os::allocator::Allocator;
use pushbench_protocol::control::{Addresses, Declare, Drain, PublishPlan, PublishReport, Stats};
use pushbench_protocol::transport::{Profile, Transport};
use serde_json::Value;

use super::layout::Side;
use super::process::{ChildError, ManagedProcess, allocator_of, cpu_list};
use super::target::{Capabilities, Target};
use crate::scenario::Scenario;

/// Where the first server of a trial listens.
const ANY_PORT: &str = "127.0.0.1:0";

/// How our server is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Serve<'a> {
    /// This program.
    pub(crate) program: &'a Path,
    pub(crate) transport: Transport,
    pub(crate) profile: Profile,
    pub(crate) scenario: &'a Scenario,
    /// Its cores and threads.
    pub(crate) side: &'a Side,
    pub(crate) congestion: Option<&'a str>,
    pub(crate) allocator: Allocator,
}

/// Our own server.
#[derive(Debug)]
pub(crate) struct OwnServer<'a> {
    serve: Serve<'a>,
    /// `None` before the start, and between a kill and a restart.
    process: Option<ManagedProcess>,
    /// The one that hands over.
    leaving: Option<ManagedProcess>,
    /// Where clients connect, and whoever takes over listens.
    address: Option<SocketAddr>,
    /// What every one of them publishes.
    publish: Option<PublishPlan>,
}

impl<'a> OwnServer<'a> {
    pub(crate) fn new(serve: Serve<'a>) -> Self {
        Self {
            serve,
            process: None,
            leaving: None,
            address: None,
            publish: None,
        }
    }

    fn running(&mut self) -> Result<&mut ManagedProcess, ChildError> {
        self.process.as_mut().ok_or(ChildError::NotThere("server"))
    }

    /// `prefix*count`, as the control interface and `--channel` take them.
    fn channels(&self) -> String {
        let scenario = self.serve.scenario;
        format!("{}*{}", scenario.channels.prefix, scenario.channel_count())
    }

    fn arguments(&self) -> Vec<String> {
        let Serve { scenario, side, .. } = self.serve;
        let server = &scenario.server;
        // A kept-alive connection must outlive the silence between two polls.
        let head_timeout_s =
            (scenario.clients.poll_interval_ms as f64 / 500.0).clamp(75.0, 86_400.0);
        let mut arguments: Vec<String> = [
            "serve",
            "--transports",
            self.serve.transport.id(),
            "--profile",
            self.serve.profile.id(),
            "--control",
            ANY_PORT,
            "--end-with-input",
        ]
        .map(str::to_owned)
        .into();
        let listen = self.address.map(|address| address.to_string());
        let of_conditions = scenario.server_options().into_iter();
        let of_conditions = of_conditions.map(|(name, value)| (name, Some(value)));
        let own = [
            ("--listen", listen.or_else(|| Some(ANY_PORT.to_owned()))),
            (
                "--send-buffer-bytes",
                server.send_buffer_bytes.map(|bytes| bytes.to_string()),
            ),
            (
                "--memory-limit-bytes",
                server.memory_limit_bytes.map(|bytes| bytes.to_string()),
            ),
            ("--shards", Some(side.shards.to_string())),
            ("--keep-alive-s", Some(server.keep_alive_s.to_string())),
            ("--poll-timeout-s", Some(server.poll_timeout_s.to_string())),
            ("--head-timeout-s", Some(head_timeout_s.to_string())),
            ("--ring-messages", Some(server.ring_messages.to_string())),
            ("--ring-bytes", Some(server.ring_bytes.to_string())),
            ("--allocator", Some(self.serve.allocator.to_string())),
            ("--cpus", cpu_list(&side.cpus)),
            ("--congestion", self.serve.congestion.map(str::to_owned)),
        ];
        for (name, value) in own.into_iter().chain(of_conditions) {
            arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        }
        if side.own_tables {
            arguments.push("--own-tables".to_owned());
        }
        arguments
    }

    /// A server that takes the port of the one before, with the log refilled.
    async fn successor(&self, alongside: bool) -> Result<ManagedProcess, ChildError> {
        let mut arguments = self.arguments();
        // It must know its channels to refill its log.
        let policy = self.serve.scenario.channels.overflow[0];
        let channels = format!("{}:{policy}", self.channels());
        arguments.extend(["--channel".to_owned(), channels]);
        if let Some(publish) = &self.publish {
            let publish = serde_json::to_string(publish).unwrap_or_default();
            arguments.extend(["--publish-plan".to_owned(), publish]);
        }
        if alongside {
            arguments.push("--share-port".to_owned());
        }
        ManagedProcess::start("server", self.serve.program, &arguments).await
    }
}

impl Target for OwnServer<'_> {
    fn can(&self) -> Capabilities {
        Capabilities {
            cursor: true,
            publish_report: true,
        }
    }

    async fn start(&mut self) -> Result<SocketAddr, ChildError> {
        let mut arguments = self.arguments();
        arguments.push("--no-channels".to_owned());
        let process = ManagedProcess::start("server", self.serve.program, &arguments).await?;
        let process = self.process.insert(process);
        let addresses: Addresses =
            serde_json::from_value(process.greeting.clone()).unwrap_or_default();
        let transport = self.serve.transport;
        let address = addresses.of(transport);
        let address = address.ok_or(ChildError::NoAddress(transport))?;
        self.address = Some(address);
        let declare = Declare {
            declare: vec![self.channels()],
            overflow: self.serve.scenario.channels.overflow.clone(),
        };
        let _: Value = self.running()?.post("/v1/channels", &declare).await?;
        Ok(address)
    }

    fn processes(&self) -> Vec<u32> {
        let all = [&self.process, &self.leaving].into_iter().flatten();
        all.map(|process| process.pid).collect()
    }

    fn allocator(&self) -> Option<Allocator> {
        allocator_of(self.process.as_ref()?)
    }

    fn check(&mut self) -> Result<(), ChildError> {
        self.process.as_mut().map_or(Ok(()), ManagedProcess::check)
    }

    async fn publish(&mut self, plan: &PublishPlan) -> Result<(), ChildError> {
        let _: Value = self.running()?.post("/v1/publish", plan).await?;
        self.publish = Some(plan.clone());
        Ok(())
    }

    async fn end_publishing(&mut self) -> Result<PublishReport, ChildError> {
        self.running()?.delete("/v1/publish").await
    }

    async fn stats(&mut self) -> Result<Stats, ChildError> {
        self.running()?.get("/v1/stats").await
    }

    fn signal(&mut self, signal: Signal) -> std::io::Result<()> {
        let pid = self.process.as_ref().map(|process| process.pid as i32);
        Ok(kill(Pid::from_raw(pid.unwrap_or(0)), signal)?)
    }

    async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }

    async fn restart(&mut self) -> Result<(), ChildError> {
        self.process = Some(self.successor(false).await?);
        Ok(())
    }

    async fn hand_over(&mut self, over_ms: u64) -> Result<(), ChildError> {
        let next = self.successor(true).await?;
        self.leaving = self.process.replace(next);
        if let Some(leaving) = &mut self.leaving {
            let _: Value = leaving.post("/v1/drain", &Drain { over_ms }).await?;
        }
        Ok(())
    }

    async fn has_handed_over(&mut self) -> bool {
        let runs = |process: &mut ManagedProcess| process.check().is_ok();
        if self.leaving.as_mut().is_some_and(runs) {
            return false;
        }
        if let Some(leaving) = self.leaving.take() {
            leaving.end().await;
        }
        true
    }

    fn stalled_bytes(&self, envelope_bytes: usize) -> u64 {
        let Serve {
            transport, profile, ..
        } = self.serve;
        pushbench_servers::transport::stalled_bytes(transport, profile, envelope_bytes) as u64
    }

    async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end().await;
        }
    }
}
