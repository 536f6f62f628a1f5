//! The pool machine, one behaviour a test.
#![allow(clippy::unwrap_used)]

mod sharing;

use std::time::Duration;

use heys_core::pool::Action::*;
use heys_core::pool::{Action, ConnId, Counts, Failure, Misuse, Pool, PoolOptions, Release, WaiterId};

/// A pool, its clock, and a driver that does nothing by itself.
struct Rig {
    pool: Pool,
    now: Duration,
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// max 2, everything else off.
fn plain() -> PoolOptions {
    PoolOptions {
        max: 2,
        min: 0,
        idle_timeout: None,
        acquire_timeout: None,
        max_lifetime: None,
        max_uses: None,
        end_fails_waiters: true,
        reset_timeout: ms(100),
        needs_permit: false,
        max_in_flight: 1,
    }
}

impl Rig {
    fn new(options: PoolOptions) -> Rig {
        Rig {
            pool: Pool::new(options),
            now: ms(1_000_000),
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now += ms(millis);
    }

    fn tick_after(&mut self, millis: u64) -> Vec<Action> {
        self.wait(millis);
        self.pool.tick(self.now);
        self.actions()
    }

    fn acquire(&mut self) -> WaiterId {
        self.pool.acquire(self.now).unwrap()
    }

    fn release(&mut self, conn: ConnId, how: Release) {
        self.pool.release(self.now, conn, how).unwrap();
    }

    fn reuse(&mut self, conn: ConnId) -> Vec<Action> {
        self.release(conn, Release::Reuse);
        self.actions()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.pool.poll_action()).collect()
    }

    fn action(&mut self) -> Action {
        let actions = self.actions();
        assert_eq!(actions.len(), 1, "{actions:?}");
        actions[0]
    }

    fn connect(&mut self) -> ConnId {
        match self.action() {
            Connect(conn) => conn,
            other => panic!("{other:?}"),
        }
    }

    fn probe(&mut self) -> ConnId {
        match self.action() {
            Probe(conn) => conn,
            other => panic!("{other:?}"),
        }
    }

    /// A new connection, checked out.
    fn held(&mut self) -> ConnId {
        let waiter = self.acquire();
        let conn = self.connect();
        self.pool.connected(self.now, conn);
        assert_eq!(self.action(), deliver(waiter, conn, true));
        conn
    }

    /// `n` idle connections, the last one released last.
    fn idle(&mut self, n: usize) -> Vec<ConnId> {
        let conns: Vec<_> = (0..n).map(|_| self.held()).collect();
        for &conn in &conns {
            assert_eq!(self.reuse(conn), [Idle(conn)]);
        }
        conns
    }

    /// Takes the idle connection that the pool chooses.
    fn checkout(&mut self) -> ConnId {
        let waiter = self.acquire();
        let conn = self.probe();
        self.pool.probed(self.now, conn, true);
        assert_eq!(self.action(), deliver(waiter, conn, false));
        conn
    }

    /// Total, idle, waiting.
    fn counts(&self) -> (usize, usize, usize) {
        let Counts {
            total, idle, waiting, ..
        } = self.pool.counts();
        (total, idle, waiting)
    }

    /// Milliseconds to the next deadline.
    fn deadline(&self) -> Option<u64> {
        let deadline = self.pool.next_deadline()?;
        Some(deadline.saturating_sub(self.now).as_millis() as u64)
    }
}

fn deliver(waiter: WaiterId, conn: ConnId, fresh: bool) -> Action {
    Deliver { waiter, conn, fresh }
}

fn fail(waiter: WaiterId, failure: Failure) -> Action {
    Fail { waiter, failure }
}

fn close(conn: ConnId) -> Action {
    Close { conn, expired: false }
}

fn expire(conn: ConnId) -> Action {
    Close { conn, expired: true }
}

// ---- checkout order

#[test]
fn the_first_acquire_connects_and_its_waiter_is_not_in_the_queue() {
    let mut rig = Rig::new(plain());
    let waiter = rig.acquire();
    assert_eq!(rig.counts(), (1, 0, 0));
    let conn = rig.connect();
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), deliver(waiter, conn, true));
    assert_eq!(rig.counts(), (1, 0, 0));
}

