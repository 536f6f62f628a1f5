//! Callers: some acquire, query one after another or several at once, open transactions, give up, and release in every
//! way that is possible; some ask one-shot queries, which the driver releases.

use heys_core::pool::{ConnId, Misuse, Release, WaiterId};

use crate::book::{Ask, Place};
use crate::sabotage::Sabotage;
use crate::trace;
use crate::world::{Event, Input, Micros, World};

#[derive(Debug)]
pub(crate) struct Caller {
    state: State,
    checkouts_left: u64,
    queries_left: u64,
    /// Queries of this checkout that are not answered.
    outstanding: u64,
    /// The one-shot query that it asks.
    one_shot: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Away,
    Waiting(WaiterId),
    /// Its one-shot query is on its way.
    Asking,
    Holding {
        conn: ConnId,
        checkout: u64,
    },
    Done,
}

pub(crate) struct Query {
    pub(crate) plan: Plan,
    /// Where it is; no connection before a one-shot was delivered.
    pub(crate) conn: ConnId,
    caller: usize,
    owner: Owner,
    /// The caller has its answer.
    pub(crate) answered: bool,
    pub(crate) rows: usize,
    pub(crate) completed: usize,
    pub(crate) failed: bool,
    /// A one-shot whose caller's time was up.
    pub(crate) timed_out: bool,
    /// It was in flight behind a query when a cancel for that was sent.
    pub(crate) exposed: bool,
    /// SQLSTATE 57014 came.
    pub(crate) hit: bool,
    /// What the server knows: in this attempt a cancel that meant another query hit it.
    pub(crate) hit_astray: bool,
    /// 1, and 2 when it was asked again.
    pub(crate) attempt: u32,
    /// Asked again because another's cancel had hit it.
    pub(crate) restarts: usize,
    /// It failed because of its name, and will be sent again.
    pub(crate) repeats: bool,
    /// It was sent before, and goes out without a name now.
    pub(crate) unnamed: bool,
    /// When it was sent, its connection was inside a transaction.
    pub(crate) in_transaction: bool,
    /// Under which name it was sent.
    pub(crate) name: Option<u32>,
    /// When it was sent, so many were in flight before it.
    pub(crate) behind: usize,
    /// When it was sent with nothing in flight, own names up to this one were given up.
    pub(crate) given_up: u32,
    /// What the server knows: statements of it that began and completed, and those that began before it was sent last.
    pub(crate) begun: usize,
    pub(crate) ran: usize,
    pub(crate) begun_before: usize,
}

/// Who releases the connection of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Its caller, who holds this checkout.
    Checkout(u64),
    /// The driver: it is a one-shot.
    Driver { leads: bool },
}

/// What a query asks for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) verb: &'static str,
    pub(crate) micros: Micros,
    /// More than one: a simple Query with several.
    pub(crate) statements: usize,
    pub(crate) extended: bool,
    /// It has a text that comes again: which.
    pub(crate) text: Option<u64>,
}

impl Plan {
    /// What its text says. Whether one fails that comes again depends on its parameters.
    pub(crate) fn kind(&self) -> &'static str {
        match self.verb {
            "fail" | "die" if self.text.is_some() => "echo",
            verb => verb,
        }
    }

    /// How long it runs, and how it ends.
    pub(crate) fn time(&self) -> String {
        let ends = if self.kind() == self.verb { "" } else { self.verb };
        format!("{}{ends}", self.micros)
    }
}

