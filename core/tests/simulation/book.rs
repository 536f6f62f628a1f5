//! What the pool machine should be doing, kept apart from it: the reference that every action is checked against.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use heys_core::pool::{Action, ConnId, Counts, Failure, PoolOptions, Release, WaiterId};

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Connecting,
    Probing,
    Held,
    Resetting,
    Idle,
    Closing,
    /// The machine was told something about it and has to put it somewhere: never left there.
    Free(From),
}

/// Where a free connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Connect,
    Probe,
    Bad,
    Release,
    Dirty,
}

/// What a waiter asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// connect(): nobody shares it.
    Connection,
    /// query(). `leads`: others may go behind it.
    Query { leads: bool },
}

/// Nothing goes behind a query that has run for so long.
const HEAD_MAX: u64 = 5_000;

pub(crate) struct Book {
    max: usize,
    options: PoolOptions,
    places: BTreeMap<ConnId, Conn>,
    /// Waiters in the queue by age.
    queue: BTreeMap<WaiterId, Waiter>,
    /// Waiters that left the queue for a connection.
    bound: BTreeMap<ConnId, (WaiterId, Waiter)>,
    answered: BTreeSet<WaiterId>,
    ending: bool,
    pub(crate) ended: bool,
    /// What this schedule has seen, for the proof that schedules see everything.
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    /// When it acquired.
    since: u64,
    ask: Ask,
}

pub(crate) struct Conn {
    place: Place,
    /// When it came there.
    since: u64,
    /// When it was connected.
    born: u64,
    /// Checkouts so far.
    uses: u32,
    /// Checkouts that were not released, oldest first.
    loans: VecDeque<Ask>,
    /// When the first of them was delivered, or the one before it released.
    head_since: u64,
    /// The worst that was heard of it since it was handed out: Release, Dirty or Bad.
    heard: From,
}

impl Book {
    pub(crate) fn new(options: &PoolOptions) -> Book {
        Book {
            max: options.max,
            options: options.clone(),
            places: BTreeMap::new(),
            queue: BTreeMap::new(),
            bound: BTreeMap::new(),
            answered: BTreeSet::new(),
            ending: false,
            ended: false,
            seen: BTreeMap::new(),
        }
    }

    // ---- what the machine is told

    pub(crate) fn acquired(&mut self, now: u64, waiter: WaiterId, ask: Ask) {
        let newest = self.queue.keys().chain(self.answered.iter()).max();
        assert!(
            newest.is_none_or(|&newest| newest < waiter),
            "waiter {waiter} is not new"
        );
        self.queue.insert(waiter, Waiter { since: now, ask });
    }

    pub(crate) fn cancelled(&mut self, waiter: WaiterId) {
        let bound = self
            .bound
            .iter()
            .find(|(_, bound)| bound.0 == waiter)
            .map(|(&conn, _)| conn);
        let known =
            self.queue.remove(&waiter).is_some() || bound.is_some_and(|conn| self.bound.remove(&conn).is_some());
        assert!(known, "cancelled waiter {waiter} was not pending");
        assert!(self.answered.insert(waiter));
    }

    /// The machine hears that `conn` left `place`; false when the news crossed a Close.
    pub(crate) fn free(&mut self, conn: ConnId, place: Place, from: From) -> bool {
        let Some(entry) = self.places.get_mut(&conn) else {
            return false;
        };
        let is_there = entry.place == place;
        if is_there {
            entry.place = Place::Free(from);
        }
        is_there
    }

    pub(crate) fn connected(&mut self, now: u64, conn: ConnId) {
        if self.free(conn, Place::Connecting, From::Connect)
            && let Some(entry) = self.places.get_mut(&conn)
        {
            entry.born = now;
        }
    }

    /// The machine hears that the connection is bad; its waiter returns to its place.
    pub(crate) fn unhealthy(&mut self, conn: ConnId) {
        if self.free(conn, Place::Probing, From::Bad)
            && let Some((id, waiter)) = self.bound.remove(&conn)
        {
            self.queue.insert(id, waiter);
        }
    }

    /// One checkout ends; the server answers in order, so it is the oldest.
    pub(crate) fn released(&mut self, now: u64, conn: ConnId, how: Release) {
        let entry = self.entry(conn, &[Place::Held]);
        entry.loans.pop_front().expect("a checkout that was not released");
        entry.head_since = now;
        entry.heard = match (how, entry.heard) {
            (Release::Destroy, _) | (_, From::Bad) => From::Bad,
            (Release::Dirty, _) | (_, From::Dirty) => From::Dirty,
            (Release::Reuse, heard) => heard,
        };
        if entry.loans.is_empty() {
            entry.place = Place::Free(entry.heard);
        }
    }

