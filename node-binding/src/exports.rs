//! The functions that JavaScript calls, one for each method of the border's `Native`.

use std::ffi::CStr;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use heys_core::Error;
use heys_core::error::Kind;
use heys_core::proto::TransactionStatus;
use heys_core::statements::Policy;
use napi_sys as sys;

use crate::connect;
use crate::env::Environment;
use crate::raw::{Callback, Js, Type, Value};
use crate::session::Session;
use crate::{backup, environment, options, pool, requests};

/// Puts every function on the addon's exports.
pub(crate) fn define(js: Js, exports: Value, environment: *const Environment) {
    for (name, callback) in TABLE {
        let function = js.function(name, *callback, environment.cast_mut().cast());
        js.set(exports, name, function);
    }
}

/// Defines native functions: arguments by position, a `Result<Value, String>` back; an error becomes a TypeError.
macro_rules! functions {
    ($($name:literal => fn $function:ident($js:ident, $environment:ident, $arguments:pat_param, $count:literal) $body:block)*) => {
        const TABLE: &[(&CStr, Callback)] = &[$(($name, $function)),*];
        $(
            unsafe extern "C" fn $function(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
                // SAFETY: Node calls with the live environment and the info of this call, inside a handle scope.
                unsafe { enter::<$count>(env, info, |$js, $environment, $arguments| $body) }
            }
        )*
    };
}

/// # Safety
/// As N-API calls a native function; its data is the environment.
unsafe fn enter<const N: usize>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    body: impl FnOnce(Js, &Environment, [Value; N]) -> Result<Value, String>,
) -> sys::napi_value {
    // SAFETY: the caller's.
    let js = unsafe { Js::new(env) };
    let (arguments, data) = js.arguments::<N>(info);
    // SAFETY: `define` gave this address; the environment outlives the last call from JavaScript.
    let environment = unsafe { &*data.cast::<Environment>() };
    let result = catch_unwind(AssertUnwindSafe(|| body(js, environment, arguments)));
    match result {
        Ok(Ok(value)) => value.raw(),
        Ok(Err(message)) => {
            js.throw_type_error(&message);
            Value::none().raw()
        }
        Err(_) => {
            js.throw_type_error("internal error in heys-db");
            Value::none().raw()
        }
    }
}

fn id(js: Js, value: Value) -> i32 {
    js.get_int(value).unwrap_or(-1)
}

fn int(js: Js, number: i32) -> Result<Value, String> {
    Ok(js.int(number))
}

const DONE: fn() -> Result<Value, String> = || Ok(Value::none());

/// Works on a session; one that is gone needs nothing more.
fn with_session(
    js: Js,
    environment: &Environment,
    session: Value,
    work: impl FnOnce(&Rc<Session>),
) -> Result<Value, String> {
    let session = environment.sessions.borrow().get(id(js, session)).cloned();
    if let Some(session) = session {
        work(&session);
    }
    DONE()
}

