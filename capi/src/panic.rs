//! A panic never crosses into C.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; a panic becomes `on_panic`.
pub(crate) fn guard<T>(on_panic: T, body: impl FnOnce() -> T) -> T {
    // What a panic leaves half-done is behind opaque handles whose state lives in core, which holds no lock across I/O.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(on_panic)
}