    /// The machine hears that a checked-out connection is broken.
    pub(crate) fn lost(&mut self, conn: ConnId) {
        self.entry(conn, &[Place::Held]).heard = From::Bad;
    }

    /// The slot is free.
    pub(crate) fn gone(&mut self, conn: ConnId) {
        self.places.remove(&conn);
    }

    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    pub(crate) fn place(&self, conn: ConnId) -> Option<Place> {
        self.places.get(&conn).map(|conn| conn.place)
    }

    // ---- what the machine answers

    /// Checks one action. `now` is the time of the input that caused it.
    pub(crate) fn action(&mut self, now: u64, action: Action) {
        match action {
            Action::Connect(conn) => {
                assert!(!self.ending, "Connect({conn}) after end");
                assert!(!self.places.contains_key(&conn), "connection {conn} exists already");
                assert!(
                    self.places.len() < self.max,
                    "the limit: Connect({conn}) with {} of {} sockets in use",
                    self.places.len(),
                    self.max
                );
                let entry = Conn {
                    place: Place::Connecting,
                    since: now,
                    born: now,
                    uses: 0,
                    loans: VecDeque::new(),
                    head_since: now,
                    heard: From::Release,
                };
                self.places.insert(conn, entry);
                self.bind(conn);
                self.saw("connect");
            }
            Action::Probe(conn) => {
                let idle = self.entry(conn, &[Place::Idle]);
                let (since, born) = (idle.since, idle.born);
                let newest = self.in_place(Place::Idle).map(|(_, conn)| conn.since).max();
                assert_eq!(
                    newest,
                    Some(since),
                    "connection {conn} is not the one that went idle last"
                );
                self.assert_young(now, conn, since, born);
                self.put(now, conn, Place::Probing);
                self.bind(conn);
                self.saw("probe");
            }
            Action::Deliver { waiter, conn, fresh } => self.deliver(now, waiter, conn, fresh),
            Action::Fail { waiter, failure } => self.fail(now, waiter, failure),
            Action::Reset(conn) => {
                self.entry(conn, &[Place::Free(From::Dirty)]);
                self.put(now, conn, Place::Resetting);
                self.saw("reset");
            }
            Action::Idle(conn) => {
                self.entry(
                    conn,
                    &[
                        Place::Free(From::Connect),
                        Place::Free(From::Probe),
                        Place::Free(From::Release),
                    ],
                );
                assert!(
                    self.queue.is_empty() && !self.ending,
                    "connection {conn} idles while somebody waits"
                );
                self.put(now, conn, Place::Idle);
                self.saw("idle");
            }
            Action::Close { conn, expired } => {
                let place = self.place(conn);
                let legal = !matches!(place, None | Some(Place::Held | Place::Closing));
                assert!(legal, "Close of connection {conn}, which is {place:?}");
                assert!(
                    !self.bound.contains_key(&conn),
                    "connection {conn} closes under its waiter"
                );
                self.put(now, conn, Place::Closing);
                self.saw(if expired { "expired" } else { "close" });
            }
            Action::Ended => {
                assert!(self.ending && !self.ended && self.places.is_empty(), "Ended too early");
                self.ended = true;
            }
            Action::Permit(conn) => panic!("Permit({conn}) in a pool without permits"),
        }
    }

    fn deliver(&mut self, now: u64, waiter: WaiterId, conn: ConnId, fresh: bool) {
        let from = [
            Place::Free(From::Connect),
            Place::Free(From::Probe),
            Place::Free(From::Release),
        ];
        let place = self.place(conn);
        let joins = place == Some(Place::Held);
        assert!(
            joins || place.is_some_and(|place| from.contains(&place)),
            "connection {conn}, which is {place:?}, was handed to waiter {waiter}"
        );
        let ask = match self.bound.remove(&conn) {
            Some((bound, entry)) => {
                assert_eq!(bound, waiter, "connection {conn} was being made for another waiter");
                entry.ask
            }
            None => {
                let (first, entry) = self.queue.pop_first().expect("somebody in the queue");
                assert_eq!(first, waiter, "waiter {waiter} was not the first in the queue");
                entry.ask
            }
        };
        assert!(self.answered.insert(waiter), "waiter {waiter} was answered twice");
        if joins {
            assert_ne!(ask, Ask::Connection, "waiter {waiter} wants a connection of its own");
            assert_eq!(
                self.forbids_joining(now, conn),
                None,
                "waiter {waiter} joins connection {conn}"
            );
            assert_eq!(
                self.joinable(now).map(|(_, in_flight)| in_flight).min(),
                Some(self.in_flight(conn)),
                "connection {conn} has not the fewest in flight"
            );
            self.saw("follower");
        } else {
            self.put(now, conn, Place::Held);
        }
        let entry = self.entry(conn, &[Place::Held]);
        if !joins {
            entry.head_since = now;
            entry.heard = From::Release;
        }
        entry.loans.push_back(ask);
        assert_eq!(fresh, entry.uses == 0, "fresh of connection {conn}");
        entry.uses += 1;
        let uses = entry.uses;
        assert!(
            self.options.max_uses.is_none_or(|most| uses <= most),
            "connection {conn} was used {uses} times"
        );
        self.saw("deliver");
    }

