//! Throw-away servers for development and tests: PostgreSQL with TLS and SCRAM, a strict S3 with scripted faults, a
//! Telegram recorder and a TCP proxy that cuts, stalls and delays.
//!
//! Everything listens on loopback, lives in a temporary folder and is gone when its value is dropped, or when the
//! process that made it ends in whatever way.
#![forbid(unsafe_code)]

mod certificates;
pub mod control;
mod error;
mod folder;
mod http;
mod postgres;
mod proxy;
pub mod s3;
mod telegram;
mod wire;

pub use certificates::{Certificates, ServerCertificate};
pub use error::{Error, Result};
pub use postgres::{Postgres, PostgresInfo, PostgresOptions, Role, StopMode};
pub use proxy::{Cut, Direction, Proxy, ProxyStats};
pub use s3::{S3, S3Info, S3Options};
pub use telegram::{Message, Telegram, TelegramAnswer, TelegramInfo, TelegramOptions};
