//! The pool.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use heys_core::config::{Config, PoolSettings};
use heys_core::net;

use crate::client::Client;
use crate::error::{Error, Status};
use crate::ffi;
use crate::panic::guard;
use crate::result::QueryResult;
use crate::runtime::runtime;

/// How long heys_pool_free waits for connections to close.
const END_LIMIT: Duration = Duration::from_secs(5);

/// A pool of connections. Every function of it may be called by any thread at any time. Free with heys_pool_free.
pub struct Pool {
    inner: net::Pool,
}

/// Limits of a pool; a 0 stands for the default in brackets.
#[repr(C)]
pub struct PoolOptions {
    /// Connections at most [POOL_MAX_SIZE or 3].
    max: u32,
    /// Milliseconds until an idle connection is closed [POOL_IDLE_TIMEOUT or 10000].
    idle_timeout_ms: u32,
    /// Milliseconds that heys_pool_acquire waits, connecting included [POOL_CONNECT_TIMEOUT or 5000].
    connect_timeout_ms: u32,
    /// Milliseconds that a query may take before it is cancelled on the server [POOL_QUERY_TIMEOUT or 10000].
    query_timeout_ms: u32,
}

/// A pool's numbers at one moment.
#[repr(C)]
pub struct PoolCounts {
    /// Connections, connecting ones included.
    total: usize,
    /// Of these, idle ones.
    idle: usize,
    /// Callers that wait in the queue.
    waiting: usize,
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Makes a pool; no connection is opened yet. `conninfo` is a libpq connection string (`host=… dbname=…`) or a
/// `postgresql://` URL; NULL takes everything from the environment (PG_HOST, PG_PORT, …). `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_pool_new(
    conninfo: *const c_char,
    options: *const PoolOptions,
    out: *mut *mut Pool,
    error: *mut *mut Error,
) -> Status {
    // SAFETY: `out` and `error` are writable or NULL, the strings NUL-terminated, by the header's rules.
    unsafe {
        ffi::entry(out, error, || {
            let config = match ffi::text(conninfo, "conninfo")? {
                Some(conninfo) => Config::parse(conninfo, &environment)?,
                None => Config::from_environment(&environment)?,
            };
            let mut settings = PoolSettings::from_environment(&environment)?;
            if let Some(options) = ffi::read(options) {
                options.apply(&mut settings);
            }
            let _enter = runtime()?.enter();
            Ok(ffi::give(Pool {
                inner: net::Pool::new(Arc::new(config), None, &settings),
            }))
        })
    }
}

impl PoolOptions {
    fn apply(&self, settings: &mut PoolSettings) {
        let duration = |millis: u32| Duration::from_millis(u64::from(millis));
        if self.max > 0 {
            settings.max = self.max as usize;
        }
        if self.idle_timeout_ms > 0 {
            settings.idle_timeout = Some(duration(self.idle_timeout_ms));
        }
        if self.connect_timeout_ms > 0 {
            settings.connect_timeout = Some(duration(self.connect_timeout_ms));
        }
        if self.query_timeout_ms > 0 {
            settings.query_timeout = Some(duration(self.query_timeout_ms));
        }
    }
}

/// Takes a connection, waiting and connecting as needed. Give it back with heys_client_release.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_pool_acquire(pool: *const Pool, out: *mut *mut Client, error: *mut *mut Error) -> Status {
    // SAFETY: the pool is live or NULL, `out` and `error` are writable or NULL.
    unsafe {
        ffi::entry(out, error, || {
            let pool = ffi::required(pool, "pool")?;
            let client = runtime()?.block_on(pool.inner.acquire())?;
            Ok(ffi::give(Client::new(client)))
        })
    }
}

/// One query on a connection of the pool: heys_pool_acquire, heys_client_query, heys_client_release.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_pool_query(
    pool: *const Pool,
    sql: *const c_char,
    values: *const crate::client::Value,
    count: usize,
    out: *mut *mut QueryResult,
    error: *mut *mut Error,
) -> Status {
    // SAFETY: the pool is live or NULL, the strings and arrays as the header's rules say.
    unsafe {
        ffi::entry(out, error, || {
            let pool = ffi::required(pool, "pool")?;
            let sql = ffi::text(sql, "sql")?.ok_or_else(|| ffi::null("sql"))?;
            let values = crate::client::values(ffi::slice(values, count, "values")?)?;
            let runtime = runtime()?;
            let result = runtime.block_on(async {
                let mut client = pool.inner.acquire().await?;
                crate::client::run(&mut client, sql, &values).await
            })?;
            Ok(ffi::give(QueryResult::new(result)))
        })
    }
}

/// The pool's numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_pool_counts(pool: *const Pool, out: *mut PoolCounts, error: *mut *mut Error) -> Status {
    // SAFETY: the pool is live or NULL, `out` and `error` are writable or NULL.
    unsafe {
        ffi::entry(out, error, || {
            let counts = ffi::required(pool, "pool")?.inner.counts();
            Ok(PoolCounts {
                total: counts.total,
                idle: counts.idle,
                waiting: counts.waiting,
            })
        })
    }
}

/// Ends the pool and frees the handle; NULL is allowed. Idle connections are closed now, checked-out clients stay usable
/// and close at their release; they are waited for, but for at most five seconds. No other thread may be inside a call
/// with this pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_pool_free(pool: *mut Pool) {
    guard((), || {
        // SAFETY: the caller passes NULL or a pool of this library that is freed only here.
        if let (Some(pool), Ok(runtime)) = (unsafe { ffi::take(pool) }, runtime()) {
            // Not awaited for ever: a client that is still checked out closes at its release.
            let _ = runtime.block_on(async { tokio::time::timeout(END_LIMIT, pool.inner.end()).await });
        }
    });
}