#[test]
fn an_idle_connection_is_preferred_to_a_new_one_and_is_probed_first() {
    let mut rig = Rig::new(plain());
    let conn = rig.idle(1)[0];
    let waiter = rig.acquire();
    assert_eq!(rig.action(), Probe(conn));
    assert_eq!(rig.counts(), (1, 0, 0));
    rig.pool.probed(rig.now, conn, true);
    assert_eq!(rig.action(), deliver(waiter, conn, false));
}

#[test]
fn idle_connections_are_taken_last_in_first_out() {
    let mut rig = Rig::new(plain());
    let conns = rig.idle(2);
    assert_eq!(rig.checkout(), conns[1]);
    assert_eq!(rig.checkout(), conns[0]);
}

#[test]
fn waiters_are_served_first_in_first_out_by_direct_hand_over_without_a_probe() {
    let mut rig = Rig::new(plain());
    let (one, two) = (rig.held(), rig.held());
    let waiters = [rig.acquire(), rig.acquire(), rig.acquire()];
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.counts(), (2, 0, 3));
    assert_eq!(rig.reuse(two), [deliver(waiters[0], two, false)]);
    assert_eq!(rig.reuse(one), [deliver(waiters[1], one, false)]);
    assert_eq!(rig.reuse(two), [deliver(waiters[2], two, false)]);
    assert_eq!(rig.counts(), (2, 0, 0));
}

#[test]
fn a_waiter_waits_for_its_own_connect_even_when_another_connection_goes_idle() {
    let mut rig = Rig::new(plain());
    let held = rig.held();
    let waiter = rig.acquire();
    let conn = rig.connect();
    assert_eq!(rig.reuse(held), [Idle(held)]);
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), deliver(waiter, conn, true));
}

// ---- connect errors

#[test]
fn a_connect_error_is_told_to_its_waiter_and_frees_the_slot_for_the_next() {
    let mut rig = Rig::new(PoolOptions { max: 1, ..plain() });
    let first = rig.acquire();
    let conn = rig.connect();
    let second = rig.acquire();
    rig.pool.connect_failed(rig.now, conn);
    let actions = rig.actions();
    assert_eq!(actions.len(), 2);
    assert_eq!(actions[0], fail(first, Failure::Connect(conn)));
    let Connect(next) = actions[1] else {
        panic!("{actions:?}")
    };
    assert_ne!(next, conn);
    rig.pool.connected(rig.now, next);
    assert_eq!(rig.action(), deliver(second, next, true));
}

#[test]
fn a_connecting_connection_that_is_lost_counts_as_a_connect_error() {
    let mut rig = Rig::new(plain());
    let waiter = rig.acquire();
    let conn = rig.connect();
    rig.pool.lost(rig.now, conn);
    assert_eq!(rig.action(), fail(waiter, Failure::Connect(conn)));
    assert_eq!(rig.counts(), (0, 0, 0));
}

// ---- the limit

#[test]
fn a_closing_connection_is_not_counted_but_holds_its_slot_until_closed() {
    let mut rig = Rig::new(PoolOptions { max: 1, ..plain() });
    let conn = rig.held();
    rig.release(conn, Release::Destroy);
    assert_eq!(rig.action(), close(conn));
    assert_eq!(rig.counts(), (0, 0, 0));
    let waiter = rig.acquire();
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.counts(), (0, 0, 1));
    rig.pool.closed(rig.now, conn);
    let next = rig.connect();
    rig.pool.connected(rig.now, next);
    assert_eq!(rig.action(), deliver(waiter, next, true));
}

#[test]
fn max_is_at_least_one() {
    let mut rig = Rig::new(PoolOptions { max: 0, ..plain() });
    rig.held();
    rig.acquire();
    assert_eq!(rig.actions(), []);
}

// ---- timeouts of waiters

/// max 1, 50 ms to get a connection.
fn impatient() -> PoolOptions {
    PoolOptions {
        max: 1,
        acquire_timeout: Some(ms(50)),
        ..plain()
    }
}

