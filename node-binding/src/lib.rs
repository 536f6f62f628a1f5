//! heys-db's Node addon: drives PostgreSQL sessions on Node's own loop.
//!
//! The border to JavaScript is `js/native.d.ts`. A query takes no other thread: its bytes go to the socket from the
//! call itself, `uv_poll` tells of the answer, and what came is handed over in batches (`records`). Connecting and
//! cancels run on tokio (`runtime`) and report through one queue for each environment (`queue`).
//!
//! `unsafe` lives in few places: `raw` (N-API), `uv` and `handle` (libuv), `socket` (system calls), and the
//! callbacks of `env`, `session` and `exports`, which turn libuv's and N-API's pointers into references.

mod backup;
mod clock;
mod commands;
mod connect;
mod env;
mod environment;
mod errors;
mod exports;
mod handle;
mod options;
mod pool;
mod queue;
mod raw;
mod records;
mod requests;
mod runtime;
mod session;
mod shapes;
mod slab;
mod socket;
#[allow(non_camel_case_types)]
mod uv;
mod watch;

use napi::JsValue;
use napi::bindgen_prelude::Object;

/// Called once for each environment that loads the addon.
#[napi_derive::napi(module_exports)]
pub fn register(exports: Object<'_>, env: napi::Env) -> napi::Result<()> {
    // SAFETY: on the environment's thread, inside the handle scope of the module's registration.
    let (js, exports) = unsafe { (raw::Js::new(env.raw()), raw::Value::from_raw(exports.raw())) };
    let environment = env::Environment::register(js)
        .ok_or_else(|| napi::Error::from_reason("heys-db could not prepare this environment"))?;
    exports::define(js, exports, environment);
    Ok(())
}
