//! One-shot queries that share a connection.

use super::*;

/// max 1, 4 in flight.
fn shared() -> PoolOptions {
    PoolOptions {
        max: 1,
        max_in_flight: 4,
        ..plain()
    }
}

impl Rig {
    fn query(&mut self, leads: bool) -> WaiterId {
        self.pool.acquire_query(self.now, leads).unwrap()
    }

    /// A query that leads, delivered to a new connection.
    fn head(&mut self) -> ConnId {
        let waiter = self.query(true);
        let conn = self.connect();
        self.pool.connected(self.now, conn);
        assert_eq!(self.action(), deliver(waiter, conn, true));
        conn
    }

    /// A query that leads, behind others.
    #[track_caller]
    fn follows(&mut self, conn: ConnId) {
        let waiter = self.query(true);
        assert_eq!(self.action(), deliver(waiter, conn, false));
    }

    #[track_caller]
    fn waits(&mut self) -> WaiterId {
        let waiter = self.query(true);
        assert_eq!(self.actions(), []);
        waiter
    }
}

// ---- who may follow

#[test]
fn a_query_follows_others_when_all_connections_are_busy() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    rig.follows(conn);
    assert_eq!(rig.counts(), (1, 0, 0));
    assert_eq!(rig.reuse(conn), []);
    assert_eq!(rig.counts(), (1, 0, 0));
    assert_eq!(rig.reuse(conn), [Idle(conn)]);
}

#[test]
fn no_more_than_max_in_flight_share_a_connection() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    (0..3).for_each(|_| rig.follows(conn));
    let next = rig.waits();
    assert_eq!(rig.counts(), (1, 0, 1));
    assert_eq!(rig.reuse(conn), [deliver(next, conn, false)]);
}

#[test]
fn with_one_in_flight_or_none_nothing_is_shared() {
    for max_in_flight in [0, 1] {
        let mut rig = Rig::new(PoolOptions {
            max_in_flight,
            ..shared()
        });
        let conn = rig.head();
        let next = rig.waits();
        assert_eq!(rig.reuse(conn), [deliver(next, conn, false)]);
    }
}

#[test]
fn nothing_follows_a_query_that_does_not_lead() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    let last = rig.query(false);
    assert_eq!(rig.action(), deliver(last, conn, false));
    let next = rig.waits();
    assert_eq!(rig.reuse(conn), []);
    assert_eq!(rig.reuse(conn), [deliver(next, conn, false)]);
    rig.follows(conn);
}

#[test]
fn nothing_follows_a_head_that_has_run_for_5_ms() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    rig.wait(3);
    rig.follows(conn);
    rig.now += ms(2) - Duration::from_nanos(1);
    rig.follows(conn);
    rig.now += Duration::from_nanos(1);
    let next = rig.waits();
    // Each release makes another the head.
    assert_eq!(rig.reuse(conn), [deliver(next, conn, false)]);
    rig.wait(4);
    rig.follows(conn);
}

#[test]
fn the_time_of_a_head_begins_at_its_delivery() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    rig.wait(10);
    assert_eq!(rig.reuse(conn), [Idle(conn)]);
    rig.wait(10);
    let waiter = rig.query(true);
    assert_eq!(rig.probe(), conn);
    rig.wait(10);
    rig.pool.probed(rig.now, conn, true);
    assert_eq!(rig.action(), deliver(waiter, conn, false));
    rig.wait(4);
    rig.follows(conn);
}

#[test]
fn a_new_connection_is_preferred_to_a_shared_one() {
    let mut rig = Rig::new(PoolOptions { max: 2, ..shared() });
    let one = rig.head();
    let two = rig.head();
    rig.follows(one);
    // Its slot is taken until it is closed.
    rig.release(two, Release::Destroy);
    assert_eq!(rig.action(), close(two));
    rig.follows(one);
    rig.pool.closed(rig.now, two);
    rig.head();
}