#[test]
fn a_waiter_in_the_queue_times_out() {
    let mut rig = Rig::new(impatient());
    rig.held();
    let waiter = rig.acquire();
    assert_eq!(rig.deadline(), Some(50));
    assert_eq!(rig.tick_after(49), []);
    assert_eq!(rig.tick_after(1), [fail(waiter, Failure::WaitTimeout)]);
    assert_eq!(rig.counts(), (1, 0, 0));
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_connect_that_takes_too_long_fails_its_waiter_and_is_closed() {
    let mut rig = Rig::new(impatient());
    let waiter = rig.acquire();
    let conn = rig.connect();
    assert_eq!(rig.deadline(), Some(50));
    assert_eq!(rig.tick_after(49), []);
    assert_eq!(rig.tick_after(1), [fail(waiter, Failure::ConnectTimeout), close(conn)]);
    assert_eq!(rig.deadline(), None);
    // An answer that crossed the Close changes nothing.
    rig.pool.connected(rig.now, conn);
    rig.acquire();
    assert_eq!(rig.actions(), []);
    rig.pool.closed(rig.now, conn);
    rig.connect();
}

#[test]
fn the_timeout_covers_the_wait_in_the_queue_and_the_connect_together() {
    let mut rig = Rig::new(impatient());
    let held = rig.held();
    let waiter = rig.acquire();
    rig.wait(40);
    rig.release(held, Release::Destroy);
    rig.pool.closed(rig.now, held);
    let actions = rig.actions();
    let Connect(conn) = actions[1] else {
        panic!("{actions:?}")
    };
    assert_eq!(rig.deadline(), Some(10));
    assert_eq!(rig.tick_after(10), [fail(waiter, Failure::WaitTimeout)]);
    // The connect itself is still in its own time, and serves the next.
    assert_eq!(rig.deadline(), Some(40));
    let next = rig.acquire();
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), deliver(next, conn, true));
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_connect_without_a_waiter_is_closed_at_its_deadline() {
    let mut rig = Rig::new(impatient());
    let waiter = rig.acquire();
    let conn = rig.connect();
    assert!(rig.pool.cancel(rig.now, waiter));
    assert_eq!(rig.tick_after(50), [close(conn)]);
}

#[test]
fn a_waiter_times_out_while_its_connection_is_probed() {
    let mut rig = Rig::new(impatient());
    let conn = rig.idle(1)[0];
    let waiter = rig.acquire();
    assert_eq!(rig.probe(), conn);
    assert_eq!(rig.deadline(), Some(50));
    assert_eq!(rig.tick_after(50), [fail(waiter, Failure::WaitTimeout)]);
    assert_eq!(rig.deadline(), None);
    rig.pool.probed(rig.now, conn, true);
    assert_eq!(rig.action(), Idle(conn));
}

// ---- cancel

#[test]
fn a_cancelled_waiter_leaves_the_queue_and_gets_no_answer() {
    let mut rig = Rig::new(PoolOptions { max: 1, ..plain() });
    let conn = rig.held();
    let waiters = [rig.acquire(), rig.acquire(), rig.acquire()];
    assert!(rig.pool.cancel(rig.now, waiters[1]));
    assert!(!rig.pool.cancel(rig.now, waiters[1]));
    assert_eq!(rig.counts(), (1, 0, 2));
    assert_eq!(rig.reuse(conn), [deliver(waiters[0], conn, false)]);
    assert_eq!(rig.reuse(conn), [deliver(waiters[2], conn, false)]);
    assert!(!rig.pool.cancel(rig.now, waiters[2]));
}

#[test]
fn the_connection_of_a_cancelled_waiter_goes_idle_and_its_next_checkout_is_fresh() {
    let mut rig = Rig::new(plain());
    let waiter = rig.acquire();
    let conn = rig.connect();
    assert!(rig.pool.cancel(rig.now, waiter));
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), Idle(conn));
    let next = rig.acquire();
    assert_eq!(rig.probe(), conn);
    rig.pool.probed(rig.now, conn, true);
    assert_eq!(rig.action(), deliver(next, conn, true));
}

