//! Status numbers and the error object.

use std::ffi::{CString, c_char};

use heys_core::error::{Error as CoreError, Kind};

use crate::ffi;
use crate::panic::guard;

/// What a call came to. A number never changes its meaning; later versions may add some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum Status {
    /// It worked.
    Ok = 0,
    /// A pointer that must not be NULL was NULL.
    NullArgument = 1,
    /// A string was not UTF-8.
    InvalidUtf8 = 2,
    /// A setting is missing or wrong; the message names it.
    Config = 3,
    /// The library was used in a way that it does not allow; the message says which.
    Usage = 4,
    /// The server answered with an error; heys_error_sqlstate tells which.
    Server = 5,
    /// The connection broke, or could not be made.
    Connection = 6,
    /// TLS could not be negotiated, or the certificate was not accepted.
    Tls = 7,
    /// The server refused the login.
    Auth = 8,
    /// All connections were in use, and none became free in time.
    WaitTimeout = 9,
    /// Connecting took too long.
    ConnectTimeout = 10,
    /// The query took longer than its limit, so it was cancelled on the server.
    QueryTimeout = 11,
    /// heys_backup_cancel was called.
    Cancelled = 12,
    /// The object store refused or failed.
    Store = 13,
    /// pg_dump is missing, too old, or failed.
    Dump = 14,
    /// A defect in the library. Please report it.
    Internal = 15,
}

/// What went wrong. Any thread may read it. Give it back with heys_error_free.
pub struct Error {
    status: Status,
    message: CString,
    sqlstate: CString,
    detail: Option<CString>,
    hint: Option<CString>,
}

impl Error {
    /// An error of the border itself.
    pub(crate) fn border(status: Status, message: &str) -> Error {
        Error {
            status,
            message: c_text(message),
            sqlstate: CString::default(),
            detail: None,
            hint: None,
        }
    }

    /// Its number.
    pub(crate) fn status(&self) -> Status {
        self.status
    }
}

impl From<CoreError> for Error {
    fn from(error: CoreError) -> Error {
        let server = error.server();
        Error {
            status: status_of(error.kind()),
            message: c_text(error.message()),
            sqlstate: c_text(server.map_or("", |server| server.code())),
            detail: server.and_then(|server| server.field(b'D')).map(c_text),
            hint: server.and_then(|server| server.field(b'H')).map(c_text),
        }
    }
}

fn status_of(kind: Kind) -> Status {
    match kind {
        Kind::Server => Status::Server,
        Kind::Config => Status::Config,
        Kind::Usage => Status::Usage,
        Kind::Tls => Status::Tls,
        Kind::Auth => Status::Auth,
        Kind::WaitTimeout => Status::WaitTimeout,
        Kind::ConnectTimeout => Status::ConnectTimeout,
        Kind::QueryTimeout => Status::QueryTimeout,
        Kind::Cancelled => Status::Cancelled,
        Kind::Store => Status::Store,
        Kind::Dump => Status::Dump,
        _ => Status::Connection,
    }
}

/// A C string of `text`; a NUL byte inside, which the server never sends, ends it.
pub(crate) fn c_text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// The status that the failed function returned; HEYS_STATUS_NULL_ARGUMENT for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_error_status(error: *const Error) -> Status {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { ffi::read(error) }.map_or(Status::NullArgument, Error::status)
}

/// What happened and what to do about it, in UTF-8, never NULL for an error. It holds no password. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_error_message(error: *const Error) -> *const c_char {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { ffi::read(error) }.map_or(std::ptr::null(), |error| error.message.as_ptr())
}

/// The five characters of the server's SQLSTATE, or an empty string if the error is not one of the server's. NULL for
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_error_sqlstate(error: *const Error) -> *const c_char {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { ffi::read(error) }.map_or(std::ptr::null(), |error| error.sqlstate.as_ptr())
}

/// The DETAIL of the server's error, or NULL if it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_error_detail(error: *const Error) -> *const c_char {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { ffi::read(error) }
        .and_then(|error| error.detail.as_ref())
        .map_or(std::ptr::null(), |text| text.as_ptr())
}

/// The HINT of the server's error, or NULL if it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_error_hint(error: *const Error) -> *const c_char {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { ffi::read(error) }
        .and_then(|error| error.hint.as_ref())
        .map_or(std::ptr::null(), |text| text.as_ptr())
}

/// Frees an error and the strings read from it. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn heys_error_free(error: *mut Error) {
    // SAFETY: the caller passes NULL or an error of this library that is freed only here.
    guard((), || drop(unsafe { ffi::take(error) }));
}