    fn fail(&mut self, now: u64, waiter: WaiterId, failure: Failure) {
        let bound = self.bound.iter().find(|(_, bound)| bound.0 == waiter);
        let bound = bound.map(|(&conn, &(_, waiter))| (conn, waiter.since));
        let since = match bound {
            Some((conn, since)) => {
                self.bound.remove(&conn);
                since
            }
            None => match self.queue.remove(&waiter) {
                Some(waiter) => waiter.since,
                None => panic!("waiter {waiter} failed ({failure:?}) but was not pending"),
            },
        };
        let timeout = self.options.acquire_timeout.map(|timeout| timeout.as_micros() as u64);
        match failure {
            Failure::WaitTimeout | Failure::ConnectTimeout => {
                assert!(
                    timeout.is_some_and(|timeout| since + timeout <= now),
                    "waiter {waiter} timed out early"
                );
                self.saw("timeout");
            }
            Failure::Connect(conn) => {
                assert_eq!(
                    bound.map(|(conn, _)| conn),
                    Some(conn),
                    "waiter {waiter} got another's connect error"
                );
                self.saw("connect error");
            }
            Failure::Ended => assert!(self.ending && bound.is_none(), "waiter {waiter} ended early"),
        }
        assert!(self.answered.insert(waiter), "waiter {waiter} was answered twice");
    }

    // ---- sharing

    /// Checkouts of a connection that were not released.
    pub(crate) fn in_flight(&self, conn: ConnId) -> usize {
        self.places.get(&conn).map_or(0, |entry| entry.loans.len())
    }

    /// Connections that a query may join now, and how many are in flight there.
    pub(crate) fn joinable(&self, now: u64) -> impl Iterator<Item = (ConnId, usize)> {
        let held = self.in_place(Place::Held);
        held.filter(move |&(&conn, _)| self.forbids_joining(now, conn).is_none())
            .map(|(&conn, entry)| (conn, entry.loans.len()))
    }

