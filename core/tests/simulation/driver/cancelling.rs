//! Timeouts and cancel connections.

use heys_core::pool::{ConnId, Release};

use super::Phase;
use crate::caller::Query;
use crate::sabotage::Sabotage;
use crate::trace;
use crate::world::{Event, World};

/// One cancel connection.
pub(crate) struct Cancel {
    pub(crate) pid: i32,
    pub(crate) key: i32,
    /// Which query it means.
    pub(crate) query: usize,
    /// One-shots that were in flight behind it, which it may hit too.
    pub(crate) behind: Vec<usize>,
    conn: ConnId,
}

impl World {
    /// The caller is told at once; the server is asked to stop, where no query of another checkout can be hit but
    /// one-shots.
    pub(crate) fn query_timeout(&mut self, query: usize, attempt: u32) {
        let Query {
            conn,
            answered,
            attempt: current,
            ..
        } = self.queries[query];
        if answered || attempt != current {
            return;
        }
        self.book.saw("query timeout");
        let one_shot = self.queries[query].is_one_shot();
        let reckless = self.saboteur.is(Sabotage::CancelPipelined);
        let blind = self.saboteur.is(Sabotage::CancelFollower);
        let link = self.link(conn);
        let is_head = link.flight.front() == Some(&Some(query));
        let alone = is_head && link.flight.len() == 1;
        if let Some(at) = link.backlog.iter().position(|&other| other == query) {
            link.backlog.remove(at);
            self.answer(query, false);
            if one_shot {
                self.release_one_shot(conn);
            }
        } else if one_shot {
            self.queries[query].timed_out = true;
            self.answer(query, false);
            if blind && self.link(conn).cancelling.is_none() {
                self.cancel(conn, query);
            }
            self.cancel_head(conn);
            if self.saboteur.is(Sabotage::ReleaseAtTimeout) {
                self.give_back(conn, Release::Reuse);
            }
        } else if (alone || reckless) && link.cancel.is_none() {
            self.cancel(conn, query);
            self.answer(query, false);
        } else {
            self.fail_link(conn);
        }
    }

    /// Cancels the query at the head if it is a one-shot whose time was up, and no other cancel is under way.
    fn cancel_head(&mut self, conn: ConnId) {
        let link = self.link(conn);
        if link.phase == Phase::Open
            && link.cancelling.is_none()
            && let Some(&Some(head)) = link.flight.front()
            && self.queries[head].timed_out
        {
            self.cancel(conn, head);
        }
    }

    fn cancel(&mut self, conn: ConnId, query: usize) {
        let next = self.cancels.len();
        let link = self.links.get_mut(&conn).expect("a link");
        let (pid, key) = link.wire.backend_key().expect("a key");
        link.cancel = Some(next);
        link.cancelling = Some(query);
        let others = link.flight.iter().flatten().copied();
        let others = others.skip_while(|&other| other != query).skip(1);
        let behind: Vec<_> = others.filter(|&other| self.queries[other].is_one_shot()).collect();
        for &other in &behind {
            self.queries[other].exposed = true;
        }
        if !behind.is_empty() {
            self.book.saw("cancel at a head with followers");
        }
        trace!(self, "  cancel {next} for q{query}, behind it {behind:?}");
        self.cancels.push(Cancel {
            pid,
            key,
            query,
            behind,
            conn,
        });
        self.send_cancel();
    }

    /// How the newest cancel fares.
    fn send_cancel(&mut self) {
        let cancel = self.cancels.len() - 1;
        let arrives = self.rng.range(1, 2 * self.faults.delay);
        match self.rng.range(0, 99) {
            // Refused: it never arrives.
            0..10 => self.after(arrives, Event::CancelDone(cancel, true)),
            // Cut: nobody knows whether it will arrive.
            10..20 => {
                let noticed = self.rng.range(1, 4_000);
                self.after(noticed, Event::CancelDone(cancel, false));
                if self.rng.chance(50) {
                    let late = self.rng.range(1, 20_000);
                    self.after(late, Event::CancelArrives(cancel));
                }
            }
            // Stuck for long.
            20..30 => {
                let late = self.rng.range(5_000, 100_000);
                self.after(late, Event::CancelArrives(cancel));
                self.after(late + arrives, Event::CancelDone(cancel, true));
            }
            _ => {
                let late = arrives + self.rng.range(0, 3_000);
                self.after(late, Event::CancelArrives(cancel));
                self.after(late + arrives, Event::CancelDone(cancel, true));
            }
        }
    }

    /// The cancel connection has ended; only a clean end says that nothing is under way any more.
    pub(crate) fn cancel_done(&mut self, cancel: usize, clean: bool) {
        let conn = self.cancels[cancel].conn;
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if link.cancel != Some(cancel) || link.phase != Phase::Open {
            return;
        }
        link.cancel = None;
        if clean {
            self.advance_cancel(conn);
            self.advance_reset(conn);
        } else {
            self.fail_link(conn);
        }
    }

    pub(super) fn advance_cancel(&mut self, conn: ConnId) {
        let link = self.link(conn);
        let over = |query| link.cancel.is_none() && !link.flight.contains(&Some(query));
        if link.cancelling.is_some_and(over) {
            link.cancelling = None;
        }
        self.cancel_head(conn);
        let link = self.link(conn);
        if link.cancelling.is_none() {
            for query in std::mem::take(&mut link.backlog) {
                self.send(conn, query);
            }
        }
    }
}
