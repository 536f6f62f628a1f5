//! How a session learns that its socket is ready: from `uv_poll` on Node's loop; from tokio where the loop has no
//! `uv_poll` and calling it ends the process (Bun 1.4, github.com/oven-sh/bun/issues/18546).

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use heys_core::error::Kind;
use heys_core::net::io_error;
use heys_core::{Error, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::env::Environment;
use crate::handle::Handle;
use crate::queue::{Answer, Message, Queue};
use crate::runtime::runtime;
use crate::session::Session;
use crate::socket;
use crate::uv::{self, uv_handle_t};

/// How long the server may take to close its side after Terminate.
const LINGER: Duration = Duration::from_secs(5);

/// Watches one socket until it is closed. Belongs to the environment's thread.
pub(crate) enum Watch {
    /// Handles of the loop.
    Loop { poll: Handle, linger: Cell<Option<Handle>> },
    /// A task on tokio, which sends messages.
    Task {
        /// The task's own descriptor, until it starts.
        fd: Cell<Option<OwnedFd>>,
        /// Gone when the watch is closed.
        wish: RefCell<Option<watch::Sender<Wish>>>,
        /// Whether the loop is kept alive.
        holds: Cell<bool>,
    },
}

/// What a session wants to be told.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wish {
    /// `UV_READABLE`, `UV_WRITABLE`, both or neither.
    events: c_int,
    overdue: Option<Instant>,
}

impl Watch {
    /// A watch that does nothing yet: [`Watch::start`] comes next.
    pub(crate) fn new(environment: &Environment, fd: RawFd) -> Result<Watch> {
        let Some(uv_loop) = environment.polling_loop() else {
            // SAFETY: the session's socket is open.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            return Ok(Watch::Task {
                fd: Cell::new(Some(fd.try_clone_to_owned()?)),
                wish: RefCell::new(None),
                holds: Cell::new(false),
            });
        };
        let out_of_memory = || Error::new(Kind::Usage, "out of memory");
        let poll = Handle::allocate(uv::UV_POLL, std::ptr::null_mut()).ok_or_else(out_of_memory)?;
        // SAFETY: on the loop's thread; the handle's memory stays until its close callback; on failure nothing was
        // registered and the memory is freed.
        let status = unsafe { uv::uv_poll_init(uv_loop, poll.as_ptr(), fd) };
        if status != 0 {
            // SAFETY: not initialized.
            unsafe { poll.free() };
            return Err(io_error("poll", None, io::Error::from_raw_os_error(-status)));
        }
        environment.handle_opened();
        let linger = Cell::new(None);
        Ok(Watch::Loop { poll, linger })
    }

    /// From here on `session`, whose watch this is, is told. It keeps the loop alive.
    pub(crate) fn start(&self, session: &Rc<Session>) -> io::Result<()> {
        match self {
            // SAFETY: the handle's own reference, given back in `on_poll_closed`.
            Watch::Loop { poll, .. } => unsafe {
                (*poll.as_ptr()).data = Rc::into_raw(Rc::clone(session)).cast_mut().cast();
            },
            Watch::Task { fd, wish, .. } => {
                let Some(fd) = fd.take() else { return Ok(()) };
                let (sender, wishes) = watch::channel(Wish::default());
                let queue = Arc::clone(&session.environment().queue);
                let session_id = session.id;
                let unwatched = Answer::new(Arc::clone(&queue), Message::Unwatched { session: session_id });
                runtime()?.spawn(async move {
                    // A descriptor that cannot be watched ends the watch, and with it the session.
                    let _ = tell(fd, wishes, &queue, session_id).await;
                    drop(unwatched);
                });
                wish.replace(Some(sender));
                self.hold(session.environment(), true);
            }
        }
        Ok(())
    }

    /// Asks to be told of these events; also again of those that were told and may have remained.
    pub(crate) fn want(&self, events: c_int) {
        match self {
            // SAFETY: an open handle, on its thread.
            Watch::Loop { poll, .. } => unsafe {
                match events {
                    0 => uv::uv_poll_stop(poll.as_ptr()),
                    _ => uv::uv_poll_start(poll.as_ptr(), events, on_poll),
                };
            },
            Watch::Task { wish, .. } => {
                if let Some(wish) = &*wish.borrow() {
                    wish.send_modify(|wish| wish.events = events);
                }
            }
        }
    }

    /// Whether the loop lives as long as the session does.
    pub(crate) fn hold(&self, environment: &Environment, hold: bool) {
        match self {
            // SAFETY: a handle whose memory is there, on its thread; on a closed one this changes nothing.
            Watch::Loop { poll, .. } => unsafe {
                if hold {
                    uv::uv_ref(poll.as_ptr());
                } else {
                    uv::uv_unref(poll.as_ptr());
                }
            },
            Watch::Task { holds, .. } => match (holds.replace(hold), hold) {
                (false, true) => environment.operation_began(),
                (true, false) => environment.operation_ended(),
                _ => {}
            },
        }
    }

    /// Bounds the wait for the server's end of file: `session` is shut then.
    pub(crate) fn linger(&self, session: &Rc<Session>) {
        match self {
            Watch::Loop { linger, .. } => start_timer(linger, session),
            Watch::Task { wish, .. } => {
                if let Some(wish) = &*wish.borrow() {
                    wish.send_modify(|wish| wish.overdue = Some(Instant::now() + LINGER));
                }
            }
        }
    }

    /// Ends the watch: [`Session::unwatched`] comes later, from the loop.
    pub(crate) fn close(&self) {
        match self {
            // SAFETY: open handles, on their thread; the callbacks free them.
            Watch::Loop { poll, linger } => unsafe {
                if let Some(linger) = linger.take() {
                    uv::uv_close(linger.as_ptr(), Some(on_linger_closed));
                }
                uv::uv_close(poll.as_ptr(), Some(on_poll_closed));
            },
            Watch::Task { wish, .. } => drop(wish.take()),
        }
    }
}

