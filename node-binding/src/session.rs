//! A session on the loop of its environment: one watched socket, and the wire machine between it and JavaScript.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use heys_core::config::Config;
use heys_core::error::Kind;
use heys_core::net::{Address, Established, Socket, io_error};
use heys_core::proto::{Event, Param, TransactionStatus, Wire};
use heys_core::rows::{self, Batch};
use heys_core::statements::Policy;
use heys_core::{Error, Result};

use crate::env::{Environment, Hook, Wake};
use crate::records::{Record, Records, Taken};
use crate::shapes::{self, Shape};
use crate::socket;
use crate::uv;
use crate::watch::Watch;

/// Bytes read in one wake-up before other handles of the loop get their turn.
const READ_MAX: usize = 256 * 1024;
/// Raw bytes are sent at once when there are this many, else with those that follow.
const RAW_BLOCK: usize = 64 * 1024;

/// Flag of a query: every cell as text.
pub(crate) const ALL_TEXT: i32 = 1;
/// Flag of a query: binary results.
pub(crate) const BINARY: i32 = 2;
/// Flag of a query: whatever is in flight before it leaves no transaction open.
pub(crate) const SHARED: i32 = 4;
/// Flag of a query: float8 may come as numbers.
pub(crate) const FLOAT8: i32 = 8;
/// Flag of a query: timestamptz may come as numbers.
pub(crate) const TIMESTAMPTZ: i32 = 16;
/// Flag of a query: a Query, unless it has a name.
pub(crate) const SIMPLE: i32 = 32;

/// One connection. Shared by the environment's slab, its libuv handles and whoever works with it right now; its parts
/// are cells that are never borrowed while JavaScript runs.
pub(crate) struct Session {
    pub(crate) id: i32,
    environment: *const Environment,
    config: Arc<Config>,
    address: Address,
    /// The socket's number; valid while the state is not `Closed`.
    fd: RawFd,
    socket: RefCell<Option<Socket>>,
    watch: Watch,
    state: Cell<State>,
    /// What the session wants to be told of.
    watched: Cell<c_int>,
    paused: Cell<bool>,
    /// JavaScript speaks the protocol: bytes go to it and come from it as they are.
    raw: Cell<bool>,
    /// The socket took less than there was; the rest goes when it is writable.
    backlog: Cell<bool>,
    /// JavaScript was told that the socket is full, and waits for DRAINED.
    draining: Cell<bool>,
    /// Waits in the environment's list of unsent sessions.
    corked: Cell<bool>,
    /// The first write error. Reading goes on: what the server said before it closed is still to come.
    write_error: RefCell<Option<Error>>,
    /// For the CLOSED record.
    failure: RefCell<Option<Error>>,
    inner: RefCell<Inner>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Terminate was queued.
    Ending,
    /// The handles are closing; nothing is read or written any more.
    Closed,
}

struct Inner {
    wire: Wire,
    batch: Batch,
    taken: Taken,
    shape: Option<Rc<Shape>>,
    /// The flags of each request that has not seen its Ready.
    flags: VecDeque<u8>,
}

/// Memory reused from query to query.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) text: Vec<u8>,
    pub(crate) spans: Vec<Span>,
    pub(crate) params: Vec<Param<'static>>,
}

/// A parameter in [`Scratch`].
pub(crate) enum Span {
    Null,
    /// Where its text ends in the shared buffer; it begins where the one before ended.
    Text(usize),
    /// A view's memory.
    Binary(&'static [u8]),
}

impl Session {
    /// Takes an established session onto the loop and watches its socket.
    pub(crate) fn open(
        environment: &Environment,
        config: Arc<Config>,
        established: Established,
    ) -> Result<Rc<Session>> {
        let full = || Error::new(Kind::Usage, "too many connections in one environment");
        if environment.sessions.borrow().is_full() {
            return Err(full());
        }
        let Established {
            socket, wire, address, ..
        } = established;
        let fd = match &socket {
            Socket::Tcp(socket) => socket.as_raw_fd(),
            Socket::Unix(socket) => socket.as_raw_fd(),
        };
        let watch = Watch::new(environment, fd)?;
        let make = |id| {
            Rc::new(Session {
                id,
                environment,
                config,
                address,
                fd,
                socket: RefCell::new(Some(socket)),
                watch,
                state: Cell::new(State::Open),
                watched: Cell::new(0),
                paused: Cell::new(false),
                raw: Cell::new(false),
                backlog: Cell::new(false),
                draining: Cell::new(false),
                corked: Cell::new(false),
                write_error: RefCell::new(None),
                failure: RefCell::new(None),
                inner: RefCell::new(Inner {
                    wire,
                    batch: Batch::default(),
                    taken: Taken::default(),
                    shape: None,
                    flags: VecDeque::new(),
                }),
            })
        };
        let id = environment.sessions.borrow_mut().insert_with(make);
        let session = id.and_then(|id| environment.sessions.borrow().get(id).cloned());
        let session = session.ok_or_else(full)?;
        if let Err(error) = session.watch.start(&session) {
            session.shut(None);
            return Err(error.into());
        }
        session.watch();
        Ok(session)
    }

