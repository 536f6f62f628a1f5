//! Which library this is.

use std::ffi::c_char;

/// The library's version, a static string.
#[unsafe(no_mangle)]
pub extern "C" fn heys_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
