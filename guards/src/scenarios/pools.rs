//! The pool machine, asked for its next action and deadline after each input, as the drivers do.

use std::collections::VecDeque;
use std::time::Duration;

use super::Work;
use crate::pool::{Action, ConnId, Pool, PoolOptions, Release};

/// Between two inputs.
const STEP: Duration = Duration::from_micros(20);

struct Driver {
    pool: Pool,
    now: Duration,
    /// Checked out, in the order of their Delivers.
    held: VecDeque<ConnId>,
}

impl Driver {
    fn new() -> Driver {
        let options = PoolOptions {
            max: 3,
            min: 0,
            idle_timeout: Some(Duration::from_secs(10)),
            acquire_timeout: Some(Duration::from_secs(5)),
            max_lifetime: Some(Duration::from_secs(1800)),
            max_uses: None,
            end_fails_waiters: true,
            reset_timeout: Duration::from_secs(5),
            needs_permit: false,
            max_in_flight: 8,
        };
        Driver {
            pool: Pool::new(options),
            now: Duration::from_secs(1),
            held: VecDeque::new(),
        }
    }

    /// Does what the pool says; every socket is well.
    fn drive(&mut self) {
        while let Some(action) = self.pool.poll_action() {
            match action {
                Action::Connect(conn) => self.pool.connected(self.now, conn),
                Action::Probe(conn) => self.pool.probed(self.now, conn, true),
                Action::Deliver { conn, .. } => self.held.push_back(conn),
                Action::Close { conn, .. } => self.pool.closed(self.now, conn),
                _ => {}
            }
        }
        std::hint::black_box(self.pool.next_deadline());
        self.now += STEP;
    }

    /// Gives back what was delivered first; false when nothing is held.
    fn release(&mut self) -> bool {
        let Some(conn) = self.held.pop_front() else {
            return false;
        };
        self.pool.release(self.now, conn, Release::Reuse).unwrap();
        self.drive();
        true
    }

    fn acquire_query(&mut self) {
        self.pool.acquire_query(self.now, true).unwrap();
        self.drive();
    }
}

pub(super) fn acquire() -> Box<Work> {
    let mut driver = Driver::new();
    Box::new(move || {
        driver.pool.acquire(driver.now).unwrap();
        driver.drive();
        driver.release().into()
    })
}

pub(super) fn acquire_query() -> Box<Work> {
    let mut driver = Driver::new();
    Box::new(move || {
        driver.acquire_query();
        driver.release().into()
    })
}

/// All at once: three find an idle connection, 21 go behind these, the others wait.
pub(super) fn crowd() -> Box<Work> {
    let mut driver = Driver::new();
    Box::new(move || {
        for _ in 0..64 {
            driver.acquire_query();
        }
        let mut released = 0;
        while driver.release() {
            released += 1;
        }
        released
    })
}
