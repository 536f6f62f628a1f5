//! The session machine: requests in flight, and what each message means while they are.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::frontend;

use super::name::Name;
use super::reader::Reader;
use super::receive::{Frame, ReceiveBuffer};
use super::result::{cell, is_row, is_row_of_numbers, mark_numbers, number, walk_row_description};
use super::startup::Authentication;
use super::{Event, Extended, Known, RowSink, ServerError, SinkState, Startup, Target, TransactionStatus, requests};
use crate::error::Kind;
use crate::statements::{Column, Place, Plan, Policy, Run, Statements, Texts, mentions_float_digits};
use crate::{Error, Result};

/// PostgreSQL's MaxAllocSize: no message's content is longer (memutils.h, stringinfo.c). The length word adds 4.
const MAX_LENGTH: u32 = 0x3fff_ffff + 4;
/// Before authentication has finished nothing longer is believed.
const MAX_LENGTH_BEFORE_AUTHENTICATION: u32 = 64 * 1024;
/// libpq's limit for messages that are never long (fe-protocol3.c).
const MAX_SHORT_LENGTH: u32 = 30_000;
/// RowDescription: 1,664 columns (MaxTupleAttributeNumber) with long names stay far below.
const MAX_ROW_DESCRIPTION_LENGTH: u32 = 16 * 1024 * 1024;
/// ParameterDescription: Int32 length, Int16 n, at most 65,535 oids.
const MAX_PARAMETER_DESCRIPTION_LENGTH: u32 = 4 + 2 + 4 * 65_535;
/// Run-time parameters that are remembered; PostgreSQL reports about fifteen.
const MAX_PARAMETERS: usize = 256;
/// An output buffer that grew larger is given back once it is sent.
const KEEP_OUTPUT: usize = 1024 * 1024;
/// What we ask along with the first statement that would be named: whether this is the server of BackendKeyData, and what
/// decides whether texts of numbers are exact.
const QUESTION: &str = "SELECT pg_backend_pid(), current_setting('extra_float_digits'), current_setting('DateStyle')";
/// Short bodies (tags, row descriptions) are cut from blocks of this size.
const BLOCK: usize = 4096;

/// One connection's protocol state, in plain bytes.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) received: ReceiveBuffer,
    pub(super) out: BytesMut,
    out_is_large: bool,
    phase: Phase,
    /// Oldest first; each ends with its ReadyForQuery.
    requests: VecDeque<Request>,
    /// BindComplete of the oldest request has come.
    bound: bool,
    /// The oldest request failed.
    failed: bool,
    pub(super) statements: Statements,
    /// The run whose ReadyForQuery came last, until its time is noted.
    over: Option<Over>,
    /// When the ReadyForQuery before came.
    ready_at: Duration,
    /// Columns of the result whose rows are coming.
    columns: Option<usize>,
    /// Which of them are numbers of eight bytes; empty: none.
    numbers: Vec<bool>,
    /// The result format codes of the request that is being written.
    formats: Vec<i16>,
    copy: Copy,
    /// Bytes of a CopyData body that are still to come and will be dropped.
    skip: usize,
    status: TransactionStatus,
    key: Option<(i32, i32)>,
    parameters: Vec<(String, String)>,
    block: BytesMut,
}

#[derive(Debug)]
enum Phase {
    /// From the StartupMessage to the first ReadyForQuery.
    Startup(Box<Authentication>),
    Open,
    /// Terminate was written.
    Terminated,
    /// An error ended the session.
    Failed,
}

/// A request in flight.
#[derive(Debug, Clone, Copy)]
struct Request {
    form: Form,
    /// Of a text that is known: how it went out, and when.
    run: Option<(Run, Duration)>,
    /// Columns in binary format were asked for by ourselves.
    numbers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Query: ends with a ReadyForQuery by itself.
    Simple,
    /// Messages closed by Sync.
    Extended,
    /// Our own [`QUESTION`]; nobody else sees its answer.
    Question,
}

#[derive(Debug, Clone, Copy)]
struct Over {
    run: Run,
    sent: Duration,
    failed: bool,
}

