//! PostgreSQL for serverless functions: protocol, pool and backup.
//!
//! The protocol ([`proto`]) and the pool ([`pool`]) are state machines without I/O: bytes and the time go in; bytes,
//! events and the next deadline come out. [`net`] connects and drives them on tokio; the Node addon drives them on
//! Node's own loop. [`backup`] is the cold path and uses libraries as they are.
//!
//! Arrows between rooms point one way: `backup` → `net` → `pool`, `proto`, `rows`; `config` is used by `net`, `pool`
//! and `backup`; `proto` asks [`statements`] what goes out under a name; everything may use `error`.
#![forbid(unsafe_code)]

pub mod backup;
pub mod config;
pub mod error;
pub mod net;
pub mod pool;
pub mod proto;
pub mod rows;
pub mod sqlstate;
pub mod statements;

pub use error::{Error, Result};
