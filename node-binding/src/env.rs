//! One environment: Node's main thread, or a worker.
//!
//! An [`Environment`] is made when the addon registers and lives until the last of its libuv handles has closed. Only its
//! own thread touches it, so its parts are cells. The rule that keeps them sound and free of panics: nothing is
//! borrowed while JavaScript runs, because JavaScript may call back into the addon.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use heys_core::statements::Texts;
use napi_sys as sys;

use crate::backup::Backups;
use crate::clock;
use crate::connect::{self, Attempts};
use crate::handle::Handle;
use crate::pool::BoundPool;
use crate::queue::Queue;
use crate::raw::{CallbackScope, Called, Context, HandleScope, Js, Reference, Value};
use crate::session::{Scratch, Session};
use crate::shapes::Shapes;
use crate::slab::Slab;
use crate::uv::{self, uv_handle_t};

/// Everything the addon keeps for one environment.
pub(crate) struct Environment {
    env: sys::napi_env,
    setup: OnceCell<Setup>,
    pub(crate) sessions: RefCell<Slab<Rc<Session>>>,
    pub(crate) pools: RefCell<Slab<BoundPool>>,
    pub(crate) shapes: RefCell<Shapes>,
    pub(crate) attempts: RefCell<Attempts>,
    pub(crate) backups: RefCell<Backups>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) texts: RefCell<Texts>,
    pub(crate) queue: Arc<Queue>,
    /// Sessions with output that waits for the end of the wake-up or for the loop's next turn.
    unsent: RefCell<Vec<Rc<Session>>>,
    /// Depth of wake-ups (the loop's calls into the addon).
    waking: Cell<u32>,
    /// The time of this wake-up, until code that is not ours runs.
    time: Cell<Option<Duration>>,
    /// Operations on tokio that will send a last message.
    pending: Cell<usize>,
    /// Handles whose close callback has not run.
    handles: Cell<usize>,
    /// Set while the environment is being torn down: JavaScript must not be called.
    cleanup: Cell<Option<sys::napi_async_cleanup_hook_handle>>,
}

/// What `init` brought.
pub(crate) struct Setup {
    this: Reference,
    functions: [Reference; Hook::COUNT],
    words_reference: Reference,
    /// The words shared with JavaScript, and how many there are.
    pub(crate) words: (*mut i32, usize),
    context: Context,
    uv_loop: *mut uv::uv_loop_t,
    /// Wakes the loop for the queue. Holds the loop only while operations are pending.
    waker: Handle,
    /// Sends what was corked outside a wake-up, before the loop sleeps. None: the loop has neither this nor polls.
    corker: Option<Handle>,
}

/// The functions of the border's `Hooks`.
#[derive(Clone, Copy)]
pub(crate) enum Hook {
    Connect,
    ConnectError,
    Password,
    Records,
    Shape,
    Cancelled,
    Pool,
    Raw,
}

impl Hook {
    const COUNT: usize = 8;
    const NAMES: [&std::ffi::CStr; Hook::COUNT] = [
        c"onConnect",
        c"onConnectError",
        c"onPassword",
        c"onRecords",
        c"onShape",
        c"onCancelled",
        c"onPool",
        c"onRaw",
    ];
}

/// A row has 1,664 columns at most (PostgreSQL's MaxTupleAttributeNumber), and each is a word.
const WORDS_MIN: usize = 4096;

impl Environment {
    /// Makes the environment's state. It frees itself when the environment goes.
    pub(crate) fn register(js: Js) -> Option<*const Environment> {
        let environment = Box::into_raw(Box::new(Environment {
            env: js.env(),
            setup: OnceCell::new(),
            sessions: RefCell::new(Slab::new()),
            pools: RefCell::new(Slab::new()),
            shapes: RefCell::default(),
            attempts: RefCell::default(),
            backups: RefCell::default(),
            scratch: RefCell::default(),
            texts: RefCell::default(),
            queue: Arc::new(Queue::new()),
            unsent: RefCell::default(),
            waking: Cell::new(0),
            time: Cell::new(None),
            pending: Cell::new(0),
            handles: Cell::new(0),
            cleanup: Cell::new(None),
        }));
        // SAFETY: the hook's argument stays valid until the hook's own chain of callbacks frees it.
        let status =
            unsafe { sys::napi_add_async_cleanup_hook(js.env(), Some(tear_down), environment.cast(), ptr::null_mut()) };
        if status != sys::Status::napi_ok {
            // SAFETY: just made, known to nobody else.
            drop(unsafe { Box::from_raw(environment) });
            return None;
        }
        Some(environment)
    }

