//! Statements prepared by themselves: what a schedule allows, the texts of its process, and what must hold of names.

use std::collections::{BTreeMap, BTreeSet};

use heys_core::pool::ConnId;
use heys_core::statements::{Policy, TextId, Texts};

use crate::driver::Link;
use crate::rng::Rng;
use crate::sabotage::{Sabotage, Saboteur};
use crate::server::{Change, Hit, Note, Rules, Temper, number};
use crate::trace;
use crate::world::World;

/// What a schedule does with names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Naming {
    pub(crate) policy: Policy,
    /// Texts that a connection remembers.
    pub(crate) room: usize,
    /// Different texts.
    texts: u64,
    /// Queries that have such a text, in percent.
    percent: u64,
    /// A pooler stands before the servers.
    pooler: bool,
    /// How long the question for the process id takes, and planning, at most.
    question: u64,
    planning: u64,
    /// Connections where others change things, in percent, and changes there, at most.
    changed: u64,
    changes: u64,
    /// Queries by which callers change things themselves, in percent.
    pub(crate) changing: u64,
}

impl Naming {
    /// `regulars`: few texts, which come often.
    pub(crate) fn random(rng: &mut Rng, regulars: bool) -> Naming {
        let room = rng.range(1, 4) as usize;
        Naming {
            policy: Policy {
                enabled: rng.chance(if regulars { 95 } else { 85 }),
                in_transactions: rng.chance(30),
                behind_pooler: rng.chance(30),
            },
            room: if rng.chance(50) { 128 } else { room },
            texts: [1, 1, 2, 3, 6][rng.range(0, if regulars { 2 } else { 4 }) as usize],
            percent: [0, 40, 90, 90][rng.range(if regulars { 2 } else { 0 }, 3) as usize],
            pooler: rng.chance(15),
            planning: if rng.chance(30) { 3_000 } else { 0 },
            question: if rng.chance(50) { 8_000 } else { 0 },
            changed: [0, 50, 90][rng.range(0, 2) as usize],
            changes: [3, 30][rng.range(0, 1) as usize],
            changing: [0, 0, 3, 15][rng.range(0, 3) as usize],
        }
    }

    /// The policy that the wires are given.
    pub(crate) fn told(&self, saboteur: &Saboteur) -> Policy {
        Policy {
            enabled: self.policy.enabled || saboteur.is(Sabotage::NameWhenOff),
            in_transactions: self.policy.in_transactions || saboteur.is(Sabotage::NameInTransaction),
            behind_pooler: self.policy.behind_pooler || saboteur.is(Sabotage::IgnorePooler),
        }
    }

    /// Which of the texts a query has.
    pub(crate) fn text(&self, rng: &mut Rng) -> Option<u64> {
        rng.chance(self.percent).then(|| rng.range(1, self.texts))
    }

    /// What a backend may expect, and how it behaves.
    pub(crate) fn backend(&self, pid: i32, rng: &mut Rng) -> (Rules, Temper) {
        let rules = Rules {
            named: self.policy.enabled && (self.policy.behind_pooler || !self.pooler),
            asks: !self.policy.behind_pooler,
            in_transactions: self.policy.in_transactions,
        };
        let temper = Temper {
            answer: if self.pooler { pid + 10_000 } else { pid },
            question: rng.range(0, self.question),
            planning: rng.range(0, self.planning),
        };
        (rules, temper)
    }

    /// When a backend is changed by others.
    pub(crate) fn changes(&self, rng: &mut Rng) -> Vec<(u64, Change)> {
        if !rng.chance(self.changed) {
            return Vec::new();
        }
        let count = rng.range(1, self.changes);
        let change = |rng: &mut Rng| match rng.range(0, 99) {
            0..35 => Change::Table,
            35..65 => Change::Discard,
            65..85 => Change::TimeZone,
            85..95 => Change::Fault,
            _ => Change::Squat,
        };
        (0..count).map(|_| (rng.range(500, 60_000), change(rng))).collect()
    }
}

/// The process's texts and their numbers.
#[derive(Default)]
pub(crate) struct Register {
    pub(crate) texts: Texts,
    numbers: BTreeMap<String, TextId>,
    last: TextId,
}

impl Register {
    /// The number of a text, which is learnt when it is new.
    pub(crate) fn number(&mut self, sql: &str) -> TextId {
        if let Some(&number) = self.numbers.get(sql) {
            return number;
        }
        self.last += 1;
        self.texts.insert(self.last, sql);
        self.numbers.insert(sql.to_owned(), self.last);
        self.last
    }

    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.numbers.clear();
    }
}

/// What was said of own names on one connection.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The last that went out.
    highest: u32,
    /// Those up to here were given up.
    given_up: u32,
    /// Those that the client has seen fail.
    failed: BTreeSet<u32>,
    /// Somebody else gives such names here.
    taken: bool,
    /// The name in what went out last.
    pub(crate) sent: Option<u32>,
}

impl Names {
    pub(crate) fn given_up(&self) -> u32 {
        self.given_up
    }

    /// The client has heard that all names before may mean something else now, or are gone; whether there are any.
    pub(crate) fn give_up(&mut self) -> bool {
        let any = self.highest > self.given_up;
        self.given_up = self.highest;
        any
    }

    /// The client has heard that another gives such names.
    pub(crate) fn are_taken(&mut self) {
        self.taken = true;
    }

