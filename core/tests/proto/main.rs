//! The protocol machine against scripted servers.
#![allow(clippy::unwrap_used)]

mod allocator;
mod bounds;
mod fuzz;
mod known;
mod memory;
mod messages;
mod raw;
mod replay;
mod session;
mod startup;
mod tls;
mod xorshift;