functions! {
    c"init" => fn init(js, environment, [hooks, words, polls], 3) {
        environment.init(js, hooks, words, js.get_bool(polls).unwrap_or(true))?;
        DONE()
    }

    c"connect" => fn connect_(js, environment, [request, options], 2) {
        if environment.setup().is_none() {
            return Err("init was not called".into());
        }
        connect::start(environment, id(js, request), options::read(js, options), None);
        DONE()
    }

    c"connectOver" => fn connect_over(js, environment, [request, options], 2) {
        if environment.setup().is_none() {
            return Err("init was not called".into());
        }
        let (ours, theirs) = UnixStream::pair().map_err(|error| format!("no pair of sockets: {error}"))?;
        connect::start(environment, id(js, request), options::read(js, options), Some(ours));
        int(js, theirs.into_raw_fd())
    }

    c"password" => fn password(js, environment, [request, password, message], 3) {
        let answer = match js.get_string(message) {
            Some(message) => Err(Error::new(Kind::Auth, message)),
            None => Ok(js.get_string(password)),
        };
        connect::password(environment, id(js, request), answer);
        DONE()
    }

    c"abortConnect" => fn abort_connect(js, environment, [request], 1) {
        connect::abort(environment, id(js, request));
        DONE()
    }

    c"query" => fn query(js, environment, arguments, 3) {
        requests::query(js, environment, arguments)?;
        DONE()
    }

    c"extended" => fn extended(js, environment, arguments, 7) {
        requests::extended(js, environment, arguments)?;
        DONE()
    }

    c"text" => fn text(js, environment, arguments, 2) {
        requests::text(js, environment, arguments)?;
        DONE()
    }

    c"clearTexts" => fn clear_texts(_js, environment, _arguments, 0) {
        environment.texts.borrow_mut().clear();
        DONE()
    }

    c"known" => fn known(js, environment, arguments, 4) {
        requests::known(js, environment, arguments)?;
        DONE()
    }

    c"prepareByItself" => fn prepare_by_itself(js, environment, [session, in_transactions, behind_pooler], 3) {
        let policy = Policy {
            enabled: true,
            in_transactions: js.get_bool(in_transactions).unwrap_or(false),
            behind_pooler: js.get_bool(behind_pooler).unwrap_or(false),
        };
        with_session(js, environment, session, |session| session.prepare_by_itself(policy))
    }

    c"close" => fn close(js, environment, [session], 1) {
        with_session(js, environment, session, Session::end)
    }

    c"destroy" => fn destroy(js, environment, [session], 1) {
        with_session(js, environment, session, |session| session.shut(None))
    }

    c"ref" => fn ref_(js, environment, [session], 1) {
        with_session(js, environment, session, |session| session.hold_loop(true))
    }

    c"unref" => fn unref(js, environment, [session], 1) {
        with_session(js, environment, session, |session| session.hold_loop(false))
    }

    c"peek" => fn peek(js, environment, [session], 1) {
        let session = environment.sessions.borrow().get(id(js, session)).cloned();
        Ok(js.bool(session.is_some_and(|session| session.is_quiet())))
    }

    c"cancel" => fn cancel(js, environment, [request, session], 2) {
        let session = environment.sessions.borrow().get(id(js, session)).cloned();
        connect::cancel(environment, id(js, request), session.as_deref());
        DONE()
    }

    c"pause" => fn pause(js, environment, [session], 1) {
        with_session(js, environment, session, |session| session.pause(true))
    }

    c"resume" => fn resume(js, environment, [session], 1) {
        with_session(js, environment, session, |session| session.pause(false))
    }

    c"rawBegin" => fn raw_begin(js, environment, [session], 1) {
        let session = environment.sessions.borrow().get(id(js, session)).cloned();
        Ok(js.bool(session.is_some_and(|session| session.begin_raw())))
    }

    c"rawWrite" => fn raw_write(js, environment, [session, bytes], 2) {
        let session = environment.sessions.borrow().get(id(js, session)).cloned();
        let bytes = js.bytes(bytes).ok_or("bytes must be a Buffer")?;
        Ok(js.bool(session.is_none_or(|session| session.write_raw(bytes))))
    }

    c"rawEnd" => fn raw_end(js, environment, [session, unread, status], 3) {
        let unread = js.bytes(unread).ok_or("unread must be a Buffer")?;
        let status = match js.get_string(status).as_deref() {
            Some("I") => TransactionStatus::Idle,
            Some("T") => TransactionStatus::InTransaction,
            _ => TransactionStatus::Failed,
        };
        with_session(js, environment, session, |session| session.end_raw(unread, status))
    }

    c"poolNew" => fn pool_new(js, environment, arguments, 10) {
        int(js, pool::create(js, environment, &arguments).ok_or("too many pools")?)
    }

    c"poolAcquire" => fn pool_acquire(js, environment, [pool], 1) {
        int(js, pool::acquire(environment, id(js, pool)))
    }

    c"poolAcquireQuery" => fn pool_acquire_query(js, environment, [pool, text], 2) {
        int(js, pool::acquire_query(environment, id(js, pool), id(js, text)))
    }

    c"poolCancel" => fn pool_cancel(js, environment, [pool, waiter], 2) {
        let waiter = id(js, waiter) as u32;
        int(js, pool::change(environment, id(js, pool), |pool, now| {
            pool.cancel(now, waiter);
        }))
    }

    c"poolBind" => fn pool_bind(js, environment, [pool, conn, session], 3) {
        pool::bind(environment, id(js, pool), id(js, conn) as u32, id(js, session));
        DONE()
    }

    c"poolConnected" => fn pool_connected(js, environment, [pool, conn], 2) {
        let conn = id(js, conn) as u32;
        int(js, pool::change(environment, id(js, pool), |pool, now| pool.connected(now, conn)))
    }

    c"poolConnectFailed" => fn pool_connect_failed(js, environment, [pool, conn], 2) {
        let conn = id(js, conn) as u32;
        int(js, pool::change_end(environment, id(js, pool), conn, |pool, now| pool.connect_failed(now, conn)))
    }

    c"poolProbed" => fn pool_probed(js, environment, [pool, conn, healthy], 3) {
        let (conn, healthy) = (id(js, conn) as u32, js.get_bool(healthy).unwrap_or(false));
        int(js, pool::change(environment, id(js, pool), |pool, now| pool.probed(now, conn, healthy)))
    }

    c"poolRelease" => fn pool_release(js, environment, [pool, conn, how], 3) {
        let (conn, how) = (id(js, conn) as u32, pool::release(id(js, how)));
        int(js, pool::try_change(environment, id(js, pool), |pool, now| pool.release(now, conn, how)))
    }

    c"poolResetDone" => fn pool_reset_done(js, environment, [pool, conn, clean], 3) {
        let (conn, clean) = (id(js, conn) as u32, js.get_bool(clean).unwrap_or(false));
        int(js, pool::change(environment, id(js, pool), |pool, now| pool.reset_done(now, conn, clean)))
    }

    c"poolLost" => fn pool_lost(js, environment, [pool, conn], 2) {
        let conn = id(js, conn) as u32;
        int(js, pool::change_end(environment, id(js, pool), conn, |pool, now| pool.lost(now, conn)))
    }

    c"poolClosed" => fn pool_closed(js, environment, [pool, conn], 2) {
        let conn = id(js, conn) as u32;
        int(js, pool::change_end(environment, id(js, pool), conn, |pool, now| pool.closed(now, conn)))
    }

    c"poolTick" => fn pool_tick(js, environment, [pool], 1) {
        int(js, pool::change(environment, id(js, pool), |pool, now| pool.tick(now)))
    }

    c"poolEnd" => fn pool_end(js, environment, [pool], 1) {
        int(js, pool::try_change(environment, id(js, pool), |pool, now| pool.end(now)))
    }

    c"poolWait" => fn pool_wait(js, environment, [pool], 1) {
        int(js, pool::wait(environment, id(js, pool)))
    }

    c"poolTotal" => fn pool_total(js, environment, [pool], 1) {
        int(js, pool::count(environment, id(js, pool), |pool| pool.counts().total))
    }

    c"poolIdle" => fn pool_idle(js, environment, [pool], 1) {
        int(js, pool::count(environment, id(js, pool), |pool| pool.counts().idle))
    }

    c"poolWaiting" => fn pool_waiting(js, environment, [pool], 1) {
        int(js, pool::count(environment, id(js, pool), |pool| pool.counts().waiting))
    }

    c"poolExpired" => fn pool_expired(js, environment, [pool], 1) {
        int(js, pool::count(environment, id(js, pool), |pool| pool.counts().expired))
    }

    c"poolFree" => fn pool_free(js, environment, [pool], 1) {
        pool::free(environment, id(js, pool));
        DONE()
    }

    c"environment" => fn environment_(js, _environment, [env], 1) {
        environment::read(js, env).map_err(|error| error.to_string())
    }

    c"backup" => fn backup_(js, environment, [request, env, overrides, roots, entry_folders, millis_left, on_progress, on_done], 8) {
        if environment.setup().is_none() {
            return Err("init was not called".into());
        }
        let mut variables = environment::variables(js, env);
        backup::apply_overrides(js, overrides, &mut variables)?;
        let function = |value: Value| match js.type_of(value) {
            Type::Function => js.reference(value).ok_or("out of memory"),
            _ => Err("onProgress and onDone must be functions"),
        };
        backup::start(environment, backup::Call {
            request: id(js, request),
            variables,
            roots: js.get_string(roots).filter(|roots| !roots.is_empty()),
            entry_folders: options::strings(js, entry_folders),
            // Not finite or negative = no duration.
            time_left: js.get_number(millis_left).and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok()),
            on_progress: function(on_progress)?,
            on_done: function(on_done)?,
        })?;
        DONE()
    }

    c"backupCancel" => fn backup_cancel(js, environment, [request, why], 2) {
        backup::cancel(environment, id(js, request), js.get_string(why).unwrap_or_default());
        DONE()
    }
}