    /// The border's `init`. `polls`: the loop has `uv_poll`, `uv_prepare` and timers, which Node's has and Bun's has not.
    pub(crate) fn init(&self, js: Js, hooks: Value, words: Value, polls: bool) -> Result<(), &'static str> {
        if self.setup.get().is_some() {
            return Err("init was called before");
        }
        let (address, count) = js
            .int32_array(words)
            .filter(|(_, count)| *count >= WORDS_MIN)
            .ok_or("words must be an Int32Array of 4096 elements or more")?;
        let mut functions = Vec::with_capacity(Hook::COUNT);
        for name in Hook::NAMES {
            let function = js.property(hooks, name);
            if js.type_of(function) != crate::raw::Type::Function {
                return Err("a hook is not a function");
            }
            functions.push(js.reference(function).ok_or("out of memory")?);
        }
        let this = js.reference(hooks).ok_or("out of memory")?;
        let words_reference = js.reference(words).ok_or("out of memory")?;
        let context = Context::new(js).ok_or("no async context")?;
        let data = ptr::from_ref(self).cast_mut().cast();
        let uv_loop = js.uv_loop();
        let waker = Handle::allocate(uv::UV_ASYNC, data).ok_or("out of memory")?;
        let corker = match polls {
            true => Some(Handle::allocate(uv::UV_PREPARE, data).ok_or("out of memory")?),
            false => None,
        };
        // SAFETY: on the loop's thread, with memory of the right size that stays until the close callback. Neither
        // handle keeps the loop alive by itself.
        unsafe {
            if uv::uv_async_init(uv_loop, waker.as_ptr(), on_messages) != 0 {
                waker.free();
                if let Some(corker) = corker {
                    corker.free();
                }
                return Err("the loop takes no more handles");
            }
            uv::uv_unref(waker.as_ptr());
            self.handle_opened();
            if let Some(corker) = corker {
                uv::uv_prepare_init(uv_loop, corker.as_ptr());
                uv::uv_unref(corker.as_ptr());
                self.handle_opened();
            }
        }
        self.queue.open(waker);
        let setup = Setup {
            this,
            functions: functions.try_into().map_err(|_| "a hook is missing")?,
            words_reference,
            words: (address, count),
            context,
            uv_loop,
            waker,
            corker,
        };
        self.setup.set(setup).map_err(|_| "init was called before")
    }

    /// What `init` brought, if it was called.
    pub(crate) fn setup(&self) -> Option<&Setup> {
        self.setup.get()
    }

    /// The words shared with JavaScript, as memory to write to. Callers keep no slice across a call to JavaScript.
    #[allow(clippy::mut_from_ref)]
    pub(crate) fn words(&self) -> &mut [i32] {
        match self.setup.get() {
            // SAFETY: `words_reference` keeps the array alive, JavaScript (the only other writer) does not run while
            // native code does, and callers hold one slice at a time.
            Some(setup) => unsafe { std::slice::from_raw_parts_mut(setup.words.0, setup.words.1) },
            None => &mut [],
        }
    }

    // ---- the loop's calls

    /// Runs `work` for a call of the loop: with a handle scope and, from the first call to JavaScript on, one callback
    /// scope. When that has closed (and with it every microtask has run), what was corked meanwhile is sent.
    pub(crate) fn wake(&self, work: impl FnOnce(&Wake<'_>)) {
        let Some(setup) = self.setup.get().filter(|_| !self.is_closing()) else {
            return;
        };
        // SAFETY: on the environment's thread; it is not being torn down.
        let handles = unsafe { HandleScope::open(self.env) };
        let wake = Wake {
            js: handles.js(),
            environment: self,
            setup,
            scope: OnceCell::new(),
        };
        self.waking.set(self.waking.get() + 1);
        self.time.set(Some(clock::now()));
        let panicked = catch_unwind(AssertUnwindSafe(|| work(&wake))).is_err();
        if panicked {
            wake.js.fatal(
                wake.js
                    .error("internal error in heys-db: please report it with the message above"),
            );
        }
        let Wake { scope, .. } = wake;
        self.time.set(None);
        drop(scope);
        self.waking.set(self.waking.get() - 1);
        if self.waking.get() == 0 {
            self.send_unsent();
        }
    }

    /// The time by [`clock::now`], read once for all that a wake-up brings.
    pub(crate) fn now(&self) -> Duration {
        self.time.get().unwrap_or_else(clock::now)
    }

    /// Whether the loop is inside a call to the addon, which ends by sending what was corked.
    pub(crate) fn is_waking(&self) -> bool {
        self.waking.get() > 0
    }

    /// Sends the session's output at the end of this wake-up, or before the loop sleeps.
    pub(crate) fn cork(&self, session: Rc<Session>) {
        self.unsent.borrow_mut().push(session);
        if !self.is_waking()
            && let Some(setup) = self.setup.get()
        {
            match setup.corker {
                // SAFETY: an open handle (closed at teardown alone), on its thread. Starting a started one does nothing.
                Some(corker) => unsafe {
                    uv::uv_prepare_start(corker.as_ptr(), on_corked);
                },
                None => self.queue.nudge(),
            }
        }
    }

    fn send_unsent(&self) {
        if self.unsent.borrow().is_empty() {
            return;
        }
        let mut sessions = self.unsent.take();
        for session in sessions.drain(..) {
            session.uncork();
        }
        // Keeps the vector's memory; sending calls no JavaScript, so nothing was added.
        self.unsent.replace(sessions);
    }

    // ---- what keeps the loop alive

    /// An operation was given to tokio: it keeps the process until [`Environment::operation_ended`].
    pub(crate) fn operation_began(&self) {
        self.pending.set(self.pending.get() + 1);
        if let (1, Some(setup)) = (self.pending.get(), self.setup.get()) {
            // SAFETY: an open handle, on its thread.
            unsafe { uv::uv_ref(setup.waker.as_ptr()) };
        }
    }

    pub(crate) fn operation_ended(&self) {
        self.pending.set(self.pending.get().saturating_sub(1));
        if let (0, Some(setup), false) = (self.pending.get(), self.setup.get(), self.is_closing()) {
            // SAFETY: an open handle, on its thread.
            unsafe { uv::uv_unref(setup.waker.as_ptr()) };
        }
    }

    // ---- handles and the end

    /// The loop, if it can watch sockets.
    pub(crate) fn polling_loop(&self) -> Option<*mut uv::uv_loop_t> {
        let setup = self.setup.get()?;
        setup.corker.map(|_| setup.uv_loop)
    }

    /// A handle was initialized: [`Environment::handle_closed`] must come from its close callback.
    pub(crate) fn handle_opened(&self) {
        self.handles.set(self.handles.get() + 1);
    }

    /// # Safety
    /// The last thing a close callback does: it may free the environment.
    pub(crate) unsafe fn handle_closed(&self) {
        self.handles.set(self.handles.get() - 1);
        // SAFETY: the caller's.
        unsafe { self.free_if_unused() };
    }

    /// Whether JavaScript must no longer be called.
    pub(crate) fn is_closing(&self) -> bool {
        self.cleanup.get().is_some()
    }

    /// # Safety
    /// Nothing of the environment is used afterwards.
    unsafe fn free_if_unused(&self) {
        let (Some(cleanup), 0) = (self.cleanup.get(), self.handles.get()) else {
            return;
        };
        // SAFETY: made by `Box::into_raw` in `register`; the last handle has closed, so libuv knows the address no
        // more; JavaScript no longer runs in this environment, so the exported functions cannot be called. The hook
        // is removed once.
        unsafe {
            drop(Box::from_raw(ptr::from_ref(self).cast_mut()));
            sys::napi_remove_async_cleanup_hook(cleanup);
        }
    }
}

