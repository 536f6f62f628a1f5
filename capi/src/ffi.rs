//! The only place where raw pointers become references and back.

use std::ffi::{CStr, c_char};

use crate::error::{Error, Status};
use crate::panic::guard;

/// A reference to a handle, or `None` for NULL.
///
/// # Safety
/// `pointer` is NULL, or points to a live `T` that nothing changes without synchronization during `'a`.
pub(crate) unsafe fn read<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: promised by the caller.
    unsafe { pointer.as_ref() }
}

/// A reference to a handle, or the error that names the argument.
///
/// # Safety
/// As for [`read`].
pub(crate) unsafe fn required<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Error> {
    // SAFETY: promised by the caller.
    unsafe { read(pointer) }.ok_or_else(|| null(name))
}

/// Takes a handle back from C; `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or came from [`give`], and is not used again.
pub(crate) unsafe fn take<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: every handle was made by Box::into_raw in `give`, and is taken once.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// Gives a handle to C.
pub(crate) fn give<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// A string from C, or `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string that stays as it is during `'a`.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>, Error> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: promised by the caller.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    bytes
        .to_str()
        .map(Some)
        .map_err(|_| Error::border(Status::InvalidUtf8, &format!("the argument {name} is not UTF-8")))
}

/// An array from C; an empty one may be NULL.
///
/// # Safety
/// `pointer` has `length` live elements during `'a`, or `length` is 0.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, length: usize, name: &str) -> Result<&'a [T], Error> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: promised by the caller.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// Writes an output.
///
/// # Safety
/// `out` is NULL or may be written.
pub(crate) unsafe fn write<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: promised by the caller.
        unsafe { out.write(value) };
    }
}

/// The error for a NULL where a pointer must be.
pub(crate) fn null(name: &str) -> Error {
    Error::border(Status::NullArgument, &format!("the argument {name} must not be NULL"))
}

/// Runs an entry's body behind the panic guard: writes `out` on success, `error` on failure.
///
/// # Safety
/// `out` may be written (NULL is answered with an error before `body` runs); `error` is NULL or may be written.
pub(crate) unsafe fn entry<T>(out: *mut T, error: *mut *mut Error, body: impl FnOnce() -> Result<T, Error>) -> Status {
    let outcome = if out.is_null() {
        Err(null("out"))
    } else {
        guard(
            Err(Error::border(
                Status::Internal,
                "a defect in libheys was caught; please report it",
            )),
            body,
        )
    };
    match outcome {
        Ok(value) => {
            // SAFETY: checked for NULL above; writable by promise.
            unsafe { write(out, value) };
            Status::Ok
        }
        Err(failure) => {
            let status = failure.status();
            if !error.is_null() {
                // SAFETY: writable by promise.
                unsafe { write(error, give(failure)) };
            }
            status
        }
    }
}