impl Caller {
    pub(crate) fn new(checkouts: u64) -> Caller {
        Caller {
            state: State::Away,
            checkouts_left: checkouts,
            queries_left: 0,
            outstanding: 0,
            one_shot: None,
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

    pub(crate) fn one_shot(&self) -> Option<usize> {
        self.one_shot
    }
}

impl Query {
    fn new(plan: Plan, conn: ConnId, caller: usize, owner: Owner) -> Query {
        Query {
            plan,
            conn,
            caller,
            owner,
            answered: false,
            rows: 0,
            completed: 0,
            failed: false,
            timed_out: false,
            exposed: false,
            hit: false,
            hit_astray: false,
            attempt: 1,
            restarts: 0,
            repeats: false,
            unnamed: false,
            in_transaction: false,
            name: None,
            behind: 0,
            given_up: 0,
            begun: 0,
            ran: 0,
            begun_before: 0,
        }
    }

    /// The checkout of a query that is no one-shot.
    pub(crate) fn checkout(&self) -> Option<u64> {
        match self.owner {
            Owner::Checkout(checkout) => Some(checkout),
            Owner::Driver { .. } => None,
        }
    }

    /// Others may be in flight behind it.
    pub(crate) fn leads(&self) -> bool {
        self.owner == Owner::Driver { leads: true }
    }

    /// It will be sent again: nothing of it has happened.
    pub(crate) fn forget_attempt(&mut self) {
        self.unnamed = true;
        (self.rows, self.completed, self.failed, self.repeats) = (0, 0, false, false);
        (self.exposed, self.hit, self.hit_astray) = (false, false, false);
    }

    pub(crate) fn is_one_shot(&self) -> bool {
        matches!(self.owner, Owner::Driver { .. })
    }

    fn ask(&self) -> Ask {
        match self.owner {
            Owner::Checkout(_) => Ask::Connection,
            Owner::Driver { leads } => Ask::Query { leads },
        }
    }

    /// A cancel that was meant for another query may have hit it, for the first time, and nothing of it has happened.
    pub(crate) fn may_be_asked_again(&self) -> bool {
        let astray = self.hit && self.exposed && !self.answered;
        astray && self.attempt == 1 && !self.unnamed && self.plan.statements == 1
    }

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
            State::Waiting(_) | State::Asking | State::Done => {}
        }
    }

    fn acquire(&mut self, number: usize) {
        self.callers[number].checkouts_left -= 1;
        if self.rng.chance(self.faults.one_shots) {
            let mut plan = self.plan();
            if self.rng.chance(60) && !matches!(plan.verb, "rows" | "big") {
                plan.verb = "echo";
            }
            let select = matches!(plan.verb, "echo" | "rows" | "big" | "fail" | "die") && plan.statements == 1;
            let leads = select && self.rng.chance(80);
            let query = self.queries.len();
            trace!(self, "  caller {number} asks q{query}, leads: {leads}: {plan:?}");
            self.queries.push(Query::new(plan, 0, number, Owner::Driver { leads }));
            self.callers[number].one_shot = Some(query);
        }
        self.wait(number);
    }

    /// Asks the pool for a connection, or a place on one.
    fn wait(&mut self, number: usize) {
        let now = self.micros();
        let one_shot = self.callers[number].one_shot;
        let ask = one_shot.map_or(Ask::Connection, |query| self.queries[query].ask());
        let answer = match self.saboteur.told(ask) {
            Ask::Connection => self.pool.acquire(now),
            Ask::Query { leads } => self.pool.acquire_query(self.saboteur.when(now), leads),
        };
        match answer {
            Ok(waiter) => {
                trace!(self, "  > caller {number} acquires as {waiter}");
                self.book.acquired(self.now, waiter, ask);
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
                if let Some(query) = one_shot {
                    self.answer(query, false);
                }
                self.callers[number].state = State::Done;
            }
        }
    }

    /// A one-shot of which nothing has happened asks for a connection once more.
    pub(crate) fn ask_again(&mut self, query: usize) {
        let entry = &mut self.queries[query];
        assert!(!entry.answered, "query {query} is repeated for nobody");
        entry.attempt += 1;
        entry.forget_attempt();
        self.wait(self.queries[query].caller);
    }

    pub(crate) fn give_up(&mut self, number: usize, waiter: WaiterId) {
        let now = self.micros();
        let pending = self.callers[number].state == State::Waiting(waiter);
        assert_eq!(self.pool.cancel(now, waiter), pending, "cancel of waiter {waiter}");
        if pending {
            self.book.cancelled(waiter);
            self.book.saw("give up");
            self.caller_failed(waiter);
        }
        self.settle();
    }

