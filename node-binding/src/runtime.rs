//! The process's one tokio runtime: connecting, cancels, backups. Made at first need, never at require; queries do not
//! go through it.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();

/// The runtime; an error when its threads could not be started.
pub(crate) fn runtime() -> io::Result<&'static Runtime> {
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            // Name look-ups and a backup's compression.
            .max_blocking_threads(16)
            .thread_keep_alive(Duration::from_secs(10))
            .thread_name("heys-db")
            .enable_all()
            .build()
            .ok()
    });
    runtime
        .as_ref()
        .ok_or_else(|| io::Error::other("heys-db could not start its threads"))
}