// ---- the task

/// Sends `Ready` once for each wish, `Overdue` when the time has come. Ends when nobody wishes any more.
async fn tell(fd: OwnedFd, mut wishes: watch::Receiver<Wish>, queue: &Queue, session: i32) -> io::Result<()> {
    // SAFETY: an OwnedFd names the same open descriptor until it is dropped, together with the registration.
    let socket = unsafe { AsyncFd::register(fd)? };
    loop {
        let Wish { events, overdue } = *wishes.borrow_and_update();
        let message = tokio::select! {
            biased;
            changed = wishes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
            ready = ready(&socket, events), if events != 0 => Message::Ready { session, events: ready? },
            () = tokio::time::sleep_until(overdue.unwrap_or_else(Instant::now)), if overdue.is_some() => {
                Message::Overdue { session }
            }
        };
        queue.send(message);
        // What was told is not told again before the session has seen to it.
        if wishes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Waits until some of the events are there. tokio learns of changes alone, so the socket itself is asked.
async fn ready(socket: &AsyncFd<OwnedFd>, events: c_int) -> io::Result<c_int> {
    let interest = match events {
        uv::UV_READABLE => Interest::READABLE,
        uv::UV_WRITABLE => Interest::WRITABLE,
        _ => Interest::READABLE | Interest::WRITABLE,
    };
    loop {
        let mut guard = socket.ready(interest).await?;
        match socket::ready(socket.as_raw_fd(), events)? {
            0 => guard.clear_ready(),
            ready => return Ok(ready),
        }
    }
}

// ---- the loop's callbacks

fn start_timer(linger: &Cell<Option<Handle>>, session: &Rc<Session>) {
    let (Some(uv_loop), None) = (session.environment().polling_loop(), linger.get()) else {
        return;
    };
    let data = Rc::into_raw(Rc::clone(session)).cast_mut().cast();
    let Some(timer) = Handle::allocate(uv::UV_TIMER, data) else {
        // SAFETY: the reference made for the handle.
        return drop(unsafe { Rc::from_raw(data.cast::<Session>()) });
    };
    session.environment().handle_opened();
    linger.set(Some(timer));
    // SAFETY: on the loop's thread; closed in `Watch::close`. The poll handle alone decides whether the loop lives.
    unsafe {
        uv::uv_timer_init(uv_loop, timer.as_ptr());
        uv::uv_timer_start(timer.as_ptr(), on_linger, LINGER.as_millis() as u64, 0);
        uv::uv_unref(timer.as_ptr());
    }
}

/// The session whose address libuv was given, with a reference of its own.
///
/// # Safety
/// `data` comes from `Rc::into_raw` of a session and its reference has not been given back.
unsafe fn session_of(data: *mut c_void) -> Rc<Session> {
    // SAFETY: the caller's; ManuallyDrop leaves the handle's own reference alone.
    Rc::clone(&ManuallyDrop::new(unsafe { Rc::from_raw(data.cast::<Session>()) }))
}

unsafe extern "C" fn on_poll(handle: *mut uv_handle_t, status: c_int, events: c_int) {
    // SAFETY: an open poll handle's data is a session's reference.
    let session = unsafe { session_of(Handle::from_callback(handle).data()) };
    session.environment().wake(|wake| match status {
        0.. => session.ready(wake, events),
        // POLLERR: libuv has stopped watching.
        _ => session.broken(wake, io::Error::from_raw_os_error(-status)),
    });
}

unsafe extern "C" fn on_poll_closed(handle: *mut uv_handle_t) {
    // SAFETY: the poll handle's reference to its session is given back here; the memory is ours again.
    let session = unsafe {
        let handle = Handle::from_callback(handle);
        let session = Rc::from_raw(handle.data().cast::<Session>());
        handle.free();
        session
    };
    let environment = std::ptr::from_ref(session.environment());
    // SAFETY: the environment lives until `handle_closed`, which is the last thing here.
    unsafe {
        (*environment).wake(|wake| session.unwatched(wake));
        drop(session);
        (*environment).handle_closed();
    }
}

unsafe extern "C" fn on_linger(handle: *mut uv_handle_t) {
    // SAFETY: an open timer's data is a session's reference.
    let session = unsafe { session_of(Handle::from_callback(handle).data()) };
    session.shut(None);
}

unsafe extern "C" fn on_linger_closed(handle: *mut uv_handle_t) {
    // SAFETY: the timer's reference to its session is given back here; the memory is ours again. `handle_closed` is
    // the last use of the environment.
    unsafe {
        let handle = Handle::from_callback(handle);
        let session = Rc::from_raw(handle.data().cast::<Session>());
        handle.free();
        let environment = std::ptr::from_ref(session.environment());
        drop(session);
        (*environment).handle_closed();
    }
}
