//! The model driver: what the uv and tokio drivers do with the two machines, in little.
//!
//! Its rules are those that every driver must keep: a connection is given back clean only when nothing is in flight on
//! it, no transaction is open and no cancel is under way; a cancel is sent only for the query at the head, alone in
//! flight or with one-shots behind it; while it is under way nothing new is sent, and the connection is used again only
//! after the ReadyForQuery of its query and the clean end of the cancel connection.
//!
//! A one-shot is released at its ReadyForQuery or with the loss of its connection, also when its caller's time was up
//! before. Timed out behind others, it is cancelled when it becomes the head. One that a cancel for another has hit is
//! asked again, once.
//!
//! Texts that come again may go out under a name, but not those of a checkout that others follow at once. One that fails
//! because of its name is sent again without one: on its connection, unless something is in flight there behind which it
//! may not wait, or through the pool.

mod cancelling;
mod repeating;

use std::collections::VecDeque;
use std::time::Duration;

use heys_core::pool::{Action, ConnId, Release};
use heys_core::proto::{
    Event as Message, Extended, Known, Param, RowSink, SinkState, Startup, TransactionStatus, Wire,
};
use heys_core::statements::Numbers;

pub(crate) use cancelling::Cancel;

use crate::names::Names;
use crate::sabotage::Sabotage;
use crate::trace;
use crate::world::{Event, Input, World};

/// One connection of the pool.
pub(crate) struct Link {
    pub(crate) sock: usize,
    wire: Wire,
    phase: Phase,
    /// Queries on the wire, oldest first; `None`: the driver's own ROLLBACK.
    flight: VecDeque<Option<usize>>,
    /// Queries held back by a cancel.
    backlog: VecDeque<usize>,
    /// The cancel connection that has not ended.
    cancel: Option<usize>,
    /// The query for which a cancel was sent, until it and the cancel connection have both ended.
    cancelling: Option<usize>,
    resetting: bool,
    /// The callers' own statement is prepared.
    prepared: bool,
    pub(crate) names: Names,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// TCP connects.
    Opening,
    /// From the startup message to the first ReadyForQuery.
    Starting,
    Open,
    /// The socket has failed.
    Dead,
    /// The pool has said Close.
    Closing,
}

/// Keeps rows until their query looks at them.
struct Rows {
    rows: Vec<Vec<u8>>,
    /// Says Full after so many.
    room: usize,
}

impl RowSink for Rows {
    fn row(&mut self, body: &[u8]) -> SinkState {
        self.rows.push(body.to_vec());
        if self.rows.len() < self.room {
            SinkState::Open
        } else {
            SinkState::Full
        }
    }
}

impl Link {
    fn is_clean(&self) -> bool {
        self.flight.is_empty()
            && self.backlog.is_empty()
            && self.cancelling.is_none()
            && self.wire.in_flight() == 0
            && self.wire.transaction_status() == TransactionStatus::Idle
    }
}