#[test]
fn the_failed_connect_of_a_cancelled_waiter_is_told_to_nobody() {
    let mut rig = Rig::new(plain());
    let waiter = rig.acquire();
    let conn = rig.connect();
    assert!(rig.pool.cancel(rig.now, waiter));
    rig.pool.connect_failed(rig.now, conn);
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.counts(), (0, 0, 0));
}

#[test]
fn the_connection_probed_for_a_cancelled_waiter_goes_to_the_next() {
    let mut rig = Rig::new(PoolOptions { max: 1, ..plain() });
    let conn = rig.idle(1)[0];
    let first = rig.acquire();
    assert_eq!(rig.probe(), conn);
    let second = rig.acquire();
    assert!(rig.pool.cancel(rig.now, first));
    rig.pool.probed(rig.now, conn, true);
    assert_eq!(rig.action(), deliver(second, conn, false));
}

// ---- health and age at checkout

#[test]
fn an_unhealthy_connection_is_replaced_in_the_same_checkout() {
    let mut rig = Rig::new(plain());
    let stale = rig.idle(1)[0];
    let waiter = rig.acquire();
    assert_eq!(rig.probe(), stale);
    rig.pool.probed(rig.now, stale, false);
    let actions = rig.actions();
    assert_eq!(actions[0], close(stale));
    let Connect(conn) = actions[1] else {
        panic!("{actions:?}")
    };
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), deliver(waiter, conn, true));
}

#[test]
fn the_next_idle_connection_is_tried_before_a_new_one() {
    let mut rig = Rig::new(PoolOptions { max: 3, ..plain() });
    let conns = rig.idle(2);
    let waiter = rig.acquire();
    assert_eq!(rig.probe(), conns[1]);
    rig.pool.probed(rig.now, conns[1], false);
    assert_eq!(rig.actions(), [close(conns[1]), Probe(conns[0])]);
    rig.pool.probed(rig.now, conns[0], true);
    assert_eq!(rig.action(), deliver(waiter, conns[0], false));
}

#[test]
fn a_waiter_whose_connection_was_unhealthy_keeps_its_place_and_deadline() {
    let mut rig = Rig::new(impatient());
    let stale = rig.idle(1)[0];
    let first = rig.acquire();
    assert_eq!(rig.probe(), stale);
    rig.wait(5);
    let second = rig.acquire();
    rig.pool.probed(rig.now, stale, false);
    assert_eq!(rig.action(), close(stale));
    assert_eq!(rig.counts(), (0, 0, 2));
    assert_eq!(rig.deadline(), Some(45));
    rig.pool.closed(rig.now, stale);
    let conn = rig.connect();
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), deliver(first, conn, true));
    assert_eq!(rig.reuse(conn), [deliver(second, conn, false)]);
}

#[test]
fn connections_idle_for_too_long_are_replaced_at_checkout_without_a_tick() {
    let mut rig = Rig::new(PoolOptions {
        max: 3,
        idle_timeout: Some(ms(10)),
        ..plain()
    });
    let conns = rig.idle(2);
    rig.wait(10);
    let waiter = rig.acquire();
    let actions = rig.actions();
    assert_eq!(actions[..2], [expire(conns[1]), expire(conns[0])]);
    let Connect(conn) = actions[2] else {
        panic!("{actions:?}")
    };
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), deliver(waiter, conn, true));
}

#[test]
fn a_connection_past_its_lifetime_is_replaced_at_checkout_without_a_tick() {
    let mut rig = Rig::new(PoolOptions {
        max_lifetime: Some(ms(10)),
        ..plain()
    });
    let old = rig.idle(1)[0];
    rig.wait(10);
    rig.acquire();
    let actions = rig.actions();
    assert_eq!(actions[0], expire(old));
    assert!(matches!(actions[1], Connect(conn) if conn != old));
}

// ---- release

