//! The part of libuv that the addon uses, as declared in `uv.h` of libuv 1.x. Node exports these symbols; the addon
//! resolves them against the running binary.
//!
//! All functions but [`uv_async_send`] must be called on the loop's own thread. A handle's memory must stay where it is
//! until the callback of [`uv_close`] has run.

use std::ffi::{c_char, c_int, c_void};

pub(crate) use napi_sys::uv_loop_s as uv_loop_t;

/// Any handle. Only its first field is public by libuv's own contract (`UV_HANDLE_FIELDS`: `void* data` comes first).
#[repr(C)]
pub(crate) struct uv_handle_t {
    pub(crate) data: *mut c_void,
    _opaque: [u8; 0],
}

/// `uv_handle_type`: positions in `UV_HANDLE_TYPE_MAP`, stable within libuv 1.x.
pub(crate) const UV_ASYNC: c_int = 1;
pub(crate) const UV_POLL: c_int = 8;
pub(crate) const UV_PREPARE: c_int = 9;
pub(crate) const UV_TIMER: c_int = 13;

/// `uv_poll_event`.
pub(crate) const UV_READABLE: c_int = 1;
pub(crate) const UV_WRITABLE: c_int = 2;

pub(crate) type CloseCallback = unsafe extern "C" fn(*mut uv_handle_t);
pub(crate) type HandleCallback = unsafe extern "C" fn(*mut uv_handle_t);
pub(crate) type PollCallback = unsafe extern "C" fn(*mut uv_handle_t, status: c_int, events: c_int);

unsafe extern "C" {
    pub(crate) fn uv_handle_size(kind: c_int) -> usize;
    pub(crate) fn uv_close(handle: *mut uv_handle_t, callback: Option<CloseCallback>);
    pub(crate) fn uv_ref(handle: *mut uv_handle_t);
    pub(crate) fn uv_unref(handle: *mut uv_handle_t);

    pub(crate) fn uv_poll_init(uv_loop: *mut uv_loop_t, handle: *mut uv_handle_t, fd: c_int) -> c_int;
    pub(crate) fn uv_poll_start(handle: *mut uv_handle_t, events: c_int, callback: PollCallback) -> c_int;
    pub(crate) fn uv_poll_stop(handle: *mut uv_handle_t) -> c_int;

    pub(crate) fn uv_async_init(uv_loop: *mut uv_loop_t, handle: *mut uv_handle_t, callback: HandleCallback) -> c_int;
    pub(crate) fn uv_async_send(handle: *mut uv_handle_t) -> c_int;

    pub(crate) fn uv_prepare_init(uv_loop: *mut uv_loop_t, handle: *mut uv_handle_t) -> c_int;
    pub(crate) fn uv_prepare_start(handle: *mut uv_handle_t, callback: HandleCallback) -> c_int;
    pub(crate) fn uv_prepare_stop(handle: *mut uv_handle_t) -> c_int;

    pub(crate) fn uv_timer_init(uv_loop: *mut uv_loop_t, handle: *mut uv_handle_t) -> c_int;
    pub(crate) fn uv_timer_start(
        handle: *mut uv_handle_t,
        callback: HandleCallback,
        timeout_millis: u64,
        repeat_millis: u64,
    ) -> c_int;

    /// The name of an error code (`ECONNRESET` for `-ECONNRESET`); static memory for every code of the system.
    pub(crate) fn uv_err_name(code: c_int) -> *const c_char;
}
