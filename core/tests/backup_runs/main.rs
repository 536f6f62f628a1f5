//! Whole backups: a real PostgreSQL, a strict store, a Telegram recorder, and everything that can go wrong between them.
#![allow(clippy::unwrap_used)]

mod bench;
mod database;
mod dump;
mod notify;
mod prune;
mod stop;
mod store;
mod whole;
