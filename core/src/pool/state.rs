//! Inputs: acquire, release, connected, failed, …, tick. Outputs: actions for the driver, and the next deadline.
//!
//! `now` is the time since any fixed point, by a clock that also runs while the process or machine is suspended
//! (CLOCK_BOOTTIME).
//!
//! ```text
//!            acquire, no idle one             acquire
//!   (none) ───────────────────► Connecting   Idle ◄──────► Probing
//!                                   │         ▲ probed, waiter gone
//!                                   │ connected / probed, healthy
//!                                   ▼         │
//!                                  Held ──────┤ release(Reuse), no waiter
//!                                   │         │
//!                       release(Dirty)        │
//!                                   ▼         │
//!                               Resetting ────┘ reset_done(clean)
//!
//!   any ── too old, unhealthy, lost, timed out, destroyed, ended ──► Closing ── closed ──► (none)
//! ```
//!
//! A Closing connection is no longer counted, but keeps its slot, so the server never sees more than `max`.

use std::collections::VecDeque;
use std::time::Duration;

use super::slots::{MOST, Slots};
use super::waiters::{Waiter, Waiters};
use super::{Action, ConnId, Counts, Failure, Misuse, PoolOptions, Release, WaiterId};

/// No deadline.
const NEVER: Duration = Duration::MAX;

/// The machine. Not thread-safe by itself; one owner drives it.
///
/// Answers for a connection that is not in the state that asked for them (they crossed a Close) change nothing.
#[derive(Debug)]
pub struct Pool {
    options: PoolOptions,
    conns: Slots<Conn>,
    waiters: Waiters,
    /// Idle connections and since when, longest idle first; checkouts take the last.
    idle: VecDeque<(Duration, ConnId)>,
    /// Connections that wait for the answer to Probe: almost always none or one.
    probing: Vec<ConnId>,
    /// Connections that wait for their permit.
    permits: Vec<ConnId>,
    /// Connections in `conns` that are not closing and not waiting for a permit.
    total: usize,
    /// The earliest of all [`Conn::due`].
    due: Duration,
    /// `due` may be too early: a connection that had it is past it.
    due_is_stale: bool,
    ending: bool,
    ended: bool,
    actions: VecDeque<Action>,
    /// The latest `now`; time never runs backwards here.
    clock: Duration,
}

#[derive(Debug)]
struct Conn {
    state: State,
    /// Checkouts so far.
    uses: u32,
    /// When its lifetime passes.
    dies: Duration,
    /// A tick has seen its lifetime pass.
    expired: bool,
}

#[derive(Debug)]
enum State {
    /// Waits for a permit; not a connection yet.
    Permit,
    /// `deadline`: of the connect itself; its waiter's own may be earlier.
    Connecting { waiter: Option<Waiter>, deadline: Duration },
    /// In `Pool::idle`.
    Idle,
    /// In `Pool::probing`; the waiter is `None` when it gave up.
    Probing { waiter: Option<Waiter> },
    /// Checked out; `lost`: broken, closes at the release.
    Held { lost: bool },
    /// Released dirty.
    Resetting { deadline: Duration },
    /// Waits for `closed`.
    Closing,
}

impl Pool {
    /// An empty pool.
    pub fn new(mut options: PoolOptions) -> Pool {
        options.max = options.max.clamp(1, MOST);
        Pool {
            conns: Slots::new(options.max),
            options,
            waiters: Waiters::default(),
            idle: VecDeque::new(),
            probing: Vec::new(),
            permits: Vec::new(),
            total: 0,
            due: NEVER,
            due_is_stale: false,
            ending: false,
            ended: false,
            actions: VecDeque::new(),
            clock: Duration::ZERO,
        }
    }

    /// Asks for a connection; the answer is a Deliver or Fail with this number.
    pub fn acquire(&mut self, now: Duration) -> Result<WaiterId, Misuse> {
        let now = self.at(now);
        if self.ending {
            return Err(Misuse::Ended);
        }
        let waiter = self.waiters.push(now, after(now, self.options.acquire_timeout));
        self.settle(now);
        Ok(waiter)
    }

