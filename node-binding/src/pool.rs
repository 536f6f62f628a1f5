//! The pool machine behind the border's `pool*` calls.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use heys_core::pool::{Action, ConnId, Failure, Member, Misuse, Owner, Pool, PoolOptions, Registry, Release};

use crate::clock::now;
use crate::env::{Environment, Hook, Wake};
use crate::queue::{Message, Queue};
use crate::raw::{Js, Value};

/// The limits of the shared pools, over all threads.
static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::default);

/// A pool and the sessions of its connections.
pub(crate) struct BoundPool {
    pool: Pool,
    /// Session by connection.
    sessions: HashMap<u32, i32>,
    /// An action that did not fit the words.
    held: Option<Action>,
    /// Its part in a limit over several threads.
    member: Option<Member>,
    /// [`Pool::is_awaited`]: the loop must stay alive, even if nothing else of the pool keeps it.
    holds_loop: bool,
}

impl BoundPool {
    fn poll(&mut self, now: Duration) -> Option<Action> {
        match (self.held.take(), &self.member) {
            (Some(action), _) => Some(action),
            (None, Some(member)) => member.poll(&mut self.pool, now),
            (None, None) => self.pool.poll_action(),
        }
    }

    fn hold_loop(&mut self, environment: &Environment) {
        match (self.holds_loop, self.pool.is_awaited()) {
            (false, true) => environment.operation_began(),
            (true, false) => environment.operation_ended(),
            _ => return,
        }
        self.holds_loop = !self.holds_loop;
    }
}

/// Sends the registry's words to the loop that has the pool.
struct Remote {
    queue: Arc<Queue>,
    pool: i32,
}

impl Owner for Remote {
    fn permitted(&self, conn: ConnId) {
        let pool = self.pool;
        self.queue.send(Message::Permit { pool, conn: Some(conn) });
    }

    fn wanted(&self) {
        let pool = self.pool;
        self.queue.send(Message::Permit { pool, conn: None });
    }
}

/// The border's records.
mod record {
    pub(super) const CONNECT: i32 = 1;
    pub(super) const PROBE: i32 = 2;
    pub(super) const DELIVER: i32 = 3;
    pub(super) const FAIL: i32 = 4;
    pub(super) const RESET: i32 = 5;
    pub(super) const IDLE: i32 = 6;
    pub(super) const CLOSE: i32 = 7;
    pub(super) const ENDED: i32 = 8;
}

const NOT_HELD: i32 = -1;
const ALREADY_ENDED: i32 = -2;

/// `poolNew`: numbers that are 0, negative or not finite mean "no limit" where there is a choice.
pub(crate) fn create(js: Js, environment: &Environment, arguments: &[Value]) -> Option<i32> {
    let number = |index: usize| {
        js.get_number(*arguments.get(index)?)
            .filter(|n| n.is_finite() && *n > 0.0)
    };
    let millis = |index: usize| number(index).map(|n| Duration::from_secs_f64(n / 1000.0));
    let limit = arguments.get(8).and_then(|name| js.get_string(*name));
    let options = PoolOptions {
        max: number(0).map_or(1, |n| n as usize).max(1),
        min: number(1).map_or(0, |n| n as usize),
        idle_timeout: millis(2),
        acquire_timeout: millis(3),
        max_lifetime: millis(4),
        max_uses: number(5).map(|n| n as u32),
        end_fails_waiters: arguments.get(6).and_then(|flag| js.get_bool(*flag)).unwrap_or(false),
        reset_timeout: millis(7).unwrap_or(Duration::from_secs(5)),
        needs_permit: limit.is_some(),
        max_in_flight: number(9).map_or(1, |n| n as u32),
    };
    environment.pools.borrow_mut().insert_with(|pool| BoundPool {
        member: limit.map(|name| {
            let queue = Arc::clone(&environment.queue);
            REGISTRY.join(&name, options.max, Arc::new(Remote { queue, pool }))
        }),
        pool: Pool::new(options),
        sessions: HashMap::new(),
        held: None,
        holds_loop: false,
    })
}

/// `poolAcquireQuery`: `text` is the query's number, if it has one.
pub(crate) fn acquire_query(environment: &Environment, pool: i32, text: i32) -> i32 {
    let leads = environment.texts.borrow().leads(text as u32);
    run(environment, pool, |pool, now| {
        pool.acquire_query(now, leads).map(|waiter| Some(waiter as i32))
    })
}

/// `poolAcquire`.
pub(crate) fn acquire(environment: &Environment, pool: i32) -> i32 {
    run(environment, pool, |pool, now| match pool.acquire(now) {
        Ok(waiter) => Ok(Some(waiter as i32)),
        Err(misuse) => Err(misuse),
    })
}

/// A call of the machine that changes it; then its actions are written.
pub(crate) fn change(environment: &Environment, pool: i32, change: impl FnOnce(&mut Pool, Duration)) -> i32 {
    run(environment, pool, |pool, now| {
        change(pool, now);
        Ok(None)
    })
}

/// The same for a call that can be a mistake.
pub(crate) fn try_change(
    environment: &Environment,
    pool: i32,
    change: impl FnOnce(&mut Pool, Duration) -> Result<(), Misuse>,
) -> i32 {
    run(environment, pool, |pool, now| change(pool, now).map(|()| None))
}