    pub(crate) fn environment(&self) -> &Environment {
        // SAFETY: the environment outlives every session: it is freed after the last handle's close callback, and a
        // session that is closed does not use it any more.
        unsafe { &*self.environment }
    }

    // ---- requests

    /// Query: one or many statements.
    pub(crate) fn query(self: &Rc<Self>, sql: &str, flags: i32) -> Result<()> {
        self.request(flags, |wire| wire.query(sql))
    }

    /// A request made of any call of the wire machine that expects one Ready. Ignored on a session that is closing: its
    /// CLOSED record answers everything.
    pub(crate) fn request(self: &Rc<Self>, flags: i32, send: impl FnOnce(&mut Wire) -> Result<()>) -> Result<()> {
        if self.state.get() != State::Open {
            return Ok(());
        }
        let was_idle = {
            let inner = &mut *self.inner.borrow_mut();
            let was_idle = inner.wire.in_flight() == 0;
            send(&mut inner.wire)?;
            inner.flags.push_back(flags as u8);
            was_idle
        };
        self.submit(was_idle);
        Ok(())
    }

    /// Lets known texts go out under names of our own.
    pub(crate) fn prepare_by_itself(&self, policy: Policy) {
        self.inner.borrow_mut().wire.prepare_by_itself(policy);
    }

    /// Hands the connection over to JavaScript; false when it is busy or ended.
    pub(crate) fn begin_raw(&self) -> bool {
        let may = self.state.get() == State::Open && self.inner.borrow().wire.begin_raw().is_ok();
        self.raw.set(may);
        may
    }

    /// Sends bytes as they are. False: the socket is full, and a DRAINED record comes.
    pub(crate) fn write_raw(self: &Rc<Self>, bytes: &[u8]) -> bool {
        if self.state.get() != State::Open || !self.raw.get() {
            return true;
        }
        let enough = {
            let wire = &mut self.inner.borrow_mut().wire;
            if wire.write_raw(bytes).is_err() {
                return true;
            }
            wire.output().len() >= RAW_BLOCK
        };
        if enough && !self.backlog.get() {
            self.write();
        } else {
            self.submit(false);
        }
        let full = self.backlog.get();
        self.draining.set(full);
        !full
    }

    /// Sends what waits for the end of the wake-up, because something else must not overtake it.
    pub(crate) fn flush(&self) {
        if self.corked.get() {
            self.write();
        }
    }

    /// Takes the connection back after a ReadyForQuery of `status`, with what came behind it.
    pub(crate) fn end_raw(&self, unread: &[u8], status: TransactionStatus) {
        if self.raw.replace(false) {
            self.inner.borrow_mut().wire.end_raw(unread, status);
        }
    }

    /// Terminate, flush, close.
    pub(crate) fn end(self: &Rc<Self>) {
        if self.state.get() != State::Open {
            return;
        }
        self.state.set(State::Ending);
        let idle = {
            let wire = &mut self.inner.borrow_mut().wire;
            let idle = wire.in_flight() == 0;
            wire.terminate();
            idle
        };
        self.paused.set(false);
        if idle {
            self.watch.linger(self);
        }
        self.submit(true);
    }

