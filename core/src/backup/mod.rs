//! One backup: pg_dump → gzip → S3 multipart → retention → notification.

pub mod compress;
pub mod key;
mod process;
pub mod retention;