    /// What the client sends next; `deaf` to Close.
    pub(crate) fn send(&mut self, bytes: &[u8], deaf: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = bytes;
        self.sent = None;
        while let [tag, a, b, c, d, ..] = rest {
            let length = 1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let (message, after) = rest.split_at(length);
            rest = after;
            let mut parts = message[5..].split(|&byte| byte == 0);
            let name = match tag {
                b'P' => parts.next(),
                b'B' => parts.nth(1),
                _ => None,
            };
            let name = name.and_then(|name| number(std::str::from_utf8(name).unwrap()));
            if let Some(name) = name {
                assert!(!self.taken, "name {name} goes out although another gives such names");
                assert!(name > self.given_up, "name {name} goes out, which was given up");
                assert!(
                    !self.failed.contains(&name),
                    "name {name} goes out, which failed before"
                );
                self.highest = self.highest.max(name);
                self.sent = Some(name);
            }
            if *tag != b'C' || !deaf {
                out.extend_from_slice(message);
            }
        }
        out
    }
}

impl World {
    /// The client has heard a command's tag.
    pub(crate) fn heard_tag(&mut self, link: ConnId, tag: &[u8]) {
        if matches!(tag, b"DISCARD ALL" | b"DEALLOCATE ALL" | b"ALTER TABLE") && self.names(link).give_up() {
            self.book.saw("names given up for a command");
        }
    }

    pub(crate) fn heard_parameter(&mut self, link: ConnId, name: &str) {
        if name == "TimeZone" && self.names(link).give_up() {
            self.book.saw("names given up for a setting");
        }
    }

    fn names(&mut self, conn: ConnId) -> &mut Names {
        let link: &mut Link = self.links.get_mut(&conn).expect("a link");
        &mut link.names
    }

    /// A query failed because of its name, says the session.
    pub(crate) fn repeat(&mut self, conn: ConnId, query: usize, code: &str) {
        let name = self.queries[query].name.take();
        let names = self.names(conn);
        if code == "42P05" {
            names.are_taken();
        }
        assert!(name.is_some(), "query {query} had no name and is to be repeated");
        names.failed.extend(name);
        let entry = &mut self.queries[query];
        assert!(
            !entry.unnamed,
            "query {query} was sent without a name and is to be repeated"
        );
        assert_ne!(code, "57014", "query {query} was cancelled and is to be repeated");
        assert_eq!(
            (entry.begun, entry.rows, entry.completed),
            (entry.begun_before, 0, 0),
            "query {query} ran and is to be repeated"
        );
        entry.repeats = true;
        self.book.saw(match code {
            "0A000" => "repeated after 0A000",
            "26000" => "repeated after 26000",
            "42P05" => "repeated after 42P05",
            other => panic!("query {query} is to be repeated after {other}"),
        });
    }

    /// An error reaches the caller of a query.
    pub(crate) fn check_error(&mut self, conn: ConnId, query: usize, code: &str) {
        let has_text = self.queries[query].plan.text.is_some();
        if code == "42P05" && has_text {
            self.names(conn).are_taken();
        }
        let entry = &self.queries[query];
        let of_a_name = matches!(code, "0A000" | "26000" | "42P05") && has_text;
        let allowed = entry.in_transaction && self.naming.policy.in_transactions;
        assert!(!of_a_name || allowed, "query {query} fails because of its name: {code}");
    }

    /// What a backend has done meanwhile.
    pub(crate) fn heed(&mut self, sock: usize) {
        for note in self.socks[sock].backend.take_notes() {
            trace!(self, "  server {sock}: {note:?}");
            match note {
                Note::Saw(what) => self.book.saw(what),
                Note::Begun(id, status) => self.begun(id as usize, status),
                Note::Completed(id) => {
                    let entry = &mut self.queries[id as usize];
                    entry.ran += 1;
                    assert!(entry.ran <= entry.plan.statements, "query {id} was executed twice");
                }
                Note::Bound(id, names, named) => self.bound(id as usize, &names, named),
            }
        }
    }

    fn begun(&mut self, query: usize, status: u8) {
        let entry = &mut self.queries[query];
        entry.begun += 1;
        let most = entry.plan.statements * (1 + entry.restarts);
        assert!(entry.begun <= most, "query {query} began twice");
        if let Some(checkout) = entry.checkout() {
            let last = self.last_begun.entry(checkout).or_default();
            assert!(*last <= query, "query {query} began after query {last} of its checkout");
            *last = query;
        } else if entry.plan.statements == 1 {
            assert_eq!(status, b'I', "query {query} runs in another's transaction");
        }
    }

    fn bound(&mut self, query: usize, names: &[u32], named: bool) {
        let entry = &self.queries[query];
        if entry.plan.text.is_some() && !entry.unnamed {
            let room = self.naming.room;
            let before = entry.behind;
            assert!(
                names.len() <= room + before,
                "names {names:?} are kept where {room} may be"
            );
            let given_up = entry.given_up;
            let oldest = names.first();
            assert!(
                oldest.is_none_or(|&oldest| oldest > given_up),
                "of the names {names:?} those up to {given_up} were given up and not closed"
            );
        }
        if named {
            self.book.saw("bound to a name");
            if names.len() > 1 {
                self.book.saw("several names");
            }
        }
    }

    /// A cancel has hit something.
    pub(crate) fn was_hit(&mut self, hit: &Hit, intended: usize) {
        if hit.query.is_none() {
            self.book.saw("cancel hit the question");
        }
        if hit.planning {
            self.book.saw("cancel hit before BindComplete");
        }
        if hit.named {
            let own = hit.query == Some(intended);
            self.book.saw(if own {
                "named query cancelled"
            } else {
                "named follower cancelled"
            });
        }
    }
}
