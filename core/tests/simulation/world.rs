//! The clock, the events, the network and the server's side of it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use heys_core::pool::{Action, ConnId, Misuse, Pool, PoolOptions, Release, WaiterId};

use crate::book::{Book, From, Place};
use crate::caller::{Caller, Query};
use crate::driver::{Cancel, Link};
use crate::names::{Naming, Register};
use crate::rng::Rng;
use crate::sabotage::{Sabotage, Saboteur};
use crate::server::{self, Backend, Change, Greeting, Next};

/// Microseconds.
pub(crate) type Micros = u64;

/// What happens in a schedule. Numbers are those of sockets, cancels, queries and callers.
#[derive(Debug)]
pub(crate) enum Event {
    // The network and the server; these go on while the client process is suspended.
    Accept(usize),
    ToServer(usize, Vec<u8>),
    ServerEof(usize),
    ToClient(usize, Vec<u8>),
    ClientEof(usize),
    Finish(usize, u64),
    ShutDown(usize),
    /// Somebody else changes what is prepared there.
    Change(usize, Change),
    CancelArrives(usize),
    Suspend(Micros),
    // The client process.
    Opened(usize),
    Refused(usize),
    Readable(usize),
    Tick,
    Probed(ConnId),
    Destroy(ConnId),
    Closed(ConnId),
    CancelDone(usize, bool),
    /// Of an attempt.
    QueryTimeout(usize, u32),
    Caller(usize),
    GiveUp(usize, WaiterId),
    EarlyRelease(usize, u64),
    End,
}

impl Event {
    fn is_outside(&self) -> bool {
        use Event::*;
        matches!(
            self,
            Accept(_)
                | ToServer(..)
                | ServerEof(_)
                | ToClient(..)
                | ClientEof(_)
                | Finish(..)
                | ShutDown(_)
                | Change(..)
                | CancelArrives(_)
                | Suspend(_)
        )
    }
}

/// What the pool machine is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Input {
    Connected(ConnId),
    ConnectFailed(ConnId),
    Probed(ConnId, bool),
    Release(ConnId, Release),
    ResetDone(ConnId, bool),
    Lost(ConnId),
    Closed(ConnId),
    Tick,
    End,
}

/// One TCP connection and the server process at its other end.
pub(crate) struct Sock {
    pub(crate) conn: ConnId,
    pub(crate) backend: Backend,
    /// What has arrived at the client and was not read.
    pub(crate) unread: Vec<u8>,
    pub(crate) eof: bool,
    /// The client has it open (or opening).
    pub(crate) open: bool,
    server_open: bool,
    client_gone: bool,
    /// When the last byte on its way arrives.
    up_at: Micros,
    down_at: Micros,
    /// Bytes until the network is cut, in each direction.
    up_left: Option<usize>,
    down_left: Option<usize>,
    /// Nobody is told of the cut for long.
    silent: bool,
    cut: bool,
    scheduled: Option<u64>,
}

/// How bad this schedule is, in percent where not said otherwise.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) refuse: u64,
    pub(crate) hang: u64,
    pub(crate) too_many: u64,
    pub(crate) cut: u64,
    pub(crate) shut_down: u64,
    pub(crate) early_release: u64,
    pub(crate) give_up: u64,
    pub(crate) query_timeout: Option<Micros>,
    /// Checkouts that are one-shot queries.
    pub(crate) one_shots: u64,
    /// Of a caller between checkouts, at most.
    pub(crate) pause: Micros,
    pub(crate) late_ticks: bool,
    /// Of a packet, at most.
    pub(crate) delay: Micros,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Micros,
    heap: BinaryHeap<Scheduled>,
    scheduled: u64,
    tick_at: Option<Micros>,
    suspended_until: Micros,
    pub(crate) pool: Pool,
    pub(crate) book: Book,
    pub(crate) options: PoolOptions,
    pub(crate) faults: Faults,
    pub(crate) naming: Naming,
    pub(crate) register: Register,
    /// Answers of the driver to actions, given once all actions are taken.
    pub(crate) soon: VecDeque<Input>,
    pub(crate) links: BTreeMap<ConnId, Link>,
    pub(crate) socks: Vec<Sock>,
    pub(crate) cancels: Vec<Cancel>,
    pub(crate) callers: Vec<Caller>,
    pub(crate) waiting: BTreeMap<WaiterId, usize>,
    pub(crate) queries: Vec<Query>,
    pub(crate) checkouts: u64,
    /// The last query of each checkout that a server has begun.
    pub(crate) last_begun: BTreeMap<u64, usize>,
    pub(crate) saboteur: Saboteur,
    /// Actions are being handled.
    pub(crate) draining: bool,
    pub(crate) tracing: bool,
}

