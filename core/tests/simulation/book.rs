//! What the pool machine should be doing, kept apart from it: the reference that every action is checked against.

use std::collections::{BTreeMap, BTreeSet};

use heys_core::pool::{Action, ConnId, Counts, Failure, PoolOptions, WaiterId};

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

pub(crate) struct Book {
    max: usize,
    options: PoolOptions,
    places: BTreeMap<ConnId, Conn>,
    /// Waiters in the queue by age, with the time of their acquire.
    queue: BTreeMap<WaiterId, u64>,
    /// Waiters that left the queue for a connection, and when they acquired.
    bound: BTreeMap<ConnId, (WaiterId, u64)>,
    answered: BTreeSet<WaiterId>,
    ending: bool,
    pub(crate) ended: bool,
    /// What this schedule has seen, for the proof that schedules see everything.
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

pub(crate) struct Conn {
    place: Place,
    /// When it came there.
    since: u64,
    /// When it was connected.
    born: u64,
    /// Checkouts so far.
    uses: u32,
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

    pub(crate) fn acquired(&mut self, now: u64, waiter: WaiterId) {
        let newest = self.queue.keys().chain(self.answered.iter()).max();
        assert!(
            newest.is_none_or(|&newest| newest < waiter),
            "waiter {waiter} is not new"
        );
        self.queue.insert(waiter, now);
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
            && let Some((waiter, since)) = self.bound.remove(&conn)
        {
            self.queue.insert(waiter, since);
        }
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
        assert!(
            place.is_some_and(|place| from.contains(&place)),
            "connection {conn}, which is {place:?}, was handed to waiter {waiter}"
        );
        match self.bound.remove(&conn) {
            Some((bound, _)) => assert_eq!(bound, waiter, "connection {conn} was being made for another waiter"),
            None => {
                let first = self.queue.pop_first().map(|(first, _)| first);
                assert_eq!(first, Some(waiter), "waiter {waiter} was not the first in the queue");
            }
        }
        assert!(self.answered.insert(waiter), "waiter {waiter} was answered twice");
        self.put(now, conn, Place::Held);
        let entry = self.entry(conn, &[Place::Held]);
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
        let bound = bound.map(|(&conn, &(_, since))| (conn, since));
        let since = match bound {
            Some((conn, since)) => {
                self.bound.remove(&conn);
                since
            }
            None => match self.queue.remove(&waiter) {
                Some(since) => since,
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

    // ---- after every step

    pub(crate) fn check(&self, counts: Counts) {
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
                .chain(self.bound.values().map(|(waiter, since)| (waiter, since)));
            for (waiter, since) in pending {
                assert!(since + limit > now, "waiter {waiter} is overdue");
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