impl World {
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Connect(conn) => self.connect(conn),
            Action::Probe(conn) => {
                if self.rng.chance(80) {
                    let healthy = self.is_healthy(conn);
                    self.soon.push_back(Input::Probed(conn, healthy));
                } else {
                    let late = self.rng.range(0, 2_000);
                    self.after(late, Event::Probed(conn));
                }
            }
            Action::Deliver { waiter, conn, .. } => {
                let link = &self.links[&conn];
                assert_eq!(link.phase, Phase::Open, "connection {conn} was handed over");
                match self.book.in_flight(conn) {
                    1 => assert!(link.is_clean(), "connection {conn} was handed over busy or dirty"),
                    shared => {
                        let others = link.flight.len() + link.backlog.len();
                        assert_eq!(others + 1, shared, "queries on connection {conn}");
                        let status = link.wire.transaction_status();
                        assert_eq!(status, TransactionStatus::Idle, "connection {conn} was shared");
                    }
                }
                self.delivered(waiter, conn);
            }
            Action::Fail { waiter, .. } => self.caller_failed(waiter),
            Action::Reset(conn) => {
                self.link(conn).resetting = true;
                self.advance_reset(conn);
            }
            Action::Close { conn, .. } => self.close(conn),
            Action::Idle(_) | Action::Ended | Action::Permit(_) => {}
        }
    }

    fn link(&mut self, conn: ConnId) -> &mut Link {
        self.links.get_mut(&conn).expect("a link")
    }

    /// The link of a socket, if the driver has not dropped it.
    fn link_of(&mut self, sock: usize) -> Option<(ConnId, &mut Link)> {
        let conn = self.socks[sock].conn;
        let link = self.links.get_mut(&conn)?;
        (link.sock == sock).then_some((conn, link))
    }

    // ---- connecting

    fn connect(&mut self, conn: ConnId) {
        let sock = self.open(conn);
        let startup = Startup {
            params: vec![("user".to_owned(), "heys".to_owned())],
            ..Startup::default()
        };
        let link = Link {
            sock,
            wire: Wire::new(&startup, None).expect("a startup message"),
            phase: Phase::Opening,
            flight: VecDeque::new(),
            backlog: VecDeque::new(),
            cancel: None,
            cancelling: None,
            resetting: false,
            prepared: false,
            names: Names::default(),
        };
        self.links.insert(conn, link);
    }

    pub(crate) fn opened(&mut self, sock: usize) {
        let Some((conn, link)) = self.link_of(sock) else {
            return;
        };
        if link.phase == Phase::Opening {
            link.phase = Phase::Starting;
            self.flush(conn);
        } else if self.rng.chance(50) {
            // The news crosses the Close.
            self.tell(Input::Connected(conn));
        }
    }

    pub(crate) fn refused(&mut self, sock: usize) {
        if let Some((conn, link)) = self.link_of(sock)
            && link.phase == Phase::Opening
        {
            self.give_up_connecting(conn);
        }
    }

    fn give_up_connecting(&mut self, conn: ConnId) {
        let sock = self.link(conn).sock;
        self.hang_up(sock);
        self.tell(Input::ConnectFailed(conn));
    }

    // ---- probing

    pub(crate) fn probe(&mut self, conn: ConnId) {
        let healthy = self.is_healthy(conn);
        self.tell(Input::Probed(conn, healthy));
    }

    fn is_healthy(&self, conn: ConnId) -> bool {
        self.links.get(&conn).is_some_and(|link| {
            let sock = &self.socks[link.sock];
            link.phase == Phase::Open && sock.unread.is_empty() && !sock.eof
        })
    }

    // ---- queries

    /// Sends a query, or keeps it back while a cancel is under way.
    pub(crate) fn submit(&mut self, conn: ConnId, query: usize) {
        let hasty = self.saboteur.is(Sabotage::SendDuringCancel);
        let link = self.link(conn);
        if link.phase != Phase::Open {
            self.answer(query, false);
        } else if link.cancelling.is_some() && !hasty {
            link.backlog.push_back(query);
        } else {
            self.send(conn, query);
        }
    }

    fn send(&mut self, conn: ConnId, query: usize) {
        let plan = self.queries[query].plan.clone();
        let micros = plan.time();
        let id = query.to_string();
        let params = [Param::Text(id.as_bytes()), Param::Text(micros.as_bytes())];
        let link = self.links.get_mut(&conn).expect("a link");
        let entry = &mut self.queries[query];
        entry.begun_before = entry.begun;
        entry.behind = link.flight.len();
        entry.given_up = if entry.behind == 0 { link.names.given_up() } else { 0 };
        entry.in_transaction = link.flight.is_empty() && link.wire.transaction_status() != TransactionStatus::Idle;
        link.flight.push_back(Some(query));
        if let Some(text) = plan.text {
            let sql = format!("select {} t{text} $1 $2", plan.kind());
            if entry.unnamed {
                let extended = Extended {
                    name: "",
                    sql: Some(&sql),
                    params: &params,
                    results: &[],
                    portal: "",
                    max_rows: 0,
                };
                link.wire.extended(&extended).expect("a query that can be sent");
            } else {
                let known = Known {
                    text: self.register.number(&sql),
                    simple: false,
                    params: &params,
                    binary: false,
                    numbers: Numbers::default(),
                    autocommit: entry.is_one_shot() || self.saboteur.is(Sabotage::ClaimAutocommit),
                };
                let now = Duration::from_micros(self.now);
                let sent = link.wire.known(&known, &self.register.texts, now);
                sent.expect("a query that can be sent");
            }
        } else if plan.extended {
            let named = plan.verb == "echo";
            let text = format!("{} $1 $2", plan.verb);
            let parse = !named || !std::mem::replace(&mut link.prepared, true);
            let extended = Extended {
                name: if named { "named" } else { "" },
                sql: parse.then_some(text.as_str()),
                params: &params,
                results: &[],
                portal: "",
                max_rows: 0,
            };
            link.wire.extended(&extended).expect("a query that can be sent");
        } else {
            let statement = format!("{} {id} {micros}", plan.verb);
            let text = vec![statement; plan.statements].join("; ");
            link.wire.query(&text).expect("a query that can be sent");
        }
        self.flush(conn);
        self.queries[query].name = self.link(conn).names.sent;
    }

    /// Writes what the session has to say, in one or two parts.
    fn flush(&mut self, conn: ConnId) {
        let halve = self.rng.chance(20);
        let deaf = self.saboteur.is(Sabotage::ForgetToClose);
        let link = self.link(conn);
        let sock = link.sock;
        let mut bytes = Vec::new();
        loop {
            let output = link.wire.output();
            let length = if halve { output.len().div_ceil(2) } else { output.len() };
            bytes.extend_from_slice(&output[..length]);
            if length == 0 {
                break;
            }
            link.wire.sent(length);
        }
        if link.phase == Phase::Open {
            bytes = link.names.send(&bytes, deaf);
        }
        self.send_up(sock, &bytes);
    }

    pub(crate) fn readable(&mut self, sock: usize) {
        let unread = std::mem::take(&mut self.socks[sock].unread);
        let eof = self.socks[sock].eof;
        let room = self.rng.range(1, 4) as usize;
        let Some((conn, link)) = self.link_of(sock) else {
            return;
        };
        if matches!(link.phase, Phase::Starting | Phase::Open) {
            let mut rest = &unread[..];
            loop {
                let spare = self.link(conn).wire.spare();
                let length = spare.len().min(rest.len());
                spare[..length].copy_from_slice(&rest[..length]);
                self.link(conn).wire.filled(length).expect("plain bytes");
                rest = &rest[length..];
                if !self.read_messages(conn, room) {
                    return;
                }
                if rest.is_empty() {
                    break;
                }
            }
        }
        if eof {
            self.ended(conn);
        }
    }

    /// All messages that are there; false when the driver gave the connection up on the way.
    fn read_messages(&mut self, conn: ConnId, room: usize) -> bool {
        let mut rows = Rows { rows: Vec::new(), room };
        loop {
            let Some(link) = self.links.get_mut(&conn) else {
                return false;
            };
            if !matches!(link.phase, Phase::Starting | Phase::Open) {
                return false;
            }
            let message = link.wire.poll_event(&mut rows).expect("the server keeps the protocol");
            for row in rows.rows.drain(..) {
                self.row(conn, &row);
            }
            match message {
                Some(message) => self.message(conn, message),
                None => return true,
            }
        }
    }

    /// The query whose answer is being read.
    fn reading(&mut self, conn: ConnId) -> Option<usize> {
        let mixed = self.saboteur.is(Sabotage::MixAnswers);
        let flight = &self.link(conn).flight;
        let first = if mixed { flight.back() } else { flight.front() };
        *first.expect("an answer to something")
    }

    /// DataRow: Int16 1, Int32 length, text.
    fn row(&mut self, conn: ConnId, body: &[u8]) {
        let text = std::str::from_utf8(&body[6..]).expect("text");
        let query = self.reading(conn).expect("ROLLBACK has no rows");
        let mark = text.split(' ').next();
        assert_eq!(mark, Some(format!("q{query}").as_str()), "a row reached query {query}");
        self.queries[query].rows += 1;
    }

    fn message(&mut self, conn: ConnId, message: Message) {
        let policy = self.naming.told(&self.saboteur);
        let link = self.links.get_mut(&conn).expect("a link");
        match message {
            Message::PasswordRequested(_) => {
                link.wire.password(b"secret").expect("a password that can be sent");
                self.flush(conn);
            }
            Message::Ready(_) if link.phase == Phase::Starting => {
                link.phase = Phase::Open;
                link.wire.prepare_at_most(policy, self.naming.room);
                self.tell(Input::Connected(conn));
            }
            Message::Ready(_) => self.ready(conn),
            Message::Error(_) if link.phase == Phase::Starting => self.give_up_connecting(conn),
            Message::Error(error) if error.severity() == "FATAL" => {
                trace!(self, "  FATAL {}", error.message());
            }
            Message::Error(error) => {
                if let Some(query) = self.reading(conn) {
                    self.check_mark(query, error.message());
                    self.check_error(conn, query, error.code());
                    self.own_statement(conn, query, error.code());
                    let again = self.saboteur.is(Sabotage::RepeatAlthoughItRan) && error.code() == "22012";
                    let entry = &mut self.queries[query];
                    entry.failed = true;
                    entry.hit |= error.code() == "57014";
                    entry.repeats |= again;
                }
            }
            Message::Repeat(error) => {
                let query = self.reading(conn).expect("ROLLBACK has no name");
                self.check_mark(query, error.message());
                if self.saboteur.is(Sabotage::NeverRepeat) {
                    self.check_error(conn, query, error.code());
                    self.queries[query].failed = true;
                } else {
                    self.repeat(conn, query, error.code());
                }
            }
            Message::ParameterStatus { name, .. } => self.heard_parameter(conn, &name),
            Message::CommandComplete(tag) => {
                self.heard_tag(conn, &tag);
                if tag.ends_with(b" ALL") {
                    self.link(conn).prepared = false;
                }
                if let Some(query) = self.reading(conn) {
                    let verb = self.queries[query].plan.verb.to_uppercase();
                    assert!(tag.starts_with(verb.as_bytes()), "a tag reached query {query}");
                    self.queries[query].completed += 1;
                }
            }
            _ => {}
        }
    }

    /// A Parse does not say whose it is.
    fn check_mark(&self, query: usize, message: &str) {
        let mark = message.rsplit(' ').next().unwrap_or_default();
        assert!(
            mark == "q?" || mark == format!("q{query}"),
            "an error reached query {query}: {message}"
        );
    }

    /// What an error says of the callers' own statement.
    fn own_statement(&mut self, conn: ConnId, query: usize, code: &str) {
        if self.queries[query].plan.text.is_none() {
            match code {
                "26000" => self.link(conn).prepared = false,
                "42P05" => self.link(conn).prepared = true,
                _ => {}
            }
        }
    }

    fn ready(&mut self, conn: ConnId) {
        let mixed = self.saboteur.is(Sabotage::MixAnswers);
        let early = self.saboteur.is(Sabotage::ReuseBeforeCancelEnds);
        let now = self.micros();
        let forgets = self.rng.chance(1);
        let link = self.links.get_mut(&conn).expect("a link");
        link.wire.finished(now, &mut self.register.texts);
        if forgets {
            self.register.clear();
        }
        let over = if mixed {
            link.flight.pop_back()
        } else {
            link.flight.pop_front()
        };
        let over = over.expect("a ReadyForQuery that was asked for");
        // The session may be asking a question of its own.
        let questions = link.wire.in_flight().checked_sub(link.flight.len());
        assert!(questions.is_some_and(|questions| questions < 2), "requests in flight");
        if early {
            link.cancel = None;
        }
        let (mut again, mut in_place) = (None, None);
        if let Some(query) = over {
            if self.queries[query].repeats && self.may_repeat(query) {
                if self.repeats_in_place(conn, query) {
                    in_place = Some(query);
                } else {
                    self.book.saw("repeated through the pool");
                    again = Some(query);
                }
            } else {
                let repeats = self.queries[query].repeats;
                if !repeats {
                    self.queries[query].check_whole(query);
                }
                let forgets = self.saboteur.is(Sabotage::NeverAskAgain);
                if self.queries[query].may_be_asked_again() && !forgets {
                    self.book.saw("asked again");
                    self.queries[query].restarts += 1;
                    again = Some(query);
                } else {
                    self.answer(query, true);
                }
            }
        }
        self.advance_cancel(conn);
        if let Some(query) = in_place {
            self.send_again(conn, query);
        } else if over.is_some_and(|query| self.queries[query].is_one_shot()) {
            self.release_one_shot(conn);
        }
        self.advance_reset(conn);
        if let Some(query) = again {
            self.ask_again(query);
        }
    }

    // ---- giving back

    /// How the driver gives a connection back for its caller.
    pub(crate) fn judge(&mut self, conn: ConnId) -> Release {
        let careless = self.saboteur.is(Sabotage::ReuseDirty);
        let link = self.link(conn);
        let backlog = std::mem::take(&mut link.backlog);
        let how = if link.is_clean() || careless {
            Release::Reuse
        } else {
            Release::Dirty
        };
        for query in backlog {
            self.answer(query, false);
        }
        how
    }

    /// How the driver gives a connection back for a one-shot that is over.
    fn release_one_shot(&mut self, conn: ConnId) {
        let careless = self.saboteur.is(Sabotage::ReuseDirty);
        // While others are in flight it need not say that a cancel is under way: it keeps back what is new.
        let tells = self.rng.chance(50);
        let destroys = self.rng.chance(2);
        let link = self.link(conn);
        let last = link.flight.is_empty() && link.backlog.is_empty();
        let dirty = link.wire.transaction_status() != TransactionStatus::Idle;
        let how = if destroys {
            Release::Destroy
        } else if (dirty || link.cancelling.is_some() && (last || tells)) && !careless {
            Release::Dirty
        } else {
            Release::Reuse
        };
        self.give_back(conn, how);
    }

    fn advance_reset(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if !link.resetting || link.phase != Phase::Open || !link.flight.is_empty() || link.cancelling.is_some() {
            return;
        }
        if link.wire.transaction_status() == TransactionStatus::Idle {
            link.resetting = false;
            self.soon_or_now(Input::ResetDone(conn, true));
        } else {
            link.flight.push_back(None);
            link.wire.query("rollback").expect("a query that can be sent");
            self.flush(conn);
        }
    }

    /// Inside the handling of actions an answer has to wait; else it is told at once.
    fn soon_or_now(&mut self, input: Input) {
        if self.draining {
            self.soon.push_back(input);
        } else {
            self.tell(input);
        }
    }

    // ---- ending

    /// End of file.
    fn ended(&mut self, conn: ConnId) {
        match self.link(conn).phase {
            Phase::Opening | Phase::Starting => self.give_up_connecting(conn),
            Phase::Open => self.fail_link(conn),
            Phase::Closing => self.destroy(conn),
            Phase::Dead => {}
        }
    }

    /// The connection is of no use any more: its queries fail, and the pool is told.
    fn fail_link(&mut self, conn: ConnId) {
        let link = self.link(conn);
        link.phase = Phase::Dead;
        link.resetting = false;
        let sock = link.sock;
        self.hang_up(sock);
        let one_shots = self.fail_queries(conn);
        self.book.saw("lost");
        if one_shots < 2 || !self.saboteur.is(Sabotage::ForgetLost) {
            self.tell(Input::Lost(conn));
        }
        for _ in 0..one_shots {
            self.release_one_shot(conn);
        }
    }

    /// How many of them were one-shots, which are to be released.
    fn fail_queries(&mut self, conn: ConnId) -> usize {
        let link = self.link(conn);
        let flight = std::mem::take(&mut link.flight);
        let backlog = std::mem::take(&mut link.backlog);
        let mut one_shots = 0;
        for query in flight.into_iter().flatten().chain(backlog) {
            self.answer(query, false);
            one_shots += usize::from(self.queries[query].is_one_shot());
        }
        one_shots
    }

    /// The pool says Close.
    fn close(&mut self, conn: ConnId) {
        let link = self.link(conn);
        let polite = link.phase == Phase::Open && link.flight.is_empty() && link.cancelling.is_none();
        let was = std::mem::replace(&mut link.phase, Phase::Closing);
        if polite {
            link.wire.terminate();
            self.flush(conn);
            self.after(5_000, Event::Destroy(conn));
            return;
        }
        assert_eq!(self.fail_queries(conn), 0, "connection {conn} closes under one-shots");
        let sock = self.link(conn).sock;
        if self.socks[sock].open {
            self.hang_up(sock);
        }
        if was == Phase::Opening && self.rng.chance(30) {
            self.soon.push_back(Input::ConnectFailed(conn));
        } else if self.rng.chance(50) {
            self.soon.push_back(Input::Closed(conn));
        } else {
            let late = self.rng.range(0, 300);
            self.after(late, Event::Closed(conn));
        }
    }

    /// Closes the socket of a connection whose Terminate was sent.
    pub(crate) fn destroy(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        let sock = link.sock;
        if link.phase == Phase::Closing && self.socks[sock].open {
            self.hang_up(sock);
            self.tell(Input::Closed(conn));
        }
    }
}