/// Says what happens, in a replay.
#[macro_export]
macro_rules! trace {
    ($world:expr, $($what:tt)*) => {
        if $world.tracing {
            println!("{:>9} {}", $world.now, format_args!($($what)*));
        }
    };
}

impl World {
    /// A random schedule.
    pub(crate) fn new(seed: u64, sabotage: Sabotage, tracing: bool) -> World {
        let mut rng = Rng::new(seed);
        let millis = |value: Option<u64>| value.map(Duration::from_millis);
        let max = rng.range(1, 4) as usize;
        // Many one-shots on few connections, some of which are cancelled.
        let crowd = rng.chance(20);
        // Callers who come often, on connections that live long.
        let regulars = rng.chance(20);
        let options = PoolOptions {
            max,
            min: rng.range(0, max as u64) as usize,
            idle_timeout: millis(rng.maybe(3, 50)),
            acquire_timeout: millis(rng.maybe(2, 60)),
            max_lifetime: millis(rng.maybe(20, 200).filter(|_| !regulars)),
            max_uses: rng.maybe(1, 5).filter(|_| !crowd && !regulars).map(|uses| uses as u32),
            end_fails_waiters: rng.chance(80),
            reset_timeout: Duration::from_millis(rng.range(5, 30)),
            needs_permit: false,
            max_in_flight: if rng.chance(40) && !crowd {
                1
            } else {
                rng.range(2, 8) as u32
            },
        };
        let mut faults = Faults {
            delay: rng.range(20, 400),
            ..Faults::default()
        };
        if rng.chance(75) {
            let mut percent = |most| if rng.chance(50) { rng.range(0, most) } else { 0 };
            faults = Faults {
                refuse: percent(25),
                hang: percent(15),
                too_many: percent(15),
                cut: percent(40),
                shut_down: percent(20),
                early_release: percent(10),
                give_up: percent(20),
                query_timeout: None,
                one_shots: 0,
                pause: 0,
                late_ticks: false,
                delay: percent(3000) + 20,
            };
            faults.query_timeout = rng.maybe(500, 8000);
            faults.late_ticks = rng.chance(30);
        }
        faults.one_shots = [0, 20, 50, 80, 100][rng.range(if crowd { 3 } else { 0 }, 4) as usize];
        faults.pause = if crowd { 1_000 } else { 20_000 };
        if crowd {
            faults.query_timeout = Some(rng.range(500, 8_000));
        }
        let naming = Naming::random(&mut rng, regulars);
        let saboteur = Saboteur::new(sabotage, rng.range(0, 3));
        let options = saboteur.reduce(options);
        let mut world = World {
            now: 0,
            heap: BinaryHeap::new(),
            scheduled: 0,
            tick_at: None,
            suspended_until: 0,
            pool: Pool::new(saboteur.limits(&options)),
            book: Book::new(&options),
            soon: VecDeque::new(),
            links: BTreeMap::new(),
            socks: Vec::new(),
            cancels: Vec::new(),
            callers: Vec::new(),
            waiting: BTreeMap::new(),
            queries: Vec::new(),
            checkouts: 0,
            last_begun: BTreeMap::new(),
            saboteur,
            draining: false,
            tracing,
            options,
            faults,
            naming,
            register: Register::default(),
            rng,
        };
        trace!(world, "{:?} {:?} {:?}", world.options, world.faults, world.naming);
        world.populate(if crowd { 30 } else { 10 }, if regulars { 12 } else { 4 });
        world
    }

