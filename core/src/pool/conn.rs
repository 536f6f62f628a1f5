//! One connection of the pool: where it is, how old, how often used.

use std::time::Duration;

use super::PoolOptions;
use super::sharing::Loan;
use super::waiters::Waiter;

/// No deadline.
pub(super) const NEVER: Duration = Duration::MAX;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) state: State,
    /// Checkouts so far.
    pub(super) uses: u32,
    /// When its lifetime passes.
    pub(super) dies: Duration,
    /// A tick has seen its lifetime pass.
    pub(super) expired: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// Waits for a permit; not a connection yet.
    Permit,
    /// `deadline`: of the connect itself; its waiter's own may be earlier.
    Connecting { waiter: Option<Waiter>, deadline: Duration },
    /// In `Pool::idle`.
    Idle,
    /// In `Pool::probing`; the waiter is `None` when it gave up.
    Probing { waiter: Option<Waiter> },
    /// Checked out, once or by several queries.
    Held(Loan),
    /// Released dirty.
    Resetting { deadline: Duration },
    /// Waits for `closed`.
    Closing,
}

impl Conn {
    pub(super) fn new() -> Conn {
        Conn {
            state: State::Permit,
            uses: 0,
            dies: NEVER,
            expired: false,
        }
    }

    /// When `tick_conns` has something to do for it.
    pub(super) fn due(&self) -> Duration {
        let dies = if self.expired { NEVER } else { self.dies };
        match &self.state {
            State::Permit | State::Closing => NEVER,
            State::Connecting { waiter, deadline } => waiter.map_or(*deadline, |waiter| waiter.deadline.min(*deadline)),
            State::Resetting { deadline } => dies.min(*deadline),
            State::Idle | State::Probing { .. } | State::Held(_) => dies,
        }
    }

    /// Too old or used too often for another checkout.
    pub(super) fn is_used_up(&self, now: Duration, options: &PoolOptions) -> bool {
        self.dies <= now || options.max_uses.is_some_and(|most| self.uses >= most)
    }

    pub(super) fn is_held_and_expired(&self) -> bool {
        self.expired && matches!(self.state, State::Held(_))
    }

    /// Neither a caller nor a waiter has it, and it is not closing.
    pub(super) fn is_ownerless(&self) -> bool {
        match &self.state {
            State::Connecting { waiter, .. } | State::Probing { waiter } => waiter.is_none(),
            State::Permit | State::Idle | State::Resetting { .. } => true,
            State::Held(_) | State::Closing => false,
        }
    }
}

pub(super) fn after(now: Duration, timeout: Option<Duration>) -> Duration {
    timeout.map_or(NEVER, |timeout| now.saturating_add(timeout))
}
