//! Inputs: acquire, release, connected, failed, …, tick. Outputs: actions for the driver, and the next deadline.
//!
//! `now` is the time since any fixed point, by a clock that also runs while the process or machine is suspended
//! (CLOCK_BOOTTIME).

use std::time::Duration;

/// A connection's number; never used twice by one pool.
pub type ConnId = u32;
/// A waiter's number; never used twice by one pool.
pub type WaiterId = u32;

/// The limits. All durations: `None` = no limit.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Connections at most, connecting and closing ones included; at least 1.
    pub max: usize,
    /// Idle eviction by `idle_timeout` stops at this many connections; never pre-connects.
    pub min: usize,
    /// An idle connection is closed after this long.
    pub idle_timeout: Option<Duration>,
    /// From acquire to delivery: waiting in the queue and connecting together.
    pub acquire_timeout: Option<Duration>,
    /// A connection is replaced when older than this and not checked out.
    pub max_lifetime: Option<Duration>,
    /// A connection is closed at the release after this many checkouts.
    pub max_uses: Option<u32>,
    /// `end` fails queued waiters (else they stay pending for ever, as in pg-pool).
    pub end_fails_waiters: bool,
    /// How long a [`Action::Reset`] may take before the connection is destroyed.
    pub reset_timeout: Duration,
}

/// How the caller gives a connection back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Reuse it if its age, uses and the pool's state allow.
    Reuse,
    /// It is dirty (open transaction, running or cancelled query): clean it first with [`Action::Reset`].
    Dirty,
    /// Close it.
    Destroy,
}

/// Why a waiter got no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Timed out in the queue.
    WaitTimeout,
    /// Timed out while its connection was connecting.
    ConnectTimeout,
    /// Its connection could not be made; the driver knows the error of this connection.
    Connect(ConnId),
    /// The pool ended.
    Ended,
}

/// The caller's mistake; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misuse {
    /// The connection is not checked out (released twice).
    NotHeld,
    /// `end` was called before.
    Ended,
}

/// What the driver must do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Open a connection, then answer `connected` or `connect_failed`.
    Connect(ConnId),
    /// Look at the socket of an idle connection (end of file, unread bytes), then answer `probed`.
    Probe(ConnId),
    /// Hand the connection to the waiter. `fresh`: its first checkout.
    Deliver {
        /// Who gets it.
        waiter: WaiterId,
        /// What.
        conn: ConnId,
        /// Whether this is the connection's first checkout.
        fresh: bool,
    },
    /// Tell the waiter that it gets none.
    Fail {
        /// Who.
        waiter: WaiterId,
        /// Why.
        failure: Failure,
    },
    /// Clean a released connection (await a cancel, ROLLBACK), then answer `reset_done`.
    Reset(ConnId),
    /// The connection went idle (an observer may want to know; nothing need be done).
    Idle(ConnId),
    /// Close the connection or give up connecting it, then answer `closed`. `expired`: by idle time, lifetime or uses.
    Close {
        /// Which.
        conn: ConnId,
        /// Whether age or uses ended it.
        expired: bool,
    },
    /// The pool has ended: every connection is closed.
    Ended,
}

/// The pool's numbers, as pg-pool counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections, connecting ones included, closing ones not.
    pub total: usize,
    /// Of these, idle ones.
    pub idle: usize,
    /// Waiters in the queue (one whose connection is connecting is not in the queue).
    pub waiting: usize,
    /// Connections that are checked out and past their lifetime.
    pub expired: usize,
}

/// The machine. Not thread-safe by itself; one owner drives it.
#[derive(Debug)]
pub struct Pool {}

impl Pool {
    /// An empty pool.
    pub fn new(_options: PoolOptions) -> Pool {
        todo!()
    }

    /// Asks for a connection; the answer is a Deliver or Fail with this number.
    pub fn acquire(&mut self, _now: Duration) -> Result<WaiterId, Misuse> {
        todo!()
    }

    /// The waiter gave up; no answer will come. A no-op when it was answered already (`false`).
    pub fn cancel(&mut self, _now: Duration, _waiter: WaiterId) -> bool {
        todo!()
    }

    /// The connection is open.
    pub fn connected(&mut self, _now: Duration, _conn: ConnId) {
        todo!()
    }

    /// The connection could not be opened; its slot is free.
    pub fn connect_failed(&mut self, _now: Duration, _conn: ConnId) {
        todo!()
    }

    /// The answer to Probe.
    pub fn probed(&mut self, _now: Duration, _conn: ConnId, _healthy: bool) {
        todo!()
    }

    /// Gives a connection back.
    pub fn release(&mut self, _now: Duration, _conn: ConnId, _how: Release) -> Result<(), Misuse> {
        todo!()
    }

    /// The answer to Reset.
    pub fn reset_done(&mut self, _now: Duration, _conn: ConnId, _clean: bool) {
        todo!()
    }

    /// The connection broke by itself. A checked-out one still has to be released.
    pub fn lost(&mut self, _now: Duration, _conn: ConnId) {
        todo!()
    }

    /// The answer to Close: the socket is closed.
    pub fn closed(&mut self, _now: Duration, _conn: ConnId) {
        todo!()
    }

    /// Handles every deadline up to `now`.
    pub fn tick(&mut self, _now: Duration) {
        todo!()
    }

    /// No more acquires; idle connections close now, checked-out ones at their release.
    pub fn end(&mut self, _now: Duration) -> Result<(), Misuse> {
        todo!()
    }

    /// The next action, until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        todo!()
    }

    /// When `tick` must be called next. Changes with every call above.
    pub fn next_deadline(&self) -> Option<Duration> {
        todo!()
    }

    /// Its numbers.
    pub fn counts(&self) -> Counts {
        todo!()
    }

    /// Whether `end` was called.
    pub fn is_ending(&self) -> bool {
        todo!()
    }
}
