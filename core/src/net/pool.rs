//! The pool machine ([`crate::pool::Pool`]) driven on tokio.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::client::Client;
use super::established::PasswordProvider;
use super::result::QueryResult;
use crate::config::{Config, PoolSettings};
use crate::error::Kind;
use crate::pool::{self, Action, ConnId, Counts, Failure, Misuse, PoolOptions, Release, WaiterId};
use crate::proto::{Param, TransactionStatus};
use crate::{Error, Result};

/// How long a connection that was released dirty may take to become clean.
const RESET_LIMIT: Duration = Duration::from_secs(5);

/// A pool of connections to one database. Clones share it; it works on the tokio runtime that it was made on.
///
/// A future that is dropped leaves nothing behind: a waiter leaves the queue, and a connection that a dropped query left
/// busy is cleaned, or replaced, before anybody gets it.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// A connection on loan; dropped, it goes back. One with an open transaction is rolled back first, one with a query
/// whose future was dropped is cancelled first, and a broken one is replaced.
pub struct PooledClient {
    /// Always there until the drop.
    client: Option<Box<Client>>,
    conn: ConnId,
    destroy: bool,
    shared: Arc<Shared>,
}

impl Pool {
    /// An empty pool with the limits of `settings`. Must be called on tokio. Opens no socket.
    pub fn new(config: Arc<Config>, password: Option<PasswordProvider>, settings: &PoolSettings) -> Pool {
        let options = PoolOptions {
            max: settings.max,
            min: 0,
            idle_timeout: settings.idle_timeout,
            acquire_timeout: settings.connect_timeout,
            max_lifetime: None,
            max_uses: None,
            end_fails_waiters: true,
            reset_timeout: RESET_LIMIT,
            needs_permit: false,
            max_in_flight: 1,
        };
        Pool::with_options(config, password, options, settings.query_timeout)
    }

    /// The same with every limit of the machine at hand.
    pub fn with_options(
        config: Arc<Config>,
        password: Option<PasswordProvider>,
        options: PoolOptions,
        query_timeout: Option<Duration>,
    ) -> Pool {
        let runtime = Handle::current();
        let wake = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            config,
            password,
            query_timeout,
            max: options.max,
            acquire_timeout: options.acquire_timeout,
            runtime: runtime.clone(),
            wake: Arc::clone(&wake),
            ended: Notify::new(),
            state: Mutex::new(State {
                machine: pool::Pool::new(options),
                slots: HashMap::new(),
                waiters: HashMap::new(),
                errors: HashMap::new(),
                ended: false,
            }),
        });
        runtime.spawn(keep_time(Arc::downgrade(&shared), wake));
        Pool { shared }
    }

    /// A connection, new or used, when one is free. Fails after the acquire timeout, which covers connecting too.
    pub async fn acquire(&self) -> Result<PooledClient> {
        let shared = &self.shared;
        let (sender, receiver) = oneshot::channel();
        let waiter = {
            let mut state = shared.lock();
            let waiter = state.machine.acquire(now()).map_err(misuse)?;
            state.waiters.insert(waiter, sender);
            shared.pump(&mut state);
            waiter
        };
        let mut waiting = Waiting {
            waiter,
            receiver,
            shared: Arc::clone(shared),
            answered: false,
        };
        let answer = (&mut waiting.receiver).await;
        waiting.answered = true;
        match answer {
            Ok(Ok((conn, client))) => Ok(PooledClient {
                client: Some(client),
                conn,
                destroy: false,
                shared: Arc::clone(shared),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(Kind::Closed, "the pool's runtime has ended")),
        }
    }

    /// Acquires, queries and releases.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<QueryResult> {
        self.acquire().await?.query(sql, params).await
    }

    /// Connections, idle ones, waiters.
    pub fn counts(&self) -> Counts {
        self.shared.lock().machine.counts()
    }

    /// No more acquires. Resolves when every connection is closed, the ones on loan after their return.
    pub async fn end(&self) -> Result<()> {
        let ended = self.shared.ended.notified();
        tokio::pin!(ended);
        ended.as_mut().enable();
        {
            let mut state = self.shared.lock();
            state
                .machine
                .end(now())
                .map_err(|_| Error::new(Kind::Usage, "Called end on pool more than once"))?;
            self.shared.pump(&mut state);
            if state.ended {
                return Ok(());
            }
        }
        ended.await;
        Ok(())
    }
}

