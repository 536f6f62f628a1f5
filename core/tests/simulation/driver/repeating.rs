//! Queries that failed because of their names go out once more.

use heys_core::pool::ConnId;

use crate::sabotage::Sabotage;
use crate::world::World;

impl World {
    /// Nobody has been answered about it.
    pub(super) fn may_repeat(&self, query: usize) -> bool {
        !self.queries[query].answered || self.saboteur.is(Sabotage::RepeatTimedOut)
    }

    /// Whether a query whose name failed goes out again on its connection. A cancel may be under way for one that was in
    /// flight before it.
    pub(super) fn repeats_in_place(&mut self, conn: ConnId, query: usize) -> bool {
        let flight: Vec<_> = self.link(conn).flight.iter().flatten().copied().collect();
        let entry = &self.queries[query];
        if !flight.is_empty() {
            self.book.saw("repeated while followers are in flight");
        }
        if !entry.is_one_shot() {
            return true;
        }
        let blind = self.saboteur.is(Sabotage::RepeatBehindAny);
        let may_wait = blind || flight.iter().all(|&other| self.queries[other].leads());
        may_wait && !entry.exposed && (blind || self.rng.chance(70))
    }

    pub(super) fn send_again(&mut self, conn: ConnId, query: usize) {
        let forgets = self.saboteur.is(Sabotage::RepeatForever);
        let link = self.links.get_mut(&conn).expect("a link");
        self.book.saw("repeated in place");
        if !link.flight.is_empty() {
            self.book.saw("repeated behind others");
        }
        let mut ahead = link.flight.iter().flatten();
        assert!(
            ahead.all(|&other| self.queries[other].leads()),
            "query {query} is repeated behind one that does not lead"
        );
        self.queries[query].forget_attempt();
        self.queries[query].repeats = forgets;
        assert!(!self.queries[query].answered, "query {query} is repeated for nobody");
        if link.cancelling.is_some() {
            link.backlog.push_front(query);
        } else {
            self.send(conn, query);
        }
    }
}
