//! Results: rows with values by length, NULL told from empty.

use std::ffi::{CString, c_char};

use heys_core::net::QueryResult as CoreResult;

use crate::error::c_text;
use crate::ffi;
use crate::panic::guard;

/// What a query gave. Any number of threads may read it at once. Give it back with heys_result_free.
pub struct QueryResult {
    inner: CoreResult,
    columns: Vec<CString>,
    command: CString,
}

impl QueryResult {
    /// Prepares the C strings once.
    pub(crate) fn new(inner: CoreResult) -> QueryResult {
        let columns = inner.fields().iter().map(|field| c_text(&field.name)).collect();
        let command = c_text(inner.tag());
        QueryResult {
            inner,
            columns,
            command,
        }
    }
}

/// The number of rows; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_result_rows(result: *const QueryResult) -> usize {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { ffi::read(result) }.map_or(0, |result| result.inner.len())
}

/// The number of columns; 0 for NULL and for a statement that returns no rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_result_columns(result: *const QueryResult) -> usize {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { ffi::read(result) }.map_or(0, |result| result.columns.len())
}

/// The name of a column, counted from 0; NULL for a column that is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_result_column_name(result: *const QueryResult, column: usize) -> *const c_char {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { ffi::read(result) }
        .and_then(|result| result.columns.get(column))
        .map_or(std::ptr::null(), |name| name.as_ptr())
}

/// The OID of a column's type (pg_type.oid); 0 for a column that is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_result_column_type(result: *const QueryResult, column: usize) -> u32 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { ffi::read(result) }
        .and_then(|result| result.inner.fields().get(column))
        .map_or(0, |field| field.type_oid)
}

/// A value in PostgreSQL's text format; its length in bytes is written to `*length` unless `length` is NULL. The bytes
/// have no NUL at the end. NULL means SQL NULL, or a row or column that is not there; an empty value is not NULL and has
/// length 0. Rows and columns are counted from 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_result_value(
    result: *const QueryResult,
    row: usize,
    column: usize,
    length: *mut usize,
) -> *const c_char {
    // SAFETY: the caller passes NULL or a live result.
    let value = unsafe { ffi::read(result) }.and_then(|result| result.inner.value(row, column));
    // SAFETY: `length` is NULL or writable by promise.
    unsafe { ffi::write(length, value.map_or(0, <[u8]>::len)) };
    value.map_or(std::ptr::null(), |bytes| bytes.as_ptr().cast())
}

/// Whether a value is SQL NULL; true also for a row or column that is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_result_is_null(result: *const QueryResult, row: usize, column: usize) -> bool {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { ffi::read(result) }
        .and_then(|result| result.inner.value(row, column))
        .is_none()
}

/// The command tag of the last statement ("SELECT 3", "CREATE TABLE"). NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_result_command(result: *const QueryResult) -> *const c_char {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { ffi::read(result) }.map_or(std::ptr::null(), |result| result.command.as_ptr())
}

/// How many rows the last statement returned or changed; -1 if its command tag has no number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_result_row_count(result: *const QueryResult) -> i64 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { ffi::read(result) }
        .and_then(|result| result.inner.rows_affected())
        .map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX))
}

/// Frees a result and the strings and values read from it. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_result_free(result: *mut QueryResult) {
    // SAFETY: the caller passes NULL or a result of this library that is freed only here.
    guard((), || drop(unsafe { ffi::take(result) }));
}
