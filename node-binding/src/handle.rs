//! A libuv handle in memory of its own.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use crate::uv::{self, uv_handle_t};

/// A handle's address. It stays valid until [`Handle::free`], which belongs into the callback of `uv_close`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(NonNull<uv_handle_t>);

impl Handle {
    /// Zeroed memory for a handle of this kind, not yet initialized; `None` when memory is short.
    pub(crate) fn allocate(kind: c_int, data: *mut c_void) -> Option<Handle> {
        // SAFETY: plain calls; libuv knows the size of its handles, and zeroed memory is what the *_init calls take.
        let memory = unsafe { libc::calloc(1, uv::uv_handle_size(kind)) };
        let handle = NonNull::new(memory.cast::<uv_handle_t>())?;
        // SAFETY: `data` is the first field of every handle, inside the memory just allocated.
        unsafe { (*handle.as_ptr()).data = data };
        Some(Handle(handle))
    }

    pub(crate) fn as_ptr(self) -> *mut uv_handle_t {
        self.0.as_ptr()
    }

    /// # Safety
    /// The handle was never initialized, or libuv has called its close callback; nobody uses it afterwards.
    pub(crate) unsafe fn free(self) {
        // SAFETY: from calloc; freed once by the caller's word.
        unsafe { libc::free(self.0.as_ptr().cast()) };
    }

    /// # Safety
    /// `handle` comes from libuv, which got it from [`Handle::allocate`].
    pub(crate) unsafe fn from_callback(handle: *mut uv_handle_t) -> Handle {
        // SAFETY: libuv passes the handle's own address, never null.
        Handle(unsafe { NonNull::new_unchecked(handle) })
    }

    /// The pointer given to [`Handle::allocate`].
    pub(crate) fn data(self) -> *mut c_void {
        // SAFETY: the memory is valid until `free`.
        unsafe { (*self.0.as_ptr()).data }
    }
}