#[test]
fn an_idle_connection_is_preferred_to_a_shared_one() {
    let mut rig = Rig::new(PoolOptions { max: 2, ..shared() });
    let one = rig.head();
    let two = rig.head();
    assert_eq!(rig.reuse(two), [Idle(two)]);
    rig.query(true);
    assert_eq!(rig.probe(), two);
    rig.follows(one);
}

#[test]
fn the_connection_with_the_fewest_in_flight_is_chosen() {
    let mut rig = Rig::new(PoolOptions { max: 2, ..shared() });
    let (one, two) = (rig.head(), rig.head());
    for conn in [one, two, one, two] {
        rig.follows(conn);
    }
    assert_eq!(rig.reuse(two), []);
    assert_eq!(rig.reuse(two), []);
    for conn in [two, two, one, two] {
        rig.follows(conn);
    }
}

#[test]
fn a_connection_past_its_lifetime_is_not_shared() {
    let mut rig = Rig::new(PoolOptions {
        max_lifetime: Some(ms(3)),
        ..shared()
    });
    let conn = rig.head();
    rig.wait(2);
    rig.follows(conn);
    rig.wait(1);
    let next = rig.waits();
    assert_eq!(rig.tick_after(0), []);
    assert_eq!(rig.pool.counts().expired, 1);
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.reuse(conn), []);
    assert_eq!(rig.reuse(conn), [expire(conn)]);
    assert_eq!(rig.counts(), (0, 0, 1));
    rig.pool.closed(rig.now, conn);
    let other = rig.connect();
    rig.pool.connected(rig.now, other);
    assert_eq!(rig.action(), deliver(next, other, true));
}

#[test]
fn each_query_counts_as_a_use() {
    let mut rig = Rig::new(PoolOptions {
        max_uses: Some(2),
        ..shared()
    });
    let conn = rig.head();
    rig.follows(conn);
    rig.waits();
    assert_eq!(rig.reuse(conn), []);
    assert_eq!(rig.reuse(conn), [expire(conn)]);
}

#[test]
fn a_pool_that_ends_shares_no_more_and_closes_at_the_last_release() {
    let mut rig = Rig::new(PoolOptions {
        end_fails_waiters: false,
        ..shared()
    });
    let conn = rig.head();
    (0..3).for_each(|_| rig.follows(conn));
    rig.waits();
    rig.pool.end(rig.now).unwrap();
    for _ in 0..3 {
        assert_eq!(rig.reuse(conn), []);
    }
    assert_eq!(rig.reuse(conn), [close(conn)]);
    assert_eq!(rig.pool.acquire_query(rig.now, true), Err(Misuse::Ended));
}

#[test]
fn a_pool_with_permits_shares_only_where_it_has_all_its_connections() {
    let mut rig = Rig::new(PoolOptions {
        needs_permit: true,
        max: 2,
        ..shared()
    });
    let one = permitted(&mut rig);
    // The other slot is asked for, not busy.
    let first = rig.query(true);
    let Permit(two) = rig.action() else { panic!() };
    let second = rig.waits();
    rig.pool.permitted(rig.now, two);
    assert_eq!(rig.actions(), [Connect(two), deliver(second, one, false)]);
    rig.pool.connected(rig.now, two);
    assert_eq!(rig.action(), deliver(first, two, true));
    rig.follows(two);
}

fn permitted(rig: &mut Rig) -> ConnId {
    let waiter = rig.query(true);
    let Permit(conn) = rig.action() else { panic!() };
    rig.pool.permitted(rig.now, conn);
    assert_eq!(rig.action(), Connect(conn));
    rig.pool.connected(rig.now, conn);
    assert_eq!(rig.action(), deliver(waiter, conn, true));
    conn
}

// ---- connect() beside query()

