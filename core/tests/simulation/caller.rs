//! Callers: they acquire, query one after another or several at once, open transactions, give up, and release in every
//! way that is possible.

use heys_core::pool::{ConnId, Misuse, Release, WaiterId};

use crate::book::Place;
use crate::trace;
use crate::world::{Event, Input, Micros, World};

#[derive(Debug)]
pub(crate) struct Caller {
    state: State,
    checkouts_left: u64,
    queries_left: u64,
    /// Queries of this checkout that are not answered.
    outstanding: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Away,
    Waiting(WaiterId),
    Holding { conn: ConnId, checkout: u64 },
    Done,
}

pub(crate) struct Query {
    pub(crate) plan: Plan,
    pub(crate) conn: ConnId,
    caller: usize,
    checkout: u64,
    /// The caller has its answer.
    pub(crate) answered: bool,
    pub(crate) rows: usize,
    pub(crate) completed: usize,
    pub(crate) failed: bool,
}

/// What a query asks for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) verb: &'static str,
    pub(crate) micros: Micros,
    /// More than one: a simple Query with several.
    pub(crate) statements: usize,
    pub(crate) extended: bool,
}

impl Caller {
    pub(crate) fn new(checkouts: u64) -> Caller {
        Caller {
            state: State::Away,
            checkouts_left: checkouts,
            queries_left: 0,
            outstanding: 0,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(crate) fn waiter(&self) -> Option<WaiterId> {
        match self.state {
            State::Waiting(waiter) => Some(waiter),
            _ => None,
        }
    }
}

impl Query {
    /// At its ReadyForQuery a query has all of its answer, or an error.
    pub(crate) fn check_whole(&self, number: usize) {
        let rows = match self.plan.verb {
            "echo" | "big" => 1,
            "rows" => 3,
            _ => 0,
        };
        if self.failed {
            assert!(
                self.completed < self.plan.statements,
                "query {number} failed and completed"
            );
        } else {
            assert_eq!(self.completed, self.plan.statements, "completions of query {number}");
            assert_eq!(self.rows, rows * self.plan.statements, "rows of query {number}");
        }
    }
}

impl World {
    pub(crate) fn caller_step(&mut self, number: usize) {
        match self.callers[number].state {
            State::Away if self.callers[number].checkouts_left == 0 => self.callers[number].state = State::Done,
            State::Away => self.acquire(number),
            // A step that was meant for a checkout released early.
            State::Holding { .. } if self.callers[number].outstanding > 0 => {}
            State::Holding { conn, .. } if self.callers[number].queries_left == 0 => self.release(number, conn),
            State::Holding { conn, checkout } => self.ask(number, conn, checkout),
            State::Waiting(_) | State::Done => {}
        }
    }

    fn acquire(&mut self, number: usize) {
        let now = self.micros();
        self.callers[number].checkouts_left -= 1;
        match self.pool.acquire(now) {
            Ok(waiter) => {
                trace!(self, "  > caller {number} acquires as {waiter}");
                self.book.acquired(self.now, waiter);
                self.waiting.insert(waiter, number);
                self.callers[number].state = State::Waiting(waiter);
                if self.rng.chance(self.faults.give_up) {
                    let patience = self.rng.range(0, 20_000);
                    self.after(patience, Event::GiveUp(number, waiter));
                }
                self.settle();
            }
            Err(misuse) => {
                assert!(misuse == Misuse::Ended && self.pool.is_ending());
                self.callers[number].state = State::Done;
            }
        }
    }

    pub(crate) fn give_up(&mut self, number: usize, waiter: WaiterId) {
        let now = self.micros();
        let pending = self.callers[number].state == State::Waiting(waiter);
        assert_eq!(self.pool.cancel(now, waiter), pending, "cancel of waiter {waiter}");
        if pending {
            self.book.cancelled(waiter);
            self.book.saw("give up");
            self.waiting.remove(&waiter);
            self.go_away(number);
        }
        self.settle();
    }

    /// The pool's answer: a connection.
    pub(crate) fn delivered(&mut self, waiter: WaiterId, conn: ConnId) {
        let number = self.waiting.remove(&waiter).expect("a caller who waits");
        self.checkouts += 1;
        let checkout = self.checkouts;
        let caller = &mut self.callers[number];
        caller.state = State::Holding { conn, checkout };
        caller.queries_left = self.rng.range(0, 4);
        caller.outstanding = 0;
        let think = self.rng.range(0, 300);
        self.after(think, Event::Caller(number));
        if self.rng.chance(self.faults.early_release) {
            let early = self.rng.range(0, 4_000);
            self.after(early, Event::EarlyRelease(number, checkout));
        }
    }

    /// The pool's answer: none.
    pub(crate) fn caller_failed(&mut self, waiter: WaiterId) {
        let number = self.waiting.remove(&waiter).expect("a caller who waits");
        self.go_away(number);
    }

    fn go_away(&mut self, number: usize) {
        self.callers[number].state = State::Away;
        let pause = self.rng.range(0, 20_000);
        self.after(pause, Event::Caller(number));
    }

    // ---- queries

    fn ask(&mut self, number: usize, conn: ConnId, checkout: u64) {
        self.callers[number].queries_left -= 1;
        let count = if self.rng.chance(15) { self.rng.range(2, 4) } else { 1 };
        self.callers[number].outstanding = count;
        for _ in 0..count {
            let query = self.queries.len();
            let plan = self.plan();
            trace!(self, "  caller {number} asks q{query} on {conn}: {plan:?}");
            self.queries.push(Query {
                plan,
                conn,
                caller: number,
                checkout,
                answered: false,
                rows: 0,
                completed: 0,
                failed: false,
            });
            if let Some(timeout) = self.faults.query_timeout {
                self.after(timeout, Event::QueryTimeout(query));
            }
            self.submit(conn, query);
        }
    }

    fn plan(&mut self) -> Plan {
        let verb = match self.rng.range(0, 99) {
            0..50 => "echo",
            50..60 => "rows",
            60..62 => "big",
            62..72 => "fail",
            72..85 => "begin",
            85..94 => "commit",
            94..99 => "rollback",
            _ => "die",
        };
        let micros = match self.rng.range(0, 9) {
            0..4 => 0,
            4..9 => self.rng.range(1, 3_000),
            _ => self.rng.range(3_000, 30_000),
        };
        let extended = self.rng.chance(50);
        let several = !extended && verb != "die" && self.rng.chance(10);
        Plan {
            verb,
            micros,
            statements: if several { 2 } else { 1 },
            extended,
        }
    }

    /// The caller of a query gets its answer, once; a timed-out query has had it when its own comes.
    pub(crate) fn answer(&mut self, query: usize, whole: bool) {
        let entry = &mut self.queries[query];
        if entry.answered {
            return;
        }
        entry.answered = true;
        trace!(self, "  q{query} is answered, whole: {whole}");
        self.book.saw(if whole { "answer" } else { "query failed" });
        let entry = &self.queries[query];
        let (number, checkout) = (entry.caller, entry.checkout);
        let caller = &mut self.callers[number];
        if matches!(caller.state, State::Holding { checkout: current, .. } if current == checkout) {
            caller.outstanding -= 1;
            if caller.outstanding == 0 {
                let think = self.rng.range(0, 200);
                self.after(think, Event::Caller(number));
            }
        }
    }

    // ---- releasing

    fn release(&mut self, number: usize, conn: ConnId) {
        let mut how = self.judge(conn);
        if self.rng.chance(5) {
            how = Release::Destroy;
        }
        self.go_away(number);
        self.tell(Input::Release(conn, how));
        if self.rng.chance(20) && self.book.place(conn) != Some(Place::Held) {
            let now = self.micros();
            assert_eq!(
                self.pool.release(now, conn, how),
                Err(Misuse::NotHeld),
                "a second release"
            );
            assert_eq!(self.pool.poll_action(), None);
            self.book.saw("second release");
        }
    }

    /// A caller who does not wait for its queries.
    pub(crate) fn early_release(&mut self, number: usize, checkout: u64) {
        if let State::Holding {
            conn,
            checkout: current,
        } = self.callers[number].state
            && current == checkout
        {
            self.book.saw("early release");
            self.release(number, conn);
        }
    }
}