    /// The waiter gave up; no answer will come. A no-op when it was answered already (`false`).
    ///
    /// A connection that was connecting for it goes on and serves the next.
    pub fn cancel(&mut self, now: Duration, waiter: WaiterId) -> bool {
        let now = self.at(now);
        let found = self.waiters.remove(waiter).is_some() || self.unbind(waiter);
        self.settle(now);
        found
    }

    /// The permit was granted. (Only with [`PoolOptions::needs_permit`].)
    pub fn permitted(&mut self, now: Duration, conn: ConnId) {
        let now = self.at(now);
        if let Some(at) = self.permits.iter().position(|&other| other == conn) {
            self.permits.swap_remove(at);
            match self.waiters.pop() {
                Some(waiter) => {
                    self.total += 1;
                    self.connect(now, conn, waiter);
                }
                None => self.close(conn, false),
            }
        }
        self.settle(now);
    }

    /// The connection is open.
    pub fn connected(&mut self, now: Duration, conn: ConnId) {
        let now = self.at(now);
        if let Some(entry) = self.conns.get_mut(conn)
            && let State::Connecting { waiter, .. } = entry.state
        {
            self.due_is_stale |= entry.due() <= self.due;
            entry.dies = after(now, self.options.max_lifetime);
            self.due = self.due.min(entry.dies);
            match waiter {
                Some(waiter) => self.deliver(conn, waiter),
                None => self.give_back(now, conn),
            }
        }
        self.settle(now);
    }

    /// The connection could not be opened; its slot is free.
    pub fn connect_failed(&mut self, now: Duration, conn: ConnId) {
        let now = self.at(now);
        match self.state(conn) {
            Some(&State::Connecting { waiter, .. }) => {
                self.total -= 1;
                self.forget(conn);
                if let Some(waiter) = waiter {
                    self.fail(waiter, Failure::Connect(conn));
                }
            }
            Some(State::Closing) => self.forget(conn),
            _ => {}
        }
        self.settle(now);
    }

    /// The answer to Probe.
    pub fn probed(&mut self, now: Duration, conn: ConnId, healthy: bool) {
        let now = self.at(now);
        if let Some(waiter) = self.end_probe(conn) {
            match waiter {
                Some(waiter) if healthy => self.deliver(conn, waiter),
                None if healthy => self.give_back(now, conn),
                waiter => {
                    self.close(conn, false);
                    self.requeue(waiter);
                }
            }
        }
        self.settle(now);
    }

    /// Gives a connection back.
    pub fn release(&mut self, now: Duration, conn: ConnId, how: Release) -> Result<(), Misuse> {
        let now = self.at(now);
        let Some(entry) = self.conns.get_mut(conn) else {
            return Err(Misuse::NotHeld);
        };
        let State::Held { lost } = entry.state else {
            return Err(Misuse::NotHeld);
        };
        if lost || self.ending || how == Release::Destroy {
            self.close(conn, false);
        } else if entry.is_used_up(now, &self.options) {
            self.close(conn, true);
        } else if how == Release::Dirty {
            let deadline = after(now, Some(self.options.reset_timeout));
            entry.state = State::Resetting { deadline };
            self.due = self.due.min(deadline);
            self.actions.push_back(Action::Reset(conn));
        } else {
            self.give_back(now, conn);
        }
        self.settle(now);
        Ok(())
    }

    /// The answer to Reset.
    pub fn reset_done(&mut self, now: Duration, conn: ConnId, clean: bool) {
        let now = self.at(now);
        if let Some(entry) = self.conns.get(conn)
            && let State::Resetting { .. } = entry.state
        {
            self.due_is_stale |= entry.due() <= self.due;
            if !clean {
                self.close(conn, false);
            } else if entry.is_used_up(now, &self.options) {
                self.close(conn, true);
            } else {
                self.give_back(now, conn);
            }
        }
        self.settle(now);
    }

    /// The connection broke by itself. A checked-out one still has to be released; an idle one gets its Close.
    pub fn lost(&mut self, now: Duration, conn: ConnId) {
        let now = self.at(now);
        if let Some(entry) = self.conns.get_mut(conn) {
            match &mut entry.state {
                State::Connecting { .. } => return self.connect_failed(now, conn),
                State::Probing { .. } => return self.probed(now, conn, false),
                State::Held { lost } => *lost = true,
                State::Idle => {
                    self.idle.retain(|&(_, other)| other != conn);
                    self.close(conn, false);
                }
                State::Resetting { .. } => self.close(conn, false),
                State::Permit | State::Closing => {}
            }
        }
        self.settle(now);
    }

