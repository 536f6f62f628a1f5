//! One backup: pg_dump → gzip → S3 multipart → retention → notification.
//!
//! [`run`] makes one with given [`Settings`], [`run_from_environment`] with those of an environment.

mod cancel;
mod compress;
mod database;
mod find;
mod kept;
mod key;
mod notify;
mod process;
mod report;
mod retention;
mod run;
mod settings;
mod source;
mod store;
mod store_error;
mod tls;
mod upload;

pub use cancel::{CancelReason, CancelToken};
pub use find::Search;
pub use report::{Progress, Report};
pub use retention::Retention;
pub use run::{run, run_from_environment};
pub use settings::{Retry, Settings, StoreSettings, Telegram};