#[test]
fn a_connection_of_its_own_is_never_shared() {
    let mut rig = Rig::new(shared());
    let conn = rig.held();
    let next = rig.waits();
    assert_eq!(rig.reuse(conn), [deliver(next, conn, false)]);
    rig.follows(conn);
    let alone = rig.acquire();
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.reuse(conn), []);
    assert_eq!(rig.reuse(conn), [deliver(alone, conn, false)]);
    rig.waits();
}

#[test]
fn a_connect_that_waits_stops_sharing_until_it_is_served() {
    let mut rig = Rig::new(PoolOptions { max: 2, ..shared() });
    let (one, two) = (rig.head(), rig.head());
    let alone = rig.acquire();
    let behind = [rig.waits(), rig.waits()];
    assert_eq!(rig.counts(), (2, 0, 3));
    let served = [
        deliver(alone, two, false),
        deliver(behind[0], one, false),
        deliver(behind[1], one, false),
    ];
    assert_eq!(rig.reuse(two), served);
}

#[test]
fn a_connect_that_gives_up_lets_the_queries_behind_it_share() {
    let mut rig = Rig::new(PoolOptions {
        acquire_timeout: Some(ms(3)),
        ..shared()
    });
    let conn = rig.head();
    let alone = rig.acquire();
    let behind = rig.waits();
    assert!(rig.pool.cancel(rig.now, alone));
    assert_eq!(rig.action(), deliver(behind, conn, false));
    let alone = rig.acquire();
    rig.wait(2);
    let behind = rig.waits();
    let (failed, follows) = (fail(alone, Failure::WaitTimeout), deliver(behind, conn, false));
    assert_eq!(rig.tick_after(1), [failed, follows]);
}

#[test]
fn queries_are_served_first_in_first_out() {
    let mut rig = Rig::new(PoolOptions {
        max_in_flight: 2,
        ..shared()
    });
    let conn = rig.head();
    rig.follows(conn);
    let waiters = [rig.waits(), rig.waits(), rig.waits()];
    for waiter in waiters {
        assert_eq!(rig.reuse(conn), [deliver(waiter, conn, false)]);
    }
}

// ---- the ways back

#[test]
fn destroyed_with_others_in_flight_it_is_shared_no_more_and_closes_at_the_last_release() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    rig.follows(conn);
    rig.follows(conn);
    rig.release(conn, Release::Destroy);
    rig.waits();
    rig.release(conn, Release::Dirty);
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.reuse(conn), [close(conn)]);
}

#[test]
fn dirty_with_others_in_flight_it_is_shared_no_more_and_reset_at_the_last_release() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    rig.follows(conn);
    rig.release(conn, Release::Dirty);
    let next = rig.waits();
    assert_eq!(rig.reuse(conn), [Reset(conn)]);
    rig.pool.reset_done(rig.now, conn, true);
    assert_eq!(rig.action(), deliver(next, conn, false));
    rig.follows(conn);
}

#[test]
fn lost_with_others_in_flight_it_is_shared_no_more_and_closes_at_the_last_release() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    rig.follows(conn);
    rig.pool.lost(rig.now, conn);
    rig.waits();
    assert_eq!(rig.reuse(conn), []);
    assert_eq!(rig.reuse(conn), [close(conn)]);
}

#[test]
fn more_releases_than_deliveries_are_refused() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    rig.follows(conn);
    assert_eq!(rig.reuse(conn), []);
    assert_eq!(rig.reuse(conn), [Idle(conn)]);
    assert_eq!(rig.pool.release(rig.now, conn, Release::Reuse), Err(Misuse::NotHeld));
    assert_eq!(rig.actions(), []);
}

#[test]
fn time_alone_lets_nobody_share() {
    let mut rig = Rig::new(shared());
    let conn = rig.head();
    rig.wait(5);
    rig.waits();
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.tick_after(1_000_000), []);
    rig.acquire();
    assert_eq!(rig.deadline(), None);
    assert!(rig.pool.contains(conn));
}