    fn populate(&mut self, most: u64, most_checkouts: u64) {
        for caller in 0..self.rng.range(1, most) as usize {
            let checkouts = self.rng.range(1, most_checkouts);
            self.callers.push(Caller::new(checkouts));
            let start = self.rng.range(0, 30_000);
            self.after(start, Event::Caller(caller));
        }
        if self.rng.chance(30) {
            let at = self.rng.range(0, 80_000);
            self.after(at, Event::End);
        }
        if self.rng.chance(20) {
            for _ in 0..self.rng.range(1, 3) {
                let at = self.rng.range(0, 80_000);
                let length = self.rng.range(1_000, 60_000);
                self.after(at, Event::Suspend(length));
            }
        }
    }

    /// Runs to the end; panics where an invariant breaks.
    pub(crate) fn run(&mut self) {
        let mut steps = 0;
        loop {
            while let Some(next) = self.heap.pop() {
                steps += 1;
                assert!(steps < 100_000, "the schedule never ends");
                self.now = self.now.max(next.at);
                if self.now < self.suspended_until && !next.event.is_outside() {
                    self.at(self.suspended_until, next.event);
                } else {
                    self.step(next.event);
                    self.set_alarm();
                }
            }
            if self.pool.is_ending() {
                break;
            }
            self.after(0, Event::End);
        }
        self.check_over();
    }

    fn check_over(&self) {
        self.book.check_over();
        assert!(self.links.is_empty(), "connections {:?} are left", self.links.keys());
        assert!(self.socks.iter().all(|sock| !sock.open), "a socket is left open");
        let mut waiting = Vec::new();
        for (number, caller) in self.callers.iter().enumerate() {
            let waits = caller.waiter();
            if waits.is_some_and(|waiter| self.book.is_pending_for_ever(waiter)) {
                waiting.extend(caller.one_shot());
            } else {
                assert!(caller.is_done(), "caller {number} is left in {caller:?}");
            }
        }
        for (number, query) in self.queries.iter().enumerate() {
            let over = query.answered || waiting.contains(&number);
            assert!(over, "query {number} was never answered");
        }
    }

    // ---- events

    pub(crate) fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    fn at(&mut self, at: Micros, event: Event) {
        self.scheduled += 1;
        let order = self.scheduled;
        self.heap.push(Scheduled { at, order, event });
    }

    /// A tick for the pool's next deadline, sometimes late.
    fn set_alarm(&mut self) {
        let Some(deadline) = self.pool.next_deadline() else {
            return;
        };
        let deadline = deadline.as_micros() as u64;
        if self.tick_at.is_none_or(|at| at > deadline) {
            let late = if self.faults.late_ticks {
                self.rng.range(0, 4_000)
            } else {
                0
            };
            self.tick_at = Some(deadline);
            self.at(deadline.max(self.now) + late, Event::Tick);
        }
    }

