//! From tokio's threads to the environment's loop: one mutex-guarded queue and one `uv_async_t`.

use std::ffi::c_int;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use heys_core::Error;
use heys_core::backup::{Progress, Report};
use heys_core::net::Established;
use tokio::sync::oneshot;

use crate::handle::Handle;
use crate::uv;

/// What an operation on tokio has to say.
pub(crate) enum Message {
    /// A connection attempt ended.
    Connected {
        request: i32,
        result: Result<Box<Established>, Error>,
    },
    /// The server wants a password that the options did not hold.
    Password {
        request: i32,
        reply: oneshot::Sender<Result<Option<String>, Error>>,
    },
    /// A cancel connection ended.
    Cancelled { request: i32, error: Option<Error> },
    /// A session's socket is ready: `uv_poll` events.
    Ready { session: i32, events: c_int },
    /// The server has not closed its side in time.
    Overdue { session: i32 },
    /// A session's socket is watched no more.
    Unwatched { session: i32 },
    /// A word of the registry to a pool: a connection's permit came, or idle connections are wanted.
    Permit { pool: i32, conn: Option<u32> },
    /// A backup goes on.
    BackupProgress { request: i32, event: Progress },
    /// A backup ended.
    BackupDone {
        request: i32,
        result: Result<Box<Report>, Error>,
    },
}

/// Messages may be sent from any thread at any time; those for an environment that is gone are dropped.
pub(crate) struct Queue(Mutex<State>);

struct State {
    wake: Option<Waker>,
    messages: Vec<Message>,
}

/// The environment's `uv_async_t`.
struct Waker(Handle);

// SAFETY: the only use of the handle away from its loop's thread is `uv_async_send`, which libuv allows from any thread
// as long as the handle is not closed; the mutex around it and `Queue::close` see to that.
unsafe impl Send for Waker {}

impl Queue {
    /// A queue whose messages wait until [`Queue::open`].
    pub(crate) fn new() -> Queue {
        Queue(Mutex::new(State {
            wake: None,
            messages: Vec::new(),
        }))
    }

    /// From here on `handle` (an initialized `uv_async_t`) is woken. Call [`Queue::close`] before it is closed.
    pub(crate) fn open(&self, handle: Handle) {
        self.lock().wake = Some(Waker(handle));
    }

    /// Nothing is woken any more; messages are dropped.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.wake = None;
        let messages = mem::take(&mut state.messages);
        drop(state);
        drop(messages);
    }

    /// Hands a message over and wakes the loop.
    pub(crate) fn send(&self, message: Message) {
        let mut state = self.lock();
        let State { wake, messages } = &mut *state;
        let Some(Waker(handle)) = wake else {
            drop(state);
            return drop(message);
        };
        messages.push(message);
        // SAFETY: the handle is open: `close` takes it out under this very lock before `uv_close` is called.
        unsafe { uv::uv_async_send(handle.as_ptr()) };
    }

    /// Wakes the loop without a message.
    pub(crate) fn nudge(&self) {
        if let Some(Waker(handle)) = &self.lock().wake {
            // SAFETY: as in `send`.
            unsafe { uv::uv_async_send(handle.as_ptr()) };
        }
    }

    /// Everything sent so far.
    pub(crate) fn take(&self) -> Vec<Message> {
        mem::take(&mut self.lock().messages)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while the lock was held cannot leave the two fields in disorder.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the end of an operation, also when its task is aborted or panics.
pub(crate) struct Answer {
    queue: Arc<Queue>,
    /// What a task that never came to its end has to say.
    message: Option<Message>,
}

impl Answer {
    /// `otherwise` is sent when the answer is dropped without [`Answer::send`].
    pub(crate) fn new(queue: Arc<Queue>, otherwise: Message) -> Answer {
        Answer {
            queue,
            message: Some(otherwise),
        }
    }

    pub(crate) fn send(mut self, message: Message) {
        self.message = None;
        self.queue.send(message);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            self.queue.send(message);
        }
    }
}
