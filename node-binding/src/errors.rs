//! Errors of core → the border's RawError objects.

use std::ffi::CStr;
use std::io;

use heys_core::Error;
use heys_core::error::Kind;
use heys_core::proto::ServerError;

use crate::raw::{Js, Value};
use crate::uv;

/// The RawError of an error.
pub(crate) fn raw_error(js: Js, error: &Error) -> Value {
    if let Some(server) = error.server() {
        return server_error(js, server);
    }
    let object = js.object();
    js.set(object, c"kind", js.string(kind_name(error.kind())));
    js.set(object, c"message", js.string(error.message()));
    let errno = error.io().and_then(io::Error::raw_os_error);
    if let Some(code) = error.code().or_else(|| errno.and_then(errno_name)) {
        js.set(object, c"code", js.string(code));
    }
    if let Some(errno) = errno {
        // Node's errno is negative, as libuv's.
        js.set(object, c"errno", js.int(-errno));
    }
    if let Some(place) = error.place() {
        let texts = [
            (c"syscall", place.syscall),
            (c"address", place.address.as_deref()),
            (c"hostname", place.hostname.as_deref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                js.set(object, name, js.string(text));
            }
        }
        if let Some(port) = place.port {
            js.set(object, c"port", js.int(port.into()));
        }
    }
    object
}

/// The RawError of an error whose message must arrive as it is: JavaScript has words of its own for some kinds.
pub(crate) fn told_error(js: Js, error: &Error) -> Value {
    let own_words = match error.server() {
        Some(server) => server.message() == error.message(),
        None => !matches!(error.kind(), Kind::ConnectTimeout | Kind::Closed),
    };
    if own_words {
        return raw_error(js, error);
    }
    let object = js.object();
    js.set(object, c"kind", js.string("io"));
    js.set(object, c"message", js.string(error.message()));
    if let Some(code) = error.code() {
        js.set(object, c"code", js.string(code));
    }
    object
}

/// The RawError of an ErrorResponse or NoticeResponse.
pub(crate) fn server_error(js: Js, error: &ServerError) -> Value {
    let object = js.object();
    js.set(object, c"kind", js.string("server"));
    js.set(object, c"message", js.string(error.message()));
    js.set(object, c"code", js.string(error.code()));
    let fields: Vec<Value> = error
        .fields()
        .map(|(letter, text)| js.array(&[js.latin1(&[letter]), js.string(text)]))
        .collect();
    js.set(object, c"fields", js.array(&fields));
    js.set(object, c"length", js.number(f64::from(error.length())));
    object
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Server => "server",
        Kind::Io | Kind::QueryTimeout | Kind::WaitTimeout | Kind::Store | Kind::Dump => "io",
        Kind::Dns => "dns",
        Kind::Tls => "tls",
        Kind::Auth => "auth",
        Kind::Config | Kind::Usage => "config",
        Kind::Closed => "closed",
        Kind::ConnectTimeout => "connectTimeout",
        Kind::Cancelled => "cancelled",
        _ => "protocol",
    }
}

/// `ECONNRESET` for 104.
fn errno_name(errno: i32) -> Option<&'static str> {
    if errno <= 0 {
        return None;
    }
    // SAFETY: for every code that the system can give, libuv returns a NUL-terminated literal. (For unknown codes it
    // would allocate; errno values come from the system.)
    let name = unsafe { CStr::from_ptr(uv::uv_err_name(-errno)) };
    name.to_str().ok()
}