impl PooledClient {
    /// Closes the connection instead of giving it back.
    pub fn destroy(mut self) {
        self.destroy = true;
    }
}

impl Deref for PooledClient {
    type Target = Client;

    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref(&self) -> &Client {
        self.client.as_deref().expect("there until the drop")
    }
}

impl DerefMut for PooledClient {
    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_deref_mut().expect("there until the drop")
    }
}

impl Drop for PooledClient {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let how = match (self.destroy || client.is_closed(), client.is_busy()) {
                (true, _) => Release::Destroy,
                (false, false) if client.transaction_status() == TransactionStatus::Idle => Release::Reuse,
                (false, _) => Release::Dirty,
            };
            self.shared.give_back(&mut self.shared.lock(), self.conn, client, how);
        }
    }
}

type Answer = Result<(ConnId, Box<Client>)>;

/// A place in the queue; dropped without an answer, it is left.
struct Waiting {
    waiter: WaiterId,
    receiver: oneshot::Receiver<Answer>,
    shared: Arc<Shared>,
    answered: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let mut state = self.shared.lock();
        state.waiters.remove(&self.waiter);
        state.machine.cancel(now(), self.waiter);
        // The answer may have come just now, and nobody will take it.
        if let Ok(Ok((conn, client))) = self.receiver.try_recv() {
            self.shared.give_back(&mut state, conn, client, Release::Reuse);
        }
        self.shared.pump(&mut state);
    }
}

struct Shared {
    config: Arc<Config>,
    password: Option<PasswordProvider>,
    query_timeout: Option<Duration>,
    max: usize,
    acquire_timeout: Option<Duration>,
    /// Guards may be dropped outside of it.
    runtime: Handle,
    /// The next deadline has changed.
    wake: Arc<Notify>,
    ended: Notify,
    /// Held for moments only, never over an await.
    state: Mutex<State>,
}

struct State {
    machine: pool::Pool,
    /// Connections that are not on loan.
    slots: HashMap<ConnId, Slot>,
    waiters: HashMap<WaiterId, oneshot::Sender<Answer>>,
    /// Why connecting failed, until the waiter is told.
    errors: HashMap<ConnId, Error>,
    ended: bool,
}