/// Where the oldest request is with COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    No,
    /// CopyInResponse came and CopyFail was written.
    Refused,
    /// Between CopyOutResponse and CopyDone.
    Out,
}

impl Session {
    pub(super) fn new(startup: &Startup) -> Result<Session> {
        let mut out = BytesMut::with_capacity(1024);
        startup.write(&mut out)?;
        Ok(Session {
            received: ReceiveBuffer::default(),
            out,
            out_is_large: false,
            phase: Phase::Startup(Box::new(Authentication::new(startup))),
            requests: VecDeque::new(),
            bound: false,
            failed: false,
            statements: Statements::new(Policy::default()),
            over: None,
            ready_at: Duration::ZERO,
            columns: None,
            numbers: Vec::new(),
            formats: Vec::new(),
            copy: Copy::No,
            skip: 0,
            status: TransactionStatus::Idle,
            key: None,
            parameters: Vec::new(),
            block: BytesMut::with_capacity(BLOCK),
        })
    }

    /// `n` bytes of the output are gone.
    pub(super) fn sent(&mut self, n: usize) {
        self.drain_output(|out| out.advance(n.min(out.len())));
    }

    /// Lets `drain` take bytes off the front of the output.
    pub(super) fn drain_output<T>(&mut self, drain: impl FnOnce(&mut BytesMut) -> T) -> T {
        self.out_is_large |= self.out.capacity() > KEEP_OUTPUT;
        let result = drain(&mut self.out);
        if self.out.is_empty() && self.out_is_large {
            self.out = BytesMut::new();
            self.out_is_large = false;
        }
        result
    }

    // ---- requests

    pub(super) fn password(&mut self, password: &[u8]) -> Result<()> {
        match &mut self.phase {
            Phase::Startup(authentication) => authentication.password(password, &mut self.out),
            _ => Err(Error::new(Kind::Usage, "The server has not asked for a password")),
        }
    }

    pub(super) fn query(&mut self, sql: &str) -> Result<()> {
        self.may_request()?;
        requests::query(&mut self.out, sql)?;
        self.note_mention(|| mentions_float_digits(sql.as_bytes()));
        self.push(Form::Simple);
        Ok(())
    }

    /// As [`Session::query`] or [`Session::extended`], with a text that is known: it may go out under a name.
    pub(super) fn known(&mut self, query: &Known<'_>, texts: &Texts, now: Duration) -> Result<()> {
        self.may_request()?;
        let sql = texts.sql(query.text).ok_or_else(unknown_text)?;
        let place = match (self.requests.is_empty(), self.status, query.autocommit) {
            (true, TransactionStatus::Idle, _) | (false, _, true) => Place::Own,
            (true, ..) => Place::Explicit,
            (false, _, false) => Place::Unknown,
        };
        let run = self.statements.plan(query.text, query.params.len(), place, texts);
        let asks = self.statements.asks(&run);
        let name = match run.plan {
            Plan::Unnamed => Name::default(),
            Plan::Prepare(number) | Plan::Bound(number) => Name::of(number),
        };
        self.statements.formats(&run, query.numbers, &mut self.formats);
        let numbers = !query.binary && !self.formats.is_empty();
        let extended = Extended {
            name: name.as_str(),
            sql: (!matches!(run.plan, Plan::Bound(_))).then_some(sql),
            params: query.params,
            results: if query.binary { &[1] } else { &self.formats },
            portal: "",
            max_rows: 0,
        };
        let simple = query.simple && run.plan == Plan::Unnamed;
        let before = self.out.len();
        let written = match simple {
            // A Query has no room for others before it.
            true => write_question(&mut self.out, asks).and_then(|()| requests::query(&mut self.out, sql)),
            false => write_known(&mut self.out, asks, self.statements.unwanted(), &extended),
        };
        if written.is_err() {
            self.out.truncate(before);
            self.statements.unsent(&run);
            return written;
        }
        if !simple {
            self.statements.closed_unwanted();
        }
        if asks {
            self.statements.asked();
            self.push(Form::Question);
        }
        self.note_mention(|| texts.mentions_float_digits(query.text));
        self.requests.push_back(Request {
            form: if simple { Form::Simple } else { Form::Extended },
            run: Some((run, now)),
            numbers,
        });
        Ok(())
    }