    /// The answer to Close: the socket is closed.
    pub fn closed(&mut self, now: Duration, conn: ConnId) {
        let now = self.at(now);
        if let Some(State::Closing) = self.state(conn) {
            self.forget(conn);
        }
        self.settle(now);
    }

    /// Closes the connection that has been idle longest, if there is one, so that another owner of permits may connect.
    pub fn yield_idle(&mut self, now: Duration) -> Option<ConnId> {
        let now = self.at(now);
        let (_, longest) = self.idle.pop_front()?;
        self.close(longest, false);
        self.settle(now);
        Some(longest)
    }

    /// Handles every deadline up to `now`.
    pub fn tick(&mut self, now: Duration) {
        let now = self.at(now);
        for at in 0..self.probing.len() {
            if let Some(entry) = self.conns.get_mut(self.probing[at])
                && let State::Probing { waiter } = &mut entry.state
                && let Some(waiter) = waiter.take_if(|waiter| waiter.deadline <= now)
            {
                self.fail(waiter, Failure::WaitTimeout);
            }
        }
        if self.due <= now {
            self.tick_conns(now);
        }
        while let Some(waiter) = self.waiters.pop_due(now) {
            self.fail(waiter, Failure::WaitTimeout);
        }
        while self.idle_due() <= now
            && let Some((_, conn)) = self.idle.pop_front()
        {
            self.close(conn, true);
        }
        self.settle(now);
    }

    /// No more acquires; idle connections close now, checked-out ones at their release. Connections that are being
    /// made for a waiter still go to it, as in pg-pool.
    pub fn end(&mut self, now: Duration) -> Result<(), Misuse> {
        let now = self.at(now);
        if self.ending {
            return Err(Misuse::Ended);
        }
        self.ending = true;
        while let Some((_, conn)) = self.idle.pop_front() {
            self.close(conn, false);
        }
        let ownerless = self.conns.iter().filter(|(_, conn)| conn.is_ownerless());
        for conn in ownerless.map(|(id, _)| id).collect::<Vec<_>>() {
            self.end_probe(conn);
            self.close(conn, false);
        }
        self.fail_queue();
        self.settle(now);
        Ok(())
    }

    /// The next action, until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `tick` must be called next. Changes with every call above.
    pub fn next_deadline(&self) -> Option<Duration> {
        let mut next = self.due.min(self.waiters.next_deadline()).min(self.idle_due());
        for &conn in &self.probing {
            if let Some(&State::Probing { waiter: Some(waiter) }) = self.state(conn) {
                next = next.min(waiter.deadline);
            }
        }
        (next != NEVER).then_some(next)
    }

    /// Its numbers.
    pub fn counts(&self) -> Counts {
        let expired = match self.options.max_lifetime {
            Some(_) => self.conns.iter().filter(|(_, conn)| conn.is_held_and_expired()).count(),
            None => 0,
        };
        Counts {
            total: self.total,
            idle: self.idle.len(),
            waiting: self.waiters.len(),
            expired,
        }
    }

    /// Whether the connection still has its place: not after `closed`, or when it could not be made.
    pub fn contains(&self, conn: ConnId) -> bool {
        self.conns.get(conn).is_some()
    }

    /// Whether somebody awaits what nothing else of the pool may stand for: a waiter in the queue (whose connection may
    /// be another thread's, or closing), or the end.
    pub fn is_awaited(&self) -> bool {
        match self.ending {
            true => !self.ended,
            false => !self.waiters.is_empty(),
        }
    }

    /// Whether `end` was called.
    pub fn is_ending(&self) -> bool {
        self.ending
    }
}

/// The steps that several inputs share.
impl Pool {
    fn at(&mut self, now: Duration) -> Duration {
        self.clock = self.clock.max(now);
        self.clock
    }

    fn state(&self, conn: ConnId) -> Option<&State> {
        Some(&self.conns.get(conn)?.state)
    }