    /// Sends at once when nothing is in flight; else with whatever else comes until the wake-up or the loop's turn ends.
    fn submit(self: &Rc<Self>, at_once: bool) {
        if self.backlog.get() || self.corked.get() {
            return;
        }
        if at_once && !self.environment().is_waking() {
            self.write();
        } else {
            self.corked.set(true);
            self.environment().cork(Rc::clone(self));
        }
    }

    /// The end of [`Session::submit`]'s wait.
    pub(crate) fn uncork(&self) {
        self.corked.set(false);
        self.write();
    }

    // ---- socket

    /// Writes until the output is empty or the socket is full. Calls no JavaScript.
    fn write(&self) {
        if self.state.get() == State::Closed {
            return;
        }
        let inner = &mut *self.inner.borrow_mut();
        let broken = self.write_error.borrow().is_some();
        let mut backlog = false;
        loop {
            let output = inner.wire.output();
            if output.is_empty() {
                break;
            }
            if broken {
                let lost = output.len();
                inner.wire.sent(lost);
                continue;
            }
            match socket::send(self.fd, output) {
                Ok(n) => inner.wire.sent(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    backlog = true;
                    break;
                }
                Err(error) => {
                    let lost = output.len();
                    inner.wire.sent(lost);
                    self.write_error.replace(Some(io_error("write", None, error)));
                    self.paused.set(false);
                    break;
                }
            }
        }
        self.backlog.set(backlog);
        if !backlog && self.state.get() == State::Ending {
            // The server sees the end after Terminate; its own end closes the session.
            socket::shutdown_write(self.fd);
        }
        self.watch();
    }

    /// Watches what is wanted now.
    fn watch(&self) {
        if self.state.get() == State::Closed {
            return;
        }
        let mut wanted = 0;
        if !self.paused.get() {
            wanted |= uv::UV_READABLE;
        }
        // A socket that was emptied by another way than its own wake-up is writable at once, and says so.
        if self.backlog.get() || self.draining.get() {
            wanted |= uv::UV_WRITABLE;
        }
        if wanted == self.watched.replace(wanted) {
            return;
        }
        self.watch.want(wanted);
    }

    /// Reads what there is (bounded, unless the socket reported an error and this is the last chance), handing records
    /// over on the way.
    fn read(&self, wake: &Wake<'_>, last: bool) {
        let mut records = Records::new(wake, self.id);
        let mut left = READ_MAX;
        let end = loop {
            let (room, read) = {
                let inner = &mut *self.inner.borrow_mut();
                let spare = inner.wire.spare();
                let room = spare.len();
                let read = socket::receive(self.fd, spare);
                let read = match read {
                    Ok(0) => break Some(self.end_of_file()),
                    Ok(n) => inner.wire.filled(n).map(|()| n),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                    Err(error) => Err(io_error("read", None, error)),
                };
                (room, read)
            };
            match read {
                Err(error) => {
                    // What came before is still told; an error of its own says less than this one.
                    let _ = self.deliver(wake, &mut records);
                    break Some(Some(error));
                }
                Ok(n) => {
                    if let Err(error) = self.deliver(wake, &mut records) {
                        break Some(Some(error));
                    }
                    left = left.saturating_sub(n);
                    let drained = (n < room || self.paused.get()) && !last;
                    if self.state.get() == State::Closed || drained || (left == 0 && !last) {
                        break None;
                    }
                }
            }
        };
        self.deliver_rest(&mut records);
        match end {
            Some(error) => self.shut(error.filter(|error| !(self.state.get() == State::Ending && error.is_closed()))),
            None => self.answer(),
        }
    }

    /// Sends what the wire machine says by itself (CopyFail, TLS's own messages).
    fn answer(&self) {
        if self.state.get() == State::Closed || self.corked.get() || self.backlog.get() {
            return;
        }
        let waits = !self.inner.borrow_mut().wire.output().is_empty();
        if waits {
            self.write();
        }
    }

    /// What an end of file means: nothing when it was asked for.
    fn end_of_file(&self) -> Option<Error> {
        if self.state.get() == State::Ending {
            return None;
        }
        let error = self.write_error.borrow_mut().take();
        Some(error.unwrap_or_else(|| Error::new(Kind::Closed, "Connection terminated unexpectedly")))
    }

    // ---- events

