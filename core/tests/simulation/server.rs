//! A model of a PostgreSQL backend: bytes in, bytes out, statements that take time and may be cancelled.
//!
//! A statement is `verb id micros`, or `select verb text id micros` with a text that comes again: it runs for `micros` and
//! answers with rows that say `q<id>`, or with an error whose message ends in `q<id>`, so that whoever receives it can
//! tell whose answer it is. `micros` may say that it fails. A Parse does not know for whom it is: its errors end in `q?`.

mod prepared;
mod replies;

use std::collections::VecDeque;

pub(crate) use prepared::{Change, Rules, number};
pub(crate) use replies::notice;

use prepared::{Prepared, is_stopped};
use replies::{describe, describe_unless_utility, error, message, parameter, row};

/// The id of what nobody's query is.
const NOBODY: u64 = u64::MAX;

/// One server process.
pub(crate) struct Backend {
    pub(crate) pid: i32,
    pub(crate) key: i32,
    /// Asks for a password, refuses at startup, …: how it greets.
    greeting: Greeting,
    input: Vec<u8>,
    /// The startup message, which has no type byte, has come.
    started: bool,
    welcomed: bool,
    running: Option<Running>,
    status: u8,
    /// An extended query failed: skip to its Sync.
    skipping: bool,
    prepared: Prepared,
    portal: Option<Portal>,
    temper: Temper,
    notes: Vec<Note>,
    /// Which statement runs, or ran last.
    serial: u64,
    pub(crate) gone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    Trust,
    Password,
    TooManyConnections,
}

/// What the world is to know of a backend's work.
#[derive(Debug)]
pub(crate) enum Note {
    /// A query's statement begins, in this transaction status.
    Begun(u64, u8),
    /// It has run to its end.
    Completed(u64),
    /// A query is bound while these own names are kept; whether to one of them.
    Bound(u64, Vec<u32>, bool),
    Saw(&'static str),
}

/// What a cancel has hit.
pub(crate) struct Hit {
    /// The query; `None`: the question for the process id.
    pub(crate) query: Option<usize>,
    /// It was bound to an own name.
    pub(crate) named: bool,
    /// It was not yet.
    pub(crate) planning: bool,
}

/// How a backend behaves. Times are microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Temper {
    /// What it answers when it is asked for its process id.
    pub(crate) answer: i32,
    /// How long that takes.
    pub(crate) question: u64,
    /// How long planning takes, which a Bind to an own name does.
    pub(crate) planning: u64,
}

struct Running {
    micros: u64,
    /// Its Bind is under way.
    planning: bool,
    statement: Statement,
    extended: bool,
    /// Bound to an own name.
    named: bool,
    /// The rest of a simple Query with several statements.
    rest: VecDeque<Statement>,
}

#[derive(Clone)]
struct Portal {
    statement: Statement,
    named: bool,
}

#[derive(Clone)]
struct Statement {
    verb: String,
    id: u64,
    micros: u64,
    /// `fail` or `die`, whatever the verb says.
    ends: String,
}

/// What a backend does next.
pub(crate) enum Next {
    /// Nothing before more bytes come.
    Wait,
    /// Runs a statement; call `finish` with the number after so many microseconds.
    Run(u64, u64),
    /// Closes the connection.
    Exit,
}

impl Backend {
    pub(crate) fn new(pid: i32, key: i32, greeting: Greeting, rules: Rules, temper: Temper) -> Backend {
        Backend {
            pid,
            key,
            greeting,
            input: Vec::new(),
            started: false,
            welcomed: false,
            running: None,
            status: b'I',
            skipping: false,
            prepared: Prepared::new(rules),
            portal: None,
            temper,
            notes: Vec::new(),
            serial: 0,
            gone: false,
        }
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Works through the messages until it must wait.
    pub(crate) fn advance(&mut self, out: &mut Vec<u8>) -> Next {
        while self.running.is_none() && !self.gone {
            let Some((tag, body)) = self.message() else {
                return Next::Wait;
            };
            if tag == b'X' {
                self.gone = true;
            } else if !self.skipping || tag == b'S' {
                self.handle(tag, &body, out);
            }
        }
        match &self.running {
            _ if self.gone => Next::Exit,
            Some(running) => Next::Run(self.serial, running.micros),
            None => Next::Wait,
        }
    }

    /// The statement `serial` has run its time (unless it was cancelled).
    pub(crate) fn finish(&mut self, serial: u64, out: &mut Vec<u8>) {
        if self.serial == serial
            && let Some(running) = self.running.take()
        {
            self.serial += 1;
            self.complete(running, out);
        }
    }

    /// Cancels what runs now.
    pub(crate) fn cancel(&mut self, out: &mut Vec<u8>) -> Option<Hit> {
        let running = self.running.take()?;
        self.serial += 1;
        let id = running.statement.id;
        self.fail(running.extended, "57014", &format!("canceling statement q{id}"), out);
        Some(Hit {
            query: (id != NOBODY).then_some(id as usize),
            named: running.named,
            planning: running.planning,
        })
    }

    /// Somebody else changes what is prepared here, or what it means.
    pub(crate) fn change(&mut self, change: Change, out: &mut Vec<u8>) {
        if !self.welcomed || self.gone {
            return;
        }
        self.prepared.change(change);
        if let Change::TimeZone = change {
            parameter(out, "TimeZone", "Europe/Zurich");
        }
    }

    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The server shuts this session down, if it has begun.
    pub(crate) fn shut_down(&mut self, out: &mut Vec<u8>) {
        if !self.welcomed || self.gone {
            return;
        }
        error(out, "FATAL", "57P01", "terminating connection");
        self.running = None;
        self.gone = true;
    }

    /// Past its startup and running nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.welcomed && self.running.is_none() && !self.gone
    }

