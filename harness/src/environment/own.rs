//! Our own server as a target: `pushbench serve` as a child, under its control interface.
//!
//! Around the data path. In: what a trial asks for. Out: processes that serve, publish and take over
//! from each other. The publish schedule stands for a durable log upstream: whoever takes over knows
//! it, refills its rings from it and goes on from there.

use std::net::{IpAddr, SocketAddr};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pushbench_os::allocator::Allocator;
use pushbench_protocol::control::{Addresses, Declare, Drain, PublishPlan, PublishReport, Stats};
use pushbench_protocol::transport::{Profile, Transport};
use serde_json::Value;

use super::host::ThisMachine;
use super::layout::Side;
use super::loopback;
use super::process::{ChildError, ManagedProcess};
use super::target::Target;
use crate::record::Capability;
use crate::scenario::Scenario;

/// How our server is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Serve<'a> {
    pub(crate) host: ThisMachine<'a>,
    /// Where its first process listens, at any port.
    pub(crate) listen: IpAddr,
    pub(crate) transport: Transport,
    pub(crate) profile: Profile,
    pub(crate) scenario: &'a Scenario,
    /// Its cores and threads.
    pub(crate) side: &'a Side,
    pub(crate) congestion: Option<&'a str>,
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
        let any_port = |ip| SocketAddr::new(ip, 0);
        let listen = self.address.unwrap_or(any_port(self.serve.listen));
        let mut options = scenario.server_options();
        options.extend([
            ("--listen", listen.to_string()),
            ("--control", any_port(loopback::V4).to_string()),
            ("--transports", self.serve.transport.id().to_owned()),
            ("--profile", self.serve.profile.id().to_owned()),
            // All servers of a trial have one log, so that nothing has to tell it from others.
            ("--epoch", "none".to_owned()),
            ("--shards", side.shards.to_string()),
            ("--keep-alive-s", server.keep_alive_s.to_string()),
            ("--poll-timeout-s", server.poll_timeout_s.to_string()),
            ("--head-timeout-s", head_timeout_s.to_string()),
            ("--ring-messages", server.ring_messages.to_string()),
            ("--ring-bytes", server.ring_bytes.to_string()),
        ]);
        let bytes = |name, bytes: Option<u64>| bytes.map(|bytes| (name, bytes.to_string()));
        options.extend(bytes(
            "--send-buffer-bytes",
            server.send_buffer_bytes.map(u64::from),
        ));
        options.extend(bytes("--memory-limit-bytes", server.memory_limit_bytes));
        let congestion = self.serve.congestion.map(str::to_owned);
        options.extend(congestion.map(|name| ("--congestion", name)));
        let options = options.into_iter();
        let options = options.map(|(name, value)| format!("{name}={value}"));
        let own_tables = side.own_tables.then(|| "--own-tables".to_owned());
        let whole = ["serve", "--end-with-input"].map(str::to_owned).into_iter();
        whole.chain(options).chain(own_tables).collect()
    }

    async fn spawn(&self, arguments: Vec<String>) -> Result<ManagedProcess, ChildError> {
        let Serve { host, side, .. } = self.serve;
        host.spawn("server", arguments, side).await
    }

    /// A server that takes the port of the one before, with the log refilled.
    async fn successor(&self, alongside: bool) -> Result<ManagedProcess, ChildError> {
        let mut arguments = self.arguments();
        // It must know its channels to refill its log.
        let policy = self.serve.scenario.channels.overflow[0];
        arguments.push(format!("--channel={}:{policy}", self.channels()));
        if let Some(publish) = &self.publish {
            let publish = serde_json::to_string(publish).unwrap_or_default();
            arguments.push(format!("--publish-plan={publish}"));
        }
        if alongside {
            arguments.push("--share-port".to_owned());
        }
        self.spawn(arguments).await
    }
}

impl Target for OwnServer<'_> {
    fn lacks(&self) -> Vec<Capability> {
        Vec::new()
    }

    async fn start(&mut self) -> Result<SocketAddr, ChildError> {
        let mut arguments = self.arguments();
        arguments.push("--no-channels".to_owned());
        let process = self.spawn(arguments).await?;
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
        self.process.as_ref()?.allocator()
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