    fn push(&mut self, form: Form) {
        self.requests.push_back(Request {
            form,
            run: None,
            numbers: false,
        });
    }

    fn note_mention(&mut self, mentions_float_digits: impl FnOnce() -> bool) {
        if self.statements.believes_in_exact_floats() && mentions_float_digits() {
            self.statements.float_digits_mentioned();
        }
    }

    pub(super) fn extended(&mut self, query: &Extended<'_>) -> Result<()> {
        self.may_request()?;
        requests::extended(&mut self.out, query)?;
        self.note_mention(|| query.sql.is_some_and(|sql| mentions_float_digits(sql.as_bytes())));
        self.push(Form::Extended);
        Ok(())
    }

    pub(super) fn close(&mut self, target: Target, name: &str) -> Result<()> {
        self.may_request()?;
        requests::close(&mut self.out, target, name)?;
        self.push(Form::Extended);
        Ok(())
    }

    pub(super) fn terminate(&mut self) {
        if matches!(self.phase, Phase::Startup(_) | Phase::Open) {
            frontend::terminate(&mut self.out);
            self.phase = Phase::Terminated;
        }
    }

    /// Whether somebody else may speak on this connection: it is open, and nothing is in flight.
    pub(super) fn begin_raw(&self) -> Result<()> {
        self.may_request()?;
        match self.requests.is_empty() {
            true => Ok(()),
            false => Err(Error::new(Kind::Usage, "The session is busy")),
        }
    }

    pub(super) fn write_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.may_request()?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn end_raw(&mut self, unread: &[u8], status: TransactionStatus) {
        self.received.put(unread);
        self.status = status;
        self.statements.spoken_past();
    }

