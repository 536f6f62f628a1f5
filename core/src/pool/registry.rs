//! One limit over the pools of several threads. Each thread's [`Pool`] asks for a permit before it connects
//! ([`PoolOptions::needs_permit`](super::PoolOptions::needs_permit)); the pools of one name draw on one count.
//!
//! A pool that gets no permit waits in a queue, first come, first served, and the other pools close idle connections
//! for it: at once if they have one, else when one becomes idle. A pool's own waiters come before another pool's.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::{Action, ConnId, Pool};

/// Reaches the thread that drives a pool. Called under a lock: pass the word on and return.
pub trait Owner: Send + Sync {
    /// The permit for this connection came: call [`Member::permitted`].
    fn permitted(&self, conn: ConnId);
    /// Another pool waits and this one has idle connections: call [`Member::poll`].
    fn wanted(&self);
}

/// The limits of a process, by name.
#[derive(Default)]
pub struct Registry(Mutex<HashMap<String, Weak<Permits>>>);

impl Registry {
    /// Adds a pool. `limit`: connections of all pools of this name together, as far as this one asks.
    pub fn join(&self, name: &str, limit: usize, owner: Arc<dyn Owner>) -> Member {
        let mut limits = lock(&self.0);
        limits.retain(|_, permits| permits.strong_count() > 0);
        let permits = limits.get(name).and_then(Weak::upgrade).unwrap_or_default();
        limits.insert(name.to_owned(), Arc::downgrade(&permits));
        let idle = Arc::new(AtomicUsize::new(0));
        let mut state = lock(&permits.state);
        let id = state.next_id;
        state.next_id += 1;
        let entry = Entry {
            limit: limit.max(1),
            owner,
            idle: Arc::clone(&idle),
            held: HashSet::new(),
            yielding: HashSet::new(),
        };
        state.members.insert(id, entry);
        drop(state);
        Member { permits, id, idle }
    }
}

/// The permits of one name.
#[derive(Default)]
struct Permits {
    state: Mutex<State>,
    /// Connections that should still be given up: requests in the queue without a connection closing for them.
    wanted: AtomicUsize,
}

#[derive(Default)]
struct State {
    next_id: u64,
    members: HashMap<u64, Entry>,
    /// Requests without a permit.
    queue: VecDeque<(u64, ConnId)>,
}

struct Entry {
    limit: usize,
    owner: Arc<dyn Owner>,
    idle: Arc<AtomicUsize>,
    held: HashSet<ConnId>,
    /// Of `held`, those that close for somebody else.
    yielding: HashSet<ConnId>,
}

impl State {
    fn held(&self) -> usize {
        self.members.values().map(|entry| entry.held.len()).sum()
    }

    fn grant(&mut self, id: u64, conn: ConnId) -> bool {
        let held = self.held();
        let Some(entry) = self.members.get_mut(&id).filter(|entry| held < entry.limit) else {
            return false;
        };
        entry.held.insert(conn)
    }

    /// Serves the queue as far as there are permits.
    fn serve(&mut self) {
        while let Some(&(id, conn)) = self.queue.front()
            && self.grant(id, conn)
        {
            self.queue.pop_front();
            if let Some(entry) = self.members.get(&id) {
                entry.owner.permitted(conn);
            }
        }
    }
}

impl Permits {
    /// Locks the state for a change, which ends by [`Permits::settle`].
    fn settle(&self, state: &mut State) {
        state.serve();
        let yielding: usize = state.members.values().map(|entry| entry.yielding.len()).sum();
        self.wanted
            .store(state.queue.len().saturating_sub(yielding), Ordering::SeqCst);
    }
}

/// One pool's part in a limit. Dropping it gives its permits back.
pub struct Member {
    permits: Arc<Permits>,
    id: u64,
    idle: Arc<AtomicUsize>,
}

impl Member {
    /// The pool's next action: instead of [`Pool::poll_action`], and never a [`Action::Permit`].
    pub fn poll(&self, pool: &mut Pool, now: Duration) -> Option<Action> {
        loop {
            match pool.poll_action() {
                Some(Action::Permit(conn)) => {
                    if self.request(conn) {
                        pool.permitted(now, conn);
                    }
                }
                Some(action) => return Some(action),
                None => {
                    let idle = pool.counts().idle;
                    // Before `wanted` is read: who asks reads them in the other order, so that one of us sees the other.
                    self.idle.store(idle, Ordering::SeqCst);
                    if idle == 0 || self.permits.wanted.load(Ordering::SeqCst) == 0 {
                        return None;
                    }
                    self.yields(pool.yield_idle(now)?);
                }
            }
        }
    }

    /// The word of [`Owner::permitted`]. It may have crossed the end of the request.
    pub fn permitted(&self, pool: &mut Pool, now: Duration, conn: ConnId) {
        if self.with(|entry| entry.held.contains(&conn)) {
            pool.permitted(now, conn);
        }
    }

    /// Gives the permit back, or the place in the queue, of a connection that the pool does not have any more.
    pub fn give_back(&self, pool: &Pool, conn: ConnId) {
        if pool.contains(conn) {
            return;
        }
        let mut state = lock(&self.permits.state);
        if let Some(entry) = state.members.get_mut(&self.id) {
            entry.yielding.remove(&conn);
            if !entry.held.remove(&conn) {
                state.queue.retain(|&request| request != (self.id, conn));
            }
        }
        self.permits.settle(&mut state);
    }

    /// Whether there was a permit; if not, [`Owner::permitted`] comes.
    fn request(&self, conn: ConnId) -> bool {
        let mut state = lock(&self.permits.state);
        if state.queue.is_empty() && state.grant(self.id, conn) {
            return true;
        }
        state.queue.push_back((self.id, conn));
        self.permits.settle(&mut state);
        let wanted = self.permits.wanted.load(Ordering::SeqCst);
        let others = state.members.iter().filter(|&(id, _)| *id != self.id);
        let idle = others.filter(|(_, entry)| entry.idle.load(Ordering::SeqCst) > 0);
        idle.take(wanted).for_each(|(_, entry)| entry.owner.wanted());
        false
    }

    fn yields(&self, conn: ConnId) {
        self.with(|entry| entry.yielding.insert(conn));
        self.permits.settle(&mut lock(&self.permits.state));
    }

    fn with(&self, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let mut state = lock(&self.permits.state);
        state.members.get_mut(&self.id).is_some_and(change)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = lock(&self.permits.state);
        state.members.remove(&self.id);
        state.queue.retain(|&(id, _)| id != self.id);
        self.permits.settle(&mut state);
    }
}

/// Nothing here panics while it holds a lock, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