    /// The end of every input: serves waiters as far as possible, and leaves `due` exact.
    fn settle(&mut self, now: Duration) {
        if self.ending {
            self.fail_queue();
            if self.conns.len() == 0 && !self.ended {
                self.ended = true;
                self.actions.push_back(Action::Ended);
            }
        } else {
            self.serve(now);
            while self.permits.len() > self.waiters.len() {
                let withdrawn = self.permits.pop();
                withdrawn.into_iter().for_each(|conn| self.close(conn, false));
            }
        }
        if self.due_is_stale {
            self.due_is_stale = false;
            self.due = self.conns.iter().map(|(_, conn)| conn.due()).min().unwrap_or(NEVER);
        }
    }

    /// First waiter first: an idle connection, else a new one.
    fn serve(&mut self, now: Duration) {
        while !self.waiters.is_empty() {
            if let Some(conn) = self.take_idle(now) {
                self.probing.push(conn);
                let waiter = self.waiters.pop();
                self.set(conn, State::Probing { waiter });
                self.actions.push_back(Action::Probe(conn));
            } else if self.options.needs_permit {
                if self.permits.len() >= self.waiters.len() {
                    return;
                }
                let Some(conn) = self.conns.insert(Conn::new()) else {
                    return;
                };
                self.permits.push(conn);
                self.actions.push_back(Action::Permit(conn));
            } else {
                let Some(conn) = self.conns.insert(Conn::new()) else {
                    return;
                };
                self.total += 1;
                if let Some(waiter) = self.waiters.pop() {
                    self.connect(now, conn, waiter);
                }
            }
        }
    }

    /// The connection that went idle last; closes those that are too old on the way.
    fn take_idle(&mut self, now: Duration) -> Option<ConnId> {
        while let Some((since, conn)) = self.idle.pop_back() {
            let too_long = self.total > self.options.min && after(since, self.options.idle_timeout) <= now;
            match self.conns.get(conn) {
                Some(entry) if !too_long && entry.dies > now => return Some(conn),
                _ => self.close(conn, true),
            }
        }
        None
    }

    fn connect(&mut self, now: Duration, conn: ConnId, waiter: Waiter) {
        let deadline = after(now, self.options.acquire_timeout);
        self.due = self.due.min(deadline).min(waiter.deadline);
        let waiter = Some(waiter);
        self.set(conn, State::Connecting { waiter, deadline });
        self.actions.push_back(Action::Connect(conn));
    }

    fn deliver(&mut self, conn: ConnId, waiter: Waiter) {
        if let Some(entry) = self.conns.get_mut(conn) {
            let fresh = entry.uses == 0;
            entry.uses = entry.uses.saturating_add(1);
            entry.state = State::Held { lost: false };
            let waiter = waiter.id();
            self.actions.push_back(Action::Deliver { waiter, conn, fresh });
        }
    }

    /// A connection without an owner: to the first waiter, else idle.
    fn give_back(&mut self, now: Duration, conn: ConnId) {
        if self.ending {
            self.close(conn, false);
        } else if let Some(waiter) = self.waiters.pop() {
            self.deliver(conn, waiter);
        } else {
            self.set(conn, State::Idle);
            self.idle.push_back((now, conn));
            self.actions.push_back(Action::Idle(conn));
        }
    }

    /// Takes a waiter from the connection that is being made or probed for it.
    fn unbind(&mut self, id: WaiterId) -> bool {
        let bound = self.conns.iter().find_map(|(conn, entry)| match &entry.state {
            State::Connecting {
                waiter: Some(waiter), ..
            }
            | State::Probing { waiter: Some(waiter) } => (waiter.id() == id).then_some(conn),
            _ => None,
        });
        let Some(entry) = bound.and_then(|conn| self.conns.get_mut(conn)) else {
            return false;
        };
        self.due_is_stale = true;
        if let State::Connecting { waiter, .. } | State::Probing { waiter } = &mut entry.state {
            *waiter = None;
        }
        true
    }

    /// Ends the state Probing; `None` when the connection was not in it.
    fn end_probe(&mut self, conn: ConnId) -> Option<Option<Waiter>> {
        let Some(&State::Probing { waiter }) = self.state(conn) else {
            return None;
        };
        self.probing.retain(|&other| other != conn);
        Some(waiter)
    }