#[test]
fn a_second_release_is_refused_and_changes_nothing() {
    let mut rig = Rig::new(plain());
    let conn = rig.held();
    rig.reuse(conn);
    for how in [Release::Reuse, Release::Dirty, Release::Destroy] {
        assert_eq!(rig.pool.release(rig.now, conn, how), Err(Misuse::NotHeld));
    }
    assert_eq!(rig.pool.release(rig.now, 12345, Release::Reuse), Err(Misuse::NotHeld));
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.counts(), (1, 1, 0));
}

#[test]
fn a_connection_is_closed_at_the_release_after_max_uses_checkouts() {
    let mut rig = Rig::new(PoolOptions {
        max_uses: Some(2),
        ..plain()
    });
    let conn = rig.idle(1)[0];
    assert_eq!(rig.checkout(), conn);
    assert_eq!(rig.reuse(conn), [expire(conn)]);
    assert_eq!(rig.counts(), (0, 0, 0));
}

#[test]
fn a_dirty_connection_is_reset_before_the_next_waiter_gets_it() {
    let mut rig = Rig::new(PoolOptions { max: 1, ..plain() });
    let conn = rig.held();
    let waiter = rig.acquire();
    rig.release(conn, Release::Dirty);
    assert_eq!(rig.action(), Reset(conn));
    assert_eq!(rig.counts(), (1, 0, 1));
    assert_eq!(rig.deadline(), Some(100));
    rig.pool.reset_done(rig.now, conn, true);
    assert_eq!(rig.action(), deliver(waiter, conn, false));
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_reset_connection_goes_idle_when_nobody_waits() {
    let mut rig = Rig::new(plain());
    let conn = rig.held();
    rig.release(conn, Release::Dirty);
    assert_eq!(rig.action(), Reset(conn));
    rig.pool.reset_done(rig.now, conn, true);
    assert_eq!(rig.action(), Idle(conn));
}

#[test]
fn a_reset_that_fails_or_takes_too_long_closes_the_connection() {
    let mut rig = Rig::new(plain());
    let (one, two) = (rig.held(), rig.held());
    rig.release(one, Release::Dirty);
    rig.release(two, Release::Dirty);
    assert_eq!(rig.actions(), [Reset(one), Reset(two)]);
    rig.pool.reset_done(rig.now, one, false);
    assert_eq!(rig.action(), close(one));
    assert_eq!(rig.tick_after(99), []);
    assert_eq!(rig.tick_after(1), [close(two)]);
    rig.pool.reset_done(rig.now, two, true);
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_dirty_connection_that_would_be_closed_anyway_is_not_reset() {
    let mut rig = Rig::new(PoolOptions {
        max_uses: Some(1),
        ..plain()
    });
    let conn = rig.held();
    rig.release(conn, Release::Dirty);
    assert_eq!(rig.action(), expire(conn));
}

#[test]
fn age_is_judged_again_after_a_reset() {
    let mut rig = Rig::new(PoolOptions {
        max_lifetime: Some(ms(10)),
        ..plain()
    });
    let conn = rig.held();
    rig.release(conn, Release::Dirty);
    rig.actions();
    rig.wait(10);
    rig.pool.reset_done(rig.now, conn, true);
    assert_eq!(rig.action(), expire(conn));
}

// ---- idle eviction

#[test]
fn an_idle_connection_is_closed_idle_timeout_after_its_release() {
    let mut rig = Rig::new(PoolOptions {
        idle_timeout: Some(ms(10)),
        ..plain()
    });
    let conns = rig.idle(2);
    rig.wait(5);
    assert_eq!(rig.checkout(), conns[1]);
    assert_eq!(rig.reuse(conns[1]), [Idle(conns[1])]);
    assert_eq!(rig.deadline(), Some(5));
    assert_eq!(rig.tick_after(5), [expire(conns[0])]);
    assert_eq!(rig.deadline(), Some(5));
    assert_eq!(rig.tick_after(5), [expire(conns[1])]);
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.counts(), (0, 0, 0));
}

#[test]
fn idle_eviction_stops_at_min() {
    let mut rig = Rig::new(PoolOptions {
        min: 1,
        idle_timeout: Some(ms(10)),
        ..plain()
    });
    let conns = rig.idle(2);
    assert_eq!(rig.tick_after(10), [expire(conns[0])]);
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.tick_after(1000), []);
    assert_eq!(rig.counts(), (1, 1, 0));
    // What min keeps is not too old for a checkout either.
    assert_eq!(rig.checkout(), conns[1]);
}

