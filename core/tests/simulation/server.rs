//! A model of a PostgreSQL backend: bytes in, bytes out, statements that take time and may be cancelled.
//!
//! A statement is `verb id micros`: it runs for `micros` and answers with rows that say `q<id>`, or with an error whose
//! message ends in `q<id>`, so that whoever receives it can tell whose answer it is.

mod replies;

use std::collections::{HashMap, VecDeque};

pub(crate) use replies::notice;

use replies::{describe, describe_unless_utility, error, message, row};

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
    prepared: HashMap<String, String>,
    portal: String,
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

struct Running {
    statement: Statement,
    extended: bool,
    /// The rest of a simple Query with several statements.
    rest: VecDeque<Statement>,
}

#[derive(Clone)]
struct Statement {
    verb: String,
    id: u64,
    micros: u64,
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
    pub(crate) fn new(pid: i32, key: i32, greeting: Greeting) -> Backend {
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
            prepared: HashMap::new(),
            portal: String::new(),
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
            Some(running) => Next::Run(self.serial, running.statement.micros),
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

    /// Cancels what runs now; the id of the statement that was hit.
    pub(crate) fn cancel(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        let running = self.running.take()?;
        self.serial += 1;
        let id = running.statement.id;
        self.fail(running.extended, "57014", &format!("canceling statement q{id}"), out);
        Some(id)
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
                let mut rest: VecDeque<_> = text.split(';').map(|one| Statement::parse(one, &[])).collect();
                let first = rest.pop_front().unwrap();
                self.run(first, false, rest, out);
            }
            b'P' => {
                let [name, text] = texts(body)[..2] else {
                    panic!("Parse")
                };
                self.prepared.insert(name.to_owned(), text.to_owned());
                message(out, b'1', &[]);
            }
            b'B' => self.bind(body, out),
            b'D' => describe(&self.portal, out),
            b'E' => {
                let statement = Statement::parse(&self.portal, &[]);
                self.run(statement, true, VecDeque::new(), out);
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

    /// Bind: portal, statement, Int16 formats, Int16 parameters (Int32 length, bytes), Int16 formats.
    fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let names = texts(body);
        let Some(text) = self.prepared.get(names[1]) else {
            return self.fail(true, "26000", "no such prepared statement", out);
        };
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
        let statement = Statement::parse(text, &params);
        self.portal = format!("{} {} {}", statement.verb, statement.id, statement.micros);
        message(out, b'2', &[]);
    }

    fn run(&mut self, statement: Statement, extended: bool, rest: VecDeque<Statement>, out: &mut Vec<u8>) {
        let running = Running {
            statement,
            extended,
            rest,
        };
        if running.statement.micros == 0 {
            self.serial += 1;
            self.complete(running, out);
        } else {
            self.running = Some(running);
        }
    }

    fn complete(&mut self, running: Running, out: &mut Vec<u8>) {
        let Statement { verb, id, .. } = &running.statement;
        let aborted = self.status == b'E' && !matches!(verb.as_str(), "rollback" | "commit");
        if aborted {
            let text = format!("current transaction is aborted q{id}");
            return self.fail(running.extended, "25P02", &text, out);
        }
        if !running.extended {
            describe_unless_utility(verb, out);
        }
        match verb.as_str() {
            "fail" => return self.fail(running.extended, "22012", &format!("division by zero q{id}"), out),
            "die" => {
                error(out, "FATAL", "57P01", &format!("terminating connection q{id}"));
                self.gone = true;
                return;
            }
            "begin" => self.status = b'T',
            "commit" | "rollback" => self.status = b'I',
            "rows" => (0..3).for_each(|_| row(out, &format!("q{id}"))),
            "big" => row(out, &format!("q{id} {}", "x".repeat(20_000))),
            "echo" => row(out, &format!("q{id}")),
            other => panic!("unexpected statement {other}"),
        }
        message(out, b'C', format!("{} 1\0", verb.to_uppercase()).as_bytes());
        let Running { extended, mut rest, .. } = running;
        match rest.pop_front() {
            Some(next) => self.run(next, extended, rest, out),
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
        let verb = words.next().expect("a verb").to_owned();
        let mut number = || words.next().map_or(0, |word| word.parse().unwrap());
        Statement {
            verb,
            id: number(),
            micros: number(),
        }
    }
}

/// The Strings at the start of a body.
fn texts(body: &[u8]) -> Vec<&str> {
    body.split(|&byte| byte == 0)
        .map(|text| std::str::from_utf8(text).unwrap_or_default())
        .collect()
}