    /// Which rule forbids that one more query goes to this connection, which is in use.
    fn forbids_joining(&self, now: u64, conn: ConnId) -> Option<&'static str> {
        let entry = &self.places[&conn];
        let idle = self.in_place(Place::Idle).next().is_some();
        let leads = Ask::Query { leads: true };
        let lifetime = self.options.max_lifetime.map(|lifetime| lifetime.as_micros() as u64);
        let limit = self.options.max_in_flight as usize;
        let rules = [
            (self.ending, "the pool ends"),
            (idle, "another is idle"),
            (self.places.len() < self.max, "there is room for a new one"),
            (entry.loans.contains(&Ask::Connection), "it is somebody's own"),
            (entry.loans.iter().any(|&ask| ask != leads), "one does not lead"),
            (entry.loans.len() >= limit, "too many are in flight"),
            (now >= entry.head_since + HEAD_MAX, "the head has run for 5 ms"),
            (entry.heard == From::Bad, "it will be closed"),
            (entry.heard == From::Dirty, "it will be reset"),
            (lifetime.is_some_and(|limit| entry.born + limit <= now), "it is too old"),
            (
                self.options.max_uses.is_some_and(|most| entry.uses >= most),
                "it was used too often",
            ),
        ];
        rules.into_iter().find(|(broken, _)| *broken).map(|(_, rule)| rule)
    }

    // ---- after every step

    pub(crate) fn check(&mut self, now: u64, counts: Counts) {
        for (conn, entry) in &self.places {
            assert!(
                !matches!(entry.place, Place::Free(_)),
                "connection {conn} is lost: {:?}",
                entry.place
            );
        }
        for (conn, (waiter, _)) in &self.bound {
            let waits = matches!(self.place(*conn), Some(Place::Connecting | Place::Probing));
            assert!(
                waits,
                "waiter {waiter} waits for connection {conn}, which is {:?}",
                self.place(*conn)
            );
        }
        let idle = self.in_place(Place::Idle).count();
        let total = self.places.len() - self.in_place(Place::Closing).count();
        let waiting = self.queue.len();
        assert_eq!(
            (counts.total, counts.idle, counts.waiting),
            (total, idle, waiting),
            "total, idle, waiting"
        );
        if waiting > 0 && !self.ending {
            assert_eq!(idle, 0, "{waiting} wait while connections are idle");
            assert_eq!(self.places.len(), self.max, "{waiting} wait while there is room");
            let joinable = self.joinable(now).next();
            let asks = |ask: Ask| self.queue.values().any(|waiter| waiter.ask == ask);
            match self.queue.first_key_value() {
                Some((first, waiter)) if waiter.ask != Ask::Connection => {
                    assert_eq!(joinable, None, "query {first} waits while it may share");
                }
                _ if joinable.is_some() && (asks(Ask::Query { leads: true }) || asks(Ask::Query { leads: false })) => {
                    self.saw("connect stops sharing");
                }
                _ => {}
            }
        }
        if self.ending {
            assert_eq!(idle, 0, "connections idle after end");
            assert!(
                waiting == 0 || !self.options.end_fails_waiters,
                "{waiting} wait after end"
            );
            assert_eq!(self.ended, self.places.is_empty(), "Ended comes when all are closed");
        }
    }

    /// After a tick: nothing is overdue.
    pub(crate) fn check_deadlines(&self, now: u64) {
        if let Some(timeout) = self.options.acquire_timeout {
            let limit = timeout.as_micros() as u64;
            let pending = self
                .queue
                .iter()
                .chain(self.bound.values().map(|(id, waiter)| (id, waiter)));
            for (id, waiter) in pending {
                assert!(waiter.since + limit > now, "waiter {id} is overdue");
            }
        }
        for (&conn, entry) in self.in_place(Place::Idle) {
            self.assert_young(now, conn, entry.since, entry.born);
        }
    }

    /// At the end of a schedule: all answered, all closed.
    pub(crate) fn check_over(&self) {
        assert!(self.ended, "the pool never ended");
        assert!(self.bound.is_empty(), "waiters {:?} were never answered", self.bound);
        let forgotten =
            !self.queue.is_empty() && (self.options.end_fails_waiters || self.options.acquire_timeout.is_some());
        assert!(!forgotten, "waiters {:?} were never answered", self.queue);
    }

    pub(crate) fn is_pending_for_ever(&self, waiter: WaiterId) -> bool {
        self.ended && self.queue.contains_key(&waiter)
    }

    pub(crate) fn in_place(&self, place: Place) -> impl Iterator<Item = (&ConnId, &Conn)> {
        self.places.iter().filter(move |(_, conn)| conn.place == place)
    }

    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// The first waiter leaves the queue for this connection.
    fn bind(&mut self, conn: ConnId) {
        let first = self.queue.pop_first();
        self.bound
            .insert(conn, first.unwrap_or_else(|| panic!("connection {conn} is for nobody")));
    }

    fn entry(&mut self, conn: ConnId, legal: &[Place]) -> &mut Conn {
        let entry = self
            .places
            .get_mut(&conn)
            .unwrap_or_else(|| panic!("there is no connection {conn}"));
        assert!(
            legal.contains(&entry.place),
            "connection {conn} is {:?}, not {legal:?}",
            entry.place
        );
        entry
    }

    fn put(&mut self, now: u64, conn: ConnId, place: Place) {
        if let Some(entry) = self.places.get_mut(&conn) {
            entry.place = place;
            entry.since = now;
        }
    }

    fn assert_young(&self, now: u64, conn: ConnId, since: u64, born: u64) {
        let total = self.places.len() - self.in_place(Place::Closing).count();
        if let Some(timeout) = self.options.idle_timeout.filter(|_| total > self.options.min) {
            assert!(
                since + timeout.as_micros() as u64 > now,
                "connection {conn} was idle for too long"
            );
        }
        if let Some(lifetime) = self.options.max_lifetime {
            assert!(
                born + lifetime.as_micros() as u64 > now,
                "connection {conn} is past its lifetime"
            );
        }
    }
}