#[test]
fn without_an_idle_timeout_nothing_is_evicted() {
    let mut rig = Rig::new(plain());
    rig.idle(2);
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.tick_after(1_000_000_000), []);
}

// ---- lifetime

#[test]
fn an_idle_connection_is_closed_when_its_lifetime_passes() {
    let mut rig = Rig::new(PoolOptions {
        max_lifetime: Some(ms(10)),
        ..plain()
    });
    let conn = rig.idle(1)[0];
    assert_eq!(rig.deadline(), Some(10));
    assert_eq!(rig.tick_after(10), [expire(conn)]);
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_held_connection_past_its_lifetime_is_counted_and_closed_at_its_release() {
    let mut rig = Rig::new(PoolOptions {
        max_lifetime: Some(ms(10)),
        ..plain()
    });
    let conn = rig.held();
    assert_eq!(rig.pool.counts().expired, 0);
    assert_eq!(rig.tick_after(10), []);
    assert_eq!(rig.pool.counts().expired, 1);
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.reuse(conn), [expire(conn)]);
    assert_eq!(rig.pool.counts().expired, 0);
}

#[test]
fn a_connection_whose_lifetime_passes_while_it_is_probed_does_not_go_idle() {
    let mut rig = Rig::new(PoolOptions {
        max_lifetime: Some(ms(10)),
        ..plain()
    });
    let conn = rig.idle(1)[0];
    let waiter = rig.acquire();
    assert_eq!(rig.probe(), conn);
    assert!(rig.pool.cancel(rig.now, waiter));
    assert_eq!(rig.tick_after(10), []);
    rig.pool.probed(rig.now, conn, true);
    assert_eq!(rig.action(), expire(conn));
}

#[test]
fn lifetimes_run_from_the_moment_of_connecting_each_by_its_own() {
    let mut rig = Rig::new(PoolOptions {
        max_lifetime: Some(ms(10)),
        ..plain()
    });
    let one = rig.held();
    rig.wait(4);
    let two = rig.held();
    rig.reuse(two);
    rig.reuse(one);
    assert_eq!(rig.tick_after(6), [expire(one)]);
    assert_eq!(rig.deadline(), Some(4));
    assert_eq!(rig.tick_after(4), [expire(two)]);
}

// ---- lost

#[test]
fn an_idle_connection_that_is_lost_is_closed_and_removed() {
    let mut rig = Rig::new(plain());
    let conns = rig.idle(2);
    rig.pool.lost(rig.now, conns[0]);
    assert_eq!(rig.action(), close(conns[0]));
    assert_eq!(rig.counts(), (1, 1, 0));
    rig.pool.closed(rig.now, conns[0]);
    assert_eq!(rig.checkout(), conns[1]);
}

#[test]
fn a_held_connection_that_is_lost_stays_held_until_its_release() {
    let mut rig = Rig::new(plain());
    let conn = rig.held();
    rig.pool.lost(rig.now, conn);
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.counts(), (1, 0, 0));
    assert_eq!(rig.reuse(conn), [close(conn)]);
}

