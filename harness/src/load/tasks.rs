//! Clients of libraries: tasks of a current-thread runtime, since that is what the libraries want.
//!
//! Place on the data path: around the clients of one shard. Our own clients have a loop of their own
//! instead (`poller.rs`).

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::framing::Cursor;
use pushbench_protocol::transport::Transport;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::Sleep;

use super::handle::{Command, Engine, Mailbox};
use super::session::{Entry, RECHECK};
use super::shard::{LAG_TICK_NS, Shard};
use crate::load::client::library::LibraryClient;
use crate::load::client::socket::{Arrived, Options};
use crate::load::client::{ClientError, Target};

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
            Some(Command::Finish(before_ns, reply)) => {
                _ = reply.send(Box::new(shard.report(before_ns)));
            }
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

/// The session of a client that is a task, from the connect to the departure.
pub(crate) struct Session {
    shard: Rc<Shard>,
    /// Index among the clients of the shard.
    slot: usize,
}

impl Session {
    pub(super) fn new(shard: Rc<Shard>, slot: usize) -> Self {
        Self { shard, slot }
    }

    /// Number of the client in the whole fleet.
    pub(crate) fn index(&self) -> u32 {
        self.shard.index_of(self.slot)
    }

    pub(crate) fn transport(&self) -> Transport {
        self.shard.setup.transport
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.shard.setup.server
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shard.options
    }

    pub(crate) fn target(&self) -> Target<'_> {
        self.shard.target(self.slot)
    }

    /// Notes that a session begins.
    pub(super) fn begin(&self) {
        // Clients of libraries do not resume.
        self.shard.begin_session(self.slot, monotonic_ns());
    }

    /// Notes the socket, for the kernel's counters.
    pub(crate) fn opened(&self, stream: &TcpStream) {
        self.shard.opened(self.slot, stream.as_raw_fd());
    }

    /// Keeps the kernel's counters of a socket that is about to be closed.
    pub(crate) fn closing(&self, stream: &TcpStream) {
        self.shard.closing(self.slot, stream);
    }

    /// Counts the client as connected, once a session.
    pub(crate) fn connected(&self) {
        if let Some(took_ns) = self.shard.connected(self.slot) {
            self.shard.answered(self.slot, took_ns);
        }
    }

    /// Counts a session that ended out of order.
    pub(super) fn failed(&self, error: &ClientError) {
        self.shard.failed(self.slot, error);
    }

    /// Lets `f` write a request.
    pub(crate) fn with_sink<T>(&self, f: impl FnOnce(Target<'_>, &mut Entry<'_>) -> T) -> T {
        self.shard.with_sink(self.slot, f)
    }

    /// Lets `f` hand over what was read at `at_ns`.
    pub(crate) fn receive_at<T>(
        &self,
        at_ns: u64,
        f: impl FnOnce(Target<'_>, &mut Entry<'_>) -> T,
    ) -> T {
        let arrived = Arrived {
            bytes: 0,
            at_ns,
            waited_ns: None,
        };
        self.shard.receive(self.slot, arrived, f)
    }

    /// The cursor to resume from.
    pub(crate) fn cursor(&self) -> Cursor {
        self.shard.cursor(self.slot)
    }

    /// Time until this client's next poll.
    pub(crate) fn until_next_poll(&self) -> Duration {
        Duration::from_nanos(self.shard.until_next_poll_ns(self.slot, monotonic_ns()))
    }

    /// When this session is to end.
    pub(crate) fn departure(&self) -> Departure {
        let sessions = self.shard.setup.scenario.sessions;
        Departure {
            sleep: sessions.map(|_| Box::pin(tokio::time::sleep(RECHECK))),
        }
    }

    /// Settles the account of a session that has ended as planned.
    pub(super) fn departed(&self) {
        self.shard.departed(self.slot);
    }

    /// Stays away between two sessions. `false`: there will be no other.
    pub(super) async fn rest(&self) -> bool {
        if self.shard.phase().is_none() || self.shard.setup.scenario.sessions.is_none() {
            return false;
        }
        let now_ns = monotonic_ns();
        let away_ns = self.shard.back_ns(self.slot, now_ns) - now_ns;
        tokio::time::sleep(Duration::from_nanos(away_ns)).await;
        self.shard.comes_back(monotonic_ns())
    }
}

/// The end of a session: never, for clients that stay.
pub(crate) struct Departure {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Departure {
    /// Ready when the client departs.
    pub(crate) fn poll(&mut self, session: &Session, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else {
            return Poll::Pending;
        };
        // Armed again only when it has fired: a delivery in between costs nothing.
        while sleep.as_mut().poll(cx).is_ready() {
            let shard = &session.shard;
            match shard.until_departure_ns(session.slot, monotonic_ns()) {
                None => return Poll::Ready(()),
                Some(wait) => sleep
                    .as_mut()
                    .reset(tokio::time::Instant::now() + Duration::from_nanos(wait)),
            }
        }
        Poll::Pending
    }
}
