//! The tokio runtime behind every handle: made at first use, kept for the process.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use heys_core::error::{Error, Kind};
use tokio::runtime::{Builder, Handle, Runtime};

/// The process's runtime. One worker thread does the sockets; calls block on it from the caller's own thread.
pub(crate) fn runtime() -> Result<&'static Runtime, Error> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("heys")
                .enable_all()
                .build()
        })
        .as_ref()
        .map_err(|cause| Error::new(Kind::Io, format!("the library's thread could not be started: {cause}")))
}

/// Runs `work` to its end on the caller's thread. From inside a callback that would wait for itself: refused.
pub(crate) fn block_on<F: Future>(work: F) -> Result<F::Output, Error> {
    if Handle::try_current().is_ok() {
        return Err(Error::new(
            Kind::Usage,
            "this function waits, so it must not be called from the progress callback",
        ));
    }
    Ok(runtime()?.block_on(work))
}