    /// Takes every event there is and writes its record; hands the records over whenever they are full. Rows stay in
    /// the batch until it is full or another event comes. `Err`: the session cannot go on.
    fn deliver(&self, wake: &Wake<'_>, records: &mut Records<'_>) -> Result<()> {
        let mut held: Option<Event> = None;
        loop {
            if self.state.get() == State::Closed {
                return Ok(());
            }
            if self.raw.get() {
                match self.deliver_raw(wake, records)? {
                    true => continue,
                    false => return Ok(()),
                }
            }
            let mut guard = self.inner.borrow_mut();
            let inner = &mut *guard;
            let event = match held.take() {
                Some(event) => event,
                None => match inner.wire.poll_event(&mut inner.batch)? {
                    Some(event) => event,
                    None => return Ok(()),
                },
            };
            if !inner.write_rows(records) || !records.has_room() {
                held = Some(event);
                drop(guard);
                records.flush();
                continue;
            }
            let record = match event {
                Event::SinkFull => continue,
                Event::RowDescription(body) => {
                    let same = inner.shape.as_ref().filter(|shape| *shape.body == *body);
                    let known = match same {
                        Some(shape) => Some(Rc::clone(shape)),
                        None => wake.environment.shapes.borrow().get(&body),
                    };
                    let shape = match known {
                        Some(shape) => shape,
                        None => {
                            drop(guard);
                            records.flush();
                            let shape = new_shape(wake, &body)?;
                            if self.state.get() == State::Closed {
                                return Ok(());
                            }
                            guard = self.inner.borrow_mut();
                            shape
                        }
                    };
                    let id = shape.id;
                    guard.start(shape);
                    Record::Shape(id)
                }
                Event::CommandComplete(tag) => Record::Complete(tag),
                Event::EmptyQuery => Record::Empty,
                Event::Error(error) => Record::Error(error),
                Event::Repeat(_) => Record::Repeat,
                Event::Ready(status) => {
                    inner.flags.pop_front();
                    inner
                        .wire
                        .finished(wake.environment.now(), &mut wake.environment.texts.borrow_mut());
                    Record::Ready(status)
                }
                Event::Notice(notice) => Record::Notice(notice),
                Event::Notification { pid, channel, payload } => Record::Notify { pid, channel, payload },
                Event::ParameterStatus { name, value } => Record::Parameter { name, value },
                Event::PortalSuspended => Record::Suspended,
                Event::NoData => Record::NoData,
                Event::CopyInRefused => Record::CopyIn,
                Event::CopyOut => Record::CopyOut,
                Event::ParseComplete => Record::Parsed,
                Event::PasswordRequested(_) => return Err(Error::protocol("the server asked for a password twice")),
                _ => continue,
            };
            records.push(record);
        }
    }

    /// Hands bytes over as they are; false when there were none.
    fn deliver_raw(&self, wake: &Wake<'_>, records: &mut Records<'_>) -> Result<bool> {
        records.flush();
        let mut guard = self.inner.borrow_mut();
        let bytes = guard.wire.take_raw()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let buffer = wake.js.buffer(bytes);
        drop(guard);
        wake.call(Hook::Raw, &[wake.js.int(self.id), buffer]);
        Ok(true)
    }

    /// The end of a wake-up: rows without their CommandComplete, and all records, go to JavaScript.
    fn deliver_rest(&self, records: &mut Records<'_>) {
        while self.state.get() != State::Closed {
            let done = self.inner.borrow_mut().write_rows(records);
            records.flush();
            if done {
                return;
            }
        }
    }

    /// What the wire machine already holds when the session arrives on the loop.
    pub(crate) fn deliver_first(&self, wake: &Wake<'_>) {
        let mut records = Records::new(wake, self.id);
        let result = self.deliver(wake, &mut records);
        self.deliver_rest(&mut records);
        match result {
            Err(error) => self.shut(Some(error)),
            Ok(()) => self.answer(),
        }
    }

    // ---- control

    pub(crate) fn hold_loop(&self, hold: bool) {
        if self.state.get() == State::Closed {
            return;
        }
        self.watch.hold(self.environment(), hold);
    }

    pub(crate) fn pause(&self, paused: bool) {
        if self.state.get() == State::Open && self.write_error.borrow().is_none() {
            self.paused.set(paused);
            self.watch();
        }
    }