#[test]
fn a_connection_lost_while_it_is_reset_is_closed() {
    let mut rig = Rig::new(plain());
    let conn = rig.held();
    rig.release(conn, Release::Dirty);
    rig.actions();
    rig.pool.lost(rig.now, conn);
    assert_eq!(rig.action(), close(conn));
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_connection_lost_while_it_is_probed_is_replaced() {
    let mut rig = Rig::new(plain());
    let conn = rig.idle(1)[0];
    rig.acquire();
    assert_eq!(rig.probe(), conn);
    rig.pool.lost(rig.now, conn);
    let actions = rig.actions();
    assert_eq!(actions[0], close(conn));
    assert!(matches!(actions[1], Connect(_)));
    rig.pool.probed(rig.now, conn, true);
    assert_eq!(rig.actions(), []);
}

// ---- end

#[test]
fn an_empty_pool_ends_at_once() {
    let mut rig = Rig::new(plain());
    rig.pool.end(rig.now).unwrap();
    assert_eq!(rig.action(), Ended);
    assert!(rig.pool.is_ending());
    assert_eq!(rig.pool.acquire(rig.now), Err(Misuse::Ended));
    assert_eq!(rig.pool.end(rig.now), Err(Misuse::Ended));
    assert_eq!(rig.actions(), []);
}

#[test]
fn end_closes_idle_connections_now_and_held_ones_at_their_release() {
    let mut rig = Rig::new(plain());
    let (held, idle) = (rig.held(), rig.held());
    rig.reuse(idle);
    rig.pool.end(rig.now).unwrap();
    assert_eq!(rig.action(), close(idle));
    rig.pool.closed(rig.now, idle);
    assert_eq!(rig.actions(), []);
    rig.release(held, Release::Dirty);
    assert_eq!(rig.action(), close(held));
    rig.pool.closed(rig.now, held);
    assert_eq!(rig.action(), Ended);
}

#[test]
fn end_fails_queued_waiters() {
    let mut rig = Rig::new(PoolOptions { max: 1, ..plain() });
    rig.held();
    let waiter = rig.acquire();
    rig.pool.end(rig.now).unwrap();
    assert_eq!(rig.action(), fail(waiter, Failure::Ended));
    assert_eq!(rig.counts(), (1, 0, 0));
}

#[test]
fn without_end_fails_waiters_they_stay_pending_but_still_time_out() {
    let mut rig = Rig::new(PoolOptions {
        end_fails_waiters: false,
        ..impatient()
    });
    let conn = rig.held();
    let waiter = rig.acquire();
    rig.pool.end(rig.now).unwrap();
    assert_eq!(rig.reuse(conn), [close(conn)]);
    rig.pool.closed(rig.now, conn);
    assert_eq!(rig.action(), Ended);
    assert_eq!(rig.counts(), (0, 0, 1));
    assert_eq!(rig.tick_after(50), [fail(waiter, Failure::WaitTimeout)]);
}

#[test]
fn a_connection_that_was_being_made_when_the_pool_ended_still_goes_to_its_waiter() {
    let mut rig = Rig::new(plain());
    let waiter = rig.acquire();
    let conn = rig.connect();
    rig.pool.end(rig.now).unwrap();
    assert_eq!(rig.actions(), []);
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), deliver(waiter, conn, true));
    assert_eq!(rig.reuse(conn), [close(conn)]);
    rig.pool.closed(rig.now, conn);
    assert_eq!(rig.action(), Ended);
}

#[test]
fn end_closes_connections_that_nobody_waits_for() {
    let mut rig = Rig::new(PoolOptions { max: 3, ..plain() });
    let (resetting, probed) = (rig.held(), rig.held());
    let waiter = rig.acquire();
    let connecting = rig.connect();
    assert!(rig.pool.cancel(rig.now, waiter));
    rig.release(resetting, Release::Dirty);
    assert_eq!(rig.action(), Reset(resetting));
    rig.reuse(probed);
    let waiter = rig.acquire();
    assert_eq!(rig.probe(), probed);
    assert!(rig.pool.cancel(rig.now, waiter));
    rig.pool.end(rig.now).unwrap();
    assert_eq!(rig.actions(), [close(resetting), close(probed), close(connecting)]);
    for conn in [resetting, probed, connecting] {
        rig.pool.closed(rig.now, conn);
    }
    assert_eq!(rig.action(), Ended);
}

#[test]
fn a_waiter_whose_connection_proves_unhealthy_after_end_is_failed() {
    let mut rig = Rig::new(plain());
    let conn = rig.idle(1)[0];
    let waiter = rig.acquire();
    assert_eq!(rig.probe(), conn);
    rig.pool.end(rig.now).unwrap();
    rig.pool.probed(rig.now, conn, false);
    assert_eq!(rig.actions(), [close(conn), fail(waiter, Failure::Ended)]);
}

// ---- permits

