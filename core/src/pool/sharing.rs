//! Who may share a connection: one-shot queries, each a transaction of its own, go behind others that are still running.
//!
//! What was sent cannot be recalled, and the server answers in order, so a query that goes behind another waits for it,
//! whatever else becomes free meanwhile. Hence only when every connection is busy, only behind queries that promise to
//! be fast, and only while the one at the head keeps that promise.
//!
//! All that time alone can do is to take a connection out of the choice. So nobody who was left waiting needs a deadline
//! to be looked at again: the next input that changes something for them does it.

use std::time::Duration;

use super::conn::{Conn, State};
use super::waiters::Purpose;
use super::{Pool, PoolOptions, Release};

/// Nothing goes behind a query that has run for this long.
pub(super) const HEAD_MAX: Duration = Duration::from_millis(5);

/// What is checked out on a Held connection: itself, or queries one behind the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loan {
    /// Checkouts that were not released.
    in_flight: u32,
    /// All of them are queries that others may go behind, and nothing is wrong with the connection.
    open: bool,
    /// When the head began: at its delivery, or when the one before it was released.
    head_since: Duration,
    /// What becomes of the connection: the worst that was heard of it so far.
    fate: Release,
}

impl Loan {
    pub(super) fn new(now: Duration, purpose: Purpose) -> Loan {
        Loan {
            in_flight: 1,
            open: purpose.leads(),
            head_since: now,
            fate: Release::Reuse,
        }
    }

    /// The same with another query behind.
    fn with(self, purpose: Purpose) -> Loan {
        Loan {
            in_flight: self.in_flight + 1,
            open: self.open && purpose.leads(),
            ..self
        }
    }

    /// One checkout ends; at the last one, what becomes of the connection. Which of the queries it was does not matter:
    /// one that does not lead is the last in any case.
    pub(super) fn release(&mut self, now: Duration, how: Release) -> Option<Release> {
        self.worsen(how);
        self.head_since = now;
        self.in_flight -= 1;
        (self.in_flight == 0).then_some(self.fate)
    }

    /// The connection broke.
    pub(super) fn condemn(&mut self) {
        self.worsen(Release::Destroy);
    }

    fn worsen(&mut self, how: Release) {
        self.fate = self.fate.max(how);
        self.open &= self.fate == Release::Reuse;
    }
}

impl Conn {
    /// The loan, if another query may join it.
    fn joinable(&self, now: Duration, options: &PoolOptions) -> Option<Loan> {
        let State::Held(loan) = self.state else {
            return None;
        };
        let joinable = loan.open
            && loan.in_flight < options.max_in_flight
            && now.saturating_sub(loan.head_since) < HEAD_MAX
            && !self.is_used_up(now, options);
        joinable.then_some(loan)
    }
}

impl Pool {
    /// No connection is idle, and none can be made: the first waiter, if it is a query, goes behind the fewest others.
    #[inline]
    pub(super) fn join(&mut self, now: Duration) -> bool {
        // A slot that waits for its permit is one for a new connection.
        let shares = self.options.max_in_flight > 1 && self.permits.is_empty();
        shares && self.waiters.is_query_first() && self.join_fewest(now)
    }

    // Out of line: its registers would be saved on the way of every acquire and release.
    #[inline(never)]
    fn join_fewest(&mut self, now: Duration) -> bool {
        let conns = self.conns.iter();
        let joinable = conns.filter_map(|(id, conn)| Some((id, conn.joinable(now, &self.options)?)));
        let Some((conn, loan)) = joinable.min_by_key(|(_, loan)| loan.in_flight) else {
            return false;
        };
        if let Some(waiter) = self.waiters.pop() {
            let loan = loan.with(waiter.purpose);
            self.hand_over(conn, waiter, loan);
        }
        true
    }
}