    /// The pool's answer: a connection.
    pub(crate) fn delivered(&mut self, waiter: WaiterId, conn: ConnId) {
        let number = self.waiting.remove(&waiter).expect("a caller who waits");
        if let Some(query) = self.callers[number].one_shot {
            self.callers[number].state = State::Asking;
            self.queries[query].conn = conn;
            self.send_off(query);
            return;
        }
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
        match self.callers[number].one_shot {
            Some(query) => self.answer(query, false),
            None => self.go_away(number),
        }
    }

    fn go_away(&mut self, number: usize) {
        self.callers[number].state = State::Away;
        let pause = self.rng.range(0, self.faults.pause);
        self.after(pause, Event::Caller(number));
    }

    // ---- queries

    fn ask(&mut self, number: usize, conn: ConnId, checkout: u64) {
        self.callers[number].queries_left -= 1;
        let count = if self.rng.chance(15) { self.rng.range(2, 4) } else { 1 };
        self.callers[number].outstanding = count;
        for nth in 0..count {
            let query = self.queries.len();
            let mut plan = self.plan();
            // One that others follow must not fail because of a name: repeated, it would run after them.
            if nth == 0 && count > 1 && !self.saboteur.is(Sabotage::NamePipelined) {
                plan.text = None;
            }
            trace!(self, "  caller {number} asks q{query} on {conn}: {plan:?}");
            let owner = Owner::Checkout(checkout);
            self.queries.push(Query::new(plan, conn, number, owner));
            self.send_off(query);
        }
    }

    fn send_off(&mut self, query: usize) {
        let Query { conn, attempt, .. } = self.queries[query];
        let patient = self.queries[query].is_one_shot() && self.rng.chance(50);
        if let Some(timeout) = self.faults.query_timeout.filter(|_| !patient) {
            self.after(timeout, Event::QueryTimeout(query, attempt));
        }
        self.submit(conn, query);
    }

    fn plan(&mut self) -> Plan {
        let mut verb = match self.rng.range(0, 99) {
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
        let mut text = None;
        if matches!(verb, "echo" | "rows" | "big" | "fail" | "die") {
            text = self.naming.text(&mut self.rng);
        } else if self.rng.chance(self.naming.changing) {
            verb = ["discard", "deallocate", "alter", "set"][self.rng.range(0, 3) as usize];
        }
        let extended = text.is_some() || self.rng.chance(50);
        let changes = matches!(verb, "discard" | "deallocate" | "alter" | "set");
        let several = !extended && verb != "die" && !changes && self.rng.chance(10);
        Plan {
            verb,
            micros,
            statements: if several { 2 } else { 1 },
            extended,
            text,
        }
    }

    /// The caller of a query gets its answer, once; a timed-out query has had it when its own comes.
    pub(crate) fn answer(&mut self, query: usize, whole: bool) {
        let entry = &mut self.queries[query];
        if entry.answered {
            return;
        }
        entry.answered = true;
        if whole && entry.hit_astray && entry.attempt > 1 {
            self.book.saw("hit twice");
        }
        trace!(self, "  q{query} is answered, whole: {whole}");
        self.book.saw(if whole { "answer" } else { "query failed" });
        let entry = &self.queries[query];
        let number = entry.caller;
        let checkout = match entry.owner {
            Owner::Checkout(checkout) => checkout,
            Owner::Driver { .. } => {
                let first = entry.attempt == 1 && !entry.unnamed;
                let spared = whole && entry.hit_astray && first && entry.plan.statements == 1;
                assert!(
                    !spared,
                    "query {query} failed by another's cancel and was not asked again"
                );
                assert_eq!(self.callers[number].one_shot.take(), Some(query));
                return self.go_away(number);
            }
        };
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
        self.give_back(conn, how);
    }

    /// Tells the pool of a release, sometimes once too often.
    pub(crate) fn give_back(&mut self, conn: ConnId, how: Release) {
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
