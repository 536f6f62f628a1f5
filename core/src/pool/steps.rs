//! The steps that several inputs of the machine share.

use std::time::Duration;

use super::conn::{Conn, NEVER, State, after};
use super::sharing::Loan;
use super::waiters::Waiter;
use super::{Action, ConnId, Failure, Pool, WaiterId};

impl Pool {
    pub(super) fn at(&mut self, now: Duration) -> Duration {
        self.clock = self.clock.max(now);
        self.clock
    }

    pub(super) fn state(&self, conn: ConnId) -> Option<&State> {
        Some(&self.conns.get(conn)?.state)
    }

    pub(super) fn is_used_up(&self, now: Duration, conn: ConnId) -> bool {
        let entry = self.conns.get(conn);
        entry.is_some_and(|entry| entry.is_used_up(now, &self.options))
    }

    /// The end of every input: serves waiters as far as possible, and leaves `due` exact.
    pub(super) fn settle(&mut self, now: Duration) {
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

    /// First waiter first: an idle connection, else a new one, else, for a query, a place behind others.
    pub(super) fn serve(&mut self, now: Duration) {
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
                if let Some(conn) = self.conns.insert(Conn::new()) {
                    self.permits.push(conn);
                    self.actions.push_back(Action::Permit(conn));
                } else if !self.join(now) {
                    return;
                }
            } else if let Some(conn) = self.conns.insert(Conn::new()) {
                self.total += 1;
                if let Some(waiter) = self.waiters.pop() {
                    self.connect(now, conn, waiter);
                }
            } else if !self.join(now) {
                return;
            }
        }
    }

    /// The connection that went idle last; closes those that are too old on the way.
    pub(super) fn take_idle(&mut self, now: Duration) -> Option<ConnId> {
        while let Some((since, conn)) = self.idle.pop_back() {
            let too_long = self.total > self.options.min && after(since, self.options.idle_timeout) <= now;
            match self.conns.get(conn) {
                Some(entry) if !too_long && entry.dies > now => return Some(conn),
                _ => self.close(conn, true),
            }
        }
        None
    }

    pub(super) fn connect(&mut self, now: Duration, conn: ConnId, waiter: Waiter) {
        let deadline = after(now, self.options.acquire_timeout);
        self.due = self.due.min(deadline).min(waiter.deadline);
        let waiter = Some(waiter);
        self.set(conn, State::Connecting { waiter, deadline });
        self.actions.push_back(Action::Connect(conn));
    }

    pub(super) fn deliver(&mut self, now: Duration, conn: ConnId, waiter: Waiter) {
        self.hand_over(conn, waiter, Loan::new(now, waiter.purpose));
    }

    pub(super) fn hand_over(&mut self, conn: ConnId, waiter: Waiter, loan: Loan) {
        if let Some(entry) = self.conns.get_mut(conn) {
            let fresh = entry.uses == 0;
            entry.uses = entry.uses.saturating_add(1);
            entry.state = State::Held(loan);
            let waiter = waiter.id();
            self.actions.push_back(Action::Deliver { waiter, conn, fresh });
        }
    }

    /// A connection without an owner: to the first waiter, else idle.
    pub(super) fn give_back(&mut self, now: Duration, conn: ConnId) {
        if self.ending {
            self.close(conn, false);
        } else if let Some(waiter) = self.waiters.pop() {
            self.deliver(now, conn, waiter);
        } else {
            self.set(conn, State::Idle);
            self.idle.push_back((now, conn));
            self.actions.push_back(Action::Idle(conn));
        }
    }

    /// Takes a waiter from the connection that is being made or probed for it.
    pub(super) fn unbind(&mut self, id: WaiterId) -> bool {
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
    pub(super) fn end_probe(&mut self, conn: ConnId) -> Option<Option<Waiter>> {
        let Some(&State::Probing { waiter }) = self.state(conn) else {
            return None;
        };
        self.probing.retain(|&other| other != conn);
        Some(waiter)
    }

    pub(super) fn requeue(&mut self, waiter: Option<Waiter>) {
        if let Some(waiter) = waiter {
            self.waiters.put_back(waiter);
        }
    }

    pub(super) fn fail(&mut self, waiter: Waiter, failure: Failure) {
        let waiter = waiter.id();
        self.actions.push_back(Action::Fail { waiter, failure });
    }

    pub(super) fn fail_queue(&mut self) {
        while self.options.end_fails_waiters
            && let Some(waiter) = self.waiters.pop()
        {
            self.fail(waiter, Failure::Ended);
        }
    }

    /// The caller has taken the connection out of `idle` and `probing`.
    pub(super) fn close(&mut self, conn: ConnId, expired: bool) {
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

    pub(super) fn forget(&mut self, conn: ConnId) {
        if let Some(entry) = self.conns.remove(conn) {
            self.due_is_stale |= entry.due() <= self.due;
        }
    }

    pub(super) fn set(&mut self, conn: ConnId, state: State) {
        if let Some(entry) = self.conns.get_mut(conn) {
            entry.state = state;
        }
    }

    /// When the longest idle connection has been idle for too long.
    pub(super) fn idle_due(&self) -> Duration {
        match (self.options.idle_timeout, self.idle.front()) {
            (Some(timeout), Some(&(since, _))) if self.total > self.options.min => since.saturating_add(timeout),
            _ => NEVER,
        }
    }

    /// The deadlines that belong to single connections.
    pub(super) fn tick_conns(&mut self, now: Duration) {
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
