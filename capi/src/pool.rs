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
use crate::runtime::{block_on, runtime};

/// How long heys_pool_free waits for connections to close.
const END_LIMIT: Duration = Duration::from_secs(5);

/// A pool of connections to one database. Any number of threads may use it at once. Give it back with heys_pool_free.
pub struct Pool {
    inner: net::Pool,
}

/// Limits of a pool. 0 stands for the default: the environment variable in brackets, or the number after it.
#[repr(C)]
pub struct PoolOptions {
    /// Connections at most [POOL_MAX_SIZE, 3].
    max: u32,
    /// Milliseconds after which an idle connection is closed [POOL_IDLE_TIMEOUT, 10000].
    idle_timeout_ms: u32,
    /// Milliseconds to wait for a connection, connecting included [POOL_CONNECT_TIMEOUT, 5000].
    connect_timeout_ms: u32,
    /// Milliseconds after which a query is cancelled on the server [POOL_QUERY_TIMEOUT, 10000].
    query_timeout_ms: u32,
}

/// The state of a pool at one moment.
#[repr(C)]
pub struct Counts {
    /// Connections, those being opened or closed included.
    total: usize,
    /// Those of them that are open and not in use.
    idle: usize,
    /// Threads that wait for a connection.
    waiting: usize,
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Makes a pool; connections are opened when they are needed. `conninfo` is a connection string as libpq takes it
/// ("host=localhost dbname=shop", or a postgresql:// URL); NULL takes host, user, password and the rest from the
/// environment (PG_HOST, PG_PORT, PG_DATABASE, PG_USER, PG_PASSWORD, PG_SSLMODE, PG_SSLROOTCERT). `options` may be NULL
/// for the defaults.
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

/// Takes a connection out of the pool, opening one or waiting for one as needed. The client is for one thread at a time;
/// give it back with heys_client_release.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_pool_acquire(pool: *const Pool, out: *mut *mut Client, error: *mut *mut Error) -> Status {
    // SAFETY: the pool is live or NULL, `out` and `error` are writable or NULL.
    unsafe {
        ffi::entry(out, error, || {
            let pool = ffi::required(pool, "pool")?;
            let client = block_on(pool.inner.acquire())??;
            Ok(ffi::give(Client::new(client)))
        })
    }
}

/// Runs a query on any connection of the pool. Arguments, result and errors are those of heys_client_query.
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
            let result = block_on(async {
                let mut client = pool.inner.acquire().await?;
                crate::client::run(&mut client, sql, &values).await
            })??;
            Ok(ffi::give(QueryResult::new(result)))
        })
    }
}

/// Counts the pool's connections and the threads that wait for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_pool_counts(pool: *const Pool, out: *mut Counts, error: *mut *mut Error) -> Status {
    // SAFETY: the pool is live or NULL, `out` and `error` are writable or NULL.
    unsafe {
        ffi::entry(out, error, || {
            let counts = ffi::required(pool, "pool")?.inner.counts();
            Ok(Counts {
                total: counts.total,
                idle: counts.idle,
                waiting: counts.waiting,
            })
        })
    }
}

/// Ends the pool, waits until its connections are closed, and frees it. NULL is allowed. A client that is still out stays
/// usable and is closed when it is released; it is waited for, but for no longer than five seconds. No other thread may
/// be using the pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_pool_free(pool: *mut Pool) {
    guard((), || {
        // SAFETY: the caller passes NULL or a pool of this library that is freed only here.
        if let Some(pool) = unsafe { ffi::take(pool) } {
            // Not awaited for ever: a client that is still checked out closes at its release.
            let _ = block_on(async { tokio::time::timeout(END_LIMIT, pool.inner.end()).await });
        }
    });
}