/// A pool that shares its limit.
fn sharing() -> PoolOptions {
    PoolOptions {
        needs_permit: true,
        acquire_timeout: Some(ms(50)),
        ..plain()
    }
}

#[test]
fn a_pool_with_permits_asks_before_it_connects_and_its_waiter_stays_queued() {
    let mut rig = Rig::new(sharing());
    let waiter = rig.acquire();
    let Permit(conn) = rig.action() else { panic!() };
    assert_eq!(rig.counts(), (0, 0, 1));
    rig.pool.permitted(rig.now, conn);
    assert_eq!(rig.action(), Connect(conn));
    assert_eq!(rig.counts(), (1, 0, 0));
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), deliver(waiter, conn, true));
}

#[test]
fn one_permit_is_asked_for_each_waiter_up_to_max() {
    let mut rig = Rig::new(sharing());
    for _ in 0..3 {
        rig.acquire();
    }
    assert!(matches!(rig.actions()[..], [Permit(_), Permit(_)]));
}

#[test]
fn a_permit_request_is_withdrawn_when_its_waiter_was_served_by_a_release() {
    let mut rig = Rig::new(sharing());
    rig.acquire();
    let Permit(conn) = rig.action() else { panic!() };
    rig.pool.permitted(rig.now, conn);
    rig.pool.connected(rig.now, conn);
    rig.actions();
    let waiter = rig.acquire();
    let Permit(asked) = rig.action() else { panic!() };
    assert_eq!(rig.reuse(conn), [deliver(waiter, conn, false), close(asked)]);
    rig.pool.permitted(rig.now, asked);
    assert_eq!(rig.actions(), []);
    rig.pool.closed(rig.now, asked);
    assert_eq!(rig.counts(), (1, 0, 0));
}

#[test]
fn a_waiter_times_out_while_it_waits_for_a_permit() {
    let mut rig = Rig::new(sharing());
    let waiter = rig.acquire();
    let Permit(asked) = rig.action() else { panic!() };
    assert_eq!(rig.tick_after(50), [fail(waiter, Failure::WaitTimeout), close(asked)]);
}

#[test]
fn yield_idle_closes_the_connection_that_was_idle_longest() {
    let mut rig = Rig::new(plain());
    let conns = rig.idle(2);
    assert!(rig.pool.yield_idle(rig.now).is_some());
    assert_eq!(rig.action(), close(conns[0]));
    assert!(rig.pool.yield_idle(rig.now).is_some());
    assert!(rig.pool.yield_idle(rig.now).is_none());
    assert_eq!(rig.action(), close(conns[1]));
}

// ---- odd answers

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let mut rig = Rig::new(plain());
    let (held, idle) = (rig.held(), rig.held());
    rig.reuse(idle);
    for conn in [held, idle, 0, 99_999] {
        rig.pool.connected(rig.now, conn);
        rig.pool.connect_failed(rig.now, conn);
        rig.pool.probed(rig.now, conn, false);
        rig.pool.reset_done(rig.now, conn, false);
        rig.pool.closed(rig.now, conn);
        rig.pool.permitted(rig.now, conn);
    }
    rig.pool.lost(rig.now, 99_999);
    assert!(!rig.pool.cancel(rig.now, 99_999));
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.counts(), (2, 1, 0));
}

#[test]
fn a_connect_given_up_may_be_answered_by_connect_failed_instead_of_closed() {
    let mut rig = Rig::new(impatient());
    rig.acquire();
    let conn = rig.connect();
    rig.tick_after(50);
    rig.pool.connect_failed(rig.now, conn);
    rig.acquire();
    rig.connect();
}

#[test]
fn time_never_runs_backwards() {
    let mut rig = Rig::new(PoolOptions {
        idle_timeout: Some(ms(10)),
        ..plain()
    });
    let conns = [rig.held(), rig.held()];
    rig.reuse(conns[0]);
    rig.now -= ms(500);
    rig.reuse(conns[1]);
    rig.now += ms(500);
    assert_eq!(rig.tick_after(10), [expire(conns[0]), expire(conns[1])]);
}
