//! A checked-out connection, its queries and their cancellation.

use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use heys_core::net;
use heys_core::proto::Param;

use crate::error::{Error, Status};
use crate::ffi;
use crate::panic::guard;
use crate::result::QueryResult;
use crate::runtime::{block_on, runtime};

/// A connection that was taken out of a pool, for one thread at a time. Give it back with heys_client_release.
pub struct Client {
    inner: Mutex<net::PooledClient>,
    cancel: net::CancelHandle,
    /// False once released: a cancel would hit a stranger's query. Cancels hold it while they are under way, and a query
    /// begins only when those that were meant for the one before have ended.
    held: Arc<RwLock<bool>>,
}

/// Cancels the queries of one client. Any number of threads may use it at once, also after the client was released. Give
/// it back with heys_cancel_free.
pub struct Cancel {
    inner: net::CancelHandle,
    held: Arc<RwLock<bool>>,
}

/// A parameter. SQL NULL has `data` NULL; an empty value has `length` 0 and any other `data`.
#[repr(C)]
pub struct Value {
    /// The bytes; no NUL at the end is needed. NULL for SQL NULL.
    data: *const c_char,
    /// How many bytes there are.
    length: usize,
    /// Whether the bytes are in the binary format of the parameter's type (those of a bytea as they are) and not in its
    /// text format.
    binary: bool,
}

impl Client {
    /// Wraps a checked-out client.
    pub(crate) fn new(inner: net::PooledClient) -> Client {
        Client {
            cancel: inner.cancel_handle(),
            inner: Mutex::new(inner),
            held: Arc::new(RwLock::new(true)),
        }
    }
}

/// The parameters as core takes them.
pub(crate) fn values(values: &[Value]) -> Result<Vec<Param<'_>>, Error> {
    values
        .iter()
        .map(|value| {
            if value.data.is_null() {
                return Ok(Param::Null);
            }
            // SAFETY: the caller promises `length` bytes at `data` for the duration of the call.
            let bytes = unsafe { ffi::slice(value.data.cast::<u8>(), value.length, "values") }?;
            Ok(if value.binary {
                Param::Binary(bytes)
            } else {
                Param::Text(bytes)
            })
        })
        .collect()
}

/// Without parameters the simple protocol, which takes several statements; its last result is the result.
pub(crate) async fn run(
    client: &mut net::Client,
    sql: &str,
    values: &[Param<'_>],
) -> heys_core::Result<net::QueryResult> {
    if values.is_empty() {
        Ok(client.simple_query(sql).await?.pop().unwrap_or_default())
    } else {
        client.query(sql, values).await
    }
}

/// Runs a query and waits for its end. `values` has `count` parameters, which `sql` calls $1, $2 and so on; it may be NULL
/// if `count` is 0. Without parameters `sql` may hold several statements, and the result is that of the last one. Free
/// the result with heys_result_free.
///
/// The query timeout of the pool holds. After an error of the server the client can be used as before. COPY FROM STDIN
/// copies nothing and fails with HEYS_STATUS_USAGE, and the rows of COPY TO STDOUT are dropped; the client can be used as
/// before after both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_client_query(
    client: *const Client,
    sql: *const c_char,
    values: *const Value,
    count: usize,
    out: *mut *mut QueryResult,
    error: *mut *mut Error,
) -> Status {
    // SAFETY: as heys_client_query_timeout.
    unsafe { heys_client_query_timeout(client, sql, values, count, 0, out, error) }
}

/// As heys_client_query, with a timeout for this query alone in milliseconds; 0 takes the pool's. A query that takes
/// longer is cancelled on the server, and the call returns HEYS_STATUS_QUERY_TIMEOUT when the server has ended it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_client_query_timeout(
    client: *const Client,
    sql: *const c_char,
    values: *const Value,
    count: usize,
    timeout_ms: u32,
    out: *mut *mut QueryResult,
    error: *mut *mut Error,
) -> Status {
    // SAFETY: the client is live or NULL, the strings and arrays as the header's rules say.
    unsafe {
        ffi::entry(out, error, || {
            let client = ffi::required(client, "client")?;
            let sql = ffi::text(sql, "sql")?.ok_or_else(|| ffi::null("sql"))?;
            let values = self::values(ffi::slice(values, count, "values")?)?;
            let timeout = (timeout_ms > 0).then(|| Duration::from_millis(u64::from(timeout_ms)));
            let mut inner = match client.inner.try_lock() {
                Ok(inner) => inner,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::border(
                        Status::Usage,
                        "another thread is using this client; take one client a thread",
                    ));
                }
            };
            // A cancel that is under way was meant for the query before.
            drop(client.held.write().unwrap_or_else(PoisonError::into_inner));
            let usual = inner.query_timeout();
            if timeout.is_some() {
                inner.set_query_timeout(timeout);
            }
            let result = block_on(run(&mut inner, sql, &values));
            inner.set_query_timeout(usual);
            Ok(ffi::give(QueryResult::new(result??)))
        })
    }
}

/// Makes an object with which other threads can cancel the queries of this client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_client_cancel(
    client: *const Client,
    out: *mut *mut Cancel,
    error: *mut *mut Error,
) -> Status {
    // SAFETY: the client is live or NULL, `out` and `error` are writable or NULL.
    unsafe {
        ffi::entry(out, error, || {
            let client = ffi::required(client, "client")?;
            Ok(ffi::give(Cancel {
                inner: client.cancel.clone(),
                held: Arc::clone(&client.held),
            }))
        })
    }
}

/// Asks the server to cancel the query that the client is running. The call that runs it then returns
/// HEYS_STATUS_SERVER with SQLSTATE 57014, unless the query ended first. Nothing happens if no query is running or the
/// client was released. Returns when the server has taken the request; a query that the client starts meanwhile waits for
/// that, so it cannot be hit in place of the one before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_cancel_send(cancel: *const Cancel, error: *mut *mut Error) -> Status {
    let mut done = ();
    // SAFETY: the handle is live or NULL, `error` is writable or NULL.
    unsafe {
        ffi::entry(&raw mut done, error, || {
            let cancel = ffi::required(cancel, "cancel")?;
            let held = cancel.held.read().unwrap_or_else(PoisonError::into_inner);
            if *held {
                block_on(cancel.inner.cancel())??;
            }
            Ok(())
        })
    }
}

/// Frees the object; its client is not touched. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_cancel_free(cancel: *mut Cancel) {
    // SAFETY: the caller passes NULL or a handle of this library that is freed only here.
    guard((), || drop(unsafe { ffi::take(cancel) }));
}

/// Gives the connection back to its pool and frees the client. NULL is allowed. An open transaction is rolled back, and
/// a broken connection replaced. Results and errors of the client stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_client_release(client: *mut Client) {
    guard((), || {
        // SAFETY: the caller passes NULL or a client of this library that is released only here.
        let (Some(client), Ok(runtime)) = (unsafe { ffi::take(client) }, runtime()) else {
            return;
        };
        *client.held.write().unwrap_or_else(PoisonError::into_inner) = false;
        let _enter = runtime.enter();
        drop(client);
    });
}
