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
//!      acquire_query, all busy ┌── Held ──────┤ last release(Reuse), no waiter
//!     release, others in flight└──► │         │
//!                 last release(Dirty)         │
//!                                   ▼         │
//!                               Resetting ────┘ reset_done(clean)
//!
//!   any ── too old, unhealthy, lost, timed out, destroyed, ended ──► Closing ── closed ──► (none)
//! ```
//!
//! One that is Held by queries only may be handed to another query meanwhile: see [`sharing`](super::sharing).
//!
//! A Closing connection is no longer counted, but keeps its slot, so the server never sees more than `max`.

use std::collections::VecDeque;
use std::time::Duration;

use super::conn::{Conn, NEVER, State, after};
use super::slots::{MOST, Slots};
use super::waiters::{Purpose, Waiters};
use super::{Action, ConnId, Counts, Failure, Misuse, PoolOptions, Release, WaiterId};

/// The machine. Not thread-safe by itself; one owner drives it.
///
/// Answers for a connection that is not in the state that asked for them (they crossed a Close) change nothing.
#[derive(Debug)]
pub struct Pool {
    pub(super) options: PoolOptions,
    pub(super) conns: Slots<Conn>,
    pub(super) waiters: Waiters,
    /// Idle connections and since when, longest idle first; checkouts take the last.
    pub(super) idle: VecDeque<(Duration, ConnId)>,
    /// Connections that wait for the answer to Probe: almost always none or one.
    pub(super) probing: Vec<ConnId>,
    /// Connections that wait for their permit.
    pub(super) permits: Vec<ConnId>,
    /// Connections in `conns` that are not closing and not waiting for a permit.
    pub(super) total: usize,
    /// The earliest of all [`Conn::due`].
    pub(super) due: Duration,
    /// `due` may be too early: a connection that had it is past it.
    pub(super) due_is_stale: bool,
    pub(super) ending: bool,
    pub(super) ended: bool,
    pub(super) actions: VecDeque<Action>,
    /// The latest `now`; time never runs backwards here.
    pub(super) clock: Duration,
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

    /// Asks for a connection; the answer is a Deliver or Fail with this number. Nobody shares it until its release.
    pub fn acquire(&mut self, now: Duration) -> Result<WaiterId, Misuse> {
        self.wait(now, Purpose::Connection)
    }

    /// Asks for a connection for one query that is a transaction of its own; the answer as for [`Pool::acquire`].
    ///
    /// While all connections are busy, the Deliver may name one on which other such queries are in flight, up to
    /// [`PoolOptions::max_in_flight`]: send them in the order of their Delivers, and release the connection once for
    /// each, when its ReadyForQuery came or the connection is lost. `leads`: others may be sent behind this one, which
    /// the caller knows to be fast and to leave no trace in the session.
    pub fn acquire_query(&mut self, now: Duration, leads: bool) -> Result<WaiterId, Misuse> {
        self.wait(now, Purpose::Query { leads })
    }

    fn wait(&mut self, now: Duration, purpose: Purpose) -> Result<WaiterId, Misuse> {
        let now = self.at(now);
        if self.ending {
            return Err(Misuse::Ended);
        }
        let deadline = after(now, self.options.acquire_timeout);
        let waiter = self.waiters.push(deadline, purpose);
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
                Some(waiter) => self.deliver(now, conn, waiter),
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
                Some(waiter) if healthy => self.deliver(now, conn, waiter),
                None if healthy && self.is_used_up(now, conn) => self.close(conn, true),
                None if healthy => self.give_back(now, conn),
                waiter => {
                    self.close(conn, false);
                    self.requeue(waiter);
                }
            }
        }
        self.settle(now);
    }

    /// Gives a connection back, or ends one of the queries on it: then the last of them gives it back, and the worst
    /// `how` of all counts.
    pub fn release(&mut self, now: Duration, conn: ConnId, how: Release) -> Result<(), Misuse> {
        let now = self.at(now);
        let Some(entry) = self.conns.get_mut(conn) else {
            return Err(Misuse::NotHeld);
        };
        let State::Held(loan) = &mut entry.state else {
            return Err(Misuse::NotHeld);
        };
        if let Some(fate) = loan.release(now, how) {
            if self.ending || fate == Release::Destroy {
                self.close(conn, false);
            } else if entry.is_used_up(now, &self.options) {
                self.close(conn, true);
            } else if fate == Release::Dirty {
                let deadline = after(now, Some(self.options.reset_timeout));
                entry.state = State::Resetting { deadline };
                self.due = self.due.min(deadline);
                self.actions.push_back(Action::Reset(conn));
            } else {
                self.give_back(now, conn);
            }
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
                State::Held(loan) => loan.condemn(),
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