    fn step(&mut self, event: Event) {
        match &event {
            Event::ToServer(sock, bytes) => trace!(self, "ToServer({sock}) {} bytes", bytes.len()),
            Event::ToClient(sock, bytes) => trace!(self, "ToClient({sock}) {} bytes", bytes.len()),
            event => trace!(self, "{event:?}"),
        }
        match event {
            Event::Accept(sock) => self.after(0, Event::Opened(sock)),
            Event::ToServer(sock, bytes) => {
                self.socks[sock].backend.receive(&bytes);
                self.serve(sock);
            }
            Event::ServerEof(sock) => {
                self.socks[sock].client_gone = true;
                self.serve(sock);
            }
            Event::ToClient(sock, bytes) => {
                self.socks[sock].unread.extend(bytes);
                self.wake_reader(sock);
            }
            Event::ClientEof(sock) => {
                self.socks[sock].eof = true;
                self.wake_reader(sock);
            }
            Event::Finish(sock, serial) => {
                let mut out = Vec::new();
                self.socks[sock].backend.finish(serial, &mut out);
                self.heed(sock);
                self.send_down(sock, &out);
                self.serve(sock);
            }
            Event::ShutDown(sock) => {
                let mut out = Vec::new();
                self.socks[sock].backend.shut_down(&mut out);
                self.send_down(sock, &out);
                self.serve(sock);
            }
            Event::Change(sock, change) => {
                let mut out = Vec::new();
                self.socks[sock].backend.change(change, &mut out);
                self.send_down(sock, &out);
            }
            Event::CancelArrives(cancel) => self.cancel_arrives(cancel),
            Event::Suspend(length) => {
                self.suspended_until = self.now + length;
                self.book.saw("suspend");
            }
            Event::Opened(sock) => self.opened(sock),
            Event::Refused(sock) => self.refused(sock),
            Event::Readable(sock) => self.readable(sock),
            Event::Tick => {
                self.tick_at = None;
                self.tell(Input::Tick);
                let now = self.micros();
                assert!(
                    self.pool.next_deadline().is_none_or(|next| next > now),
                    "a tick left its deadline"
                );
                self.book.check_deadlines(self.now);
            }
            Event::Probed(conn) => self.probe(conn),
            Event::Destroy(conn) => self.destroy(conn),
            Event::Closed(conn) => self.tell(Input::Closed(conn)),
            Event::CancelDone(cancel, ok) => self.cancel_done(cancel, ok),
            Event::QueryTimeout(query, attempt) => self.query_timeout(query, attempt),
            Event::Caller(caller) => self.caller_step(caller),
            Event::GiveUp(caller, waiter) => self.give_up(caller, waiter),
            Event::EarlyRelease(caller, checkout) => self.early_release(caller, checkout),
            Event::End => self.tell(Input::End),
        }
    }

    // ---- the pool machine