    /// False when the socket shows end of file, an error or unread bytes.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state.get() == State::Open
            && self.write_error.borrow().is_none()
            && !self.inner.borrow().wire.has_unread()
            && socket::is_quiet(self.fd)
    }

    /// Whether the server owes an answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.state.get() == State::Open && (self.raw.get() || self.inner.borrow().wire.in_flight() > 0)
    }

    /// What a cancel needs: the same server and settings, and the backend's key.
    pub(crate) fn cancel_target(&self) -> (Arc<Config>, Address, Option<(i32, i32)>) {
        let key = self.inner.borrow().wire.backend_key();
        (Arc::clone(&self.config), self.address.clone(), key)
    }

    // ---- the end

    /// Closes at once. CLOSED comes from the loop, never from inside this call.
    pub(crate) fn shut(&self, failure: Option<Error>) {
        if self.state.replace(State::Closed) == State::Closed {
            return;
        }
        self.failure.replace(failure);
        self.watch.close();
        drop(self.socket.take());
    }

    // ---- what the watch says

    /// The socket is ready for some of what was wanted.
    pub(crate) fn ready(&self, wake: &Wake<'_>, events: c_int) {
        let events = events & self.watched.get();
        if events & uv::UV_WRITABLE != 0 {
            self.write();
            let drained = !self.backlog.get() && self.draining.replace(false);
            self.watch();
            if drained && self.state.get() != State::Closed {
                let mut records = Records::new(wake, self.id);
                records.push(Record::Drained);
                records.flush();
            }
        }
        if events & uv::UV_READABLE != 0 && self.state.get() != State::Closed {
            self.read(wake, false);
        }
    }

    /// The same from a watch that tells once for each wish.
    pub(crate) fn ready_once(&self, wake: &Wake<'_>, events: c_int) {
        self.ready(wake, events);
        if self.state.get() != State::Closed {
            self.watch.want(self.watched.get());
        }
    }

    /// The socket is watched no more, because of an error. The socket itself knows that, after its last bytes.
    pub(crate) fn broken(&self, wake: &Wake<'_>, error: io::Error) {
        self.watched.set(0);
        self.read(wake, true);
        self.shut(Some(io_error("poll", None, error)));
    }

    /// The watch has ended: the session's last word.
    pub(crate) fn unwatched(&self, wake: &Wake<'_>) {
        self.watch.hold(self.environment(), false);
        self.environment().sessions.borrow_mut().remove(self.id);
        let mut records = Records::new(wake, self.id);
        records.push(Record::Closed(self.failure.take()));
        records.flush();
    }
}

impl Inner {
    /// The rows of a result with this shape come next.
    fn start(&mut self, shape: Rc<Shape>) {
        let kinds = if self.all_text() {
            &shape.text_kinds
        } else {
            &shape.kinds
        };
        self.batch.start(kinds);
        self.shape = Some(shape);
        self.taken = Taken::default();
    }

    fn all_text(&self) -> bool {
        self.flags
            .front()
            .is_some_and(|flags| i32::from(*flags) & ALL_TEXT != 0)
    }

    /// Writes the batch's rows, if there are any; `false`: flush and call again.
    fn write_rows(&mut self, records: &mut Records<'_>) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let all_text = self.all_text();
        if let Some(shape) = &self.shape {
            let kinds = if all_text { &shape.text_kinds } else { &shape.kinds };
            if !records.rows(shape.id, kinds, !all_text, &self.batch.packed(), &mut self.taken) {
                return false;
            }
        }
        self.taken = Taken::default();
        self.batch.clear();
        true
    }
}

/// Shows a new shape to JavaScript. Nothing may be borrowed.
fn new_shape(wake: &Wake<'_>, body: &[u8]) -> Result<Rc<Shape>> {
    let fields = rows::fields(body)?;
    let id = wake.environment.shapes.borrow_mut().next_id();
    let js = wake.js;
    let answer = wake.call(Hook::Shape, &[js.int(id), shapes::raw_fields(js, &fields)]);
    let kinds = shapes::kinds(js, answer, fields.len());
    Ok(wake.environment.shapes.borrow_mut().insert(body, id, kinds))
}
