//! Clients of libraries: tasks of a current-thread runtime, since that is what the libraries want.
//!
//! Place on the data path: around the clients of one shard. Our own clients have a loop of their own
//! instead (`poller.rs`).

use std::rc::Rc;
use std::time::Duration;

use pushbench_os::sys::monotonic_ns;
use tokio::task::LocalSet;

use super::handle::{Command, Engine, Mailbox};
use super::session::Session;
use super::shard::{LAG_TICK_NS, Shard};
use crate::load::client::library::LibraryClient;

/// How often a shard with nothing to open looks whether there is.
const IDLE_LOOK: Duration = Duration::from_millis(10);

/// A shard whose clients are tasks.
pub(super) struct Tasks {
    shard: Rc<Shard>,
    client: LibraryClient,
    runtime: tokio::runtime::Runtime,
}

impl Tasks {
    /// Call it on the thread of the shard: the runtime's descriptors belong to its table.
    pub(super) fn new(shard: Shard, client: LibraryClient) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            shard: Rc::new(shard),
            client,
            runtime,
        })
    }
}

impl Engine for Tasks {
    fn run(self: Box<Self>, mailbox: &Mailbox) {
        let local = LocalSet::new();
        local.spawn_local(open_clients(self.shard.clone(), self.client));
        local.spawn_local(keep_time(self.shard.clone()));
        self.runtime
            .block_on(local.run_until(run_commands(&self.shard, mailbox)));
        // Dropping the set drops every client, which closes its socket.
    }
}

/// Carries out commands until the last.
async fn run_commands(shard: &Shard, mailbox: &Mailbox) {
    let Ok(wake) = mailbox.wake.listen() else {
        return;
    };
    loop {
        match mailbox.next() {
            None => wake.wait().await,
            Some(Command::Connect(count)) => shard.want(count),
            Some(Command::Begin(phase)) => shard.begin(phase),
            // Whoever asked may have lost patience, which ends nothing here.
            Some(Command::Sample(reply)) => _ = reply.send(shard.sample()),
            Some(Command::Finish(reply)) => _ = reply.send(Box::new(shard.report())),
            Some(Command::Exit | Command::Panic) => return,
        }
    }
}

/// Opens clients as fast as the pace allows.
async fn open_clients(shard: Rc<Shard>, client: LibraryClient) {
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        let wanted = shard.to_open();
        if wanted == 0 {
            // Look rarely, so that an idle fleet costs next to nothing.
            shard.pace.borrow_mut().rest();
            tokio::time::sleep(IDLE_LOOK).await;
            continue;
        }
        let allowed = shard.pace.borrow_mut().allowed(monotonic_ns());
        for _ in 0..wanted.min(allowed) {
            let session = Session::new(shard.clone(), shard.add_client());
            tokio::task::spawn_local(live(session, client));
        }
    }
}

/// Watches the clock.
async fn keep_time(shard: Rc<Shard>) {
    let mut due_ns = monotonic_ns() + LAG_TICK_NS;
    loop {
        let wait = Duration::from_nanos(due_ns.saturating_sub(monotonic_ns()));
        tokio::time::sleep(wait).await;
        due_ns = shard.tick(due_ns, monotonic_ns());
    }
}

/// A client's life: one session, or one after another until the measure phase is over.
async fn live(session: Session, client: LibraryClient) {
    loop {
        session.begin();
        if let Err(error) = (client.run)(&session).await {
            session.failed(&error);
            return;
        }
        session.departed();
        if !session.rest().await {
            return;
        }
    }
}