    pub(crate) fn micros(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Tells the machine something, takes its actions, and goes on with the driver's immediate answers.
    pub(crate) fn tell(&mut self, input: Input) {
        assert!(!self.draining, "an answer inside the handling of actions");
        self.soon.push_back(input);
        self.settle();
    }

    /// Takes the actions of what the machine was told, and goes on with the driver's immediate answers.
    pub(crate) fn settle(&mut self) {
        self.drain();
        while let Some(input) = self.soon.pop_front() {
            self.tell_one(input);
            self.drain();
        }
    }

    fn tell_one(&mut self, input: Input) {
        trace!(self, "  > {input:?}");
        let now = self.micros();
        let (pool, book) = (&mut self.pool, &mut self.book);
        match input {
            Input::Connected(conn) => {
                book.connected(self.now, conn);
                pool.connected(now, conn);
            }
            Input::ConnectFailed(conn) => {
                book.gone(conn);
                self.links.remove(&conn);
                pool.connect_failed(now, conn);
            }
            Input::Probed(conn, true) => {
                book.free(conn, Place::Probing, From::Probe);
                pool.probed(now, conn, true);
            }
            Input::Probed(conn, false) => {
                book.unhealthy(conn);
                pool.probed(now, conn, false);
            }
            Input::Release(conn, how) => {
                book.released(self.now, conn, how);
                let others = book.place(conn) == Some(Place::Held);
                assert_eq!(pool.release(now, conn, self.saboteur.heard(how, others)), Ok(()));
            }
            Input::ResetDone(conn, clean) => {
                book.free(conn, Place::Resetting, if clean { From::Release } else { From::Bad });
                pool.reset_done(now, conn, clean);
            }
            Input::Lost(conn) => {
                match book.place(conn) {
                    Some(Place::Probing) => book.unhealthy(conn),
                    Some(Place::Held) => book.lost(conn),
                    Some(place @ (Place::Idle | Place::Resetting)) => {
                        book.free(conn, place, From::Bad);
                    }
                    _ => {}
                }
                pool.lost(now, conn);
            }
            Input::Closed(conn) => {
                let sock = self.links.remove(&conn).map(|link| link.sock);
                sock.into_iter().for_each(|sock| self.socks[sock].open = false);
                if self.saboteur.forgets_closed() {
                    return;
                }
                book.gone(conn);
                pool.closed(now, conn);
            }
            Input::Tick => pool.tick(now),
            Input::End => {
                let second = pool.is_ending();
                let answer = pool.end(now);
                assert_eq!(answer, if second { Err(Misuse::Ended) } else { Ok(()) });
                book.end();
            }
        }
    }

    /// Takes and checks all actions, then checks the whole.
    fn drain(&mut self) {
        self.draining = true;
        while let Some(action) = self.next_action() {
            trace!(self, "  < {action:?}");
            self.book.action(self.now, action);
            self.act(action);
        }
        self.draining = false;
        self.book.check(self.now, self.pool.counts());
        let open = self.socks.iter().rev().take(64).filter(|sock| sock.open).count();
        assert!(open <= self.options.max, "the limit: {open} sockets are open");
    }

    fn next_action(&mut self) -> Option<Action> {
        self.saboteur.next_action(&mut self.pool, &self.book, self.now)
    }

    // ---- the network

    /// Opens a socket for a connection; how it will fare is decided here.
    pub(crate) fn open(&mut self, conn: ConnId) -> usize {
        let sock = self.socks.len();
        let mut greeting = if self.rng.chance(20) {
            Greeting::Password
        } else {
            Greeting::Trust
        };
        if self.rng.chance(self.faults.too_many) {
            greeting = Greeting::TooManyConnections;
        }
        let key = self.rng.bits() as i32;
        let (mut up_left, mut down_left, mut silent) = (None, None, false);
        if self.rng.chance(self.faults.cut) {
            let bytes = if self.rng.chance(50) { 200 } else { 1500 };
            let bytes = Some(self.rng.range(0, bytes) as usize);
            if self.rng.chance(50) {
                up_left = bytes
            } else {
                down_left = bytes
            }
            silent = self.rng.chance(15);
        }
        let pid = 1000 + sock as i32;
        let (rules, temper) = self.naming.backend(pid, &mut self.rng);
        self.socks.push(Sock {
            conn,
            backend: Backend::new(pid, key, greeting, rules, temper),
            unread: Vec::new(),
            eof: false,
            open: true,
            server_open: true,
            client_gone: false,
            up_at: 0,
            down_at: 0,
            up_left,
            down_left,
            silent,
            cut: false,
            scheduled: None,
        });
        let delay = self.rng.range(0, 2 * self.faults.delay);
        if self.rng.chance(self.faults.refuse) {
            self.after(delay, Event::Refused(sock));
        } else if self.rng.chance(self.faults.hang) {
            self.after(80_000, Event::Refused(sock));
        } else {
            self.after(delay, Event::Accept(sock));
            for (at, change) in self.naming.changes(&mut self.rng) {
                self.after(at, Event::Change(sock, change));
            }
            if self.rng.chance(self.faults.shut_down) {
                let at = self.rng.range(1_000, 60_000);
                self.after(at, Event::ShutDown(sock));
            }
        }
        sock
    }

    pub(crate) fn send_up(&mut self, sock: usize, bytes: &[u8]) {
        let delay = self.rng.range(1, self.faults.delay);
        let entry = &mut self.socks[sock];
        if entry.cut || bytes.is_empty() {
            return;
        }
        let whole = entry.up_left.is_none_or(|left| left > bytes.len());
        let length = if whole { bytes.len() } else { entry.up_left.unwrap_or(0) };
        entry.up_left = entry.up_left.map(|left| left - length);
        entry.up_at = entry.up_at.max(self.now) + delay;
        let at = entry.up_at;
        self.at(at, Event::ToServer(sock, bytes[..length].to_vec()));
        if !whole {
            self.cut(sock);
        }
    }

    fn send_down(&mut self, sock: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.socks[sock].cut {
            let pieces = self.rng.range(1, 3) as usize;
            let mut length = self.rng.range(1, rest.len() as u64) as usize;
            if pieces == 1 {
                length = rest.len();
            }
            let delay = self.rng.range(1, self.faults.delay);
            let entry = &mut self.socks[sock];
            let whole = entry.down_left.is_none_or(|left| left > length);
            if !whole {
                length = entry.down_left.unwrap_or(0);
            }
            entry.down_left = entry.down_left.map(|left| left - length);
            entry.down_at = entry.down_at.max(self.now) + delay;
            let at = entry.down_at;
            let (piece, after) = rest.split_at(length);
            rest = after;
            self.at(at, Event::ToClient(sock, piece.to_vec()));
            if !whole {
                self.cut(sock);
            }
        }
    }

    fn cut(&mut self, sock: usize) {
        self.book.saw("cut");
        let late = if self.socks[sock].silent { 300_000 } else { 0 };
        let entry = &mut self.socks[sock];
        entry.cut = true;
        let (up, down) = (entry.up_at.max(self.now) + late, entry.down_at.max(self.now) + late);
        self.at(up, Event::ServerEof(sock));
        self.at(down, Event::ClientEof(sock));
    }

    /// The client closes its end.
    pub(crate) fn hang_up(&mut self, sock: usize) {
        let entry = &mut self.socks[sock];
        entry.open = false;
        if !entry.cut {
            let at = entry.up_at.max(self.now) + 1;
            self.at(at, Event::ServerEof(sock));
        }
    }

    fn wake_reader(&mut self, sock: usize) {
        let late = if self.rng.chance(20) { self.rng.range(0, 500) } else { 0 };
        self.after(late, Event::Readable(sock));
    }

    // ---- the server

    /// Lets a backend work until it waits or runs a statement.
    fn serve(&mut self, sock: usize) {
        let mut out = Vec::new();
        if self.rng.chance(2) && self.socks[sock].backend.is_idle() {
            server::notice(&mut out);
        }
        let entry = &mut self.socks[sock];
        let next = entry.backend.advance(&mut out);
        let over = match next {
            Next::Run(serial, micros) => {
                if entry.scheduled != Some(serial) {
                    entry.scheduled = Some(serial);
                    self.after(micros, Event::Finish(sock, serial));
                }
                false
            }
            Next::Wait => entry.client_gone,
            Next::Exit => true,
        };
        self.heed(sock);
        self.send_down(sock, &out);
        let entry = &mut self.socks[sock];
        if over && entry.server_open {
            entry.server_open = false;
            entry.backend.gone = true;
            if !entry.cut {
                let at = entry.down_at.max(self.now);
                self.at(at, Event::ClientEof(sock));
            }
        }
    }

    fn cancel_arrives(&mut self, number: usize) {
        let cancel = &self.cancels[number];
        let target = self.socks.iter_mut().position(|sock| {
            sock.server_open && sock.backend.pid == cancel.pid && sock.backend.key == cancel.key && !sock.backend.gone
        });
        let Some(sock) = target else { return };
        let intended = cancel.query;
        let mut out = Vec::new();
        if let Some(hit) = self.socks[sock].backend.cancel(&mut out) {
            if let Some(query) = hit.query {
                if cancel.behind.contains(&query) {
                    self.queries[query].hit_astray = true;
                    self.book.saw("cancel hit a follower");
                } else {
                    assert_eq!(query, intended, "the cancel for query {intended} hit query {query}");
                    self.book.saw("cancel hit");
                }
            }
            self.was_hit(&hit, intended);
        }
        self.send_down(sock, &out);
        self.serve(sock);
    }
}

struct Scheduled {
    at: Micros,
    order: u64,
    event: Event,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}
