//! libheys: the C interface. Raw pointers become references only in [`ffi`]; every entry sits in a panic guard.
//!
//! The header `include/heys.h` is generated from this crate and committed.

#![expect(
    unreachable_pub,
    reason = "the C interface is reached through its symbols, not through paths"
)]

mod backup;
mod client;
mod error;
mod ffi;
mod panic;
mod pool;
mod result;
mod runtime;
mod version;