fn run(
    environment: &Environment,
    pool: i32,
    change: impl FnOnce(&mut Pool, Duration) -> Result<Option<i32>, Misuse>,
) -> i32 {
    let mut pools = environment.pools.borrow_mut();
    let Some(bound) = pools.get_mut(pool) else {
        return 0;
    };
    let now = environment.now();
    let words = environment.words();
    let mut length = 0;
    match change(&mut bound.pool, now) {
        Err(Misuse::NotHeld) => return NOT_HELD,
        Err(Misuse::Ended) => return ALREADY_ENDED,
        Ok(None) => {}
        Ok(Some(first)) => {
            if let Some(slot) = words.first_mut() {
                *slot = first;
                length = 1;
            }
        }
    }
    while let Some(action) = bound.poll(now) {
        if let Action::Probe(conn) = action
            && let Some(id) = bound.sessions.get(&conn)
        {
            let session = environment.sessions.borrow().get(*id).cloned();
            let healthy = *id == UNSEEN || session.is_some_and(|session| session.is_quiet());
            bound.pool.probed(now, conn, healthy);
            continue;
        }
        if let Action::Close { conn, .. } = action {
            bound.sessions.remove(&conn);
        }
        let (record, used) = encode(action);
        let Some(slots) = words.get_mut(length..length + used) else {
            // `wait` answers 0 then, so that a tick fetches the rest.
            bound.held = Some(action);
            break;
        };
        slots.copy_from_slice(record.get(..used).unwrap_or_default());
        length += used;
    }
    bound.hold_loop(environment);
    length as i32
}

/// A change after which `conn` may be gone for good: then somebody else may have its permit.
pub(crate) fn change_end(
    environment: &Environment,
    pool: i32,
    conn: ConnId,
    change: impl FnOnce(&mut Pool, Duration),
) -> i32 {
    let length = self::change(environment, pool, change);
    if let Some(bound) = environment.pools.borrow().get(pool)
        && let Some(member) = &bound.member
    {
        member.give_back(&bound.pool, conn);
    }
    length
}

/// A word of the registry: a permit came, or (`None`) idle connections are wanted elsewhere.
pub(crate) fn on_permit(wake: &Wake<'_>, pool: i32, conn: Option<ConnId>) {
    {
        let mut pools = wake.environment.pools.borrow_mut();
        if let Some(bound) = pools.get_mut(pool)
            && let (Some(conn), Some(member)) = (conn, &bound.member)
        {
            member.permitted(&mut bound.pool, now(), conn);
        }
    }
    let length = change(wake.environment, pool, |_, _| {});
    wake.call(Hook::Pool, &[wake.js.int(pool), wake.js.int(length)]);
}

fn encode(action: Action) -> ([i32; 4], usize) {
    match action {
        Action::Connect(conn) => ([record::CONNECT, conn as i32, 0, 0], 2),
        Action::Probe(conn) => ([record::PROBE, conn as i32, 0, 0], 2),
        Action::Deliver { waiter, conn, fresh } => ([record::DELIVER, waiter as i32, conn as i32, fresh.into()], 4),
        Action::Fail { waiter, failure } => {
            let (why, conn) = match failure {
                Failure::WaitTimeout => (0, -1),
                Failure::ConnectTimeout => (1, -1),
                Failure::Connect(conn) => (2, conn as i32),
                Failure::Ended => (3, -1),
            };
            ([record::FAIL, waiter as i32, why, conn], 4)
        }
        Action::Reset(conn) => ([record::RESET, conn as i32, 0, 0], 2),
        Action::Idle(conn) => ([record::IDLE, conn as i32, 0, 0], 2),
        Action::Close { conn, expired } => ([record::CLOSE, conn as i32, expired.into(), 0], 3),
        Action::Ended => ([record::ENDED, 0, 0, 0], 1),
        // `Member::poll` gives none, and without a member none is asked for.
        Action::Permit(_) => ([0; 4], 0),
    }
}

/// Instead of a session: nobody looks at this connection before it is handed out.
const UNSEEN: i32 = -1;

/// `poolBind`: the addon probes this connection's socket itself, or nobody does.
pub(crate) fn bind(environment: &Environment, pool: i32, conn: u32, session: i32) {
    if let Some(bound) = environment.pools.borrow_mut().get_mut(pool) {
        bound.sessions.insert(conn, session);
    }
}

/// How `poolRelease` says it.
pub(crate) fn release(how: i32) -> Release {
    match how {
        0 => Release::Reuse,
        1 => Release::Dirty,
        _ => Release::Destroy,
    }
}

/// `poolWait`: milliseconds until `poolTick`, rounded up; -1 = never.
pub(crate) fn wait(environment: &Environment, pool: i32) -> i32 {
    let pools = environment.pools.borrow();
    let Some(bound) = pools.get(pool) else { return -1 };
    if bound.held.is_some() {
        return 0;
    }
    match bound.pool.next_deadline() {
        None => -1,
        Some(deadline) => {
            let left = deadline.saturating_sub(now());
            i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        }
    }
}

/// One of the pool's numbers; 0 for an unknown pool.
pub(crate) fn count(environment: &Environment, pool: i32, which: impl FnOnce(&Pool) -> usize) -> i32 {
    let pools = environment.pools.borrow();
    pools.get(pool).map_or(0, |bound| which(&bound.pool) as i32)
}

/// `poolFree`.
pub(crate) fn free(environment: &Environment, pool: i32) {
    let bound = environment.pools.borrow_mut().remove(pool);
    if bound.is_some_and(|bound| bound.holds_loop) {
        environment.operation_ended();
    }
}
