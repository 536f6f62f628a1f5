//! The pool as a state machine: no sockets, no clock. See [`Pool`].

mod state;

pub use state::{Action, ConnId, Counts, Failure, Misuse, Pool, PoolOptions, Release, WaiterId};