    /// The next whole message of the input: type byte (0 = startup) and body.
    fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = usize::from(self.started);
        let length = self.input.get(head..head + 4)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + head;
        assert!(
            length >= head + 4 && length < 1 << 20,
            "a frontend message of {length} bytes"
        );
        if self.input.len() < length {
            return None;
        }
        let rest = self.input.split_off(length);
        let message = std::mem::replace(&mut self.input, rest);
        let tag = if self.started { message[0] } else { 0 };
        Some((tag, message[head + 4..].to_vec()))
    }

    fn handle(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        match tag {
            0 => {
                assert_eq!(body[..4], 196_608u32.to_be_bytes(), "protocol 3.0");
                self.started = true;
                match self.greeting {
                    Greeting::Trust => self.welcome(out),
                    Greeting::Password => message(out, b'R', &3u32.to_be_bytes()),
                    Greeting::TooManyConnections => {
                        error(out, "FATAL", "53300", "sorry, too many clients already");
                        self.gone = true;
                    }
                }
            }
            b'p' => {
                assert_eq!(body, b"secret\0");
                self.welcome(out);
            }
            b'Q' => {
                let text = texts(body)[0].to_owned();
                if text.starts_with("SELECT pg_backend_pid()") {
                    let statement = Statement {
                        verb: "pid".to_owned(),
                        id: NOBODY,
                        ends: String::new(),
                        micros: self.temper.question,
                    };
                    return self.run(statement, false, false, VecDeque::new(), out);
                }
                let mut rest: VecDeque<_> = text.split(';').map(|one| Statement::parse(one, &[])).collect();
                let first = rest.pop_front().unwrap();
                self.run(first, false, false, rest, out);
            }
            b'P' => self.parse(body, out),
            b'B' => self.bind(body, out),
            b'C' => {
                assert_eq!(body[0], b'S', "Close of a statement");
                if self.prepared.close(texts(&body[1..])[0]) {
                    self.notes.push(Note::Saw("evicted and closed"));
                }
                message(out, b'3', &[]);
            }
            b'D' => describe(&self.portal.as_ref().expect("a portal").statement.verb, out),
            b'E' => {
                let Portal { statement, named } = self.portal.take().expect("a portal");
                self.run(statement, true, named, VecDeque::new(), out);
            }
            b'S' => {
                self.skipping = false;
                self.ready(out);
            }
            other => panic!("unexpected frontend message {}", other as char),
        }
    }

    fn welcome(&mut self, out: &mut Vec<u8>) {
        message(out, b'R', &0u32.to_be_bytes());
        message(out, b'S', b"server_version\x0016.0\0");
        let mut body = self.pid.to_be_bytes().to_vec();
        body.extend(self.key.to_be_bytes());
        message(out, b'K', &body);
        self.welcomed = true;
        self.ready(out);
    }

    /// Parse: name, text.
    fn parse(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let [name, text] = texts(body)[..2] else {
            panic!("Parse")
        };
        match self.prepared.parse(name, text, self.status) {
            Ok(()) => message(out, b'1', &[]),
            Err(code) => self.fail(true, code, "not parsed q?", out),
        }
    }

    /// Bind: portal, statement, Int16 formats, Int16 parameters (Int32 length, bytes), Int16 formats.
    fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let names = texts(body);
        let mut at = names[0].len() + names[1].len() + 2;
        let int16 = |at: &mut usize| {
            *at += 2;
            u16::from_be_bytes([body[*at - 2], body[*at - 1]]) as usize
        };
        let formats = int16(&mut at);
        at += 2 * formats;
        let count = int16(&mut at);
        let mut params = Vec::new();
        for _ in 0..count {
            let length = u32::from_be_bytes(body[at..at + 4].try_into().unwrap()) as usize;
            params.push(std::str::from_utf8(&body[at + 4..at + 4 + length]).unwrap());
            at += 4 + length;
        }
        let text = match self.prepared.bind(names[1], self.status) {
            Ok(text) => text,
            Err(code) => return self.fail(true, code, &format!("not bound q{}", params[0]), out),
        };
        let statement = Statement::parse(text, &params);
        let named = number(names[1]).is_some();
        self.notes.push(Note::Bound(statement.id, self.prepared.own(), named));
        let planning = Running {
            micros: if named { self.temper.planning } else { 0 },
            planning: true,
            statement,
            extended: true,
            named,
            rest: VecDeque::new(),
        };
        self.start(planning, out);
    }

    fn run(&mut self, statement: Statement, extended: bool, named: bool, rest: VecDeque<Statement>, out: &mut Vec<u8>) {
        if statement.id != NOBODY {
            self.notes.push(Note::Begun(statement.id, self.status));
        }
        let running = Running {
            micros: statement.micros,
            planning: false,
            statement,
            extended,
            named,
            rest,
        };
        self.start(running, out);
    }

    fn start(&mut self, running: Running, out: &mut Vec<u8>) {
        if running.micros == 0 {
            self.serial += 1;
            self.complete(running, out);
        } else {
            self.running = Some(running);
        }
    }

    fn complete(&mut self, running: Running, out: &mut Vec<u8>) {
        if running.planning {
            let Running { statement, named, .. } = running;
            self.portal = Some(Portal { statement, named });
            return message(out, b'2', &[]);
        }
        let Statement { verb, id, ends, .. } = &running.statement;
        if is_stopped(verb, self.status) {
            let text = format!("current transaction is aborted q{id}");
            return self.fail(running.extended, "25P02", &text, out);
        }
        if !running.extended {
            describe_unless_utility(verb, out);
        }
        let end = if ends.is_empty() { verb } else { ends };
        if running.named && end == "fail" {
            self.notes.push(Note::Saw("named and failed"));
        }
        match end.as_str() {
            "fail" => return self.fail(running.extended, "22012", &format!("division by zero q{id}"), out),
            "die" => {
                error(out, "FATAL", "57P01", &format!("terminating connection q{id}"));
                self.gone = true;
                return;
            }
            "discard" if self.status == b'T' => {
                let text = format!("DISCARD ALL cannot run inside a transaction block q{id}");
                return self.fail(running.extended, "25001", &text, out);
            }
            "pid" => {
                let pid = self.temper.answer;
                row(out, &pid.to_string());
                self.prepared.asked = true;
                let is_own = pid == self.pid;
                self.notes
                    .push(Note::Saw(if is_own { "pid asked" } else { "pooler noticed" }));
            }
            "discard" | "deallocate" => self.prepared.clear(),
            "alter" => self.prepared.alter(),
            "set" => {
                self.prepared.set();
                parameter(out, "TimeZone", "Asia/Tokyo");
            }
            "begin" => self.status = b'T',
            "commit" | "rollback" => self.status = b'I',
            "rows" => (0..3).for_each(|_| row(out, &format!("q{id}"))),
            "big" => row(out, &format!("q{id} {}", "x".repeat(20_000))),
            "echo" => row(out, &format!("q{id}")),
            other => panic!("unexpected statement {other}"),
        }
        let object = match verb.as_str() {
            "discard" | "deallocate" => "ALL",
            "alter" => "TABLE",
            _ => "1",
        };
        message(out, b'C', format!("{} {object}\0", verb.to_uppercase()).as_bytes());
        if *id != NOBODY {
            self.notes.push(Note::Completed(*id));
        }
        let Running { extended, mut rest, .. } = running;
        match rest.pop_front() {
            Some(next) => self.run(next, extended, false, rest, out),
            None if !extended => self.ready(out),
            None => {}
        }
    }

    fn fail(&mut self, extended: bool, code: &str, text: &str, out: &mut Vec<u8>) {
        error(out, "ERROR", code, text);
        if self.status == b'T' {
            self.status = b'E';
        }
        if extended {
            self.skipping = true;
        } else {
            self.ready(out);
        }
    }

    fn ready(&self, out: &mut Vec<u8>) {
        message(out, b'Z', &[self.status]);
    }
}

impl Statement {
    fn parse(text: &str, params: &[&str]) -> Statement {
        let mut words = text.split_whitespace().map(|word| match word {
            "$1" => params[0],
            "$2" => params[1],
            word => word,
        });
        let mut verb = words.next().expect("a verb");
        if verb == "select" {
            verb = words.next().expect("a verb");
            words.next().expect("a text");
        }
        let id = words.next().map_or(NOBODY, |word| word.parse().unwrap());
        let time = words.next().unwrap_or("0");
        let digits = time.find(|c: char| !c.is_ascii_digit()).unwrap_or(time.len());
        let (micros, ends) = time.split_at(digits);
        Statement {
            verb: verb.to_owned(),
            id,
            micros: micros.parse().unwrap(),
            ends: ends.to_owned(),
        }
    }
}

/// The Strings at the start of a body.
fn texts(body: &[u8]) -> Vec<&str> {
    body.split(|&byte| byte == 0)
        .map(|text| std::str::from_utf8(text).unwrap_or_default())
        .collect()
}