    fn may_request(&self) -> Result<()> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Startup(_) => Err(Error::new(Kind::Usage, "The session has not finished its startup")),
            Phase::Terminated | Phase::Failed => Err(closed()),
        }
    }

    // ---- state

    pub(super) fn in_flight(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn status(&self) -> TransactionStatus {
        self.status
    }

    pub(super) fn key(&self) -> Option<(i32, i32)> {
        self.key
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    // ---- messages

    /// The next event. An error is final: from then on every call fails.
    #[inline]
    pub(super) fn poll<S: RowSink + ?Sized>(
        &mut self,
        end_point: Option<&[u8]>,
        sink: &mut S,
    ) -> Result<Option<Event>> {
        if matches!(self.phase, Phase::Failed) {
            return Err(closed());
        }
        let result = self.next_event(end_point, sink);
        if result.is_err() {
            self.phase = Phase::Failed;
        }
        result
    }

    fn next_event<S: RowSink + ?Sized>(&mut self, end_point: Option<&[u8]>, sink: &mut S) -> Result<Option<Event>> {
        loop {
            if self.skip > 0 {
                self.skip -= self.received.skip(self.skip);
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            let authenticated = match &self.phase {
                Phase::Startup(authentication) => authentication.is_done(),
                _ => true,
            };
            let Some(frame) = self
                .received
                .frame(|tag, length| check_length(tag, length, authenticated))?
            else {
                // Copied data may be long and is not wanted: it is dropped as it comes.
                match self.received.header() {
                    Some((b'd', length)) if self.copy == Copy::Out => {
                        self.received.skip(5);
                        self.skip = (length as usize).saturating_sub(4);
                        continue;
                    }
                    _ => return Ok(None),
                }
            };
            if frame.tag == b'D' {
                let body = self.received.body(frame);
                if let Some(Request {
                    form: Form::Question, ..
                }) = self.requests.front()
                {
                    self.answered(frame);
                    continue;
                }
                match self.columns {
                    Some(columns) if self.numbers.is_empty() && is_row(body, columns, |_, _| true) => {}
                    Some(columns) if is_row_of_numbers(body, columns, &self.numbers) => {}
                    Some(_) => {
                        return Err(Error::protocol(
                            "The server sent a row that does not fit its description",
                        ));
                    }
                    None => return Err(Error::protocol("The server sent a row that belongs to no result")),
                }
                match sink.row(body) {
                    SinkState::Open => continue,
                    SinkState::Full => return Ok(Some(Event::SinkFull)),
                }
            }
            let event = match self.phase {
                Phase::Startup(_) => self.startup_message(frame, end_point)?,
                _ => self.message(frame)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn startup_message(&mut self, frame: Frame, end_point: Option<&[u8]>) -> Result<Option<Event>> {
        let Phase::Startup(authentication) = &mut self.phase else {
            return Ok(None);
        };
        let body = self.received.body(frame);
        match (frame.tag, authentication.is_done()) {
            (b'R', _) => {
                let request = authentication.message(body, end_point, &mut self.out)?;
                Ok(request.map(Event::PasswordRequested))
            }
            (b'v', false) => negotiated(body).map(|()| None),
            (b'K', true) => {
                let mut reader = Reader::new(body);
                self.key = Some((reader.i32()?, reader.i32()?));
                Ok(None)
            }
            (b'Z', true) => {
                self.status = transaction_status(body)?;
                self.phase = Phase::Open;
                Ok(Some(Event::Ready(self.status)))
            }
            (b'E', _) => {
                let error = ServerError::parse(body, frame.length)?;
                self.phase = Phase::Failed;
                Ok(Some(Event::Error(error)))
            }
            (b'N', _) => Ok(Some(Event::Notice(ServerError::parse(body, frame.length)?))),
            (b'S', true) => self.parameter_status(frame).map(Some),
            (tag, _) => Err(out_of_turn(tag)),
        }
    }

    fn message(&mut self, frame: Frame) -> Result<Option<Event>> {
        let body = self.received.body(frame);
        // These may come at any time.
        match frame.tag {
            b'E' => {
                self.columns = None;
                return self.error(frame);
            }
            b'N' => return Ok(Some(Event::Notice(ServerError::parse(body, frame.length)?))),
            b'S' => return self.parameter_status(frame).map(Some),
            b'A' => return notification(body).map(Some),
            _ => {}
        }
        let Some(&Request { form, run, numbers }) = self.requests.front() else {
            return Err(out_of_turn(frame.tag));
        };
        if form == Form::Question {
            if frame.tag == b'Z' {
                self.status = transaction_status(body)?;
                self.requests.pop_front();
            }
            return Ok(None);
        }
        match frame.tag {
            b'T' => {
                let mut described = stored(&mut self.block, body);
                self.numbers.clear();
                self.columns = Some(match numbers {
                    true => mark_numbers(body, &mut described, &mut self.numbers)?,
                    false => walk_row_description(body, |_, _, _| Ok(()))?,
                });
                if let Some((run, _)) = run
                    && matches!(run.plan, Plan::Prepare(_))
                {
                    let mut columns = Vec::new();
                    walk_row_description(body, |_, _, type_oid| {
                        columns.push(Column::of(type_oid));
                        Ok(())
                    })?;
                    self.statements.described(&run, columns);
                }
                Ok(Some(Event::RowDescription(described.freeze())))
            }
            b'C' => {
                self.columns = None;
                let mut reader = Reader::new(body);
                let tag = reader.cstr()?;
                reader.end()?;
                self.statements.completed(tag);
                Ok(Some(Event::CommandComplete(stored(&mut self.block, tag).freeze())))
            }
            b'Z' => {
                self.status = transaction_status(body)?;
                self.requests.pop_front();
                self.columns = None;
                self.copy = Copy::No;
                self.over = run.map(|(run, sent)| Over {
                    run,
                    sent,
                    failed: self.failed,
                });
                (self.bound, self.failed) = (false, false);
                if self.requests.is_empty() {
                    self.received.shrink();
                }
                Ok(Some(Event::Ready(self.status)))
            }
            b'1' => Ok(Some(Event::ParseComplete)),
            b'2' => {
                self.bound = true;
                Ok(None)
            }
            b'3' | b't' => Ok(None),
            b'n' => Ok(Some(Event::NoData)),
            b'I' => Ok(Some(Event::EmptyQuery)),
            b's' => {
                self.columns = None;
                Ok(Some(Event::PortalSuspended))
            }
            b'G' if self.copy == Copy::No => self.refuse_copy(form).map(Some),
            b'H' if self.copy == Copy::No => {
                self.copy = Copy::Out;
                Ok(Some(Event::CopyOut))
            }
            b'd' if self.copy == Copy::Out => Ok(None),
            b'c' if self.copy == Copy::Out => {
                self.copy = Copy::No;
                Ok(None)
            }
            tag => Err(out_of_turn(tag)),
        }
    }

    /// The row that answers [`QUESTION`]. What cannot be read says no to all of it.
    fn answered(&mut self, frame: Frame) {
        let mut row = Reader::new(self.received.body(frame));
        let _ = row.i16();
        let [pid, digits, date_style] = [(); 3].map(|()| cell(&mut row).unwrap_or_default());
        let key = self.key.map(|(pid, _)| pid);
        let is_own = key.is_some() && number(pid) == key;
        // Since PostgreSQL 12 any value above 0 gives the shortest text that is exact; before, only 3 gave enough digits.
        let version = self.parameter("server_version").unwrap_or_default();
        let major = version
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|major| major.parse().ok());
        let enough = if major.is_some_and(|major: u32| major >= 12) {
            1
        } else {
            3
        };
        let exact = number(digits).is_some_and(|digits| digits >= enough);
        self.statements.answered(is_own, exact, date_style);
    }

    /// ErrorResponse of the oldest request, or of none.
    fn error(&mut self, frame: Frame) -> Result<Option<Event>> {
        let error = ServerError::parse(self.received.body(frame), frame.length)?;
        let run = match self.requests.front() {
            // A FATAL error ends the session whoever asked.
            Some(Request {
                form: Form::Question, ..
            }) if error.severity() == "ERROR" => {
                self.statements.refused(error.code());
                return Ok(None);
            }
            Some(Request {
                run: Some((run, _)), ..
            }) => *run,
            _ => return Ok(Some(Event::Error(error))),
        };
        self.failed = true;
        let repeat = self.statements.failed(&run, self.bound, error.code(), error.severity());
        Ok(Some(if repeat {
            Event::Repeat(error)
        } else {
            Event::Error(error)
        }))
    }

    /// Notes that the request whose Ready came last is over, and how long it took.
    pub(super) fn finished(&mut self, now: Duration, texts: &mut Texts) {
        if let Some(Over { run, sent, failed }) = self.over.take() {
            self.statements.finished(&run, failed);
            // Before its turn it waited for others.
            let took = now.saturating_sub(sent.max(self.ready_at));
            texts.observe(&run, failed, took);
        }
        self.ready_at = now;
    }

    /// Answers CopyInResponse. While it copies, the server ignores the Sync that followed Execute (protocol chapter
    /// 55.2.6), so the extended protocol needs another one for its only ReadyForQuery. It also swallows whatever
    /// else was sent behind, so replies could no longer be told apart.
    fn refuse_copy(&mut self, form: Form) -> Result<Event> {
        if self.requests.len() > 1 {
            return Err(Error::protocol(
                "COPY FROM STDIN began while other requests were in flight behind it; their replies are lost",
            ));
        }
        self.copy = Copy::Refused;
        frontend::copy_fail("No source stream defined", &mut self.out)?;
        if form == Form::Extended {
            frontend::sync(&mut self.out);
        }
        Ok(Event::CopyInRefused)
    }

    fn parameter_status(&mut self, frame: Frame) -> Result<Event> {
        let mut reader = Reader::new(self.received.body(frame));
        let (name, value) = (reader.string()?, reader.string()?);
        reader.end()?;
        self.statements.parameter_changed(&name, &value);
        if let Some((_, old)) = self.parameters.iter_mut().find(|(known, _)| *known == name) {
            old.clone_from(&value);
        } else if self.parameters.len() < MAX_PARAMETERS {
            self.parameters.push((name.clone(), value.clone()));
        }
        Ok(Event::ParameterStatus { name, value })
    }
}

fn write_question(out: &mut BytesMut, asks: bool) -> Result<()> {
    if asks { requests::query(out, QUESTION) } else { Ok(()) }
}

/// Our question, if there is one, then Close of what nobody uses, and the request itself.
fn write_known(out: &mut BytesMut, asks: bool, unwanted: &[u32], query: &Extended<'_>) -> Result<()> {
    write_question(out, asks)?;
    for &number in unwanted {
        requests::close_unsynced(out, Target::Statement, Name::of(number).as_str())?;
    }
    requests::extended(out, query)
}

fn unknown_text() -> Error {
    Error::new(Kind::Usage, "This text is not known")
}

/// Judges a header before anything is awaited or reserved for it. `length` counts itself.
#[inline]
fn check_length(tag: u8, length: u32, authenticated: bool) -> Result<()> {
    let (min, max) = match tag {
        b'D' => (6, MAX_LENGTH),
        b'd' | b'E' | b'N' | b'A' => (4, MAX_LENGTH),
        b'Z' => (5, 5),
        b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c' => (4, 4),
        b'C' | b'S' | b'G' | b'H' | b'v' => (4, MAX_SHORT_LENGTH),
        b'K' => (12, 12),
        b'T' => (6, MAX_ROW_DESCRIPTION_LENGTH),
        b't' => (6, MAX_PARAMETER_DESCRIPTION_LENGTH),
        b'R' => (8, MAX_LENGTH_BEFORE_AUTHENTICATION),
        _ => return Err(out_of_turn(tag)),
    };
    let max = if authenticated {
        max
    } else {
        max.min(MAX_LENGTH_BEFORE_AUTHENTICATION)
    };
    if (min..=max).contains(&length) {
        return Ok(());
    }
    Err(Error::protocol(format!(
        "The server sent a message '{}' with the length {length}, which cannot be: is it PostgreSQL?",
        char::from(tag).escape_default(),
    )))
}

fn transaction_status(body: &[u8]) -> Result<TransactionStatus> {
    match body {
        b"I" => Ok(TransactionStatus::Idle),
        b"T" => Ok(TransactionStatus::InTransaction),
        b"E" => Ok(TransactionStatus::Failed),
        _ => Err(Error::protocol(
            "The server sent a transaction status that does not exist",
        )),
    }
}

/// NotificationResponse: Int32 process id, String channel, String payload.
fn notification(body: &[u8]) -> Result<Event> {
    let mut reader = Reader::new(body);
    let event = Event::Notification {
        pid: reader.i32()?,
        channel: reader.string()?,
        payload: reader.string()?,
    };
    reader.end()?;
    Ok(event)
}

/// NegotiateProtocolVersion: Int32 newest version the server speaks, Int32 n, n Strings: the options (`_pq_.…`) that it
/// does not know. We ask for 3.0, which every server of the major version 3 speaks, so only an option can be refused.
fn negotiated(body: &[u8]) -> Result<()> {
    let mut reader = Reader::new(body);
    reader.i32()?;
    reader.i32()?;
    if reader.is_empty() {
        return Ok(());
    }
    let mut names = String::new();
    while !reader.is_empty() {
        names.push(' ');
        names.push_str(&reader.string()?);
    }
    Err(Error::new(
        Kind::Config,
        format!("The server does not know these startup options:{names}"),
    ))
}

/// A copy of `bytes` in a shared block; blocks are used again when all their copies are dropped.
fn stored(block: &mut BytesMut, bytes: &[u8]) -> BytesMut {
    if bytes.len() > BLOCK / 2 {
        return BytesMut::from(bytes);
    }
    block.extend_from_slice(bytes);
    block.split()
}

fn out_of_turn(tag: u8) -> Error {
    Error::protocol(format!(
        "The server sent a message '{}' that is unknown or out of turn",
        char::from(tag).escape_default(),
    ))
}

pub(super) fn closed() -> Error {
    Error::new(Kind::Closed, "The session is closed")
}
