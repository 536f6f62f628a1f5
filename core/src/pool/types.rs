//! What goes into the pool machine and what comes out of it.

use std::time::Duration;

/// A connection's number, below 2³¹; not used again by one pool before 2³¹ / `max` connections.
pub type ConnId = u32;
/// A waiter's number, below 2³¹; not used again by one pool before 2³¹ acquires.
pub type WaiterId = u32;

/// The limits. All durations: `None` = no limit.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Connections at most, connecting and closing ones included; at least 1, and at most 262,143 (PostgreSQL's own
    /// bound on `max_connections`).
    pub max: usize,
    /// Idle eviction by `idle_timeout` stops at this many connections; never pre-connects.
    pub min: usize,
    /// An idle connection is closed after this long.
    pub idle_timeout: Option<Duration>,
    /// From acquire to delivery: waiting in the queue and connecting together. Also bounds each connect by itself.
    pub acquire_timeout: Option<Duration>,
    /// A connection is replaced when older than this and not checked out.
    pub max_lifetime: Option<Duration>,
    /// A connection is closed at the release after this many checkouts (each query that shares one counts).
    pub max_uses: Option<u32>,
    /// `end` fails queued waiters (else they stay pending for ever, as in pg-pool).
    pub end_fails_waiters: bool,
    /// How long a [`Action::Reset`] may take before the connection is destroyed.
    pub reset_timeout: Duration,
    /// Ask for a permit ([`Action::Permit`]) before each connection: for pools that share one limit over threads.
    pub needs_permit: bool,
    /// One-shot queries ([`Pool::acquire_query`](super::Pool::acquire_query)) that may be in flight on one connection
    /// while all are busy; 1 (or 0): none shares one. A pool that [needs permits](PoolOptions::needs_permit) shares only
    /// where it has `max` connections of its own.
    pub max_in_flight: u32,
}

/// How the caller gives a connection back, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Timed out in the queue, or soon after it had left the queue for a connection that is still connecting in time
    /// (which then serves the next waiter, as in pg-pool).
    WaitTimeout,
    /// Timed out while its connection was connecting; the connection is closed.
    ConnectTimeout,
    /// Its connection could not be made; the driver knows the error of this connection.
    Connect(ConnId),
    /// The pool ended while it was queued.
    Ended,
}

/// The caller's mistake; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misuse {
    /// The connection is not checked out (released more often than delivered).
    NotHeld,
    /// `end` was called before.
    Ended,
}

/// What the driver must do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Get a permit for a new connection, then answer `permitted`. A [`Action::Close`] of this connection instead
    /// withdraws the request. Only with [`PoolOptions::needs_permit`].
    Permit(ConnId),
    /// Open a connection, then answer `connected` or `connect_failed`.
    Connect(ConnId),
    /// Look at the socket of an idle connection (end of file, unread bytes), then answer `probed`.
    Probe(ConnId),
    /// Hand the connection to the waiter, which may find other queries in flight if it asked by
    /// [`Pool::acquire_query`](super::Pool::acquire_query). `fresh`: its first checkout.
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
    /// Close the connection or give up connecting it, then answer `closed`. One that is
    /// gone already, or waits for its permit, is answered at once. `expired`: by idle time, lifetime or uses.
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
