//! The pool as a state machine: no sockets, no clock. See [`Pool`].

mod conn;
mod registry;
mod sharing;
mod slots;
mod state;
mod steps;
mod types;
mod waiters;

pub use registry::{Member, Owner, Registry};
pub use state::Pool;
pub use types::{Action, ConnId, Counts, Failure, Misuse, PoolOptions, Release, WaiterId};