enum Slot {
    /// Connecting or being cleaned, in a task of its own.
    Working(JoinHandle<()>),
    Open(Box<Client>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(self: &Arc<Self>, state: &mut State, conn: ConnId, client: Box<Client>, how: Release) {
        state.slots.insert(conn, Slot::Open(client));
        // The guard is the only one who can give it back, so it is held.
        let _ = state.machine.release(now(), conn, how);
        self.pump(state);
    }

    /// Does what the machine says until it says nothing more.
    fn pump(self: &Arc<Self>, state: &mut State) {
        while let Some(action) = state.machine.poll_action() {
            match action {
                // Not asked for: `needs_permit` is off. Harmless in any case.
                Action::Permit(conn) => state.machine.permitted(now(), conn),
                Action::Connect(conn) => {
                    let task = self.runtime.spawn(Arc::clone(self).connect(conn));
                    state.slots.insert(conn, Slot::Working(task));
                }
                Action::Probe(conn) => {
                    let healthy = matches!(state.slots.get(&conn), Some(Slot::Open(client)) if client.is_healthy());
                    state.machine.probed(now(), conn, healthy);
                }
                Action::Deliver { waiter, conn, .. } => self.deliver(state, waiter, conn),
                Action::Fail { waiter, failure } => {
                    let error = self.failure(state, failure);
                    if let Some(sender) = state.waiters.remove(&waiter) {
                        let _ = sender.send(Err(error));
                    }
                }
                Action::Reset(conn) => {
                    if let Some(Slot::Open(client)) = state.slots.remove(&conn) {
                        let task = self.runtime.spawn(Arc::clone(self).reset(conn, client));
                        state.slots.insert(conn, Slot::Working(task));
                    }
                }
                Action::Idle(_) => {}
                Action::Close { conn, .. } => {
                    state.errors.remove(&conn);
                    let slot = state.slots.remove(&conn);
                    self.runtime.spawn(Arc::clone(self).close(conn, slot));
                }
                Action::Ended => {
                    state.ended = true;
                    self.ended.notify_waiters();
                }
            }
        }
        self.wake.notify_one();
    }

    fn deliver(self: &Arc<Self>, state: &mut State, waiter: WaiterId, conn: ConnId) {
        let Some(Slot::Open(mut client)) = state.slots.remove(&conn) else {
            return;
        };
        client.set_query_timeout(self.query_timeout);
        let unsent = match state.waiters.remove(&waiter) {
            Some(sender) => sender.send(Ok((conn, client))),
            None => Err(Ok((conn, client))),
        };
        if let Err(Ok((conn, client))) = unsent {
            state.slots.insert(conn, Slot::Open(client));
            let _ = state.machine.release(now(), conn, Release::Reuse);
        }
    }

    fn failure(&self, state: &mut State, failure: Failure) -> Error {
        let limit = self.acquire_timeout.unwrap_or_default().as_millis();
        match failure {
            Failure::WaitTimeout => Error::new(
                Kind::WaitTimeout,
                format!(
                    "no connection became free within {limit} ms (at most {} connections, {} callers waiting)",
                    self.max,
                    state.machine.counts().waiting
                ),
            ),
            Failure::ConnectTimeout => Error::new(
                Kind::ConnectTimeout,
                format!("connecting took longer than {limit} ms, waiting for a free connection included"),
            ),
            Failure::Connect(conn) => match state.errors.remove(&conn) {
                Some(error) => error,
                None => Error::new(Kind::Closed, "the connection could not be made"),
            },
            Failure::Ended => misuse(Misuse::Ended),
        }
    }

    async fn connect(self: Arc<Self>, conn: ConnId) {
        let result = Client::connect(Arc::clone(&self.config), self.password.clone()).await;
        let mut state = self.lock();
        match result {
            Ok(client) => {
                state.slots.insert(conn, Slot::Open(Box::new(client)));
                state.machine.connected(now(), conn);
            }
            Err(error) => {
                state.slots.remove(&conn);
                state.errors.insert(conn, error);
                state.machine.connect_failed(now(), conn);
            }
        }
        self.pump(&mut state);
        // No waiter may have wanted to know.
        state.errors.remove(&conn);
    }

    async fn reset(self: Arc<Self>, conn: ConnId, mut client: Box<Client>) {
        let clean = client.reset().await.is_ok();
        let mut state = self.lock();
        state.slots.insert(conn, Slot::Open(client));
        state.machine.reset_done(now(), conn, clean);
        self.pump(&mut state);
    }

    /// The slot counts until the socket is closed.
    async fn close(self: Arc<Self>, conn: ConnId, slot: Option<Slot>) {
        match slot {
            Some(Slot::Open(client)) if client.is_busy() => drop(client),
            Some(Slot::Open(client)) => client.close().await,
            Some(Slot::Working(task)) => {
                task.abort();
                // Resolves when the task has let go of its socket.
                let _ = task.await;
            }
            None => {}
        }
        let mut state = self.lock();
        // The task may have ended in its last moment before the abort.
        state.slots.remove(&conn);
        state.machine.closed(now(), conn);
        self.pump(&mut state);
    }
}

/// Calls the machine at its deadlines. Ends with the pool.
async fn keep_time(shared: Weak<Shared>, wake: Arc<Notify>) {
    loop {
        let wait = {
            let Some(shared) = shared.upgrade() else { return };
            let mut state = shared.lock();
            let at = now();
            if state.machine.next_deadline().is_some_and(|deadline| deadline <= at) {
                state.machine.tick(at);
                shared.pump(&mut state);
            }
            state
                .machine
                .next_deadline()
                .map(|deadline| deadline.saturating_sub(at))
        };
        match wait {
            None => wake.notified().await,
            Some(wait) => {
                let _ = tokio::time::timeout(wait, wake.notified()).await;
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // `keep_time` sees that the pool is gone.
        self.wake.notify_one();
    }
}

/// The time by a clock that also runs while the machine is suspended, as a frozen function's is.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn misuse(misuse: Misuse) -> Error {
    Error::new(
        Kind::Usage,
        match misuse {
            Misuse::Ended => "Cannot use a pool after calling end on the pool",
            Misuse::NotHeld => "Release called on client which has already been released to the pool.",
        },
    )
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