/// One call of the loop.
pub(crate) struct Wake<'a> {
    pub(crate) js: Js,
    pub(crate) environment: &'a Environment,
    setup: &'a Setup,
    scope: OnceCell<Option<CallbackScope>>,
}

impl Wake<'_> {
    /// Calls a hook with nothing borrowed. What it throws becomes an `uncaughtException`, and work goes on.
    pub(crate) fn call(&self, hook: Hook, arguments: &[Value]) -> Option<Value> {
        let function = self.js.get(self.setup.functions.get(hook as usize)?);
        self.call_function(self.js.get(&self.setup.this), function, arguments)
    }

    /// The same for a function that came with a call.
    pub(crate) fn call_value(&self, function: Value, arguments: &[Value]) {
        self.call_function(self.js.undefined(), function, arguments);
    }

    fn call_function(&self, this: Value, function: Value, arguments: &[Value]) -> Option<Value> {
        self.scope
            .get_or_init(|| CallbackScope::open(self.js, &self.setup.context));
        match self.js.call(this, function, arguments) {
            Called::Returned(value) => Some(value),
            Called::Threw(error) => {
                self.js.fatal(error);
                None
            }
            Called::Refused => None,
        }
    }
}

/// The environment ends: everything is closed; the last close callback frees the state and lets Node go on.
unsafe extern "C" fn tear_down(cleanup: sys::napi_async_cleanup_hook_handle, data: *mut c_void) {
    // SAFETY: `register` gave this address; it is freed at the end of the chain that starts here.
    let environment = unsafe { &*data.cast::<Environment>() };
    environment.cleanup.set(Some(cleanup));
    environment.attempts.borrow_mut().abort_all();
    environment.backups.borrow_mut().cancel_all();
    environment.queue.close();
    environment.unsent.borrow_mut().clear();
    let sessions: Vec<Rc<Session>> = environment.sessions.borrow().iter().cloned().collect();
    for session in sessions {
        // A statement that nobody waits for any more would go on at the server.
        if session.is_busy() {
            connect::abandon(&session);
        }
        session.shut(None);
    }
    // Their permits go to other threads, now that the connections are closed.
    environment.pools.borrow_mut().clear();
    if let Some(setup) = environment.setup.get() {
        // SAFETY: the environment is alive until the cleanup hook is removed, and this is its thread. References and
        // context are not used after this: `wake` refuses from here on.
        unsafe {
            let js = Js::new(environment.env);
            for function in &setup.functions {
                js.release(function);
            }
            js.release(&setup.this);
            js.release(&setup.words_reference);
            setup.context.destroy(environment.env);
            uv::uv_close(setup.waker.as_ptr(), Some(on_own_handle_closed));
            if let Some(corker) = setup.corker {
                uv::uv_close(corker.as_ptr(), Some(on_own_handle_closed));
            }
        }
    }
    // SAFETY: the last use.
    unsafe { environment.free_if_unused() };
}

unsafe extern "C" fn on_own_handle_closed(handle: *mut uv_handle_t) {
    // SAFETY: waker or corker, whose data is the environment; closed, so its memory is ours again.
    unsafe {
        let handle = Handle::from_callback(handle);
        let environment = handle.data().cast::<Environment>();
        handle.free();
        (*environment).handle_closed();
    }
}

unsafe extern "C" fn on_messages(handle: *mut uv_handle_t) {
    // SAFETY: the waker's data is the environment, which outlives its handles.
    let environment = unsafe { &*Handle::from_callback(handle).data().cast::<Environment>() };
    environment.wake(|wake| {
        for message in environment.queue.take() {
            connect::on_message(wake, message);
        }
    });
}

unsafe extern "C" fn on_corked(handle: *mut uv_handle_t) {
    // SAFETY: the corker's data is the environment, which outlives its handles; stopping is allowed in the callback.
    let environment = unsafe {
        uv::uv_prepare_stop(handle);
        &*Handle::from_callback(handle).data().cast::<Environment>()
    };
    environment.send_unsent();
}
