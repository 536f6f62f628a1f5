//! Connecting and driving on tokio: hosts, TCP, TLS, startup, cancel; the HTTPS client.

mod cancel;
mod client;
pub mod connect;
mod established;
mod failure;
pub mod https;
mod login;
mod pool;
mod result;
mod stream;
mod tls;
pub(crate) mod tls_failure;

pub use cancel::cancel;
pub use client::{CancelHandle, Client};
pub use connect::{attach, connect};
pub use established::{Address, Established, PasswordProvider, Socket};
pub use failure::{io_error, io_name};
pub use pool::{Pool, PooledClient};
pub use result::QueryResult;
