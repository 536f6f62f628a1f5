//! The queue of waiters: first in, first out; a waiter that returns takes its old place.

use std::collections::VecDeque;
use std::time::Duration;

use super::WaiterId;

/// Ids stay below 2³¹, so that they are small integers for every binding.
const ID_MASK: u32 = (1 << 31) - 1;

/// What a waiter wants the connection for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For itself, until it gives it back.
    Connection,
    /// For one query. `leads`: others may go behind it.
    Query { leads: bool },
}

impl Purpose {
    pub(super) fn leads(self) -> bool {
        self == Purpose::Query { leads: true }
    }
}

/// One acquire that has no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    /// Its place in the order of acquires; never used twice.
    pub(super) seq: u64,
    /// When it fails; [`Duration::MAX`] = never.
    pub(super) deadline: Duration,
    pub(super) purpose: Purpose,
}

impl Waiter {
    pub(super) fn id(&self) -> WaiterId {
        self.seq as u32 & ID_MASK
    }
}

/// Sorted by `seq`, hence by deadline too: all wait equally long.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    queue: VecDeque<Waiter>,
    last_seq: u64,
}

impl Waiters {
    /// Makes the next waiter and puts it at the end of the queue.
    pub(super) fn push(&mut self, deadline: Duration, purpose: Purpose) -> WaiterId {
        self.last_seq += 1;
        let waiter = Waiter {
            seq: self.last_seq,
            deadline,
            purpose,
        };
        self.queue.push_back(waiter);
        waiter.id()
    }

    /// Puts a waiter that had left the queue back before all that came after it.
    pub(super) fn put_back(&mut self, waiter: Waiter) {
        let at = self.queue.partition_point(|other| other.seq < waiter.seq);
        self.queue.insert(at, waiter);
    }

    pub(super) fn pop(&mut self) -> Option<Waiter> {
        self.queue.pop_front()
    }

    /// Takes the first waiter if its time is up.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Waiter> {
        self.queue.pop_front_if(|first| first.deadline <= now)
    }

    /// Takes a waiter out of the middle.
    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let age = (self.last_seq as u32).wrapping_sub(id) & ID_MASK;
        let seq = self.last_seq.checked_sub(u64::from(age))?;
        let at = self.queue.binary_search_by_key(&seq, |waiter| waiter.seq).ok()?;
        self.queue.remove(at)
    }

    pub(super) fn next_deadline(&self) -> Duration {
        self.queue.front().map_or(Duration::MAX, |first| first.deadline)
    }

    pub(super) fn is_query_first(&self) -> bool {
        let first = self.queue.front().map(|first| first.purpose);
        matches!(first, Some(Purpose::Query { .. }))
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn push(waiters: &mut Waiters) -> WaiterId {
        waiters.push(Duration::MAX, Purpose::Connection)
    }

    #[test]
    fn a_waiter_is_found_after_the_ids_wrap_around() {
        let mut waiters = Waiters {
            last_seq: (1 << 31) - 2,
            ..Waiters::default()
        };
        let ids: Vec<_> = (0..4).map(|_| push(&mut waiters)).collect();
        assert_eq!(ids, [ID_MASK, 0, 1, 2]);
        assert_eq!(waiters.remove(0).unwrap().id(), 0);
        assert_eq!(waiters.remove(ID_MASK).unwrap().id(), ID_MASK);
        assert_eq!(waiters.remove(0), None);
        assert_eq!(waiters.remove(3), None);
        assert_eq!(waiters.len(), 2);
    }

    #[test]
    fn a_waiter_returns_to_its_place() {
        let mut waiters = Waiters::default();
        let ids: Vec<_> = (0..3).map(|_| push(&mut waiters)).collect();
        let first = waiters.pop().unwrap();
        let second = waiters.pop().unwrap();
        waiters.put_back(first);
        waiters.put_back(second);
        let order: Vec<_> = std::iter::from_fn(|| waiters.pop()).map(|w| w.id()).collect();
        assert_eq!(order, ids);
    }
}
