//! The fleet as a child process, under its control interface (`load/control.rs`).
//!
//! Around the data path. In: what a trial asks of its clients. Out: their answers.

use pushbench_os::allocator::Allocator;
use serde_json::Value;

use super::host::ThisMachine;
use super::layout::Side;
use super::process::{ChildError, ManagedProcess};
use super::target::Fleet;
use crate::load::control::{Connect, Finish};
use crate::load::tally::Counters;
use crate::load::{FleetReport, Setup, Status, Timing};

/// The process with the clients.
#[derive(Debug)]
pub(crate) struct FleetProcess<'a> {
    host: ThisMachine<'a>,
    side: &'a Side,
    /// `None` before the start.
    process: Option<ManagedProcess>,
}

impl<'a> FleetProcess<'a> {
    pub(crate) fn new(host: ThisMachine<'a>, side: &'a Side) -> Self {
        Self {
            host,
            side,
            process: None,
        }
    }

    fn running(&mut self) -> Result<&mut ManagedProcess, ChildError> {
        self.process.as_mut().ok_or(ChildError::NotThere("fleet"))
    }
}

impl Fleet for FleetProcess<'_> {
    async fn start(&mut self) -> Result<(), ChildError> {
        let process = self
            .host
            .spawn("fleet", vec!["fleet".to_owned()], self.side);
        self.process = Some(process.await?);
        Ok(())
    }

    fn process(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.pid)
    }

    fn allocator(&self) -> Option<Allocator> {
        self.process.as_ref()?.allocator()
    }

    fn check(&mut self) -> Result<(), ChildError> {
        self.running()?.check()
    }

    async fn set_up(&mut self, setup: &Setup) -> Result<(), ChildError> {
        self.running()?.post("/v1/fleet", setup).await.map(nothing)
    }

    async fn connect(&mut self, up_to: u32) -> Result<(), ChildError> {
        let all = Connect { up_to };
        let answer = self.running()?.post("/v1/fleet/connect", &all);
        answer.await.map(nothing)
    }

    async fn status(&mut self) -> Result<Status, ChildError> {
        self.running()?.get("/v1/fleet").await
    }

    async fn begin(&mut self, timing: &Timing) -> Result<(), ChildError> {
        let answer = self.running()?.post("/v1/fleet/begin", timing);
        answer.await.map(nothing)
    }

    async fn sample(&mut self) -> Result<Counters, ChildError> {
        self.running()?.post("/v1/fleet/sample", &()).await
    }

    async fn finish(&mut self, due_before_ns: u64) -> Result<FleetReport, ChildError> {
        let finish = Finish { due_before_ns };
        self.running()?.post("/v1/fleet/finish", &finish).await
    }

    async fn panic(&mut self) -> Result<(), ChildError> {
        let answer = self.running()?.post("/v1/fleet/panic", &());
        answer.await.map(nothing)
    }

    async fn close(&mut self) -> Result<(), ChildError> {
        self.running()?.delete("/v1/fleet").await.map(nothing)
    }

    async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end().await;
        }
    }
}

/// An answer that says no more than that all is well.
fn nothing(_: Value) {}