    fn requeue(&mut self, waiter: Option<Waiter>) {
        if let Some(waiter) = waiter {
            self.waiters.put_back(waiter);
        }
    }

    fn fail(&mut self, waiter: Waiter, failure: Failure) {
        let waiter = waiter.id();
        self.actions.push_back(Action::Fail { waiter, failure });
    }

    fn fail_queue(&mut self) {
        while self.options.end_fails_waiters
            && let Some(waiter) = self.waiters.pop()
        {
            self.fail(waiter, Failure::Ended);
        }
    }

    /// The caller has taken the connection out of `idle` and `probing`.
    fn close(&mut self, conn: ConnId, expired: bool) {
        if let Some(entry) = self.conns.get_mut(conn) {
            self.due_is_stale |= entry.due() <= self.due;
            match std::mem::replace(&mut entry.state, State::Closing) {
                State::Closing => return,
                State::Permit => self.permits.retain(|&other| other != conn),
                _ => self.total -= 1,
            }
            self.actions.push_back(Action::Close { conn, expired });
        }
    }

    fn forget(&mut self, conn: ConnId) {
        if let Some(entry) = self.conns.remove(conn) {
            self.due_is_stale |= entry.due() <= self.due;
        }
    }

    fn set(&mut self, conn: ConnId, state: State) {
        if let Some(entry) = self.conns.get_mut(conn) {
            entry.state = state;
        }
    }

    /// When the longest idle connection has been idle for too long.
    fn idle_due(&self) -> Duration {
        match (self.options.idle_timeout, self.idle.front()) {
            (Some(timeout), Some(&(since, _))) if self.total > self.options.min => since.saturating_add(timeout),
            _ => NEVER,
        }
    }

    /// The deadlines that belong to single connections.
    fn tick_conns(&mut self, now: Duration) {
        self.due_is_stale = true;
        let due = self.conns.iter().filter(|(_, conn)| conn.due() <= now);
        let due: Vec<_> = due.map(|(id, _)| id).collect();
        for conn in due {
            let Some(entry) = self.conns.get_mut(conn) else {
                continue;
            };
            match &mut entry.state {
                &mut State::Connecting { waiter, deadline } if deadline <= now => {
                    if let Some(waiter) = waiter {
                        self.fail(waiter, Failure::ConnectTimeout);
                    }
                    self.close(conn, false);
                }
                State::Connecting { waiter, .. } => {
                    if let Some(waiter) = waiter.take() {
                        self.fail(waiter, Failure::WaitTimeout);
                    }
                }
                &mut State::Resetting { deadline } if deadline <= now => self.close(conn, false),
                State::Idle => {
                    self.idle.retain(|&(_, other)| other != conn);
                    self.close(conn, true);
                }
                _ => entry.expired = true,
            }
        }
    }
}

impl Conn {
    fn new() -> Conn {
        Conn {
            state: State::Permit,
            uses: 0,
            dies: NEVER,
            expired: false,
        }
    }

    /// When `tick_conns` has something to do for it.
    fn due(&self) -> Duration {
        let dies = if self.expired { NEVER } else { self.dies };
        match &self.state {
            State::Permit | State::Closing => NEVER,
            State::Connecting { waiter, deadline } => waiter.map_or(*deadline, |waiter| waiter.deadline.min(*deadline)),
            State::Resetting { deadline } => dies.min(*deadline),
            State::Idle | State::Probing { .. } | State::Held { .. } => dies,
        }
    }

    /// Too old or used too often for another checkout.
    fn is_used_up(&self, now: Duration, options: &PoolOptions) -> bool {
        self.dies <= now || options.max_uses.is_some_and(|most| self.uses >= most)
    }

    fn is_held_and_expired(&self) -> bool {
        self.expired && matches!(self.state, State::Held { .. })
    }

    /// Neither a caller nor a waiter has it, and it is not closing.
    fn is_ownerless(&self) -> bool {
        match &self.state {
            State::Connecting { waiter, .. } | State::Probing { waiter } => waiter.is_none(),
            State::Permit | State::Idle | State::Resetting { .. } => true,
            State::Held { .. } | State::Closing => false,
        }
    }
}

fn after(now: Duration, timeout: Option<Duration>) -> Duration {
    timeout.map_or(NEVER, |timeout| now.saturating_add(timeout))
}
