//! Pools of several threads on one limit: random schedules, driven from one thread.

#![allow(clippy::unwrap_used)]

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heys_core::pool::{Action, ConnId, Member, Owner, Pool, PoolOptions, Registry, Release};

const LIMIT: usize = 3;

/// What the registry told a pool's thread.
#[derive(Default)]
struct Inbox(Mutex<VecDeque<Option<ConnId>>>);

impl Owner for Inbox {
    fn permitted(&self, conn: ConnId) {
        self.0.lock().unwrap().push_back(Some(conn));
    }

    fn wanted(&self) {
        self.0.lock().unwrap().push_back(None);
    }
}

/// A thread with its pool, whose connections answer when the schedule says so.
struct Thread {
    pool: Pool,
    member: Member,
    inbox: Arc<Inbox>,
    /// Connections at the server, connecting and closing ones included.
    open: HashSet<ConnId>,
    connecting: Vec<ConnId>,
    closing: Vec<ConnId>,
    held: Vec<ConnId>,
    asked: usize,
    answered: usize,
}

impl Thread {
    fn new(registry: &Registry) -> Thread {
        let inbox = Arc::new(Inbox::default());
        let options = PoolOptions {
            max: LIMIT,
            min: 0,
            idle_timeout: None,
            acquire_timeout: Some(Duration::from_secs(5)),
            max_lifetime: None,
            max_uses: None,
            end_fails_waiters: true,
            reset_timeout: Duration::from_secs(5),
            needs_permit: true,
            max_in_flight: 1,
        };
        Thread {
            pool: Pool::new(options),
            member: registry.join("shared", LIMIT, inbox.clone()),
            inbox,
            open: HashSet::new(),
            connecting: Vec::new(),
            closing: Vec::new(),
            held: Vec::new(),
            asked: 0,
            answered: 0,
        }
    }

    fn act(&mut self, now: Duration) {
        while let Some(action) = self.member.poll(&mut self.pool, now) {
            match action {
                Action::Connect(conn) => {
                    assert!(self.open.insert(conn));
                    self.connecting.push(conn);
                }
                Action::Probe(conn) => self.pool.probed(now, conn, true),
                Action::Deliver { conn, .. } => {
                    self.answered += 1;
                    self.held.push(conn);
                }
                Action::Fail { .. } => self.answered += 1,
                Action::Close { conn, .. } if self.open.contains(&conn) => {
                    self.connecting.retain(|&other| other != conn);
                    self.closing.push(conn);
                }
                // It waited for its permit.
                Action::Close { conn, .. } => self.gone(now, conn),
                Action::Idle(_) | Action::Ended => {}
                Action::Reset(_) | Action::Permit(_) => panic!("{action:?}"),
            }
        }
    }

    fn gone(&mut self, now: Duration, conn: ConnId) {
        self.open.remove(&conn);
        self.pool.closed(now, conn);
        self.member.give_back(&self.pool, conn);
    }

    /// One thing that can happen now; `dice` chooses.
    fn step(&mut self, now: Duration, dice: &mut Dice) {
        let kind = dice.below(8);
        match kind {
            0 | 1 => {
                self.asked += usize::from(self.pool.acquire(now).is_ok());
            }
            2 | 3 if !self.held.is_empty() => {
                let conn = self.held.swap_remove(dice.below(self.held.len()));
                let how = [Release::Reuse, Release::Reuse, Release::Destroy][dice.below(3)];
                self.pool.release(now, conn, how).unwrap();
            }
            4 if !self.connecting.is_empty() => {
                let conn = self.connecting.swap_remove(dice.below(self.connecting.len()));
                self.pool.connected(now, conn);
            }
            5 if !self.connecting.is_empty() => {
                let conn = self.connecting.swap_remove(dice.below(self.connecting.len()));
                self.open.remove(&conn);
                self.pool.connect_failed(now, conn);
                self.member.give_back(&self.pool, conn);
            }
            6 if !self.closing.is_empty() => {
                let conn = self.closing.swap_remove(dice.below(self.closing.len()));
                self.gone(now, conn);
            }
            _ => self.listen(now),
        }
        self.act(now);
    }

    fn listen(&mut self, now: Duration) {
        let word = self.inbox.0.lock().unwrap().pop_front();
        if let Some(Some(conn)) = word {
            self.member.permitted(&mut self.pool, now, conn);
        }
        self.pool.tick(now);
    }

    fn is_quiet(&self) -> bool {
        self.connecting.is_empty()
            && self.closing.is_empty()
            && self.held.is_empty()
            && self.inbox.0.lock().unwrap().is_empty()
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn opened(threads: &[Option<Thread>]) -> usize {
    threads.iter().flatten().map(|thread| thread.open.len()).sum()
}

#[test]
fn the_limit_holds_over_all_threads_and_every_waiter_is_answered() {
    let mut reached = 0;
    for seed in 0..2_000 {
        let registry = Registry::default();
        let mut dice = Dice(seed);
        let mut now = Duration::ZERO;
        let mut threads: Vec<_> = (0..4).map(|_| Some(Thread::new(&registry))).collect();
        for _ in 0..200 {
            let chosen = dice.below(threads.len());
            match &mut threads[chosen] {
                // A terminated worker; another one starts later.
                thread @ Some(_) if dice.below(60) == 0 => *thread = None,
                Some(thread) => thread.step(now, &mut dice),
                none => *none = Some(Thread::new(&registry)),
            }
            reached = reached.max(opened(&threads));
            assert!(opened(&threads) <= LIMIT, "seed {seed}");
        }
        // Callers go; everything else happens: before any timeout, each waiter has its connection.
        let answers = |threads: &[Option<Thread>]| threads.iter().flatten().all(|each| each.answered == each.asked);
        threads.iter_mut().flatten().for_each(|thread| thread.act(now));
        for _ in 0..400 {
            for thread in threads.iter_mut().flatten().filter(|thread| !thread.is_quiet()) {
                while let Some(conn) = thread.connecting.pop() {
                    thread.pool.connected(now, conn);
                }
                while let Some(conn) = thread.held.pop() {
                    thread.pool.release(now, conn, Release::Reuse).unwrap();
                }
                thread.act(now);
                while let Some(conn) = thread.closing.pop() {
                    thread.gone(now, conn);
                }
                thread.listen(now);
                thread.act(now);
            }
            if answers(&threads) && threads.iter().flatten().all(Thread::is_quiet) {
                break;
            }
        }
        assert!(answers(&threads), "seed {seed}: a waiter was forgotten");
        now += Duration::from_secs(60);
        for thread in threads.iter_mut().flatten() {
            thread.pool.end(now).unwrap();
            thread.act(now);
            while let Some(conn) = thread.closing.pop() {
                thread.gone(now, conn);
            }
        }
        assert_eq!(opened(&threads), 0, "seed {seed}");
        // Every permit came back.
        let mut last = Thread::new(&registry);
        for _ in 0..LIMIT {
            last.pool.acquire(now).unwrap();
        }
        last.act(now);
        assert_eq!(last.connecting.len(), LIMIT, "seed {seed}");
    }
    assert_eq!(reached, LIMIT);
}
